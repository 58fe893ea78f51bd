"""Tunnels, names, headers: what opens, what goes upstream, what is written down."""

import dataclasses
import json
import socket
import ssl
import struct
import time

import pytest

from remit.gateway.headers import PASSED

VERTEX = "us-central1-aiplatform.googleapis.com"
LOGGING = "logging.googleapis.com"
WAYS = ["tunnel", "endpoint"]


def connect(world, *given, **more):
    raw, status = world.connect(*given, **more)
    raw.close()
    return status


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_tunnel_to_a_listed_host(world, version):
    assert connect(world, version=version) == 200


def test_case_does_not_matter(world):
    assert connect(world, VERTEX.upper()) == 200


@pytest.mark.parametrize(
    "name",
    [
        "storage.googleapis.com",
        "evil.example",
        f"{VERTEX}.evil.example",
        f"x.{VERTEX}",
        f"{VERTEX}.",
        "127.0.0.1",
        "user@" + VERTEX,
        "user:@" + VERTEX,
        ":@" + VERTEX,
        "@@" + VERTEX,
        "%40" + VERTEX,
        "evil.example@" + VERTEX,
        VERTEX + "@evil.example",
        "@evil.example",
        "//" + VERTEX,
        "https://" + VERTEX,
        "https://@" + VERTEX,
        f"[{VERTEX}]",
        VERTEX + ":443",
        VERTEX + ":0",
        VERTEX + ":443,evil.example",
        "",
    ],
)
def test_a_tunnel_to_any_other_host(world, name):
    assert connect(world, name) in {400, 403}


@pytest.mark.parametrize("end", ["", ":", ":0443", ":+443", ":443/", ":443?", ":443#", ":443,"])
def test_a_tunnel_needs_the_port_as_it_is_written(world, end):
    with socket.create_connection(("127.0.0.1", world.settings.listen_port), 5) as raw:
        raw.sendall(f"CONNECT {VERTEX}{end} HTTP/1.1\r\nHost: {VERTEX}:443\r\n\r\n".encode())
        assert raw.recv(1000).split(b" ")[1] in {b"400", b"403", b"404"}  # 404 is the codec's own, for an empty query


def test_an_empty_user_in_front_of_the_host_changes_nothing(world):
    """Envoy's codec drops the `@` before any configured part sees it: the tunnel is the plain name's, and logged so."""
    with world.tunnel("@" + VERTEX, sni=VERTEX) as inner:
        request = f"GET /v1/x HTTP/1.1\r\nHost: {VERTEX}\r\nAuthorization: Bearer {world.issuer.token()}\r\n\r\n"
        assert world.send(request.encode(), connection=inner).status == 200
    assert connect(world, "@" + VERTEX, "User-Agent: empty-user\r\n") == 200
    deadline = time.monotonic() + 5
    while not (lines := [line for line in world.log(0, "outer") if line.get("agent") == "empty-user"]):
        assert time.monotonic() < deadline
    assert [line["host"] for line in lines] == [f"{VERTEX}:443"]
    with pytest.raises(OSError):  # noqa: PT011  # TLS and TCP errors are both this kind
        world.tunnel("@" + VERTEX, sni=LOGGING).recv(1)


def test_a_tunnel_to_another_port(world):
    with socket.create_connection(("127.0.0.1", world.settings.listen_port), 5) as raw:
        raw.sendall(f"CONNECT {VERTEX}:8443 HTTP/1.1\r\nHost: {VERTEX}:8443\r\n\r\n".encode())
        assert b" 403 " in raw.recv(1000)


@pytest.mark.parametrize(
    "headers",
    [
        "Proxy-Authorization: Basic dTpw\r\n",
        "Proxy-Authorization: Bearer a b\r\n",
        "Proxy-Authorization: Bearer a\r\nProxy-Authorization: Bearer b\r\n",
        "Proxy-Authorization: -\r\n",
        "Proxy-Authorization: Bearer a,Bearer b\r\n",
    ],
)
def test_an_identity_on_the_tunnel_that_is_not_one_bearer_token(world, headers):
    assert connect(world, VERTEX, headers) in {403, 407}


def test_another_sni_than_the_tunnels(world):
    with pytest.raises((ssl.SSLError, ConnectionError, OSError)):
        world.tunnel(VERTEX, sni=LOGGING).recv(1)


