"""Google's IAM API at iam.googleapis.com: workload identity pools and service accounts, for who inspects them.

Reading, but for a pool's providers, which can be changed: the answer is an operation that is done already. Source:
cloud.google.com/iam/docs/reference/rest.
"""

import json
import re
import secrets

from grpc import StatusCode

from remit.lab import contoso
from remit.lab.errors import CloudError
from remit.lab.google_pools import Pools, describe
from remit.lab.http import Request, Response
from remit.lab.http_server import reply
from remit.lab.iam import Caller, Iam
from remit.lab.roles import permissions_of

_POOL = re.compile(
    r"/v1/(projects/([a-z0-9-]+)/locations/global/workloadIdentityPools/[a-z0-9-]+)(/providers/[a-z0-9-]+)?"
)
_ACCOUNT = re.compile(
    r"/v1/projects/([a-z0-9-]+)/serviceAccounts/([^/:]+@[^/:]+?)(?::(getIamPolicy|testIamPermissions))?"
)
_MOST = 100  # permissions in one testIamPermissions


class IamAdmin:
    """Answers iam.googleapis.com."""

    def __init__(self, iam: Iam, pools: Pools) -> None:
        self._iam = iam
        self._pools = pools

    async def __call__(self, request: Request) -> Response:
        """Answer one request; raises `CloudError`."""
        caller = self._iam.caller(request.headers.get("authorization", ""))
        path = request.path.replace("%40", "@")
        if request.method == "GET" and path.startswith("/v1/roles/"):
            return _role(path.removeprefix("/v1/"))
        match = _POOL.fullmatch(path)
        if match and request.method == "GET":
            return self._pool(caller, match[2], match[1], match[3] or "")
        if match and match[3] and request.method == "PATCH":
            return self._update(caller, match[2], match[1] + match[3], request)
        match = _ACCOUNT.fullmatch(path)
        if match is None or request.method != ("POST" if match[3] else "GET"):
            raise CloudError(StatusCode.NOT_FOUND, f"Method not found: {request.method} {request.path}")
        return self._account(caller, match[2], match[3] or "", request)

    def _pool(self, caller: Caller, project: str, pool: str, provider: str) -> Response:
        kind = "workloadIdentityPoolProviders" if provider else "workloadIdentityPools"
        self._iam.require(caller, f"iam.{kind}.get", f"projects/{project}")
        by_number = _by_number(project, pool)
        known = self._pools.find(by_number + provider)
        if known:
            return reply(describe(known))
        if not provider and self._pools.has(by_number):
            return reply({"name": by_number, "state": "ACTIVE", "displayName": pool.rpartition("/")[2]})
        raise CloudError(StatusCode.NOT_FOUND, "Requested entity was not found.")

    def _update(self, caller: Caller, project: str, provider: str, request: Request) -> Response:
        self._iam.require(caller, "iam.workloadIdentityPoolProviders.update", f"projects/{project}")
        resource = _by_number(project, provider)
        if self._pools.find(resource) is None:
            raise CloudError(StatusCode.NOT_FOUND, "Requested entity was not found.")
        try:
            body = json.loads(request.body)
        except ValueError as cause:
            raise CloudError(StatusCode.INVALID_ARGUMENT, "Invalid JSON payload received.") from cause
        changed = self._pools.update(resource, body, request.parameter("updateMask"))
        kind = "type.googleapis.com/google.iam.admin.v1.WorkloadIdentityPoolProvider"
        name = f"{resource}/operations/{secrets.token_hex(12)}"
        return reply({"name": name, "done": True, "response": {"@type": kind, **describe(changed)}})

    def _account(self, caller: Caller, email: str, verb: str, request: Request) -> Response:
        resource = f"projects/-/serviceAccounts/{email}"
        if verb == "testIamPermissions":
            return test_permissions(self._iam, caller, resource, request)
        self._iam.require(caller, f"iam.serviceAccounts.{verb or 'get'}", resource)
        if verb:
            return reply(self._iam.policy(resource))
        owner = contoso.owner(resource)
        project = owner.id if owner else ""
        return reply({"name": f"projects/{project}/serviceAccounts/{email}", "projectId": project, "email": email})


def test_permissions(iam: Iam, caller: Caller, resource: str, request: Request) -> Response:
    """Those of the body's permissions that the caller holds on the resource; nothing is needed to ask."""
    try:
        asked = json.loads(request.body)["permissions"]
    except (ValueError, KeyError, TypeError) as cause:
        raise CloudError(StatusCode.INVALID_ARGUMENT, "Invalid JSON payload received.") from cause
    if not isinstance(asked, list) or len(asked) > _MOST or any("*" in str(each) for each in asked):
        raise CloudError(StatusCode.INVALID_ARGUMENT, "Permissions are at most 100, without wildcards.")
    held = iam.effective(caller, asked, resource)
    return reply({"permissions": held} if held else {})


def _role(name: str) -> Response:
    """A predefined role, which anybody signed in may read."""
    permissions = permissions_of(name)
    if not permissions:
        raise CloudError(StatusCode.NOT_FOUND, f"The role named {name} was not found.")
    return reply({"name": name, "includedPermissions": sorted(permissions), "stage": "GA"})


def _by_number(project: str, name: str) -> str:
    """A resource name with the project's number for its id."""
    found = contoso.project(project)
    return name.replace(f"projects/{project}/", f"projects/{found.number if found else project}/", 1)
