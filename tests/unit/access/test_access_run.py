"""The story of a run: begun by policy, under an id that is nobody else's, and over for good."""

import asyncio
from dataclasses import dataclass, field, replace

import pytest
from tests.unit.access.nothing import NoRuns

from remit.access.asking import Caller
from remit.access.decide import Rooms
from remit.access.run import LONGEST, Begin, Jobs, Keeping
from remit.model.decision import Verdict
from remit.model.errors import NotRecorded, Refused
from remit.model.grant import GrantState, Kept, Wanted
from remit.model.identity import Authentication, Identity, Kind, Principal
from remit.model.job import Run
from remit.model.lifetime import Hop
from remit.model.obligation import Obligations
from remit.model.operation import RUNS_START, Resource
from remit.model.outcome import Outcome
from remit.model.reasons import Reason
from remit.model.revocation import Revocation, Scope
from remit.model.secret import UnverifiedToken

NOW = 1_800_000_000
AT = NOW * 1_000_000
HOUR = 3600
LIVES = 30 * HOUR
JOB = "j-" + "1" * 26
PROJECT = Resource("Project", "//cloudresourcemanager.googleapis.com/projects/p", "p")
CALLER = Caller(UnverifiedToken("t"), peer="10.0.0.1")
DANA = Identity(
    principal=Principal("https://login.example/tid", "tid", "dana", Kind.PERSON),
    display="Dana",
    groups=frozenset(),
    groups_at=NOW,
    roles=frozenset(),
    scopes=frozenset(),
    client="cli",
    authentication=Authentication(at=NOW - HOUR),
    guest=False,
    issued_at=NOW,
    expires_at=NOW + HOUR,
    token_id="uti",
)
KEY = DANA.principal.key
GRANTED = GrantState.GRANTED
PERMIT = Verdict(Outcome.PERMIT, (Reason.POLICY_PERMITS,))
FORBID = Verdict(Outcome.DENY, (Reason.POLICY_FORBIDS,), detail="too long")
BEGIN = Begin(JOB, "nightly", "p", 2 * HOUR)


@dataclass
class House:
    """Every room as a fake that can be told to fail; `told` is the order in which they were asked."""

    identity: Identity | Exception = DANA
    policy: object = lambda circumstances: PERMIT
    ends: dict = field(default_factory=lambda: {"sign-in": 9 * HOUR})
    run: Run | None = None
    past: tuple = ()
    waits: tuple = ()
    failing: dict = field(default_factory=dict)
    told: list = field(default_factory=list)
    entries: list = field(default_factory=list)
    judged: list = field(default_factory=list)
    revoked: list = field(default_factory=list)
    begun: Run | None = None
    now: int = NOW
    epoch: int = 1
    endless: int = 0

    def _tell(self, step, value=None):
        self.told.append(step)
        if step in self.failing:
            raise self.failing[step]
        return value

    async def authenticate(self, token, now):
        if isinstance(self.identity, Exception):
            raise self.identity
        return self._tell("who", self.identity)

    def check(self, identity, job, now):
        self._tell(f"still {job}".strip())

    def observe(self, identity, circumstances):
        return circumstances

    def in_force(self, principal, job, now):
        return ()

    def resource(self, word):
        if word == "bucket":
            return Resource("Bucket", "//storage.googleapis.com/projects/_/buckets/b", "p")
        return PROJECT

    def decide(self, identity, request, circumstances):
        self.judged.append((request, circumstances))
        return self._tell("may", self.policy(circumstances))

    def hops(self, identity, place, rests, now):
        lasting = dict(self.ends)
        lasting |= {"grant": rests.grants - now} if rests.grants else {}
        lasting |= {"session": rests.signed_in + rests.session - now} if rests.session else {}
        return [Hop(name, lasts, renews=False, why="") for name, lasts in lasting.items()]

    async def keep(self, identity):
        return None

    async def record(self, entry):
        self.entries.append(dict(entry))
        self._tell("write")

    # the store, the grants, the revoker

    async def find(self, job):
        return self._tell("find", self.run)

    async def begin(self, who, run, *, decision):
        self.begun = self._tell("begin", run)
        self.decision = decision
        return run

    async def finish(self, who, run, *, at):
        return self._tell("finish", run if run.ended else replace(run, ended=at))

    async def lasted(self, principal, project, name):
        self.asked = (principal, project, name)
        return self.past

    async def waiting(self, principal, name, now):
        return [Kept("g", Wanted(KEY, "launch", PROJECT, each, "x", name), "", 0, GRANTED, 0, 0) for each in self.waits]

    async def start(self, who, job, name, *, at):
        return self._tell("grants", ("g-1",))

    async def end(self, who, job, *, at):
        return self._tell("ended", ("g-1",))

    async def revoke(self, revocation, *, actor, name, decision):
        self.revoked.append((revocation, actor, name, decision))
        self._tell("revoke")

    @property
    def story(self):
        rooms = Rooms(*[self] * 11, runs=NoRuns(), clock=lambda: self.now * 1_000_000, lifetimes=self)
        return Jobs(rooms, self, Keeping(self, self, self, lambda: self._tell("count"), LIVES))

    def started(self, begin=BEGIN):
        return asyncio.run(self.story.start(CALLER, begin))

    def over(self, job=JOB):
        return asyncio.run(self.story.end(CALLER, job))

    def outlook(self, begin):
        return asyncio.run(self.story.outlook(CALLER, begin))


