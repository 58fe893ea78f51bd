"""What the door for databases asks: how it is read, and that nothing but a permit is answered like one."""

import asyncio
import json

import httpx
import pytest
from starlette.applications import Starlette
from tests.unit.access.test_access_decide import DANA, NOW

from remit.arbiter.application import API_PATHS, API_PREFIXES
from remit.arbiter.database import CONNECT, ENDED, STATEMENTS, Database
from remit.model.credential import Credential
from remit.model.decision import Answer, Circumstances, Decision, Verdict
from remit.model.errors import NotRecorded
from remit.model.outcome import Outcome
from remit.model.reasons import Reason
from remit.model.secret import AccessToken

ID = "d-" + "0" * 26
ASKED = {"token": "secret-token", "database": "fraud", "role": "reader", "peer": "10.0.0.1", "job": ""}
RECORD = {"decision": ID, "outcome": "permit", "method": "CONNECT", "principal": "t/dana", "at": 0}


def decided(verdict):
    return Decision(ID, NOW * 1_000_000, verdict, Circumstances(now=NOW), DANA, wire_method="CONNECT")


PERMIT = Answer(
    decided(Verdict(Outcome.PERMIT, (Reason.POLICY_PERMITS,))), Credential(AccessToken("pem"), NOW + 300, "reader", ())
)


class House:
    """Everything behind the endpoints, as it is told."""

    def __init__(self, answer=PERMIT, records=None):
        self.answer, self.records = answer, {} if records is None else records
        self.asked, self.ran, self.revoked, self.failing = [], [], set(), None
        self.database = Database(self.connect, self.statements, self.find, self.over, lambda: NOW)

    async def connect(self, token, *words):
        self.asked.append((token.reveal(), *words))
        return self.answer

    async def statements(self, record, ran):
        if self.failing:
            raise self.failing
        self.ran.append((record["decision"], ran))

    def find(self, decision):
        return self.records.get(decision)

    def over(self, record, now):
        if record["decision"] == "d-broken":
            raise KeyError("principal")
        return record["decision"] in self.revoked

    def post(self, path, body):
        async def go():
            transport = httpx.ASGITransport(Starlette(routes=list(self.database.routes())))
            async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
                return await client.post(path, content=body if isinstance(body, bytes) else json.dumps(body))

        return asyncio.run(go())


def test_they_are_no_paths_of_the_gateways():
    for path in (CONNECT, ENDED, STATEMENTS):
        assert path not in API_PATHS
        assert not path.startswith(API_PREFIXES)


def test_a_permit():
    house = House()
    answer = house.post(CONNECT, ASKED)
    assert answer.status_code == 200
    assert answer.json() == {
        "decision": ID,
        "principal": DANA.principal.key,
        "secret": "pem",
        "certificate": True,
        "until": 0,
    }
    assert answer.headers["cache-control"] == "no-store"
    assert house.asked == [("secret-token", "fraud", "reader", "10.0.0.1", "")]


@pytest.mark.parametrize(
    ("verdict", "status", "said", "hint"),
    [
        (Verdict(Outcome.DENY, (Reason.NO_POLICY_PERMITS,), hint="ask"), 403, "no policy permits this", "ask"),
        (Verdict(Outcome.DENY, (Reason.TOKEN_EXPIRED,)), 401, "the token has expired", ""),
        (Verdict(Outcome.DENY, (Reason.RECORD_UNAVAILABLE,)), 503, "could not be recorded", ""),
        (Verdict(Outcome.STEP_UP, (Reason.STEP_UP_REQUIRED,)), 403, "a stronger sign-in", f"remit login --for {ID}"),
    ],
)
def test_a_refusal(verdict, status, said, hint):
    answer = House(Answer(decided(verdict))).post(CONNECT, ASKED)
    assert answer.status_code == status
    assert said in answer.json()["message"]
    assert ID in answer.json()["message"]
    assert hint in answer.json()["hint"]
    assert "secret" not in answer.text


def test_a_permit_without_a_credential_is_none():
    assert House(Answer(PERMIT.decision)).post(CONNECT, ASKED).status_code == 503


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"[" * 100_000,
        b"x" * (5 << 20),
        {**ASKED, "token": None},
        {**ASKED, "role": 1},
        {**ASKED, "job": "j-1"},
        {**ASKED, "job": "j-" + "0" * 26 + "\n"},
        {key: value for key, value in ASKED.items() if key != "peer"},
    ],
)
def test_what_the_door_does_not_ask(body):
    house = House()
    assert house.post(CONNECT, body).status_code == 400
    assert not house.asked


def test_which_permits_are_over():
    known = {name: {**RECORD, "decision": name} for name in ("d-good", "d-broken", "d-revoked")}
    known |= {"d-denied": {**RECORD, "decision": "d-denied", "outcome": "deny"}}
    known |= {"d-other": {**RECORD, "decision": "d-other", "method": "GET"}}
    house = House(records=known)
    house.revoked = {"d-revoked"}
    asked = ["d-good", "d-broken", "d-revoked", "d-denied", "d-other", "d-unknown"]
    assert house.post(ENDED, {"decisions": asked}).json() == {"ended": asked[1:]}
    assert house.post(ENDED, {"decisions": []}).json() == {"ended": []}
    for wrong in ({}, {"decisions": "d-good"}, {"decisions": [1]}):
        assert house.post(ENDED, wrong).status_code == 400


def test_a_revocation_that_is_lifted_at_once_still_ends():
    house = House()
    house.post(CONNECT, ASKED)
    house.revoked = {ID}
    house.database.changed()
    house.revoked = set()
    assert house.post(ENDED, {"decisions": [ID]}).json() == {"ended": [ID]}


def test_what_ran():
    house = House(records={ID: RECORD})
    ran = ["a" * 64, "select ?", 2, 10, 20]
    assert house.post(STATEMENTS, {"decision": ID, "statements": [ran]}).status_code == 200
    [(decision, [one])] = house.ran
    assert (decision, one.fingerprint, one.text, one.count, one.first, one.last) == (ID, *ran)
    house.failing = NotRecorded("the disk is full")
    assert house.post(STATEMENTS, {"decision": ID, "statements": [ran]}).status_code == 503


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"decision": "d-unknown", "statements": []},
        {"decision": ID},
        {"decision": ID, "statements": "x"},
        {"decision": ID, "statements": [["a" * 64, "select", 1, 2]]},
        {"decision": ID, "statements": [["A" * 64, "select", 1, 2, 3]]},
        {"decision": ID, "statements": [["a" * 64, None, 1, 2, 3]]},
    ],
)
def test_what_did_not_run(body):
    house = House(records={ID: RECORD})
    assert house.post(STATEMENTS, body).status_code == 400
    assert not house.ran
