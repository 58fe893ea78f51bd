"""The fail-closed wrapper: the only module that asks Cedar for a decision.

Cedar answers the question that it is given, and there are ways to ask it that silently permit. Each is closed here
or in `facts`, and has a test that shows the bare engine permitting:

1. a `forbid` that fails to evaluate is skipped: any error makes the whole evaluation fail;
2. without a schema a misspelt context is accepted: the schema is always passed;
3. entities built without the schema lack the action groups, so that a `forbid` on a group vanishes: `Ground` builds
   them with it, and `canary` proves it at every load;
4. `NoDecision` is a third outcome: what is neither `Allow` nor `Deny` makes the evaluation fail;
5. an entity that nobody knows is accepted: `facts` refuses it first.

Source: cedarpy 4.12.2 (https://github.com/k9securityio/cedar-py), each of the five reproduced with it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from cedarpy import AuthzResult, Decision, Entities, PolicySet, Schema, is_authorized_batch

from remit.model.grant import Grant
from remit.model.operation import Group
from remit.policy.facts import Facts, Question, Uid, uid
from remit.policy.schema import schema_text, stand_in
from remit.policy.slices import Name, Parents, Slices, line, parents


class EvaluationFailed(Exception):
    """The engine gave no answer that can be relied on. Never a permit."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the engine says of one question. `policies`: the engine's ids of the policies that decided."""

    allowed: bool
    policies: frozenset[str]


class Ground:
    """A schema and the entities built with it, which cannot be had apart (trap 3)."""

    __slots__ = ("_above", "_entities", "_groups", "schema")

    def __init__(self, actions: Mapping[str, Group], named: frozenset[str], base: str) -> None:
        """Raises `ValueError` when the schema or the `base` entities (Cedar JSON) do not hold together.

        `named`: the action ids that policies name; among `actions` these are told apart from their group.
        """
        self.schema = Schema.from_str(schema_text(actions, named))
        self._groups = {name: actions[name] for name in named if name in actions}
        self._entities = Entities.from_json_str(base, self.schema)
        self._above = parents(str(self._entities))

    @property
    def declared(self) -> Mapping[str, Group]:
        """Every action that the engine knows, stand-ins included, with its group."""
        return {**self._groups, **{stand_in(group): group for group in Group}}

    def hear(self, facts: Facts) -> "Hearing":
        """One request on this ground; raises `EvaluationFailed` when its entities do not fit."""
        entities = self.admit(facts.entities)
        above = {**self._above, **parents(facts.entities)}
        return Hearing(self, facts, entities, above, line(facts.principal, above))

    def admit(self, delta: str) -> Entities:
        """The base entities and those of `delta` (Cedar JSON); the action groups of the base stay."""
        try:
            return self._entities.with_added_json_str(delta)
        except ValueError as error:
            raise EvaluationFailed(str(error)) from error

    def ask(self, policies: PolicySet, requests: list[dict[str, object]], entities: Entities) -> tuple[Answer, ...]:
        """The answers to Cedar requests, in order; raises `EvaluationFailed` for anything doubtful."""
        try:
            results = is_authorized_batch(requests, policies, entities, self.schema)
        except Exception as error:  # whatever a native engine raises, the answer is the same: no
            raise EvaluationFailed(str(error)) from error
        if len(results) != len(requests):
            raise EvaluationFailed(f"{len(requests)} questions got {len(results)} answers")
        return tuple(_answer(result) for result in results)

    def action(self, action: str, group: Group) -> Uid:
        """The id that the engine knows an action by: its own, or that of its group's stand-in."""
        return uid("Action", action if action in self._groups else stand_in(group))


@dataclass(frozen=True, slots=True)
class Hearing:
    """One request before the engine, with its entities in place: it can be asked more than once.

    `above`: what the entities are in, and `caller`: the principal with all that it is in; `told`: what the engine was
    told of each question, which policies and obligations both ask.
    """

    ground: Ground
    facts: Facts
    entities: Entities
    above: Parents
    caller: tuple[Name, ...]
    told: dict[tuple[int, frozenset[str], Grant | None], tuple[Question, dict[str, object]]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def ask(
        self,
        policies: PolicySet | Slices,
        questions: tuple[Question, ...],
        completed: frozenset[str] = frozenset(),
        granted: Grant | None = None,
    ) -> tuple[Answer, ...]:
        """One answer for each question, in order; raises `EvaluationFailed` for anything doubtful.

        `completed`: authentication contexts that are taken as satisfied besides the caller's own; `granted`: a grant
        that is taken as in force, likewise.
        """
        if isinstance(policies, PolicySet):
            requests = [self._request(question, completed, granted) for question in questions]
            return self.ground.ask(policies, requests, self.entities)
        return tuple(self._ask_part(policies, question, completed, granted) for question in questions)

    def _ask_part(self, slices: Slices, question: Question, completed: frozenset[str], granted: Grant | None) -> Answer:
        part = self._part(slices, question)
        if not len(part):  # what no policy is about nothing permits, and no obligation demands anything of
            return Answer(allowed=False, policies=frozenset())
        (answer,) = self.ground.ask(part, [self._request(question, completed, granted)], self.entities)
        return answer

    def _request(self, question: Question, completed: frozenset[str], granted: Grant | None) -> dict[str, object]:
        key = id(question), completed, granted  # a question is kept beside, so that its place is nobody else's
        if key not in self.told:
            self.told[key] = (
                question,
                {
                    "principal": self.facts.principal,
                    "action": self.ground.action(question.operation.action.id, question.operation.action.group),
                    "resource": question.target,
                    "context": self.facts.context(question, completed, granted),
                },
            )
        return self.told[key][1]

    def _part(self, slices: Slices, question: Question) -> PolicySet:
        action = self.ground.action(question.operation.action.id, question.operation.action.group)
        try:
            return slices.part(self.caller, line(action, self.above), line(question.target, self.above))
        except Exception as error:  # of a native engine that cannot make the part: nothing is decided without it
            raise EvaluationFailed(str(error)) from error


def _answer(result: AuthzResult) -> Answer:
    if result.diagnostics.errors:
        raise EvaluationFailed("; ".join(result.diagnostics.errors))
    if result.decision not in {Decision.Allow, Decision.Deny}:
        raise EvaluationFailed("the engine took no decision")
    policies = frozenset(result.diagnostics.reasons)
    if result.allowed and not policies:
        raise EvaluationFailed("the engine permitted and named no policy")
    return Answer(result.allowed, policies)
