"""Taking the steps of grants, and telling what there is.

Each step is one commit with its entry of the ledger (`steps`). Time ends a grant by itself, and no step is written for
that. Leaves out who may take a step (`access.request`), and what is in force (`view`).
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from sqlalchemy import ColumnElement, Connection, Engine, or_, true

from remit.grants.rows import one, read, reading, unfinished
from remit.grants.steps import Answering, Asking, KnownError, Running, check_begins, plain
from remit.grants.tables import grants
from remit.model.errors import Refused
from remit.model.grant import GrantState, Kept, Step, Wanted, grant_record
from remit.model.identity import Identity
from remit.model.names import grant_id
from remit.model.record import Value

_SECOND = 1_000_000  # microseconds
_log = logging.getLogger(__name__)

Also = Callable[[Connection], Mapping[str, Value]]


class Recorder(Protocol):
    """audit: an entry and the change of state that it describes."""

    async def record(self, entry: Mapping[str, Value], also: Also) -> object:
        """Makes both durable or neither, with what `also` returns in the entry; raises `NotRecorded`."""


class GrantStore:
    """Takes the steps, and tells what there is; times `at` are microseconds since the epoch.

    `engine` may be one that only reads. Everything raises `Refused`: `REQUEST_MALFORMED` for a step that is not the
    next one, `PLANE_UNAVAILABLE` when the database does not answer or a row was changed behind it; steps raise
    `NotRecorded` too.
    """

    def __init__(self, engine: Engine, recorder: Recorder) -> None:
        self._engine = engine
        self._recorder = recorder

    async def ask(self, asker: Identity, wanted: Wanted, needed: int, *, decision: str, at: int) -> Kept:
        """Asks. What is asked for twice is one grant, as long as nobody has denied it and no run has begun with it.

        `needed`: people that have to say yes; it is granted at once for 0.
        """
        asking = Asking(grant_id(at), asker, wanted, needed, at // _SECOND)
        entry = _entry(Step.ASK, asking.id, wanted, asker, because=wanted.because, decision=decision, at=at)
        try:
            await self._recorder.record(entry, asking)
        except KnownError as known:
            return known.kept
        return asking.done()

    async def answer(self, who: Identity, asked: Kept, step: Step, because: str, *, decision: str, at: int) -> Kept:
        """Approves, denies, withdraws or reviews. `asked`: as it was when it was judged."""
        answering = Answering(asked, who, step, because, at // _SECOND)
        entry = _entry(step, asked.id, asked.wanted, who, because=because, decision=decision, at=at)
        await self._recorder.record(entry, answering)
        return answering.done()

    async def start(self, who: Identity, job: str, name: str, *, at: int) -> tuple[str, ...]:
        """Gives a run what waits for it: the ids of all that it has then. `job`: `j-…`; `name`: as in `Wanted`."""
        now, key = at // _SECOND, who.principal.key
        check_begins(await asyncio.to_thread(self._of_run, key, job), job)
        for kept in await self.waiting(key, name, now):
            try:
                entry = _entry(Step.START, kept.id, kept.wanted, who, at=at)
                await self._recorder.record(entry, Running(kept, Step.START, job, now))
            except Refused as refused:  # another run was first
                _log.info("grant %s did not start: %s", kept.id, refused.message)
        running = await asyncio.to_thread(self._of_run, key, job)
        return tuple(kept.id for kept in running if kept.standing(now) is GrantState.GRANTED)

    async def end(self, who: Identity, job: str, *, at: int) -> tuple[str, ...]:
        """Ends what a run of this principal's has: the ids."""
        now, ended = at // _SECOND, []
        for kept in await asyncio.to_thread(self._of_run, who.principal.key, job):
            if kept.standing(now) is not GrantState.GRANTED:
                continue
            try:
                entry = _entry(Step.END, kept.id, kept.wanted, who, at=at)
                await self._recorder.record(entry, Running(kept, Step.END, job, now))
            except Refused as refused:  # it ended otherwise meanwhile
                _log.info("grant %s did not end: %s", kept.id, refused.message)
            else:
                ended.append(kept.id)
        return tuple(ended)

    async def find(self, grant: str) -> Kept | None:
        """One grant, `None` when there is none of this id."""
        return await asyncio.to_thread(self._find, grant)

    async def waiting(self, principal: str, name: str, now: int) -> Sequence[Kept]:
        """What a principal was granted for the next run of a name, which has not begun. `now`: seconds."""
        bound = (grants.c.principal == principal, grants.c.job == name, grants.c.run == "")
        return await asyncio.to_thread(
            self._read, *bound, grants.c.state == str(GrantState.GRANTED), grants.c.lapses > now
        )

    async def own(self, principal: str, now: int, *, everything: bool) -> Sequence[Kept]:
        """What a principal has asked for, newest first; without `everything` not what is over."""
        return await asyncio.to_thread(
            self._read, grants.c.principal == principal, _mattering(now, everything=everything)
        )

    async def others(self, principal: str, now: int, *, everything: bool) -> Sequence[Kept]:
        """What everybody else has asked for."""
        return await asyncio.to_thread(
            self._read, grants.c.principal != principal, _mattering(now, everything=everything)
        )

    def _find(self, grant: str) -> Kept | None:
        with reading(self._engine) as connection:
            return one(connection, grant)

    def _of_run(self, principal: str, job: str) -> Sequence[Kept]:
        return self._read(grants.c.principal == principal, grants.c.run == job)

    def _read(self, *which: ColumnElement[bool]) -> Sequence[Kept]:
        with reading(self._engine) as connection:
            return read(connection, *which)


def _mattering(now: int, *, everything: bool) -> ColumnElement[bool]:
    return true() if everything else or_(unfinished(now), grants.c.review == 1)


def _entry(
    step: Step, grant: str, wanted: Wanted, who: Identity, *, because: str = "", decision: str = "", at: int
) -> Mapping[str, Value]:
    actor, name = who.principal.key, plain(who.display)
    return grant_record(step, grant, wanted, actor=actor, name=name, because=because, decision=decision, at=at)
