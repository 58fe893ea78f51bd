"""What is not Google behind the gate: sessions and bearers at web services, served models, stores of objects."""

import copy
import json

import grpc
import pytest

from remit.gateway import envoy as envoy_module
from remit.gateway.bootstrap import bootstrap
from remit.gateway.gates import GATE
from remit.gateway.headers import PASSED

WEB, SERVING, OBJECTS, RPC = "web.service", "serving.service", "storage.example.com", "rpc.service"
DOORS = {WEB: "web", SERVING: "serving", OBJECTS: "objects", RPC: "web"}
VERTEX = "us-central1-aiplatform.googleapis.com"
WALKED = "/tensorflow.serving.PredictionService/Predict"
JWT = "eyJh.eyJz.c2ln"
DECISION = "d-01JD000000000000000000000A"
SESSION = "s3ss10n_-" * 4
BROWSER = "Accept: text/html,application/xhtml+xml;q=0.9\r\n"


def with_modes(settings):
    """The doors' own configuration, with what each mode is told and lets in."""
    document = copy.deepcopy(bootstrap(settings))
    for listener in document["static_resources"]["listeners"]:
        host = listener["name"].removeprefix("door:")
        if host in DOORS:
            manager = listener["filter_chains"][0]["filters"][-1]["typed_config"]
            change(manager, DOORS[host])
    for cluster in document["static_resources"]["clusters"]:
        tls = cluster.get("transport_socket", {}).get("typed_config", {}).get("common_tls_context")
        if tls:  # the fake upstream has one certificate
            tls["validation_context"]["match_typed_subject_alt_names"][0]["matcher"] = {"exact": VERTEX}
    return document


def change(manager, mode):
    assertion = mode in {"web", "serving"}
    manager["path_with_escaped_slashes_action"] = "KEEP_UNCHANGED"  # the gate's own rule is what is tried here
    config = next(it for it in manager["http_filters"] if it["name"] == GATE)["typed_config"]["filter_config"]
    told = json.loads(config["value"])
    told |= {"mode": mode, "assertion": assertion, "leasable": {}, "streaming": []}
    told["walked"] = {WALKED: {"key": [1]}} if mode == "serving" else {}
    told["passed"] = [*PASSED, "cookie", "origin"] if assertion else [*PASSED]
    config["value"] = json.dumps(told)
    if assertion:
        host = manager["route_config"]["virtual_hosts"][0]
        host["request_headers_to_remove"] = ["x-forwarded-for", "authorization", "x-goog-request-reason"]


@pytest.fixture(scope="module")
def doors(another_world):
    patch = pytest.MonkeyPatch()
    patch.setattr(envoy_module, "bootstrap", with_modes)
    world = another_world(hosts=(*DOORS,), leasable_grpc={}, leasable_fields={}, streaming_grpc=())
    yield world
    patch.undo()


@pytest.fixture
def site(doors, world):
    """A permit with an assertion and no lease, and a token of its own."""
    doors.reset()
    doors.refuse = world.arbiter.refuse
    doors.permit = lambda lease_ms=0, **more: permitted(world.arbiter.permit, lease_ms, more)
    doors.arbiter.answer = lambda _: doors.permit()
    usual = doors.upstream.answer
    yield doors
    doors.upstream.answer = usual


def permitted(permit, lease_ms, more):
    reply = permit(lease_ms)
    del reply.headers["authorization"]
    reply.headers |= {"x-remit-assertion": JWT} | more
    return reply


def visit(site, path="/", headers="", host=WEB, **more):
    return site.call(path, headers=headers, host=host, name=host, **more)


def cookie(*values):
    return f"Cookie: {'; '.join(values)}\r\n"


def test_a_session_is_the_identity_and_stays_here(site):
    answer = visit(site, "/a?b=1", cookie("x=1", f"__Host-remit={SESSION}", "y=2", "__Host-remit-flow=z") + BROWSER)
    assert answer.status == 200
    [asked] = site.arbiter.seen
    assert (asked.target, asked.one("host"), asked.one("x-remit-peer")) == ("/check/a?b=1", WEB, "127.0.0.1")
    assert asked.all("cookie") == [f"__Host-remit={SESSION}"]
    assert asked.one("accept") == BROWSER.removeprefix("Accept: ").strip()
    assert asked.all("authorization") == []
    [seen] = site.upstream.seen
    assert seen.all("x-remit-assertion") == [JWT]
    assert seen.all("cookie") == ["x=1; y=2"]
    assert seen.all("authorization") == seen.all("x-goog-request-reason") == []


