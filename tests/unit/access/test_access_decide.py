"""The story of one request: the order of its steps, and that every one of them fails closed."""

import asyncio
import threading
from dataclasses import dataclass, field, replace

import pytest
from tests.unit.access.nothing import Endless, NoRuns

from remit.access.decide import LABEL, LEASE_MS, WORKS, Decide, Rooms
from remit.access.exchange import Audience, Exchange, Offer, Target
from remit.model.credential import Cloud, Credential, Purpose
from remit.model.decision import DeterminingPolicy, Verdict
from remit.model.errors import HopFailed, NotRecorded, Refused, SignInAgain
from remit.model.grant import Grant, Wanted
from remit.model.identity import Authentication, Identity, Kind, Principal
from remit.model.names import decision_id
from remit.model.obligation import Obligations
from remit.model.operation import OTHERS, Action, Group, Operation, Request, Resource
from remit.model.outcome import Outcome
from remit.model.reasons import Reason
from remit.model.record import Recorded
from remit.model.secret import AccessToken, SessionSecret, UnverifiedToken
from remit.model.wire import WireRequest

NOW = 1_800_000_000
TENANT = "6f1c2a34-8b5d-4e6f-9a01-c0de00000001"
DANA = Identity(
    principal=Principal(f"https://login.microsoftonline.com/{TENANT}/v2.0", TENANT, "dana", Kind.PERSON),
    display="Dana",
    groups=frozenset({"g"}),
    groups_at=NOW,
    roles=frozenset({"MLEngineer"}),
    scopes=frozenset({"access"}),
    client="cli",
    authentication=Authentication(),
    guest=False,
    issued_at=NOW - 10,
    expires_at=NOW + 3600,
    token_id="uti",
)
ENDPOINT = Resource("Endpoint", "//aiplatform.googleapis.com/projects/p/locations/l/endpoints/1", "p")
PREDICT = Request((Operation(Action("predict", Group.USE), (ENDPOINT,)),), leasable=True)
LAUNCH = Request((Operation(Action("launch", Group.LAUNCH), (ENDPOINT,)),), leasable=True)
PERMIT = Verdict(Outcome.PERMIT, (Reason.POLICY_PERMITS,), (DeterminingPolicy("p1", "permit"),), "v1")
WIRE = WireRequest(UnverifiedToken("t"), "POST", "h", "/v1/x:predict?alt=json", peer="10.0.0.1")


@dataclass
class Doors:
    """Sessions, revocations and surroundings, told what to answer."""

    session: tuple[Identity, UnverifiedToken | None] | Exception = (DANA, None)
    revoked: Exception | None = None
    around: dict = field(default_factory=dict)
    asked: list[tuple] = field(default_factory=list)
    epoch: int = 7
    granted: tuple = ()

    async def authenticate(self, session, now):
        self.asked.append(("session", session.reveal(), now))
        if isinstance(self.session, Exception):
            raise self.session
        return self.session

    def check(self, identity, job, now):
        self.asked.append(("revoked", identity, job, now))
        if self.revoked is not None:
            raise self.revoked

    def observe(self, identity, circumstances):
        self.asked.append(("around", identity))
        if "error" in self.around:
            raise self.around["error"]
        return replace(circumstances, **self.around)

    def in_force(self, principal, job, now):
        self.asked.append(("granted", principal, job, now))
        return self.granted


