"""Microsoft.ManagedIdentity: user-assigned identities, and the federated credentials that somebody puts on one.

Whoever controls such a credential's subject gets tokens as the identity, from Entra's token endpoint and without Azure.
The identities are the tenant's; none can be made or removed here, only their credentials. Leaves out: system-assigned
identities, pages, `claimsMatchingExpression` (preview). Source: learn.microsoft.com/rest/api/managedidentity/
user-assigned-identities and federated-identity-credentials (2023-01-31), learn.microsoft.com/entra/workload-id/
workload-identity-federation-considerations (20 of one identity, names).
"""

import json
import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from remit.lab import contoso
from remit.lab.arm_activity import Activity, Caller
from remit.lab.arm_errors import ArmError, bad_request, no_resource, unroutable
from remit.lab.arm_scopes import canonical
from remit.lab.entra_registry import Document, Registry, fresh
from remit.lab.http import Request, Response
from remit.lab.http_server import reply

TYPE = "Microsoft.ManagedIdentity/userAssignedIdentities"
CREDENTIALS = f"{TYPE}/federatedIdentityCredentials"
MOST = 20
_LOCATION = "westeurope"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{2,119}")
PATH = re.compile(
    rf"(/subscriptions/[^/]+/resourceGroups/[^/]+/providers/{re.escape(TYPE)}/[^/]+)"
    r"(/federatedIdentityCredentials(?:/([^/]+))?)?",
    re.IGNORECASE,
)

Require = Callable[[Caller, str, str], None]
"""Caller, action, scope; raises `ArmError`."""


class Identities:
    """The provider, over one tenant's identities."""

    def __init__(self, registry: Registry, activity: Activity) -> None:
        self._registry = registry
        self._activity = activity

    def __call__(self, request: Request, caller: Caller, path: re.Match[str], require: Require) -> Response:
        """Answer one request on a path that `PATH` fits."""
        scope, credentials, name = path[1], path[2], path[3] or ""
        if not credentials:
            require(caller, f"{TYPE}/read", scope)
            if request.method != "GET":
                raise unroutable(request.method, path[0])
            return reply(_shown(self._find(scope), canonical(scope) or scope))
        action = {"GET": "read", "PUT": "write", "DELETE": "delete"}.get(request.method)
        if action is None or (action != "read" and not name):
            raise unroutable(request.method, path[0])
        require(caller, f"{CREDENTIALS}/{action}", scope)
        identity, place = self._find(scope), canonical(scope) or scope
        if action == "write":
            return self._put(request, caller, identity, f"{place}/federatedIdentityCredentials/{name}")
        if action == "delete":
            return self._remove(caller, identity, f"{place}/federatedIdentityCredentials/{name}")
        found = [_credential(each, place) for each in self._held(identity)]
        if not name:
            return reply({"value": found})
        same = next((each for each in found if each["name"].lower() == name.lower()), None)
        if same is None:
            raise _no_credential(name)
        return reply(same)

    def _find(self, scope: str) -> Document:
        """The service principal of an identity, which is what the tenant knows of it; raises `ArmError`."""
        for document in self._registry.principals.all_seen().values():
            if scope.lower() in (each.lower() for each in document["alternativeNames"]):
                return document
        parts = scope.split("/")
        raise no_resource(f"{TYPE}/{parts[-1]}", parts[4])

    def _held(self, identity: Document) -> list[Document]:
        return [
            each for each in self._registry.federations.all_seen().values() if each["application"] == identity["id"]
        ]

    def _put(self, request: Request, caller: Caller, identity: Document, resource: str) -> Response:
        name, given = resource.rpartition("/")[2], _properties(request.body)
        if not _NAME.fullmatch(name):
            raise bad_request("BadRequest", f"The name '{name}' of the federated identity credential is not valid.")
        held = [each for each in self._registry.federations.all_written().values() if _of(each, identity)]
        others = [each for each in held if each["name"].lower() != name.lower()]
        if any((each["issuer"], each["subject"]) == (given["issuer"], given["subject"]) for each in others):
            raise ArmError(
                HTTPStatus.CONFLICT,
                "Conflict",
                "Issuer and subject combination already exists for this Managed Identity.",
            )
        if len(others) >= MOST:
            raise bad_request("BadRequest", f"Too many Federated Identity Credentials: {MOST} is the limit.")
        old = next((each for each in held if each["name"].lower() == name.lower()), None)
        number = str(old["id"]) if old else fresh()
        document = {"id": number, "name": name, "description": None, "application": identity["id"], **given}
        self._registry.federations.put(number, document)
        status = HTTPStatus.OK if old else HTTPStatus.CREATED
        self._activity.write(caller, "write", resource, status=status, body=None, kind=CREDENTIALS)
        return reply(_credential(document, resource.rpartition("/federatedIdentityCredentials/")[0]), status)

    def _remove(self, caller: Caller, identity: Document, resource: str) -> Response:
        name = resource.rpartition("/")[2].lower()
        held = self._registry.federations.all_written().values()
        old = next((each for each in held if _of(each, identity) and each["name"].lower() == name), None)
        if old is None:
            return Response(HTTPStatus.NO_CONTENT)
        self._registry.federations.drop(str(old["id"]))
        self._activity.write(caller, "delete", resource, status=HTTPStatus.OK, body=None, kind=CREDENTIALS)
        return Response(HTTPStatus.OK)


def _of(document: Document, identity: Document) -> bool:
    return bool(document["application"] == identity["id"])


def _shown(identity: Document, resource: str) -> dict[str, Any]:
    return {
        "id": resource,
        "name": resource.rpartition("/")[2],
        "type": TYPE,
        "location": _LOCATION,
        "tags": {},
        "properties": {"tenantId": contoso.TENANT, "principalId": identity["id"], "clientId": identity["appId"]},
    }


def _credential(document: Document, place: str) -> dict[str, Any]:
    return {
        "id": f"{place}/federatedIdentityCredentials/{document['name']}",
        "name": document["name"],
        "type": CREDENTIALS,
        "properties": {name: document[name] for name in ("issuer", "subject", "audiences")},
    }


def _properties(body: bytes) -> dict[str, Any]:
    """Issuer, subject and audiences of a body; raises `ArmError`."""
    try:
        given = json.loads(body)["properties"]
        found = {name: given[name] for name in ("issuer", "subject", "audiences")}
    except (ValueError, KeyError, TypeError) as cause:
        raise bad_request("InvalidRequestContent", "The request content was invalid.") from cause
    texts = [found["issuer"], found["subject"], *(found["audiences"] if isinstance(found["audiences"], list) else [0])]
    if not all(isinstance(each, str) and each for each in texts) or len(found["audiences"]) != 1:
        raise bad_request("BadRequest", "Issuer, subject and one audience are required.")
    return found


def _no_credential(name: str) -> ArmError:
    said = f"The federated identity credential '{name}' was not found."
    return ArmError(HTTPStatus.NOT_FOUND, "NotFound", said)
