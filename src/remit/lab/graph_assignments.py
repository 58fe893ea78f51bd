"""Graph's app role assignments and delegated consents: who may do what at which application.

A role is held by a person, a group or a service principal; one at Graph's own service principal is an application
permission that somebody consented to. What hangs on an account that is not there is not shown. Source:
learn.microsoft.com/graph/api/serviceprincipal-post-approleassignedto, .../resources/oauth2permissiongrant.
"""

import secrets
from collections.abc import Mapping
from typing import Any

from remit.lab import contoso, entra_born, graph_filters
from remit.lab.contoso import App
from remit.lab.entra_registry import DEFAULT_ROLE, Document
from remit.lab.graph_applications import READ
from remit.lab.graph_audits import Target
from remit.lab.graph_errors import GraphError, bad_request, unknown
from remit.lab.graph_paging import CONTEXT, page
from remit.lab.graph_routes import ID, PRINCIPAL, Answer, Call, Created, body, route
from remit.lab.graph_tenant import Tenant

_MEMBERS = {"User": "User", "Group": "User", "ServicePrincipal": "Application"}
_WORDS = {"User": "user", "Group": "group", "ServicePrincipal": "service principal"}
_NOT_FOUND = "Permission being assigned was not found on application"
_TAKEN = "Permission being assigned already exists on the object"


def assigned_to(tenant: Tenant, call: Call, key: str) -> Answer:
    """`GET servicePrincipals/ID/appRoleAssignedTo`: who holds a role of it."""
    return _listed(tenant, call, "resourceId", tenant.principal(key)["id"])


def held_by_program(tenant: Tenant, call: Call, key: str) -> Answer:
    """`GET servicePrincipals/ID/appRoleAssignments`: which roles it holds itself."""
    return _listed(tenant, call, "principalId", tenant.principal(key)["id"])


def held_by(tenant: Tenant, call: Call, kind: str, oid: str) -> Answer:
    """`GET users/ID/appRoleAssignments`, and the same of groups."""
    if tenant.directory.kind(oid) != {"users": "User", "groups": "Group"}[kind]:
        raise unknown(oid)
    return _listed(tenant, call, "principalId", oid.lower())


def assign(tenant: Tenant, call: Call, key: str) -> Answer:
    """`POST servicePrincipals/ID/appRoleAssignedTo`."""
    return _assigned(tenant, call, "resourceId", tenant.principal(key)["id"])


def assign_to_program(tenant: Tenant, call: Call, key: str) -> Answer:
    """`POST servicePrincipals/ID/appRoleAssignments`."""
    return _assigned(tenant, call, "principalId", tenant.principal(key)["id"])


def assign_to(tenant: Tenant, call: Call, kind: str, oid: str) -> Answer:
    """`POST users/ID/appRoleAssignments`, and the same of groups."""
    if tenant.directory.kind(oid) != {"users": "User", "groups": "Group"}[kind]:
        raise unknown(oid)
    return _assigned(tenant, call, "principalId", oid.lower())


def unassign(tenant: Tenant, call: Call, key: str, number: str) -> Answer:
    """`DELETE servicePrincipals/ID/appRoleAssignedTo/NUMBER`, or `…/appRoleAssignments/NUMBER`."""
    _unassigned(tenant, call, tenant.principal(key)["id"], number)
    return None


def unassign_from(tenant: Tenant, call: Call, _kind: str, oid: str, number: str) -> Answer:
    """`DELETE users/ID/appRoleAssignments/NUMBER`, and the same of groups."""
    _unassigned(tenant, call, oid.lower(), number)
    return None


def _listed(tenant: Tenant, call: Call, name: str, oid: str) -> dict[str, Any]:
    holds = graph_filters.parse(call.parameter("$filter"))
    found = [each for each in tenant.registry.assignments.all_seen().values() if each[name] == oid and holds(each)]
    there = [each for each in found if tenant.directory.kind(each["principalId"] if name[0] == "r" else oid)]
    return page(call, there, "appRoleAssignments", tenant.page_size)


