import os
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import Engine

from remit.audit import tables
from remit.audit.keys import make_key
from remit.audit.ledger import Entry, Ledger
from remit.audit.note import Signer
from remit.audit.query import Query, Timeline, TimelineRow
from remit.audit.sealer import Sealer
from remit.audit.segments import SegmentReader
from remit.audit.settings import AuditSettings
from remit.audit.spool import Spool
from remit.audit.store import FolderStore
from remit.audit.verify import Report, verify
from remit.state.database import open_database, open_database_to_read
from remit.state.schema import migrate
from remit.state.settings import StateSettings

ORACLE = Path(".venv/oracles/aics_tlog-0.2.1-py3-none-any.whl")


@dataclass
class Writer:
    """Plays Envoy: `reopen` makes the new log, unless it is told to be slow or gone."""

    log: Path
    alive: bool = True
    slow: bool = False
    asked: int = 0

    def reopen(self) -> None:
        self.asked += 1
        if not self.alive:
            raise ProcessLookupError
        if not self.slow:
            self.log.touch()

    def write(self, *lines: str) -> None:
        with self.log.open("a") as file:
            file.writelines(line + "\n" for line in lines)


@dataclass
class Place:
    """One node's evidence in a folder, with everything that works on it."""

    folder: Path
    settings: AuditSettings = field(init=False)
    state: StateSettings = field(init=False)
    engine: Engine = field(init=False)
    signer: Signer = field(init=False)
    engines: list[Engine] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.settings = AuditSettings(self.folder / "audit", "contoso.example/remit", "node-1")
        self.state = StateSettings(f"sqlite:///{self.folder}/remit.db", 100)
        self.engine = self.writing()
        migrate(self.engine, "audit", tables.metadata, tables.STEPS)
        self.signer = make_key(self.settings.key, self.settings.origin)
        self.spool = Spool(self.settings.access_log)
        self.spool.make()
        self.store = FolderStore(self.settings.segments)
        self.writer = Writer(self.settings.access_log)

    @property
    def database(self) -> Path:
        return self.folder / "remit.db"

    @property
    def vkey(self) -> str:
        return str(self.signer.verifier)

    def writing(self) -> Engine:
        self.engines.append(open_database(self.state))
        return self.engines[-1]

    def reading(self) -> Engine:
        self.engines.append(open_database_to_read(self.state))
        return self.engines[-1]

    def ledger(self, *, engine: Engine | None = None, signer: Signer | None = None, free: int = 0) -> Ledger:
        return Ledger(
            engine or self.engine,
            signer or self.signer,
            folder=self.settings.folder,
            database=self.database,
            minimum_free_bytes=free,
        )

    def sealer(self, ledger: Ledger, *, patience: float = 0.05) -> Sealer:
        def enter(values):
            [answer] = ledger.append([Entry.of(values)])
            if isinstance(answer, Exception):
                raise answer
            return answer

        return Sealer(
            node="node-1",
            spool=self.spool,
            store=self.store,
            enter=enter,
            last=lambda: ledger.last_segment("node-1"),
            reopener=self.writer,
            patience=patience,
        )

    def ask(self, **query) -> list[TimelineRow]:
        return Timeline(self.reading(), self.spool, self.store).ask(Query(**query))

    def verify(self, **arguments) -> Report:
        readers = {"node-1": SegmentReader(self.store, self.spool)}
        return verify(self.reading(), [self.vkey], arguments.pop("readers", readers), **arguments)

    def sql(self, statement: str, *values: object) -> None:
        """What somebody with access to the file can do."""
        with self.engine.begin() as connection:
            connection.exec_driver_sql(statement, values)


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """A database of the test's own, of either kind."""
    sqlite = request.param == "sqlite"
    url = f"sqlite:///{tmp_path}/remit.db" if sqlite else request.getfixturevalue("postgres_database")
    engine = open_database(StateSettings(url, 2_000))
    yield engine
    engine.dispose()


@pytest.fixture
def place(tmp_path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    for engine in place.engines:
        engine.dispose()


def decision(number: int = 1, **changes):
    """A record as the stories write it."""
    return {
        "type": "decision",
        "schema": "decision/1",
        "decision": f"d-{number:026}",
        "at": 1_790_000_000_000_000 + number,
        "outcome": "permit",
        "reasons": ["policy_permits"],
        "detail": "",
        "policies": ["engineers-use"],
        "principal": "6f1c2a34-8b5d-4e6f-9a01-c0de00000001/0d000000-0000-4000-8000-000000000001",
        "name": "Dana",
        "action": "aiplatform.projects.locations.endpoints.predict",
        "resource": "//aiplatform.googleapis.com/projects/contoso-fraud-test/locations/us-central1/endpoints/7",
        "resources": ["//aiplatform.googleapis.com/projects/contoso-fraud-test/locations/us-central1/endpoints/7"],
        "project": "contoso-fraud-test",
        **changes,
    }


@pytest.fixture
def decided():
    return decision


@pytest.fixture
def rng() -> random.Random:
    """Chance that can be had again: `REMIT_SEED` sets the seed, which a failing test shows."""
    seed = int(os.environ.get("REMIT_SEED", random.randrange(2**32)))
    print(f"REMIT_SEED={seed}")
    return random.Random(seed)


@pytest.fixture(scope="session")
def oracle():
    """`aics-tlog`, which shares nothing with us; its metadata asks for Python 3.12, its code runs on 3.11."""
    wheel = Path(__file__).parents[3] / ORACLE
    assert wheel.is_file(), f"{wheel} is missing: `make install` brings it (tests/oracles/requirements.txt)"
    sys.path.insert(0, str(wheel))
    try:
        import aics_tlog  # type: ignore[import-not-found]

        yield aics_tlog
    finally:
        sys.path.remove(str(wheel))
