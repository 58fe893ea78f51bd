"""The story of a connection to a database: its steps fail closed, and what ran is recorded under its own decision."""

import asyncio
from dataclasses import replace

import pytest
from tests.unit.access.test_access_decide import DANA, NOW, PERMIT, House

from remit.access.database import METHOD, Connect, Ran, Statements, is_connection, until
from remit.model.credential import Credential, Purpose
from remit.model.decision import Verdict
from remit.model.errors import HopFailed, NotRecorded, Refused
from remit.model.identity import Authentication
from remit.model.obligation import Obligations
from remit.model.operation import Action, Group, Operation, Request, Resource
from remit.model.outcome import Outcome
from remit.model.reasons import Reason
from remit.model.record import decision_record
from remit.model.secret import AccessToken, UnverifiedToken

ROLE = Resource("DatabaseRole", "//remit/projects/p/databases/fraud/roles/reader", "p")
REQUEST = Request((Operation(Action("postgresql.databases.connect", Group.USE), (ROLE,)),))
NO = Verdict(Outcome.DENY, (Reason.NO_POLICY_PERMITS,))


class Databases:
    """catalogue, as it is told."""

    def __init__(self, house):
        self.house = house

    def request(self, database, role):
        return self.house._tell("what", self.house.request)


def house(**more):
    purpose = Purpose("reader", (), audience=ROLE.name)
    credential = Credential(AccessToken("pem"), NOW + 300, "reader", ())
    return House(**{"request": REQUEST, "purpose_": purpose, "credential": credential, **more})


def connect(found, times=1, job=""):
    story = Connect(found.rooms(), Databases(found), found)

    async def go():
        return [await story(UnverifiedToken("t"), "fraud", "reader", "10.0.0.1", job) for _ in range(times)]

    return asyncio.run(go())


def test_a_permit_tells_the_whole_story_in_order():
    found = house()
    [answer] = connect(found)
    assert found.told == ["who", "what", "may", "account", "write", "with"]
    assert answer.credential.token.reveal() == "pem"
    [entry] = found.entries
    assert (entry["method"], entry["host"], entry["path"], entry["account"]) == (METHOD, "fraud", "reader", "reader")
    assert entry["resource"] == ROLE.name
    assert is_connection(entry)
    assert not is_connection({**entry, "outcome": "deny"})
    assert not is_connection({**entry, "method": "GET"})
    assert not is_connection(None)


REFUSALS = [
    ({"identity": Refused(Reason.TOKEN_EXPIRED)}, Reason.TOKEN_EXPIRED, ["who", "write"]),
    ({"identity": ValueError()}, Reason.PLANE_UNAVAILABLE, ["who"]),
    ({"request": Refused(Reason.RESOURCE_UNKNOWN)}, Reason.RESOURCE_UNKNOWN, ["who", "what", "write"]),
    ({"verdict": NO}, Reason.NO_POLICY_PERMITS, ["who", "what", "may", "write"]),
    ({"verdict": ValueError()}, Reason.PLANE_UNAVAILABLE, ["who", "what", "may"]),
    ({"purpose_": Refused(Reason.NO_ACCOUNT)}, Reason.NO_ACCOUNT, ["who", "what", "may", "account", "write"]),
    ({"recording": [NotRecorded("full")]}, Reason.RECORD_UNAVAILABLE, ["who", "what", "may", "account", "write"]),
    (
        {"credential": HopFailed("h", Reason.EXCHANGE_REFUSED, "no")},
        Reason.EXCHANGE_REFUSED,
        ["who", "what", "may", "account", "write", "with", "write"],
    ),
    (
        {"verdict": replace(PERMIT, obligations=Obligations(rules=("r",), labels=(("a", "b"),)))},
        Reason.OBLIGATION_UNMET,
        ["who", "what", "may", "account", "write"],
    ),
]


@pytest.mark.parametrize(("change", "reason", "told"), REFUSALS)
def test_every_step_fails_closed(change, reason, told):
    found = house(**change)
    [answer] = connect(found)
    assert answer.credential is None
    assert not answer.decision.permitted
    assert answer.decision.verdict.reasons == (reason,)
    assert found.told == told


def test_whoever_is_revoked_does_not_connect():
    found = house()
    found.doors.revoked = Refused(Reason.REVOKED)
    [answer] = connect(found, job="j-" + "0" * 26)
    assert answer.decision.verdict.reasons == (Reason.REVOKED,)
    assert ("revoked", DANA, "j-" + "0" * 26, NOW) in found.doors.asked


def test_a_flood_of_nobody_costs_so_many_records_and_is_counted():
    found = house(identity=Refused(Reason.TOKEN_SIGNATURE))
    answers = connect(found, 100)
    assert all(answer.decision.verdict.reasons == (Reason.TOKEN_SIGNATURE,) for answer in answers)
    assert len(found.entries) == 60
    clock = [NOW * 1_000_000]
    story = Connect(replace(found.rooms(), clock=lambda: clock[0]), Databases(found), found)

    async def go():
        for _ in range(70):
            await story(UnverifiedToken("t"), "fraud", "reader", "")
        clock[0] += 1_000_000
        await story(UnverifiedToken("t"), "fraud", "reader", "")

    asyncio.run(go())
    assert found.entries[-1]["detail"] == "(10 more like it before)"


def test_when_a_connection_is_over():
    found = house()
    [answer] = connect(found)
    assert until(answer.decision) == 0
    person = replace(DANA, authentication=Authentication(at=NOW - 100))
    verdict = replace(PERMIT, obligations=Obligations(rules=("r",), session=3600))
    [answer] = connect(house(identity=person, verdict=verdict))
    assert until(answer.decision) == NOW + 3500
    [answer] = connect(house(verdict=verdict))
    assert until(answer.decision) == DANA.issued_at + 3600


def test_what_ran_is_recorded_under_its_decision():
    found = house()
    [answer] = connect(found, job="j-" + "0" * 26)
    record = decision_record(answer.decision)
    ran = [Ran(f"{n:064x}", f"select {n}" * 200, n, n, n + 5) for n in range(1, 46)]
    asyncio.run(Statements(found.rooms())(record, ran))
    _, *entries = found.entries
    assert [len(entry["fingerprints"]) for entry in entries] == [20, 20, 5]
    first = entries[0]
    assert (first["type"], first["schema"], first["decision"]) == ("statements", "statements/1", answer.decision.id)
    assert (first["principal"], first["job"]) == (DANA.principal.key, "j-" + "0" * 26)
    assert (first["database"], first["role"], first["project"]) == ("fraud", "reader", "p")
    assert (first["first"], first["last"], first["count"]) == (1, 25, sum(range(1, 21)))
    assert all(len(text) <= 512 for text in first["statements"])
    failing = house(recording=[NotRecorded("full")])
    with pytest.raises(NotRecorded):
        asyncio.run(Statements(failing.rooms())(record, ran))
