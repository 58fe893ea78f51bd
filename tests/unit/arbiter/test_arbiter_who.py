"""`/v1/can`, `/v1/who` and `/v1/explain`: the form of what is asked, and of every answer."""

import asyncio
import json

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from remit.access.assumed import RUN, Assumed
from remit.access.explain import Explained, Way
from remit.access.who import Answer, Asking, Subject
from remit.arbiter.cookies import SESSION
from remit.arbiter.explain import Why
from remit.arbiter.who import WhoMay
from remit.model.decision import Circumstances, Decision, DeterminingPolicy, Verdict
from remit.model.explanation import Change, Condition, Explanation, Means, PolicyTold, QuestionTold, Repair
from remit.model.grant import Grant, Wanted
from remit.model.identity import Authentication, Identity, Kind, Principal
from remit.model.names import decision_id
from remit.model.operation import Action, Group, Operation, Resource
from remit.model.outcome import Outcome
from remit.model.reasons import Reason

NOW = 1_800_000_000
ORIGIN = "https://remit.example"
TOKEN = {"authorization": "Bearer t"}
PROJECT = Resource("Project", "//projects/p", "p")
PREDICT = Action("endpoints.predict", Group.USE)
POLICY = DeterminingPolicy("p-secret", "permit", (("purpose", "why"),))
PERMIT = Verdict(Outcome.PERMIT, (Reason.POLICY_PERMITS,), (POLICY,))
DENY = Verdict(Outcome.DENY, (Reason.NO_POLICY_PERMITS,), detail="not here", hint="ask somebody")
STEP_UP = Verdict(Outcome.STEP_UP, (Reason.STEP_UP_REQUIRED,), (POLICY,), challenge="c1", detail="more")
SAM = Identity(
    principal=Principal("https://login.example/tid", "tid", "sam", Kind.PERSON),
    display="Sam",
    groups=frozenset(),
    groups_at=NOW,
    roles=frozenset(),
    scopes=frozenset(),
    client="cli",
    authentication=Authentication(),
    guest=False,
    issued_at=NOW,
    expires_at=NOW + 3600,
    token_id="uti",
)
ASK = {"action": "predict", "resource": "p"}
EXPLANATION = Explanation(
    DENY,
    (
        QuestionTold(
            Operation(PREDICT, (PROJECT,), within="train/"),
            PROJECT,
            allowed=False,
            policies=(PolicyTold(POLICY, True, (Condition("principal in x", None, "saw"),)),),
        ),
    ),
    (Repair((Change(Means.GRANT, "a grant", "g", "remit request", "Ada"),)),),
)
ENTRY = {
    "decision": "d-asked",
    "at": NOW * 1_000_000,
    "outcome": "deny",
    "reasons": ["no_policy_permits"],
    "policies": ["p-secret"],
    "policy_version": "v-secret",
    "obligations": ["o-secret"],
    "grants": ["g-secret"],
    "membership": "m-secret",
    "facts": "f-secret",
    "uti": "u-secret",
    "principal": "tid/sam",
    "resource": "//projects/p",
}


class House:
    """Both stories, told how to come out; they keep what they were asked."""

    def __init__(self):
        self.verdict = PERMIT
        self.subject = Subject(SAM, PERMIT, (("fraud", "everyone"),))
        self.full = True
        self.explained = {"entry": ENTRY, "explanation": EXPLANATION, "full": True, "ways": (Way("g", ("f", "g")),)}
        self.asked = []

    def _decision(self):
        at = NOW * 1_000_000
        named = decision_id(at) if self.full else ""  # of oneself nothing is on record
        return Decision(named, at, self.verdict, Circumstances(now=NOW), SAM)

    def _answer(self):
        decision = self._decision()
        if not decision.permitted:
            return Answer(decision)
        told = (("country", "DE"),)
        return Answer(decision, PREDICT, PROJECT, (self.subject,), self.full, NOW - 5, told, "train/")

    async def can(self, caller, asking):
        self.asked.append((caller, asking))
        return self._answer()

    async def who(self, caller, action, resource):
        self.asked.append((caller, action, resource))
        return self._answer()

    async def __call__(self, caller, decision, *, full):
        self.asked.append((caller, decision, full))
        return Explained(self._decision(), **self.explained)

    def ask(self, method, path, origin=ORIGIN, **arguments):
        arguments = {"headers": TOKEN} | arguments

        async def send():
            who, why = WhoMay(self, origin), Why(self, origin)
            routes = [
                Route("/v1/can", who.can, methods=["POST"]),
                Route("/v1/who", who.who),
                Route("/v1/explain", why.__call__),
            ]
            transport = httpx.ASGITransport(Starlette(routes=routes))
            async with httpx.AsyncClient(transport=transport, base_url="http://host.example") as client:
                return await client.request(method, path, **arguments)

        return asyncio.run(send())

    def post(self, document, **more):
        return self.ask("POST", "/v1/can", json=document, **more)


