"""Graph's applications: listed, made, changed and deleted, by id or by an alternate key.

`PATCH applications(uniqueName='…')` with `Prefer: create-if-missing` makes an application once, however often it is
sent. Leaves out: extensions, delta, `$expand`, `$search`. Source: learn.microsoft.com/graph/api/
resources/application and a page for each operation (application-upsert, application-delete, …).
"""

import base64
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from cryptography import x509

from remit.lab import entra_born, graph_documents, graph_filters
from remit.lab.entra_credentials import certified
from remit.lab.entra_registry import Document, fresh
from remit.lab.graph_audits import Target
from remit.lab.graph_errors import bad_request
from remit.lab.graph_paging import CONTEXT, page, select
from remit.lab.graph_routes import APPLICATION, Answer, Call, Created, body, keyed, route
from remit.lab.graph_tenant import Tenant

_CERTIFICATE = "AsymmetricX509Cert"


def listed(tenant: Tenant, call: Call) -> Answer:
    """`GET applications`."""
    unasked(call)
    holds = graph_filters.parse(call.parameter("$filter"))
    found = [shown(each) for each in tenant.registry.applications.all_seen().values() if holds(each)]
    return page(call, found, "applications", tenant.page_size)


def one(tenant: Tenant, call: Call, key: str) -> Answer:
    """`GET applications/ID`. What certificates hold is told only to who selects them."""
    unasked(call)
    document = tenant.registry.applications.seen(tenant.application(key)["id"]) or {}
    selected = [name for name in call.parameter("$select").split(",") if name]
    told = document if "keyCredentials" in selected else shown(document)
    return {"@odata.context": f"{CONTEXT}#applications/$entity", **select(told, selected)}


def make(tenant: Tenant, call: Call) -> Answer:
    """`POST applications`."""
    return _made(tenant, call, None)


def change(tenant: Tenant, call: Call, key: str) -> Answer:
    """`PATCH applications/ID`, and the upsert by `uniqueName`."""
    name, value = keyed(key)
    wanted = {word.strip() for word in call.headers.get("prefer", "").split(",")}
    if name == "uniqueName" and "create-if-missing" in wanted:
        there = tenant.registry.applications.all_written().values()
        before = next((each for each in there if each[name] == value), None)
        if before is None:
            return _made(tenant, call, value)
    else:
        before = tenant.application(key)
    given = body(call)
    after = credited(before, graph_documents.application(before, given))
    _unique(tenant, after)
    write(tenant, call, before, after, "Update application")
    return None


def delete(tenant: Tenant, call: Call, key: str) -> Answer:
    """`DELETE applications/ID`: it goes to the deleted items, and its service principal with it."""
    document = tenant.application(key)
    written = tenant.registry.principals.all_written().values()
    principal = next((each for each in written if each["appId"] == document["appId"]), None)
    tenant.registry.delete(document["id"], "application")
    target = Target("Application", document["id"], document["displayName"], before=document)
    tenant.audits.write(call, "Delete application", target)
    if principal is not None:
        tenant.directory.delete(principal["id"])
        gone = Target("ServicePrincipal", principal["id"], principal["displayName"])
        tenant.audits.write(call, "Remove service principal", gone)
    return None


def write(tenant: Tenant, call: Call, before: Document, after: Document, activity: str) -> None:
    """Put a changed application in its place, and tell the audit log."""
    tenant.registry.applications.put(after["id"], after)
    target = Target("Application", after["id"], after["displayName"], before, after)
    tenant.audits.write(call, activity, target)


def shown(document: Mapping[str, Any]) -> dict[str, Any]:
    """An application or a service principal without what its certificates hold."""
    keys = [{**each, "key": None} for each in document.get("keyCredentials", ())]
    return {**document, "keyCredentials": keys}


def certificate(given: Mapping[str, Any]) -> dict[str, Any]:
    """A key credential that somebody sends; raises `GraphError` unless it is a certificate that counts now."""
    if given.get("type") != _CERTIFICATE or given.get("usage") != "Verify" or not given.get("key"):
        raise bad_request("Key credential must have type AsymmetricX509Cert, usage Verify, and a key.")
    try:
        found = x509.load_der_x509_certificate(base64.b64decode(given["key"], validate=True))
    except ValueError as cause:
        raise bad_request("New key credential must be valid.", "KeyCredentialsInvalidValue") from cause
    if found.not_valid_after_utc <= datetime.now(UTC):
        raise bad_request("Key credential end date is invalid.", "KeyCredentialsInvalidEndDate")
    return certified(found, given.get("displayName"))


def unasked(call: Call) -> None:
    """Raise `GraphError` for a query option that would be ignored here."""
    for name in ("$search", "$expand", "$apply"):
        if call.parameter(name):
            raise bad_request(f"Query option '{name}' is not supported by the lab.", "Request_UnsupportedQuery")


def _made(tenant: Tenant, call: Call, unique: str | None) -> Created:
    given = body(call)
    if not given.get("displayName"):
        raise bad_request("A value is required for property 'displayName' of resource 'Application'.")
    blank = entra_born.blank(fresh(), fresh(), given["displayName"], tenant.registry.now()) | {"uniqueName": unique}
    document = credited(blank, graph_documents.application(blank, given))
    _unique(tenant, document)
    tenant.registry.applications.put(document["id"], document)
    target = Target("Application", document["id"], document["displayName"], after=document)
    tenant.audits.write(call, "Add application", target)
    return Created({"@odata.context": f"{CONTEXT}#applications/$entity", **shown(document)})


def credited(before: Document, after: dict[str, Any]) -> dict[str, Any]:
    """What holds certificates, with these checked: those that it had are named by their ids, others are new."""
    known = {each["keyId"]: each for each in before["keyCredentials"]}
    held = [known.get(each.get("keyId") or "") or certificate(each) for each in after["keyCredentials"]]
    return {**after, "keyCredentials": held}


def _unique(tenant: Tenant, document: Document) -> None:
    """Raise `GraphError` when another application has the name or a URI; deleted ones keep theirs."""
    deleted = (each.document for each in tenant.registry.restorable().values() if each.kind == "application")
    for other in (*tenant.registry.applications.all_written().values(), *deleted):
        if other["id"] == document["id"]:
            continue
        name = "identifierUris" if set(other["identifierUris"]) & set(document["identifierUris"]) else ""
        if document["uniqueName"] and other["uniqueName"] == document["uniqueName"]:
            name = "uniqueName"
        if name:
            raise bad_request(f"Another object with the same value for property {name} already exists.")


READ = ("Application.Read.All", "Application.ReadWrite.All", "Directory.Read.All")
WRITE = ("Application.ReadWrite.All",)
ROUTES = (
    route("GET", "applications", listed, *READ),
    route("POST", "applications", make, *WRITE),
    route("GET", APPLICATION, one, *READ),
    route("PATCH", APPLICATION, change, *WRITE),
    route("DELETE", APPLICATION, delete, *WRITE),
)
