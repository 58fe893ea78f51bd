import gzip
import json
import re

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import create_engine, event, select

from remit.audit import tables, tlog
from remit.audit.canonical import canonical_entry
from remit.audit.keys import make_key
from remit.audit.ledger import Entry, Ledger
from remit.audit.note import Checkpoint, Signer
from remit.audit.segments import SegmentReader
from remit.audit.verify import verify
from remit.model.errors import EvidenceBroken
from remit.state.database import open_database_to_read
from remit.state.schema import migrate
from remit.state.settings import StateSettings

LINES = [json.dumps({"time": str(1_790_000_000_000_000 + number), "status": 200}) for number in range(4)]


@pytest.fixture
def evidence(place, decided):
    """Twelve decisions in six commits, and three segments, the second of them empty."""
    ledger = place.ledger()
    sealer = place.sealer(ledger)
    for number in range(6):
        ledger.append([Entry.of(decided(2 * number)), Entry.of(decided(2 * number + 1))])
        if number == 1:
            place.writer.write(*LINES[:3])
        if number == 3:
            place.writer.write(*LINES[3:])
        if number in {1, 2, 3}:
            sealer.seal()
    place.checkpoint = ledger.checkpoint()
    return place


def found(place, **arguments) -> list[str]:
    report = place.verify(**arguments)
    assert report.passed == (not report.findings)
    return [str(finding) for finding in report.findings]


def forge(place, position: int, entry: bytes) -> None:
    """Changes an entry and everything in the tables that can be made to fit without the key."""
    leaf = tlog.leaf_hash(entry)
    place.sql("UPDATE ledger_entries SET entry = ?, leaf = ? WHERE position = ?", entry, leaf, position)


def entry_at(place, position: int) -> dict:
    with place.reading().connect() as connection:
        return json.loads(
            connection.execute(select(tables.entries.c.entry).where(tables.entries.c.position == position)).scalar_one()
        )


@pytest.mark.promise("N7")
def test_genuine_evidence_passes(evidence):
    report = evidence.verify(earlier=evidence.checkpoint)
    assert report.findings == ()
    assert report.passed
    assert (report.entries, report.checkpoints, report.segments, report.rows, report.rejected) == (15, 9, 3, 4, 0)
    assert report.checkpoint == evidence.checkpoint


def test_an_empty_ledger_passes(place):
    place.ledger()
    assert found(place) == []
    assert place.verify().checkpoint == ""


def test_a_ledger_that_never_was_opened_passes(place):
    assert found(place) == []


@pytest.mark.promise("N7")
def test_one_changed_byte_of_a_record_is_found(evidence):
    entry = canonical_entry(entry_at(evidence, 3)).replace(b"permit", b"permIt", 1)
    evidence.sql("UPDATE ledger_entries SET entry = ? WHERE position = 3", entry)
    findings = found(evidence)
    assert findings[0] == "entry 3: its content is not what was recorded"
    assert "ledger: its entries do not make the root that its last checkpoint signed" in findings
    assert any(finding.startswith("checkpoint 4: the tree of the entries has another root") for finding in findings)
    assert not any(finding.startswith("checkpoint 2") for finding in findings)


@pytest.mark.promise("N7")
def test_a_record_that_was_changed_with_its_leaf_is_found(evidence):
    forge(evidence, 3, canonical_entry({**entry_at(evidence, 3), "name": "Eve"}))
    assert "ledger: its entries do not make the root that its last checkpoint signed" in found(evidence)


@pytest.mark.promise("N7")
@pytest.mark.parametrize(("position", "last"), [(0, 0), (3, 3), (3, 5), (14, 14)])
def test_a_removed_record_is_found(evidence, position, last):
    evidence.sql("DELETE FROM ledger_entries WHERE position BETWEEN ? AND ?", position, last)
    findings = found(evidence)
    left = 15 - (last - position + 1)
    assert f"ledger: its last checkpoint covers 15 entries, there are {left}" in findings
    if last < 14:
        what = "it is" if last == position else f"entries {position} to {last} are"
        assert f"entry {position}: {what} missing from the ledger" in findings


