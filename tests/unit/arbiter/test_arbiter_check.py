"""The check's own headers: the job that a tunnel carries, the upgrade, and the epoch of every recorded answer."""

import asyncio

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from remit.arbiter.check import Check
from remit.model.credential import Credential
from remit.model.decision import Answer, Circumstances, Decision, Verdict
from remit.model.names import decision_id
from remit.model.outcome import Outcome
from remit.model.reasons import Reason
from remit.model.secret import AccessToken

NOW = 1_800_000_000
JOB = "j-0123456789abcdefghijklmnop"


def ask(headers, outcome=Outcome.PERMIT, reason=Reason.POLICY_PERMITS, epoch=7):
    """The answer, and the request as the story got it."""
    asked = []

    async def decide(wire, refused):
        asked.append(wire)
        circumstances = Circumstances(now=NOW, epoch=epoch)
        decision = Decision(decision_id(NOW * 1_000_000), NOW * 1_000_000, Verdict(outcome, (reason,)), circumstances)
        return Answer(decision, Credential(AccessToken("ya29.good"), NOW + 900, "sa@p", ("s",)), 500)

    async def go():
        check = Check(decide)
        app = Starlette(routes=[Route("/check/{path:path}", check.__call__, methods=["GET"])])
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://vertex.example") as client:
            return await client.get("/check/v1/x", headers=headers)

    return asyncio.run(go()), asked[0]


def test_a_permit_carries_its_epoch():
    answer, _ = ask([])
    assert (answer.status_code, answer.headers["x-remit-epoch"]) == (200, "7")


def test_a_refusal_carries_its_epoch():
    answer, _ = ask([], Outcome.DENY, Reason.NO_POLICY_PERMITS, 12)
    assert (answer.status_code, answer.headers["x-remit-epoch"]) == (403, "12")


def test_the_job_of_the_tunnel():
    _, wire = ask([("x-remit-job", JOB), ("accept", "*/*")])
    assert wire.job == JOB
    assert not [name for name, _ in wire.headers if name.startswith("x-remit-")]


@pytest.mark.parametrize(
    "given",
    [
        [],
        [("x-remit-job", "")],
        [("x-remit-job", JOB + "x")],
        [("x-remit-job", JOB.upper())],
        [("x-remit-job", "j-1")],
        [("x-remit-job", JOB), ("x-remit-job", JOB)],
    ],
)
def test_what_is_no_job(given):
    _, wire = ask(given)
    assert wire.job == ""


def test_a_websocket_is_no_plain_get():
    _, wire = ask([("x-remit-upgrade", "websocket")])
    assert wire.header("upgrade") == "websocket"
    _, wire = ask([])
    assert wire.header("upgrade") == ""
