import pytest
from sqlalchemy import Column, Integer, MetaData, Table, inspect, text
from sqlalchemy.exc import OperationalError

from remit.state.database import open_database
from remit.state.schema import SchemaTooNew, migrate
from remit.state.settings import StateSettings


@pytest.fixture
def engine(tmp_path):
    engine = open_database(StateSettings(f"sqlite:///{tmp_path}/remit.db", 50))
    yield engine
    engine.dispose()


def tables(*columns: str) -> MetaData:
    metadata = MetaData()
    Table("things", metadata, Column("id", Integer, primary_key=True), *(Column(name, Integer) for name in columns))
    return metadata


ADD_SIZE = ("ALTER TABLE things ADD COLUMN size INTEGER", "UPDATE things SET size = 7")
ADD_AGE = ("ALTER TABLE things ADD COLUMN age INTEGER",)


def test_tables_are_made_once(engine):
    assert migrate(engine, "audit", tables()) == 1
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO things VALUES (1)"))
    assert migrate(engine, "audit", tables()) == 1
    with engine.begin() as connection:
        assert connection.execute(text("SELECT count(*) FROM things")).scalar() == 1


def test_an_old_database_takes_every_step(engine):
    migrate(engine, "audit", tables())
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO things VALUES (1)"))
    assert migrate(engine, "audit", tables("size", "age"), [ADD_SIZE, ADD_AGE]) == 3
    with engine.begin() as connection:
        assert connection.execute(text("SELECT id, size, age FROM things")).one() == (1, 7, None)
    assert migrate(engine, "audit", tables("size", "age"), [ADD_SIZE, ADD_AGE]) == 3


def test_a_new_database_needs_no_step(engine):
    assert migrate(engine, "audit", tables("size"), [ADD_SIZE]) == 2


def test_rooms_have_versions_of_their_own(engine):
    migrate(engine, "audit", tables("size"), [ADD_SIZE])
    assert migrate(engine, "grants", MetaData()) == 1


def test_a_newer_database_is_refused(engine):
    migrate(engine, "audit", tables("size"), [ADD_SIZE])
    with pytest.raises(SchemaTooNew, match="version 2, this program knows 1") as refused:
        migrate(engine, "audit", tables())
    assert "newer version" in refused.value.hint


def test_a_step_that_fails_leaves_the_old_version(engine):
    migrate(engine, "audit", tables())
    broken = (*ADD_SIZE, "ALTER TABLE nothing ADD COLUMN x INTEGER")
    with pytest.raises(OperationalError):
        migrate(engine, "audit", tables("size"), [broken])
    with engine.begin() as connection:
        columns = [column["name"] for column in inspect(connection).get_columns("things")]
    assert columns == ["id"]
    assert migrate(engine, "audit", tables("size"), [ADD_SIZE]) == 2
