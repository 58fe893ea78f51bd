"""Why a decision came out so: what callers read of their own, what others may, and what is told to neither."""

import asyncio
import time
from dataclasses import dataclass, field, replace

import pytest
from tests.unit.access.nothing import Endless, NoRuns

from remit.access.asking import Caller
from remit.access.decide import Rooms
from remit.access.explain import OWN, Explain, Remembered
from remit.model.decision import Circumstances, DeterminingPolicy, Verdict
from remit.model.errors import NotRecorded, Refused
from remit.model.explanation import Change, Condition, Explanation, Means, PolicyTold, QuestionTold, Repair
from remit.model.identity import Authentication, Identity, Kind, Principal
from remit.model.inventory import Account, GroupKnown, Inventory
from remit.model.operation import DECISIONS_EXPLAIN, INSTALLATION, Action, Group, Operation, Request, Resource
from remit.model.outcome import Outcome
from remit.model.reasons import Reason
from remit.model.record import Recorded
from remit.model.secret import UnverifiedToken
from remit.model.snapshot import Past, write_facts

NOW = 1_800_000_000
TID = "6f1c2a34-8b5d-4e6f-9a01-c0de00000001"
GROUP = "9a000000-0000-4000-8000-000000000002"
PROJECT = Resource("Project", "//cloudresourcemanager.googleapis.com/projects/p", "p")
ENDPOINT = Resource("Endpoint", "//aiplatform.googleapis.com/projects/p/locations/l/endpoints/1", "p")
PREDICT = Operation(Action("endpoints.predict", Group.USE), (ENDPOINT,))
CALLER = Caller(UnverifiedToken("t"), peer="10.0.0.1")
POLICY = DeterminingPolicy("p-secret", "permit", (("purpose", "the fraud team's own"),))
PERMIT = Verdict(Outcome.PERMIT, (Reason.POLICY_PERMITS,), (POLICY,), "v1")
DENY = Verdict(Outcome.DENY, (Reason.NO_POLICY_PERMITS,), policy_version="v1", detail="not here", hint="ask")
FORBID = Verdict(Outcome.DENY, (Reason.POLICY_FORBIDS,), (POLICY,), "v1", detail="a forbid of the project's own")
STEP_UP = Verdict(Outcome.STEP_UP, (Reason.STEP_UP_REQUIRED,), policy_version="v1", challenge="c1")
APPROVAL = Verdict(Outcome.NEEDS_APPROVAL, (Reason.APPROVAL_REQUIRED,), hint="remit request x projects/p")
IDS = {"own": "d-own", "other": "d-other", "unknown": "d-unknown", "early": "d-early", "left": "d-left"}


def somebody(name):
    return Identity(
        principal=Principal(f"https://login.example/{TID}", TID, name, Kind.PERSON),
        display=name.title(),
        groups=frozenset({GROUP}),
        groups_at=NOW,
        roles=frozenset(),
        scopes=frozenset({"access"}),
        client="cli",
        authentication=Authentication(),
        guest=False,
        issued_at=NOW - 10,
        expires_at=NOW + 3600,
        token_id="uti",
    )


DANA, SAM = somebody("dana"), somebody("sam")
INVENTORY = Inventory(
    NOW,
    (Account(DANA.principal, "Dana", True, False, frozenset({"g1"}), frozenset({"g1", GROUP}), frozenset()),),
    {"g1": GroupKnown("g1", "fraud", frozenset({GROUP})), GROUP: GroupKnown(GROUP, "ml-engineers", owners=("Olga",))},
)
CHANGES = {means: Change(means, f"a {means} change", GROUP if means is Means.GROUP else "v") for means in Means}
CHANGES[Means.GROUP] = Change(Means.GROUP, f"a member of group {GROUP}", GROUP)
EXPLAINED = Explanation(
    FORBID,
    (
        QuestionTold(
            PREDICT,
            ENDPOINT,
            allowed=False,
            policies=(
                PolicyTold(POLICY, True, (Condition(f'principal in Group::"{GROUP}"', True, "a member"),)),
                PolicyTold(DeterminingPolicy("p-near", "permit"), False, (Condition("context.job", None),)),
            ),
        ),
    ),
    (
        *(Repair((change,)) for change in CHANGES.values()),
        Repair((CHANGES[Means.STEP_UP], CHANGES[Means.GROUP])),
        Repair((CHANGES[Means.STEP_UP], CHANGES[Means.GRANT])),
    ),
)