def test_a_bearer_is_the_identity_and_stays_here(site):
    token = site.issuer.token()
    assert visit(site, token=token, headers=cookie("x=1", "__Host-remit-flow=z")).status == 200
    assert site.arbiter.seen[0].one("authorization") == f"Bearer {token}"
    assert site.arbiter.seen[0].all("cookie") == []
    [seen] = site.upstream.seen
    assert (seen.all("x-remit-assertion"), seen.all("authorization"), seen.all("cookie")) == ([JWT], [], ["x=1"])


@pytest.mark.parametrize("session", ["", "__Host-remit=", "__Host-remit-flow=x"])
def test_only_remits_cookies_leave_no_cookie_header(site, session):
    visit(site, token=site.issuer.token(), headers=cookie(session) if session else "")
    assert site.upstream.seen[0].all("cookie") == []


AMBIGUOUS = {
    "a session and a bearer": cookie(f"__Host-remit={SESSION}") + "Authorization: Bearer x\r\n",
    "a session and anything": cookie(f"__Host-remit={SESSION}") + "Authorization: Basic eDp5\r\n",
    "two sessions": cookie(f"__Host-remit={SESSION}", "__Host-remit=other"),
    "the same session twice": cookie(*[f"__Host-remit={SESSION}"] * 2),
    "two cookie lines": cookie(f"__Host-remit={SESSION}") + cookie("__Host-remit=other"),
    "a session behind a comma": cookie(f"a=b,__Host-remit={SESSION}"),
    "a session before a comma": cookie(f"__Host-remit={SESSION},a=b"),
    "a session in quotes": cookie(f'__Host-remit="{SESSION}"'),
    "a session without a name": cookie(f"=__Host-remit={SESSION}"),
    "a session in another's value": cookie(f"a=__HOST-remit={SESSION}"),
    "a long session": cookie("__Host-remit=" + "x" * 5000),
}


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_more_than_one_identity_is_none(site, name):
    assert visit(site, headers=AMBIGUOUS[name] + BROWSER).status == 400
    assert site.arbiter.seen == site.upstream.seen == []


def test_another_spelling_of_the_sessions_name_is_no_session_and_goes_nowhere(site):
    assert visit(site, headers=cookie(f"__host-REMIT={SESSION}")).status == 401
    assert site.arbiter.seen == []
    assert visit(site, headers=cookie(f"__host-REMIT={SESSION}", "a=b"), token=site.issuer.token()).status == 200
    assert site.upstream.seen[0].all("cookie") == ["a=b"]


@pytest.mark.parametrize(
    ("method", "headers"), [("GET", ""), ("GET", "Accept: application/json\r\n"), ("POST", BROWSER), ("HEAD", BROWSER)]
)
def test_without_an_identity_only_a_page_is_asked_for(site, method, headers):
    answer = visit(site, "/page", headers, method=method)
    assert (answer.status, answer.reason, answer.headers["www-authenticate"]) == (401, "token_missing", "Bearer")
    assert site.arbiter.seen == site.upstream.seen == []


def test_a_page_leads_to_the_sign_in(site):
    site.arbiter.answer = lambda _: site.refuse(401, "token_missing", location="/sign-in?to=/page%3Fa")
    answer = visit(site, "/page?a", BROWSER)
    assert (answer.status, answer.headers["location"], answer.body) == (303, "/sign-in?to=/page%3Fa", b"")
    assert (answer.reason, answer.headers["cache-control"]) == ("token_missing", "no-store")
    assert site.arbiter.seen[0].all("cookie") == site.arbiter.seen[0].all("authorization") == []


def test_nobody_is_never_permitted(site):
    site.arbiter.answer = lambda _: site.permit(500)
    for _ in range(2):
        assert visit(site, "/nobody", BROWSER).status == 503
    assert site.upstream.seen == []


@pytest.mark.parametrize(
    "location", ["//evil.example", "https://evil.example/", "/\\evil", "/a b", "/a;b", "evil", "", "/a#b", "/\t/evil"]
)
def test_a_location_leads_home_or_nowhere(site, location):
    site.arbiter.answer = lambda _: site.refuse(401, "token_missing", location=location)
    answer = visit(site, f"/to{len(location)}{ord((location + 'z')[-2:][0])}", BROWSER)
    assert answer.status in {401, 503}
    assert "location" not in answer.headers


