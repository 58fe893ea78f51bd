"""Microsoft.Authorization: role definitions, and role assignments read, made and removed.

Source: learn.microsoft.com/rest/api/authorization/ role-assignments and role-definitions (2022-04-01),
learn.microsoft.com/azure/role-based-access-control/role-assignments-list-rest (filters).
"""

import json
import re
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from remit.lab import contoso
from remit.lab import contoso_azure as azure
from remit.lab.arm_activity import Activity, Caller
from remit.lab.arm_assignments import Assignment, Assignments
from remit.lab.arm_errors import ArmError, bad_filter, bad_request, unroutable
from remit.lab.arm_roles import ROLES, Role
from remit.lab.arm_scopes import canonical, reaches
from remit.lab.http import Request, Response
from remit.lab.http_server import reply

_GUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
_PRINCIPAL = re.compile(r"(?:principalId\s+eq\s+'?|assignedTo\(\s*')([0-9a-fA-F-]{36})'?\s*\)?")
_NAME = re.compile(r"roleName\s+eq\s+'((?:[^']|'')*)'", re.IGNORECASE)
_DEFINITION = re.compile(
    r"(?:/subscriptions/[^/]+)?(?:/[^?#]*)?/providers/Microsoft\.Authorization/roleDefinitions/([^/]+)", re.IGNORECASE
)
_KINDS = frozenset({"User", "Group", "ServicePrincipal", "ForeignGroup", "Device"})
_CONDITIONS = "2.0"  # the only version
_MORE = ("description", "condition", "conditionVersion")
_TAKEN = frozenset({"roleDefinitionId", "principalId", "principalType", "delegatedManagedIdentityResourceId", *_MORE})
_WRITE, _DELETE = "Microsoft.Authorization/roleAssignments/write", "Microsoft.Authorization/roleAssignments/delete"

Require = Callable[[Caller, str, str], None]
"""Caller, action, scope; raises `ArmError`."""


