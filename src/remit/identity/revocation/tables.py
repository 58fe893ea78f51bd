"""The tables of revocations. `assembly` hands them to `state`, which makes them.

`revocation_epoch` has one row. A transaction that revokes or lifts raises it first, and so holds its lock to the end:
epochs become visible in their order, and who sees one sees every row up to it.
"""

from sqlalchemy import BigInteger, Column, Connection, Integer, MetaData, String, Table, event, insert

metadata = MetaData()

STEPS: tuple[tuple[str, ...], ...] = ()
"""Statements from each version of these tables to the next (`remit.state.schema.migrate`)."""

revocations = Table(
    "revocations",
    metadata,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("scope", String, nullable=False),
    Column("subject", String, nullable=False, index=True),
    Column("before", BigInteger, nullable=False),
    Column("locked", Integer, nullable=False),
    Column("until", BigInteger, nullable=False),
    Column("source", String, nullable=False),
    Column("because", String, nullable=False),
    Column("actor", String, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("lifted_at", BigInteger, nullable=False),
    Column("changed", BigInteger, nullable=False, index=True),
)
"""`number`: the epoch that it raised; `before`, `locked`, `until`, `source`, `because`: as in `Revocation`; `at` and
`lifted_at`: microseconds since the epoch, 0 when nobody lifted it; `changed`: the epoch of its last change."""

epoch = Table(
    "revocation_epoch",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("epoch", BigInteger, nullable=False),
)

arbiters = Table(
    "arbiters",
    metadata,
    Column("id", String, primary_key=True),
    Column("held", BigInteger, nullable=False),
    Column("seen_at", BigInteger, nullable=False),
    Column("fenced", Integer, nullable=False),
)
"""`held`: the epoch that its view has; `seen_at`: seconds since the epoch, for people's eyes and for clearing up;
`fenced`: 1 when its view is known to have run out, and it has to register anew before it counts again."""


def _first(_table: Table, connection: Connection, **_: object) -> None:
    connection.execute(insert(epoch).values(id=1, epoch=0))


event.listen(epoch, "after_create", _first)
