"""Recorded decisions, taken again under two sets of policies: who gains, who loses, on what, and by which policy.

What no differing policy can concern (`concern`) comes out alike and is not taken again. The rest is, under both sets,
and under the one that once decided it, where that is kept; of many others, a part is. What then comes out otherwise
than was recorded says that replay cannot be believed here: `remit.yaml` or the program changed since.

The engine holds Python's lock while it decides, so the work is done in processes of its own. They are forked, and have
all sets at once; where that cannot be (the caller has threads, whose locks a fork would copy) they are started afresh
and load the sets themselves, which takes a second or two.
Leaves out where decisions are read (`audit.decisions`), and who could be affected without ever having asked.
"""

import contextlib
import logging
import multiprocessing
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import chain

from remit.model.decision import Verdict
from remit.model.errors import RemitError, SettingsInvalid
from remit.model.estate import Estate
from remit.model.operation import Group
from remit.model.snapshot import FactsUnreadable, Past, Taken
from remit.policy.book import Book, made
from remit.policy.edits.concern import Concern
from remit.policy.edits.gains import Found, Replay
from remit.policy.edits.history import differing
from remit.policy.judge import decide_by
from remit.policy.settings import PolicySettings
from remit.policy.source import Folder

FEW = 300
"""Decisions up to which this process takes them itself: it is done before others have started."""

EVERY = 50
"""Of many decisions that the edit does not concern, one in so many is held against the record all the same."""

_AHEAD = 4  # batches for each worker that are read and not yet decided: it never waits, and memory stays bounded
_BOOKS = 16  # sets that a worker holds at once, some MB each
_UNREADABLE = "the record cannot be read"

Kept = Callable[[str], Folder | None]
"""The set of a version, `None` when it is not kept."""


@dataclass(frozen=True, slots=True)
class Sets:
    """The two sets that are compared, and the installation that both are about."""

    before: Folder
    after: Folder
    settings: PolicySettings
    estate: Estate
    actions: Mapping[str, Group]


class Replayer:
    """Takes recorded decisions again under two sets. The constructor raises `SettingsInvalid` when one is not good."""

    def __init__(self, sets: Sets) -> None:
        self._sets = sets
        self._bench = _Bench(sets)

    def __call__(
        self,
        batches: Iterable[Sequence[Past]],
        kept: Kept,
        progress: Callable[[int], None] = lambda _: None,
        *,
        workers: int = 0,
        few: int = FEW,
        every: int = EVERY,
    ) -> Replay:
        """What comes of it. `progress` hears of every batch how many it had; `workers`: 0 for one a core.

        `few`, `every`: as `FEW` and `EVERY`. Raises `RemitError` when a worker dies, and what `kept` raises.
        """
        waiting = iter(batches)
        first = _up_to(waiting, few)
        alone = _size(first) <= few
        whole = Found()
        for found in self._alone(first, kept) if alone else self._shared(chain(first, waiting), kept, workers, every):
            whole.add(found)
            progress(found.seen)
        return whole.told()

    def _alone(self, batches: Iterable[Sequence[Past]], kept: Kept) -> Iterator[Found]:
        for batch in batches:
            yield self._bench.decide(batch, self._kept(batch, kept), 1)

    def _shared(self, batches: Iterable[Sequence[Past]], kept: Kept, workers: int, every: int) -> Iterator[Found]:
        """The same by other processes, in order."""
        workers = workers or os.cpu_count() or 1
        pool = self._pool(workers)
        ahead: deque[Future[Found]] = deque()
        try:
            for batch in batches:
                ahead.append(pool.submit(_decide, batch, self._kept(batch, kept), every))
                if len(ahead) > workers * _AHEAD:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        except BrokenProcessPool as error:
            raise RemitError("a process that decides again has died", hint="is there enough memory?") from error
        finally:
            pool.shutdown(cancel_futures=True)

    def _pool(self, workers: int) -> ProcessPoolExecutor:
        if sys.platform == "linux" and threading.active_count() == 1:
            forked = multiprocessing.get_context("fork")
            return ProcessPoolExecutor(workers, mp_context=forked, initializer=_go_on, initargs=(self._bench,))
        fresh = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(workers, mp_context=fresh, initializer=_start, initargs=(self._sets,))

    def _kept(self, batch: Sequence[Past], kept: Kept) -> dict[str, Folder]:
        """The sets that decided a batch, but for the two that every worker has."""
        versions = {past.version for past in batch} - {self._sets.before.version, self._sets.after.version}
        return {version: folder for version in sorted(versions) if (folder := kept(version)) is not None}


