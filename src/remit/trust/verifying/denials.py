"""Which deny policy of a project defeats what a role grants: named where the reviewer may read it.

That something denies it Google itself said (`google-test`); here only its name is looked for. Left out: policies of
folders and organisations, and whether an exception or a condition of a rule applies. Source:
cloud.google.com/iam/docs/reference/rest/v2/policies, cloud.google.com/iam/docs/deny-permissions-support.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias
from urllib.parse import quote

from remit.model.errors import TrustBroken
from remit.trust.clouds.asking import Asking
from remit.trust.clouds.google_names import project_of
from remit.trust.settings import TrustSettings
from remit.trust.verifying.findings import Finding

_V2 = "https://iam.googleapis.com/v2"
_LOOK = "look for a deny policy"
_MOST = 50  # policies of one project: Google takes 500, and more than a few are more than a name
_PUBLIC = "principalSet://goog/public:all"
_HOSTS: Mapping[str, str] = {"resourcemanager": "cloudresourcemanager"}
_UNREAD = "; grant the reviewer `roles/iam.denyReviewer` and it is named here"

_Policies: TypeAlias = Sequence[Mapping[str, Any]] | None
"""`None` where they could not be read."""


async def named(ask: Asking, settings: TrustSettings, findings: Sequence[Finding]) -> list[Finding]:
    """The same findings; those of which nobody said what denies it name a policy, or what it takes to name it."""
    projects = sorted({_project(one, settings) for one in findings if one.cure.startswith(_LOOK)} - {""})
    answers = await asyncio.gather(*(_read(ask, project) for project in projects))
    known = dict(zip(projects, answers, strict=True))
    return [_told(one, known.get(_project(one, settings))) if one.cure.startswith(_LOOK) else one for one in findings]


def _told(finding: Finding, policies: _Policies) -> Finding:
    if policies is None:
        return replace(finding, cure=f"{finding.cure}{_UNREAD}")
    found = [(str(one.get("name", "")), sure) for one in policies for sure in _denying(one, finding)]
    if not found:
        none = f"none of the first {_MOST} deny policies" if len(policies) >= _MOST else "no deny policy"
        return replace(finding, cure=f"{finding.cure}; {none} of the project itself names it: look above it")
    name, sure = max(found, key=lambda one: one[1])
    short = name.rpartition("/")[2]
    said = f"{finding.said}: its deny policy `{short}` {'does' if sure else 'may, by a group or a wildcard'}"
    cure = f"except `{finding.account}` in the deny policy `{name}`, or take `{finding.permission}` from it"
    return replace(finding, said=said, cure=cure)


def _denying(policy: Mapping[str, Any], finding: Finding) -> Iterator[bool]:
    """One for each rule that may deny it: whether it says so by the very name."""
    service, _, rest = finding.permission.partition(".")
    permission = f"{_HOSTS.get(service, service)}.googleapis.com/{rest}"
    principal = f"principal://iam.googleapis.com/projects/-/serviceAccounts/{finding.account}"
    for each in policy.get("rules") or ():
        rule = (each.get("denyRule") if isinstance(each, Mapping) else None) or {}
        denied, whom = (list(rule.get(name) or ()) for name in ("deniedPermissions", "deniedPrincipals"))
        by_name = permission in denied
        if by_name or any("*" in str(one) and str(one).startswith(permission.partition("/")[0]) for one in denied):
            sets = [one for one in whom if str(one).startswith("principalSet://")]
            if principal in whom or _PUBLIC in whom:
                yield by_name and not rule.get("denialCondition")
            elif sets:
                yield False


async def _read(ask: Asking, project: str) -> _Policies:
    """Listed without their rules, and then each with them."""
    place = quote(f"cloudresourcemanager.googleapis.com/projects/{project}", safe="")
    try:
        url = f"{_V2}/policies/{place}/denypolicies"
        listed = await ask("GET", url)
        names = _names(listed)
        while listed.get("nextPageToken") and len(names) < _MOST:
            listed = await ask("GET", f"{url}?pageToken={quote(str(listed['nextPageToken']), safe='')}")
            names += _names(listed)
        ids = [name.rpartition("/denypolicies/")[2] for name in names][:_MOST]
        asked = (ask("GET", f"{_V2}/policies/{place}/denypolicies/{quote(each, safe='')}") for each in ids)
        return tuple(await asyncio.gather(*asked))
    except TrustBroken:  # that something denies it is told all the same
        return None


def _names(listed: Mapping[str, Any]) -> list[str]:
    return [str(one.get("name", "")) for one in listed.get("policies") or () if isinstance(one, Mapping)]


def _project(finding: Finding, settings: TrustSettings) -> str:
    kind, _, name = finding.resource.partition("/")
    if kind == "accounts":
        return project_of(name)
    if kind == "buckets":
        bucket = name.partition("/")[0]
        return next((one.id for one in settings.estate.projects if bucket in one.buckets), "")
    return name if kind == "projects" else ""
