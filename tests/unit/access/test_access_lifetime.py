"""The policy is told what ends before the work does, and asked again when its own answer shortens it."""

import asyncio
from dataclasses import dataclass, field, replace

import pytest

from remit.access.belonging import check_run
from remit.access.decide import Decide, Rooms
from remit.access.lifetime import Work, foresee, launched
from remit.model import operation
from remit.model.credential import Credential, Purpose
from remit.model.decision import Circumstances, Verdict
from remit.model.errors import Refused
from remit.model.grant import Grant, Wanted
from remit.model.identity import Authentication, Identity, Kind, Principal
from remit.model.job import Run
from remit.model.lifetime import Hop, Place, Rests
from remit.model.obligation import Obligations
from remit.model.operation import Action, Group, Operation, Request, Resource
from remit.model.outcome import Outcome
from remit.model.reasons import Reason
from remit.model.record import Recorded
from remit.model.secret import AccessToken, UnverifiedToken
from remit.model.wire import WireRequest

NOW = 1_800_000_000
HOUR = 3600
JOB = "j-" + "1" * 26
PROJECT = Resource("Project", "//cloudresourcemanager.googleapis.com/projects/p", "p")
CREATE = Action("customJobs.create", Group.LAUNCH)
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
PERMIT = Verdict(Outcome.PERMIT, (Reason.POLICY_PERMITS,))
FORBID = Verdict(Outcome.DENY, (Reason.POLICY_FORBIDS,))


def launch(duration=0, *more):
    work = operation.Work(duration=duration)
    return Request((Operation(CREATE, (PROJECT,), work=work), *more), starts=True)


def grant(name, until):
    wanted = Wanted(DANA.principal.key, "launch", PROJECT, until - NOW, "a fire")
    return Grant(name, wanted, NOW, until, 1)


@dataclass
class House:
    """Every room as a fake; `policy` answers, `judged` is what it was asked on."""

    policy: object = lambda circumstances: PERMIT
    ends: dict = field(default_factory=dict)
    granted: tuple = ()
    runs: dict = field(default_factory=dict)
    revoked: Exception | None = None
    request: Request = field(default_factory=lambda: launch(2 * HOUR))
    judged: list = field(default_factory=list)
    entries: list = field(default_factory=list)
    endless: int = 7 * 24 * HOUR
    epoch: int = 1

    @property
    def judge(self):
        return self

    @property
    def lifetimes(self):
        return self

    def decide(self, identity, request, circumstances):
        self.judged.append(circumstances.outlived)
        return self.policy(circumstances)

    def hops(self, identity, place, rests, now):
        lasting = dict(self.ends)
        if rests.session and place is Place.RUN:
            lasting["session"] = rests.signed_in + rests.session - now
        if rests.grants:
            lasting["grant"] = rests.grants - now
        return [Hop(name, lasts, renews=False, why="") for name, lasts in lasting.items()]

    def of(self, job):
        found = self.runs.get(job)
        if isinstance(found, Exception):
            raise found
        return found

    async def authenticate(self, token, now):
        return DANA

    def check(self, identity, job, now):
        if self.revoked:
            raise self.revoked

    def observe(self, identity, circumstances):
        return circumstances

    def in_force(self, principal, job, now):
        return self.granted

    def classify(self, wire):
        return self.request

    async def owners(self, names):
        return {}

    async def keep(self, identity):
        return None

    async def record(self, entry):
        self.entries.append(dict(entry))
        return Recorded(len(self.entries))

    def purpose(self, identity, request):
        return Purpose("sa@p", ("cloud",))

    async def obtain(self, identity, token, purpose):
        return Credential(AccessToken("secret"), NOW + 900, "sa@p", ("cloud",))

    def run(self, job=""):
        rooms = Rooms(*[self] * 11, clock=lambda: NOW * 1_000_000, runs=self, lifetimes=self)
        wire = WireRequest(UnverifiedToken("t"), "POST", "host", "/v1/x", job=job)
        return asyncio.run(Decide(rooms)(wire)).decision

    def foresee(self, lasting, place=Place.RUN, rests=None):
        work = Work(place, lasting, rests or Rests())
        return foresee(self, DANA, self.request, Circumstances(NOW, grants=self.granted), work)


@pytest.mark.promise("N2")
def test_the_policy_sees_what_ends_before_the_work():
    house = House(ends={"sign-in": 3 * HOUR})
    found = house.foresee(4 * HOUR)
    assert house.judged == [{"sign-in"}]
    assert (found.circumstances.outlived, [hop.name for hop in found.outlived]) == ({"sign-in"}, ["sign-in"])
    assert house.foresee(3 * HOUR).circumstances.outlived == frozenset()


