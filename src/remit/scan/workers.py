"""Batches of files and objects, looked through by as many processes as there are processors.

A few megabytes are looked through here: starting others would take longer. Little is ahead of the workers at any time,
so that memory does not grow with the history.
"""

import itertools
import multiprocessing
import os
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

from remit.model.errors import RemitError
from remit.scan.git import Repository
from remit.scan.look import Looked, Run, Target, through
from remit.scan.text import masked
from remit.scan.tree import opened

BATCH = 4 * 2**20  # bytes: a few tenths of a second
MANY = 400  # files
_FEW = 12 * 2**20  # bytes that are not worth a process
_AHEAD = 3  # batches for each worker


@dataclass(frozen=True, slots=True)
class Batch:
    """Files of the disk (`repository` is `None`, and `paths` are theirs), or objects of a repository."""

    repository: Path | None
    targets: tuple[Target, ...]
    paths: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Bytes, about."""
        return sum(target.size for target in self.targets)


def shared(batches: Iterable[Batch], run: Run, workers: int = 0) -> Iterator[Looked]:
    """What each batch comes to, in order. `workers`: 0 is one for each processor."""
    workers = workers or len(os.sched_getaffinity(0))
    coming = iter(batches)
    first: list[Batch] = []
    while sum(batch.size for batch in first) <= _FEW and (batch := next(coming, None)) is not None:
        first.append(batch)
    everything = itertools.chain(first, coming)
    if workers == 1 or sum(batch.size for batch in first) <= _FEW:
        for batch in everything:
            yield look(batch, run)
        return
    ahead: deque[Future[Looked]] = deque()
    pool = _pool(workers)
    try:
        for batch in everything:
            ahead.append(pool.submit(look, batch, run))
            if len(ahead) > workers * _AHEAD:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    except BrokenProcessPool as error:
        raise RemitError("a process that scans has died", hint="is there enough memory?") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _pool(workers: int) -> ProcessPoolExecutor:
    forks = sys.platform == "linux" and threading.active_count() == 1
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("fork" if forks else "spawn"))


def look(batch: Batch, run: Run) -> Looked:
    """Looks one batch through."""
    looked = Looked()
    if batch.repository is None:
        for path, target in zip(batch.paths, batch.targets, strict=True):
            looked.add(_file(path, target, run))
        return looked
    with Repository(batch.repository).contents() as contents:
        for number, target in enumerate(batch.targets):
            try:
                contents.open(target.blob)
                looked.add(through(contents.read, target, run))
            except FileNotFoundError:
                looked.unread.append(f"{masked(target.file)}: git has no object {target.blob[:12]}")
            except OSError as error:  # whatever is read now would be another object's
                looked.unread += [f"{masked(each.file)}: {error.strerror}" for each in batch.targets[number:]]
                break
    return looked


def _file(path: str, target: Target, run: Run) -> Looked:
    try:
        with os.fdopen(opened(path), "rb") as content:
            return through(content.read, target, run)
    except OSError as error:
        return Looked(unread=[f"{masked(target.file)}: {error.strerror}"])