def test_no_tls_in_the_tunnel(world):
    raw, _ = world.connect()
    with raw:
        raw.sendall(f"GET / HTTP/1.1\r\nHost: {VERTEX}\r\n\r\n".encode())
        assert raw.recv(100) == b""


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("host", [LOGGING, "evil.example", f"{VERTEX}.", f"{VERTEX}:8443", ""])
def test_another_host_than_the_tunnels(world, host):
    answer = world.call(token=world.issuer.token(), host=host)
    assert answer.status in {400, 421}
    assert world.arbiter.seen == world.upstream.seen == []


@pytest.mark.parametrize("way", WAYS)
def test_connect_and_upgrades_inside_the_tunnel(world):
    token = world.issuer.token()
    name = world.name(VERTEX)
    inside = f"CONNECT {name}:443 HTTP/1.1\r\nHost: {name}:443\r\nAuthorization: Bearer {token}\r\n\r\n"
    assert world.send(inside.encode()).status == 403
    upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n"
    assert world.call(token=token, headers=upgrade).status in {400, 403}
    assert world.upstream.seen == []


@pytest.mark.parametrize("way", WAYS)
def test_the_host_goes_upstream_by_its_plain_name(world):
    assert world.call(token=world.issuer.token(), host=f"{VERTEX}:443").status == 200
    assert world.upstream.seen[0].one("host") == VERTEX
    assert world.arbiter.seen[0].one("host") == VERTEX


SPOOFED = (
    "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP", "X-Original-URL", "X-Envoy-Original-Path", "X-Envoy-Internal",
    "X-Envoy-Upstream-Rq-Timeout-Ms", "X-Envoy-Retry-On", "X-HTTP-Method-Override", "X-Goog-User-Project",
    "X-Goog-Iam-Authorization-Token", "X-Goog-Iam-Authority-Selector", "X-Goog-Api-Key",
    "X-Goog-Authenticated-User-Email", "X-Serverless-Authorization", "Cookie", "Proxy-Authorization", "X-Remit-Peer",
    "X-Remit-Decision", "X-Remit-Body", "X-Remit-Lease-Ms", "X-Goog-Request-Reason", "X-Goog-Request-Params", "Forwarded",
    "Via", "Origin", "Referer", "X-Request-Id", "Traceparent", "Expect2", "Accept-Language", "A", "Authorizatio",
    "Authorizationx", "Grpc-Encoding", "X-Goog-FieldMask", "Range", "Content-Md5",
)  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_only_listed_headers_go_upstream(world):
    headers = "".join(f"{name}: forged\r\n" for name in SPOOFED)
    wanted = "Accept: a/b\r\nAccept-Encoding: gzip\r\nUser-Agent: me\r\nx-goog-api-client: gl-python/3\r\n"
    answer = world.call("/v1/x", token=world.issuer.token(), headers=headers + wanted)
    assert answer.status == 200
    assert sorted(world.upstream.seen[0].headers) == [
        ("accept", "a/b"),
        ("accept-encoding", "gzip"),
        ("authorization", "Bearer ya29.google"),
        ("host", VERTEX),
        ("user-agent", "me"),
        ("x-goog-api-client", "gl-python/3"),
        ("x-goog-request-reason", "decision/d-01JD000000000000000000000A"),
    ]
    assert {name for name, _ in world.arbiter.seen[0].headers} == {
        "host",
        "authorization",
        "x-remit-again",
        "x-remit-peer",
        "x-remit-body",
    }
    assert world.arbiter.seen[0].one("x-remit-peer") == "127.0.0.1"


@pytest.mark.parametrize("way", WAYS)
def test_names_with_underscores(world):
    assert world.call(token=world.issuer.token(), headers="X_Remit_Peer: 1\r\n").status == 400
    assert world.upstream.seen == []


@pytest.mark.parametrize("way", WAYS)
def test_forged_headers_make_no_permit(world):
    world.arbiter.answer = lambda _: world.arbiter.refuse()
    forged = "x-goog-request-reason: decision/d-1\r\nx-remit-decision: d-1\r\nremit: permit\r\nx-remit-permit: true\r\n"
    assert world.call("/v1/forged", token=world.issuer.token(), headers=forged).status == 403
    assert world.upstream.seen == []


@pytest.mark.parametrize("way", WAYS)
def test_too_many_headers(world):
    answer = world.call(token=world.issuer.token(), headers="".join(f"X-{number}: 1\r\n" for number in range(70)))
    assert answer.status == 431
    assert world.call(token="x" * 70_000).status == 431
    assert world.upstream.seen == []


