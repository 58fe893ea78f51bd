"""Roles: what any of them includes, and a project's custom ones, which are made, changed and removed.

A deleted custom role keeps its id for 37 days and can be undeleted in the first seven. Source:
cloud.google.com/iam/docs/reference/rest/v1/projects.roles, cloud.google.com/iam/docs/creating-custom-roles.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

from remit.model.errors import TrustBroken
from remit.trust.clouds.asking import Asking, Sleep
from remit.trust.clouds.google_names import IAM, safe
from remit.trust.clouds.google_operations import listed
from remit.trust.clouds.port import CloudRefused, Conflict, Missing
from remit.trust.things import Address, Fields, Found, Thing

_OURS = "remit_"
_TRIES = 6
_MASKS: Mapping[str, str] = {"title": "title", "permissions": "includedPermissions", "stage": "stage"}
_INVALID = 400
_HINT = "`gcloud iam list-testable-permissions` says which permissions a custom role can hold"


class Roles:
    """Custom roles of projects, and what every role includes."""

    def __init__(self, ask: Asking, *, sleep: Sleep = asyncio.sleep) -> None:
        self._ask = ask
        self._sleep = sleep
        self._included: dict[str, frozenset[str]] = {}

    async def permissions(self, role: str) -> frozenset[str]:
        """What a role includes, as it was when it was first asked."""
        if role not in self._included:
            document = await self._ask("GET", f"{IAM}/{safe(role)}")
            self._included[role] = frozenset(map(str, document.get("includedPermissions", ())))
        return self._included[role]

    async def of_project(self, project: str, wanted: frozenset[str]) -> AsyncIterator[Found]:
        """Remit's custom roles in a project, by their name's beginning, and those that are wanted."""
        url = f"{IAM}/projects/{project}/roles?view=FULL&pageSize=300"
        async for entry in listed(self._ask, url, "roles"):
            name = f"projects/{project}/roles/{str(entry['name']).rpartition('/')[2]}"
            if not entry.get("deleted") and (name in wanted or name.rpartition("/")[2].startswith(_OURS)):
                yield Found(Address("google.role", name), _fields(entry), {"name": name})

    async def make(self, thing: Thing) -> Found:
        """Make a custom role; undelete it where it was deleted."""
        parent, _, identifier = thing.address.name.rpartition("/")
        body = {"roleId": identifier, "role": _body(thing.fields)}
        try:
            await self._ask("POST", f"{IAM}/{safe(parent)}", body)
        except CloudRefused as refused:
            if not isinstance(refused, Conflict) and refused.code != "FAILED_PRECONDITION":
                raise _with_hint(refused) from refused
            await self._taken(thing, refused)
        self._included.pop(thing.address.name, None)
        return Found(thing.address, thing.fields, {"name": thing.address.name})

    async def change(self, thing: Thing) -> Found:
        """Set every field that is not as wanted; a change in between is seen by its etag, and looked at again."""
        url = f"{IAM}/{safe(thing.address.name)}"
        for attempt in range(_TRIES):
            document = await self._ask("GET", url)
            now = _fields(document)
            mask = ",".join(_MASKS[field] for field in sorted(_MASKS) if thing.fields[field] != now[field])
            if not mask:
                break
            body = _body(thing.fields)
            body = {name: body[name] for name in mask.split(",")}
            body |= {"etag": document["etag"]} if document.get("etag") else {}
            try:
                await self._ask("PATCH", f"{url}?updateMask={mask}", body)
                break
            except Conflict:
                if attempt == _TRIES - 1:
                    raise
                await self._sleep(0.25 * 2**attempt)
            except CloudRefused as refused:
                raise _with_hint(refused) from refused
        self._included.pop(thing.address.name, None)
        return Found(thing.address, thing.fields, {"name": thing.address.name})

    async def remove(self, name: str) -> None:
        """Delete a custom role; what is bound to it allows nothing from then on."""
        try:
            document = await self._ask("GET", f"{IAM}/{safe(name)}")
            if not document.get("deleted"):
                await self._ask("DELETE", f"{IAM}/{safe(name)}")
        except Missing:
            return

    async def _taken(self, thing: Thing, refused: CloudRefused) -> None:
        name = thing.address.name
        try:
            document = await self._ask("GET", f"{IAM}/{safe(name)}")
        except Missing as missing:  # deleted for good, and its id is not free yet
            message = f"`{name}` was deleted more than a week ago, and its id is not free before 37 days"
            raise TrustBroken(message, hint="grant a role of Google's instead of `policy` until then") from missing
        if document.get("deleted"):
            body = {"etag": document["etag"]} if document.get("etag") else {}
            await self._ask("POST", f"{IAM}/{safe(name)}:undelete", body)
            await self.change(thing)
        elif _fields(document) != thing.fields:
            message = f"`{name}` is there already, and not as it was to be made"
            raise TrustBroken(message, hint="plan again: `remit trust plan`") from refused


def _fields(document: Mapping[str, Any]) -> Fields:
    return {
        "title": str(document.get("title", "")),
        "permissions": tuple(sorted(map(str, document.get("includedPermissions", ())))),
        "stage": str(document.get("stage", "ALPHA")),  # the one stage that Google leaves out
    }


def _body(fields: Fields) -> dict[str, Any]:
    permissions = fields["permissions"]
    return {
        "title": fields["title"],
        "includedPermissions": list(permissions) if isinstance(permissions, tuple) else [],
        "stage": fields["stage"],
    }


def _with_hint(refused: CloudRefused) -> CloudRefused:
    """What custom roles cannot hold is Google's to say, and changes."""
    if refused.status == _INVALID:
        refused.hint = _HINT
    return refused
