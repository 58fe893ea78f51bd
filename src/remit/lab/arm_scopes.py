"""The Resource Manager ids of what lies in Contoso's subscription.

Ids are compared without regard to case, as Azure does, and answered in the case of their makers. One subscription, two
resource groups, the storage accounts with their containers, managed identities; management groups are left out. Source:
learn.microsoft.com/azure/role-based-access-control/scope-overview.
"""

import re

from remit.lab import contoso_azure as azure
from remit.lab.arm_errors import no_group, no_resource, no_subscription

SUBSCRIPTION_ID = azure.SUBSCRIPTION.rpartition("/")[2]
GROUPS = (azure.GROUP.rpartition("/")[2], "remit")
ACCOUNTS = tuple(dict.fromkeys(container.partition("/")[0] for container in azure.CONTAINERS))
_STORAGE = "Microsoft.Storage/storageAccounts"
_IDENTITY = "Microsoft.ManagedIdentity/userAssignedIdentities"
_PART = "([^/]+)"
_SCOPE = re.compile(
    f"/subscriptions/{_PART}(?:/resourceGroups/{_PART}(?:/providers/{re.escape(_STORAGE)}/{_PART}"
    f"(/blobServices/default(?:/containers/{_PART})?)?)?)?",
    re.IGNORECASE,
)
_OF_IDENTITY = re.compile(
    f"/subscriptions/{_PART}/resourceGroups/{_PART}/providers/{re.escape(_IDENTITY)}/{_PART}", re.IGNORECASE
)


def canonical(scope: str) -> str | None:
    """The id as Azure tells it, `None` for what is no id of a kind that the lab has; raises `ArmError`.

    The error says which part is not there.
    """
    if identity := _OF_IDENTITY.fullmatch(scope):
        group = canonical(f"/subscriptions/{identity[1]}/resourceGroups/{identity[2]}")
        return f"{group}/providers/{_IDENTITY}/{identity[3].lower()}"
    found = _SCOPE.fullmatch(scope)
    if found is None:
        return None
    subscription, group, account, service, container = found.groups()
    if subscription.lower() != SUBSCRIPTION_ID:
        raise no_subscription(subscription)
    if group is None:
        return azure.SUBSCRIPTION
    known = next((each for each in GROUPS if each == group.lower()), None)
    if known is None:
        raise no_group(group)
    if account is None:
        return f"{azure.SUBSCRIPTION}/resourceGroups/{known}"
    if known != GROUPS[0] or account.lower() not in ACCOUNTS:
        raise no_resource(f"{_STORAGE}/{account}", group)
    base = azure.account_scope(account.lower())
    if container is None:
        return f"{base}/blobServices/default" if service else base
    if f"{account.lower()}/{container}" not in azure.CONTAINERS:
        raise no_resource(f"{_STORAGE}/{account}/blobServices/default/containers/{container}", group)
    return azure.container_scope(f"{account.lower()}/{container}")


def reaches(scope: str, resource: str) -> bool:
    """Whether what holds at a scope holds at a resource: the same, or one below."""
    scope, resource = scope.lower(), resource.lower()
    return resource == scope or resource.startswith(f"{scope}/")


def group_of(scope: str) -> str:
    """The name of the resource group that a scope lies in, empty for a subscription."""
    parts = scope.split("/")
    return parts[4] if len(parts) > 4 else ""  # noqa: PLR2004 - /subscriptions/ID/resourceGroups/NAME
