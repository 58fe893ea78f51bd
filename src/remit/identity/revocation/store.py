"""The rows of revocations: what commits with an entry of the ledger, and what stands.

An effect is called inside the ledger's transaction and returns what its entry can say only then. Leaves out the tables
(`tables`), and who waits for whom (`revocations`).
"""

import contextlib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, Row, insert, or_, select, update
from sqlalchemy.exc import SQLAlchemyError

from remit.identity.replay import seen
from remit.identity.revocation.tables import epoch, revocations
from remit.identity.revocation.view import LONGEST
from remit.model.errors import NotRecorded, RemitError
from remit.model.record import Value
from remit.model.revocation import Revocation, Scope


@dataclass(frozen=True, slots=True)
class Once:
    """What may take effect once: the name of a security event, and until when it would be believed (epoch seconds)."""

    name: str
    until: int


@dataclass(frozen=True, slots=True)
class Standing:
    """A revocation that is in force. `number`: its epoch; `at`: microseconds since the epoch; `actor`: who asked."""

    number: int
    at: int
    actor: str
    revocation: Revocation


class Done(RemitError):
    """The event has taken effect before."""


class Effect:
    """What commits with the entry of a revocation; `number` is its epoch afterwards."""

    def __init__(self, asked: Revocation, now: int, actor: str, once: Once | None) -> None:
        self._asked = asked
        self._now = now
        self._actor = actor
        self._once = once
        self.number = 0

    def __call__(self, connection: Connection) -> Mapping[str, Value]:
        """Raises `Done` for an event that has taken effect before."""
        asked = self._asked
        _first(connection, self._once)
        self.number = _raised(connection)
        row = {
            "number": self.number,
            "scope": str(asked.scope),
            "subject": asked.subject,
            "before": asked.before,
            "locked": int(asked.locked),
            "until": asked.until,
            "source": asked.source,
            "because": asked.because,
            "actor": self._actor,
            "at": self._now,
            "lifted_at": 0,
            "changed": self.number,
        }
        connection.execute(insert(revocations).values(row))
        return {"epoch": self.number}


class Lifting:
    """What commits with the entry of a lift: of all locks, or when `asked.before` is given, of those not later."""

    def __init__(self, asked: Revocation, now: int, once: Once | None) -> None:
        self._asked = asked
        self._now = now
        self._once = once
        self.number = 0

    def __call__(self, connection: Connection) -> Mapping[str, Value]:
        """Raises `Done` for an event that has taken effect before."""
        _first(connection, self._once)
        self.number = _raised(connection)
        ended = update(revocations).where(*_locks(self._asked))
        connection.execute(ended.values(lifted_at=self._now, changed=self.number))
        return {"epoch": self.number}


def _raised(connection: Connection) -> int:
    """The next epoch. The row stays locked until the commit, and so epochs become visible in their order."""
    connection.execute(update(epoch).values(epoch=epoch.c.epoch + 1))
    return int(connection.execute(select(epoch.c.epoch)).scalar_one())


def _first(connection: Connection, once: Once | None) -> None:
    """Takes note that an event takes effect, in the table of what happens once (`replay`); raises `Done`."""
    if once is None:
        return
    name = hashlib.sha256(once.name.encode("utf-8", "surrogatepass")).hexdigest()
    known = select(seen.c.until).where(seen.c.kind == "set", seen.c.name == name)
    if connection.execute(known).first() is not None:
        raise Done("the event has taken effect before")
    connection.execute(insert(seen).values(kind="set", name=name, until=once.until))


def _same(asked: Revocation) -> tuple[ColumnElement[bool], ...]:
    columns = revocations.c
    return (
        columns.scope == str(asked.scope),
        columns.subject == asked.subject,
        columns.source == asked.source,
    )


def _unlifted() -> ColumnElement[bool]:
    return (revocations.c.locked == 1) & (revocations.c.lifted_at == 0)


def _locks(asked: Revocation) -> tuple[ColumnElement[bool], ...]:
    found = (*_same(asked), _unlifted())
    return (*found, revocations.c.before <= asked.before) if asked.before else found


def _in_force(now: int) -> ColumnElement[bool]:
    lasting = or_(revocations.c.until == 0, revocations.c.until > now)
    return or_(_unlifted() & lasting, revocations.c.before > now - LONGEST)


def _standing(row: Row[Any]) -> Standing:
    locked = bool(row.locked) and not row.lifted_at
    asked = Revocation(Scope(row.scope), row.subject, row.before, locked, row.until, row.source, row.because)
    return Standing(row.number, row.at, row.actor, asked)


@contextlib.contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A connection to ask; raises `NotRecorded` when the database does not answer."""
    try:
        with engine.connect() as connection:
            yield connection
    except SQLAlchemyError as error:
        raise NotRecorded(f"the database could not be read: {getattr(error, 'orig', None) or error}") from error


def standing(connection: Connection, now: int) -> Sequence[Standing]:
    """What is in force, newest last."""
    found = connection.execute(select(revocations).where(_in_force(now)).order_by(revocations.c.number))
    return [_standing(row) for row in found]


def standing_as(connection: Connection, asked: Revocation) -> int | None:
    """The epoch of a revocation that says the same, or more."""
    same = (
        *_same(asked),
        revocations.c.lifted_at == 0,
        revocations.c.locked == int(asked.locked),
        revocations.c.until == asked.until,
        revocations.c.before >= asked.before,
    )
    found = connection.execute(select(revocations.c.number).where(*same)).first()
    return None if found is None else int(found.number)


def locked(connection: Connection, asked: Revocation) -> bool:
    """Whether there is anything that a lift would end."""
    return connection.execute(select(revocations.c.number).where(*_locks(asked))).first() is not None
