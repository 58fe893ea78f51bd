"""Whoever does not keep to the protocol: before TLS and after it, before the token and after it, and from the database.

Every one of them is refused or cut off, and none of them gets anything that it was not permitted.
"""

import contextlib
import secrets
import socket
import ssl
import struct
import time
from dataclasses import replace

import psycopg
import pytest
from tests.unit.sql.conftest import READER, WRITER, Front, Loop, server_certificate

from remit.sql.protocol import fields
from remit.sql.settings import Target

pytestmark = pytest.mark.promise("T6")

SSL = struct.pack("!II", 8, 80877103)
GSS = struct.pack("!II", 8, 80877104)
ASK = b"R\0\0\0\x08\0\0\0\x03"


def startup(parameters=(("user", READER), ("database", "fraud")), version=3 << 16):
    body = b"".join(word.encode() + b"\0" for pair in parameters for word in pair) + b"\0"
    return struct.pack("!II", len(body) + 8, version) + body


def password(token=b"dana-token"):
    return b"p" + struct.pack("!I", len(token) + 5) + token + b"\0"


class Raw:
    """A client that says whatever it likes."""

    def __init__(self, world) -> None:
        self.sock = socket.create_connection(("127.0.0.1", world.settings.port), 20)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def say(self, data):
        self.sock.sendall(data)
        return self

    def hear(self, size):
        data = b""
        while len(data) < size and (more := self.sock.recv(size - len(data))):
            data += more
        return data

    def rest(self):
        data = b""
        with contextlib.suppress(ConnectionError):
            while more := self.sock.recv(65536):
                data += more
        return data

    def message(self):
        kind, size = struct.unpack("!cI", self.hear(5))
        return kind, self.hear(size - 4)

    def refused(self):
        """The SQLSTATE and the text of the error that ends the connection."""
        kind, body = self.message()
        assert kind == b"E"
        assert self.rest() == b""
        found = fields(body)
        assert found["S"] == "FATAL"
        return found["C"], found["M"]


@pytest.fixture
def encrypted(make_world, tmp_path):
    """A door with TLS."""
    certificate, key = server_certificate(tmp_path, "door")
    return make_world(certificate=certificate, key=key)


def trusting(world):
    context = ssl.create_default_context(cafile=str(world.settings.certificate))
    context.check_hostname = False
    return context


BEFORE = [
    (startup(version=2 << 16), "08P01", "version 2"),
    (struct.pack("!II", 4, 0), "08P01", "not how a connection"),
    (struct.pack("!II", 10_001, 3 << 16), "08P01", "not how a connection"),
    (struct.pack("!II", 0xFFFFFFFF, 3 << 16), "08P01", "not how a connection"),
    (b"GET / HTTP/1.1\r\n\r\n", "08P01", "not how a connection"),
    (GSS + GSS, "", ""),
    (startup((("user", READER), ("user", "remit"), ("database", "fraud"))), "08P01", "twice"),
    (startup((("user", READER), ("search_path", "a"), ("Search_Path", "b"))), "08P01", "twice"),
    (startup((("database", "fraud"),)), "28000", "names no role"),
    (startup((("user", ""), ("database", "fraud"))), "28000", "names no role"),
    (startup((("user", READER), ("role", "remit"))), "28000", "`role` cannot be set"),
    (startup((("user", READER), ("session_authorization", "remit"))), "28000", "cannot be set"),
    (startup((("user", READER), ("options", "-c role=remit"))), "28000", "cannot be set"),
    (startup((("user", READER), ("options", "-c search_path=a\\ -c -c role=remit"))), "28000", "cannot be set"),
    (startup((("user", READER), ("replication", "1"))), "28000", "replication"),
    (struct.pack("!II", 16, 3 << 16) + b"user\0\xff\0\0", "08P01", "UTF-8"),
    (struct.pack("!II", 13, 3 << 16) + b"user\0", "08P01", "names and values"),
    (struct.pack("!II", 15, 3 << 16) + b"user\0a\0", "08P01", "names and values"),
    (struct.pack("!II", 20, 3 << 16) + b"user\0a\0\0more", "08P01", "names and values"),
    (struct.pack("!II", 12, 80877102) + b"abcd", "08P01", "cancel"),
    (struct.pack("!II", 12, 80877103) + b"abcd", "08P01", "encryption"),
]


