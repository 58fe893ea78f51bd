"""The directory, asked twice a minute who is gone: disabled and deleted accounts, sessions that were ended.

`users/delta` and `servicePrincipals/delta`: the first round reads everything, each later one what changed
(learn.microsoft.com/graph/delta-query-overview). Whoever was deleted while nobody looked is in no full reading, so the
first round also asks what changed since the last one that was told, by any arbiter. What changes becomes a revocation:
an account that is disabled or deleted is locked until it is back, and what was issued before
`signInSessionsValidFromDateTime` ends.

Whether a delta carries a changed `signInSessionsValidFromDateTime` is nowhere said in so many words. The overview's own
test, that a listing of users can select the property, says yes; yet other people report no. So every `RESYNC` seconds
the whole directory is read anew, which also forgives a lost change, and keeps the delta tokens far younger than the
seven days that they live. Microsoft names delays of minutes between a change and its showing.

What was told is kept in a table, shared with the other arbiters, so that nobody tells it twice. Leaves out: what a
revocation does (`revocations`), and locks that other people placed, which are never lifted here.
"""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NoReturn, Protocol

from sqlalchemy.exc import SQLAlchemyError

from remit.identity.directory.graph import Failing, Graph, GraphFailed
from remit.identity.directory.told import Standing, Told
from remit.identity.tokens.claims import is_guid
from remit.model.counts import counted
from remit.model.errors import RemitError
from remit.model.revocation import Revocation, Scope

SOURCE = "directory"
EVERY = 30.0  # seconds between two rounds; at most 60, which is what Remit promises without any event
SOON = 1.0  # seconds after a first round with trouble, then twice as long each time; Graph's own pauses `Graph` keeps
RESYNC = 3600.0  # seconds between two full readings
FULL = 300.0  # seconds for one round: half a million accounts at a hundred a page
LIMIT = 1_000_000  # accounts
AT_ONCE = 64  # revocations: each waits for every arbiter, and a first round may have thousands
HORIZON = 48 * 3600
"""Seconds. What ended longer ago is not told: no token lives longer than 28 h (continuous access evaluation, Microsoft)
and no session of a browser longer than its twelve. Every account has such a time, its birth at the earliest."""

_USERS = "/v1.0/users/delta?$select=id,accountEnabled,signInSessionsValidFromDateTime"
_WORKLOADS = "/v1.0/servicePrincipals/delta?$select=id,accountEnabled"

log = logging.getLogger(__name__)


class RevocationSink(Protocol):
    """Where revocations are made durable; an answer is not looked at."""

    async def revoke(self, revocation: Revocation) -> object:
        """Ends what the revocation names; another one of the same source and subject replaces nothing."""

    async def lift(self, scope: Scope, subject: str, source: str) -> object:
        """Lifts the locks that `source` placed on `subject`, and nobody else's."""


@dataclass(frozen=True, slots=True)
class _Word:
    """What the directory says of an account; `None` where it says nothing. `ended`: see `Standing.before`."""

    gone: bool | None = None
    ended: int | None = None


@dataclass(slots=True)
class _Collection:
    """Users, or service principals. `link`: where the next changes are asked, empty for a full reading."""

    name: str
    start: str
    link: str = ""
    told: str | None = None  # the link that the database keeps, `None` before anybody looked
    full_at: float = -math.inf
    known: set[str] = field(default_factory=set)
    trouble: str = ""


