"""May they, and who else could: whose word it takes, what is assumed, and that nothing is told to whoever may not ask."""

import asyncio
from dataclasses import dataclass, field, replace

import pytest
from tests.unit.access.nothing import Endless, NoRuns

from remit.access.asking import Caller
from remit.access.assumed import PLAIN, Assumed
from remit.access.decide import Rooms
from remit.access.who import Asking, Who
from remit.model.decision import DeterminingPolicy, Verdict
from remit.model.errors import NotRecorded, Refused, SignInAgain
from remit.model.grant import Grant, GrantState, Kept, Wanted
from remit.model.identity import Authentication, Identity, Kind, Principal
from remit.model.inventory import Account, GroupKnown, Inventory
from remit.model.operation import ACCESS_QUERY, Action, Group, Resource
from remit.model.outcome import Outcome
from remit.model.reasons import Reason
from remit.model.record import Recorded, decision_record
from remit.model.secret import UnverifiedToken
from remit.model.snapshot import Past, write_facts

NOW = 1_800_000_000
TID = "6f1c2a34-8b5d-4e6f-9a01-c0de00000001"
PROJECT = Resource("Project", "//cloudresourcemanager.googleapis.com/projects/p", "p")
OTHER = Resource("ServiceAccount", "//iam.googleapis.com/projects/-/serviceAccounts/x@q.example", "q")
BUCKET = Resource("Bucket", "//storage.googleapis.com/projects/_/buckets/b", "p")
PREDICT = Action("endpoints.predict", Group.USE)
CALLER = Caller(UnverifiedToken("t"), peer="10.0.0.1")
POLICY = DeterminingPolicy("p1", "permit")
PERMIT = Verdict(Outcome.PERMIT, (Reason.POLICY_PERMITS,), (POLICY,), "v1")
DENY = Verdict(Outcome.DENY, (Reason.NO_POLICY_PERMITS,), policy_version="v1")
STEP_UP = Verdict(Outcome.STEP_UP, (Reason.STEP_UP_REQUIRED,), (POLICY,), "v1", challenge="c1")
APPROVAL = Verdict(Outcome.NEEDS_APPROVAL, (Reason.APPROVAL_REQUIRED,), policy_version="v1")
ERRORS = [
    Refused(Reason.PLANE_UNAVAILABLE),
    Refused(Reason.TOKEN_EXPIRED),
    NotRecorded("no"),
    RuntimeError("a secret"),
    KeyError("secret"),
]


def principal(name, tenant=TID, kind=Kind.PERSON):
    return Principal(f"https://login.example/{tenant}", tenant, name, kind)


SAM = Identity(
    principal=principal("sam"),
    display="Sam",
    groups=frozenset({"security"}),
    groups_at=NOW,
    roles=frozenset(),
    scopes=frozenset({"access"}),
    client="cli",
    authentication=Authentication(at=NOW - 60),
    guest=False,
    issued_at=NOW - 10,
    expires_at=NOW + 3600,
    token_id="uti",
)


def account(name, display="", **more):
    groups = frozenset(more.pop("groups", ()))
    fields = {"enabled": True, "guest": False, "direct": groups, "groups": groups, "roles": frozenset(), **more}
    return Account(principal(name, kind=fields.pop("kind", Kind.PERSON)), display or name.title(), **fields)


INVENTORY = Inventory(
    NOW - 100,
    (
        account("dana", direct=frozenset({"g1"}), groups={"g1", "g2"}),
        account("ada"),
        account("sam"),
        account("alex1", "Alex"),
        account("alex2", "alex"),
        account("gone", enabled=False, groups={"g2"}),
        account("gil", guest=True),
        account("job", kind=Kind.WORKLOAD),
    ),
    {"g1": GroupKnown("g1", "fraud", frozenset({"g2"})), "g2": GroupKnown("g2", "everyone")},
)


