"""Probes: what each part of each policy evaluates to for one question, told by the engine itself.

Every condition of a policy, and what its head demands of principal, action and resource, becomes a `permit` of its
own with an id of its own, and so does its negation: what is neither true nor false could not be evaluated. Equal parts
of several policies are asked once. Leaves out what follows from it: probes explain, and never decide.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cedarpy import Decision, PolicySet, is_authorized_batch, pst

from remit.model.explanation import Condition
from remit.policy.engine import EvaluationFailed, Hearing
from remit.policy.facts import Question
from remit.policy.why.trees import as_cedar, leaves, named, path, quoted, scope_parts

_LONGEST = 200  # characters of a value that are told: a request can name a thousand buckets
_NOT = "!"


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a policy. `text`: as Cedar writes it, in `unless { … }` where it stands in one."""

    text: str
    expr: pst.Expr


@dataclass(frozen=True, slots=True)
class Probed:
    """What the parts of all policies evaluate to for one question."""

    holding: Mapping[pst.Expr, bool | None]

    def holds(self, expr: pst.Expr) -> bool | None:
        """Whether a part holds, `None` when it could not be evaluated."""
        return self.holding[expr]


class Probes:
    """The probes of one policy set, made once.

    `trees`, `parts`: of each policy, by the engine's own id. Raises `ValueError` for conditions that are nested too
    deep to be taken apart.
    """

    __slots__ = ("_ids", "_set", "parts", "trees")

    def __init__(self, policies: PolicySet) -> None:
        self.trees: Mapping[str, pst.Template] = policies.to_pst().static_policies
        self.parts = {name: tuple(_parts(tree)) for name, tree in self.trees.items()}
        every = dict.fromkeys(part.expr for parts in self.parts.values() for part in parts)
        self._ids = {expr: str(number) for number, expr in enumerate(every)}
        asked = [_permit(name, expr) for expr, name in self._ids.items()]
        asked += [_permit(name + _NOT, pst.UnaryOp("not", expr)) for expr, name in self._ids.items()]
        self._set = _set(asked)

    def probe(self, hearing: Hearing, question: Question) -> Probed:
        """What every part evaluates to; raises `EvaluationFailed` when the question itself cannot be asked."""
        (true,) = _true(self._set, hearing, question, [hearing.facts.context(question)])
        return Probed(
            {expr: True if name in true else False if name + _NOT in true else None for expr, name in self._ids.items()}
        )

    def tell(self, hearing: Hearing, question: Question) -> Mapping[str, tuple[Condition, ...]]:
        """Each policy's parts and what they saw, by the engine's id of the policy; raises `EvaluationFailed`."""
        return self.words(self.probe(hearing, question), hearing, question, self.parts)

    def words(
        self, probed: Probed, hearing: Hearing, question: Question, policies: Iterable[str]
    ) -> Mapping[str, tuple[Condition, ...]]:
        """What `tell` tells, of some policies and of parts that have been probed already."""
        sight = _Sight(hearing, question)
        return {
            name: tuple(
                Condition(each.text, probed.holds(each.expr), sight.saw(each.expr)) for each in self.parts[name]
            )
            for name in policies
        }


def _parts(tree: pst.Template) -> Iterable[Part]:
    """Each part once: the head first, then the conditions as they stand in the file."""
    found = {as_cedar(expr): Part(as_cedar(expr), expr) for expr in scope_parts(tree)}
    for clause in tree.clauses:
        for expr in leaves(clause.expr):
            text = as_cedar(expr)
            if isinstance(clause, pst.Unless):
                text = f"unless {{ {text} }}"
            found.setdefault(text, Part(text, expr))
    return found.values()


def _permit(name: str, expr: pst.Expr) -> pst.Template:
    anything = pst.ScopeAny()
    return pst.Template(name, "permit", anything, anything, anything, (pst.When(expr),), pst.FrozenMap())


def moments(condition: pst.Expr, hearing: Hearing, question: Question, times: Sequence[int]) -> tuple[int, ...]:
    """Those of some times (seconds since the epoch) at which a condition would hold; raises `EvaluationFailed`."""
    facts = hearing.facts
    contexts = [
        replace(facts, circumstances=replace(facts.circumstances, now=time)).context(question) for time in times
    ]
    answers = _true(_set([_permit("", condition)]), hearing, question, contexts)
    return tuple(time for time, true in zip(times, answers, strict=True) if true)


def _set(probes: Iterable[pst.Template]) -> PolicySet:
    return PolicySet.from_pst(pst.PolicySet(pst.FrozenMap(), pst.FrozenMap({each.id: each for each in probes}), ()))


def _true(
    probes: PolicySet, hearing: Hearing, question: Question, contexts: Sequence[str]
) -> tuple[frozenset[str], ...]:
    """The ids of the probes that hold, in each of these contexts of one question.

    The one question to the engine beside `Ground.ask`, which takes any error for a refusal: here an error is expected
    (an attribute that is not there) and tells that a part could not be evaluated. That is safe only because nothing is
    ever decided by it: what comes back are ids of probes, and no caller sees whether the engine allowed.
    """
    operation = question.operation
    asked = {
        "principal": hearing.facts.principal,
        "action": hearing.ground.action(operation.action.id, operation.action.group),
        "resource": question.target,
    }
    requests: list[dict[str, object]] = [{**asked, "context": context} for context in contexts]
    try:
        results = is_authorized_batch(requests, probes, hearing.entities, hearing.ground.schema)
    except Exception as error:  # whatever a native engine raises, there is nothing to tell
        raise EvaluationFailed(str(error)) from error
    if len(results) != len(requests) or any(each.decision not in {Decision.Allow, Decision.Deny} for each in results):
        raise EvaluationFailed("the engine took no decision")
    return tuple(frozenset(result.diagnostics.reasons) for result in results)


class _Sight:
    """The values that the conditions of one question look at, in words."""

    def __init__(self, hearing: Hearing, question: Question) -> None:
        self._context = json.loads(hearing.facts.context(question))
        action, target, principal = question.operation.action, question.target, hearing.facts.principal
        within = f", within Job::{quoted(hearing.facts.job)}" if hearing.facts.job else ""
        self._variables = {
            "principal": f"{principal['type']}::{quoted(principal['id'])}{within}",
            "action": f"{quoted(action.id)}, of the group {quoted(action.group)}",
            "resource": f"{target['type']}::{quoted(target['id'])}",
        }
        self._tags = dict(hearing.facts.identity.attributes)

    def saw(self, expr: pst.Expr) -> str:
        return "; ".join(f"{as_cedar(each)} {self._value(each)}" for each in named(expr))

    def _value(self, expr: pst.Expr) -> str:
        match expr:
            case pst.Var(name) if name in self._variables:
                return f"is {self._variables[name]}"
            case pst.BinaryOp("get_tag", pst.Var("principal"), pst.StringLit(tag)):
                return f"is {quoted(self._tags[tag])}" if tag in self._tags else "is not there"
        steps = path(expr)
        if steps is None:
            return "is computed"
        found: Any = self._context
        for step in steps[1:]:
            if not isinstance(found, dict) or step not in found:
                return "is not there"
            found = found[step]
        return f"is {_shortened(_words(found))}"


def _words(value: object) -> str:
    match value:
        case {"__entity": {"type": kind, "id": name}}:
            return f"{kind}::{quoted(name)}"
        case list():
            return f"[{', '.join(map(_words, value))}]"
        case str():
            return quoted(value)
    return json.dumps(value, ensure_ascii=False)


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
