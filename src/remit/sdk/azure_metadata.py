"""Azure's managed identities as the Azure SDKs and msal ask for them: in a virtual machine's form and App Service's.

    IMDS           GET /metadata/identity/oauth2/token    `Metadata: true`       {"error", "error_description"}
    App Service    GET /msi/token                         `X-IDENTITY-HEADER`    {"statusCode", "message"}

A run has one identity: whoever names one by `client_id`, `object_id` or a resource's id is told that there is none.
Numbers are strings, as IMDS writes them; msal reads `expires_in` of the one and `expires_on` of the other, so both have
both. azure-identity retries 404, 410, 429 and 5xx for up to a minute: what is final is 400 or 403. Left out: Arc,
Service Fabric, Cloud Shell, attestation. Sources:
learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token,
learn.microsoft.com/azure/app-service/overview-managed-identity.
"""

import json
import re
import time
from collections.abc import Callable, Mapping

from remit.model.errors import Refused, RemitError
from remit.sdk.loopback import Head, same
from remit.sdk.metadata import Page, told, words
from remit.sdk.renewal import Tokens, passing
from remit.sdk.resources import AZURE_SQL, BLOB, OWN, POSTGRESQL

IMDS = "/metadata/identity/oauth2/token"
APP_SERVICE = "/msi/token"
_IDENTITIES = ("client_id", "object_id", "principal_id", "mi_res_id", "msi_res_id", "clientid")
_BLOB = re.compile(r"https://[a-z0-9]{3,24}\.blob\.core\.windows\.net")
_RESOURCES = {
    "https://storage.azure.com": BLOB,
    "https://ossrdbms-aad.database.windows.net": POSTGRESQL,
    "https://database.windows.net": AZURE_SQL,
}
_JSON = "application/json; charset=utf-8"
_AGAIN = {"retry-after": "2"}  # seconds: msal waits for five when nothing is said

Refuse = Callable[[int, str, str, dict[str, str]], Page]


class Azure:
    """The pages. `secret`: of App Service's header; `own`: names of the installation as a resource."""

    def __init__(
        self,
        tokens: Tokens,
        project: str,
        own: frozenset[str],
        secret: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._tokens = tokens
        self._project = project
        self._own = {_bare(name) for name in own} | {OWN}
        self._secret = secret
        self._clock = clock

    async def page(self, path: str, head: Head, query: Mapping[str, str]) -> Page | None:
        """What one path answers, `None` when it is none of Azure's."""
        if path == IMDS:
            if (head.header("metadata") or "").lower() != "true":
                return _imds(400, "invalid_request", "Required metadata header not specified", {})
            return await self._token(query, _imds)
        if path == APP_SERVICE:
            if not same(head.header("x-identity-header") or "", self._secret):
                return _app_service(403, "access_denied", "the header `X-IDENTITY-HEADER` is not this run's", {})
            return await self._token(query, _app_service)
        return None

    async def _token(self, query: Mapping[str, str], refuse: Refuse) -> Page:
        if any(query.get(name) for name in _IDENTITIES):
            return refuse(400, "invalid_request", "Identity not found: a run has one identity, without a name", {})
        resource = query.get("resource", "")
        audience = self._audience(resource)
        if not audience:
            message = f"`remit run` has no tokens for the resource {resource[:200]!a}"
            return refuse(400, "invalid_resource", message, {})
        try:
            live = await self._tokens.live(audience)
        except RemitError as error:
            return _refusal(error, refuse)
        now, left = int(self._clock()), int(live.left)
        document = {
            "access_token": live.token.reveal(),
            "client_id": "",
            "expires_in": str(left),
            "expires_on": str(now + left),
            "ext_expires_in": str(left),
            "not_before": str(now),
            "resource": resource,
            "token_type": "Bearer",
        }
        return Page(200, _JSON, json.dumps(document))

    def _audience(self, resource: str) -> str:
        name = _bare(resource)
        if name in self._own:
            return OWN
        audience = BLOB if _BLOB.fullmatch(name) else _RESOURCES.get(name, "")
        return audience and audience + self._project


def _bare(resource: str) -> str:
    return resource.removesuffix("/.default").rstrip("/")


def _refusal(error: RemitError, refuse: Refuse) -> Page:
    message = words(error)
    if passing(error):
        return refuse(503, "temporarily_unavailable", message, told(error) | _AGAIN)
    status = 400 if isinstance(error, Refused) and error.reason.http_status == 400 else 403  # noqa: PLR2004 - HTTP
    return refuse(status, "access_denied" if status == 403 else "invalid_request", message, told(error))  # noqa: PLR2004 - HTTP


def _imds(status: int, error: str, message: str, headers: dict[str, str]) -> Page:
    document = {"error": error, "error_description": f"remit: {message}"}
    return Page(status, _JSON, json.dumps(document), headers)


def _app_service(status: int, _error: str, message: str, headers: dict[str, str]) -> Page:
    document = {"statusCode": status, "message": f"remit: {message}"}
    return Page(status, _JSON, json.dumps(document), headers)
