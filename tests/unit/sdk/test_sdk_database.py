"""Tokens as passwords, with real drivers and a real PostgreSQL behind a door that takes nothing else."""

import contextlib
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import psycopg
import psycopg_pool
import pytest
import sqlalchemy

import remit.database
from remit.model.errors import Refused, RemitError
from remit.model.reasons import Reason
from remit.model.secret import AccessToken
from remit.sdk import database
from remit.sdk.tokens import Issued, Tokens

OWN, AZURE = "remit", "postgresql://p"


class Source:
    """Gives `token-1`, `token-2`, …, a new one each time that it is asked."""

    def __init__(self):
        self.asked, self.trouble = [], None

    def __call__(self, resource):
        if self.trouble:
            raise self.trouble
        self.asked.append(str(resource))
        return Issued(AccessToken(f"token-{len(self.asked)}"), time.time() + 900)


@pytest.fixture
def source(monkeypatch):
    found = Source()
    monkeypatch.setattr(database, "_tokens", Tokens(found))
    for name in tuple(os.environ):
        if name.startswith("PG"):
            monkeypatch.delenv(name)
    return found


def expire():
    """Whatever is held has come to its end."""
    database._tokens._held.clear()


class Door:
    """PostgreSQL's first words, by hand: asks for a cleartext password, keeps it, and joins the two ends.

    It is no door of Remit's: it shows what a client sends, and lets in whoever has the newest token.
    """

    def __init__(self, socket_path, source):
        self._behind, self._source = socket_path, source
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.passwords = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                thread = threading.Thread(target=self._serve, args=(client,))
                self._threads.append(thread)
                thread.start()

    def _serve(self, client):
        with client, contextlib.suppress(OSError, struct.error), socket.socket(socket.AF_UNIX) as server:
            startup = self._startup(client)
            client.sendall(b"R" + struct.pack("!II", 8, 3))  # AuthenticationCleartextPassword
            kind, length = struct.unpack("!cI", client.recv(5, socket.MSG_WAITALL))
            password = client.recv(length - 4, socket.MSG_WAITALL).rstrip(b"\0").decode()
            assert kind == b"p"
            self.passwords.append(password)
            if password != f"token-{len(self._source.asked)}":
                said = b"SFATAL\0C28000\0MThe access token has expired. Please acquire a new token and retry.\0\0"
                client.sendall(b"E" + struct.pack("!I", len(said) + 4) + said)
                return
            server.connect(self._behind)
            server.sendall(startup)
            back = threading.Thread(target=self._copy, args=(server, client))
            back.start()
            self._copy(client, server)
            back.join()

    @staticmethod
    def _startup(client):
        while True:
            (length,) = struct.unpack("!I", client.recv(4, socket.MSG_WAITALL))
            body = client.recv(length - 4, socket.MSG_WAITALL)
            if struct.unpack("!I", body[:4])[0] == 196608:  # protocol 3.0
                return struct.pack("!I", length) + body
            client.sendall(b"N")  # no TLS, no GSSAPI

    @staticmethod
    def _copy(one, other):
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data)
        for end in (one, other):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def door(postgres_database, source):
    place = urlsplit(postgres_database)
    found = Door(f"{parse_qs(place.query)['host'][0]}/.s.PGSQL.5432", source)
    found.conninfo = f"host=127.0.0.1 port={found.port} user=remit dbname={place.path[1:]}"
    found.url = f"postgresql+psycopg://remit@127.0.0.1:{found.port}{place.path}"
    yield found
    found.close()


def one(connection):
    return connection.execute("SELECT 1").fetchone()[0]


@pytest.mark.promise("T6")
def test_psycopg_connects_with_a_token(door, source):
    with remit.database.Connection.connect(door.conninfo, resource=OWN, autocommit=True) as connection:
        assert one(connection) == 1
        assert connection.autocommit
    expire()
    with psycopg.connect(**remit.database.connect_arguments(door.conninfo, resource=AZURE)) as connection:
        assert one(connection) == 1
    assert door.passwords == ["token-1", "token-2"]
    assert source.asked == [OWN, AZURE]


@pytest.mark.promise("T6")
def test_a_connection_says_whose_token_it_wants(door):
    with pytest.raises(RemitError, match="is not a resource"):
        remit.database.Connection.connect(door.conninfo)
    assert door.passwords == []


@pytest.mark.promise("T6")
@pytest.mark.parametrize("form", ["class", "arguments"])
def test_a_pool_renews_for_each_connection(door, form):
    if form == "class":
        arguments = {"connection_class": remit.database.Connection, "kwargs": {"resource": OWN}}
    else:
        arguments = {"kwargs": lambda: remit.database.connect_arguments(door.conninfo, resource=OWN)}
    conninfo = door.conninfo if form == "class" else ""
    with psycopg_pool.ConnectionPool(conninfo, min_size=1, max_size=2, open=True, **arguments) as pool:
        pool.wait(60)
        with pool.connection() as first:
            expire()
            with pool.connection(60) as second:  # the pool grows
                assert one(first) == one(second) == 1
    assert door.passwords == ["token-1", "token-2"]


