"""The journal of an apply: a file of JSON lines, each on the disk before what it announces is done.

`begin` holds every step with what was there before; `will` comes before a step and `done` after it, with what the cloud
answered; `undoing` and `undone` the same on the way back; `end` or `back` closes it. A last line without its end was
cut by a crash and counts as never written. The file is its owner's alone, and stays as evidence. Leaves out: what steps
mean (`steps.py`).
"""

import contextlib
import fcntl
import json
import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from remit.model.errors import RemitError, TrustBroken
from remit.state.private_file import read_private
from remit.trust.applying.steps import change_of, decoded, encoded, written
from remit.trust.planning.plan import Act, Change, Plan
from remit.trust.things import Found

_LIMIT = 64 << 20  # bytes: a plan of a hundred thousand steps
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
Sync = Callable[[int], None]


class State(StrEnum):
    """How far a step came. `WILL`: it was begun, and nobody knows whether the cloud did it."""

    UNTOUCHED = "untouched"
    WILL = "will"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Entry:
    """One step. `answer`: what the cloud said that it holds after it."""

    change: Change
    state: State = State.UNTOUCHED
    answer: Found | None = None


@dataclass(frozen=True, slots=True)
class Past:
    """What a journal tells.

    `over`: it was closed; `at`: when it began, seconds since the epoch; `allowed`: names of unsafe changes that were
    meant; `renamed`: ids of what was made again on the way back, old → new; `made`: ids of all that was ever made, also
    of what was undone since.
    """

    path: Path
    checksum: str
    entries: tuple[Entry, ...]
    over: bool
    at: float
    allowed: frozenset[str]
    renamed: Mapping[str, str] = field(default_factory=dict)
    made: frozenset[str] = frozenset()

    @property
    def touched(self) -> int:
        """How many steps were begun."""
        return sum(entry.state is not State.UNTOUCHED for entry in self.entries)


class Journal:
    """The journal that is being written. `sync`: makes a descriptor's file durable; `clock`: seconds."""

    def __init__(self, path: Path, *, sync: Sync = os.fsync, clock: Callable[[], float] = time.time) -> None:
        self.path = path
        self._sync = sync
        self._clock = clock
        self._mend()

    @classmethod
    def begin(cls, folder: Path, plan: Plan, *, allowed: Sequence[str] = (), sync: Sync = os.fsync) -> "Journal":
        """Of a plan that is about to be carried out."""
        journal = cls(folder / f"apply-{plan.checksum}.jsonl", sync=sync)
        steps = [written(change) for change in plan.changes]
        journal._write("begin", checksum=plan.checksum, allowed=sorted(allowed), steps=steps)
        return journal

    def will(self, step: int, *, back: bool = False) -> None:
        """A step is about to be done, or undone. It counts from 0."""
        self._write("undoing" if back else "will", step=step)

    def done(self, step: int, answer: Found | None) -> None:
        """A step was done; the answer is `None` for a removal."""
        told = None if answer is None else {"fields": encoded(answer.fields), "ids": dict(answer.ids)}
        self._write("done", step=step, answer=told)

    def undone(self, step: int, said: str, renamed: Mapping[str, str]) -> None:
        """A step was undone, or cannot be, as `said` tells. `renamed`: ids of what was made again, old → new."""
        self._write("undone", step=step, said=said, renamed=dict(renamed))

    def failed(self, step: int, said: str) -> None:
        """A cloud refused."""
        self._write("failed", step=step, said=said)

    def close(self, *, back: bool = False) -> None:
        """Nothing is open any more."""
        self._write("back" if back else "end")

    def _write(self, line: str, **members: Any) -> None:
        text = json.dumps({"line": line, "at": self._clock(), **members}, separators=(",", ":"))
        with contextlib.closing(_Descriptor(self.path)) as opened:
            opened.write(text.encode() + b"\n")
            self._sync(opened.number)

    def _mend(self) -> None:
        """Cuts off a line that a crash left unfinished; makes the name of a new file durable."""
        with contextlib.closing(_Descriptor(self.path)) as opened:
            whole = self.path.read_bytes()
            os.ftruncate(opened.number, whole.rfind(b"\n") + 1)
            self._sync(opened.number)
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