def reason(ruling):
    assert not ruling.done
    assert (ruling.ids, ruling.decision.permitted) == ((), False)
    return ruling.decision.verdict.reasons[0]


@pytest.mark.promise("N1")
@pytest.mark.promise("T10")
def test_a_run_begins_by_policy_and_takes_what_waits_for_it():
    house = House()
    ruling = house.started()
    assert (ruling.done, ruling.ids, ruling.outlived, ruling.lasting) == (True, ("g-1",), (), 2 * HOUR)
    assert house.told == ["who", "still", f"still {JOB}", "find", "may", "write", "begin", "grants", "count"]
    assert house.begun == Run(JOB, KEY, "nightly", "p", 2 * HOUR, AT)
    [(request, circumstances)] = house.judged
    assert (request.first.action, request.first.resources, request.first.work.duration) == (
        RUNS_START,
        (PROJECT,),
        2 * HOUR,
    )
    assert (circumstances.job, circumstances.job_name) == (JOB, "nightly")  # as from within it
    [entry] = house.entries
    assert (entry["action"], entry["project"], entry["path"], entry["job"]) == (RUNS_START.id, "p", "/v1/jobs", JOB)
    assert house.decision == entry["decision"] == ruling.decision.id


@pytest.mark.promise("N2")
@pytest.mark.promise("V13")
def test_a_run_that_outlives_its_sign_in_is_refused_or_warned_as_policy_says():
    house = House(ends={"sign-in": HOUR}, policy=lambda around: FORBID if around.outlived else PERMIT)
    assert reason(house.started()) is Reason.POLICY_FORBIDS
    assert house.begun is None
    assert house.entries[0]["outcome"] == "deny"
    lenient = House(ends={"sign-in": HOUR})
    ruling = lenient.started()
    assert ruling.done
    assert [(hop.name, hop.lasts) for hop in ruling.outlived] == [("sign-in", HOUR)]
    assert lenient.begun


@pytest.mark.promise("N2")
def test_a_run_that_says_nothing_lasts_as_runs_of_its_name_did():
    house = House(ends={"sign-in": HOUR}, past=(4000, 3000, 3000, 3000, 3000))
    ruling = house.started(replace(BEGIN, lasting=0))
    assert (ruling.lasting, [hop.name for hop in ruling.outlived]) == (4000, ["sign-in"])
    assert (house.asked, house.begun.lasting) == ((KEY, "p", "nightly"), 0)
    house.past = (4000,) * 4
    assert house.started(replace(BEGIN, lasting=0)).lasting == 0
    house.past = (9,) * 9
    assert house.started(replace(BEGIN, lasting=0, name="")).lasting == 0
    assert house.judged[-1][0].first.work is None


@pytest.mark.promise("N1")
@pytest.mark.promise("N2")
def test_a_grant_that_waits_for_the_run_may_be_too_short():
    house = House(waits=(600, 900))
    assert [(hop.name, hop.lasts) for hop in house.started().outlived] == [("grant", 600)]
    fresh = House(policy=lambda _: replace(PERMIT, obligations=Obligations(session=2 * HOUR)))
    assert [(hop.name, hop.lasts) for hop in fresh.started().outlived] == [("session", HOUR)]


def test_without_a_project_nobody_is_asked_and_the_run_is_bound_to_none():
    house = House(ends={"sign-in": HOUR})
    ruling = house.started(replace(BEGIN, project=""))
    assert (ruling.done, ruling.decision.id, house.judged, house.entries) == (True, "", [], [])
    assert [hop.name for hop in ruling.outlived] == ["sign-in"]
    assert house.begun.project == ""
    nameless = House()
    assert nameless.started(Begin(JOB)).ids == ()
    assert "grants" not in nameless.told


