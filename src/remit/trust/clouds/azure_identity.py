"""The managed identity that Remit proves itself with: whom else it trusts, and whose roles on it let them become it.

Whoever controls the subject of a federated credential on it is Remit, from anywhere; the trust wants none. Where the
identity lies Microsoft Graph says (`alternativeNames` of its service principal). Left out: a system-assigned identity,
which can have none, and whatever it is attached to: whoever runs code there is Remit too. Source: learn.microsoft.com/
rest/api/managedidentity/federated-identity-credentials (2023-01-31), learn.microsoft.com/entra/identity/
managed-identities-azure-resources/how-to-assign-access.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import quote

from remit.model.errors import TrustBroken
from remit.trust.clouds.port import Missing
from remit.trust.things import Address, Found, Thing

IDENTITY, KIND = "azure.identity", "azure.federation"
_HOST = "https://management.azure.com"
_VERSION = "api-version=2023-01-31"
_PAGES = 100  # of one list: an identity has 20 at most
_PLACE = (
    r"/subscriptions/[0-9a-f-]{36}/resourcegroups/[\w().-]{0,89}[\w()-]/providers/"
    r"Microsoft\.ManagedIdentity/userAssignedIdentities/[\w-]{1,128}"
)
_RESOURCE = re.compile(_PLACE, re.IGNORECASE | re.ASCII)
_CREDENTIAL = re.compile(rf"({_PLACE})/federatedIdentityCredentials/[\w-]{{1,120}}", re.IGNORECASE | re.ASCII)

Send = Callable[[str, str, Mapping[str, Any] | None], Awaitable[dict[str, Any]]]
Follow = Callable[[object], str]
"""The URL of a next page; raises `TrustBroken` for one that is not at Azure."""


def resource_of(names: object) -> str:
    """The Resource Manager id among a service principal's `alternativeNames`, empty where it is none of these."""
    found = names if isinstance(names, list) else []
    return next((each for each in found if isinstance(each, str) and _RESOURCE.fullmatch(each)), "")


class Federations:
    """`send`: asks Azure; `follow`: as above."""

    def __init__(self, send: Send, follow: Follow) -> None:
        self._send = send
        self._follow = follow

    async def read(self, thing: Thing) -> tuple[Found, ...]:
        """The identity and its credentials, nothing where it is gone; one that is not user-assigned has none."""
        resource = thing.fields.get("resource")
        if not isinstance(resource, str) or not resource:
            return (Found(thing.address, thing.fields),)
        if not _RESOURCE.fullmatch(resource):
            raise TrustBroken(f"`{resource}` is no managed identity")
        try:
            held = [_found(each, resource) async for each in self._list(resource)]
        except Missing:
            return ()
        return (Found(thing.address, thing.fields, {"id": resource}), *held)

    async def make(self, thing: Thing) -> Found:
        """Put one back, as an undone step does: none is ever wanted."""
        fields = {name: str(thing.fields[name]) for name in ("identity", "name", "issuer", "subject", "audience")}
        place = f"{fields['identity']}/federatedIdentityCredentials/{fields['name']}"
        body = {name: fields[name] for name in ("issuer", "subject")} | {"audiences": [fields["audience"]]}
        answer = await self._send("PUT", _url(_checked(place)), {"properties": body})
        return _found(answer, fields["identity"])

    async def remove(self, found: Found) -> None:
        """Remove it; nothing happens when it is not there. Tokens already issued stay good for their day."""
        try:
            await self._send("DELETE", _url(_checked(found.ids.get("id", ""))), None)
        except Missing:
            return

    async def _list(self, resource: str) -> AsyncIterator[Any]:
        url = _url(f"{resource}/federatedIdentityCredentials")
        for _ in range(_PAGES):
            page = await self._send("GET", url, None)
            values = page.get("value")
            if not isinstance(values, list):
                raise TrustBroken(f"`{resource}` answered no list of federated credentials")
            for value in values:
                yield value
            if not page.get("nextLink"):
                return
            url = self._follow(page["nextLink"])
        raise TrustBroken(f"the federated credentials of `{resource}` have no last page")


def keeper(role: str, scope: str, principal: str, resource: str) -> str:
    """A role on an identity or above it, in words."""
    lower = scope.lower()
    if lower == resource.lower():
        return f"{role} on it: {principal}"
    place = "its subscription" if lower.startswith("/subscriptions/") else "all that its subscription is part of"
    return f"{role} on {'its resource group' if '/resourcegroups/' in lower else place}: {principal}"


def _found(value: Any, resource: str) -> Found:
    try:
        properties, name = value["properties"], str(value["name"])
        audiences = ",".join(sorted(map(str, properties.get("audiences") or ())))
        # one that matches by an expression has no subject
        subject = str(properties.get("subject") or f"expression: {properties.get('claimsMatchingExpression')}")
        fields = {
            "identity": resource,
            "name": name,
            "issuer": str(properties.get("issuer") or ""),
            "subject": subject,
            "audience": audiences,
        }
        ids = {"id": _checked(str(value["id"]))}
    except (KeyError, TypeError, AttributeError) as cause:
        raise TrustBroken("Azure describes a federated credential in no known form") from cause
    return Found(Address(KIND, f"{resource.rpartition('/')[2]}/{name}"), fields, ids)


def _checked(resource: str) -> str:
    if not _CREDENTIAL.fullmatch(resource):
        raise TrustBroken("a federated credential has no id of Azure's")
    return resource


def _url(resource: str) -> str:
    return f"{_HOST}{quote(resource, safe='/()')}?{_VERSION}"
