"""`/v1/grants`: the form of what is asked, and of every answer."""

import asyncio
import json
from dataclasses import replace

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from remit.access.asking import Caller
from remit.access.request import Ruling, Said, Told, Wish
from remit.arbiter.cookies import SESSION
from remit.arbiter.grants import Grants
from remit.model.decision import Circumstances, Decision, Verdict
from remit.model.grant import Grant, GrantState, Kept, Step, Vote, Wanted
from remit.model.identity import Authentication, Identity, Kind, Principal
from remit.model.names import decision_id
from remit.model.operation import Resource
from remit.model.outcome import Outcome
from remit.model.reasons import Reason

NOW = 1_800_000_000
ORIGIN = "https://door.example"
JOB = "j-" + "1" * 26
SAM = Identity(
    principal=Principal("https://login.microsoftonline.com/tid/v2.0", "tid", "sam", Kind.PERSON),
    display="Sam",
    groups=frozenset(),
    groups_at=NOW,
    roles=frozenset(),
    scopes=frozenset(),
    client="cli",
    authentication=Authentication(capabilities=frozenset({"cp1"})),
    guest=False,
    issued_at=NOW,
    expires_at=NOW + 3600,
    token_id="uti",
)
WANTED = Wanted("tid/dana", "launch", Resource("Project", "//projects/p", "p"), 7200, "a fire", "nightly")
VOTE = Vote("tid/ada", "Ada", Step.APPROVE, NOW + 1, "yes", WANTED.digest)
KEPT = Kept("g-1", WANTED, "Dana", 2, GrantState.GRANTED, NOW, NOW + 600, NOW + 5, NOW + 7205, JOB, (VOTE,))
SHOWN = {
    "id": "g-1",
    "principal": "tid/dana",
    "name": "Dana",
    "action": "launch",
    "resource": "//projects/p",
    "project": "p",
    "for": 7200,
    "because": "a fire",
    "job": "nightly",
    "break_glass": False,
    "state": "granted",
    "asked_at": NOW,
    "since": NOW + 5,
    "until": NOW + 7205,
    "needed": 2,
    "votes": [{"principal": "tid/ada", "name": "Ada", "said": "approve", "at": NOW + 1, "because": "yes"}],
    "mine": False,
    "may_approve": True,
    "digest": WANTED.digest,
    "review_due": False,
}
ASK = {"action": "endpoints.predict", "resource": "p", "for": 7200, "because": "a fire"}


class House:
    """The story, told how to come out; keeps what it was asked."""

    def __init__(self):
        self.verdict = Verdict(Outcome.PERMIT, (Reason.POLICY_PERMITS,))
        self.done = True
        self.kept = KEPT
        self.now = NOW + 10
        self.asked = []

    def _ruling(self, *asked, **more):
        self.asked.append(asked)
        at = self.now * 1_000_000
        decision = Decision(decision_id(at), at, self.verdict, Circumstances(now=self.now), SAM)
        return Ruling(decision, done=True, **more) if self.done else Ruling(decision)

    async def ask(self, caller, wish):
        return self._ruling("ask", caller, wish, grants=(Told(self.kept, mine=True),))

    async def say(self, caller, said):
        return self._ruling("say", caller, said, grants=(Told(self.kept, mine=False),))

    async def show(self, caller, *, everything):
        return self._ruling("show", caller, everything, grants=(Told(self.kept, mine=False, may_approve=True),))

    def send(self, method="POST", path="/v1/grants", **arguments):
        async def send():
            endpoint = Grants(self, ORIGIN)
            routes = [Route("/v1/grants", endpoint.grants, methods=["GET", "POST"])]
            transport = httpx.ASGITransport(Starlette(routes=routes))
            async with httpx.AsyncClient(transport=transport, base_url="http://host.example") as client:
                return await client.request(method, path, **arguments)

        return asyncio.run(send())


@pytest.fixture
def house():
    return House()


def test_a_wish_is_told_with_what_became_of_it(house):
    headers = {"authorization": "Bearer t", "x-remit-peer": "10.0.0.1"}
    answer = house.send(json={"ask": ASK}, headers=headers)
    [(what, caller, wish)] = house.asked
    assert (what, wish) == ("ask", Wish("endpoints.predict", "p", 7200, "a fire"))
    assert (caller.token.reveal(), caller.session, caller.peer) == ("t", None, "10.0.0.1")
    assert answer.status_code == 200
    document = answer.json()
    assert document.pop("decision").startswith("d-")
    assert document == {"grant": SHOWN | {"mine": True, "may_approve": False}}
    assert answer.headers["cache-control"] == "no-store"
    house.send(json={"ask": {**ASK, "job": "nightly", "break_glass": True}})
    assert house.asked[1][2] == Wish("endpoints.predict", "p", 7200, "a fire", "nightly", break_glass=True)


@pytest.mark.parametrize("grants", [(), ("g-1",)])
def test_what_is_permitted_already_is_told_with_what_it_rests_on(house, grants):
    held = Grant("g-1", WANTED, NOW, NOW + 7200, 1, JOB)
    verdict = replace(house.verdict, grants=grants)
    seen = Circumstances(now=NOW, grants=(held, replace(held, id="g-2")))
    ruling = Ruling(Decision("d-1", NOW * 1_000_000, verdict, seen, SAM), done=True, permitted=WANTED)

    async def ask(*_):
        return ruling

    house.ask = ask
    answer = house.send(json={"ask": ASK})
    assert answer.status_code == 200
    assert answer.json() == {
        "decision": "d-1",
        "permitted": {
            "principal": "tid/dana",
            "name": "Sam",
            "action": "launch",
            "resource": "//projects/p",
            "grants": [{"id": "g-1", "job": "nightly", "until": NOW + 7200}] if grants else [],
        },
    }


