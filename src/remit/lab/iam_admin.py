"""Google's IAM API at iam.googleapis.com: workload identity pools and service accounts, for who inspects them.

Reading only. Source: cloud.google.com/iam/docs/reference/rest.
"""

import json
import re
from typing import Any

from grpc import StatusCode

from remit.lab import contoso
from remit.lab.contoso import Provider
from remit.lab.errors import CloudError
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

    def __init__(self, iam: Iam, providers: tuple[Provider, ...] = contoso.PROVIDERS) -> None:
        self._iam = iam
        self._providers = providers

    async def __call__(self, request: Request) -> Response:
        """Answer one request; raises `CloudError`."""
        caller = self._iam.caller(request.headers.get("authorization", ""))
        path = request.path.replace("%40", "@")
        if request.method == "GET" and path.startswith("/v1/roles/"):
            return _role(path.removeprefix("/v1/"))
        if request.method == "GET" and (match := _POOL.fullmatch(path)):
            return self._pool(caller, match[2], match[1], match[3] or "")
        match = _ACCOUNT.fullmatch(path)
        if match is None or request.method != ("POST" if match[3] else "GET"):
            raise CloudError(StatusCode.NOT_FOUND, f"Method not found: {request.method} {request.path}")
        return self._account(caller, match[2], match[3] or "", request)

    def _pool(self, caller: Caller, project: str, pool: str, provider: str) -> Response:
        kind = "workloadIdentityPoolProviders" if provider else "workloadIdentityPools"
        self._iam.require(caller, f"iam.{kind}.get", f"projects/{project}")
        found = contoso.project(project)
        by_number = pool.replace(f"projects/{project}/", f"projects/{found.number if found else project}/", 1)
        for each in self._providers:
            if provider and each.resource == by_number + provider:
                return reply(_describe(each))
            if not provider and each.pool == by_number:
                return reply({"name": each.pool, "state": "ACTIVE", "displayName": each.pool.rpartition("/")[2]})
        raise CloudError(StatusCode.NOT_FOUND, "Requested entity was not found.")

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


def _describe(provider: Provider) -> dict[str, Any]:
    return {
        "name": provider.resource,
        "displayName": provider.name,
        "state": "ACTIVE",
        "attributeMapping": dict(provider.mapping),
        "attributeCondition": provider.condition,
        "oidc": {"issuerUri": provider.issuer, "allowedAudiences": list(provider.audiences)},
    }
