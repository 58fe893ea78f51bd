"""A segment: what one pass over a renamed log makes of it, and whether it still is what its manifest says.

A segment is checked where it is kept; one that was entered but not kept yet (a kill between the two) is checked in
the spool. Leaves out the ledger itself (`verify.py`), and the steps of sealing (`sealer.py`).
"""

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from remit.audit.canonical import ENTRY_LIMIT, canonical_row
from remit.audit.spool import Spool
from remit.audit.store import SegmentStore
from remit.audit.tlog import Edge, leaf_hash
from remit.model.counts import counted
from remit.model.errors import EvidenceBroken
from remit.model.record import Value

SCHEMA = "access/1"
"""The rows' schema: names as the gateway's access log has them; a change of meaning is a new schema."""


@dataclass(slots=True)
class LogPass:
    """What one pass over a renamed log gathers. Rejects are hashed as they stand, newlines included."""

    edge: Edge = field(default_factory=Edge)
    rejected: int = 0
    rejects: "hashlib._Hash" = field(default_factory=hashlib.sha256)
    time_min: int = 0
    time_max: int = 0

    def read(self, path: Path) -> Iterator[bytes]:
        """The canonical rows, one after the other; raises `OSError`."""
        with path.open("rb") as file:
            # a power cut must not take rows that the manifest counts
            os.fdatasync(file.fileno())
            while line := file.readline(ENTRY_LIMIT):
                row = self._row(line.removesuffix(b"\n"))
                if row is not None:
                    yield row
                    continue
                self.rejected += 1
                self.rejects.update(line)
                # the rest of an overlong line belongs to it, and must never pass for a line of its own
                while not line.endswith(b"\n") and (line := file.readline(ENTRY_LIMIT)):
                    self.rejects.update(line)

    def manifest(self, node: str, number: int) -> Mapping[str, Value]:
        """The ledger entry of the segment, once all of it was read."""
        return {
            "type": "segment",
            "schema": SCHEMA,
            "node": node,
            "segment": number,
            "rows": self.edge.size,
            "rejected": self.rejected,
            "rejected_sha256": self.rejects.hexdigest(),
            "root": self.edge.root().hex(),
            "time_min": self.time_min,
            "time_max": self.time_max,
        }

    def _row(self, content: bytes) -> bytes | None:
        """The canonical row, or nothing for a line that is torn, overlong or garbage."""
        try:
            row, at = canonical_row(content)
        except ValueError:
            return None
        self.edge.append(leaf_hash(row))
        self.time_min = min(self.time_min or at, at)
        self.time_max = max(self.time_max, at)
        return row


@dataclass(frozen=True, slots=True)
class SegmentReader:
    """Where one node's segments are found: kept, and in the spool."""

    store: SegmentStore
    spool: Spool


@dataclass(slots=True)
class Checked:
    """What was looked at, and what does not hold: place and message."""

    segments: int = 0
    rows: int = 0
    rejected: int = 0
    findings: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Manifest:
    node: str
    number: int
    rows: int
    rejected: int
    root: str
    values: Mapping[str, Any]

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self | None:
        """`None` for an entry of type `segment` that is no manifest."""
        node, root = values.get("node"), values.get("root")
        numbers = [values.get(name) for name in ("segment", "rows", "rejected")]
        if not isinstance(node, str) or not isinstance(root, str):
            return None
        number, rows, rejected = (value if isinstance(value, int) else -1 for value in numbers)
        return None if min(number, rows, rejected) < 0 else cls(node, number, rows, rejected, root, values)


def check_segments(
    entries: Iterable[Mapping[str, Any]], readers: Mapping[str, SegmentReader], kept: Mapping[str, Iterable[int]]
) -> Checked:
    """Holds every segment against its manifest.

    `readers`: by node; `kept`: the segments that each node's store showed before the entries were read.
    """
    checked = Checked()
    nodes: dict[str, dict[int, _Manifest]] = {node: {} for node in readers}
    for values in entries:
        manifest = _Manifest.parse(values)
        if manifest is None:
            checked.findings.append(("ledger", "an entry of type `segment` is no manifest"))
        elif manifest.number in nodes.setdefault(manifest.node, {}):
            checked.findings.append((_place(manifest.node, manifest.number), "it was entered twice"))
        else:
            nodes[manifest.node][manifest.number] = manifest
    for node, manifests in nodes.items():
        _check_node(manifests, readers.get(node), checked, node=node, kept=kept.get(node, ()))
    return checked


def _check_node(
    manifests: Mapping[int, _Manifest],
    reader: SegmentReader | None,
    checked: Checked,
    *,
    node: str,
    kept: Iterable[int],
) -> None:
    expected = range(1, max(manifests, default=0) + 1)
    gaps = [number for number in expected if number not in manifests]
    checked.findings += [(_place(node, number), "its manifest is missing from the ledger") for number in gaps]
    if reader is None:
        checked.findings.append((f"node {node}", "nobody said where its segments are kept"))
        return
    with reader.spool.locked(shared=True):
        strangers = [number for number in kept if number not in manifests]
        checked.findings += [(_place(node, number), "it was never entered in the ledger") for number in strangers]
        for number, manifest in sorted(manifests.items()):
            checked.segments += 1
            checked.rows += manifest.rows
            checked.rejected += manifest.rejected
            message = _check_segment(manifest, reader)
            if message:
                checked.findings.append((_place(node, number), message))


def _check_segment(manifest: _Manifest, reader: SegmentReader) -> str:
    """What does not hold of one segment, empty when all does."""
    if reader.store.has(manifest.number):
        return _check_kept(manifest, reader.store)
    waiting = reader.spool.pending().get(manifest.number)
    if waiting is None:
        return f"its {counted(manifest.rows, 'row is', 'rows are')} missing"
    log = LogPass()
    for _ in log.read(waiting):
        pass
    same = log.manifest(manifest.node, manifest.number) == manifest.values
    return "" if same else "its rows, in the spool, are not what was sealed"


def _check_kept(manifest: _Manifest, store: SegmentStore) -> str:
    edge = Edge()
    try:
        for row in store.rows(manifest.number):
            edge.append(leaf_hash(row))
    except EvidenceBroken as error:
        return error.message
    if edge.size != manifest.rows:
        return f"it has {counted(edge.size, 'row')}, {manifest.rows} were sealed"
    return "" if edge.root().hex() == manifest.root else "its rows are not what was sealed"


def _place(node: str, number: int) -> str:
    return f"segment {number} of {node}"
