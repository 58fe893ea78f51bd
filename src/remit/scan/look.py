"""One file or blob, looked through: its findings, without a secret in them."""

import datetime as dt
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from remit.scan import parts, text
from remit.scan.examples import why
from remit.scan.finding import Found, fingerprint, normal, same
from remit.scan.kinds import KINDS

PRAGMA = "pragma: allowlist secret"
Read = Callable[[int], bytes]  # at most so many bytes; none at the end


@dataclass(frozen=True, slots=True)
class Run:
    """What is the same for a whole run: its key for `Found.same`, and the day."""

    key: bytes = field(repr=False)
    today: dt.date


@dataclass(slots=True)
class Looked:
    """What a batch of files came to. `unread`: paths (masked) that could not be read, with why."""

    found: list[Found] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, other: "Looked") -> None:
        """Takes another's in."""
        self.found += other.found
        self.unread += other.unread
        self.counts += other.counts


@dataclass(frozen=True, slots=True)
class Target:
    """What is looked through.

    `file`: as it is shown, not masked yet; `place`: below its repository, the same on every machine; `size`: what is
    expected, which need not hold; `blob`: its name in the history, empty in the work tree.
    """

    file: str
    place: str
    size: int = 0
    blob: str = ""


def through(read: Read, target: Target, run: Run) -> Looked:
    """Reads a file to its end."""
    file, size = target.file, target.size
    looked = Looked()
    first = read(parts.NOTEBOOK if file.endswith(".ipynb") and size <= parts.NOTEBOOK else parts.WINDOW)
    looked.counts["bytes"] += len(first)
    if parts.binary(first):
        looked.counts["binary"] += 1
        while rest := read(parts.WINDOW):
            looked.counts["bytes"] += len(rest)
        return looked
    looked.counts["texts"] += 1
    one = _File(target, run)
    if file.endswith(".ipynb") and (cells := parts.cells(first)) is not None:
        looked.found += one.notebook(cells, parts.decoded(first))
    else:
        looked.found += one.plain(_windows(first, read, looked))
    return looked


def _windows(first: bytes, read: Read, looked: Looked) -> Iterator[tuple[str, int]]:
    """Texts that overlap, each with the line that it begins on."""
    if first.startswith((b"\xff\xfe", b"\xfe\xff")):
        yield parts.decoded(first), 1
        while rest := read(parts.WINDOW):  # the other windows of a huge file have no mark
            looked.counts["bytes"] += len(rest)
            yield parts.decoded(first[:2] + rest), 1
        return
    window, line = first, 1
    while True:
        yield window.decode("latin-1"), line
        rest = read(parts.WINDOW) if len(window) >= parts.WINDOW else b""
        if not rest:
            return
        looked.counts["bytes"] += len(rest)
        line += window.count(b"\n", 0, -parts.OVERLAP)
        window = window[-parts.OVERLAP :] + rest


class _File:
    """A file on its way: each secret once, at its first place."""

    def __init__(self, target: Target, run: Run) -> None:
        self._file, self._blob, self._run = target.file, target.blob, run
        self._shown, self._place = text.masked(target.file), text.masked(target.place)
        self._had: set[bytes] = set()

    def plain(self, windows: Iterable[tuple[str, int]]) -> Iterator[Found]:
        for window, line in windows:
            yield from self._of(parts.Part(window, line))
            for held in parts.inside(window, line):
                yield from self._of(held)

    def notebook(self, cells: Iterable[parts.Part], raw: str) -> Iterator[Found]:
        """Cells first, then whatever else of the file holds a secret that no cell has."""
        for cell in cells:
            yield from self._of(cell, raw)
            for held in parts.inside(cell.text, 0):
                yield from self._of(parts.Part(held.text, 0, cell.cell, cell.where), raw)
        yield from self.plain([(raw, 1)])

    def _of(self, part: parts.Part, raw: str = "") -> Iterator[Found]:
        for hit in text.hits(part.text, self._file):
            written = part.text[hit.start : hit.end]
            secret = normal(hit.rule.kind, written)
            told = same(self._run.key, hit.rule.kind, secret)
            if told in self._had:
                continue
            self._had.add(told)
            kind, names = KINDS[hit.rule.kind], hit.names
            pragma = text.allowed(part.text, hit.start, self._file)
            yield Found(
                kind=kind.name,
                file=self._shown,
                line=_line(part, hit.start, written, raw),
                names=names,
                fingerprint=fingerprint(kind, secret, self._place, names),
                same=told,
                cell=part.cell,
                where=part.where,
                blob=self._blob,
                dismissed=PRAGMA if pragma else why(kind.name, secret, names, self._run.today),
            )


def _line(part: parts.Part, start: int, written: str, raw: str) -> int:
    """The line in the file; for a cell, where the secret's first line stands in the notebook's JSON."""
    if part.line:
        return part.line if part.where == "base64" else part.line + part.text.count("\n", 0, start)
    first = next((line for line in written.splitlines() if len(line) > 3), written)  # noqa: PLR2004 - not a bracket
    at = raw.find(json.dumps(first)[1:-1])
    return raw.count("\n", 0, at) + 1 if at >= 0 else 1
