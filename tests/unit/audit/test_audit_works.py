"""Who started what: rows that commit with their entries, on both kinds of database, and what is told of them later."""

import asyncio
import threading
import time
from contextlib import ExitStack

import pytest
from sqlalchemy import inspect, select, text

from remit.audit import tables
from remit.audit.keys import make_key
from remit.audit.ledger import Entry, Ledger
from remit.audit.lookup import find_decision, find_whole
from remit.audit.recorder import LedgerRecorder
from remit.audit.works import FRESH, MAX_ASKED, MAX_NAME, Works
from remit.model.causes import Cause
from remit.model.errors import NotRecorded, Refused
from remit.model.names import decision_id
from remit.model.reasons import Reason
from remit.model.record import answer_record, started_record
from remit.state.schema import migrate

AT = 1_790_000_000_000_000
JOB = "//aiplatform.googleapis.com/projects/p/locations/l/customJobs/1"
DANA, ADA = "tid/dana", "tid/ada"
D = decision_id(AT)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def house(engine, tmp_path):
    """Two arbiters on one ledger."""
    migrate(engine, "audit", tables.metadata, tables.STEPS)
    signer = make_key(tmp_path / "ledger.key", "contoso.example/remit")
    with ExitStack() as opened:

        def works(clock=time.monotonic):
            ledger = Ledger(engine, signer, folder=tmp_path, database=None)
            recorder = opened.enter_context(LedgerRecorder(ledger, patience=5.0))
            return Works(engine, recorder, clock=clock)

        yield works


def entries(engine) -> list[tuple[str, bytes]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(select(tables.entries.c.type, tables.entries.c.entry))]


def owner(works, name=JOB):
    return asyncio.run(works.owners([name])).get(name)


def start(works, principal, name=JOB):
    asyncio.run(works.started(name, principal, D, AT))


def test_whoever_started_it_owns_it_at_every_arbiter(house, engine):
    here, there = house(), house()
    assert owner(here) is None
    start(here, DANA)
    assert owner(here) == owner(there) == DANA
    [(kind, entry)] = entries(engine)
    assert kind == "started"
    assert Entry.of(started_record(JOB, DANA, D, AT)).data == entry


def test_saying_it_twice_is_one_word(house, engine):
    works = house()
    start(works, DANA)
    start(works, DANA)
    assert owner(works) == DANA
    assert len(entries(engine)) == 1


@pytest.mark.promise("V7")
def test_a_name_that_a_second_one_starts_is_nobodys(house, engine):
    clock = Clock()
    here, there = house(clock), house(clock)
    start(here, ADA)  # who used the name first, deleted the thing, and waits
    assert owner(there) == ADA
    start(here, DANA)
    assert owner(here) is None
    clock.now += FRESH
    assert owner(there) is None
    start(there, ADA)
    assert owner(there) is None
    assert [kind for kind, _ in entries(engine)] == ["started"] * 3


def test_names_are_exact(house):
    works = house()
    start(works, DANA)
    for name in (JOB + "0", JOB[:-1], JOB.upper(), JOB + " ", JOB + "%", ""):
        assert owner(works, name) is None
    names = [JOB, JOB + "0"]
    assert asyncio.run(works.owners(names)) == {JOB: DANA}


