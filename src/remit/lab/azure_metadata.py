"""Azure's Instance Metadata Service: tokens for the managed identities of one machine.

Every number is a string, as in the real one. An unknown identity is a 400: a 404 would be retried for half a minute by
the Azure SDKs. Source: learn.microsoft.com/entra/identity/managed-identities-azure-resources/
how-to-use-vm-token.
"""

import time
from collections.abc import Callable
from http import HTTPStatus

from remit.lab import contoso, entra_scopes
from remit.lab.contoso import ManagedIdentity
from remit.lab.entra_errors import EntraError
from remit.lab.entra_tokens import Tokens
from remit.lab.http import Request, Response
from remit.lab.http_server import reply
from remit.lab.sign_in_log import Event, SignInLog

_PATH = "/metadata/identity/oauth2/token"
_VERSIONS = ("2018-02-01", "2019-08-01", "2021-02-01")
_SELECTORS: dict[str, Callable[[ManagedIdentity], str]] = {
    "client_id": lambda each: each.client_id,
    "object_id": lambda each: each.oid,
    "msi_res_id": lambda each: each.arm_id,
    "mi_res_id": lambda each: each.arm_id,
}


class AzureMetadata:
    """The metadata service of a machine that these identities are assigned to."""

    def __init__(
        self,
        tokens: Tokens,
        log: SignInLog,
        identities: tuple[ManagedIdentity, ...],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._tokens = tokens
        self._log = log
        self._identities = identities
        self._clock = clock

    async def __call__(self, request: Request) -> Response:
        """Answer one request."""
        if request.path != _PATH:
            return reply({"error": "Not found"}, HTTPStatus.NOT_FOUND)
        try:
            _well_formed(request)
            return self._issue(self._select(request), request.parameter("resource"))
        except EntraError as error:
            text = f"AADSTS{error.number}: {error.message}" if error.number else error.message
            return reply({"error": error.error, "error_description": text}, HTTPStatus.BAD_REQUEST)

    def _select(self, request: Request) -> ManagedIdentity:
        """The identity that the request names, or the only one."""
        wanted = [(name, request.parameter(name)) for name in _SELECTORS if request.parameter(name)]
        if not wanted and len(self._identities) > 1:
            raise _bad(
                "Multiple user assigned identities exist, please specify the clientId / resourceId of the identity in "
                "the token request"
            )
        for each in self._identities:
            if all(_SELECTORS[name](each).lower() == value.lower() for name, value in wanted):
                return each
        raise _bad("Identity not found")

    def _issue(self, identity: ManagedIdentity, resource: str) -> Response:
        api = entra_scopes.resource_of(self._tokens.registry, resource)
        issued = self._tokens.for_machine(identity, api)
        client = contoso.App(identity.client_id, identity.name, identity.oid)
        self._log.write(
            Event(
                "managedIdentity",
                "none",
                client,
                api,
                principal=identity.oid,
                principal_name=identity.name,
                credential="managedIdentity",
                uti=issued.uti,
            )
        )
        now = int(self._clock())
        return reply(
            {
                "access_token": issued.token,
                "client_id": identity.client_id,
                "expires_in": str(issued.lifetime - 1),
                "expires_on": str(now + issued.lifetime),
                "ext_expires_in": str(issued.lifetime - 1),
                "not_before": str(now),
                "resource": resource,
                "token_type": "Bearer",
            }
        )


def _well_formed(request: Request) -> None:
    # A request that a proxy forwarded is not from this machine.
    if request.headers.get("metadata", "").lower() != "true" or "x-forwarded-for" in request.headers:
        raise _bad("Required metadata header not specified")
    if request.method != "GET" or request.parameter("api-version") not in _VERSIONS:
        raise _bad(f"The requested version is not supported: {', '.join(_VERSIONS)}")
    if not request.parameter("resource"):
        raise _bad("Required query variable 'resource' is missing")


def _bad(message: str) -> EntraError:
    return EntraError("invalid_request", 0, message)
