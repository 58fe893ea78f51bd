import fcntl
import gzip
import hashlib
import json
import threading
import time

import pytest
from sqlalchemy import select

from remit.audit import tables, tlog
from remit.audit.collector import Collector
from remit.audit.ledger import Entry
from remit.model.errors import EvidenceBroken, NotRecorded

LINES = [json.dumps({"time": str(1_790_000_000_000_000 + number), "status": 200}) for number in range(5)]


class Killed(BaseException):
    """The process ends here, as far as the sealer can tell."""


def manifests(place) -> list[dict]:
    with place.reading().connect() as connection:
        found = connection.execute(select(tables.entries.c.entry).where(tables.entries.c.type == "segment"))
        return [json.loads(row.entry) for row in found]


def rows(place, number: int) -> list[bytes]:
    return list(place.store.rows(number))


def test_a_log_becomes_a_segment_whose_root_is_in_the_ledger(place):
    place.writer.write(*LINES)
    assert place.sealer(place.ledger()).seal() == 1
    [manifest] = manifests(place)
    expected = ['{"status":200,"time":"%s"}' % json.loads(line)["time"] for line in LINES]  # noqa: UP031 - braces
    assert rows(place, 1) == [line.encode() for line in expected]
    assert manifest == {
        "type": "segment",
        "schema": "access/1",
        "node": "node-1",
        "segment": 1,
        "rows": 5,
        "rejected": 0,
        "rejected_sha256": hashlib.sha256().hexdigest(),
        "root": tlog.root_of(tlog.leaf_hash(line.encode()) for line in expected).hex(),
        "time_min": 1_790_000_000_000_000,
        "time_max": 1_790_000_000_000_004,
    }
    assert gzip.decompress(place.store.path(1).read_bytes()).count(b"\n") == 5
    assert sorted(path.name for path in place.settings.access_log.parent.iterdir()) == [".lock", "access.log"]
    assert [path.name for path in place.settings.segments.iterdir()] == ["000000000001.jsonl.gz"]


def test_silence_is_sealed_too(place):
    sealer = place.sealer(place.ledger())
    assert [sealer.seal(), sealer.seal(), sealer.seal()] == [1, 1, 1]
    assert [(manifest["segment"], manifest["rows"]) for manifest in manifests(place)] == [(1, 0), (2, 0), (3, 0)]
    assert rows(place, 2) == []
    assert place.verify().passed


def test_garbage_and_torn_lines_are_counted_with_their_hash(place):
    garbage = b'garbage\n\xff\xfe\n{"time":"1","time":"2"}\n'
    torn = b'{"time":"17900000'
    place.settings.access_log.write_bytes(garbage + LINES[0].encode() + b"\n" + torn)
    place.sealer(place.ledger()).seal()
    [manifest] = manifests(place)
    assert (manifest["rows"], manifest["rejected"]) == (1, 4)
    assert manifest["rejected_sha256"] == hashlib.sha256(garbage + torn).hexdigest()
    report = place.verify()
    assert report.passed
    assert (report.rows, report.rejected) == (1, 4)


def test_the_end_of_an_overlong_line_never_passes_for_a_row(place):
    smuggled = b"x" * (64 * 1024) + LINES[0].encode() + b"\n"
    longer = b"y" * (200 * 1024)
    place.settings.access_log.write_bytes(smuggled + LINES[1].encode() + b"\n" + longer)
    place.sealer(place.ledger()).seal()
    [manifest] = manifests(place)
    assert (manifest["rows"], manifest["rejected"]) == (1, 2)
    assert manifest["rejected_sha256"] == hashlib.sha256(smuggled + longer).hexdigest()


def test_a_writer_that_does_not_reopen_keeps_the_segment_waiting(place):
    place.writer.write(*LINES)
    sealer = place.sealer(place.ledger(), patience=0.01)
    place.writer.slow = True
    assert [sealer.seal(), sealer.seal()] == [0, 0]
    assert place.writer.asked == 2
    assert manifests(place) == []
    place.writer.slow = False
    assert sealer.seal() == 2
    assert [manifest["rows"] for manifest in manifests(place)] == [5, 0]


def test_a_writer_that_is_gone_is_not_waited_for(place):
    place.writer.write(*LINES)
    place.writer.alive = False
    assert place.sealer(place.ledger(), patience=60).seal() == 1
    assert rows(place, 1)


@pytest.mark.parametrize("alive", [True, False])
def test_a_file_that_somebody_still_writes_to_is_not_final(place, alive):
    """After a hot restart two processes write, and the first that reopens says nothing of the other."""
    place.writer.write(*LINES[:2])
    place.writer.alive = alive
    sealer = place.sealer(place.ledger(), patience=0.01)
    with place.settings.access_log.open("a") as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        assert sealer.seal() == 0
        other.write(LINES[2] + "\n")
    sealer.seal()
    assert manifests(place)[0]["rows"] == 3


STEPS = {
    1: ("spool", "rotate", False),
    2: ("writer", "reopen", False),
    3: ("store", "write", True),
    4: ("store", "publish", False),
    5: ("spool", "discard", False),
    6: ("spool", "discard", True),
}