class Access:
    """The provider. `kind_of`: as of `Arm`; `page`: how many role assignments one answer holds, 0 for all."""

    def __init__(self, assignments: Assignments, activity: Activity, kind_of: Callable[[str], str]) -> None:
        self._assignments = assignments
        self._activity = activity
        self._kind_of = kind_of
        self.page = 0

    def __call__(self, request: Request, caller: Caller, scope: str, rest: str, require: Require) -> Response:
        """Answer one request. `scope`: as it was asked; `rest`: the path behind the provider's name."""
        kind, _, name = rest.partition("/")
        if kind.lower() == "roledefinitions" and request.method == "GET":
            if scope:  # the tenant's are everybody's to read
                require(caller, "Microsoft.Authorization/roleDefinitions/read", scope)
            under = azure.SUBSCRIPTION if scope else ""
            if name:
                return reply(_definition(name).describe(under))
            return reply({"value": [each.describe(under) for each in _list(request)]})
        if kind.lower() != "roleassignments" or "/" in name:
            raise unroutable(request.method, f"{scope}/providers/Microsoft.Authorization/{rest}")
        if request.method == "GET":
            require(caller, "Microsoft.Authorization/roleAssignments/read", scope)
            return reply(self._one(_place(scope), name) if name else self._all(request, _place(scope)))
        if request.method in {"PUT", "DELETE"} and name:
            require(caller, _WRITE if request.method == "PUT" else _DELETE, scope)
            change = self._put if request.method == "PUT" else self._remove
            return change(request, caller, _place(scope), name.lower())
        raise unroutable(request.method, scope)

    def _one(self, scope: str, name: str) -> dict[str, Any]:
        found = self._assignments.find(scope, name.lower())
        if found is None:
            raise ArmError(
                HTTPStatus.NOT_FOUND, "RoleAssignmentNotFound", f"The role assignment '{name}' is not found."
            )
        return found.describe()

    def _all(self, request: Request, scope: str) -> dict[str, Any]:
        """What holds at a scope: above and, unless the filter says `atScope()`, below it."""
        text = request.parameter("$filter")
        above, holders = self._filter(text)
        found = [
            each
            for each in self._assignments.seen()
            if (reaches(each.scope, scope) or (not above and reaches(scope, each.scope)))
            and (holders is None or each.principal in holders)
        ]
        start = int(request.parameter("$skipToken") or 0)
        end = start + self.page if self.page else len(found)
        answer: dict[str, Any] = {"value": [each.describe() for each in found[start:end]]}
        if end < len(found):
            query = f"api-version={request.parameter('api-version')}&$filter={quote(text)}&$skipToken={end}"
            path = f"{scope}/providers/Microsoft.Authorization/roleAssignments"
            answer["nextLink"] = f"https://management.azure.com{path}?{query}"
        return answer

    def _filter(self, text: str) -> tuple[bool, frozenset[str] | None]:
        """Whether only at and above the scope, and whose; `None` for everybody's."""
        above, holders = False, None
        for part in filter(None, re.split(r"\s+and\s+", text.strip())):
            match = _PRINCIPAL.fullmatch(part)
            if part == "atScope()":
                above = True
            elif match is None:
                raise bad_filter(text)
            else:
                through = part.startswith("assignedTo")
                holders = self._assignments.holders(match[1]) if through else frozenset({match[1].lower()})
        return above, holders

    def _put(self, request: Request, caller: Caller, scope: str, name: str) -> Response:
        body = _object(request.body)
        resource = f"{scope}/providers/Microsoft.Authorization/roleAssignments/{name}"
        try:
            asked = self._understand(body, caller, scope, name)
            made = self._assignments.put(asked)
        except ArmError as error:
            self._activity.write(caller, "write", resource, status=error.status, body=body, error=error)
            raise
        status = HTTPStatus.CREATED if made else HTTPStatus.OK
        self._activity.write(caller, "write", resource, status=status, body=body)
        return reply(asked.describe(), status)

    def _understand(self, body: dict[str, Any], caller: Caller, scope: str, name: str) -> Assignment:
        """The assignment that a body asks for; raises `ArmError`."""
        if not _GUID.fullmatch(name):
            raise bad_request(
                "InvalidRoleAssignmentId",
                f"The role assignment ID '{name}' is not valid. The role assignment ID must be a GUID.",
            )
        properties = body.get("properties")
        if not isinstance(properties, dict) or not _TAKEN.issuperset(properties):
            raise bad_request("InvalidRequestContent", "The request content was invalid and could not be deserialized.")
        principal = str(properties.get("principalId") or "").lower()
        if not _GUID.fullmatch(principal):
            raise bad_request("InvalidPrincipalId", "A valid principal ID must be provided for role assignment.")
        if properties.get("condition") and properties.get("conditionVersion") != _CONDITIONS:
            raise bad_request("InvalidConditionVersion", f"The condition version must be '{_CONDITIONS}'.")
        now = self._activity.moment()
        return Assignment(
            name,
            scope,
            _role(str(properties.get("roleDefinitionId") or "")),
            principal,
            self._kind(principal, properties.get("principalType")),
            {key: properties[key] for key in _MORE if properties.get(key) is not None},
            caller.oid,
            now,
            now,
        )

    def _kind(self, principal: str, said: Any) -> str:
        """What the principal is. Azure believes what it is told of one that it cannot see yet; raises `ArmError`."""
        known = self._kind_of(principal)
        if said is not None and said not in _KINDS:
            raise bad_request("InvalidPrincipalType", f"The principal type '{said}' is not valid.")
        if said and known and said != known:
            raise bad_request(
                "UnmatchedPrincipalType",
                f"The PrincipalId '{principal.replace('-', '')}' has type '{known}' , which is different from "
                f"specified PrinciaplType '{said}'.",
            )
        if not known and not said:
            raise bad_request(
                "PrincipalNotFound",
                f"Principal {principal.replace('-', '')} does not exist in the directory {contoso.TENANT}. Check that "
                "you have the correct principal ID. If you are creating this principal and then immediately assigning "
                "a role, this error might be related to a replication delay. In this case, set the role assignment "
                "principalType property to a value, such as ServicePrincipal, User, or Group.  See "
                "https://aka.ms/docs-principaltype",
            )
        return known or str(said)

    def _remove(self, request: Request, caller: Caller, scope: str, name: str) -> Response:
        del request
        gone = self._assignments.remove(scope, name)
        if gone is None:
            return Response(HTTPStatus.NO_CONTENT)
        told = gone.describe()
        self._activity.write(caller, "delete", gone.resource, status=HTTPStatus.OK, body=told)
        return reply(told)


def _place(scope: str) -> str:
    """The canonical scope; raises `ArmError`."""
    found = canonical(scope)
    if found is None:
        raise bad_request("InvalidScope", f"The scope '{scope}' is not valid, or the lab has none of this kind.")
    return found


def _role(resource: str) -> str:
    """The GUID of a role definition's id; raises `ArmError`."""
    match = _DEFINITION.fullmatch(resource)
    return _definition(match[1] if match else resource).id


def _definition(name: str) -> Role:
    """The role with this GUID; raises `ArmError`."""
    found = ROLES.get(name.lower())
    if found is None:
        raise ArmError(
            HTTPStatus.NOT_FOUND,
            "RoleDefinitionDoesNotExist",
            f"The specified role definition with ID '{name.replace('-', '')}' does not exist.",
        )
    return found


def _list(request: Request) -> Iterator[Role]:
    """The definitions that a filter leaves; raises `ArmError`."""
    wanted, custom = "", False
    text = request.parameter("$filter")
    for part in filter(None, re.split(r"\s+and\s+", text.strip())):
        match = _NAME.fullmatch(part)
        kind = re.fullmatch(r"type\s+eq\s+'(BuiltInRole|CustomRole)'", part)
        if match:
            wanted = match[1].replace("''", "'").lower()
        elif kind:
            custom = kind[1] == "CustomRole"
        elif part != "atScopeAndBelow()":
            raise bad_filter(text)
    return (role for role in ROLES.values() if not custom and wanted in {"", role.name.lower()})


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except ValueError as cause:
        raise bad_request("InvalidRequestContent", "The request content was invalid JSON.") from cause
    if not isinstance(value, dict):
        raise bad_request("InvalidRequestContent", "The request content was no object.")
    return value
