"""A house with one database of either kind, and any number of arbiters on one ledger."""

import asyncio
import json
from contextlib import ExitStack

import pytest
from sqlalchemy import select, text

from remit.audit import tables as audit_tables
from remit.audit.keys import make_key
from remit.audit.ledger import Ledger
from remit.audit.recorder import LedgerRecorder
from remit.grants import tables
from remit.grants.store import GrantStore
from remit.grants.view import GrantView
from remit.model.grant import Step, Wanted
from remit.model.identity import Authentication, Identity, Kind, Principal
from remit.model.operation import Resource
from remit.state.database import open_database, open_database_to_read
from remit.state.schema import migrate
from remit.state.settings import StateSettings

NOW = 1_800_000_000
TID = "6f1c2a34-8b5d-4e6f-9a01-c0de00000001"
PROJECT = Resource("Project", "//cloudresourcemanager.googleapis.com/projects/p", "p")


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


DANA, ADA, SAM = map(somebody, ("dana", "ada", "sam"))


class House:
    """Arbiters on one database; `now` is everybody's wall clock, `clock` their monotonic one."""

    dana, ada, sam, project = DANA, ADA, SAM, PROJECT
    somebody = staticmethod(somebody)

    def __init__(self, opened, settings, folder):
        self.opened, self.folder = opened, folder
        self.engine = open_database(settings)
        opened.callback(self.engine.dispose)
        migrate(self.engine, "audit", audit_tables.metadata, audit_tables.STEPS)
        migrate(self.engine, "grants", tables.metadata, tables.STEPS)
        self.reader = open_database_to_read(settings)
        opened.callback(self.reader.dispose)
        self.signer = make_key(folder / "ledger.key", "contoso.example/remit")
        self.now, self.clock = NOW, 1000.0

    def store(self):
        """An arbiter of its own."""
        ledger = Ledger(self.engine, self.signer, folder=self.folder, database=None)
        recorder = self.opened.enter_context(LedgerRecorder(ledger, patience=20.0))
        return GrantStore(self.reader, recorder)

    def view(self):
        return GrantView(self.reader, clock=lambda: self.clock, wall=lambda: float(self.now))

    def fresh(self):
        view = self.view()
        view.refresh()
        return view

    @property
    def at(self):
        return self.now * 1_000_000

    def wanted(self, who=DANA, **more):
        words = {"action": "launch", "resource": PROJECT, "lasting": 3600, "because": "a fire", **more}
        return Wanted(who.principal.key, **words)

    def ask(self, store, who=DANA, needed=1, **more):
        return asyncio.run(store.ask(who, self.wanted(who, **more), needed, decision="d-1", at=self.at))

    def say(self, store, grant, who=ADA, step=Step.APPROVE, because=""):
        return asyncio.run(store.answer(who, grant, step, because, decision="d-2", at=self.at))

    def start(self, store, who=DANA, job="j-" + "1" * 26, name="nightly"):
        return asyncio.run(store.start(who, job, name, at=self.at))

    def end(self, store, who=DANA, job="j-" + "1" * 26):
        return asyncio.run(store.end(who, job, at=self.at))

    def entries(self):
        with self.reader.connect() as connection:
            rows = connection.execute(select(audit_tables.entries).order_by(audit_tables.entries.c.position)).all()
        return [json.loads(row.entry) for row in rows]

    def sql(self, statement, **values):
        """What somebody with access to the database can do."""
        with self.engine.begin() as connection:
            connection.execute(text(statement), values)


@pytest.fixture
def quick(tmp_path):
    """A house on SQLite, for what does not depend on the kind of database."""
    with ExitStack() as opened:
        yield House(opened, StateSettings(f"sqlite:///{tmp_path}/remit.db", 5_000), tmp_path)


@pytest.fixture(params=["sqlite", "postgresql"])
def house(request, tmp_path):
    """One test, both kinds of database."""
    if request.param == "sqlite":
        yield request.getfixturevalue("quick")
        return
    with ExitStack() as opened:
        yield House(opened, StateSettings(request.getfixturevalue("postgres_database"), 5_000), tmp_path)
