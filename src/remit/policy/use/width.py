"""How much of a permit was ever used: the parts of its head that nobody needed, and what would have done instead.

Read from the head alone: actions, and where the resources lie. A condition may have narrowed it already, and what was
not needed in this time may be needed in the next: these are warnings for people to weigh, not proofs.
"""

import datetime as dt
from collections.abc import Iterator, Mapping

from cedarpy import pst

from remit.model.counts import counted
from remit.model.estate import Estate
from remit.model.inventory import Inventory
from remit.model.operation import Group
from remit.policy.use.findings import Finding, Kind, Rule, Severity
from remit.policy.use.usage import Usage, Use

_SHOWN = 4  # of the names that a sentence holds


def wider(
    rules: tuple[Rule, ...], usage: Usage, estate: Estate, actions: Mapping[str, Group], inventory: Inventory | None
) -> Iterator[Finding]:
    """Permits that reach beyond what anybody was permitted by them in the recorded decisions."""
    if not usage.decisions:
        return
    since = f"{dt.datetime.fromtimestamp(usage.since, dt.UTC):%Y-%m-%d}"
    for rule in rules:
        if rule.obliges or rule.policy.tree.effect != "permit":
            continue
        use = usage.policies[rule.engine_id]
        if not use.used:
            yield rule.finding(
                Severity.WARNING,
                Kind.NEVER_USED,
                f"{rule.what} permitted nobody anything since {since}",
                hint="remove it, or keep it knowing that",
            )
            continue
        yield from _actions(rule, use, actions, since)
        yield from _places(rule, use, estate, since)
        yield from _people(rule, use, inventory, since)


def _actions(rule: Rule, use: Use, actions: Mapping[str, Group], since: str) -> Iterator[Finding]:
    used = {action.id for action in use.actions} | {str(action.group) for action in use.actions}
    match rule.policy.tree.action:
        case pst.ActionIn(entities):
            named = [entity.id for entity in entities]
        case pst.ActionEq():
            return  # it was used, so that one was
        case _:
            named = [str(group) for group in Group]
    idle = [name for name in named if name not in used]
    kept = [name for name in named if name in used]
    if idle:
        yield _narrower(
            rule,
            f"{rule.what} permits {_listed(idle)}, which nobody needed since {since}",
            f"`action in [{', '.join(_action(name) for name in kept)}]` would have done",
            at=idle[0],
        )
    for name in kept:
        needed = sorted(action.id for action in use.actions if action.group == name)
        members = sum(group == name for group in actions.values())
        if name in set(Group) and len(needed) == 1 < members and needed != [name]:
            yield rule.finding(
                Severity.NOTE,
                Kind.WIDER_THAN_USED,
                f"of the {members} actions of `{name}`, {rule.what} was needed for `{needed[0]}` alone since {since}",
                at=name,
                hint=f"`{_action(needed[0])}` would have done in the place of `{_action(name)}`",
            )


def _places(rule: Rule, use: Use, estate: Estate, since: str) -> Iterator[Finding]:
    """Environments, projects or buckets that the head reaches, and nobody went to."""
    reached = _reached(rule.policy.tree.resource, estate)
    if reached is None:
        return
    kind, names = reached
    environments = {project.id: project.environment for project in estate.projects}
    seen = {
        "Environment": {environments.get(project, "") for project in use.projects},
        "Project": use.projects,
        "Bucket": use.resources,
    }[kind]
    idle, kept = [name for name in names if name not in seen], [name for name in names if name in seen]
    if idle and kept:
        instead = " or ".join(f'`resource in {kind}::"{name}"`' for name in kept[:_SHOWN])
        if kind == "Bucket":
            instead = " or ".join(f'`resource == Bucket::"{name}"`' for name in kept[:_SHOWN])
        yield _narrower(
            rule,
            f"{rule.what} reaches the {kind.lower()} {_listed(idle)}, where nobody needed it since {since}",
            f"{instead} would have done",
        )
    (kind_used, *more) = sorted(use.kinds)
    if not more and isinstance(rule.policy.tree.resource, pst.ScopeAny | pst.ScopeIn):
        yield rule.finding(
            Severity.NOTE,
            Kind.WIDER_THAN_USED,
            f"{rule.what} was needed for nothing but a `{kind_used}` since {since}",
            hint=f"`resource is {kind_used}` in its head would have done",
        )


def _reached(scope: pst.PrincipalOrResourceConstraint, estate: Estate) -> tuple[str, list[str]] | None:
    """What a head lets its resources lie in, one step further down than it says; `None` where that is one thing."""
    environments = sorted({project.environment for project in estate.projects})
    match scope:
        case pst.ScopeAny():
            return "Environment", environments
        case pst.ScopeIs():
            return "Environment", environments
        case pst.ScopeIn(pst.EntityUid() as place) | pst.ScopeIsIn(_, pst.EntityUid() as place):
            if str(place.type) == "Environment":
                return "Project", [each.id for each in estate.projects if each.environment == place.id]
            project = estate.project(place.id) if str(place.type) == "Project" else None
            if project and isinstance(scope, pst.ScopeIsIn) and str(scope.entity_type) == "Bucket":
                return "Bucket", list(project.buckets)
            return ("Project", [place.id]) if project else None
    return None


def _people(rule: Rule, use: Use, inventory: Inventory | None, since: str) -> Iterator[Finding]:
    """A group or role most of whose people never needed it. Told as a count: who they are is the directory's."""
    match rule.policy.tree.principal:
        case pst.ScopeIn(pst.EntityUid() as whole) | pst.ScopeIsIn(_, pst.EntityUid() as whole):
            pass
        case _:
            return
    if inventory is None:
        return
    kind = str(whole.type)
    accounts = [each for each in inventory.accounts if whole.id in (each.groups if kind == "Group" else each.roles)]
    needed = sum(each.principal.key in use.people for each in accounts)
    if len(accounts) > needed:
        name, every = inventory.name(whole.id) if kind == "Group" else whole.id, counted(len(accounts), "account")
        yield rule.finding(
            Severity.NOTE,
            Kind.WIDER_THAN_USED,
            f"{rule.what} reaches {every} in `{name}`, and {needed} needed it since {since}",
            at=whole.id,
        )


def _narrower(rule: Rule, message: str, hint: str, *, at: str = "") -> Finding:
    return rule.finding(Severity.WARNING, Kind.WIDER_THAN_USED, message, at=at, hint=hint)


def _action(name: str) -> str:
    return f'Action::"{name}"'


def _listed(names: list[str]) -> str:
    shown = ", ".join(f"`{name}`" for name in names[:_SHOWN])
    return shown + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
