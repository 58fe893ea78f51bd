"""Which permissions a role holds: Vertex AI's from data (`data/README.md`), the few others by hand.

The hand table holds what the lab's services ask for, from cloud.google.com/iam/docs/understanding-roles; it is no
complete copy of those roles. Whatever permission stands in any of them is one that the lab knows.
"""

import json
from functools import cache
from importlib import resources

_OBJECT_READ = ("storage.objects.get", "storage.objects.list")
_OBJECT_ALL = (
    *_OBJECT_READ,
    "storage.objects.create",
    "storage.objects.delete",
    "storage.objects.update",
    "storage.objects.getIamPolicy",
    "storage.objects.setIamPolicy",
)
_LOGS_READ = (
    "logging.logEntries.list",
    "logging.logs.list",
    "logging.logServices.list",
    "logging.views.get",
    "logging.views.list",
    "logging.views.listLogs",
    "resourcemanager.projects.get",
)
_PROJECT = ("resourcemanager.projects.get",)
_PROJECT_POLICY = (*_PROJECT, "resourcemanager.projects.getIamPolicy")
_ACCOUNTS_READ = ("iam.serviceAccounts.get", "iam.serviceAccounts.getIamPolicy", "iam.serviceAccounts.list")
_KEYS_READ = ("iam.serviceAccountKeys.get", "iam.serviceAccountKeys.list")
_ROLES_READ = ("iam.roles.get", "iam.roles.list")
_POOLS_READ = (
    "iam.workloadIdentityPoolProviders.get",
    "iam.workloadIdentityPoolProviders.list",
    "iam.workloadIdentityPools.get",
    "iam.workloadIdentityPools.list",
)
_POOLS_WRITE = tuple(
    f"iam.{kind}.{verb}"
    for kind in ("workloadIdentityPoolProviders", "workloadIdentityPools")
    for verb in ("create", "delete", "undelete", "update")
)
_HAND = {
    "roles/storage.objectViewer": _OBJECT_READ,
    "roles/storage.objectCreator": ("storage.objects.create", "storage.multipartUploads.create"),
    "roles/storage.objectUser": (
        *_OBJECT_READ,
        "storage.objects.create",
        "storage.objects.delete",
        "storage.objects.update",
    ),
    "roles/storage.objectAdmin": _OBJECT_ALL,
    "roles/storage.legacyBucketReader": ("storage.buckets.get", "storage.objects.list"),
    "roles/logging.viewer": _LOGS_READ,
    "roles/logging.viewAccessor": (
        "logging.logEntries.download",
        "logging.views.access",
        "logging.views.listLogs",
        "logging.views.listResourceKeys",
        "logging.views.listResourceValues",
    ),
    "roles/logging.logWriter": ("logging.logEntries.create", "logging.logEntries.route"),
    "roles/iam.workloadIdentityUser": (
        "iam.serviceAccounts.get",
        "iam.serviceAccounts.getAccessToken",
        "iam.serviceAccounts.getOpenIdToken",
        "iam.serviceAccounts.list",
    ),
    "roles/iam.serviceAccountTokenCreator": (
        "iam.serviceAccounts.get",
        "iam.serviceAccounts.getAccessToken",
        "iam.serviceAccounts.getOpenIdToken",
        "iam.serviceAccounts.implicitDelegation",
        "iam.serviceAccounts.list",
        "iam.serviceAccounts.signBlob",
        "iam.serviceAccounts.signJwt",
    ),
    "roles/iam.serviceAccountUser": (
        "iam.serviceAccounts.actAs",
        "iam.serviceAccounts.get",
        "iam.serviceAccounts.list",
    ),
    "roles/iam.workloadIdentityPoolAdmin": (*_POOLS_READ, *_POOLS_WRITE, *_PROJECT),
    "roles/iam.workloadIdentityPoolViewer": (*_POOLS_READ, *_PROJECT),
    "roles/iam.serviceAccountAdmin": (
        *_ACCOUNTS_READ,
        "iam.serviceAccounts.create",
        "iam.serviceAccounts.delete",
        "iam.serviceAccounts.disable",
        "iam.serviceAccounts.enable",
        "iam.serviceAccounts.setIamPolicy",
        "iam.serviceAccounts.undelete",
        "iam.serviceAccounts.update",
        *_PROJECT,
    ),
    "roles/iam.serviceAccountKeyAdmin": (
        *_KEYS_READ,
        "iam.serviceAccountKeys.create",
        "iam.serviceAccountKeys.delete",
        "iam.serviceAccounts.get",
        "iam.serviceAccounts.list",
        *_PROJECT,
    ),
    "roles/iam.serviceAccountViewer": (*_KEYS_READ, *_ACCOUNTS_READ, *_PROJECT),
    "roles/iam.roleAdmin": (
        *_ROLES_READ,
        "iam.roles.create",
        "iam.roles.delete",
        "iam.roles.undelete",
        "iam.roles.update",
        *_PROJECT_POLICY,
    ),
    "roles/iam.roleViewer": (*_ROLES_READ, *_PROJECT_POLICY),
    "roles/iam.securityAdmin": (
        *_ROLES_READ,
        *_ACCOUNTS_READ,
        "iam.serviceAccounts.setIamPolicy",
        *_POOLS_READ,
        *_PROJECT_POLICY,
        "resourcemanager.projects.setIamPolicy",
        "storage.buckets.getIamPolicy",
        "storage.buckets.list",
        "storage.buckets.setIamPolicy",
    ),
    "roles/resourcemanager.projectIamAdmin": (*_PROJECT_POLICY, "resourcemanager.projects.setIamPolicy"),
    "roles/browser": (*_PROJECT_POLICY, "resourcemanager.projects.list"),
    "roles/storage.admin": (
        *_OBJECT_ALL,
        "storage.buckets.get",
        "storage.buckets.getIamPolicy",
        "storage.buckets.list",
        "storage.buckets.setIamPolicy",
        "storage.buckets.update",
        "storage.multipartUploads.create",
        *_PROJECT,
    ),
    "roles/storage.legacyBucketWriter": (
        "storage.buckets.get",
        "storage.objects.create",
        "storage.objects.delete",
        "storage.objects.list",
    ),
    "roles/storage.legacyBucketOwner": (
        "storage.buckets.get",
        "storage.buckets.getIamPolicy",
        "storage.buckets.setIamPolicy",
        "storage.buckets.update",
        "storage.objects.create",
        "storage.objects.delete",
        "storage.objects.list",
    ),
    "roles/logging.privateLogViewer": (
        *_LOGS_READ,
        "logging.privateLogEntries.list",
        "logging.views.access",
    ),
    "roles/iam.denyReviewer": ("iam.denypolicies.get", "iam.denypolicies.list"),
    "roles/iam.securityReviewer": (
        "iam.serviceAccountKeys.list",
        *_ROLES_READ,
        *_ACCOUNTS_READ,
        *_POOLS_READ,
        *_PROJECT_POLICY,
        "storage.buckets.getIamPolicy",
        "storage.buckets.list",
    ),
}