def test_one_removed_record_is_one_finding_about_all_checkpoints_that_it_breaks(evidence):
    evidence.sql("DELETE FROM ledger_entries WHERE position = 3")
    report = evidence.verify()
    assert not report.passed
    broken = [str(finding) for finding in report.findings if finding.place.startswith("checkpoint")]
    assert len(broken) == 2
    assert re.fullmatch(r"checkpoint 4: the tree .* was signed, and \d later checkpoints", broken[0])
    assert broken[1] == "checkpoint 15: it speaks of 15 entries, the ledger has 14"
    # one that breaks alone is told alone
    evidence.sql("UPDATE ledger_checkpoints SET note = 'x' WHERE size = 2")
    assert "checkpoint 2: this is not a signed note" in found(evidence)


def test_a_removed_record_is_found_also_when_the_others_close_ranks(evidence):
    evidence.sql("DELETE FROM ledger_entries WHERE position = 3")
    evidence.sql("UPDATE ledger_entries SET position = position + 999 WHERE position > 3")
    evidence.sql("UPDATE ledger_entries SET position = position - 1000 WHERE position > 3")
    assert "ledger: its last checkpoint covers 15 entries, there are 14" in found(evidence)


def test_an_added_record_is_found(evidence):
    entry = canonical_entry({"type": "decision", "at": 1})
    evidence.sql(
        "INSERT INTO ledger_entries (position, at, type, entry, leaf) VALUES (15, 1, 'decision', ?, ?)",
        entry,
        tlog.leaf_hash(entry),
    )
    assert found(evidence) == ["ledger: its last checkpoint covers 15 entries, there are 16"]


@pytest.mark.promise("N7")
def test_an_earlier_checkpoint_finds_a_ledger_that_was_cut_back(evidence):
    with evidence.engine.connect() as connection:
        cut = connection.execute(select(tables.checkpoints).where(tables.checkpoints.c.size == 14)).first()
        cut = cut or connection.execute(select(tables.checkpoints).where(tables.checkpoints.c.size == 13)).one()
    evidence.sql("DELETE FROM ledger_entries WHERE position >= ?", cut.size)
    evidence.sql("DELETE FROM ledger_checkpoints WHERE size > ?", cut.size)
    evidence.sql("UPDATE ledger_head SET checkpoint = ?", cut.note)
    assert found(evidence) == [], "whoever holds no earlier checkpoint cannot know"
    assert found(evidence, earlier=evidence.checkpoint) == [
        f"earlier checkpoint: it covers 15 entries, the ledger has only {cut.size}"
    ]


@pytest.mark.promise("N7")
def test_an_earlier_checkpoint_finds_a_ledger_that_was_written_anew(evidence, decided):
    """The operator, who has the key, makes a whole new history and signs it."""
    entries = [canonical_entry(decided(number, name="Eve")) for number in range(16)]
    evidence.sql("DELETE FROM ledger_entries")
    evidence.sql("DELETE FROM ledger_checkpoints")
    evidence.sql("DELETE FROM ledger_segments")
    for path in evidence.settings.segments.iterdir():
        path.unlink()
    edge = tlog.Edge()
    for position, entry in enumerate(entries):
        edge.append(tlog.leaf_hash(entry))
        evidence.sql(
            "INSERT INTO ledger_entries (position, at, type, entry, leaf) VALUES (?, ?, 'decision', ?, ?)",
            position,
            decided(position)["at"],
            entry,
            tlog.leaf_hash(entry),
        )
    note = evidence.signer.sign(Checkpoint("contoso.example/remit", 16, edge.root()).text)
    evidence.sql("INSERT INTO ledger_checkpoints VALUES (16, ?)", note)
    evidence.sql("UPDATE ledger_head SET checkpoint = ?, size = 16, edge = ?", note, edge.packed())
    assert found(evidence) == []
    assert found(evidence, earlier=evidence.checkpoint) == [
        "earlier checkpoint: the ledger is not a continuation of it: history was rewritten"
    ]


