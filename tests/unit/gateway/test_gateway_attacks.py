"""What one caller, or one service, tried against another, each as it was found: whoever did it gets nothing of it."""

import base64
import contextlib
import time

import grpc
import pytest

pytestmark = pytest.mark.usefixtures("watched")
WAYS = ["folder", "tunnel", "endpoint"]
BOARD = "board.example.com"
VERTEX = "us-central1-aiplatform.googleapis.com"
UPGRADE = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    f"Sec-WebSocket-Key: {base64.b64encode(b'0' * 16).decode()}\r\n"
)


def bearer(town, name="dana"):
    return f"Authorization: Bearer {town.issuer.token(name)}\r\n"


@pytest.mark.parametrize("way", WAYS)
def test_a_session_is_a_cookie_and_nothing_else(town, way):
    """Its lease had a key that a header could spell: a script could use a session without the cookie's protection."""
    town.arbiter.answer = lambda _: town.arbiter.vouch(500)
    path = f"/apps/board/session-{way}"
    assert town.web_call(way, path, headers="Cookie: __Host-remit=secret\r\n").status == 200
    for scheme in ("Session", "session", "nobody"):
        answer = town.web_call(way, path, headers=f"Authorization: {scheme} secret\r\n")
        assert (answer.status, answer.reason) == (401, "token_malformed")
    assert len(town.web.seen) == 1


@pytest.mark.parametrize("way", WAYS)
def test_nobody_can_answer_for_others_who_are_nobody(town, way):
    """What was refused to a header `Nobody` was, for a moment, refused to every browser behind that address."""
    town.arbiter.answer = lambda _: town.arbiter.refuse(401, "token_missing", location="/sign-in?to=x")
    path, page = f"/apps/board/nobody-{way}", "Accept: text/html\r\n"
    for _ in range(3):
        assert town.web_call(way, path, headers=page + "Authorization: Nobody\r\n").status == 401
        assert town.web_call(way, path, headers=page).status == 303


def test_an_origin_that_says_nothing_is_not_none(town):
    town.arbiter.answer = lambda _: town.arbiter.vouch(500)
    session = "Cookie: __Host-remit=secret\r\n"
    for origin in ("", "Origin:\r\n", "Origin: null\r\n", "Origin: https://evil.example\r\n"):
        town.web_call("folder", "/apps/board/origin", headers=session + origin)
    assert [seen.one("origin") for seen in town.arbiter.seen] == [None, "", "null", "https://evil.example"]


