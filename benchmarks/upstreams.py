"""What stands behind the Envoys that are measured: one more Envoy that answers by itself, and a server of streams.

The Envoy ends TLS, answers every plain request after its body has come, and hands gRPC and event streams on to the
server of streams, a process of its own that speaks just enough HTTP/1.1 and HTTP/2 to answer what the load sends.
Neither is part of what is measured. Run as a program, this file is that server: `upstreams.py PORT`.
Source: RFC 9113 section 4.1 (frames), RFC 7541 (HPACK: only literals are sent, and nothing is decoded).
"""

import asyncio
import json
import sys
from typing import Any

from remit.gateway.certificates import DoorFiles
from remit.gateway.typed import Json, extension, message

ANSWER = json.dumps({"predictions": [[0.1] * 10], "deployedModelId": "1", "model": "m"})[:107].ljust(107)
EVENTS = 20  # of one stream, each a write of its own
PAUSE = 0.001  # seconds between them
LAST = "data: last\n\n"
MESSAGE = b"\0" + len(ANSWER).to_bytes(4, "big") + ANSWER.encode()

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _SETTINGS, _PING, _WINDOW = 0, 1, 4, 6, 8
_END_STREAM, _END_HEADERS, _ACK = 1, 4, 1
_SEVEN = 0x7F  # all bits of a length that its first byte can hold (RFC 7541 section 5.1)
_BODY = 4 * 1024 * 1024


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One HTTP/2 frame."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def literal(name: str, value: str, *, indexed: bool = False) -> bytes:
    """One header field in HPACK, with no Huffman code; `indexed`: it enters the dynamic table."""
    return bytes([0x40 if indexed else 0]) + _text(name) + _text(value)


def _text(value: str) -> bytes:
    size = len(value)
    if size < _SEVEN:
        return bytes([size]) + value.encode()
    rest, more = size - _SEVEN, bytes([_SEVEN])
    while rest > _SEVEN:
        more, rest = more + bytes([rest & _SEVEN | 0x80]), rest >> 7
    return more + bytes([rest]) + value.encode()


_ANSWERED = b"\x88" + literal("content-type", "application/grpc")  # 0x88: `:status: 200` of the static table
_ENDED = literal("grpc-status", "0")


class Streams(asyncio.Protocol):
    """Answers gRPC calls with one message or `EVENTS`, and everything of HTTP/1.1 with `EVENTS` server-sent events."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the way back."""
        self.transport: Any = transport
        self.buffer = b""
        self.http2 = False
        self.many: dict[int, bool] = {}
        self.tasks: set[asyncio.Task[None]] = set()

    def data_received(self, data: bytes) -> None:
        """Reads what is whole."""
        self.buffer += data
        if not self.http2 and self.buffer.startswith(_PREFACE):
            self.http2, self.buffer = True, self.buffer[len(_PREFACE) :]
            window = (2**30).to_bytes(4, "big")  # more than a run sends
            self.transport.write(frame(_SETTINGS, 0, 0, b"\x00\x04" + window) + frame(_WINDOW, 0, 0, window))
        if self.http2:
            self._frames()
        else:
            self._requests()

    def _requests(self) -> None:
        while b"\r\n\r\n" in self.buffer:
            head, _, rest = self.buffer.partition(b"\r\n\r\n")
            length = next((int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"content-length:")), 0)
            if len(rest) < length:
                return
            self.buffer = rest[length:]
            self._later(self._events())

    def _frames(self) -> None:
        while len(self.buffer) >= 9:  # noqa: PLR2004 - a frame's head (RFC 9113 section 4.1)
            size, kind, flags = int.from_bytes(self.buffer[:3], "big"), self.buffer[3], self.buffer[4]
            stream = int.from_bytes(self.buffer[5:9], "big")
            if len(self.buffer) < 9 + size:
                return
            payload, self.buffer = self.buffer[9 : 9 + size], self.buffer[9 + size :]
            if kind in {_SETTINGS, _PING} and not flags & _ACK:
                self.transport.write(frame(kind, _ACK, 0, payload if kind == _PING else b""))
            if kind in {_DATA, _HEADERS} and flags & _END_STREAM:
                self._called(stream, payload)

    def _called(self, stream: int, payload: bytes) -> None:
        """A message whose second field is there asks for a stream."""
        if payload.endswith(b"many"):
            self._later(self._messages(stream))
            return
        head = frame(_HEADERS, _END_HEADERS, stream, _ANSWERED) + frame(_DATA, 0, stream, MESSAGE)
        self.transport.write(head + frame(_HEADERS, _END_HEADERS | _END_STREAM, stream, _ENDED))

    def _later(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _messages(self, stream: int) -> None:
        self.transport.write(frame(_HEADERS, _END_HEADERS, stream, _ANSWERED))
        for _ in range(EVENTS):
            self.transport.write(frame(_DATA, 0, stream, MESSAGE))
            await asyncio.sleep(PAUSE)
        self.transport.write(frame(_HEADERS, _END_HEADERS | _END_STREAM, stream, _ENDED))

    async def _events(self) -> None:
        head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        self.transport.write(head)
        for _ in range(EVENTS - 1):
            self._chunk(f"data: {ANSWER}\n\n")
            await asyncio.sleep(PAUSE)
        self._chunk(LAST)
        self.transport.write(b"0\r\n\r\n")

    def _chunk(self, text: str) -> None:
        self.transport.write(f"{len(text):x}\r\n{text}\r\n".encode())


def envoy(port: int, files: DoorFiles, streams: int, echo: str = "") -> Json:
    """The Envoy's configuration. `streams`: the port of the other server; `echo`: a request header to answer with."""
    kind = "extensions.transport_sockets.tls.v3.DownstreamTlsContext"
    pair = {"certificate_chain": {"filename": str(files.certificate)}, "private_key": {"filename": str(files.key)}}
    common = {"tls_certificates": [pair], "alpn_protocols": ["h2", "http/1.1"]}
    seen = {"header": {"key": "x-seen", "value": f"%REQ({echo})%"}}
    answer = {"status": 200, "body": {"inline_string": ANSWER}}
    routes = [
        {"match": {"prefix": "/", "grpc": {}}, "route": {"cluster": "calls"}},
        {"match": {"safe_regex": {"regex": ".*:streamRawPredict"}}, "route": {"cluster": "events"}},
        {"match": {"prefix": "/"}, "direct_response": answer, "response_headers_to_add": [seen] if echo else []},
    ]
    manager = {
        "stat_prefix": "upstream",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        "http_filters": [
            # Without it Envoy answers before the body has come, and closes the connection.
            extension("filters.http.buffer", "extensions.filters.http.buffer.v3.Buffer", {"max_request_bytes": _BODY}),
            extension("filters.http.router", "extensions.filters.http.router.v3.Router"),
        ],
    }
    name = "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    chain = {
        "transport_socket": extension("transport_sockets.tls", kind, {"common_tls_context": common}),
        "filters": [extension("filters.network.http_connection_manager", name, manager)],
    }
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    listener = {"name": "upstream", "address": address, "filter_chains": [chain]}
    clusters = [
        _cluster("calls", streams, "http2_protocol_options"),
        _cluster("events", streams, "http_protocol_options"),
    ]
    return {"static_resources": {"listeners": [listener], "clusters": clusters}}


def _cluster(name: str, port: int, protocol: str) -> Json:
    options = message("extensions.upstreams.http.v3.HttpProtocolOptions", explicit_http_config={protocol: {}})
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    return {
        "name": name,
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options},
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
    }


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Streams, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
