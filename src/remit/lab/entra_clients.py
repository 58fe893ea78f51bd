"""Which application asks for a token, and whether it proved to be that.

Public clients prove nothing; confidential ones show a token that a federated identity credential names. No tenant
application holds a secret or a certificate, so those are refused. Source: learn.microsoft.com/entra/workload-id/
workload-identity-federation.
"""

from collections.abc import Callable, Mapping

from remit.lab import contoso
from remit.lab.contoso import App
from remit.lab.entra_errors import EntraError, missing, uncredentialed
from remit.lab.entra_keys import Keys
from remit.lab.jwt import BrokenTokenError

_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_UNAUTHORIZED = 401


def find(fields: Mapping[str, str]) -> App:
    """The application that `client_id` names; raises `EntraError`."""
    client = fields.get("client_id", "")
    if not client:
        raise missing("client_id")
    for app in contoso.APPS:
        if app.id == client and app not in {contoso.GRAPH, contoso.EXCHANGE}:
            return app
    raise EntraError(
        "unauthorized_client",
        700016,
        f"Application with identifier '{client}' was not found in the directory 'Contoso'. This can happen if the "
        "application has not been installed by the administrator of the tenant or consented to by any user in the "
        "tenant. You may have sent your authentication request to the wrong tenant.",
    )


class Clients:
    """Checks the credential of a client."""

    def __init__(self, keys: Keys, clock: Callable[[], float]) -> None:
        self._keys = keys
        self._clock = clock

    def authenticate(self, fields: Mapping[str, str]) -> App:
        """The application, once it has proved itself; raises `EntraError`."""
        app = find(fields)
        offered = "client_assertion" in fields or "client_secret" in fields
        if app.public and offered:
            raise _invalid(
                700025, "Client is public so neither 'client_assertion' nor 'client_secret' should be presented."
            )
        if app.public:
            return app
        if not offered:
            raise uncredentialed()
        if "client_assertion" not in fields:
            raise _invalid(7000215, f"Invalid client secret provided for app '{app.id}'.")
        if fields.get("client_assertion_type") != _ASSERTION_TYPE:
            raise missing("client_assertion_type")
        self._federated(app, fields["client_assertion"])
        return app

    def _federated(self, app: App, assertion: str) -> None:
        try:
            claims = self._keys.verify(assertion)
        except BrokenTokenError as cause:
            raise _invalid(700027, f"Client assertion failed signature validation: {cause}.") from cause
        mine = [each for each in contoso.FEDERATIONS if each.app == app.id]
        if claims.get("iss") not in {each.issuer for each in mine}:
            raise _invalid(
                700211,
                f"No matching federated identity record found for presented assertion issuer '{claims.get('iss')}'.",
            )
        if claims.get("sub") not in {each.subject for each in mine}:
            raise _invalid(
                700213,
                f"No matching federated identity record found for presented assertion subject '{claims.get('sub')}'.",
            )
        if claims.get("aud") not in {contoso.EXCHANGE.id, contoso.EXCHANGE_AUDIENCE}:
            raise _invalid(
                700212,
                f"No matching federated identity record found for presented assertion audience '{claims.get('aud')}'.",
            )
        if not claims["nbf"] <= self._clock() < claims["exp"]:
            raise _invalid(700024, "Client assertion is not within its valid time range.")


def _invalid(number: int, message: str) -> EntraError:
    return EntraError("invalid_client", number, message, status=_UNAUTHORIZED)
