"""Everybody who could ask, as a directory told it: accounts, groups and the ways between them, roles.

Complete or not at all: what could not be read whole is not taken, and the last reading stays.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from remit.model.identity import Principal

WAYS = 4
"""Ways to one group that are told, shortest first: a dense nest has more of them than anybody reads."""


@dataclass(frozen=True, slots=True)
class Account:
    """One person or workload of a directory.

    `direct`: ids of the groups that it is a member of itself; `groups`: of all, nested ones included; `roles`: app
    role values, by assignment to it or to one of its groups; `home`: of a guest, as in `Identity`.
    """

    principal: Principal
    name: str
    enabled: bool
    guest: bool
    direct: frozenset[str]
    groups: frozenset[str]
    roles: frozenset[str]
    home: str = ""


@dataclass(frozen=True, slots=True)
class GroupKnown:
    """One group. `parents`: ids of the groups that it is a member of itself; `owners`: names of its owners."""

    id: str
    name: str
    parents: frozenset[str] = frozenset()
    owners: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Inventory:
    """A directory as it was at `at`, seconds since the epoch. `groups`: by id; `roles`: every app role value."""

    at: int
    accounts: tuple[Account, ...]
    groups: Mapping[str, GroupKnown] = field(default_factory=dict)
    roles: frozenset[str] = frozenset()

    def account(self, key: str) -> Account | None:
        """The account with this `Principal.key`."""
        return next((account for account in self.accounts if account.principal.key == key), None)

    def name(self, group: str) -> str:
        """A group's name, its id when it is not known."""
        found = self.groups.get(group)
        return found.name if found else group

    def ways(self, account: Account, group: str) -> tuple[tuple[str, ...], ...]:
        """Ids of the groups on each way from the account to a group, the direct one first, `group` last.

        The shortest ways, a few of them. No group is come to more often than that: whoever nests groups crosswise would
        make twice as many ways with every level.
        """
        found: list[tuple[str, ...]] = []
        reached = Counter[str]()
        ahead: list[tuple[str, ...]] = [(each,) for each in sorted(account.direct)]
        while ahead and len(found) < WAYS:
            onward: list[tuple[str, ...]] = []
            for way in ahead:
                reached[way[-1]] += 1
                if reached[way[-1]] > WAYS:
                    continue
                if way[-1] == group:
                    found.append(way)
                    continue
                known = self.groups.get(way[-1])
                onward += [(*way, parent) for parent in sorted(known.parents if known else ()) if parent not in way]
            ahead = onward
        return tuple(found[:WAYS])
