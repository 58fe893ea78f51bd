"""What Graph answers: memberships, accounts and their changes, named locations, the logs; and all the routes there are.

Each operation is behind the application permission that the real one names as least privileged, or one that includes
it. Accounts and memberships are `directory`'s, which Entra asks as well. Of people and groups `$filter`, `$search` and
`$count` are left out. Applications have modules of their own. Source: learn.microsoft.com/graph/api, a page for each
operation.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from remit.lab import (
    graph_applications,
    graph_assignments,
    graph_credentials,
    graph_deleted,
    graph_federations,
    graph_filters,
    graph_owners,
    graph_principals,
)
from remit.lab.directory import Directory, Entry
from remit.lab.graph_audits import Target
from remit.lab.graph_delta import Delta, account
from remit.lab.graph_errors import bad_request, unknown
from remit.lab.graph_inventory import Inventory, person, rendered, typed
from remit.lab.graph_paging import CONTEXT, HOST, page
from remit.lab.graph_routes import ID, Call, body, route
from remit.lab.graph_tenant import Tenant
from remit.lab.http import Request
from remit.lab.sign_in_log import SignInLog

MOST_GROUPS = 11_000  # that one answer gives

LOCATIONS: tuple[Mapping[str, Any], ...] = (
    {
        "@odata.type": "#microsoft.graph.ipNamedLocation",
        "id": "7a000000-0000-4000-8000-000000000001",
        "displayName": "Head office",
        "isTrusted": True,
        "ipRanges": [{"@odata.type": "#microsoft.graph.iPv4CidrRange", "cidrAddress": "203.0.113.0/24"}],
    },
    {
        "@odata.type": "#microsoft.graph.countryNamedLocation",
        "id": "7a000000-0000-4000-8000-000000000002",
        "displayName": "Sanctioned countries",
        "countriesAndRegions": ["KP"],
        "includeUnknownCountriesAndRegions": False,
        "countryLookupMethod": "clientIpAddress",
    },
)


class Operations(Tenant):
    """One tenant's answers. `locations`: changed by the control door."""

    def __init__(self, directory: Directory, sign_ins: SignInLog) -> None:
        super().__init__(directory)
        self._sign_ins = sign_ins
        self.locations: Sequence[Mapping[str, Any]] = LOCATIONS
        self.delta = Delta(directory, lambda: self.page_size)
        self._inventory = Inventory(directory)

    def member_objects(self, request: Request, kind: str, oid: str) -> dict[str, Any]:
        """`getMemberObjects` and `getMemberGroups`: ids of all groups, or an error beyond what one answer holds."""
        entry = self._entry(kind, oid)
        only_security = body(request).get("securityEnabledOnly")
        if not isinstance(only_security, bool):
            raise bad_request("The parameter 'securityEnabledOnly' is missing.")
        if only_security and not entry.person:
            raise bad_request("The parameter 'securityEnabledOnly' can be true for users only.")
        groups = [group.id for group in self.directory.groups_of(entry.id)]
        if len(groups) > MOST_GROUPS:
            raise bad_request("The result set is too large.", "Directory_ResultSizeLimitExceeded")
        return {"@odata.context": f"{CONTEXT}#Collection(Edm.String)", "value": groups}

    def member_of(self, request: Request, kind: str, oid: str, how: str) -> dict[str, Any]:
        """`memberOf` and `transitiveMemberOf`, of accounts and of groups."""
        if kind == "groups" and self.directory.group(oid) is None:
            raise unknown(oid)
        found = oid if kind == "groups" else self._entry(kind, oid).id
        groups = self.directory.groups_of(found) if how[0] == "t" else self.directory.direct_groups_of(found)
        return page(request, [rendered(group) for group in groups], "directoryObjects", self.page_size)

    def changes(self, request: Request, kind: str) -> dict[str, Any]:
        """`delta`."""
        return self.delta.answer(request, person=kind == "users")

    def accounts(self, request: Request) -> dict[str, Any]:
        """The list of users."""
        found = [person(entry) for entry in self.directory.entries(person=True)]
        return page(request, found, "users", self.page_size)

    def groups(self, request: Request) -> dict[str, Any]:
        """The list of groups."""
        return self._inventory.groups(request, self.page_size)

    def members(self, request: Request, group: str) -> dict[str, Any]:
        """Direct members of a group."""
        return self._inventory.members(request, group, self.page_size)

    def owners(self, request: Request, group: str) -> dict[str, Any]:
        """Owners of a group."""
        return self._inventory.owners(request, group, self.page_size)

    def account(self, _request: Request, kind: str, oid: str) -> dict[str, Any]:
        """One of them."""
        return {"@odata.context": f"{CONTEXT}#{kind}/$entity", **account(self._entry(kind, oid))}

    def directory_object(self, _request: Request, oid: str) -> dict[str, Any]:
        """A person, a service principal or a group, whichever it is."""
        group = self.directory.group(oid)
        found = rendered(group) if group else typed(self._entry("directoryObjects", oid))
        return {"@odata.context": f"{CONTEXT}#directoryObjects/$entity", **found}

    def change(self, call: Call, kind: str, oid: str) -> None:
        """Enable or disable; nothing else of a person can be changed here."""
        entry, asked = self._entry(kind, oid), body(call)
        if set(asked) != {"accountEnabled"} or not isinstance(asked["accountEnabled"], bool):
            raise bad_request("One or more properties contains invalid values.")
        target = Target("User", entry.id, entry.name, {"accountEnabled": entry.enabled}, asked)
        self.directory.set_enabled(entry.id, asked["accountEnabled"])
        activity = "Enable account" if asked["accountEnabled"] else "Disable account"
        self.audits.write(call, activity, target, category="UserManagement")

    def delete(self, call: Call, kind: str, oid: str) -> None:
        """Delete a person."""
        entry = self._entry(kind, oid)
        self.directory.delete(entry.id)
        self.audits.write(call, "Delete user", Target("User", entry.id, entry.name), category="UserManagement")

    def revoke(self, _request: Request, kind: str, oid: str) -> dict[str, Any]:
        """`revokeSignInSessions`."""
        self.directory.revoke_sessions(self._entry(kind, oid).id)
        return {"@odata.context": f"{CONTEXT}#Edm.Boolean", "value": True}

    def join(self, call: Call, group: str) -> None:
        """Add a member, named by its address."""
        reference = str(body(call).get("@odata.id", ""))
        found = re.fullmatch(f"{HOST}/v1\\.0/(?:directoryObjects|users|servicePrincipals|groups)/{ID}", reference)
        if not found:
            raise bad_request("Invalid URL specified for the reference.")
        if self.directory.group(group) is None or not self._exists(found[1]):
            raise unknown(found[1])
        if not self.directory.join(group, found[1]):
            raise bad_request(
                "One or more added object references already exist for the following modified properties: 'members'."
            )
        self._membership(call, "Add member to group", group, found[1])

    def leave(self, call: Call, group: str, member: str) -> None:
        """Remove a direct member."""
        if self.directory.group(group) is None or not self.directory.leave(group, member):
            raise unknown(member)
        self._membership(call, "Remove member from group", group, member)

    def _membership(self, call: Call, activity: str, group: str, member: str) -> None:
        found = self.directory.group(group)
        targets = Target("Group", group, found.name if found else ""), Target("User", member, "")
        self.audits.write(call, activity, *targets, category="GroupManagement")

    def named_locations(self, request: Request) -> dict[str, Any]:
        """The named locations of conditional access."""
        return page(request, self.locations, "identity/conditionalAccess/namedLocations", self.page_size)

    def signed_in(self, request: Request) -> dict[str, Any]:
        """The sign-in log."""
        return page(request, self._sign_ins.entries, "auditLogs/signIns", self.page_size)

    def audited(self, call: Call) -> dict[str, Any]:
        """The log of changes, the last one first."""
        graph_applications.unasked(call)
        order = call.parameter("$orderby").split()
        if order and (order[0] != "activityDateTime" or order[1:] not in ([], ["asc"], ["desc"])):
            raise bad_request("Only activityDateTime can be ordered by.", "BadRequest")
        holds = graph_filters.parse(call.parameter("$filter"))
        found = [each for each in self.audits.listed() if holds(each)]
        ahead = found[::-1] if order and order[1:] != ["desc"] else found
        return page(call, ahead, "auditLogs/directoryAudits", self.page_size)

    def _entry(self, kind: str, oid: str) -> Entry:
        entry = self.directory.find(oid)
        if entry is None or kind not in {"directoryObjects", "users" if entry.person else "servicePrincipals"}:
            raise unknown(oid)
        return entry

    def _exists(self, oid: str) -> bool:
        return self.directory.find(oid) is not None or self.directory.group(oid) is not None


