"""Who stands behind a member of IAM or an object id, as people call them. Pure.

Leaves out: asking the directory; an id stands in for each name that is not known.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from remit.trust.planning.words import member as words
from remit.trust.settings import TrustSettings

_FIRST = 3  # names that a line tells
_GUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_GROUP = re.compile(rf"/group/({_GUID.pattern})$")


@dataclass(frozen=True, slots=True)
class People:
    """Object id → name; group's id → object ids of everyone in it."""

    names: Mapping[str, str] = field(default_factory=dict)
    members: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def name(self, oid: str) -> str:
        """The name, the id where there is none."""
        return self.names.get(oid, oid)


@dataclass(frozen=True, slots=True)
class Who:
    """One whom a drift concerns. `people`: everyone behind it by name, where that is known."""

    label: str
    people: tuple[str, ...] = ()

    def __str__(self) -> str:
        if not self.people or self.people == (self.label,):
            return self.label
        more = len(self.people) - _FIRST
        return f"{self.label} ({', '.join(self.people[:_FIRST])}{f' and {more} more' if more > 0 else ''})"


def holder(people: People, oid: str, kind: str) -> Who:
    """Somebody of the directory. `kind`: `Group`, `User` or `ServicePrincipal`."""
    name = people.name(oid)
    if kind == "Group":
        return Who(f"group {name}", tuple(sorted(people.name(each) for each in people.members.get(oid, ()))))
    return Who(name if kind == "User" else f"workload {name}", (name,))


def member(people: People, text: str) -> Who:
    """A member of IAM: of the pool by who is behind it, else as it is written."""
    if group := _GROUP.search(text):
        return holder(people, group[1], "Group")
    found = _GUID.findall(text.rpartition("/subject/")[2]) if "/subject/" in text else []
    if found and found[-1] in people.names:
        return Who(people.name(found[-1]), (people.name(found[-1]),))
    return Who(words(text))


def working(settings: TrustSettings, people: People, account: str) -> tuple[Who, ...]:
    """Everyone who works as an account by the file; the account itself where nobody does."""
    return tuple(_working(settings, people, account)) or (Who(f"whatever runs as {account}"),)


def _working(settings: TrustSettings, people: People, account: str) -> Iterator[Who]:
    declared = next((one for one in settings.accounts if one.email == account), None)
    if declared and declared.members:
        for name in declared.members:
            yield Who("Remit itself") if name == "remit" else member(people, f"principal://pool/{name}")
        return
    roles = {one.role for one in settings.mappings if one.account == account}
    for role in settings.roles:
        if role.name in roles:
            yield from (holder(people, each, "Group") for each in role.groups)
            yield from (holder(people, each, "User") for each in role.people)
            yield from (holder(people, each, "ServicePrincipal") for each in role.workloads)


def asked(settings: TrustSettings, texts: Collection[str]) -> tuple[frozenset[str], frozenset[str]]:
    """Object ids and group ids of which the names are needed: those of the file, and those in these texts."""
    ids = {each for role in settings.roles for each in (*role.people, *role.workloads)}
    groups = {each for role in settings.roles for each in role.groups}
    for text in (*texts, *(f"x/{name}" for account in settings.accounts for name in account.members)):
        if group := _GROUP.search(text):
            groups.add(group[1])
        else:
            ids.update(_GUID.findall(text.rpartition("/subject/")[2] or text))
    return frozenset(ids - groups - {settings.tenant}), frozenset(groups)