@pytest.mark.parametrize("step", [Step.APPROVE, Step.DENY, Step.WITHDRAW, Step.REVIEW])
def test_an_answer_is_told(house, step):
    house.send(json={"grant": "g-1", "say": str(step), "because": "so", "digest": "ab"})
    answer = house.send(json={"grant": "g-1", "say": str(step)})
    assert [asked[2] for asked in house.asked] == [Said("g-1", step, "so", "ab"), Said("g-1", step)]
    assert answer.json()["grant"] == SHOWN | {"may_approve": False}


def test_the_list(house):
    answer = house.send("GET")
    assert answer.json() == {"grants": [SHOWN]}
    house.send("GET", "/v1/grants?all=1")
    assert house.asked == [("show", Caller(None), False), ("show", Caller(None), True)]


def test_a_grant_is_shown_as_it_is_at_the_time(house):
    house.now = NOW + 7205
    assert house.send("GET").json()["grants"][0]["state"] == "ended"


CALLS = [
    ("GET", "/v1/grants", None),
    ("POST", "/v1/grants", {"ask": ASK}),
    ("POST", "/v1/grants", {"grant": "g-1", "say": "approve"}),
]


@pytest.mark.parametrize("call", CALLS, ids=str)
@pytest.mark.parametrize(
    ("reason", "status"),
    [
        (Reason.NO_POLICY_PERMITS, 403),
        (Reason.APPROVAL_REQUIRED, 403),
        (Reason.TOKEN_MISSING, 401),
        (Reason.RECORD_UNAVAILABLE, 503),
        (Reason.REQUEST_MALFORMED, 400),
    ],
)
def test_refusals_name_their_reason_and_their_decision(house, call, reason, status):
    house.verdict, house.done = Verdict(reason.outcome, (reason,)), False
    method, path, document = call
    answer = house.send(method, path, **({"json": document} if document else {}))
    assert answer.status_code == status
    assert answer.json()["error"] == str(reason)
    assert answer.headers["x-remit-reason"] == str(reason)
    assert answer.headers["x-remit-decision"] in answer.json()["error_description"]
    assert ("www-authenticate" in answer.headers) == (status == 401)


def test_an_approval_that_needs_a_stronger_sign_in_is_a_challenge(house):
    house.verdict, house.done = Verdict(Outcome.STEP_UP, (Reason.STEP_UP_REQUIRED,), challenge="c1"), False
    answer = house.send(json={"grant": "g-1", "say": "approve"})
    assert answer.status_code == 401
    assert "insufficient_claims" in answer.headers["www-authenticate"]


@pytest.mark.parametrize(("method", "path", "document"), CALLS)
def test_a_browser_asks_with_its_session_from_our_own_pages(house, method, path, document):
    def send(**headers):
        content = json.dumps(document).encode() if document else b""
        return house.send(method, path, content=content, headers={"cookie": f"{SESSION}=secret", **headers})

    assert send(origin=ORIGIN).status_code == 200
    assert house.asked[0][1].session.reveal() == "secret"
    assert send(origin="https://evil.example").status_code == 400
    assert send(origin="null").status_code == 400
    assert send().status_code == (200 if method == "GET" else 400)
    answer = send(
        authorization="Bearer t", origin="https://evil.example"
    )  # a header that no other site can send for us
    assert answer.status_code == 200
    assert (house.asked[-1][1].session, house.asked[-1][1].token.reveal()) == (None, "t")


def test_two_sessions_are_none(house):
    answer = house.send("GET", headers={"cookie": f"{SESSION}=a; {SESSION}=b"})
    assert (answer.status_code, house.asked) == (400, [])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'"ask"',
        b'{"ask": []}',
        b'{"ask": {}}',
        b"[" * 10_000,
        b"\xff",
        b" " * (17 << 10),
        json.dumps({"ask": {name: ASK[name] for name in ASK if name != "because"}}).encode(),
        json.dumps({"ask": ASK, "grant": "g-1"}).encode(),
        *(
            json.dumps({"ask": {**ASK, name: value}}).encode()
            for name, value in [
                ("for", "2h"),
                ("for", True),
                ("for", 1.5),
                ("break_glass", 1),
                ("job", None),
                ("needed", 1),
                ("principal", "tid/ada"),
                ("because", "a\nb"),
                ("because", "\u202e"),
                ("because", "\ud800"),
                ("because", "x" * 1001),
                ("resource", "x" * 2049),
            ]
        ),
        b'{"ask": {"action": "a", "action": "b", "resource": "p", "for": 60, "because": "c"}}',
        b'{"ask": {"action": "a", "resource": "p", "for": 1' + b"0" * 5000 + b', "because": "c"}}',
        b'{"grant": "g-1"}',
        b'{"say": "approve"}',
        b'{"grant": "g-1", "say": "start"}',
        b'{"grant": "g-1", "say": "Approve"}',
        b'{"grant": "g-1", "say": "approve", "as": "tid/ada"}',
        b'{"grant": 1, "say": "approve"}',
        b'{"grant": "g-1", "say": "approve", "digest": null}',
    ],
)
def test_what_is_not_understood_asks_nobody(house, body):
    answer = house.send(content=body)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    assert house.asked == []
