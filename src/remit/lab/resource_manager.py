"""Google's Resource Manager: a project's number, its IAM policy, and what the caller may do in it.

Versions 1 and 3; of a project only its policy can be changed. Source: cloud.google.com/resource-manager/reference/rest.
"""

import re
from typing import Any

from grpc import StatusCode

from remit.lab import contoso
from remit.lab.cloud_audit_log import CloudAuditLog
from remit.lab.errors import CloudError
from remit.lab.google_policies import Policies, describe
from remit.lab.google_wire import body, members
from remit.lab.http import Request, Response
from remit.lab.http_server import reply
from remit.lab.iam import Caller, Iam
from remit.lab.iam_activity import RESOURCES, Act, Activity
from remit.lab.iam_admin import test_permissions

_PATH = re.compile(r"/(v1|v3)/projects/([a-z0-9-]+)(?::(getIamPolicy|setIamPolicy|testIamPermissions))?")


class ResourceManager:
    """Answers cloudresourcemanager.googleapis.com."""

    def __init__(self, iam: Iam, audit: CloudAuditLog) -> None:
        self._iam = iam
        self._policies = Policies(iam.estate)
        self._activity = Activity(iam, audit)

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
            options = members(body(request, ("options",)).get("options") or {}, ("requestedPolicyVersion",), "options.")
            return reply(self._policies.show(resource, options.get("requestedPolicyVersion") or 1))
        if verb == "setIamPolicy":
            return self._set_policy(caller, name, request)
        self._iam.require(caller, "resourcemanager.projects.get", resource)
        return reply(_describe(version, name))

    def _set_policy(self, caller: Caller, name: str, request: Request) -> Response:
        given = body(request, ("policy", "updateMask"))
        found = contoso.project(name)
        resource = f"projects/{found.id if found else name}"
        act = Act(
            caller,
            "resourcemanager.projects.setIamPolicy",
            resource,
            "SetIamPolicy",
            {"@type": "type.googleapis.com/google.iam.v1.SetIamPolicyRequest", "resource": resource, **given},
            service=RESOURCES,
            monitored={"type": "project", "labels": {"project_id": found.id if found else name}},
        )
        with self._activity.of(act):
            before, after = self._policies.put(resource, given.get("policy") or {}, str(given.get("updateMask") or ""))
            act.policy(before, after)
        return reply(describe(after, 3))


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
