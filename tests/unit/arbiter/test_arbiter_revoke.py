"""`/v1/revocations`: the form of what is asked, and of every answer."""

import asyncio
import json
from dataclasses import dataclass

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from remit.access.asking import Caller
from remit.access.revoke import Ruling, Wish
from remit.arbiter.revoke import Revocations
from remit.model.decision import Circumstances, Decision, Verdict
from remit.model.identity import Authentication, Identity, Kind, Principal
from remit.model.names import decision_id
from remit.model.outcome import Outcome
from remit.model.reasons import Reason
from remit.model.revocation import Revocation, Scope

NOW = 1_800_000_000
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
PERMIT = Verdict(Outcome.PERMIT, (Reason.POLICY_PERMITS,))


@dataclass(frozen=True)
class Held:
    """An acknowledgement."""

    epoch: int = 7
    arbiters: tuple = ("a", "b")
    fenced: tuple = ("c",)
    took_ms: int = 80


LOCK = Revocation(Scope.PRINCIPAL, "tid/dana", locked=True, because="gone")


@dataclass(frozen=True)
class Standing:
    """Something that stands."""

    number: int = 7
    at: int = NOW * 1_000_000
    actor: str = "tid/sam"
    revocation: Revocation = LOCK


class House:
    """The story, told how to come out; keeps what it was asked."""

    def __init__(self):
        self.verdict = PERMIT
        self.held = Held()
        self.asked = []

    def _ruling(self, *asked, **more):
        self.asked.append(asked)
        at = NOW * 1_000_000
        decision = Decision(decision_id(at), at, self.verdict, Circumstances(now=NOW), SAM)
        return Ruling(decision, **more) if decision.permitted else Ruling(decision)

    async def create(self, caller, wish):
        more = {"scope": Scope.PRINCIPAL, "subject": "tid/dana", "acknowledged": self.held, "warning": "w"}
        return self._ruling("create", caller, wish, **more)

    async def lift(self, caller, wish):
        return self._ruling("lift", caller, wish, scope=Scope.PRINCIPAL, subject="tid/dana", acknowledged=self.held)

    async def list(self, caller):
        return self._ruling("list", caller, standing=(Standing(),))

    def ask(self, method="POST", **arguments):
        async def send():
            app = Starlette(routes=[Route("/v1/revocations", Revocations(self).__call__, methods=["GET", "POST"])])
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://host.example") as client:
                return await client.request(method, "/v1/revocations", **arguments)

        return asyncio.run(send())


@pytest.fixture
def house():
    return House()


def test_a_revocation_is_told_with_who_holds_it(house):
    answer = house.ask(
        json={"subject": "dana", "because": "gone", "for": 60},
        headers={"authorization": "Bearer t", "x-remit-peer": "10.0.0.1"},
    )
    [(what, caller, wish)] = house.asked
    assert (what, wish) == ("create", Wish("dana", None, False, 60, "gone"))
    assert (caller.token.reveal(), caller.peer) == ("t", "10.0.0.1")
    assert answer.status_code == 200
    document = answer.json()
    assert document.pop("decision").startswith("d-")
    assert document == {
        "scope": "principal",
        "subject": "tid/dana",
        "epoch": 7,
        "arbiters": ["a", "b"],
        "fenced": ["c"],
        "took_ms": 80,
        "warning": "w",
    }
    assert answer.headers["cache-control"] == "no-store"


def test_a_session_and_a_lift_are_asked_for(house):
    house.ask(json={"subject": "x", "scope": "session", "sign_in_again": True})
    house.ask(json={"subject": "x", "lift": True})
    assert house.asked == [
        ("create", Caller(None), Wish("x", Scope.SESSION, True)),
        ("lift", Caller(None), Wish("x")),
    ]


def test_nothing_to_lift_is_not_found(house):
    house.held = None
    answer = house.ask(json={"subject": "x", "lift": True})
    assert (answer.status_code, answer.json()["error"]) == (404, "not_found")
    assert answer.headers["x-remit-decision"].startswith("d-")


def test_the_list(house):
    answer = house.ask("GET")
    assert house.asked == [("list", Caller(None))]
    [row] = answer.json()["revocations"]
    assert row == {
        "epoch": 7,
        "at": NOW * 1_000_000,
        "scope": "principal",
        "subject": "tid/dana",
        "locked": True,
        "until": 0,
        "before": 0,
        "source": "operator",
        "because": "gone",
        "actor": "tid/sam",
    }


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("reason", "status"),
    [
        (Reason.NO_POLICY_PERMITS, 403),
        (Reason.TOKEN_MISSING, 401),
        (Reason.RECORD_UNAVAILABLE, 503),
        (Reason.REQUEST_MALFORMED, 400),
    ],
)
def test_refusals_name_their_reason_and_their_decision(house, method, reason, status):
    house.verdict = Verdict(reason.outcome, (reason,))
    answer = house.ask(method, **({"json": {"subject": "x"}} if method == "POST" else {}))
    assert answer.status_code == status
    assert answer.json()["error"] == str(reason)
    assert answer.headers["x-remit-reason"] == str(reason)
    assert answer.headers["x-remit-decision"] in answer.json()["error_description"]
    assert ("www-authenticate" in answer.headers) == (status == 401)


def test_a_step_up_is_a_challenge(house):
    house.verdict = Verdict(Outcome.STEP_UP, (Reason.STEP_UP_REQUIRED,), challenge="c1")
    answer = house.ask(json={"subject": "x"})
    assert answer.status_code == 401
    assert "insufficient_claims" in answer.headers["www-authenticate"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"dana"',
        b"{}",
        b'{"subject": 7}',
        b'{"subject": "a", "subject": "b"}',
        b'{"subject": "a", "until": 7}',
        b'{"subject": "a", "for": "1h"}',
        b'{"subject": "a", "for": true}',
        b'{"subject": "a", "for": -1}',
        b'{"subject": "a", "for": 1e3}',
        b'{"subject": "a", "for": 99999999999}',
        b'{"subject": "a", "scope": "planet"}',
        b'{"subject": "a", "lift": 1}',
        b'{"subject": "a\\nb"}',
        b'{"subject": "a", "because": "a\\u0000"}',
        b'{"subject": "a", "lift": true, "sign_in_again": true}',
        b'{"subject": "a", "lift": true, "for": 7}',
        b'{"subject": "a", "sign_in_again": true, "for": 7}',
        b"[" * 10_000,
        b"\xff",
        json.dumps({"subject": "a" * 1025}).encode(),
        json.dumps({"subject": "a", "because": "b" * 1001}).encode(),
        b" " * (17 << 10),
    ],
)
def test_what_is_not_understood_asks_nobody(house, body):
    answer = house.ask(content=body)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    assert house.asked == []