def test_a_location_is_for_web_services_only(site):
    site.arbiter.answer = lambda _: site.refuse(401, "token_expired", location="/sign-in")
    answer = visit(site, "/v1/models/m", BROWSER, host=SERVING, token=site.issuer.token())
    assert (answer.status, "location" in answer.headers) == (401, False)


@pytest.mark.parametrize("host", DOORS)
@pytest.mark.parametrize("wrong", ["google", "both"])
def test_the_other_kind_of_credential_is_no_permit(site, host, wrong):
    reply = site.permit()
    if host == OBJECTS:
        reply.headers |= {"authorization": "Bearer y"} if wrong == "both" else {}
    else:
        reply.headers |= {"authorization": "Bearer y"}
        if wrong == "google":
            del reply.headers["x-remit-assertion"]
    site.arbiter.answer = lambda _: reply
    assert visit(site, "/x", host=host, token=site.issuer.token()).status == 503
    assert site.upstream.seen == []


@pytest.mark.parametrize(
    "assertion", ["", "x", "a.b", "a.b.c.d", "a.b.c ", "Bearer a.b.c", "a.b.=", "a.b." + "c" * 17_000]
)
def test_only_a_jwt_is_an_assertion(site, assertion):
    site.arbiter.answer = lambda _: site.permit(**{"x-remit-assertion": assertion})
    status = visit(site, "/x", token=site.issuer.token()).status
    assert (status, len(site.upstream.seen)) == ((200, 1) if assertion == "a.b.c " else (503, 0))


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_the_methods_of_the_web(site, method):
    body = b"x" * 9 if method in {"POST", "PUT", "PATCH"} else b""
    assert visit(site, "/m", method=method, body=body, token=site.issuer.token()).status == 200
    assert site.arbiter.seen[0].method == method
    assert (site.arbiter.seen[0].body, site.arbiter.seen[0].one("x-remit-body")) == (b"", "none")
    assert site.upstream.seen[0].body == body


@pytest.mark.parametrize("method", ["TRACE", "PROPFIND", "get"])
def test_no_others(site, method):
    assert visit(site, "/m", method=method, token=site.issuer.token()).status in {400, 403}
    assert site.upstream.seen == []


PLAIN = (
    "/",
    "/a/b.c/~d",
    "/a%20b/%C3%BC",
    "/a.b/..c/d..",
    "/x?to=%2Fa%2e;b//c/../d",
    "/a:b@c!$&'()*+,=d",
    "/?a[]={1}|2",
)
ODD = (
    "/a%2fb", "/a%2Fb", "/a%5cb", "/a%5Cb", "/%00", "/a?b=%00", "/%2e%2E/b", "/%2E", "//a", "/a//b", "/a/../b", "/a/..",
    "/a/./b", "/a/.", "/..?x", "/a;b", "/a\\b", "/a%", "/a%2", "/a%zz", "/a%252fb", "/a%25", "/a\x7f", "/\xfc", '/a"b', "/<a>",
)  # fmt: skip


@pytest.mark.parametrize("path", PLAIN)
def test_a_plain_path_goes_on_byte_for_byte(site, path):
    assert visit(site, path, token=site.issuer.token()).status == 200
    assert (site.arbiter.seen[0].target, site.upstream.seen[0].target) == ("/check" + path, path)


@pytest.mark.parametrize("path", ODD)
def test_an_odd_path_goes_nowhere(site, path):
    for host in (WEB, RPC):
        with site.tunnel(host) as inner:
            token = site.issuer.token()
            lines = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\r\n"
            assert site.send(lines.encode("latin-1"), connection=inner).status == 400
    assert site.arbiter.seen == site.upstream.seen == []


@pytest.mark.parametrize(
    "path", ["/storage/v1/b/x/o/a%2Fb%20c", "/storage/v1/b/x/o/a%252Fb?alt=media", "/x/o/%2e%2e%2Fb"]
)
def test_an_objects_name_goes_on_byte_for_byte(site, path):
    site.arbiter.answer = lambda _: google(site)
    assert visit(site, path, host=OBJECTS, token=site.issuer.token()).status == 200
    [seen] = site.upstream.seen
    assert (site.arbiter.seen[0].target, seen.target) == ("/check" + path, path)
    assert (seen.all("authorization"), seen.all("x-remit-assertion")) == (["Bearer ya29"], [])
    assert seen.all("x-goog-request-reason") == [f"decision/{DECISION}"]


@pytest.mark.parametrize("path", ["/o/a%00b", "/o/../b", "/o//b", "/o/a;b", "/o/a%", "/o/..", "/o/a\\b"])
def test_an_odd_objects_name_goes_nowhere(site, path):
    site.arbiter.answer = lambda _: google(site)
    assert visit(site, path, host=OBJECTS, token=site.issuer.token()).status == 400
    assert site.upstream.seen == []


