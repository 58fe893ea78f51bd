"""The sample web service: what it shows, what it believes, its events, its WebSocket, its hostile cookies."""

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import httpx
import pytest
from websockets.sync.client import connect

from remit.lab.board import ASSERTION, Board
from remit.lab.http import Request, Response
from remit.lab.http_server import HttpServer
from remit.lab.jwt import SigningKey
from remit.lab.service import Clouds

KEY = SigningKey()
AUDIENCE = "board.service"


class World:
    """A board, and the keys that it believes in, on a loop of their own."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.asked, self.servers = 0, []
        self.keys = self.listen(self.publish)
        self.board = Board(prefix="/board", jwks=f"{self.keys}/keys", audience=AUDIENCE)
        self.url = f"{self.listen(self.board.handle)}/board"

    async def publish(self, request):
        self.asked += 1
        return Response(200, json.dumps({"keys": [KEY.public("remit")]}).encode())

    def listen(self, handler):
        server = asyncio.run_coroutine_threadsafe(HttpServer(handler).listen(), self.loop).result(10)
        self.servers.append(server)
        return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    def close(self):
        async def end():
            for server in self.servers:
                server.close()
            left = asyncio.all_tasks() - {asyncio.current_task()}
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
            await asyncio.sleep(0)

        asyncio.run_coroutine_threadsafe(end(), self.loop).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()

    def ask(self, method, path, **more):
        return httpx.request(method, self.url + path, trust_env=False, **more)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    made = World()
    yield made
    made.close()


def claims(**more):
    now = int(time.time())
    return {"sub": "dana@contoso.example", "aud": AUDIENCE, "iat": now, "exp": now + 60, **more}


def signed(**more):
    return {ASSERTION: KEY.sign(claims(**more))}


def test_it_shows_what_it_got_and_who_is_there(world):
    found = world.ask("POST", "/headers?q=%41", content=b"body", headers={"x-a": "1"}).json()
    assert (found["method"], found["target"], found["body"]) == ("POST", "/board/headers?q=%41", "body")
    assert found["headers"]["x-a"] == "1"
    assert world.board.calls[-1]["target"] == "/board/headers?q=%41"
    assert world.ask("GET", "/me", headers=signed()).json()["claims"]["sub"] == "dana@contoso.example"
    page = world.ask("GET", "/", headers=signed(name="Dana <Doe> & Co"))
    assert (page.headers["content-type"], "Dana &lt;Doe> &amp; Co" in page.text) == ("text/html; charset=utf-8", True)
    assert "nobody" in world.ask("GET", "/").text
    assert world.ask("GET", "/nothing").status_code == 404
    assert httpx.get(world.url.removesuffix("/board") + "/me", trust_env=False).status_code == 404
    assert world.asked == 1  # the keys are kept


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ({}, "no assertion"),
        (signed(aud="other.service"), "for another audience"),
        (signed(exp=int(time.time()) - 60), "not of this time"),
        (signed(iat=int(time.time()) + 3600), "not of this time"),
        ({ASSERTION: SigningKey().sign(claims())}, "unknown key"),
        ({ASSERTION: KEY.sign(claims())[:-6] + "AAAAAA"}, "wrong signature"),
        ({ASSERTION: f"{KEY.sign(claims())}, {KEY.sign(claims())}"}, "not three parts"),
    ],
)
def test_it_believes_nothing_else(world, headers, why):
    answer = world.ask("GET", "/me", headers=headers)
    assert (answer.status_code, answer.json()) == (401, {"error": why})


def test_a_form(world):
    answer = world.ask("POST", "/form", data={"note": "hello there"}, headers=signed())
    assert answer.json() == {"fields": {"note": "hello there"}, "who": "dana@contoso.example"}
    assert world.ask("GET", "/form").status_code == 405


def test_events_come_one_by_one(world):
    with httpx.stream("GET", f"{world.url}/events?count=3&pause=0.05", trust_env=False) as answer:
        assert answer.headers["content-type"] == "text/event-stream"
        times = [time.monotonic() for line in answer.iter_lines() if line.startswith("data: ")]
    assert len(times) == 3
    assert times[2] - times[0] > 0.08


def test_cookies_good_and_hostile(world):
    usual = world.ask("GET", "/cookies", headers={"cookie": "a=1"})
    assert usual.json() == {"cookies": "a=1"}
    assert [each.split("=")[0] for each in usual.headers.get_list("set-cookie")] == ["board", "theme"]
    hostile = world.ask("GET", "/cookies/hostile").headers.get_list("set-cookie")
    assert sum("host-remit" in each.lower() for each in hostile) == 4


def test_a_websocket_says_what_it_hears(world):
    url = world.url.replace("http://", "ws://") + "/socket"
    with connect(url, additional_headers=signed(), proxy=None) as socket:
        for said in ("hello", "ü" * 100, "x" * 70_000, b"\x00\xff"):
            socket.send(said)
            assert socket.recv(timeout=5) == said
        socket.send(["in ", "two"])
        assert socket.recv(timeout=5) == "in two"
        assert socket.ping().wait(5)
        socket.send("who")
        assert socket.recv(timeout=5) == "dana@contoso.example"
    with connect(url, proxy=None) as socket:
        socket.send("who")
        assert socket.recv(timeout=5) == "nobody"
    assert world.ask("GET", "/socket").status_code == 426


def test_a_message_too_long_ends_the_conversation(world):
    from websockets.exceptions import ConnectionClosed

    url = world.url.replace("http://", "ws://") + "/socket"
    with connect(url, proxy=None, compression=None) as socket:
        socket.send(["x" * 600_000, "x" * 600_000])
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=5)
    assert closed.value.rcvd.code == 1009


def test_the_lab_is_told_where_its_board_stands(tmp_path):
    clouds = Clouds(tmp_path)
    commands = clouds.commands()
    commands["board"]({"jwks": "", "audience": AUDIENCE, "prefix": "/board"})
    request = Request("GET", "h", "/board/headers", (), {}, b"", "/board/headers")
    assert asyncio.run(clouds.board.handle(request)).status == 200
    assert json.loads(commands["board_calls"](True))[0]["target"] == "/board/headers"
    assert commands["serving_calls"](True) == "[]"


def test_alone_on_a_port_of_its_own():
    command = [sys.executable, "-m", "remit.lab.board", "--prefix", "/b"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        url = process.stdout.readline().strip()
        assert httpx.get(f"{url}/b/me", trust_env=False).json() == {"error": "no assertion"}
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()
