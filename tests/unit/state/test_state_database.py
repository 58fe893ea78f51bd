import os
import stat
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from remit.model.errors import SettingsInvalid
from remit.state.database import database_path, open_database, open_database_to_read
from remit.state.settings import StateSettings


def settings_at(path: Path, busy_ms: int = 50) -> StateSettings:
    return StateSettings(f"sqlite:///{path}", busy_ms)


def test_a_new_database_is_durable_and_private(tmp_path):
    path = tmp_path / "state" / "remit.db"
    engine = open_database(settings_at(path))
    with engine.begin() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
        connection.execute(text("CREATE TABLE t (x)"))
        modes = {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes == {0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    engine.dispose()


def test_a_writer_holds_the_lock_from_its_first_word(tmp_path):
    engine = open_database(settings_at(tmp_path / "remit.db"))
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE t (x)"))
    with engine.connect() as first, engine.connect() as second:
        first.execute(text("SELECT * FROM t"))
        with pytest.raises(OperationalError, match="database is locked"):
            second.execute(text("SELECT * FROM t"))
    engine.dispose()


def test_a_reader_reads_beside_a_writer_and_cannot_write(tmp_path):
    settings = settings_at(tmp_path / "with ? and % in it.db")
    writer = open_database(settings)
    with writer.begin() as connection:
        connection.execute(text("CREATE TABLE t (x)"))
        connection.execute(text("INSERT INTO t VALUES (1)"))
    reader = open_database_to_read(settings)
    with writer.begin() as writing, reader.connect() as reading:
        writing.execute(text("INSERT INTO t VALUES (2)"))
        assert reading.execute(text("SELECT count(*) FROM t")).scalar() == 1
    with reader.connect() as reading, pytest.raises(OperationalError, match="readonly"):
        reading.execute(text("DELETE FROM t"))
    writer.dispose()
    reader.dispose()


@pytest.fixture
def read_only_folder(monkeypatch):
    """The tests may run as root, for whom no folder is read-only: `access` is what is asked."""
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK and real(path, mode))


def test_a_closed_database_is_read_on_a_read_only_disk(tmp_path, read_only_folder):
    settings = settings_at(tmp_path / "remit.db")
    writer = open_database(settings)
    with writer.begin() as connection:
        connection.execute(text("CREATE TABLE t (x)"))
    writer.dispose()
    reader = open_database_to_read(settings)
    with reader.connect() as reading:
        assert reading.execute(text("SELECT count(*) FROM t")).scalar() == 0
    reader.dispose()
    assert [file.name for file in tmp_path.iterdir()] == ["remit.db"]


def test_commits_that_only_the_wal_holds_are_not_passed_over(tmp_path, read_only_folder):
    settings = settings_at(tmp_path / "remit.db")
    writer = open_database(settings)
    with writer.begin() as connection:
        connection.execute(text("CREATE TABLE t (x)"))
    reader = open_database_to_read(settings)
    with reader.connect() as reading:
        assert reading.execute(text("SELECT count(*) FROM t")).scalar() == 0
    reader.dispose()
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("remit.db", "remit.db-wal"):
        (copy / name).write_bytes((tmp_path / name).read_bytes())
    with pytest.raises(SettingsInvalid, match="cannot be read on a read-only disk") as refused:
        open_database_to_read(settings_at(copy / "remit.db"))
    assert "copy the folder" in refused.value.hint
    writer.dispose()


def test_a_missing_database_is_not_made_by_reading(tmp_path):
    with pytest.raises(SettingsInvalid, match="no database"):
        open_database_to_read(settings_at(tmp_path / "remit.db"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("nonsense", "cannot be read"),
        ("mysql://localhost/remit", "`mysql` is not supported"),
        ("sqlite:///relative.db", "no absolute path"),
        ("sqlite://", "no absolute path"),
    ],
)
def test_a_url_that_is_no_sqlite_file_is_refused(url, says):
    with pytest.raises(SettingsInvalid, match=says) as refused:
        database_path(url)
    assert "sqlite:////" in refused.value.hint
