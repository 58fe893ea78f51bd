"""Slow clients, as a process of their own: says that they are all there, and goes on until it is ended.

    python benchmarks/slow.py KIND PORT ROOTS TOKEN NUMBER

`pressure.py` measures a good client beside them. Leaves out: what they cost.
"""

import asyncio
import contextlib
import resource
import ssl
import sys
from typing import Any

from callers import HOST

KINDS = ("silent", "half_tls", "headers", "body", "upload")
"""Slow clients: who connects and says nothing; who begins TLS in a tunnel and stops; who sends headers, a prediction's
body, or an upload to a web service, a byte a second each."""
LIMIT = 16_384  # descriptors: each stream takes four of them, two in Envoy


def be_slow(kind: str, port: int, roots: str, token: str, number: int) -> None:
    """The process of slow clients: says how many it holds, and goes on until it is ended."""
    context = ssl.create_default_context(cafile=roots)
    resource.setrlimit(resource.RLIMIT_NOFILE, (LIMIT, LIMIT))

    async def one(place: int) -> None:
        await asyncio.sleep(place / number)
        while True:  # whoever is shown the door comes again
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                reader, writer = await _begun(kind, port, context, token)
                try:
                    while not reader.at_eof():
                        if kind not in {"silent", "half_tls"}:
                            writer.write(b"x")
                        await asyncio.sleep(1)
                finally:
                    writer.transport.abort()
            await asyncio.sleep(0.5)

    async def all_of_them() -> None:
        tasks = [asyncio.create_task(one(place)) for place in range(number)]
        await asyncio.sleep(3)
        print("slow", flush=True)
        await asyncio.gather(*tasks)

    asyncio.run(all_of_them())


async def _begun(kind: str, port: int, context: ssl.SSLContext, token: str) -> tuple[Any, Any]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    if kind == "headers":
        writer.write(b"GET /apps/board/x HTTP/1.1\r\nHost: slow\r\nX-Slow: ")
    elif kind == "upload":
        writer.write(head("PUT /apps/board/x", "slow", token))
    elif kind in {"half_tls", "body"}:
        writer.write(f"CONNECT {HOST}:443 HTTP/1.1\r\nHost: {HOST}:443\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        if kind == "half_tls":
            writer.write(b"\x16\x03\x01\x02\x00\x01")  # the beginning of a ClientHello
        else:
            await writer.start_tls(context, server_hostname=HOST)
            writer.write(head("POST /v1/projects/p/locations/l/endpoints/1:predict", HOST, token))
    return reader, writer


def head(line: str, host: str, token: str, length: int = 100_000) -> bytes:
    """The head of a request whose body is to come."""
    kind = "Content-Type: application/json\r\n"
    return (
        f"{line} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n{kind}Content-Length: {length}\r\n\r\n"
    ).encode()


if __name__ == "__main__":
    be_slow(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4], int(sys.argv[5]))
