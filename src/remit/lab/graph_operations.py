"""What Graph answers: memberships, accounts and their changes, named locations, the sign-in log.

Each operation is behind the application permission that the real one names as least privileged, or one that includes
it. Accounts and memberships are `directory`'s, which Entra asks as well. `$filter`, `$search` and `$count` are left
out. Source: learn.microsoft.com/graph/api, a page for each operation.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from remit.lab.directory import Directory, Entry
from remit.lab.graph_delta import Delta, account
from remit.lab.graph_errors import bad_request, unknown
from remit.lab.graph_inventory import Inventory, person, rendered, service_principal
from remit.lab.graph_paging import CONTEXT, HOST, page
from remit.lab.http import Request
from remit.lab.sign_in_log import SignInLog

PAGE = 100  # items, where a request does not say
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


class Operations:
    """One tenant's answers. `page_size`, `locations`: changed by the control door."""

    def __init__(self, directory: Directory, sign_ins: SignInLog) -> None:
        self.directory = directory
        self._sign_ins = sign_ins
        self.page_size = PAGE
        self.locations: Sequence[Mapping[str, Any]] = LOCATIONS
        self.delta = Delta(directory, lambda: self.page_size)
        self._inventory = Inventory(directory)

    def member_objects(self, request: Request, kind: str, oid: str) -> dict[str, Any]:
        """`getMemberObjects` and `getMemberGroups`: ids of all groups, or an error beyond what one answer holds."""
        entry = self._entry(kind, oid)
        only_security = _body(request).get("securityEnabledOnly")
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

    def accounts(self, request: Request, kind: str) -> dict[str, Any]:
        """The list of users, or of service principals."""
        entries = self.directory.entries(person=kind == "users")
        rendered_as = person if kind == "users" else service_principal
        return page(request, [rendered_as(entry) for entry in entries], kind, self.page_size)

    def groups(self, request: Request) -> dict[str, Any]:
        """The list of groups."""
        return self._inventory.groups(request, self.page_size)

    def members(self, request: Request, group: str) -> dict[str, Any]:
        """Direct members of a group."""
        return self._inventory.members(request, group, self.page_size)

    def owners(self, request: Request, group: str) -> dict[str, Any]:
        """Owners of a group."""
        return self._inventory.owners(request, group, self.page_size)

    def assignments(self, request: Request, app: str) -> dict[str, Any]:
        """Who holds which role of an application."""
        return self._inventory.assignments(request, app, self.page_size)

    def account(self, _request: Request, kind: str, oid: str) -> dict[str, Any]:
        """One of them."""
        return {"@odata.context": f"{CONTEXT}#{kind}/$entity", **account(self._entry(kind, oid))}

    def change(self, request: Request, kind: str, oid: str) -> None:
        """Enable or disable; nothing else of an account can be changed here."""
        entry, asked = self._entry(kind, oid), _body(request)
        if set(asked) != {"accountEnabled"} or not isinstance(asked["accountEnabled"], bool):
            raise bad_request("One or more properties contains invalid values.")
        self.directory.set_enabled(entry.id, asked["accountEnabled"])

    def delete(self, _request: Request, kind: str, oid: str) -> None:
        """Delete an account."""
        self.directory.delete(self._entry(kind, oid).id)

    def revoke(self, _request: Request, kind: str, oid: str) -> dict[str, Any]:
        """`revokeSignInSessions`."""
        self.directory.revoke_sessions(self._entry(kind, oid).id)
        return {"@odata.context": f"{CONTEXT}#Edm.Boolean", "value": True}

    def join(self, request: Request, group: str) -> None:
        """Add a member, named by its address."""
        reference = str(_body(request).get("@odata.id", ""))
        found = re.fullmatch(f"{HOST}/v1\\.0/(?:directoryObjects|users|servicePrincipals|groups)/{_ID}", reference)
        if not found:
            raise bad_request("Invalid URL specified for the reference.")
        if self.directory.group(group) is None or not self._exists(found[1]):
            raise unknown(found[1])
        if not self.directory.join(group, found[1]):
            raise bad_request(
                "One or more added object references already exist for the following modified properties: 'members'."
            )

    def leave(self, _request: Request, group: str, member: str) -> None:
        """Remove a direct member."""
        if self.directory.group(group) is None or not self.directory.leave(group, member):
            raise unknown(member)

    def named_locations(self, request: Request) -> dict[str, Any]:
        """The named locations of conditional access."""
        return page(request, self.locations, "identity/conditionalAccess/namedLocations", self.page_size)

    def signed_in(self, request: Request) -> dict[str, Any]:
        """The sign-in log."""
        return page(request, self._sign_ins.entries, "auditLogs/signIns", self.page_size)

    def _entry(self, kind: str, oid: str) -> Entry:
        entry = self.directory.find(oid)
        if entry is None or kind not in {"directoryObjects", "users" if entry.person else "servicePrincipals"}:
            raise unknown(oid)
        return entry

    def _exists(self, oid: str) -> bool:
        return self.directory.find(oid) is not None or self.directory.group(oid) is not None


