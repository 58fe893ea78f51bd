"""Applications at Entra and their service principals.

An application is found by its app id where the file knows it, else by the unique name that Remit gave it, else, as an
API, by its identifier URI; so that one that was made twice is one. Left out: applications that the file does not name,
which may be another installation's. Sources: learn.microsoft.com/graph/api, application-upsert, application-update,
directory-deleteditems-restore, serviceprincipal-post-serviceprincipals, and /graph/api/resources/application, which
says of a unique name that it cannot be changed, and of its length and letters nothing.
"""

import hashlib
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from remit.model.errors import TrustBroken
from remit.trust.clouds.azure_identity import resource_of
from remit.trust.clouds.entra_graph import Graph, keyed, literal
from remit.trust.clouds.entra_manifest import SELECT, fields_of, merged, patches
from remit.trust.clouds.port import Conflict, Missing
from remit.trust.things import Fields, Found, Thing

_PRINCIPAL = (
    "id,appId,accountEnabled,appRoleAssignmentRequired,appRoles,servicePrincipalType,alternativeNames,"
    "passwordCredentials,keyCredentials"
)
SECOND = "remit-google"
_DELETED = "directory/deletedItems"

Document = dict[str, Any]
Ours = Callable[[], Collection[str]]


def nothing() -> Collection[str]:
    """Nothing was made here before, as far as is known."""
    return ()


def unique_name(name: str, installation: str = "") -> str:
    """What Entra knows an application of Remit's by: it cannot be changed, nor given twice in a tenant.

    `installation`: the name of its ledger, so that each of a tenant's installations has its own; empty for names as
    they were before, and of what is no installation's. At most 83 characters.
    """
    words = re.sub(r"[^a-z0-9._-]", "-", name.lower())
    if not installation:
        return f"remit-{words}"
    mark = hashlib.sha256(f"{installation}\n{name}".encode()).hexdigest()[:12]
    return f"remit-{words[:64]}-{mark}"


