"""The arbiter away, slow, or talking nonsense: a refusal within a second, never a permit (faults F1, F20, NT23)."""

import time

import grpc
import pytest


def unavailable(world, answer):
    assert (answer.status, answer.reason) == (503, "plane_unavailable")
    assert world.upstream.seen == []


PERMIT = {
    "x-remit-decision": "d-01JD000000000000000000000A",
    "authorization": "Bearer ya29.google",
    "x-remit-lease-ms": "500",
    "x-remit-epoch": "0",
}
REFUSAL = {"x-remit-decision": "d-1", "x-remit-reason": "no_policy_permits"}


def answered(headers, status=200, body=b"", length=None):
    """The bytes of an answer; a header may stand several times."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    head = f"HTTP/1.1 {status} X\r\n{lines}content-length: {len(body) if length is None else length}\r\n\r\n"
    return head.encode("latin-1") + body


def without(name):
    return [pair for pair in PERMIT.items() if pair[0] != name]


def said(name, value):
    return answered([*without(name), (name, value)])


ODD = {
    "x-remit-decision": ("", "d-", "d-1 2", "d-" + "1" * 80, "1", "d-1,d-2", "d-\xe9", "D-1", "d-1/../2"),
    "authorization": ("", "Basic x", "Bearer", "Bearer ", "Bearer a b", "Bearer a,b", "bearer x", "Bearer \xe9", "x"),
    "x-remit-lease-ms": ("", "-1", "soon", "1.5", "1e3", "+5", "0x10", "5000000", "1,2", "5 ms"),
    "x-remit-epoch": ("", "newest", "-1", "1.0", "1" * 16, "1,1", "0x1"),
    "x-remit-body": ("", "whole", "Replace", "replace,replace", "none", "1"),
    "x-remit-tell": ("", "0", "true", "1,1", "yes"),
    "x-remit-again": ("", "0", "1", "1,1"),  # of a permit: then it is none
    "x-remit-reason": ("", "no_policy_permits", "none"),
    "x-remit-assertion": ("", "a.b.c", "x"),
}
DOUBLED = (*PERMIT, "x-remit-again", "x-remit-body", "x-remit-tell")
BROKEN = {
    **{f"no {name}": answered(without(name)) for name in PERMIT},
    **{f"{name} of {value[:12]!r}": said(name, value) for name, values in ODD.items() for value in values},
    **{f"two {name}": answered([*PERMIT.items(), *[(name, PERMIT.get(name, "1"))] * 2]) for name in DOUBLED},
    **{f"two unlike {name}": answered([*PERMIT.items(), (name, "d-2")]) for name in PERMIT},
    "a huge authorization": said("authorization", "Bearer " + "y" * 17_000),
    "a huge header": answered([*PERMIT.items(), ("x-other", "y" * 100_000)]),
    "a thousand headers": answered([*PERMIT.items(), *((f"x-{number}", "y") for number in range(1000))]),
    **{
        f"a permit that is {status}": answered(PERMIT.items(), status)
        for status in (201, 204, 206, 302, 400, 403, 418, 500)
    },
    "a body instead of none": answered([*PERMIT.items(), ("x-remit-body", "replace")], body=b"{}"),
    "nothing": answered([]),
    "no HTTP": b"hello\r\n\r\n",
    "no answer": b"",
    "cut off in its body": answered(PERMIT.items(), body=b"abc", length=9),
    "cut off in its head": answered(PERMIT.items())[:-9],
    "a length of words": answered(PERMIT.items(), length="many"),
    "two lengths": answered([*PERMIT.items(), ("content-length", "5")], body=b"abc"),
    "a refusal of an odd status": answered(REFUSAL.items(), 418),
    "a refusal with an odd reason": answered([("x-remit-reason", "No Policy")], 403),
    "a refusal with a long reason": answered([("x-remit-reason", "a" * 65)], 403),
    "a refusal with two reasons": answered([("x-remit-reason", "a"), ("x-remit-reason", "b")], 403),
    "a refusal without a reason": answered([], 403),
    "a refusal of an odd decision": answered([("x-remit-reason", "a"), ("x-remit-decision", "x y")], 403),
}


@pytest.mark.parametrize("name", BROKEN)
def test_only_a_whole_permit_is_one(world, name):
    reply = world.arbiter.permit().__class__(raw=BROKEN[name])
    world.arbiter.answer = lambda _: reply
    unavailable(world, world.call("/v1/broken", token=world.issuer.token()))
    assert 1 <= len(world.arbiter.seen) <= 6  # what is no HTTP is asked for again: an arbiter may just have gone


def test_the_whole_permit_that_these_are_broken_from(world):
    reply = world.arbiter.permit().__class__(raw=answered(PERMIT.items()))
    world.arbiter.answer = lambda _: reply
    assert world.call("/v1/whole", token=world.issuer.token()).status == 200
    assert len(world.upstream.seen) == 1


@pytest.mark.parametrize("status", ["", "0", "00", "x", "7 7", "123", "7"])
def test_no_refusal_of_a_call_is_said_as_success(world, status):
    world.arbiter.answer = lambda _: world.arbiter.refuse(**{"x-remit-grpc-status": status})
    with pytest.raises(grpc.RpcError) as caught:
        world.rpc(b"\x0a\x01x", token=world.issuer.token())
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert world.upstream.seen == []


JSON = "Content-Type: application/json\r\n"
CREATE = "/google.cloud.aiplatform.v1.JobService/CreateCustomJob"


def instead(world, body, **more):
    """The arbiter permits, and puts this in the place of the body."""

    def answer(_):
        reply = world.arbiter.permit(500)
        reply.headers |= {"x-remit-body": "replace"} | more
        reply.body = body
        return reply

    world.arbiter.answer = answer


@pytest.mark.parametrize("new", [b'{"labels": {"remit": "d-1"}}', b"{}", b"x" * 3_000_000])
def test_the_arbiters_body_goes_upstream(world, new):
    instead(world, new)
    for _ in range(2):
        answer = world.call("/v1/jobs", method="POST", token=world.issuer.token(), headers=JSON, body=b'{"a": 1}')
        assert (answer.status, answer.body) == (200, new)
    assert [seen.body for seen in world.upstream.seen] == [new, new]
    assert {seen.one("content-length") for seen in world.upstream.seen} == {str(len(new))}
    assert len(world.arbiter.seen) == 2  # never repeated: it belongs to one message


def test_the_arbiters_message_goes_upstream(world):
    new = world.message(f1="projects/p", f2="stamped")
    instead(world, b"\0" + len(new).to_bytes(4, "big") + new)
    for params, kept in (("parent=projects%2Fp", 1), ("parent=projects%2Fq", 0)):
        metadata = (("x-goog-request-params", params),)
        assert world.rpc(world.message(f1="projects/q"), CREATE, world.issuer.token(), metadata) == new
        assert len(world.upstream.seen[-1].all("x-goog-request-params")) == kept
    assert [seen.body for seen in world.upstream.seen] == [new, new]


@pytest.mark.parametrize(
    "new",
    [b"", b"\0\0\0\0\x02x", b"\0\0\0\0\x01xy", b"\1\0\0\0\x01x", b"\0\0\0\0\0" * 2, b"{}", b"x" * (4 * 2**20 + 1)],
)
def test_a_message_is_replaced_by_one_message_or_not_at_all(world, new):
    instead(world, new)
    with pytest.raises(grpc.RpcError) as caught:
        world.rpc(b"\x0a\x01x", CREATE, world.issuer.token())
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert world.upstream.seen == []


@pytest.mark.parametrize(
    ("method", "path", "body", "new"),
    [
        ("GET", "/v1/jobs", b"", b"{}"),
        ("DELETE", "/v1/jobs", b"", b"{}"),
        ("POST", "/v1/e:rawPredict", b"{}", b"{1}"),
        ("POST", "/v1/e:streamRawPredict", b"{}", b"{1}"),
        ("POST", "/v1/jobs", b"{}", b""),
        ("POST", "/v1/jobs", b"{}", b"x" * (4 * 2**20 + 1)),
    ],
)
def test_only_what_was_read_is_replaced(world, method, path, body, new):
    instead(world, new)
    unavailable(world, world.call(path, method=method, token=world.issuer.token(), headers=JSON, body=body))


def test_a_hung_arbiter(world):
    world.arbiter.answer = lambda _: world.arbiter.permit(500).__class__(delay=3)
    began = time.monotonic()
    unavailable(world, world.call("/v1/hung", token=world.issuer.token()))
    assert time.monotonic() - began < 1


def again(world, times, after=None, **more):
    """The arbiter needs longer than so many questions last, and then answers."""
    reply = world.arbiter.permit(500).__class__

    def answer(_):
        if len(world.arbiter.seen) <= times:
            return reply(503, {"x-remit-again": "1"} | more)
        return after or world.arbiter.permit(500)

    world.arbiter.answer = answer


@pytest.mark.parametrize("times", [1, 2, 3])
def test_an_arbiter_that_needs_longer_is_asked_again(world, times):
    again(world, times)
    token = world.issuer.token()
    answer = world.call("/v1/cold?a=b", token=token, headers=JSON, method="POST", body=b'{"a": 1}')
    assert answer.status == 200
    assert not [name for name in answer.headers if name.startswith("x-remit-")]
    first, *others = world.arbiter.seen
    assert len(others) == times
    for seen in others:  # the same question
        assert (seen.method, seen.target, seen.body) == (first.method, first.target, first.body) == (
            "POST", "/check/v1/cold?a=b", b'{"a": 1}',
        )  # fmt: skip
        assert [seen.one(name) for name in ("authorization", "content-type", "x-remit-body", "x-remit-peer")] == [
            first.one(name) for name in ("authorization", "content-type", "x-remit-body", "x-remit-peer")
        ]
    # the arbiter is told as long as it will be asked again
    assert [seen.one("x-remit-again") for seen in world.arbiter.seen] == ["1", "1", "1", None][: times + 1]
    [sent] = world.upstream.seen
    assert not [name for name, _ in sent.headers if name == "x-remit-again"]


def test_an_arbiter_that_needs_longer_for_ever(world):
    again(world, 100)
    answer = world.call("/v1/never", token=world.issuer.token())
    unavailable(world, answer)
    assert "x-remit-again" not in answer.headers
    assert len(world.arbiter.seen) == 4
    with pytest.raises(grpc.RpcError) as caught:
        world.rpc(b"\x0a\x01x", token=world.issuer.token())
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert len(world.arbiter.seen) == 8
    assert world.upstream.seen == []


def test_what_it_says_at_last_counts(world):
    again(world, 2, world.arbiter.refuse(403, "revoked"))
    assert world.call("/v1/revoked", token=world.issuer.token()).reason == "revoked"
    assert len(world.arbiter.seen) == 3
    assert world.upstream.seen == []


def test_no_other_word_asks_for_another_question(world):
    replies = [
        *(answered([("x-remit-again", value)], 503) for value in ("", "0", "2", "true", "1,1", "1 1", "01")),
        answered([("x-remit-again", "1")] * 2, 503),
        *(answered([("x-remit-again", "1")], status) for status in (200, 204, 403, 429, 500, 504)),
        *(answered([*REFUSAL.items(), ("x-remit-again", "1")], status) for status in (401, 403)),
        answered([("x-remit-agains", "1")], 503),
    ]
    for number, raw in enumerate(replies):
        reply = world.arbiter.permit().__class__(raw=raw)
        world.arbiter.answer = lambda _, reply=reply: reply
        unavailable(world, world.call(f"/v1/{number}", token=world.issuer.token()))
        assert len(world.arbiter.seen) == number + 1


def test_a_caller_says_nothing_of_asking_again(world):
    world.arbiter.answer = lambda _: world.arbiter.refuse()
    forged = "x-remit-again: 0\r\nX-Remit-Again: 1\r\n"
    assert world.call("/v1/forged", token=world.issuer.token(), headers=forged).status == 403
    assert [seen.all("x-remit-again") for seen in world.arbiter.seen] == [["1"]]
    # nor does what is behind it: that answer is the caller's
    world.arbiter.answer = lambda _: world.arbiter.permit(500)
    world.upstream.answer = lambda _: world.arbiter.permit().__class__(503, {"x-remit-again": "1"})
    answer = world.call("/v1/behind", token=world.issuer.token())
    assert (answer.status, len(world.upstream.seen), len(world.arbiter.seen)) == (503, 1, 2)


def test_a_dead_arbiter_and_its_return(world):
    token = world.issuer.token()
    world.arbiter.stop()
    try:
        began = time.monotonic()
        unavailable(world, world.call("/v1/dead", token=token))
        assert time.monotonic() - began < 1
        with pytest.raises(grpc.RpcError) as caught:
            world.rpc(b"\x0a\x01x", token=token)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    finally:
        world.arbiter.start()
    began = time.monotonic()
    while (status := world.call("/v1/dead", token=token).status) != 200 and time.monotonic() - began < 2:
        time.sleep(0.05)
    assert status == 200


def test_without_keys_every_check_is_refused(another_world):
    world = another_world()
    world.loop.run(world.envoy.stop())
    world.loop.run(world.envoy.start())
    assert not world.loop.run(world.envoy.healthy())
    unavailable(world, world.call(token=world.issuer.token()))
    with pytest.raises(grpc.RpcError) as caught:
        world.rpc(b"\x0a\x01x", token=world.issuer.token())
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert world.arbiter.seen == []
    world.loop.run(world.envoy.update_keys(world.issuer.keys))
    assert world.call(token=world.issuer.token()).status == 200