@dataclass
class House:
    """Every room as a fake; `verdicts`: by subject, of what is asked about; `may`: who may ask about others."""

    identity: Identity | Exception = SAM
    revoked: dict = field(default_factory=dict)
    query: Verdict | Exception = PERMIT
    verdicts: dict = field(default_factory=dict)
    recording: Exception | None = None
    known: Inventory | Exception = INVENTORY
    recent: dict = field(default_factory=dict)
    entries: list = field(default_factory=list)
    judged: list = field(default_factory=list)
    observed: list = field(default_factory=list)
    looked_at: list = field(default_factory=list)
    grants_of: dict = field(default_factory=dict)
    waits_for: dict = field(default_factory=dict)
    naming: object = lambda policies: {"g2"} if "p1" in policies else set()
    running: dict = field(default_factory=dict)
    within: dict = field(default_factory=dict)
    epoch: int = 6

    @staticmethod
    def _give(value):
        if isinstance(value, Exception):
            raise value
        return value

    async def authenticate(self, token, now):
        assert token.reveal() == "t"
        return self._give(self.identity)

    def check(self, identity, job, now):
        if error := self.revoked.get(identity.principal.subject):
            raise error

    def observe(self, identity, circumstances):
        self.observed.append((identity.principal.subject, circumstances.peer))
        return replace(circumstances, country="DE" if circumstances.peer else "", risk="low")

    def in_force(self, key, job, now):
        return self.grants_of.get((key, job), ())

    async def waiting(self, key, name, now):
        assert now == NOW
        return self._give(self.waits_for.get((key, name), ()))

    async def keep(self, identity):
        return None

    def decide(self, identity, request, circumstances):
        self.judged.append((identity, request, circumstances))
        if request.first.action == ACCESS_QUERY:
            return self._give(self.query)
        if circumstances.job_name:
            return self.within.get((identity.principal.subject, circumstances.job_name), DENY)
        return self._give(self.verdicts.get(identity.principal.subject, DENY))

    async def record(self, entry):
        if self.recording:
            raise self.recording
        self.entries.append(dict(entry))
        return Recorded(len(self.entries))

    def action(self, word):
        self.looked_at.append(word)
        if word == "iam.serviceAccounts.actAs":
            return Action(word, Group.LAUNCH)
        if word not in {"predict", "launch"}:
            raise Refused(Reason.METHOD_UNKNOWN, f"`{word}` is no method")
        return PREDICT if word == "predict" else Action("launch", Group.LAUNCH)

    def resource(self, word):
        return self.part(word)[0]

    def part(self, word):
        self.looked_at.append(word)
        found = {"p": (PROJECT, ""), "x@q.example": (OTHER, ""), "gs://b/train/": (BUCKET, "train/")}
        if word not in found:
            raise Refused(Reason.RESOURCE_UNKNOWN, f"`{word}` is not known")
        return found[word]

    def inventory(self):
        self.looked_at.append("directory")
        return self._give(self.known)

    def groups(self, policies):
        return frozenset(House.naming(policies))

    def jobs(self, policies=None):
        known = {None: {f"{TID}/ada/nightly", f"{TID}/gil/nightly", "other/ada/nightly"}, **self.running}
        return frozenset(known[None] if policies is None else known.get(policies, ()))

    def lately(self):
        return self._give(self.recent)

    def story(self):
        rooms = Rooms(*[self] * 11, runs=NoRuns(), lifetimes=Endless(), clock=lambda: NOW * 1_000_000)
        return Who(rooms, self, self, self, self.lately, self)

    def can(self, who="", assumed=PLAIN, action="predict", resource="p", caller=CALLER):
        return asyncio.run(self.story().can(caller, Asking(action, resource, who, assumed)))

    def who(self, action="predict", resource="p"):
        return asyncio.run(self.story().who(CALLER, action, resource))


@pytest.fixture
def house():
    return House(verdicts={"dana": PERMIT, "ada": STEP_UP, "alex1": APPROVAL, "gone": PERMIT, "sam": PERMIT})