@pytest.fixture
def house():
    return House()


def test_what_is_asked_of_one_person(house):
    with_ = {"contexts": ["c1"], "methods": ["mfa"], "country": "DE", "peer": "10.0.0.1", "risk": "low"}
    with_ |= {"compliant": True, "managed": False, "job": "j", "acts_as": "x@p"}
    headers = {**TOKEN, "x-remit-peer": "192.0.2.7"}
    answer = house.post({**ASK, "who": "dana", "with": with_}, headers=headers)
    [(caller, asking)] = house.asked
    assert (caller.token.reveal(), caller.session, caller.peer) == ("t", None, "192.0.2.7")
    expected = Assumed(
        ("c1",), ("mfa",), "DE", "10.0.0.1", "low", compliant=True, managed=False, job="j", acts_as="x@p"
    )
    assert asking == Asking("predict", "p", "dana", expected)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    document = answer.json()
    assert document.pop("decision").startswith("d-")
    assert document == {
        "action": "endpoints.predict",
        "resource": "//projects/p",
        "within": "train/",
        "outcome": "permit",
        "reasons": ["policy_permits"],
        "detail": "",
        "hint": "",
        "who": {"principal": "tid/sam", "name": "Sam"},
        "assumed": {"country": "DE"},
        "ways": [["fraud", "everyone"]],
        "grants": [],
        "policies": ["p-secret"],
    }


@pytest.mark.parametrize(("run", "until"), [("", NOW + 60), ("j-1", NOW + 60), (RUN, 0)])
@pytest.mark.parametrize("full", [True, False])
def test_the_grants_that_a_permit_rests_on_are_named_and_one_that_waits_has_no_end_yet(house, run, until, full):
    wanted = Wanted("tid/sam", "use", PROJECT, 60, "x", "nightly" if run else "")
    grant = Grant("g-1", wanted, NOW, NOW + 60, 1, run)
    house.full, house.subject = full, Subject(SAM, PERMIT, grants=(grant,))
    assert house.post(ASK).json()["grants"] == [{"id": "g-1", "job": wanted.job, "until": until}]


@pytest.mark.promise("V20")
@pytest.mark.parametrize("verdict", [PERMIT, DENY, STEP_UP])
def test_of_oneself_no_policy_is_named_and_no_decision_that_is_not_on_record(house, verdict):
    house.full, house.subject = False, Subject(SAM, verdict)
    answer = house.post(ASK)
    assert "secret" not in answer.text
    assert (answer.json()["decision"], answer.json()["outcome"]) == ("", str(verdict.outcome))
    assert "policies" not in answer.json()
    if verdict is STEP_UP:
        assert answer.json()["hint"] == "a sign-in with `c1` would do"


@pytest.mark.parametrize("on_record", [True, False])
def test_a_refusal_names_its_decision_where_one_is_on_record(house, on_record):
    house.full = on_record
    house.verdict = Verdict(Outcome.DENY, (Reason.REQUEST_MALFORMED,), detail="what is `x`?", hint="say")
    answer = house.post(ASK)
    assert answer.status_code == 400
    assert ("x-remit-decision" in answer.headers) is on_record
    assert ("(decision d-" in answer.json()["error_description"]) is on_record
    if not on_record:
        assert answer.json()["error_description"] == "remit: the request is malformed: what is `x`?"


