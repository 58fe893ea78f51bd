"""Google's IAM Service Account Credentials API: an access token of an account, for who may impersonate it.

`generateAccessToken` alone. The organisation policy that lengthens lifetimes is not set, and no regional access
boundary exists. Source: cloud.google.com/iam/docs/reference/credentials/rest/v1/projects.serviceAccounts/
generateAccessToken.
"""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from grpc import StatusCode

from remit.lab import contoso
from remit.lab.cloud_audit_log import CloudAuditLog
from remit.lab.errors import CloudError
from remit.lab.http import Request, Response
from remit.lab.http_server import reply
from remit.lab.iam import Caller, Iam

_PATH = re.compile(r"/v1/projects/-/serviceAccounts/([^/:]+@[^/:]+):generateAccessToken")
_LIFETIME = re.compile(r"([0-9]{1,6})(?:\.0+)?s")
_LONGEST = 3600  # seconds
_PERMISSION = "iam.serviceAccounts.getAccessToken"


class IamCredentials:
    """Answers iamcredentials.googleapis.com."""

    def __init__(self, iam: Iam, audit: CloudAuditLog) -> None:
        self._iam = iam
        self._audit = audit

    async def __call__(self, request: Request) -> Response:
        """Answer one request; raises `CloudError`. `allowedLocations`, which google-auth probes, is not found."""
        match = _PATH.fullmatch(request.path.replace("%40", "@"))
        if request.method != "POST" or match is None:
            raise CloudError(StatusCode.NOT_FOUND, "Requested entity was not found.")
        email = match[1]
        caller = self._iam.caller(request.headers.get("authorization", ""))
        asked = _body(request)
        scopes, lifetime = _scopes(asked), _lifetime(asked)
        try:
            self._may(caller, asked.get("delegates") or [], f"projects/-/serviceAccounts/{email}")
        except CloudError as error:
            self._enter(request, email, caller, error)
            raise
        token, expires_at = self._iam.mint(
            email=email, scopes=scopes, lifetime=lifetime, delegation=(*caller.delegation, caller.member)
        )
        self._enter(request, email, caller, None)
        ends = datetime.fromtimestamp(expires_at, UTC).isoformat().replace("+00:00", "Z")
        return reply({"accessToken": token, "expireTime": ends})

    def _may(self, caller: Caller, delegates: list[str], target: str) -> None:
        if delegates:
            raise CloudError(
                StatusCode.PERMISSION_DENIED,
                "Permission 'iam.serviceAccounts.implicitDelegation' denied on resource (or it may not exist).",
            )
        self._iam.require(caller, _PERMISSION, target)
        email = target.rpartition("/")[2]
        account = self._iam.estate.account(email)
        if account is None:
            raise CloudError(StatusCode.NOT_FOUND, f"Not found; Gaia id not found for email {email}")
        if account.disabled:
            raise CloudError(StatusCode.FAILED_PRECONDITION, f"Service account {email} is disabled.")

    def _enter(self, request: Request, email: str, caller: Caller, error: CloudError | None) -> None:
        name = f"projects/-/serviceAccounts/{email}"
        owner = contoso.owner(name)
        self._audit.write(
            service="iamcredentials.googleapis.com",
            method="GenerateAccessToken",
            resource=name,
            caller=caller,
            permission=_PERMISSION,
            granted=error is None,
            reason=request.headers.get("x-goog-request-reason", ""),
            request={"@type": "type.googleapis.com/google.iam.credentials.v1.GenerateAccessTokenRequest", "name": name},
            status=error,
            monitored={
                "type": "service_account",
                "labels": {
                    "email_id": email,
                    "project_id": owner.id if owner else "",
                    "unique_id": self._iam.estate.number(email),
                },
            },
        )


def _body(request: Request) -> Mapping[str, Any]:
    try:
        found = json.loads(request.body or b"{}")
    except ValueError as cause:
        raise CloudError(StatusCode.INVALID_ARGUMENT, "Invalid JSON payload received.") from cause
    if not isinstance(found, dict):
        raise CloudError(StatusCode.INVALID_ARGUMENT, "Invalid JSON payload received.")
    return found


def _scopes(asked: Mapping[str, Any]) -> list[str]:
    scopes = asked.get("scope")
    if not isinstance(scopes, list) or not scopes or not all(isinstance(each, str) for each in scopes):
        raise CloudError(StatusCode.INVALID_ARGUMENT, "Request must include at least one scope.")
    return scopes


def _lifetime(asked: Mapping[str, Any]) -> int:
    match = _LIFETIME.fullmatch(str(asked.get("lifetime") or f"{_LONGEST}s"))
    if match is None or not 0 < int(match[1]) <= _LONGEST:
        raise CloudError(
            StatusCode.INVALID_ARGUMENT,
            "The access token lifetime cannot exceed 3600 seconds. To use a longer lifetime, the service account must "
            "be listed in constraints/iam.allowServiceAccountCredentialLifetimeExtension.",
        )
    return int(match[1])
