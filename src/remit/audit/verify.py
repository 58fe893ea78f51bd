"""Verification: does the evidence hold, told by somebody who trusts a public key and nothing else.

  1 every entry is in its one form, is the leaf that it claims to be, and none is missing between the others
  2 every stored checkpoint is signed by a trusted key, and is the head of the tree that the entries make
  3 the last one covers all entries
  4 a checkpoint that was kept elsewhere is a beginning of this tree (whoever runs the machine could sign anew)
  5 every segment's rows are those of its manifest; numbers are dense; nothing is kept that was never entered
Reads only, needs no network, and goes on after a finding. Leaves out whether what was recorded is true.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Connection, Engine, select
from sqlalchemy.exc import SQLAlchemyError

from remit.audit import tables
from remit.audit.canonical import canonical_entry
from remit.audit.note import Checkpoint, Verifier, open_checkpoint
from remit.audit.segments import SegmentReader, check_segments
from remit.audit.tlog import Edge, consistency_proof, leaf_hash, root_of, verify_consistency
from remit.model.counts import counted
from remit.model.errors import EvidenceBroken

_BATCH = 5_000
_SIZE = "it speaks of"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that does not hold. `place`: `entry 17`, `checkpoint 18`, `segment 42`, `ledger`."""

    place: str
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.message}"


@dataclass(frozen=True, slots=True)
class Report:
    """What was checked, and everything that does not hold.

    `checkpoint`: the signed note of the present head: keep it elsewhere, and give it to a later verification;
    `rejected`: lines of the access log that were no rows, counted and hashed in their manifests.
    """

    entries: int
    checkpoints: int
    segments: int
    rows: int
    rejected: int
    checkpoint: str
    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        """True when nothing was found."""
        return not self.findings


@dataclass(slots=True)
class _Tree:
    """What reading all entries gathers: leaves by what the bytes are, not by what the table says of them."""

    leaves: list[bytes] = field(default_factory=list)
    manifests: list[Mapping[str, Any]] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def verify(engine: Engine, vkeys: Sequence[str], segments: Mapping[str, SegmentReader], *, earlier: str = "") -> Report:
    """Checks everything; never raises for evidence that is broken.

    `engine`: one that only reads; `vkeys`: the public keys that the caller trusts, not read from the evidence;
    `segments`: where each node's rows are kept; `earlier`: the signed note of a checkpoint that was kept elsewhere.
    Raises `EvidenceBroken` when a given key or the ledger itself cannot be read at all.
    """
    if not vkeys:
        raise EvidenceBroken("no public key was given to verify with")
    verifiers = [Verifier.parse(vkey) for vkey in vkeys]
    # before the ledger is read: a segment is entered first and visible then, so that sealing meanwhile is no finding
    kept = {node: reader.store.numbers() for node, reader in segments.items()}
    try:
        with _at_one_moment(engine) as connection:
            tree = _read_entries(connection)
            notes = connection.execute(select(tables.checkpoints).order_by(tables.checkpoints.c.size)).all()
            head = connection.execute(select(tables.head)).first()
    except SQLAlchemyError as error:
        raise EvidenceBroken(f"the ledger cannot be read: {getattr(error, 'orig', None) or error}") from error
    last = head.checkpoint if head else ""
    findings = [
        *tree.findings,
        *_shortened(_check_checkpoints([(note.size, note.note) for note in notes], tree.leaves, verifiers)),
        *_check_head(last, tree.leaves, verifiers),
        *(_check_earlier(earlier, tree.leaves, verifiers) if earlier else ()),
    ]
    checked = check_segments(tree.manifests, segments, kept)
    findings += [Finding(place, message) for place, message in checked.findings]
    return Report(
        entries=len(tree.leaves),
        checkpoints=len(notes),
        segments=checked.segments,
        rows=checked.rows,
        rejected=checked.rejected,
        checkpoint=last,
        findings=tuple(findings),
    )


def _at_one_moment(engine: Engine) -> Connection:
    """A connection whose queries all see one state: what is entered meanwhile is in none of them.

    SQLite's reading transactions do; PostgreSQL's see each query's own moment unless they are told.
    """
    connection = engine.connect()
    if engine.dialect.name == "postgresql":
        connection = connection.execution_options(isolation_level="REPEATABLE READ")
    return connection