def remembered(who, decision, **changes):
    facts = write_facts(who, Request((PREDICT,)), Circumstances(now=NOW))
    past = Past(
        decision, NOW, Outcome.DENY, ("p-secret",), "v1", who.principal.key, who.display, "a", "r", facts,
        who.groups, who.roles,
    )  # fmt: skip
    entry = {
        "decision": decision,
        "at": NOW * 1_000_000,
        "outcome": "deny",
        "reasons": ["policy_forbids"],
        "detail": "not from there",
        "principal": who.principal.key,
        "policies": ["p-secret"],
        "resource": ENDPOINT.name,
    }
    return replace(Remembered(entry, past), **changes)


@dataclass
class House:
    """Every room as a fake; `rulings`: by resource, whether everything may be told."""

    identity: Identity | Exception = DANA
    revoked: Exception | None = None
    rulings: dict = field(default_factory=lambda: {ENDPOINT: DENY, INSTALLATION: DENY})
    explained: Explanation | Exception | None = EXPLAINED
    known: Inventory | Exception = INVENTORY
    approving: tuple | Exception = ("Ada", "Bo", "Cy", "Di", "Ed", "Flo", "Gus")
    finding: Exception | None = None
    recording: Exception | None = None
    entries: list = field(default_factory=list)
    asked: list = field(default_factory=list)
    found: dict = field(default_factory=dict)
    epoch: int = 6

    def __post_init__(self):
        early = {"decision": "d-early", "at": 1, "outcome": "deny", "reasons": ["token_expired"], "principal": ""}
        unreadable = remembered(SAM, "d-left")
        self.found |= {
            "d-own": remembered(DANA, "d-own"),
            "d-other": remembered(SAM, "d-other"),
            "d-early": Remembered(early, None, "refused before the policies were asked"),
            "d-left": replace(unreadable, past=replace(unreadable.past, facts="{}")),
        }

    @staticmethod
    def _give(value):
        if isinstance(value, Exception):
            raise value
        return value

    async def authenticate(self, token, now):
        return self._give(self.identity)

    def check(self, identity, job, now):
        self._give(self.revoked)

    def observe(self, identity, circumstances):
        return circumstances

    def in_force(self, principal, job, now):
        return ()

    async def keep(self, identity):
        return None

    def decide(self, identity, request, circumstances):
        assert request.first.action == DECISIONS_EXPLAIN
        self.asked.append(request.first.resources[0])
        return self._give(self.rulings[request.first.resources[0]])

    async def record(self, entry):
        self._give(self.recording)
        self.entries.append(dict(entry))
        return Recorded(len(self.entries))

    def find(self, decision):
        self._give(self.finding)
        return self.found.get(decision)

    def explain(self, identity, request, circumstances, version):
        return self._give(self.explained)

    def inventory(self):
        return self._give(self.known)

    async def approvers(self, past):
        return self._give(self.approving)

    def __call__(self, decision, *, full=False):
        rooms = Rooms(*[self] * 11, runs=NoRuns(), lifetimes=Endless(), clock=lambda: NOW * 1_000_000)
        story = Explain(rooms, self.find, self, self, self.approvers)
        return asyncio.run(story(CALLER, decision, full=full))


@pytest.fixture
def house():
    return House()


@pytest.mark.promise("V20")
def test_one_s_own_is_told_with_what_one_can_do_and_without_policies(house):
    found = house("d-own")
    assert found.entry["decision"] == "d-own"
    assert (found.full, found.ways, found.left, found.same) == (False, (), "", True)
    assert found.explanation.questions == ()
    means = [[change.means for change in repair.changes] for repair in found.explanation.repairs]
    assert means == [*([each] for each in Means if each in OWN), [Means.STEP_UP, Means.GRANT]]
    assert {change.who for repair in found.explanation.repairs for change in repair.changes} == {""}
    assert (house.entries, house.asked) == ([], [])


