"""Workload identity pools and their providers: read, made, changed, removed.

A deleted one keeps its name for 30 days, so that it is undeleted when it is wanted. Leaves out the keys of Remit's own
provider, which `rotating` renews, and providers that speak no OIDC, which are reported only. Keys that
somebody uploaded to any other provider are told, and go: Google would believe whoever holds them instead of the issuer.
Source: cloud.google.com/iam/docs/reference/rest/v1/projects.locations.workloadIdentityPools.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

from remit.model.errors import TrustBroken
from remit.trust.clouds.asking import Asking, Sleep
from remit.trust.clouds.google_names import IAM, safe
from remit.trust.clouds.google_operations import finished, listed
from remit.trust.clouds.port import CloudRefused, Conflict, Missing
from remit.trust.things import Address, Fields, Found, Thing

_NO_KEYS = '{"keys": []}'
_MASKS: Mapping[str, str] = {
    "issuer": "oidc.issuerUri",
    "audiences": "oidc.allowedAudiences",
    "mapping": "attributeMapping",
    "condition": "attributeCondition",
    "disabled": "disabled",
}
"""Field → what an update mask calls it."""
_UPLOADED, _KEYS = "uploadedKeys", "oidc.jwksJson"
_DESCRIPTION = "Kept by Remit: remit trust plan"


class Pools:
    """Pools and providers. `own`: resource name of Remit's own provider, whose keys are uploaded."""

    def __init__(self, ask: Asking, own: str = "", *, sleep: Sleep = asyncio.sleep) -> None:
        self._ask = ask
        self._own = own.removeprefix("//iam.googleapis.com/")
        self._sleep = sleep
        self._undeleted: set[str] = set()

    async def read(self, pool: str) -> AsyncIterator[Found]:
        """A pool and every provider in it, wanted or not; nothing where there is no such pool."""
        document = await self._there(pool)
        if document is None:
            return
        yield Found(Address("google.pool", pool), {"disabled": bool(document.get("disabled"))}, {"name": pool})
        async for entry in listed(
            self._ask, f"{IAM}/{safe(pool)}/providers?pageSize=100", "workloadIdentityPoolProviders"
        ):
            if entry.get("state") != "DELETED":
                name = f"{pool}/providers/{str(entry['name']).rpartition('/')[2]}"
                yield Found(Address("google.provider", name), self._fields(name, entry), {"name": name})

    async def make(self, thing: Thing) -> Found:
        """Make a pool or a provider; undelete it where it was deleted."""
        name = thing.address.name
        parent, _, identifier = name.rpartition("/")
        kind = "workloadIdentityPoolProvider" if thing.address.kind == "google.provider" else "workloadIdentityPool"
        body = {"description": _DESCRIPTION, **self._body(thing)}
        try:
            operation = await self._ask("POST", f"{IAM}/{safe(parent)}?{kind}Id={safe(identifier)}", body)
        except CloudRefused as refused:
            if isinstance(refused, Conflict) or refused.code == "FAILED_PRECONDITION":
                return await self._taken(thing, refused)
            raise
        await finished(self._ask, operation, self._sleep)
        return _as_wanted(thing)

    async def change(self, thing: Thing) -> Found:
        """Set every field that is not as wanted."""
        name = thing.address.name
        now = self._fields(name, await self._ask("GET", f"{IAM}/{safe(name)}"))
        masks = [_MASKS[field] for field in sorted(_MASKS.keys() & now) if thing.fields[field] != now[field]]
        if mask := ",".join([*masks, _KEYS] if _UPLOADED in now else masks):  # nobody's keys are put back, either
            body = _masked(self._body(thing), mask)
            operation = await self._ask("PATCH", f"{IAM}/{safe(name)}?updateMask={mask}", body)
            await finished(self._ask, operation, self._sleep)
        return _as_wanted(thing)

    async def remove(self, name: str) -> None:
        """Delete it; Google forgets it after 30 days."""
        if await self._there(name) is None:
            return
        try:
            operation = await self._ask("DELETE", f"{IAM}/{safe(name)}")
        except Missing:
            return
        await finished(self._ask, operation, self._sleep)

    async def _there(self, name: str) -> dict[str, Any] | None:
        try:
            document = await self._ask("GET", f"{IAM}/{safe(name)}")
        except Missing:
            return None
        return None if document.get("state") == "DELETED" else document

    async def _taken(self, thing: Thing, refused: CloudRefused) -> Found:
        """What comes of a name that is in use: an earlier attempt's, a deleted one, or somebody's."""
        name = thing.address.name
        document = await self._ask("GET", f"{IAM}/{safe(name)}")
        if document.get("state") == "DELETED":
            operation = await self._ask("POST", f"{IAM}/{safe(name)}:undelete", {})
            await finished(self._ask, operation, self._sleep)
            self._undeleted.add(name)
            if thing.address.kind == "google.pool":
                await self._shut(name)
            return await self.change(thing)
        if self._fields(name, document) == thing.fields:
            return _as_wanted(thing)
        if name.partition("/providers/")[0] in self._undeleted:  # it came back with its pool
            return await self.change(thing)
        message = f"`{name}` is there already, and not as it was to be made"
        raise TrustBroken(message, hint="plan again: `remit trust plan`") from refused

    async def _shut(self, pool: str) -> None:
        """Whatever came back with a pool opens nothing until it is as wanted; what nobody wants stays shut."""
        async for found in self.read(pool):
            if found.address.kind == "google.provider" and not found.fields["disabled"]:
                url = f"{IAM}/{safe(found.address.name)}?updateMask=disabled"
                await finished(self._ask, await self._ask("PATCH", url, {"disabled": True}), self._sleep)

    def _body(self, thing: Thing) -> dict[str, Any]:
        fields = thing.fields
        if thing.address.kind == "google.pool":
            return {"disabled": fields["disabled"]}
        oidc = {"issuerUri": fields["issuer"], "allowedAudiences": list(_texts(fields["audiences"]))}
        if thing.address.name == self._own:
            oidc["jwksJson"] = _NO_KEYS
        return {
            "attributeMapping": fields["mapping"],
            "attributeCondition": fields["condition"],
            "oidc": oidc,
            "disabled": fields["disabled"],
        }

    def _fields(self, name: str, document: Mapping[str, Any]) -> Fields:
        if "/providers/" not in name:
            return {"disabled": bool(document.get("disabled"))}
        keys = "" if name == self._own else str(_oidc(document).get("jwksJson") or "")
        told = {_UPLOADED: f"sha256:{hashlib.sha256(keys.encode()).hexdigest()}"} if keys else {}
        return {**_provider_fields(document), **told}


def _as_wanted(thing: Thing) -> Found:
    return Found(thing.address, thing.fields, {"name": thing.address.name})


def _provider_fields(document: Mapping[str, Any]) -> Fields:
    oidc = _oidc(document)
    return {
        "issuer": str(oidc.get("issuerUri", "")),
        "audiences": tuple(sorted(map(str, oidc.get("allowedAudiences") or ()))),
        "mapping": {str(key): str(value) for key, value in (document.get("attributeMapping") or {}).items()},
        "condition": str(document.get("attributeCondition", "")),
        "disabled": bool(document.get("disabled")),
    }


def _oidc(document: Mapping[str, Any]) -> Mapping[str, Any]:
    return document.get("oidc") or {}


def _texts(value: object) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, tuple) else ()


def _masked(body: Mapping[str, Any], mask: str) -> dict[str, Any]:
    """Only what the mask names: the keys of Remit's own provider are never sent back empty."""
    kept: dict[str, Any] = {}
    for path in mask.split(","):
        outer, _, inner = path.partition(".")
        if inner:
            kept.setdefault(outer, {})[inner] = body[outer].get(inner, "")
        else:
            kept[outer] = body[outer]
    return kept
