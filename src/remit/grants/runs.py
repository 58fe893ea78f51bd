"""Runs: the rows, the steps that begin and end them, and the view of those that go on.

An id is whose it was first, for good, and a run that is over never begins again: a step is called inside the ledger's
transaction and first raises the number that all steps raise (`steps.raised`), so that of two arbiters that race for one
id the second finds the first. Leaves out who may begin one (`access.run`), and what was granted for it (`store`).
"""

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Engine, Row, insert, select, update

from remit.grants.following import Following, uptime
from remit.grants.rows import newest, reading
from remit.grants.steps import checked, plain, raised
from remit.grants.store import Recorder
from remit.grants.tables import runs as table
from remit.model.errors import Refused
from remit.model.identity import Identity
from remit.model.job import Run, run_record
from remit.model.reasons import Reason
from remit.model.record import Value

KEPT = 92 * 86400
"""Seconds after its start that a run counts as going on when nobody has said that it is over: its machine may be gone.
Longer than any work that is heard of, and short enough that what was forgotten is not kept in memory for ever."""

_PAST = 100  # runs that are looked at for how long the next one will take
_CLEAR = 60.0  # seconds between two looks for runs that were forgotten
_SECOND = 1_000_000  # microseconds


class Beginning:
    """The row of a new run, or the same run told again."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def __call__(self, connection: Connection) -> Mapping[str, Value]:
        """Raises `Refused` when the id is taken, or its run over."""
        number, known = raised(connection), _one(connection, self.run.id)
        if known is None:
            connection.execute(insert(table).values(**_row(self.run), changed=number))
        elif known.ended or known.principal != self.run.principal:
            whose = "over" if known.principal == self.run.principal else "somebody else's"
            raise Refused(Reason.REQUEST_MALFORMED, f"the run `{self.run.id}` is {whose}")
        elif not known.same(self.run):
            raise Refused(Reason.REQUEST_MALFORMED, f"the run `{self.run.id}` has begun, and as another one")
        else:
            self.run = known
        return {"started": self.run.started}


class Ending:
    """The run is over."""

    def __init__(self, run: Run, now: int) -> None:
        self.run = replace(run, ended=now)

    def __call__(self, connection: Connection) -> Mapping[str, Value]:
        """Over since it was told first; raises `Refused` when it is not there, or not the one that was looked at."""
        number, known = raised(connection), _one(connection, self.run.id)
        if known is None or known.principal != self.run.principal:
            raise Refused(Reason.PLANE_UNAVAILABLE, "the run is not what was looked at: its row was changed")
        if known.ended:
            self.run = known
        else:
            at_least = max(self.run.ended, known.started)  # arbiters' clocks differ
            self.run = replace(known, ended=at_least)
            ended = update(table).where(table.c.id == known.id, table.c.ended == 0)
            connection.execute(ended.values(ended=at_least, changed=number))
        return {"ended": self.run.ended}


class RunStore:
    """Takes the steps, and tells what there is; `engine` may be one that only reads.

    Everything raises `Refused`: `REQUEST_MALFORMED` for a step that is not the next one, `PLANE_UNAVAILABLE` when the
    database does not answer; steps raise `NotRecorded` too.
    """

    def __init__(self, engine: Engine, recorder: Recorder) -> None:
        self._engine = engine
        self._recorder = recorder

    async def begin(self, who: Identity, run: Run, *, decision: str) -> Run:
        """Writes a run down. Told twice it is one run, with the time that was told first."""
        beginning = Beginning(run)
        entry = run_record("start", run, name=plain(who.display), decision=decision, at=run.started)
        await self._recorder.record(entry, beginning)
        return beginning.run

    async def finish(self, who: Identity, run: Run, *, at: int) -> Run:
        """The run is over. `at`: microseconds since the epoch; one that is over has been since it was told first."""
        if run.ended:
            return run
        ending = Ending(run, at)
        entry = run_record("end", run, name=plain(who.display), decision="", at=at)
        await self._recorder.record(entry, ending)
        return ending.run

    async def find(self, job: str) -> Run | None:
        """One run, over or not; `None` when nobody has registered the id."""
        return await asyncio.to_thread(self._find, job)

    async def lasted(self, principal: str, project: str, name: str) -> Sequence[int]:
        """Seconds that the latest runs of a principal, in a project, of a name took, newest first."""
        return await asyncio.to_thread(self._lasted, principal, project, name)

    def _find(self, job: str) -> Run | None:
        with reading(self._engine) as connection:
            return _one(connection, job)

    def _lasted(self, principal: str, project: str, name: str) -> Sequence[int]:
        alike = (table.c.principal == principal, table.c.project == project, table.c.name == name, table.c.ended > 0)
        latest = select(table.c.started, table.c.ended).where(*alike).order_by(table.c.started.desc()).limit(_PAST)
        with reading(self._engine) as connection:
            return [math.ceil((row.ended - row.started) / _SECOND) for row in connection.execute(latest)]


class RunView(Following):
    """The `Runs` of the stories (`remit.access.belonging`): those that go on.

    `reader` may be an engine that only reads; `clock`: monotonic seconds; `wall`: seconds since the epoch.
    """

    def __init__(
        self, reader: Engine, *, clock: Callable[[], float] = uptime, wall: Callable[[], float] = time.time
    ) -> None:
        super().__init__("runs", clock)
        self._reader = reader
        self._wall = wall
        self._number = -1
        self._runs: dict[str, Run] = {}
        self._cleared_at = -math.inf

    def __len__(self) -> int:
        return len(self._runs)

    def of(self, job: str) -> Run | None:
        """The run with this id, `None` when none goes on; raises `Refused` when the view is too old to ask."""
        if not self.fresh:
            raise Refused(Reason.PLANE_UNAVAILABLE, "whose run this is cannot be looked up", hint="try again soon")
        return self._runs.get(job)

    def _look(self, began: float) -> None:
        oldest = (int(self._wall()) - KEPT) * _SECOND
        with self._reader.connect() as connection:
            number = newest(connection)
            if number < self._number:
                raise RuntimeError("the database is older than what it said before")
            if number > self._number:
                going_on = (table.c.ended == 0, table.c.started > oldest)
                which = going_on if self._number < 0 else (table.c.changed > self._number,)
                for row in connection.execute(select(table).where(*which)):
                    self._keep(_run(row), oldest)
                self._number = number
        if began - self._cleared_at >= _CLEAR:
            self._cleared_at = began
            for run in tuple(self._runs.values()):
                self._keep(run, oldest)

    def _keep(self, run: Run, oldest: int) -> None:
        if run.ended or run.started <= oldest:
            self._runs.pop(run.id, None)
        else:
            self._runs[run.id] = run


def _one(connection: Connection, job: str) -> Run | None:
    row = connection.execute(select(table).where(table.c.id == job)).first()
    return None if row is None else _run(row)


def _run(row: Row[Any]) -> Run:
    return Run(row.id, row.principal, row.name, row.project, row.lasting, row.started, row.ended)


def _row(run: Run) -> dict[str, Any]:
    return {
        "id": checked(run.id),
        "principal": checked(run.principal),
        "name": checked(run.name),
        "project": checked(run.project),
        "lasting": run.lasting,
        "started": run.started,
        "ended": run.ended,
    }
