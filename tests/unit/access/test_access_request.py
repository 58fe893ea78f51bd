"""The story of a grant: who may ask and approve, in which order, and that whatever goes wrong grants nothing."""

import asyncio
from dataclasses import dataclass, field, replace

import pytest
from tests.unit.access.nothing import Endless, NoRuns

from remit.access.asking import Caller
from remit.access.decide import Rooms
from remit.access.hypothesis import NAME, members
from remit.access.request import Ask, Said, Wish
from remit.model.decision import DeterminingPolicy, Verdict, relied_on
from remit.model.errors import NotRecorded, Refused
from remit.model.grant import Grant, GrantState, Kept, Step, Vote, Wanted
from remit.model.identity import Authentication, Identity, Kind, Principal
from remit.model.obligation import Obligations
from remit.model.operation import INSTALLATION, OWN_ACTIONS, Action, Asked, Group, Resource
from remit.model.outcome import Outcome
from remit.model.reasons import Reason
from remit.model.secret import UnverifiedToken

NOW = 1_800_000_000
TID = "6f1c2a34-8b5d-4e6f-9a01-c0de00000001"
OTHER_TID = TID.replace("01", "02")
PROJECT = Resource("Project", "//cloudresourcemanager.googleapis.com/projects/p", "p")
LAUNCH = Action("customJobs.create", Group.LAUNCH)
WISH = Wish("customJobs.create", "p", 7200, "the nightly run is broken")
POLICY = DeterminingPolicy("p1", "permit")
PERMIT = Verdict(Outcome.PERMIT, (Reason.POLICY_PERMITS,), (POLICY,), "v1")
DENY = Verdict(Outcome.DENY, (Reason.NO_POLICY_PERMITS,), policy_version="v1")
STEP_UP = Verdict(Outcome.STEP_UP, (Reason.STEP_UP_REQUIRED,), policy_version="v1", challenge="c1")
APPROVAL = Verdict(Outcome.NEEDS_APPROVAL, (Reason.APPROVAL_REQUIRED,), policy_version="v1")
CALLER = Caller(UnverifiedToken("t"), peer="10.0.0.1")


def somebody(name, tenant=TID, kind=Kind.PERSON, token="uti"):
    return Identity(
        principal=Principal(f"https://login.example/{tenant}", tenant, name, kind),
        display=name.title(),
        groups=frozenset(),
        groups_at=NOW,
        roles=frozenset(),
        scopes=frozenset(),
        client="cli",
        authentication=Authentication(),
        guest=False,
        issued_at=NOW,
        expires_at=NOW + 3600,
        token_id=token,
    )


DANA, ADA = somebody("dana"), somebody("ada")
KEY = DANA.principal.key
WANTED = Wanted(KEY, LAUNCH.id, PROJECT, 7200, WISH.because)
KEPT = Kept("g-1", WANTED, "Dana", 1, GrantState.ASKED, NOW, NOW + 600)


def granted(identity, request, circumstances, *, needs=1):
    """A policy: launches need a grant with so many approvals; grants may be asked for and approved by everybody."""
    if request.first.asked:
        return PERMIT
    covering = [grant for grant in circumstances.grants if all(map(grant.covers, request.operations))]
    enough = [grant for grant in covering if grant.approvals >= needs or grant.wanted.break_glass]
    if not enough:
        return APPROVAL
    return replace(PERMIT, obligations=Obligations(approvals=needs), grants=(enough[0].id,))