BODIES = {
    "with a length": b"Content-Length: 4\r\n\r\nevil",
    "in chunks": b"Transfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("form", BODIES)
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
@pytest.mark.parametrize("way", WAYS)
def test_who_only_reads_sends_no_body(town, way, method, form):
    """A server that leaves it lying reads it as the next request, on a connection that others share."""
    town.arbiter.answer = lambda _: town.arbiter.vouch(500)
    path, token = f"/apps/board/body-{way}", bearer(town)
    assert town.web_call(way, path, method=method, headers=token).status == 200
    head = f"{method} {path} HTTP/1.1\r\nHost: {town.board(way)}\r\n{token}".encode()
    with town.web_connection(way) as connection:
        assert town.send(head + BODIES[form], connection=connection).status == 400
    assert len(town.web.seen) == 1


def test_nor_does_who_reads_at_a_model_server(town):
    town.arbiter.answer = lambda _: town.arbiter.vouch(500)
    path, token = "/apps/model/v1/models/m", bearer(town)
    for body, status in ((b"", 200), (b"evil", 400), (b"", 200)):
        assert town.web_call("folder", path, headers=token, body=body).status == status
    assert [seen.body for seen in town.web.seen] == [b"", b""]
    assert len(town.arbiter.seen) == 1


@pytest.mark.parametrize("host", ["model.example.com", VERTEX])
@pytest.mark.parametrize("way", ["tunnel", "endpoint"])
def test_an_answers_trailers_do_not_speak_for_remit(town, way, host):
    forged = ("x-remit-reason", "x-remit-upstream", "x-remit-decision", "x-remit-assertion", "set-cookie")

    def unary(_, context):
        context.set_trailing_metadata((*((name, "__Host-remit=f") for name in forged), ("kept", "1")))
        return b"answer"

    town.way = way
    usual = town.upstream.calls.service
    town.upstream.calls.service = lambda _: grpc.unary_unary_rpc_method_handler(unary)
    town.arbiter.answer = lambda _: town.arbiter.permitted() if host == VERTEX else town.arbiter.vouch()
    try:
        with town.channel(host) as channel:
            metadata = (("authorization", f"Bearer {town.issuer.token()}"),)
            said, call = channel.unary_unary("/any.Service/Call").with_call(b"\x0a\x01x", metadata=metadata, timeout=10)
    finally:
        town.upstream.calls.service = usual
    assert said == b"answer"
    assert [(key, value) for key, value in call.trailing_metadata()] == [("kept", "1")]


COOKIES = [
    b"__Host-remit=\xff", b"\xa0__Host-remit=f", b"\x85__Host-remit=f", b"\xc2\xa0__Host-remit=f", b"\xef\xbb\xbf__Host-remit=f",
    b"\t __HOST-Remit=f", b"==__Host-remit=f", b'"__Host-remit"=f', b"; __Host-remit=f", b"__Host-remit-flow=f", b"__Host-remit",
]  # fmt: skip


@pytest.mark.parametrize("cookie", COOKIES)
@pytest.mark.parametrize("way", WAYS)
def test_no_spelling_of_remits_cookies_comes_from_a_service(town, way, cookie):
    head = (
        b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nset-cookie: a=\xff\r\nset-cookie: " + cookie + b"; Path=/; Secure\r\n"
    )
    town.web.answer = lambda _: town.reply(raw=head + b"connection: close\r\n\r\n")
    answer = town.web_call(way, "/apps/board/x", headers=bearer(town))
    assert (answer.status, answer.headers["set-cookie"]) == (200, "a=\xff")


@pytest.mark.parametrize("way", WAYS)
def test_an_early_hint_sets_no_cookie(town, way):
    for status in ("100 Continue", "102 Processing", "103 Early Hints"):
        hint = f"HTTP/1.1 {status}\r\nset-cookie: __Host-remit=f\r\nx-remit-reason: f\r\n\r\n".encode()
        said = hint + b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        town.web.answer = lambda _, said=said: town.reply(raw=said)
        with town.web_connection(way) as connection:
            request = f"GET /apps/board/x HTTP/1.1\r\nHost: {town.board(way)}\r\n{bearer(town)}\r\n"
            connection.sendall(request.encode())
            assert b"remit" not in connection.recv(4096).lower()


@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_smuggled_behind_a_websocket_that_did_not_open(town, way):
    """The application answers as to any GET; what came right behind must not be its next request."""
    second = "POST /apps/board/admin HTTP/1.1\r\nHost: x\r\nX-Remit-Assertion: f\r\nContent-Length: 0\r\n\r\n"
    for more in ("", f"Content-Length: {len(second)}\r\n"):
        town.web.seen.clear()
        town.web.answer = lambda _: town.reply(200, delay=0.2)
        head = f"GET /apps/board/x HTTP/1.1\r\nHost: {town.board(way)}\r\n{bearer(town)}{UPGRADE}{more}\r\n"
        with town.web_connection(way) as connection:
            connection.sendall((head + second).encode())
            connection.settimeout(1)
            said = b""
            with contextlib.suppress(OSError):
                while data := connection.recv(4096):
                    said += data
        assert said.startswith(b"HTTP/1.1 200")
        assert said.count(b"HTTP/1.1 ") == 1
        assert [seen.target for seen in town.web.seen] == ["/apps/board/x"]


@pytest.mark.parametrize("other", [BOARD, BOARD.upper(), f"{BOARD}:443", "evil.example", VERTEX])
def test_a_connection_to_one_name_leads_to_no_other(town, other):
    """All names share one certificate, so that a client may think that it can (RFC 9113 section 9.1.1)."""
    mine = "us-central1-aiplatform.gateway.example.com"
    options = [
        ("grpc.ssl_target_name_override", mine),
        ("grpc.default_authority", other),
        ("grpc.enable_http_proxy", 0),
    ]
    target = f"127.0.0.1:{town.settings.endpoint.listen_port}"
    credentials = grpc.ssl_channel_credentials(town.envoy.authority.read_bytes())
    metadata = (("authorization", f"Bearer {town.issuer.token()}"),)
    with grpc.secure_channel(target, credentials, options=options) as channel:
        call = channel.unary_unary("/a.B/C")
        with pytest.raises(grpc.RpcError):
            call(b"\x0a\x01x", metadata=metadata, timeout=5)
    time.sleep(0.05)
    assert town.arbiter.seen == town.upstream.seen == town.web.seen == []
