"""`/v1/jobs` and `/v1/lifetime`: the form of what is asked, and of every answer."""

import asyncio

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from remit.access.run import Begin, Ruling
from remit.arbiter.cookies import SESSION
from remit.arbiter.jobs import Jobs
from remit.model.decision import Circumstances, Decision, Verdict
from remit.model.lifetime import Hop
from remit.model.names import decision_id
from remit.model.outcome import Outcome
from remit.model.reasons import Reason

NOW = 1_800_000_000
ORIGIN = "https://door.example"
JOB = "j-" + "1" * 26
SIGNED = {"authorization": "Bearer t"}
ENDS = Hop("sign-in", 600, renews=False, why="it ends", change="sign in", source="https://page")
RENEWS = Hop("token", None, renews=True, why="it renews", source="https://other")
TOLD = {"hop": "sign-in", "lasts": 600, "why": "it ends", "change": "sign in"}


class House:
    """The story, told how to come out; keeps what it was asked."""

    def __init__(self):
        self.verdict = Verdict(Outcome.PERMIT, (Reason.POLICY_PERMITS,), detail="fine", hint="go")
        self.done = True
        self.asked = []

    def _ruling(self, *asked, **more):
        self.asked.append(asked)
        at = NOW * 1_000_000
        decision = Decision(decision_id(at), at, self.verdict, Circumstances(now=NOW))
        return Ruling(decision, done=True, hops=(ENDS, RENEWS), **more) if self.done else Ruling(decision)

    async def start(self, caller, begin):
        return self._ruling("start", caller, begin, ids=("g-1",), outlived=(ENDS,), lasting=900)

    async def end(self, caller, job):
        return self._ruling("end", caller, job, ids=("g-1",))

    async def outlook(self, caller, begin):
        return self._ruling("outlook", caller, begin, outlived=(ENDS,), lasting=900)

    def send(self, method, path, **arguments):
        async def send():
            endpoint = Jobs(self, ORIGIN)
            routes = [
                Route("/v1/jobs", endpoint.jobs, methods=["POST", "DELETE"]),
                Route("/v1/lifetime", endpoint.lifetime),
            ]
            transport = httpx.ASGITransport(Starlette(routes=routes))
            async with httpx.AsyncClient(transport=transport, base_url="http://host.example") as client:
                return await client.request(method, path, **arguments)

        return asyncio.run(send())


@pytest.fixture
def house():
    return House()


@pytest.mark.promise("N2")
def test_a_run_begins_and_is_told_what_it_outlives(house):
    body = {"job": JOB, "name": "nightly", "project": "p", "lasting": 900}
    answer = house.send("POST", "/v1/jobs", json=body, headers={**SIGNED, "x-remit-peer": "10.0.0.1"})
    found = answer.json()
    assert found.pop("decision").startswith("d-")
    assert found == {"grants": ["g-1"], "outlived": [TOLD], "lasting": 900}
    [(_, caller, begin)] = house.asked
    assert (caller.token.reveal(), caller.peer, begin) == ("t", "10.0.0.1", Begin(JOB, "nightly", "p", 900))
    house.send("POST", "/v1/jobs", json={"job": JOB}, headers=SIGNED)
    assert house.asked[1][2] == Begin(JOB)


@pytest.mark.promise("N1")
def test_a_run_ends(house):
    answer = house.send("DELETE", f"/v1/jobs?job={JOB}", headers=SIGNED)
    assert (answer.status_code, answer.json()) == (200, {"grants": ["g-1"]})
    assert house.asked[0][2] == JOB


@pytest.mark.promise("N2")
@pytest.mark.promise("V13")
def test_the_outlook_names_every_hop(house):
    answer = house.send("GET", "/v1/lifetime?project=p&lasting=900&name=nightly", headers=SIGNED)
    assert answer.json() == {
        "lasting": 900,
        "declared": True,
        "hops": [
            {**TOLD, "renews": False, "source": "https://page"},
            {
                "hop": "token",
                "lasts": None,
                "why": "it renews",
                "change": "",
                "renews": True,
                "source": "https://other",
            },
        ],
        "outlived": [TOLD],
        "outcome": "permit",
        "detail": "fine",
        "hint": "go",
    }
    assert house.asked[0][2] == Begin("", "nightly", "p", 900)
    found = house.send("GET", "/v1/lifetime", headers=SIGNED).json()
    assert (found["outcome"], found["detail"], found["hint"], found["declared"]) == ("", "", "", False)
    house.verdict = Verdict(Outcome.DENY, (Reason.POLICY_FORBIDS,))
    assert house.send("GET", "/v1/lifetime?project=p", headers=SIGNED).json()["outcome"] == "deny"


CALLS = [
    ("POST", "/v1/jobs", {"job": JOB}),
    ("DELETE", f"/v1/jobs?job={JOB}", None),
    ("GET", "/v1/lifetime?project=p", None),
]


@pytest.mark.parametrize("call", CALLS, ids=str)
@pytest.mark.parametrize(
    ("reason", "status"),
    [
        (Reason.POLICY_FORBIDS, 403),
        (Reason.TOKEN_MISSING, 401),
        (Reason.RECORD_UNAVAILABLE, 503),
        (Reason.REQUEST_MALFORMED, 400),
    ],
)
def test_refusals_name_their_reason_and_their_decision(house, call, reason, status):
    house.verdict, house.done = Verdict(reason.outcome, (reason,)), False
    method, path, document = call
    answer = house.send(method, path, headers=SIGNED, **({"json": document} if document else {}))
    assert (answer.status_code, answer.json()["error"]) == (status, str(reason))
    assert answer.headers["x-remit-decision"] in answer.json()["error_description"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"name": "n"}',
        b'{"job": 1}',
        b'{"job": "a", "x": 1}',
        b'{"job": "a", "lasting": "1"}',
        b'{"job": "a", "lasting": true}',
        b'{"job": "a", "lasting": 1.5}',
        b'{"job": "a", "project": null}',
        b'{"job": "a", "job": "b"}',
        b'{"job": "a", "name": "\\n"}',
    ],
)
def test_a_run_that_is_not_understood_asks_nobody(house, body):
    answer = house.send("POST", "/v1/jobs", content=body, headers=SIGNED)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    assert house.asked == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/lifetime?lasting=-1"),
        ("GET", "/v1/lifetime?lasting=1h"),
        ("GET", "/v1/lifetime?lasting=%D9%A1"),
        ("GET", "/v1/lifetime?lasting=1&lasting=2"),
        ("GET", "/v1/lifetime?lasting=" + "1" * 10),
        ("GET", "/v1/lifetime?for=1"),
        ("DELETE", f"/v1/jobs?job={JOB}&job=j-2"),
        ("DELETE", f"/v1/jobs?job={JOB}&principal=x"),
    ],
)
def test_a_question_that_is_not_understood_asks_nobody(house, method, path):
    assert house.send(method, path, headers=SIGNED).status_code == 400
    assert house.asked == []


@pytest.mark.parametrize("call", CALLS[:2], ids=str)
def test_another_site_neither_begins_nor_ends_a_run(house, call):
    method, path, document = call
    arguments = {"json": document} if document else {}
    for origin in ({}, {"origin": "https://evil.example"}):
        headers = {"cookie": f"{SESSION}={'a' * 43}", **origin}
        answer = house.send(method, path, headers=headers, **arguments)
        assert answer.status_code in {400, 401}
    assert [asked for asked in house.asked if asked[1].session is not None] == []