@dataclass
class House:
    """Every room as a fake that can be told to fail; `told` is the order in which they were asked."""

    identity: Identity | Exception = DANA
    request: Request | Exception = PREDICT
    verdict: Verdict | Exception = PERMIT
    purpose_: Purpose | Exception = field(default_factory=lambda: Purpose("sa@p", ("cloud",)))
    credential: Credential | Exception = field(
        default_factory=lambda: Credential(AccessToken("secret"), NOW + 900, "sa@p", ("cloud",))
    )
    recording: list[Exception | None] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    entries: list[dict] = field(default_factory=list)
    doors: Doors = field(default_factory=Doors)
    owned: dict[str, str] | Exception = field(default_factory=dict)
    stamped: bytes | Exception = b"stamped"
    labels: bool = True
    runs: object = field(default_factory=NoRuns)

    def _tell(self, step, value):
        self.told.append(step)
        if isinstance(value, Exception):
            raise value
        return value

    async def authenticate(self, token, now):
        return self._tell("who", self.identity)

    def classify(self, wire):
        return self._tell("what", self.request)

    async def owners(self, names):
        assert names, "nobody asks for nothing"
        found = self._tell("whose", self.owned)
        return {name: found[name] for name in names if name in found}

    def stamp(self, wire, labels):
        self.put_on = dict(labels)
        return self._tell("stamp", self.stamped)

    def decide(self, identity, request, circumstances):
        self.circumstances = circumstances
        self.judged = request
        return self._tell("may", self.verdict)

    def purpose(self, identity, request):
        return self._tell("account", self.purpose_)

    async def keep(self, identity):
        self.kept = identity

    async def record(self, entry):
        self.entries.append(dict(entry))
        self._tell("write", self.recording.pop(0) if self.recording else None)
        return Recorded(len(self.entries))

    async def obtain(self, identity, token, purpose):
        self.obtained_for = purpose
        self.obtained_with = token
        return self._tell("with", self.credential)

    def rooms(self):
        return Rooms(
            authenticator=self,
            sessions=self.doors,
            revocations=self.doors,
            observer=self.doors,
            classifier=self,
            judge=self,
            recorder=self,
            obtainer=self,
            works=self,
            grants=self.doors,
            memberships=self,
            runs=self.runs,
            lifetimes=Endless(),
            clock=lambda: NOW * 1_000_000,
            labels=self.labels,
        )

    def run(self, wire=WIRE, refused=None):
        return asyncio.run(Decide(self.rooms())(wire, refused))


def test_a_permit_tells_the_whole_story_in_order():
    house = House()
    answer = house.run()
    assert house.told == ["who", "what", "may", "account", "write", "with"]
    assert answer.decision.permitted
    assert answer.credential is not None
    assert answer.lease_ms == LEASE_MS
    [entry] = house.entries
    assert entry["outcome"] == "permit"
    assert entry["account"] == "sa@p"
    assert entry["path"] == "/v1/x:predict"
    assert entry["principal"] == f"{TENANT}/dana"
    assert "secret" not in str(entry)


@pytest.mark.parametrize(
    ("change", "reason", "told"),
    [
        ({"identity": Refused(Reason.TOKEN_EXPIRED)}, Reason.TOKEN_EXPIRED, ["who", "write"]),
        ({"request": Refused(Reason.METHOD_UNKNOWN)}, Reason.METHOD_UNKNOWN, ["who", "what", "write"]),
        (
            {"verdict": Verdict(Outcome.DENY, (Reason.POLICY_FORBIDS,))},
            Reason.POLICY_FORBIDS,
            ["who", "what", "may", "write"],
        ),
        (
            {"purpose_": Refused(Reason.NO_ACCOUNT)},
            Reason.NO_ACCOUNT,
            ["who", "what", "may", "account", "write"],
        ),
    ],
)
def test_a_refusal_at_any_step_is_recorded_and_nothing_is_obtained(change, reason, told):
    house = House(**change)
    answer = house.run()
    assert house.told == told
    assert answer.credential is None
    assert answer.lease_ms == 0
    assert answer.decision.verdict.reasons[0] is reason
    assert answer.decision.verdict.outcome is not Outcome.PERMIT
    assert house.entries[0]["reasons"] == [str(reason)]


@pytest.mark.parametrize(("size", "beside"), [(64 << 10, False), ((64 << 10) + 1, True)])
def test_a_large_body_is_read_beside_the_event_loop(size, beside):
    where = []

    class Classifies(House):
        def classify(self, wire):
            where.append(threading.current_thread() is not threading.main_thread())
            return super().classify(wire)

    house = Classifies()
    assert house.run(replace(WIRE, body=b"x" * size)).decision.permitted
    assert where == [beside]
    house.request = Refused(Reason.REQUEST_MALFORMED)
    answer = house.run(replace(WIRE, body=b"x" * size))
    assert answer.decision.verdict.reasons == (Reason.REQUEST_MALFORMED,)


