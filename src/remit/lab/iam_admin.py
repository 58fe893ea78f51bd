"""Google's IAM API at iam.googleapis.com: pools and providers, service accounts, roles, for who sets up the trust.

Deny policies can be read. Left out: workforce pools, policies on pools. Source:
cloud.google.com/iam/docs/reference/rest.
"""

from grpc import StatusCode

from remit.lab import iam_accounts, iam_deny, iam_keys, iam_pools, iam_roles
from remit.lab.cloud_audit_log import CloudAuditLog
from remit.lab.errors import CloudError
from remit.lab.google_keys import GoogleKeys
from remit.lab.google_policies import Policies
from remit.lab.google_pools import Pools
from remit.lab.google_wire import body, invalid
from remit.lab.http import Request, Response
from remit.lab.http_server import reply
from remit.lab.iam import Caller, Iam
from remit.lab.iam_activity import Activity

_MOST = 100  # permissions in one testIamPermissions


class IamAdmin:
    """Answers iam.googleapis.com."""

    def __init__(self, iam: Iam, pools: Pools, audit: CloudAuditLog, keys: GoogleKeys) -> None:
        self._iam = iam
        activity = Activity(iam, audit)
        self._roles = iam_roles.IamRoles(iam, activity)
        self._denials = iam_deny.IamDeny(iam)
        self._accounts = iam_accounts.IamAccounts(iam, Policies(iam.estate), activity)
        self._kinds = (
            (iam_pools.PATH, iam_pools.IamPools(iam, pools, activity)),
            (iam_roles.PATH, self._roles),
            (iam_keys.PATH, iam_keys.IamKeys(iam, keys, activity)),
        )

    async def __call__(self, request: Request) -> Response:
        """Answer one request; raises `CloudError`."""
        caller = self._iam.caller(request.headers.get("authorization", ""))
        path = request.path.replace("%40", "@")
        if request.method == "GET" and (path == "/v1/roles" or path.startswith("/v1/roles/")):
            return self._roles.predefined(request)
        if request.method == "POST" and path == "/v1/permissions:queryTestablePermissions":
            return self._roles.testable(request)
        if match := iam_deny.PATH.fullmatch(request.path):
            return self._denials.handle(request, caller, match.groupdict())
        for kind, answers in self._kinds:
            if match := kind.fullmatch(path):
                return answers.handle(request, caller, match.groupdict())
        match = iam_accounts.PATH.fullmatch(path)
        if match and match["verb"] == "testIamPermissions" and request.method == "POST":
            account = self._iam.estate.account(match["account"] or "")
            email = account.email if account else match["account"]
            return test_permissions(self._iam, caller, f"projects/-/serviceAccounts/{email}", request)
        if match:
            return self._accounts.handle(request, caller, match.groupdict())
        raise CloudError(StatusCode.NOT_FOUND, f"Method not found: {request.method} {request.path}")


def test_permissions(iam: Iam, caller: Caller, resource: str, request: Request) -> Response:
    """Those of the body's permissions that the caller holds on the resource; nothing is needed to ask."""
    asked = body(request, ("permissions",)).get("permissions")
    if not isinstance(asked, list) or len(asked) > _MOST or any("*" in str(each) for each in asked):
        raise invalid("Permissions are at most 100, without wildcards.")
    held = iam.effective(caller, asked, resource)
    return reply({"permissions": held} if held else {})