@dataclass(frozen=True, slots=True)
class Route:
    """What answers a method on a path; `permissions`: alternatives, each a set."""

    method: str
    path: re.Pattern[str]
    permissions: Sequence[frozenset[str]]
    answer: Callable[..., dict[str, Any] | None]


def _route(method: str, path: str, answer: Callable[..., dict[str, Any] | None], *permissions: str) -> Route:
    """`permissions`: alternatives, each one or more names with `&` between."""
    alternatives = tuple(frozenset(each.split("&")) for each in permissions)
    return Route(method, re.compile(f"/v1\\.0/{path}"), alternatives, answer)


_ID = "([0-9a-fA-F-]{36})"
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
    _route("POST", f"(users)/{_ID}/{_OBJECTS}", Operations.member_objects, *_USER_GROUPS),
    _route("POST", f"(servicePrincipals)/{_ID}/{_OBJECTS}", Operations.member_objects, *_APPLICATION_GROUPS),
    _route("POST", f"(directoryObjects)/{_ID}/{_OBJECTS}", Operations.member_objects, _ALL),
    _route("GET", f"(users)/{_ID}/{_MEMBER_OF}", Operations.member_of, *_USER_GROUPS),
    _route("GET", f"(servicePrincipals)/{_ID}/{_MEMBER_OF}", Operations.member_of, *_APPLICATION_GROUPS),
    _route("GET", f"(groups)/{_ID}/{_MEMBER_OF}", Operations.member_of, "GroupMember.Read.All", "Group.Read.All", _ALL),
    _route("GET", "(users)/delta", Operations.changes, *_USER),
    _route("GET", "(servicePrincipals)/delta", Operations.changes, *_APPLICATION),
    _route("GET", "(users)", Operations.accounts, *_USER),
    _route("GET", "(servicePrincipals)", Operations.accounts, *_APPLICATION),
    _route("GET", f"(users)/{_ID}", Operations.account, *_USER),
    _route("GET", f"(servicePrincipals)/{_ID}", Operations.account, *_APPLICATION),
    _route("PATCH", f"(users)/{_ID}", Operations.change, *_SWITCH),
    _route("PATCH", f"(servicePrincipals)/{_ID}", Operations.change, "Application.ReadWrite.All"),
    _route("DELETE", f"(users)/{_ID}", Operations.delete, "User.DeleteRestore.All", "User.ReadWrite.All"),
    _route("DELETE", f"(servicePrincipals)/{_ID}", Operations.delete, "Application.ReadWrite.All"),
    _route(
        "POST",
        f"(users)/{_ID}/revokeSignInSessions",
        Operations.revoke,
        "User.RevokeSessions.All",
        "User.ReadWrite.All",
    ),
    _route("GET", "groups", Operations.groups, *_GROUPS),
    _route("GET", f"groups/{_ID}/members", Operations.members, *_GROUPS),
    _route("GET", f"groups/{_ID}/owners", Operations.owners, *_GROUPS),
    _route("GET", f"servicePrincipals\\(appId='{_ID}'\\)/appRoleAssignedTo", Operations.assignments, *_APPLICATION),
    _route("POST", f"groups/{_ID}/members/\\$ref", Operations.join, *_MEMBERS),
    _route("DELETE", f"groups/{_ID}/members/{_ID}/\\$ref", Operations.leave, *_MEMBERS),
    _route("GET", "identity/conditionalAccess/namedLocations", Operations.named_locations, "Policy.Read.All"),
    _route("GET", "auditLogs/signIns", Operations.signed_in, "AuditLog.Read.All"),
)


def _body(request: Request) -> dict[str, Any]:
    try:
        value = json.loads(request.body or b"{}")
    except ValueError as cause:
        raise bad_request("Unable to read JSON request payload.", "BadRequest") from cause
    if not isinstance(value, dict):
        raise bad_request("Unable to read JSON request payload.", "BadRequest")
    return value
