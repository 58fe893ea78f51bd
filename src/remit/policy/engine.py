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

import json
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from cedarpy import AuthzResult, Decision, Entities, PolicySet, Schema, is_authorized_batch, pst

from remit.model.grant import Grant
from remit.model.operation import Group
from remit.policy.facts import Facts, Question, Uid, uid
from remit.policy.schema import schema_text, stand_in
from remit.policy.slices import Name, Parents, Slices, line, name_of, names, parents

_BASES = 500  # cut-down bases that are kept, some 20 KB each


class EvaluationFailed(Exception):
    """The engine gave no answer that can be relied on. Never a permit."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the engine says of one question. `policies`: the engine's ids of the policies that decided."""

    allowed: bool
    policies: frozenset[str]


class Ground:
    """A schema and the entities built with it, which cannot be had apart (trap 3).

    The engine copies all entities that it is given for every request, so it is given what can matter to this one: of
    the base what the request's own entities lie in and what conditions name, and of the caller's groups, roles and job
    those that policies name, for no policy can come upon another one (held by a property test, `test_policy_ground`).
    """

    __slots__ = ("_above", "_actions", "_base", "_bases", "_groups", "_memberships", "_pinned", "schema")

    def __init__(self, actions: Mapping[str, Group], policies: Iterable[pst.Template], base: str) -> None:
        """Raises `ValueError` when the schema or the `base` entities (Cedar JSON) do not hold together.

        `policies`: all that are asked on this ground; those of `actions` that they name are told apart from their
        group.
        """
        policies = tuple(policies)
        named = names(policies)
        self._groups = {name: actions[name] for kind, name in named if kind == "Action" and name in actions}
        self._memberships = tuple(
            frozenset(name for kind, name in named if kind == wanted) for wanted in ("Group", "Role", "Job")
        )
        self.schema = Schema.from_str(schema_text(actions, self._groups))
        self._base = {name_of(each["uid"]): each for each in json.loads(base)}
        self._pinned = names(policies, scopes=False) & self._base.keys()
        self._above = _above(Entities.from_json_str(base, self.schema))
        self._actions: dict[str, tuple[Name, ...]] = {}
        self._bases: dict[frozenset[Name], tuple[Entities, Parents]] = {}

    @property
    def declared(self) -> Mapping[str, Group]:
        """Every action that the engine knows, stand-ins included, with its group."""
        return {**self._groups, **{stand_in(group): group for group in Group}}

    def hear(self, facts: Facts) -> "Hearing":
        """One request on this ground; raises `EvaluationFailed` when its entities do not fit."""
        told = facts.entities(*self._memberships)
        inside = parents(told)
        touched = {name_of(question.target) for question in facts.questions}.union(*inside.values())
        places = frozenset(name for name in touched if name in self._base)
        above = {**self._place(places)[1], **inside}
        return Hearing(self, facts, self.admit(json.dumps(told), places), above, line(facts.principal, above))

    def admit(self, delta: str, places: frozenset[Name] = frozenset()) -> Entities:
        """The base entities that `places` are and lie in, and those of `delta` (Cedar JSON).

        All actions with their groups are always among them, and what conditions name.
        """
        try:
            return self._place(places)[0].with_added_json_str(delta)
        except ValueError as error:
            raise EvaluationFailed(str(error)) from error

    def _place(self, places: frozenset[Name]) -> tuple[Entities, Parents]:
        """The part of the base that some of its entities are and lie in, with what is in what; made once."""
        found = self._bases.get(places)
        if found is None:
            found = self._cut(
                {name for place in places | self._pinned for name in line(self._base[place]["uid"], self._above)}
            )
            if len(self._bases) >= _BASES:
                self._bases.clear()
            self._bases[places] = found
        return found

    def _cut(self, kept: AbstractSet[Name]) -> tuple[Entities, Parents]:
        try:
            made = Entities.from_json_str(json.dumps([self._base[name] for name in sorted(kept)]), self.schema)
        except ValueError as error:
            raise EvaluationFailed(str(error)) from error
        above = _above(made)
        if above != {name: up for name, up in self._above.items() if name in kept or name[0] == "Action"}:
            raise EvaluationFailed("a part of the entities does not hang together as the whole does")
        return made, above

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

    def line_of(self, action: str, group: Group) -> tuple[Name, ...]:
        """An action as the engine knows it, with the groups that it is in, which are the same in every hearing."""
        known = action if action in self._groups else str(group)
        if known not in self._actions:
            self._actions[known] = line(self.action(action, group), self._above)
        return self._actions[known]


@dataclass(frozen=True, slots=True)
class Hearing:
    """One request before the engine, with its entities in place: it can be asked more than once.

    `above`: what the entities are in, and `caller`: the principal with all that it is in; `told`: what the engine was
    told of each question, and `answers`: what it said; `lines`: of each question's action and resource, and
    `concerned`: the policies whose scope matches.
    """

    ground: Ground
    facts: Facts
    entities: Entities
    above: Parents
    caller: tuple[Name, ...]
    told: dict[tuple[int, frozenset[str], Grant | None], tuple[Question, dict[str, object]]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    answers: dict[tuple[Slices, int, frozenset[str], Grant | None], Answer] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    lines: dict[int, tuple[Question, tuple[Name, ...], tuple[Name, ...]]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    concerned: dict[tuple[Slices, int], int] = field(default_factory=dict, init=False, repr=False, compare=False)

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
        wanted = self._matching(slices, question)
        if not wanted:  # what no policy is about nothing permits, and no obligation demands anything of
            return Answer(allowed=False, policies=frozenset())
        # of a supposition that no policy looks at the answer is known already
        completed = completed if slices.look_at(wanted, "authentication") else frozenset()
        granted = granted if slices.look_at(wanted, "grant") else None
        key = slices, id(question), completed, granted
        if key not in self.answers:
            try:
                part = slices.taken(wanted)
            except Exception as error:  # of a native engine that cannot make the part: nothing is decided without it
                raise EvaluationFailed(str(error)) from error
            request = self._request(question, completed, granted)
            (self.answers[key],) = self.ground.ask(part, [request], self.entities)
        return self.answers[key]

    def looked_at(self, slices: Slices, name: str) -> bool:
        """Whether any policy whose scope matches looks at this part of the context."""
        return any(slices.look_at(self._matching(slices, question), name) for question in self.facts.questions)

    def concerning(self, slices: Slices, question: Question) -> frozenset[str]:
        """The ids of the policies whose scope matches a question, which need not be asked of the engine."""
        return slices.ids(self._matching(slices, question))

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

    def _matching(self, slices: Slices, question: Question) -> int:
        key = slices, id(question)  # as for `told`
        if key not in self.concerned:
            if id(question) not in self.lines:
                action = self.ground.line_of(question.operation.action.id, question.operation.action.group)
                self.lines[id(question)] = question, action, line(question.target, self.above)
            self.concerned[key] = slices.matching(self.caller, *self.lines[id(question)][1:])
        return self.concerned[key]


def _above(entities: Entities) -> Parents:
    found = parents(json.loads(str(entities)))
    return {name: tuple(sorted(up)) for name, up in found.items()}


def _answer(result: AuthzResult) -> Answer:
    if result.diagnostics.errors:
        raise EvaluationFailed("; ".join(result.diagnostics.errors))
    if result.decision not in {Decision.Allow, Decision.Deny}:
        raise EvaluationFailed("the engine took no decision")
    policies = frozenset(result.diagnostics.reasons)
    if result.allowed and not policies:
        raise EvaluationFailed("the engine permitted and named no policy")
    return Answer(result.allowed, policies)