def test_everybody(house):
    answer = house.ask("GET", "/v1/who", params={"action": "predict", "resource": "p"})
    assert house.asked[0][1:] == ("predict", "p")
    document = answer.json()
    assert document.pop("decision").startswith("d-")
    row = {"principal": "tid/sam", "name": "Sam", "kind": "person", "guest": False, "outcome": "permit"}
    row |= {"challenge": "", "reasons": ["policy_permits"], "policies": ["p-secret"], "ways": [["fraud", "everyone"]]}
    assert document == {
        "action": "endpoints.predict",
        "resource": "//projects/p",
        "within": "train/",
        "as_of": NOW - 5,
        "people": [row],
    }


def test_an_explanation_in_full(house):
    document = house.ask("GET", "/v1/explain", params={"id": "d-asked", "full": "1"}).json()
    assert house.asked[0][1:] == ("d-asked", True)
    assert document["by"].startswith("d-")
    assert (document["decision"], document["full"], document["same"]) == ("d-asked", True, True)
    assert document["policies"] == ["p-secret"]
    condition = {"text": "principal in x", "holds": None, "saw": "saw"}
    [question] = document["questions"]
    assert question["within"] == "train/"
    assert question["policies"] == [
        {"id": "p-secret", "effect": "permit", "purpose": "why", "decided": True, "conditions": [condition]}
    ]
    change = {"means": "grant", "what": "a grant", "value": "g", "command": "remit request", "who": "Ada"}
    assert document["repairs"] == [[change]]
    assert document["ways"] == [{"group": "g", "way": ["f", "g"]}]
    assert not {"f-secret", "m-secret", "u-secret"} & set(json.dumps(document).split('"'))


@pytest.mark.promise("V20")
def test_an_explanation_for_its_caller_discloses_no_policy(house):
    own = Explanation(DENY, (), EXPLANATION.repairs)
    house.explained = {"entry": ENTRY, "explanation": own, "full": False}
    answer = house.ask("GET", "/v1/explain", params={"id": "d-asked"})
    assert "secret" not in answer.text
    assert (answer.json()["by"], answer.json()["questions"], answer.json()["ways"]) == ("", [], [])
    assert not {"policies", "policy_version", "principal", "obligations"} & set(answer.json())


def test_an_unknown_decision_is_not_found_for_whoever_may_ask(house):
    house.explained = {"entry": {}, "left": "no decision has this id"}
    answer = house.ask("GET", "/v1/explain", params={"id": "d-x"})
    assert (answer.status_code, answer.json()["error"]) == (404, "not_found")
    assert answer.headers["x-remit-decision"].startswith("d-")


@pytest.mark.parametrize("path", ["/v1/who?action=a&resource=b", "/v1/explain?id=d-x", "/v1/can"])
def test_a_refusal_names_its_decision_reason_and_what_to_do(house, path):
    house.verdict, house.explained = DENY, {"entry": {}}
    answer = house.post(ASK) if path == "/v1/can" else house.ask("GET", path)
    document = answer.json()
    assert (answer.status_code, document["error"], document["hint"]) == (403, "no_policy_permits", "ask somebody")
    assert answer.headers["x-remit-reason"] == "no_policy_permits"
    decision = answer.headers["x-remit-decision"]
    assert document["error_description"] == f"remit: no policy permits this: not here (decision {decision})"
    assert set(document) == {"error", "error_description", "hint"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b"5",
        b'"x"',
        b"{",
        b"\xff",
        b'{"action": "a"}',
        b'{"resource": "a"}',
        b'{"action": 5, "resource": "p"}',
        b'{"action": null, "resource": "p"}',
        b'{"action": "a", "resource": "p", "resource": "q"}',
        b'{"action": "a", "resource": "p", "with": {"job": "a", "job": "b"}}',
        b'{"action": "a", "resource": "p", "whom": "x"}',
        b'{"action": "a", "resource": "p", "\\ud800": 1}',
        b'{"action": "a", "resource": "p", "\\u001b[2J": 1}',
        b'{"action": "a", "resource": "\\ud800"}',
        b'{"action": "a\\n", "resource": "p"}',
        b'{"action": "a", "resource": "p", "who": "\\u009b2J"}',
        b'{"action": "a", "resource": "p", "who": ["dana"]}',
        b'{"action": "a", "resource": "p", "with": []}',
        b'{"action": "a", "resource": "p", "with": {"contexts": "c1"}}',
        b'{"action": "a", "resource": "p", "with": {"contexts": [1]}}',
        b'{"action": "a", "resource": "p", "with": {"contexts": ["\\ud800"]}}',
        b'{"action": "a", "resource": "p", "with": {"methods": [["mfa"]]}}',
        b'{"action": "a", "resource": "p", "with": {"compliant": 1}}',
        b'{"action": "a", "resource": "p", "with": {"compliant": null}}',
        b'{"action": "a", "resource": "p", "with": {"grants": []}}',
        b'{"action": "a", "resource": "p", "with": {"contexts": [' + b",".join([b'"c1"'] * 21) + b"]}}",
        b'{"action": "a", "resource": "' + b"x" * 2049 + b'"}',
        b'{"action": "a", "resource": "' + b"x" * (17 << 10) + b'"}',
        b"[" * 8000,
        b'{"action": "a", "resource": NaN}',
        b'{"action": ' + b"9" * 5000 + b', "resource": "p"}',
    ],
)
def test_what_cannot_be_read_is_asked_of_nobody(house, body):
    answer = house.ask("POST", "/v1/can", content=body)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    assert house.asked == []
    assert answer.json()["error_description"].isprintable()
    assert len(answer.json()["error_description"]) < 200


