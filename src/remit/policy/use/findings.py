"""What is to be looked at in a policy set that loads: names of nothing, rules that do nothing, and reach beyond use.

A finding says where it stands and what to do. An error is a rule that cannot mean what it says; a warning is one that
nothing was ever seen to need; a note is what is worth knowing. Leaves out what keeps a set from loading (`book`), what
no decision has shown (a solver could), and the conditions of a permit: how wide one is, is read from its head.
"""

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from cedarpy import pst

from remit.model.counts import counted
from remit.model.errors import Problem
from remit.model.inventory import Inventory
from remit.model.job import parted
from remit.policy.lint import Policy
from remit.policy.use.usage import Usage


class Severity(StrEnum):
    """How much a finding matters."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


class Kind(StrEnum):
    """What a finding is about."""

    INVALID = "invalid"
    UNKNOWN_ID = "unknown_id"
    NEVER_FIRED = "never_fired"
    NEVER_DECIDED = "never_decided"
    NEVER_USED = "never_used"
    WIDER_THAN_USED = "wider_than_used"
    NESTED_GROUP = "nested_group"


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding. `policy`: the `@id` that it is about, empty for none; `hint`: what to do, may be empty."""

    severity: Severity
    kind: Kind
    problem: Problem
    policy: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """One policy or obligation: its text with its place, and the engine's id of it."""

    engine_id: str
    policy: Policy
    obliges: bool

    def finding(self, severity: Severity, kind: Kind, message: str, *, at: str = "", hint: str = "") -> Finding:
        """A finding at the first occurrence of a word in the rule, else at its beginning."""
        return Finding(severity, kind, self.policy.statement.problem(message, at=at), self.policy.id, hint)

    @property
    def what(self) -> str:
        """What people call it."""
        return f"{'obligation' if self.obliges else self.policy.tree.effect} `{self.policy.id}`"


def unknown(rules: tuple[Rule, ...], inventory: Inventory, roles: frozenset[str], *, others: bool) -> Iterator[Finding]:
    """Groups and roles that nobody can have, and jobs whose owner is nobody.

    `roles`: those that `remit.yaml` gives besides; `others`: whether another provider brings groups of its own, which
    the inventory does not hold.
    """
    known = {"Group": frozenset(inventory.groups), "Role": inventory.roles | roles}
    for rule in rules:
        for name in sorted(pst.entity_uids(rule.policy.tree), key=str):
            kind = str(name.type)
            if kind in known and name.id not in known[kind]:
                elsewhere = others and kind == "Group"
                yield rule.finding(
                    Severity.NOTE if elsewhere else Severity.ERROR,
                    Kind.UNKNOWN_ID,
                    f"the directory has no {kind.lower()} `{name.id}`: {rule.what} means nobody by it",
                    at=name.id,
                    hint="another provider may bring it; Entra does not" if elsewhere else "",
                )
            elif kind == "Job":
                yield from _owned_by_nobody(rule, name.id, inventory)


def _owned_by_nobody(rule: Rule, named: str, inventory: Inventory) -> Iterator[Finding]:
    """Of other tenants and providers the directory tells nothing; it holds the applications with a role or group."""
    owner, name = parted(named)
    if inventory.account(owner) is not None:
        return
    tenant = owner.partition("/")[0]
    elsewhere = all(account.principal.tenant != tenant for account in inventory.accounts)
    yield rule.finding(
        Severity.NOTE if elsewhere else Severity.WARNING,
        Kind.UNKNOWN_ID,
        f"the directory has no account `{owner}`, whose run `{name}` {rule.what} is about",
        at=named,
        hint="another provider may know it; this directory does not"
        if elsewhere
        else "correct it; an application is known once it has a role or a group",
    )


def idle(rules: tuple[Rule, ...], recorded: Usage | None, tested: Usage | None) -> Iterator[Finding]:
    """Rules that never matched, or never decided, in what was recorded and in the tests; `None` where none was read."""
    looked = [usage for usage in (recorded, tested) if usage is not None]
    if not sum(usage.decisions for usage in looked):
        return
    where = _where(recorded, tested)
    for rule in rules:
        uses = [(usage.obligations if rule.obliges else usage.policies)[rule.engine_id] for usage in looked]
        if not any(use.matched for use in uses):
            yield rule.finding(
                Severity.WARNING,
                Kind.NEVER_FIRED,
                f"{rule.what} never matched anything in {where}",
                hint="write a test in which it does, or remove it",
            )
        elif not any(use.decided for use in uses):
            yield rule.finding(
                Severity.WARNING,
                Kind.NEVER_DECIDED,
                f"{rule.what} matched and never decided in {where}: a `forbid` was always in its way",
                hint="write a test in which it decides, or remove it",
            )


def nested(rules: tuple[Rule, ...], inventory: Inventory) -> Iterator[Finding]:
    """Groups that let people in who are members of another group: once a group, where it is named first."""
    first: dict[str, Rule] = {}
    for rule in rules:
        for name in sorted(pst.entity_uids(rule.policy.tree), key=str):
            if str(name.type) == "Group":
                first.setdefault(name.id, rule)
    for group, rule in first.items():
        for way, (people, guests) in sorted(_ways(inventory, group).items()):
            names = " in ".join(f"`{inventory.name(each)}`" for each in way)
            who = counted(people, "account")
            yield rule.finding(
                Severity.NOTE,
                Kind.NESTED_GROUP,
                f"`{inventory.name(group)}` lets in {who} by way of {names}"
                + (f", {counted(guests, 'as a guest', 'as guests')}" if guests else ""),
                at=group,
                hint=_owners(inventory, way[0]),
            )


def _ways(inventory: Inventory, group: str) -> Mapping[tuple[str, ...], tuple[int, int]]:
    """Accounts, and guests among them, by the shortest way over another group that brings them into this one."""
    found: dict[tuple[str, ...], tuple[int, int]] = {}
    for account in inventory.accounts:
        if group in account.groups and group not in account.direct:
            for way in inventory.ways(account, group)[:1]:
                people, guests = found.get(way, (0, 0))
                found[way] = (people + 1, guests + account.guest)
    return found


def _owners(inventory: Inventory, group: str) -> str:
    known = inventory.groups.get(group)
    if known is None or not known.owners:
        return f"nobody owns `{inventory.name(group)}`, as far as the directory says"
    return f"who is in `{known.name}` is decided by {', '.join(known.owners)}"


def _where(recorded: Usage | None, tested: Usage | None) -> str:
    told = []
    if recorded is not None:
        since = f" since {dt.datetime.fromtimestamp(recorded.since, dt.UTC):%Y-%m-%d}" if recorded.since else ""
        told.append(f"{counted(recorded.decisions, 'recorded decision')}{since}")
    if tested is not None:
        told.append(counted(tested.decisions, "test"))
    return " and ".join(told)