@pytest.mark.promise("T6")
def test_sqlalchemy_logs_in_anew_each_time(door):
    engine = sqlalchemy.create_engine(door.url, pool_size=1, pool_pre_ping=True)
    remit.database.attach(engine, OWN)
    select = sqlalchemy.text("SELECT pg_backend_pid()")
    with engine.connect() as connection:
        first = connection.execute(select).scalar()
    expire()
    with engine.connect() as connection:
        assert connection.execute(select).scalar() == first  # a connection outlives its token
        connection.connection.driver_connection.close()  # a dropped link
        connection.invalidate()
    with engine.connect() as connection:
        assert connection.execute(select).scalar() != first
    engine.dispose()
    assert door.passwords == ["token-1", "token-2"]


def test_a_refusal_reaches_whoever_connects(door, source):
    source.trouble = Refused(Reason.NO_POLICY_PERMITS, "no database for you")
    engine = sqlalchemy.create_engine(door.url)
    remit.database.attach(engine, OWN)
    with pytest.raises(Refused, match="no database for you"):
        engine.connect()
    with pytest.raises(Refused):
        remit.database.Connection.connect(door.conninfo, resource=OWN)
    assert door.passwords == []


def test_an_old_token_is_told_as_one(door, source):
    arguments = remit.database.connect_arguments(door.conninfo, resource=OWN)
    source.asked.append("another has been given since")
    with pytest.raises(psycopg.OperationalError) as caught:
        psycopg.connect(**arguments)
    assert remit.failures.diagnose(caught.value).cause == "expired"
    assert "token-1" not in str(caught.value)


# whom a token is shown


