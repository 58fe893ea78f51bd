"""Revocation over three gateways: refused within a second of the acknowledgement, whoever dies, hangs or goes away.

Three `remit serve` over one PostgreSQL (`fleet.py`). An answer with Google's text is a permit. What is measured is
printed; `benchmarks/revocation.py` does the same for longer and keeps the figures.
"""

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import socket
import ssl
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import grpc
import httpx
import psycopg
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey

from remit.assembly.serve import gateway_settings
from remit.cli.story.installation import free_port
from remit.gateway.envoy import Envoy

pytestmark = pytest.mark.e2e
TESTS = Path(__file__).resolve().parents[1]
LEASE = 0.5  # seconds
ENTRA = "https://login.microsoftonline.com/6f1c2a34-8b5d-4e6f-9a01-c0de00000001/v2.0"
US = "https://remit.contoso.example/events"
CAEP = "https://schemas.openid.net/secevent/caep/event-type/"
RISC = "https://schemas.openid.net/secevent/risc/event-type/"


def load(name: str, path: Path) -> Any:
    """A module that stands beside the tests."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


lib = load("e2e_fleet", TESTS / "e2e" / "fleet.py")
servers = load("e2e_fake_https", TESTS / "unit" / "identity" / "fake_https.py")
gateway = load("e2e_gateway_conftest", TESTS / "unit" / "gateway" / "conftest.py")


class Transmitter:
    """A provider that tells of its people, with keys of its own, on loopback."""

    def __init__(self, folder: Path, loop: Any) -> None:
        self.key = ECKey.generate_key("P-256", parameters={"kid": "events", "alg": "ES256", "use": "sig"})
        self.certificate = servers.Certificate(folder)
        self.server = servers.FakeServer(self._answer, self.certificate)
        loop.run(self.server.__aenter__())
        self.issuer = self.server.url
        self._loop = loop
        self._told = 0

    def _answer(self, asked: Any) -> Any:
        if asked.path == "/.well-known/ssf-configuration":
            return servers.Answer(json.dumps({"issuer": self.issuer, "jwks_uri": f"{self.issuer}/jwks"}).encode())
        return servers.Answer(json.dumps({"keys": [self.key.as_dict(private=False)]}).encode())

    def tell(self, plane: Any, event: str, subject: dict[str, str]) -> float:
        """Pushes one event; when it was taken, in monotonic seconds."""
        self._told += 1
        body = {"iss": self.issuer, "aud": US, "iat": int(time.time()), "jti": f"e-{self._told}", "sub_id": subject}
        header = {"alg": "ES256", "kid": "events", "typ": "secevent+jwt"}
        token = jwt.encode(header, {**body, "events": {event: {}}}, self.key)
        headers = {"content-type": "application/secevent+jwt"}
        answer = httpx.post(f"{plane.url}/v1/events", content=token, headers=headers, trust_env=False, timeout=10)
        assert answer.status_code == 202, answer.text
        return time.monotonic()

    def end(self) -> None:
        self._loop.run(self.server.__aexit__())


@pytest.fixture(scope="module")
def loop() -> Iterator[Any]:
    found = gateway.Loop()
    yield found
    found.close()


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    name = tempfile.mkdtemp(prefix="remit-f-")
    yield Path(name)
    shutil.rmtree(name, ignore_errors=True)


@pytest.fixture(scope="module")
def transmitter(folder: Path, loop: Any) -> Iterator[Transmitter]:
    found = Transmitter(folder, loop)
    yield found
    found.end()


@pytest.fixture(scope="module")
def fleet(folder: Path, postgres: str, transmitter: Transmitter) -> Iterator[Any]:
    more = f"events:\n  - issuer: {transmitter.issuer}\n    audience: {US}\n    algorithms: [ES256]\n"
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("CREATE DATABASE fleet")
    own = postgres.replace("/postgres?", "/fleet?")
    found = lib.Fleet(folder, own, more=more, roots=(transmitter.certificate.path,))
    try:
        found.start()
        yield found
    finally:
        found.end()


@pytest.fixture(scope="module")
def security(fleet: Any) -> Iterator[Any]:
    found = lib.Security(fleet)
    yield found
    found.close()


@pytest.fixture(autouse=True)
def well(fleet: Any) -> Iterator[None]:
    yield
    fleet.until_ready()


def people(fleet: Any, **counts: int) -> list[Any]:
    return [lib.Session(name, fleet.sign_in(name)) for name, count in counts.items() for _ in range(count)]


@contextlib.contextmanager
def traffic(fleet: Any, sessions: list[Any], rate: float) -> Iterator[Any]:
    with lib.Traffic(fleet, sessions, rate) as found:
        found.until_all(permitted=True, whose=lambda _: True, seconds=30)
        yield found


def dana(session: Any) -> bool:
    return session.name == "dana"


def ada(session: Any) -> bool:
    return session.name == "ada"


# under load


@pytest.mark.promise("N10")
def test_nothing_is_permitted_a_second_after_the_acknowledgement(fleet: Any, security: Any) -> None:
    sessions = people(fleet, dana=4, ada=3, olga=3, gil=2)
    with traffic(fleet, sessions, 120) as seen:
        found = [lib.cut(fleet, seen, security, number, watch=1.3) for number in range(16)]
        everybody = Counter((got.status, got.reason) for got in seen.got)
    for cut in found:
        print(f"{cut.what}: {cut.took * 1000:.0f} ms to acknowledge, last permit {cut.last * 1000:+.0f} ms")
    print(everybody, os.getloadavg())
    assert {cut.what for cut in found} == set(lib.KINDS)
    assert [cut.late for cut in found] == [0] * len(found)
    assert all(cut.arbiters == 3 and not cut.fenced for cut in found)
    # a machine that is busy with other things may make a check late, which is answered 503; nobody else is refused
    assert {got.status for cut in found for got in cut.others} <= {503}


# who dies, hangs or goes away


@pytest.mark.promise("N10")
def test_what_was_acknowledged_survives_kill_9(fleet: Any) -> None:
    sessions = people(fleet, dana=1, ada=1)
    with traffic(fleet, sessions, 30) as seen:
        first = fleet.planes[0]
        pids = [pid for plane in fleet.planes for pid in (plane.arbiter, plane.envoy)]
        revoked = first.remit("revoke", sessions[0].principal, "--because", "stolen", "--json")
        acknowledged = time.monotonic()
        assert all(pids)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        assert revoked.returncode == 0, revoked.stderr
        done = json.loads(revoked.stdout)
        assert (len(done["arbiters"]), done["fenced"]) == (3, [])
        killed = time.monotonic()
        seen.until_all(permitted=True, whose=ada, seconds=60)
        print(f"all well again {time.monotonic() - killed:.1f} s after all arbiters and Envoys were killed")
        assert [got for got in seen.since(acknowledged + 1, dana) if got.permitted] == []
        seen.until_all(permitted=False, whose=dana)
        for number in range(3):
            assert lib.ask(fleet, number, sessions[0]) == (403, "revoked")
        assert not {plane.arbiter for plane in fleet.planes} & set(pids)
        assert first.remit("revoke", sessions[0].principal, "--lift").returncode == 0
        seen.until_all(permitted=True, whose=dana)


@contextlib.contextmanager
def hanging(plane: Any, database: str) -> Iterator[None]:
    """An arbiter that hangs, though not amid a commit: then all would wait for its locks, and nobody gets a permit."""
    query = "select count(*) from pg_stat_activity where state like 'idle in transaction%'"
    for _ in range(50):
        with contextlib.ExitStack() as stack:
            stack.enter_context(lib.stopped(plane.arbiter))
            with psycopg.connect(database) as connection:
                row = connection.execute(query).fetchone()
            if row == (0,):
                yield
                return
    raise AssertionError("it was always amid a commit")


@pytest.mark.promise("N10")
def test_an_arbiter_that_hangs_is_fenced_and_permits_nothing_when_it_wakes(
    fleet: Any, security: Any, postgres: str
) -> None:
    sessions = people(fleet, dana=1, ada=1)
    with traffic(fleet, sessions, 30) as seen:
        with hanging(fleet.planes[2], postgres):
            asked = time.monotonic()
            done = security.ask(0, sessions[0].principal)
            acknowledged = time.monotonic()
            took = acknowledged - asked
            print(f"acknowledged after {took:.2f} s, fenced: {done['fenced']}")
            assert (len(done["arbiters"]), len(done["fenced"])) == (2, 1)
            assert 1.9 < took < 4.0  # 2.25 seconds and what a busy machine adds
            again = security.ask(1, sessions[0].id, scope="session")
            assert again["fenced"] == []  # nobody waits for it twice
        seen.until_all(permitted=True, whose=ada, seconds=20)
        time.sleep(1.5)
        assert [got for got in seen.since(acknowledged + 1, dana) if got.permitted] == []
        assert lib.ask(fleet, 2, sessions[0]) == (403, "revoked")
        security.ask(2, sessions[0].principal, lift=True)
        security.ask(2, sessions[0].id, scope="session", lift=True)
        seen.until_all(permitted=True, whose=dana)


def processes(database: str) -> list[int]:
    """All of the PostgreSQL server's, its own first."""
    host = parse_qs(urlsplit(database).query)["host"][0]
    server = int(Path(host, "data", "postmaster.pid").read_text().split()[0])
    children = Path(f"/proc/{server}/task/{server}/children").read_text().split()
    return [server, *map(int, children)]