@dataclass
class House:
    """Every room as a fake that can be told to fail; `told` is the order in which they were asked."""

    identity: Identity | Exception = DANA
    revoked: Exception | None = None
    policy: object = granted
    recording: list = field(default_factory=list)
    effect: object = None
    kept: Kept | None = KEPT
    mine: tuple = ()
    others_: tuple = ()
    refreshing: Exception | None = None
    told: list = field(default_factory=list)
    entries: list = field(default_factory=list)
    steps: list = field(default_factory=list)
    judged: list = field(default_factory=list)
    in_force_: tuple = ()
    epoch: int = 6
    alike: frozenset = frozenset()
    actions: dict = field(default_factory=lambda: {LAUNCH.id: Group.LAUNCH, "b.create": Group.LAUNCH, "c": Group.USE})

    def _tell(self, step, value=None):
        self.told.append(step)
        if isinstance(value, Exception):
            raise value
        return value

    async def authenticate(self, token, now):
        return self._tell("who", self.identity)

    def check(self, identity, job, now):
        self._tell(f"still {job}".strip(), self.revoked)

    def observe(self, identity, circumstances):
        return replace(circumstances, country="DE")

    def in_force(self, principal, job, now):
        return self.in_force_

    async def keep(self, identity):
        return None

    def action(self, word):
        if word == "nothing":
            raise Refused(Reason.METHOD_UNKNOWN)
        return Action(word, Group(word)) if word in set(Group) else Action(word, Group.LAUNCH)

    def resource(self, word):
        return PROJECT

    def decide(self, identity, request, circumstances):
        assert circumstances.country == "DE"
        self.judged.append((identity, request, circumstances))
        return self._tell("may", self.policy(identity, request, circumstances))

    async def record(self, entry):
        self.entries.append(dict(entry))
        self._tell("write", self.recording.pop(0) if self.recording else None)

    async def ask(self, asker, wanted, needed, *, decision, at):
        self.steps.append(("ask", asker.principal.key, wanted, needed, decision))
        state = GrantState.ASKED if needed else GrantState.GRANTED
        return self._tell("effect", self.effect or replace(KEPT, wanted=wanted, needed=needed, state=state))

    async def answer(self, who, asked, step, because, *, decision, at):
        self.steps.append((str(step), who.principal.key, asked, because, decision))
        return self._tell("effect", self.effect or asked)

    async def find(self, grant):
        return self._tell("what", self.kept)

    async def own(self, principal, now, *, everything):
        return self.mine

    async def others(self, principal, now, *, everything):
        return self.others_

    def refresh(self):
        self._tell("count", self.refreshing)

    @property
    def story(self):
        rooms = Rooms(
            authenticator=self,
            sessions=self,
            revocations=self,
            observer=self,
            classifier=self,
            judge=self,
            recorder=self,
            obtainer=self,
            works=self,
            grants=self,
            memberships=self,
            runs=NoRuns(),
            lifetimes=Endless(),
            clock=lambda: NOW * 1_000_000,
        )
        named = frozenset(self.actions) - self.alike
        return Ask(rooms, self, self, actions=self.actions, named=lambda: named, refresh=self.refresh)

    def asked(self, wish=WISH, caller=CALLER):
        return asyncio.run(self.story.ask(caller, wish))

    def said(self, step=Step.APPROVE, **more):
        return asyncio.run(self.story.say(CALLER, Said("g-1", step, **more)))

    def shown(self, **more):
        return asyncio.run(self.story.show(CALLER, **more))


def reason(ruling):
    assert not ruling.done
    assert not ruling.decision.permitted
    assert ruling.grants == ()
    return ruling.decision.verdict.reasons[0]


@pytest.mark.promise("N1")
def test_asking_tells_the_whole_story_in_order():
    house = House()
    ruling = house.asked()
    assert ruling.done
    assert [step for step in house.told if step != "may"] == ["who", "still", "write", "effect", "count"]
    [entry] = house.entries
    assert (entry["action"], entry["resource"], entry["outcome"]) == ("remit.grants.request", PROJECT.name, "permit")
    assert (entry["principal"], entry["method"], entry["path"]) == (KEY, "POST", "/v1/grants")
    assert house.steps == [("ask", KEY, WANTED, 1, ruling.decision.id)]
    assert ruling.decision.request.first.asked == Asked(LAUNCH.id, 7200, KEY)
    assert ruling.decision.verdict.grants == ()  # what it rests on does not exist
    assert ruling.decision.circumstances.grants == ()
    _, request, circumstances = house.judged[0]
    [hypothetical] = circumstances.grants
    assert (hypothetical.id, hypothetical.wanted, hypothetical.until) == (NAME, WANTED, NOW + 7200)
    assert request.first.action == LAUNCH
    assert ruling.grants[0].mine


def test_the_policy_says_how_many_people():
    house = House(policy=lambda *asked: granted(*asked, needs=2))
    assert house.asked().done
    assert house.steps[0][3] == 2

    def unsaid(identity, request, circumstances):  # a condition on the grant, and no obligation
        verdict = granted(identity, request, circumstances, needs=3)
        return replace(verdict, obligations=Obligations())

    house = House(policy=unsaid)
    assert house.asked().done
    assert house.steps[0][3] == 3
    house = House(policy=lambda *asked: granted(*asked, needs=50))
    assert reason(house.asked()) is Reason.OBLIGATION_UNMET


