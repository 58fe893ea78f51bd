"""Graph's federated identity credentials: whose tokens an application takes as its own.

At most 20 of an application, each by a name that never changes; no two with the same issuer and subject. Leaves out:
claims matching expressions (beta). Source: learn.microsoft.com/graph/api/resources/federatedidentitycredential,
.../api/application-post-federatedidentitycredentials, .../federatedidentitycredential-upsert.
"""

import re
from collections.abc import Mapping
from typing import Any

from remit.lab import graph_documents, graph_filters
from remit.lab.entra_registry import Document, fresh
from remit.lab.graph_applications import READ, WRITE
from remit.lab.graph_audits import Target
from remit.lab.graph_errors import GraphError, bad_request, unknown
from remit.lab.graph_paging import CONTEXT, page
from remit.lab.graph_routes import APPLICATION, Answer, Call, Created, body, route
from remit.lab.graph_tenant import Tenant

MOST = 20
_SCHEMA: Mapping[str, Any] = {"name": str, "issuer": str, "subject": str, "audiences": [str], "description": str}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_\-]{0,119}")
_LONGEST = 600  # characters of an issuer, subject, audience or description
_INVALID = "InvalidFederatedIdentityCredentialValue"
_FEDERATIONS = rf"{APPLICATION}/federatedIdentityCredentials"
_BY_NAME = rf"{_FEDERATIONS}\(name='([^/]*)'\)"


def listed(tenant: Tenant, call: Call, key: str) -> Answer:
    """`GET applications/ID/federatedIdentityCredentials`."""
    application, holds = tenant.application(key), graph_filters.parse(call.parameter("$filter"))
    found = [each for each in tenant.registry.federations.all_seen().values() if _of(application, each)]
    context = f"applications('{application['id']}')/federatedIdentityCredentials"
    return page(call, [_shown(each) for each in found if holds(each)], context, tenant.page_size)


def one(tenant: Tenant, _call: Call, key: str, name: str) -> Answer:
    """One of them, by its id or by its name."""
    application = tenant.application(key)
    document = _find(tenant, application, name)
    return {"@odata.context": _context(application), **_shown(document)}


def make(tenant: Tenant, call: Call, key: str) -> Answer:
    """`POST applications/ID/federatedIdentityCredentials`."""
    return _made(tenant, call, tenant.application(key), body(call))


def change(tenant: Tenant, call: Call, key: str, name: str) -> Answer:
    """`PATCH`, by id or by name; by name it is an upsert when that is preferred."""
    application, given = tenant.application(key), body(call)
    wanted = {word.strip() for word in call.headers.get("prefer", "").split(",")}
    written = tenant.registry.federations.all_written().values()
    there = any(_of(application, each) and name in {each["name"], each["id"]} for each in written)
    if not there and "create-if-missing" in wanted and not graph_documents.guid(name):
        return _made(tenant, call, application, {**given, "name": name})
    before = _find(tenant, application, name)
    graph_documents.checked(given, _SCHEMA, "FederatedIdentityCredential")
    if given.get("name", before["name"]) != before["name"]:
        raise bad_request("Name is immutable and cannot be changed after creation.", _INVALID)
    after = {**before, **{name: each for name, each in given.items() if name[0] != "@"}}
    _check(tenant, after)
    tenant.registry.federations.put(after["id"], after)
    _tell(tenant, call, application, before, after)
    return None


def delete(tenant: Tenant, call: Call, key: str, name: str) -> Answer:
    """`DELETE`, by id or by name."""
    application = tenant.application(key)
    document = _find(tenant, application, name)
    tenant.registry.federations.drop(document["id"])
    _tell(tenant, call, application, document, None)
    return None


def _made(tenant: Tenant, call: Call, application: Document, given: Mapping[str, Any]) -> Created:
    graph_documents.checked(given, _SCHEMA, "FederatedIdentityCredential")
    kept = {name: given.get(name) for name in ("name", "issuer", "subject", "description", "audiences")}
    document = {"id": fresh(), **kept, "application": application["id"]}
    _check(tenant, document)
    tenant.registry.federations.put(document["id"], document)
    _tell(tenant, call, application, None, document)
    return Created({"@odata.context": _context(application), **_shown(document)})


def _check(tenant: Tenant, document: Document) -> None:
    """Raise `GraphError` for what the service does not take."""
    for name in ("name", "issuer", "subject"):
        if not document[name]:
            raise bad_request(f"The {name} of a federated identity credential must not be null or empty.", _INVALID)
    if not _NAME.fullmatch(document["name"]):
        raise bad_request("The name must be URL friendly, with at most 120 characters.", _INVALID)
    audiences = document["audiences"]
    if not audiences or len(audiences) != 1:
        raise bad_request("A federated identity credential must have exactly one audience.", _INVALID)
    texts = (document["issuer"], document["subject"], document["description"] or "", *audiences)
    if any(len(text) > _LONGEST for text in texts):
        raise bad_request(f"A value is longer than {_LONGEST} characters.", _INVALID)
    if not document["issuer"].startswith("https://"):
        raise bad_request("The issuer must be a valid URL with the https scheme.", _INVALID)
    written = tenant.registry.federations.all_written().values()
    others = [each for each in written if _same_application(each, document) and each["id"] != document["id"]]
    if any(each["name"] == document["name"] for each in others):
        raise _taken(f"FederatedIdentityCredential with name {document['name']} already exists.")
    if any((each["issuer"], each["subject"]) == (document["issuer"], document["subject"]) for each in others):
        raise _taken(
            f"FederatedIdentityCredential with issuer {document['issuer']} and subject {document['subject']} already "
            "exists."
        )
    if len(others) >= MOST:
        raise bad_request(
            f"The maximum number of federated identity credentials per application ({MOST}) has been reached.",
            "Directory_QuotaExceeded",
        )


def _find(tenant: Tenant, application: Document, name: str) -> Document:
    """A credential that is seen, as it was written last."""
    for each in tenant.registry.federations.all_seen().values():
        if _of(application, each) and name in {each["id"], each["name"]}:
            last = tenant.registry.federations.written(each["id"])
            if last is not None:
                return last
    raise unknown(name)


def _of(application: Document, document: Document) -> bool:
    return bool(document["application"] == application["id"])


def _same_application(one: Document, other: Document) -> bool:
    return bool(one["application"] == other["application"])


def _shown(document: Document) -> dict[str, Any]:
    return {name: each for name, each in document.items() if name != "application"}


def _context(application: Document) -> str:
    return f"{CONTEXT}#applications('{application['id']}')/federatedIdentityCredentials/$entity"


def _taken(message: str) -> GraphError:
    return GraphError(409, "Request_MultipleObjectsWithSameKeyValue", message)


def _tell(tenant: Tenant, call: Call, application: Document, before: Document | None, after: Document | None) -> None:
    """The log knows a federated credential as a property of its application."""
    old, new = ({"federatedIdentityCredentials": _shown(each) if each else None} for each in (before, after))
    target = Target("Application", application["id"], application["displayName"], old, new)
    tenant.audits.write(call, "Update application", target)


ROUTES = (
    route("GET", _FEDERATIONS, listed, *READ),
    route("POST", _FEDERATIONS, make, *WRITE),
    *(
        route(method, path, answer, *permissions)
        for path in (rf"{_FEDERATIONS}/([A-Za-z0-9_\-]+)", _BY_NAME)
        for method, answer, permissions in (("GET", one, READ), ("PATCH", change, WRITE), ("DELETE", delete, WRITE))
    ),
)
