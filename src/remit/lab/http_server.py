"""A small HTTP/1.1 server for the lab's hosts.

Bounded, keep-alive, `Expect: 100-continue`. It takes what TensorFlow's `gs://` writer sends although RFC 9112 calls it
malformed: `Transfer-Encoding: identity`, and `chunked` beside a Content-Length (the chunked framing is the true one).
No pipelined concurrency, no compression, no HTTP/2 (that is gRPC's port). A product must refuse such requests; a lab
that refused them would fail programs that work against Google.
"""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from urllib.parse import parse_qsl

from grpc import StatusCode

from remit.lab.errors import CloudError
from remit.lab.http import Handler, Request, Response
from remit.lab.streams import accepting

_log = logging.getLogger(__name__)

HEAD_LIMIT = 64 * 1024  # bytes of request line and headers: what Google's front takes at most
BODY_LIMIT = 256 * 1024 * 1024  # bytes: more than any object of the lab's story
IDLE_SECONDS = 75.0  # a keep-alive connection that says nothing
CONNECTIONS = 512  # at once
_BODILESS = {HTTPStatus.SWITCHING_PROTOCOLS, HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}


class MalformedError(Exception):
    """A request that cannot be read; `status` is the answer."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Hosts:
    """Sends a request to its host's handler: by full name, else by a name's ending (`-aiplatform.googleapis.com`)."""

    names: Mapping[str, Handler]
    endings: Mapping[str, Handler]

    async def __call__(self, request: Request) -> Response:
        """The host's answer; 404 for a host that the lab does not play."""
        handler = self.names.get(request.host) or next(
            (found for ending, found in self.endings.items() if request.host.endswith(ending)), None
        )
        if handler is None:
            raise CloudError(StatusCode.NOT_FOUND, f"The lab plays no host {request.host!r}.")
        return await handler(request)


class HttpServer:
    """Serves one handler on connections that others accept, or on a port of its own (`listen`)."""

    def __init__(self, handler: Handler, *, idle: float = IDLE_SECONDS, body_limit: int = BODY_LIMIT) -> None:
        self._handler = handler
        self._idle = idle
        self._body_limit = body_limit
        self._open = 0

    async def listen(self, port: int = 0) -> asyncio.Server:
        """Serve plain HTTP on loopback; port 0 takes a free one."""
        return await asyncio.start_server(accepting(self.serve), "127.0.0.1", port, limit=HEAD_LIMIT)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection until it ends."""
        self._open += 1
        try:
            if self._open > CONNECTIONS:
                await _send(writer, _plain(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections"), close=True)
                return
            while await self._one(reader, writer):
                pass
        except (ConnectionError, TimeoutError, asyncio.IncompleteReadError):
            _log.debug("a connection ended early")
        finally:
            self._open -= 1
            writer.close()
            with contextlib.suppress(OSError):  # the other side may be gone already, and TLS then says so
                await writer.wait_closed()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; false when the connection ends with it."""
        try:
            async with asyncio.timeout(self._idle):
                head = await reader.readuntil(b"\r\n\r\n")
            method, target, headers = _parse_head(head)
            if headers.get("expect", "").lower() == "100-continue":
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            async with asyncio.timeout(self._idle):
                body = await _read_body(reader, headers, self._body_limit)
        except asyncio.LimitOverrunError:
            await _send(writer, _plain(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "headers too large"), close=True)
            return False
        except MalformedError as error:
            await _send(writer, _plain(error.status, str(error)), close=True)
            return False
        close = headers.get("connection", "").lower() == "close"
        response = await self._answer(_request(method, target, headers, body))
        if response.upgraded:
            await _send(writer, response, close=False, bodiless=True)
            await response.upgraded(reader, writer)
            return False
        await _send(writer, response, close=close, bodiless=method == "HEAD")
        return not close

    async def _answer(self, request: Request) -> Response:
        try:
            return await self._handler(request)
        except CloudError as error:
            return _refusal(error)
        except Exception:  # noqa: BLE001 - the edge of the server: one broken handler must not end the connection
            _log.exception("the lab failed at %s %s%s", request.method, request.host, request.path)
            return _refusal(CloudError(StatusCode.INTERNAL, "Internal error encountered."))


def reply(value: object, status: int = HTTPStatus.OK, **headers: str) -> Response:
    """A JSON response. Header names are given with underscores."""
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Response(status, json.dumps(value).encode(), {"content-type": "application/json; charset=UTF-8", **named})


def form(request: Request) -> dict[str, str]:
    """The fields of a form-urlencoded body; the first of a repeated one."""
    fields: dict[str, str] = {}
    for name, value in parse_qsl(request.body.decode("utf-8", "replace"), keep_blank_values=True):
        fields.setdefault(name, value)
    return fields


