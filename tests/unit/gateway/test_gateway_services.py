"""Services behind the gate, by every way to them: who they are told asks, what they see, what may stay open."""

import base64
import contextlib
import os
import re
import time
from pathlib import Path

import pytest

from remit.arbiter.streams import Streams
from remit.gateway.headers import SERVICE, SERVICE_WEBSOCKET

WAYS = ["folder", "tunnel", "endpoint"]
BOARD = "board.example.com"
PATH = "/apps/board/runs?x=%2F..%2F&y=https://z//"
WALKED = "/tensorflow.serving.PredictionService/Predict"
UPGRADE = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    f"Sec-WebSocket-Key: {base64.b64encode(b'0' * 16).decode()}\r\n"
)
EVENTS = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n6\r\ndata:1\r\n"
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello!"


def bearer(town, name="dana"):
    return f"Authorization: Bearer {town.issuer.token(name)}\r\n"


@pytest.mark.parametrize("way", WAYS)
def test_a_service_is_told_who_asks_and_nothing_else(town, way):
    answer = town.web_call(way, PATH, headers=bearer(town) + "Accept: a/b\r\nUser-Agent: me\r\n")
    assert (answer.status, answer.headers["x-upstream"]) == (200, "web")
    [asked] = town.arbiter.seen
    assert (asked.one("host"), asked.target) == ("board.service", "/check" + PATH)
    assert asked.one("x-remit-peer") == "127.0.0.1"
    [seen] = town.web.seen
    assert seen.target == PATH
    assert sorted(seen.headers) == [
        ("accept", "a/b"),
        ("host", town.board(way)),
        ("user-agent", "me"),
        ("x-forwarded-proto", "http" if way == "folder" else "https"),
        ("x-remit-assertion", "as.ser.tion"),
    ]


SPOOFED = (
    "X-Remit-Assertion", "X-Remit-Caller", "X-Remit-Peer", "X-Remit-Decision", "X-Remit-Job", "X-Forwarded-For",
    "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-User", "X-Forwarded-Email", "X-Forwarded-Prefix", "Forwarded", "X-Real-IP",
    "X-Original-URL", "X-Rewrite-URL", "X-HTTP-Method-Override", "X-Goog-Request-Reason", "X-Goog-IAP-JWT-Assertion",
    "X-Goog-Authenticated-User-Email", "X-Auth-Request-User", "X-Auth-Request-Email", "Remote-User", "X-Remote-User",
    "X-Webauth-User", "Kubeflow-Userid", "Cf-Access-Jwt-Assertion", "X-Pomerium-Jwt-Assertion", "X-Ms-Client-Principal",
    "X-Ms-Token-Aad-Id-Token", "Proxy-Authorization", "X-Envoy-Original-Path", "X-Api-Key", "X-User", "Via",
    "Destination", "Cookie2", "X-Remit-Assertions", "Authorizatio",
)  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.promise("V24")
def test_no_other_identity_survives(town, way):
    forged = "".join(f"{name}: forged\r\n" for name in SPOOFED)
    wanted = "Cookie: theme=dark; _xsrf=2\r\nX-XSRFToken: 2\r\nReferer: r\r\nOrigin: https://o\r\nRange: bytes=0-1\r\n"
    answer = town.web_call(way, "/apps/board/", headers=forged + wanted + bearer(town))
    assert answer.status == 200
    [seen] = town.web.seen
    assert {name for name, _ in seen.headers} <= {*SERVICE, "host", "x-remit-assertion"}
    assert not [value for _, value in seen.headers if "forged" in value]
    assert seen.all("x-remit-assertion") == ["as.ser.tion"]
    kept = {name: seen.one(name) for name in ("cookie", "x-xsrftoken", "referer", "origin", "range")}
    assert kept == {
        "cookie": "theme=dark; _xsrf=2", "x-xsrftoken": "2", "referer": "r", "origin": "https://o", "range": "bytes=0-1",
    }  # fmt: skip
    assert town.arbiter.seen[0].one("x-remit-peer") == "127.0.0.1"
    assert town.arbiter.seen[0].one("x-remit-job") is None


@pytest.mark.parametrize("way", WAYS)
def test_a_session_identifies_and_stays_here(town, way):
    answer = town.web_call(way, "/apps/board/x", headers="Cookie: a=1; __Host-remit=secret; b=2\r\n")
    assert answer.status == 200
    assert town.arbiter.seen[0].one("cookie") == "__Host-remit=secret"
    assert town.arbiter.seen[0].one("authorization") is None
    assert town.web.seen[0].one("cookie") == "a=1; b=2"