@pytest.mark.parametrize("wish", [WISH, replace(WISH, break_glass=True), replace(WISH, job="nightly")])
def test_what_is_permitted_already_is_not_asked_for(wish, caplog):
    house = House(policy=lambda *_: PERMIT)
    ruling = house.asked(wish)
    assert (ruling.done, ruling.grants, house.steps) == (True, (), [])
    assert (ruling.permitted.action, ruling.permitted.resource) == (LAUNCH.id, PROJECT)
    [entry] = house.entries
    assert (entry["action"], entry["outcome"], entry["policies"]) == ("remit.grants.request", "permit", ["p1"])
    assert ruling.decision.id == entry["decision"]
    assert "break glass" not in caplog.text


def test_what_a_grant_permits_already_is_named_by_that_grant():
    held = Grant("g-1", WANTED, NOW - 60, NOW + 60, 1)
    ruling = House(in_force_=(held,)).asked()
    assert (ruling.done, ruling.grants) == (True, ())
    assert ruling.decision.verdict.grants == ("g-1",)
    assert relied_on(ruling.decision.verdict, ruling.decision.circumstances) == (held,)


def test_what_is_permitted_already_is_told_only_when_that_is_on_record():
    house = House(policy=lambda *_: PERMIT, recording=[NotRecorded("full")])
    assert reason(house.asked()) is Reason.RECORD_UNAVAILABLE


def test_what_is_granted_to_a_run_is_judged_as_from_within_it():
    """And what that run may without a grant is not asked for."""
    house = House()
    assert house.asked(replace(WISH, job="nightly")).done
    asked = [around for _, request, around in house.judged if request.first.action == LAUNCH]
    assert {around.job_name for around in asked} == {"nightly"}
    assert all(around.job and (not around.grants or around.grants[0].job == around.job) for around in asked)
    within = House(policy=lambda _who, _what, around: PERMIT if around.job_name == "nightly" else DENY)
    assert within.asked(replace(WISH, job="nightly")).permitted
    assert reason(within.asked(replace(WISH, job="weekly"))) is Reason.NO_POLICY_PERMITS


def test_a_stronger_sign_in_stands_in_the_way_of_nothing():
    def stepped(identity, request, circumstances):
        return granted(identity, request, circumstances) if identity.authentication.contexts else STEP_UP

    house = House(policy=stepped)
    ruling = house.asked()
    assert ruling.done
    assert house.steps[0][3] == 1
    assert ruling.decision.identity is DANA  # the record knows of no context that was not there
    assert ruling.decision.identity.authentication.contexts == frozenset()
    assert reason(House(policy=lambda *_: STEP_UP).asked()) is Reason.STEP_UP_REQUIRED  # it never ends


