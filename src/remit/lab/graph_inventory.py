"""What Graph tells of whole groups and of an application's roles: members, owners, assignments.

Members are direct; `transitiveMembers`, `$filter` and `$expand` are left out. An app role's id is made from its value.
Source: learn.microsoft.com/graph/api/group-list-members, group-list-owners, serviceprincipal-list-approleassignedto.
"""

import uuid
from collections.abc import Iterator
from typing import Any

from remit.lab import contoso
from remit.lab.contoso import Group
from remit.lab.directory import Directory, Entry
from remit.lab.graph_delta import account
from remit.lab.graph_errors import unknown
from remit.lab.graph_paging import page
from remit.lab.http import Request

_ROLES = uuid.UUID("a09e0000-0000-4000-8000-000000000000")
_APPS = {app.principal: app for app in contoso.APPS}
_GUESTS = frozenset(user.oid for user in contoso.USERS if user.guest)


def person(entry: Entry) -> dict[str, Any]:
    """A user with what a list of them tells besides."""
    return {**account(entry), "userType": "Guest" if entry.id in _GUESTS else "Member"}


def service_principal(entry: Entry) -> dict[str, Any]:
    """A service principal with its application's roles."""
    app = _APPS.get(entry.id)
    roles = sorted({role for _, roles in _assigned() for role in roles}) if app is contoso.REMIT else []
    return {
        **account(entry),
        "appId": app.id if app else next(one.client_id for one in contoso.MANAGED_IDENTITIES if one.oid == entry.id),
        "appRoles": [{"id": role_id(role), "value": role, "isEnabled": True} for role in roles],
    }


def role_id(role: str) -> str:
    """The id of an app role of Remit's."""
    return str(uuid.uuid5(_ROLES, role))


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
        return page(request, [_typed(entry) for entry in entries if entry], "directoryObjects", size)

    def assignments(self, request: Request, app: str, size: int) -> dict[str, Any]:
        """Who holds which role of an application; only Remit's has any."""
        if app.lower() not in {each.id for each in contoso.APPS}:
            raise unknown(app)
        found = _assigned() if app.lower() == contoso.REMIT.id else ()
        rows = [
            {
                "id": f"{oid}-{role}",
                "appRoleId": role_id(role),
                "principalId": oid,
                "principalType": "User" if entry.person else "ServicePrincipal",
                "resourceId": contoso.REMIT.principal,
            }
            for oid, roles in found
            for role in roles
            if (entry := self._directory.find(oid)) is not None
        ]
        return page(request, rows, "appRoleAssignments", size)

    def _member(self, oid: str) -> dict[str, Any]:
        group = self._directory.group(oid)
        entry = self._directory.find(oid)
        if group is not None or entry is None:
            return rendered(group) if group else {}
        return _typed(entry)

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


def _typed(entry: Entry) -> dict[str, Any]:
    kind = "user" if entry.person else "servicePrincipal"
    return {"@odata.type": f"#microsoft.graph.{kind}", **account(entry)}


def _assigned() -> Iterator[tuple[str, tuple[str, ...]]]:
    yield from ((user.oid, user.roles) for user in contoso.USERS if user.roles)
    yield from ((identity.oid, identity.roles) for identity in contoso.MANAGED_IDENTITIES if identity.roles)
    yield from ((app.principal, app.roles) for app in contoso.APPS if app.roles)