class Registrations:
    """The applications of one tenant. `ours`: ids of those that were made here before; `seen`: by id, as last found."""

    def __init__(self, graph: Graph, ours: Ours = nothing) -> None:
        self._graph = graph
        self._ours = ours
        self._before = frozenset[str]()
        self._made = set[str]()
        self.seen: dict[str, Document] = {}

    async def find(self, thing: Thing) -> Found | None:
        """The application that is wanted, as it stands."""
        self._before = frozenset() if _app_id(thing) else frozenset(self._ours())
        document = await self._document(thing)
        if document is None:
            return None
        self.seen[str(document["id"])] = document
        return _application(thing, document)

    async def make(self, thing: Thing) -> Found:
        """Register it; one that was deleted is restored with its ids, which others may still name."""
        document = await self._document(thing) or await self._deleted(thing)
        if document is None and _app_id(thing):
            raise TrustBroken(
                f"there is no application `{_app_id(thing)}`, and none to restore",
                hint=f"write `app:{thing.address.name}` in its place: Entra gives a new one an id of its own",
            )
        return await self._bring(thing, self._expected(thing, document) if document else await self._new(thing))

    async def change(self, thing: Thing, found: Found) -> Found:
        """Only what differs, against what is there at this moment."""
        return await self._bring(thing, await self._graph.get(f"applications/{found.ids['id']}?$select={SELECT}"))

    async def remove(self, found: Found) -> None:
        """Delete it: Entra keeps it for 30 days."""
        await self._graph.delete(f"applications/{found.ids['id']}")

    async def _document(self, thing: Thing) -> Document | None:
        known = _app_id(thing)
        if known:
            return await self._by("appId", known)
        found = await self._by("uniqueName", _unique(thing)) or await self._by_uri(thing.fields)
        found = found or await self._older(thing)
        return _nobody_elses(thing, found) if found else None

    async def _older(self, thing: Thing) -> Document | None:
        """One that was made here when names did not tell installations apart."""
        name = unique_name(thing.address.name)
        found = await self._by("uniqueName", name) if name != _unique(thing) else None
        return found if found and found.get("appId") in self._ours() else None

    def _expected(self, thing: Thing, document: Document) -> Document:
        """What is there though it was not when the plan was made: of this apply, or of one that is gone on with.

        Whoever registers one of this name meanwhile owns it. An upsert finds it as it finds one's own, whose answer
        was lost.
        """
        if _app_id(thing):
            return document
        known = thing.address.name == SECOND or str(thing.address) in self._before
        if known or document.get("appId") in {*self._made, *self._ours()}:
            return _nobody_elses(thing, document)
        raise TrustBroken(
            f"`{document.get('appId')}` was registered in the place of `{thing.address}` while this was applied",
            hint="look who owns it, and delete it unless this very apply made it, and Entra's answer was lost",
        )

    async def _by(self, key: str, value: str) -> Document | None:
        return await self._graph.find(f"{keyed('applications', key, value)}?$select={SELECT}")

    async def _by_uri(self, fields: Fields) -> Document | None:
        uris = fields.get("uris")
        for uri in uris if isinstance(uris, tuple) else ():
            path = f"applications?$filter=identifierUris/any(u:u%20eq%20{literal(str(uri))})&$select={SELECT}"
            async for document in self._graph.each(path):
                return document
        return None

    async def _new(self, thing: Thing) -> Document:
        name = _unique(thing)
        first = next(patches({}, thing.fields, name), {})
        body = {"displayName": thing.fields.get("displayName", name), **first}
        made = await self._graph.send(
            "PATCH", keyed("applications", "uniqueName", name), body, Prefer="create-if-missing"
        )
        if made:
            self._made.add(str(made["appId"]))
            return made
        document = await self._by("uniqueName", name)  # an upsert that found one answers nothing
        if not document:
            raise Missing(f"the application `{name}` was made and is not seen yet")
        return self._expected(thing, document)

    async def _deleted(self, thing: Thing) -> Document | None:
        """The application as it was deleted. It keeps its name and its URIs, so that no other could be made.

        Whoever registered one, and deleted it so that no plan shows it, would own it again: only one that the file
        knows, or that was made here, is restored.
        """

        def same(one: Document) -> bool:
            if not _same(one, thing):
                return False
            if _app_id(thing) or one.get("appId") in self._ours():
                return True
            raise TrustBroken(
                f"a deleted application, `{one.get('appId')}`, has the name or URI of `{thing.address}`",
                hint="delete it for good, or restore it and write its id in remit.yaml when you know who owns it",
            )

        restored = await _restored(self._graph, "application", same)
        if not restored:
            return None
        document = await self._graph.get(f"applications/{restored}?$select={SELECT}")
        return document if _app_id(thing) else _nobody_elses(thing, document)

    async def _bring(self, thing: Thing, document: Document) -> Found:
        for body in patches(document, thing.fields, _unique(thing)):
            await self._graph.send("PATCH", f"applications/{document['id']}", body)
            document = merged(document, body)
        return _application(thing, document)


