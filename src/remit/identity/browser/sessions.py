"""Browser sessions: opaque in the cookie, sealed in the database, apart from the provider's token.

A session ends at its absolute limit, after too long without use, when its owner or an operator says so, and when the
provider says no. It renews by asking the provider again shortly before the token ends, once however many requests wait
and however many arbiters there are. A provider that cannot be reached costs nobody anything until the token's own end;
from then on the session is refused with a hint to try again, and lives on when the provider is back. Use is written at
most once a minute, so that an idle session may end up to a minute early. Sources: OWASP ASVS 5.0 chapter 7, RFC 9700
section 4.14. Leaves out: how somebody signs in (`sign_in`), the cookie (`arbiter`).
"""

import asyncio
import logging
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from remit.identity.browser.cipher import Cipher, Unreadable
from remit.identity.browser.held import Held, read_held, write_held
from remit.identity.browser.store import Row, SessionStore
from remit.identity.browser.token_endpoint import ProviderSaysNo
from remit.identity.settings import SessionSettings
from remit.model.errors import Refused
from remit.model.identity import Identity
from remit.model.reasons import Reason
from remit.model.secret import SessionSecret, UnverifiedToken

TOUCH = 60  # seconds between two notes that a session is used
CLAIM = 15  # seconds that one arbiter has to renew; also the pause after a vain attempt
PATIENCE = 0.5  # seconds that a request waits for a renewal: a decision has one second in all
WAIT = 2.0  # seconds that a renewal waits for another arbiter's, when the old token is over
_POLL = 0.1  # seconds
_SECRET = re.compile(r"[A-Za-z0-9_-]{43}")
_UNAVAILABLE = 503

log = logging.getLogger(__name__)

Authenticate = Callable[[UnverifiedToken, int], Awaitable[Identity]]


class Renewer(Protocol):
    """A provider, asked again."""

    async def renew(self, held: Held, now: int) -> Held:
        """The same with newer tokens; raises `Refused`."""


@dataclass(frozen=True, slots=True)
class SessionLine:
    """What may be shown of a session. `principal`: `Principal.key`; `sid`: the provider's own; epoch seconds."""

    id: str
    principal: str
    provider: str
    created_at: int
    used_at: int
    expires_at: int
    sid: str = ""


Ended = Callable[[Sequence[SessionLine]], Awaitable[None]]
"""Told of sessions that were ended before their time, so that what they were permitted ends too."""


async def _nobody(_: Sequence[SessionLine]) -> None:
    """Nobody wants to know."""