def test_no_token_is_a_refusal_with_a_record():
    house = House()
    answer = house.run(replace(WIRE, token=None))
    assert answer.decision.verdict.reasons == (Reason.TOKEN_MISSING,)
    assert house.told == ["write"]


@pytest.mark.parametrize("step", ["identity", "request", "verdict", "purpose_"])
def test_what_no_step_foresaw_is_a_refusal(step):
    answer = House(**{step: ZeroDivisionError()}).run()
    assert answer.decision.verdict.reasons == (Reason.PLANE_UNAVAILABLE,)
    assert answer.credential is None
    assert not answer.decision.permitted


@pytest.mark.parametrize("error", [NotRecorded("disk full"), OSError("disk full")])
def test_no_record_no_permit(error):
    house = House(recording=[error])
    answer = house.run()
    assert not answer.decision.permitted
    assert answer.credential is None
    assert "with" not in house.told


def test_a_failed_hop_is_recorded_as_the_outcome_of_the_permit():
    hop = HopFailed("google-sts", Reason.EXCHANGE_UNAVAILABLE, "google's sts answered 500")
    house = House(credential=hop)
    answer = house.run()
    assert answer.decision.verdict.reasons == (Reason.EXCHANGE_UNAVAILABLE,)
    assert answer.decision.verdict.detail == "google's sts answered 500"
    assert answer.credential is None
    decision, outcome = house.entries
    assert decision["outcome"] == "permit"
    assert outcome["type"] == "outcome"
    assert outcome["hop"] == "google-sts"
    assert outcome["decision"] == decision["decision"]


def test_a_refusal_without_a_hop_still_names_a_place():
    house = House(credential=Refused(Reason.EXCHANGE_REFUSED))
    house.run()
    assert house.entries[1]["hop"] == "credentials"


def test_an_outcome_that_cannot_be_recorded_is_a_refusal():
    house = House(credential=Refused(Reason.EXCHANGE_REFUSED), recording=[None, NotRecorded("full")])
    answer = house.run()
    assert answer.decision.verdict.reasons == (Reason.RECORD_UNAVAILABLE,)


@pytest.mark.parametrize("group", [Group.LAUNCH, Group.CHANGE, Group.ADMINISTER])
def test_what_changes_the_world_is_never_leased(group):
    operation = Operation(Action("x", group), (ENDPOINT,))
    assert House(request=Request((operation,), leasable=True)).run().lease_ms == 0


def test_one_strong_operation_among_many_forbids_the_lease():
    strong = Operation(Action("act", Group.LAUNCH), (ENDPOINT,))
    assert House(request=Request((PREDICT.first, strong), leasable=True)).run().lease_ms == 0


def test_a_lease_ends_with_the_token():
    assert House(identity=replace(DANA, expires_at=NOW - 30)).run().lease_ms == 0
    assert House(request=replace(PREDICT, leasable=False)).run().lease_ms == 0


def test_decision_ids_sort_by_time_and_differ():
    first, second = decision_id(NOW * 1_000_000), decision_id(NOW * 1_000_000 + 1_000)
    assert first < second
    assert len(first) == 28
    assert decision_id(0) != decision_id(0)


SCOPE = "https://www.googleapis.com/auth/devstorage"
WRITER, READER = "application-that-writes", "application-that-reads"


def asking(kind, mode):
    def request(names):
        return Request((Operation(Action(mode, Group.USE), tuple(Resource(kind, name, "p") for name in names)),))

    return request


def at_azure(client, mode, *containers):
    purpose = Purpose(client, ("https://storage.azure.com/.default",), lifetime=5400, cloud=Cloud.AZURE)
    return Offer(containers, asking("Container", mode), purpose=purpose)


class Tokens:
    """What there is to be had: of Storage by writing and by reading, at Azure of two applications."""

    def offers(self, identity, audience):
        if audience.project != "p":
            raise Refused(Reason.RESOURCE_UNKNOWN)
        if audience.target is Target.BLOB:
            return [at_azure(WRITER, "write", "one", "two"), at_azure(READER, "read", "one")]
        return [
            Offer(("data", "staging"), asking("Bucket", mode), (f"{SCOPE}.{scope}",))
            for mode, scope in (("write", "read_write"), ("read", "read_only"))
        ]


