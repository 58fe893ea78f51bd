"""A stock PostgreSQL client with a person's token, through everything that runs: decided, recorded, revoked, replaced."""

import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest
import sqlalchemy
from tests.e2e.conftest import TENANT, World, until
from tests.unit.sql.conftest import READER, WRITER, Front, Loop, free_port, prepared

pytestmark = pytest.mark.e2e

DANA = f"{TENANT}/0d000000-0000-4000-8000-000000000001"
ROLE = f"//remit/projects/contoso-fraud-test/databases/fraud/roles/{READER}"
POLICY = f"""
@id("engineers-read-the-fraud-database")
permit (
    principal in Group::"9a000000-0000-4000-8000-000000000002", // ml-engineers
    action == Action::"postgresql.databases.connect",
    resource == DatabaseRole::"{ROLE}"
);
@id("nobody-writes-it")
@refusal("the fraud database is not written to")
forbid (
    principal,
    action == Action::"postgresql.databases.connect",
    resource == DatabaseRole::"{ROLE.replace(READER, WRITER)}"
);
"""


class Plane(World):
    """A plane with a database behind it."""

    def __init__(self, folder: Path, database: str) -> None:
        super().__init__(folder)
        self.door, self.database = free_port(), free_port()
        text = self.config.read_text("utf-8")
        listen = f"  listen: 127.0.0.1:{self.port}\n"
        assert listen in text
        text = text.replace(listen, f"{listen}  databases: 127.0.0.1:{self.door}\n")
        text += f"""
  - name: fraud
    project: contoso-fraud-test
    address: 127.0.0.1:{self.database}
    database: {database}
    roles: [{READER}, {WRITER}]
    ca_file: database.pem
"""
        self.config.write_text(text, "utf-8")
        (self.config.parent / "policies" / "databases.cedar").write_text(POLICY, "utf-8")

    def connect(self, name: str = "dana", role: str = READER) -> "psycopg.Connection[tuple[Any, ...]]":
        return psycopg.connect(
            host="127.0.0.1",
            port=self.door,
            user=role,
            dbname="fraud",
            password=self.entra.token(name),
            application_name=f"train.py j-{'0' * 26}",
            connect_timeout=30,
        )

    def entries(self, kind: str) -> list[dict[str, Any]]:
        engine = sqlalchemy.create_engine(self.settings.state.url)
        with engine.connect() as connection:
            query = "SELECT entry FROM ledger_entries WHERE type = ? ORDER BY position"
            found = [json.loads(row[0]) for row in connection.exec_driver_sql(query, (kind,))]
        engine.dispose()
        return found


@pytest.fixture(scope="module")
def plane(postgres: str) -> Iterator[Plane]:
    folder, name = Path(tempfile.mkdtemp(prefix="remit-e2e-")), f"fraud_{os.getpid()}"
    unix = parse_qs(urlsplit(postgres).query)["host"][0]
    prepared({"host": unix, "user": "remit", "dbname": "postgres"}, name)
    loop, found, front = Loop(), None, None
    try:
        found = Plane(folder, name)
        home = found.config.parent
        front = Front(f"{unix}/.s.PGSQL.5432", home / ".remit" / "databases" / "ca.pem", folder)
        front.port = found.database
        loop.run(front.start())
        shutil.copy(front.certificate, home / "database.pem")
        found.start()
        yield found
    finally:
        if found:
            found.end()
        if front:
            loop.run(front.stop())
        loop.close()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.promise("T3")
@pytest.mark.promise("T6")
def test_a_person_reads_and_the_ledger_knows_what_ran(plane: Plane) -> None:
    with plane.connect() as connection:
        row = connection.execute("SELECT count(*), session_user FROM claims WHERE note <> 'hidden'").fetchone()
    assert row == (1000, READER)
    until(lambda: bool(plane.entries("statements")), 30, plane.tail)
    [entry] = plane.entries("statements")
    assert (entry["principal"], entry["database"], entry["role"]) == (DANA, "fraud", READER)
    assert entry["job"] == f"j-{'0' * 26}"
    assert entry["statements"] == ["begin", "select count (*), session_user from claims where note <> ?", "commit"]
    [decision] = [one for one in plane.entries("decision") if one["decision"] == entry["decision"]]
    assert (decision["resource"], decision["policies"]) == (ROLE, ["engineers-read-the-fraud-database"])


@pytest.mark.parametrize(
    ("name", "role", "said"),
    [("dana", WRITER, "is not written to"), ("sam", READER, "no policy permits"), ("dana", "remit", "is no role of")],
)
def test_whoever_may_not_is_told_why_and_is_on_record(plane: Plane, name: str, role: str, said: str) -> None:
    with pytest.raises(psycopg.OperationalError, match=said) as caught:
        plane.connect(name, role)
    decision = str(caught.value).split("(decision ")[1][:28]
    assert [one["outcome"] for one in plane.entries("decision") if one["decision"] == decision] == ["deny"]


def test_a_token_that_is_none_is_on_record_too(plane: Plane) -> None:
    with pytest.raises(psycopg.OperationalError, match="not a well-formed"):
        psycopg.connect(host="127.0.0.1", port=plane.door, user=READER, dbname="fraud", password="no token")


def test_connections_outlive_a_new_configuration(plane: Plane) -> None:
    pid_file = plane.settings.gateway.arbiter_socket.with_name("sql.pid")
    with plane.connect() as connection:
        before = int(pid_file.read_text())
        plane.running.send_signal(signal.SIGHUP)
        until(lambda: int(pid_file.read_text() or 0) not in {0, before}, 60, plane.tail)
        plane.until_ready()
        assert connection.execute("SELECT 1").fetchone() == (1,)
        with plane.connect() as another:
            assert another.execute("SELECT 2").fetchone() == (2,)


def test_a_door_that_dies_is_replaced(plane: Plane) -> None:
    pid_file = plane.settings.gateway.arbiter_socket.with_name("sql.pid")
    before = int(pid_file.read_text())
    os.kill(before, signal.SIGKILL)
    until(lambda: int(pid_file.read_text() or 0) not in {0, before}, 30, plane.tail)
    until(lambda: connects(plane), 30, plane.tail)


def connects(plane: Plane) -> bool:
    try:
        plane.connect().close()
    except psycopg.OperationalError:
        return False
    return True


@pytest.mark.promise("V22")
def test_whoever_is_revoked_is_cut(plane: Plane) -> None:
    with plane.connect() as connection:
        began = time.monotonic()
        done = plane.remit("revoke", DANA, "--config", str(plane.config))
        assert done.returncode == 0, done.stderr
        print(f"revoked after {time.monotonic() - began:.2f} s")
        with pytest.raises(psycopg.OperationalError, match="the permit of this connection is over"):
            connection.execute("SELECT pg_sleep(60)")
    with pytest.raises(psycopg.OperationalError, match="remit"):
        plane.connect()
