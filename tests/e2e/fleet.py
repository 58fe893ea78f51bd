"""Several gateways of one installation, over one database: their planes, callers that never stop, and what they got.

For the tests of revocation and for `benchmarks/revocation.py`. Every plane is a `remit serve` of its own, with a folder,
a door and a name in the ledger of its own; what they share is copied, as docs/operating.md says. Google is an Envoy that
answers by itself, so that an answer with its text is a permit; the clouds of the credentials are the lab's.
"""

import asyncio
import base64
import contextlib
import datetime as dt
import json
import os
import secrets
import shutil
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import httpx

from remit.cli.story.installation import free_port, publish_keys, write_contoso
from remit.gateway.binary import envoy_binary
from remit.gateway.certificates import DoorFiles, ensure
from remit.lab import lifecycle
from remit.lab.lifecycle import Lab
from remit.settings.read import Settings, read

TENANT = "6f1c2a34-8b5d-4e6f-9a01-c0de00000001"
CLI = "a0000000-0000-4000-8000-000000000002"
AUTHORITY = f"https://login.microsoftonline.com/{TENANT}/oauth2/v2.0"
VERTEX = "us-central1-aiplatform.googleapis.com"
MODEL = "/v1/projects/contoso-fraud-test/locations/us-central1/models/1"
_PEOPLE = ("dana", "ada", "sam", "gil", "zoe", "una", "olga")
OIDS = {name: f"0d000000-0000-4000-8000-00000000000{n}" for n, name in enumerate(_PEOPLE, 1)}
ANSWER = b'{"name":"answered"}'
SHARED = ("audit/ledger.key", "sessions.key", "issuer", "door")
"""What every plane of an installation must have alike, below its state folder."""

_READY = 60.0  # seconds; three planes start side by side in about six
_END = 15.0
_ENVOY = "type.googleapis.com/envoy.extensions."


