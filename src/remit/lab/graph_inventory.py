"""What Graph tells of people and of whole groups: members, owners.

Members are direct; `transitiveMembers`, `$filter` and `$expand` are left out.
Source: learn.microsoft.com/graph/api/group-list-members, group-list-owners.
"""

from typing import Any

from remit.lab import contoso
from remit.lab.contoso import Group
from remit.lab.directory import Directory, Entry
from remit.lab.graph_delta import account
from remit.lab.graph_errors import unknown
from remit.lab.graph_paging import page
from remit.lab.http import Request

_GUESTS = frozenset(user.oid for user in contoso.USERS if user.guest)


def person(entry: Entry) -> dict[str, Any]:
    """A user with what a list of them tells besides."""
    return {**account(entry), "userType": "Guest" if entry.id in _GUESTS else "Member"}


class Inventory:
    """One tenant's answers."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    def groups(self, request: Request, size: int) -> dict[str, Any]:
        """The list of groups."""
        return page(request, [rendered(group) for group in self._directory.groups()], "groups", size)

    def members(self, request: Request, group: str, size: int) -> dict[str, Any]:
        """Direct members."""
        found = (self._member(each) for each in self._directory.members_of(self._known(group).id))
        return page(request, list(found), "directoryObjects", size)

    def owners(self, request: Request, group: str, size: int) -> dict[str, Any]:
        """Owners that still exist."""
        entries = (self._directory.find(oid) for oid in self._known(group).owners)
        return page(request, [typed(entry) for entry in entries if entry], "directoryObjects", size)

    def _member(self, oid: str) -> dict[str, Any]:
        group = self._directory.group(oid)
        entry = self._directory.find(oid)
        if group is not None or entry is None:
            return rendered(group) if group else {}
        return typed(entry)

    def _known(self, group: str) -> Group:
        found = self._directory.group(group)
        if found is None:
            raise unknown(group)
        return found


def rendered(group: Group) -> dict[str, Any]:
    """A group, as Graph renders it among directory objects."""
    return {
        "@odata.type": "#microsoft.graph.group",
        "id": group.id,
        "displayName": group.name,
        "securityEnabled": True,
    }


def typed(entry: Entry) -> dict[str, Any]:
    """An account, as Graph renders it among directory objects."""
    kind = "user" if entry.person else "servicePrincipal"
    return {"@odata.type": f"#microsoft.graph.{kind}", **account(entry)}
