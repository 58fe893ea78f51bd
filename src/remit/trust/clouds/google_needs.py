"""What whoever asks Google must be allowed: the least for a plan, and the least for carrying it out.

Source: cloud.google.com/iam/docs/understanding-roles, cloud.google.com/storage/docs/access-control/iam-roles.
"""

from collections.abc import Mapping

READS: Mapping[str, str] = {
    "roles/iam.securityReviewer": "on every project: reads policies, accounts, custom roles, pools and providers",
    "roles/logging.viewer": "on every project: reads in the audit log who changed what (`remit trust drift`)",
    "roles/iam.denyReviewer": (
        "on every project or the organisation, and not needed: `remit trust verify` names the deny policy that defeats "
        "a role, and says without it only that something does"
    ),
}
"""Role → why: `plan`, `verify` and `drift`."""

NEEDS: Mapping[str, str] = {
    "roles/iam.securityReviewer": "on every project: reads what there is",
    "roles/iam.workloadIdentityPoolAdmin": "on the pool's project: makes and changes the pool and its providers",
    "roles/iam.serviceAccountAdmin": "on every project: makes service accounts and says who may become them",
    "roles/iam.roleAdmin": "on every project: makes custom roles of what the policy permits",
    "roles/resourcemanager.projectIamAdmin": "on every project: grants roles, and says what the audit log must hold",
    "storage.buckets.get": "on every bucket, in a custom role (roles/storage.admin would open the data too)",
    "storage.buckets.getIamPolicy": "on every bucket, in the same custom role: reads who may use it",
    "storage.buckets.setIamPolicy": "on every bucket, in the same custom role: grants roles on it",
}
"""Role or permission → why: `apply`."""

BUCKET_PERMISSIONS = tuple(sorted(name for name in NEEDS if name.startswith("storage.")))
"""What the custom role for buckets holds."""