def test_about_oneself_the_caller_s_own_token_and_address_count(house):
    answer = house.can()
    [subject] = answer.subjects
    assert (subject.identity, subject.verdict, subject.ways) == (SAM, PERMIT, ())
    [(identity, request, circumstances)] = house.judged
    assert identity is SAM or identity == SAM
    assert (request.first.action, request.first.resources) == (PREDICT, (PROJECT,))
    assert (circumstances.peer, circumstances.country, circumstances.risk) == ("10.0.0.1", "DE", "low")
    assert (answer.full, answer.told, answer.as_of) == (False, (), 0)
    assert answer.decision.permitted
    assert house.entries == [], "a question about oneself is no evidence"
    assert "directory" not in house.looked_at


def test_what_is_supposed_of_oneself_replaces_what_is_and_is_told(house):
    grant = Grant("g", Wanted(SAM.principal.key, "use", PROJECT, 60, "x"), NOW, NOW + 60)
    house.grants_of[SAM.principal.key, "j-1"] = (grant,)
    assumed = Assumed(("c1",), ("mfa",), "FR", "192.0.2.1", "", compliant=True, managed=False, job="j-1")
    answer = house.can(assumed=assumed)
    [(identity, _, circumstances)] = house.judged
    assert (identity.authentication.contexts, identity.authentication.methods) == ({"c1"}, {"mfa"})
    assert (identity.device.compliant, identity.device.managed) == (True, False)
    assert (circumstances.country, circumstances.peer, circumstances.job) == ("FR", "192.0.2.1", "j-1")
    assert circumstances.grants == (grant,)
    assert house.observed == [("sam", "192.0.2.1")], "the surroundings are those of the supposed address"
    assert dict(answer.told) == {
        "contexts": ["c1"],
        "methods": ["mfa"],
        "country": "FR",
        "peer": "192.0.2.1",
        "compliant": True,
        "managed": False,
        "job": "j-1",
    }


def test_a_lesser_risk_of_one_s_own_cannot_be_supposed(house):
    answer = house.can(assumed=Assumed(risk="none"))
    assert answer.decision.verdict.reasons == (Reason.REQUEST_MALFORMED,)
    assert house.judged == []
    assert house.can("sam", Assumed(risk="none")).decision.permitted, "who may ask about others may"


@pytest.mark.parametrize(
    "assumed",
    [
        Assumed(contexts=("c100",)),
        Assumed(contexts=("",)),
        Assumed(methods=("a b",)),
        Assumed(methods=("\ud800",)),
        Assumed(country="Germany"),
        Assumed(country="de"),
        Assumed(peer="10.0.0"),
        Assumed(peer="10.0.0.1/8"),
        Assumed(risk="fine"),
        Assumed(job="x y"),
        Assumed(job_name="x/y"),
        Assumed(job_name="-x"),
        Assumed(job_name="x\n"),
        Assumed(outlived=("Sign in",)),
        Assumed(outlived=("signin",)),
        Assumed(outlived=("",)),
        Assumed(job="x" * 65),
    ],
)
@pytest.mark.parametrize("who", ["", "dana"])
def test_what_no_request_could_come_with_is_refused_before_anybody_is_asked(house, assumed, who):
    answer = house.can(who, assumed)
    assert answer.decision.verdict.reasons == (Reason.REQUEST_MALFORMED,)
    assert answer.decision.verdict.hint, "what it may be is said"
    assert (house.judged, house.entries, answer.subjects) == ([], [], ())


@pytest.mark.promise("N2")
def test_what_the_work_would_outlive_can_be_supposed(house):
    answer = house.can(assumed=Assumed(outlived=("grant",)))
    [(_, _, circumstances)] = house.judged
    assert circumstances.outlived == {"grant"}
    assert dict(answer.told)["outlived"] == ["grant"]


def test_the_account_that_work_would_run_as_is_asked_too(house):
    house.can(assumed=Assumed(acts_as="x@q.example"))
    [(_, request, _)] = house.judged
    assert [(each.action.id, each.resources, each.acts_as) for each in request.operations] == [
        ("endpoints.predict", (PROJECT,), "x@q.example"),
        ("iam.serviceAccounts.actAs", (OTHER,), ""),
    ]


