"""What the directory's poll has told, its inventory, and the risk that providers reported: shared by all arbiters.

`assembly` hands them to `state`, which makes them, as the room `directory`.
"""

from sqlalchemy import BigInteger, Boolean, Column, MetaData, String, Table, Text

metadata = MetaData()

STEPS: tuple[tuple[str, ...], ...] = (
    (
        (
            "CREATE TABLE directory_inventories "
            "(tenant VARCHAR NOT NULL PRIMARY KEY, at BIGINT NOT NULL, document TEXT NOT NULL)"
        ),
    ),
)
"""Statements from each version of these tables to the next (`remit.state.schema.migrate`)."""

told = Table(
    "directory_told",
    metadata,
    Column("subject", String, primary_key=True),
    Column("locked", Boolean, nullable=False),
    Column("before", BigInteger, nullable=False),
    Column("sure", Boolean, nullable=False),
)
"""What was last told to the revocations of one account: so that a restart, or a second arbiter, tells nothing twice.

`subject`: `Principal.key`; `before`: epoch seconds, 0 for nothing; `sure`: false while it is being told.
"""

links = Table(
    "directory_links",
    metadata,
    Column("tenant", String, primary_key=True),
    Column("collection", String, primary_key=True),
    Column("link", String, nullable=False),
)
"""From where on Graph is to tell what changed (`@odata.deltaLink`): all before it has been told."""

risks = Table(
    "identity_risks",
    metadata,
    Column("subject", String, primary_key=True),
    Column("level", String, nullable=False),
    Column("at", BigInteger, nullable=False, index=True),
)
"""The newest word of a provider on one principal's risk. `at`: of the event, epoch seconds."""

inventories = Table(
    "directory_inventories",
    metadata,
    Column("tenant", String, primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("document", Text, nullable=False),
)
"""The last whole reading of a tenant's accounts and groups. `at`: epoch seconds; `document`: JSON, of `inventory`."""
