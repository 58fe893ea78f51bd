"""Which rules match a question, and which decide it: an answer names only the latter.

Every policy is asked as if it were a permit, in one set, so that the engine names all that match; where a `forbid`
matches, the forbids decide, else the permits do. Obligations are looked at where everything is permitted, as the judge
does. Leaves out step-ups and approvals: they follow from what matched. Nothing is ever permitted by what is found here.
Source: https://docs.cedarpolicy.com/auth/authorization.html
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from cedarpy import PolicySet, pst

from remit.model.decision import Circumstances
from remit.model.estate import Estate
from remit.model.identity import Identity
from remit.model.operation import Group, Request
from remit.policy.book import Book
from remit.policy.engine import Hearing
from remit.policy.facts import Question, gather
from remit.policy.slices import Slices


@dataclass(frozen=True, slots=True)
class Fired:
    """One question. `matched`, `decided`: engine ids of policies, `obliged` of obligations.

    `permitted`: whether policies permit the whole request that it is part of.
    """

    question: Question
    matched: frozenset[str]
    decided: frozenset[str]
    obliged: frozenset[str]
    permitted: bool


class Firings:
    """The rules of a book, asked what they match."""

    def __init__(self, book: Book, estate: Estate, actions: Mapping[str, Group]) -> None:
        self.book = book
        self._estate = estate
        self._actions = actions
        trees = book.engine_set.whole.to_pst().static_policies
        self._forbids = frozenset(name for name, tree in trees.items() if tree.effect == "forbid")
        permits = pst.FrozenMap({name: replace(tree, effect="permit") for name, tree in trees.items()})
        self._all = Slices(PolicySet.from_pst(pst.PolicySet(pst.FrozenMap(), permits, ())))

    def hear(self, identity: Identity, request: Request, circumstances: Circumstances) -> Hearing:
        """A request before the engine; raises `Refused` and `EvaluationFailed`, and then no rule was asked."""
        return self.book.ground.hear(gather(identity, request, circumstances, self._estate, self._actions))

    @property
    def policies(self) -> Mapping[str, str]:
        """The ids of the policies by the engine's own, in the order of the files."""
        return {name: policy.id for name, policy in self.book.policies.items()}

    @property
    def obligations(self) -> Mapping[str, str]:
        """The ids of the obligations, likewise."""
        return {name: demand.rules[0] for name, demand in self.book.obliging.items()}

    def fired(self, hearing: Hearing) -> tuple[Fired, ...]:
        """What matched each question, in order; raises `EvaluationFailed`."""
        questions = hearing.facts.questions
        matched = [answer.policies for answer in hearing.ask(self._all, questions)]
        decided = [found & self._forbids or found for found in matched]
        permitted = all(found and not found & self._forbids for found in matched)
        obliged = [frozenset[str]() for _ in questions]
        if permitted and self.book.obligations is not None:
            obliged = [answer.policies for answer in hearing.ask(self.book.obligations, questions)]
        return tuple(Fired(*each, permitted) for each in zip(questions, matched, decided, obliged, strict=True))
