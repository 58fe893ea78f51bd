"""A small HTTP/1.1 door on loopback that only its own user may enter.

It reads a head, bounded and without a body, and hands it on. Leaves out everything else of HTTP: metadata requests
and CONNECT carry no body, and a connection that brings one ends. Where the kernel does not say whose a connection is,
everybody enters: whoever serves behind this door demands a secret besides (`same`).
"""

import asyncio
import contextlib
import hmac
import os
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus

from remit.sdk import peers

_MAXIMUM_HEAD = 32 << 10  # bytes: larger than any proxy or metadata client sends
_PATIENCE = 10.0  # seconds for a head to arrive
_STRANGERS = 16  # of other users' connections that are told at a time: each takes a place that this user may need
_STATUS = re.compile(r"HTTP/1\.[01] ([0-9]{3})( |$)")


@dataclass(frozen=True, slots=True)
class Head:
    """The head of one request. Header names are lower case."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]

    def header(self, name: str) -> str | None:
        """The first value of a header, `None` when absent."""
        return next((value for key, value in self.headers if key == name), None)


def same(offered: str, secret: str) -> bool:
    """Whether what was offered is the secret, in a time that does not tell how much of it was right (RFC 2104)."""
    return hmac.compare_digest(offered.encode("utf-8", "surrogatepass"), secret.encode())


Serve = Callable[[Head, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[bool]]
"""Serves one request; true when the connection may carry another."""


def reply(status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> bytes:
    """A whole response."""
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, f"content-length: {len(body)}", "", ""]).encode("latin-1") + body


class Door:
    """A listener on 127.0.0.1 with a port of its own."""

    def __init__(
        self,
        serve: Serve,
        owner: Callable[[tuple[str, int], tuple[str, int]], int | None] = peers.owner,
        tells: Callable[[], bool] = peers.tells,
    ) -> None:
        self._serve = serve
        self._owner = owner
        self._tells = tells
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()
        self._strangers = 0
        self.port = 0

    async def open(self) -> None:
        """Starts to listen."""
        self._server = await asyncio.start_server(self._begin, "127.0.0.1", 0, limit=_MAXIMUM_HEAD)
        self.port = int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stops to listen, and ends what is open."""
        if self._server is not None:
            self._server.close()
        for task in tuple(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._accept(reader, writer))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                await self._answer(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._ours(writer):
            await self._refuse(reader, writer)
            return
        head = await read_head(reader)
        while await self._serve(head, reader, writer) and not _has_body(head):
            await writer.drain()
            head = await read_head(reader)
        await writer.drain()

    async def _refuse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Tells a stranger; where many stand, the next ones find the door closed."""
        if self._strangers >= _STRANGERS:
            return
        self._strangers += 1
        try:
            await read_head(reader)  # what is left unread would swallow the answer
            writer.write(reply(403, b"this door belongs to another user\n"))
            await writer.drain()
        finally:
            self._strangers -= 1

    def _ours(self, writer: asyncio.StreamWriter) -> bool:
        client, server = writer.get_extra_info("peername"), writer.get_extra_info("sockname")
        if client is None:  # gone before anybody looked
            return False
        try:
            return not self._tells() or self._owner(client, server) == os.getuid()
        except OSError:
            return False


def _has_body(head: Head) -> bool:
    """Whether bytes may follow that are no head: read as one, they would be a request that nobody sent."""
    return head.header("transfer-encoding") is not None or head.header("content-length") not in (None, "0")


async def read_head(reader: asyncio.StreamReader) -> Head:
    """Reads a request's head; raises `ConnectionError` for what is not one."""
    first, *rest = await _lines(reader)
    parts = first.split(" ")
    headers = [line.partition(":") for line in rest]
    if len(parts) != 3 or not all(separator for _, separator, _ in headers):  # noqa: PLR2004 - method, target, version
        raise ConnectionError("not an HTTP request")
    return Head(parts[0], parts[1], tuple((name.lower(), value.strip()) for name, _, value in headers))


async def read_status(reader: asyncio.StreamReader) -> int:
    """Reads a response's head and returns its status; raises `ConnectionError` for what is not one."""
    first, *_ = await _lines(reader)
    found = _STATUS.match(first)
    if found is None:
        raise ConnectionError("not an HTTP response")
    return int(found[1])


async def _lines(reader: asyncio.StreamReader) -> list[str]:
    raw = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _PATIENCE)
    return raw.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