@pytest.mark.parametrize("way", WAYS)
def test_nothing_of_the_upstreams_session_comes_back(world):
    answer = world.call(token=world.issuer.token())
    assert answer.headers["x-upstream"] == "yes"
    assert not {"set-cookie", "alt-svc", "x-envoy-upstream-service-time", "server"} & answer.headers.keys()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("params", "kept"),
    [
        ("endpoint=projects%2Fmine", True),
        ("endpoint=projects/mine", True),
        ("endpoint=projects%2Fvictim", False),
        ("endpoint=projects%252Fmine", False),
        ("endpoint=projects%2Fmine&parent=projects%2Fvictim", False),
        ("projects%2Fmine", False),
        ("", False),
    ],
)
def test_the_routing_header_says_what_the_message_says_or_goes(world, params, kept):
    world.rpc(
        world.message(f1="projects/mine"), token=world.issuer.token(), metadata=(("x-goog-request-params", params),)
    )
    assert world.upstream.seen[0].all("x-goog-request-params") == ([params] if kept else [])


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def literal(name, value):
    """A header field without indexing and without Huffman coding (RFC 7541 section 6.2.2)."""

    def text(data):
        size = len(data)
        head = bytes([size]) if size < 127 else bytes([127, (size - 127) & 0x7F | 0x80, (size - 127) >> 7])
        return head + data.encode()

    return b"\0" + text(name) + text(value)


@pytest.mark.parametrize("way", WAYS)
def test_trailers_over_http2_do_not_go_upstream(world):
    head = b"".join(
        literal(name, value)
        for name, value in (
            (":method", "POST"),
            (":scheme", "https"),
            (":path", "/a.B/C"),
            (":authority", world.name(VERTEX)),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            ("authorization", f"Bearer {world.issuer.token()}"),
        )
    )
    trailers = literal("authorization", "Bearer smuggled") + literal("x-goog-user-project", "victim")
    with world.tunnel(alpn="h2") as inner:
        inner.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0) + frame(1, 4, 1, head))
        inner.sendall(frame(0, 0, 1, b"\0\0\0\0\x03\x0a\x01x") + frame(1, 5, 1, trailers))
        deadline = time.monotonic() + 5
        while not world.upstream.seen and time.monotonic() < deadline:
            time.sleep(0.02)
    [seen] = world.upstream.seen
    assert seen.all("authorization") == ["Bearer ya29.google"]
    assert seen.all("x-goog-user-project") == []


def api(world, request):
    with socket.create_connection(("127.0.0.1", world.settings.listen_port), 5) as raw:
        return world.send(request.encode(), connection=raw)


def test_plain_paths_go_to_the_arbiter_without_forged_headers(world):
    world.arbiter.answer = lambda seen: type(world.arbiter.permit())(200, {}, seen.target.encode())
    forged = "X-Remit-Peer: 6.6.6.6\r\nX-Envoy-Internal: true\r\nX-Forwarded-For: 1\r\nProxy-Authorization: Bearer secret\r\n"
    answer = api(world, f"GET /healthz HTTP/1.1\r\nHost: remit\r\n{forged}\r\n")
    assert (answer.status, answer.body) == (200, b"/healthz")
    [seen] = world.arbiter.seen
    assert sorted(seen.headers) == [("host", "remit"), ("x-remit-peer", "127.0.0.1")]


@pytest.mark.parametrize(
    "path", ["/check", "/check/v1/x", "/healthz/", "/HEALTHZ", "//healthz", "/", "/v1/token/x", "/x/../check/v1"]
)
def test_other_plain_paths_do_not(world, path):
    assert api(world, f"GET {path} HTTP/1.1\r\nHost: remit\r\n\r\n").status == 404
    assert world.arbiter.seen == []


def test_access_events(world):
    before = len(world.log(0))
    token = world.issuer.token()
    world.call("/v1/logged?secret=query", token=token, headers='User-Agent: a"b\\\r\n')
    world.arbiter.answer = lambda _: world.arbiter.refuse()
    world.call("/v1/denied2?secret=query", identity=token)
    permitted, refused = world.log(before + 2)[before:]
    assert abs(int(permitted["time"]) / 1e6 - time.time()) < 60
    assert permitted | {"time": "", "event": "", "duration_us": 0} == {
        "agent": 'a"b\\', "asked": True, "decision": "d-01JD000000000000000000000A", "detail": "via_upstream", "door": "door",
        "duration_us": 0, "event": "", "flags": "-", "host": VERTEX, "method": "GET", "path": "/v1/logged",
        "peer": "127.0.0.1", "received": 0, "sent": 0, "status": 200, "time": "",
    }  # fmt: skip
    assert (refused["status"], refused["reason"]) == (403, "no_policy_permits")
    assert refused["decision"] == "d-01JD000000000000000000000A"
    text = world.settings.access_log.read_text()
    assert token not in text
    assert "secret" not in text
    assert "CONNECT" in {line["method"] for line in world.log(1, "outer") if "method" in line}
    assert all(json.loads(line)["event"] for line in text.splitlines())