def _up_to(batches: Iterator[Sequence[Past]], few: int) -> list[Sequence[Past]]:
    """Batches until there are more decisions than a few."""
    first: list[Sequence[Past]] = []
    while _size(first) <= few and (batch := next(batches, None)) is not None:
        first.append(batch)
    return first


def _size(batches: Iterable[Sequence[Past]]) -> int:
    return sum(map(len, batches))


class _Bench:
    """The sets of one process, ready to decide."""

    def __init__(self, sets: Sets) -> None:
        self._sets = sets
        self._before, self._after = self._book(sets.before), self._book(sets.after)  # what both hold is looked at once
        self._others: dict[str, Book | None] = {}
        self._concern = Concern(differing(sets.before, sets.after), sets.estate, sets.actions)
        self._outside = 0

    def decide(self, batch: Sequence[Past], kept: Mapping[str, Folder], every: int) -> Found:
        """What a batch comes to; of what the edit does not concern, one in `every` is decided all the same."""
        found = Found(seen=len(batch))
        for past in batch:
            try:
                taken = past.taken_on()
            except FactsUnreadable:
                found.left[_UNREADABLE] += 1
                continue
            if self._concern.holds(taken.identity, taken.request, taken.circumstances):
                before, after = self._verdict(self._before, taken), self._verdict(self._after, taken)
                found.compare(past, before, after)
                found.check(past, self._then(past, taken, (before, after), kept))
                continue
            found.pass_over()
            self._outside += 1
            if self._outside % every == 0:
                found.check(past, self._then(past, taken, (), kept))
        return found

    def _then(self, past: Past, taken: Taken, known: tuple[Verdict, ...], kept: Mapping[str, Folder]) -> Verdict | None:
        """The verdict of the set that once decided; `None` when it cannot be asked. `known`: what is asked already."""
        for verdict in known:
            if verdict.policy_version == past.version:
                return verdict
        book = next((one for one in (self._before, self._after) if one.version == past.version), None)
        book = book or self._other(past.version, kept)
        return self._verdict(book, taken) if book else None

    def _verdict(self, book: Book, taken: Taken) -> Verdict:
        sets = self._sets
        return decide_by(book, sets.estate, sets.actions, taken.identity, taken.request, taken.circumstances)

    def _other(self, version: str, kept: Mapping[str, Folder]) -> Book | None:
        if version not in self._others and version in kept:
            if len(self._others) >= _BOOKS:
                self._others.clear()
            self._others[version] = None
            with contextlib.suppress(SettingsInvalid):  # of an installation that was another then
                self._others[version] = self._book(kept[version])
        return self._others.get(version)

    def _book(self, folder: Folder) -> Book:
        return made(folder, self._sets.settings, self._sets.estate, self._sets.actions)


_benches: list[_Bench] = []
"""The one of a worker process."""


def _start(sets: Sets) -> None:
    _go_on(_Bench(sets))


def _go_on(bench: _Bench) -> None:
    logging.getLogger("remit").setLevel(logging.CRITICAL)  # a policy that fails is counted, not told ten thousand times
    _benches[:] = [bench]


def _decide(batch: Sequence[Past], kept: Mapping[str, Folder], every: int) -> Found:
    return _benches[0].decide(batch, kept, every)
