"""What was started, and by whom: rows beside the ledger, each committed with its `started/1` entry.

Whoever starts something owns it. A name that a second principal starts, since the first thing is gone and its name was
free again, is nobody's from then on: with the first word alone, whoever used a name before its owner could read and end
what the owner runs. Leaves out: what it means to own something (`access`).
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from typing import Protocol

from sqlalchemy import Connection, Engine, insert, select, update
from sqlalchemy.exc import SQLAlchemyError

from remit.audit import tables
from remit.audit.ledger import Also
from remit.model.errors import NotRecorded, Refused, RemitError
from remit.model.reasons import Reason
from remit.model.record import Recorded, Value, started_record

FRESH = 10.0  # seconds that an owner is believed without a look: within them another arbiter may learn of a second one
SIZE = 20_000  # owners kept; at 300 bytes each, 6 MB
MAX_NAME = 1_024  # characters: three times the longest name of Vertex AI
MAX_ASKED = 500  # names in one question: SQLite takes 32,766 variables, and no message names so many works

_NOBODY = ""


class Recorder(Protocol):
    """The ledger's recorder."""

    async def record(self, entry: Mapping[str, Value], also: Also | None = None) -> Recorded:
        """Makes an entry durable, together with a change of state; raises `NotRecorded`, or what `also` raises."""


class Works:
    """Implements `access.ports.Works`. `engine` may be one that only reads; `clock`: monotonic seconds."""

    def __init__(
        self, engine: Engine, recorder: Recorder, *, size: int = SIZE, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._engine = engine
        self._recorder = recorder
        self._size = size
        self._clock = clock
        self._kept: OrderedDict[str, tuple[str, float]] = OrderedDict()

    async def owners(self, names: Collection[str]) -> Mapping[str, str]:
        """The principal key of whoever started each of these (canonical names); the unknown are left out.

        Raises `Refused`: `REQUEST_MALFORMED` for more names than are asked for at once, `PLANE_UNAVAILABLE` when the
        database does not answer.
        """
        if len(names) > MAX_ASKED:
            raise Refused(Reason.REQUEST_MALFORMED, f"the request names more than {MAX_ASKED} operations and jobs")
        now = self._clock()
        found = {name: kept[0] for name in names if (kept := self._kept.get(name)) and kept[1] > now}
        missing = [name for name in names if name not in found]
        if missing:
            read = await asyncio.to_thread(self._read, missing)
            self._keep(read, now)
            found |= read
        return {name: owner for name, owner in found.items() if owner != _NOBODY}

    async def started(self, name: str, principal: str, decision: str, at: int) -> None:
        """Writes down who started something. `at`: microseconds since the epoch. Raises `NotRecorded`."""
        if not name or not principal or len(name) > MAX_NAME:
            raise NotRecorded("what was started has no name, or one that is too long")
        claim = _Claim(name, principal)
        try:
            await self._recorder.record(started_record(name, principal, decision, at), claim)
        except _KnownError:
            return
        finally:
            self._kept.pop(name, None)  # whatever came of it, the database knows better now

    def _read(self, names: Collection[str]) -> dict[str, str]:
        table = tables.works.c
        try:
            with self._engine.connect() as connection:
                rows = connection.execute(select(table.name, table.owner).where(table.name.in_(names))).all()
        except SQLAlchemyError:
            message = "who started this cannot be looked up right now"
            raise Refused(Reason.PLANE_UNAVAILABLE, message, hint="try again soon") from None
        return {row.name: row.owner for row in rows}

    def _keep(self, read: Mapping[str, str], asked_at: float) -> None:
        for name, owner in read.items():
            self._kept[name] = (owner, asked_at + FRESH)
            self._kept.move_to_end(name)
        while len(self._kept) > self._size:
            self._kept.popitem(last=False)


class _KnownError(RemitError):
    """It is known already that this principal started this."""


class _Claim:
    """The row that commits with the entry. The ledger's head is locked meanwhile, so that nobody else writes one."""

    def __init__(self, name: str, principal: str) -> None:
        self._name = name
        self._principal = principal

    def __call__(self, connection: Connection) -> Mapping[str, Value]:
        table = tables.works
        owner = connection.execute(select(table.c.owner).where(table.c.name == self._name)).scalar()
        if owner is None:
            connection.execute(insert(table).values(name=self._name, owner=self._principal))
        elif owner == self._principal:
            raise _KnownError("the owner is known")
        else:
            connection.execute(update(table).where(table.c.name == self._name).values(owner=_NOBODY))
        return {}