def google(site, lease_ms=0):
    reply = site.permit(lease_ms)
    del reply.headers["x-remit-assertion"]
    reply.headers["authorization"] = "Bearer ya29"
    return reply


def test_only_reads_of_objects_are_leased(site):
    site.arbiter.answer = lambda _: google(site, 500)
    token = site.issuer.token("objects")
    for method in ("GET", "POST", "PUT", "DELETE"):
        for _ in range(2):
            assert visit(site, f"/o/{method}", method=method, host=OBJECTS, token=token, body=b"").status == 200
    assert [seen.method for seen in site.arbiter.seen] == ["GET", "POST", "POST", "PUT", "PUT", "DELETE", "DELETE"]


def test_a_stores_cookies_are_no_identity(site):
    session = cookie(f"__Host-remit={SESSION}") + BROWSER
    assert visit(site, "/o", session, host=OBJECTS).status == 401
    assert visit(site, "/o", session, host=SERVING).status == 401
    assert site.arbiter.seen == []


def test_a_session_never_reaches_a_served_model(site):
    headers = cookie(f"__Host-remit={SESSION}", "a=b")
    assert visit(site, "/v1/models/m:predict", headers, host=SERVING, token=site.issuer.token()).status == 200
    [seen] = site.upstream.seen
    assert (seen.all("cookie"), seen.all("authorization"), seen.all("x-remit-assertion")) == ([], [], [JWT])


def lease(site, *variants):
    """How often the arbiter was asked for each of these, asked in turns, twice."""
    site.arbiter.answer = lambda _: site.permit(500)
    for _ in range(2):
        for variant in variants:
            assert visit(site, **variant).status == 200
    return len(site.arbiter.seen)


def test_what_is_in_a_lease_at_a_service(site):
    first, second = (cookie(f"__Host-remit={name}", "a=b") for name in ("one", "two"))
    page, origin = "Accept: text/html\r\n", "Origin: https://web.service\r\n"
    variants = [
        {"headers": first},
        {"headers": second},
        {"headers": first + page},
        {"headers": first + origin},
        {"headers": first + "Origin: https://evil.example\r\n"},
        {"headers": first + origin, "method": "POST"},
        {"headers": first + page, "path": "/b"},
        {"token": site.issuer.token("lease")},
        {"token": "one"} | {"token": site.issuer.token("lease2")},
    ]
    assert lease(site, *variants) == len(variants)


def test_other_cookies_do_not_disturb_a_lease(site):
    session = "__Host-remit=undisturbed"
    variants = [{"headers": cookie(session, f"a={number}")} for number in range(3)]
    assert lease(site, *variants) == 1
    assert [seen.one("cookie") for seen in site.upstream.seen] == ["a=0", "a=1", "a=2"] * 2


def test_a_session_that_reads_like_a_bearer_is_another_caller(site):
    token = site.issuer.token("twin")
    assert lease(site, {"token": token}, {"headers": cookie(f"__Host-remit={token}")}) == 2


def test_rest_of_a_served_model_passes_unread(site):
    site.arbiter.answer = lambda _: site.permit(500)
    token = site.issuer.token("served")
    for body in (b'{"instances": [1]}', b"not json", b"x" * 3_000_000):
        answer = visit(site, "/v1/models/m:predict", method="POST", host=SERVING, token=token, body=body)
        assert (answer.status, answer.body) == (200, body)
    [asked] = site.arbiter.seen
    assert (asked.body, asked.one("x-remit-body")) == (b"", "none")


def call(site, host, path, body, token):
    """A gRPC call; a service's host resolves nowhere, so the tunnel is the test's own."""
    roots = site.envoy.authority.read_bytes()
    proxy = ("grpc.http_proxy", f"http://127.0.0.1:{site.settings.listen_port}")
    options = [proxy, ("grpc.use_local_subchannel_pool", 1)]
    with grpc.secure_channel(f"{host}:443", grpc.ssl_channel_credentials(roots), options=options) as channel:
        metadata = (("authorization", f"Bearer {token}"),)
        return channel.unary_unary(path)(body, metadata=metadata, timeout=10)


