"""Open streams through the real Envoy and the real watch: cut when their caller is revoked, and nobody else's are."""

import base64
import contextlib
import dataclasses
import http.client
import os
import signal
import socket
import ssl
import subprocess
import sys
import time

import grpc
import pytest

from remit.arbiter.streams import Streams

VERTEX = "us-central1-aiplatform.googleapis.com"
LOGGING = "logging.googleapis.com"
IDLE = "/google.cloud.aiplatform.v1.PredictionService/ServerStreamingPredict"
SSE = "/v1/endpoints/1:streamGenerateContent"
UPGRADE = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    f"Sec-WebSocket-Key: {base64.b64encode(b'0' * 16).decode()}\r\n"
)
EVENTS = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n6\r\ndata:1\r\n"
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello!"
CUT_WITHIN = 5.0  # seconds: what issue and promise say; it takes about a quarter of one


class Watch:
    """The real watch with a ledger and revocations that a test writes."""

    def __init__(self, world):
        self.world = world
        self.records, self.revoked, self.asked = {}, set(), []
        self.watch = Streams(self.find, lambda record, _: record["principal"] in self.revoked)
        self.stack = None

    def find(self, decision):
        self.asked.append(decision)
        return self.records.get(decision)

    def start(self):
        async def begin():
            self.stack = contextlib.AsyncExitStack()
            await self.stack.enter_async_context(self.watch.listening(self.world.settings.streams_socket))

        self.world.loop.run(begin())

    def stop(self):
        self.world.loop.run(self.stack.aclose())

    def permit(self, name, **changes):
        """A token, and the record of the permit that it will get."""
        token, decision = self.world.issuer.token(name), f"d-{name}"
        now = time.time()
        record = {"decision": decision, "outcome": "permit", "at": int(now * 1e6), "expires": int(now) + 600}
        self.records[decision] = record | {"principal": name} | changes
        decisions = {f"Bearer {token}": decision}
        former = self.world.arbiter.answer

        def answer(seen):
            known = decisions.get(seen.one("authorization"))
            return self.world.arbiter.permit(decision=known) if known else former(seen)

        self.world.arbiter.answer = answer
        return token


@pytest.fixture(scope="module")
def place(another_world):
    return another_world(
        streams=(":streamGenerateContent", IDLE), websockets=(VERTEX,), stream_seconds=60, connection_seconds=60
    )


@pytest.fixture
def house(place, world):
    place.reset()
    place.arbiter.permit, place.message = world.arbiter.permit, world.message
    place.upstream.answer = answer
    house = Watch(place)
    house.start()
    yield house
    house.stop()


def answer(seen):
    from types import SimpleNamespace

    hold = SWITCHED if seen.one("upgrade") else EVENTS if "stream" in seen.target else None
    return SimpleNamespace(status=200, headers={}, body=b"plain", delay=0, raw=None, hold=hold)


class Http:
    """One open answer over HTTP/1.1, an event stream or a WebSocket."""

    def __init__(self, world, token, *, websocket):
        self.inner = world.tunnel()
        method = "GET" if websocket else "POST"
        more = UPGRADE if websocket else "Content-Length: 2\r\nContent-Type: application/json\r\n"
        path = "/v1/socket" if websocket else SSE + "?alt=sse"
        head = f"{method} {path} HTTP/1.1\r\nHost: {VERTEX}\r\nAuthorization: Bearer {token}\r\n{more}\r\n"
        self.inner.sendall(head.encode() + (b"" if websocket else b"{}"))
        self.inner.settimeout(10)
        self.head = b""
        end = b"hello!" if websocket else b"data:1\r\n"
        while end not in self.head and (data := self.inner.recv(1000)):
            self.head += data
        self.status = int(self.head.split(b" ")[1])

    def ended(self, within):
        """How long it took until the end; `None` when it is still open then."""
        began = time.monotonic()
        self.inner.settimeout(within)
        try:
            return time.monotonic() - began if self.inner.recv(100) == b"" else pytest.fail("more came")
        except TimeoutError:
            return None
        except (ssl.SSLError, OSError):
            return time.monotonic() - began

    def close(self):
        self.inner.close()


class Grpc:
    """One open gRPC server stream."""

    def __init__(self, world, token):
        self.channel = world.channel()
        self.call = self.channel.unary_stream(IDLE)(
            world.message(f1="projects/p"), metadata=(("authorization", f"Bearer {token}"),), timeout=30
        )
        self.first = next(self.call)
        self.status = 200

    def ended(self, within):
        began = time.monotonic()
        while self.call.is_active():
            if time.monotonic() - began > within:
                return None
            time.sleep(0.005)
        return time.monotonic() - began

    def close(self):
        self.call.cancel()
        self.channel.close()


