"""Microsoft Entra ID at login.microsoftonline.com: which path answers what.

Contoso's tenant and those that its guests come from; keys are shared, as in the real one. Endpoints in the discovery
document carry the host that was asked, the issuer never changes. The hybrid and implicit flows, front-channel sign-out
and the v1 endpoints are left out.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from remit.lab import contoso, entra_challenge, entra_scopes
from remit.lab.directory import Directory
from remit.lab.entra_authorize import Authorize
from remit.lab.entra_clients import Clients, Redirects, find
from remit.lab.entra_credentials import Credentials, KeysOf, basic
from remit.lab.entra_device import INTERVAL, LIFETIME, PAGE, DeviceFlows
from remit.lab.entra_errors import EntraError, correlation, render, uncredentialed
from remit.lab.entra_grants import Desk, Grants
from remit.lab.entra_keys import Keys
from remit.lab.entra_sessions import Sessions
from remit.lab.entra_tokens import Tokens
from remit.lab.http import Request, Response
from remit.lab.http_server import form, reply
from remit.lab.sign_in_log import SignInLog

_MULTI = ("common", "organizations")
_ANY_ISSUER = "https://login.microsoftonline.com/{tenantid}/v2.0"
# Name in a path → tenant, empty for "whichever the person is of".
_TENANTS = {**contoso.TENANTS, **dict.fromkeys(_MULTI, "")}


class Entra:
    """The sign-in service.

    `clock`: seconds since the epoch; `log`: a path for the sign-in log's lines; `directory`: who is there at present;
    `keys_of`: the published keys of an issuer outside, none where nobody says.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        log: Path | None = None,
        directory: Directory | None = None,
        keys_of: KeysOf = lambda _: [],
    ) -> None:
        self.keys = Keys()
        self.sign_ins = SignInLog(log)
        self.sessions = Sessions(directory or Directory(clock), clock)
        self.tokens = Tokens(self.keys, self.sessions, clock)
        self.registry = self.sessions.directory.registry
        self._credentials = Credentials(self.keys, self.registry, keys_of)
        self._redirects = Redirects()
        self._flows = DeviceFlows(self.sessions, clock)
        self._authorize = Authorize(self.sessions, self._redirects, clock)
        clients = Clients(self._credentials)
        desk = Desk(self.keys, self.sessions, self.tokens, clients, self._flows, self._authorize)
        self.grants = Grants(desk, self.sign_ins, clock)

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

    def commands(self) -> Mapping[str, Callable[[Any], object]]:
        """For the control door: sessions', credentials', `redirect_uri` (`app`, `uri`), and two more.

        `token_version` (`app`, `version`): of the access tokens that a resource takes, `1.0` or `2.0`; `steal_key`:
        tells the private key that signs now.
        """
        return {
            **self.sessions.commands(),
            **self._credentials.commands(),
            "redirect_uri": self._redirects.add,
            "token_version": lambda given: self.tokens.versions.update({given["app"]: given["version"]}),
            "steal_key": lambda _: self.keys.signing.stolen(),
        }

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
            issuer = contoso.issuer(_TENANTS[tenant]) if _TENANTS[tenant] else _ANY_ISSUER
            return reply({"keys": self.keys.public(issuer)}, cache_control="max-age=86400, private")
        if request.method in {"GET", "POST"} and rest == "oauth2/v2.0/authorize":
            return self._authorize.answer(request, _TENANTS[tenant])
        if request.method == "GET" and rest == "oauth2/v2.0/logout":
            return self._authorize.sign_out(request)
        if request.method == "POST" and rest == "oauth2/v2.0/devicecode":
            return reply(self._device(request, tenant))
        if request.method == "POST" and rest == "oauth2/v2.0/token":
            fields = _credited(request)
            if _TENANTS[tenant] not in {"", contoso.TENANT} and fields.get("grant_type") == "client_credentials":
                raise EntraError(
                    "unauthorized_client", 700016, f"Application was not found in the directory '{tenant}'."
                )
            answer = self.grants.redeem(fields, correlation(request))
            return reply(answer, cache_control="no-store", client_request_id=correlation(request))
        raise EntraError(
            "invalid_request", 900561, "The endpoint does not exist or does not take this method.", status=404
        )

    def _device(self, request: Request, tenant: str) -> dict[str, Any]:
        fields = form(request)
        client = find(self.registry, fields)
        if not client.public:
            raise uncredentialed()
        asked = entra_scopes.understand(self.registry, fields.get("scope", ""))
        device, user = self._flows.start(
            client, asked, entra_challenge.understand(fields.get("claims", "")), _TENANTS[tenant]
        )
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


def _credited(request: Request) -> dict[str, str]:
    """A token request's fields, with the client's credential wherever it came."""
    fields, found = form(request), basic(request.headers.get("authorization", ""))
    if found and "client_secret" not in fields and fields.get("client_id", found[0]) == found[0]:
        fields |= {"client_id": found[0], "client_secret": found[1]}
    return fields


def _discovery(request: Request, tenant: str) -> dict[str, Any]:
    base = f"https://{request.headers.get('host', request.host)}/{tenant}"
    issuer = contoso.issuer(_TENANTS[tenant]) if _TENANTS[tenant] else _ANY_ISSUER
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