@pytest.mark.parametrize(
    "headers",
    [
        "Cookie: __Host-remit=a; __Host-remit=b\r\n",
        "Cookie: __Host-remit=a\r\nCookie: __Host-remit=b\r\n",
        "Cookie: __Host-remit=a\r\nAuthorization: Bearer {token}\r\n",
        "Authorization: Bearer {token}\r\nAuthorization: Bearer {token}\r\n",
    ],
)
@pytest.mark.parametrize("way", WAYS)
def test_two_identities_are_none(town, way, headers):
    answer = town.web_call(way, "/apps/board/", headers=headers.format(token=town.issuer.token()))
    assert answer.status in {400, 401}
    assert town.arbiter.seen == town.web.seen == []


@pytest.mark.parametrize("way", WAYS)
def test_a_browser_is_shown_the_way_to_sign_in(town, way):
    reply = town.arbiter.refuse(401, "token_missing", location="/sign-in?to=%2Fapps%2Fboard%2F")
    town.arbiter.answer = lambda _: reply
    answer = town.web_call(way, "/apps/board/", headers="Accept: text/html\r\n")
    assert (answer.status, answer.headers["location"]) == (303, "/sign-in?to=%2Fapps%2Fboard%2F")
    assert town.web.seen == []


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("headers", ["Cookie: __Host-remit=secret\r\n", "Accept: text/html\r\n", ""])
def test_an_arbiter_that_needs_longer_is_asked_again(town, way, headers):
    """Of a session, of nobody, of a token: four questions in all, and each says what the one before did."""
    refusal = town.arbiter.refuse()
    for times in (2, 9):
        town.arbiter.seen.clear()
        town.arbiter.answer = lambda _, times=times: (
            town.reply(503, {"x-remit-again": "1"}) if len(town.arbiter.seen) <= times else refusal
        )
        answer = town.web_call(way, f"/apps/board/{times}", headers=headers or bearer(town))
        assert (answer.status, len(town.arbiter.seen)) == ((403, 3) if times == 2 else (503, 4))
        assert [seen.one("x-remit-again") for seen in town.arbiter.seen] == ["1", "1", "1", None][: times + 1]
        assert len({(seen.target, seen.one("cookie"), seen.one("accept")) for seen in town.arbiter.seen}) == 1
        assert "x-remit-again" not in answer.headers
    assert town.web.seen == []


@pytest.mark.parametrize("way", WAYS)
def test_nobody_gets_through(town, way):
    assert town.web_call(way, "/apps/board/").status == 401
    assert town.web_call(way, "/apps/board/", headers="Authorization: Bearer a.b.c\r\n").status == 401
    assert town.web.seen == []


NO_PERMITS = {
    "a refusal": lambda town: town.arbiter.refuse(),
    "a cloud's permit": lambda town: town.reply(200, {**town.arbiter.vouch().headers, "authorization": "Bearer x"}),
    "no assertion": lambda town: town.reply(
        200, {"x-remit-decision": "d-1", "x-remit-lease-ms": "0", "x-remit-epoch": "0"}
    ),
    "garbage": lambda town: town.reply(raw=b"garbage"),
    "an empty permit": lambda town: town.reply(200),
    "an error": lambda town: town.reply(500),
}


@pytest.mark.parametrize("name", NO_PERMITS)
@pytest.mark.parametrize("way", WAYS)
def test_without_a_whole_permit_nothing_passes(town, way, name):
    reply = NO_PERMITS[name](town)
    town.arbiter.answer = lambda _: reply
    answer = town.web_call(
        way, f"/apps/board/{len(name)}", method="POST", headers=bearer(town, name.split()[-1]), body=b"x"
    )
    assert answer.status in {403, 503}
    assert town.web.seen == []


@pytest.mark.parametrize(
    "path",
    ["/apps/board", "/apps/boards/", "/apps/Board/", "/apps/", "//apps/board/", "/apps//board/", "/x/apps/board/"],
)
def test_a_folder_is_that_folder(town, path):
    assert town.web_call("folder", path, headers=bearer(town)).status == 404
    assert town.arbiter.seen == town.web.seen == []