class Plane:
    """One `remit serve`."""

    def __init__(self, folder: Path, config: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.config = config
        self.environment = environment
        self.settings: Settings = read(config)
        self.port = self.settings.gateway.listen_port
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "serve.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "remit.cli", "serve", "--config", str(self.config)]
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(command, env=self.environment, stdout=output, stderr=output)

    def ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.tail()
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"{self.url}/readyz", trust_env=False, timeout=2).is_success
        return False

    def tail(self) -> str:
        paths = (self.log, self.settings.gateway.runtime / "envoy.log")
        return "\n".join(f"--- {path}\n{path.read_text(errors='replace')[-3000:]}" for path in paths if path.exists())

    @cached_property
    def roots(self) -> str:
        """The door's authority, PEM; it stays through restarts."""
        return str(httpx.get(f"{self.url}/v1/configuration", trust_env=False).json()["ca_pem"])

    @property
    def arbiter(self) -> int:
        """The process id."""
        return int(self.settings.gateway.arbiter_socket.with_suffix(".pid").read_text())

    @property
    def envoy(self) -> int:
        """The process id; 0 when there is none."""
        assert self.process is not None
        pid = self.process.pid
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            if b"--config-path" in Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0"):
                return int(child)
        return 0

    def remit(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "remit.cli", *arguments, "--config", str(self.config)]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False, timeout=60)

    def end(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(_END)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Fleet:
    """`planes` over one database, with the lab beside them. `more`: text that is added to every remit.yaml."""

    def __init__(
        self, folder: Path, database: str, *, planes: int = 3, more: str = "", roots: Sequence[Path] = ()
    ) -> None:
        self.folder = folder
        self.lab: Lab = lifecycle.up(folder / "lab")
        self.environment = {**os.environ, **lifecycle.variables(self.lab)}
        if roots:
            trusted = folder / "roots.pem"
            trusted.write_bytes(b"".join(path.read_bytes() for path in (Path(self.lab.bundle), *roots)))
            self.environment["SSL_CERT_FILE"] = str(trusted)
        self.google = Google(folder)
        self.planes = [self._plane(number, database, more) for number in range(1, planes + 1)]

    def _plane(self, number: int, database: str, more: str) -> Plane:
        folder = self.folder / f"p{number}"
        config = write_contoso(folder, self.lab)
        text = config.read_text("utf-8")
        for old, new in (
            (f"    address: 127.0.0.1:{self.lab.front}\n", f"    address: 127.0.0.1:{self.google.port}\n"),
            (f"    ca_file: {self.lab.bundle}\n", f"    ca_file: {self.google.files.authority}\n"),
            ("state:\n  folder: .remit\n", f"state:\n  folder: .remit\n  database: {database}\n"),
            ("audit:\n", f"audit:\n  node: node-{number}\n"),
        ):
            assert old in text, old
            text = text.replace(old, new)
        config.write_text(text + more, "utf-8")
        return Plane(folder, config, self.environment)

    def start(self) -> None:
        """The first plane makes what all share; the others get a copy before they start."""
        first, *others = self.planes
        self._start([first])
        for plane in others:
            for name in SHARED:
                copy(first.config.parent / ".remit" / name, plane.config.parent / ".remit" / name)
        self._start(others)
        publish_keys(first.config, self.lab)

    def _start(self, planes: Sequence[Plane]) -> None:
        for plane in planes:
            plane.start()
        self.until_ready(planes)

    def until_ready(self, planes: Sequence[Plane] | None = None) -> None:
        for plane in self.planes if planes is None else planes:
            until(plane.ready, _READY, plane.tail)

    def control(self, **commands: Any) -> None:
        """Tells the lab something."""
        httpx.post(self.lab.control, json=commands, trust_env=False, timeout=5).raise_for_status()

    def sign_in(self, name: str) -> str:
        """A person's token for Remit, by a sign-in of its own: a device code, approved in a browser."""
        context = ssl.create_default_context(cafile=self.lab.bundle)
        account = "gil@fabrikam.example" if name == "gil" else f"{name}@contoso.example"
        with httpx.Client(proxy=f"http://127.0.0.1:{self.lab.proxy}", verify=context, trust_env=False) as browser:
            asked = {"client_id": CLI}
            begun = browser.post(f"{AUTHORITY}/devicecode", data={**asked, "scope": "openid api://remit/.default"})
            flow = begun.raise_for_status().json()
            form = {"user_code": flow["user_code"], "account": account}
            browser.post(flow["verification_uri"], data=form).raise_for_status()
            asked["grant_type"] = "urn:ietf:params:oauth:grant-type:device_code"
            answer = browser.post(f"{AUTHORITY}/token", data={**asked, "device_code": flow["device_code"]})
            return str(answer.raise_for_status().json()["access_token"])

    def end(self) -> None:
        for plane in self.planes:
            if plane.process and plane.process.poll() is None:
                plane.process.terminate()
        for plane in self.planes:
            plane.end()
        self.google.end()
        lifecycle.down(Path(self.lab.folder))


def copy(source: Path, target: Path) -> None:
    """A file, or a folder with what is in it; permissions stay."""
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    else:
        shutil.copy2(source, target)


def until(done: Callable[[], bool], seconds: float, said: Callable[[], str] = str) -> float:
    """Waits; how long it took, in seconds."""
    began = time.monotonic()
    while not done():
        assert time.monotonic() - began < seconds, f"it did not come about within {seconds} s\n{said()}"
        time.sleep(0.01)
    return time.monotonic() - began


class Google:
    """An Envoy that answers every request over TLS by itself with `ANSWER`."""

    def __init__(self, folder: Path) -> None:
        self.files: DoorFiles = ensure(folder / "google", (VERTEX,), dt.datetime.now(dt.UTC))
        self.port = free_port()
        path = folder / "google.json"
        path.write_text(json.dumps(self._bootstrap()))
        command = [str(envoy_binary()), "-c", str(path), "--concurrency", "1", "--disable-hot-restart", "-l", "error"]
        self._process = subprocess.Popen(command, stderr=subprocess.DEVNULL)

    def _bootstrap(self) -> dict[str, Any]:
        pair = {"filename": str(self.files.certificate)}, {"filename": str(self.files.key)}
        certificate = {"certificate_chain": pair[0], "private_key": pair[1]}
        common = {"tls_certificates": [certificate], "alpn_protocols": ["h2", "http/1.1"]}
        tls = {"@type": f"{_ENVOY}transport_sockets.tls.v3.DownstreamTlsContext", "common_tls_context": common}
        body = {"status": 200, "body": {"inline_string": ANSWER.decode()}}
        route = {"match": {"prefix": "/"}, "direct_response": body}
        manager = {
            "@type": f"{_ENVOY}filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "google",
            "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
            "http_filters": [{"name": "router", "typed_config": {"@type": f"{_ENVOY}filters.http.router.v3.Router"}}],
        }
        chain = {
            "transport_socket": {"name": "tls", "typed_config": tls},
            "filters": [{"name": "http", "typed_config": manager}],
        }
        address = {"socket_address": {"address": "127.0.0.1", "port_value": self.port}}
        return {"static_resources": {"listeners": [{"name": "google", "address": address, "filter_chains": [chain]}]}}

    def end(self) -> None:
        self._process.terminate()
        self._process.wait()


def claims(token: str) -> dict[str, Any]:
    """What a token says, unverified."""
    body = token.split(".")[1]
    return dict(json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))))