@pytest.mark.promise("N10")
def test_without_the_database_nothing_is_permitted(fleet: Any, postgres: str) -> None:
    sessions = people(fleet, dana=1, ada=1)
    with traffic(fleet, sessions, 60) as seen:
        with lib.stopped(*processes(postgres)):
            gone = time.monotonic()
            time.sleep(4)
            during = seen.since(gone + LEASE + 0.1)
        last = max((got.at for got in seen.got if got.permitted and got.asked < gone + 4), default=gone) - gone
        print(f"last permit {last * 1000:+.0f} ms after the database was gone, {len(during)} answers later")
        assert during
        assert {(got.status, got.reason) for got in during} <= {
            (503, "plane_unavailable"),
            (503, "record_unavailable"),
        }
        seen.until_all(permitted=True, whose=lambda _: True, seconds=30)


def test_one_ledger_with_the_segments_of_all_gateways_verifies(fleet: Any) -> None:
    first, *others = fleet.planes
    others = [f"--node={plane.settings.audit.node}={plane.settings.audit.folder}" for plane in others]
    lib.until(lambda: first.remit("audit", "verify", *others).returncode == 0, 90)
    alone = first.remit("audit", "verify")
    assert alone.returncode == 1
    assert "nobody said where its segments are kept" in alone.stderr


