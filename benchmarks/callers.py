"""Closed-loop connections through the door, over HTTP/1.1 and HTTP/2, that cost the machine little.

Each connection sends its next request when the last is answered. HTTP/2 is spoken as gRPC clients speak it: the
headers of the first call enter the dynamic table, and later calls name them by number.
"""

import selectors
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from upstreams import frame, literal

HOST = "us-central1-aiplatform.googleapis.com"

_DATA, _HEADERS, _SETTINGS, _PING, _WINDOW = 0, 1, 4, 6, 8
_END_STREAM, _END_HEADERS, _ACK = 1, 4, 1
_LARGE = (2**30).to_bytes(4, "big")
_LARGEST_FRAME = 16_384  # bytes that every peer takes (RFC 9113 section 4.2)
_DYNAMIC = 62  # number of the youngest entry of the dynamic table (RFC 7541 section 2.3.3)


@dataclass(frozen=True)
class Shape:
    """One kind of request.

    `headers`, `body`: of gRPC; `data`: the bytes of HTTP/1.1; `start`, `end`: of a good answer; `share`: of a run's
    requests.
    """

    name: str
    end: bytes
    data: bytes = b""
    headers: Sequence[tuple[str, str]] | None = None
    body: bytes = b""
    share: float = 1.0
    start: bytes = b"HTTP/1.1 200"


class Rest:
    """One HTTP/1.1 connection."""

    def __init__(self, inner: ssl.SSLSocket) -> None:
        self.socket, self._out, self._in, self._start, self._end = inner, b"", b"", b"", b""

    def send(self, shape: Shape) -> None:
        """Begins a request."""
        self._out, self._in, self._start, self._end = shape.data, b"", shape.start, shape.end
        self.flush()

    def flush(self) -> None:
        """Sends what the socket takes."""
        while self._out:
            try:
                self._out = self._out[self.socket.send(self._out[: 2**18]) :]
            except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
                return

    @property
    def waits(self) -> bool:
        """Whether there is more to send."""
        return bool(self._out)

    def answered(self) -> bool:
        """Reads; whether the whole answer is there."""
        self._in += _everything(self.socket)
        if self._in and not self._in.startswith(self._start[: len(self._in)]):
            raise SystemExit(f"not the upstream's answer: {self._in[:300]!r}")
        return self._in.endswith(self._end)

    def head(self) -> bytes:
        """The head of the last answer."""
        return self._in.partition(b"\r\n\r\n")[0]


class Calls:
    """One HTTP/2 connection with one call at a time."""

    def __init__(self, inner: ssl.SSLSocket) -> None:
        self.socket, self._out, self._in, self._stream, self._shape = inner, b"", b"", -1, ""
        settings = frame(_SETTINGS, 0, 0, b"\x00\x04" + _LARGE)  # the initial window
        self._out = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings + frame(_WINDOW, 0, 0, _LARGE)
        self._seen = b""
        self.flush = Rest.flush.__get__(self)

    def send(self, shape: Shape) -> None:
        """Begins a call. A connection is for calls of one shape."""
        self._stream += 2
        fields = shape.headers or ()
        if self._stream == 1:
            block = b"".join(literal(name, value, indexed=True) for name, value in fields)
        else:
            block = bytes(0x80 | _DYNAMIC + number for number in reversed(range(len(fields))))
        self._out += frame(_HEADERS, _END_HEADERS, self._stream, block)
        parts = [shape.body[at : at + _LARGEST_FRAME] for at in range(0, len(shape.body), _LARGEST_FRAME)]
        for number, part in enumerate(parts):
            self._out += frame(_DATA, _END_STREAM if number == len(parts) - 1 else 0, self._stream, part)
        self._seen, self._end = b"", shape.end
        self.flush()

    waits = Rest.waits

    def answered(self) -> bool:
        """Reads; whether the call has ended."""
        self._in += _everything(self.socket)
        ended = False
        while len(self._in) >= 9:  # noqa: PLR2004 - a frame's head (RFC 9113 section 4.1)
            size, kind, flags = int.from_bytes(self._in[:3], "big"), self._in[3], self._in[4]
            if len(self._in) < 9 + size:
                break
            payload, self._in = self._in[9 : 9 + size], self._in[9 + size :]
            if kind in {_SETTINGS, _PING} and not flags & _ACK:
                self._out += frame(kind, _ACK, 0, payload if kind == _PING else b"")
            elif kind == _DATA:
                self._seen = (self._seen + payload)[-len(self._end) :]
            ended = ended or (kind in {_DATA, _HEADERS} and bool(flags & _END_STREAM))
        self.flush()
        if ended and self._seen != self._end:
            raise SystemExit(f"not the upstream's answer: {self._seen!r}")
        return ended