@pytest.mark.parametrize("resource", [ENDPOINT, INSTALLATION])
@pytest.mark.parametrize(("decision", "full"), [("d-other", False), ("d-own", True)])
def test_whoever_may_is_told_everything(house, resource, decision, full):
    house.rulings[resource] = PERMIT
    found = house(decision, full=full)
    assert found.full
    assert found.decision.id == house.entries[-1]["decision"]
    assert found.explanation.questions == EXPLAINED.questions
    assert len(found.explanation.repairs) == len(EXPLAINED.repairs)
    told = {change.means: change for repair in found.explanation.repairs for change in repair.changes}
    assert (told[Means.GROUP].what, told[Means.GROUP].who) == ("a member of group ml-engineers", "Olga")
    assert told[Means.GRANT].who == "Ada, Bo, Cy, Di, Ed and 2 more"
    if decision == "d-own":
        [way] = found.ways
        assert (way.group, way.names) == ("ml-engineers", ("fraud", "ml-engineers"))


@pytest.mark.promise("V20")
@pytest.mark.parametrize("verdict", [DENY, FORBID, APPROVAL, Verdict(Outcome.DENY, (Reason.RESOURCE_UNKNOWN,))])
@pytest.mark.parametrize("full", [False, True])
def test_somebody_else_s_and_an_unknown_one_look_the_same_to_whoever_may_not(verdict, full):
    told = []
    for name in ("other", "unknown", "early", "left"):
        house = House(rulings={ENDPOINT: verdict, INSTALLATION: DENY})
        found = house(IDS[name], full=full)
        assert (found.entry, found.explanation, found.ways, found.left) == ({}, None, (), "")
        last = house.entries[-1]
        assert last["decision"] == found.decision.id
        recorded = {key: value for key, value in last.items() if key != "decision"}
        told.append((found.decision.verdict, found.decision.request, found.decision.wire_path, recorded))
    assert all(one == told[0] for one in told)


def test_explanations_are_looked_for_one_at_a_time():
    """Anybody may ask for their own, which takes seconds of the interpreter's lock: they wait for each other."""
    running, most = [], []

    class Busy(House):
        def explain(self, identity, request, circumstances, version):
            running.append(version)
            most.append(len(running))
            time.sleep(0.02)
            running.pop()
            return EXPLAINED

    house = Busy()
    story = Explain(
        Rooms(*[house] * 11, runs=NoRuns(), lifetimes=Endless(), clock=lambda: NOW * 1_000_000),
        house.find,
        house,
        house,
        house.approvers,
    )

    async def together():
        return await asyncio.gather(*(story(CALLER, "d-own") for _ in range(5)))

    assert [found.entry["decision"] for found in asyncio.run(together())] == ["d-own"] * 5
    assert most == [1] * 5


def test_what_the_refusal_names_can_be_explained_without_telling_of_the_other(house):
    refused = house("d-other")
    assert refused.decision.request.first.resources == (INSTALLATION,)
    assert ENDPOINT.name not in str(house.entries[-1])


def test_whoever_only_lacks_a_stronger_sign_in_is_told_so(house):
    house.rulings[ENDPOINT] = STEP_UP
    assert house("d-other").decision.verdict == STEP_UP


def test_an_unknown_one_is_told_to_whoever_may(house):
    house.rulings[INSTALLATION] = PERMIT
    found = house("d-unknown")
    assert (found.decision.permitted, found.entry, found.left) == (True, {}, "no decision has this id")


def test_a_refusal_from_before_the_policies_is_told_as_that(house):
    house.rulings[INSTALLATION] = PERMIT
    found = house("d-early")
    assert (found.full, found.explanation) == (True, None)
    assert found.left == "refused before the policies were asked"
    assert found.entry["reasons"] == ["token_expired"]


def test_nobody_owns_what_nobody_was_identified_for(house):
    house.identity = replace(DANA, principal=replace(DANA.principal, tenant="", subject=""))
    assert house("d-early").entry == {}


