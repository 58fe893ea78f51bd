"""The ledger's tables. `assembly` hands them to `state`, which makes them.

`ledger_head` has one row: the tree as it stands, so that appending reads one row, whatever the ledger's size.
"""

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, MetaData, String, Table, text

metadata = MetaData()

STEPS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE ledger_works (name VARCHAR NOT NULL, owner VARCHAR NOT NULL, PRIMARY KEY (name))",
        "CREATE INDEX ledger_entries_later ON ledger_entries (at) WHERE type <> 'decision'",
    ),
    (
        """CREATE TABLE ledger_memberships (
            digest VARCHAR NOT NULL, "groups" VARCHAR NOT NULL, roles VARCHAR NOT NULL, PRIMARY KEY (digest)
        )""",
        "CREATE TABLE ledger_policies (version VARCHAR NOT NULL, files VARCHAR NOT NULL, PRIMARY KEY (version))",
    ),
)
"""Statements from each version of these tables to the next (`remit.state.schema.migrate`)."""

LATER = text("type <> 'decision'")
"""What `ledger_entries_later` holds: what became known of decisions later, few among many. As a literal, or SQLite does
not see that the index has it (https://www.sqlite.org/partialindex.html, section 3)."""

entries = Table(
    "ledger_entries",
    metadata,
    Column("position", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("at", BigInteger, nullable=False, index=True),
    Column("type", String, nullable=False),
    Column("entry", LargeBinary, nullable=False),
    Column("leaf", LargeBinary(32), nullable=False),
    Index("ledger_entries_later", "at", sqlite_where=LATER, postgresql_where=LATER),
)
"""`position`: from 0; `at`: microseconds, 0 when an entry has no time; `entry`: canonical bytes; `leaf`: their hash."""

head = Table(
    "ledger_head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("size", BigInteger, nullable=False),
    Column("edge", LargeBinary, nullable=False),
    Column("checkpoint", String, nullable=False),
)

checkpoints = Table(
    "ledger_checkpoints",
    metadata,
    Column("size", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("note", String, nullable=False),
)

segments = Table(
    "ledger_segments",
    metadata,
    Column("node", String, primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("position", BigInteger, nullable=False),
)
"""Which entry holds which segment's manifest: what makes entering one idempotent."""

works = Table(
    "ledger_works",
    metadata,
    Column("name", String, primary_key=True),
    Column("owner", String, nullable=False),
)
"""What was started: its canonical `name`, and the key of whoever started it, empty once two different ones did."""

memberships = Table(
    "ledger_memberships",
    metadata,
    Column("digest", String, primary_key=True),
    Column("groups", String, nullable=False, quote=True),
    Column("roles", String, nullable=False),
)
"""The groups and roles that decisions were taken on, each a sorted JSON list, by the `digest` that records name."""

policies = Table(
    "ledger_policies",
    metadata,
    Column("version", String, primary_key=True),
    Column("files", String, nullable=False),
)
"""The texts of each set of policies that decided: one JSON object, by the files' names."""
