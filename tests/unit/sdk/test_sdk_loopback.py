"""The doors on loopback: whose process knocks, and what a head may look like."""

import asyncio
import os
import socket

import pytest

from remit.sdk import loopback, peers
from remit.sdk.loopback import Door, Head, read_head, read_status, reply, same


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as found:
        yield found


def test_the_owner_of_a_connection(listener):
    with socket.create_connection(listener.getsockname()) as client:
        assert peers.owner(client.getsockname(), listener.getsockname()) == os.getuid()
        assert peers.owner(("127.0.0.1", 1), listener.getsockname()) is None


@pytest.mark.allow_hosts(["::ffff:127.0.0.1"])
def test_the_owner_of_a_dual_stack_connection(listener):
    with socket.socket(socket.AF_INET6) as client:
        client.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        client.connect(("::ffff:127.0.0.1", listener.getsockname()[1]))
        with listener.accept()[0] as accepted:
            assert peers.owner(accepted.getpeername(), accepted.getsockname()) == os.getuid()


def test_the_kernel_says_the_same_when_asked_and_in_its_list(listener, monkeypatch):
    with socket.create_connection(listener.getsockname()) as client:
        assert peers.owner(client.getsockname(), listener.getsockname(), ()) == os.getuid()  # asked alone
        monkeypatch.delattr(socket, "AF_NETLINK")
        assert peers.owner(client.getsockname(), listener.getsockname()) == os.getuid()  # its list alone
        assert peers.owner(client.getsockname(), listener.getsockname(), ()) is None


@pytest.mark.parametrize("listed", [False, True])
def test_an_end_that_was_closed_is_nobodys_though_the_kernel_lists_it_as_roots(listener, monkeypatch, listed):
    client = socket.create_connection(listener.getsockname())
    with listener.accept()[0] as accepted:
        client.close()
        if listed:
            monkeypatch.delattr(socket, "AF_NETLINK")
        assert peers.owner(accepted.getpeername(), accepted.getsockname()) is None


def test_a_listener_with_the_clients_port_is_not_the_client(listener):
    with socket.create_server(("127.0.0.1", 0)) as other:
        assert peers.owner(listener.getsockname(), other.getsockname()) is None


def test_a_kernel_without_a_table_knows_nobody(tmp_path):
    table = tmp_path / "tcp"
    head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
    row = "   0: 0100007F:{} 0100007F:0050 01 00000000:00000000 00:00000000 00000000  {}        0 1 1 0 20 4 0 10 -1\n"
    table.write_text(head + row.format("0001", 7) + row.format("0002", 8))
    tables = (tmp_path / "none", table)
    assert peers.owner(("127.0.0.1", 2), ("127.0.0.1", 80), tables) == 8
    assert peers.owner(("127.0.0.1", 80), ("127.0.0.1", 2), tables) is None  # the server's end is not the client's
    assert peers.owner(("127.0.0.2", 2), ("127.0.0.1", 80), tables) is None


def ask(raw, owner=peers.owner, serve=None):
    """What a door answers to these bytes; the heads that it served."""
    served = []

    async def echo(head, reader, writer):
        served.append(head)
        writer.write(reply(200, b"ok"))
        return head.header("connection") != "close"

    async def story():
        door = Door(serve or echo, owner)
        await door.open()
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        writer.write(raw)
        writer.write_eof()
        answer = await asyncio.wait_for(reader.read(), 5)
        writer.close()
        await door.close()
        return answer

    return asyncio.run(story()), served


def test_a_door_serves_its_own_user():
    answer, served = ask(
        b"GET /a HTTP/1.1\r\nX-A:  b \r\n\r\nGET /b HTTP/1.1\r\nConnection: close\r\n\r\nGET /c HTTP/1.1\r\n\r\n"
    )
    assert answer == reply(200, b"ok") * 2
    assert [head.target for head in served] == ["/a", "/b"]
    assert served[0].header("x-a") == "b"
    assert served[0].header("x-b") is None


def test_whether_the_kernel_tells(tmp_path):
    assert peers.tells((tmp_path / "none", tmp_path)) is True
    assert peers.tells((tmp_path / "none",)) is False


def test_where_the_kernel_does_not_tell_the_secret_has_to_do():
    assert Door(None, lambda client, server: None, lambda: False)._ours(Known())
    assert not Door(None, lambda client, server: None, lambda: True)._ours(Known())


class Known:
    def get_extra_info(self, name):
        return ("127.0.0.1", 1)