@pytest.mark.parametrize("step", STEPS)
def test_a_kill_at_any_step_loses_and_doubles_nothing(place, monkeypatch, step):
    room, method, after = STEPS[step]
    target = getattr(place, room)
    real = getattr(target, method)

    def killed(*arguments):
        if after:
            real(*arguments)
        raise Killed

    place.writer.write(*LINES[:2])
    ledger = place.ledger()
    with monkeypatch.context() as patch:
        patch.setattr(target, method, killed)
        with pytest.raises(Killed):
            place.sealer(ledger).seal()
    assert place.verify().passed
    found = [row.time for row in place.ask()]
    assert len(found) == len(set(found)) == 2
    # another process, and meanwhile the writer went on where it was, or anew
    place.writer.write(*LINES[2:])
    place.sealer(place.ledger()).seal()
    place.sealer(place.ledger()).seal()
    report = place.verify()
    assert report.passed
    assert report.rows == 5
    sealed = [row for number in place.store.numbers() for row in rows(place, number)]
    assert sorted(json.loads(row)["time"] for row in sealed) == [json.loads(line)["time"] for line in LINES]
    assert place.spool.pending() == {}


def test_half_a_kept_file_is_written_anew(place):
    place.writer.write(*LINES)
    place.settings.segments.mkdir()
    (place.settings.segments / "000000000001.writing").write_bytes(b"half")
    place.sealer(place.ledger()).seal()
    assert len(rows(place, 1)) == 5


def test_a_ledger_that_cannot_be_written_keeps_the_segment_waiting(place):
    place.writer.write(*LINES)
    sealer = place.sealer(place.ledger(engine=place.writing()))
    with place.engine.connect() as holder:
        holder.exec_driver_sql("SELECT 1")
        with pytest.raises(NotRecorded):
            sealer.seal()
    assert place.store.numbers() == []
    sealer.seal()
    assert place.verify().rows == 5


def test_a_renamed_log_that_was_changed_after_its_entry_is_told(place, monkeypatch):
    place.writer.write(*LINES)
    ledger = place.ledger()

    def killed(_) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(place.store, "publish", killed)
        with pytest.raises(Killed):
            place.sealer(ledger).seal()
    [path] = place.spool.pending().values()
    path.write_text(LINES[0] + "\n")
    assert [str(finding) for finding in place.verify().findings] == [
        "segment 1 of node-1: its rows, in the spool, are not what was sealed"
    ]
    with pytest.raises(EvidenceBroken, match="another content"):
        place.sealer(ledger).seal()


def test_what_is_kept_is_never_replaced_when_an_older_ledger_is_put_back(place):
    place.sealer(place.ledger()).seal()
    place.writer.write(*LINES)
    place.sealer(place.ledger()).seal()
    before = place.store.path(2).read_bytes()
    place.sql("DELETE FROM ledger_segments WHERE number = 2")
    place.writer.write(*LINES[:1])
    place.sealer(place.ledger()).seal()
    assert place.store.path(2).read_bytes() == before
    assert place.store.numbers() == [1, 2, 3]


def test_two_sealers_take_turns(place):
    place.writer.write(*LINES)
    ledgers = [place.ledger(), place.ledger(engine=place.writing())]
    threads = [threading.Thread(target=place.sealer(ledger).seal) for ledger in ledgers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    report = place.verify()
    assert (report.passed, report.segments, report.rows) == (True, 2, 5)


def test_the_collector_seals_at_the_start_now_and_then_and_at_the_end(place):
    place.writer.write(LINES[0])
    ledger = place.ledger()
    with Collector(place.sealer(ledger), 0.02) as collector:
        assert rows(place, 1)
        place.writer.write(LINES[1])
        end = time.monotonic() + 20
        while ledger.last_segment("node-1") < 3:
            assert time.monotonic() < end
            time.sleep(0.01)
        assert collector.trouble == ""
        place.writer.write(LINES[2])
    report = place.verify()
    assert (report.passed, report.rows) == (True, 3)


@pytest.mark.parametrize("failure", [NotRecorded("the disk is gone"), ZeroDivisionError("never thought of")])
def test_the_collector_tells_its_trouble_and_goes_on(place, failure, caplog):
    class Broken:
        works = False

        def seal(self) -> int:
            if not self.works:
                raise failure
            return 1

    sealer = Broken()
    with Collector(sealer, 0.001) as collector:
        assert str(failure) in collector.trouble
        sealer.works = True
        end = time.monotonic() + 20
        while collector.trouble:
            assert time.monotonic() < end
            time.sleep(0.001)
    assert str(failure) in caplog.text


def test_an_entry_of_a_segment_knows_its_place():
    assert Entry.of({"type": "segment", "node": "n", "segment": 4}).segment == ("n", 4)
    assert Entry.of({"type": "segment", "node": "n"}).segment is None
    assert Entry.of({"type": "decision", "node": "n", "segment": 4}).segment is None