def test_many_who_start_the_same_at_once_leave_one_word(house, engine):
    works = [house(), house()]
    names = [f"{JOB}{number}" for number in range(20)]

    def run(one, principal):
        async def all_of_them():
            await asyncio.gather(*(one.started(name, principal, D, AT) for name in names))

        asyncio.run(all_of_them())

    threads = [threading.Thread(target=run, args=(one, DANA)) for one in works for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(entries(engine)) == len(names)
    assert asyncio.run(works[0].owners(names)) == dict.fromkeys(names, DANA)


def test_a_database_of_before_takes_the_step(engine):
    migrate(engine, "audit", tables.metadata, tables.STEPS)
    with engine.begin() as connection:
        for later in (tables.works, tables.memberships, tables.policies):
            later.drop(connection)
        connection.execute(text("DROP INDEX ledger_entries_later"))
        connection.execute(text("UPDATE schema_versions SET version = 1"))
    assert migrate(engine, "audit", tables.metadata, tables.STEPS) == len(tables.STEPS) + 1
    with engine.connect() as connection:
        looked = inspect(connection)
        columns = {column["name"]: column["nullable"] for column in looked.get_columns("ledger_works")}
        assert columns == {"name": False, "owner": False}
        assert "ledger_entries_later" in {index["name"] for index in looked.get_indexes("ledger_entries")}


def test_what_is_known_later_is_found_with_the_decision(house, engine, decided, tmp_path):
    works = house()
    asyncio.run(works._recorder.record(decided(decision=D, at=AT)))
    start(works, DANA)
    record = works._recorder.record
    asyncio.run(record(answer_record(D, AT + 7_000_000, 403, Cause.QUOTA, "CustomJobs")))
    asyncio.run(record(answer_record(D, AT + 8_000_000, 403, Cause.IAM, "later")))
    asyncio.run(record(answer_record(decision_id(AT), AT + 9_000_000, 403, Cause.REGION, "of another one")))
    found = find_whole(engine, D)
    assert (found["started"], found["upstream"], found["upstream_detail"]) == ([JOB], "quota", "CustomJobs")
    assert "failed" not in found
    assert not {"started", "upstream"} & set(find_decision(engine, D))
    other = decision_id(AT + 1_000)
    asyncio.run(record(decided(decision=other, at=AT + 1_000)))
    hop = {"type": "outcome", "decision": other, "at": AT + 2_000, "hop": "google-sts", "reason": "exchange_refused"}
    asyncio.run(record(hop))
    assert find_whole(engine, other)["failed"] == "google-sts: exchange_refused"
    assert find_whole(engine, decision_id(AT)) is None
    assert find_whole(engine, "d-x") is None


def test_later_entries_are_found_by_their_index(place):
    statement = "EXPLAIN QUERY PLAN SELECT entry FROM ledger_entries WHERE at >= ? AND at < ? AND type <> 'decision'"
    with place.engine.connect() as connection:
        assert "ledger_entries_later" in str(connection.exec_driver_sql(statement, (1, 2)).all())


# bounds and failures, where one kind of database says it for both


@pytest.fixture
def works(place):
    with LedgerRecorder(place.ledger(), patience=5.0) as recorder:
        yield Works(place.reading(), recorder, size=3, clock=Clock())


def test_what_has_no_usable_name_is_not_written(works, place):
    for name, principal in (("", DANA), (JOB, ""), ("x" * (MAX_NAME + 1), DANA)):
        with pytest.raises(NotRecorded):
            start(works, principal, name)
    assert place.ledger().checkpoint() == ""


def test_memory_and_questions_are_bounded(works):
    for number in range(5):
        start(works, DANA, f"{JOB}{number}")
    asyncio.run(works.owners([f"{JOB}{number}" for number in range(5)]))
    assert len(works._kept) == 3
    assert asyncio.run(works.owners([f"x{number}" for number in range(MAX_ASKED)])) == {}
    with pytest.raises(Refused) as refused:
        asyncio.run(works.owners([f"x{number}" for number in range(MAX_ASKED + 1)]))
    assert refused.value.reason is Reason.REQUEST_MALFORMED


def test_an_owner_is_remembered_for_a_while_and_a_stranger_is_not(works, place):
    start(works, DANA)
    assert owner(works) == DANA
    place.sql("DELETE FROM ledger_works")
    assert owner(works) == DANA
    works._clock.now += FRESH
    assert owner(works) is None
    start(works, ADA)
    assert owner(works) == ADA


def test_a_database_that_does_not_answer_is_a_refusal(works, place):
    place.sql("DROP TABLE ledger_works")
    with pytest.raises(Refused) as refused:
        owner(works)
    assert refused.value.reason is Reason.PLANE_UNAVAILABLE
    assert "ledger_works" not in refused.value.message
    with pytest.raises(NotRecorded):
        start(works, DANA)


def test_one_timeline_shows_them_and_the_evidence_holds(works, place, decided):
    record = works._recorder.record
    asyncio.run(record(decided(decision=D, at=AT, action="aiplatform.projects.locations.customJobs.create")))
    start(works, decided()["principal"])
    asyncio.run(record(answer_record(D, AT + 5, 403, Cause.QUOTA, "CustomJobs")))
    rows = place.ask()
    assert [row.kind for row in rows] == ["decision", "started", "answer"]
    _, started, answer = rows
    assert (started.outcome, started.resource, started.name, started.principal, started.decision) == (
        "started",
        JOB,
        "Dana",
        decided()["principal"],
        D,
    )
    assert (answer.outcome, answer.reasons, answer.status, answer.detail, answer.name) == (
        "refused",
        ("quota",),
        403,
        "CustomJobs",
        "Dana",
    )
    for query, kinds in (
        ({"outcome": "started"}, ["started"]),
        ({"outcome": "refused"}, ["answer"]),
        ({"outcome": "permit"}, ["decision"]),
        ({"who": "dana"}, ["decision", "started", "answer"]),
        ({"resource": "customJobs/1"}, ["started"]),
        ({"decision": D, "everything": False}, ["decision", "started", "answer"]),
        ({"action": "customJobs.create"}, ["decision", "started", "answer"]),
    ):
        assert [row.kind for row in place.ask(**query)] == kinds, query
    report = place.verify()
    assert (report.passed, report.entries) == (True, 3)