@pytest.mark.parametrize(
    "path",
    [
        "/v1/who?action=a&resource=b&action=c",
        "/v1/who?action=a&resource=b&who=dana",
        "/v1/who?action=a%00&resource=b",
        "/v1/who?action=a&resource=" + "x" * 2049,
        "/v1/explain?id=d-a&id=d-b",
        "/v1/explain?id=d-a&full=1&full=0",
        "/v1/explain?id=d-%1b[2J",
        "/v1/explain?decision=d-a",
    ],
)
def test_a_query_that_can_be_read_in_two_ways_is_asked_of_nobody(house, path):
    answer = house.ask("GET", path)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    assert house.asked == []


COOKIE = {"cookie": f"{SESSION}=s-1"}


@pytest.mark.parametrize(
    ("method", "origin", "headers", "passes"),
    [
        ("POST", ORIGIN, {"origin": ORIGIN}, True),
        ("POST", ORIGIN, {}, False),
        ("POST", ORIGIN, {"origin": "https://evil.example"}, False),
        ("POST", ORIGIN, {"origin": "null"}, False),
        ("POST", ORIGIN, {"origin": f"{ORIGIN}.evil.example"}, False),
        ("POST", "", {"origin": ""}, False),
        ("GET", ORIGIN, {}, True),
        ("GET", ORIGIN, {"origin": ORIGIN}, True),
        ("GET", ORIGIN, {"origin": "https://evil.example"}, False),
        ("GET", "", {"origin": ""}, False),
    ],
)
def test_a_browser_asks_from_our_own_pages_only(house, method, origin, headers, passes):
    headers = {**COOKIE, **headers}
    if method == "POST":
        answers = [house.post(ASK, origin=origin, headers=headers)]
    else:
        paths = ("/v1/who?action=a&resource=b", "/v1/explain?id=d-x")
        answers = [house.ask("GET", path, origin=origin, headers=headers) for path in paths]
    assert {answer.status_code for answer in answers} == {200 if passes else 400}
    assert len(house.asked) == (len(answers) if passes else 0)
    assert all((caller.token, caller.session.reveal()) == (None, "s-1") for caller, *_ in house.asked)


def test_two_cookies_of_the_session_s_name_are_a_trap(house):
    answer = house.post(ASK, headers={"cookie": f"{SESSION}=a; {SESSION}=b", "origin": ORIGIN})
    assert (answer.status_code, house.asked) == (400, [])


def test_a_token_goes_before_a_session(house):
    house.post(ASK, headers={**TOKEN, **COOKIE})
    assert (house.asked[0][0].token.reveal(), house.asked[0][0].session) == ("t", None)
