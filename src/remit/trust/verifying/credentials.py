"""Secrets and certificates of Remit's applications, and their owners: whoever holds one is that application.

Both an application and its service principal may hold some, and Entra takes either's; an owner of either can add one at
any time, without a role in the directory. Left out: secrets of an application that remit.yaml names a file of (`remit
trust rotate`), though not its certificates nor what its principal holds, and those that have ended. Source:
learn.microsoft.com/graph/api/resources/passwordcredential, /keycredential, serviceprincipal-addpassword,
application-list-owners.
"""

import asyncio
from collections.abc import Iterator

from remit.trust.clouds.entra_graph import Document, Graph
from remit.trust.planning.matching import Matched
from remit.trust.things import Found
from remit.trust.verifying.findings import Finding

_APPLICATION = "entra.application"
_WHERE = {_APPLICATION: "applications", "entra.principal": "servicePrincipals"}
_HELD = {"passwordCredentials": "secret", "keyCredentials": "certificate"}


async def credentials(graph: Graph, match: Matched, named: frozenset[str], today: str) -> tuple[Finding, ...]:
    """One finding for each; raises `TrustBroken`. `named`: app ids whose secret remit.yaml names."""
    ours = [one for thing, one in match.pairs if one and thing.address.kind in _WHERE and not thing.given]
    answers = await asyncio.gather(*(_of(graph, one) for one in ours))
    owners = await asyncio.gather(*(_owners(graph, one) for one in ours))
    held = (
        finding
        for one, document in zip(ours, answers, strict=True)
        for finding in _told(one.address.name, document, today)
        if finding.permission != "secret" or one.address.kind != _APPLICATION or one.ids.get("appId") not in named
    )
    owned = (_owned(one, owner) for one, found in zip(ours, owners, strict=True) for owner in found)
    return (*held, *owned)


async def _of(graph: Graph, one: Found) -> Document:
    place = f"{_WHERE[one.address.kind]}/{one.ids['id']}"
    return await graph.find(f"{place}?$select=id,{','.join(_HELD)}") or {}


def _told(name: str, document: Document, today: str) -> Iterator[Finding]:
    for field, noun in _HELD.items():
        for each in document.get(field) or ():
            ends = str(each.get("endDateTime") or "")[:10]
            if ends and ends < today:
                continue
            which = each.get("displayName") or each.get("keyId")
            said = f"it holds the {noun} `{which}`{f' until {ends}' if ends else ''}: whoever has it is `{name}`"
            cure = f"remove it at Entra: `{name}` proves itself without one"
            yield Finding("excess", "", name, "entra", noun, "entra-credential", said, cure)


async def _owners(graph: Graph, one: Found) -> list[Document]:
    place = f"{_WHERE[one.address.kind]}/{one.ids['id']}/owners"
    return [each async for each in graph.each(f"{place}?$select=id,displayName,userPrincipalName")]


def _owned(one: Found, owner: Document) -> Finding:
    noun, name = one.address.kind.partition(".")[2], one.address.name
    who = owner.get("userPrincipalName") or owner.get("displayName") or owner.get("id")
    said = f"`{who}` owns its {noun}, and may give it a secret: whoever has that is `{name}`"
    cure = "remove the owner at Entra: whoever administers applications needs not own this one"
    return Finding("excess", "", name, "entra", "owner", "entra-credential", said, cure)
