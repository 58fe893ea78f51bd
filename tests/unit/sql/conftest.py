"""A door over a real PostgreSQL, and an arbiter that is told what to say.

The wheel's PostgreSQL was built without TLS. So its `hostssl … cert` is played by a front that demands what it demands:
TLS, a client certificate of the authority, and the role as its common name; or a token as password. Where this machine
has a PostgreSQL with TLS, the same tests run over that one's own `hostssl … cert` as well.
"""

import asyncio
import contextlib
import datetime as dt
import ipaddress
import os
import secrets
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from remit.credentials.database_certificate import DatabaseCertificates
from remit.model.secret import Secret
from remit.sql.door import Door, listening, server_tls
from remit.sql.ports import Admission
from remit.sql.protocol import NO_IDENTITY, NO_PERMIT, NOT_NOW, Failure
from remit.sql.settings import DoorSettings, Target

READER, WRITER = "fraud_reader", "fraud_writer"
DECISION = "d-00000000000000000000000"
NOBODY = 65534
_REAL = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))

SCHEMA = (
    f"CREATE ROLE {READER} LOGIN",
    f"CREATE ROLE {WRITER} LOGIN",
    "CREATE TABLE claims (id int PRIMARY KEY, amount numeric, note text)",
    "INSERT INTO claims SELECT n, n * 1.5, 'claim ' || n FROM generate_series(1, 1000) n",
    f"GRANT SELECT ON claims TO {READER}",
    f"GRANT SELECT, INSERT, UPDATE, DELETE ON claims TO {WRITER}",
    "CREATE TABLE salaries (id int)",
)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def server_certificate(folder: Path, name: str = "server") -> tuple[Path, Path]:
    """A certificate for loopback that is its own authority, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    found = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate, private = folder / f"{name}.pem", folder / f"{name}.key"
    certificate.write_bytes(found.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8
    private.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    private.chmod(0o600)
    return certificate, private


class Loop:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, coroutine, within=30):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(within)

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.loop.close()


class Front:
    """PostgreSQL's own TLS and its two ways to log in, before a server that has neither."""

    def __init__(self, unix: str, authority: Path | None, folder: Path) -> None:
        self.unix = unix
        self.port = free_port()
        self.certificate, self.key = server_certificate(folder)
        self.authority = authority
        self.token = ""
        self.answers = {}  # what to say instead, by role
        self.seen = []
        self.tls = True
        self.tasks = set()

    async def start(self) -> None:
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", self.port)

    async def stop(self) -> None:
        self.server.close()
        for task in tuple(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await asyncio.sleep(0.05)  # for what was closed to be closed

    async def serve(self, reader, writer) -> None:
        self.tasks.add(asyncio.current_task())
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError, OSError):
                await self._serve(reader, writer)
        except asyncio.CancelledError:  # at the end, when whoever was there may have gone
            writer.transport.abort()
            raise
        finally:
            writer.close()
            self.tasks.discard(asyncio.current_task())

    async def _serve(self, reader, writer) -> None:
        assert await reader.readexactly(8) == bytes.fromhex("0000000804d2162f")
        if not self.tls:
            writer.write(b"N")
            return
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        if self.authority:
            context.verify_mode = ssl.CERT_OPTIONAL  # a cancel request shows none
            context.load_verify_locations(self.authority)
        writer.write(b"S")
        await writer.drain()
        await writer.start_tls(context)
        head = await reader.readexactly(8)
        rest = await reader.readexactly(int.from_bytes(head[:4]) - 8)
        if int.from_bytes(head[4:]) != 80877102:
            words = rest.split(b"\0")
            given = dict(zip(words[::2], words[1::2], strict=False))
            role = given[b"user"].decode()
            if not await self._proved(reader, writer, role):
                return
        other, back = await asyncio.open_unix_connection(self.unix)
        back.write(head + rest)
        try:
            await asyncio.gather(pump(reader, back), pump(other, writer))
        finally:
            back.close()

    async def _proved(self, reader, writer, role) -> bool:
        if role in self.answers:
            writer.write(self.answers[role])
            await writer.drain()
            with contextlib.suppress(asyncio.IncompleteReadError):
                self.seen.append(await reader.readexactly(5))
            return False
        if self.authority:
            shown = writer.get_extra_info("peercert") or {"subject": ()}
            subject = dict(pair for line in shown["subject"] for pair in line)
            self.seen.append(subject)
            return subject.get("commonName") == role
        writer.write(b"R\0\0\0\x08\0\0\0\x03")
        kind, *size = await reader.readexactly(5)
        said = await reader.readexactly(int.from_bytes(bytes(size)) - 4)
        return kind == ord("p") and said == self.token.encode() + b"\0"


