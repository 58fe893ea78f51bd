"""What policy tests reach: the policies that decided at least one of them, and the conditions that went both ways.

A condition counts only where its policy's head matched: what it would have said of another request tells nothing. One
that could not be evaluated (it looks at what is not there) was neither true nor false.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from remit.model.errors import Refused
from remit.policy.engine import EvaluationFailed, Hearing
from remit.policy.facts import Question
from remit.policy.trials.cases import Case
from remit.policy.use.firing import Firings
from remit.policy.why.probes import Probes
from remit.policy.why.trees import scope_parts


@dataclass(frozen=True, slots=True)
class Seen:
    """One condition. `true`, `false`: whether any test saw it so."""

    text: str
    true: bool
    false: bool


@dataclass(frozen=True, slots=True)
class Covered:
    """One policy or obligation. `decided`: whether any test's outcome rests on it."""

    id: str
    decided: bool
    conditions: tuple[Seen, ...]


@dataclass(frozen=True, slots=True)
class Coverage:
    """What a set of tests reaches, in the order of the files."""

    rules: tuple[Covered, ...]

    @property
    def policies(self) -> float:
        """Policies and obligations that decided, in percent."""
        return _percent([rule.decided for rule in self.rules])

    @property
    def conditions(self) -> float:
        """Sides of conditions that were seen, two to each, in percent."""
        return _percent([side for rule in self.rules for one in rule.conditions for side in (one.true, one.false)])


@dataclass(slots=True)
class _Tally:
    decided: bool = False
    sides: set[tuple[str, bool]] = field(default_factory=set)


def measure(firings: Firings, cases: Iterable[Case]) -> Coverage:
    """Runs every test past every condition; a test that is refused before any policy is asked reaches none."""
    book = firings.book
    policies = _Counted(Probes(book.engine_set.whole), firings.policies)
    obligations = _Counted(Probes(book.obligations.whole), firings.obligations) if book.obligations else None
    for case in cases:
        try:
            hearing = firings.hear(case.identity, case.request, case.circumstances)
            for each in firings.fired(hearing):
                policies.count(hearing, each.question, each.decided)
                if obligations and each.permitted:
                    obligations.count(hearing, each.question, each.obliged)
        except (Refused, EvaluationFailed):
            continue
    return Coverage((*policies.covered(), *(obligations.covered() if obligations else ())))


class _Counted:
    """One set of rules, and what was seen of it."""

    def __init__(self, probes: Probes, names: Mapping[str, str]) -> None:
        self._probes = probes
        self._names = names
        self._heads = {name: scope_parts(probes.trees[name]) for name in names}
        self._tallies = {name: _Tally() for name in names}

    def count(self, hearing: Hearing, question: Question, decided: frozenset[str]) -> None:
        probed = self._probes.probe(hearing, question)
        for name, tally in self._tallies.items():
            tally.decided |= name in decided
            parts = self._probes.parts[name]
            heads = self._heads[name]
            if all(probed.holds(expr) for expr in heads):
                held = ((part.text, probed.holds(part.expr)) for part in parts if part.expr not in heads)
                tally.sides |= {(text, holds) for text, holds in held if holds is not None}

    def covered(self) -> Iterable[Covered]:
        for name, tally in self._tallies.items():
            texts = [part.text for part in self._probes.parts[name] if part.expr not in self._heads[name]]
            seen = tuple(Seen(text, (text, True) in tally.sides, (text, False) in tally.sides) for text in texts)
            yield Covered(self._names[name], tally.decided, seen)


def _percent(found: list[bool]) -> float:
    return 100 * sum(found) / len(found) if found else 100.0
