"""Microsoft Entra ID at login.microsoftonline.com: which path answers what.

One tenant. Endpoints in the discovery document carry the host that was asked, the issuer never changes. The hybrid
and implicit flows, single sign-out and the v1 endpoints are left out.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from remit.lab import contoso, entra_challenge, entra_scopes
from remit.lab.entra_clients import find
from remit.lab.entra_device import INTERVAL, LIFETIME, PAGE, DeviceFlows
from remit.lab.entra_errors import EntraError, correlation, render, uncredentialed
from remit.lab.entra_grants import Grants
from remit.lab.entra_keys import Keys
from remit.lab.entra_tokens import Tokens
from remit.lab.http import Request, Response
from remit.lab.http_server import form, reply
from remit.lab.sign_in_log import SignInLog

_MULTI = ("common", "organizations")
_TENANTS = (contoso.TENANT, contoso.DOMAIN, *_MULTI)


class Entra:
    """The tenant's sign-in service. `clock`: seconds since the epoch; `log`: a path for the sign-in log's lines."""

    def __init__(self, clock: Callable[[], float], log: Path | None = None) -> None:
        self.keys = Keys()
        self.sign_ins = SignInLog(log)
        self.tokens = Tokens(self.keys, clock)
        self._flows = DeviceFlows(clock)
        self.grants = Grants(self.keys, self.tokens, self._flows, self.sign_ins, clock)

    async def __call__(self, request: Request) -> Response:
        """Answer one request."""
        if request.path == PAGE:
            return await self._flows.page(request)
        if request.path == "/common/discovery/instance":
            return reply(_instance(request))
        tenant, _, rest = unquote(request.path).lstrip("/").partition("/")
        try:
            return self._tenant(request, tenant.lower(), rest)
        except EntraError as error:
            return render(error, request)

    def _tenant(self, request: Request, tenant: str, rest: str) -> Response:
        if tenant not in _TENANTS:
            raise EntraError(
                "invalid_tenant",
                90002,
                f"Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID and are signing into "
                "the correct cloud. Check with your subscription administrator, this may happen if there are no "
                "active subscriptions for the tenant.",
            )
        if request.method == "GET" and rest == "v2.0/.well-known/openid-configuration":
            return reply(_discovery(request, tenant), cache_control="max-age=86400, private")
        if request.method == "GET" and rest in {"discovery/v2.0/keys", "discovery/keys"}:
            return reply({"keys": self.keys.public()}, cache_control="max-age=86400, private")
        if request.method == "POST" and rest == "oauth2/v2.0/devicecode":
            return reply(self._device(request, tenant))
        if request.method == "POST" and rest == "oauth2/v2.0/token":
            answer = self.grants.redeem(form(request), correlation(request))
            return reply(answer, cache_control="no-store", client_request_id=correlation(request))
        raise EntraError(
            "invalid_request", 900561, "The endpoint does not exist or does not take this method.", status=404
        )

    def _device(self, request: Request, tenant: str) -> dict[str, Any]:
        fields = form(request)
        client = find(fields)
        if not client.public:
            raise uncredentialed()
        asked = entra_scopes.understand(fields.get("scope", ""))
        device, user = self._flows.start(client, asked, entra_challenge.understand(fields.get("claims", "")))
        page = f"https://{request.headers.get('host', request.host)}{PAGE}"
        return {
            "user_code": user,
            "device_code": device,
            "verification_uri": page,
            "expires_in": LIFETIME,
            "interval": INTERVAL,
            "message": f"To sign in, use a web browser to open the page {page} and enter the code {user} to "
            f"authenticate. ({tenant})",
        }


def _discovery(request: Request, tenant: str) -> dict[str, Any]:
    base = f"https://{request.headers.get('host', request.host)}/{tenant}"
    issuer = "https://login.microsoftonline.com/{tenantid}/v2.0" if tenant in _MULTI else contoso.ISSUER
    return {
        "token_endpoint": f"{base}/oauth2/v2.0/token",
        "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt", "client_secret_basic"],
        "jwks_uri": f"{base}/discovery/v2.0/keys",
        "response_modes_supported": ["query", "fragment", "form_post"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "response_types_supported": ["code", "id_token", "code id_token", "id_token token"],
        "scopes_supported": ["openid", "profile", "email", "offline_access"],
        "issuer": issuer,
        "request_uri_parameter_supported": False,
        "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
        "device_authorization_endpoint": f"{base}/oauth2/v2.0/devicecode",
        "http_logout_supported": True,
        "frontchannel_logout_supported": True,
        "end_session_endpoint": f"{base}/oauth2/v2.0/logout",
        "claims_supported": ["sub", "iss", "aud", "exp", "iat", "acr", "nonce", "preferred_username", "name", "tid"],
        "tenant_region_scope": "EU",
        "cloud_instance_name": "microsoftonline.com",
        "cloud_graph_host_name": "graph.windows.net",
        "msgraph_host": "graph.microsoft.com",
    }


def _instance(request: Request) -> dict[str, Any]:
    host = request.headers.get("host", request.host)
    return {
        "tenant_discovery_endpoint": f"https://{host}/{contoso.TENANT}/v2.0/.well-known/openid-configuration",
        "api-version": "1.1",
        "metadata": [
            {
                "preferred_network": "login.microsoftonline.com",
                "preferred_cache": "login.windows.net",
                "aliases": ["login.microsoftonline.com", "login.windows.net"],
            }
        ],
    }
