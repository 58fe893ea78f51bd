"""Azure's built-in roles, as far as Contoso uses them, and what a role permits.

Custom roles and deny assignments are left out. Source: learn.microsoft.com/azure/role-based-access-control/
built-in-roles (ids, actions), role-definitions (`*`, `notActions`, `dataActions`).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_CONTAINERS = "Microsoft.Storage/storageAccounts/blobServices/containers"
_DELEGATE = "Microsoft.Storage/storageAccounts/blobServices/generateUserDelegationKey/action"
_IDENTITIES = "Microsoft.ManagedIdentity/userAssignedIdentities"
_ANYBODYS = (
    "Microsoft.Authorization/*/read",
    "Microsoft.Insights/alertRules/*",
    "Microsoft.Resources/subscriptions/resourceGroups/read",
    "Microsoft.Resources/deployments/*",
    "Microsoft.Support/*",
)
_BORN = "2017-12-21T00:01:24.7972312Z"


@dataclass(frozen=True, slots=True)
class Role:
    """A role definition. `id`: a GUID, the same in every tenant; `data`: its `dataActions`; `but`: its `notActions`."""

    id: str
    name: str
    about: str
    actions: tuple[str, ...]
    data: tuple[str, ...] = ()
    but: tuple[str, ...] = ()

    def permits(self, action: str, *, data: bool = False) -> bool:
        """Whether it permits an action, or a data action: of these `*` is none unless it is written among them."""
        if data:
            return _any(self.data, action)
        return _any(self.actions, action) and not _any(self.but, action)

    def describe(self, scope: str) -> dict[str, Any]:
        """As the API tells it. `scope`: of the subscription through which it was asked, empty for the tenant."""
        permission = {
            "actions": list(self.actions),
            "notActions": list(self.but),
            "dataActions": list(self.data),
            "notDataActions": [],
        }
        return {
            "properties": {
                "roleName": self.name,
                "type": "BuiltInRole",
                "description": self.about,
                "assignableScopes": ["/"],
                "permissions": [permission],
                "createdOn": _BORN,
                "updatedOn": _BORN,
                "createdBy": None,
                "updatedBy": None,
            },
            "id": self.resource(scope),
            "type": "Microsoft.Authorization/roleDefinitions",
            "name": self.id,
        }

    def resource(self, scope: str) -> str:
        """Its Resource Manager id, under a subscription or, with an empty scope, under the tenant."""
        return f"{scope}/providers/Microsoft.Authorization/roleDefinitions/{self.id}"


def _any(patterns: tuple[str, ...], action: str) -> bool:
    return any(
        re.fullmatch(re.escape(each).replace(r"\*", ".*"), action, re.IGNORECASE | re.DOTALL) for each in patterns
    )


_ALL = (
    Role("8e3af657-a8ff-443c-a75c-2fe8c4bcb635", "Owner", "Grants full access to manage all resources.", ("*",)),
    Role(
        "b24988ac-6180-42a0-ab88-20f7382dd24c",
        "Contributor",
        "Grants full access to manage all resources, but does not allow you to assign roles in Azure RBAC.",
        ("*",),
        but=(
            "Microsoft.Authorization/*/Delete",
            "Microsoft.Authorization/*/Write",
            "Microsoft.Authorization/elevateAccess/Action",
        ),
    ),
    Role("acdd72a7-3385-48ef-bd42-f606fba81ae7", "Reader", "View all resources, but no changes.", ("*/read",)),
    Role(
        "18d7d88d-d35e-4fb5-a5c3-7773c20a72d9",
        "User Access Administrator",
        "Lets you manage user access to Azure resources.",
        ("*/read", "Microsoft.Authorization/*", "Microsoft.Support/*"),
    ),
    Role(
        "f58310d9-a9f6-439a-9e8d-f62e7b41a168",
        "Role Based Access Control Administrator",
        "Manage access to Azure resources by assigning roles using Azure RBAC.",
        (
            "Microsoft.Authorization/roleAssignments/write",
            "Microsoft.Authorization/roleAssignments/delete",
            "*/read",
            "Microsoft.Support/*",
        ),
    ),
    Role(
        "f1a07417-d97a-45cb-824c-7a7467783830",
        "Managed Identity Operator",
        "Read and Assign User Assigned Identity",
        (f"{_IDENTITIES}/*/read", f"{_IDENTITIES}/*/assign/action", *_ANYBODYS),
    ),
    Role(
        "e40ec5ca-96e0-45a2-b4ff-59039f2c2b59",
        "Managed Identity Contributor",
        "Create, Read, Update, and Delete User Assigned Identity",
        (
            *(f"{_IDENTITIES}/{verb}" for verb in ("read", "write", "delete", "revokeTokens/action")),
            *(f"{_IDENTITIES}/federatedIdentityCredentials/{verb}" for verb in ("read", "write", "delete")),
            *_ANYBODYS,
        ),
    ),
    Role(
        "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1",
        "Storage Blob Data Reader",
        "Allows for read access to Azure Storage blob containers and data",
        (f"{_CONTAINERS}/read", _DELEGATE),
        (f"{_CONTAINERS}/blobs/read",),
    ),
    Role(
        "ba92f5b4-2d11-453d-a403-e96b0029c9fe",
        "Storage Blob Data Contributor",
        "Allows for read, write and delete access to Azure Storage blob containers and data",
        (f"{_CONTAINERS}/delete", f"{_CONTAINERS}/read", f"{_CONTAINERS}/write", _DELEGATE),
        tuple(f"{_CONTAINERS}/blobs/{verb}" for verb in ("delete", "read", "write", "move/action", "add/action")),
    ),
    Role(
        "b7e6dc6d-f1e8-4753-8033-0f276bb0955b",
        "Storage Blob Data Owner",
        "Allows for full access to Azure Storage blob containers and data, including assigning POSIX access control.",
        (f"{_CONTAINERS}/*", _DELEGATE),
        (f"{_CONTAINERS}/blobs/*",),
    ),
)
ROLES: Mapping[str, Role] = {role.id: role for role in _ALL}
"""GUID → built-in role."""


def named(name: str) -> Role:
    """The built-in role of this name, in any case; raises `KeyError`."""
    found = next((role for role in _ALL if role.name.lower() == name.lower()), None)
    if found is None:
        raise KeyError(name)
    return found