def _assigned(tenant: Tenant, call: Call, name: str, oid: str) -> Created:
    given = body(call)
    wanted = {each: str(given.get(each) or "").lower() for each in ("principalId", "resourceId", "appRoleId")}
    wrong = next((each for each, value in wanted.items() if not value), "")
    if wrong or wanted[name] != oid:
        raise bad_request(f"Invalid value specified for property '{wrong or name}' of resource 'AppRoleAssignment'.")
    # 1. both ends are there, and seen by now
    kind, resource = tenant.directory.kind(wanted["principalId"]), tenant.principal(f"/{wanted['resourceId']}")
    if not kind:
        raise unknown(wanted["principalId"])
    # 2. the resource has the role, for what kind of thing this is
    _offered(tenant, resource, wanted["appRoleId"], kind)
    # 3. nobody holds a role twice
    app = App(resource["appId"], resource["displayName"], resource["id"])
    holder = (wanted["principalId"], _name(tenant, wanted["principalId"]), kind)
    document = entra_born.assignment(holder, app, wanted["appRoleId"], tenant.registry.now())
    if tenant.registry.assignments.written(document["id"]):
        raise bad_request(_TAKEN, details=("InvalidUpdate", "appRoleId"))
    tenant.registry.assignments.put(document["id"], document)
    _tell(tenant, call, document, None, document)
    context = f"{CONTEXT}#servicePrincipals('{resource['id']}')/appRoleAssignedTo/$entity"
    return Created({"@odata.context": context, **document})


def _offered(tenant: Tenant, resource: Document, number: str, kind: str) -> None:
    backing: Mapping[str, Any] = tenant.registry.backing(resource["appId"]) or {}
    for role in backing.get("appRoles", ()):
        if role["id"] == number and role["isEnabled"] and _MEMBERS[kind] in role["allowedMemberTypes"]:
            return
    if number != DEFAULT_ROLE:
        raise bad_request(f"{_NOT_FOUND} '{resource['appId']}'.")


def _unassigned(tenant: Tenant, call: Call, oid: str, number: str) -> None:
    seen, written = tenant.registry.assignments.seen(number), tenant.registry.assignments.written(number)
    if seen is None or written is None or oid not in {seen["resourceId"], seen["principalId"]}:
        raise unknown(number)
    tenant.registry.assignments.drop(number)
    _tell(tenant, call, seen, seen, None)


def _tell(tenant: Tenant, call: Call, document: Document, before: Document | None, after: Document | None) -> None:
    word = _WORDS[document["principalType"]]
    grant = "" if word == "service principal" else "grant "
    activity = f"Add app role assignment {grant}to {word}" if after else f"Remove app role assignment from {word}"
    category = {"user": "UserManagement", "group": "GroupManagement"}.get(word, "ApplicationManagement")
    named = ("appRoleId", "principalId", "principalDisplayName", "principalType", "resourceId")
    old, new = ({name: each[name] for name in named} if each else None for each in (before, after))
    resource = Target("ServicePrincipal", document["resourceId"], document["resourceDisplayName"], old, new)
    principal = Target(document["principalType"], document["principalId"], document["principalDisplayName"])
    tenant.audits.write(call, activity, resource, principal, category=category)


def _name(tenant: Tenant, oid: str) -> str:
    group, entry = tenant.directory.group(oid), tenant.directory.find(oid)
    return group.name if group else entry.name if entry else ""


def grants(tenant: Tenant, call: Call) -> Answer:
    """`GET oauth2PermissionGrants`."""
    holds = graph_filters.parse(call.parameter("$filter"))
    found = [each for each in tenant.registry.grants.all_seen().values() if holds(each)]
    return page(call, found, "oauth2PermissionGrants", tenant.page_size)


def consent(tenant: Tenant, call: Call) -> Answer:
    """`POST oauth2PermissionGrants`."""
    given = body(call)
    everybody = given.get("consentType") == "AllPrincipals"
    person = given.get("principalId")
    if not everybody and given.get("consentType") != "Principal":
        raise bad_request("Invalid value specified for property 'consentType' of resource 'OAuth2PermissionGrant'.")
    if everybody is bool(person) or not isinstance(given.get("scope"), str):
        raise bad_request("One or more properties contains invalid values.")
    ends = [tenant.principal(f"/{given.get(name)}")["id"] for name in ("clientId", "resourceId")]
    if person and tenant.directory.kind(str(person)) != "User":
        raise unknown(str(person))
    if any(_ends(each) == (*ends, person) for each in tenant.registry.grants.all_written().values()):
        raise GraphError(409, "Request_MultipleObjectsWithSameKeyValue", "Permission entry already exists.")
    document = {
        "id": secrets.token_urlsafe(32),
        "clientId": ends[0],
        "consentType": given["consentType"],
        "principalId": person,
        "resourceId": ends[1],
        "scope": given["scope"],
    }
    tenant.registry.grants.put(document["id"], document)
    _consented(tenant, call, None, document)
    return Created({"@odata.context": f"{CONTEXT}#oauth2PermissionGrants/$entity", **document})


