"""The check's own headers: the job that a tunnel carries, the upgrade, the epoch of every answer, the word to ask again."""

import asyncio

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from remit.arbiter import check as check_module
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


AGAIN = {"x-remit-again": "1"}


class Cold:
    """A story that takes as long as a test wants; `done` counts those that came to their end."""

    def __init__(self):
        self.go = asyncio.Event()
        self.asked = self.done = 0
        self.error = None

    async def __call__(self, wire, refused):
        self.asked += 1
        await self.go.wait()
        self.done += 1
        if self.error:
            raise self.error
        at = NOW * 1_000_000
        decision = Decision(
            decision_id(at), at, Verdict(Outcome.PERMIT, (Reason.POLICY_PERMITS,)), Circumstances(now=NOW, epoch=7)
        )
        return Answer(decision, Credential(AccessToken("ya29.good"), NOW + 900, "sa@p", ("s",)), 500)

    def asking(self, patience):
        check = Check(self, patience=patience)
        routes = [
            Route("/check/{path:path}", check.__call__, methods=["GET"]),
            Route("/forwarded-check", check.forwarded, methods=["GET"]),
        ]
        transport = httpx.ASGITransport(Starlette(routes=routes))
        return check, httpx.AsyncClient(transport=transport, base_url="http://vertex.example")


def test_who_asks_again_is_told_to_while_the_decision_goes_on():
    async def go():
        cold = Cold()
        check, client = cold.asking(0.01)
        async with client:
            answer = await client.get("/check/v1/x", headers=AGAIN)
            assert (answer.status_code, answer.content, cold.done) == (503, b"", 0)
            assert {name for name in answer.headers if name.startswith("x-")} == {"x-remit-again"}
            assert answer.headers["x-remit-again"] == "1"
            cold.go.set()
            await asyncio.gather(*check._left, return_exceptions=True)
            await asyncio.sleep(0)
            assert not check._left
            assert (cold.asked, cold.done) == (1, 1)
            # and the next question is a decision of its own
            answer = await client.get("/check/v1/x", headers=AGAIN)
            assert (answer.status_code, cold.asked) == (200, 2)
            assert "x-remit-again" not in answer.headers

    asyncio.run(go())


def test_the_decision_goes_on_when_the_gateway_goes_away():
    async def go():
        cold = Cold()
        check, client = cold.asking(10)
        async with client:
            asked = asyncio.create_task(client.get("/check/v1/x", headers=AGAIN))
            for _ in range(1_000):  # turns of the loop, which take no time
                await asyncio.sleep(0)
            assert cold.asked
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)
            assert len(check._left) == 1  # held, or it could be collected half-way
            cold.go.set()
            await asyncio.gather(*check._left, return_exceptions=True)
            await asyncio.sleep(0)
            assert (cold.done, check._left) == (1, set())

    asyncio.run(go())


@pytest.mark.parametrize(
    ("path", "headers", "patience"),
    [
        ("/check/v1/x", [], 0.01),
        ("/check/v1/x", [("x-remit-again", "0")], 0.01),
        ("/check/v1/x", [("x-remit-again", "1")] * 2, 0.01),
        ("/check/v1/x", [("x-remit-again", "1,1")], 0.01),
        ("/check/v1/x", [("x-remit-again", "1")], None),
        ("/forwarded-check", [("x-remit-again", "1"), ("x-forwarded-uri", "/v1/x")], 0.01),
    ],
)
def test_who_does_not_ask_again_waits_for_the_decision(path, headers, patience):
    async def go():
        cold = Cold()
        _, client = cold.asking(patience)
        async with client:
            asked = asyncio.create_task(client.get(path, headers=headers))
            await asyncio.sleep(0.2)
            assert (asked.done(), cold.asked) == (False, 1)
            cold.go.set()
            return await asked

    answer = asyncio.run(go())
    assert answer.status_code == 200
    assert "x-remit-again" not in answer.headers


def test_what_goes_wrong_in_a_decision_that_nobody_awaits_is_seen(caplog):
    async def go():
        cold = Cold()
        cold.error = RuntimeError("private")
        check, client = cold.asking(0.01)
        async with client:
            assert (await client.get("/check/v1/x", headers=AGAIN)).status_code == 503
            cold.go.set()
            await asyncio.gather(*check._left, return_exceptions=True)
            await asyncio.sleep(0)
            assert not check._left

    asyncio.run(go())
    assert "never retrieved" not in caplog.text


def test_an_arbiter_that_is_overrun_leaves_no_more_decisions_behind(monkeypatch):
    monkeypatch.setattr(check_module, "_LEFT", 2)

    async def go():
        cold = Cold()
        check, client = cold.asking(0.01)
        async with client:
            for _ in range(2):
                assert (await client.get("/check/v1/x", headers=AGAIN)).status_code == 503
            asked = asyncio.create_task(client.get("/check/v1/x", headers=AGAIN))
            await asyncio.sleep(0.2)
            assert (asked.done(), len(check._left)) == (False, 2)
            cold.go.set()
            return await asked

    assert asyncio.run(go()).status_code == 200
