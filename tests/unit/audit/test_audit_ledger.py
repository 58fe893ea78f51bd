import shutil
import subprocess
import sys
import textwrap

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import func, select

from remit.audit import tables
from remit.audit.ledger import Entry
from remit.audit.note import Signer, open_checkpoint
from remit.model.errors import EvidenceBroken, NotRecorded
from remit.model.record import Recorded

MANIFEST = {"type": "segment", "schema": "access/1", "node": "node-1", "segment": 1, "rows": 0}


def counts(place) -> tuple[int, int, int]:
    """Entries, checkpoints, and the size that the head tells."""
    with place.reading().connect() as connection:
        entries = connection.execute(select(func.count()).select_from(tables.entries)).scalar_one()
        checkpoints = connection.execute(select(func.count()).select_from(tables.checkpoints)).scalar_one()
        size = connection.execute(select(tables.head.c.size)).scalar_one()
    return entries, checkpoints, size


def test_entries_take_places_one_after_the_other(place, decided):
    ledger = place.ledger()
    assert ledger.append([Entry.of(decided(1))]) == [Recorded(0)]
    assert ledger.append([Entry.of(decided(2)), Entry.of(decided(3))]) == [Recorded(1), Recorded(2)]
    assert counts(place) == (3, 2, 3)
    assert place.ledger().append([Entry.of(decided(4))]) == [Recorded(3)]


def test_every_commit_is_signed(place, decided):
    ledger = place.ledger()
    assert ledger.checkpoint() == ""
    ledger.append([Entry.of(decided(1)), Entry.of(decided(2))])
    checkpoint = open_checkpoint(ledger.checkpoint(), [place.signer.verifier])
    assert (checkpoint.origin, checkpoint.size) == ("contoso.example/remit", 2)


@pytest.mark.parametrize(
    "entry",
    [
        {},
        {"type": ""},
        {"type": 5},
        {"type": "decision", "at": "now"},
        {"type": "decision", "x": 1.5},
        {"type": "decision", "path": "\udc80"},
        {"type": "decision", "path": "x" * 70_000},
    ],
)
def test_what_cannot_be_recorded_faithfully_is_refused(entry):
    with pytest.raises(NotRecorded, match="cannot be recorded"):
        Entry.of(entry)


def test_a_segment_is_entered_once(place, decided):
    ledger = place.ledger()
    assert ledger.last_segment("node-1") == 0
    ledger.append([Entry.of(decided(1))])
    assert ledger.append([Entry.of(MANIFEST)]) == [Recorded(1)]
    assert ledger.append([Entry.of(MANIFEST), Entry.of(decided(2))]) == [Recorded(1), Recorded(2)]
    assert ledger.append([Entry.of(MANIFEST)]) == [Recorded(1)]
    assert ledger.last_segment("node-1") == 1
    assert ledger.last_segment("node-2") == 0
    assert counts(place)[0] == 3


def test_a_segment_with_another_content_is_not_entered_again(place, decided):
    ledger = place.ledger()
    ledger.append([Entry.of(MANIFEST)])
    [broken, recorded] = ledger.append([Entry.of({**MANIFEST, "rows": 1}), Entry.of(decided(1))])
    assert isinstance(broken, EvidenceBroken)
    assert recorded == Recorded(1)


def test_two_processes_grow_one_tree(place, decided):
    first, second = place.ledger(), place.ledger(engine=place.writing())
    for number in range(10):
        ledger = first if number % 3 else second
        assert ledger.append([Entry.of(decided(number))]) == [Recorded(number)]
    assert place.verify().passed


def test_a_locked_database_refuses_and_recovers(place, decided):
    ledger = place.ledger(engine=place.writing())
    with place.engine.connect() as holder:
        holder.exec_driver_sql("SELECT 1")
        with pytest.raises(NotRecorded, match="database is locked") as refused:
            ledger.append([Entry.of(decided(1))])
        assert "by itself" in refused.value.hint
        with pytest.raises(NotRecorded, match="database is locked"):
            ledger.probe()
        with pytest.raises(NotRecorded, match="database is locked"):
            ledger.last_segment("node-1")
    ledger.probe()
    assert ledger.append([Entry.of(decided(1))]) == [Recorded(0)]


def test_a_read_only_database_refuses_and_recovers(place, decided):
    ledger = place.ledger()
    raw = place.engine.raw_connection()
    raw.execute("PRAGMA query_only=ON")
    raw.close()
    for attempt in (lambda: ledger.append([Entry.of(decided(1))]), ledger.probe):
        with pytest.raises(NotRecorded, match="readonly database"):
            attempt()
    assert counts(place) == (0, 0, 0)
    raw = place.engine.raw_connection()
    raw.execute("PRAGMA query_only=OFF")
    raw.close()
    ledger.probe()
    assert ledger.append([Entry.of(decided(1))]) == [Recorded(0)]