AMBIGUOUS = [
    "..", ".", "../", "a/..", "a/../b", "./a", "a/./b", "/", "a//b", "a;b", ";", "..;/a", "%2e%2e/a", "a/%2E%2e", "a%2Fb", "a%5cb",
    "a%00", "a\\b", "a%252fb", "%25", "a%", "a%zz", "a#b", "a%2e",
]  # fmt: skip


@pytest.mark.parametrize("rest", AMBIGUOUS)
@pytest.mark.parametrize("way", WAYS)
def test_no_path_that_could_be_read_in_two_ways(town, way, rest):
    assert town.web_call(way, "/apps/board/" + rest, headers=bearer(town)).status == 400
    assert town.arbiter.seen == town.web.seen == []


@pytest.mark.parametrize("host", ["evil.example,x", "user@door", "door/x", "door:99999999", "", "a b", "door%00"])
def test_a_host_that_is_none(town, host):
    with town.web_connection("folder") as raw:
        request = f"GET /apps/board/ HTTP/1.1\r\nHost: {host}\r\n{bearer(town)}\r\n"
        assert town.send(request.encode(), connection=raw).status in {400, 404}
    assert town.web.seen == []


def test_remits_own_pages_are_as_they_were(town):
    """They pass no gate, get no assertion, keep their cookies, and learn who is connected."""
    cookie = "__Host-remit=s; Path=/; Secure"
    town.arbiter.answer = lambda _: town.reply(200, {"set-cookie": cookie, "clear-site-data": '"cookies"'})
    forged = "Cookie: __Host-remit=s\r\nX-Remit-Assertion: f\r\nX-Remit-Peer: 6.6.6.6\r\nX-Forwarded-For: 6\r\n"
    answer = town.web_call("folder", "/sign-in?to=/x", headers=forged)
    assert (answer.status, answer.headers["set-cookie"]) == (200, cookie)
    assert answer.headers["clear-site-data"] == '"cookies"'
    [seen] = town.arbiter.seen
    assert sorted(seen.headers) == [
        ("cookie", "__Host-remit=s"),
        ("host", town.board("folder")),
        ("x-remit-peer", "127.0.0.1"),
    ]
    assert seen.target == "/sign-in?to=/x"
    assert town.web_call("folder", "/other").status == 404


@pytest.mark.parametrize("way", WAYS)
def test_a_service_cannot_speak_for_remit(town, way):
    lines = [
        "HTTP/1.1 200 OK", "content-length: 2", "set-cookie: a=1; Path=/apps/board/", "set-cookie: __Host-remit=evil; Path=/; Secure",
        "set-cookie: __host-REMIT-x=evil", "set-cookie: b=2", "x-remit-reason: no_policy_permits", "x-remit-decision: d-1",
        "x-remit-assertion: x", "x-remit-upstream: iam", "alt-svc: h3", "service-worker-allowed: /", "connection: close",
    ]  # fmt: skip
    town.web.answer = lambda _: town.reply(raw="\r\n".join([*lines, "", "{}"]).encode())
    with town.web_connection(way) as connection:
        request = f"GET /apps/board/ HTTP/1.1\r\nHost: {town.board(way)}\r\n{bearer(town)}\r\n"
        connection.sendall(request.encode())
        connection.settimeout(5)
        said = b""
        while not said.endswith(b"{}"):
            said += connection.recv(4096)
    head = said.decode().lower()
    assert re.findall(r"set-cookie: (.*)\r", head) == ["a=1; path=/apps/board/", "b=2"]
    assert not re.search(r"x-remit|alt-svc", head)
    assert ("service-worker-allowed" in head) == (way != "folder")


def test_services_do_not_share_leases(town):
    town.arbiter.answer = lambda _: town.arbiter.vouch(500)
    token = town.issuer.token("lessee")
    for _ in range(2):
        for name in ("board", "model"):
            answer = town.web_call("folder", f"/apps/{name}/x", headers=f"Authorization: Bearer {token}\r\n")
            assert answer.status == 200
    assert sorted(seen.one("host") for seen in town.arbiter.seen) == ["board.service", "model.service"]
    assert len(town.web.seen) == 4


