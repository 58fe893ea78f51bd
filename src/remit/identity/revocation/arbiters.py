"""Which arbiters there are, and which epoch of the revocations each of them holds.

No clock is compared with another one. An arbiter's view runs out by itself `FENCE` seconds after its last look, and
whoever revokes waits that long for those who do not answer, then marks them as fenced, so that the next who revokes
need not wait. Two orders make this safe:
  an arbiter writes which epoch it holds before its view counts as fresh, and only where it is not fenced;
  a fenced one registers first and looks afterwards: what was revoked before it registered, it sees then.
Leaves out the view (`view`) and the waiting (`revocations`).
"""

from collections.abc import Mapping

from sqlalchemy import Connection, Engine, delete, func, insert, select, update

from remit.identity.revocation.tables import arbiters, epoch

FENCE = 2.0
"""Seconds after its last look at the database for which a view may answer."""

_FORGOTTEN = 24 * 3600  # seconds that the row of an arbiter that is gone is kept


class Membership:
    """One arbiter's own row. `reader` and `writer` may be the same engine; calls block."""

    def __init__(self, reader: Engine, writer: Engine, arbiter: str) -> None:
        self._reader = reader
        self._writer = writer
        self._id = arbiter

    def look(self) -> tuple[int, int | None]:
        """The newest epoch, and the one that this arbiter is known to hold; `None` when it does not count."""
        own = (arbiters.c.id == self._id) & (arbiters.c.fenced == 0)
        with self._reader.connect() as connection:
            row = connection.execute(select(epoch.c.epoch, arbiters.c.held).select_from(epoch.outerjoin(arbiters, own)))
            found = row.one()
        return found.epoch, found.held

    def register(self, now: int) -> None:
        """Counts from now on, and holds nothing yet. `now`: seconds since the epoch."""
        with self._writer.begin() as connection:
            gone = (arbiters.c.fenced == 1) & (arbiters.c.seen_at < now - _FORGOTTEN)
            connection.execute(delete(arbiters).where((arbiters.c.id == self._id) | gone))
            connection.execute(insert(arbiters).values(id=self._id, held=-1, seen_at=now, fenced=0))

    def hold(self, held: int, now: int) -> bool:
        """Tells everybody that the view has this epoch; false when it does not count any more."""
        own = update(arbiters).where(arbiters.c.id == self._id, arbiters.c.fenced == 0)
        with self._writer.begin() as connection:
            return connection.execute(own.values(held=held, seen_at=now)).rowcount == 1

    def leave(self) -> None:
        """Is gone: nobody waits for it. Call it when the view does not answer any more."""
        with self._writer.begin() as connection:
            connection.execute(update(arbiters).where(arbiters.c.id == self._id).values(fenced=1))


def counting(connection: Connection) -> Mapping[str, int]:
    """The arbiters that may be permitting something at this moment, and the epoch that each of them holds."""
    found = connection.execute(select(arbiters.c.id, arbiters.c.held).where(arbiters.c.fenced == 0))
    return {row.id: row.held for row in found}


def fence(connection: Connection, number: int) -> None:
    """Marks those who do not hold an epoch, whose views have run out by now."""
    connection.execute(update(arbiters).where(arbiters.c.fenced == 0, arbiters.c.held < number).values(fenced=1))


def newest(connection: Connection) -> int:
    """The newest epoch."""
    return int(connection.execute(select(func.max(epoch.c.epoch))).scalar_one())
