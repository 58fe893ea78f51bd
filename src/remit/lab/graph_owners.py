"""Graph's owners of applications and service principals: whoever is one may change it, and give it a secret.

Leaves out: that an owner may do so without a permission, since nobody here asks Graph as a person. Source:
learn.microsoft.com/graph/api/application-list-owners, application-post-owners, application-delete-owners, and the same
of serviceprincipal.
"""

import re

from remit.lab.entra_registry import Document
from remit.lab.graph_applications import READ, WRITE
from remit.lab.graph_audits import Target
from remit.lab.graph_errors import bad_request, unknown
from remit.lab.graph_inventory import typed
from remit.lab.graph_paging import HOST, page
from remit.lab.graph_routes import APPLICATION, ID, PRINCIPAL, Answer, Call, body, route
from remit.lab.graph_tenant import Tenant

_REFERENCE = re.compile(f"{HOST}/v1\\.0/(?:directoryObjects|users|servicePrincipals)/{ID}")


def listed(tenant: Tenant, call: Call, key: str) -> Answer:
    """`GET …/owners`: those that still exist."""
    found = map(tenant.directory.find, tenant.registry.owners.get(_object(tenant, call, key)["id"], ()))
    return page(call, [typed(entry) for entry in found if entry], "directoryObjects", tenant.page_size)


def add(tenant: Tenant, call: Call, key: str) -> Answer:
    """`POST …/owners/$ref`: a person or a service principal, named by its address."""
    owned, reference = _object(tenant, call, key), _REFERENCE.fullmatch(str(body(call).get("@odata.id", "")))
    if not reference:
        raise bad_request("Invalid URL specified for the reference.")
    if tenant.directory.find(reference[1]) is None:
        raise unknown(reference[1])
    owners = tenant.registry.owners.get(owned["id"], ())
    if reference[1] in owners:
        raise bad_request(
            "One or more added object references already exist for the following modified properties: 'owners'."
        )
    tenant.registry.owners[owned["id"]] = (*owners, reference[1])
    _told(tenant, call, owned, "Add owner to", reference[1])
    return None


def remove(tenant: Tenant, call: Call, key: str, owner: str) -> Answer:
    """`DELETE …/owners/ID/$ref`."""
    owned = _object(tenant, call, key)
    owners = tenant.registry.owners.get(owned["id"], ())
    if owner not in owners:
        raise unknown(owner)
    tenant.registry.owners[owned["id"]] = tuple(each for each in owners if each != owner)
    _told(tenant, call, owned, "Remove owner from", owner)
    return None


def _object(tenant: Tenant, call: Call, key: str) -> Document:
    return tenant.principal(key) if "/servicePrincipals" in call.path else tenant.application(key)


def _told(tenant: Tenant, call: Call, owned: Document, activity: str, owner: str) -> None:
    kind, noun = ("ServicePrincipal", "service principal") if "/servicePrincipals" in call.path else _APPLICATION
    targets = Target("User", owner, ""), Target(kind, owned["id"], owned["displayName"])
    tenant.audits.write(call, f"{activity} {noun}", *targets)


_APPLICATION = "Application", "application"
ROUTES = tuple(
    found
    for place in (APPLICATION, PRINCIPAL)
    for found in (
        route("GET", f"{place}/owners", listed, *READ),
        route("POST", f"{place}/owners/\\$ref", add, *WRITE),
        route("DELETE", f"{place}/owners/{ID}/\\$ref", remove, *WRITE),
    )
)