def test_secrets_are_compared_whole():
    assert same("geheim", "geheim")
    assert not any(same(offered, "geheim") for offered in ("", "geheim ", "gehei", "GEHEIM", "gehe\u0456m", "\udc80"))


def test_a_body_is_no_second_request():
    body = b"GET /b HTTP/1.1\r\n\r\n"
    for header in (b"Content-Length: %d" % len(body), b"Transfer-Encoding: chunked"):
        answer, served = ask(b"GET /a HTTP/1.1\r\n" + header + b"\r\n\r\n" + body)
        assert [head.target for head in served] == ["/a"]
        assert answer == reply(200, b"ok")


def _fails(client, server):
    raise PermissionError


@pytest.mark.parametrize("owner", [lambda client, server: os.getuid() + 1, lambda client, server: None, _fails])
def test_a_door_refuses_everybody_else(owner):
    answer, served = ask(b"GET /a HTTP/1.1\r\n\r\n", owner)
    assert answer.startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert not served


@pytest.mark.promise("T10")
def test_strangers_who_say_nothing_take_few_places():
    """Else another user of the host could hold all that this process may open, and the run would have no tokens."""
    whose = [os.getuid() + 1]

    async def story():
        door = Door(None, lambda client, server: whose[0])
        await door.open()
        silent = [await asyncio.open_connection("127.0.0.1", door.port) for _ in range(60)]
        ends = [asyncio.create_task(reader.read()) for reader, _ in silent]
        held = set(ends)
        while len(held) > loopback._STRANGERS:
            done, held = await asyncio.wait(held, return_when=asyncio.FIRST_COMPLETED)
            assert {end.result() for end in done} == {b""}
        assert len(held) == loopback._STRANGERS
        silent[ends.index(next(iter(held)))][1].write(b"GET / HTTP/1.1\r\n\r\n")
        told, _ = await asyncio.wait(held, return_when=asyncio.FIRST_COMPLETED)
        assert told.pop().result().startswith(b"HTTP/1.1 403 ")
        for _, writer in silent:
            writer.close()
        await door.close()
        await asyncio.gather(*ends, return_exceptions=True)
        assert door._strangers == 0

    asyncio.run(story())


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET /a b HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\n",
        b"\x16\x03\x01" * 100,
        b"GET / HTTP/1.1\r\na: " + b"x" * (40 << 10) + b"\r\n\r\n",
    ],
)
def test_what_is_no_head_is_not_answered(raw):
    answer, served = ask(raw)
    assert answer == b""
    assert not served


def fed(raw):
    async def story(read):
        reader = asyncio.StreamReader()
        reader.feed_data(raw)
        reader.feed_eof()
        return await read(reader)

    return story


def test_a_head_is_read_as_it_stands():
    head = asyncio.run(fed(b"CONNECT h:443 HTTP/1.1\r\nA: 1\r\na: 2\r\n\r\n")(read_head))
    assert head == Head("CONNECT", "h:443", (("a", "1"), ("a", "2")))
    assert head.header("a") == "1"


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"HTTP/1.1 200 Connection established\r\n\r\n", 200),
        (b"HTTP/1.1 200 OK\r\na: b\r\n\r\n", 200),
        (b"HTTP/1.0 200\r\n\r\n", 200),
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", 407),
    ],
)
def test_a_proxy_s_answer(raw, status):
    assert asyncio.run(fed(raw)(read_status)) == status


@pytest.mark.parametrize("raw", [b"\r\n\r\n", b"HTTP/2 200\r\n\r\n", b"HTTP/1.1 2000\r\n\r\n", b"SSH-2.0-x\r\n\r\n"])
def test_what_is_no_proxy_s_answer(raw):
    with pytest.raises(ConnectionError):
        asyncio.run(fed(raw)(read_status))


def test_silence_is_not_waited_for_long(monkeypatch):
    monkeypatch.setattr(loopback, "_PATIENCE", 0.05)

    async def story():
        with pytest.raises(TimeoutError):
            await read_head(asyncio.StreamReader())

    asyncio.run(story())


def test_a_door_that_closes_ends_what_is_open():
    async def waits(head, reader, writer):
        await asyncio.sleep(60)
        return False

    async def story():
        door = Door(waits)
        await door.close()  # never opened
        await door.open()
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        await asyncio.sleep(0.05)
        await door.close()
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()
        with pytest.raises(ConnectionError):
            await asyncio.open_connection("127.0.0.1", door.port)

    asyncio.run(story())


def test_a_client_that_is_gone_before_anybody_looked():
    class Gone:
        def get_extra_info(self, name):
            return None

    assert not Door(None)._ours(Gone())
