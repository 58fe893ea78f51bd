"""The story of a revocation: who may, in which order, and that whatever goes wrong revokes nothing and says why."""

import asyncio
from dataclasses import dataclass, field, replace

import pytest
from tests.unit.access.nothing import Endless, NoRuns

from remit.access.asking import Caller
from remit.access.decide import Rooms
from remit.access.revoke import Known, Revoke, Wish
from remit.model.decision import DeterminingPolicy, Verdict
from remit.model.errors import NotRecorded, Refused
from remit.model.identity import Authentication, Identity, Kind, Principal
from remit.model.operation import INSTALLATION
from remit.model.outcome import Outcome
from remit.model.reasons import Reason
from remit.model.record import Recorded
from remit.model.revocation import ENDED_RUN, Revocation, Scope
from remit.model.secret import UnverifiedToken

NOW = 1_800_000_000
TID = "6f1c2a34-8b5d-4e6f-9a01-c0de00000001"
DANA = f"{TID}/0d000000-0000-4000-8000-000000000001"
OID = "0d000000-0000-4000-8000-000000000002"
SAM = Identity(
    principal=Principal(f"https://login.microsoftonline.com/{TID}/v2.0", TID, "sam", Kind.PERSON),
    display="Sam",
    groups=frozenset({"security"}),
    groups_at=NOW,
    roles=frozenset({"Security"}),
    scopes=frozenset({"access"}),
    client="cli",
    authentication=Authentication(),
    guest=False,
    issued_at=NOW - 10,
    expires_at=NOW + 3600,
    token_id="uti",
)
PERMIT = Verdict(Outcome.PERMIT, (Reason.POLICY_PERMITS,), (DeterminingPolicy("p1", "permit"),), "v1")
WISH = Wish("Dana")
CALLER = Caller(UnverifiedToken("t"), peer="10.0.0.1")


@dataclass(frozen=True)
class Held:
    """An acknowledgement."""

    epoch: int = 7
    arbiters: tuple = ("a",)
    fenced: tuple = ()
    took_ms: int = 80


SOURCE = "operator"


@dataclass(frozen=True)
class Stands:
    """A revocation that is in force."""

    at: int
    source: str

    @property
    def revocation(self):
        return Revocation(Scope.JOB, "j-1", locked=True, source=self.source)


@dataclass
class House:
    """Every room as a fake that can be told to fail; `told` is the order in which they were asked."""

    identity: Identity | Exception = SAM
    revoked: Exception | None = None
    verdict: Verdict | Exception = PERMIT
    recording: list = field(default_factory=list)
    effect: Held | Exception | None = field(default_factory=Held)
    told: list = field(default_factory=list)
    entries: list = field(default_factory=list)
    asked: list = field(default_factory=list)
    names: dict = field(default_factory=lambda: {"Dana": {DANA}, "Alex": {f"{TID}/a", "github/a"}})
    epoch: int = 6

    def _tell(self, step, value):
        self.told.append(step)
        if isinstance(value, Exception):
            raise value
        return value

    async def authenticate(self, token, now):
        return self._tell("who", self.identity)

    def check(self, identity, job, now):
        self._tell("still", self.revoked)

    def observe(self, identity, circumstances):
        return replace(circumstances, country="DE")

    def in_force(self, principal, job, now):
        return ()

    async def keep(self, identity):
        return None

    def decide(self, identity, request, circumstances):
        assert circumstances.country == "DE"
        self.request = request
        return self._tell("may", self.verdict)

    async def record(self, entry):
        self.entries.append(dict(entry))
        self._tell("write", self.recording.pop(0) if self.recording else None)
        return Recorded(len(self.entries))

    async def revoke(self, revocation, *, actor, name, decision):
        assert name == "Sam"
        self.asked.append((revocation, actor, decision))
        return self._tell("effect", self.effect)

    async def lift(self, scope, subject, *, because, actor, decision):
        self.asked.append((scope, subject, because, actor, decision))
        return self._tell("effect", self.effect)

    def standing(self, now):
        return self._tell("effect", [Stands(now, SOURCE), Stands(now, ENDED_RUN)])

    def seen(self, name):
        self.told.append("whom")
        return frozenset(self.names.get(name, ()))

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
        return Revoke(rooms, self, Known(frozenset({TID, "github"}), self.seen))

    def create(self, wish=WISH, caller=CALLER):
        return asyncio.run(self.story().create(caller, wish))

    def lifted(self, wish=WISH):
        return asyncio.run(self.story().lift(CALLER, wish))

    def listed(self):
        return asyncio.run(self.story().list(CALLER))


