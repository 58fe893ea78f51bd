"""PostgreSQL: what a connection is told so that a commit is on the disk, and nobody waits for ever.

`synchronous_commit=on` is PostgreSQL's word for durable (https://www.postgresql.org/docs/current/runtime-config-wal.html);
the rest bounds waiting (https://www.postgresql.org/docs/current/runtime-config-client.html). Who logs in is libpq's
business: a certificate, a password file, peer authentication; a password in the URL works and is nobody's advice.
"""

from sqlalchemy import URL, Engine, create_engine

_CONNECT = 3  # seconds
_SILENT_MS = 3_000  # a connection whose other end is gone
_STATEMENT_MS = 5_000  # a decision has one second in all; a question over the ledger has more
_IDLE_MS = 10_000  # a transaction that its process has forgotten lets go of its locks


def engine(url: URL, lock_ms: int, *, read_only: bool) -> Engine:
    """An engine for a `postgresql://` URL. `lock_ms`: how long a writer waits for another one."""
    options = {
        "synchronous_commit": "on",
        "lock_timeout": str(max(lock_ms, 1)),
        "statement_timeout": "0" if read_only else str(_STATEMENT_MS),
        "idle_in_transaction_session_timeout": str(_IDLE_MS),
        "default_transaction_read_only": "on" if read_only else "off",
    }
    return create_engine(
        url.set(drivername="postgresql+psycopg"),
        # statements that are compiled once get their values by position
        paramstyle="format",
        pool_pre_ping=True,
        connect_args={
            "connect_timeout": _CONNECT,
            "tcp_user_timeout": _SILENT_MS,
            "keepalives_idle": 2,
            "keepalives_interval": 1,
            "application_name": "remit",
            "options": " ".join(f"-c {name}={value}" for name, value in options.items()),
        },
    )
