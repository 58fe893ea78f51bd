"""What the engine's validator does not catch: annotations, and ids that exist nowhere.

Cedar takes any annotation and any id. So the annotations are a closed list with a grammar, and every group, role,
environment, project, bucket and account that a policy names must exist, and a job must name its owner. Leaves out types
and attributes, which the validator checks, and contradictions between policies, which need a solver.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from cedarpy import pst

from remit.model.errors import Problem
from remit.model.estate import Estate
from remit.model.job import parted
from remit.model.operation import Group
from remit.policy.obligations import READERS, context
from remit.policy.schema import stand_in
from remit.policy.settings import PolicySettings
from remit.policy.source import Statement

_ANY = frozenset({"id", "purpose", "advice", "step_up"})
_ALLOWED = {"permit": _ANY | {"otherwise"}, "forbid": _ANY | {"refusal"}}
_OBLIGING = frozenset({"id", "purpose", *READERS})
_ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_LONGEST = 300  # characters: a sentence for people, which also travels in the header `grpc-message`
_STAND_INS = frozenset(stand_in(group) for group in Group)


@dataclass(frozen=True, slots=True)
class Policy:
    """One policy: its text with its place, and the engine's own reading of it."""

    statement: Statement
    tree: pst.Template

    @property
    def id(self) -> str:
        """The policy's `@id`, empty when it has none."""
        return self.tree.annotations.get("id", "")


def lint(
    policies: tuple[Policy, ...], rules: tuple[Policy, ...], estate: Estate, settings: PolicySettings
) -> tuple[Problem, ...]:
    """Everything that is wrong with policies and with the rules of obligations, and their ids together."""
    known = _inventory(estate, settings)
    found: list[Problem] = []
    seen: dict[str, Policy] = {}
    for policy in policies:
        found += _annotations(policy, _ALLOWED[policy.tree.effect], f"a `{policy.tree.effect}`")
        found += _policy(policy)
    for rule in rules:
        found += _annotations(rule, _OBLIGING, "an obligation")
        found += _rule(rule)
    for policy in (*policies, *rules):
        found += _names(policy, known)
        first = seen.setdefault(policy.id, policy)
        if first is not policy and policy.id:
            place = first.statement.problem("").file
            found.append(
                policy.statement.problem(f'`@id("{policy.id}")` is taken by a policy in `{place}`', at=policy.id)
            )
    return tuple(found)


def _annotations(policy: Policy, allowed: frozenset[str], what: str) -> Iterator[Problem]:
    place = policy.statement
    if not policy.id:
        yield place.problem('the policy has no `@id("…")`: records and refusals name it by that')
    elif not _ID.fullmatch(policy.id):
        yield place.problem(f"`{policy.id}` is not an id: lower-case words joined by `-`", at=policy.id)
    for name, value in policy.tree.annotations.items():
        if name not in allowed:
            known = ", ".join(f"`@{each}`" for each in sorted(allowed))
            yield place.problem(f"`@{name}` means nothing on {what}: it may carry {known}", at=f"{name}")
        elif name != "id" and not (value.strip() and value.isprintable() and len(value) <= _LONGEST):
            yield place.problem(f"`@{name}` must be one line of 1 to {_LONGEST} characters", at=name)


def _policy(policy: Policy) -> Iterator[Problem]:
    place, tree = policy.statement, policy.tree
    if "step_up" in tree.annotations:
        yield from _read(policy, "step_up", context)
    if tree.effect == "forbid" and "refusal" not in tree.annotations:
        yield place.problem('the forbid has no `@refusal("…")`: the sentence that its callers read')


def _rule(rule: Policy) -> Iterator[Problem]:
    place, tree = rule.statement, rule.tree
    if tree.effect != "permit":
        yield place.problem("an obligation is a `permit`, which grants nothing: a `forbid` belongs to the policies")
    if "purpose" not in tree.annotations:
        yield place.problem('the obligation has no `@purpose("…")`: what it is for')
    demands = [name for name in tree.annotations if name in READERS]
    for name in demands:
        yield from _read(rule, name, READERS[name])
    if not demands:
        known = ", ".join(f"`@{name}`" for name in READERS)
        yield place.problem(f"the obligation demands nothing: it carries one or more of {known}")


def _read(policy: Policy, name: str, reader: Callable[[str], object]) -> Iterator[Problem]:
    try:
        reader(policy.tree.annotations[name])
    except ValueError as error:
        yield policy.statement.problem(str(error), at=name)


def _names(policy: Policy, known: "dict[str, _Known]") -> Iterator[Problem]:
    for name in sorted(pst.entity_uids(policy.tree), key=str):
        kind = str(name.type)
        if kind == "Action" and name.id in _STAND_INS:
            yield policy.statement.problem(f"`{name.id}` is not an action", at=str(name))
        if kind == "Job":
            yield from _job(policy, name)
        if kind in known and not known[kind].holds(name.id):
            yield policy.statement.problem(f"`{name}` does not exist in {known[kind].where}", at=str(name))


def _job(policy: Policy, name: pst.EntityUid) -> Iterator[Problem]:
    try:
        parted(name.id)
    except ValueError:
        message = f"`{name}` is no job: it is named by its owner and the name of the run, `TENANT/OBJECT-ID/NAME`"
        yield policy.statement.problem(message, at=str(name))


@dataclass(frozen=True, slots=True)
class _Known:
    where: str
    holds: Callable[[str], bool]


def _inventory(estate: Estate, settings: PolicySettings) -> dict[str, _Known]:
    projects = estate.projects
    known = {
        "Environment": _Known("`remit.yaml`", {project.environment for project in projects}.__contains__),
        "Project": _Known("`remit.yaml`", {project.id for project in projects}.__contains__),
        "Bucket": _Known("`remit.yaml`", {name for project in projects for name in project.buckets}.__contains__),
        "ServiceAccount": _Known(
            "`remit.yaml`", {name for each in projects for name in (*each.accounts, *each.agents)}.__contains__
        ),
    }
    if settings.groups is not None:
        known["Group"] = _Known("the directory", settings.groups.__contains__)
    if settings.roles is not None:
        known["Role"] = _Known("the directory", settings.roles.__contains__)
    return known
