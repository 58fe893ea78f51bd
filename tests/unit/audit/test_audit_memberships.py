"""Groups and roles beside the ledger: kept once, at whichever arbiter, and found out when they were changed."""

import asyncio
import json
from contextlib import ExitStack
from dataclasses import replace

import pytest
from sqlalchemy import select, text

from remit.audit import tables
from remit.audit.keys import make_key
from remit.audit.ledger import Ledger
from remit.audit.memberships import Membership, Memberships, read_membership
from remit.audit.recorder import LedgerRecorder
from remit.model.errors import EvidenceBroken, NotRecorded
from remit.model.identity import Authentication, Identity, Kind, Principal
from remit.model.record import membership_digest
from remit.state.schema import migrate

AT = 1_790_000_000_000_000
DANA = Identity(
    principal=Principal("https://issuer", "tid", "dana", Kind.PERSON),
    display="Dana",
    groups=frozenset({"g1", "g2"}),
    groups_at=1,
    roles=frozenset({"MLEngineer"}),
    scopes=frozenset(),
    client="",
    authentication=Authentication(),
    guest=False,
    issued_at=1,
    expires_at=2,
    token_id="t",
)
ADA = replace(DANA, principal=Principal("https://issuer", "tid", "ada", Kind.PERSON))


@pytest.fixture
def arbiters(engine, tmp_path):
    """Any number of arbiters on one ledger."""
    migrate(engine, "audit", tables.metadata, tables.STEPS)
    signer = make_key(tmp_path / "ledger.key", "contoso.example/remit")
    with ExitStack() as opened:

        def arbiter(**sizes):
            recorder = LedgerRecorder(Ledger(engine, signer, folder=tmp_path, database=None), patience=10.0)
            return Memberships(opened.enter_context(recorder), lambda: AT, **sizes)

        yield arbiter


def entries(engine):
    with engine.connect() as connection:
        return [json.loads(row.entry) for row in connection.execute(select(tables.entries.c.entry))]


def keep(arbiter, *identities):
    async def all_():
        for identity in identities:
            await arbiter.keep(identity)

    asyncio.run(all_())


def test_a_membership_is_kept_once_whoever_has_it(arbiters, engine):
    here, there = arbiters(), arbiters()
    keep(here, DANA, ADA, DANA)
    keep(there, DANA)
    [entry] = entries(engine)
    digest = membership_digest(DANA)
    assert entry == {
        "type": "membership",
        "schema": "membership/1",
        "at": AT,
        "digest": digest,
        "groups": 2,
        "roles": 1,
    }
    assert read_membership(engine, digest) == Membership(DANA.groups, DANA.roles)


def test_a_change_of_groups_is_another_membership(arbiters, engine):
    arbiter = arbiters()
    for changed in (DANA, replace(DANA, groups=frozenset()), replace(DANA, roles=frozenset({"g1"}))):
        keep(arbiter, changed)
        found = read_membership(engine, membership_digest(changed))
        assert found == Membership(changed.groups, changed.roles)
    assert len(entries(engine)) == 3


def test_racing_arbiters_write_it_once(arbiters, engine):
    several = [arbiters() for _ in range(4)]

    async def race():
        await asyncio.gather(*(arbiter.keep(DANA) for arbiter in several for _ in range(5)))

    asyncio.run(race())
    assert len(entries(engine)) == 1


def test_what_is_forgotten_is_asked_of_the_database(arbiters, engine):
    arbiter = arbiters(size=1)
    other = replace(DANA, groups=frozenset({"g3"}))
    keep(arbiter, DANA, other, DANA, other)
    assert len(arbiter._known) == 1
    assert len(entries(engine)) == 2


def test_what_is_not_kept_is_not_there(arbiters, engine):
    arbiters()
    assert read_membership(engine, membership_digest(DANA)) is None


@pytest.mark.parametrize(
    "changed", ['["g1"]', '["g1", "g2", "admins"]', "[]", '"g1"', "{", "[1, 2]", '{"g1": 1, "g2": 2}', "[" * 9_000]
)
def test_a_changed_row_is_found_out(arbiters, engine, changed):
    keep(arbiters(), DANA)
    with engine.begin() as connection:
        connection.execute(tables.memberships.update().values(groups=changed))
    with pytest.raises(EvidenceBroken, match="were changed"):
        read_membership(engine, membership_digest(DANA))


def test_what_cannot_be_kept_is_an_error_each_time(tmp_path):
    class Full:
        asked = 0

        async def record(self, entry, also=None):
            self.asked += 1
            raise NotRecorded("the disk is full")

    full = Full()
    arbiter = Memberships(full, lambda: AT)
    for _ in range(2):
        with pytest.raises(NotRecorded):
            asyncio.run(arbiter.keep(DANA))
    assert full.asked == 2


def test_an_older_ledger_gets_the_tables(engine, arbiters):
    migrate(engine, "audit", tables.metadata, tables.STEPS)
    with engine.begin() as connection:
        for table in (tables.memberships, tables.policies):
            table.drop(connection)
        connection.execute(text("UPDATE schema_versions SET version = 2 WHERE room = 'audit'"))
    assert migrate(engine, "audit", tables.metadata, tables.STEPS) == len(tables.STEPS) + 1
    keep(arbiters(), DANA)
    assert read_membership(engine, membership_digest(DANA)) is not None
