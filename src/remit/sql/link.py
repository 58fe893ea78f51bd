"""One end of a connection as two streams, made of a socket that nothing was read from beyond what was asked for.

Whoever changes to TLS reads its bytes one packet at a time before: what came in plain text is never taken for what
came after it (CVE-2021-23214, CVE-2021-23222).
"""

import asyncio
import contextlib
import socket
import ssl
import struct
from dataclasses import dataclass

from remit.sql.protocol import VIOLATION, Failure

CHUNK = 64 << 10
"""Bytes that one end holds for the other, after which it reads no more."""

_GOODBYE = 1.0  # seconds for the last bytes to go
_AT_ONCE = struct.pack("ii", 1, 0)  # lingers for no seconds: closing is a reset
_PROBES = (
    (socket.TCP_KEEPIDLE, 30),
    (socket.TCP_KEEPINTVL, 10),
    (socket.TCP_KEEPCNT, 3),
    (socket.TCP_USER_TIMEOUT, 60_000),
)


@dataclass(frozen=True, slots=True)
class Link:
    """One end."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def message(self, limit: int) -> tuple[int, bytes]:
        """The next message; raises `Failure` for one that is too long, `IncompleteReadError` at the end."""
        kind, *length = await self.reader.readexactly(5)
        size = int.from_bytes(bytes(length)) - 4
        if not 0 <= size <= limit:
            raise Failure(VIOLATION, f"a message of {size} bytes is not one that belongs here")
        return kind, await self.reader.readexactly(size)

    async def send(self, data: bytes) -> None:
        """Sends it, as soon as there is room."""
        self.writer.write(data)
        await self.writer.drain()

    async def close(self) -> None:
        """Ends it, with what was written on its way; never raises."""
        with contextlib.suppress(OSError, ssl.SSLError, TimeoutError):
            self.writer.close()
            async with asyncio.timeout(_GOODBYE):
                await self.writer.wait_closed()
        self.writer.transport.abort()

    def reset(self) -> None:
        """Ends it at once, so that whatever the other side says next fails: it cannot take this for a pause."""
        with contextlib.suppress(OSError, AttributeError):  # it has ended before
            self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        self.writer.transport.abort()


async def accepted(sock: socket.socket, tls: ssl.SSLContext | None, within: float) -> Link:
    """A client's end; raises `OSError` (a failed handshake is one) and `TimeoutError`."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=CHUNK)
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await loop.connect_accepted_socket(
        lambda: protocol, sock, ssl=tls, ssl_handshake_timeout=within if tls else None
    )
    return _link(transport, protocol, reader)


async def opened(sock: socket.socket, tls: ssl.SSLContext | None, host: str, within: float) -> Link:
    """A database's end, its certificate checked for `host`; raises as `accepted`."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=CHUNK)
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await loop.create_connection(
        lambda: protocol,
        sock=sock,
        ssl=tls,
        server_hostname=host if tls else None,
        ssl_handshake_timeout=within if tls else None,
    )
    return _link(transport, protocol, reader)


def _link(transport: asyncio.Transport, protocol: asyncio.StreamReaderProtocol, reader: asyncio.StreamReader) -> Link:
    transport.set_write_buffer_limits(high=CHUNK)
    return Link(reader, asyncio.StreamWriter(transport, protocol, reader, asyncio.get_running_loop()))


def watched(sock: socket.socket) -> None:
    """Has the kernel find out within a minute or so that nobody is there any more."""
    sock.settimeout(0)  # asyncio asks for it
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for option, value in _PROBES:
        sock.setsockopt(socket.IPPROTO_TCP, option, value)


async def exactly(sock: socket.socket, size: int) -> bytes:
    """So many bytes and not one more; raises `IncompleteReadError` at the end."""
    loop, data = asyncio.get_running_loop(), b""
    while len(data) < size:
        more = await loop.sock_recv(sock, size - len(data))
        if not more:
            raise asyncio.IncompleteReadError(data, size)
        data += more
    return data


def _noticed(readable: asyncio.Future[None]) -> None:
    if not readable.done():
        readable.set_result(None)


async def first_byte(sock: socket.socket) -> bytes:
    """The next byte, which stays where it is; empty at the end."""
    loop = asyncio.get_running_loop()
    readable: asyncio.Future[None] = loop.create_future()
    loop.add_reader(sock, _noticed, readable)
    try:
        await readable
    finally:
        loop.remove_reader(sock)
    return sock.recv(1, socket.MSG_PEEK)