def _refusal(error: CloudError) -> Response:
    return Response(error.http_status, error.json(), {"content-type": "application/json; charset=UTF-8"})


def _plain(status: HTTPStatus, message: str) -> Response:
    return Response(status, f"{message}\n".encode(), {"content-type": "text/plain"})


def _parse_head(head: bytes) -> tuple[str, str, dict[str, str]]:
    lines = head.decode("latin-1").split("\r\n")
    parts = lines[0].split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):  # noqa: PLR2004 - RFC 9112 section 3
        raise MalformedError(HTTPStatus.BAD_REQUEST, "malformed request line")
    headers: dict[str, str] = {}
    for line in filter(None, lines[1:]):
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise MalformedError(HTTPStatus.BAD_REQUEST, "malformed header")
        key = name.lower()
        headers[key] = f"{headers[key]}, {value.strip()}" if key in headers else value.strip()
    return parts[0], parts[1], headers


async def _read_body(reader: asyncio.StreamReader, headers: Mapping[str, str], limit: int) -> bytes:
    encoding = headers.get("transfer-encoding", "identity").lower()
    if encoding == "chunked":
        return await _read_chunks(reader, limit)
    if encoding != "identity":
        raise MalformedError(HTTPStatus.NOT_IMPLEMENTED, "unknown transfer encoding")
    length = headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit()):
        raise MalformedError(HTTPStatus.BAD_REQUEST, "malformed content length")
    if int(length) > limit:
        raise MalformedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body too large")
    return await reader.readexactly(int(length))


async def _read_chunks(reader: asyncio.StreamReader, limit: int) -> bytes:
    body = bytearray()
    while True:
        line = await reader.readuntil(b"\r\n")
        try:
            size = int(line.split(b";")[0].strip(), 16)
        except ValueError as cause:
            raise MalformedError(HTTPStatus.BAD_REQUEST, "malformed chunk") from cause
        if size < 0 or len(body) + size > limit:
            raise MalformedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body too large")
        if size == 0:
            break
        body += await reader.readexactly(size)
        if await reader.readexactly(2) != b"\r\n":
            raise MalformedError(HTTPStatus.BAD_REQUEST, "malformed chunk")
    while await reader.readuntil(b"\r\n") != b"\r\n":
        pass  # trailers mean nothing here
    return bytes(body)


def _request(method: str, target: str, headers: Mapping[str, str], body: bytes) -> Request:
    host = headers.get("host", "").lower().rpartition(":")
    path, _, query = target.partition("?")
    name = host[0] if host[1] and host[2].isdigit() else "".join(host)
    return Request(method, name, path, tuple(parse_qsl(query, keep_blank_values=True)), headers, body, target)


async def _send(writer: asyncio.StreamWriter, response: Response, *, close: bool, bodiless: bool = False) -> None:
    headers = {"date": formatdate(usegmt=True), **response.headers}
    framed = "content-length" in headers
    if response.parts and not framed:
        headers["transfer-encoding"] = "chunked"
    elif response.status not in _BODILESS and "content-length" not in headers:
        headers["content-length"] = str(len(response.body))
    if close:
        headers["connection"] = "close"
    try:
        phrase = HTTPStatus(response.status).phrase
    except ValueError:
        phrase = "Unknown"
    lines = [f"HTTP/1.1 {response.status} {phrase}", *(f"{name}: {value}" for name, value in headers.items())]
    lines += [f"set-cookie: {cookie}" for cookie in response.cookies]
    head = "\r\n".join([*lines, "", ""]).encode("latin-1")
    writer.write(head + (b"" if bodiless or response.status in _BODILESS else response.body))
    await writer.drain()
    if response.parts:
        async with contextlib.aclosing(response.parts) as parts:
            await _send_parts(writer, parts, bodiless=bodiless, framed=framed)


async def _send_parts(
    writer: asyncio.StreamWriter, parts: AsyncIterator[bytes], *, bodiless: bool, framed: bool
) -> None:
    """Each part as it comes: a chunk, or as it is where the length was told (`framed`).

    An error on the way leaves the body without its end, which clients notice.
    """
    if bodiless:
        return
    try:
        async for part in parts:
            if part:  # an empty chunk would be the end
                writer.write(part if framed else b"%x\r\n%b\r\n" % (len(part), part))
                await writer.drain()
    except CloudError as error:
        raise ConnectionAbortedError from error
    if not framed:
        writer.write(b"0\r\n\r\n")
    await writer.drain()