def test_a_walked_message_is_asked_with_and_leased_by_its_model(site):
    site.arbiter.answer = lambda _: site.permit(500)
    token, model, other = site.issuer.token("walked"), b"\x0a\x01m", b"\x0a\x01n"
    for body in (model, model + b"\x12\x01x", other, model):
        assert call(site, SERVING, WALKED, body, token) == body
    assert [seen.body[5:] for seen in site.arbiter.seen] == [model, other]
    assert {seen.one("x-remit-assertion") for seen in site.upstream.seen} == {JWT}
    assert not any(seen.all("authorization") for seen in site.upstream.seen)


def test_another_message_of_a_served_model_is_always_asked_with(site):
    site.arbiter.answer = lambda _: site.permit(500)
    token = site.issuer.token("unwalked")
    for _ in range(2):
        call(site, SERVING, "/tensorflow.serving.ModelService/GetModelStatus", b"\x0a\x01m", token)
    assert [seen.body for seen in site.arbiter.seen] == [b"\0\0\0\0\x03\x0a\x01m"] * 2


def test_a_call_to_a_plain_service_is_decided_by_its_name(site):
    site.arbiter.answer = lambda _: site.permit(500)
    token = site.issuer.token("rpc")
    for body in (b"\x0a\x01m", b"anything at all"):
        assert call(site, RPC, "/a.B/C", body, token) == body
    [asked] = site.arbiter.seen
    assert (asked.target, asked.body, asked.one("x-remit-body")) == ("/check/a.B/C", b"", "none")


def test_a_refused_call_to_a_service(site):
    site.arbiter.answer = lambda _: site.refuse()
    with pytest.raises(grpc.RpcError) as caught:
        call(site, RPC, "/a.B/D", b"x", site.issuer.token())
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert site.upstream.seen == []


THEIRS = ("a=b; Path=/", "a=__Host-remit; Path=/", "remit=1", "__Secure-remit=1", "x__Host-remit=1")
STOLEN = (
    "__Host-remit=evil; Path=/; Secure", "__host-REMIT=evil", " __Host-remit=evil", "=__Host-remit=evil", "= =__Host-remit=evil",
    "__Host-remit-flow=evil", "__Host-remit",
)  # fmt: skip


@pytest.mark.parametrize("status", [200, 302, 403])
def test_a_service_sets_its_own_cookies_only(site, status):
    lines = "".join(
        f"set-cookie: {line}\r\n" for pair in zip(STOLEN, (*THEIRS, "c=1", "d=2"), strict=True) for line in pair
    )
    raw = f"HTTP/1.1 {status} X\r\n{lines}content-length: 2\r\n\r\nok".encode()
    site.upstream.answer = lambda _: site.permit().__class__(raw=raw)
    assert cookies_of(site) == sorted((*THEIRS, "c=1", "d=2"))


def cookies_of(site):
    """All `set-cookie` lines of an answer, as they came."""
    with site.tunnel(WEB) as inner:
        head = f"GET /c HTTP/1.1\r\nHost: {WEB}\r\nAuthorization: Bearer {site.issuer.token()}\r\n\r\n"
        inner.sendall(head.encode())
        data = b""
        while not data.endswith(b"ok"):
            data += inner.recv(65536)
    lines = data.split(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
    return sorted(value for name, _, value in (line.partition(": ") for line in lines) if name.lower() == "set-cookie")


@pytest.mark.parametrize(
    "framing", ["Content-Length: 1\r\n\r\nx", "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"]
)
def test_who_reads_an_object_sends_no_body(site, framing):
    site.arbiter.answer = lambda _: google(site, 500)
    token = site.issuer.token("reader")
    for _ in range(2):  # under a lease too
        assert visit(site, "/o/read", host=OBJECTS, token=token).status == 200
        lines = f"GET /o/read HTTP/1.1\r\nHost: {OBJECTS}\r\nAuthorization: Bearer {token}\r\n{framing}"
        with site.tunnel(OBJECTS) as inner:
            assert site.send(lines.encode(), connection=inner).status == 400
    assert len(site.upstream.seen) == 2


def test_a_question_about_a_session_that_nobody_answered_is_asked_again(site):
    """As the check asks again by itself: an arbiter that another one relieves may just have gone."""
    answers_ = iter([type(site.permit())(raw=b""), site.permit()])
    site.arbiter.answer = lambda _: next(answers_)
    assert visit(site, "/again", cookie(f"__Host-remit={SESSION}") + BROWSER).status == 200
    assert len(site.arbiter.seen) == 2
    site.arbiter.answer = lambda _: type(site.permit())(raw=b"")
    assert visit(site, "/gone", cookie(f"__Host-remit={SESSION}") + BROWSER).status == 503
