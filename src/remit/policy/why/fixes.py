"""A fix: one thing made otherwise, as a change that people can read and as an edit of what is decided on.

Fixes are put on top of each other, in an order that does not depend on how they were found. Leaves out which fixes a
policy calls for (`changes`) and which of them help (`repairs`: the engine says).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import product

from remit.model.decision import Circumstances
from remit.model.explanation import Change, Means
from remit.model.identity import Identity
from remit.model.operation import Request

_TOLD = 6  # values that are told of a longer list
_MOST = 16  # alternatives that are followed: beyond the cheapest of them nobody reads
_COSTS = {
    Means.STEP_UP: 10,
    Means.SIGN_IN: 10,
    Means.TIME: 20,
    Means.WORK: 20,
    Means.RUN: 20,
    Means.GRANT: 30,
    Means.PLACE: 40,
    Means.DEVICE: 40,
    Means.RISK: 50,
    Means.GROUP: 60,
    Means.ROLE: 60,
    Means.OTHER: 80,
}
"""How much has to happen: alone and at once, by waiting, by asking somebody, by becoming somebody else."""


@dataclass(frozen=True, slots=True)
class Situation:
    """All that a decision is taken on."""

    identity: Identity
    request: Request
    circumstances: Circumstances


Edit = Callable[[Situation], Situation]


@dataclass(frozen=True, slots=True)
class Fix:
    """One change and the edit that stands for it.

    `slot`: what it sets; of two fixes of one slot only one can be. `weak`: it gives way to any other fix of its slot.
    `late`: how many better ones there are of a series in which any would do, `None` for what is in no series.
    """

    change: Change
    slot: str
    edit: Edit = field(compare=False, repr=False)
    weak: bool = False
    late: int | None = None

    @property
    def kind(self) -> tuple[str, str]:
        """What it is, for telling alternatives apart: one of a series is like any other."""
        return self.slot, "" if self.late is not None else self.change.value

    @property
    def cost(self) -> int:
        """How much it asks of people; the sum is what repairs are put in order by."""
        return _COSTS[self.change.means] + (self.late or 0)


Fixes = frozenset[Fix]
Ways = tuple[Fixes, ...]
"""Alternatives, cheapest first: none when there is no way, an empty one when nothing has to be fixed."""

NOTHING: Ways = (frozenset(),)


def cost(fixes: Fixes) -> int:
    """Of all fixes together."""
    return sum(fix.cost for fix in fixes)


def either(ways: Iterable[Ways]) -> Ways:
    """All alternatives, at most so many."""
    every = dict.fromkeys(way for each in ways for way in each)
    return tuple(sorted(every, key=_order)[:_MOST])


def both(ways: Iterable[Ways]) -> Ways:
    """One alternative of each, in every combination, at most so many."""
    found = NOTHING
    for each in ways:
        if not each:
            return ()
        found = either(joined(first, second) for first, second in product(found, each))
    return found


def includes(fixes: Fixes, less: Fixes) -> bool:
    """Whether fixes hold all that others do, in kind."""
    return {fix.kind for fix in less} <= {fix.kind for fix in fixes}


def joined(first: Fixes, second: Fixes) -> Ways:
    """Both sets of fixes together; where they set the same thing to different values, each of them in turn wins."""
    mine, other = {fix.slot: fix for fix in first}, {fix.slot: fix for fix in second}
    for slot in mine.keys() & other.keys():
        if mine[slot].weak and not other[slot].weak:
            mine[slot] = other[slot]
        elif other[slot].weak:
            other[slot] = mine[slot]
    return tuple(dict.fromkeys((frozenset({**mine, **other}.values()), frozenset({**other, **mine}.values()))))


def applied(situation: Situation, fixes: Fixes) -> Situation:
    """The situation with all fixes in place; time passes first, since grants and sign-ins are held against it."""
    for fix in sorted(fixes, key=lambda fix: (fix.slot != "now", not fix.weak, fix.slot)):
        situation = fix.edit(situation)
    return situation


def one(
    means: Means,
    what: str,
    slot: str,
    edit: Edit,
    *,
    value: str = "",
    command: str = "",
    weak: bool = False,
    late: int = 0,
) -> Ways:
    """The one way that consists of one fix."""
    return (frozenset({Fix(Change(means, what, value, command), slot, edit, weak, late)}),)


def listed(values: tuple[str, ...], word: str) -> str:
    """`a`, `b` or `c`, the first few of them."""
    told = [f"`{value}`" for value in values[:_TOLD]]
    if len(values) > _TOLD:
        told.append(f"{len(values) - _TOLD} more")
    return f" {word} ".join([", ".join(told[:-1]), told[-1]]) if len(told) > 1 else "".join(told)


def _order(fixes: Fixes) -> tuple[int, int, list[str]]:
    return cost(fixes), len(fixes), sorted(f"{fix.slot} {fix.change.value}" for fix in fixes)