@pytest.mark.promise("N2")
def test_what_the_permit_itself_rests_on_is_asked_again():
    permit = replace(PERMIT, obligations=Obligations(session=2 * HOUR), grants=("g-1",))
    house = House(
        policy=lambda around: FORBID if "grant" in around.outlived else permit,
        granted=(grant("g-1", NOW + 600), grant("g-2", NOW + 9 * HOUR)),
    )
    found = house.foresee(4 * HOUR)
    assert house.judged == [frozenset(), {"session", "grant"}]
    assert found.verdict is FORBID
    lenient = House(policy=lambda around: permit, granted=house.granted)
    found = lenient.foresee(4 * HOUR)
    assert found.verdict is permit
    assert [hop.name for hop in found.outlived] == ["grant", "session"]
    assert [hop.lasts for hop in found.outlived] == [600, HOUR]


def test_a_policy_that_goes_back_and_forth_comes_to_rest():
    long, short = (replace(PERMIT, grants=(name,)) for name in ("g-long", "g-short"))
    house = House(
        policy=lambda around: long if around.outlived else short,
        granted=(grant("g-long", NOW + 9 * HOUR), grant("g-short", NOW + 60)),
    )
    found = house.foresee(2 * HOUR)
    assert house.judged == [frozenset(), {"grant"}]
    assert (found.verdict, found.circumstances.outlived, found.outlived) == (long, {"grant"}, ())


def test_what_waits_for_the_run_counts_beforehand():
    found = House().foresee(2 * HOUR, rests=Rests(grants=NOW + 60))
    assert [hop.name for hop in found.outlived] == ["grant"]
    found = House(granted=(grant("g-1", NOW + 30),), policy=lambda _: replace(PERMIT, grants=("g-1",)))
    assert [hop.lasts for hop in found.foresee(2 * HOUR, rests=Rests(grants=NOW + 60)).outlived] == [30]


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (launch(600), 600),
        (launch(0), 7),
        (launch(600, Operation(CREATE, (PROJECT,), work=operation.Work(duration=900))), 900),
        (Request((Operation(CREATE, (PROJECT,)),)), 0),
        (Request((Operation(Action("deploy", Group.CHANGE), (PROJECT,), work=operation.Work(duration=9)),)), 0),
    ],
)
def test_how_long_a_request_lets_work_run(request_, expected):
    assert launched(request_, 7) == expected


@pytest.mark.promise("V13")
@pytest.mark.promise("N2")
def test_the_gateways_check_of_a_job_knows_what_it_outlives():
    house = House(policy=lambda around: FORBID if around.outlived else PERMIT, ends={"sign-in": HOUR})
    decision = house.run()
    assert (decision.verdict, decision.circumstances.outlived) == (FORBID, {"sign-in"})
    assert '"outlived":["sign-in"]' in house.entries[0]["facts"]
    house.request = launch(60)
    assert house.run().permitted
    house.request = launch(0)  # until the cloud ends it
    assert not house.run().permitted


@pytest.mark.promise("N2")
def test_what_is_launched_by_a_grant_that_ends_before_it():
    house = House(granted=(grant("g-1", NOW + 60),), policy=lambda _: replace(PERMIT, grants=("g-1",)))
    assert house.run().circumstances.outlived == {"grant"}
    assert house.judged == [frozenset(), {"grant"}]


# whose run it is


@pytest.mark.promise("T10")
def test_a_run_speaks_for_whoever_began_it():
    house = House(runs={JOB: Run(JOB, DANA.principal.key)})
    assert house.run(JOB).permitted
    house.runs[JOB] = Run(JOB, "tid/ada")
    refused = house.run(JOB)
    assert (refused.verdict.reasons, refused.identity) == ((Reason.REQUEST_MALFORMED,), DANA)
    assert "somebody else's" in house.entries[-1]["detail"]
    assert house.run("j-" + "2" * 26).permitted  # nobody's: its caller's word, as without a run
    assert house.run().permitted


@pytest.mark.promise("T10")
def test_a_view_that_cannot_say_refuses_the_run_and_nobody_else():
    house = House(runs={JOB: Refused(Reason.PLANE_UNAVAILABLE)})
    assert house.run(JOB).verdict.reasons == (Reason.PLANE_UNAVAILABLE,)
    assert house.run().permitted


@pytest.mark.promise("T10")
@pytest.mark.parametrize(
    ("bound", "asked", "good"), [("p", "p", True), ("p", "", True), ("", "q", True), ("p", "q", False)]
)
def test_a_run_gets_the_tokens_of_its_own_project(bound, asked, good):
    house = House(runs={JOB: Run(JOB, DANA.principal.key, project=bound)})
    if good:
        check_run(house, DANA, JOB, asked)
        return
    with pytest.raises(Refused, match="is for `p` alone") as refused:
        check_run(house, DANA, JOB, asked)
    assert refused.value.reason is Reason.REQUEST_MALFORMED
    assert "remit run --project q" in refused.value.hint