async def pump(reader, writer) -> None:
    with contextlib.suppress(ConnectionError, ssl.SSLError, OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


class Arbiter:
    """Says what it is told; `heard` is what was asked, `recorded` what ran."""

    def __init__(self, certificates: DatabaseCertificates) -> None:
        self.certificates = certificates
        self.people = {"dana-token": ("t/dana", {("fraud", READER), ("fraud", WRITER)})}
        self.heard = []
        self.recorded = {}
        self.over = set()
        self.away = False
        self.unrecordable = False
        self.until = 0
        self.password = ""

    async def connect(self, wish):
        self.heard.append(wish)
        if self.away:
            raise Failure(NOT_NOW, "remit cannot decide right now")
        principal, may = self.people.get(wish.token.reveal(), ("", set()))
        decision = f"{DECISION}{len(self.heard):03d}"
        if not principal:
            raise Failure(NO_IDENTITY, f"remit: the token has expired (decision {decision})", hint="sign in again")
        if (wish.database, wish.role) not in may:
            raise Failure(NO_PERMIT, f"remit: no policy permits this (decision {decision})", hint="ask for a grant")
        secret, _ = self.certificates.make(wish.role, principal)
        if self.password:
            return Admission(decision, principal, Secret(self.password), certificate=False, until=self.until)
        return Admission(decision, principal, secret, certificate=True, until=self.until)

    async def ended(self, decisions):
        if self.away:
            raise Failure(NOT_NOW, "away")
        return frozenset(decisions) & self.over

    async def ran(self, decision, statements):
        if self.away or self.unrecordable:
            raise Failure(NOT_NOW, "remit: what ran could not be recorded")
        self.recorded.setdefault(decision, []).extend(statements)

    def texts(self):
        return [one.text for all_ in self.recorded.values() for one in all_]


class World:
    """A door that runs, and how to come to it."""

    def __init__(self, loop, arbiter, settings, front=None) -> None:
        self.loop, self.arbiter, self.settings, self.front = loop, arbiter, settings, front
        self.stop, self.retire = asyncio.Event(), asyncio.Event()
        self.tls = server_tls(settings)
        self.door = Door(settings, arbiter, self.tls)
        self._serving = asyncio.run_coroutine_threadsafe(
            self.door.serve(listening(settings), self.stop, self.retire), loop.loop
        )

    def address(self, role=READER, **more):
        plain = {"host": "127.0.0.1", "port": self.settings.port, "user": role, "dbname": "fraud"}
        mode = "require" if self.tls else "disable"
        return {**plain, "password": "dana-token", "sslmode": mode, "connect_timeout": 20, **more}

    def connect(self, role=READER, **more):
        return psycopg.connect(**self.address(role, **more))

    def close(self) -> None:
        self.loop.loop.call_soon_threadsafe(self.stop.set)
        self._serving.result(30)

    def leave(self) -> None:
        self.loop.loop.call_soon_threadsafe(self.retire.set)

    def wait(self, true, within=20.0) -> None:
        deadline = time.monotonic() + within
        while not true():
            assert time.monotonic() < deadline, "it did not come to pass"
            time.sleep(0.02)


@contextlib.contextmanager
def real_server(programs: Path, folder: Path, authority: Path) -> Iterator[tuple[int, Path]]:
    """A PostgreSQL with TLS of its own that takes certificates only: its port, and its certificate."""
    owner = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
    data, port = folder / "data", free_port()
    if owner:
        os.chown(folder, NOBODY, NOBODY)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **owner, "cwd": folder}
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C", "HOME": str(folder)}
    subprocess.run(
        [programs / "initdb", "-D", data, "-U", "remit", "--auth=trust", "--encoding=UTF8"],
        check=True,
        env=environment,
        **quiet,
    )
    certificate, key = server_certificate(folder)
    shutil.copy(authority, folder / "ca.pem")
    for one in (certificate, key, folder / "ca.pem"):
        if owner:
            os.chown(one, NOBODY, NOBODY)
    (data / "pg_hba.conf").write_text("local all all trust\nhostssl all all 127.0.0.1/32 cert\n")
    options = {
        "listen_addresses": "127.0.0.1",
        "port": port,
        "ssl": "on",
        "ssl_cert_file": certificate,
        "ssl_key_file": key,
        "ssl_ca_file": folder / "ca.pem",
        "fsync": "off",
    }
    words = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
    server = subprocess.Popen([programs / "postgres", "-D", data, "-k", folder, *words], env=environment, **quiet)
    try:
        deadline = time.monotonic() + 60
        while not (folder / f".s.PGSQL.{port}").exists():
            assert server.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield port, certificate
    finally:
        server.send_signal(2)
        server.wait(30)


