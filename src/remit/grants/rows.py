"""The rows of grants, read back: each is what was asked for and has become of it, or it is none.

A row holds the digest of what was asked for, and is read against it: one that somebody changed behind the ledger is
refused, and so permits nothing. Leaves out the tables (`tables`), and every change (`steps`).
"""

import contextlib
import logging
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, Row, and_, or_, select
from sqlalchemy.exc import SQLAlchemyError

from remit.grants.tables import changes, grants, votes
from remit.model.errors import Refused
from remit.model.grant import GrantState, Kept, Step, Vote, Wanted
from remit.model.operation import Resource
from remit.model.reasons import Reason

OPEN = (GrantState.ASKED, GrantState.GRANTED)
"""States in which a grant can still permit something, unless its time is over."""

SHOWN = 200  # grants in one list, newest first

_log = logging.getLogger(__name__)


@contextlib.contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A connection to ask; raises `Refused` when the database does not answer."""
    try:
        with engine.connect() as connection:
            yield connection
    except SQLAlchemyError:
        message = "grants cannot be looked up right now"
        raise Refused(Reason.PLANE_UNAVAILABLE, message, hint="try again soon") from None


def newest(connection: Connection) -> int:
    """The number of the last step."""
    return int(connection.execute(select(changes.c.number)).scalar_one())


def one(connection: Connection, grant: str) -> Kept | None:
    """One grant; raises `Refused` when its row is not what was asked for."""
    row = connection.execute(select(grants).where(grants.c.id == grant)).first()
    return None if row is None else _kept(row, connection.execute(select(votes).where(votes.c.of == grant)).all())


def read(connection: Connection, *which: ColumnElement[bool], most: int | None = SHOWN) -> list[Kept]:
    """The newest grants of a kind, `None` for all. A row that was changed is none of them, and is said aloud."""
    wanted = select(grants).where(*which).order_by(grants.c.asked_at.desc(), grants.c.id.desc()).limit(most)
    rows = connection.execute(wanted).all()
    said: dict[str, list[Row[Any]]] = {row.id: [] for row in rows}
    ids = wanted.with_only_columns(grants.c.id)
    for vote in connection.execute(select(votes).where(votes.c.of.in_(ids))) if rows else ():
        said.get(vote.of, []).append(vote)
    found = []
    for row in rows:
        try:
            found.append(_kept(row, said[row.id]))
        except Refused as refused:
            _log.error("grant %s: %s", row.id, refused.message)
    return found


def _kept(row: Row[Any], said: Sequence[Row[Any]]) -> Kept:
    resource = Resource(row.resource_type, row.resource, row.project)
    wanted = Wanted(row.principal, row.action, resource, row.lasting, row.because, row.job, bool(row.break_glass))
    if wanted.digest != row.digest or row.state not in set(GrantState):
        raise Refused(Reason.PLANE_UNAVAILABLE, "the grant is not what was asked for: its row was changed")
    known = [vote for vote in said if vote.said in set(Step)]
    return Kept(
        row.id,
        wanted,
        row.name,
        row.needed,
        GrantState(row.state),
        row.asked_at,
        row.lapses,
        row.since,
        row.until,
        row.run,
        tuple(
            Vote(each.principal, each.name, Step(each.said), each.at, each.because, each.digest)
            for each in sorted(known, key=lambda vote: (vote.at, vote.principal, vote.said))
        ),
    )


def unfinished(now: int) -> ColumnElement[bool]:
    """Asked for or granted, and not over at a time."""
    lasting = or_(grants.c.until > now, and_(grants.c.until == 0, grants.c.lapses > now))
    return and_(grants.c.state.in_([str(state) for state in OPEN]), lasting)