@pytest.mark.parametrize(
    ("conninfo", "found"),
    [
        ("host=db.example", {"sslmode": "verify-full", "sslrootcert": "system"}),
        ("host=db.example sslrootcert=/ca.pem", {"sslmode": "verify-full", "sslrootcert": "/ca.pem"}),
        ("host=db.example sslmode=verify-ca", {"sslmode": "verify-ca", "sslrootcert": "system"}),
        ("postgresql://dana@db.example/features", {"sslmode": "verify-full", "sslrootcert": "system"}),
        ("host=127.0.0.1,db.example", {"sslmode": "verify-full", "sslrootcert": "system"}),
        ("host=localhost hostaddr=192.0.2.7", {"sslmode": "verify-full", "sslrootcert": "system"}),
        ("service=features", {"sslmode": "verify-full", "sslrootcert": "system"}),
        ("host=127.0.0.1", {}),
        ("host=/run/postgresql", {}),
        ("", {}),
        ("host=localhost,::1", {}),
    ],
)
def test_a_server_elsewhere_proves_itself_first(source, conninfo, found, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    arguments = database.connect_arguments(conninfo, resource=OWN)
    assert {name: arguments[name] for name in ("sslmode", "sslrootcert") if name in arguments} == found
    assert arguments["password"] == "token-1"


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer", "require", "VERIFY-FULL", "verify"])
@pytest.mark.parametrize("where", ["conninfo", "argument", "environment"])
def test_a_server_that_proves_nothing_is_sent_nothing(source, monkeypatch, mode, where):
    arguments = {"sslmode": mode} if where == "argument" else {}
    if where == "environment":
        monkeypatch.setenv("PGSSLMODE", mode)
    conninfo = "host=db.example" + (f" sslmode={mode}" if where == "conninfo" else "")
    with pytest.raises(RemitError, match="whoever sits between could take the token"):
        database.connect_arguments(conninfo, resource=OWN, **arguments)
    engine = sqlalchemy.create_engine(f"postgresql+psycopg://dana@db.example/x?sslmode={mode}")
    database.attach(engine, OWN)
    with pytest.raises(RemitError, match="whoever sits between"):
        engine.connect()
    assert source.asked == []


@pytest.mark.parametrize(("name", "value"), [("PGHOST", "db.example"), ("PGHOSTADDR", "192.0.2.7"), ("PGSERVICE", "x")])
def test_what_the_environment_names_is_looked_at_too(source, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    assert database.connect_arguments("dbname=x", resource=OWN)["sslmode"] == "verify-full"
    monkeypatch.setenv("PGSSLROOTCERT", "/run/roots.pem")
    assert "sslrootcert" not in database.connect_arguments("dbname=x", resource=OWN)


@pytest.mark.parametrize(
    ("given", "said"),
    [("", None), ("train.py", "train.py j-1"), ("x j-1", "x j-1"), ("n" * 63, "n" * 32 + " j-1")],
)
def test_the_run_is_in_the_connection_s_name(source, monkeypatch, given, said):
    named = {"application_name": given} if given else {}
    assert database.connect_arguments("dbname=x", resource=OWN, **named).get("application_name", "") == given
    monkeypatch.setenv("REMIT_JOB", "j-1")
    assert database.connect_arguments("dbname=x", resource=OWN, **named).get("application_name") == said


def test_a_run_has_no_tokens_for_another_project(source, monkeypatch):
    monkeypatch.setenv("REMIT_JOB", "j-1")
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "p")
    assert database.password("postgresql://p") == "token-1"
    with pytest.raises(RemitError, match="has no tokens for `q`"):
        database.password("postgresql://q")


def test_a_driver_that_is_not_known(source):
    with pytest.raises(RemitError, match="tokens for the driver `pysqlite`"):
        database.attach(sqlalchemy.create_engine("sqlite://"), OWN)


# Azure SQL, at the edge of its driver and no further


def unpacked(attributes):
    [(name, value)] = attributes.items()
    (length,) = struct.unpack("<I", value[:4])
    assert (name, length) == (1256, len(value) - 4)
    return value[4:].decode("utf-16-le")


@pytest.mark.promise("T6")
def test_the_form_that_microsoft_s_driver_wants(source):
    assert unpacked(database.mssql_attributes("sql://p")) == "token-1"
    assert source.asked == ["sql://p"]


@pytest.mark.promise("T6")
def test_sqlalchemy_hands_pyodbc_a_token_and_no_other_login(source):
    seen = []

    class Reached(Exception):
        pass

    def connect(*arguments, **named):
        seen.append((arguments, named))
        raise Reached("08001")

    driver = SimpleNamespace(paramstyle="qmark", version="5.3.0", connect=connect, Error=Reached, Cursor=object)
    engine = sqlalchemy.create_engine("mssql+pyodbc://@contoso.database.windows.net/features?driver=x", module=driver)
    database.attach(engine, "sql://p")
    for _ in range(2):
        with pytest.raises(sqlalchemy.exc.DBAPIError) as caught:
            engine.connect()
        assert "token" not in str(caught.value)
        expire()
    assert [unpacked(named["attrs_before"]) for _, named in seen] == ["token-1", "token-2"]
    for (text,), _ in seen:
        assert "Trusted_Connection" not in text
        assert "contoso.database.windows.net" in text


@pytest.mark.promise("T6")
@pytest.mark.parametrize(
    ("said", "passed"),
    [
        ("driver=x", True),
        ("driver=x&Encrypt=yes&TrustServerCertificate=no", True),
        ("driver=x&ENCRYPT=strict", True),
        ("driver=x&Encrypt=no", False),
        ("driver=x&encrypt=optional", False),
        ("driver=x&x=1%3BEncrypt%3Dno&Encrypt=yes", False),
        ("driver=x&TrustServerCertificate=yes", False),
        ("driver=x&Encrypt=yes&trustservercertificate=True", False),
    ],
)
def test_a_token_for_sql_is_shown_to_nobody_who_proves_nothing(source, said, passed):
    seen = []

    class Reached(Exception):
        pass

    def connect(text, **_):
        seen.append(text)
        raise Reached("08001")

    driver = SimpleNamespace(paramstyle="qmark", version="5.3.0", connect=connect, Error=Reached, Cursor=object)
    engine = sqlalchemy.create_engine(f"mssql+pyodbc://@contoso.database.windows.net/features?{said}", module=driver)
    database.attach(engine, "sql://p")
    with pytest.raises(sqlalchemy.exc.DBAPIError if passed else RemitError):
        engine.connect()
    assert len(seen) == len(source.asked) == passed
    assert all(text.lower().count("encrypt=") == 1 for text in seen)


@pytest.mark.promise("T6")
def test_the_real_pyodbc_has_no_driver_here_and_shows_no_token():
    text = (
        "import traceback, remit.sdk.database as database\n"
        "attributes = database._attributes('eyJ-secret-token')\n"
        "try:\n"
        "    import pyodbc\n"
        "    pyodbc.connect('Driver={ODBC Driver 18 for SQL Server};Server=127.0.0.1', attrs_before=attributes)\n"
        "except Exception:\n"
        "    traceback.print_exc()\n"
    )
    found = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert "odbc" in found.stderr.lower()  # the driver, or what loads drivers, is what is missing
    assert "eyJ" not in found.stderr


@pytest.mark.promise("T6")
def test_mssql_python_s_provider_is_the_credential():
    provider = database.token_provider("sql://p")
    assert isinstance(provider, remit.Credential)
    assert provider._project == "p"
    with pytest.raises(RemitError):
        database.token_provider("contoso")
