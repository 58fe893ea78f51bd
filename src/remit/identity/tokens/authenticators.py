"""Finds the issuer that a token belongs to, and asks it.

The token's form is settled before its `iss` is looked at, and `iss` chooses who judges, nothing more. Leaves
out: what each issuer demands (`entra`).
"""

from collections.abc import Mapping
from typing import Protocol

from remit.identity.tokens import jose
from remit.model.errors import Refused
from remit.model.identity import Identity
from remit.model.reasons import Reason
from remit.model.secret import UnverifiedToken


class IssuerAuthenticator(Protocol):
    """One issuer's rules."""

    async def attempt(self, form: jose.Jws, claims: Mapping[str, object], now: int) -> Identity | None:
        """`None` when the token is not this issuer's; raises `Refused` when it is, and is not good."""


class Authenticators:
    """All trusted issuers; implements `access.ports.Authenticator`."""

    def __init__(self, issuers: tuple[IssuerAuthenticator, ...]) -> None:
        self._issuers = issuers

    async def authenticate(self, token: UnverifiedToken, now: int) -> Identity:
        """The identity that the token proves at `now`, in seconds; raises `Refused`."""
        form = jose.parse_compact(token)
        claims = jose.read_claims(form)
        for issuer in self._issuers:
            identity = await issuer.attempt(form, claims, now)
            if identity is not None:
                return identity
        raise Refused(Reason.TOKEN_ISSUER)
