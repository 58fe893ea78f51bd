"""The store behind the lab's Blob door: an Azurite process, spoken to with its account's key.

Azurite checks no signature of a token and knows no roles, so that it never sees one: the door decides, and signs what
it lets through (Shared Key). Bodies of answers pass as they come. One connection a request, on loopback. Sources:
learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key; Azurite's names in the form of the cloud's
(`ACCOUNT.blob.core.windows.net` as `Host`).
"""

import asyncio
import base64
import hashlib
import hmac
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from urllib.parse import urlsplit

from remit.lab.blob_errors import BlobError
from remit.lab.http import Request, Response
from remit.lab.streams import close

_BLOCK = 256 * 1024  # bytes a read
_SIGNED = (
    "content-encoding",
    "content-language",
    "content-length",
    "content-md5",
    "content-type",
    "date",
    "if-modified-since",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "range",
)
_HOP = frozenset(
    {"authorization", "connection", "date", "expect", "host", "keep-alive", "proxy-authorization", "proxy-connection"}
    | {"te", "transfer-encoding", "upgrade", "content-length", "x-ms-date"}
)
"""Headers that are not handed on: of one connection only, or set anew."""


@dataclass(slots=True)
class Azurite:
    """Where the store is. `address`: `http://127.0.0.1:PORT`; `keys`: account → its key in base64."""

    address: str = ""
    keys: dict[str, str] = field(default_factory=dict)

    def place(self, given: Mapping[str, object]) -> None:
        """The control door's command: `address` and `keys`."""
        keys = given["keys"]
        if not isinstance(keys, Mapping):
            raise TypeError("keys")
        self.address, self.keys = str(given["address"]), {str(name): str(key) for name, key in keys.items()}

    async def forward(self, request: Request, account: str) -> Response:
        """The store's answer; raises `BlobError` when there is no store."""
        key, place = self.keys.get(account), urlsplit(self.address)
        if key is None or place.hostname is None or place.port is None:
            raise BlobError("ServerBusy", more="The lab was not told of an Azurite with this account.")
        headers = {name: value for name, value in request.headers.items() if name not in _HOP}
        headers["x-ms-date"] = formatdate(usegmt=True)
        if request.body or request.method in {"PUT", "POST"}:
            headers["content-length"] = str(len(request.body))
        headers["authorization"] = signature(request, headers, account, key)
        lines = [f"{request.method} {request.target} HTTP/1.1", f"host: {request.host}", "connection: close"]
        head = "\r\n".join([*lines, *(f"{name}: {value}" for name, value in headers.items()), "", ""])
        try:
            reader, writer = await asyncio.open_connection(place.hostname, place.port, limit=_BLOCK)
            writer.write(head.encode("latin-1") + request.body)
            return await _answer(request, reader, writer)
        except (OSError, asyncio.IncompleteReadError) as cause:
            raise BlobError("ServerBusy", more="The lab's Azurite does not answer.") from cause


def signature(request: Request, headers: Mapping[str, str], account: str, key: str) -> str:
    """The `Authorization` of a request with these headers under Shared Key."""
    standard = [headers.get(name, "") for name in _SIGNED]
    standard[2] = "" if standard[2] == "0" else standard[2]
    standard[5] = "" if "x-ms-date" in headers else standard[5]
    # Azurite sorts as its language collates: an underscore stands before a hyphen there.
    own = sorted((name for name in headers if name.startswith("x-ms-")), key=lambda name: name.replace("_", "\x01"))
    query = sorted((name.lower(), value) for name, value in request.query)
    words = [request.method, *standard, *(f"{name}:{headers[name]}" for name in own), f"/{account}{request.path}"]
    text = "\n".join([*words, *(f"{name}:{value}" for name, value in query)])
    digest = hmac.new(base64.b64decode(key), text.encode(), hashlib.sha256).digest()
    return f"SharedKey {account}:{base64.b64encode(digest).decode()}"


async def _answer(request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Response:
    await writer.drain()
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {}
    for line in filter(None, lines[1:]):
        name, _, value = line.partition(":")
        if name.lower() not in {"connection", "keep-alive", "date"}:
            headers[name.lower()] = value.strip()
    chunked = headers.pop("transfer-encoding", "").lower() == "chunked"
    status = int(lines[0].split(" ")[1])
    if request.method == "HEAD" or headers.get("content-length") == "0":
        await close(writer)
        return Response(status, b"", headers)
    length = None if chunked else int(headers.get("content-length", "0"))
    return Response(status, b"", headers, parts=_body(reader, writer, length))


async def _body(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, length: int | None
) -> AsyncGenerator[bytes, None]:
    try:
        if length is None:
            while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
                yield (await reader.readexactly(size + 2))[:-2]
            return
        while length:
            part = await reader.read(min(_BLOCK, length))
            if not part:
                raise ConnectionAbortedError
            length -= len(part)
            yield part
    finally:
        await close(writer)
