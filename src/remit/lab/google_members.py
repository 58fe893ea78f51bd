"""Whom an IAM policy may name: accounts and pools must be there, people and groups must look like such.

Google knows which people and groups exist; the lab takes any. Source:
cloud.google.com/iam/docs/principal-identifiers, cloud.google.com/iam/docs/principals-overview.
"""

import re

from remit.lab.google_estate import Estate

_EMAIL = re.compile(r"[^@\s:/]+@([a-z0-9-]+\.)+[a-z0-9-]+")
_DOMAIN = re.compile(r"([a-z0-9-]+\.)+[a-z0-9-]+")
_DELETED = re.compile(r"deleted:(serviceAccount|user|group):([^?\s]+)\?uid=(\d+)")
_POOL = r"iam\.googleapis\.com/(projects/\d+/locations/global/workloadIdentityPools/[a-z0-9-]+)"
_PRINCIPAL = re.compile(rf"principal://{_POOL}/subject/(.+)")
_SET = re.compile(rf"principalSet://{_POOL}/(\*|group/.+|attribute\.[a-z0-9_]+/.+)")
# Google's own accounts, which every project has: service agents and the default ones.
_AGENT = re.compile(r".+@(gcp-sa-[a-z0-9-]+\.iam|cloudservices|developer|[a-z-]+-system\.iam)\.gserviceaccount\.com")
_CONVENIENCE = ("projectOwner:", "projectEditor:", "projectViewer:")


def member_problem(estate: Estate, member: str, resource: str) -> str:
    """Why a member cannot be added to the policy of a resource, in Google's words; empty when it can."""
    if member in {"allUsers", "allAuthenticatedUsers"}:
        public = "/serviceAccounts/" in resource  # a project never is, and the buckets prevent it
        return "" if public else f"Principal {member} cannot be added to the policy of this resource."
    kind, _, name = member.partition(":")
    if kind == "serviceAccount":
        return _account_problem(estate, name)
    if kind in {"user", "group", "domain"}:
        form = _DOMAIN if kind == "domain" else _EMAIL
        return "" if form.fullmatch(name.lower()) else f"Invalid value for member: {member}."
    if kind in {"principal", "principalSet"}:
        return _principal_problem(estate, member)
    if kind == "deleted":
        return _deleted_problem(estate, member)
    known = member.startswith(_CONVENIENCE) and resource.startswith("projects/_/buckets/")
    problem = f"The member {member} is of an unknown type. Please set a valid type prefix for the member."
    return "" if known else problem


def _account_problem(estate: Estate, email: str) -> str:
    account = estate.account(email)
    if (account and account.email == email) or _AGENT.fullmatch(email):
        return ""
    return f"Service account {email} does not exist."


def _principal_problem(estate: Estate, member: str) -> str:
    found = _PRINCIPAL.fullmatch(member) or _SET.fullmatch(member)
    if found is None:
        return f"Invalid principal {member}: it does not name a subject, a group or an attribute of a pool."
    pool = estate.pool(found[1])
    if pool is None or pool.deleted:
        return (
            f"Identity Pool does not exist ({found[1]}). Please check that you specified a valid resource name as "
            "returned in the `name` attribute in the configuration API."
        )
    return ""


def _deleted_problem(estate: Estate, member: str) -> str:
    found = _DELETED.fullmatch(member)
    account = estate.accounts.seen(found[3]) if found else None
    if account is None or found is None or not account.deleted or account.email != found[2]:
        return f"Invalid value for member: {member}."
    return ""