def change_consent(tenant: Tenant, call: Call, number: str) -> Answer:
    """`PATCH oauth2PermissionGrants/NUMBER`: its scopes."""
    before, given = _grant(tenant, number), body(call)
    if set(given) != {"scope"} or not isinstance(given["scope"], str):
        raise bad_request("One or more properties contains invalid values.")
    after = {**before, "scope": given["scope"]}
    tenant.registry.grants.put(number, after)
    _consented(tenant, call, before, after)
    return None


def withdraw(tenant: Tenant, call: Call, number: str) -> Answer:
    """`DELETE oauth2PermissionGrants/NUMBER`."""
    before = _grant(tenant, number)
    tenant.registry.grants.drop(number)
    _consented(tenant, call, before, None)
    return None


def _grant(tenant: Tenant, number: str) -> Document:
    seen, written = tenant.registry.grants.seen(number), tenant.registry.grants.written(number)
    if seen is None or written is None:
        raise unknown(number)
    return written


def _ends(document: Document) -> tuple[str, str, str | None]:
    return document["clientId"], document["resourceId"], document["principalId"]


def _consented(tenant: Tenant, call: Call, before: Document | None, after: Document | None) -> None:
    """The log tells it of the API, and names the client by its object id; whose name it is for it does not say."""
    document = after or before or {}
    activity = "Add delegated permission grant" if before is None else "Remove delegated permission grant"
    activity = activity if before is None or after is None else "Update delegated permission grant"
    name = _name(tenant, document["resourceId"]) or contoso.DOMAIN
    old, new = (
        {
            "DelegatedPermissionGrant.Scope": f" {each['scope']}",
            "DelegatedPermissionGrant.ConsentType": each["consentType"],
        }
        if each
        else {}
        for each in (before, after)
    )
    new = {**new, "ServicePrincipal.ObjectID": document["clientId"]}
    tenant.audits.write(call, activity, Target("ServicePrincipal", document["resourceId"], name, old, new))


_ASSIGN = tuple(
    f"AppRoleAssignment.ReadWrite.All&{each}"
    for each in ("Application.Read.All", "Application.ReadWrite.All", "Directory.Read.All")
)
_TO = rf"{PRINCIPAL}/appRoleAssignedTo"
_OF = rf"{PRINCIPAL}/appRoleAssignments"
_OWNED = rf"(users|groups)/{ID}/appRoleAssignments"
_NUMBER = r"([A-Za-z0-9_\-]+)"
_GRANTS = ("DelegatedPermissionGrant.ReadWrite.All", "Directory.ReadWrite.All")
ROUTES = (
    route("GET", _TO, assigned_to, *READ),
    route("GET", _OF, held_by_program, *READ),
    route("GET", _OWNED, held_by, "Directory.Read.All", "AppRoleAssignment.ReadWrite.All"),
    route("POST", _TO, assign, *_ASSIGN),
    route("POST", _OF, assign_to_program, *_ASSIGN),
    route("POST", _OWNED, assign_to, *_ASSIGN),
    route("DELETE", f"{_TO}/{_NUMBER}", unassign, "AppRoleAssignment.ReadWrite.All"),
    route("DELETE", f"{_OF}/{_NUMBER}", unassign, "AppRoleAssignment.ReadWrite.All"),
    route("DELETE", f"{_OWNED}/{_NUMBER}", unassign_from, "AppRoleAssignment.ReadWrite.All"),
    route("GET", "oauth2PermissionGrants", grants, "DelegatedPermissionGrant.Read.All", "Directory.Read.All", *_GRANTS),
    route("POST", "oauth2PermissionGrants", consent, *_GRANTS),
    route("PATCH", f"oauth2PermissionGrants/{_NUMBER}", change_consent, *_GRANTS),
    route("DELETE", f"oauth2PermissionGrants/{_NUMBER}", withdraw, *_GRANTS),
)