KINDS = {
    "events": lambda world, token: Http(world, token, websocket=False),
    "grpc": Grpc,
    "websocket": lambda world, token: Http(world, token, websocket=True),
}


@contextlib.contextmanager
def opened(house, kind, *tokens):
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(contextlib.closing(KINDS[kind](house.world, token))) for token in tokens]
    until(lambda: len(house.watch) == 0)


def until(check, seconds=5.0):
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def opens(house, token):
    with contextlib.closing(KINDS["events"](house.world, token)) as events:
        return events.status == 200


def upstream_streams(world, kind):
    return world.upstream.calls.idle if kind == "grpc" else len(world.upstream.held)


@pytest.mark.parametrize("kind", KINDS)
def test_the_revoked_callers_idle_stream_is_cut_and_the_others_is_not(house, kind):
    dana, ada = house.permit("dana"), house.permit("ada")
    with opened(house, kind, dana, ada) as (danas, adas):
        assert {danas.status, adas.status} <= {101, 200}
        assert danas.ended(1.0) is None
        assert len(house.watch) == 2
        house.revoked.add("dana")
        began = time.monotonic()
        assert danas.ended(CUT_WITHIN) is not None
        until(lambda: upstream_streams(house.world, kind) == 1, CUT_WITHIN)
        print(f"{kind}: cut after {time.monotonic() - began:.2f} s")
        assert adas.ended(1.0) is None
        assert len(house.watch) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_told_of_a_change_it_looks_at_once(house, kind, monkeypatch):
    monkeypatch.setattr("remit.arbiter.streams._LOOK_EVERY", 60)
    house.watch.changed()
    with opened(house, kind, house.permit("dana")) as [danas]:
        assert danas.ended(0.5) is None
        house.revoked.add("dana")
        house.watch.changed()
        until(lambda: upstream_streams(house.world, kind) == 0, 0.5)
        assert danas.ended(CUT_WITHIN) is not None


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_ends_with_its_callers_token(house, kind):
    token = house.permit("dana", expires=time.time() - 60 + 1.5)
    with opened(house, kind, token) as [danas]:
        assert danas.ended(0.3) is None
        assert danas.ended(CUT_WITHIN) is not None


def test_bytes_go_both_ways_through_a_websocket(house):
    with opened(house, "websocket", house.permit("dana")) as [socket]:
        for number in range(3):
            socket.inner.sendall(b"ping %d" % number)
            assert socket.inner.recv(100) == b"ping %d" % number


def test_events_come_as_they_are_sent(house):
    with opened(house, "events", house.permit("dana")) as [events]:
        [writer] = house.world.upstream.held
        house.world.loop.loop.call_soon_threadsafe(writer.write, b"6\r\ndata:2\r\n")
        assert events.inner.recv(100) == b"6\r\ndata:2\r\n"


def test_a_call_that_ends_by_itself_ends_well(house):
    """The watch lets the trailers pass; unary calls and other paths never come to it."""
    token = house.permit("dana")
    with opened(house, "grpc", token) as [call]:
        call.call.cancel()
    assert house.world.rpc(house.world.message(f1="x"), token=token)
    assert house.world.call("/v1/x", token=token).body == b"plain"
    assert house.world.call(SSE.replace("stream", "plain"), method="POST", token=token, body=b"{}").status == 200
    assert house.asked == ["d-dana"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "changes", [{"outcome": "deny"}, {"at": 0}, {"expires": 0}, {"expires": None}, {"principal": "revoked"}, None]
)
def test_what_may_not_open(house, kind, changes):
    token = house.permit("dana", **(changes or {}))
    house.revoked.add("revoked")
    if changes is None:
        house.records.clear()
    if kind == "grpc":
        with pytest.raises(grpc.RpcError) as caught:
            house.world.rpc(house.world.message(f1="x"), path=IDLE, token=token)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    else:
        headers = UPGRADE if kind == "websocket" else ""
        path, method = (SSE, "POST") if kind == "events" else ("/v1/socket", "GET")
        assert house.world.call(path, method=method, token=token, headers=headers).status == 503
    assert house.world.upstream.seen == []


def test_without_the_watch_no_stream_opens_and_open_ones_are_cut(house):
    token = house.permit("dana")
    with opened(house, "events", token) as [events]:
        house.stop()
        assert events.ended(CUT_WITHIN) is not None
        assert house.world.call(SSE, method="POST", token=token, body=b"{}").status == 503
        assert house.world.call("/v1/x", token=token).status == 200
        house.start()
        until(lambda: opens(house, token))


