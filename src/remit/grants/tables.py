"""The tables of grants and of runs. `assembly` hands them to `state`, which makes them.

`grant_changes` has one row. A transaction that takes a step raises it first, and so holds its lock to the end: steps
follow one another, whoever sees a number sees every step up to it, and whoever follows asks for one row.
"""

from sqlalchemy import BigInteger, Column, Connection, Index, Integer, MetaData, String, Table, event, insert

metadata = MetaData()

STEPS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE job_runs (
            id VARCHAR NOT NULL, principal VARCHAR NOT NULL, name VARCHAR NOT NULL, project VARCHAR NOT NULL,
            lasting BIGINT NOT NULL, started BIGINT NOT NULL, ended BIGINT NOT NULL, changed BIGINT NOT NULL,
            PRIMARY KEY (id)
        )""",
        "CREATE INDEX ix_job_runs_alike ON job_runs (principal, project, name, started)",
        "CREATE INDEX ix_job_runs_changed ON job_runs (changed)",
        "CREATE INDEX ix_job_runs_ended ON job_runs (ended)",
    ),
)
"""Statements from each version of these tables to the next (`remit.state.schema.migrate`)."""

grants = Table(
    "grants",
    metadata,
    Column("id", String, primary_key=True),
    Column("principal", String, nullable=False, index=True),
    Column("name", String, nullable=False),
    Column("action", String, nullable=False),
    Column("resource_type", String, nullable=False),
    Column("resource", String, nullable=False),
    Column("project", String, nullable=False),
    Column("lasting", BigInteger, nullable=False),
    Column("because", String, nullable=False),
    Column("job", String, nullable=False),
    Column("break_glass", Integer, nullable=False),
    Column("digest", String, nullable=False),
    Column("needed", Integer, nullable=False),
    Column("state", String, nullable=False),
    Column("asked_at", BigInteger, nullable=False),
    Column("lapses", BigInteger, nullable=False, index=True),
    Column("since", BigInteger, nullable=False),
    Column("until", BigInteger, nullable=False, index=True),
    Column("run", String, nullable=False),
    Column("review", Integer, nullable=False, index=True),
    Column("changed", BigInteger, nullable=False, index=True),
)
"""`principal` to `break_glass`: as in `Wanted`, and `digest` over them; `name` to `run`: as in `Kept`; `review`: 1 when
somebody still has to look at it; `changed`: the number of its last step."""

votes = Table(
    "grant_votes",
    metadata,
    Column("of", String, primary_key=True),
    Column("principal", String, primary_key=True),
    Column("said", String, primary_key=True),
    Column("name", String, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("because", String, nullable=False),
    Column("digest", String, nullable=False),
)
"""What was said to the grant `of`, once by each: as in `Vote`."""

runs = Table(
    "job_runs",
    metadata,
    Column("id", String, primary_key=True),
    Column("principal", String, nullable=False),
    Column("name", String, nullable=False),
    Column("project", String, nullable=False),
    Column("lasting", BigInteger, nullable=False),
    Column("started", BigInteger, nullable=False),
    Column("ended", BigInteger, nullable=False, index=True),
    Column("changed", BigInteger, nullable=False, index=True),
    Index("ix_job_runs_alike", "principal", "project", "name", "started"),
)
"""As in `model.job.Run`; `changed`: the number of its last step."""

changes = Table(
    "grant_changes",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("number", BigInteger, nullable=False),
)


def _first(_table: Table, connection: Connection, **_: object) -> None:
    connection.execute(insert(changes).values(id=1, number=0))


event.listen(changes, "after_create", _first)