@pytest.mark.parametrize(("data", "code", "said"), BEFORE)
def test_how_a_connection_does_not_begin(world, data, code, said):
    with Raw(world) as client:
        client.say(data)
        if not code:
            assert client.hear(1) == b"N"
            code, said = "08P01", "encryption"
        found = client.refused()
    assert found[0] == code
    assert said in found[1]
    assert not world.arbiter.heard


AFTER = [
    (b"Q" + struct.pack("!I", 13) + b"SELECT 1\0", "08P01", "a password"),
    (b"p" + struct.pack("!I", 3), "08P01", "does not|belongs"),
    (b"p" + struct.pack("!I", 0xFFFFFFFF), "08P01", "belongs"),
    (b"p" + struct.pack("!I", (64 << 10) + 5), "08P01", "belongs"),
    (b"p" + struct.pack("!I", 14) + b"dana-token", "08P01", "zero byte"),
    (b"p" + struct.pack("!I", 17) + b"dana-token\0\0\0", "08P01", "zero byte"),
    (b"p" + struct.pack("!I", 4), "08P01", "zero byte"),
    (password(b""), "28P01", "no identity"),
    (password(b"dana-token "), "28P01", "expired"),
    (password(b"Dana-token"), "28P01", "expired"),
    (password(b"\xff" * 1000), "28P01", "expired"),
]


@pytest.mark.parametrize(("data", "code", "said"), AFTER)
def test_what_is_no_token(world, data, code, said):
    with Raw(world) as client:
        assert client.say(startup()).hear(len(ASK)) == ASK
        found = client.say(data).refused()
    assert found[0] == code
    assert any(one in found[1] for one in said.split("|"))
    assert len(world.arbiter.heard) == (code == "28P01" and "identity" not in said)


def test_a_token_of_any_real_size_passes(world):
    token = "e" * 40_000
    world.arbiter.people[token] = ("t/dana", {("fraud", READER)})
    world.connect(password=token).close()


def test_what_comes_before_the_answer_waits_for_the_permit(world):
    query = b"Q" + struct.pack("!I", 13) + b"SELECT 7\0"
    with Raw(world) as client:
        client.say(startup() + password() + query)
        assert client.hear(len(ASK)) == ASK
        kinds = []
        while (found := client.message())[0] != b"D":
            kinds.append(found[0])
        assert found[1].endswith(b"7")
    assert kinds[0] == b"R"
    with Raw(world) as client:
        assert client.say(startup() + password(b"nobody") + query).hear(len(ASK)) == ASK
        assert client.refused()[0] == "28P01"


def test_a_length_that_lies_goes_no_further(world, owner):
    with Raw(world) as client:
        client.say(startup() + password())
        while client.message()[0] != b"Z":
            pass
        assert client.say(b"Q\0\0\0\2SELECT pg_sleep(63)\0").refused()[0] == "08P01"
    world.wait(lambda: not len(world.door))


def test_nothing_from_before_tls_counts_after_it(encrypted):
    for injected in (startup(), startup() + password(), b"x"):
        with Raw(encrypted) as client:
            assert client.say(SSL + injected).hear(1) == b"S"
            with pytest.raises((ssl.SSLError, ConnectionError, TimeoutError)):
                trusting(encrypted).wrap_socket(client.sock)
    assert not encrypted.arbiter.heard


