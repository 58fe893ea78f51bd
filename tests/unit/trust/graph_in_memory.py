"""As much of Microsoft Graph as one tenant's applications need, in memory, which keeps what it was asked."""

import json
import re
import uuid
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

import httpx

from remit.model.secret import AccessToken

Document = dict[str, Any]

GRAPH_APP = "00000003-0000-0000-c000-000000000000"
PAGE = 2
_DUPLICATE = "Another object with the same value for property {} already exists."
_OBJECTS = {"web": {"redirectUris": []}, "publicClient": {"redirectUris": []}, "spa": {"redirectUris": []}}


class Refusal(Exception):
    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


class Anybody:
    """Tokens that this Graph does not look at."""

    async def token(self, scope: str) -> AccessToken:
        assert scope == "https://graph.microsoft.com/.default"
        return AccessToken("someone")


class GraphInMemory(httpx.AsyncBaseTransport):
    """`asked`: method, path and body of everything; `before`: called with each, and may answer in this one's place."""

    def __init__(self) -> None:
        self.applications: dict[str, Document] = {}
        self.principals: dict[str, Document] = {}
        self.credentials: dict[str, list[Document]] = {}
        self.assignments: list[Document] = []
        self.grants: list[Document] = []
        self.deleted: dict[str, Document] = {}
        self.asked: list[tuple[str, str, Document | None]] = []
        self.before: Callable[[str, str], httpx.Response | None] = lambda _method, _path: None

    def principal(self, app_id: str, roles: tuple[str, ...] = ()) -> str:
        """A service principal that was there before; its object id."""
        rows = [{"id": str(uuid.uuid5(uuid.NAMESPACE_DNS, role)), "value": role} for role in roles]
        document = {"id": str(uuid.uuid4()), "appId": app_id, "accountEnabled": True, "appRoles": rows}
        self.principals[document["id"]] = document
        return document["id"]

    @property
    def changes(self) -> list[tuple[str, str, Document | None]]:
        """What was asked for that was no reading."""
        return [each for each in self.asked if each[0] != "GET"]

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        assert (request.url.scheme, request.url.host) == ("https", "graph.microsoft.com")
        path = unquote(request.url.raw_path.decode().partition("?")[0]).removeprefix("/v1.0/")
        body = json.loads(request.content) if request.content else None
        self.asked.append((request.method, path, body))
        scripted = self.before(request.method, path)
        if scripted is not None:
            return scripted
        try:
            return self._answer(request, path, body)
        except Refusal as refusal:
            error = {"code": refusal.code, "message": refusal.message}
            return httpx.Response(refusal.status, json={"error": error})

    def _answer(self, request: httpx.Request, path: str, body: Document | None) -> httpx.Response:
        for pattern, answer in self._routes():
            match = re.fullmatch(pattern, f"{request.method} {path}")
            if match:
                return answer(request, body, *match.groups())
        raise Refusal(400, "BadRequest", f"Resource not found for the segment '{path}'.")

    def _routes(self) -> tuple[tuple[str, Callable[..., httpx.Response]], ...]:
        key = r"\((appId|uniqueName)='(.*)'\)"
        credentials, holder = r"applications/([^/]+)/federatedIdentityCredentials", r"servicePrincipals/([^/]+)"
        return (
            ("GET applications", self._by_uri),
            (f"GET applications{key}", lambda _r, _b, k, v: self._one(_with(self.applications, k, v))),
            (f"PATCH applications{key}", self._upsert),
            ("GET applications/([^/]+)", lambda _r, _b, oid: self._one(self.applications.get(oid))),
            ("PATCH applications/([^/]+)", lambda _r, b, oid: self.update(oid, b)),
            ("DELETE applications/([^/]+)", self._delete),
            (r"GET directory/deletedItems/microsoft\.graph\.(application|servicePrincipal)", self._restorable),
            ("POST directory/deletedItems/([^/]+)/restore", self._restore),
            (f"GET {credentials}", lambda r, _b, oid: self._page(r, self.credentials[oid])),
            (f"POST {credentials}", self._trust),
            (f"PATCH {credentials}/([^/]+)", self._retrust),
            (f"DELETE {credentials}/([^/]+)", self._distrust),
            (f"GET servicePrincipals{key}", lambda _r, _b, k, v: self._one(_with(self.principals, k, v))),
            ("POST servicePrincipals", self._principal),
            (f"GET {holder}", lambda _r, _b, oid: self._one(self.principals.get(oid))),
            (f"PATCH {holder}", lambda _r, b, oid: self._switch(oid, b)),
            (f"DELETE {holder}", lambda _r, _b, oid: self._one(self.principals.pop(oid, None), 204)),
            (f"GET {holder}/appRoleAssignedTo", lambda r, _b, oid: self._held(r, "resourceId", oid)),
            (f"GET {holder}/appRoleAssignments", lambda r, _b, oid: self._held(r, "principalId", oid)),
            (f"POST {holder}/appRoleAssignedTo", self._assign),
            (f"DELETE {holder}/appRoleAssignedTo/([^/]+)", self._unassign),
            ("POST (applications|servicePrincipals)/([^/]+)/removePassword", self._unseal),
            ("GET oauth2PermissionGrants", self._consented),
            ("POST oauth2PermissionGrants", self._consent),
            ("PATCH oauth2PermissionGrants/([^/]+)", self._reconsent),
            ("DELETE oauth2PermissionGrants/([^/]+)", self._withdraw),
        )

    def _one(self, document: Document | None, status: int = 200) -> httpx.Response:
        if document is None:
            raise Refusal(404, "Request_ResourceNotFound", "Resource does not exist.")
        if status == 204:
            return httpx.Response(204)
        roles = document.get("appRoles") or (self._roles_of(document["appId"]) if "appId" in document else [])
        return httpx.Response(status, json={**document, "appRoles": roles})

    def _roles_of(self, app_id: str) -> list[Document]:
        application = _with(self.applications, "appId", app_id)
        return application["appRoles"] if application else []

    def _page(self, request: httpx.Request, documents: list[Document]) -> httpx.Response:
        start = int(request.url.params.get("$skiptoken", "0"))
        more = {}
        if len(documents) > start + PAGE:
            url = request.url.copy_with(query=None)
            more = {"@odata.nextLink": f"{url}?$skiptoken={start + PAGE}"}
        return httpx.Response(200, json={"value": documents[start : start + PAGE], **more})

    def _by_uri(self, request: httpx.Request, _body: object) -> httpx.Response:
        wanted = re.fullmatch(r"identifierUris/any\(u:u eq '(.*)'\)", request.url.params["$filter"])
        assert wanted
        return self._page(request, [one for one in self.applications.values() if wanted[1] in one["identifierUris"]])

    def _upsert(self, request: httpx.Request, body: Document, key: str, value: str) -> httpx.Response:
        there = _with(self.applications, key, value)
        if there is not None:
            return self.update(there["id"], body)
        if request.headers.get("prefer") != "create-if-missing":
            return self._one(None)
        oid = str(uuid.uuid4())
        self.credentials[oid] = []
        self.applications[oid] = {
            **_OBJECTS,
            "id": oid,
            "appId": str(uuid.uuid4()),
            "uniqueName": value,
            "api": {"acceptMappedClaims": None, "oauth2PermissionScopes": [], "preAuthorizedApplications": []},
            "appRoles": [],
            "identifierUris": [],
            "signInAudience": "AzureADMyOrg",
        }
        try:
            self.update(oid, body)
        except Refusal:
            del self.applications[oid]
            raise
        return self._one(self.applications[oid], 201)

    def update(self, oid: str, body: Document) -> httpx.Response:
        """Change an application, where Entra would."""
        there = self.applications.get(oid)
        if there is None:
            return self._one(None)
        after = {**there, **body}
        _enabled_stays(there["appRoles"], after["appRoles"])
        _enabled_stays(there["api"]["oauth2PermissionScopes"], after["api"]["oauth2PermissionScopes"])
        # pre-authorized is what is there before, as Entra asks
        scopes = {one["id"] for one in there["api"]["oauth2PermissionScopes"]}
        for one in after["api"].get("preAuthorizedApplications", ()):
            if not set(one["delegatedPermissionIds"]) <= scopes:
                raise Refusal(
                    400, "InvalidValue", "Property api.preAuthorizedApplications names an unknown permission."
                )
        for uri in after["identifierUris"]:
            if any(uri in one["identifierUris"] for key, one in self.applications.items() if key != oid):
                raise Refusal(400, "Request_BadRequest", _DUPLICATE.format("identifierUris"))
        self.applications[oid] = after
        return httpx.Response(204)

    def _delete(self, _request: httpx.Request, _body: object, oid: str) -> httpx.Response:
        """The service principal goes with its application."""
        found = self.applications.pop(oid, None)
        if found:
            self.deleted[oid] = found
            there = _with(self.principals, "appId", found["appId"])
            if there:
                self.deleted[there["id"]] = self.principals.pop(there["id"])
        return self._one(found, 204)

    def _restorable(self, request: httpx.Request, _body: object, kind: str) -> httpx.Response:
        applications = kind == "application"
        return self._page(request, [one for one in self.deleted.values() if ("uniqueName" in one) == applications])

    def _restore(self, _request: httpx.Request, _body: object, oid: str) -> httpx.Response:
        found = self.deleted.pop(oid)
        where = self.applications if "uniqueName" in found else self.principals
        where[oid] = found
        return self._one(found)

    def _trust(self, _request: httpx.Request, body: Document, oid: str) -> httpx.Response:
        there = self.credentials.get(oid)
        if there is None:
            return self._one(None)
        if any(one["name"] == body["name"] for one in there):
            said = f"FederatedIdentityCredential with name {body['name']} already exists."
            raise Refusal(409, "Request_MultipleObjectsWithSameKeyValue", said)
        there.append({"id": str(uuid.uuid4()), **body})
        return httpx.Response(201, json=there[-1])

    def _retrust(self, _request: httpx.Request, body: Document, oid: str, which: str) -> httpx.Response:
        assert "name" not in body
        next(one for one in self.credentials[oid] if one["id"] == which).update(body)
        return httpx.Response(204)

    def _distrust(self, _request: httpx.Request, _body: object, oid: str, which: str) -> httpx.Response:
        left = [one for one in self.credentials.get(oid, []) if one["id"] != which]
        gone = len(left) < len(self.credentials.get(oid, []))
        self.credentials[oid] = left
        return self._one({} if gone else None, 204)

    def _principal(self, _request: httpx.Request, body: Document) -> httpx.Response:
        if _with(self.applications, "appId", body["appId"]) is None:
            said = (
                f"The appId '{body['appId']}' of the service principal does not reference a valid application object."
            )
            raise Refusal(400, "Request_BadRequest", said)
        if _with(self.principals, "appId", body["appId"]):
            raise Refusal(409, "Request_MultipleObjectsWithSameKeyValue", "The service principal cannot be created.")
        document = {"id": str(uuid.uuid4()), **body}
        self.principals[document["id"]] = document
        return self._one(document, 201)

    def _switch(self, oid: str, body: Document) -> httpx.Response:
        self.principals[oid].update(body)
        return httpx.Response(204)

    def _held(self, request: httpx.Request, key: str, oid: str) -> httpx.Response:
        return self._page(request, [one for one in self.assignments if one[key] == oid])

    def _assign(self, _request: httpx.Request, body: Document, oid: str) -> httpx.Response:
        assert body["resourceId"] == oid
        if any(body.items() <= one.items() for one in self.assignments):
            raise Refusal(400, "Request_BadRequest", "Permission being assigned already exists on the object")
        known = body["principalId"] in self.principals
        document = {
            "id": str(uuid.uuid4()),
            **body,
            "principalType": "ServicePrincipal" if known else "Group",
            "resourceDisplayName": "an API",
        }
        self.assignments.append(document)
        return httpx.Response(201, json=document)

    def _unassign(self, _request: httpx.Request, _body: object, _oid: str, which: str) -> httpx.Response:
        found = next((one for one in self.assignments if one["id"] == which), None)
        if found:
            self.assignments.remove(found)
        return self._one(found, 204)

    def _unseal(self, _request: httpx.Request, body: Document, kind: str, oid: str) -> httpx.Response:
        holder = (self.applications if kind == "applications" else self.principals)[oid]
        left = [one for one in holder["passwordCredentials"] if one["keyId"] != body["keyId"]]
        if len(left) == len(holder["passwordCredentials"]):
            raise Refusal(400, "Request_BadRequest", "No password credential found with keyId.")
        holder["passwordCredentials"] = left
        return httpx.Response(204)

    def _consented(self, request: httpx.Request, _body: object) -> httpx.Response:
        wanted = re.fullmatch("clientId eq '(.*)'", request.url.params["$filter"])
        assert wanted
        return self._page(request, [one for one in self.grants if one["clientId"] == wanted[1]])

    def _consent(self, _request: httpx.Request, body: Document) -> httpx.Response:
        ends = ("clientId", "resourceId", "principalId")
        if any(all(one[name] == body[name] for name in ends) for one in self.grants):
            raise Refusal(409, "Request_MultipleObjectsWithSameKeyValue", "Permission entry already exists.")
        self.grants.append({"id": str(uuid.uuid4()), **body})
        return httpx.Response(201, json=self.grants[-1])

    def _reconsent(self, _request: httpx.Request, body: Document, which: str) -> httpx.Response:
        assert list(body) == ["scope"]
        next(one for one in self.grants if one["id"] == which).update(body)
        return httpx.Response(204)

    def _withdraw(self, _request: httpx.Request, _body: object, which: str) -> httpx.Response:
        found = next((one for one in self.grants if one["id"] == which), None)
        if found:
            self.grants.remove(found)
        return self._one(found, 204)


def _with(documents: dict[str, Document], key: str, value: str) -> Document | None:
    return next((one for one in documents.values() if one.get(key) == value), None)


def _enabled_stays(before: list[Document], after: list[Document]) -> None:
    for one in before:
        same = next((each for each in after if each["id"] == one["id"]), None)
        if one["isEnabled"] and (same is None or {**same, "isEnabled": True} != one):
            said = "Permission (scope or role) cannot be deleted or updated unless disabled first."
            raise Refusal(400, "CannotDeleteOrUpdateEnabledEntitlement", said)
