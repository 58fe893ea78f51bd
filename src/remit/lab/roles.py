"""Which permissions a role holds: Vertex AI's from data (`data/README.md`), the few others by hand.

The hand table holds what the lab's services ask for, from cloud.google.com/iam/docs/understanding-roles; it is no
complete copy of those roles.
"""

import json
from functools import cache
from importlib import resources

_OBJECT_READ = ("storage.objects.get", "storage.objects.list")
_HAND = {
    "roles/storage.objectViewer": _OBJECT_READ,
    "roles/storage.objectCreator": ("storage.objects.create", "storage.multipartUploads.create"),
    "roles/storage.objectUser": (
        *_OBJECT_READ,
        "storage.objects.create",
        "storage.objects.delete",
        "storage.objects.update",
    ),
    "roles/storage.objectAdmin": (
        *_OBJECT_READ,
        "storage.objects.create",
        "storage.objects.delete",
        "storage.objects.update",
        "storage.objects.getIamPolicy",
        "storage.objects.setIamPolicy",
    ),
    "roles/storage.legacyBucketReader": ("storage.buckets.get", "storage.objects.list"),
    "roles/logging.viewer": (
        "logging.logEntries.list",
        "logging.logs.list",
        "logging.logServices.list",
        "logging.views.get",
        "logging.views.list",
        "logging.views.listLogs",
        "resourcemanager.projects.get",
    ),
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
    "roles/iam.workloadIdentityPoolAdmin": (
        "iam.workloadIdentityPoolProviders.create",
        "iam.workloadIdentityPoolProviders.delete",
        "iam.workloadIdentityPoolProviders.get",
        "iam.workloadIdentityPoolProviders.list",
        "iam.workloadIdentityPoolProviders.update",
        "iam.workloadIdentityPools.get",
        "iam.workloadIdentityPools.list",
        "iam.workloadIdentityPools.update",
        "resourcemanager.projects.get",
    ),
    "roles/iam.securityReviewer": (
        "iam.serviceAccounts.get",
        "iam.serviceAccounts.getIamPolicy",
        "iam.serviceAccounts.list",
        "iam.workloadIdentityPoolProviders.get",
        "iam.workloadIdentityPoolProviders.list",
        "iam.workloadIdentityPools.get",
        "iam.workloadIdentityPools.list",
        "resourcemanager.projects.get",
        "resourcemanager.projects.getIamPolicy",
        "storage.buckets.getIamPolicy",
        "storage.buckets.list",
    ),
}


@cache
def _published() -> dict[str, frozenset[str]]:
    data = json.loads(resources.files("remit.lab").joinpath("data/iam_vertex.json").read_bytes())
    return {role: frozenset(permissions) for role, permissions in data["roles"].items()}


def permissions_of(role: str) -> frozenset[str]:
    """The permissions of a role, empty for one that the lab does not know."""
    return frozenset(_HAND.get(role, ())) or _published().get(role, frozenset())