@pytest.mark.parametrize(
    "begin",
    [
        Begin(""),
        Begin("j-1"),
        Begin(JOB.upper()),
        Begin(f"{JOB}\n"),
        replace(BEGIN, name="a b"),
        replace(BEGIN, name="-"),
        replace(BEGIN, name="x" * 64),
        replace(BEGIN, lasting=-1),
        replace(BEGIN, lasting=LONGEST + 1),
    ],
)
def test_what_is_no_run_does_not_begin(begin):
    house = House()
    assert reason(house.started(begin)) is Reason.REQUEST_MALFORMED
    assert house.begun is None
    assert house.entries[0]["outcome"] == "deny"


def test_a_run_is_in_a_project_and_not_in_a_bucket():
    assert reason(House().started(replace(BEGIN, project="bucket"))) is Reason.RESOURCE_UNKNOWN


@pytest.mark.promise("T10")
def test_an_id_is_whose_it_was_first():
    house = House(run=Run(JOB, "tid/ada"))
    assert reason(house.started()) is Reason.REQUEST_MALFORMED
    assert reason(house.over()) is Reason.REQUEST_MALFORMED
    assert (house.begun, house.revoked) == (None, [])
    assert {"finish", "ended", "grants"} & set(house.told) == set()
    over = House(run=Run(JOB, KEY, ended=AT))
    assert reason(over.started()) is Reason.REQUEST_MALFORMED


@pytest.mark.promise("N1")
def test_a_run_that_is_over_is_locked_while_anything_lives_that_it_was_given():
    house = House(run=Run(JOB, KEY, started=AT - 60_000_000))
    ruling = house.over()
    assert (ruling.done, ruling.ids) == (True, ("g-1",))
    assert house.told == ["who", "still", "find", "finish", "revoke", "ended", "count"]
    lock = Revocation(Scope.JOB, JOB, locked=True, until=NOW + LIVES, source="run", because="the run is over")
    assert house.revoked == [(lock, KEY, "Dana", "")]
    assert house.entries == []
    # told again: what stands stands as it did
    house.run, house.now = replace(house.run, ended=AT), NOW + HOUR
    assert house.over().done
    assert house.revoked == [(lock, KEY, "Dana", "")] * 2
    house.now = NOW + LIVES
    assert house.over().done
    assert len(house.revoked) == 2


def test_a_run_that_nobody_registered_ends_as_it_was():
    house = House()
    ruling = house.over()
    assert (ruling.done, ruling.ids, house.revoked) == (True, ("g-1",), [])
    assert reason(House().over("j-1")) is Reason.REQUEST_MALFORMED


@pytest.mark.parametrize(
    ("step", "error", "expected"),
    [
        ("still", Refused(Reason.REVOKED), Reason.REVOKED),
        (f"still {JOB}", Refused(Reason.REVOKED), Reason.REVOKED),
        ("find", Refused(Reason.PLANE_UNAVAILABLE), Reason.PLANE_UNAVAILABLE),
        ("write", NotRecorded("full"), Reason.RECORD_UNAVAILABLE),
        ("begin", Refused(Reason.REQUEST_MALFORMED), Reason.REQUEST_MALFORMED),
        ("begin", NotRecorded("full"), Reason.RECORD_UNAVAILABLE),
        ("grants", RuntimeError("odd"), Reason.PLANE_UNAVAILABLE),
    ],
)
def test_whatever_goes_wrong_begins_nothing(step, error, expected):
    assert reason(House(failing={step: error}).started()) is expected


@pytest.mark.parametrize("step", ["find", "finish", "revoke", "ended"])
def test_an_end_that_fails_is_told_as_one(step):
    house = House(run=Run(JOB, KEY), failing={step: Refused(Reason.PLANE_UNAVAILABLE)})
    assert reason(house.over()) is Reason.PLANE_UNAVAILABLE


def test_nobody_begins_nothing():
    house = House(identity=Refused(Reason.TOKEN_EXPIRED))
    assert reason(house.started()) is Reason.TOKEN_EXPIRED
    assert house.entries == []


def test_a_view_that_cannot_look_does_not_undo_what_was_done():
    house = House(failing={"count": RuntimeError("odd")})
    assert house.started().done


@pytest.mark.promise("N2")
def test_an_outlook_says_everything_and_records_nothing():
    house = House(ends={"sign-in": HOUR}, policy=lambda around: FORBID if around.outlived else PERMIT)
    ruling = house.outlook(Begin(project="p", lasting=2 * HOUR))
    assert (ruling.done, ruling.decision.id, house.entries) == (True, "", [])
    assert (ruling.decision.verdict, [hop.name for hop in ruling.outlived]) == (FORBID, ["sign-in"])
    assert [hop.name for hop in house.outlook(Begin()).hops] == ["sign-in"]
    house.outlook(Begin(name="nightly", project="p"))
    assert [around.job_name for _, around in house.judged] == ["", "nightly"]
    assert house.begun is None
    assert reason(House(failing={"still": Refused(Reason.REVOKED)}).outlook(Begin())) is Reason.REVOKED