# open streams

PREDICT = "/google.cloud.aiplatform.v1.PredictionService/Predict"
ENDPOINT = "projects/contoso-fraud-test/locations/us-central1/endpoints/1"
EVENTS = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n6\r\ndata:1\r\n"
CUT_WITHIN = 5.0  # seconds


@pytest.fixture(scope="module")
def streaming(fleet: Any, folder: Path, loop: Any) -> Iterator[Any]:
    """An Envoy of the first plane's, before its own arbiter, that serves streams.

    Two methods are treated as if their answers stayed open, which Google's side, a fake, lets them. WebSockets are
    services' alone, and theirs are cut in `test_e2e_services.py`.
    """
    gateway.IDLE = PREDICT
    upstream = gateway.Upstream(loop, folder)
    upstream.answer = lambda _: gateway.Reply(hold=EVENTS)
    plane = fleet.planes[0]
    settings = replace(
        gateway_settings(plane.settings),
        streams=(":rawPredict", PREDICT),
        listen_port=free_port(),
        access_log=folder / "streams" / "access.log",
        admin_socket=folder / "streams.sock",
        runtime=folder / "streams",
        upstream_address=f"127.0.0.1:{upstream.port}",
        upstream_ca=upstream.files.authority,
    )
    envoy = Envoy(settings)
    roots = ssl.create_default_context(cafile=fleet.lab.bundle)
    with httpx.Client(proxy=f"http://127.0.0.1:{fleet.lab.proxy}", verify=roots, trust_env=False) as client:
        keys = client.get(f"{ENTRA.removesuffix('/v2.0')}/discovery/v2.0/keys").raise_for_status().text
    try:
        loop.run(envoy.start({ENTRA: keys}))
        yield settings
    finally:
        loop.run(envoy.stop())
        upstream.grpc.stop(0).wait()
        upstream.stop()


class Held:
    """Server-sent events over HTTP/1.1."""

    def __init__(self, fleet: Any, settings: Any, session: Any) -> None:
        raw = socket.create_connection(("127.0.0.1", settings.listen_port), 10)
        raw.sendall(f"CONNECT {lib.VERTEX}:443 HTTP/1.1\r\nHost: {lib.VERTEX}:443\r\n\r\n".encode())
        assert b" 200 " in raw.recv(1000)
        context = ssl.create_default_context(cadata=fleet.planes[0].roots)
        self._inner = context.wrap_socket(raw, server_hostname=lib.VERTEX)
        first = f"POST /v1/{ENDPOINT}:rawPredict"
        more = "Content-Length: 2\r\nContent-Type: application/json\r\n"
        head = f"{first} HTTP/1.1\r\nHost: {lib.VERTEX}\r\nAuthorization: Bearer {session.token}\r\n{more}\r\n"
        self._inner.sendall(head.encode() + b"{}")
        seen, end = b"", b"data:1\r\n"
        while end not in seen and (data := self._inner.recv(1000)):
            seen += data
        assert end in seen, seen
        self._inner.settimeout(0.002)

    def over(self) -> bool:
        try:
            return self._inner.recv(100) == b""
        except TimeoutError:
            return False
        except OSError:
            return True

    def close(self) -> None:
        self._inner.close()


