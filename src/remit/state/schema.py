"""How tables come to be and change: each room's tables have a version, and each version one step to the next.

A step is a list of statements. All of them run in one transaction, which both kinds grant to DDL as well, so that a
database is of one version or of the next, never between. A database that is newer than the program is refused.
"""

from collections.abc import Sequence

from sqlalchemy import Column, Engine, Integer, MetaData, String, Table, func, insert, select, text, update

from remit.model.errors import RemitError

_LOCK = 0x72656D6974  # "remit"
_PATIENCE_MS = "60000"
_metadata = MetaData()
_versions = Table(
    "schema_versions",
    _metadata,
    Column("room", String, primary_key=True),
    Column("version", Integer, nullable=False),
)


class SchemaTooNew(RemitError):
    """The database was written by a newer Remit."""


def migrate(engine: Engine, room: str, metadata: MetaData, steps: Sequence[Sequence[str]] = ()) -> int:
    """Brings a room's tables to the present version, which is one more than there are steps, and returns it.

    `steps[n]`: the statements from version `n + 1` to `n + 2`; `metadata`: the tables as they are at the end.
    Raises `SchemaTooNew` when the database is ahead.
    """
    wanted = len(steps) + 1
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":  # two installations that start at once; SQLite has one writer anyway
            for limit in ("lock_timeout", "statement_timeout"):  # of this transaction: others may be changing tables
                connection.execute(select(func.set_config(limit, _PATIENCE_MS, True)))  # noqa: FBT003 - its own form
            connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
        _metadata.create_all(connection)
        found = connection.execute(select(_versions.c.version).where(_versions.c.room == room)).scalar()
        if found is None:
            metadata.create_all(connection)
            connection.execute(insert(_versions).values(room=room, version=wanted))
            return wanted
        if found > wanted:
            raise SchemaTooNew(
                f"the tables of `{room}` have version {found}, this program knows {wanted}",
                hint="start the newer version of remit that wrote them",
            )
        for statement in (statement for step in steps[found - 1 :] for statement in step):
            connection.execute(text(statement))
        connection.execute(update(_versions).where(_versions.c.room == room).values(version=wanted))
    return wanted
