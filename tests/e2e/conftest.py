"""One lab, one installation, one `remit serve` for all end-to-end tests, and clients that speak to the door.

What the tests hold against each other: the caller's answer, the ledger, the access log, and the lab's own Cloud Audit
Log, which is the other side's word on what reached it. Every process is started here and ended by its process id.
"""

import base64
import http.client
import json
import os
import secrets
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import grpc
import httpx
import pytest

from remit.assembly.evidence import asked
from remit.audit.query import Query, TimelineRow
from remit.audit.spool import Spool
from remit.audit.store import FolderStore
from remit.cli.story.installation import publish_keys, write_contoso
from remit.cli.story.people import Person
from remit.lab import lifecycle
from remit.settings.read import Settings, read

TENANT = "6f1c2a34-8b5d-4e6f-9a01-c0de00000001"
CLI = "a0000000-0000-4000-8000-000000000002"
VERTEX = "us-central1-aiplatform.googleapis.com"
TEST = "projects/contoso-fraud-test/locations/us-central1"
AUTHORITY = f"https://login.microsoftonline.com/{TENANT}/oauth2/v2.0"
_READY = 90.0  # seconds; it takes about three on an idle machine
_LOG_TAIL = 4000  # characters


@dataclass(frozen=True)
class Reply:
    """What the door answered. `took`: seconds."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    took: float = 0.0

    @property
    def reason(self) -> str:
        return self.headers.get("x-remit-reason", "")

    @property
    def decision(self) -> str:
        return self.headers.get("x-remit-decision", "")

    @property
    def message(self) -> str:
        return str(json.loads(self.body)["error"]["message"])


class Tunnel:
    """A tunnel through the door to one terminated host, kept open; the identity stands on it, or in the requests."""

    def __init__(self, world: "World", host: str = VERTEX, *, identity: str = "", timeout: float = 15) -> None:
        context = ssl.create_default_context(cadata=world.door_roots)
        self._connection = http.client.HTTPSConnection("127.0.0.1", world.port, context=context, timeout=timeout)
        carried = {"Proxy-Authorization": f"Bearer {identity}"} if identity else {}
        self._connection.set_tunnel(host, 443, carried)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def ask(self, method: str, target: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Reply:
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        kind = {"content-type": "application/json"} if data is not None else {}
        began = time.monotonic()
        self._connection.request(method, target, data, {**kind, **(headers or {})})
        answer = self._connection.getresponse()
        content = answer.read()
        shown = {name.lower(): value for name, value in answer.getheaders()}
        return Reply(answer.status, shown, content, time.monotonic() - began)


@dataclass
class Entra:
    """The lab's Entra, as somebody in a browser and a program of theirs meet it."""

    lab: lifecycle.Lab
    held: dict[str, str] = field(default_factory=dict)

    def sign_in(
        self,
        name: str,
        *,
        client: str = CLI,
        scope: str = "api://remit/.default",
        second_factor: bool = False,
        claims: Mapping[str, Any] | None = None,
        authority: str = AUTHORITY,
    ) -> dict[str, Any]:
        """The token endpoint's whole answer to a device code flow. `name`: of Contoso's, or a whole user name."""
        with self.browser() as browser:
            asked = {"client_id": client, **({"claims": json.dumps(claims)} if claims else {})}
            begun = browser.post(f"{authority}/devicecode", data={**asked, "scope": f"openid {scope}"})
            flow = begun.raise_for_status().json()
            form = {"user_code": flow["user_code"], "account": name if "@" in name else f"{name}@contoso.example"}
            form |= {"second_factor": "approve"} if second_factor else {}
            browser.post(flow["verification_uri"], data=form).raise_for_status()
            asked["grant_type"] = "urn:ietf:params:oauth:grant-type:device_code"
            answer = browser.post(f"{authority}/token", data={**asked, "device_code": flow["device_code"]})
            return dict(answer.raise_for_status().json())

    def browser(self) -> httpx.Client:
        """What meets the lab's clouds without Remit."""
        roots = ssl.create_default_context(cafile=self.lab.bundle)
        return httpx.Client(proxy=f"http://127.0.0.1:{self.lab.proxy}", verify=roots, trust_env=False)

    def machine(self, client: str) -> str:
        """A managed identity's token for Remit, as a program on its machine gets it."""
        answer = httpx.get(
            f"http://127.0.0.1:{self.lab.imds}/metadata/identity/oauth2/token",
            params={"api-version": "2018-02-01", "resource": "api://remit", "client_id": client},
            headers={"metadata": "true"},
            trust_env=False,
        )
        return str(answer.raise_for_status().json()["access_token"])

    def token(self, name: str) -> str:
        """A person's token for Remit, the same one all along."""
        if name not in self.held:
            self.held[name] = str(self.sign_in(name)["access_token"])
        return self.held[name]