def test_a_full_database_refuses_whole_batches_and_recovers(place, decided):
    ledger = place.ledger()
    ledger.append([Entry.of(decided(0))])
    with place.engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages + 2}")
    batch = [Entry.of(decided(number, detail="x" * 2000)) for number in range(50)]
    with pytest.raises(NotRecorded, match="full"):
        ledger.append(batch)
    assert counts(place) == (1, 1, 1)
    with place.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count=1000000")
    assert len(ledger.append(batch)) == 50
    assert place.verify().passed


def test_a_disk_that_takes_no_more_bytes_refuses_and_recovers(place, decided):
    """The kernel itself refuses to write, in a process of its own."""
    program = """
        import json, resource, signal, sys
        from pathlib import Path
        from remit.audit.keys import load_key
        from remit.audit.ledger import Entry, Ledger
        from remit.model.errors import NotRecorded
        from remit.state.database import open_database
        from remit.state.settings import StateSettings

        folder = Path(sys.argv[1])
        engine = open_database(StateSettings(f"sqlite:///{folder}/remit.db"))
        signer = load_key(folder / "audit" / "ledger.key", "contoso.example/remit")
        ledger = Ledger(engine, signer, folder=folder, database=folder / "remit.db")
        entry = Entry.of({"type": "decision", "detail": "x" * 4000})
        ledger.append([entry])
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
        written = 1
        try:
            while written < 100:
                ledger.append([entry])
                written += 1
        except NotRecorded as error:
            print(error)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        [last] = ledger.append([entry])
        print(written, last.index)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), str(place.folder)], capture_output=True, text=True, check=True
    )
    said, numbers = done.stdout.splitlines()
    assert "could not be written" in said
    written, last = map(int, numbers.split())
    assert written == last < 100
    report = place.verify()
    assert report.passed
    assert report.entries == written + 1


def test_too_little_free_space_refuses_before_anything_is_written(place, decided):
    free = shutil.disk_usage(place.folder).free
    ledger = place.ledger(free=free * 1000)
    for attempt in (lambda: ledger.append([Entry.of(decided(1))]), ledger.probe):
        with pytest.raises(NotRecorded, match=r"free bytes, \d+ are needed"):
            attempt()
    assert counts(place) == (0, 0, 0)


def test_a_database_that_was_moved_away_refuses_and_recovers(place, decided):
    ledger = place.ledger()
    moved = place.database.rename(place.folder / "elsewhere.db")
    with pytest.raises(NotRecorded, match="No such file"):
        ledger.append([Entry.of(decided(1))])
    place.database.touch()
    with pytest.raises(NotRecorded, match="not the one that was opened"):
        ledger.append([Entry.of(decided(1))])
    moved.rename(place.database)
    assert ledger.append([Entry.of(decided(1))]) == [Recorded(0)]


def test_another_key_never_signs_on(place, decided):
    place.ledger().append([Entry.of(decided(1))])
    stranger = Signer("contoso.example/remit", Ed25519PrivateKey.generate())
    with pytest.raises(EvidenceBroken, match="no known key"):
        place.ledger(signer=stranger)


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("UPDATE ledger_head SET edge = zeroblob(32)", "not what its checkpoint says"),
        ("UPDATE ledger_head SET size = 3", "was changed"),
        ("UPDATE ledger_head SET size = 2", "not what its checkpoint says"),
        ("UPDATE ledger_head SET checkpoint = '', size = 0, edge = x''", "not a signed note"),
        ("UPDATE ledger_head SET checkpoint = replace(checkpoint, 'contoso', 'c0ntoso')", "no known key"),
    ],
)
def test_a_changed_head_is_never_signed_on(place, decided, statement, says):
    ledger = place.ledger()
    ledger.append([Entry.of(decided(1))])
    place.sql(statement)
    with pytest.raises(NotRecorded, match=says):
        ledger.append([Entry.of(decided(2))])
    with pytest.raises(NotRecorded, match=says):
        ledger.probe()


def test_an_older_ledger_that_was_put_back_is_never_signed_on(place, decided):
    ledger = place.ledger()
    ledger.append([Entry.of(decided(1))])
    with place.engine.connect() as connection:
        old = connection.execute(select(tables.head)).one()
    ledger.append([Entry.of(decided(2))])
    place.sql("DELETE FROM ledger_entries WHERE position = 1")
    place.sql("DELETE FROM ledger_checkpoints WHERE size = 2")
    place.sql("UPDATE ledger_head SET size = ?, edge = ?, checkpoint = ?", old.size, old.edge, old.checkpoint)
    with pytest.raises(NotRecorded, match="shorter than it was"):
        ledger.append([Entry.of(decided(3))])
