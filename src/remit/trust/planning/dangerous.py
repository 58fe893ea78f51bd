"""What is dangerous by its name: roles and permissions by which whoever holds them gives himself the rest. Data.

Source: cloud.google.com/iam/docs/understanding-roles and /best-practices-service-accounts (privilege escalation);
learn.microsoft.com/azure/role-based-access-control/built-in-roles/privileged;
postgresql.org/docs/17/role-attributes.html, /ddl-priv.html, /predefined-roles.html.
"""

import re
from collections.abc import Mapping

ADMINISTRATORS = frozenset({"roles/owner", "roles/resourcemanager.projectIamAdmin"})
"""Roles with which somebody can repair the bindings of a project."""
AZURE_ADMINISTRATORS = frozenset(
    {"Owner", "User Access Administrator", "Role Based Access Control Administrator"},
)
"""Roles with which somebody can repair role assignments."""
READING_AT_AZURE = frozenset({"Storage Blob Data Reader"})
"""Roles on containers with which nobody deletes the container itself, by an action that conditions do not apply to."""
GRAPH_ADMINISTRATORS = frozenset(
    {
        "Application.ReadWrite.All",
        "AppRoleAssignment.ReadWrite.All",
        "Directory.ReadWrite.All",
        "RoleManagement.ReadWrite.Directory",
    }
)
"""Permissions with which somebody can repair applications and their assignments."""
POOL_ADMINISTRATOR = "roles/iam.workloadIdentityPoolAdmin"
"""Whoever keeps the keys of Remit's own issuer needs it."""

_POWERFUL = re.compile(
    r"roles/(owner|editor"
    r"|[A-Za-z0-9.]+\.(admin|securityAdmin)"
    r"|resourcemanager\.\w*Admin"
    r"|iam\.(?!workloadIdentityPoolAdmin$)\w*Admin)"
)
_AZURE_POWERFUL = AZURE_ADMINISTRATORS | {"Contributor", "Storage Blob Data Owner", "Storage Account Contributor"}
_SEIZING = re.compile(
    r".*\*.*|.*\.setIamPolicy|.*\.actAs|iam\.serviceAccounts\.(getAccessToken|getOpenIdToken|implicitDelegation|signBlob|signJwt)"
    r"|iam\.serviceAccountKeys\.create|storage\.hmacKeys\.create|iam\.roles\.(create|update|undelete)"
    r"|iam\.workloadIdentityPool(s|Providers)\.(create|update|undelete)|.*\.setOrgPolicy"
)
_UNBOUND: Mapping[str, str] = {
    "superuser": "it would be asked no question any more",
    "createrole": "it could make roles, and be them",
    "createdb": "it could make databases, and own them",
    "replication": "it could copy the whole server",
    "bypassrls": "it would see past every row security",
}
"""Attribute of a database's role → what whoever has it may do besides."""
_TAKING: Mapping[str, str] = {
    "CREATE": "may put there what others find in place of their own",
    "TRIGGER": "may have its own code run by whoever writes there",
    "MAINTAIN": "may have what is indexed computed again, and lock whoever works there",
    "OWNER": "may do everything with it, and give it on",
    "SOME": "holds what Remit only tells of",
}
_BECOMING = frozenset({"roles/iam.serviceAccountUser", "roles/iam.workloadIdentityUser"})


def powerful(role: str) -> bool:
    """Whether a role of Google's gives a whole project, a whole service or the means to take them."""
    return bool(_POWERFUL.fullmatch(role))


def powerful_at_azure(role: str) -> bool:
    """Whether a role of Azure's can do more than read and write blobs."""
    return role in _AZURE_POWERFUL or not role.startswith("Storage Blob Data ")


def seizing(permission: str) -> bool:
    """Whether a permission lets its holder take others, or another's."""
    return bool(_SEIZING.fullmatch(permission))


def writing(permission: str) -> bool:
    """Whether a permission of Microsoft Graph does more than read."""
    return ".Read." not in f"{permission}." or "ReadWrite" in permission


def unbound(attribute: str) -> str:
    """What an attribute lets a database's role do beside what it is given; empty for nothing."""
    return _UNBOUND.get(attribute, "")


def taking(privilege: str) -> str:
    """What a privilege in a database lets its holder do to others; empty for nothing."""
    return _TAKING.get(privilege, "")


def wider_than_needed(role: str) -> bool:
    """Whether a role on a project opens all buckets, or lets its holder become all accounts, of the project."""
    return role.startswith("roles/storage.") or role in _BECOMING