class Principals:
    """Service principals: what a tenant knows an application as when it signs in or is signed in to.

    `seen`: by id, as last found.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self.seen: dict[str, Document] = {}

    async def find(self, thing: Thing, app_id: str) -> Found | None:
        """The principal of an app id, as it stands."""
        document = await self._by(app_id)
        if document is None:
            return None
        self.seen[str(document["id"])] = document
        return _principal(thing, document)

    async def roles(self, principal: str) -> Mapping[str, str]:
        """Id → value of every role that can be held at this API."""
        document = await self._graph.get(f"servicePrincipals/{principal}?$select={_PRINCIPAL}")
        roles = document.get("appRoles")
        if not isinstance(roles, list):
            raise TrustBroken(f"the service principal `{principal}` has no list of roles")
        return {str(one.get("id")): str(one.get("value")) for one in roles}

    async def make(self, thing: Thing) -> Found:
        """Make it, or bring back one that was deleted, which has its roles still.

        One that Entra made meanwhile, when somebody signed in, is brought to what is wanted.
        """
        body = {"appId": str(thing.fields["application"]), **_switches(thing.fields)}
        try:
            restored = await _restored(self._graph, "servicePrincipal", lambda one: one.get("appId") == body["appId"])
            if restored:
                document = await self._graph.get(f"servicePrincipals/{restored}?$select={_PRINCIPAL}")
                return await self.change(thing, _principal(thing, document))
            return _principal(thing, await self._graph.send("POST", "servicePrincipals", body))
        except Conflict:
            found = await self.find(thing, body["appId"])
            if found is None:
                raise
            return await self.change(thing, found)

    async def change(self, thing: Thing, found: Found) -> Found:
        """Only what differs."""
        there = _switches(found.fields)
        body = {key: value for key, value in _switches(thing.fields).items() if there.get(key) != value}
        if body:
            await self._graph.send("PATCH", f"servicePrincipals/{found.ids['id']}", body)
        return Found(thing.address, thing.fields, found.ids)

    async def remove(self, found: Found) -> None:
        """Delete it."""
        await self._graph.delete(f"servicePrincipals/{found.ids['id']}")

    async def _by(self, app_id: str) -> Document | None:
        return await self._graph.find(f"{keyed('servicePrincipals', 'appId', app_id)}?$select={_PRINCIPAL}")


async def _restored(graph: Graph, kind: str, same: Callable[[Document], bool]) -> str:
    """The object id of what was deleted and is there again, empty where nothing was; Entra keeps it for 30 days."""
    select = "id,appId,uniqueName,identifierUris" if kind == "application" else "id,appId"
    async for one in graph.each(f"{_DELETED}/microsoft.graph.{kind}?$select={select}"):
        if same(one):
            await graph.send("POST", f"{_DELETED}/{one['id']}/restore", {})
            return str(one["id"])
    return ""


def _same(document: Document, thing: Thing) -> bool:
    known, uris = _app_id(thing), thing.fields.get("uris")
    if known:
        return document.get("appId") == known
    held = set(document.get("identifierUris") or ())
    return document.get("uniqueName") == _unique(thing) or (isinstance(uris, tuple) and not held.isdisjoint(uris))


def _nobody_elses(thing: Thing, document: Document) -> Document:
    """What bears Remit's name may be somebody's who was here first, and whose secret would make them Remit.

    The second audience is never known by its id, and a secret of its own opens nothing: Google asks for Remit's.
    """
    if thing.address.name != SECOND and (document.get("passwordCredentials") or document.get("keyCredentials")):
        raise TrustBroken(
            f"`{thing.address}` is to be registered, and `{document['appId']}` has its name or URI, and a secret",
            hint="delete it, or write its id in remit.yaml when you know who holds the secret",
        )
    return document


def _application(thing: Thing, document: Document) -> Found:
    ids = {"id": str(document["id"]), "appId": str(document["appId"])}
    return Found(thing.address, fields_of(document, thing.fields), ids)


def _principal(thing: Thing, document: Document) -> Found:
    ids = {"id": str(document["id"]), "appId": str(document["appId"])}
    if thing.given:
        machine = document.get("servicePrincipalType") == "ManagedIdentity"  # of others its owner writes the names
        resource = resource_of(document.get("alternativeNames")) if machine else ""
        return Found(thing.address, thing.fields, {**ids, "resource": resource})
    fields: Fields = {
        "application": ids["appId"],
        "enabled": document.get("accountEnabled") is not False,
        "assignmentRequired": bool(document.get("appRoleAssignmentRequired")),
    }
    return Found(thing.address, fields, ids)


def _switches(fields: Fields) -> dict[str, Any]:
    return {
        "accountEnabled": bool(fields.get("enabled", True)),
        "appRoleAssignmentRequired": bool(fields.get("assignmentRequired", False)),
    }


def _unique(thing: Thing) -> str:
    told = thing.fields.get("uniqueName")
    return told if isinstance(told, str) else unique_name(thing.address.name)


def _app_id(thing: Thing) -> str:
    known = thing.fields.get("appId")
    return known if isinstance(known, str) else ""
