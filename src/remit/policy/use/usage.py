"""What rules did: over recorded decisions and policy tests, which matched, which decided, and what each permit was for.

Decisions are taken again under the present policies. A permit was used where it decided and the whole request was
permitted. Leaves out what is to be said about it (`findings`).
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from remit.model.decision import Circumstances
from remit.model.errors import Refused
from remit.model.identity import Identity
from remit.model.operation import Action, Request
from remit.policy.engine import EvaluationFailed
from remit.policy.use.firing import Fired, Firings

Asked = tuple[Identity, Request, Circumstances]


@dataclass(slots=True)
class Use:
    """One rule. `people`: keys of the principals; `kinds`, `projects`, `resources`: types, ids and Cedar ids."""

    matched: int = 0
    decided: int = 0
    used: int = 0
    people: set[str] = field(default_factory=set)
    actions: set[Action] = field(default_factory=set)
    kinds: set[str] = field(default_factory=set)
    projects: set[str] = field(default_factory=set)
    resources: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Usage:
    """All rules, by engine id. `since`: of the earliest decision, seconds since the epoch; `failed`: not decidable."""

    policies: dict[str, Use]
    obligations: dict[str, Use]
    decisions: int = 0
    failed: int = 0
    since: int = 0


def look(firings: Firings, asked: Iterable[Asked]) -> Usage:
    """What the rules of a book do about decisions; one that cannot be taken again is counted, and no more."""
    usage = Usage({name: Use() for name in firings.policies}, {name: Use() for name in firings.obligations})
    for identity, request, circumstances in asked:
        usage.decisions += 1
        usage.since = min(usage.since or circumstances.now, circumstances.now)
        try:
            fired = firings.fired(firings.hear(identity, request, circumstances))
        except (Refused, EvaluationFailed):
            usage.failed += 1
            continue
        for each in fired:
            _count(usage, each, identity.principal.key)
    return usage


def _count(usage: Usage, fired: Fired, who: str) -> None:
    for name in fired.matched:
        usage.policies[name].matched += 1
    for name in fired.obliged:
        found = usage.obligations[name]
        found.matched += 1
        found.decided += 1
    for name in fired.decided:
        use = usage.policies[name]
        use.decided += 1
        if fired.permitted:
            use.used += 1
            use.people.add(who)
            use.actions.add(fired.question.operation.action)
            use.kinds.add(fired.question.target["type"])
            use.projects.add(fired.question.resource.project)
            use.resources.add(fired.question.target["id"])