@dataclass
class Session:
    """One sign-in of somebody, and the job that works with it."""

    name: str
    token: str = field(repr=False)
    job: str = field(
        default_factory=lambda: "j-" + "".join(secrets.choice("0123456789abcdefghjkmnpqrstvwxyz") for _ in range(26))
    )

    @property
    def id(self) -> str:
        return str(claims(self.token)["sid"])

    @property
    def principal(self) -> str:
        return f"{TENANT}/{OIDS[self.name]}"


@dataclass(frozen=True)
class Got:
    """One answer. `asked` and `at`: monotonic seconds; `status`: 0 when there was none."""

    asked: float
    at: float
    session: Session
    plane: int
    status: int
    reason: str = ""

    @property
    def permitted(self) -> bool:
        return self.status == 200


class Connection:
    """A tunnel through one door for one sign-in and its job, opened anew when it ends."""

    def __init__(self, port: int, context: ssl.SSLContext, session: Session) -> None:
        self._port = port
        self._context = context
        self._session = session
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self) -> tuple[int, str]:
        """Status and reason of one read."""
        try:
            self._streams = self._streams or await self._open()
            reader, writer = self._streams
            lines = f"GET {MODEL} HTTP/1.1\r\nHost: {VERTEX}\r\nAuthorization: Bearer {self._session.token}\r\n\r\n"
            writer.write(lines.encode())
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
            headers = dict(line.split(": ", 1) for line in head[1:-2])
            body = await reader.readexactly(int(headers["content-length"]))
            status = int(head[0].split(" ")[1])
            assert status != 200 or body == ANSWER, body
            return status, headers.get("x-remit-reason", "")
        except (OSError, asyncio.IncompleteReadError):
            await self.close()
            return 0, "no connection"

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(
            f"CONNECT {VERTEX}:443 HTTP/1.1\r\nHost: {VERTEX}:443\r\nX-Remit-Job: {self._session.job}\r\n\r\n".encode()
        )
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in head:
            raise ConnectionError(head)
        await writer.start_tls(self._context, server_hostname=VERTEX)
        return reader, writer

    async def close(self) -> None:
        if self._streams:
            self._streams[1].transport.abort()  # it is TLS in a tunnel, and nobody is owed a farewell
            self._streams = None
            await asyncio.sleep(0.01)


class Traffic:
    """Reads by all sessions at all planes, `rate` a second in all, from a thread of its own, until the block ends."""

    def __init__(self, fleet: Fleet, sessions: Sequence[Session], rate: float) -> None:
        self.sessions = list(sessions)
        self.got: list[Got] = []
        self._planes = fleet.planes
        self._rate = rate
        self._contexts = [ssl.create_default_context(cadata=plane.roots) for plane in fleet.planes]
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._loop.close()

    async def _run(self) -> None:
        pairs = [(session, number) for session in self.sessions for number in range(len(self._planes))]
        every = len(pairs) / self._rate
        tasks = [
            asyncio.create_task(self._ask_on(session, number, every, every * place / len(pairs)))
            for place, (session, number) in enumerate(pairs)
        ]
        await asyncio.gather(*tasks)

    async def _ask_on(self, session: Session, number: int, every: float, wait: float) -> None:
        connection = Connection(self._planes[number].port, self._contexts[number], session)
        due = self._loop.time() + wait
        while not await self._told_to_stop(due - self._loop.time()):
            asked = time.monotonic()
            status, reason = await connection.ask()
            self.got.append(Got(asked, time.monotonic(), session, number, status, reason))
            due = max(due + every, self._loop.time())
        await connection.close()

    async def _told_to_stop(self, within: float) -> bool:
        if within > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), within)
        return self._stop.is_set()

    # what they got

    def since(self, moment: float, whose: Callable[[Session], bool] = lambda _: True) -> list[Got]:
        """Answers that came after a moment, oldest first."""
        found = []
        for got in reversed(self.got):
            if got.at < moment - 2:  # answers are entered in the order of their coming
                break
            if got.at > moment and whose(got.session):
                found.append(got)
        return found[::-1]

    def until_all(self, permitted: bool, whose: Callable[[Session], bool], seconds: float = 10.0) -> None:
        """Until the newest answer at every plane to every session of these is a permit, or is none."""
        began = time.monotonic()
        wanted = {(id(one), number) for one in self.sessions if whose(one) for number in range(len(self._planes))}

        def all_of_them() -> bool:
            last = {(id(got.session), got.plane): got.permitted for got in self.since(began, whose)}
            return set(last) >= wanted and all(value is permitted for value in last.values())

        until(all_of_them, seconds, lambda: str(self.since(began, whose)[-3:]))


