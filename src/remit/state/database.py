"""Opening the database: one engine from a URL, with what each kind needs to be durable.

SQLite, on one machine: WAL, so that readers never stop the writer, and `synchronous=FULL`, so that a commit is on the
disk before it returns (https://www.sqlite.org/pragma.html#pragma_synchronous). A writing engine begins with `BEGIN
IMMEDIATE`: what a transaction reads is what it may build on, also with a second process at work
(https://www.sqlite.org/lang_transaction.html). PostgreSQL, for many: `postgres.py`.
"""

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import QueuePool

from remit.model.errors import Problem, SettingsInvalid
from remit.state import postgres
from remit.state.settings import StateSettings

_FORMS = "write `sqlite:////absolute/path.db` or `postgresql://HOST/DATABASE`"


def open_database(settings: StateSettings) -> Engine:
    """The engine that writes. A SQLite file is made when it is absent, readable by its owner only.

    Raises `SettingsInvalid` for a URL of another kind, `OSError` when the file cannot be made.
    """
    path = database_path(settings.url)
    if path is None:
        return postgres.engine(_parsed(settings.url), settings.busy_ms, read_only=False)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # SQLite gives its -wal and -shm files the permissions of the database
    os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    return _engine(f"{_uri(path)}?mode=rw", settings.busy_ms, "BEGIN IMMEDIATE", _make_durable)


def open_database_to_read(settings: StateSettings) -> Engine:
    """An engine that cannot write, for queries and for evidence on a read-only disk.

    Raises `SettingsInvalid` as `open_database` does, and when there is no such SQLite file, or when its last commits
    lie in a `-wal` file that cannot be read without writing.
    """
    path = database_path(settings.url)
    if path is None:
        return postgres.engine(_parsed(settings.url), settings.busy_ms, read_only=True)
    if not path.is_file():
        raise _invalid(f"there is no database at `{path}`")
    return _engine(f"{_uri(path)}?{_read_mode(path)}", settings.busy_ms, "BEGIN", _nothing)


def database_path(url: str) -> Path | None:
    """The file that a SQLite URL names, `None` for PostgreSQL; raises `SettingsInvalid`."""
    parsed = _parsed(url)
    if parsed.get_backend_name() == "postgresql":
        return None
    if parsed.get_backend_name() != "sqlite":
        raise _invalid(f"the database `{parsed.get_backend_name()}` is not supported", hint=_FORMS)
    path = Path(parsed.database or "")
    if not path.is_absolute():
        raise _invalid("the database URL names no absolute path", hint=_FORMS)
    return path


def _parsed(url: str) -> URL:
    try:
        return make_url(url)
    except ArgumentError:
        raise _invalid("the database URL cannot be read", hint=_FORMS) from None


def _read_mode(path: Path) -> str:
    if os.access(path.parent, os.W_OK) and not os.statvfs(path.parent).f_flag & os.ST_RDONLY:
        return "mode=ro"
    # where no -shm file can be made, SQLite reads a WAL database only as one that nobody changes
    wal, shared = (path.with_name(path.name + suffix) for suffix in ("-wal", "-shm"))
    if not wal.exists() or wal.stat().st_size == 0:
        return "mode=ro&immutable=1"
    if shared.exists():
        return "mode=ro"
    raise _invalid(
        f"the last commits of `{path}` lie in `{wal.name}`, which cannot be read on a read-only disk",
        hint="copy the folder to a writable place, `-wal` file included",
    )


def _engine(uri: str, busy_ms: int, begin: str, prepare: Callable[[sqlite3.Connection], None]) -> Engine:
    def connect() -> sqlite3.Connection:
        # no isolation level: transactions begin where SQLAlchemy's `begin` event says so, and not by themselves
        connection = sqlite3.connect(
            uri, uri=True, timeout=busy_ms / 1000, isolation_level=None, check_same_thread=False
        )
        prepare(connection)
        return connection

    engine = create_engine("sqlite://", creator=connect, poolclass=QueuePool)

    def on_begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    event.listen(engine, "begin", on_begin)
    return engine


def _make_durable(connection: sqlite3.Connection) -> None:
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "trusted_schema=OFF"):
        connection.execute(f"PRAGMA {pragma}").close()


def _nothing(_: Any) -> None:
    """A reader changes no setting of the file."""


def _uri(path: Path) -> str:
    return f"file:{quote(str(path))}"


def _invalid(message: str, *, hint: str = "") -> SettingsInvalid:
    return SettingsInvalid((Problem("state", 0, 0, message),), hint=hint)
