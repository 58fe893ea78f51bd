"""Tunnels: which host goes which way, with whose identity, and what happens when either side goes away."""

import asyncio
import base64
import contextlib

import pytest

from remit.model.errors import NotSignedIn
from remit.model.secret import AccessToken
from remit.sdk import tunnel
from remit.sdk.configuration import Configuration
from remit.sdk.loopback import Door
from remit.sdk.tunnel import Onward, Tunnel

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"


class Far:
    """A server: the gateway's door, a proxy, or a site. Sends `answer` after a head, then echoes until it is told."""

    def __init__(self, answer=b"", *, echo=True):
        self.answer = answer
        self.echo = echo
        self.heads = []
        self.ended = asyncio.Event()

    async def __aenter__(self):
        self.server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self.server.close()
        await asyncio.sleep(0.01)

    async def _accept(self, reader, writer):
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            if self.answer:
                self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
                writer.write(self.answer)
            while self.echo and (data := await reader.read(1000)):
                writer.write(data)
            writer.write(b"" if not self.echo else b"|end")
            await writer.drain()
        writer.close()
        self.ended.set()


def identity():
    return AccessToken("identity-of-dana")


def fits(url, **changes):
    found = {
        "authority": "",
        "tenant": "",
        "client": "",
        "scope": "",
        "ca_pem": "",
        "terminated": frozenset({"logging.googleapis.com"}),
        "refused": frozenset({"sts.googleapis.com"}),
    }
    return Configuration(url=url, **{**found, **changes})


async def speak(serve, raw):
    """Sends bytes through a door, then end of file; everything that comes back."""
    door = Door(serve)
    await door.open()
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    try:
        writer.write(raw)
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        if b" 200 " in head:
            writer.write(b"hello")
            writer.write_eof()  # half a close: the answer must still come
        return head + await asyncio.wait_for(reader.read(), 5)
    finally:
        writer.close()
        await door.close()


def connect(target):
    return f"CONNECT {target} HTTP/1.1\r\nhost: {target}\r\n\r\n".encode()


@pytest.mark.parametrize("answer", [b"HTTP/1.1 200 OK\r\n\r\n", ESTABLISHED, b"HTTP/1.1 200\r\nx: y\r\n\r\n"])
def test_a_terminated_host_goes_through_the_gateway_with_the_caller_s_identity(answer):
    async def story():
        async with Far(answer) as far:
            served = Tunnel(fits(f"http://127.0.0.1:{far.port}"), identity, Onward("http://127.0.0.1:1")).serve
            found = await speak(served, connect("Logging.GoogleAPIs.com.:443"))
            await asyncio.wait_for(far.ended.wait(), 5)
            return found, far.heads

    found, [head] = asyncio.run(story())
    assert found == ESTABLISHED + b"hello|end"
    assert head.splitlines()[:3] == [
        "CONNECT logging.googleapis.com:443 HTTP/1.1",
        "host: logging.googleapis.com:443",
        "proxy-authorization: Bearer identity-of-dana",
    ]
    assert "x-remit-job" not in head


def test_a_run_s_name_goes_with_its_tunnels():
    async def story():
        async with Far(ESTABLISHED) as far:
            served = Tunnel(fits(f"http://127.0.0.1:{far.port}"), identity, Onward(), "j-1").serve
            await speak(served, connect("logging.googleapis.com:443"))
            return far.heads

    [head] = asyncio.run(story())
    assert "\r\nx-remit-job: j-1\r\n" in head


def test_when_access_has_been_revoked_every_tunnel_ends_and_none_opens():
    async def story():
        async with Far(ESTABLISHED) as far, Far() as site:
            opened = Tunnel(fits(f"http://127.0.0.1:{far.port}"), identity, Onward(), "j-1")
            door = Door(opened.serve)
            await door.open()
            ends = []
            for target in ("logging.googleapis.com:443", f"127.0.0.1:{site.port}"):
                reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
                writer.write(connect(target))
                await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
                writer.write(b"hello")
                assert await asyncio.wait_for(reader.readexactly(5), 5) == b"hello"
                ends.append((reader, writer))
            opened.end()
            for reader, writer in ends:
                with contextlib.suppress(ConnectionError):
                    assert await asyncio.wait_for(reader.read(), 5) == b""
                writer.close()
            await asyncio.wait_for(far.ended.wait(), 5)
            await asyncio.wait_for(site.ended.wait(), 5)
            await door.close()
            return [await speak(opened.serve, connect(host)) for host in ("logging.googleapis.com:443", "pypi.org:443")]

    for found in asyncio.run(story()):
        assert found.startswith(b"HTTP/1.1 403 ")
        assert b"access has been revoked" in found


def test_a_tunnel_that_opens_while_access_is_revoked_carries_nothing():
    async def story():
        async with Far(ESTABLISHED) as far:

            def late():
                opened.end()
                return identity()

            opened = Tunnel(fits(f"http://127.0.0.1:{far.port}"), late, Onward())
            door = Door(opened.serve)
            await door.open()
            reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
            writer.write(connect("logging.googleapis.com:443"))
            found = await asyncio.wait_for(reader.read(), 5)
            writer.close()
            await door.close()
            return found

    assert asyncio.run(story()) == b""


def test_another_host_goes_through_the_proxy_that_was_there_before_without_the_identity():
    async def story():
        async with Far(ESTABLISHED) as far:
            onward = Onward(f"http://user:p%40ss@127.0.0.1:{far.port}", "other.example")
            served = Tunnel(fits("http://127.0.0.1:1"), identity, onward).serve
            return await speak(served, connect("storage.googleapis.com:443")), far.heads

    found, [head] = asyncio.run(story())
    assert found == ESTABLISHED + b"hello|end"
    assert "identity-of-dana" not in head
    basic = base64.b64encode(b"user:p@ss").decode()
    assert f"proxy-authorization: Basic {basic}\r\n" in head


