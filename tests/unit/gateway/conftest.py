"""A real Envoy between a fake arbiter and a fake upstream, all on loopback, started once for all tests of the room."""

import asyncio
import contextlib
import dataclasses
import datetime as dt
import http.client
import json
import random
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey

from remit.arbiter.streams import Streams
from remit.gateway.certificates import ensure
from remit.gateway.envoy import Envoy
from remit.gateway.settings import Address, Endpoint, GatewaySettings, ServiceRoute

VERTEX = "us-central1-aiplatform.googleapis.com"
LOGGING = "logging.googleapis.com"
PREDICT = "/google.cloud.aiplatform.v1.PredictionService/Predict"
STREAM = "/google.cloud.aiplatform.v1.PredictionService/StreamRawPredict"
IDLE = "/google.cloud.aiplatform.v1.PredictionService/ServerStreamingPredict"
BIDI = "/google.cloud.aiplatform.v1.PredictionService/StreamingPredict"
WALKED = "/tensorflow.serving.PredictionService/Predict"
CREATE = "/google.cloud.aiplatform.v1.JobService/CreateCustomJob"
ISSUER = "https://login.microsoftonline.com/6f1c2a34-8b5d-4e6f-9a01-c0de00000001/v2.0"
AUDIENCE = "a0000000-0000-4000-8000-000000000001"
BOARD = "board.example.com"
DECISION = "d-01JD000000000000000000000A"


@dataclasses.dataclass
class Seen:
    """One request as a fake server saw it."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]

    def one(self, name: str) -> str | None:
        values = self.all(name)
        assert len(values) < 2, (name, values)
        return values[0] if values else None


@dataclasses.dataclass
class Reply:
    status: int = 200
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    body: bytes = b""
    delay: float = 0.0
    raw: bytes | None = None
    hold: bytes | None = None


def permit(lease_ms: int = 0, credential: str = "ya29.google", decision: str = DECISION, epoch: int = 0) -> Reply:
    headers = {"x-remit-decision": decision, "authorization": f"Bearer {credential}", "x-remit-lease-ms": str(lease_ms)}
    return Reply(200, headers | {"x-remit-epoch": str(epoch)})


def vouch(lease_ms: int = 0, assertion: str = "as.ser.tion", **headers: str) -> Reply:
    """A permit for a service: who asks, instead of a cloud's token."""
    answer = permit(lease_ms)
    del answer.headers["authorization"]
    answer.headers |= {"x-remit-assertion": assertion} | headers
    return answer


def refuse(status: int = 403, reason: str = "no_policy_permits", **headers: str) -> Reply:
    given = {"x-remit-decision": DECISION, "x-remit-reason": reason, "content-type": "application/json"}
    given |= {"x-remit-grpc-status": "7", "x-remit-grpc-message": "no policy permits this%2C really"}
    return Reply(status, given | {key.replace("_", "-"): value for key, value in headers.items()}, b'{"error":{}}')


