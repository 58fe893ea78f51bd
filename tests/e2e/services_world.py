"""Contoso's plane with services of its own behind it, for the tests of services, of served models and of the endpoint.

Two boards (`remit.lab.board`) run in this process, so that a test sees whatever reached them; the lab's TensorFlow
Serving has SavedModels that TensorFlow wrote; the second door speaks for Vertex AI under a name of Contoso's. One such
world is made for all tests that ask for it, and ends with them.
"""

import asyncio
import http.client
import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Coroutine, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Self

import grpc
import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from remit.cli.story.installation import free_port
from remit.lab import lifecycle
from remit.lab.board import ASSERTION, Board
from remit.lab.http_server import HttpServer

TESTS = Path(__file__).resolve().parents[1]
TENANT = "6f1c2a34-8b5d-4e6f-9a01-c0de00000001"
DANA = f"{TENANT}/0d000000-0000-4000-8000-000000000001"
SAM = f"{TENANT}/0d000000-0000-4000-8000-000000000003"
DIGITS = "digits.contoso.example"
OTHER = "other.contoso.example"
VERTEX = "us-central1-aiplatform.googleapis.com"
VERTEX_HERE = "vertex.contoso.example"
SOON = 30.0  # seconds on a machine that has other things to do

_SERVICES = """
services:
  - name: board
    project: contoso-fraud-test
    http: {board}
    prefix: /apps/board/
    websockets: true
  - name: other
    project: contoso-fraud-test
    http: {other}
    prefix: /apps/other/
    host: other.contoso.example
  - name: digits
    project: contoso-fraud-test
    kind: tensorflow-serving
    http: {serving}
    grpc: {calls}
    host: digits.contoso.example
"""
_ENDPOINT = """  endpoint:
    listen: 127.0.0.1:{port}
    names:
      vertex.contoso.example: us-central1
"""
_POLICY = """
@id("security-tries-half")
permit (
    principal in Group::"9a000000-0000-4000-8000-000000000005", // security
    action in [Action::"tensorflow_serving.models.predict", Action::"tensorflow_serving.models.multiInference"],
    resource == ServedModel::"//remit/projects/contoso-fraud-test/services/digits/models/half"
);
"""