def test_encryption_is_not_asked_for_within_encryption(encrypted):
    with Raw(encrypted) as client:
        client.say(SSL).hear(1)
        client.sock = trusting(encrypted).wrap_socket(client.sock)
        assert client.say(SSL).refused() == ("08P01", "encryption was asked for within encryption")


@pytest.mark.parametrize("more", [{}, {"sslnegotiation": "direct"}, {"sslmode": "disable"}, {"gssencmode": "disable"}])
def test_stock_clients_in_every_way(encrypted, more):
    with encrypted.connect(**more) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
        connection.cancel_safe(timeout=10)


def test_the_certificate_is_checked_in_full(encrypted, upstream):
    more = {"sslmode": "verify-full", "sslrootcert": str(encrypted.settings.certificate)}
    encrypted.connect(**more).close()
    with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
        encrypted.connect(sslmode="verify-full", sslrootcert=str(upstream[0].roots))


@pytest.mark.parametrize("protocols", [[], ["http/1.1"], ["postgres"]])
def test_tls_at_once_is_for_this_protocol_alone(encrypted, protocols):
    context = trusting(encrypted)
    if protocols:
        context.set_alpn_protocols(protocols)
    with Raw(encrypted) as client:
        client.sock = context.wrap_socket(client.sock)
        client.say(startup())
        assert client.refused()[0] == "08P01"


def test_from_elsewhere_a_token_comes_in_tls_only(encrypted, monkeypatch):
    monkeypatch.setattr("remit.sql.door._near", lambda peer: False)
    encrypted.connect().close()
    with pytest.raises(psycopg.OperationalError, match="not taken without TLS"):
        encrypted.connect(sslmode="disable")


@pytest.mark.parametrize(("version", "key"), [("3.0", 4), ("3.2", 32)])
def test_versions_of_the_protocol(world, version, key):
    with world.connect(max_protocol_version=version, min_protocol_version=version) as connection:
        connection.cancel_safe(timeout=10)
        found = world.door._keys._given[connection.info.backend_pid]
    assert len(found.secret) == key


def test_what_is_newer_is_negotiated(world):
    given = (("user", READER), ("database", "fraud"), ("_pq_.wonder", "on"))
    with Raw(world) as client:
        client.say(startup(given, (3 << 16) + 9999))
        assert client.message() == (b"v", struct.pack("!II", (3 << 16) + 2, 1) + b"_pq_.wonder\0")
        client.say(password())
        while (found := client.message())[0] != b"K":
            pass
        assert len(found[1]) == 36


def test_who_is_slow_is_not_waited_for(make_world):
    world = make_world(greeting_seconds=0.3, greeting=3)
    slow = [Raw(world) for _ in range(3)]
    for client, data in zip(slow, (b"", b"\0\0", startup()), strict=True):
        client.say(data)
    time.sleep(0.1)
    with Raw(world) as another:
        assert another.rest() == b""  # there is no room
    for client in slow:
        assert client.rest() in {b"", ASK}
        client.sock.close()
    world.connect().close()


# the database's end


@pytest.fixture
def entra(make_world, postgres, upstream, certificates, tmp_path):
    """A door before a database that takes a token as password."""
    target, _, owner = upstream
    loop = Loop()
    front = Front(f"{owner['host']}/.s.PGSQL.{owner.get('port', 5432)}", None, tmp_path)
    front.token = "".join(secrets.token_hex(8) for _ in range(200))
    loop.run(front.start())
    away = Target("fraud", "127.0.0.1", front.port, target.database, front.certificate)
    world = make_world(databases={"fraud": away})
    world.front, world.arbiter.password = front, front.token
    yield world
    loop.run(front.stop())
    loop.close()


def error(code, text):
    body = b"SFATAL\0C" + code.encode() + b"\0M" + text.encode() + b"\0\0"
    return b"E" + struct.pack("!I", len(body) + 4) + body