@pytest.mark.parametrize("without", [STEP_UP, replace(APPROVAL, hint="remit request", wanted=WANTED), DENY])
@pytest.mark.parametrize("wish", [WISH, replace(WISH, break_glass=True)])
def test_whom_a_stronger_sign_in_alone_would_do_is_asked_for_that(wish, without):
    """Whatever policy asks for first when it is asked without a grant."""

    def policy(who, _, around):
        return PERMIT if who.authentication.contexts else STEP_UP if around.grants else without

    house = House(policy=policy)
    ruling = house.asked(wish)
    assert reason(ruling) is Reason.STEP_UP_REQUIRED
    verdict = ruling.decision.verdict
    assert (verdict.challenge, verdict.hint, verdict.wanted) == ("c1", "", None)
    assert (ruling.permitted, house.steps) == (None, [])
    assert house.entries[0]["outcome"] == "step_up"


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        ({"lasting": 59}, Reason.REQUEST_MALFORMED),
        ({"lasting": 0}, Reason.REQUEST_MALFORMED),
        ({"lasting": -1}, Reason.REQUEST_MALFORMED),
        ({"lasting": 30 * 86400 + 1}, Reason.REQUEST_MALFORMED),
        ({"lasting": 10**400}, Reason.REQUEST_MALFORMED),
        ({"because": ""}, Reason.REQUEST_MALFORMED),
        ({"because": " \t"}, Reason.REQUEST_MALFORMED),
        ({"because": "a\nb"}, Reason.REQUEST_MALFORMED),
        ({"because": "\u202egood"}, Reason.REQUEST_MALFORMED),
        ({"because": "\ud800"}, Reason.REQUEST_MALFORMED),
        ({"because": "x" * 501}, Reason.REQUEST_MALFORMED),
        ({"job": "-x"}, Reason.REQUEST_MALFORMED),
        ({"job": "a b"}, Reason.REQUEST_MALFORMED),
        ({"job": "nächtlich"}, Reason.REQUEST_MALFORMED),
        ({"job": "x" * 64}, Reason.REQUEST_MALFORMED),
        ({"job": "x\n"}, Reason.REQUEST_MALFORMED),
        ({"action": "nothing"}, Reason.METHOD_UNKNOWN),
        ({"action": "remit.grants.approve"}, Reason.REQUEST_MALFORMED),
        ({"action": "remit.grants.break_glass"}, Reason.REQUEST_MALFORMED),
        ({"action": "remit.grants.request"}, Reason.REQUEST_MALFORMED),
    ],
)
def test_what_cannot_be_asked_for(wish, expected):
    house = House()
    assert reason(house.asked(replace(WISH, **wish))) is expected
    assert house.steps == []
    [entry] = house.entries
    assert (entry["action"], entry["outcome"]) == ("remit.grants.request", "deny")


@pytest.mark.parametrize("wish", [{"lasting": 60}, {"lasting": 30 * 86400}, {"because": "x" * 500}, {"job": "a.b_c-1"}])
def test_what_can_be_asked_for(wish):
    assert House().asked(replace(WISH, **wish)).done


@pytest.mark.parametrize(
    ("change", "expected", "told"),
    [
        ({"identity": Refused(Reason.TOKEN_EXPIRED)}, Reason.TOKEN_EXPIRED, ["who"]),
        ({"revoked": Refused(Reason.REVOKED)}, Reason.REVOKED, ["who", "still", "write"]),
        ({"policy": lambda *_: DENY}, Reason.NO_POLICY_PERMITS, ["who", "still", "may", "write"]),
        ({"identity": RuntimeError("odd")}, Reason.PLANE_UNAVAILABLE, ["who"]),
    ],
)
def test_every_refusal_comes_before_any_effect(change, expected, told):
    for call in (House.asked, House.said):
        house = House(**{"identity": ADA, **change})
        assert reason(call(house)) is expected
        assert [step for step in house.told if step != "what"] == told
        assert house.steps == []


@pytest.mark.parametrize("call", [House.asked, House.said])
def test_a_decision_that_is_not_durable_has_no_effect(call):
    house = House(identity=ADA, recording=[NotRecorded("full")])
    assert reason(call(house)) is Reason.RECORD_UNAVAILABLE
    assert house.steps == []


@pytest.mark.parametrize(
    ("effect", "expected", "entries"),
    [
        (NotRecorded("full"), Reason.RECORD_UNAVAILABLE, 1),
        (RuntimeError("odd"), Reason.PLANE_UNAVAILABLE, 1),
        (Refused(Reason.REQUEST_MALFORMED, "it has been withdrawn"), Reason.REQUEST_MALFORMED, 2),
    ],
)
def test_an_effect_that_fails_is_a_refusal(effect, expected, entries):
    for call in (House.asked, House.said):
        house = House(identity=ADA, effect=effect)
        assert reason(call(house)) is expected
        assert len(house.entries) == entries
        if entries == 2:
            assert (house.entries[1]["type"], house.entries[1]["hop"]) == ("outcome", "grants")


def test_nobody_is_nobody():
    house = House()
    assert reason(house.asked(caller=Caller(None))) is Reason.TOKEN_MISSING
    assert house.entries == []


def test_a_view_that_cannot_look_undoes_nothing():
    assert House(refreshing=RuntimeError("busy")).asked().done


# whole groups


def test_a_group_is_asked_for_only_when_all_of_it_would_be_permitted():
    house = House()
    assert house.asked(replace(WISH, action="launch")).done
    asked = [operation.action.id for operation in house.judged[0][1].operations]
    assert asked == ["b.create", LAUNCH.id]

    def but_one(identity, request, circumstances):
        if any(operation.action.id == "b.create" for operation in request.operations):
            return DENY
        return granted(identity, request, circumstances)

    house = House(policy=but_one)
    assert house.asked().done
    assert reason(house.asked(replace(WISH, action="launch"))) is Reason.NO_POLICY_PERMITS


