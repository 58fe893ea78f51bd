"""Secrets and certificates of Remit's applications and of their service principals: whoever has one is Remit.

Entra takes either's for both. The trust wants none, but for the secrets of an application of which remit.yaml names the
file (`remit trust rotate`); its principal's are nobody's. What has ended opens nothing, and is not told. Left out: the
managed identity's, which are Azure's own. Source: learn.microsoft.com/graph/api/resources/passwordcredential,
/keycredential, serviceprincipal-removepassword, serviceprincipal-update.
"""

import datetime as dt
from collections.abc import Mapping
from typing import Any

from remit.trust.clouds.entra_graph import Graph
from remit.trust.clouds.port import CloudRefused
from remit.trust.things import Address, Fields, Found, Thing

KIND = "entra.credential"
_PLACES = {"application": "applications", "principal": "servicePrincipals"}
_NOUNS = {"passwordCredentials": "secret", "keyCredentials": "certificate"}
_GONE = "credential found with keyid"  # so Graph words a removal of what is not there

Document = Mapping[str, Any]


def held(holder: Address, document: Document, now: dt.datetime) -> tuple[Found, ...]:
    """Those of an application or a principal as Graph tells it, but for those that have ended."""
    return tuple(
        _found(holder, document, noun, one)
        for field, noun in _NOUNS.items()
        for one in document.get(field) or ()
        if not _ended(one, now)
    )


class Credentials:
    """Taking them away; nobody can make one again."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    def make(self, thing: Thing) -> Found:
        """Raises `CloudRefused`."""
        raise CloudRefused(f"`{thing.address}` cannot be made again: Entra never tells what it was")

    async def remove(self, found: Found) -> None:
        """Remove it: its next sign-in is refused, tokens stay good for their hour."""
        place = f"{_PLACES[str(found.fields['of'])]}/{found.ids['holder']}"
        if found.fields["credential"] == "secret":
            await self._secret(place, found.ids["id"])
            return
        document = await self._graph.find(f"{place}?$select=id,keyCredentials") or {}
        keys = list(document.get("keyCredentials") or ())
        left = [each for each in keys if each.get("keyId") != found.ids["id"]]
        if len(left) < len(keys):
            await self._graph.send("PATCH", place, {"keyCredentials": left})

    async def _secret(self, place: str, key: str) -> None:
        try:
            await self._graph.send("POST", f"{place}/removePassword", {"keyId": key})
        except CloudRefused as refusal:
            if _GONE not in refusal.message.lower():
                raise


def _found(holder: Address, document: Document, noun: str, one: Document) -> Found:
    of, key = holder.kind.partition(".")[2], str(one.get("keyId"))
    name = "".join(letter if letter.isprintable() else " " for letter in str(one.get("displayName") or ""))
    fields: Fields = {
        "of": of,
        "application": holder.name,
        "credential": noun,
        "called": name,
        "key": key,
        "ends": str(one.get("endDateTime") or "")[:10],
    }
    ids = {"id": key, "holder": str(document["id"])}
    return Found(Address(KIND, f"{noun} {key} of {of} {holder.name}"), fields, ids)


def _ended(one: Document, now: dt.datetime) -> bool:
    try:
        ends = dt.datetime.fromisoformat(str(one.get("endDateTime")))
    except ValueError:
        return False
    return (ends if ends.tzinfo else ends.replace(tzinfo=dt.UTC)) <= now
