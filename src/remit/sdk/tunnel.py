"""The sidecar's CONNECT proxy: control traffic through the gateway with the caller's identity, the rest as it was.

    terminated hosts   a tunnel to the gateway's door, with `Proxy-Authorization: Bearer IDENTITY` and the run's name
    refused hosts      `sts`, `iamcredentials`: 403, only the broker speaks to them
    other hosts        straight, or through the proxy that the environment named before

The identity is fixed when a tunnel opens; the door bounds a tunnel's life, so that it is renewed. When access has been
revoked, all tunnels end, and none opens any more: the straight ones too, since they carry what the run was given.
"""

import asyncio
import base64
import contextlib
import re
import ssl
import sys
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]  # typeshed leaves it out

from remit.model.errors import RemitError
from remit.model.reasons import Reason
from remit.model.secret import AccessToken
from remit.sdk.configuration import Configuration
from remit.sdk.loopback import Head, read_status, reply

_TARGET = re.compile(r"([A-Za-z0-9.-]{1,253}):([0-9]{1,5})")
_LAST_PORT = 65_535
_CHUNK = 64 << 10
_PATIENCE = 10.0  # seconds to open a connection
_LINGER = 30.0  # seconds for the last of an answer, from a door that cannot be told that nothing more will be asked

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _NotOpenedError(Exception):
    """A tunnel could not be opened. `status`: what the client is told."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Onward:
    """Where other hosts are reached: through this proxy (`http://host:port`), or straight when empty.

    `direct`: hosts that are reached straight all the same, in the form of `NO_PROXY`.
    """

    proxy: str = ""
    direct: str = ""

    def proxy_for(self, host: str) -> str:
        """The proxy that leads to a host, empty for none."""
        return "" if proxy_bypass_environment(host, {"no": self.direct}) else self.proxy


class Tunnel:
    """Opens tunnels. `identity` blocks, and is called in a thread; `job`: the run's name, empty for none."""

    def __init__(
        self, configuration: Configuration, identity: Callable[[], AccessToken], onward: Onward, job: str = ""
    ) -> None:
        self._configuration = configuration
        self._identity = identity
        self._onward = onward
        self._job = job
        self._over = False
        self._open_now: set[asyncio.StreamWriter] = set()

    def end(self) -> None:
        """Cuts every tunnel, and opens none any more."""
        self._over = True
        for writer in tuple(self._open_now):
            writer.transport.abort()

    async def serve(self, head: Head, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One CONNECT; a connection carries one tunnel."""
        try:
            far_reader, far_writer = await asyncio.wait_for(self._open(head), _PATIENCE)
        except _NotOpenedError as error:
            writer.write(reply(error.status, f"{error}\n".encode(), {"connection": "close"}))
            return False
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            writer.write(reply(502, b"the other side does not answer\n", {"connection": "close"}))
            return False
        if self._over:  # while it opened
            far_writer.transport.abort()
            return False
        ends = {writer, far_writer}
        self._open_now |= ends
        try:
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await _splice((reader, writer), (far_reader, far_writer))
        finally:
            self._open_now -= ends
        return False

    async def _open(self, head: Head) -> Streams:
        target = _TARGET.fullmatch(head.target) if head.method == "CONNECT" else None
        if target is None or int(target[2]) > _LAST_PORT:
            raise _NotOpenedError(405, "remit: this door only opens tunnels (CONNECT host:port)")
        if self._over:
            raise _NotOpenedError(403, f"remit: {Reason.REVOKED.sentence}")
        host, port = target[1].lower().rstrip("."), int(target[2])
        if host in self._configuration.refused:
            raise _NotOpenedError(403, f"remit: `{host}` is spoken to by the broker alone")
        if host in self._configuration.terminated:
            return await self._through_gateway(host, port)
        if proxy := self._onward.proxy_for(host):
            place = urlsplit(proxy)
            return await _connect_through(place, f"{host}:{port}", _basic(place))
        return await asyncio.open_connection(host, port)

    async def _through_gateway(self, host: str, port: int) -> Streams:
        try:
            token = await asyncio.to_thread(self._identity)
        except RemitError as error:
            sys.stderr.write(f"remit: {error.message}\n" + (f"hint: {error.hint}\n" if error.hint else ""))
            raise _NotOpenedError(503, f"remit: {error.message}") from error
        headers = {"proxy-authorization": f"Bearer {token.reveal()}"}
        if self._job:
            headers["x-remit-job"] = self._job
        return await _connect_through(urlsplit(self._configuration.url), f"{host}:{port}", headers)


async def _connect_through(proxy: SplitResult, target: str, headers: dict[str, str]) -> Streams:
    tls = ssl.create_default_context() if proxy.scheme == "https" else None
    default = 443 if tls else 80
    reader, writer = await asyncio.open_connection(proxy.hostname, proxy.port or default, ssl=tls)
    lines = [f"CONNECT {target} HTTP/1.1", f"host: {target}", *(f"{name}: {value}" for name, value in headers.items())]
    writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
    try:
        answer = await read_status(reader)
    except BaseException:
        writer.close()
        raise
    if answer != HTTPStatus.OK:
        writer.close()
        raise _NotOpenedError(502, f"remit: the proxy answered {answer} for `{target}`")
    return reader, writer


def _basic(proxy: SplitResult) -> dict[str, str]:
    """The user and password that a proxy's URL holds, as it wants to read them (RFC 7617)."""
    if proxy.username is None:
        return {}
    pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"proxy-authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


async def _splice(near: Streams, far: Streams) -> None:
    """Carries both directions to their ends: one that is done does not end the other."""
    upward = asyncio.create_task(_pump(near[0], far[1]))
    downward = asyncio.create_task(_pump(far[0], near[1]))
    try:
        told = await upward
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(downward, None if told else _LINGER)
    finally:
        upward.cancel()
        downward.cancel()
        far[1].close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Carries one direction to its end; true when the receiver could be told that it is one (TLS here cannot)."""
    with contextlib.suppress(OSError):
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(OSError, RuntimeError):
        if writer.can_write_eof():
            writer.write_eof()
            return True
    return False
