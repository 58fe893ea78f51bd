"""What the gateway tells of upstreams' answers: how it is read, and that nothing of it ever fails."""

import asyncio

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from remit.arbiter.answered import PATH, Answered
from remit.model.causes import Cause
from remit.model.wire import UpstreamAnswer

TOLD = {
    "x-remit-host": "us-central1-aiplatform.googleapis.com",
    "x-remit-status": "403",
    "x-remit-content-type": "application/json",
}


def tell(headers, content=b"{}", cause=None, decision="d-1"):
    """The answer, and what the story was told."""
    told = []

    async def learn(name, host, answer):
        told.append((name, host, answer))
        return cause

    async def go():
        transport = httpx.ASGITransport(Starlette(routes=[Route(PATH, Answered(learn).__call__, methods=["POST"])]))
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            return await client.post(f"/answered/{decision}", headers=headers, content=content)

    answer = asyncio.run(go())
    assert answer.status_code == 200
    assert answer.content == b""
    return answer, told


@pytest.mark.parametrize("cause", Cause)
def test_a_refusal_has_its_cause(cause):
    answer, told = tell(TOLD, b'{"error":{}}', cause)
    assert answer.headers["x-remit-upstream"] == str(cause)
    assert "x-remit-reason" not in answer.headers
    assert told == [("d-1", TOLD["x-remit-host"], UpstreamAnswer(403, "application/json", body=b'{"error":{}}'))]


def test_everything_else_has_none():
    answer, _ = tell({**TOLD, "x-remit-status": "200"})
    assert "x-remit-upstream" not in answer.headers


def test_a_grpc_status_and_its_message():
    grpc = {"x-remit-status": "200", "x-remit-grpc-status": "7", "x-remit-grpc-message": "no%3A %C3%A9 %zz %FF"}
    _, [(_, host, answer)] = tell(grpc, b"")
    assert host == ""
    assert answer == UpstreamAnswer(200, "", 7, "no: é %zz \N{REPLACEMENT CHARACTER}")


@pytest.mark.parametrize("status", ["", "x", "99", "600", "-1", "4 3", "²00", "0200", "99999999999999999999"])
def test_what_has_no_status_is_not_told(status):
    headers = [(name, value) for name, value in TOLD.items() if name != "x-remit-status"]
    _, told = tell([*headers, (b"x-remit-status", status.encode("utf-8"))])
    assert told == []


def test_a_status_that_is_said_twice_is_none():
    _, told = tell([*TOLD.items(), ("x-remit-status", "200")])
    assert told == []


@pytest.mark.parametrize(("size", "kept"), [(64 << 10, 64 << 10), ((64 << 10) + 1, 0)])
def test_a_body_has_a_bound(size, kept):
    _, [(_, _, answer)] = tell(TOLD, bytes(size))
    assert len(answer.body) == kept


@pytest.mark.parametrize(("status", "read"), [("17", -1), ("16", 16), ("0", 0), ("x", -1), ("", -1)])
def test_grpc_statuses_are_those_that_there_are(status, read):
    _, [(_, _, answer)] = tell({**TOLD, "x-remit-grpc-status": status})
    assert answer.grpc_status == read
