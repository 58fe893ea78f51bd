"""The board's WebSocket: what is said comes back, and `who` is answered with a name.

Left out: extensions, subprotocols, masks of the server's own (it must not have any). Source: RFC 6455.
"""

import asyncio
import base64
import hashlib
from http import HTTPStatus

from remit.lab.http import Request, Response
from remit.lab.http_server import reply

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0, 1, 2, 8, 9, 10
_TWO_BYTES, _EIGHT_BYTES = 126, 127  # lengths that stand for a longer field
_LIMIT = 1024 * 1024  # bytes of one message


def accept(request: Request, who: str) -> Response:
    """The answer to a handshake."""
    key = request.headers.get("sec-websocket-key", "")
    if request.headers.get("upgrade", "").lower() != "websocket" or not key:
        return reply({"error": "a WebSocket is expected"}, HTTPStatus.UPGRADE_REQUIRED, upgrade="websocket")
    proof = base64.b64encode(hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()).decode()
    headers = {"upgrade": "websocket", "connection": "Upgrade", "sec-websocket-accept": proof}

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _talk(reader, writer, who)

    return Response(HTTPStatus.SWITCHING_PROTOCOLS, headers=headers, upgraded=talk)


async def _talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, who: str) -> None:
    said, kind = b"", _TEXT
    while True:
        final, code, payload = await _read(reader)
        if code == _CLOSE:
            await _write(writer, _CLOSE, payload)
            return
        if code == _PING:
            await _write(writer, _PONG, payload)
        if code in {_TEXT, _BINARY, _CONTINUATION}:
            kind = code or kind
            said += payload
            if len(said) > _LIMIT:
                await _write(writer, _CLOSE, (1009).to_bytes(2))
                return
            if final:
                await _write(writer, kind, who.encode() if said == b"who" else said)
                said = b""


async def _read(reader: asyncio.StreamReader) -> tuple[bool, int, bytes]:
    """One frame: whether it is a message's last, its code, its payload without the mask."""
    first, second = await reader.readexactly(2)
    size = second & 0x7F
    if size in {_TWO_BYTES, _EIGHT_BYTES}:
        size = int.from_bytes(await reader.readexactly(2 if size == _TWO_BYTES else 8))
    if size > _LIMIT:
        raise ConnectionAbortedError
    mask = await reader.readexactly(4) if second & 0x80 else b"\0\0\0\0"
    payload = await reader.readexactly(size)
    return bool(first & 0x80), first & 0x0F, bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))


async def _write(writer: asyncio.StreamWriter, code: int, payload: bytes) -> None:
    size = len(payload)
    if size < _TWO_BYTES:
        length = bytes([size])
    else:
        length = bytes([_TWO_BYTES]) + size.to_bytes(2) if size < 1 << 16 else bytes([_EIGHT_BYTES]) + size.to_bytes(8)
    writer.write(bytes([0x80 | code]) + length + payload)
    await writer.drain()