HUNG = """
import asyncio, pathlib, sys, time
from remit.arbiter.streams import Streams

async def main():
    find = lambda decision: {"outcome": "permit", "at": time.time() * 1e6, "expires": 2**40}
    async with Streams(find, lambda record, now: False).listening(pathlib.Path(sys.argv[1])):
        print("up", flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


def test_streams_of_a_watch_that_hangs_are_cut(house):
    house.stop()
    command = [sys.executable, "-c", HUNG, str(house.world.settings.streams_socket)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout.readline() == b"up\n"
            token = house.permit("dana")
            until(lambda: opens(house, token))
            with contextlib.closing(KINDS["events"](house.world, token)) as events:
                assert events.ended(2.5) is None  # and being asked whether it lives offends it not
                os.kill(process.pid, signal.SIGSTOP)
                took = events.ended(CUT_WITHIN)
                assert took is not None
                print(f"hung: cut after {took:.2f} s")
        finally:
            process.kill()
    house.start()


def test_only_a_websockets_headers_go_upstream(house):
    token = house.permit("dana")
    forged = "Cookie: a=b\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\nOrigin: x\r\nX-Remit-Job: j-1\r\n"
    assert house.world.call("/v1/socket", token=token, headers=UPGRADE + forged).status in {400, 403}
    with house.world.tunnel() as inner:
        head = f"GET /v1/socket HTTP/1.1\r\nHost: {VERTEX}\r\nAuthorization: Bearer {token}\r\n"
        more = "Cookie: a=b\r\nOrigin: x\r\nSec-WebSocket-Protocol: v1\r\nX-Remit-Job: j-1\r\n"
        inner.sendall((head + UPGRADE + more + "\r\n").encode())
        assert b" 101 " in inner.recv(1000)
    [seen] = house.world.upstream.seen
    assert {name for name, _ in seen.headers} == {
        "authorization",
        "connection",
        "host",
        "sec-websocket-key",
        "sec-websocket-protocol",
        "sec-websocket-version",
        "upgrade",
        "x-goog-request-reason",
    }
    assert seen.one("authorization") == "Bearer ya29.google"
    [asked] = [asked for asked in house.world.arbiter.seen if asked.target == "/check/v1/socket"]
    assert asked.one("x-remit-upgrade") == "websocket"
    assert asked.one("upgrade") is None


OTHER = [("GET", "/v1/x", kind) for kind in ("websocket2", "tls", "websocket, tls")]
OTHER += [(method, path, "websocket") for method, path in (("POST", SSE), ("PUT", "/v1/x"))]


@pytest.mark.parametrize(("method", "path", "kind"), OTHER)
def test_other_upgrades_are_refused(house, method, path, kind):
    headers = f"Connection: Upgrade\r\nUpgrade: {kind}\r\n"
    answer = house.world.call(path, method=method, token=house.permit("dana"), headers=headers)
    assert answer.status in {400, 403}
    assert house.world.upstream.seen == []


def test_a_websocket_at_a_host_that_serves_none(house):
    headers = UPGRADE
    answer = house.world.call("/v1/x", token=house.permit("dana"), headers=headers, host=LOGGING, name=LOGGING)
    assert answer.status == 403
    assert house.world.upstream.seen == []


def test_an_upgrade_that_is_none_is_a_plain_request_and_is_decided_on_whole(house):
    """Without `Connection: Upgrade`, or to h2c, nothing is upgraded; the gate must not be told otherwise, ever."""
    token = house.permit("dana")
    for headers in ("Upgrade: websocket\r\n", "Connection: Upgrade\r\nUpgrade: h2c\r\n"):
        answer = house.world.call("/v1/x", token=token, headers=headers)
        assert (answer.status, answer.body) == (200, b"plain")
        assert house.world.upstream.seen[-1].one("upgrade") is None
    house.world.call("/v1/y", method="POST", token=token, headers="Content-Type: application/json\r\n", body=b"{}")
    assert house.world.arbiter.seen[-1].body == b"{}"


def test_a_refused_websocket_is_refused(house):
    house.world.arbiter.answer = lambda _: dataclasses.replace(house.world.arbiter.permit(), status=500)
    answer = house.world.call("/v1/socket", token=house.world.issuer.token(), headers=UPGRADE)
    assert (answer.status, answer.reason) == (503, "plane_unavailable")
    assert house.asked == []


def test_an_upstream_that_does_not_switch(house):
    house.world.upstream.answer = lambda seen: dataclasses.replace(house.world.arbiter.permit(), body=b"no")
    with house.world.tunnel() as inner:
        head = f"GET /v1/socket HTTP/1.1\r\nHost: {VERTEX}\r\nAuthorization: Bearer {house.permit('dana')}\r\n{UPGRADE}\r\n"
        inner.sendall(head.encode())
        with http.client.HTTPResponse(inner) as response:
            response.begin()
            assert response.status == 200
    until(lambda: len(house.watch) == 0)


def test_the_socket_is_its_owners(house):
    assert house.world.settings.streams_socket.stat().st_mode & 0o777 == 0o600
    with socket.socket(socket.AF_UNIX) as plain:
        plain.connect(str(house.world.settings.streams_socket))
