"""Web and gRPC services: verb and path are all that is known, so that both have one reading (TH9, TH20, TH36, TH42)."""

import pytest

from remit.catalogue.services import ACTIONS, service_request
from remit.model.errors import Refused
from remit.model.estate import Service, ServiceKind
from remit.model.operation import Group
from remit.model.reasons import Reason
from remit.model.wire import WireRequest

BOARD = Service("board", "contoso-fraud-test", ServiceKind.WEB, "https://board", prefix="/apps/board/", websockets=True)
PAGES = Service("pages", "contoso-fraud-test", ServiceKind.WEB, "https://pages", host="pages.contoso.example")
BOTH = Service("both", "contoso-fraud-test", ServiceKind.WEB, "https://both", prefix="/apps/both/", host="both.example")
CALLS = Service("calls", "contoso-fraud-prod", ServiceKind.GRPC, "https://calls", host="calls.contoso.example")
BELOW = Service("below", "contoso-fraud-prod", ServiceKind.GRPC, "https://below", prefix="/apps/below/")
METHOD = "/contoso.scores.v1.Scores/Get"
SOCKET = (("upgrade", "websocket"), ("connection", "upgrade"))


def _wire(service, method, target, headers=(), body=b""):
    return WireRequest(None, method, service.known_as, target, tuple(headers), body, body_sent=bool(body))


def _asked(service, method, target, headers=(), body=b""):
    request = service_request(service, _wire(service, method, target, headers, body))
    (operation,) = request.operations
    return operation, request


def _refused(service, method, target, headers=(), body=b""):
    with pytest.raises(Refused) as caught:
        service_request(service, _wire(service, method, target, headers, body))
    return caught.value.reason


def _call(service, target, *, method="POST", kind="application/grpc", more=()):
    return _wire(service, method, target, (("content-type", kind), *more))


@pytest.mark.parametrize(
    ("method", "action", "leasable"),
    [
        ("GET", "web.requests.read", True),
        ("HEAD", "web.requests.read", True),
        ("OPTIONS", "web.requests.read", True),
        ("POST", "web.requests.write", False),
        ("PUT", "web.requests.write", False),
        ("PATCH", "web.requests.write", False),
        ("DELETE", "web.requests.write", False),
    ],
)
def test_every_verb(method, action, leasable):
    operation, request = _asked(BOARD, method, "/apps/board/data/runs?tag=a%20b&x=%2F..")
    assert (operation.action.id, request.leasable) == (action, leasable)
    assert operation.within == "/apps/board/data/runs"
    assert [(one.type, one.name, one.project) for one in operation.resources] == [
        ("Service", "//remit/projects/contoso-fraud-test/services/board", "contoso-fraud-test")
    ]
    assert request.lease_key_fields == ()


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "get", "PROPFIND", "QUERY", "", "GET "])
def test_no_other_verb(method):
    assert _refused(PAGES, method, "/") is Reason.METHOD_UNKNOWN


def test_the_groups_are_what_policy_is_told():
    assert {action.id: action.group for action in ACTIONS} == {
        "web.requests.read": Group.USE,
        "web.requests.write": Group.CHANGE,
        "web.sockets.open": Group.CHANGE,
        "grpc.calls.make": Group.USE,
        "tensorflow_serving.models.predict": Group.USE,
        "tensorflow_serving.models.classify": Group.USE,
        "tensorflow_serving.models.regress": Group.USE,
        "tensorflow_serving.models.multiInference": Group.USE,
        "tensorflow_serving.models.getMetadata": Group.OBSERVE,
        "tensorflow_serving.models.getStatus": Group.OBSERVE,
        "tensorflow_serving.configs.reload": Group.ADMINISTER,
    }


def test_a_websocket_is_a_change_and_has_no_lease():
    operation, request = _asked(BOARD, "GET", "/apps/board/api/kernels/1/channels?session_id=2", SOCKET)
    assert (operation.action.id, operation.action.group, request.leasable) == ("web.sockets.open", Group.CHANGE, False)
    assert operation.within == "/apps/board/api/kernels/1/channels"
    assert _asked(BOARD, "GET", "/apps/board/", (("upgrade", "WebSocket"),))[0].action.id == "web.sockets.open"


