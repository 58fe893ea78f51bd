"""Signing in with a browser, from the button to the session, at OpenID and SAML providers alike.

What comes back is believed once: whatever an answer turns out to be, its flow is over (RFC 9700 section 4.7). The new
session has a new secret, and the one that the browser had before is ended. Leaves out: HTTP and cookies (`arbiter`).
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from remit.identity.browser.cipher import Cipher
from remit.identity.browser.held import Held
from remit.identity.browser.logout_token import First, LogoutTokens
from remit.identity.browser.relying_party import RelyingParty
from remit.identity.browser.return_address import return_address
from remit.identity.browser.sessions import Sessions
from remit.identity.browser.sign_in_flow import LIFETIME, Flow, new_flow, open_flow, seal_flow
from remit.identity.tokens.claims import SKEW
from remit.model.errors import Refused
from remit.model.identity import Identity
from remit.model.reasons import Reason
from remit.model.secret import Secret, SessionSecret, UnverifiedToken

PAUSE = 0.02  # seconds between two commits that returning browsers cause: on SQLite the ledger waits for each
MAX_WAITING = 100  # browsers: two seconds of them


@dataclass(frozen=True, slots=True)
class Departure:
    """`location`: where the browser goes; `flow`: what its cookie holds meanwhile; `to`: where it will come out.

    `posted`: whether the answer comes as a form from another site, which only a cookie without `SameSite` survives.
    """

    location: str
    flow: Secret
    to: str
    posted: bool


@dataclass(frozen=True, slots=True)
class Arrival:
    """`session`: for the cookie; `to`: where to go."""

    session: SessionSecret
    to: str


class Saml(Protocol):
    """A SAML provider: `accept` judges a response to a request, `authn_request` makes the URL that carries one."""

    async def authn_request(self, request_id: str, now: int) -> str:
        """The provider's single sign-on URL with a request of this id; raises `Refused`."""

    async def accept(self, response: str, in_response_to: str, now: int) -> Identity:
        """The identity that a base64 response proves; raises `Refused`."""


@dataclass(frozen=True, slots=True)
class OidcDoor:
    """An OpenID provider, and its logout tokens."""

    party: RelyingParty
    logouts: LogoutTokens

    @property
    def title(self) -> str:
        """For the button."""
        return self.party.provider.title


@dataclass(frozen=True, slots=True)
class SamlDoor:
    """A SAML provider and its title."""

    title: str
    saml: Saml


Door = OidcDoor | SamlDoor


class SignIn:
    """All providers. `doors`: by the name in their URLs; `first`: one use of each flow, as in `logout_token`."""

    def __init__(self, doors: Mapping[str, Door], sessions: Sessions, cipher: Cipher, first: First) -> None:
        self._doors = doors
        self._sessions = sessions
        self._cipher = cipher
        self._first = first
        self._turn = asyncio.Lock()
        self._waiting = 0

    @property
    def providers(self) -> Sequence[tuple[str, str]]:
        """Name and title of each, in the order of remit.yaml."""
        return [(name, door.title) for name, door in self._doors.items()]

    async def begin(self, name: str, to: str, now: int, *, context: str = "", fresh: bool = False) -> Departure:
        """Sends a browser to a provider; raises `Refused`.

        `to`: wanted return address; `context`: authentication context that a policy wants (`c1`, Entra's); `fresh`:
        the person must authenticate anew.
        """
        door = self._door(name)
        flow = new_flow(return_address(to), now, 0 if fresh else -1)
        if isinstance(door, SamlDoor):
            location = await door.saml.authn_request(flow.state, now)
        else:
            location = await door.party.address(flow, context)
        return Departure(location, seal_flow(self._cipher, name, flow), flow.to, isinstance(door, SamlDoor))

    async def finish(self, name: str, query: str, cookie: Secret, before: SessionSecret | None, now: int) -> Arrival:
        """A browser came back from an OpenID provider; raises `Refused`. `before`: the session it had, if any."""
        door = self._door(name)
        if not isinstance(door, OidcDoor):
            raise _unknown()
        return await self._arrive(name, cookie, before, now, lambda flow: door.party.finish(flow, query, now))

    async def accept(self, name: str, response: str, cookie: Secret, before: SessionSecret | None, now: int) -> Arrival:
        """As `finish`, for the response of a SAML provider."""
        door = self._door(name)
        if not isinstance(door, SamlDoor):
            raise _unknown()

        async def held(flow: Flow) -> Held:
            identity = await door.saml.accept(response, flow.state, now)
            subject = identity.principal.subject
            return Held(identity, now, identity.expires_at, subject=subject, sid=identity.session)

        return await self._arrive(name, cookie, before, now, held)

    async def logout(self, name: str, token: UnverifiedToken, now: int) -> int:
        """A provider says that a session is over (back channel); returns how many of ours were. Raises `Refused`."""
        door = self._door(name)
        if not isinstance(door, OidcDoor):
            raise _unknown()
        said = await door.logouts.verify(token, now)
        if said.sid:
            return await self._sessions.end_by_sid(said.issuer, said.sid)
        return await self._sessions.end_by_subject(said.issuer, said.subject)

    async def _arrive(
        self,
        name: str,
        cookie: Secret,
        before: SessionSecret | None,
        now: int,
        judge: Callable[[Flow], Awaitable[Held]],
    ) -> Arrival:
        # 1. begun here, at this provider, a moment ago
        flow = open_flow(self._cipher, name, cookie, now)
        # 2. once, and over from here on
        until = flow.started + LIFETIME + SKEW
        if not await self._for_the_first_time(flow.state, until, now):
            raise Refused(Reason.REQUEST_MALFORMED, "this answer was used before", hint="start again")
        # 3. what the provider says
        held = await judge(flow)
        # 4. a new session in place of the old one
        session = await self._sessions.start(held, name, now)
        if before is not None:
            await self._sessions.end(before)
        return Arrival(session, flow.to)

    async def _for_the_first_time(self, state: str, until: int, now: int) -> bool:
        """Takes note of a flow, one after the other and not too fast: it is a commit, and anybody can cause one."""
        if self._waiting >= MAX_WAITING:
            raise Refused(Reason.PLANE_UNAVAILABLE, "too many sign-ins at once", hint="try again soon")
        self._waiting += 1
        try:
            async with self._turn:
                found = await asyncio.to_thread(self._first, "sign-in", state, until, now)
                await asyncio.sleep(PAUSE)
        finally:
            self._waiting -= 1
        return found

    def _door(self, name: str) -> Door:
        door = self._doors.get(name)
        if door is None:
            raise _unknown()
        return door


def _unknown() -> Refused:
    return Refused(
        Reason.RESOURCE_UNKNOWN,
        "no identity provider of this name is known here",
        hint="choose one on the sign-in page",
    )
