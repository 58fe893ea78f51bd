"""`/v1/identity` and `/v1/decision`: what a caller is shown, and that nothing is shown to whoever was revoked."""

import asyncio

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from remit.arbiter.person import Person
from remit.model.errors import Refused, SignInAgain
from remit.model.identity import Authentication, Device, Identity, Kind, Principal
from remit.model.reasons import Reason

NOW = 1_800_000_000
GIL = Identity(
    principal=Principal("https://login/tid/v2.0", "tid", "gil", Kind.PERSON),
    display="gil@fabrikam.example",
    groups=frozenset({"g-2", "g-1"}),
    groups_at=NOW - 60,
    roles=frozenset({"MLEngineer"}),
    scopes=frozenset({"access"}),
    client="cli",
    authentication=Authentication(frozenset({"pwd", "mfa"}), frozenset({"c1"}), frozenset({"cp1"}), NOW - 7200),
    guest=True,
    issued_at=NOW - 10,
    expires_at=NOW + 3600,
    token_id="uti",
    session="s-1",
    home="tid2",
    device=Device("d-1", managed=True),
    address="10.0.0.7",
    attributes=(("xms_mirid", "/subscriptions/x"),),
)
PATHS = [{"group": "g-2", "name": "ml-all", "path": [{"id": "g-1", "name": "fraud"}, {"id": "g-2", "name": "ml-all"}]}]


class Revocations:
    """A view of revocations: what it is told to raise; keeps what it was asked."""

    epoch = 1

    def __init__(self):
        self.trouble = None
        self.asked = []

    def check(self, identity, job, now):
        self.asked.append((identity.principal.key, job, now))
        if self.trouble:
            raise self.trouble


class House:
    def __init__(self):
        self.revocations = Revocations()
        self.decisions = {}
        self.paths = PATHS
        self.asked = []

    async def authenticate(self, token, now):
        if token.reveal() != "gil":
            raise Refused(Reason.TOKEN_EXPIRED)
        return GIL

    async def paths_of(self, principal):
        self.asked.append(principal)
        if isinstance(self.paths, Exception):
            raise self.paths
        return self.paths

    def get(self, path, token="gil", headers=None, **person):
        found = {"paths": self.paths_of, "revocations": self.revocations} | person
        built = Person(self.authenticate, self.decisions.get, lambda: NOW * 1_000_000, **found)
        app = Starlette(routes=[Route("/v1/identity", built.identity), Route("/v1/decision", built.decision)])

        async def ask():
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://host") as client:
                return await client.get(path, headers=headers or {"authorization": f"Bearer {token}"})

        return asyncio.run(ask())


@pytest.fixture
def house():
    return House()


def test_everything_that_the_token_says_of_its_owner(house):
    answer = house.get("/v1/identity")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json() == {
        "principal": "tid/gil",
        "issuer": "https://login/tid/v2.0",
        "tenant": "tid",
        "kind": "person",
        "name": "gil@fabrikam.example",
        "guest": True,
        "home": "tid2",
        "roles": ["MLEngineer"],
        "groups": ["g-1", "g-2"],
        "groups_at": NOW - 60,
        "methods": ["mfa", "pwd"],
        "contexts": ["c1"],
        "authenticated_at": NOW - 7200,
        "device": {"id": "d-1", "managed": True, "compliant": False, "known_network": False},
        "address": "10.0.0.7",
        "client": "cli",
        "session": "s-1",
        "attributes": {"xms_mirid": "/subscriptions/x"},
        "issued_at": NOW - 10,
        "expires_at": NOW + 3600,
    }
    assert house.asked == []
    assert house.revocations.asked == [("tid/gil", "", NOW)]


def test_the_paths_of_the_groups_when_they_are_asked_for(house):
    assert house.get("/v1/identity?groups=paths").json()["paths"] == PATHS
    assert house.asked == [GIL.principal]
    assert "paths" not in house.get("/v1/identity?groups=all").json()
    assert "paths" not in house.get("/v1/identity?groups=paths", paths=None).json()


def test_paths_that_cannot_be_known_are_not_made_up(house):
    house.paths = Refused(Reason.IDENTITY_INCOMPLETE)
    answer = house.get("/v1/identity?groups=paths")
    assert (answer.status_code, answer.json()["error"]) == (503, "identity_incomplete")


@pytest.mark.promise("N10")
@pytest.mark.parametrize("path", ["/v1/identity", "/v1/identity?groups=paths", "/v1/decision?id=d-1"])
@pytest.mark.parametrize(
    ("trouble", "status", "document"),
    [
        (Refused(Reason.REVOKED), 403, {"error": "revoked", "error_description": "access has been revoked"}),
        (
            SignInAgain(NOW - 5),
            401,
            {
                "error": "sign_in_again",
                "error_description": "the sign-in no longer counts, and a newer one is needed",
                "hint": "sign in again: `remit login`",
                "not_before": NOW - 5,
            },
        ),
        (
            Refused(Reason.PLANE_UNAVAILABLE),
            503,
            {"error": "plane_unavailable", "error_description": "remit cannot decide right now"},
        ),
    ],
)
def test_whoever_was_revoked_is_shown_nothing(house, path, trouble, status, document):
    house.decisions["d-1"] = {"principal": "tid/gil", "decision": "d-1"}
    house.revocations.trouble = trouble
    answer = house.get(path)
    assert (answer.status_code, answer.json()) == (status, document)
    assert answer.headers["x-remit-reason"] == document["error"]
    assert house.asked == []


def test_without_revocations_the_token_alone_counts(house):
    assert house.get("/v1/identity", revocations=None).status_code == 200
    assert house.get("/v1/identity", token="other").json()["error"] == "token_expired"
    assert house.revocations.asked == []


def test_a_decision_says_which_sign_in_would_change_it(house):
    shown = {"decision": "d-1", "outcome": "step_up", "challenge": "c1", "not_before": NOW, "hint": "sign in"}
    house.decisions["d-1"] = {"principal": "tid/gil", "peer": "10.0.0.1", **shown}
    answer = house.get("/v1/decision?id=d-1")
    assert answer.json() == shown
    assert answer.headers["cache-control"] == "no-store"


class Sessions:
    """One live session."""

    async def authenticate(self, session, now):
        if session.reveal() != "secret":
            raise Refused(Reason.SESSION_ENDED, hint="sign in again")
        return GIL, None


def test_a_browsers_session_asks_as_well_when_there_is_no_token(house):
    cookie = {"cookie": "__Host-remit=secret"}
    assert house.get("/v1/identity", headers=cookie, sessions=Sessions()).json()["principal"] == "tid/gil"
    assert house.revocations.asked == [("tid/gil", "", NOW)]
    ended = house.get("/v1/identity", headers={"cookie": "__Host-remit=other"}, sessions=Sessions())
    assert (ended.status_code, ended.json()["error"], ended.json()["hint"]) == (401, "session_ended", "sign in again")
    both = cookie | {"authorization": "Bearer mallory"}
    assert house.get("/v1/identity", headers=both, sessions=Sessions()).json()["error"] == "token_expired"
    assert house.get("/v1/identity", headers=cookie).json()["error"] == "token_missing"
    twice = {"cookie": "__Host-remit=secret; __Host-remit=secret"}
    assert house.get("/v1/identity", headers=twice, sessions=Sessions()).status_code == 400