def test_access_events_of_a_folder(town):
    town.web_call("folder", "/apps/board/logged?secret=1", headers=bearer(town))
    town.web_call("folder", "/healthz?logged")
    deadline = time.monotonic() + 5
    while len(lines := {line.get("path"): line for line in town.log(0, "outer")}) < 2 or "/healthz" not in lines:
        assert time.monotonic() < deadline
    page, api = lines["/apps/board/logged"], lines["/healthz"]
    assert (page["decision"], page["asked"], page["peer"]) == ("d-01JD000000000000000000000A", True, "127.0.0.1")
    assert "decision" not in api


def test_a_service_behind_tls_shows_its_own_name_or_gets_nothing(town):
    assert town.web_call("folder", "/apps/secure/x", headers=bearer(town)).status == 200
    assert town.upstream.seen[0].one("x-remit-assertion") == "as.ser.tion"
    town.upstream.seen.clear()
    assert town.web_call("folder", "/apps/impostor/x", headers=bearer(town)).status == 503
    assert town.upstream.seen == []


@pytest.mark.parametrize("way", ["tunnel", "endpoint"])
def test_grpc_of_a_service(town, way):
    town.way = way
    token = town.issuer.token()
    assert town.rpc(b"\x0a\x01x", path="/any.Service/Call", token=token, host="echo.example.com") == b"\x0a\x01x"
    [asked], [seen] = town.arbiter.seen, town.upstream.seen
    assert (asked.one("host"), asked.target, asked.body) == ("echo.service", "/check/any.Service/Call", b"")
    assert (seen.all("authorization"), seen.all("x-remit-assertion")) == ([], ["as.ser.tion"])
    assert not seen.all("x-goog-request-reason")


@pytest.fixture(autouse=True)
def watch(town):
    """The real watch; `revoked` holds the decisions that no longer count."""
    revoked, asked = set(), []

    def find(decision):
        asked.append(decision)
        now = time.time()
        return {
            "decision": decision,
            "outcome": "permit",
            "at": int(now * 1e6),
            "expires": int(now) + 600,
            "principal": "p",
        }

    streams = Streams(find, lambda record, _: record["decision"] in revoked)

    async def begin():
        stack = contextlib.AsyncExitStack()
        await stack.enter_async_context(streams.listening(town.settings.streams_socket))
        return stack

    stack = town.loop.run(begin())
    streams.revoked, streams.asked = revoked, asked
    yield streams
    town.loop.run(stack.aclose())


@pytest.mark.parametrize("way", ["tunnel", "endpoint"])
def test_a_model_servers_message_is_decided_on(town, way):
    town.way = way
    message = town.message(f1="model", f2="input")
    assert town.rpc(message, path=WALKED, token=town.issuer.token(), host="model.example.com") == message
    [asked] = town.arbiter.seen
    assert (asked.one("host"), asked.one("x-remit-body")) == ("model.service", "whole")
    assert asked.body[5:] == message


def test_grpc_has_no_folder(town):
    headers = bearer(town) + "Content-Type: application/grpc\r\n"
    answer = town.web_call("folder", "/apps/model/x", method="POST", headers=headers, body=b"\0\0\0\0\0")
    assert answer.headers.get("grpc-status", "0") != "0" or answer.status == 404
    assert town.arbiter.seen == town.web.seen == town.upstream.seen == []


@pytest.mark.parametrize("way", ["tunnel", "endpoint"])
def test_a_web_application_gets_no_grpc(town, way):
    headers = bearer(town) + "Content-Type: application/grpc\r\n"
    town.web_call(way, "/a.B/C", method="POST", headers=headers, body=b"\0\0\0\0\0")
    assert town.arbiter.seen == town.web.seen == []


class Open:
    """One answer that stays open."""

    def __init__(self, town, way, token, *, websocket):
        self.connection = town.web_connection(way)
        self.connection.settimeout(10)
        more = UPGRADE if websocket else "Accept: text/event-stream\r\n"
        head = (
            f"GET /apps/board/open HTTP/1.1\r\nHost: {town.board(way)}\r\nAuthorization: Bearer {token}\r\n{more}\r\n"
        )
        self.connection.sendall(head.encode())
        self.head, end = b"", b"hello!" if websocket else b"data:1\r\n"
        while end not in self.head and (data := self.connection.recv(1000)):
            self.head += data

    def ended(self, within):
        """Whether it ends within so many seconds."""
        self.connection.settimeout(within)
        try:
            return self.connection.recv(100) == b""
        except TimeoutError:
            return False
        except OSError:
            return True