@pytest.mark.parametrize("way", WAYS)
def test_a_lease_in_the_log(world):
    world.arbiter.answer = lambda _: world.arbiter.permit(500)
    before = len(world.log(0))
    token = world.issuer.token()
    for _ in range(2):
        world.call("/v1/twice", token=token)
    first, second = world.log(before + 2)[before:]
    assert first["asked"] is True
    assert "asked" not in second
    assert first["decision"] == second["decision"]


def test_the_passed_headers_are_few():
    assert not {"cookie", "x-goog-user-project", "x-goog-request-reason", "proxy-authorization"} & set(PASSED)


@pytest.fixture(scope="module")
def pages(another_world):
    return another_world(
        api_paths=("/healthz", "/sign-in", "/v1/events"), api_prefixes=("/sign-in/", "/saml/", "/.well-known/")
    )


@pytest.fixture
def paged(pages):
    pages.reset()
    headers = {"set-cookie": "__Host-remit=s; Path=/; Secure", "location": "/account"}
    pages.arbiter.answer = lambda seen: Reply(303, headers, seen.target.encode())
    return pages


@dataclasses.dataclass
class Reply:
    status: int
    headers: dict
    body: bytes = b""
    delay: float = 0
    raw: bytes | None = None
    hold: bytes | None = None


@pytest.mark.parametrize(
    "target",
    [
        "/sign-in?return=%2Fx",
        "/sign-in/callback?code=c&state=s",
        "/saml/okta/acs",
        "/.well-known/jwks.json",
        "/saml/a_b~c-d",
    ],
)
def test_pages_go_to_the_arbiter_with_their_cookies(paged, target):
    answer = api(paged, f"GET {target} HTTP/1.1\r\nHost: remit\r\nCookie: __Host-remit=s\r\n\r\n")
    assert (answer.status, answer.body) == (303, target.encode())
    assert answer.headers["set-cookie"] == "__Host-remit=s; Path=/; Secure"
    assert paged.arbiter.seen[0].one("cookie") == "__Host-remit=s"


@pytest.mark.parametrize(
    "target",
    [
        "/saml", "/saml/", "/saml//acs", "/saml/../check/v1/x", "/saml/%2e%2e/check", "/saml/.hidden", "/saml/a/../b",
        "/saml/a%2Fb", "/saml/a;b", "/samlx/acs", "//saml/acs", "/x/saml/acs", "/.well-known/", "/sign-in/..", "/check/v1/x",
    ],
)  # fmt: skip
def test_other_pages_do_not(paged, target):
    assert api(paged, f"GET {target} HTTP/1.1\r\nHost: remit\r\n\r\n").status in {400, 404}
    assert paged.arbiter.seen == []


def test_a_form_of_a_megabyte_and_no_more(paged):
    head = "POST /saml/okta/acs HTTP/1.1\r\nHost: remit\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    form = "a" * (1024 * 1024 - 10)
    assert api(paged, f"{head}Content-Length: {len(form)}\r\n\r\n{form}").status == 303
    assert len(paged.arbiter.seen[0].body) == len(form)
    longer = "a" * (1024 * 1024 + 10)
    assert api(paged, f"{head}Content-Length: {len(longer)}\r\n\r\n{longer}").status == 413
    assert len(paged.arbiter.seen) == 1


def test_no_cookie_passes_a_door(paged):
    paged.arbiter.answer = lambda _: Reply(
        200,
        {"x-remit-decision": "d-1", "authorization": "Bearer g", "x-remit-lease-ms": "0", "x-remit-epoch": "0"},
    )
    answer = paged.call("/v1/x", token=paged.issuer.token(), headers="Cookie: __Host-remit=s\r\n")
    assert "set-cookie" not in answer.headers
    assert not any(seen.all("cookie") for seen in (*paged.upstream.seen, *paged.arbiter.seen))
