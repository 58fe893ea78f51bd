"""Who holds which role: people, groups and workloads at Remit, and Remit's own applications at Microsoft Graph.

Both are app role assignments, of which Entra counts a group's for its direct members alone. Source:
learn.microsoft.com/graph/api, serviceprincipal-list-approleassignedto, serviceprincipal-post-approleassignedto,
serviceprincipal-list-approleassignments.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from remit.model.errors import TrustBroken
from remit.trust.clouds.entra_applications import Principals
from remit.trust.clouds.entra_graph import Graph
from remit.trust.clouds.port import CloudRefused, Conflict, Missing
from remit.trust.things import Address, Fields, Found, Thing

ASSIGNMENT, CONSENT = "entra.assignment", "entra.consent"
_ALREADY = "being assigned already exists"
_DEFAULT = "00000000-0000-0000-0000-000000000000"  # access without a role

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Holder:
    """A principal of Remit's that may hold permissions. `name`: the application's."""

    name: str
    principal: str


class Assignments:
    """App role assignments. An API is named by its principal's object id."""

    def __init__(self, graph: Graph, principals: Principals) -> None:
        self._graph = graph
        self._principals = principals

    async def read(self, api: str, wanted: Sequence[Thing]) -> tuple[Found, ...]:
        """Everyone who holds a role at `api`."""
        values = await self._principals.roles(api)
        known = {_key(thing.fields): thing.address for thing in wanted}
        documents = [one async for one in self._graph.each(f"servicePrincipals/{api}/appRoleAssignedTo")]
        return tuple(_assignment(one, values, known) for one in documents)

    async def consents(self, api: str, remit: str, holder: Holder, wanted: Sequence[Thing]) -> tuple[Found, ...]:
        """Every permission that a principal of Remit's holds at `api`, which is Graph, or elsewhere but at `remit`."""
        values = await self._principals.roles(api)
        known = {_consent_key(thing.fields): thing.address for thing in wanted}
        documents = [one async for one in self._graph.each(f"servicePrincipals/{holder.principal}/appRoleAssignments")]
        return tuple(_consent(one, api, values, holder, known) for one in documents if one.get("resourceId") != remit)

    async def make(self, thing: Thing, api: str) -> Found:
        """Give a role at `api`; raises `Missing` while it does not know the role yet."""
        value = str(thing.fields["role" if thing.address.kind == ASSIGNMENT else "permission"])
        values = await self._principals.roles(api)
        role = next((key for key, each in values.items() if each == value), None)
        if role is None:
            raise Missing(f"there is no role `{value}` at the service principal `{api}` yet")
        principal = str(thing.fields["principal"])
        path, body = f"servicePrincipals/{api}/appRoleAssignedTo", _body(api, principal, role)
        try:
            document = await self._graph.send("POST", path, body)
        except CloudRefused as refusal:
            if not isinstance(refusal, Conflict) and _ALREADY not in refusal.message.lower():
                if isinstance(refusal, Missing) and thing.address.kind == ASSIGNMENT:
                    await self._somebody(principal)
                raise
            document = await self._same(path, body, refusal)
        told = {name: document[name] for name in ("principalType",) if name in thing.fields and document.get(name)}
        return Found(thing.address, {**thing.fields, **told}, _ids(document))

    async def remove(self, found: Found) -> None:
        """Take it away: tokens that hold it stay good for their hour."""
        await self._graph.delete(f"servicePrincipals/{found.ids['resource']}/appRoleAssignedTo/{found.ids['id']}")

    async def _somebody(self, principal: str) -> None:
        """Raises `TrustBroken` for nobody's id: what is in no directory is not waited for."""
        try:
            await self._graph.get(f"directoryObjects/{principal}?$select=id")
        except Missing as cause:
            hint = "look at the object ids under `trust.roles`, and take it out or put it right"
            raise TrustBroken(f"`{principal}` is nobody's id at Entra", hint=hint) from cause
        except CloudRefused:
            return  # whoever applies need not be allowed to look, and Entra may yet see it

    async def _same(self, path: str, body: Mapping[str, str], refusal: CloudRefused) -> Document:
        async for document in self._graph.each(path):
            if all(document.get(key) == value for key, value in body.items()):
                return document
        raise refusal


def _body(api: str, principal: str, role: str) -> dict[str, str]:
    return {"principalId": principal, "resourceId": api, "appRoleId": role}


def _assignment(document: Document, values: Mapping[str, str], known: Mapping[tuple[str, str], Address]) -> Found:
    fields: Fields = {
        "role": _value(document, values),
        "principal": str(document.get("principalId")),
        "principalType": str(document.get("principalType")),
    }
    address = known.get(_key(fields)) or Address(ASSIGNMENT, "/".join(_key(fields)))
    return Found(address, fields, _ids(document))


def _consent(
    document: Document, api: str, values: Mapping[str, str], holder: Holder, known: Mapping[tuple[str, str], Address]
) -> Found:
    elsewhere = f"{_printable(str(document.get('resourceDisplayName')))}/" if document.get("resourceId") != api else ""
    permission = elsewhere + _value(document, {} if elsewhere else values)
    fields: Fields = {"permission": permission, "principal": holder.principal}
    address = known.get(_consent_key(fields)) or Address(CONSENT, f"{permission} of {holder.name}")
    return Found(address, fields, _ids(document))


def _printable(name: str) -> str:
    """A name that anybody may give to an application of their own, on one line."""
    return "".join(letter if letter.isprintable() else " " for letter in name)


def _value(document: Document, values: Mapping[str, str]) -> str:
    role = str(document.get("appRoleId"))
    return values.get(role) or ("default access" if role == _DEFAULT else role)


def _ids(document: Document) -> dict[str, str]:
    return {"id": str(document["id"]), "resource": str(document.get("resourceId") or "")}


def _key(fields: Fields) -> tuple[str, str]:
    return str(fields["role"]), str(fields["principal"])


def _consent_key(fields: Fields) -> tuple[str, str]:
    return str(fields["permission"]), str(fields["principal"])
