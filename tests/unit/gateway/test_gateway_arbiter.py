"""The arbiter away, slow, or talking nonsense: a refusal within a second, never a permit (faults F1, F20, NT23)."""

import time

import grpc
import pytest


def unavailable(world, answer):
    assert (answer.status, answer.reason) == (503, "plane_unavailable")
    assert world.upstream.seen == []


def broken(world):
    """Answers that are nearly a permit."""
    permit = world.arbiter.permit

    def changed(status=200, body=b"", **headers):
        reply = permit(500)
        reply.status, reply.body = status, body
        for name, value in headers.items():
            reply.headers.pop(name.replace("_", "-"))
            if value is not None:
                reply.headers[name.replace("_", "-")] = value
        return reply

    with_reason = permit(500)
    with_reason.headers["x-remit-reason"] = "no_policy_permits"
    raw = type(permit())
    return {
        "no decision": changed(x_remit_decision=None),
        "odd decision": changed(x_remit_decision="d-1 2"),
        "decision too long": changed(x_remit_decision="d-" + "1" * 80),
        "no credential": changed(authorization=None),
        "basic credential": changed(authorization="Basic x"),
        "empty credential": changed(authorization="Bearer "),
        "no epoch": changed(x_remit_epoch=None),
        "epoch of words": changed(x_remit_epoch="newest"),
        "epoch too long": changed(x_remit_epoch="1" * 16),
        "no lease": changed(x_remit_lease_ms=None),
        "negative lease": changed(x_remit_lease_ms="-1"),
        "lease of words": changed(x_remit_lease_ms="soon"),
        "permit with a reason": with_reason,
        "created": changed(201),
        "no content": changed(204),
        "redirect": changed(302),
        "server error": changed(500),
        "teapot": changed(418),
        "empty": raw(200, {}),
        "not HTTP": raw(raw=b"hello\r\n\r\n"),
        "cut off": raw(raw=b"HTTP/1.1 200 OK\r\nx-remit-decision: d-1\r\ncontent-length: 9\r\n\r\nabc"),
        "refusal of an odd status": raw(418, {"x-remit-reason": "no_policy_permits"}),
        "refusal with an odd reason": raw(403, {"x-remit-reason": "No Policy"}),
        "refusal without a reason": raw(403, {}),
    }


NAMES = (
    "no decision", "odd decision", "decision too long", "no credential", "basic credential", "empty credential", "no epoch",
    "epoch of words", "epoch too long", "no lease",
    "negative lease", "lease of words", "permit with a reason", "created", "no content", "redirect", "server error",
    "teapot", "empty", "not HTTP", "cut off", "refusal of an odd status", "refusal with an odd reason",
    "refusal without a reason",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_only_a_whole_permit_is_one(world, name):
    reply = broken(world)[name]
    world.arbiter.answer = lambda _: reply
    unavailable(world, world.call(f"/v1/{name.replace(' ', '')}", token=world.issuer.token()))
    assert len(world.arbiter.seen) == 1


def test_every_broken_answer_is_tried(world):
    assert set(broken(world)) == set(NAMES)


def test_a_hung_arbiter(world):
    world.arbiter.answer = lambda _: world.arbiter.permit(500).__class__(delay=3)
    began = time.monotonic()
    unavailable(world, world.call("/v1/hung", token=world.issuer.token()))
    assert time.monotonic() - began < 1


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
