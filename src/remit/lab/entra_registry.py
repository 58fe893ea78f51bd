"""The tenant's applications as they stand: what Graph changes, and what Entra looks up before it issues anything.

Applications, service principals, federated credentials, app role assignments, consents, secrets and certificates, each
as the document that Graph shows of it. A document is never changed in place: another one takes its place, and is seen
when the tenant's lag is over. What was deleted can be restored for 30 days. Leaves out: policies, extensions.
Sources: learn.microsoft.com/graph/api/resources/application, .../serviceprincipal, .../approleassignment.
"""

import uuid
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from remit.lab import contoso, entra_born
from remit.lab.contoso import App, World
from remit.lab.lag import Lag, Slowly

Document = Mapping[str, Any]

KEPT = 30 * 24 * 3600  # seconds that a deleted object can be restored
DEFAULT_ROLE = "00000000-0000-0000-0000-000000000000"
"""The `appRoleId` of an assignment that gives access and no role."""


@dataclass(frozen=True, slots=True)
class Deleted:
    """An application or a service principal that can be restored until `until`, seconds since the epoch."""

    kind: str
    document: Document
    until: float


class Registry:
    """One tenant's applications. `clock`: seconds since the epoch; `lag`: how long until a change is seen."""

    def __init__(self, clock: Callable[[], float], world: World = contoso.CONTOSO, lag: Lag | None = None) -> None:
        self.clock = clock
        self.lag = lag or Lag()
        self.applications: Slowly[str, Document] = Slowly(self.lag)
        self.principals: Slowly[str, Document] = Slowly(self.lag)
        self.federations: Slowly[str, Document] = Slowly(self.lag)
        self.assignments: Slowly[str, Document] = Slowly(self.lag)
        self.grants: Slowly[str, Document] = Slowly(self.lag)
        self.secrets: dict[str, str] = {}
        self.owners: dict[str, tuple[str, ...]] = {}  # of an application or a service principal, by object id
        self.deleted: dict[str, Deleted] = {}
        self._elsewhere: dict[str, Document] = {}
        self._bear(world)

    def _bear(self, world: World) -> None:
        for app in world.apps:
            document = entra_born.application(app, world)
            if app in contoso.MICROSOFTS:
                self._elsewhere[app.id] = document
            else:
                self.applications.put(document["id"], document)
        # managed identities come first, as they always did in lists
        for document in map(entra_born.machine, world.identities):
            self.principals.put(document["id"], document)
        for document in map(entra_born.principal, world.apps):
            self.principals.put(document["id"], document)
        for document in map(entra_born.federation, world.federations):
            self.federations.put(document["id"], document)
        for document in entra_born.assignments(world):
            self.assignments.put(document["id"], document)

    def backing(self, app: str) -> Document | None:
        """The application object behind an app id, wherever it is homed, as it is seen."""
        return self.own(app) or self._elsewhere.get(app.lower())

    def own(self, app: str) -> Document | None:
        """The tenant's own application with this app id, as it is seen."""
        found = self.applications.all_seen().values()
        return next((each for each in found if each["appId"] == app.lower()), None)

    def principal_of(self, app: str) -> Document | None:
        """The service principal of an app id, as it is seen."""
        found = self.principals.all_seen().values()
        return next((each for each in found if each["appId"] == app.lower()), None)

    def app(self, app: str) -> App | None:
        """The application with this app id, as Entra sees it; `principal` is empty where it has none."""
        document = self.backing(app)
        return None if document is None else self._view(document)

    def client(self, app: str) -> App | None:
        """The same, of the tenant's own applications only: Microsoft's ask for no tokens here.

        A managed identity asks for none either, unless it has federated credentials of its own.
        """
        document = self.own(app)
        if document is None and self.federations_of(app):
            identity = self.principal_of(app) or {}
            return App(app.lower(), str(identity["displayName"]), str(identity["id"]))
        return None if document is None else self._view(document)

    def resource(self, name: str) -> App | None:
        """The API that an identifier URI or an app id names."""
        wanted = name.rstrip("/")
        for document in (*self.applications.all_seen().values(), *self._elsewhere.values()):
            app = document["appId"]
            if document["identifierUris"] and wanted in {*document["identifierUris"], app, f"api://{app}"}:
                return self._view(document)
        return None

    def apps(self) -> tuple[App, ...]:
        """Every application of the tenant's own."""
        return tuple(map(self._view, self.applications.all_seen().values()))

    def names(self, app: App) -> frozenset[str]:
        """What a token for an application may call it: its id, and its identifier URIs."""
        document = self.backing(app.id)
        return frozenset({app.id, *(document["identifierUris"] if document else ())})

    def microsofts(self, app: App) -> bool:
        """Whether an application is one of Microsoft's own."""
        return app.id in self._elsewhere

    def roles(self, holders: Collection[str], resource: App) -> tuple[str, ...]:
        """The enabled roles of a resource that one of these object ids holds, each once."""
        document = self.backing(resource.id)
        values = {each["id"]: each["value"] for each in (document or {}).get("appRoles", ()) if each["isEnabled"]}
        held = [values[each["appRoleId"]] for each in self._held(holders, resource) if each["appRoleId"] in values]
        return tuple(dict.fromkeys(held))

    def assigned(self, holders: Collection[str], resource: App) -> bool:
        """Whether one of these object ids has any access to a resource."""
        return any(True for _ in self._held(holders, resource))

    def _held(self, holders: Collection[str], resource: App) -> Iterable[Document]:
        for each in self.assignments.all_seen().values():
            if each["resourceId"] == resource.principal and each["principalId"] in holders:
                yield each

    def required(self, resource: App) -> bool:
        """Whether only who was assigned gets a token for this resource."""
        found = self.principals.seen(resource.principal)
        return found is not None and bool(found["appRoleAssignmentRequired"])

    def emits(self, resource: App) -> str:
        """Which groups a resource wants in its tokens (`groupMembershipClaims`)."""
        document = self.backing(resource.id)
        return str((document or {}).get("groupMembershipClaims") or "None")

    def consented(self, client: App, resource: App, person: str) -> tuple[str, ...]:
        """The resource's scopes that a client may ask for in a person's name without asking the person."""
        document = self.backing(resource.id)
        if document is None:
            return ()
        allowed = {
            number
            for each in document["api"]["preAuthorizedApplications"]
            if each["appId"] == client.id
            for number in each["delegatedPermissionIds"]
        }
        scopes = [each for each in document["api"]["oauth2PermissionScopes"] if each["isEnabled"]]
        granted = {
            name
            for each in self.grants.all_seen().values()
            if (each["clientId"], each["resourceId"]) == (client.principal, resource.principal)
            and each["principalId"] in {None, person}
            for name in each["scope"].split()
        }
        return tuple(each["value"] for each in scopes if each["id"] in allowed or each["value"] in granted)

    def federations_of(self, app: str) -> list[Document]:
        """The federated credentials of the application, or the managed identity, with this app id."""
        document = self.own(app)
        if document is None:
            principal = self.principal_of(app)
            document = principal if principal and principal["servicePrincipalType"] == "ManagedIdentity" else None
        found = self.federations.all_seen().values()
        return [each for each in found if document and each["application"] == document["id"]]

    def delete(self, oid: str, kind: str) -> None:
        """Take an application or a service principal away, to be restored within 30 days."""
        where = self.applications if kind == "application" else self.principals
        document = where.written(oid)
        if document is None:
            raise KeyError(oid)
        where.drop(oid)
        self.deleted[oid] = Deleted(kind, {**document, "deletedDateTime": self.now()}, self.clock() + KEPT)

    def restorable(self) -> dict[str, Deleted]:
        """What can be restored now, by object id."""
        return {oid: each for oid, each in self.deleted.items() if each.until > self.clock()}

    def restore(self, oid: str) -> Document:
        """Put back what was deleted; raises `KeyError` when there is nothing to put back."""
        found = self.restorable()[oid]
        where = self.applications if found.kind == "application" else self.principals
        document = {**found.document, "deletedDateTime": None}
        where.put(oid, document)
        del self.deleted[oid]
        return document

    def now(self) -> str:
        """The time as Graph writes it."""
        return written(self.clock())

    def _view(self, document: Document) -> App:
        principal = self.principal_of(document["appId"])
        claims = (document["optionalClaims"] or {}).get("accessToken") or ()
        groups = document["groupMembershipClaims"] not in {None, "None"}
        named = {each["name"] for each in claims} - {"groups"}
        redirects = [*document["web"]["redirectUris"], *document["spa"]["redirectUris"]]
        return App(
            document["appId"],
            document["displayName"],
            principal["id"] if principal else "",
            (document["identifierUris"] or [""])[0],
            tuple(each["value"] for each in document["api"]["oauth2PermissionScopes"] if each["isEnabled"]),
            public=bool(document["isFallbackPublicClient"]),
            version="2.0" if document["api"]["requestedAccessTokenVersion"] == 2 else "1.0",  # noqa: PLR2004 - v2 tokens
            optional=frozenset(named | ({"groups"} if groups else set())),
            redirects=(*redirects, *document["publicClient"]["redirectUris"]),
        )


def written(seconds: float) -> str:
    """Seconds since the epoch as Graph writes a time."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def seconds(time: str) -> float:
    """The reverse of `written`; raises `ValueError`."""
    found = datetime.fromisoformat(time)
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def fresh() -> str:
    """An id for something new."""
    return str(uuid.uuid4())
