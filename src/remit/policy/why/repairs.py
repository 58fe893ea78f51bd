"""What would have permitted: the smallest changes, each decided again by the engine before it is told.

The structure of the policies directs the search (`openings`), best first: from the situation as it was, and from each
one that a proposal leads to and that is still refused, three proposals deep. Every candidate is applied to identity,
request and circumstances and decided afresh, by what the judge decides by; so what is told is true, and what is not
told may still exist. Leaves out who can bring a change about, which the story tells.
"""

import heapq
import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from remit.model.errors import Refused
from remit.model.explanation import Change, Means, Repair
from remit.policy.engine import EvaluationFailed, Hearing
from remit.policy.weigh import Weighed
from remit.policy.why.fixes import Fixes, Situation, applied, cost, includes, joined
from remit.policy.why.granted import told
from remit.policy.why.openings import Court, openings

_DEPTH = 3
_DECIDED = 200  # candidates that are decided
_ASKED = 4000  # questions that the engine is asked in all: a request can touch a thousand resources
_FOUND = 8  # repairs that are told: nobody reads more
_DETOUR = 2  # times the cheapest repair's cost: dearer ones are told to nobody
_SECONDS = 20.0  # what counts is the number of questions; this is for a machine that is too busy


def repairs(court: Court, situation: Situation) -> tuple[Repair, ...]:
    """The repairs of a refused situation, cheapest first; none for one that is permitted, or that none is known of."""
    return tuple(Repair(_changes(situation, fixes)) for fixes in search(court, situation))


def search(court: Court, situation: Situation, clock: Callable[[], float] = time.monotonic) -> tuple[Fixes, ...]:
    """The same as fixes. `clock`: seconds that only grow; what takes too long ends with what was found until then."""
    found = _Search(court, situation)
    ends = clock() + _SECONDS
    for _ in found:
        if clock() > ends:
            break
    return tuple(sorted(found.found, key=cost))


@dataclass
class _Search:
    """The candidates, cheapest first; each step decides one."""

    court: Court
    start: Situation
    found: list[Fixes] = field(default_factory=list)
    _ahead: list[tuple[int, int, int, Fixes]] = field(default_factory=list)
    _seen: set[Fixes] = field(default_factory=set)
    _number: Iterator[int] = field(default_factory=itertools.count)
    _left: int = _ASKED

    def __iter__(self) -> Iterator[None]:
        self._add(frozenset(), 0)
        for _ in range(_DECIDED):
            if not self._ahead or len(self.found) == _FOUND or self._left <= 0:
                return
            price, depth, _, fixes = heapq.heappop(self._ahead)
            if self.found and price > _DETOUR * cost(self.found[0]):
                return
            if not any(includes(fixes, found) for found in self.found):
                self._try(fixes, depth)
            yield

    def _try(self, fixes: Fixes, depth: int) -> None:
        situation = applied(self.start, fixes)
        try:
            hearing, weighed = self._weigh(situation)
            if weighed.clean:
                if fixes:
                    self.found.append(self._least(fixes))
                return
            proposals = openings(self.court, situation, hearing, weighed) if depth < _DEPTH else ()
        except (Refused, EvaluationFailed):  # what cannot be decided permits nothing, and leads nowhere
            return
        for proposal in proposals:
            for more in joined(fixes, proposal):
                self._add(more, depth + 1)

    def _weigh(self, situation: Situation) -> tuple[Hearing, Weighed]:
        hearing = self.court.hear(situation)
        self._left -= len(hearing.facts.questions)
        return hearing, self.court.weigh(hearing)

    def _add(self, fixes: Fixes, depth: int) -> None:
        if fixes not in self._seen:
            self._seen.add(fixes)
            heapq.heappush(self._ahead, (cost(fixes), depth, next(self._number), fixes))

    def _least(self, fixes: Fixes) -> Fixes:
        """The fixes without those that turn out not to be needed, the dearest of them first."""
        for fix in sorted(fixes, key=lambda each: (-each.cost, each.slot)):
            if len(fixes) > 1 and self._permits(fixes - {fix}):
                fixes -= {fix}
        return fixes

    def _permits(self, fixes: Fixes) -> bool:
        try:
            return self._weigh(applied(self.start, fixes))[1].clean
        except (Refused, EvaluationFailed):
            return False


def _changes(situation: Situation, fixes: Fixes) -> tuple[Change, ...]:
    """What people read of fixes: all that concerns the grant is one change."""
    grant = told(applied(situation, fixes))
    ordered = sorted(fixes, key=lambda fix: (fix.cost, fix.slot))
    changes = (grant if fix.change.means is Means.GRANT and grant else fix.change for fix in ordered)
    return tuple(dict.fromkeys(changes))