class World:
    """The running plane, beside the lab."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.people: dict[str, Person] = {}
        self.lab = lifecycle.up(folder / "lab")
        self.entra = Entra(self.lab)
        self.environment = {**os.environ, **lifecycle.variables(self.lab)}
        self.config = write_contoso(folder / "remit", self.lab)
        text = self.config.read_text("utf-8")
        self.config.write_text(text.replace("audit:\n", "audit:\n  seal_every: 1\n"), "utf-8")
        self.settings: Settings = read(self.config)
        self.port = self.settings.gateway.listen_port
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "serve.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "remit.cli", "serve", "--config", str(self.config)]
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(command, env=self.environment, stdout=output, stderr=output)
        self.until_ready()
        configuration = httpx.get(f"{self.url}/v1/configuration", trust_env=False).json()
        self.door_roots = str(configuration["ca_pem"])
        publish_keys(self.config, self.lab)

    def remit(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "remit.cli", *arguments]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False, timeout=60)

    def person(self, name: str) -> Person:
        environment = {**self.environment, "REMIT_URL": self.url}
        if name not in self.people:
            self.people[name] = Person(name, self.folder / "people", environment, self.lab.bundle)
        return self.people[name]

    # readiness

    def readiness(self) -> httpx.Response | None:
        try:
            return httpx.get(f"{self.url}/readyz", trust_env=False, timeout=2)
        except httpx.HTTPError:
            return None

    def until_ready(self, seconds: float = _READY) -> float:
        """How long it took."""
        return until(
            lambda: self.alive() and (found := self.readiness()) is not None and found.is_success, seconds, self.tail
        )

    def alive(self) -> bool:
        if self.running.poll() is not None:
            raise AssertionError(f"`remit serve` ended with {self.running.returncode}\n{self.tail()}")
        return True

    def tail(self) -> str:
        paths = (self.log, self.settings.gateway.runtime / "envoy.log", Path(self.lab.folder) / "lab.log")
        said = {path.name: path.read_text("utf-8", "replace") for path in paths if path.exists()}
        return "\n".join(f"--- {name}\n{text[-_LOG_TAIL:]}" for name, text in said.items())

    # its processes, by their ids

    @property
    def running(self) -> "subprocess.Popen[bytes]":
        assert self.process is not None
        return self.process

    @property
    def arbiter(self) -> int:
        """0 while the file is being written."""
        return int(self.settings.gateway.arbiter_socket.with_suffix(".pid").read_text() or 0)

    @property
    def envoy(self) -> int:
        return child(self.running.pid, b"--config-path")

    # speaking to it

    def tunnel(self, name: str = "", host: str = VERTEX, *, identity: str = "") -> Tunnel:
        return Tunnel(self, host, identity=identity or (self.entra.token(name) if name else ""))

    def ask(
        self, name: str, method: str, target: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        with self.tunnel(name) as tunnel:
            return tunnel.ask(method, target, body, headers)

    def call(
        self, token: str, path: str, message: bytes, metadata: tuple[tuple[str, str], ...] = (), timeout: float = 15
    ) -> "tuple[grpc.StatusCode, str, bytes]":
        """One gRPC call: status, message, answer."""
        with self.channel() as channel:
            call = channel.unary_unary(path, request_serializer=bytes, response_deserializer=bytes)
            carried = (("authorization", f"Bearer {token}"), *metadata)
            try:
                return grpc.StatusCode.OK, "", call(message, timeout=timeout, metadata=carried)
            except grpc.RpcError as error:
                return error.code(), error.details() or "", b""

    def channel(self) -> grpc.Channel:
        """A gRPC channel through the door; the identity is in each call."""
        options = [("grpc.http_proxy", self.url), ("grpc.enable_retries", 0)]
        trusted = grpc.ssl_channel_credentials(self.door_roots.encode())
        return grpc.secure_channel(f"{VERTEX}:443", trusted, options)

    def control(self, **commands: Any) -> dict[str, str]:
        """Tells the lab to break, or to be well again; what it told."""
        answer = httpx.post(self.lab.control, json=commands, trust_env=False, timeout=5).raise_for_status()
        return dict(answer.json()["told"])

    # what was written down

    def cloud(self, text: str = "") -> list[dict[str, Any]]:
        """The lab's Cloud Audit Log: entries that hold a text."""
        path = Path(self.lab.folder) / "cloud_audit.jsonl"
        lines = path.read_text("utf-8").splitlines() if path.exists() else []
        return [json.loads(line) for line in lines if text in line]

    def access(self, text: str, at_least: int = 1) -> list[dict[str, Any]]:
        """Access events that hold a text, wherever they lie by now. Envoy writes a line when the answer is over."""
        end = time.monotonic() + 2
        while len(found := self._access(text)) < at_least and time.monotonic() < end:
            time.sleep(0.02)
        return found

    def _access(self, text: str) -> list[dict[str, Any]]:
        spool, store = Spool(self.settings.audit.access_log), FolderStore(self.settings.audit.segments)
        with spool.locked(shared=True):
            files = [*spool.pending().values(), *([spool.log] if spool.log.exists() else [])]
            lines = [line for path in files for line in path.read_bytes().splitlines()]
            lines += [row for number in store.numbers() for row in store.rows(number)]
        events = [json.loads(line) for line in lines if text.encode() in line]
        return [{key: value for key, value in event.items() if value is not None} for event in events]

    @contextmanager
    def sealing_waits(self) -> Iterator[None]:
        """The access log stays where it is meanwhile."""
        with Spool(self.settings.audit.access_log).locked():
            yield

    def records(self, **question: Any) -> list[TimelineRow]:
        rows = asked(self.settings, Query(**question, limit=100_000))
        return [row for row in rows if row.kind != "access"]

    def end(self) -> None:
        for person in self.people.values():
            person.remit("logout")
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        lifecycle.down(Path(self.lab.folder))


