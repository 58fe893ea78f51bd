"""Tokens at hand: asked for once, renewed five minutes before their end, by one thread while the others wait.

A renewal is a new decision. When it cannot be had in time (the broker or a cloud is away) the token that there is goes
on being good for as long as it lives; when the answer is no, it is given up at once. The end is held against two
clocks, since one is set back and the other sleeps with a laptop. Tokens stay in memory, and a forked process has none.
"""

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from remit.model.errors import NotSignedIn, Refused, RemitError
from remit.model.secret import AccessToken
from remit.sdk.resources import Resource

RENEW = 300  # seconds before the end, as azure-core's own policies do
_PATIENCE = 30  # seconds between two attempts: what lives for less than `RENEW` would be asked for on every call
_NOT_NOW = 503  # HTTP: what may be permitted in a moment


@dataclass(frozen=True, slots=True)
class Issued:
    """A token and its end (seconds since the epoch)."""

    token: AccessToken
    expires_on: float


class ClaimsUnmet(RemitError):
    """A service wants a token with other claims, and asking again brought the same one."""


@dataclass(slots=True)
class _Held:
    """`ends` and `asked` by the monotonic clock; `claims`: the challenge that was answered with it."""

    issued: Issued
    ends: float
    asked: float
    claims: str


class Tokens:
    """Tokens by resource. `ask` blocks, and raises `Refused` and other `RemitError`s."""

    def __init__(self, ask: Callable[[Resource], Issued]) -> None:
        self._ask = ask
        self._here()

    def _here(self) -> None:
        self._process = os.getpid()
        self._held: dict[Resource, _Held] = {}
        self._locks: dict[Resource, threading.Lock] = {}

    def held(self, resource: Resource) -> Issued | None:
        """The token that there is, when it need not be renewed yet."""
        if self._process != os.getpid():  # another thread's lock would stay locked in the child
            self._here()
        held = self._held.get(resource)
        if held is None:
            return None
        left, waited = _left(held), time.monotonic() - held.asked
        return held.issued if left > RENEW or (left > 0 and waited < _PATIENCE) else None

    def get(self, resource: Resource, claims: str = "") -> Issued:
        """A token for it. `claims`: a service's challenge, for which a token that was held does not do."""
        if not claims and (found := self.held(resource)):
            return found
        with self._locks.setdefault(resource, threading.Lock()):
            if not claims:
                return self.held(resource) or self._renewed(resource)
            held = self._held.get(resource)
            if held and held.claims == claims and time.monotonic() - held.asked < _PATIENCE:
                return held.issued  # another thread met the same challenge
            return self._challenged(resource, claims, held)

    def _renewed(self, resource: Resource) -> Issued:
        try:
            return self._keep(resource, self._ask(resource))
        except RemitError as error:
            held = self._held.get(resource)
            if held is None or _left(held) <= 0 or _final(error):
                self._held.pop(resource, None)
                raise
            held.asked = time.monotonic()
            return held.issued

    def _challenged(self, resource: Resource, claims: str, held: _Held | None) -> Issued:
        issued = self._ask(resource)
        if held and held.issued.token == issued.token:
            message = "the service wants a newer or stronger sign-in than this token was issued for"
            raise ClaimsUnmet(message, hint="run `remit login` and try again")
        return self._keep(resource, issued, claims)

    def _keep(self, resource: Resource, issued: Issued, claims: str = "") -> Issued:
        now = time.monotonic()
        self._held[resource] = _Held(issued, now + issued.expires_on - time.time(), now, claims)
        return issued


def _left(held: _Held) -> float:
    return min(held.issued.expires_on - time.time(), held.ends - time.monotonic())


def _final(error: RemitError) -> bool:
    """Whether the answer was no; anything else may be otherwise in a moment."""
    return isinstance(error, NotSignedIn) or (isinstance(error, Refused) and error.reason.http_status != _NOT_NOW)