class _Descriptor:
    """A file that is appended to, of its owner alone."""

    def __init__(self, path: Path) -> None:
        self.number = os.open(path, _FLAGS, 0o600)

    def write(self, data: bytes) -> None:
        """All of it: the system may take less at a time."""
        while data:
            data = data[os.write(self.number, data) :]

    def close(self) -> None:
        os.close(self.number)


def unfinished(folder: Path) -> Past | None:
    """The journal of an apply that was interrupted; raises `TrustBroken` when one cannot be understood."""
    for path in sorted(folder.glob("apply-*.jsonl")):
        past = read(path)
        if past and not past.over:
            return past
    return None


def made(folder: Path) -> frozenset[str]:
    """Ids of whatever was made here by any apply that a journal tells of, undone or not; raises `TrustBroken`.

    Of a step of which nobody knows, in an apply that is open: the address.
    """
    known = set[str]()
    for path in sorted(folder.glob("apply-*.jsonl")):
        past = read(path)
        known |= past.made if past else frozenset()
        for entry in past.entries if past and not past.over else ():
            if entry.change.act is Act.MAKE and entry.state is State.WILL and not entry.answer:
                known.add(str(entry.change.address))
    return frozenset(known)


def read(path: Path) -> Past | None:
    """What a journal tells of the last apply in it, `None` when that never began; raises `TrustBroken`."""
    content = read_private(path, _LIMIT, "the journal of `remit trust apply`")
    whole = content[: content.rfind(b"\n") + 1]
    past: Past | None = None
    try:
        for line in whole.splitlines():
            past = _after(past, path, json.loads(line))
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as cause:
        hint = "look at it, and at `remit trust plan`; move it away when nothing is open"
        raise TrustBroken(f"the journal `{path}` cannot be understood", hint=hint) from cause
    return past


def _after(past: Past | None, path: Path, line: dict[str, Any]) -> Past:
    kind = line["line"]
    if kind == "begin":
        entries = tuple(Entry(change_of(step)) for step in line["steps"])
        allowed = frozenset(map(str, line["allowed"]))
        made_ = past.made if past else frozenset[str]()
        return Past(path, str(line["checksum"]), entries, over=False, at=float(line["at"]), allowed=allowed, made=made_)
    if past is None:
        raise ValueError(kind)
    if kind in {"end", "back"}:
        return replace(past, over=True)
    step = int(line["step"])
    entry = past.entries[step]
    match kind:
        case "will":
            entry = replace(entry, state=State.WILL)
        case "undoing":  # whether it is undone nobody knows, but what the cloud once answered is still its name
            entry = replace(entry, state=State.WILL)
        case "done":
            entry = Entry(entry.change, State.DONE, _answer(entry.change, line["answer"]))
            if entry.change.act is Act.MAKE and entry.answer:
                past = replace(past, made=past.made | set(entry.answer.ids.values()))
        case "undone":
            entry = Entry(entry.change)
            past = replace(past, renamed={**past.renamed, **line["renamed"]})
        case "failed":
            pass
        case _:
            raise ValueError(kind)
    return replace(past, entries=(*past.entries[:step], entry, *past.entries[step + 1 :]))


def _answer(change: Change, told: dict[str, Any] | None) -> Found | None:
    return None if told is None else Found(change.address, decoded(told["fields"]), dict(told["ids"]))


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """One apply at a time in this folder, which is made; raises `RemitError` while another lasts.

    Nobody else may put a journal there, or take one away: by it an apply goes on, and is undone.

    The kernel lets go of the lock when a process ends in any way (flock(2)).
    """
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # the state folder: its owner's alone
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise TrustBroken(f"`{folder}` can be changed by others", hint="chmod 700 it, or move it away")
    descriptor = os.open(folder / "apply.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        _lock(descriptor)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        who = os.pread(descriptor, 20, 0).decode("ascii", "replace")
        message = f"another `remit trust` changes something here, process {who or 'unknown'}"
        raise RemitError(message, hint="wait for its end, then plan again") from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(os.getpid()).encode(), 0)