def test_a_permitted_revocation_tells_the_whole_story_in_order():
    house = House()
    ruling = house.create(Wish("Dana", because="gone"))
    assert house.told == ["who", "still", "may", "write", "whom", "effect"]
    [operation] = house.request.operations
    assert (operation.action.id, operation.resources) == ("remit.revocations.create", (INSTALLATION,))
    [entry] = house.entries
    assert (entry["outcome"], entry["action"], entry["principal"]) == (
        "permit",
        "remit.revocations.create",
        f"{TID}/sam",
    )
    assert (entry["epoch"], entry["country"], entry["peer"]) == (6, "DE", "10.0.0.1")
    decision = ruling.decision
    assert house.asked == [(Revocation(Scope.PRINCIPAL, DANA, locked=True, because="gone"), f"{TID}/sam", decision.id)]
    assert (ruling.scope, ruling.subject, ruling.acknowledged) == (Scope.PRINCIPAL, DANA, Held())
    assert ruling.warning == ""


@pytest.mark.parametrize(
    ("wish", "revocation"),
    [
        (Wish(DANA), Revocation(Scope.PRINCIPAL, DANA, locked=True)),
        (Wish(DANA, sign_in_again=True), Revocation(Scope.PRINCIPAL, DANA, before=NOW)),
        (Wish(DANA, lasting=60), Revocation(Scope.PRINCIPAL, DANA, locked=True, until=NOW + 60)),
        (Wish("s-1"), Revocation(Scope.SESSION, "s-1", locked=True)),
        (Wish("j-1"), Revocation(Scope.JOB, "j-1", locked=True)),
        (Wish(OID, Scope.SESSION), Revocation(Scope.SESSION, OID, locked=True)),
        (Wish("x", Scope.JOB), Revocation(Scope.JOB, "x", locked=True)),
    ],
)
def test_what_is_asked_for(wish, revocation):
    house = House()
    assert house.create(wish).decision.permitted
    assert house.asked[0][0] == revocation


def test_who_revokes_himself_is_told():
    assert House().create(Wish(f"{TID}/sam")).warning == "this is your own access"


@pytest.mark.parametrize(
    ("change", "reason", "told"),
    [
        ({"identity": Refused(Reason.TOKEN_EXPIRED)}, Reason.TOKEN_EXPIRED, ["who"]),
        ({"revoked": Refused(Reason.REVOKED)}, Reason.REVOKED, ["who", "still", "write"]),
        (
            {"verdict": Verdict(Outcome.DENY, (Reason.NO_POLICY_PERMITS,))},
            Reason.NO_POLICY_PERMITS,
            ["who", "still", "may", "write"],
        ),
        (
            {"verdict": Verdict(Outcome.STEP_UP, (Reason.STEP_UP_REQUIRED,), challenge="c1")},
            Reason.STEP_UP_REQUIRED,
            ["who", "still", "may", "write"],
        ),
        ({"recording": [NotRecorded("full")]}, Reason.RECORD_UNAVAILABLE, ["who", "still", "may", "write"]),
        ({"verdict": RuntimeError("odd")}, Reason.PLANE_UNAVAILABLE, ["who", "still", "may"]),
        ({"identity": RuntimeError("odd")}, Reason.PLANE_UNAVAILABLE, ["who"]),
    ],
)
def test_every_refusal_comes_before_any_effect(change, reason, told):
    for ask in (House.create, House.lifted, House.listed):
        house = House(**{name: list(value) if isinstance(value, list) else value for name, value in change.items()})
        ruling = ask(house)
        assert ruling.decision.verdict.reasons == (reason,)
        assert not ruling.decision.permitted
        assert house.told == told
        assert (house.asked, ruling.acknowledged, ruling.standing) == ([], None, ())


