"""The directory as it stands: accounts, sessions and memberships that change while the lab runs.

One object, made once and handed to whoever plays Microsoft: Graph changes it and reads it, Entra asks it before it
issues anything.

    directory = Directory(clock)
    directory.enabled(oid)                a disabled, deleted or unknown account neither signs in nor refreshes
    directory.sessions_valid_from(oid)    seconds since the epoch; a sign-in older than this gives no more tokens
    directory.groups_of(oid)              every group, nested ones included, in Contoso's order
    directory.commands()                  for the control door: disable, enable, revoke_sessions, join, leave, delete

People and groups are born from `contoso`; service principals are the registry's (`entra_registry`), which is a part
of the directory. Leaves out names, licences and everything else that nobody here asks for.
Source: learn.microsoft.com/graph/api/resources/user, .../user-revokesigninsessions.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from remit.lab import contoso
from remit.lab.contoso import Group
from remit.lab.entra_registry import Registry

CREATED = 1_736_150_400  # 2025-01-06T08:00:00Z: when every account of Contoso was made


@dataclass(slots=True)
class Entry:
    """One user or service principal. `sessions`: whole seconds since the epoch, as Graph tells them."""

    id: str
    name: str
    person: bool
    enabled: bool = True
    sessions: int = CREATED
    deleted: bool = False


class Directory:
    """The tenant's accounts and groups. `clock`: seconds since the epoch; `registry`: Contoso's when not given."""

    def __init__(
        self,
        clock: Callable[[], float],
        groups: Iterable[Group] = contoso.GROUPS,
        registry: Registry | None = None,
    ) -> None:
        self._clock = clock
        self.registry = registry or Registry(clock)
        self._groups = {group.id: group for group in groups}
        self._above: dict[str, set[str]] = {}
        for group in self._groups.values():
            for member in group.members:
                self._above.setdefault(member, set()).add(group.id)
        # people whose home is elsewhere are in the tenant only as guests
        self._people = {user.oid: Entry(user.oid, user.name, person=True) for user in contoso.USERS}
        self._journal: list[tuple[float, str]] = []

    def enabled(self, oid: str) -> bool:
        """Whether the account exists and may sign in."""
        entry = self.find(oid)
        return entry is not None and entry.enabled

    def sessions_valid_from(self, oid: str) -> int:
        """When the account's sessions were last ended, seconds since the epoch; 0 for an unknown account."""
        entry = self._people.get(oid.lower())
        return entry.sessions if entry else 0

    def groups_of(self, oid: str) -> tuple[Group, ...]:
        """Every group of a principal or of a group, nested ones included, itself excluded unless it nests in itself."""
        found: set[str] = set()
        ahead = [oid.lower()]
        while ahead:
            above = self._above.get(ahead.pop(), set()) - found
            found |= above
            ahead += above
        return tuple(group for group in self._groups.values() if group.id in found)

    def direct_groups_of(self, oid: str) -> tuple[Group, ...]:
        """The groups that name this principal or group among their members."""
        above = self._above.get(oid.lower(), set())
        return tuple(group for group in self._groups.values() if group.id in above)

    def members_of(self, group: str) -> tuple[str, ...]:
        """Object ids of the direct members of a group, accounts before groups, each in Contoso's order."""
        entries = (*self.entries(person=True), *self.entries(person=False))
        known = (*(entry.id for entry in entries), *self._groups)
        return tuple(each for each in known if group.lower() in self._above.get(each, set()))

    def groups(self) -> tuple[Group, ...]:
        """Every group."""
        return tuple(self._groups.values())

    def find(self, oid: str) -> Entry | None:
        """An account that was not deleted."""
        entry = self._people.get(oid.lower()) or self._program(oid.lower())
        return None if entry is None or entry.deleted else entry

    def group(self, group: str) -> Group | None:
        """The group with this id."""
        return self._groups.get(group.lower())

    def entries(self, *, person: bool) -> tuple[Entry, ...]:
        """All users, or all service principals, that were not deleted."""
        if person:
            return tuple(entry for entry in self._people.values() if not entry.deleted)
        found = (self._program(oid) for oid in self.registry.principals.all_seen())
        return tuple(entry for entry in found if entry)

    def kind(self, oid: str) -> str:
        """`User`, `Group` or `ServicePrincipal`, empty for what is not there."""
        if self.group(oid):
            return "Group"
        entry = self.find(oid)
        return "" if entry is None else "User" if entry.person else "ServicePrincipal"

    def _program(self, oid: str) -> Entry | None:
        """The account of a service principal, as the registry has it."""
        found = self.registry.principals.seen(oid)
        return Entry(oid, found["displayName"], person=False, enabled=found["accountEnabled"]) if found else None

    @property
    def serial(self) -> int:
        """How many changes of accounts there have been that can be seen."""
        now = time.monotonic()
        return next((place for place, (seen, _) in enumerate(self._journal) if seen > now), len(self._journal))

    def note(self, oid: str) -> None:
        """Write down that an account changes, to be seen when the change is."""
        before = self._journal[-1][0] if self._journal else 0.0
        self._journal.append((max(before, time.monotonic() + self.registry.lag.seconds), oid))

    def changed_since(self, serial: int, *, person: bool) -> tuple[Entry, ...]:
        """Users or service principals that changed after `serial`, deleted ones included."""
        changed = dict.fromkeys(oid for _, oid in self._journal[serial : self.serial])
        if person:
            return tuple(self._people[oid] for oid in changed if oid in self._people)
        programs = [oid for oid in changed if oid not in self._people]
        return tuple(self._program(oid) or Entry(oid, "", person=False, deleted=True) for oid in programs)

    def set_enabled(self, oid: str, enabled: bool) -> None:  # noqa: FBT001 - as Graph's `accountEnabled`
        """Enable or disable an account; raises `KeyError` for an unknown one."""
        oid = oid.lower()
        if oid in self._people:
            self._people[oid].enabled = enabled
        else:
            principals = self.registry.principals
            found = principals.written(oid)
            if found is None:
                raise KeyError(oid)
            principals.put(oid, {**found, "accountEnabled": enabled})
        self.note(oid)

    def revoke_sessions(self, oid: str) -> None:
        """End all sessions of a person now; raises `KeyError` for an unknown one."""
        self._people[oid.lower()].sessions = int(self._clock())
        self.note(oid.lower())

    def delete(self, oid: str) -> None:
        """Delete an account, and with it its memberships; raises `KeyError` for an unknown one."""
        oid = oid.lower()
        if oid in self._people:
            self._people[oid].deleted = True
        else:
            self.registry.delete(oid, "servicePrincipal")
        self.note(oid)
        self._above.pop(oid, None)

    def restore(self, oid: str) -> None:
        """Undo `delete`, without the memberships; raises `KeyError` for an unknown account."""
        oid = oid.lower()
        if oid in self._people:
            self._people[oid].deleted = False
        else:
            self.registry.restore(oid)
        self.note(oid)

    def join(self, group: str, member: str) -> bool:
        """Add a member to a group; false when it is one already. Raises `KeyError` for an unknown group."""
        above = self._above.setdefault(member.lower(), set())
        if self._groups[group.lower()].id in above:
            return False
        above.add(group.lower())
        return True

    def leave(self, group: str, member: str) -> bool:
        """Remove a direct member; false when it is none. Raises `KeyError` for an unknown group."""
        above = self._above.get(member.lower(), set())
        if self._groups[group.lower()].id not in above:
            return False
        above.remove(group.lower())
        return True

    def commands(self) -> Mapping[str, Callable[[Any], object]]:
        """What the control door can do to the directory: a value is an object id, or `{"group", "member"}`."""
        return {
            "disable": lambda oid: self.set_enabled(oid, False),
            "enable": lambda oid: self.set_enabled(oid, True),
            "revoke_sessions": self.revoke_sessions,
            "delete_account": self.delete,
            "restore_account": self.restore,
            "join": lambda given: self.join(given["group"], given["member"]),
            "leave": lambda given: self.leave(given["group"], given["member"]),
        }