@pytest.mark.parametrize("own", [True, False])
def test_what_has_left_the_estate_is_the_installation_s_to_tell(house, own):
    gone = Verdict(Outcome.DENY, (Reason.RESOURCE_UNKNOWN,), policy_version="v1")
    house.rulings = {ENDPOINT: gone, INSTALLATION: PERMIT}
    house.explained = Explanation(gone, (), ())
    found = house("d-own" if own else "d-other")
    assert found.decision.permitted
    assert (found.explanation, found.left) == (None, "what was asked for is not in `remit.yaml` any more")
    assert found.entry["resource"] == ENDPOINT.name


def test_a_resource_that_was_unknown_already_is_explained_as_ever(house):
    house.found["d-own"].entry["reasons"] = ["resource_unknown"]
    house.explained = Explanation(Verdict(Outcome.DENY, (Reason.RESOURCE_UNKNOWN,)), (), ())
    assert house("d-own").left == ""


def test_policies_that_are_not_kept_and_facts_that_cannot_be_read(house):
    house.explained = None
    assert "not kept" in house("d-own").left
    house.rulings[INSTALLATION] = PERMIT
    found = house("d-left")
    assert (found.explanation, found.full) == (None, True)
    assert found.left


def test_an_outcome_that_cannot_be_had_again_is_said(house):
    house.explained = replace(EXPLAINED, verdict=PERMIT)
    assert not house("d-own").same


def test_the_run_that_led_there_is_told(house):
    house.rulings[ENDPOINT] = PERMIT
    job = f"{DANA.principal.key}/nightly"
    question = EXPLAINED.questions[0]
    told = PolicyTold(POLICY, True, (Condition(f'principal in Job::"{job}"', True),))
    house.explained = replace(EXPLAINED, questions=(replace(question, policies=(told,)),))
    assert house("d-own", full=True).ways == ()  # it was not asked from within one
    past = house.found["d-own"].past
    for name, ways in (("nightly", [(job, ("run nightly",))]), ("weekly", [])):
        facts = write_facts(DANA, Request((PREDICT,)), Circumstances(now=NOW, job="j-1", job_name=name))
        house.found["d-own"] = replace(house.found["d-own"], past=replace(past, facts=facts))
        assert [(way.group, way.names) for way in house("d-own", full=True).ways] == ways


def test_where_the_directory_is_not_known_ids_stand_for_names(house):
    house.rulings[ENDPOINT] = PERMIT
    house.known = house.approving = Refused(Reason.PLANE_UNAVAILABLE)
    found = house("d-own", full=True)
    told = {change.means: change for repair in found.explanation.repairs for change in repair.changes}
    assert told[Means.GROUP].what == f"a member of group {GROUP}"
    assert (told[Means.GRANT].who, found.ways) == ("", ())


@pytest.mark.parametrize("decision", ["d-own", "d-other", "d-unknown"])
def test_the_revoked_are_told_nothing(house, decision):
    house.revoked = Refused(Reason.REVOKED)
    found = house(decision)
    assert (found.decision.verdict.reasons, found.entry) == ((Reason.REVOKED,), {})
    assert house.asked == []


@pytest.mark.promise("V20")
@pytest.mark.parametrize(
    "error", [Refused(Reason.PLANE_UNAVAILABLE), NotRecorded("no"), RuntimeError("a secret"), KeyError("secret")]
)
@pytest.mark.parametrize("where", ["identity", "revoked", "finding", "recording", "explained", "rulings"])
def test_every_error_is_a_refusal(house, error, where):
    house.rulings[ENDPOINT] = PERMIT
    if where == "rulings":
        house.rulings = {ENDPOINT: error, INSTALLATION: error}
    else:
        setattr(house, where, error)
    found = house("d-own", full=True)
    assert (found.decision.verdict.outcome, found.entry, found.explanation) == (Outcome.DENY, {}, None)
    assert found.decision.verdict.reasons[0].http_status == 503
    assert "secret" not in found.decision.verdict.detail
