"""Which requests an edit of policies can concern at all: what lies outside decides alike before and after it.

Only the scope of what differs is looked at: its action, its resource and its kind of principal, never its conditions.
Groups and roles in it are left out of account too, since a permit that is merely within reach already tells its caller
which sign-in to complete (`explain`). Held by a property test against the judge itself (`test_policy_replay`).
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace

from cedarpy import PolicySet, pst

from remit.model.decision import Circumstances
from remit.model.errors import Refused
from remit.model.estate import Estate
from remit.model.identity import Identity, Kind
from remit.model.operation import Action, Group, Request, Resource
from remit.policy.facts import Facts, base_entities, gather
from remit.policy.slices import Slices, line, parents

_MOST = 10_000  # answers that are remembered, at 500 bytes each


class Concern:
    """What the given statements can be about."""

    def __init__(self, statements: Iterable[pst.Template], estate: Estate, actions: Mapping[str, Group]) -> None:
        trees = {
            f"policy{number}": replace(tree, id=f"policy{number}", principal=_kind_only(tree.principal))
            for number, tree in enumerate(statements)
        }
        self._statements = Slices(PolicySet.from_pst(pst.PolicySet(pst.FrozenMap(), pst.FrozenMap(trees), ())))
        self._base = parents(json.loads(base_entities(estate)))
        self._estate = estate
        self._actions = actions
        self._known: dict[tuple[Kind, tuple[tuple[Action, tuple[Resource, ...]], ...]], bool] = {}

    def holds(self, identity: Identity, request: Request, circumstances: Circumstances) -> bool:
        """Whether any of the statements could have a say in this request."""
        asked = tuple((operation.action, operation.resources) for operation in request.operations)
        key = identity.principal.kind, asked
        if key not in self._known:
            try:
                facts = gather(identity, request, circumstances, self._estate, self._actions)
            except Refused:  # before any policy is asked, whichever it is, and perhaps for the circumstances only
                return False
            if len(self._known) >= _MOST:
                self._known.clear()
            self._known[key] = self._reaches(facts)
        return self._known[key]

    def _reaches(self, facts: Facts) -> bool:
        above = {**self._base, **parents(facts.resources)}
        caller = ((facts.principal["type"], facts.principal["id"]),)
        return any(
            len(
                self._statements.part(
                    caller,
                    (("Action", question.operation.action.id), ("Action", str(question.operation.action.group))),
                    line(question.target, above),
                )
            )
            for question in facts.questions
        )


def _kind_only(scope: pst.PrincipalOrResourceConstraint) -> pst.PrincipalOrResourceConstraint:
    if isinstance(scope, pst.ScopeIs | pst.ScopeIsIn):
        return pst.ScopeIs(scope.entity_type)
    return pst.ScopeAny()