def load(name: str, path: Path) -> ModuleType:
    """A module that stands beside the tests."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


class Apps:
    """Boards, each on a port of its own, and whatever else a test serves."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._servers: list[asyncio.Server] = []

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def serve(self, handler: Any) -> str:
        """Its URL."""
        server = self.run(HttpServer(handler).listen())
        self._servers.append(server)
        return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    def close(self) -> None:
        async def end() -> None:
            for server in self._servers:
                server.close()
            left = asyncio.all_tasks() - {asyncio.current_task()}
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
            await asyncio.sleep(0)

        self.run(end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Town:
    """The plane (`world`), its services, and who asks them."""

    def __init__(self, folder: Path) -> None:
        worlds = load("e2e_services_worlds", TESTS / "e2e" / "conftest.py")
        self.apps = Apps()
        lifecycle.up(folder / "lab", models=models(folder))
        self.world = worlds.World(folder)
        self.read = worlds.read
        self.origin = str(self.world.url)
        jwks = f"{self.origin}/.well-known/jwks.json"
        self.board = Board(prefix="/apps/board", jwks=jwks, audience=f"{self.origin}/apps/board/")
        self.other = Board(prefix="/apps/other", jwks=jwks, audience=f"{self.origin}/apps/other/")
        self.endpoint = free_port()
        lab = self.world.lab
        at = {"serving": f"http://127.0.0.1:{lab.serving}", "calls": f"http://127.0.0.1:{lab.serving_grpc}"}
        written = self.world.config.read_text("utf-8")
        written = written.replace("gateway:\n", "gateway:\n" + _ENDPOINT.format(port=self.endpoint))
        at |= {"board": self.apps.serve(self.board.handle), "other": self.apps.serve(self.other.handle)}
        self.write(written + _SERVICES.format(**at))
        (self.world.config.parent / "policies" / "models.cedar").write_text(_POLICY, "utf-8")

    def write(self, text: str) -> None:
        """A new remit.yaml."""
        self.world.config.write_text(text, "utf-8")
        self.world.settings = self.read(self.world.config)

    def told(self) -> None:
        """`kill -HUP`, as docs/operating.md says."""
        os.kill(int((self.world.settings.gateway.runtime.parent / "serve.pid").read_text()), signal.SIGHUP)

    def end(self) -> None:
        self.world.end()
        self.apps.close()

    # asking

    def bearer(self, name: str = "dana") -> dict[str, str]:
        """A program's identity."""
        return {"authorization": f"Bearer {self.world.entra.token(name)}"}

    def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        """A program at the door."""
        return httpx.request(method, f"{self.origin}{path}", trust_env=False, timeout=SOON, **more)

    def raw(self, head: str) -> bytes:
        """The answer to bytes that no client sends; empty when there is none."""
        with socket.create_connection(("127.0.0.1", self.world.port), 10) as connection:
            connection.sendall(head.encode("latin-1"))
            said = b""
            while not _whole(said) and (data := connection.recv(65536)):
                said += data
        return said

    def claims(self, headers: Mapping[str, str]) -> dict[str, Any]:
        """What the one assertion among a service's headers says, held against the keys that anybody may read."""
        assertion = headers[ASSERTION]
        assert assertion.count(".") == 2
        keys = KeySet.import_key_set(self.ask("GET", "/.well-known/jwks.json").raise_for_status().json())
        return dict(jwt.decode(assertion, keys, algorithms=["RS256", "ES256", "EdDSA"]).claims)

    def revoke(self, subject: str, *, lift: bool = False) -> None:
        """Sam's word; returns with its acknowledgement."""
        order = {"subject": subject, **({"lift": True} if lift else {})}
        self.ask("POST", "/v1/revocations", json=order, headers=self.bearer("sam")).raise_for_status()

    # the second door

    def at(self, name: str, *, host: str = "") -> "Entrance":
        """A connection to the second door; `host`: another name in the request than in TLS."""
        return Entrance(self, name, host)

    def channel(self, name: str, *, door: str, authority: str = "") -> grpc.Channel:
        """A gRPC channel through either door: `tunnel` or `endpoint`."""
        trusted = grpc.ssl_channel_credentials(self.world.door_roots.encode())
        options: list[tuple[str, Any]] = [("grpc.enable_retries", 0)]
        if door == "tunnel":
            return grpc.secure_channel(f"{name}:443", trusted, [*options, ("grpc.http_proxy", self.origin)])
        options += [("grpc.ssl_target_name_override", name), ("grpc.default_authority", authority or name)]
        options += [("grpc.enable_http_proxy", 0)]
        return grpc.secure_channel(f"127.0.0.1:{self.endpoint}", trusted, options)


class Entrance:
    """One TLS connection to the second door, for REST."""

    def __init__(self, town: Town, name: str, host: str) -> None:
        context = ssl.create_default_context(cadata=town.world.door_roots)
        raw = socket.create_connection(("127.0.0.1", town.endpoint), 10)
        self._connection = http.client.HTTPConnection(host or name)
        self._connection.sock = context.wrap_socket(raw, server_hostname=name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def ask(self, method: str, target: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Any:
        """As `conftest.Tunnel.ask`."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        kind = {"content-type": "application/json"} if data is not None else {}
        self._connection.request(method, target, data, {**kind, **(headers or {})})
        answer = self._connection.getresponse()
        content = answer.read()
        found = sys.modules["e2e_services_worlds"]
        return found.Reply(answer.status, {name.lower(): value for name, value in answer.getheaders()}, content)


def models(folder: Path) -> Path:
    """The SavedModels of the lab's own tests."""
    written = load("e2e_lab_conftest", TESTS / "unit" / "lab" / "conftest.py").MODELS
    target = folder / "models"
    subprocess.run([sys.executable, "-c", written, str(target)], check=True, capture_output=True, timeout=240)
    (target / "half" / "labels.json").write_text('{"stable": 1, "canary": 2}', "utf-8")
    return target


def _whole(answer: bytes) -> bool:
    head, end, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"\r\ncontent-length: ([0-9]+)", head.lower())
    return bool(end) and bool(length) and len(body) >= int(length[1])


def until(done: Any, said: Any = str, seconds: float = SOON) -> float:
    """Waits for a condition; how long it took, in seconds."""
    began = time.monotonic()
    while not done():
        assert time.monotonic() - began < seconds, f"it did not come about\n{said()}"
        time.sleep(0.01)
    return time.monotonic() - began


@cache
def _made(config: pytest.Config) -> Town:
    folder = Path(tempfile.mkdtemp(prefix="remit-e2e-"))
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
    found = Town(folder)
    config.add_cleanup(found.end)
    found.world.start()
    return found


def shared(config: pytest.Config) -> Town:
    """The one of this session."""
    return _made(config)
