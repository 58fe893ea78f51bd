"""Delegated permissions: at which APIs an application of Remit's may act as people who sign in to it.

The trust wants none: the command line and Remit are pre-authorized by the applications themselves. A person's consent
to sign in (`openid`, `profile`, `email`, `offline_access` at Microsoft Graph) lets nobody act as anybody, and is not
told. Left out: what other applications may do at Remit, whose `clients` it checks itself. Source: learn.microsoft.com/
graph/api/resources/oauth2permissiongrant, oauth2permissiongrant-list, oauth2permissiongrant-delete.
"""

from collections.abc import Mapping
from typing import Any

from remit.trust.clouds.entra_assignments import Holder
from remit.trust.clouds.entra_graph import Graph, literal
from remit.trust.clouds.port import CloudRefused, Conflict
from remit.trust.things import Address, Fields, Found, Thing

KIND = "entra.delegation"
EVERYBODY = "everybody"
_GRANTS = "oauth2PermissionGrants"
_SIGN_IN = frozenset({"openid", "profile", "email", "offline_access"})

Document = dict[str, Any]


class Delegations:
    """The grants of principals, which are named by their object ids."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._names: dict[str, str] = {}

    async def read(self, holder: Holder, microsoft: str) -> tuple[Found, ...]:
        """All that a principal of Remit's has. `microsoft`: Graph's own principal, empty where it is not known."""
        path = f"{_GRANTS}?$filter=clientId%20eq%20{literal(holder.principal)}"
        documents = [one async for one in self._graph.each(path)]
        return tuple([await self._found(one, holder, microsoft) for one in documents if _beyond(one, microsoft)])

    async def make(self, thing: Thing) -> Found:
        """Give it back, as an undone step does: none is ever wanted."""
        fields, whom = thing.fields, str(thing.fields["whom"])
        ends = {"clientId": str(fields["principal"]), "resourceId": str(fields["resource"])}
        whose = {"consentType": "AllPrincipals", "principalId": None}
        if whom != EVERYBODY:
            whose = {"consentType": "Principal", "principalId": whom}
        body = {**ends, **whose, "scope": " ".join(_scopes(fields))}
        try:
            made = await self._graph.send("POST", _GRANTS, body)
        except CloudRefused as refusal:
            if not isinstance(refusal, Conflict):
                raise
            made = await self._again(body, refusal)
        return Found(thing.address, fields, {"id": str(made["id"]), "left": ""})

    async def remove(self, found: Found) -> None:
        """Take it away, and leave what was consented to for signing in; tokens stay good for their hour."""
        number, left = found.ids["id"], found.ids.get("left", "")
        if left:
            await self._graph.send("PATCH", f"{_GRANTS}/{number}", {"scope": left})
        else:
            await self._graph.delete(f"{_GRANTS}/{number}")

    async def _again(self, body: Mapping[str, Any], refusal: CloudRefused) -> Document:
        """One that is there, with these scopes as well."""
        async for one in self._graph.each(f"{_GRANTS}?$filter=clientId%20eq%20{literal(body['clientId'])}"):
            if (one.get("resourceId"), one.get("principalId")) == (body["resourceId"], body["principalId"]):
                scope = " ".join(dict.fromkeys(f"{one.get('scope') or ''} {body['scope']}".split()))
                await self._graph.send("PATCH", f"{_GRANTS}/{one['id']}", {"scope": scope})
                return one
        raise refusal

    async def _found(self, document: Document, holder: Holder, microsoft: str) -> Found:
        api, scopes = str(document.get("resourceId")), _beyond(document, microsoft)
        whom = EVERYBODY if document.get("consentType") == "AllPrincipals" else str(document.get("principalId"))
        name = "Microsoft Graph" if api == microsoft else await self._name(api)
        fields: Fields = {
            "application": holder.name,
            "principal": holder.principal,
            "api": name,
            "resource": api,
            "whom": whom,
            "scopes": scopes,
        }
        left = " ".join(each for each in str(document.get("scope") or "").split() if each not in scopes)
        return Found(
            Address(KIND, f"{holder.name} at {name} as {whom}"), fields, {"id": str(document["id"]), "left": left}
        )

    async def _name(self, api: str) -> str:
        """What an API is called, with its id: anybody may call theirs as another's."""
        if api not in self._names:
            found = await self._graph.find(f"servicePrincipals/{api}?$select=id,displayName")
            known = str((found or {}).get("displayName") or "an API")
            self._names[api] = "".join(letter if letter.isprintable() else " " for letter in known)
        return f"{self._names[api]} ({api})"


def _beyond(document: Document, microsoft: str) -> tuple[str, ...]:
    """The scopes that say more than who signed in."""
    harmless = _SIGN_IN if document.get("resourceId") == microsoft else frozenset[str]()
    return tuple(sorted(set(str(document.get("scope") or "").split()) - harmless))


def _scopes(fields: Fields) -> tuple[str, ...]:
    found = fields.get("scopes")
    return tuple(map(str, found)) if isinstance(found, tuple) else ()