def test_who_asks_about_others_needs_permission_on_all_that_is_told(house):
    house.can("dana", Assumed(acts_as="x@q.example"))
    assert [each.resources for each in house.judged[0][1].operations] == [(PROJECT,), (OTHER,)]
    assert house.entries[0]["resources"] == [PROJECT.name, OTHER.name]


@pytest.mark.promise("V20")
@pytest.mark.parametrize("verdict", [DENY, STEP_UP, APPROVAL])
@pytest.mark.parametrize("who", ["dana", "nobody", f"{TID}/dana", "Alex"])
def test_without_permission_nothing_is_told_of_anybody(house, verdict, who):
    house.query = verdict
    answer = house.can(who)
    assert answer.decision.verdict == verdict
    assert (answer.subjects, answer.told, answer.as_of, answer.full) == ((), (), 0, False)
    assert "directory" not in house.looked_at, "whether the name is known was not even looked up"
    assert len(house.judged) == 1
    [entry] = house.entries
    assert (entry["action"], entry["outcome"], entry["decision"]) == (
        "remit.access.query",
        str(verdict.outcome),
        answer.decision.id,
    )
    everybody = house.who()
    assert (everybody.subjects, everybody.as_of) == ((), 0)


@pytest.mark.parametrize("question", ["can", "who", "myself"])
@pytest.mark.parametrize("resource", ["p", "unknown"])
@pytest.mark.parametrize("error", [Refused(Reason.REVOKED), SignInAgain(NOW), Refused(Reason.PLANE_UNAVAILABLE)])
def test_the_revoked_ask_nothing_not_even_which_names_are_known(house, question, resource, error):
    house.revoked["sam"] = error
    ask = {"can": lambda: house.can("dana", resource=resource), "who": lambda: house.who(resource=resource)}
    answer = ask.get(question, lambda: house.can(resource=resource))()
    assert answer.decision.verdict.reasons == (error.reason,)
    assert (house.looked_at, house.judged) == ([], [])


def test_about_somebody_else_the_directory_and_the_latest_sign_in_are_told(house):
    device = replace(SAM.device, compliant=True)
    proof = Authentication(frozenset({"pwd"}), frozenset({"c2"}), frozenset({"cp1"}), NOW - 90_000)
    seen = replace(SAM, principal=principal("dana"), groups=frozenset({"old"}), device=device, authentication=proof)
    house.recent = {f"{TID}/dana": replace(seen, expires_at=NOW - 80_000)}
    answer = house.can("dana", Assumed(contexts=("c1",), country="FR"))
    [subject] = answer.subjects
    identity, _, circumstances = house.judged[-1]
    assert identity.groups == {"g1", "g2"}
    assert identity.authentication == replace(proof, contexts=frozenset({"c1", "c2"}), at=NOW), "a fresh sign-in"
    assert identity.expires_at > NOW
    assert (circumstances.peer, circumstances.country, circumstances.risk) == ("", "FR", "low")
    assert subject.ways == (("fraud", "everyone"),)
    assert (answer.full, answer.as_of, answer.decision.permitted) == (True, NOW - 100, True)
    assert dict(answer.told) == {
        "contexts": ["c1", "c2"],
        "methods": ["pwd"],
        "compliant": True,
        "managed": False,
        "country": "FR",
        "risk": "low",
    }
    [entry] = house.entries
    assert (entry["decision"], entry["principal"], entry["method"]) == (answer.decision.id, SAM.principal.key, "POST")


def test_where_a_guest_is_from_is_known_of_the_last_sign_in(house):
    house.recent = {f"{TID}/gil": replace(SAM, principal=principal("gil"), guest=True, home="fabrikam")}
    house.can("gil")
    assert (house.judged[-1][0].guest, house.judged[-1][0].home) == (True, "fabrikam")


@pytest.mark.parametrize("word", ["dana", f"{TID}/dana", "Dana", "DANA"])
def test_a_key_an_object_id_and_a_name_mean_the_same(house, word):
    assert house.can(word).subjects[0].identity.principal == principal("dana")