@dataclass
class Selective(House):
    """A judge that permits only what `allowed` says: (mode, bucket)."""

    allowed: frozenset = frozenset()

    def decide(self, identity, request, circumstances):
        asked = {(request.first.action.id, resource.name) for resource in request.first.resources}
        outcome = Outcome.PERMIT if asked <= self.allowed else Outcome.DENY
        reason = Reason.POLICY_PERMITS if asked <= self.allowed else Reason.NO_POLICY_PERMITS
        return Verdict(outcome, (reason,))


def exchange(house, project="p", target=Target.STORAGE, job="", offers=None):
    told = Exchange(house.rooms(), offers or Tokens())
    return asyncio.run(told(UnverifiedToken("t"), Audience(target, project), "10.0.0.1", job))


def test_the_broker_narrows_to_the_buckets_that_may_be_written():
    house = Selective(allowed=frozenset({("write", "data"), ("read", "data"), ("read", "staging")}))
    answer = exchange(house)
    assert answer.decision.permitted
    assert house.obtained_for.buckets == ("data",)
    assert house.obtained_for.scopes == ("https://www.googleapis.com/auth/devstorage.read_write",)
    assert len(house.entries) == 1


def test_the_broker_falls_back_to_reading():
    house = Selective(allowed=frozenset({("read", "data")}))
    exchange(house)
    assert house.obtained_for.buckets == ("data",)
    assert house.obtained_for.scopes == ("https://www.googleapis.com/auth/devstorage.read_only",)


def test_the_broker_refuses_and_records_who_may_nothing():
    house = Selective()
    answer = exchange(house)
    assert not answer.decision.permitted
    assert answer.credential is None
    assert house.entries[0]["outcome"] == "deny"


def test_the_broker_refuses_an_unknown_project():
    house = Selective()
    assert exchange(house, "other").decision.verdict.reasons == (Reason.RESOURCE_UNKNOWN,)
    assert len(house.entries) == 1


@pytest.mark.parametrize(
    ("house", "reason"),
    [
        (Selective(recording=[NotRecorded("full")]), Reason.RECORD_UNAVAILABLE),
        (Selective(identity=ZeroDivisionError()), Reason.PLANE_UNAVAILABLE),
        (
            Selective(
                allowed=frozenset({("write", "data")}),
                credential=HopFailed("google-iam", Reason.EXCHANGE_REFUSED, "no"),
            ),
            Reason.EXCHANGE_REFUSED,
        ),
    ],
)
def test_the_broker_fails_closed(house, reason):
    answer = exchange(house)
    assert answer.decision.verdict.reasons == (reason,)
    assert answer.credential is None


def test_the_broker_records_nothing_of_who_is_nobody():
    house = Selective(identity=Refused(Reason.TOKEN_AUDIENCE))
    assert exchange(house).decision.verdict.reasons == (Reason.TOKEN_AUDIENCE,)
    assert house.entries == []


def test_a_hop_that_breaks_in_an_unforeseen_way_is_an_outcome_too():
    house = House(credential=ZeroDivisionError())
    answer = house.run()
    assert answer.decision.verdict.reasons == (Reason.EXCHANGE_UNAVAILABLE,)
    assert house.entries[1]["hop"] == "credentials"


def test_a_session_stands_in_for_a_token_and_its_token_goes_on():
    inner = UnverifiedToken("inner")
    house = House(doors=Doors(session=(DANA, inner)))
    answer = house.run(replace(WIRE, token=None, session=SessionSecret("cookie")))
    assert answer.decision.permitted
    assert house.obtained_with == inner
    assert house.told == ["what", "may", "account", "write", "with"]
    house = House(doors=Doors(session=(DANA, None)))
    assert house.run(replace(WIRE, token=None, session=SessionSecret("cookie"))).decision.permitted
    assert house.obtained_with is None


@pytest.mark.parametrize(
    ("token", "session", "reason"),
    [
        (None, None, Reason.TOKEN_MISSING),
        (UnverifiedToken("t"), SessionSecret("s"), Reason.TOKEN_MALFORMED),
    ],
)
def test_exactly_one_of_token_and_session_is_an_identity(token, session, reason):
    house = House()
    answer = house.run(replace(WIRE, token=token, session=session))
    assert answer.decision.verdict.reasons == (reason,)
    assert house.told == ["write"]
    assert house.doors.asked == []


