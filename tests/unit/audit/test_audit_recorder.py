import asyncio
import logging
import threading
import time

import pytest

from remit.audit.recorder import LedgerRecorder
from remit.model.errors import EvidenceBroken, NotRecorded
from remit.model.record import Recorded


class Scripted:
    """A ledger that does as it is told, for what no real disk does on demand."""

    def __init__(self, answer=None) -> None:
        self.answer = answer or (lambda batch: [Recorded(0)] * len(batch))
        self.batches = []
        self.go = threading.Event()
        self.go.set()
        self.busy = threading.Event()

    def append(self, batch):
        self.busy.set()
        self.go.wait()
        self.batches.append(len(batch))
        return self.answer(batch)

    def probe(self) -> None: ...


def test_many_callers_share_commits_and_each_gets_its_own_place(place, decided):
    async def story() -> list[Recorded]:
        return await asyncio.gather(*(recorder.record(decided(number)) for number in range(300)))

    with LedgerRecorder(place.ledger(), patience=20) as recorder:
        answers = asyncio.run(story())
        recorder.probe()
    assert sorted(answer.index for answer in answers) == list(range(300))
    report = place.verify()
    assert report.passed
    assert report.entries == 300
    assert report.checkpoints < 100


def test_threads_and_tasks_share_one_writer(place, decided, rng):
    order = list(range(40))
    rng.shuffle(order)
    found = []
    with LedgerRecorder(place.ledger(), patience=20) as recorder:
        threads = [
            threading.Thread(target=lambda number=number: found.append(recorder.record_now(decided(number)).index))
            for number in order
        ]
        for thread in threads:
            thread.start()
        asyncio.run(recorder.record(decided(99)))
        for thread in threads:
            thread.join()
    assert len(set(found)) == 40
    assert place.verify().entries == 41


def test_what_returned_is_on_the_disk(place, decided):
    with LedgerRecorder(place.ledger()) as recorder:
        index = asyncio.run(recorder.record(decided(1))).index
        assert place.verify().entries == index + 1


def test_nobody_waits_twice_for_a_locked_database(place, decided):
    async def refused() -> None:
        with pytest.raises(NotRecorded, match="database is locked"):
            await recorder.record(decided(1))

    async def story() -> float:
        start = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for wave in range(20):
                group.create_task(refused())
                await asyncio.sleep(0.004 if wave else 0.02)
        return time.perf_counter() - start

    with LedgerRecorder(place.ledger(engine=place.writing()), batch=2) as recorder:
        with place.engine.connect() as holder:
            holder.exec_driver_sql("SELECT 1")
            assert asyncio.run(story()) < 1
        assert asyncio.run(recorder.record(decided(1))) == Recorded(0)


def test_a_disk_that_hangs_is_refused_in_time(decided):
    ledger = Scripted()
    ledger.go.clear()
    with LedgerRecorder(ledger, patience=0.05) as recorder:
        with pytest.raises(NotRecorded, match=r"did not answer within 0\.05 s"):
            asyncio.run(recorder.record(decided(1)))
        with pytest.raises(NotRecorded, match="did not answer"):
            recorder.record_now(decided(2))
        ledger.go.set()
    # the second gave up before the writer came, so nothing is written for it
    assert ledger.batches == [1]


def test_too_many_callers_are_refused_at_once(decided):
    ledger = Scripted()
    ledger.go.clear()
    with LedgerRecorder(ledger, patience=0.05, backlog=1) as recorder:
        for _ in range(2):
            with pytest.raises(NotRecorded, match="did not answer"):
                recorder.record_now(decided(1))
        with pytest.raises(NotRecorded, match="too many"):
            recorder.record_now(decided(1))
        ledger.go.set()


def test_an_unforeseen_failure_refuses_and_the_writer_lives_on(decided, caplog):
    ledger = Scripted(lambda _: 1 / 0)
    with caplog.at_level(logging.CRITICAL), LedgerRecorder(ledger) as recorder:
        with pytest.raises(NotRecorded, match="could not be written"):
            recorder.record_now(decided(1))
        ledger.answer = lambda _: [Recorded(7)]
        assert recorder.record_now(decided(2)) == Recorded(7)


def test_who_came_during_a_failure_is_refused_with_it_and_closing_still_ends(decided, caplog):
    def fail(batch):
        raise NotRecorded("the disk is gone", hint="mend it")

    ledger = Scripted(fail)
    ledger.go.clear()
    refusals = []

    def caller() -> None:
        try:
            recorder.record_now(decided(1))
        except NotRecorded as error:
            refusals.append((str(error), error.hint))

    with caplog.at_level(logging.CRITICAL):
        recorder = LedgerRecorder(ledger, batch=1, patience=20)
        recorder.start()
        threads = [threading.Thread(target=caller) for _ in range(3)]
        threads[0].start()
        ledger.busy.wait()
        for thread in threads[1:]:
            thread.start()
        while recorder._queue.qsize() < 2:
            time.sleep(0.001)
        closing = threading.Thread(target=recorder.close)
        closing.start()
        while recorder._queue.qsize() < 3:
            time.sleep(0.001)
        ledger.go.set()
        for thread in (*threads, closing):
            thread.join(5)
            assert not thread.is_alive()
    assert refusals == [("the disk is gone", "mend it")] * 3
    assert ledger.batches == [1]


def test_closing_writes_what_waits(decided):
    ledger = Scripted()
    ledger.go.clear()
    recorder = LedgerRecorder(ledger, patience=20)
    recorder.start()
    threads = [threading.Thread(target=recorder.record_now, args=(decided(number),)) for number in range(4)]
    threads[0].start()
    ledger.busy.wait()
    for thread in threads[1:]:
        thread.start()
    while recorder._queue.qsize() < 3:
        time.sleep(0.001)
    closing = threading.Thread(target=recorder.close)
    closing.start()
    while recorder._queue.qsize() < 4:
        time.sleep(0.001)
    ledger.go.set()
    for thread in (*threads, closing):
        thread.join(5)
    assert ledger.batches == [1, 3]


def test_a_recorder_that_does_not_run_refuses(place, decided):
    recorder = LedgerRecorder(place.ledger())
    for attempt in (lambda: recorder.record_now(decided(1)), recorder.probe):
        with pytest.raises(NotRecorded, match="not running"):
            attempt()
    recorder.close()
    with recorder:
        recorder.record_now(decided(1))
    with pytest.raises(NotRecorded, match="not running"):
        asyncio.run(recorder.record(decided(1)))


def test_an_entry_without_a_form_is_refused_before_it_waits(place):
    with LedgerRecorder(place.ledger()) as recorder, pytest.raises(NotRecorded, match="cannot be recorded"):
        asyncio.run(recorder.record({"type": "decision", "x": 1.5}))


def test_a_segment_that_changed_is_told_apart_from_a_failure(place):
    manifest = {"type": "segment", "node": "node-1", "segment": 1, "rows": 1}
    with LedgerRecorder(place.ledger()) as recorder:
        recorder.record_now(manifest)
        with pytest.raises(EvidenceBroken, match="another content"):
            recorder.record_now({**manifest, "rows": 2})