def test_somebody_who_is_known_from_the_record_only(house):
    key = "github/repo"
    house.recent = {key: replace(SAM, principal=principal("repo", "github", Kind.WORKLOAD))}
    [subject] = house.can(key).subjects
    assert (subject.identity.principal.key, subject.ways) == (key, ())


@pytest.mark.parametrize(("word", "said"), [("Alex", f"`{TID}/alex1`, `{TID}/alex2`"), ("eve", "nobody named `eve`")])
def test_a_word_that_is_not_one_person_names_what_it_can_mean(house, word, said):
    answer = house.can(word)
    verdict = answer.decision.verdict
    assert (verdict.outcome, verdict.reasons) == (Outcome.DENY, (Reason.REQUEST_MALFORMED,))
    assert said in verdict.detail
    assert verdict.hint
    assert answer.decision.id == house.entries[0]["decision"], "the refusal names the decision that is on record"


def test_many_of_one_name_are_not_all_listed(house):
    house.known = Inventory(NOW, tuple(account(f"a{number}", "Alex") for number in range(500)))
    verdict = house.can("alex").decision.verdict
    assert "and 495 more" in verdict.detail
    assert len(verdict.detail) < 1000
    assert len(house.can("x" * 2000).decision.verdict.detail) < 300


def test_a_name_that_looks_like_somebody_s_key_is_not_them(house):
    fake = account("eve", f"{TID}/dana")
    house.known = replace(INVENTORY, accounts=(fake, *INVENTORY.accounts))
    assert house.can(f"{TID}/dana").subjects[0].identity.principal.subject == "dana"


@pytest.mark.promise("V20")
def test_everybody_who_may_at_once_or_after_something(house):
    answer = house.who()
    found = [(one.identity.display, one.verdict.outcome) for one in answer.subjects]
    assert found == [
        ("Dana", Outcome.PERMIT),
        ("Sam", Outcome.PERMIT),
        ("Ada", Outcome.STEP_UP),
        ("Alex", Outcome.NEEDS_APPROVAL),
    ]
    assert answer.subjects[0].ways == (("fraud", "everyone"),)
    assert (answer.full, answer.as_of) == (True, NOW - 100)
    assert len(house.entries) == 1


def test_whoever_may_from_within_a_run_of_theirs_is_in_the_list(house):
    """Its owner may begin it at any time; nobody else's is looked at, and nobody is listed for less than they may."""
    house.within = {("ada", "nightly"): PERMIT, ("gil", "nightly"): APPROVAL, ("dana", "nightly"): DENY}
    house.running = {frozenset({"p1"}): {f"{TID}/ada/nightly"}}
    found = {one.identity.display: (one.verdict.outcome, one.ways) for one in house.who().subjects}
    assert found == {
        "Dana": (Outcome.PERMIT, (("fraud", "everyone"),)),
        "Ada": (Outcome.PERMIT, (("run nightly",),)),
        "Sam": (Outcome.PERMIT, ()),
        "Alex": (Outcome.NEEDS_APPROVAL, ()),
        "Gil": (Outcome.NEEDS_APPROVAL, ()),
    }
    asked = [(who.principal.subject, around.job_name) for who, _, around in house.judged if around.job_name]
    assert asked == [("ada", "nightly"), ("gil", "nightly")]


def test_a_run_can_be_supposed_by_its_name(house):
    house.within = {("ada", "nightly"): PERMIT}
    house.running = {frozenset({"p1"}): {f"{TID}/ada/nightly"}}
    answer = house.can("ada", Assumed(job_name="nightly"))
    [subject] = answer.subjects
    assert (subject.verdict, subject.ways, dict(answer.told)["job_name"]) == (PERMIT, (("run nightly",),), "nightly")
    assert house.judged[-1][2].job, "whoever asks from within a run has its id"
    assert house.can("ada", Assumed(job_name="weekly")).subjects[0].verdict == DENY
    mine = house.can(assumed=Assumed(job_name="nightly"))
    assert (mine.subjects[0].verdict, mine.subjects[0].ways) == (DENY, ())


