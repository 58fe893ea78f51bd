"""No hostile variant of a good token gets anything past the real gateway, whatever Envoy's own check thinks of it.

The lab gives away Entra's signing key, so that a variant's one fault is the one that its name says. Each goes in on the
tunnel, inside of it, and to the door's own API. What is held against the answers: the lab's Cloud Audit Log, Entra's
log of exchanges, Envoy's count of upstream requests, and the access log.
"""

import asyncio
import importlib.util
import json
import random
import secrets
import socket
import ssl
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from remit.gateway.admin import Admin

pytestmark = pytest.mark.e2e

SEED = secrets.randbits(32)
JOBS = "/v1/projects/contoso-fraud-test/locations/us-central1/customJobs"
VERTEX = "us-central1-aiplatform.googleapis.com"
REMIT = "a0000000-0000-4000-8000-000000000001"
PIPELINE = "3c000000-0000-4000-8000-000000000002"
TRAINER = "trainer@contoso-fraud-test.iam.gserviceaccount.com"
REFUSED = {400, 401, 403, 407, 431, 503}  # 407: a tunnel's identity that is no bearer token; 431: one of 40 KiB
OURS = ("CustomJob",)  # what is asked for here; a credential of an earlier test may still be under way
UPSTREAM = r"cluster\.(rest|grpc|socket).*\.upstream_rq_total"  # what stands behind the doors