@pytest.mark.parametrize(
    "onward", [Onward(), Onward("http://127.0.0.1:1", "10.0.0.1,127.0.0.1"), Onward("http://127.0.0.1:1", "*")]
)
def test_another_host_is_reached_straight(onward):
    async def story():
        async with Far() as far:
            served = Tunnel(fits("http://127.0.0.1:1"), identity, onward).serve
            return await speak(served, connect(f"127.0.0.1:{far.port}"))

    assert asyncio.run(story()) == ESTABLISHED + b"hello|end"


@pytest.mark.parametrize(
    ("raw", "status", "said"),
    [
        (connect("sts.googleapis.com:443"), 403, b"spoken to by the broker alone"),
        (connect("STS.googleapis.com.:443"), 403, b"spoken to by the broker alone"),
        (b"GET http://x/ HTTP/1.1\r\n\r\n", 405, b"only opens tunnels"),
        (connect("no-port"), 405, b"only opens tunnels"),
        (connect("user@host:443"), 405, b"only opens tunnels"),
        (connect("[::1]:443"), 405, b"only opens tunnels"),
        (connect("127.0.0.1:1"), 502, b"does not answer"),
        (connect("127.0.0.1:99999"), 405, b"only opens tunnels"),
        (connect("logging.googleapis.com:443"), 502, b"does not answer"),
    ],
)
def test_what_is_not_opened(raw, status, said):
    served = Tunnel(fits("http://127.0.0.1:1"), identity, Onward()).serve
    found = asyncio.run(speak(served, raw))
    assert found.startswith(f"HTTP/1.1 {status} ".encode())
    assert said in found
    assert b"connection: close" in found


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", b"the proxy answered 407"),
        (b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n", b"the proxy answered 403"),
        (b"nonsense\r\n\r\n", b"does not answer"),
        (b"HTTP/1.1 200 OK", b"does not answer"),
    ],
)
def test_a_door_that_says_no(answer, said):
    async def story():
        async with Far(answer, echo=False) as far:
            served = Tunnel(fits(f"http://127.0.0.1:{far.port}"), identity, Onward()).serve
            return await speak(served, connect("logging.googleapis.com:443"))

    found = asyncio.run(story())
    assert found.startswith(b"HTTP/1.1 502 ")
    assert said in found


def test_without_an_identity_there_is_no_tunnel(capsys):
    def nobody():
        raise NotSignedIn("nobody is signed in", hint="run `remit login`")

    async def story():
        async with Far(ESTABLISHED) as far:
            served = Tunnel(fits(f"http://127.0.0.1:{far.port}"), nobody, Onward()).serve
            return await speak(served, connect("logging.googleapis.com:443")), far.heads

    found, heads = asyncio.run(story())
    assert found.startswith(b"HTTP/1.1 503 ")
    assert b"nobody is signed in" in found
    assert heads == []
    assert capsys.readouterr().err == "remit: nobody is signed in\nhint: run `remit login`\n"


class Wire:
    """A writer without a network: `half` whether it can say that it is done; `fails` what a write meets."""

    def __init__(self, *, half=True, fails=None):
        self.half = half
        self.fails = fails
        self.written = b""
        self.eof = False
        self.closed = False

    def write(self, data):
        if self.fails:
            raise self.fails
        self.written += data

    async def drain(self):
        await asyncio.sleep(0)

    def can_write_eof(self):
        return self.half

    def write_eof(self):
        if self.fails:
            raise self.fails
        self.eof = True

    def close(self):
        self.closed = True


def reading(*chunks, end=True):
    reader = asyncio.StreamReader()
    for chunk in chunks:
        reader.feed_data(chunk)
    if end:
        reader.feed_eof()
    return reader


@pytest.mark.parametrize("fails", [OSError(107, "not connected"), ConnectionResetError(), RuntimeError("closing")])
def test_a_side_that_is_gone_ends_a_pump_quietly(fails):
    async def story():
        writer = Wire(fails=fails)
        return await tunnel._pump(reading(), writer)

    assert asyncio.run(story()) is False


def test_one_side_s_end_is_not_the_other_s():
    async def story():
        near, far = Wire(), Wire()
        answer = reading(end=False)
        task = asyncio.create_task(tunnel._splice((reading(b"question"), near), (answer, far)))
        await asyncio.sleep(0.01)
        assert (far.written, far.eof, far.closed) == (b"question", True, False)
        answer.feed_data(b"late answer")
        answer.feed_eof()
        await asyncio.wait_for(task, 5)
        return near, far

    near, far = asyncio.run(story())
    assert (near.written, near.eof) == (b"late answer", True)
    assert far.closed


def test_a_door_that_cannot_be_told_is_not_waited_for_forever(monkeypatch):
    monkeypatch.setattr(tunnel, "_LINGER", 0.05)

    async def story():
        near, far = Wire(), Wire(half=False)
        await asyncio.wait_for(tunnel._splice((reading(), near), (reading(b"some", end=False), far)), 5)
        return near, far

    near, far = asyncio.run(story())
    assert near.written == b"some"
    assert far.closed
    assert not far.eof


def test_a_door_with_tls_is_spoken_to_in_tls(monkeypatch):
    monkeypatch.setattr(tunnel, "_PATIENCE", 0.3)

    async def story():
        async with Far(ESTABLISHED) as far:
            served = Tunnel(fits(f"https://127.0.0.1:{far.port}"), identity, Onward()).serve
            return await speak(served, connect("logging.googleapis.com:443")), far.heads

    found, heads = asyncio.run(story())
    assert found.startswith(b"HTTP/1.1 502 ")  # it has no certificate, and never saw the identity
    assert heads == []
