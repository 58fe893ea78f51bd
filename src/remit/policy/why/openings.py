"""What would open a refused request, as far as the structure of its policies tells: proposals for `repairs`.

For every refused question: what makes a permit true that is within reach, with what makes every forbid false that
fires. Where all questions are permitted, what the obligations demand. A condition that cannot be evaluated now, and of
which no change is known, is taken as open: whatever else has to change may well decide it.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from cedarpy import pst

from remit.model.estate import Estate
from remit.model.identity import Kind
from remit.model.operation import Group
from remit.policy.book import Book
from remit.policy.engine import Answer, Hearing
from remit.policy.facts import ACT_AS, Facts, Question, gather
from remit.policy.weigh import Weighed, completable, weigh
from remit.policy.why.changes import Scene, sign_in, step_up, ways
from remit.policy.why.fixes import NOTHING, Situation, Ways, both, either
from remit.policy.why.granted import approved
from remit.policy.why.guardrails import at_most
from remit.policy.why.probes import Probed, Probes, moments
from remit.policy.why.times import turns
from remit.policy.why.trees import scope_parts, subject

_QUESTIONS = 20  # refused questions that are opened together: what is left is seen when it is decided again
_MOMENTS = 3  # times that are tried for one condition: the soonest may fall on what another one forbids


@dataclass(frozen=True, slots=True)
class Court:
    """One policy set with all that it is asked by. `actions`: every action id of the catalogue with its group."""

    book: Book
    probes: Probes
    estate: Estate
    actions: Mapping[str, Group]

    def hear(self, situation: Situation) -> Hearing:
        """A situation before the engine; raises `Refused` and `EvaluationFailed`."""
        facts = gather(situation.identity, situation.request, situation.circumstances, self.estate, self.actions)
        return self.book.ground.hear(facts)

    def weigh(self, hearing: Hearing) -> Weighed:
        """What the judge weighs as well; raises `EvaluationFailed`."""
        return weigh(self.book, hearing)


def openings(court: Court, situation: Situation, hearing: Hearing, weighed: Weighed) -> Ways:
    """The alternatives that may open a refused situation, cheapest first; none when no way is known of.

    Raises `EvaluationFailed`.
    """
    if weighed.allowed:
        return both(_demands(weighed, hearing.facts))
    pairs = zip(hearing.facts.questions, weighed.answers, strict=True)
    refused = [pair for pair in pairs if not pair[1].allowed][:_QUESTIONS]
    return both(_opened(court, situation, hearing, *pair) for pair in refused)


def holds(expr: pst.Expr, probed: Probed) -> bool | None:
    """What a condition comes to, from its parts, as Cedar joins them; `None` when it could not be evaluated."""
    if expr in probed.holding:
        return probed.holding[expr]
    match expr:
        case pst.BinaryOp("and" | "or" as op, left, right):
            first = holds(left, probed)
            return first if first is None or first is (op == "or") else holds(right, probed)
        case pst.UnaryOp("not", inner):
            found = holds(inner, probed)
            return None if found is None else not found
        case pst.IfThenElse(condition, then, otherwise):
            found = holds(condition, probed)
            return None if found is None else holds(then if found else otherwise, probed)
        case pst.BoolLit(value):
            return value
    return None


def matches(tree: pst.Template, probed: Probed) -> bool | None:
    """Whether a whole policy applies; `None` when that could not be evaluated."""
    for part, wanted in _wanted(tree):
        found = holds(part, probed)
        if found is not wanted:
            return None if found is None else False
    return True


def lacking(tree: pst.Template, probed: Probed) -> int:
    """How many of a policy's clauses, and of the parts of its head, are not as they have to be for it to apply."""
    return sum(holds(part, probed) is not wanted for part, wanted in _wanted(tree))


