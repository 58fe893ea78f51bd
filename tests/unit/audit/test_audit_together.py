"""An entry and the change of state that it describes: both or neither, whatever else is in the commit."""

import asyncio

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from remit.audit.ledger import Entry
from remit.audit.recorder import LedgerRecorder
from remit.model.errors import NotRecorded, RemitError


@pytest.fixture
def number(place):
    """The number in a table of somebody else's."""
    place.sql("CREATE TABLE counter (number INTEGER NOT NULL)")
    place.sql("INSERT INTO counter VALUES (0)")

    def read():
        with place.engine.connect() as connection:
            return connection.exec_driver_sql("SELECT number FROM counter").scalar_one()

    return read


def raised(connection):
    connection.execute(text("UPDATE counter SET number = number + 1"))
    return {"epoch": connection.execute(text("SELECT number FROM counter")).scalar_one()}


def refused(connection):
    raised(connection)
    raise RemitError("not this one")


def test_the_change_and_its_entry_are_one_commit_and_the_entry_says_what_it_learnt(place, number, decided):
    with LedgerRecorder(place.ledger()) as recorder:
        asyncio.run(recorder.record(decided(1), raised))
        recorder.record_now(decided(2), raised)
    assert number() == 2
    with place.engine.connect() as connection:
        entries = connection.exec_driver_sql("SELECT entry FROM ledger_entries ORDER BY position").scalars().all()
    assert [b'"epoch":1' in entries[0], b'"epoch":2' in entries[1]] == [True, True]
    assert place.verify().passed


def test_a_change_that_refuses_undoes_itself_alone(place, number, decided):
    ledger = place.ledger()
    batch = [Entry.of(decided(1), raised), Entry.of(decided(2), refused), Entry.of(decided(3), raised)]
    first, second, third = ledger.append(batch)
    assert (first.index, third.index) == (0, 1)
    assert str(second) == "not this one"
    assert number() == 2
    report = place.verify()
    assert report.passed
    assert report.entries == 2


def test_its_caller_hears_what_the_change_raised_and_nobody_else_does(place, number, decided):
    async def story():
        return await asyncio.gather(
            *(recorder.record(decided(at), refused if at % 2 else raised) for at in range(40)), return_exceptions=True
        )

    with LedgerRecorder(place.ledger(), patience=20) as recorder:
        answers = asyncio.run(story())
    assert [isinstance(answer, RemitError) for answer in answers] == [bool(at % 2) for at in range(40)]
    assert sorted(answer.index for answer in answers if not isinstance(answer, RemitError)) == list(range(20))
    assert number() == 20
    assert place.verify().entries == 20


@pytest.mark.parametrize("error", [OperationalError("x", {}, Exception("disk I/O error")), RuntimeError("a mistake")])
def test_a_change_that_breaks_the_database_fails_the_whole_commit(place, number, decided, error):
    def breaks(connection):
        raised(connection)
        raise error

    ledger = place.ledger()
    with pytest.raises((NotRecorded, RuntimeError)):
        ledger.append([Entry.of(decided(1), raised), Entry.of(decided(2), breaks)])
    assert number() == 0
    assert ledger.append([Entry.of(decided(1), raised)])[0].index == 0
    assert place.verify().passed


def test_a_commit_that_fails_leaves_no_change(place, number, decided):
    other = place.ledger(engine=place.writing())
    with place.engine.connect() as holder:
        holder.exec_driver_sql("SELECT 1")
        with pytest.raises(NotRecorded, match="locked"):
            other.append([Entry.of(decided(1), raised)])
    assert number() == 0


def test_what_the_change_learnt_has_to_be_recordable(place, number, decided):
    [answer] = place.ledger().append([Entry.of(decided(1), lambda connection: {**raised(connection), "half": 0.5})])
    assert isinstance(answer, NotRecorded)
    assert number() == 0
    assert place.verify().entries == 0


def test_a_caller_that_gave_up_before_its_turn_changes_nothing(place, number, decided):
    with LedgerRecorder(place.ledger(), patience=0.02) as recorder:
        with place.engine.connect() as holder:
            holder.exec_driver_sql("SELECT 1")
            for at in range(3):
                with pytest.raises(NotRecorded):
                    recorder.record_now(decided(at), raised)
        recorder.probe()
    assert number() <= 1  # the one whose turn it was may be written late: whoever lost patience asks again