def test_the_disabled_and_the_revoked_may_nothing(house):
    house.revoked = {"dana": Refused(Reason.REVOKED, "locked"), "ada": SignInAgain(NOW)}
    assert [one.identity.display for one in house.who().subjects] == ["Sam", "Alex"]
    for name, reason, said in (
        ("gone", Reason.REVOKED, "disabled"),
        ("dana", Reason.REVOKED, "locked"),
        ("ada", Reason.SIGN_IN_AGAIN, ""),
    ):
        [subject] = house.can(name).subjects
        assert (subject.verdict.outcome, subject.verdict.reasons) == (Outcome.DENY, (reason,))
        assert said in subject.verdict.detail


def test_where_it_cannot_be_told_who_is_revoked_nobody_is_listed(house):
    house.revoked = {"ada": Refused(Reason.PLANE_UNAVAILABLE)}
    answer = house.who()
    assert (answer.subjects, answer.decision.verdict.reasons) == ((), (Reason.PLANE_UNAVAILABLE,))


@pytest.mark.parametrize("who", ["", "sam"])
def test_what_waits_for_a_run_of_a_name_counts_when_one_is_supposed_to_begin_and_is_named(house, who):
    """As that run would have it: from now on, for as long as it was granted."""
    wanted = Wanted(SAM.principal.key, "use", PROJECT, 60, "x", "nightly")
    house.waits_for[SAM.principal.key, "nightly"] = (
        Kept("g-1", wanted, "Sam", 1, GrantState.GRANTED, NOW - 9, NOW + 9),
        Kept("g-2", wanted, "Sam", 1, GrantState.GRANTED, NOW - 9, NOW + 9),
    )
    house.within = {("sam", "nightly"): replace(PERMIT, grants=("g-1",))}
    [subject] = house.can(who, Assumed(job_name="nightly")).subjects
    circumstances = house.judged[-1][2]
    assert [(one.id, one.since, one.until) for one in circumstances.grants] == [
        ("g-1", NOW, NOW + 60),
        ("g-2", NOW, NOW + 60),
    ]
    assert all(one.holds(SAM.principal.key, circumstances.job, NOW) for one in circumstances.grants)
    assert [one.id for one in subject.grants] == ["g-1"]
    assert house.can(who, Assumed(job_name="weekly")).subjects[0].verdict == DENY
    assert house.can(who, Assumed(job=circumstances.job)).subjects[0].grants == ()
    assert house.judged[-1][2].grants == ()


def test_whether_something_waits_cannot_be_told_is_no_answer(house):
    house.waits_for[SAM.principal.key, "nightly"] = Refused(Reason.PLANE_UNAVAILABLE)
    answer = house.can(assumed=Assumed(job_name="nightly"))
    assert (answer.subjects, answer.decision.verdict.reasons) == ((), (Reason.PLANE_UNAVAILABLE,))


def test_grants_that_are_in_force_count(house):
    grant = Grant("g", Wanted(f"{TID}/dana", "use", PROJECT, 60, "x"), NOW, NOW + 60)
    house.grants_of[f"{TID}/dana", ""] = (grant,)
    house.who()
    found = {identity.principal.subject: circumstances.grants for identity, _, circumstances in house.judged[1:]}
    assert found["dana"] == (grant,)
    assert found["ada"] == ()


@pytest.mark.promise("V20")
@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("where", ["identity", "query", "recording", "known", "recent", "verdicts"])
@pytest.mark.parametrize("question", ["can", "who"])
def test_every_error_is_a_refusal(house, error, where, question):
    if where == "verdicts":
        house.verdicts = dict.fromkeys(("dana", "ada", "sam"), error)
    else:
        setattr(house, where, error)
    answer = house.can("dana") if question == "can" else house.who()
    verdict = answer.decision.verdict
    assert verdict.outcome is Outcome.DENY
    assert verdict.reasons[0].http_status in {401, 503}
    assert "secret" not in verdict.detail + verdict.hint
    assert answer.subjects == ()


