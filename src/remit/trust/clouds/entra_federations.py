"""Federated identity credentials: whose tokens an application takes for its own, instead of a secret.

A credential's name cannot be changed; its issuer, subject and audience can. Source: learn.microsoft.com/graph/api,
application-post-federatedidentitycredentials, federatedidentitycredential-update.
"""

import hashlib
import re
from collections.abc import Sequence
from typing import Any

from remit.trust.clouds.entra_graph import Graph
from remit.trust.clouds.port import Conflict
from remit.trust.things import Address, Fields, Found, Thing

KIND = "entra.federation"
_LONGEST = 120  # characters of a name


class Federations:
    """The credentials of applications, which are named by their object ids."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    async def read(self, application: str, holder: str, wanted: Sequence[Thing]) -> tuple[Found, ...]:
        """All that the application called `application` has, with the object id `holder`."""
        documents = [one async for one in self._graph.each(_path(holder))]
        by_key = {_key(thing.fields): thing.address for thing in wanted if thing.fields["application"] == application}
        taken = {by_key[key] for one in documents if (key := _key(_fields(one, application))) in by_key}
        return tuple(_found(one, application, holder, by_key, taken) for one in documents)

    async def make(self, thing: Thing, holder: str) -> Found:
        """Make it; under another name where one that trusts somebody else has its name."""
        name = credential_name(thing.address.name.rpartition("/")[2])
        try:
            return await self._new(thing, holder, name)
        except Conflict:
            there = await self.read(str(thing.fields["application"]), holder, [thing])
            same = next((one for one in there if _key(one.fields) == _key(thing.fields)), None)
            if same:
                return await self.change(thing, same)
            digest = hashlib.sha256(repr(_key(thing.fields)).encode()).hexdigest()[:8]
            return await self._new(thing, holder, f"{name[: _LONGEST - 9]}-{digest}")

    async def change(self, thing: Thing, found: Found) -> Found:
        """Only what differs."""
        there, body = _body(found.fields), _body(thing.fields)
        differing = {key: value for key, value in body.items() if there[key] != value}
        if differing:
            await self._graph.send("PATCH", f"{_path(found.ids['application'])}/{found.ids['id']}", differing)
        return Found(thing.address, thing.fields, found.ids)

    async def remove(self, found: Found) -> None:
        """Delete it: its tokens are refused at once, those already issued stay good for their hour."""
        await self._graph.delete(f"{_path(found.ids['application'])}/{found.ids['id']}")

    async def _new(self, thing: Thing, holder: str, name: str) -> Found:
        document = await self._graph.send("POST", _path(holder), {"name": name, **_body(thing.fields)})
        return Found(thing.address, thing.fields, _ids(document, holder))


def credential_name(text: str) -> str:
    """A name that a URL can hold, as Entra asks."""
    return re.sub(r"[^A-Za-z0-9_-]", "-", text)[:_LONGEST]


def _path(holder: str) -> str:
    return f"applications/{holder}/federatedIdentityCredentials"


def _found(
    document: dict[str, Any], application: str, holder: str, wanted: dict[tuple[str, str], Address], taken: set[Address]
) -> Found:
    fields = _fields(document, application)
    address = wanted.get(_key(fields))
    if address is None:
        # one that has the name of a wanted one, and trusts somebody else, is that one changed: unless that is there too
        address = Address(KIND, f"{application}/{document.get('name')}")
        if address in taken:
            address = Address(KIND, f"{address.name} ({document.get('id')})")
    return Found(address, fields, _ids(document, holder))


def _fields(document: dict[str, Any], application: str) -> Fields:
    return {
        "application": application,
        "issuer": str(document.get("issuer") or ""),
        # one that matches by an expression has no subject: it is nobody's that is wanted
        "subject": str(document.get("subject") or f"expression: {document.get('claimsMatchingExpression')}"),
        "audience": ",".join(sorted(map(str, document.get("audiences") or ()))),
    }


def _ids(document: dict[str, Any], holder: str) -> dict[str, str]:
    return {"id": str(document["id"]), "name": str(document["name"]), "application": holder}


def _key(fields: Fields) -> tuple[str, str]:
    return str(fields["issuer"]), str(fields["subject"])


def _body(fields: Fields) -> dict[str, Any]:
    return {"issuer": fields["issuer"], "subject": fields["subject"], "audiences": [fields["audience"]]}
