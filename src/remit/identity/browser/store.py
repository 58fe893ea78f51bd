"""The rows of sessions: one statement a method, portable SQL, blocking (`sessions` asks from a thread).

Whatever the database says wrong becomes `PLANE_UNAVAILABLE`: who somebody is cannot be known without it. Leaves out:
limits, renewal and what is sealed in a row.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

from sqlalchemy import ColumnElement, Connection, Engine, and_, delete, insert, or_, select, update
from sqlalchemy.exc import SQLAlchemyError

from remit.identity.browser.tables import sessions as table
from remit.model.errors import Refused
from remit.model.reasons import Reason

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Row:
    """One session, as in `tables`."""

    key: str = field(repr=False)
    id: str
    principal: str
    provider: str
    issuer: str
    subject: str
    sid: str
    created_at: int
    used_at: int
    expires_at: int
    sealed: bytes = field(repr=False)
    renewing_until: int = 0


class SessionStore:
    """All of them. Every method raises `Refused` with `PLANE_UNAVAILABLE` when the database does not answer.

    `reader`: an engine on the same database that looks sessions up, since anybody may present a secret, and one that
    writes would take SQLite's only lock from the ledger for it; `None` for the same engine.
    """

    def __init__(self, engine: Engine, reader: Engine | None = None) -> None:
        self._engine = engine
        self._reader = reader or engine

    def add(self, row: Row) -> None:
        """A new session."""
        with self._transaction() as connection:
            connection.execute(insert(table).values(asdict(row)))

    def find(self, key: str) -> Row | None:
        """The session of a secret's hash."""
        rows = self._select(table.c.key == key)
        return rows[0] if rows else None

    def of(self, principal: str) -> Sequence[Row]:
        """A principal's sessions, the latest used first."""
        return sorted(self._select(table.c.principal == principal), key=lambda row: -row.used_at)

    def touch(self, key: str, now: int) -> None:
        """It was used."""
        with self._transaction() as connection:
            connection.execute(update(table).where(table.c.key == key, table.c.used_at < now).values(used_at=now))

    def claim(self, key: str, now: int, until: int) -> bool:
        """True for the one arbiter that may renew it until then."""
        with self._transaction() as connection:
            free = and_(table.c.key == key, table.c.renewing_until <= now)
            return connection.execute(update(table).where(free).values(renewing_until=until)).rowcount == 1

    def renew(self, key: str, sealed: bytes) -> bool:
        """Keeps what a renewal gave; false when the session was ended meanwhile."""
        with self._transaction() as connection:
            new = update(table).where(table.c.key == key).values(sealed=sealed, renewing_until=0)
            return connection.execute(new).rowcount == 1

    def end_key(self, key: str) -> Sequence[Row]:
        """Ends the session of a secret's hash; returns what was ended, as the others do."""
        return self._end(table.c.key == key)

    def end_id(self, name: str) -> Sequence[Row]:
        """Ends the session of this name."""
        return self._end(table.c.id == name)

    def end_principal(self, principal: str) -> Sequence[Row]:
        """Ends all sessions of a principal."""
        return self._end(table.c.principal == principal)

    def end_sid(self, issuer: str, sid: str) -> Sequence[Row]:
        """Ends what belongs to a provider's session."""
        return self._end(and_(table.c.issuer == issuer, table.c.sid == sid)) if sid else ()

    def end_subject(self, issuer: str, subject: str) -> Sequence[Row]:
        """Ends what belongs to a provider's subject."""
        return self._end(and_(table.c.issuer == issuer, table.c.subject == subject)) if subject else ()

    def sweep(self, now: int, idle: int) -> int:
        """Forgets sessions past their limits; returns how many."""
        with self._transaction() as connection:
            over = or_(table.c.expires_at <= now, table.c.used_at <= now - idle)
            return connection.execute(delete(table).where(over)).rowcount

    def _select(self, where: ColumnElement[bool]) -> list[Row]:
        with self._transaction(self._reader) as connection:
            return _rows(connection, where)

    def _end(self, where: ColumnElement[bool]) -> Sequence[Row]:
        with self._transaction() as connection:
            rows = _rows(connection, where)
            connection.execute(delete(table).where(table.c.key.in_([row.key for row in rows])))
        return rows

    @contextmanager
    def _transaction(self, engine: Engine | None = None) -> Iterator[Connection]:
        try:
            with (engine or self._engine).begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            log.warning("the sessions are not known: %s", type(error).__name__)
            raise Refused(
                Reason.PLANE_UNAVAILABLE, "the sessions are not known right now", hint="try again soon"
            ) from None


def _rows(connection: Connection, where: ColumnElement[bool]) -> list[Row]:
    return [Row(**found) for found in connection.execute(select(table).where(where)).mappings()]