@pytest.fixture(scope="module")
def mutations() -> Iterator[ModuleType]:
    path = Path(__file__).parents[1] / "unit" / "identity" / "token_mutations.py"
    spec = importlib.util.spec_from_file_location("e2e_token_mutations", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture
def key(world: Any) -> Any:
    """Entra's own private key."""
    return load_pem_private_key(world.control(steal_key=True)["steal_key"].encode(), None)


@contextmanager
def version(world: Any, number: str) -> Iterator[None]:
    world.control(token_version={"app": REMIT, "version": number})
    try:
        yield
    finally:
        world.control(token_version={"app": REMIT, "version": "2.0"})


@dataclass(frozen=True)
class Good:
    """A token, and what its owner may do with it: method, target and body, and what Google says to that.

    `all`: whether every variant is tried, else some, chosen by the seed.
    """

    token: str
    asks: tuple[str, str, Any]
    answer: int
    all: bool


@pytest.fixture(params=["a person, v2", "a person, v1", "a workload, v2"])
def good(request: pytest.FixtureRequest, world: Any, nonce: str) -> Good:
    if request.param == "a workload, v2":
        return Good(world.entra.machine(PIPELINE), ("POST", JOBS, job(nonce)), 200, all=False)
    with version(world, request.param[-1] + ".0"):
        token = str(world.entra.sign_in("dana")["access_token"])
    return Good(token, ("GET", f"{JOBS}/{nonce}", None), 404, all=request.param == "a person, v2")


def job(name: str) -> dict[str, Any]:
    container = {"imageUri": "us-docker.pkg.dev/vertex-ai/training/tf-cpu.2-17.py310:latest", "command": ["true"]}
    pool = {"machineSpec": {"machineType": "n1-standard-4"}, "replicaCount": "1", "containerSpec": container}
    return {"displayName": name, "jobSpec": {"serviceAccount": TRAINER, "workerPoolSpecs": [pool]}}


class Reached:
    """What anybody behind the gateway has heard since."""

    def __init__(self, world: Any) -> None:
        self._world = world
        self._sign_ins = Path(world.lab.folder) / "sign_ins.jsonl"
        self._before = self._settled()

    def _settled(self) -> dict[str, int]:
        """What was heard until now, once nothing of earlier tests is under way any more."""
        seen, end = self._now(), time.monotonic() + 20
        while time.monotonic() < end:
            time.sleep(1.5)
            if (now := self._now()) == seen:
                break
            seen = now
        return seen

    def since(self) -> dict[str, int]:
        now = self._now()
        return {name: now[name] - self._before[name] for name in now}

    def _now(self) -> dict[str, int]:
        upstream = asyncio.run(Admin(self._world.settings.gateway.admin_socket).stats(UPSTREAM))
        return {
            "google": sum(any(call in json.dumps(entry) for call in OURS) for entry in self._world.cloud()),
            "entra": len(self._sign_ins.read_text("utf-8").splitlines()),
            "upstream": sum(upstream.values()),
        }


def test_nothing_that_identity_refuses_reaches_an_upstream(
    world: Any, good: Good, key: Any, mutations: ModuleType
) -> None:
    print(f"seed {SEED}")
    variants = dict(mutations.mutations(good.token, key, SEED))
    assert len(variants) > 600
    if not good.all:
        variants = dict(random.Random(SEED).sample(sorted(variants.items()), 300))
    assert every_way(world, good, {"": good.token}) == expected(good)
    reached, began = Reached(world), time.monotonic()
    answers = every_way(world, good, variants)
    took = time.monotonic() - began
    assert reached.since() == {"google": 0, "entra": 0, "upstream": 0}
    for way, found in answers.items():
        assert found.keys() == variants.keys()
        assert {name: status for name, status in found.items() if status not in REFUSED} == {}, way
        print(f"{len(found)} variants {way}: {dict(Counter(found.values()))}")
    print(f"{took:.1f} s")
    assert took < 60
    assert every_way(world, good, {"": good.token}) == expected(good)
    assert reached.since()["upstream"] == 2  # so that the counter counts


def expected(good: Good) -> dict[str, dict[str, int]]:
    return {"on the tunnel": {"": good.answer}, "inside": {"": good.answer}, "at the API": {"": 200}}


def every_way(world: Any, good: Good, variants: dict[str, str]) -> dict[str, dict[str, int]]:
    """The answer to each variant, by the way that it went in."""
    with world.tunnel() as tunnel, httpx.Client(base_url=world.url, trust_env=False) as client:
        return {
            "on the tunnel": {name: on_tunnel(world, text, good) for name, text in variants.items()},
            "inside": {name: tunnel.ask(*good.asks, headers=bearer(text)).status for name, text in variants.items()},
            "at the API": {
                name: client.get("/v1/identity", headers=bearer(text)).status_code for name, text in variants.items()
            },
        }


def bearer(text: str) -> dict[str, str]:
    return {"authorization": f"Bearer {text}"}


def on_tunnel(world: Any, text: str, good: Good) -> int:
    with world.tunnel(identity=text) as tunnel:
        try:
            return int(tunnel.ask(*good.asks).status)
        except OSError as error:  # http.client's: there is no tunnel
            return int(str(error).removeprefix("Tunnel connection failed: ")[:3])


# What no client library sends: raw bytes.


def answer_of(stream: socket.socket) -> int:
    """The status of what comes first; 0 when nothing comes, or the connection just ends."""
    try:
        received = stream.recv(65536)
    except OSError:
        return 0
    return int(received.split(b" ", 2)[1]) if received.startswith(b"HTTP/1.1 ") else 0


def opened(world: Any, carried: bytes = b"") -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", world.port), 2)
    line = f"CONNECT {VERTEX}:443 HTTP/1.1\r\nhost: {VERTEX}:443\r\n".encode()
    more = b"proxy-authorization: Bearer " + carried + b"\r\n" if carried else b""
    connection.sendall(line + more + b"\r\n")
    return connection


def raw_on_the_tunnel(world: Any, data: bytes, target: str) -> int:
    with opened(world, data) as connection:
        status = answer_of(connection)
        return raw_inside(world, b"", target, connection) if status == 200 else status


def raw_inside(world: Any, data: bytes, target: str, connection: socket.socket | None = None) -> int:
    if connection is None:
        connection = opened(world)
        assert answer_of(connection) == 200
    context = ssl.create_default_context(cadata=world.door_roots)
    with context.wrap_socket(connection, server_hostname=VERTEX) as inner:
        header = b"authorization: Bearer " + data + b"\r\n" if data else b""
        inner.sendall(f"GET {target} HTTP/1.1\r\nhost: {VERTEX}\r\nconnection: close\r\n".encode() + header + b"\r\n")
        return answer_of(inner)


def raw_at_the_api(world: Any, data: bytes, _target: str) -> int:
    with socket.create_connection(("127.0.0.1", world.port), 2) as connection:
        head = b"GET /v1/identity HTTP/1.1\r\nhost: door\r\nconnection: close\r\n"
        connection.sendall(head + b"authorization: Bearer " + data + b"\r\n\r\n")
        return answer_of(connection)


@pytest.mark.parametrize("way", [raw_on_the_tunnel, raw_inside, raw_at_the_api])
def test_what_http_cannot_carry_is_refused_as_well(
    world: Any, key: Any, mutations: ModuleType, nonce: str, way: Callable[..., int]
) -> None:
    good, target = str(world.entra.sign_in("dana")["access_token"]), f"{JOBS}/{nonce}"
    permitted = 200 if way is raw_at_the_api else 404
    assert way(world, good.encode(), target) == permitted
    reached, seen = Reached(world), {}
    for name, text in mutations.unsendable(good, key):
        if carried(text) != good:
            seen[name] = way(world, text.encode("utf-8", "surrogatepass"), target)
    assert len(seen) >= 11
    assert {name: status for name, status in seen.items() if status not in REFUSED | {0}} == {}
    assert reached.since() == {"google": 0, "entra": 0, "upstream": 0}


def carried(text: str) -> str:
    """What HTTP leaves of a header's value: blanks and line ends at its own ends go, and in Envoy's codec lone CRs."""
    return text.strip(" \n").replace("\r", "")


def test_what_http_takes_off_is_no_part_of_a_token(world: Any, key: Any, mutations: ModuleType) -> None:
    """It is the good token, or nothing: never somebody else's."""
    good, seen = str(world.entra.sign_in("dana")["access_token"]), 0
    for name, text in mutations.unsendable(good, key):
        if carried(text) == good:
            assert raw_inside(world, text.encode(), JOBS) in {200, 400, 401}, name
            seen += 1
    assert seen