def test_an_earlier_checkpoint_of_somebody_else_is_told(evidence):
    stranger = Signer("contoso.example/remit", Ed25519PrivateKey.generate())
    note = stranger.sign(Checkpoint("contoso.example/remit", 0, tlog.EMPTY_ROOT).text)
    assert found(evidence, earlier=note) == ["earlier checkpoint: no known key signed this note"]


def test_checkpoints_that_were_changed_are_found(evidence):
    evidence.sql("UPDATE ledger_checkpoints SET note = replace(note, 'contoso', 'c0ntoso') WHERE size = 2")
    evidence.sql("UPDATE ledger_checkpoints SET size = 3 WHERE size = 4")
    assert found(evidence) == [
        "checkpoint 2: no known key signed this note",
        "checkpoint 3: it speaks of 4 entries, the ledger has 15",
    ]
    evidence.sql("UPDATE ledger_head SET checkpoint = 'nonsense'")
    assert "ledger: its last checkpoint does not hold: this is not a signed note" in found(evidence)


def test_a_ledger_without_its_head_does_not_pass(evidence):
    evidence.sql("DELETE FROM ledger_head")
    assert found(evidence) == ["ledger: its last checkpoint does not hold: this is not a signed note"]


def test_the_columns_beside_an_entry_must_repeat_it(evidence):
    evidence.sql("UPDATE ledger_entries SET at = 1 WHERE position = 0")
    evidence.sql("UPDATE ledger_entries SET type = 'hidden' WHERE position = 1")
    assert found(evidence) == [
        "entry 0: the columns beside it say something else than the entry",
        "entry 1: the columns beside it say something else than the entry",
    ]


@pytest.mark.parametrize("entry", [b"[]", b"garbage", b"\xff", b'{"a":1.5}', b'{"b":1,"a":2}'])
def test_an_entry_that_is_not_canonical_is_found(evidence, entry):
    forge(evidence, 0, entry)
    assert found(evidence)[0].startswith("entry 0: it is not ")


@pytest.mark.promise("N7")
def test_a_deleted_segment_is_found(evidence):
    evidence.store.path(1).unlink()
    assert found(evidence) == ["segment 1 of node-1: its 3 rows are missing"]


@pytest.mark.promise("N7")
def test_a_changed_row_is_found(evidence):
    path = evidence.store.path(1)
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()).replace(b"200", b"403", 1)))
    assert found(evidence) == ["segment 1 of node-1: its rows are not what was sealed"]


def test_rows_that_were_removed_or_added_are_found(evidence):
    path = evidence.store.path(1)
    rows = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(rows[: rows.index(b"\n") + 1]))
    assert found(evidence) == ["segment 1 of node-1: it has 1 row, 3 were sealed"]
    path.write_bytes(gzip.compress(rows + rows))
    assert found(evidence) == ["segment 1 of node-1: it has 6 rows, 3 were sealed"]


@pytest.mark.parametrize("damage", [b"", b"not gzip", b"\x1f\x8b"])
def test_a_segment_that_cannot_be_read_is_found(evidence, damage):
    path = evidence.store.path(1)
    path.write_bytes(damage)
    [finding] = found(evidence)
    assert finding.startswith("segment 1 of node-1: ")


def test_every_cut_of_a_segment_is_found(evidence):
    path = evidence.store.path(1)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert len(found(evidence)) == 1, length


def test_a_segment_that_was_never_entered_is_found(evidence):
    evidence.store.write(9, [b"{}"])
    evidence.store.publish(9)
    assert found(evidence) == ["segment 9 of node-1: it was never entered in the ledger"]


def test_a_manifest_that_is_gone_leaves_a_gap(evidence):
    position = next(number for number in range(15) if entry_at(evidence, number).get("segment") == 2)
    forge(evidence, position, canonical_entry({"type": "decision"}))
    evidence.sql("UPDATE ledger_entries SET type = 'decision' WHERE position = ?", position)
    findings = found(evidence)
    assert "segment 2 of node-1: its manifest is missing from the ledger" in findings
    assert "segment 2 of node-1: it was never entered in the ledger" in findings


