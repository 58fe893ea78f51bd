"""The table of browser sessions. What a session holds is sealed (`cipher`); the rest is what it is found by."""

from sqlalchemy import BigInteger, Column, Index, LargeBinary, MetaData, String, Table, Text

metadata = MetaData()

STEPS: tuple[tuple[str, ...], ...] = ()
"""Statements from each version of this table to the next (`remit.state.schema.migrate`)."""

sessions = Table(
    "sessions",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("id", String(40), nullable=False, unique=True),
    Column("principal", Text, nullable=False, index=True),
    Column("provider", String(64), nullable=False),
    Column("issuer", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("sid", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("used_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False, index=True),
    Column("renewing_until", BigInteger, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Index("sessions_by_sid", "issuer", "sid"),
    Index("sessions_by_subject", "issuer", "subject"),
)
"""`key`: SHA-256 of the cookie's secret, hex; `id`: the session's name for people; `principal`: `Principal.key`;

`subject` and `sid`: the provider's own, empty when it gave none; times in epoch seconds, `expires_at` the absolute
limit; `renewing_until`: until then one arbiter renews it, or has tried in vain, and the others do not.
"""