@pytest.mark.parametrize("kind", ["events", "websocket"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.promise("N10")
def test_what_is_open_ends_when_it_is_revoked(town, watch, way, kind):
    town.web.answer = lambda seen: town.reply(hold=SWITCHED if seen.one("upgrade") else EVENTS)
    town.arbiter.answer = lambda _: town.arbiter.vouch(**{"x-remit-decision": f"d-{way}{kind}"})
    one = Open(town, way, town.issuer.token(), websocket=kind == "websocket")
    with one.connection:
        assert one.head.startswith(b"HTTP/1.1 101" if kind == "websocket" else b"HTTP/1.1 200")
        assert watch.asked == [f"d-{way}{kind}"]
        [seen] = town.web.seen
        assert {name for name, _ in seen.headers} <= {*SERVICE_WEBSOCKET, *SERVICE, "host", "x-remit-assertion"}
        assert (seen.one("authorization"), seen.one("x-remit-assertion")) == (None, "as.ser.tion")
        if kind == "websocket":
            one.connection.sendall(b"ping")
            assert one.connection.recv(100) == b"ping"
        assert not one.ended(0.5)
        watch.revoked.add(f"d-{way}{kind}")
        assert one.ended(5)


@pytest.mark.parametrize(
    ("path", "upgrade"),
    [
        ("/apps/model/x", "websocket"),
        ("/apps/board/x", "tls, websocket"),
        ("/healthz", "websocket"),
        ("/nowhere", "websocket"),
    ],
)
def test_other_upgrades_are_refused(town, path, upgrade):
    headers = bearer(town) + UPGRADE.replace("websocket", upgrade, 1)
    assert town.web_call("folder", path, headers=headers).status in {400, 403, 404}
    assert town.web.seen == []


def test_no_upgrade_to_http2_without_tls(town):
    """Envoy's codec drops that header, and the answer is a plain one's."""
    headers = bearer(town) + "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
    assert town.web_call("folder", "/apps/board/x", headers=headers).status == 200
    assert not {"upgrade", "connection", "http2-settings"} & {name for name, _ in town.web.seen[0].headers}


def memory(town):
    """What Envoy holds, in bytes (proc_pid_statm(5))."""
    return int(Path(f"/proc/{town.envoy.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("way", WAYS)
def test_an_upload_that_nobody_takes_is_not_held(town, way):
    """200 MB towards a service that reads nothing: the caller has to wait, and Envoy keeps a few of them."""
    before = memory(town)
    host = town.board(way).replace("board", "deaf")
    with town.web_connection(way, "deaf.example.com") as connection:
        head = f"PUT /apps/deaf/big HTTP/1.1\r\nHost: {host}\r\n{bearer(town)}Content-Length: 200000000\r\n\r\n"
        connection.sendall(head.encode())
        connection.settimeout(1)
        sent = 0
        with contextlib.suppress(TimeoutError):
            while sent < 200_000_000:
                sent += connection.send(b"x" * 65536)
        assert 0 < sent < 60_000_000
        assert memory(town) - before < 40_000_000


@pytest.mark.parametrize("way", WAYS)
def test_a_large_upload_streams_through(town, way):
    before, size = memory(town), 60_000_000
    town.web.answer = lambda seen: town.reply(body=str(len(seen.body)).encode())
    headers = bearer(town) + "Content-Type: application/octet-stream\r\nExpect: 100-continue\r\n"
    with town.web_connection(way) as connection:
        lines = f"PUT /apps/board/big HTTP/1.1\r\nHost: {town.board(way)}\r\n{headers}Content-Length: {size}\r\n\r\n"
        connection.sendall(lines.encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 100")
        answer = town.send(b"x" * size, connection=connection)
    assert (answer.status, answer.body) == (200, str(size).encode())
    assert memory(town) - before < 40_000_000
    assert town.arbiter.seen[0].body == b""


def test_grpc_of_many_messages_passes(town, watch):
    """Of a service nobody says which methods stream: all may, and all are watched."""
    town.way = "tunnel"
    with town.channel("echo.example.com") as channel:
        call = channel.stream_unary("/any.Service/Upload")
        call(iter([b"a", b"b"]), metadata=(("authorization", f"Bearer {town.issuer.token()}"),), timeout=10)
    assert town.arbiter.seen[0].one("host") == "echo.service"
    assert len(watch.asked) == 1