async def read_request(reader: asyncio.StreamReader) -> Seen | None:
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")[:-2]
    method, target, _ = first.split(" ")
    headers = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    fields = dict(headers)
    if fields.get("transfer-encoding") == "chunked":
        body = b""
        while size := int((await reader.readline()).strip(), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readline()
    else:
        body = await reader.readexactly(int(fields.get("content-length", "0")))
    return Seen(method, target, headers, body)


class Loop:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    def close(self) -> None:
        async def finish() -> None:
            rest = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in rest:
                task.cancel()
            await asyncio.gather(*rest, return_exceptions=True)

        self.run(finish())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(5)
        self.loop.close()


class Http1:
    """A scripted HTTP/1.1 server: records what it sees, answers what it is told."""

    def __init__(self, loop: Loop, answer: Callable[[Seen], Reply]) -> None:
        self.loop = loop
        self.seen: list[Seen] = []
        self.answer = self.usual = answer
        self.server: asyncio.Server | None = None
        self.serving: set[asyncio.Task[None]] = set()
        self.held: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.serving.add(asyncio.current_task())
        try:
            while True:
                seen = await read_request(reader)
                self.seen.append(seen)
                reply = self.answer(seen)
                await asyncio.sleep(reply.delay)
                if reply.hold is not None:
                    await self.hold(reply.hold, reader, writer)
                    break
                if reply.raw is not None:
                    writer.write(reply.raw)
                    break
                head = {**reply.headers, "content-length": str(len(reply.body))}
                lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
                writer.write(f"HTTP/1.1 {reply.status} X\r\n{lines}\r\n".encode() + reply.body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.serving.discard(asyncio.current_task())
            writer.close()

    async def hold(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """An answer that stays open, and repeats what it is told, until the caller goes."""
        self.held.append(writer)
        writer.write(head)
        try:
            while data := await reader.read(65536):
                writer.write(data)
        finally:
            self.held.remove(writer)

    def stop(self) -> None:
        async def end() -> None:
            self.server.close()
            rest = list(self.serving)
            for task in rest:
                task.cancel()
            await asyncio.gather(*rest, return_exceptions=True)
            await asyncio.sleep(0.01)  # the transports' own callbacks

        self.loop.run(end())


class Web(Http1):
    """A plain web application: records what it sees, without TLS."""

    def __init__(self, loop: Loop) -> None:
        super().__init__(loop, lambda seen: Reply(200, {"x-upstream": "web"}, seen.body))
        self.port = free_port()

        async def begin() -> asyncio.Server:
            return await asyncio.start_server(self.serve, "127.0.0.1", self.port, limit=2**25)

        self.server = loop.run(begin())


class Arbiter(Http1):
    """The fake arbiter on its Unix socket."""

    def __init__(self, loop: Loop, path: Path) -> None:
        super().__init__(loop, lambda _: permit())
        self.path = path

    def start(self) -> None:
        async def begin() -> asyncio.Server:
            return await asyncio.start_unix_server(self.serve, self.path, limit=2**25)

        self.server = self.loop.run(begin())


class Calls(grpc.GenericRpcHandler):
    """Any gRPC method: unary and server-streaming ones answer with what they got."""

    def __init__(self, seen: list[Seen]) -> None:
        self.seen = seen
        self.idle = 0

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        def note(body: bytes) -> None:
            self.seen.append(Seen("POST", details.method, list(details.invocation_metadata), body))

        def unary(body: bytes, _: grpc.ServicerContext) -> bytes:
            note(body)
            return body

        def stream(body: bytes, _: grpc.ServicerContext) -> Iterator[bytes]:
            note(body)
            for number in range(3):
                yield b"%d" % number
                time.sleep(0.2)

        def idle(body: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
            note(body)
            ended = threading.Event()
            context.add_callback(ended.set)
            self.idle += 1
            yield b"first"
            ended.wait(30)
            self.idle -= 1

        if details.method == IDLE:
            return grpc.unary_stream_rpc_method_handler(idle)
        if details.method == STREAM:
            return grpc.unary_stream_rpc_method_handler(stream)
        return grpc.unary_unary_rpc_method_handler(unary)


class Upstream(Http1):
    """The fake Google: TLS for every host, HTTP/1.1 answered here, HTTP/2 by a gRPC server behind."""

    def __init__(self, loop: Loop, folder: Path) -> None:
        super().__init__(
            loop, lambda seen: Reply(200, {"x-upstream": "yes", "set-cookie": "a=b", "alt-svc": "h3"}, seen.body)
        )
        self.files = ensure(
            folder / "upstream", (VERTEX, LOGGING, "storage.googleapis.com", "localhost"), dt.datetime.now(dt.UTC)
        )
        self.calls = Calls(self.seen)
        self.grpc = grpc.server(ThreadPoolExecutor(8), handlers=(self.calls,))
        self.behind = f"{folder}/grpc.sock"
        self.grpc.add_insecure_port(f"unix:{self.behind}")
        self.plain_port = free_port()
        self.grpc.add_insecure_port(f"127.0.0.1:{self.plain_port}")
        self.grpc.start()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.files.certificate, self.files.key)
        context.set_alpn_protocols(["h2", "http/1.1"])
        self.port = free_port()

        async def begin() -> asyncio.Server:
            return await asyncio.start_server(self.accept, "127.0.0.1", self.port, ssl=context, limit=2**25)

        self.server = loop.run(begin())

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if writer.get_extra_info("ssl_object").selected_alpn_protocol() != "h2":
            return await self.serve(reader, writer)
        self.serving.add(asyncio.current_task())
        back_reader, back_writer = await asyncio.open_unix_connection(self.behind)
        await asyncio.gather(pump(reader, back_writer), pump(back_reader, writer))
        self.serving.discard(asyncio.current_task())
        return None


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


def free_port() -> int:
    """A free port below the ephemeral range, so that no outgoing connection takes it meanwhile."""
    while True:
        port = random.randrange(12_000, 32_000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


class Issuer:
    """Signs tokens as Entra does, with one key."""

    def __init__(self) -> None:
        self.key = RSAKey.generate_key(2048, parameters={"kid": "k1", "alg": "RS256", "use": "sig"})
        self.jwks = json.dumps({"keys": [self.key.as_dict(private=False)]})
        self.keys = {ISSUER: self.jwks}

    def token(self, name: str = "dana", **claims: Any) -> str:
        now = int(time.time())
        body = {"iss": ISSUER, "aud": AUDIENCE, "exp": now + 600, "nbf": now - 5, "iat": now, "oid": name} | claims
        return jwt.encode({"alg": "RS256", "kid": "k1"}, body, self.key)


@dataclasses.dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def reason(self) -> str:
        return self.headers.get("x-remit-reason", "")


def named(host: str) -> str:
    """The endpoint's name for a host of Google's; a service goes by its own."""
    return host.replace(".googleapis.com", ".gateway.example.com")


class World:
    """Everything that a test needs. `way`: by which door calls go, `tunnel` or `endpoint`."""

    way = "tunnel"

    def __init__(self, folder: Path, **changes: Any) -> None:
        self.folder = folder
        self.loop = Loop()
        self.issuer = Issuer()
        self.arbiter = Arbiter(self.loop, folder / "arbiter.sock")
        self.arbiter.start()
        self.upstream = Upstream(self.loop, folder)
        self.web = Web(self.loop)
        self.deaf = socket.create_server(("127.0.0.1", 0))  # nobody ever reads from it
        if "services" in changes:
            changes["services"] = changes["services"](self)
        self.settings = GatewaySettings(
            **{
                "hosts": (VERTEX, LOGGING),
                "issuers": ((ISSUER, AUDIENCE),),
                "arbiter_socket": folder / "arbiter.sock",
                "access_log": folder / "spool" / "access.log",
                "admin_socket": folder / "admin.sock",
                "runtime": folder / "run",
                "streams_socket": folder / "streams.sock",
                "authority": folder / "authority",
                "listen_port": free_port(),
                "upstream_address": f"127.0.0.1:{self.upstream.port}",
                "upstream_ca": self.upstream.files.authority,
                "leasable_grpc": {PREDICT: (1,)},
                "leasable_fields": {PREDICT: (1, 2, 3, 4)},
                "streaming_grpc": (BIDI,),
                "check_timeout_ms": 600,
                "endpoint": Endpoint(
                    "127.0.0.1", free_port(), {named(host): host for host in changes.get("hosts", (VERTEX, LOGGING))}
                ),
            }
            | changes
        )
        self.envoy = Envoy(self.settings)
        try:
            self.loop.run(self.envoy.start(self.issuer.keys))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self.loop.run(self.envoy.stop())
        self.upstream.grpc.stop(0).wait()
        self.upstream.stop()
        self.web.stop()
        self.deaf.close()
        self.arbiter.stop()
        self.loop.close()

    def name(self, host: str) -> str:
        """What a client calls a host, by the door that it uses."""
        return named(host) if self.way == "endpoint" else host

    def reset(self) -> None:
        self.arbiter.answer = lambda _: permit()
        self.arbiter.seen.clear()
        self.upstream.answer = self.upstream.usual
        self.upstream.seen.clear()
        self.web.seen.clear()
        self.web.answer = self.web.usual

    def connect(self, name: str = VERTEX, headers: str = "", version: str = "1.1") -> tuple[socket.socket, int]:
        """Opens a tunnel; the socket and the status of the answer."""
        raw = socket.create_connection(("127.0.0.1", self.settings.listen_port), 10)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        raw.sendall(f"CONNECT {name}:443 HTTP/{version}\r\nHost: {name}:443\r\n{headers}\r\n".encode())
        head = b""
        while b"\r\n\r\n" not in head and (data := raw.recv(1)):
            head += data
        return raw, int(head.split(b" ")[1])

    def tunnel(
        self,
        name: str = VERTEX,
        *,
        identity: str | None = None,
        job: str | None = None,
        sni: str | None = None,
        alpn: str = "http/1.1",
    ) -> ssl.SSLSocket:
        """A TLS connection inside a tunnel, or to the endpoint, verified against the door's authority."""
        context = ssl.create_default_context(cafile=str(self.envoy.authority))
        context.set_alpn_protocols([alpn])
        context.check_hostname = sni is None
        if self.way == "endpoint":
            assert not identity
            assert not job
            raw = socket.create_connection(("127.0.0.1", self.settings.endpoint.listen_port), 10)
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return context.wrap_socket(raw, server_hostname=sni or named(name))
        header = f"Proxy-Authorization: Bearer {identity}\r\n" if identity else ""
        header += f"X-Remit-Job: {job}\r\n" if job else ""
        raw, status = self.connect(name, header)
        assert status == 200
        return context.wrap_socket(raw, server_hostname=sni or name)

    def send(self, data: bytes, *, connection: ssl.SSLSocket | None = None, **tunnel: Any) -> Answer:
        """Raw bytes through a tunnel, and the answer."""
        if connection is None:
            with self.tunnel(**tunnel) as inner:
                return self.send(data, connection=inner)
        connection.sendall(data)
        with http.client.HTTPResponse(connection, method=data.split(b" ", 1)[0].decode()) as response:
            response.begin()
            headers = {key.lower(): value for key, value in response.getheaders()}
            return Answer(response.status, headers, response.read())

    def call(
        self,
        path: str = "/v1/projects/p/locations/us-central1/customJobs",
        *,
        method: str = "GET",
        token: str | None = None,
        headers: str = "",
        body: bytes = b"",
        host: str = VERTEX,
        **tunnel: Any,
    ) -> Answer:
        """One REST request: `token` inside, or `identity` on the tunnel."""
        lines = f"{method} {path} HTTP/1.1\r\nHost: {self.name(host)}\r\n{headers}"
        if token:
            lines += f"Authorization: Bearer {token}\r\n"
        if body:
            lines += f"Content-Length: {len(body)}\r\n"
        return self.send(lines.encode() + b"\r\n" + body, **tunnel)

    def channel(self, host: str = VERTEX) -> grpc.Channel:
        roots = self.envoy.authority.read_bytes()
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
        if self.way == "endpoint":
            target = f"127.0.0.1:{self.settings.endpoint.listen_port}"
            options += [("grpc.ssl_target_name_override", named(host)), ("grpc.default_authority", named(host))]
            options += [("grpc.enable_http_proxy", 0)]
        else:
            target = f"{host}:443"
            options += [("grpc.http_proxy", f"http://127.0.0.1:{self.settings.listen_port}")]
        return grpc.secure_channel(target, grpc.ssl_channel_credentials(roots), options=options)

    def rpc(
        self,
        body: bytes,
        path: str = PREDICT,
        token: str | None = None,
        metadata: tuple = (),
        host: str = VERTEX,
        **more: Any,
    ) -> bytes:
        """One unary gRPC call with raw bytes."""
        with self.channel(host) as channel:
            inner = (("authorization", f"Bearer {token}"), *metadata) if token else metadata
            return channel.unary_unary(path)(body, metadata=inner, timeout=10, **more)

    def web_call(self, way: str, path: str, *, method: str = "GET", headers: str = "", body: bytes = b"") -> Answer:
        """One request to the service `board`: below its folder, through a tunnel, or on the endpoint."""
        lines = f"{method} {path} HTTP/1.1\r\nHost: {self.board(way)}\r\n{headers}"
        lines += f"Content-Length: {len(body)}\r\n" if body else ""
        with self.web_connection(way) as connection:
            return self.send(lines.encode("latin-1") + b"\r\n" + body, connection=connection)

    def board(self, way: str) -> str:
        """What a client calls the service `board`."""
        return f"127.0.0.1:{self.settings.listen_port}" if way == "folder" else BOARD

    def web_connection(self, way: str, name: str = BOARD) -> socket.socket:
        """A connection by which a service is reached."""
        if way == "folder":
            return socket.create_connection(("127.0.0.1", self.settings.listen_port), 10)
        self.way = way
        return self.tunnel(name)

    def log(self, wanted: int = 1, door: str | None = None) -> list[dict[str, Any]]:
        """Lines of the access log, waited for."""
        door = door or ("endpoint" if self.way == "endpoint" else "door")
        deadline = time.monotonic() + 5
        while True:
            lines = [json.loads(line) for line in self.settings.access_log.read_text().splitlines()]
            lines = [{key: value for key, value in line.items() if value is not None} for line in lines]
            lines = [line for line in lines if line["door"] == door]
            if len(lines) >= wanted or time.monotonic() > deadline:
                return lines
            time.sleep(0.01)


def message(**fields: str) -> bytes:
    """A protobuf message of strings: `f1="x"` is field 1."""
    parts = b""
    for name, value in fields.items():
        data = value.encode()
        assert len(data) < 128
        parts += bytes([int(name[1:]) << 3 | 2, len(data)]) + data
    return parts


@pytest.fixture(scope="session")
def _world() -> Iterator[World]:
    with tempfile.TemporaryDirectory(prefix="gw", dir="/tmp") as folder:
        world = World(Path(folder))
        yield world
        world.close()


@pytest.fixture
def way() -> str:
    """Overridden by modules whose every test goes by both doors."""
    return "tunnel"


@pytest.fixture
def world(_world: World, way: str) -> World:
    _world.reset()
    _world.way = way
    _world.arbiter.permit, _world.arbiter.refuse, _world.message = permit, refuse, message
    _world.reply = Reply
    return _world


def services(world: World) -> tuple[ServiceRoute, ...]:
    """A web application, a model server, a gRPC service, and two behind TLS of which one shows another's name."""
    plain, calls = Address("127.0.0.1", world.web.port), Address("127.0.0.1", world.upstream.plain_port)
    roots = world.upstream.files.authority
    secure = Address("localhost", world.upstream.port, tls=True, roots=roots)
    deaf = Address("127.0.0.1", world.deaf.getsockname()[1])
    named = Address("127.0.0.1", world.upstream.port, tls=True, roots=roots)
    return (
        ServiceRoute("board.service", http=plain, prefix="/apps/board/", host=BOARD, websockets=True),
        ServiceRoute(
            "model.service",
            http=plain,
            grpc=calls,
            prefix="/apps/model/",
            host="model.example.com",
            walked={WALKED: (1,)},
        ),
        ServiceRoute("echo.service", grpc=calls, host="echo.example.com"),
        ServiceRoute("deaf.service", http=deaf, prefix="/apps/deaf/", host="deaf.example.com"),
        ServiceRoute("secure.service", http=secure, prefix="/apps/secure/"),
        ServiceRoute("impostor.service", http=named, prefix="/apps/impostor/"),
    )


@pytest.fixture(scope="session")
def _town() -> Iterator[World]:
    with _worlds() as make:
        yield make(
            services=services,
            api_paths=("/healthz", "/sign-in"),
            stream_seconds=60,
            hosts=(VERTEX,),
            websockets=(VERTEX,),
            check_timeout_ms=900,
        )


@pytest.fixture
def town(_town: World) -> World:
    """A world with services; its arbiter vouches for everybody."""
    _town.reset()
    _town.arbiter.answer = lambda _: vouch()
    _town.arbiter.permitted = permit
    _town.arbiter.vouch, _town.arbiter.refuse, _town.message, _town.reply = vouch, refuse, message, Reply
    return _town


@pytest.fixture(scope="module")
def another_world() -> Iterator[Callable[..., World]]:
    """More worlds, with other settings; they end with the module: a system grants 128 inotify instances by default."""
    with _worlds() as make:
        yield make


@contextlib.contextmanager
def _worlds() -> Iterator[Callable[..., World]]:
    def make(**changes: Any) -> World:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="gw", dir="/tmp"))
        return stack.enter_context(contextlib.closing(World(Path(folder), **changes)))

    with contextlib.ExitStack() as stack:
        yield make


@pytest.fixture
def watched(town: World) -> Iterator[None]:
    """Every stream may stay open."""

    def find(decision: str) -> dict[str, Any]:
        now = int(time.time())
        return {"decision": decision, "outcome": "permit", "at": now * 10**6, "expires": now + 600, "principal": "p"}

    async def begin() -> contextlib.AsyncExitStack:
        stack = contextlib.AsyncExitStack()
        streams = Streams(find, lambda record, _: False)
        await stack.enter_async_context(streams.listening(town.settings.streams_socket))
        return stack

    stack = town.loop.run(begin())
    yield
    town.loop.run(stack.aclose())