def test_a_large_group_is_asked_about_in_parts_and_the_strictest_counts():
    def strict(identity, request, circumstances):
        many = 3 if any(operation.action.id == "a110" for operation in request.operations) else 1
        return granted(identity, request, circumstances, needs=many)

    house = House(policy=strict, actions={f"a{number:03}": Group.LAUNCH for number in range(120)})
    assert house.asked(replace(WISH, action="launch")).done
    assert house.steps[0][3] == 3
    assert max(len(request.operations) for _, request, _ in house.judged) == 50
    assert len({operation.action.id for _, request, _ in house.judged for operation in request.operations}) == 120


def test_of_actions_that_no_policy_names_one_answers_for_all():
    actions = {f"a{number}": Group.LAUNCH for number in range(9)} | {"u": Group.USE}
    house = House(actions=actions, alike=frozenset(actions) - {"a7"})
    assert house.asked(replace(WISH, action="launch")).done
    assert {one.action.id for _, request, _ in house.judged for one in request.operations} == {"a0", "a7"}


def test_a_group_does_not_stand_for_remits_own_api():
    actions = {action.id: action.group for action in (*OWN_ACTIONS, Action("x", Group.ADMINISTER))}
    assert members(Action("administer", Group.ADMINISTER), actions, actions) == (Action("x", Group.ADMINISTER),)
    house = House(actions={})
    assert reason(house.asked(replace(WISH, action="use"))) is Reason.METHOD_UNKNOWN


# without waiting


def test_break_glass_needs_the_policys_word_and_is_loud(caplog):
    house = House()
    ruling = house.asked(replace(WISH, break_glass=True))
    assert ruling.done
    assert house.entries[0]["action"] == "remit.grants.break_glass"
    assert house.steps[0][2:4] == (replace(WANTED, break_glass=True), 0)
    assert house.judged[0][2].grants[0].approvals == 0
    assert house.judged[-1][1].first.asked == Asked(LAUNCH.id, 7200, KEY, break_glass=True)
    [logged] = [one for one in caplog.records if one.levelname == "WARNING"]
    assert f"break glass: `{KEY}` takes `{LAUNCH.id}`" in logged.getMessage()
    assert WISH.because in logged.getMessage()


@pytest.mark.parametrize("verdict", [DENY, STEP_UP, APPROVAL])
def test_break_glass_is_refused_where_policy_does_not_permit_it(verdict, caplog):
    def policy(identity, request, circumstances):
        return verdict if request.first.asked else granted(identity, request, circumstances)

    house = House(policy=policy)
    assert reason(house.asked(replace(WISH, break_glass=True))) is verdict.reasons[0]
    assert house.steps == []
    assert "break glass" not in caplog.text


def test_break_glass_that_would_not_help_is_not_taken():
    def people(identity, request, circumstances):
        if request.first.asked:
            return PERMIT
        return PERMIT if any(grant.approvals for grant in circumstances.grants) else APPROVAL

    ruling = House(policy=people).asked(replace(WISH, break_glass=True))
    assert reason(ruling) is Reason.NO_POLICY_PERMITS
    assert "--break-glass" in ruling.decision.verdict.hint


# answers


@pytest.mark.parametrize("step", [Step.APPROVE, Step.DENY, Step.WITHDRAW, Step.REVIEW])
def test_an_answer_is_decided_on_what_was_asked_for(step):
    house = House(identity=ADA)
    ruling = house.said(step, because="yes")
    assert ruling.done
    assert house.told == ["who", "still", "what", "may", "write", "effect", "count"]
    [entry] = house.entries
    assert (entry["action"], entry["resource"]) == ("remit.grants.approve", PROJECT.name)
    assert ruling.decision.request.first.asked == Asked(LAUNCH.id, 7200, KEY)
    assert house.steps == [(str(step), ADA.principal.key, KEPT, "yes", entry["decision"])]
    assert ruling.decision.id == entry["decision"]