class Call:
    """A gRPC server stream."""

    def __init__(self, fleet: Any, settings: Any, session: Any) -> None:
        trusted = grpc.ssl_channel_credentials(fleet.planes[0].roots.encode())
        proxy = ("grpc.http_proxy", f"http://127.0.0.1:{settings.listen_port}")
        options = [proxy, ("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
        self._channel = grpc.secure_channel(f"{lib.VERTEX}:443", trusted, options)
        message = b"\x0a" + bytes([len(ENDPOINT)]) + ENDPOINT.encode()
        carried = (("authorization", f"Bearer {session.token}"),)
        self._call = self._channel.unary_stream(PREDICT)(message, metadata=carried, timeout=60)
        assert next(self._call) == b"first"

    def over(self) -> bool:
        return not self._call.is_active()

    def close(self) -> None:
        self._call.cancel()
        self._channel.close()


STREAMS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "events": Held,
    "gRPC": Call,
}


@pytest.mark.promise("N10")
@pytest.mark.parametrize("what", ["principal", "session", "sign-in-again"])
def test_open_streams_are_cut(fleet: Any, security: Any, streaming: Any, what: str) -> None:
    danas, adas = people(fleet, dana=1, ada=1)
    subject = danas.id if what == "session" else danas.principal
    more: dict[str, Any] = {"scope": "session"} if what == "session" else {}
    with contextlib.ExitStack() as stack:

        def opened(session: Any) -> dict[str, Any]:
            return {
                kind: stack.enter_context(contextlib.closing(opens(fleet, streaming, session)))
                for kind, opens in STREAMS.items()
            }

        cut, kept = opened(danas), opened(adas)
        time.sleep(0.5)
        assert not any(stream.over() for stream in (*cut.values(), *kept.values()))
        asked = {"sign_in_again": True} if what == "sign-in-again" else {}
        security.ask(1, subject, **asked, **more)  # at another arbiter than the one that watches
        began = time.monotonic()
        took: dict[str, float] = {}
        while len(took) < len(cut) and time.monotonic() - began < CUT_WITHIN:
            over = [kind for kind, stream in cut.items() if kind not in took and stream.over()]
            took |= dict.fromkeys(over, time.monotonic() - began)
        print({kind: f"cut after {seconds * 1000:.0f} ms" for kind, seconds in took.items()})
        assert set(took) == set(cut)
        assert not any(stream.over() for stream in kept.values())
    if not asked:
        security.ask(0, subject, lift=True, **more)


# the directory, and events


def seconds_until(fleet: Any, session: Any, wanted: set[tuple[int, str]], within: float) -> float:
    """How long it takes until every door answers so."""
    return float(lib.until(lambda: all(lib.ask(fleet, number, session) in wanted for number in range(3)), within, str))


@pytest.mark.promise("N3")
def test_an_account_that_is_disabled_in_the_directory_is_locked(fleet: Any) -> None:
    [session] = people(fleet, ada=1)
    assert lib.ask(fleet, 0, session) == (200, "")
    fleet.control(disable=lib.OIDS["ada"])
    took = seconds_until(fleet, session, {(403, "revoked")}, 60)
    print(f"locked {took:.1f} s after it was disabled")
    fleet.control(enable=lib.OIDS["ada"])
    print(f"back {seconds_until(fleet, session, {(200, '')}, 60):.1f} s after it was enabled")


@pytest.mark.promise("N3")
def test_events_of_a_provider_take_effect(fleet: Any, transmitter: Transmitter) -> None:
    first, second = people(fleet, dana=2)
    person = {"format": "iss_sub", "iss": ENTRA, "sub": lib.OIDS["dana"]}
    steps = [
        (CAEP + "session-revoked", {"format": "opaque", "id": first.id}, (401, "sign_in_again")),
        (CAEP + "credential-change", person, (401, "sign_in_again")),
        (RISC + "account-disabled", person, (403, "revoked")),
    ]
    for number, (event, subject, refused) in enumerate(steps):
        assert lib.ask(fleet, 0, first) == (200, "")
        taken = transmitter.tell(fleet.planes[number], event, subject)
        took = seconds_until(fleet, first, {refused}, 5)
        print(f"{event.rpartition('/')[2]}: everywhere {took * 1000:.0f} ms after it was taken")
        assert time.monotonic() - taken < 5
        if number == 0:
            assert lib.ask(fleet, 0, second) == (200, "")  # another sign-in of hers
        time.sleep(1.1)  # what was issued in the same second may have been issued before
        if refused[0] == 401:
            [first] = people(fleet, dana=1)
    assert lib.ask(fleet, 0, people(fleet, dana=1)[0]) == (403, "revoked")
    transmitter.tell(fleet.planes[0], RISC + "account-enabled", person)
    assert seconds_until(fleet, people(fleet, dana=1)[0], {(200, "")}, 5) < 5