@pytest.mark.parametrize(
    ("revoked", "reason", "not_before"),
    [
        (Refused(Reason.REVOKED), Reason.REVOKED, 0),
        (SignInAgain(NOW - 5), Reason.SIGN_IN_AGAIN, NOW - 5),
        (Refused(Reason.PLANE_UNAVAILABLE), Reason.PLANE_UNAVAILABLE, 0),
    ],
)
def test_whoever_is_revoked_gets_no_further_and_the_record_names_them(revoked, reason, not_before):
    house = House(doors=Doors(revoked=revoked))
    answer = house.run(replace(WIRE, job="j-1"))
    assert house.told == ["who", "write"]
    assert house.doors.asked == [("revoked", DANA, "j-1", NOW)]
    assert answer.decision.verdict.reasons == (reason,)
    assert answer.decision.verdict.not_before == not_before
    assert answer.decision.circumstances.epoch == 7
    assert house.entries[0]["principal"] == DANA.principal.key
    assert (house.entries[0]["job"], house.entries[0]["epoch"]) == ("j-1", 7)


@pytest.mark.parametrize("ask", [House.run, lambda house: exchange(house, job="j-1")])
@pytest.mark.parametrize("reason", [Reason.REVOKED, Reason.PLANE_UNAVAILABLE])
def test_whoever_is_revoked_while_a_credential_is_obtained_is_not_handed_it(ask, reason):
    class Slow(House):
        async def obtain(self, identity, token, purpose):
            self.doors.revoked = Refused(reason)
            return await super().obtain(identity, token, purpose)

    house = Slow()
    answer = ask(house)
    assert (answer.credential, answer.decision.verdict.reasons) == (None, (reason,))
    permit, outcome = house.entries
    assert (permit["outcome"], outcome["type"], outcome["reason"]) == ("permit", "outcome", str(reason))


def test_what_is_around_the_caller_is_judged_and_recorded():
    house = House(doors=Doors(around={"country": "DE", "risk": "low", "locations": frozenset({"b", "a"})}))
    house.run()
    assert house.circumstances.country == "DE"
    [entry] = house.entries
    assert (entry["country"], entry["risk"], entry["locations"]) == ("DE", "low", ["a", "b"])


def test_not_knowing_what_is_around_is_a_refusal():
    answer = House(doors=Doors(around={"error": OSError("the file is gone")})).run()
    assert answer.decision.verdict.reasons == (Reason.PLANE_UNAVAILABLE,)
    assert answer.credential is None


def test_the_broker_asks_for_revocations_too():
    class Nothing:
        def offers(self, identity, audience):
            raise AssertionError

    house = House(doors=Doors(revoked=Refused(Reason.REVOKED)))
    answer = exchange(house, job="j-2", offers=Nothing())
    assert answer.decision.verdict.reasons == (Reason.REVOKED,)
    assert house.doors.asked == [("revoked", DANA, "j-2", NOW)]
    assert house.entries[0]["reasons"] == ["revoked"]


# what somebody started


JOB = "//aiplatform.googleapis.com/projects/p/locations/l/customJobs/1"
MINE, HERS = DANA.principal.key, f"{TENANT}/ada"


def about(kind, *names, group=Group.OBSERVE, **more):
    resources = tuple(Resource(kind, name, "p") for name in names)
    return Request((Operation(Action("get", group), resources),), leasable=True, **more)


@pytest.mark.parametrize("kind", sorted(WORKS))
@pytest.mark.parametrize(("owner", "own"), [(MINE, True), (HERS, False), (None, False), (MINE.upper(), False)])
def test_what_somebody_else_started_is_asked_for_besides(kind, owner, own):
    house = House(request=about(kind, JOB), owned={JOB: owner} if owner else {})
    answer = house.run()
    assert house.told == ["who", "what", "whose", "may", "account", "write", "with"]
    first, *more = house.judged.operations
    assert first == house.request.first
    assert more == ([] if own else [Operation(OTHERS, (Resource(kind, JOB, "p"),), within="get")])
    assert answer.decision.request == house.judged
    assert answer.lease_ms == (LEASE_MS if own else 0)
    assert ("remit.works.others" in house.entries[0]["actions"]) != own


