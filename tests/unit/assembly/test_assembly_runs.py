"""A run from its beginning to its end, with the real rooms that keep it: the ledger, grants, revocations."""

import asyncio
from contextlib import ExitStack
from dataclasses import replace

import pytest
from sqlalchemy import func, select

from remit.access.asking import Caller
from remit.access.belonging import check_run
from remit.access.decide import Rooms
from remit.access.run import Begin, Jobs, Keeping
from remit.assembly import evidence
from remit.audit import tables as audit_tables
from remit.audit.keys import make_key
from remit.audit.ledger import Ledger
from remit.audit.recorder import LedgerRecorder
from remit.credentials.lifetimes import Lifetimes, LifetimeSettings
from remit.grants.runs import RunStore, RunView
from remit.grants.store import GrantStore
from remit.grants.view import GrantView
from remit.identity.revocation.revoker import Revoker
from remit.identity.revocation.view import LONGEST, RevocationView
from remit.model.decision import Verdict
from remit.model.errors import Refused
from remit.model.identity import Authentication, Identity, Kind, Principal
from remit.model.operation import Resource
from remit.model.outcome import Outcome
from remit.model.reasons import Reason
from remit.model.secret import UnverifiedToken
from remit.state.database import open_database, open_database_to_read
from remit.state.settings import StateSettings

NOW = 1_800_000_000
TID = "6f1c2a34-8b5d-4e6f-9a01-c0de00000001"
JOB = "j-" + "1" * 26
DANA = Identity(
    principal=Principal(f"https://login.example/{TID}", TID, "dana", Kind.PERSON),
    display="Dana",
    groups=frozenset(),
    groups_at=NOW,
    roles=frozenset(),
    scopes=frozenset(),
    client="cli",
    authentication=Authentication(at=NOW),
    guest=False,
    issued_at=NOW,
    expires_at=NOW + 3600,
    token_id="uti",
)
ADA = replace(DANA, principal=replace(DANA.principal, subject="ada"), display="Ada")
BEGIN = Begin(JOB, "nightly", "p", 3600)
BY_DANA, BY_ADA = Caller(UnverifiedToken("dana")), Caller(UnverifiedToken("ada"))


class House:
    """One arbiter; who asks and what policies say are fakes."""

    def __init__(self, opened, settings, folder):
        self.now, self.clock = NOW, 1000.0
        self.engine = open_database(settings)
        self.reader = open_database_to_read(settings)
        opened.callback(self.engine.dispose)
        opened.callback(self.reader.dispose)
        evidence.migrate_all(self.engine)
        signer = make_key(folder / "ledger.key", "contoso.example/remit")
        ledger = Ledger(self.engine, signer, folder=folder, database=None)
        self.recorder = opened.enter_context(LedgerRecorder(ledger, patience=20.0))
        clocks = {"clock": lambda: self.clock, "wall": lambda: float(self.now)}
        self.runs = RunView(self.reader, **clocks)
        self.grants = GrantView(self.reader, **clocks)
        self.revocations = RevocationView(self.reader, self.engine, "a-1", **clocks)
        revoker = Revoker(
            self.recorder, self.reader, self.engine, lambda: self.now * 1_000_000, wake=self.revocations.refresh
        )
        rooms = Rooms(
            *[self] * 2,
            self.revocations,
            *[self] * 3,
            self.recorder,
            *[self] * 2,
            self.grants,
            self,
            clock=lambda: self.now * 1_000_000,
            runs=self.runs,
            lifetimes=Lifetimes(LifetimeSettings(tenant=TID)),
        )
        store = RunStore(self.reader, self.recorder), GrantStore(self.reader, self.recorder)
        self.story = Jobs(rooms, self, Keeping(*store, revoker, self.look, LONGEST))
        self.look()

    async def authenticate(self, token, now):
        return replace({"dana": DANA, "ada": ADA}[token.reveal()], issued_at=now)

    def observe(self, identity, circumstances):
        return circumstances

    def decide(self, identity, request, circumstances):
        return Verdict(Outcome.PERMIT, (Reason.POLICY_PERMITS,))

    def resource(self, word):
        return Resource("Project", f"//cloudresourcemanager.googleapis.com/projects/{word}", word)

    async def keep(self, identity):
        return None

    def look(self):
        for view in (self.runs, self.grants, self.revocations):
            view.refresh()

    def start(self, caller=BY_DANA, begin=BEGIN):
        return asyncio.run(self.story.start(caller, begin))

    def end(self, caller=BY_DANA, job=JOB):
        return asyncio.run(self.story.end(caller, job))

    def entries(self):
        with self.reader.connect() as connection:
            return connection.execute(select(func.count()).select_from(audit_tables.entries)).scalar_one()


@pytest.fixture(params=["sqlite", "postgresql"])
def house(request, tmp_path):
    url = f"sqlite:///{tmp_path}/remit.db"
    with ExitStack() as opened:
        at = url if request.param == "sqlite" else request.getfixturevalue("postgres_database")
        yield House(opened, StateSettings(at, 5_000), tmp_path)


@pytest.mark.promise("N1")
@pytest.mark.promise("T10")
def test_a_run_is_its_owners_until_it_is_over_and_then_nobodys(house):
    assert house.start().done
    check_run(house.runs, DANA, JOB, "p")
    for identity, project in ((ADA, "p"), (DANA, "q")):
        with pytest.raises(Refused):
            check_run(house.runs, identity, JOB, project)
    assert not house.end(BY_ADA).done
    house.revocations.check(DANA, JOB, house.now)
    house.now += 600
    began = house.entries()
    assert house.end().done
    with pytest.raises(Refused) as refused:
        house.revocations.check(DANA, JOB, house.now)
    assert refused.value.reason is Reason.REVOKED
    record = {"principal": DANA.principal.key, "session": "", "job": JOB, "issued": house.now, "auth_time": 0}
    assert house.revocations.ended(record, house.now), "tunnels of it are closed"
    house.revocations.check(DANA, "", house.now)
    assert house.entries() == began + 2  # its end, and the lock
    # once more: it is over since then, and nothing new is entered
    house.now += 60
    assert house.end().done
    assert house.entries() == began + 2
    assert not house.start().done


@pytest.mark.promise("N1")
def test_many_runs_a_day_leave_nothing_behind_in_memory(house):
    for number in range(20):
        job = f"j-{number:026d}"
        assert house.start(begin=replace(BEGIN, job=job)).done
        assert house.end(job=job).done
    assert (len(house.runs), len(house.revocations._ends)) == (0, 20)
    house.now, house.clock = house.now + LONGEST, house.clock + LONGEST
    house.look()
    assert len(house.revocations._ends) == 0
