"""What the upstream answered: refusals and launches are told to the arbiter, and nothing there breaks the answer."""

import time
from types import SimpleNamespace

import grpc
import pytest

DECISION = "d-01JD000000000000000000000A"
VERTEX = "us-central1-aiplatform.googleapis.com"
PATH = "/v1/projects/p/locations/us-central1/customJobs"
DENIED = b'{"error": {"code": 403, "status": "PERMISSION_DENIED"}}'
JSON = {"content-type": "application/json; charset=UTF-8"}


def reply(status=200, headers=None, body=b"", **more):
    return SimpleNamespace(
        **{"status": status, "headers": headers or {}, "body": body, "delay": 0, "raw": None, "hold": None} | more
    )


@pytest.fixture
def told(world):
    """The arbiter permits, and answers reports with `told.says`; `told.reports()`: what it was told."""
    usual, service = world.upstream.answer, world.upstream.calls.service
    told = SimpleNamespace(
        world=world, token=world.issuer.token(uti=str(time.monotonic_ns())), permit=world.arbiter.permit()
    )
    told.says = reply(headers={"x-remit-upstream": "iam"})
    told.reports = lambda: [seen for seen in world.arbiter.seen if seen.target.startswith("/answered/")]
    world.arbiter.answer = lambda seen: told.says if seen.target.startswith("/answered/") else told.permit
    yield told
    world.upstream.answer, world.upstream.calls.service = usual, service


def ask(told, status=403, headers=None, body=DENIED, **more):
    told.world.upstream.answer = lambda _: reply(status, JSON if headers is None else headers, body, **more)
    return told.world.call(PATH, token=told.token)


@pytest.mark.parametrize("status", [401, 403, 429])
def test_a_refusal_upstream_is_reported_and_named(told, status):
    answer = ask(told, status)
    assert (answer.status, answer.body) == (status, DENIED)
    assert (answer.headers["x-remit-upstream"], answer.headers["x-remit-decision"]) == ("iam", DECISION)
    assert "x-remit-reason" not in answer.headers
    [report] = told.reports()
    assert (report.method, report.target, report.body) == ("POST", f"/answered/{DECISION}", DENIED)
    assert report.one("x-remit-host") == VERTEX
    assert report.one("x-remit-status") == str(status)
    assert report.one("x-remit-content-type") == JSON["content-type"]
    assert report.one("x-remit-grpc-status") is None
    assert not report.all("authorization")


@pytest.mark.parametrize("status", [200, 204, 302, 400, 404, 409, 500, 503])
def test_other_answers_are_nobodys_business(told, status):
    body = b"" if status == 204 else DENIED
    answer = ask(told, status, body=body)
    assert (answer.status, answer.body) == (status, body)
    assert not [name for name in answer.headers if name.startswith("x-remit-")]
    assert told.reports() == []


@pytest.mark.parametrize("status", [200, 403])
def test_what_the_upstream_says_in_remits_name_is_dropped(told, status):
    told.says = reply()
    forged = ("upstream", "decision", "reason", "assertion")
    answer = ask(told, status, {**JSON, **{f"x-remit-{name}": "forged" for name in forged}})
    assert answer.status == status
    assert not [name for name in answer.headers if name.startswith("x-remit-")]


NOTHING = {
    "no cause": reply(),
    "an odd cause": reply(headers={"x-remit-upstream": "IAM denied"}),
    "an empty cause": reply(headers={"x-remit-upstream": ""}),
    "a long cause": reply(headers={"x-remit-upstream": "a" * 33}),
    "two causes": reply(
        raw=b"HTTP/1.1 200 X\r\nx-remit-upstream: a\r\nx-remit-upstream: b\r\ncontent-length: 0\r\n\r\n"
    ),
    "an error": reply(500, {"x-remit-upstream": "iam"}),
    "a refusal": reply(403, {"x-remit-upstream": "iam"}),
    "no HTTP": reply(raw=b"hello\r\n\r\n"),
    "cut off": reply(raw=b"HTTP/1.1 200 OK\r\nx-remit-upstream: iam\r\ncontent-length: 9\r\n\r\nabc"),
    "silence": reply(delay=3),
}


@pytest.mark.parametrize("name", NOTHING)
def test_no_trouble_with_the_report_changes_the_answer(told, name):
    told.says = NOTHING[name]
    began = time.monotonic()
    answer = ask(told)
    assert (answer.status, answer.body) == (403, DENIED)
    assert not [header for header in answer.headers if header.startswith("x-remit-")]
    assert len(told.reports()) == 1
    assert time.monotonic() - began < 1.5


