"""Running policy tests: each is decided as a request would be, by the judge itself, and compared with its word.

Leaves out how tests are read (`cases`) and what they reach (`coverage`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from remit.model.decision import Verdict
from remit.model.estate import Estate
from remit.model.operation import Group
from remit.policy.book import Book
from remit.policy.judge import decide_by
from remit.policy.trials.cases import Case, said


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one test."""

    case: Case
    verdict: Verdict

    @property
    def got(self) -> str:
        """The outcome, in the words of a test."""
        return said(self.verdict.outcome, self.verdict.challenge)

    @property
    def decided(self) -> tuple[str, ...]:
        """Ids of the policies and obligations that decided, and the reasons."""
        policies = (policy.id for policy in self.verdict.policies)
        return (*policies, *self.verdict.obligations.rules, *map(str, self.verdict.reasons))

    @property
    def missing(self) -> tuple[str, ...]:
        """What the test names as a cause and was none."""
        return tuple(one for one in self.case.because if one not in self.decided)

    @property
    def passed(self) -> bool:
        """Whether it came out as expected, for the causes that were expected."""
        challenge = self.case.challenge
        same = self.verdict.outcome is self.case.outcome and challenge in {"", self.verdict.challenge}
        return same and not self.missing


def run(book: Book, estate: Estate, actions: Mapping[str, Group], cases: Iterable[Case]) -> tuple[Result, ...]:
    """Every test's result, in order."""
    return tuple(
        Result(each, decide_by(book, estate, actions, each.identity, each.request, each.circumstances))
        for each in cases
    )
