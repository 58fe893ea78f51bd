"""PostgreSQL as the state: durable, bounded in its waiting, and a ledger that several writers share."""

import threading
from contextlib import closing

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, OperationalError

from remit.audit import tables
from remit.audit.keys import load_key, make_key
from remit.audit.ledger import Entry, Ledger
from remit.model.errors import SettingsInvalid
from remit.state.database import database_path, open_database, open_database_to_read
from remit.state.schema import migrate
from remit.state.settings import StateSettings


@pytest.fixture
def settings(postgres_database):
    """A database of the test's own."""
    return StateSettings(postgres_database, 200)


@pytest.fixture
def engine(settings):
    engine = open_database(settings)
    yield engine
    engine.dispose()


def test_a_commit_is_on_the_disk_and_waiting_ends(engine):
    with engine.connect() as connection:
        said = {
            name: connection.exec_driver_sql(f"SHOW {name}").scalar()
            for name in (
                "synchronous_commit",
                "lock_timeout",
                "statement_timeout",
                "idle_in_transaction_session_timeout",
            )
        }
    assert said == {
        "synchronous_commit": "on",
        "lock_timeout": "200ms",
        "statement_timeout": "5s",
        "idle_in_transaction_session_timeout": "10s",
    }


def test_a_reader_cannot_write(settings, engine):
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE t (x integer)"))
    reader = open_database_to_read(settings)
    with reader.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM t")).scalar() == 0
        with pytest.raises(DBAPIError, match="read-only transaction"):
            connection.execute(text("DELETE FROM t"))
    reader.dispose()


def test_a_server_is_no_file_and_other_databases_are_refused(settings):
    assert database_path(settings.url) is None
    with pytest.raises(SettingsInvalid, match="`mysql` is not supported"):
        database_path("mysql://h/d")


def test_an_absent_server_is_an_error_of_the_database(tmp_path):
    engine = open_database(StateSettings(f"postgresql://remit@/none?host={tmp_path}"))
    with pytest.raises(OperationalError), engine.connect():
        pass


def test_two_installations_that_start_at_once_make_the_tables_once(settings):
    trouble = []

    def start():
        with closing_engine(settings) as own:
            try:
                migrate(own, "audit", tables.metadata, tables.STEPS)
            except Exception as error:  # noqa: BLE001 - whatever it is, the test names it
                trouble.append(error)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert trouble == []


class closing_engine:  # noqa: N801 - reads as what it does
    def __init__(self, settings):
        self.engine = open_database(settings)

    def __enter__(self):
        return self.engine

    def __exit__(self, *_):
        self.engine.dispose()


@pytest.mark.parametrize("writers", [1, 3])
def test_several_writers_share_one_tree(settings, engine, tmp_path, writers):
    migrate(engine, "audit", tables.metadata, tables.STEPS)
    make_key(tmp_path / "key", "contoso.example/remit")
    signer = load_key(tmp_path / "key", "contoso.example/remit")
    engines = [open_database(StateSettings(settings.url, 5_000)) for _ in range(writers)]
    ledgers = [Ledger(one, signer, folder=tmp_path, database=None) for one in engines]
    trouble = []

    def write(ledger, own):
        for number in range(20):
            try:
                ledger.append([Entry.of({"type": "test", "at": 1, "writer": own, "number": number})])
            except Exception as error:  # noqa: BLE001 - whatever it is, the test names it
                trouble.append(error)

    threads = [threading.Thread(target=write, args=(ledger, own)) for own, ledger in enumerate(ledgers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert trouble == []
    with closing(engine.connect()) as connection:
        positions = [row.position for row in connection.execute(text("SELECT position FROM ledger_entries ORDER BY 1"))]
        assert positions == list(range(20 * writers))
    assert ledgers[0].checkpoint().splitlines()[1] == str(20 * writers)
    for one in engines:
        one.dispose()