def until(done: Callable[[], bool], seconds: float, said: Callable[[], str] = str) -> float:
    """Waits; how long it took, in seconds."""
    began = time.monotonic()
    while not done():
        if time.monotonic() - began > seconds:
            raise AssertionError(f"it did not come about within {seconds} s\n{said()}")
        time.sleep(0.02)
    return time.monotonic() - began


def child(parent: int, word: bytes) -> int:
    """The id of a process's child with a word in its command line; 0 when there is none."""
    for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
        if word in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
            return int(pid)
    return 0


@pytest.fixture(scope="session")
def world() -> Iterator[World]:
    """Everything, running."""
    folder = Path(tempfile.mkdtemp(prefix="remit-e2e-"))
    found = None
    try:
        found = World(folder)
        found.start()
        yield found
    finally:
        if found:
            found.end()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """A failure shows what the processes said."""
    outcome = yield
    report = outcome.get_result()
    running = getattr(item, "funcargs", {}).get("world")
    if report.failed and running is not None:
        report.sections.append(("what the processes said", running.tail()))


@pytest.fixture
def nonce() -> str:
    """A name that stands nowhere else."""
    return f"n{secrets.token_hex(8)}"


@pytest.fixture(scope="session")
def forge() -> Callable[..., str]:
    """Signs a token's claims anew, or not at all: `forge(token, changes)` with a key of the test's own."""
    return forged


def forged(token: str, changes: Mapping[str, Any], header: Mapping[str, Any] | None = None, key: Any = None) -> str:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding

    first, second, _ = token.split(".")
    head = {**json.loads(_unpadded(first)), **(header or {})}
    claims = {**json.loads(_unpadded(second)), **changes}
    signed = f"{_packed(head)}.{_packed(claims)}"
    signature = key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()) if key else b""
    return f"{signed}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def _unpadded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _packed(value: Mapping[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value, separators=(",", ":")).encode()).rstrip(b"=").decode()
