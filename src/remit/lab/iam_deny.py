"""Deny policies of projects over IAM's v2 API: listed without their rules, and read one by one with them.

They come by the control door (`deny`); making and changing them over REST is left out, and so are conditions,
exceptions and policies of folders and organisations. Source: cloud.google.com/iam/docs/reference/rest/v2/policies,
cloud.google.com/iam/docs/deny-permissions-support (names of permissions), /iam/docs/principal-identifiers.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from remit.lab import contoso
from remit.lab.google_wire import missing
from remit.lab.http import Request, Response
from remit.lab.http_server import reply
from remit.lab.iam import Caller, Iam

PATH = re.compile(
    r"/v2/policies/cloudresourcemanager\.googleapis\.com%2[Ff]projects%2[Ff](?P<project>[a-z0-9-]+)/denypolicies"
    r"(?:/(?P<policy>[a-z0-9-]+))?"
)
_BORN = "2025-01-06T08:00:00.000000Z"
_HOSTS = {"resourcemanager": "cloudresourcemanager"}


class IamDeny:
    """Answers what is of deny policies."""

    def __init__(self, iam: Iam) -> None:
        self._iam = iam

    def handle(self, request: Request, caller: Caller, match: Mapping[str, str | None]) -> Response:
        """Answer one request; raises `CloudError`."""
        project, wanted = contoso.project(match["project"] or ""), match["policy"]
        if request.method != "GET":
            raise missing(f"Method not found: {request.method} {request.path}")
        resource = f"projects/{project.id if project else match['project']}"
        self._iam.require(caller, f"iam.denypolicies.{'get' if wanted else 'list'}", resource)
        if project is None:  # whoever may ask about no project holds nothing there
            raise missing(f"Project {match['project']} does not exist.")
        policies = list(_policies(project, self._iam.denials(project.id)))
        if not wanted:
            return reply({"policies": [_metadata(each) for each in policies]} if policies else {})
        found = next((each for each in policies if each["name"].endswith(f"/{wanted}")), None)
        if found is None:
            raise missing(f"Policy {wanted} does not exist.")
        return reply(found)


def _policies(
    project: contoso.Project, rules: Sequence[tuple[frozenset[str], frozenset[str]]]
) -> Iterator[dict[str, Any]]:
    for number, (members, permissions) in enumerate(rules, 1):
        parent = f"policies/cloudresourcemanager.googleapis.com%2Fprojects%2F{project.number}/denypolicies"
        rule = {
            "deniedPrincipals": sorted(map(_principal, members)),
            "deniedPermissions": sorted(map(_permission, permissions)),
        }
        yield {
            "name": f"{parent}/lab-deny-{number}",
            "uid": f"00000000-0000-4000-8000-{number:012}",
            "kind": "DenyPolicy",
            "displayName": f"what the lab was told to deny, {number}",
            "etag": "MTc=",
            "createTime": _BORN,
            "updateTime": _BORN,
            "rules": [{"denyRule": rule}],
        }


def _metadata(policy: Mapping[str, Any]) -> dict[str, Any]:
    return {name: each for name, each in policy.items() if name != "rules"}


def _principal(member: str) -> str:
    """A member of an allow policy as deny policies write it."""
    kind, _, name = member.partition(":")
    forms = {
        "serviceAccount": f"principal://iam.googleapis.com/projects/-/serviceAccounts/{name}",
        "user": f"principal://goog/subject/{name}",
        "group": f"principalSet://goog/group/{name}",
        "allUsers": "principalSet://goog/public:all",
    }
    return forms.get(kind, member)


def _permission(name: str) -> str:
    service, _, rest = name.partition(".")
    return f"{_HOSTS.get(service, service)}.googleapis.com/{rest}"
