"""Runs: whose an id is, when it is over, at however many arbiters; and the view of those that go on."""

import asyncio
import threading
from dataclasses import replace

import pytest
from sqlalchemy import inspect
from sqlalchemy.exc import SQLAlchemyError

from remit.audit import tables as audit_tables
from remit.audit.ledger import Ledger
from remit.audit.recorder import LedgerRecorder
from remit.grants import tables
from remit.grants.following import FRESH
from remit.grants.runs import KEPT, RunStore, RunView
from remit.model.errors import Refused
from remit.model.job import Run, usually
from remit.model.reasons import Reason
from remit.state.database import open_database
from remit.state.schema import migrate
from remit.state.settings import StateSettings

JOB, OTHER = "j-" + "1" * 26, "j-" + "2" * 26


def store(house):
    """An arbiter of its own."""
    ledger = Ledger(house.engine, house.signer, folder=house.folder, database=None)
    return RunStore(house.reader, house.opened.enter_context(LedgerRecorder(ledger, patience=20.0)))


def view(house):
    found = RunView(house.reader, clock=lambda: house.clock, wall=lambda: float(house.now))
    found.refresh()
    return found


def run_of(house, who=None, job=JOB, **more):
    who = who or house.dana
    return Run(
        job, who.principal.key, **{"name": "nightly", "project": "p", "lasting": 3600, "started": house.at, **more}
    )


def begin(house, at, who=None, **more):
    who = who or house.dana
    return asyncio.run(at.begin(who, run_of(house, who, **more), decision="d-1"))


def finish(house, at, run, who=None):
    return asyncio.run(at.finish(who or house.dana, run, at=house.at))


@pytest.mark.promise("N1")
def test_a_run_begins_and_ends_with_an_entry_each(house):
    runs = store(house)
    run = begin(house, runs)
    assert asyncio.run(runs.find(JOB)) == run == run_of(house)
    house.now += 60
    ended = finish(house, runs, run)
    assert (ended.ended, asyncio.run(runs.find(JOB))) == (house.at, ended)
    started, over = house.entries()
    assert started == {
        "type": "run",
        "schema": "run/1",
        "decision": "d-1",
        "at": run.started,
        "step": "start",
        "job": JOB,
        "job_name": "nightly",
        "principal": house.dana.principal.key,
        "name": "Dana",
        "project": "p",
        "lasting": 3600,
        "started": run.started,
    }
    assert over == {**started, "decision": "", "at": house.at, "step": "end", "ended": house.at}


@pytest.mark.promise("T10")
def test_an_id_is_whose_it_was_first_and_as_it_was(house):
    runs = store(house)
    run = begin(house, runs)
    house.now += 5
    assert begin(house, runs) == run
    for more in ({"project": "q"}, {"name": ""}, {"lasting": 0}):
        with pytest.raises(Refused, match="has begun, and as another one"):
            begin(house, runs, **more)
    with pytest.raises(Refused, match="somebody else's") as refused:
        begin(house, runs, house.ada)
    assert refused.value.reason is Reason.REQUEST_MALFORMED
    assert asyncio.run(runs.find(JOB)) == run
    assert [entry["step"] for entry in house.entries()] == ["start", "start"]


@pytest.mark.promise("N1")
def test_a_run_that_is_over_never_begins_again(house):
    runs = store(house)
    run = begin(house, runs)
    ended = finish(house, runs, run)
    house.now += 60
    assert finish(house, runs, run) == ended
    assert finish(house, runs, ended) == ended
    with pytest.raises(Refused, match="is over"):
        begin(house, runs)


def test_a_run_never_ends_before_it_began(quick):
    runs = store(quick)
    run = begin(quick, runs)
    quick.now -= 60
    assert finish(quick, runs, run).ended == run.started