def _wanted(tree: pst.Template) -> Iterator[tuple[pst.Expr, bool]]:
    """What a policy consists of, and what each of it has to be for the policy to apply.

    The action first: nothing changes it, and most policies are about others.
    """
    for part in sorted(scope_parts(tree), key=lambda each: subject(each) != pst.Var("action")):
        yield part, True
    for clause in tree.clauses:
        yield clause.expr, isinstance(clause, pst.When)


def _opened(court: Court, situation: Situation, hearing: Hearing, question: Question, answer: Answer) -> Ways:
    """The ways to have one refused question permitted."""
    probed = court.probes.probe(hearing, question)
    scene = Scene(situation, question, court.estate, completable(hearing.facts), partial(_moments, hearing, question))
    aim = _Aim(scene, probed)
    permits = [court.probes.trees[name] for name in _permits(court, hearing, question)]
    forbids = [court.probes.trees[name] for name in answer.policies]
    return both((either(map(aim.applying, permits)), *map(aim.silent, forbids)))


def _permits(court: Court, hearing: Hearing, question: Question) -> Iterable[str]:
    """The permits that could come to hold: those within reach, and of the right to act as an account all."""
    if question.operation.action.id == ACT_AS:  # another account is another resource, and no other request
        return [name for name, tree in court.probes.trees.items() if tree.effect == "permit"]
    if court.book.reachable is None:
        return ()
    reached = hearing.concerning(court.book.reachable, question)
    return [name for name in court.probes.trees if name in reached]


@dataclass(frozen=True, slots=True)
class _Aim:
    """Ways through the structure of conditions, for one question."""

    scene: Scene
    probed: Probed

    def applying(self, tree: pst.Template) -> Ways:
        return both(self.to(part, wanted=wanted) for part, wanted in _wanted(tree))

    def silent(self, tree: pst.Template) -> Ways:
        return either(self.to(part, wanted=not wanted) for part, wanted in _wanted(tree))

    def to(self, expr: pst.Expr, *, wanted: bool) -> Ways:
        found = holds(expr, self.probed)
        if found is wanted:
            return NOTHING
        match expr:
            case pst.BinaryOp("and" | "or" as op, left, right):
                join = both if wanted is (op == "and") else either
                return join(self.to(side, wanted=wanted) for side in (left, right))
            case pst.UnaryOp("not", inner) if expr not in self.probed.holding:
                return self.to(inner, wanted=not wanted)
            case pst.IfThenElse(condition, then, otherwise):
                cases = ((condition, True, then), (condition, False, otherwise))
                return either(
                    both((self.to(asked, wanted=yes), self.to(branch, wanted=wanted))) for asked, yes, branch in cases
                )
            case pst.BoolLit():
                return ()
        return ways(self.scene, expr, wanted=wanted) or (NOTHING if found is None else ())


def _moments(hearing: Hearing, question: Question, condition: pst.Expr) -> Iterable[int]:
    times = turns(condition, hearing.facts.circumstances.now)
    return moments(condition, hearing, question, times)[:_MOMENTS]


def _demands(weighed: Weighed, facts: Facts) -> Iterator[Ways]:
    """The ways to meet each demand of the obligations that is not met."""
    demands, person = weighed.obligations, facts.identity.principal.kind is Kind.PERSON
    for context in sorted(demands.contexts - facts.identity.authentication.contexts):
        yield step_up(context) if person and completable(facts) else ()
    for unmet in weighed.unmet:
        if unmet.not_before:
            yield sign_in()
    for name, bound in demands.ceilings:
        if any(_exceeds(question, name, bound) for question in facts.questions):
            yield at_most(name, bound)
    if any(demands.approvals > max((g.approvals for g in facts.grants(q)), default=0) for q in facts.questions):
        yield approved(demands.approvals)


def _exceeds(question: Question, name: str, bound: int) -> bool:
    work = question.operation.work
    asked: int = getattr(work, name) if work else 0
    return work is not None and (asked > bound or (name == "duration" and asked == 0))
