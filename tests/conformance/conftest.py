"""A whole plane with two doors, and the programs of its people, each run once for all tests.

The plane is `remit serve` beside a lab, with a second door, labels, and Storage in the gate. People find the second
door's name as they would at work: the company's proxy knows it. Every process is started here and ended by its id.
"""

import concurrent.futures
import json
import os
import select
import shutil
import socket
import socketserver
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from remit.assembly.evidence import asked
from remit.audit.query import Query, TimelineRow
from remit.cli.story.installation import free_port, publish_keys, write_contoso
from remit.cli.story.people import Person
from remit.lab import lifecycle
from remit.lab.lifecycle import Lab
from remit.settings.read import Settings, read

HERE = Path(__file__).parent
PROJECT = "contoso-fraud-test"
NAME = "vertex.contoso.example"
VERTEX = "us-central1-aiplatform.googleapis.com"
_READY = 180.0  # seconds; it takes about three on an idle machine
_PROGRAM = 400.0  # seconds for a whole program; it takes about thirty on an idle machine
_AT_ONCE = 4  # programs: each waits for the cloud half of its time
_LOG_TAIL = 4000  # characters

MODEL = """
import sys, tensorflow as tf
class Weigh(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])
    def weigh(self, x):
        return {"score": tf.matmul(x, [[1.0], [2.0]])}
m = Weigh()
tf.saved_model.save(m, sys.argv[1], {"serving_default": m.weigh})
"""


@dataclass(frozen=True)
class Ran:
    """A program that has ended: what it told of its steps, by their names."""

    code: int
    told: dict[str, dict[str, Any]]
    err: str