@pytest.mark.parametrize(
    ("service", "method", "headers", "reason"),
    [
        (PAGES, "GET", SOCKET, Reason.METHOD_UNKNOWN),
        (BOARD, "POST", SOCKET, Reason.REQUEST_MALFORMED),
        (BOARD, "HEAD", SOCKET, Reason.REQUEST_MALFORMED),
        (BOARD, "GET", (("upgrade", "h2c"),), Reason.REQUEST_MALFORMED),
        (BOARD, "GET", (("upgrade", "websocket, h2c"),), Reason.REQUEST_MALFORMED),
        (BOARD, "POST", (("upgrade", "TLS/1.0"),), Reason.REQUEST_MALFORMED),
    ],
)
def test_no_other_upgrade(service, method, headers, reason):
    assert _refused(service, method, "/apps/board/x", headers) is reason


@pytest.mark.parametrize(
    ("target", "within"),
    [
        ("/", "/"),
        ("/a/", "/a/"),
        ("/a.b/..c/.well-known/d..", "/a.b/..c/.well-known/d.."),
        ("/files/a%20b%5B1%5D.ipynb", "/files/a b[1].ipynb"),
        ("/%61dmin", "/admin"),
        ("/a%3Ab", "/a:b"),
        ("/caf%C3%A9", "/café"),
        ("/!$&'()*+,:=@~-_.x", "/!$&'()*+,:=@~-_.x"),
        ("/?", "/"),
        ("/x?a=//..;%2F%00\\", "/x"),
    ],
)
def test_a_path_is_decoded_once(target, within):
    assert _asked(PAGES, "GET", target)[0].within == within


AMBIGUOUS = [
    *("//", "/a//b", "/a/../b", "/a/..", "/./a", "/a/.", "/..", "/a/..?x", "/.."),
    *(
        f"/a{code}b"
        for code in ("%2f", "%2F", "%5c", "%5C", "%2e", "%2E", "%00", "%0a", "%0D", "%1f", "%7f", "%25", "%3b")
    ),
    *("/a/%2e%2e/b", "/a/.%2e/b", "/a%252fb", "/a%2561", "/a%3Bjsessionid=1"),
    # what becomes grammar where text is normalised (NFKC), and what nobody sees
    *("/a%EF%BC%8Fb", "/a%EF%BC%8Eb", "/%E2%80%A5/b", "/a%EF%BC%85", "/a%E2%80%AEb", "/a%E2%80%8Bb", "/a%C2%85b"),
    *("/a%E2%80%A8b", "/a%EF%BC%BFb%EF%BC%9B"),
]


@pytest.mark.parametrize("target", AMBIGUOUS)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_servers_read_differently_is_refused(target, method):
    assert _refused(PAGES, method, target) is Reason.REQUEST_AMBIGUOUS


@pytest.mark.parametrize(
    "target",
    [
        *("", "*", "a", "http://pages.contoso.example/", "pages:443", "/a b", "/a\tb", "/a\nb", "/a\\b", "/a;b", "/é"),
        *("/a#b", "/a?b#c", "/a?b c", "/a?\x00", "/a?é", "/a<b", '/a"b', "/a|b", "/a^b", "/a`b", "/a{b}", "/[a]"),
        *("/%", "/%2", "/%zz", "/%u002f", "/a%FF", "/%C0%AF", "/%ED%A0%80", "/" + "a" * 8192),
    ],
)
def test_what_no_target_holds_is_refused(target):
    assert _refused(PAGES, "GET", target) in {Reason.REQUEST_MALFORMED, Reason.REQUEST_AMBIGUOUS}


@pytest.mark.parametrize(
    "target",
    ["/", "/apps/board", "/apps/boards/", "/apps/other/x", "/APPS/board/", "/apps%2Fboard/", "/app%73/board/x"],
)
def test_a_service_by_prefix_stands_below_it(target):
    assert _refused(BOARD, "GET", target) in {Reason.RESOURCE_UNKNOWN, Reason.REQUEST_AMBIGUOUS}


def test_a_service_with_both_stands_at_both():
    for target in ("/", "/apps/both/x", "/apps/board/x"):
        assert _asked(BOTH, "GET", target)[0].within == target


@pytest.mark.parametrize("query", ["_method=DELETE", "a=1&_method=PUT", "_METHOD=x", "%5Fmethod=DELETE", "a;_method=x"])
def test_a_read_stays_a_read(query):
    assert _refused(PAGES, "GET", f"/x?{query}") is Reason.REQUEST_AMBIGUOUS
    assert _asked(PAGES, "POST", f"/x?{query}")[0].action.id == "web.requests.write"