@pytest.mark.parametrize("step", [Step.APPROVE, Step.DENY, Step.REVIEW])
@pytest.mark.parametrize(
    "who", [DANA, somebody("dana", token="another"), somebody("pipeline", kind=Kind.WORKLOAD)], ids=str
)
def test_nobody_approves_their_own_and_no_workload_approves(step, who):
    house = House(identity=who)
    assert reason(house.said(step)) is Reason.NO_POLICY_PERMITS
    assert "may" not in house.told
    assert house.steps == []
    assert house.entries[0]["outcome"] == "deny"


def test_a_guest_with_the_same_object_id_is_somebody_else():
    assert House(identity=somebody("dana", OTHER_TID)).said().done


def test_withdrawing_ones_own_needs_nobody():
    for who in (DANA, replace(DANA, principal=replace(DANA.principal, kind=Kind.WORKLOAD))):
        house = House(identity=who, policy=lambda *_: DENY)
        ruling = house.said(Step.WITHDRAW)
        assert (ruling.done, ruling.decision.id) == (True, "")
        assert house.steps == [("withdraw", KEY, KEPT, "", "")]
        assert house.entries == []


def test_what_is_granted_grants_nobody_the_right_to_grant():
    house = House(identity=ADA, in_force_=("anything",))
    assert house.said().done
    assert house.judged[0][2].grants == ()
    house = House(identity=ADA, in_force_=("anything",), others_=(KEPT,))
    house.shown()
    assert house.judged[0][2].grants == ()


def test_what_was_shown_is_what_is_approved():
    house = House(identity=ADA)
    assert house.said(digest=WANTED.digest).done
    for digest in ("x", WANTED.digest.upper(), replace(WANTED, lasting=7201).digest):
        assert reason(house.said(digest=digest)) is Reason.REQUEST_MALFORMED
    assert len(house.steps) == 1


def test_what_is_not_there_is_not_answered():
    house = House(identity=ADA, kept=None)
    assert reason(house.said()) is Reason.REQUEST_MALFORMED
    assert house.entries[0]["resource"] == INSTALLATION.name
    for step in (Step.ASK, Step.START, Step.END):
        assert reason(House(identity=ADA).said(step)) is Reason.REQUEST_MALFORMED
    assert reason(House(identity=ADA).said(because="\x1b")) is Reason.REQUEST_MALFORMED
    changed = House(identity=ADA, kept=Refused(Reason.PLANE_UNAVAILABLE, "its row was changed"))
    assert reason(changed.said()) is Reason.PLANE_UNAVAILABLE


# the list


def test_one_sees_ones_own_and_what_one_may_approve():
    def policy(identity, request, circumstances):
        return PERMIT if request.first.asked.lasting < 100 else DENY

    small = replace(KEPT, id="g-2", wanted=replace(WANTED, lasting=60))
    again = replace(small, id="g-3")
    voted = replace(small, id="g-4", votes=(Vote(ADA.principal.key, "", Step.APPROVE, NOW, "", small.wanted.digest),))
    house = House(identity=ADA, policy=policy, mine=(KEPT,), others_=(KEPT, small, again, voted))
    ruling = house.shown()
    assert ruling.done
    told = [(one.kept.id, one.mine, one.may_approve) for one in ruling.grants]
    assert told == [("g-1", True, False), ("g-2", False, True), ("g-3", False, True), ("g-4", False, False)]
    assert len(house.judged) == 2  # each question once
    [entry] = house.entries
    assert (entry["action"], entry["outcome"], entry["method"]) == ("remit.grants.approve", "permit", "GET")


def test_who_can_approve_after_a_stronger_sign_in_reads_what_for():
    house = House(identity=ADA, policy=lambda *_: STEP_UP, others_=(KEPT,))
    assert [one.may_approve for one in house.shown().grants] == [True]
    assert house.entries[0]["outcome"] == "step_up"


def test_of_others_nothing_is_shown_without_a_record():
    house = House(identity=ADA, policy=lambda *_: PERMIT, others_=(KEPT,), recording=[NotRecorded("full")])
    assert reason(house.shown()) is Reason.RECORD_UNAVAILABLE


def test_a_workload_sees_its_own_only():
    house = House(identity=somebody("pipeline", kind=Kind.WORKLOAD), mine=(KEPT,), others_=(KEPT,))
    assert len(house.shown().grants) == 1
    assert (house.judged, house.entries) == ([], [])