@pytest.mark.parametrize(("action", "resource"), [("nothing", "p"), ("predict", "unknown")])
def test_words_that_mean_nothing(house, action, resource):
    for answer in (
        house.can(action=action, resource=resource),
        house.can("dana", action=action, resource=resource),
        house.who(action, resource),
    ):
        assert answer.decision.verdict.reasons[0] in {Reason.METHOD_UNKNOWN, Reason.RESOURCE_UNKNOWN}
        assert answer.subjects == ()


def test_a_whole_group_is_asked_as_such(house):
    answer = house.who("launch")
    assert answer.action == Action("launch", Group.LAUNCH)
    assert {request.first.action.id for _, request, _ in house.judged[1:]} == {"launch"}


def test_approvers_are_people_who_count_and_never_whoever_asked(house):
    facts = write_facts(SAM, decision_of(house), house.can().decision.circumstances)
    past = Past("d", 1, Outcome.DENY, (), "v1", f"{TID}/dana", "Dana", "a", "r", facts, SAM.groups, SAM.roles)
    house.verdicts |= {"job": PERMIT, "alex2": PERMIT}
    house.revoked = {"alex2": Refused(Reason.REVOKED)}
    house.grants_of = {(f"{TID}/ada", ""): ("a grant",)}
    house.judged.clear()
    assert asyncio.run(house.story().approvers(past)) == ("Ada", "Sam")
    assert all(circumstances.grants == () for _, _, circumstances in house.judged)
    assert {request.first.asked.by for _, request, _ in house.judged} == {f"{TID}/dana"}


def decision_of(house):
    house.can()
    return house.judged[-1][1]


def test_the_record_of_a_question_holds_the_question_alone(house):
    answer = house.can("dana")
    assert decision_record(answer.decision)["resource"] == PROJECT.name
    assert "dana" not in str(house.entries)


@pytest.mark.parametrize("who", ["", "dana"])
def test_a_part_of_a_bucket_is_asked_about_as_such(house, who):
    answer = house.can(who, resource="gs://b/train/")
    asked = house.judged[-1][1].first
    assert (asked.action, asked.resources, asked.within) == (PREDICT, (BUCKET,), "train/")
    assert (answer.resource, answer.within) == (BUCKET, "train/")


def test_the_right_to_ask_is_of_that_part_and_of_all_of_the_account(house):
    answer = house.can("dana", Assumed(acts_as="x@q.example"), resource="gs://b/train/")
    question = house.judged[0][1]
    assert [(each.action, each.resources, each.within) for each in question.operations] == [
        (ACCESS_QUERY, (BUCKET,), "train/"),
        (ACCESS_QUERY, (OTHER,), ""),
    ]
    assert answer.within == "train/"


def test_everybody_who_may_below_a_prefix_is_asked_about_it(house):
    answer = house.who(resource="gs://b/train/")
    assert answer.within == "train/"
    assert answer.subjects
    assert {request.first.within for _, request, _ in house.judged} == {"train/"}


@pytest.mark.parametrize(
    ("who", "asked"),
    [
        ("", {"resource": "nothing"}),
        ("dana", {"resource": "nothing"}),
        ("dana", {"assumed": Assumed(country="nowhere")}),
        ("", {"action": "nothing"}),
        ("", {}),
    ],
)
def test_no_decision_is_named_that_nobody_finds_on_record(house, who, asked):
    answer = house.can(who, **asked)
    assert answer.decision.id == ""
    assert house.entries == []


def test_what_fails_after_the_question_was_put_names_its_decision(house):
    answer = house.can("dana", action="nothing")
    assert not answer.decision.permitted
    assert [entry["decision"] for entry in house.entries] == [answer.decision.id]


def test_of_a_guest_it_is_told_that_nobody_knows_from_where(house):
    """The directory need not say it; no token of a home that nobody listed is believed, whatever policies say."""
    assert dict(house.can("gil").told)["home"] == ""
    assert "home" not in dict(house.can("dana").told)
