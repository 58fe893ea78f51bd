"""Graph's deleted items: applications and service principals, which can be brought back for 30 days.

An application's service principal is deleted with it, and restored with it. Source: learn.microsoft.com/graph/api/
directory-deleteditems-restore, learn.microsoft.com/entra/identity/enterprise-apps/delete-recover-faq.
"""

from typing import Any

from remit.lab import graph_filters
from remit.lab.entra_registry import Document
from remit.lab.graph_applications import READ, WRITE, shown
from remit.lab.graph_audits import Target
from remit.lab.graph_errors import unknown
from remit.lab.graph_paging import CONTEXT, page
from remit.lab.graph_routes import ID, Answer, Call, route
from remit.lab.graph_tenant import Tenant

_DELETED = "directory/deletedItems"


def _deleted(tenant: Tenant, oid: str) -> Document:
    found = tenant.registry.restorable().get(oid.lower())
    if found is None:
        raise unknown(oid)
    return found.document


def listed(tenant: Tenant, call: Call, kind: str) -> Answer:
    """`GET directory/deletedItems/microsoft.graph.application`, or `…servicePrincipal`."""
    holds = graph_filters.parse(call.parameter("$filter"))
    items = [each.document for each in tenant.registry.restorable().values() if each.kind == kind]
    found = [shown(each) if kind == "application" else each for each in items if holds(each)]
    return page(call, found, f"{kind}s", tenant.page_size)


def one(tenant: Tenant, _call: Call, oid: str) -> Answer:
    """`GET directory/deletedItems/ID`."""
    return _typed(tenant, oid, _deleted(tenant, oid))


def restore(tenant: Tenant, call: Call, oid: str) -> Answer:
    """`POST directory/deletedItems/ID/restore`: an application's service principal comes back with it."""
    document = _deleted(tenant, oid)
    answer = _typed(tenant, oid, {**document, "deletedDateTime": None})
    kind = tenant.registry.restorable()[oid.lower()].kind
    if kind == "servicePrincipal":
        _restore(tenant, call, document, "service principal")
        return answer
    principals = [each.document for each in tenant.registry.restorable().values() if each.kind == "servicePrincipal"]
    _restore(tenant, call, document, "application")
    for each in principals:
        if each["appId"] == document["appId"]:
            _restore(tenant, call, each, "service principal")
    return answer


def forget(tenant: Tenant, call: Call, oid: str) -> Answer:
    """`DELETE directory/deletedItems/ID`: gone for good, and what hung on it."""
    document, registry = _deleted(tenant, oid), tenant.registry
    kind = registry.restorable()[oid.lower()].kind
    del registry.deleted[oid.lower()]
    for each in registry.federations.all_written().values():
        if each["application"] == document["id"]:
            registry.federations.drop(each["id"])
    for each in registry.assignments.all_written().values():
        if document["id"] in {each["principalId"], each["resourceId"]}:
            registry.assignments.drop(each["id"])
    named = "application" if kind == "application" else "service principal"
    target = Target(kind[0].upper() + kind[1:], document["id"], document["displayName"])
    tenant.audits.write(call, f"Hard Delete {named}", target)
    return None


def _restore(tenant: Tenant, call: Call, document: Document, named: str) -> None:
    tenant.directory.restore(document["id"])
    kind = "Application" if named == "application" else "ServicePrincipal"
    tenant.audits.write(call, f"Restore {named}", Target(kind, document["id"], document["displayName"]))


def _typed(tenant: Tenant, oid: str, document: Document) -> dict[str, Any]:
    kind = tenant.registry.restorable()[oid.lower()].kind
    told = shown(document) if kind == "application" else dict(document)
    return {
        "@odata.context": f"{CONTEXT}#directoryObjects/$entity",
        "@odata.type": f"#microsoft.graph.{kind}",
        **told,
    }


ROUTES = (
    route("GET", rf"{_DELETED}/microsoft\.graph\.(application|servicePrincipal)", listed, *READ),
    route("GET", f"{_DELETED}/{ID}", one, *READ),
    route("POST", f"{_DELETED}/{ID}/restore", restore, *WRITE),
    route("DELETE", f"{_DELETED}/{ID}", forget, *WRITE),
)
