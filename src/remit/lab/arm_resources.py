"""What lies in Contoso's subscription, as Resource Manager lists it and tells it, and the action that reads it.

Subscription, resource groups, storage accounts, containers; nothing of them can be changed here. A list over the whole
subscription holds what the caller may read. Source: learn.microsoft.com/rest/api/ resources and storagerp.
"""

from collections.abc import Callable, Iterator
from typing import Any

from remit.lab import arm_scopes as scopes
from remit.lab import contoso
from remit.lab import contoso_azure as azure
from remit.lab.arm_errors import no_resource, unroutable

_LOCATION = "westeurope"
_STORAGE = "Microsoft.Storage/storageAccounts"
_GROUPS = "Microsoft.Resources/subscriptions/resourceGroups/read"
_ENDINGS = {
    "/resourcegroups": _GROUPS,
    f"/providers/{_STORAGE.lower()}": f"{_STORAGE}/read",
    "/containers": f"{_STORAGE}/blobServices/containers/read",
}
"""How the path of a list ends → the action that reads each of its things."""
_DEPTHS = {
    3: "Microsoft.Resources/subscriptions/read",
    5: _GROUPS,
    9: f"{_STORAGE}/read",
    11: f"{_STORAGE}/blobServices/read",
    13: f"{_STORAGE}/blobServices/containers/read",
}
"""Number of parts of a resource's id → the action that reads it."""

Permits = Callable[[str, str], bool]
"""Whether the caller may do an action at a scope."""
Require = Callable[[str, str], None]
"""As `Permits`, raises `ArmError` instead."""


def read(path: str, permits: Permits, require: Require) -> dict[str, Any]:
    """A thing, or a list of things, at a path; raises `ArmError`."""
    ending = next((each for each in _ENDINGS if path.lower().endswith(each)), "")
    scope, action = path[: len(path) - len(ending)], _ENDINGS.get(ending) or _DEPTHS.get(path.count("/") + 1)
    if action is None:
        raise unroutable("GET", path)
    whole = bool(ending) and scope.lower() == azure.SUBSCRIPTION
    if not whole:
        require(action, scope)
    found = scopes.canonical(scope)
    if found is None:
        raise unroutable("GET", path)
    if not ending:
        return _thing(found)
    return {"value": [each for each in _listed(ending, found) if not whole or permits(action, each["id"])]}


def subscriptions(permits: Permits) -> list[dict[str, Any]]:
    """The subscription, for whoever may read anything in it."""
    places = [azure.SUBSCRIPTION, *(f"{azure.SUBSCRIPTION}/resourceGroups/{name}" for name in scopes.GROUPS)]
    places += [azure.container_scope(path) for path in azure.CONTAINERS]
    actions = set(_DEPTHS.values())
    mine = any(permits(action, place) for action in actions for place in places)
    return [_subscription(contoso.TENANT)] if mine else []


def _listed(ending: str, scope: str) -> Iterator[dict[str, Any]]:
    if ending == "/resourcegroups":
        yield from map(_group, scopes.GROUPS)
    elif ending == "/containers":
        for path in azure.CONTAINERS:
            if scopes.reaches(scope, azure.container_scope(path)):
                yield _container(path)
    else:
        for name in scopes.ACCOUNTS:
            if scopes.reaches(scope, azure.account_scope(name)):
                yield _account(name)


def _thing(scope: str) -> dict[str, Any]:
    parts = scope.split("/")
    match len(parts):
        case 3:
            return _subscription(contoso.TENANT)
        case 5:
            return _group(parts[4])
        case 9:
            return _account(parts[8])
        case 13:
            return _container(f"{parts[8]}/{parts[12]}")
    raise no_resource(scope.rpartition("/providers/")[2], parts[4])


def _subscription(tenant: str) -> dict[str, Any]:
    """The subscription as the API tells it."""
    return {
        "id": azure.SUBSCRIPTION,
        "subscriptionId": scopes.SUBSCRIPTION_ID,
        "tenantId": tenant,
        "displayName": "Contoso machine learning",
        "state": "Enabled",
        "authorizationSource": "RoleBased",
    }


def _group(name: str) -> dict[str, Any]:
    """A resource group as the API tells it."""
    return {
        "id": f"{azure.SUBSCRIPTION}/resourceGroups/{name}",
        "name": name,
        "type": "Microsoft.Resources/resourceGroups",
        "location": _LOCATION,
        "properties": {"provisioningState": "Succeeded"},
    }


def _account(name: str) -> dict[str, Any]:
    """A storage account as the API tells it."""
    return {
        "sku": {"name": "Standard_LRS", "tier": "Standard"},
        "kind": "StorageV2",
        "id": azure.account_scope(name),
        "name": name,
        "type": _STORAGE,
        "location": _LOCATION,
        "properties": {
            "allowBlobPublicAccess": False,
            "allowSharedKeyAccess": False,
            "supportsHttpsTrafficOnly": True,
            "minimumTlsVersion": "TLS1_2",
            "provisioningState": "Succeeded",
            "primaryEndpoints": {"blob": f"https://{name}.blob.core.windows.net/"},
        },
    }


def _container(path: str) -> dict[str, Any]:
    """A container (`ACCOUNT/CONTAINER`) as the API tells it."""
    return {
        "id": azure.container_scope(path),
        "name": path.partition("/")[2],
        "type": f"{_STORAGE}/blobServices/containers",
        "properties": {"publicAccess": "None", "leaseStatus": "Unlocked", "leaseState": "Available"},
    }