def test_bodies_are_for_what_writes():
    assert _refused(PAGES, "GET", "/x", body=b"x") is Reason.REQUEST_MALFORMED
    assert _asked(PAGES, "POST", "/x", body=b"x")[0].action.id == "web.requests.write"


def test_a_web_service_is_no_grpc_service():
    for kind in ("application/grpc", "application/grpc+proto", "Application/GRPC;x"):
        assert _refused(PAGES, "POST", "/x", (("content-type", kind),)) is Reason.REQUEST_MALFORMED
    assert _asked(PAGES, "POST", "/x", (("content-type", "application/grpc-web"),))[0].action.id == "web.requests.write"


@pytest.mark.parametrize("kind", ["application/grpc", "application/grpc+proto"])
@pytest.mark.parametrize("procedure", [METHOD, "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "/S/M"])
def test_a_grpc_call_is_named_by_its_procedure(procedure, kind):
    request = service_request(CALLS, _call(CALLS, procedure, kind=kind))
    (operation,) = request.operations
    assert (operation.action.id, operation.within, request.leasable) == ("grpc.calls.make", procedure, True)
    assert operation.resources[0].name == "//remit/projects/contoso-fraud-prod/services/calls"


@pytest.mark.parametrize(
    "target",
    [
        *("/", "/S", "/S/", "//M", "/S/M/", "/S/M/N", "/S/M?x", "/S/M?", "/.S/M", "/S./M", "/a..b/M", "/1S/M", "/S/1M"),
        *("/S/%4D", "/S%2FM", "/S/M#x", "/S-T/M", "/S/M\n", "S/M", "*", "/S/é"),
    ],
)
def test_no_other_path_is_a_grpc_call(target):
    with pytest.raises(Refused) as caught:
        service_request(CALLS, _call(CALLS, target))
    assert caught.value.reason in {Reason.REQUEST_MALFORMED, Reason.REQUEST_AMBIGUOUS}


@pytest.mark.parametrize(
    "more",
    [
        {"method": "GET"},
        {"method": "PUT"},
        {"kind": "application/grpc-web"},
        {"kind": "application/grpc;x=1"},
        {"kind": "application/json"},
        {"kind": ""},
        {"more": SOCKET},
    ],
)
def test_a_grpc_call_is_a_post_of_grpc(more):
    with pytest.raises(Refused) as caught:
        service_request(CALLS, _call(CALLS, METHOD, **more))
    assert caught.value.reason is Reason.REQUEST_MALFORMED


def test_a_grpc_service_by_prefix():
    (operation,) = service_request(BELOW, _call(BELOW, f"/apps/below{METHOD}")).operations
    assert operation.within == METHOD
    with pytest.raises(Refused) as caught:
        service_request(BELOW, _call(BELOW, METHOD))
    assert caught.value.reason is Reason.RESOURCE_UNKNOWN


GRPC = ("content-type", "application/grpc")


@pytest.mark.parametrize(
    ("service", "method", "target", "headers"),
    [
        (PAGES, "GET", "/", (("x-http-method-override", "DELETE"),)),
        (PAGES, "POST", "/", (("x-method-override", "GET"),)),
        (PAGES, "POST", "/", (("x-http-method", "GET"),)),
        (BOARD, "GET", "/apps/board/", (*SOCKET, ("upgrade", "h2c"))),
        (PAGES, "POST", "/", (("content-type", "text/plain"), GRPC)),
        (CALLS, "POST", METHOD, (GRPC, GRPC)),
        (CALLS, "POST", METHOD, (GRPC, ("content-encoding", "gzip"))),
        (CALLS, "POST", METHOD, (GRPC, ("x-http-method-override", "GET"))),
    ],
)
def test_no_header_makes_another_request_of_it(service, method, target, headers):
    assert _refused(service, method, target, headers) is Reason.REQUEST_AMBIGUOUS


def test_a_page_may_have_several_cookies():
    headers = (("cookie", "a=b"), ("cookie", "c=d"), ("content-encoding", "gzip"))
    assert _asked(PAGES, "POST", "/x", headers)[0].action.id == "web.requests.write"
