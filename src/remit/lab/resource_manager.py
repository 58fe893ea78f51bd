"""Google's Resource Manager: a project's number, its IAM policy, and what the caller may do in it.

Versions 1 and 3, reading only. Source: cloud.google.com/resource-manager/reference/rest.
"""

import re
from typing import Any

from grpc import StatusCode

from remit.lab import contoso
from remit.lab.errors import CloudError
from remit.lab.http import Request, Response
from remit.lab.http_server import reply
from remit.lab.iam import Iam
from remit.lab.iam_admin import test_permissions

_PATH = re.compile(r"/(v1|v3)/projects/([a-z0-9-]+)(?::(getIamPolicy|testIamPermissions))?")


class ResourceManager:
    """Answers cloudresourcemanager.googleapis.com."""

    def __init__(self, iam: Iam) -> None:
        self._iam = iam

    async def __call__(self, request: Request) -> Response:
        """Answer one request; raises `CloudError`."""
        match = _PATH.fullmatch(request.path)
        if match is None or request.method != ("POST" if match[3] else "GET"):
            raise CloudError(StatusCode.NOT_FOUND, f"Method not found: {request.method} {request.path}")
        version, name, verb = match[1], match[2], match[3]
        caller = self._iam.caller(request.headers.get("authorization", ""))
        resource = f"projects/{name}"
        if verb == "testIamPermissions":
            return test_permissions(self._iam, caller, resource, request)
        if verb == "getIamPolicy":
            self._iam.require(caller, "resourcemanager.projects.getIamPolicy", resource)
            found = contoso.project(name)
            return reply(self._iam.policy(f"projects/{found.id if found else name}"))
        self._iam.require(caller, "resourcemanager.projects.get", resource)
        return reply(_describe(version, name))


def _describe(version: str, name: str) -> dict[str, Any]:
    found = contoso.project(name)
    if found is None:
        raise CloudError(StatusCode.NOT_FOUND, "Requested entity was not found.")
    labels = {"environment": found.environment}
    if version == "v1":
        return {
            "projectNumber": found.number,
            "projectId": found.id,
            "lifecycleState": "ACTIVE",
            "name": found.id,
            "labels": labels,
        }
    return {
        "name": f"projects/{found.number}",
        "projectId": found.id,
        "state": "ACTIVE",
        "displayName": found.id,
        "labels": labels,
    }
