"""Logout tokens: the provider's word that somebody's session there is over.

OpenID Connect Back-Channel Logout 1.0 sections 2.4 and 2.6: signed as ID tokens are, for us, now, once, with the one
event, and never with a `nonce`, which would make an ID token pass for one. `exp` is needed, as in the final text.
Leaves out: which sessions that ends (`sessions`).
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from remit.identity.browser.id_token import check_party, check_times
from remit.identity.settings import SignInProvider
from remit.identity.tokens import jose
from remit.identity.tokens.claims import SKEW, Claim, Need, check, is_seconds, is_text
from remit.identity.tokens.keys import KeySource, check_signature
from remit.model.errors import Refused
from remit.model.reasons import Reason
from remit.model.secret import UnverifiedToken

EVENT = "http://schemas.openid.net/event/backchannel-logout"
MAX_AGE = 600  # seconds between `iat` and now: providers give their tokens two minutes

First = Callable[[str, str, int, int], bool]
"""`first(kind, name, until, now)`: true for exactly one caller. It blocks, and is asked from a thread."""

CLAIMS: Mapping[str, Claim] = {
    "iss": Claim(Need.REQUIRED, is_text, "a string", Reason.TOKEN_ISSUER),
    "aud": Claim(Need.REQUIRED, reason=Reason.TOKEN_AUDIENCE),
    "iat": Claim(Need.REQUIRED, is_seconds, "a whole number of seconds"),
    "exp": Claim(Need.REQUIRED, is_seconds, "a whole number of seconds"),
    "jti": Claim(Need.REQUIRED, is_text, "a string"),
    "sub": Claim(Need.OPTIONAL, is_text, "a string"),
    "sid": Claim(Need.OPTIONAL, is_text, "a string"),
    "events": Claim(
        Need.REQUIRED, lambda value: isinstance(value, dict) and value.get(EVENT) == {}, "that of a logout"
    ),
    "nonce": Claim(Need.FOREIGN),  # an ID token's
}


@dataclass(frozen=True, slots=True)
class Logout:
    """What ended: the session `sid` of `issuer`, or all of `subject`'s when it names none."""

    issuer: str
    subject: str
    sid: str


class LogoutTokens:
    """One provider's logout tokens. `first`: of `kind` `logout`."""

    def __init__(self, provider: SignInProvider, keys: KeySource, first: First) -> None:
        self._provider = provider
        self._keys = keys
        self._first = first

    async def verify(self, token: UnverifiedToken, now: int) -> Logout:
        """What the token ends, once; raises `Refused`."""
        # 1. strict form, of this kind or of none that it says
        form = jose.parse_compact(token)
        if form.typ not in {"", "logout+jwt"}:
            raise Refused(Reason.TOKEN_MALFORMED, "the logout token's `typ` is not `logout+jwt`")
        # 2. signed by a current key of the provider, with an algorithm that remit.yaml lists
        await check_signature(form, self._keys, *self._provider.algorithms)
        # 3. every claim of its shape, the event there, the nonce not
        claims = jose.read_claims(form)
        check(claims, CLAIMS)
        # 4. this issuer, for us, now
        check_party(claims, self._provider)
        check_times(claims, now - MAX_AGE, now)
        logout = Logout(str(claims["iss"]), str(claims.get("sub", "")), str(claims.get("sid", "")))
        if not logout.subject and not logout.sid:
            raise Refused(Reason.TOKEN_CLAIMS, "the logout token names neither `sub` nor `sid`")
        # 5. once
        until = int(str(claims["exp"])) + SKEW
        if not await asyncio.to_thread(self._first, "logout", f"{logout.issuer} {claims['jti']}", until, now):
            raise Refused(Reason.TOKEN_CLAIMS, "the logout token was used before")
        return logout