class Plane:
    """One `remit serve` in front of a lab. `gateway`: more of that section."""

    def __init__(self, folder: Path, lab: Lab, gateway: str, proxy: str) -> None:
        self.folder = folder
        self.lab = lab
        self.config = write_contoso(folder / "remit", lab)
        text = self.config.read_text("utf-8").replace("gateway:\n", f"gateway:\n{gateway}")
        self.config.write_text(text.replace("audit:\n", "audit:\n  seal_every: 1\n"), "utf-8")
        self.settings: Settings = read(self.config)
        self.url = f"http://127.0.0.1:{self.settings.gateway.listen_port}"
        self.proxy = proxy
        self._log = folder / "serve.log"
        self._environment = {**os.environ, **lifecycle.variables(lab)}
        self._process: subprocess.Popen[bytes] | None = None
        self._people: dict[str, Person] = {}

    def start(self) -> None:
        command = [sys.executable, "-m", "remit.cli", "serve", "--config", str(self.config)]
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(command, env=self._environment, stdout=output, stderr=output)
        end = time.monotonic() + _READY
        while not self._ready():
            assert self._process.poll() is None, self.tail()
            assert time.monotonic() < end, self.tail()
            time.sleep(0.05)
        publish_keys(self.config, self.lab)

    def _ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", trust_env=False, timeout=2).is_success
        except httpx.HTTPError:
            return False

    @cached_property
    def roots(self) -> str:
        """The door's authority, PEM."""
        return str(httpx.get(f"{self.url}/v1/configuration", trust_env=False).json()["ca_pem"])

    def person(self, name: str) -> Person:
        """Somebody who has signed in, once, with a home that holds nothing, behind the company's proxy."""
        if name not in self._people:
            home = self.folder / "homes" / name
            home.mkdir(parents=True)
            own = {"REMIT_URL": self.url, "HTTPS_PROXY": self.proxy, "https_proxy": self.proxy, "HOME": str(home)}
            own |= {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": ""}
            person = Person(name, self.folder / "people", {**self._environment, **own}, self.lab.bundle)
            person.account = "gil@fabrikam.example" if name == "gil" else person.account
            person.sign_in("--url", self.url)
            self._people[name] = person
        return self._people[name]

    def token(self, name: str) -> str:
        """Somebody's token for Remit."""
        said = "from remit.sdk.sign_in import current; print(current().token().reveal())"
        return self.person(name).run(PROJECT, ["-c", said]).out.strip()

    def records(self, **question: Any) -> list[TimelineRow]:
        rows = asked(self.settings, Query(**question, limit=100_000))
        return [row for row in rows if row.kind != "access"]

    def tail(self) -> str:
        paths = (self._log, self.settings.gateway.runtime / "envoy.log", Path(self.lab.folder) / "lab.log")
        said = {path.name: path.read_text("utf-8", "replace") for path in paths if path.exists()}
        return "\n".join(f"--- {name}\n{text[-_LOG_TAIL:]}" for name, text in said.items())

    def end(self) -> None:
        for person in self._people.values():
            person.remit("logout")
        if self._process and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(15)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


def run(person: Person, program: str, *arguments: str) -> Ran:
    """`remit run -- python PROGRAM …`, to its end."""
    process = person.start(PROJECT, [str(HERE / program), *arguments])
    try:
        out, err = process.communicate(timeout=_PROGRAM)
    except subprocess.TimeoutExpired:
        process.terminate()
        out, err = process.communicate()
    lines = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    told = {line.get("step") or "/".join((line["way"], line["transport"], line["attempt"])): line for line in lines}
    return Ran(process.returncode, told, err)


# The company's proxy


class _Through(socketserver.BaseRequestHandler):
    """One CONNECT: to a name of the company's own, else onward as it came."""

    server: "CompanyProxy"

    def handle(self) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            if not (more := self.request.recv(4096)):
                return
            head += more
        own = self.server.known.get(head.split(b" ")[1].decode())
        with socket.create_connection(("127.0.0.1", own or self.server.onward)) as far:
            self.request.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n") if own else far.sendall(head)
            self._splice(far)

    def _splice(self, far: socket.socket) -> None:
        other = {self.request: far, far: self.request}
        while True:
            for ready in select.select(list(other), [], [])[0]:
                try:
                    if not (data := ready.recv(65536)):
                        return
                    other[ready].sendall(data)
                except OSError:
                    return


class CompanyProxy(socketserver.ThreadingTCPServer):
    """`known`: `NAME:PORT` → a port on loopback; `onward`: the port of the proxy for everything else."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True

    def __init__(self, onward: int) -> None:
        self.known: dict[str, int] = {}
        self.onward = onward
        super().__init__(("127.0.0.1", 0), _Through)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


# What all tests share


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="remit-c-"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="session")
def lab(folder: Path) -> Iterator[Lab]:
    """With a model and some data in its buckets."""
    saved = folder / "saved"
    writing = subprocess.Popen([sys.executable, "-c", MODEL, str(saved)], stderr=subprocess.DEVNULL)
    found = lifecycle.up(folder / "lab")
    try:
        assert writing.wait(120) == 0
        for path in saved.rglob("*"):
            if path.is_file():
                put(found, f"{PROJECT}-staging", f"models/weigh/{path.relative_to(saved)}", path.read_bytes())
        put(found, f"{PROJECT}-data", "points.jsonl", b"[1.0, 1.0]\n[0.0, 1.0]\n")
        put(found, f"{PROJECT}-data", "table.csv", b"age,fraud\n30,0\n60,1\n")
        yield found
    finally:
        lifecycle.down(Path(found.folder))


def put(lab: Lab, bucket: str, name: str, content: bytes) -> None:
    control(lab, put_object={"bucket": bucket, "name": name, "base64": b64encode(content).decode()})


def control(lab: Lab, **commands: Any) -> None:
    httpx.post(lab.control, json=commands, trust_env=False, timeout=10).raise_for_status()


@pytest.fixture(scope="session")
def company(lab: Lab) -> Iterator[CompanyProxy]:
    with CompanyProxy(lab.proxy) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="session")
def door() -> str:
    """The second door, as clients are given it."""
    return f"{NAME}:{free_port()}"


@pytest.fixture(scope="session")
def plane(folder: Path, lab: Lab, company: CompanyProxy, door: str) -> Iterator[Plane]:
    port = door.rpartition(":")[2]
    second = f"  endpoint:\n    listen: 127.0.0.1:{port}\n    names:\n      {NAME}: us-central1\n"
    company.known[door] = int(port)
    found = Plane(folder / "plane", lab, f"  labels: true\n  storage: terminate\n{second}", company.url)
    try:
        found.start()
        yield found
    finally:
        found.end()


@pytest.fixture(scope="session")
def dana(plane: Plane) -> Person:
    return plane.person("dana")


@pytest.fixture(scope="session")
def programs(plane: Plane, dana: Person, door: str) -> Iterator[Callable[[str, str], Ran]]:
    """Dana's program by a way and a transport. All are begun with the first that is asked for."""
    with concurrent.futures.ThreadPoolExecutor(_AT_ONCE) as pool:
        ran = {
            (way, transport): pool.submit(run, dana, "program.py", way, transport, *given)
            for way, given in (("tunnel", ()), ("endpoint", (door,)))
            for transport in ("grpc", "rest")
        }
        yield lambda way, transport: ran[way, transport].result()


@pytest.fixture(scope="session")
def run_program() -> Callable[..., Ran]:
    return run


@pytest.fixture(scope="session")
def tunnelled(folder: Path, lab: Lab, company: CompanyProxy) -> Iterator[Plane]:
    """A second plane, as it is without a word of configuration."""
    found = Plane(folder / "tunnelled", lab, "", company.url)
    try:
        found.start()
        yield found
    finally:
        found.end()


@pytest.fixture(scope="session")
def lab_told(lab: Lab) -> Callable[..., None]:
    return partial(control, lab)


# Requests by hand


@pytest.fixture(scope="session")
def tokens(plane: Plane) -> Callable[[str], str]:
    """Somebody's token for Remit, the same one all along."""
    return cache(plane.token)


@pytest.fixture(scope="session")
def asks(plane: Plane, company: CompanyProxy, door: str, tokens: Callable[[str], str]) -> Callable[..., httpx.Response]:
    """`asks(way, name, method, path, json=…)`: one REST request."""
    trusted = ssl.create_default_context(cadata=plane.roots)

    def ask(way: str, name: str, method: str, path: str, **more: Any) -> httpx.Response:
        identity = f"Bearer {tokens(name)}"
        by_door = way == "endpoint"
        proxy = httpx.Proxy(company.url if by_door else plane.url)
        with httpx.Client(proxy=proxy, verify=trusted, trust_env=False, timeout=20) as client:
            url = f"https://{door if by_door else VERTEX}{path}"
            return client.request(method, url, headers={"authorization": identity}, **more)

    return ask


@pytest.fixture(scope="session")
def dana_asks(asks: Callable[..., httpx.Response]) -> Callable[..., httpx.Response]:
    return partial(asks, "tunnel", "dana")


@pytest.fixture(scope="session")
def calls(plane: Plane, company: CompanyProxy, door: str, tokens: Callable[[str], str]) -> Callable[..., Any]:
    """`calls(way, name, path, message)`: one gRPC call that is refused; the error, and all that came with it."""

    def call(way: str, name: str, path: str, message: bytes) -> tuple[grpc.RpcError, dict[str, str]]:
        target, proxy = (door, company.url) if way == "endpoint" else (f"{VERTEX}:443", plane.url)
        options = [("grpc.http_proxy", proxy), ("grpc.enable_retries", 0)]
        trusted = grpc.ssl_channel_credentials(plane.roots.encode())
        with grpc.secure_channel(target, trusted, options) as channel:
            made = channel.unary_unary(path, request_serializer=bytes, response_deserializer=bytes)
            with pytest.raises(grpc.RpcError) as refused:
                made(message, timeout=20, metadata=(("authorization", f"Bearer {tokens(name)}"),))
        error = refused.value
        return error, dict([*(error.initial_metadata() or ()), *(error.trailing_metadata() or ())])

    return call


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """A failure shows what the processes said."""
    outcome = yield
    report = outcome.get_result()
    running = getattr(item, "funcargs", {}).get("plane")
    if report.failed and running is not None:
        report.sections.append(("what the processes said", running.tail()))