def _read_entries(connection: Connection) -> _Tree:
    """Step 1."""
    tree = _Tree()
    expected = 0
    for rows in connection.execute(select(tables.entries).order_by(tables.entries.c.position)).partitions(_BATCH):
        for row in rows:
            if row.position != expected:
                missing = f"entries {expected} to {row.position - 1} are" if row.position - expected > 1 else "it is"
                tree.findings.append(Finding(f"entry {expected}", f"{missing} missing from the ledger"))
            expected = row.position + 1
            tree.leaves.append(leaf_hash(row.entry))
            if tree.leaves[-1] != row.leaf:
                tree.findings.append(Finding(f"entry {row.position}", "its content is not what was recorded"))
                continue
            tree.findings += [Finding(f"entry {row.position}", message) for message in _check_entry(row, tree)]
    return tree


def _check_entry(row: Any, tree: _Tree) -> Iterator[str]:
    """That the columns beside an entry repeat what it says, since queries select by them."""
    try:
        values = json.loads(row.entry)
        canonical = canonical_entry(values)
    except (ValueError, AttributeError):
        yield "it is not a canonical entry"
        return
    if canonical != row.entry:
        yield "it is not in its canonical form"
    if (values.get("type"), values.get("at", 0)) != (row.type, row.at):
        yield "the columns beside it say something else than the entry"
    if values.get("type") == "segment":
        tree.manifests.append(values)


def _check_checkpoints(
    notes: Iterable[tuple[int, str]], leaves: Sequence[bytes], verifiers: Sequence[Verifier]
) -> Iterator[Finding]:
    """Step 2: one pass over the leaves serves all sizes."""
    edge = Edge()
    for size, note in notes:
        place = f"checkpoint {size}"
        try:
            checkpoint = open_checkpoint(note, verifiers)
        except EvidenceBroken as error:
            yield Finding(place, error.message)
            continue
        if checkpoint.size != size or not 0 < size <= len(leaves):
            yield Finding(place, f"{_SIZE} {_entries(checkpoint.size)}, the ledger has {len(leaves)}")
            continue
        for leaf in leaves[edge.size : size]:
            edge.append(leaf)
        if edge.root() != checkpoint.root:
            yield Finding(place, "the tree of the entries has another root than was signed")


def _shortened(findings: Iterable[Finding]) -> Iterator[Finding]:
    """The first finding of each kind with how many follow: one removed record breaks every later checkpoint."""
    first: dict[str, Finding] = {}
    later: Counter[str] = Counter()
    for finding in findings:
        kind = _SIZE if finding.message.startswith(_SIZE) else finding.message
        if first.setdefault(kind, finding) is not finding:
            later[kind] += 1
    for kind, finding in first.items():
        count = later[kind]
        more = f", and {counted(count, 'later checkpoint')}" if count else ""
        yield replace(finding, message=finding.message + more)


def _check_head(note: str, leaves: Sequence[bytes], verifiers: Sequence[Verifier]) -> Iterator[Finding]:
    """Step 3."""
    if not note and not leaves:
        return
    try:
        checkpoint = open_checkpoint(note, verifiers)
    except EvidenceBroken as error:
        yield Finding("ledger", f"its last checkpoint does not hold: {error.message}")
        return
    if checkpoint.size != len(leaves):
        yield Finding("ledger", f"its last checkpoint covers {_entries(checkpoint.size)}, there are {len(leaves)}")
    elif checkpoint.root != root_of(leaves):
        yield Finding("ledger", "its entries do not make the root that its last checkpoint signed")


def _check_earlier(note: str, leaves: Sequence[bytes], verifiers: Sequence[Verifier]) -> Iterator[Finding]:
    """Step 4."""
    try:
        old = open_checkpoint(note, verifiers)
    except EvidenceBroken as error:
        yield Finding("earlier checkpoint", error.message)
        return
    if old.size > len(leaves):
        yield Finding("earlier checkpoint", f"it covers {_entries(old.size)}, the ledger has only {len(leaves)}")
    elif not _grew(old, leaves):
        yield Finding("earlier checkpoint", "the ledger is not a continuation of it: history was rewritten")


def _grew(old: Checkpoint, leaves: Sequence[bytes]) -> bool:
    proof = consistency_proof(leaves, old.size)
    return verify_consistency(old.size, len(leaves), old.root, root_of(leaves), proof)


def _entries(number: int) -> str:
    return counted(number, "entry", "entries")
