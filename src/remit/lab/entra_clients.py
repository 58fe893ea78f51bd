"""Which application asks for a token, and whether it proved to be that.

Public clients prove nothing; confidential ones show a secret, or a token that a certificate of theirs or a federated
identity credential vouches for (`entra_credentials`). Source: learn.microsoft.com/entra/identity-platform/
v2-oauth2-auth-code-flow.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from remit.lab.contoso import TENANT, App
from remit.lab.entra_credentials import Credentials
from remit.lab.entra_errors import EntraError, missing, uncredentialed
from remit.lab.entra_registry import Registry

_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_UNAUTHORIZED = 401
_LOOPBACK = re.compile(r"(https?)://(localhost|127\.0\.0\.1)(?::[0-9]{1,5})?(/.*)?")


def find(registry: Registry, fields: Mapping[str, str]) -> App:
    """The application that `client_id` names; raises `EntraError`."""
    client = fields.get("client_id", "")
    if not client:
        raise missing("client_id")
    app = registry.client(client)
    if app and app.principal:
        return app
    if app:
        raise EntraError(
            "invalid_client",
            7000229,
            f"The client application {client} is missing service principal in the tenant {TENANT}. See instructions "
            "here: https://go.microsoft.com/fwlink/?linkid=2225119",
            status=_UNAUTHORIZED,
        )
    raise EntraError(
        "unauthorized_client",
        700016,
        f"Application with identifier '{client}' was not found in the directory 'Contoso'. This can happen if the "
        "application has not been installed by the administrator of the tenant or consented to by any user in the "
        "tenant. You may have sent your authentication request to the wrong tenant.",
    )


def strength(fields: Mapping[str, str], app: App) -> str:
    """How a client proved itself, as `azpacr` says it: 0 not at all, 1 by a secret, 2 by an assertion."""
    if app.public:
        return "0"
    return "2" if "client_assertion" in fields else "1"


class Redirects:
    """The redirect URIs of every application."""

    def __init__(self) -> None:
        self._more: dict[str, list[str]] = {}

    def add(self, given: Mapping[str, str]) -> None:
        """Register one more: `app` (id) and `uri` (for the control door)."""
        self._more.setdefault(given["app"], []).append(given["uri"])

    def require(self, app: App, uri: str) -> str:
        """The redirect URI, once it is known to be the application's; raises `EntraError`, which stays on the page."""
        if not uri:
            raise missing("redirect_uri")
        if not self.known(app, uri):
            raise EntraError(
                "invalid_request",
                50011,
                f"The redirect URI '{uri}' specified in the request does not match the redirect URIs configured for "
                f"the application '{app.id}'.",
            )
        return uri

    def known(self, app: App, uri: str) -> bool:
        """Whether a URI is registered: to the letter, but for the port of a loopback address (RFC 8252 7.3)."""
        if "#" in uri or urlsplit(uri).username is not None:
            return False
        registered = (*app.redirects, *self._more.get(app.id, ()))
        return uri in registered or _portless(uri) in {_portless(each) for each in registered if _portless(each)}


def _portless(uri: str) -> str:
    """A loopback URI without its port, empty for any other."""
    match = _LOOPBACK.fullmatch(uri)
    return f"{match[1]}://{match[2]}{match[3] or '/'}" if match else ""


@dataclass(frozen=True, slots=True)
class Proved:
    """An application that proved to be itself. `credential`: by which kind, as the sign-in log says it; `id`: which."""

    app: App
    credential: str = "none"
    id: str = ""


class Clients:
    """Finds a client, and checks its credential."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self.registry = credentials.registry

    def find(self, fields: Mapping[str, str]) -> App:
        """The application that `client_id` names, which has proved nothing yet; raises `EntraError`."""
        return find(self.registry, fields)

    def authenticate(self, fields: Mapping[str, str]) -> Proved:
        """The application, once it has proved itself; raises `EntraError`."""
        app = self.find(fields)
        offered = "client_assertion" in fields or "client_secret" in fields
        if app.public and offered:
            raise EntraError(
                "invalid_client",
                700025,
                "Client is public so neither 'client_assertion' nor 'client_secret' should be presented.",
                status=_UNAUTHORIZED,
            )
        if app.public:
            return Proved(app)
        if not offered:
            raise uncredentialed()
        if "client_assertion" not in fields:
            return Proved(app, "clientSecret", self._credentials.check_secret(app, fields["client_secret"]))
        if fields.get("client_assertion_type") != _ASSERTION_TYPE:
            raise missing("client_assertion_type")
        return Proved(app, *self._credentials.check_assertion(app, fields["client_assertion"]))