def test_each_stranger_is_asked_for_once():
    twice = Operation(
        Action("two", Group.USE), (Resource("Operation", "//a/2", "p"), Resource("Operation", "//a/3", "p"))
    )
    request = about("Operation", "//a/1", "//a/2")
    house = House(request=replace(request, operations=(*request.operations, twice)), owned={"//a/1": MINE})
    house.run()
    more = [(one.resources[0].name, one.within) for one in house.judged.operations if one.action == OTHERS]
    assert more == [("//a/2", "get"), ("//a/3", "two")]


@pytest.mark.parametrize("kind", ["Project", "Endpoint", "Model", "Bucket", "Service", "operation"])
def test_nobody_asks_whose_anything_else_is(kind):
    house = House(request=about(kind, JOB), owned=AssertionError())
    assert house.run().decision.permitted
    assert house.judged == house.request


def test_a_denied_stranger_is_recorded_with_what_was_asked():
    house = House(request=about("CustomJob", JOB), verdict=Verdict(Outcome.DENY, (Reason.NO_POLICY_PERMITS,)))
    assert house.run().credential is None
    assert house.entries[0]["actions"] == ["get", "remit.works.others"]


@pytest.mark.parametrize("error", [Refused(Reason.PLANE_UNAVAILABLE), OSError("gone")])
def test_not_knowing_whose_it_is_is_a_refusal(error):
    house = House(request=about("CustomJob", JOB), owned=error)
    answer = house.run()
    assert answer.decision.verdict.reasons == (Reason.PLANE_UNAVAILABLE,)
    assert answer.credential is None
    assert "may" not in house.told


# what is put on


CREATE = replace(LAUNCH, starts=True, stampable=True)


def test_what_is_created_names_its_decision_and_nobody():
    house = House(request=CREATE)
    answer = house.run(replace(WIRE, body=b"{}"))
    assert house.told == ["who", "what", "may", "account", "stamp", "write", "with"]
    assert (answer.body, answer.tell, answer.lease_ms) == (b"stamped", True, 0)
    assert house.put_on == {LABEL: answer.decision.id}
    assert MINE not in str(house.put_on)
    assert house.entries[0]["starts"] == 1


def test_nothing_is_stamped_where_nobody_wants_it_or_nothing_may_pass():
    for house in (
        House(request=CREATE, labels=False),
        House(request=replace(CREATE, stampable=False)),
    ):
        answer = house.run()
        assert (answer.body, answer.tell) == (None, True)
    house = House(request=CREATE, verdict=Verdict(Outcome.DENY, (Reason.POLICY_FORBIDS,)))
    answer = house.run()
    assert (answer.body, answer.tell) == (None, False)
    assert "stamp" not in house.told


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Refused(Reason.REQUEST_MALFORMED, "there are 64 labels already"), Reason.REQUEST_MALFORMED),
        (ZeroDivisionError(), Reason.PLANE_UNAVAILABLE),
    ],
)
def test_what_cannot_be_stamped_does_not_pass_and_is_recorded(error, reason):
    house = House(request=CREATE, stamped=error)
    answer = house.run()
    assert (answer.decision.verdict.reasons, answer.credential, answer.body) == ((reason,), None, None)
    [entry] = house.entries
    assert (entry["outcome"], entry["reasons"], entry["account"]) == ("deny", [str(reason)], "")
    assert "with" not in house.told


@pytest.mark.parametrize("request_", [replace(PREDICT, starts=True), replace(PREDICT, stampable=True)])
def test_what_starts_or_is_stamped_is_never_leased(request_):
    assert House(request=request_).run().lease_ms == 0


@pytest.mark.parametrize(("size", "beside"), [(64 << 10, False), ((64 << 10) + 1, True)])
def test_a_large_body_is_stamped_beside_the_event_loop(size, beside):
    where = []

    class Stamps(House):
        def stamp(self, wire, labels):
            where.append(threading.current_thread() is not threading.main_thread())
            return super().stamp(wire, labels)

    assert Stamps(request=CREATE).run(replace(WIRE, body=b"x" * size)).body == b"stamped"
    assert where == [beside]


