"""Graph's service principals: what an application is inside this tenant.

A managed identity has one too, and no application. What an application exposes is shown on its service principal, which
may hold secrets and certificates of its own; those of a managed identity are Azure's.
Source: learn.microsoft.com/graph/api/resources/serviceprincipal and a page for each operation.
"""

from collections.abc import Mapping
from typing import Any

from remit.lab import entra_born, graph_documents, graph_filters
from remit.lab.entra_registry import Document, fresh
from remit.lab.graph_applications import READ, WRITE, credited, shown, unasked
from remit.lab.graph_audits import Target, described
from remit.lab.graph_errors import GraphError, bad_request
from remit.lab.graph_paging import CONTEXT, page, select
from remit.lab.graph_routes import PRINCIPAL, Answer, Call, Created, body, route
from remit.lab.graph_tenant import Tenant

_CONTEXT = f"{CONTEXT}#servicePrincipals/$entity"


def listed(tenant: Tenant, call: Call) -> Answer:
    """`GET servicePrincipals`."""
    unasked(call)
    holds = graph_filters.parse(call.parameter("$filter"))
    found = [shown(rendered(tenant, each)) for each in tenant.registry.principals.all_seen().values()]
    return page(call, [each for each in found if holds(each)], "servicePrincipals", tenant.page_size)


def one(tenant: Tenant, call: Call, key: str) -> Answer:
    """`GET servicePrincipals/ID`."""
    unasked(call)
    found = tenant.registry.principals.seen(tenant.principal(key)["id"]) or {}
    selected = [name for name in call.parameter("$select").split(",") if name]
    told = rendered(tenant, found)
    return {"@odata.context": _CONTEXT, **select(told if "keyCredentials" in selected else shown(told), selected)}


def make(tenant: Tenant, call: Call) -> Answer:
    """`POST servicePrincipals`, for an application that is seen by now."""
    given = body(call)
    app = given.pop("appId", None)
    if not isinstance(app, str) or not graph_documents.guid(app):
        raise bad_request("A value is required for property 'appId' of resource 'ServicePrincipal'.")
    graph_documents.checked(given, graph_documents.PRINCIPAL, "ServicePrincipal")
    backing, written = tenant.registry.backing(app), tenant.registry.principals.all_written().values()
    if backing is None:
        raise bad_request(
            f"The appId '{app}' of the service principal does not reference a valid application object.",
            details=("NoBackingApplicationObject", "appId"),
        )
    if any(each["appId"] == backing["appId"] for each in written):
        raise GraphError(
            409,
            "Request_MultipleObjectsWithSameKeyValue",
            "The service principal cannot be created, updated, or restored because the service principal name "
            f"{app} is already in use.",
        )
    now, name = tenant.registry.now(), backing["displayName"]
    blank = entra_born.principal_of(fresh(), backing["appId"], name, now)
    document = credited(blank, blank | given)
    tenant.registry.principals.put(document["id"], document)
    tenant.directory.note(document["id"])
    tenant.audits.write(call, "Add service principal", Target("ServicePrincipal", document["id"], name, after=document))
    return Created({"@odata.context": _CONTEXT, **shown(rendered(tenant, document))})


def change(tenant: Tenant, call: Call, key: str) -> Answer:
    """`PATCH servicePrincipals/ID`."""
    before, given = tenant.principal(key), body(call)
    graph_documents.checked(given, graph_documents.PRINCIPAL, "ServicePrincipal")
    if None in (given.get("accountEnabled", True), given.get("appRoleAssignmentRequired", True)):
        raise bad_request("One or more properties contains invalid values.")
    if "keyCredentials" in given and before["servicePrincipalType"] == "ManagedIdentity":
        raise bad_request("Credentials of a managed identity cannot be changed.")
    after = graph_documents.merged(before, {name: each for name, each in given.items() if name[0] != "@"})
    after = credited(before, after)
    tenant.registry.principals.put(after["id"], after)
    tenant.directory.note(after["id"])
    target = Target("ServicePrincipal", after["id"], after["displayName"], before, after)
    tenant.audits.write(call, "Update service principal", target)
    old, new = described(before), described(after)
    if old != new:
        verb = "Add" if len(new["KeyDescription"]) > len(old["KeyDescription"]) else "Remove"
        changed = Target("ServicePrincipal", after["id"], after["displayName"], old, new)
        tenant.audits.write(call, f"{verb} service principal credentials", changed)
    return None


def delete(tenant: Tenant, call: Call, key: str) -> Answer:
    """`DELETE servicePrincipals/ID`."""
    document = tenant.principal(key)
    tenant.directory.delete(document["id"])
    target = Target("ServicePrincipal", document["id"], document["displayName"], before=document)
    tenant.audits.write(call, "Remove service principal", target)
    return None


def rendered(tenant: Tenant, document: Document) -> dict[str, Any]:
    """A service principal with what its application exposes."""
    backing: Mapping[str, Any] = tenant.registry.backing(document["appId"]) or {}
    api = backing.get("api", {})
    replies = [uri for kind in ("web", "spa", "publicClient") for uri in backing.get(kind, {}).get("redirectUris", ())]
    return {
        **document,
        "appRoles": backing.get("appRoles", []),
        "oauth2PermissionScopes": api.get("oauth2PermissionScopes", []),
        "servicePrincipalNames": [document["appId"], *backing.get("identifierUris", ())],
        "replyUrls": replies,
        "signInAudience": backing.get("signInAudience"),
    }


ROUTES = (
    route("GET", "servicePrincipals", listed, *READ),
    route("POST", "servicePrincipals", make, *WRITE),
    route("GET", PRINCIPAL, one, *READ),
    route("PATCH", PRINCIPAL, change, *WRITE),
    route("DELETE", PRINCIPAL, delete, *WRITE),
)