_OBJECTS = "(?:getMemberObjects|getMemberGroups)"
_MEMBER_OF = "(transitiveMemberOf|memberOf)(?:/microsoft.graph.group)?"
_ALL = "Directory.Read.All"
_USER = ("User.Read.All", "User.ReadWrite.All", _ALL)
_USER_GROUPS = ("User.ReadBasic.All&GroupMember.Read.All", "User.Read.All&GroupMember.Read.All", _ALL)
_APPLICATION = ("Application.Read.All", "Application.ReadWrite.All", _ALL)
_APPLICATION_GROUPS = ("Application.Read.All&GroupMember.Read.All", _ALL)
_GROUPS = ("GroupMember.Read.All", "Group.Read.All", _ALL)
_SWITCH = ("User.EnableDisableAccount.All&User.Read.All", "User.ReadWrite.All")
_MEMBERS = ("GroupMember.ReadWrite.All", "Group.ReadWrite.All", "Directory.ReadWrite.All")

ROUTES = (
    route("POST", f"(users)/{ID}/{_OBJECTS}", Operations.member_objects, *_USER_GROUPS),
    route("POST", f"(servicePrincipals)/{ID}/{_OBJECTS}", Operations.member_objects, *_APPLICATION_GROUPS),
    route("POST", f"(directoryObjects)/{ID}/{_OBJECTS}", Operations.member_objects, _ALL),
    route("GET", f"(users)/{ID}/{_MEMBER_OF}", Operations.member_of, *_USER_GROUPS),
    route("GET", f"(servicePrincipals)/{ID}/{_MEMBER_OF}", Operations.member_of, *_APPLICATION_GROUPS),
    route("GET", f"(groups)/{ID}/{_MEMBER_OF}", Operations.member_of, "GroupMember.Read.All", "Group.Read.All", _ALL),
    route("GET", "(users)/delta", Operations.changes, *_USER),
    route("GET", "(servicePrincipals)/delta", Operations.changes, *_APPLICATION),
    route("GET", "users", Operations.accounts, *_USER),
    route("GET", f"(users)/{ID}", Operations.account, *_USER),
    route("GET", f"directoryObjects/{ID}", Operations.directory_object, _ALL),
    route("PATCH", f"(users)/{ID}", Operations.change, *_SWITCH),
    route("DELETE", f"(users)/{ID}", Operations.delete, "User.DeleteRestore.All", "User.ReadWrite.All"),
    route(
        "POST",
        f"(users)/{ID}/revokeSignInSessions",
        Operations.revoke,
        "User.RevokeSessions.All",
        "User.ReadWrite.All",
    ),
    route("GET", "groups", Operations.groups, *_GROUPS),
    route("GET", f"groups/{ID}/members", Operations.members, *_GROUPS),
    route("GET", f"groups/{ID}/owners", Operations.owners, *_GROUPS),
    route("POST", f"groups/{ID}/members/\\$ref", Operations.join, *_MEMBERS),
    route("DELETE", f"groups/{ID}/members/{ID}/\\$ref", Operations.leave, *_MEMBERS),
    route("GET", "identity/conditionalAccess/namedLocations", Operations.named_locations, "Policy.Read.All"),
    route("GET", "auditLogs/signIns", Operations.signed_in, "AuditLog.Read.All"),
    route("GET", "auditLogs/directoryAudits", Operations.audited, "AuditLog.Read.All"),
    *graph_applications.ROUTES,
    *graph_deleted.ROUTES,
    *graph_principals.ROUTES,
    *graph_federations.ROUTES,
    *graph_assignments.ROUTES,
    *graph_credentials.ROUTES,
    *graph_owners.ROUTES,
)
