"""How Google names what the trust is about: accounts, members of the pool, whose bindings are nobody's business.

Sources: cloud.google.com/iam/docs/principal-identifiers, /iam/docs/service-account-types and /iam/docs/service-agents.
"""

import hashlib
import re
from collections.abc import Iterator
from urllib.parse import quote

from remit.trust.settings import TrustSettings

IAM = "https://iam.googleapis.com/v1"
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_ACCOUNT = re.compile(r"([a-z][a-z0-9-]{4,28}[a-z0-9])@([a-z][a-z0-9-]{4,28}[a-z0-9])\.iam\.gserviceaccount\.com")
# Google's own projects by name: an agent's name alone could be anybody's, in a project of theirs.
_AGENT = re.compile(
    r"serviceAccount:service-([0-9]+)@(?:gcp-sa-[a-z0-9-]+|cloud-ml\.google\.com|cloudcomposer-accounts|compute-system"
    r"|container-engine-robot|containerregistry|dataflow-service-producer-prod|dataproc-accounts"
    r"|gae-api-prod\.google\.com|gcf-admin-robot|gs-project-accounts|serverless-robot-prod)\.iam\.gserviceaccount\.com"
)
_AGENTS_ROLE = re.compile(r"roles/[A-Za-z0-9.]*[sS]erviceAgent")
_BORN = re.compile(
    r"serviceAccount:([0-9]+)(?:@cloudservices\.gserviceaccount\.com|-compute@developer\.gserviceaccount\.com)"
)
_CONVENIENCE = re.compile(r"project(?:Owner|Editor|Viewer):([a-z0-9:.-]+)")


def local_part(email: str) -> str:
    """What stands before the `@`."""
    return email.partition("@")[0]


def project_of(email: str) -> str:
    """The id of the project that an account lies in; empty for those that Google itself makes."""
    match = _ACCOUNT.fullmatch(email)
    return match[2] if match and not match[2].startswith("gcp-sa-") else ""


def account_path(email: str) -> str:
    """Its resource name, in its own project: asked by `-`, one that is not there answers as if it were forbidden."""
    return f"projects/{project_of(email) or '-'}/serviceAccounts/{safe(email)}"


def safe(name: str) -> str:
    """A resource name or an e-mail, as it stands in the path of a URL."""
    return quote(name, safe="/@:.-_~")


def role_name(email: str, project: str) -> str:
    """The custom role of an account in a project. Another project's account of the same name has one of its own."""
    other = "" if project_of(email) == project else f".{hashlib.sha256(email.encode()).hexdigest()[:8]}"
    return f"projects/{project}/roles/{f'remit_{local_part(email)}'.replace('-', '_')}{other}"


def estate_accounts(settings: TrustSettings) -> tuple[str, ...]:
    """Every service account that remit.yaml names, once each."""
    return tuple(sorted(set(_accounts(settings)) - {""}))


def _accounts(settings: TrustSettings) -> Iterator[str]:
    yield settings.reviewer
    for project in settings.estate.projects:
        yield from project.accounts
    for mapping in settings.mappings:
        yield mapping.account
    for account in settings.accounts:
        yield account.email
        yield from (name.removeprefix("accounts/") for name in account.grants if name.startswith("accounts/"))


def _of_bucket(settings: TrustSettings, resource: str) -> frozenset[str]:
    """Id and number of the project that a bucket lies in."""
    kind, _, name = resource.partition("/")
    homes = (project for project in settings.estate.projects if kind == "buckets" and name in project.buckets)
    return frozenset(each for project in homes for each in (project.id, project.number))


def googles_own(settings: TrustSettings, resource: str, role: str, member: str) -> bool:
    """Whether Google itself put this line there, for its own agents in these projects or out of habit.

    An agent with another role than an agent's is somebody's doing: whoever runs a job would be that agent; and so is
    a bucket's line for those who own another project than the bucket's.
    """
    if match := _CONVENIENCE.fullmatch(member):
        return role.startswith("roles/storage.legacy") and match[1] in _of_bucket(settings, resource)
    match = _BORN.fullmatch(member) if role == "roles/editor" else _AGENT.fullmatch(member)
    if match is None or match[1] not in {project.number for project in settings.estate.projects}:
        return False
    return role == "roles/editor" or bool(_AGENTS_ROLE.fullmatch(role))