def _everything(connection: ssl.SSLSocket) -> bytes:
    data = b""
    try:
        while part := connection.recv(65536):
            data += part
    except ssl.SSLWantReadError:
        return data
    raise SystemExit(f"the gateway closed the connection after {data[:300]!r}")


class Load:
    """Some connections, all for one shape."""

    def __init__(self, port: int, roots: Path, identity: str, connections: int, *, http2: bool = False) -> None:
        context = ssl.create_default_context(cafile=str(roots))
        context.set_alpn_protocols(["h2" if http2 else "http/1.1"])
        self._selector = selectors.EpollSelector()
        kind: Callable[[ssl.SSLSocket], Any] = Calls if http2 else Rest
        self.connections = [kind(tunnel(port, context, identity)) for _ in range(connections)]
        for connection in self.connections:
            self._selector.register(connection.socket, selectors.EVENT_READ, connection)

    def run(
        self, next_shape: Callable[[], Shape], requests: int, check: Callable[[Shape, Any], None] | None = None
    ) -> tuple[float, list[float]]:
        """Sends `requests`; wall-clock seconds, and the latency of each. `check`: looks at each answer."""
        latencies: list[float] = []
        sent: dict[Any, tuple[float, Shape]] = {}
        left, began = requests, time.perf_counter()

        def begin(connection: Any) -> None:
            shape = next_shape()
            sent[connection] = time.perf_counter(), shape
            connection.send(shape)
            self._listen(connection)

        for connection in self.connections[:left]:
            left -= 1
            begin(connection)
        while sent:
            for key, _ in self._selector.select():
                ready = key.data
                ready.flush()
                if not ready.answered() or ready not in sent:
                    self._listen(ready)
                    continue
                started, shape = sent.pop(ready)
                latencies.append(time.perf_counter() - started)
                if check:
                    check(shape, ready)
                if left > 0:
                    left -= 1
                    begin(ready)
        return time.perf_counter() - began, latencies

    def close(self) -> None:
        """Ends the connections."""
        for connection in self.connections:
            connection.socket.close()
        self._selector.close()

    def _listen(self, connection: Any) -> None:
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if connection.waits else 0)
        if self._selector.get_key(connection.socket).events != events:
            self._selector.modify(connection.socket, events, connection)


def tunnel(port: int, context: ssl.SSLContext, identity: str) -> ssl.SSLSocket:
    """A tunnel to `HOST`. `identity`: the token of who opens it, empty for nobody's."""
    raw = socket.create_connection(("127.0.0.1", port), 10)
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    known = f"Proxy-Authorization: Bearer {identity}\r\n" if identity else ""
    raw.sendall(f"CONNECT {HOST}:443 HTTP/1.1\r\nHost: {HOST}:443\r\n{known}\r\n".encode())
    head = b""
    while b"\r\n\r\n" not in head:
        head += raw.recv(1)
    if b" 200 " not in head:
        raise SystemExit(f"the tunnel was refused: {head!r}")
    inner = context.wrap_socket(raw, server_hostname=HOST)
    inner.setblocking(False)  # noqa: FBT003 - the standard library's signature
    return inner