def test_a_manifest_that_is_none_or_stands_twice_is_told(evidence):
    positions = [number for number in range(15) if entry_at(evidence, number)["type"] == "segment"]
    forge(evidence, positions[0], canonical_entry({"type": "segment", "node": "node-1"}))
    forge(evidence, positions[1], canonical_entry(entry_at(evidence, positions[2])))
    findings = found(evidence)
    assert "ledger: an entry of type `segment` is no manifest" in findings
    assert "segment 3 of node-1: it was entered twice" in findings
    forge(evidence, positions[0], canonical_entry({"type": "segment", "node": "n", "root": "", "segment": -1}))
    assert "ledger: an entry of type `segment` is no manifest" in found(evidence)


def test_a_node_whose_segments_nobody_points_to_does_not_pass(evidence):
    assert found(evidence, readers={}) == ["node node-1: nobody said where its segments are kept"]


def test_another_key_does_not_pass(evidence):
    stranger = str(Signer("contoso.example/remit", Ed25519PrivateKey.generate()).verifier)
    report = verify(evidence.reading(), [stranger], {})
    assert not report.passed
    both = verify(evidence.reading(), [stranger, evidence.vkey], {})
    assert [finding.place for finding in both.findings] == ["node node-1"]


def test_no_key_and_no_ledger_are_errors_not_findings(place):
    with pytest.raises(EvidenceBroken, match="no public key"):
        verify(place.reading(), [], {})
    with pytest.raises(EvidenceBroken, match="Ed25519"):
        verify(place.reading(), ["nonsense"], {})
    nothing = create_engine("sqlite://")
    with pytest.raises(EvidenceBroken, match="the ledger cannot be read: no such table"):
        verify(nothing, [place.vkey], {})
    nothing.dispose()


def test_it_works_beside_a_running_ledger_and_writes_nothing(evidence, decided):
    before = {path: path.stat().st_mtime_ns for path in evidence.settings.folder.rglob("*")}
    with evidence.engine.connect() as writer:
        writer.exec_driver_sql("DELETE FROM ledger_entries")
        assert found(evidence) == []
    assert {path: path.stat().st_mtime_ns for path in evidence.settings.folder.rglob("*")} == before


def test_sealing_meanwhile_is_no_finding(evidence):
    sealer, engine = evidence.sealer(evidence.ledger()), evidence.reading()
    event.listen(engine, "checkin", lambda *_: sealer.seal(), once=True)
    report = verify(engine, [evidence.vkey], {"node-1": SegmentReader(evidence.store, evidence.spool)})
    assert evidence.store.has(4)
    assert (report.findings, report.segments) == ((), 3)


def test_what_is_entered_while_it_is_read_is_no_finding(engine, tmp_path, decided):
    """On PostgreSQL each query sees its own moment, unless it is told."""
    migrate(engine, "audit", tables.metadata, tables.STEPS)
    signer = make_key(tmp_path / "key", "contoso.example/remit")
    ledger = Ledger(engine, signer, folder=tmp_path, database=None, minimum_free_bytes=0)
    ledger.append([Entry.of(decided(1))])
    sqlite = engine.dialect.name == "sqlite"
    url = f"sqlite:///{tmp_path}/remit.db" if sqlite else engine.url.render_as_string(hide_password=False)
    reading = open_database_to_read(StateSettings(url.replace("postgresql+psycopg:", "postgresql:"), 2_000))
    late = [Entry.of(decided(2))]

    @event.listens_for(reading, "before_cursor_execute")
    def enter(_connection, _cursor, statement, *_):
        if "FROM ledger_checkpoints" in statement and late:
            ledger.append([late.pop()])

    report = verify(reading, [str(signer.verifier)], {})
    reading.dispose()
    assert late == [], "the statement that it is entered before was not sent"
    assert [str(finding) for finding in report.findings] == []
    assert report.entries == 1
    assert verify(engine, [str(signer.verifier)], {}).entries == 2