@pytest.mark.promise("T10")
def test_two_arbiters_race_for_one_id(house):
    arbiters = [store(house) for _ in range(2)]
    people = [house.dana, house.ada]
    for round_ in range(5):
        job = f"j-{round_:026d}"
        came, barrier = [], threading.Barrier(2)

        def attempt(arbiter, who, job=job, came=came, barrier=barrier):
            barrier.wait()
            try:
                begin(house, arbiter, who, job=job)
                came.append(who.principal.key)
            except Refused as refused:
                came.append(refused.reason)

        threads = [threading.Thread(target=attempt, args=pair) for pair in zip(arbiters, people, strict=True)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        [winner] = [one for one in came if one != Reason.REQUEST_MALFORMED]
        assert len(came) == 2
        assert asyncio.run(arbiters[0].find(job)).principal == winner
    assert len(house.entries()) == 5


@pytest.mark.promise("N1")
def test_a_start_and_an_end_race(house):
    arbiters = [store(house) for _ in range(2)]
    run = begin(house, arbiters[0])
    barrier, came = threading.Barrier(2), []

    def end():
        barrier.wait()
        finish(house, arbiters[0], run)

    def start():
        barrier.wait()
        try:
            came.append(begin(house, arbiters[1]))
        except Refused as refused:
            came.append(refused.reason)

    threads = [threading.Thread(target=each) for each in (end, start)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert came in ([run], [Reason.REQUEST_MALFORMED])
    assert asyncio.run(arbiters[1].find(JOB)).ended


@pytest.mark.promise("N2")
def test_how_long_runs_like_it_took(house):
    runs = store(house)
    for number in range(6):
        run = begin(house, runs, job=f"j-{number:026d}", lasting=0)
        house.now += 100 + number
        finish(house, runs, run)
    begin(house, runs, job="j-" + "6" * 26, lasting=0)  # goes on
    key = house.dana.principal.key
    found = asyncio.run(runs.lasted(key, "p", "nightly"))
    assert found == [105, 104, 103, 102, 101, 100]
    assert usually(found) == 105
    for other in ((house.ada.principal.key, "p", "nightly"), (key, "q", "nightly"), (key, "p", "other")):
        assert asyncio.run(runs.lasted(*other)) == []


@pytest.mark.promise("T10")
def test_the_view_follows_what_goes_on(house):
    runs, seen = store(house), view(house)
    assert seen.of(JOB) is None
    run = begin(house, runs)
    assert seen.of(JOB) is None
    seen.refresh()
    assert seen.of(JOB) == run
    assert view(house).of(JOB) == run
    finish(house, runs, run)
    seen.refresh()
    assert (seen.of(JOB), len(seen), len(view(house))) == (None, 0, 0)


@pytest.mark.promise("T10")
def test_a_view_that_is_too_old_answers_nothing(quick):
    seen = view(quick)
    quick.clock += FRESH
    assert seen.of(JOB) is None
    quick.clock += 0.1
    with pytest.raises(Refused) as refused:
        seen.of(JOB)
    assert refused.value.reason is Reason.PLANE_UNAVAILABLE
    quick.sql("DROP TABLE grant_votes")
    quick.sql("DROP TABLE grant_changes")
    with pytest.raises(SQLAlchemyError):
        seen.refresh()


def test_a_run_that_nobody_ended_is_forgotten_in_the_end(quick):
    runs, seen = store(quick), view(quick)
    begin(quick, runs)
    quick.now += KEPT - 1
    begin(quick, runs, job=OTHER)
    seen.refresh()
    assert len(seen) == 2
    quick.now += 2
    quick.clock += 61
    seen.refresh()
    assert (seen.of(JOB), seen.of(OTHER).id, len(seen)) == (None, OTHER, 1)
    assert len(view(quick)) == 1


def test_a_text_that_no_database_keeps_is_refused(quick):
    runs = store(quick)
    with pytest.raises(Refused):
        begin(quick, runs, name="a\x00b")
    assert quick.entries() == []


def test_who_is_told_of_a_row_that_was_changed(quick):
    runs = store(quick)
    run = begin(quick, runs)
    with pytest.raises(Refused, match="its row was changed"):
        finish(quick, runs, replace(run, principal="tid/other"))


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_database_of_the_version_before_gets_the_same_table(request, tmp_path, kind):
    url = f"sqlite:///{tmp_path}/old.db"
    engine = open_database(StateSettings(url if kind == "sqlite" else request.getfixturevalue("postgres_database")))
    try:
        old = [table for table in tables.metadata.sorted_tables if table.name != "job_runs"]
        with engine.begin() as connection:
            tables.metadata.create_all(connection, tables=old)
        migrate(engine, "audit", audit_tables.metadata, audit_tables.STEPS)
        with engine.begin() as connection:
            connection.exec_driver_sql("INSERT INTO schema_versions (room, version) VALUES ('grants', 1)")
        assert migrate(engine, "grants", tables.metadata, tables.STEPS) == 2
        with engine.begin() as connection:
            stepped = _shape(connection)
            connection.exec_driver_sql("DROP TABLE job_runs")
            tables.runs.create(connection)
            assert _shape(connection) == stepped
    finally:
        engine.dispose()


def _shape(connection):
    found = inspect(connection)
    columns = [(one["name"], str(one["type"]), one["nullable"]) for one in found.get_columns("job_runs")]
    indexes = sorted((one["name"], tuple(one["column_names"])) for one in found.get_indexes("job_runs"))
    return columns, indexes, found.get_pk_constraint("job_runs")["constrained_columns"]