def test_nobody_is_nobody():
    house = House()
    ruling = house.create(caller=Caller(None))
    assert ruling.decision.verdict.reasons == (Reason.TOKEN_MISSING,)
    assert house.entries == []


@pytest.mark.parametrize(
    ("effect", "reason", "entries"),
    [
        (NotRecorded("full"), Reason.RECORD_UNAVAILABLE, 1),
        (RuntimeError("odd"), Reason.PLANE_UNAVAILABLE, 1),
        (Refused(Reason.REQUEST_MALFORMED, "nothing"), Reason.REQUEST_MALFORMED, 2),
    ],
)
def test_an_effect_that_fails_is_a_refusal(effect, reason, entries):
    house = House(effect=effect)
    ruling = house.create()
    assert ruling.decision.verdict.reasons == (reason,)
    assert len(house.entries) == entries
    if entries == 2:
        assert house.entries[1]["type"] == "outcome"
        assert house.entries[1]["decision"] == ruling.decision.id
        assert house.entries[1]["hop"] == "revocations"


def test_a_lift_is_an_action_of_its_own():
    house = House()
    ruling = house.lifted(Wish("Dana", because="back"))
    assert house.request.first.action.id == "remit.revocations.lift"
    assert house.asked == [(Scope.PRINCIPAL, DANA, "back", f"{TID}/sam", ruling.decision.id)]
    assert ruling.acknowledged == Held()
    assert House(effect=None).lifted().acknowledged is None


def test_the_list_is_an_action_of_its_own():
    house = House()
    ruling = house.listed()
    assert house.request.first.action.id == "remit.revocations.list"
    assert ruling.standing == (Stands(NOW, SOURCE),)  # runs that are over are nobody's to lift
    assert house.entries[0]["method"] == "GET"


@pytest.mark.parametrize(
    ("word", "found"),
    [
        (DANA.upper(), DANA),
        ("github/repo:contoso/app:ref:x", "github/repo:contoso/app:ref:x"),
        (OID, f"{TID}/{OID}"),
        (OID.upper(), f"{TID}/{OID}"),
        ("Dana", DANA),
    ],
)
def test_words_for_principals(word, found):
    assert Known(frozenset({TID, "github"}), House().seen).subject(word) == (Scope.PRINCIPAL, found)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("", "nobody is named"),
        ("Alex", "can mean `6f1c2a34-8b5d-4e6f-9a01-c0de00000001/a`, `github/a`"),
        ("Nobody", "nobody named `Nobody`"),
        ("gitlab/x", "`gitlab/x` names nobody of an issuer"),
        ("github/", "names nobody"),
        (f"{TID}/", "names nobody"),
        ("GitHub/x", "names nobody"),
    ],
)
def test_words_that_are_not_one_thing(word, said):
    house = House()
    ruling = house.create(Wish(word))
    assert ruling.decision.verdict.reasons == (Reason.REQUEST_MALFORMED,)
    assert said in ruling.decision.verdict.detail
    assert house.asked == []


def test_an_object_id_needs_its_tenant_where_there_are_several():
    both = frozenset({TID, TID.replace("01", "02")})
    with pytest.raises(Refused, match="can mean"):
        Known(both, House().seen).subject(OID)
    with pytest.raises(Refused):
        Known(frozenset({"github"}), House().seen).subject(OID)


def test_who_may_not_revoke_learns_nothing_of_who_is_known():
    house = House(verdict=Verdict(Outcome.DENY, (Reason.NO_POLICY_PERMITS,)))
    house.create(Wish("Alex"))
    assert "whom" not in house.told