class Sessions:
    """All sessions of an installation; implements `access.ports.Sessions`.

    `authenticate`: judges the access tokens that sessions hold; `renewers`: by the provider's name; `check`: raises
    `Refused` for an identity that was revoked under the provider's own name of the session, which only a token that is
    judged would show; `issuers`: of each provider that people may still have signed in at, `None` for any.
    """

    def __init__(
        self,
        store: SessionStore,
        cipher: Cipher,
        settings: SessionSettings,
        *,
        authenticate: Authenticate,
        renewers: Mapping[str, Renewer],
        ended: Ended = _nobody,
        check: Callable[[Identity, int], None] = lambda *_: None,
        issuers: Mapping[str, str] | None = None,
    ) -> None:
        self._store = store
        self._cipher = cipher
        self._settings = settings
        self._authenticate = authenticate
        self._renewers = renewers
        self._ended = ended
        self._check = check
        self._issuers = issuers
        self._renewals: dict[str, asyncio.Task[Held]] = {}

    async def authenticate(self, session: SessionSecret, now: int) -> tuple[Identity, UnverifiedToken | None]:
        """As `access.ports.Sessions.authenticate`."""
        # 1. known, and within its limits
        row = await self._live(session, now)
        held = self._open(row)
        # 2. newer tokens when it is time; the old ones are good until their own end
        if now >= held.renew_at and held.refresh is not None and row.provider in self._renewers:
            held = await self._renewed(row, held, now)
        if now >= held.ends:
            raise _ended(held.refresh is not None)
        # 3. who that is, by the token's issuer where there is a token
        identity = held.identity
        if held.token is None:
            self._check(identity, now)
        else:
            identity = await self._judge(held.token, now)
            if identity.principal.key != row.principal:
                raise Refused(Reason.SESSION_ENDED)
        # 4. used
        if now - row.used_at >= TOUCH:
            await asyncio.to_thread(self._store.touch, row.key, now)
        # what was revoked before it began ends it, however new its token is
        issued = min(identity.issued_at, row.created_at)
        ends = min(identity.expires_at, row.expires_at)
        return replace(identity, session=row.id, issued_at=issued, expires_at=ends), held.token

    async def start(self, held: Held, provider: str, now: int) -> SessionSecret:
        """A new session, under a secret that no browser ever sent; raises `Refused`."""
        secret = SessionSecret(secrets.token_urlsafe(32))
        row = Row(
            key=secret.digest(),
            id=f"s-{secrets.token_hex(13)}",
            principal=held.identity.principal.key,
            provider=provider,
            issuer=held.identity.principal.issuer,
            subject=held.subject,
            sid=held.sid,
            created_at=now,
            used_at=now,
            expires_at=self._ends_at(held, now),
            sealed=self._cipher.seal(write_held(held), "session", secret.digest()),
        )
        await asyncio.to_thread(self._store.add, row)
        return secret

    async def current(self, session: SessionSecret, now: int) -> SessionLine:
        """The session of a secret; raises `Refused`."""
        return _line(await self._live(session, now))

    async def of(self, principal: str, now: int) -> Sequence[SessionLine]:
        """The live sessions of a principal (`Principal.key`), the latest used first."""
        rows = await asyncio.to_thread(self._store.of, principal)
        return [_line(row) for row in rows if self._within(row, now)]

    async def end(self, session: SessionSecret) -> int:
        """Ends the session of a secret; returns how many were ended, as the others do."""
        return await self._end(self._store.end_key, session.digest())

    async def end_id(self, name: str) -> int:
        """Ends the session of this name, `s-…`."""
        return await self._end(self._store.end_id, name)

    async def end_all(self, principal: str) -> int:
        """Ends every session of a principal (`Principal.key`)."""
        return await self._end(self._store.end_principal, principal)

    async def end_by_sid(self, issuer: str, sid: str) -> int:
        """Ends what belongs to a provider's session."""
        return await self._end(self._store.end_sid, issuer, sid)

    async def end_by_subject(self, issuer: str, subject: str) -> int:
        """Ends what belongs to a provider's `sub`."""
        return await self._end(self._store.end_subject, issuer, subject)

    async def sweep(self, now: int) -> int:
        """Forgets sessions that are over; returns how many. For whoever runs the event loop, now and then."""
        return await asyncio.to_thread(self._store.sweep, now, self._settings.idle)

    async def _end(self, end: Callable[..., Sequence[Row]], *whose: str) -> int:
        rows = await asyncio.to_thread(end, *whose)
        if rows:
            await self._ended([_line(row) for row in rows])
        return len(rows)

    async def _live(self, session: SessionSecret, now: int) -> Row:
        if not _SECRET.fullmatch(session.reveal()):
            raise _ended(may_return=False)
        row = await asyncio.to_thread(self._store.find, session.digest())
        if row is None or not self._within(row, now):
            raise _ended(may_return=False)
        return row

    def _ends_at(self, held: Held, now: int) -> int:
        """The absolute limit; what cannot be renewed ends with what it rests on, and says so from the first."""
        limit = now + self._settings.absolute
        return limit if held.refresh is not None else min(limit, held.ends)

    def _within(self, row: Row, now: int) -> bool:
        here = self._issuers is None or self._issuers.get(row.provider) == row.issuer
        return here and now < row.expires_at and now - row.used_at < self._settings.idle

    def _open(self, row: Row) -> Held:
        try:
            return read_held(self._cipher.open(row.sealed, "session", row.key))
        except (Unreadable, ValueError, KeyError, TypeError) as error:
            log.warning("session %s cannot be read: %s", row.id, type(error).__name__)
        raise _ended(may_return=False)

    async def _judge(self, token: UnverifiedToken, now: int) -> Identity:
        try:
            return await self._authenticate(token, now)
        except Refused as refused:
            if refused.reason is not Reason.TOKEN_EXPIRED:
                raise
        raise _ended(may_return=True)

    async def _renewed(self, row: Row, held: Held, now: int) -> Held:
        """One flight for all who wait, and not for long; it arrives without them, since a refresh token is used up."""
        flight = self._renewals.get(row.key)
        if flight is None:
            flight = asyncio.create_task(self._renew(row, now))
            self._renewals[row.key] = flight
            flight.add_done_callback(lambda done: self._landed(row.key, done))
        await asyncio.wait({flight}, timeout=PATIENCE)  # which cancels nothing, whoever leaves
        if not flight.done():
            if now < held.ends:
                return held
            raise _ended(may_return=True)
        try:
            return flight.result()
        except Refused as refused:
            if refused.reason is Reason.SESSION_ENDED or now >= held.ends:
                raise
            log.info("session %s is not renewed yet: %s", row.id, refused.reason)
        return held

    def _landed(self, key: str, flight: asyncio.Task[Held]) -> None:
        self._renewals.pop(key, None)
        if not flight.cancelled():
            flight.exception()  # looked at, though nobody may be waiting any more

    async def _renew(self, row: Row, now: int) -> Held:
        # 1. one arbiter at a time
        if not await asyncio.to_thread(self._store.claim, row.key, now, now + CLAIM):
            return await self._others(row, now)
        # 2. with the newest refresh token: another arbiter may have been quicker between our look and our claim
        held = await self._reload(row, now)
        if now < held.renew_at:
            await asyncio.to_thread(self._store.renew, row.key, self._seal(held, row))
            return held
        # 3. the provider's word, kept before it counts
        try:
            held = await self._renewers[row.provider].renew(held, now)
        except Refused as refused:
            if not _is_no(refused):
                raise
            log.info("session %s is over: %s", row.id, refused.message)
            await self._end(self._store.end_key, row.key)
            raise Refused(
                Reason.SESSION_ENDED, f"the session has ended: {refused.message}", hint="sign in again"
            ) from None
        if not await asyncio.to_thread(self._store.renew, row.key, self._seal(held, row)):
            raise _ended(may_return=False)
        return held

    async def _others(self, row: Row, now: int) -> Held:
        """Somebody else renews it, or tried in vain a moment ago: the old token while it lasts, else a short wait."""
        held = await self._reload(row, now)
        for _ in range(int(WAIT / _POLL)):
            if now < held.ends:
                return held
            await asyncio.sleep(_POLL)
            held = await self._reload(row, now)
        raise _ended(may_return=True)

    async def _reload(self, row: Row, now: int) -> Held:
        found = await asyncio.to_thread(self._store.find, row.key)
        if found is None or now >= found.expires_at:
            raise _ended(may_return=False)
        return self._open(found)

    def _seal(self, held: Held, row: Row) -> bytes:
        return self._cipher.seal(write_held(held), "session", row.key)


def _is_no(refused: Refused) -> bool:
    """Whether the provider, or its token, says that this person may not go on, rather than that it cannot say."""
    if isinstance(refused, ProviderSaysNo):
        return refused.final
    return refused.reason.http_status != _UNAVAILABLE


def _ended(may_return: bool) -> Refused:  # noqa: FBT001 - named at each call that is not plain
    if may_return:
        return Refused(
            Reason.SESSION_ENDED,
            "the session could not be renewed at the identity provider",
            hint="try again in a minute, or sign in again",
        )
    return Refused(Reason.SESSION_ENDED, hint="sign in again")


def _line(row: Row) -> SessionLine:
    return SessionLine(row.id, row.principal, row.provider, row.created_at, row.used_at, row.expires_at, row.sid)
