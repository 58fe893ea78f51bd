"""Policies and obligations asked at once: what a question costs the engine is telling it, not trying rules on it.

Both sets are one to the engine, the rules of obligations by ids that no policy has. A `forbid` that fires decides as it
would alone. Of a permit the engine names every one that matched, and obligations are permits: so what it names tells
which rules apply, and a permit that only rules are named for is none. An obligation that fails to evaluate says nothing
about the policies, which are then asked by themselves. Held by a property test (`test_policy_ground`).
"""

from dataclasses import replace

from cedarpy import PolicySet, pst

from remit.model.grant import Grant
from remit.policy.engine import Answer, EvaluationFailed, Hearing
from remit.policy.slices import Slices

_RULE = "obligation "  # before the id of a rule in its own set


class Together:
    """Both sets. Safe to share between threads."""

    def __init__(self, policies: Slices, obligations: Slices | None) -> None:
        """Raises `ValueError` for an obligation that is no permit, and for sets that the engine cannot take apart."""
        self._policies = policies
        self._both = _both(policies.whole, obligations.whole) if obligations else policies

    def looked_at(self, hearing: Hearing, name: str) -> bool:
        """Whether any policy or obligation that is about the request looks at this part of the context."""
        return hearing.looked_at(self._both, name)

    def ask(
        self, hearing: Hearing, completed: frozenset[str] = frozenset(), granted: Grant | None = None
    ) -> tuple[tuple[Answer, ...], frozenset[str]]:
        """What the policies say of each question, and the obligations that apply when they permit all of them.

        The latter by the ids of their own set. `completed`, `granted`: as for `Hearing.ask`. Raises `EvaluationFailed`
        for policies that give no answer to rely on, and for obligations likewise when all is permitted.
        """
        questions = hearing.facts.questions
        try:
            found = hearing.ask(self._both, questions, completed, granted)
        except EvaluationFailed:
            alone = hearing.ask(self._policies, questions, completed, granted)
            if all(answer.allowed for answer in alone):
                raise
            return alone, frozenset()
        answers = tuple(map(_of_policies, found))
        if not all(answer.allowed for answer in answers):
            return answers, frozenset()
        named = frozenset[str]().union(*(answer.policies for answer in found))
        return answers, frozenset(each.removeprefix(_RULE) for each in named if each.startswith(_RULE))


def _of_policies(answer: Answer) -> Answer:
    policies = frozenset(each for each in answer.policies if not each.startswith(_RULE))
    return Answer(answer.allowed and bool(policies), policies)


def _both(policies: PolicySet, obligations: PolicySet) -> Slices:
    trees = dict(policies.to_pst().static_policies)
    for name, tree in obligations.to_pst().static_policies.items():
        if tree.effect != "permit":
            raise ValueError(f"`{name}` among the obligations is no permit")
        trees[_RULE + name] = replace(tree, id=_RULE + name)
    return Slices(PolicySet.from_pst(pst.PolicySet(pst.FrozenMap(), pst.FrozenMap(trees), ())))