# What even an owner must be granted apart, cloud.google.com/iam/docs/service-account-permissions and
# cloud.google.com/storage/docs/access-control/iam-roles (objects, by way of the bucket's own policy).
_NOT_OWNERS = ("storage.objects.", "storage.multipartUploads.")
_NOT_OWNERS_EITHER = frozenset(
    f"iam.serviceAccounts.{verb}"
    for verb in ("getAccessToken", "getOpenIdToken", "implicitDelegation", "signBlob", "signJwt")
)
_READING = ("get", "list", "search", "query", "read", "predict", "export")
_BASIC = ("roles/owner", "roles/editor", "roles/viewer")
# Of these no project's own role can consist: they are of folders and organisations
# (cloud.google.com/iam/docs/custom-roles-permissions-support).
NOT_IN_CUSTOM_ROLES = frozenset({"resourcemanager.projects.list"})


@cache
def _published() -> dict[str, frozenset[str]]:
    data = json.loads(resources.files("remit.lab").joinpath("data/iam_vertex.json").read_bytes())
    return {role: frozenset(permissions) for role, permissions in data["roles"].items()}


@cache
def known_permissions() -> frozenset[str]:
    """Every permission that the lab knows."""
    return frozenset().union(*_HAND.values(), *_published().values())


@cache
def known_roles() -> tuple[str, ...]:
    """Every predefined role that the lab knows."""
    return tuple(sorted({*_BASIC, *_HAND, *_published()}))


@cache
def permissions_of(role: str) -> frozenset[str]:
    """The permissions of a predefined role, empty for one that the lab does not know."""
    if role in _BASIC:
        return _basic(role)
    return frozenset(_HAND.get(role, ())) or _published().get(role, frozenset())


def _basic(role: str) -> frozenset[str]:
    """An owner's permissions; an editor's, who grants nothing; a viewer's, who changes nothing."""
    owners = {each for each in known_permissions() - _NOT_OWNERS_EITHER if not each.startswith(_NOT_OWNERS)}
    if role == "roles/owner":
        return frozenset(owners)
    verbs = {each: each.rpartition(".")[2] for each in owners if "privateLog" not in each}
    if role == "roles/viewer":
        return frozenset(each for each, verb in verbs.items() if verb.startswith(_READING))
    mine = {each for each, verb in verbs.items() if verb != "setIamPolicy" and not each.startswith("iam.")}
    return frozenset(mine | {*_ACCOUNTS_READ, *_ROLES_READ, *_POOLS_READ, "iam.serviceAccounts.actAs"})