def prepared(address, database) -> None:
    """The roles and tables, made by whoever owns the server."""
    deadline = time.monotonic() + 60
    while True:
        try:
            with psycopg.connect(**address, autocommit=True) as owner:
                owner.execute(f"CREATE DATABASE {database}")
            break
        except psycopg.OperationalError:  # it still starts up
            assert time.monotonic() < deadline
            time.sleep(0.1)
    with psycopg.connect(**{**address, "dbname": database}, autocommit=True) as owner:
        for statement in SCHEMA:
            with contextlib.suppress(psycopg.errors.DuplicateObject):  # roles are the server's, not the database's
                owner.execute(statement)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    made = DatabaseCertificates(tmp_path_factory.mktemp("authority"))
    made.make("nobody", "t/nobody")
    return made


@pytest.fixture(scope="module", params=["front", *(["real"] if _REAL else [])])
def upstream(request, certificates, tmp_path_factory):
    """A database that takes Remit's certificates, and nothing else: port, certificate, its front or `None`, owner."""
    name = f"fraud_{secrets.token_hex(4)}"
    authority = certificates._folder / "ca.pem"
    if request.param == "real":
        folder = Path(tempfile.gettempdir()) / f"remit-sql-{secrets.token_hex(4)}"
        folder.mkdir(mode=0o755)
        try:
            with real_server(_REAL[-1].parent, folder, authority) as (port, certificate):
                owner = {"host": str(folder), "port": port, "user": "remit", "dbname": "postgres"}
                prepared(owner, name)
                yield Target("fraud", "127.0.0.1", port, name, certificate), None, {**owner, "dbname": name}
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return
    url = urlsplit(request.getfixturevalue("postgres"))
    folder = parse_qs(url.query)["host"][0]
    owner = {"host": folder, "user": "remit", "dbname": "postgres"}
    prepared(owner, name)
    loop = Loop()
    front = Front(f"{folder}/.s.PGSQL.5432", authority, tmp_path_factory.mktemp("front"))
    loop.run(front.start())
    yield Target("fraud", "127.0.0.1", front.port, name, front.certificate), front, {**owner, "dbname": name}
    loop.run(front.stop())
    loop.close()


@pytest.fixture
def make_world(certificates, upstream):
    """Makes doors before the database."""
    target, front, _ = upstream
    with contextlib.ExitStack() as ended:

        def make(**more):
            loop = Loop()
            ended.callback(loop.close)
            given = {
                "host": "127.0.0.1",
                "arbiter": Path("/nowhere"),
                "flush_seconds": 0.2,
                "look_seconds": 0.05,
                **more,
            }
            databases = given.pop("databases", {"fraud": target})
            settings = DoorSettings(port=free_port(), databases=databases, **given)
            world = World(loop, Arbiter(certificates), settings, front)
            ended.callback(world.close)
            return world

        yield make


@pytest.fixture
def world(make_world):
    return make_world()


@pytest.fixture
def owner(upstream):
    """A connection of the server's owner, past the door."""
    with psycopg.connect(**upstream[2], autocommit=True) as connection:
        yield connection