def test_what_must_not_be_asked_is_recorded_and_asks_nobody():
    house = House()
    answer = house.run(WIRE, Refused(Reason.REQUEST_MALFORMED, "the request comes from another site"))
    assert house.told == ["write"]
    assert (answer.decision.verdict.reasons, answer.credential) == ((Reason.REQUEST_MALFORMED,), None)
    assert house.entries[0]["detail"] == "the request comes from another site"


def test_what_was_granted_is_a_circumstance_and_its_end_ends_the_lease():
    wanted = Wanted(f"{TENANT}/dana", "predict", ENDPOINT, 3600, "a fire")
    grant = Grant("g-1", wanted, NOW - 10, NOW + 1, 1)
    soon = replace(grant, id="g-2", until=NOW)
    house = House(verdict=replace(PERMIT, grants=("g-1",)), doors=Doors(granted=(grant, soon)))
    assert house.run().lease_ms == LEASE_MS
    assert house.circumstances.grants == (grant, soon)
    assert ("granted", f"{TENANT}/dana", "", NOW) in house.doors.asked
    house = House(verdict=replace(PERMIT, grants=("g-2",)), doors=Doors(granted=(grant, soon)))
    assert house.run().lease_ms == 0


def test_the_groups_are_durable_before_the_record_that_names_them():
    house = House()
    house.run()
    assert house.kept is DANA


@pytest.mark.parametrize(
    ("left", "lifetime"), [(3600, 900), (900, 900), (899, 840), (360, 360), (359, None), (1, None)]
)
def test_a_brokered_token_is_over_when_its_grant_is(left, lifetime):
    wanted = Wanted(f"{TENANT}/dana", "read", Resource("Bucket", "data", "p"), 3600, "a fire")
    grant = Grant("g-1", wanted, NOW - 10, NOW + left, 1)
    other = replace(grant, id="g-2", until=NOW + 1)  # in force, and nothing rests on it
    house = House(verdict=replace(PERMIT, grants=("g-1",)), doors=Doors(granted=(grant, other)))
    answer = exchange(house)
    if lifetime is None:
        assert (answer.credential, answer.decision.verdict.reasons) == (None, (Reason.OBLIGATION_UNMET,))
        assert house.entries[0]["outcome"] == "deny"
    else:
        assert house.obtained_for.lifetime == lifetime


def test_a_token_that_has_no_room_for_labels_is_not_even_asked_for():
    house = House(verdict=replace(PERMIT, obligations=Obligations(("o",), labels=(("team", "fraud"),))))
    answer = exchange(house)
    assert (answer.credential, answer.decision.verdict.reasons) == (None, (Reason.OBLIGATION_UNMET,))
    assert "with" not in house.told


# the broker at Azure, whose tokens nobody narrows


@pytest.mark.parametrize(
    ("allowed", "client"),
    [
        ({("write", "one"), ("write", "two"), ("read", "one")}, WRITER),
        ({("write", "one"), ("write", "two")}, WRITER),
        ({("write", "one"), ("read", "one")}, READER),  # all that the first one opens, or nothing of it
        ({("read", "one"), ("read", "two")}, READER),
        ({("write", "one")}, None),
        ({("write", "two"), ("read", "two")}, None),
        ((), None),
    ],
)
def test_an_application_at_azure_is_given_as_a_whole_or_not_at_all(allowed, client):
    house = Selective(allowed=frozenset(allowed))
    answer = exchange(house, target=Target.BLOB)
    [entry] = house.entries
    if client is None:
        assert (answer.credential, answer.decision.verdict.reasons) == (None, (Reason.NO_POLICY_PERMITS,))
        assert (entry["outcome"], entry["account"], "with" in house.told) == ("deny", "", False)
        return
    assert house.obtained_for == at_azure(client, "", "").purpose
    assert (entry["outcome"], entry["account"]) == ("permit", client)
    assert entry["resources"] == (["one", "two"] if client == WRITER else ["one"])
    assert "account" not in house.told  # no service account of Google's is mapped for it