class DirectoryPoll:
    """Keeps revocations in step with `graph`'s directory.

    `every`: seconds between two rounds, at most 60; `clock`: monotonic seconds; `wall`: seconds since the epoch.
    """

    def __init__(
        self,
        graph: Graph,
        sink: RevocationSink,
        told: Told,
        *,
        every: float = EVERY,
        resync: float = RESYNC,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._graph = graph
        self._sink = sink
        self._told = told
        self._every = min(every, 60.0)
        self._resync = resync
        self._clock = clock
        self._wall = wall
        self._sleep = sleep
        self._collections = (_Collection("users", _USERS), _Collection("service principals", _WORKLOADS))
        self._due: dict[str, _Word] = {}
        self._trouble = ""

    @property
    def trouble(self) -> str:
        """Why the directory is not followed, in words for readiness and its log; empty when it is."""
        return "; ".join(filter(None, (*(each.trouble for each in self._collections), self._trouble)))

    async def run(self) -> NoReturn:
        """Rounds for ever; run it as a task and cancel it. Nothing that goes wrong in one ends it."""
        soon = SOON
        while True:
            began = self._clock()
            await self.poll()
            if self.trouble:
                await self._sleep(min(soon, self._every))
                soon = min(soon * 2, self._every)
            else:
                soon = SOON
                await self._sleep(max(0.0, self._every - (self._clock() - began)))

    async def poll(self) -> None:
        """One round: reads what changed, and tells it. What fails is in `trouble`, and is tried again next time."""
        before = self.trouble
        for collection in self._collections:
            await self._follow(collection)
        try:
            await self._tell()
            await self._keep_links()
        except Exception as error:  # noqa: BLE001 - whatever the store raises, the next round must come and tell it
            words = error.message if isinstance(error, RemitError) else type(error).__name__
            self._trouble = f"{counted(len(self._due), 'change')} of the directory not told: {words}"
        else:
            self._trouble = ""
        if self.trouble != before:
            log.log(logging.WARNING if self.trouble else logging.INFO, self.trouble or "the directory is followed")

    async def _follow(self, collection: _Collection) -> None:
        full = not collection.link or self._clock() - collection.full_at >= self._resync
        try:
            if collection.told is None:
                await self._resume(collection)
            unread = await self._read(collection, full=full)
        except GraphFailed as failed:
            collection.trouble = f"the directory's {collection.name} are not followed: {failed.message}"
            if failed.failing is Failing.RESYNC:
                collection.link = ""
            return
        except SQLAlchemyError as error:
            collection.trouble = f"the directory's {collection.name} are not followed: {type(error).__name__}"
            return
        collection.trouble = f"{unread} of the directory's {collection.name} cannot be read" if unread else ""

    async def _resume(self, collection: _Collection) -> None:
        """Takes what changed since the last round that was told, before the first full reading says how things are."""
        told = await asyncio.to_thread(self._told.link, self._graph.tenant, collection.name)
        try:
            items = (await self._graph.collect(told, limit=LIMIT, deadline=FULL)).items if told else ()
        except GraphFailed as failed:
            if failed.failing is not Failing.RESYNC:
                raise
            items = ()  # longer ago than Graph remembers, which is longer than any token lives
        for item in items:
            oid, word = _word(item)
            if oid:
                self._take(oid, word)
        collection.told = told

    async def _keep_links(self) -> None:
        """After everything that is due was told: whoever starts next need not look further back."""
        for collection in self._collections:
            if collection.link and not collection.trouble and collection.link != collection.told:
                await asyncio.to_thread(self._told.keep_link, self._graph.tenant, collection.name, collection.link)
                collection.told = collection.link

    async def _read(self, collection: _Collection, *, full: bool) -> int:
        """Takes the changes of one collection as due to be told; how many of them could not be read."""
        now = self._clock()
        listing = await self._graph.collect(collection.start if full else collection.link, limit=LIMIT, deadline=FULL)
        if not listing.delta:
            raise GraphFailed(Failing.UNREADABLE, "did not say where to ask for changes")
        before = collection.known
        if full and before and not listing.items:  # or everybody would be locked out, who lifts it too
            raise GraphFailed(Failing.UNREADABLE, "names nobody any more")
        if full:
            collection.known, collection.full_at = set(), now
        read = 0
        for item in listing.items:
            oid, word = _word(item)
            if oid:
                read += 1
                self._take(oid, word)
                (collection.known.discard if word.gone and _removed(item) else collection.known.add)(oid)
        if full:
            # known once and named no more: deleted while nobody looked
            for oid in before - collection.known:
                self._take(oid, _Word(gone=True))
        collection.link = listing.delta
        return len(listing.items) - read

    def _take(self, oid: str, word: _Word) -> None:
        """The newest word on an account, over what is still due of it."""
        subject = f"{self._graph.tenant}/{oid}"
        due = self._due.get(subject, _Word())
        self._due[subject] = _Word(
            due.gone if word.gone is None else word.gone, due.ended if word.ended is None else word.ended
        )

    async def _tell(self) -> None:
        """Tells what is due and was not told yet, by this arbiter or by another."""
        if not self._due:
            return
        horizon = int(self._wall()) - HORIZON
        told = await asyncio.to_thread(self._told.of, self._graph.tenant)
        gate = asyncio.Semaphore(AT_ONCE)
        changes = []
        for subject, word in list(self._due.items()):
            was = told.get(subject, Standing())
            now = _now(was, word, horizon)
            if now == was:
                del self._due[subject]
            else:
                changes.append(self._change(gate, subject, was, now))
        # one that fails must not keep the others waiting
        failed = [each for each in await asyncio.gather(*changes, return_exceptions=True) if each is not None]
        await asyncio.to_thread(self._told.forget, self._graph.tenant, horizon)
        if failed:
            raise failed[0]

    async def _change(self, gate: asyncio.Semaphore, subject: str, was: Standing, now: Standing) -> None:
        async with gate:
            # what may stand from here on is known to whoever comes after us, should we not come to the end
            await asyncio.to_thread(self._told.put, subject, replace(now, sure=False))
            await self._say(subject, was, now)
            await asyncio.to_thread(self._told.put, subject, now)
            del self._due[subject]

    async def _say(self, subject: str, was: Standing, now: Standing) -> None:
        # two revocations, not one: a lock goes when the account is back, what ended stays ended
        revocation = Revocation(Scope.PRINCIPAL, subject, source=SOURCE)
        if now.before != was.before or (now.before and not was.sure):
            because = "the directory ended the account's sessions"
            await self._sink.revoke(replace(revocation, before=now.before, because=because))
        if now.locked and not (was.locked and was.sure):
            await self._sink.revoke(replace(revocation, locked=True, because="the account is disabled or deleted"))
        if not now.locked and (was.locked or not was.sure):
            await self._sink.lift(Scope.PRINCIPAL, subject, SOURCE)


def _now(was: Standing, word: _Word, horizon: int) -> Standing:
    """How an account stands after the directory's newest word."""
    locked = was.locked if word.gone is None else word.gone
    newer = word.ended is not None and word.ended > max(was.before, horizon)
    return Standing(locked, word.ended if newer and word.ended is not None else was.before)


def _word(item: object) -> tuple[str, _Word]:
    """Whose entry it is and what it says; nobody's when it cannot be read."""
    oid = item.get("id") if isinstance(item, Mapping) else None
    if not isinstance(item, Mapping) or not isinstance(oid, str) or not is_guid(oid):
        return "", _Word()
    if _removed(item):
        return oid, _Word(gone=True)
    enabled, ended = item.get("accountEnabled"), item.get("signInSessionsValidFromDateTime")
    try:
        # to the second, rounded up: what was issued in that very second may have been issued before
        end = None if ended is None else math.floor(datetime.fromisoformat(str(ended)).timestamp()) + 1
    except ValueError:
        return "", _Word()
    if not isinstance(enabled, bool | None):
        return "", _Word()
    return oid, _Word(None if enabled is None else not enabled, end)


def _removed(item: object) -> bool:
    return isinstance(item, Mapping) and "@removed" in item