@dataclass
class Cut:
    """One revocation as its subject met it. Times in seconds, from the acknowledgement.

    `took`: from asking to the acknowledgement; `last`: when the last permit was answered, negative for before;
    `after`: permits that were answered after it; `late`: more than a second after it; `others`: refusals of others.
    """

    what: str
    took: float
    last: float
    after: int
    late: int
    others: list[Got]
    arbiters: int
    fenced: int


class Security:
    """Sam, who revokes, by the API of any plane."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._client = httpx.Client(trust_env=False, timeout=10)
        self._token = fleet.sign_in("sam")

    def ask(self, plane: int, subject: str, **more: Any) -> dict[str, Any]:
        """Revokes or lifts; returns with the acknowledgement."""
        url = f"{self._fleet.planes[plane].url}/v1/revocations"
        headers = {"authorization": f"Bearer {self._token}"}
        answer = self._client.post(url, json={"subject": subject, **more}, headers=headers)
        assert answer.is_success, (answer.status_code, answer.text)
        return dict(answer.json())

    def close(self) -> None:
        self._client.close()


KINDS = ("principal", "session", "job", "sign-in-again")


def cut(fleet: Fleet, traffic: Traffic, security: Security, number: int, *, watch: float = 1.5) -> Cut:
    """Revokes somebody under load, watches, and makes all well again. `number` chooses what, whom and where."""
    kind, plane = KINDS[number % len(KINDS)], number % len(fleet.planes)
    chosen = traffic.sessions[(number * 7) % len(traffic.sessions)]

    def whose(session: Session) -> bool:
        if kind == "job":
            return session.job == chosen.job
        return session.id == chosen.id if kind == "session" else session.name == chosen.name

    subject = {"session": chosen.id, "job": chosen.job}.get(kind, chosen.principal)
    more: dict[str, Any] = {"scope": kind} if kind in {"session", "job"} else {}
    more |= {"sign_in_again": True} if kind == "sign-in-again" else {}
    asked = time.monotonic()
    done = security.ask(plane, subject, **more)
    acknowledged = time.monotonic()
    time.sleep(watch)
    permits = [got for got in traffic.since(asked - 1, whose) if got.permitted]
    others = [got for got in traffic.since(asked, lambda one: not whose(one)) if not got.permitted]
    last = max((got.at for got in permits), default=asked) - acknowledged
    found = Cut(
        kind,
        acknowledged - asked,
        last,
        sum(got.at > acknowledged for got in permits),
        sum(got.at > acknowledged + 1 for got in permits),
        others,
        len(done["arbiters"]),
        len(done["fenced"]),
    )
    assert any(not got.permitted for got in traffic.since(acknowledged, whose)), "nobody asked while it was revoked"
    if kind == "sign-in-again":
        for session in filter(whose, traffic.sessions):
            session.token = fleet.sign_in(session.name)
    else:
        security.ask(plane, subject, lift=True, **more)
    traffic.until_all(permitted=True, whose=whose)
    return found


@contextlib.contextmanager
def stopped(*pids: int) -> Iterator[None]:
    """Processes that hang."""
    import signal

    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def ask(fleet: Fleet, plane: int, session: Session) -> tuple[int, str]:
    """Status and reason of one read through one door."""

    async def once() -> tuple[int, str]:
        door = fleet.planes[plane]
        connection = Connection(door.port, ssl.create_default_context(cadata=door.roots), session)
        try:
            return await connection.ask()
        finally:
            await connection.close()

    return asyncio.run(once())