def test_a_list_that_grew_beyond_what_is_permitted_opens_nothing():
    class Grown(Tokens):
        def offers(self, identity, audience):
            return [at_azure(READER, "read", "one", "new")]

    house = Selective(allowed=frozenset({("read", "one")}))
    assert exchange(house, target=Target.BLOB, offers=Grown()).credential is None


@pytest.mark.parametrize(("left", "obtained"), [(5400, True), (9999, True), (5399, False), (3600, False), (1, False)])
def test_a_grant_that_ends_before_a_token_of_azures_could_opens_none(left, obtained):
    wanted = Wanted(f"{TENANT}/dana", "read", Resource("Container", "one", "p"), 3600, "a fire")
    grant = Grant("g-1", wanted, NOW - 10, NOW + left, 1)
    house = House(verdict=replace(PERMIT, grants=("g-1",)), doors=Doors(granted=(grant,)))
    answer = exchange(house, target=Target.BLOB)
    if obtained:
        assert house.obtained_for.lifetime == 5400
    else:
        assert (answer.credential, answer.decision.verdict.reasons) == (None, (Reason.OBLIGATION_UNMET,))
        assert house.entries[0]["outcome"] == "deny"


@pytest.mark.parametrize(
    ("target", "left", "lifetime"),
    [
        (Target.BLOB, 5400, 5400),
        (Target.BLOB, 5399, None),
        (Target.BLOB, 10, None),
        (Target.STORAGE, 3600, 900),
        (Target.STORAGE, 659, 600),
        (Target.STORAGE, 359, None),
    ],
)
def test_a_token_ends_before_the_sign_in_is_older_than_policy_wants_it(target, left, lifetime):
    signed_in = replace(DANA, authentication=Authentication(at=NOW + left - 7200))
    fresh = replace(PERMIT, obligations=Obligations(("o",), session=7200))
    house = House(identity=signed_in, verdict=fresh)
    answer = exchange(house, target=target)
    if lifetime:
        assert (answer.credential is not None, house.obtained_for.lifetime) == (True, lifetime)
    else:
        assert (answer.credential, answer.decision.verdict.reasons) == (None, (Reason.OBLIGATION_UNMET,))
        assert "remit login" in answer.decision.verdict.hint
    # of a workload no sign-in is demanded, however old
    house.identity = replace(signed_in, principal=replace(DANA.principal, kind=Kind.WORKLOAD))
    assert exchange(house, target=target).credential is not None


def test_a_token_of_azures_has_no_room_for_labels_either():
    house = House(verdict=replace(PERMIT, obligations=Obligations(("o",), labels=(("team", "fraud"),))))
    assert exchange(house, target=Target.BLOB).decision.verdict.reasons == (Reason.OBLIGATION_UNMET,)
    assert "with" not in house.told


# the caller's own token


def test_the_callers_own_token_is_given_back_with_the_life_that_it_has_left():
    house = House()
    answer = exchange(house, "", Target.REMIT)
    assert answer.credential == Credential(AccessToken("t"), DANA.expires_at, "", ())
    assert answer.decision.permitted
    assert (house.told, house.entries) == (["who"], [])


@pytest.mark.parametrize(
    ("house", "reason", "entries"),
    [
        (House(identity=Refused(Reason.TOKEN_AUDIENCE)), Reason.TOKEN_AUDIENCE, 0),
        (House(identity=Refused(Reason.TOKEN_EXPIRED)), Reason.TOKEN_EXPIRED, 0),
        (House(doors=Doors(revoked=Refused(Reason.REVOKED))), Reason.REVOKED, 1),
        (House(doors=Doors(revoked=SignInAgain(NOW - 5))), Reason.SIGN_IN_AGAIN, 1),
        (House(doors=Doors(revoked=Refused(Reason.PLANE_UNAVAILABLE))), Reason.PLANE_UNAVAILABLE, 1),
        (House(doors=Doors(revoked=OSError())), Reason.PLANE_UNAVAILABLE, 0),
    ],
)
def test_whoever_is_nobody_or_was_revoked_gets_not_even_their_own_token(house, reason, entries):
    answer = exchange(house, "", Target.REMIT, "j-2")
    assert (answer.credential, answer.decision.verdict.reasons) == (None, (reason,))
    assert len(house.entries) == entries
    assert all(entry["job"] == "j-2" for entry in house.entries)