def test_a_token_of_entras_logs_in(entra):
    with entra.connect() as connection:
        assert connection.execute("SELECT current_user").fetchone() == (READER,)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"R\0\0\0\x0c\0\0\0\x05abcd", "wants another login"),
        (b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0", "wants another login"),
        (b"R\0\0\0\x04", "wants another login"),
        (b"Z\0\0\0\5I", "wants another login"),
        (b"R\x7f\xff\xff\xff", "not one that belongs here"),
        (b"R\0\0\0\x08\0\0\0\0D\0\0\0\x06\0\0", "belongs to no login"),
        (b"", "hung up|did not answer"),
        (error("28000", 'role "x" does not exist'), 'role "x" does not exist'),
    ],
)
def test_a_database_that_wants_something_else(entra, answer, said):
    entra.front.answers = {READER: answer}
    with pytest.raises(psycopg.OperationalError) as caught:
        entra.connect(connect_timeout=60)
    assert any(one in str(caught.value) for one in said.split("|"))
    assert "decision d-" in str(caught.value)
    assert entra.front.token[:20] not in str(caught.value)


def test_what_a_database_says_of_the_token_is_not_repeated(entra):
    token = entra.front.token
    for text in (f"bad token {token}", f"got {token[50:70]}", f"{token[-9:]}"):
        entra.front.answers = {READER: error("28P01", text)}
        with pytest.raises(psycopg.OperationalError, match="refused a login as") as caught:
            entra.connect()
        assert not any(token[at : at + 8] in str(caught.value) for at in range(len(token) - 7))


def test_a_token_is_never_said_where_a_certificate_was_meant(world):
    if world.front is None:
        return
    world.front.answers = {WRITER: ASK}
    before = len(world.front.seen)
    with pytest.raises(psycopg.OperationalError, match="wants another login than a certificate"):
        world.connect(WRITER)
    world.front.answers = {}
    assert world.front.seen[before:] == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"host": "localhost"}, ""),
        ({"roots": None}, "certificate of `127.0.0.1` does not hold"),
        ({"port": 1}, "cannot be reached"),
    ],
)
def test_the_databases_certificate_is_checked_in_full(make_world, upstream, change, said):
    world = make_world(databases={"fraud": replace(upstream[0], **change)})
    if not said:
        world.connect().close()
        return
    with pytest.raises(psycopg.OperationalError) as caught:
        world.connect()
    assert any(one in str(caught.value) for one in said.split("|"))


def test_without_tls_only_this_machine_is_talked_to(make_world, tmp_path, monkeypatch):
    loop = Loop()
    front = Front("/nowhere", None, tmp_path)
    front.tls = False
    loop.run(front.start())
    monkeypatch.setattr("remit.sql.upstream.is_loopback", lambda host: False)
    world = make_world(databases={"fraud": Target("fraud", "127.0.0.1", front.port, "x")})
    with pytest.raises(psycopg.OperationalError, match="speaks no TLS"):
        world.connect()
    loop.run(front.stop())
    loop.close()


def test_a_database_that_nobody_configured_here(make_world):
    world = make_world(databases={})
    with pytest.raises(psycopg.OperationalError, match="is being configured"):
        world.connect()


def test_an_arbiter_that_is_away_lets_nobody_in(world):
    world.arbiter.away = True
    with pytest.raises(psycopg.OperationalError, match="cannot decide"):
        world.connect()


def test_nobody_logs_in_with_a_certificate_of_his_own(upstream, certificates, tmp_path):
    """What the door does nobody does without it: the database takes the authority's word, for that role."""
    target, _, _ = upstream
    other = type(certificates)(tmp_path / "other")
    for made, user in ((other, READER), (certificates, "remit")):
        pem, _ = made.make(READER, "t/dana")
        file = tmp_path / "client.pem"
        file.write_text(pem.reveal())
        file.chmod(0o600)
        given = {"host": target.host, "port": target.port, "dbname": target.database, "sslmode": "require"}
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(**given, user=user, sslcert=str(file), sslkey=str(file), connect_timeout=20)