def test_remits_own_refusals_are_not_reported(told):
    told.permit = told.world.arbiter.refuse()
    assert ask(told).reason == "no_policy_permits"
    assert told.world.call(PATH).status == 401
    assert told.world.call("/v1/über".encode().decode("latin-1"), token=told.token).status == 400
    assert told.reports() == []


def test_a_large_refusal_passes_whole_and_is_reported_without_its_body(told):
    body = b"x" * 70_000
    answer = ask(told, body=body)
    assert (answer.status, answer.body, answer.headers["x-remit-upstream"]) == (403, body, "iam")
    assert [report.body for report in told.reports()] == [b""]


def chunked(body, kind="application/json"):
    head = f"HTTP/1.1 403 X\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n"
    return head.encode() + b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n"


@pytest.mark.parametrize(("kind", "read"), [("application/json", True), ("text/event-stream", False), ("", False)])
def test_a_body_without_a_length_is_read_when_it_is_of_a_clouds_kind(told, kind, read):
    answer = ask(told, raw=chunked(DENIED, kind))
    assert (answer.status, answer.body) == (403, DENIED)
    assert [report.body for report in told.reports()] == [DENIED if read else b""]


def test_an_answer_that_the_arbiter_asked_for_is_reported(told):
    told.permit.headers["x-remit-tell"] = "1"
    told.says = reply()
    body = b'{"name": "projects/1/locations/us-central1/customJobs/2"}'
    answer = ask(told, 200, body=body)
    assert (answer.status, answer.body) == (200, body)
    assert not [name for name in answer.headers if name.startswith("x-remit-")]
    [report] = told.reports()
    assert (report.one("x-remit-status"), report.body) == ("200", body)
    assert report.one("x-remit-location") is None


@pytest.mark.parametrize(("size", "told_of"), [(100, True), (5000, False)])
def test_the_address_of_an_upload_that_began_is_reported(told, size, told_of):
    told.permit.headers["x-remit-tell"] = "1"
    told.says = reply()
    address = "https://storage.googleapis.com/upload/storage/v1/b/b/o?uploadType=resumable&upload_id=" + "a" * size
    answer = ask(told, 200, {"location": address}, b"")
    assert (answer.status, answer.headers["location"]) == (200, address)
    [report] = told.reports()
    assert report.one("x-remit-location") == (address if told_of else None)


def calls(told, status, said="", body=b"answer"):
    """Methods of the upstream's gRPC end with this status."""

    def unary(_, context):
        if status is not grpc.StatusCode.OK:
            context.abort(status, said)
        return body

    told.world.upstream.calls.service = lambda _: grpc.unary_unary_rpc_method_handler(unary)


@pytest.mark.parametrize(
    ("status", "number"),
    [
        (grpc.StatusCode.PERMISSION_DENIED, "7"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "8"),
        (grpc.StatusCode.UNAUTHENTICATED, "16"),
        (grpc.StatusCode.NOT_FOUND, None),
    ],
)
def test_a_call_that_was_refused_upstream(told, status, number):
    calls(told, status, "Permission 'x' denied, really: ü")
    with pytest.raises(grpc.RpcError) as caught:
        told.world.rpc(b"\x0a\x01x", token=told.token)
    assert (caught.value.code(), caught.value.details()) == (status, "Permission 'x' denied, really: ü")
    said = dict([*caught.value.initial_metadata(), *caught.value.trailing_metadata()])
    assert said.get("x-remit-upstream") == ("iam" if number else None)
    assert said.get("x-remit-decision") == (DECISION if number else None)
    assert [report.one("x-remit-grpc-status") for report in told.reports()] == ([number] if number else [])
    assert all(
        report.one("x-remit-grpc-message") == "Permission 'x' denied, really: %C3%BC" for report in told.reports()
    )


def test_a_call_that_the_arbiter_asked_for(told):
    told.permit.headers["x-remit-tell"] = "1"
    calls(told, grpc.StatusCode.OK)
    assert told.world.rpc(b"\x0a\x01x", token=told.token) == b"answer"
    [report] = told.reports()
    assert report.body == b"\0\0\0\0\x06answer"
    assert (report.one("x-remit-status"), report.one("x-remit-grpc-status")) == ("200", "0")
    assert report.one("x-remit-content-type") == "application/grpc"


def test_a_lease_goes_on_reporting(told):
    told.permit = told.world.arbiter.permit(500)
    for _ in range(3):
        assert ask(told).headers["x-remit-upstream"] == "iam"
    assert len(told.reports()) == 3
    assert len(told.world.arbiter.seen) == 4
