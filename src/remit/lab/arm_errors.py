"""How the lab's Azure Resource Manager says no: one error object, a code and a sentence.

Sources: learn.microsoft.com/azure/azure-resource-manager/troubleshooting/common-deployment-errors,
learn.microsoft.com/azure/role-based-access-control/troubleshooting, .../management/request-limits-and-throttling.
Sentences that Microsoft does not document are as its clients' bug reports quote them.
"""

from collections.abc import Mapping
from http import HTTPStatus

from remit.lab.http import Response
from remit.lab.http_server import reply

AUDIENCES = (
    "https://management.core.windows.net/",
    "https://management.core.windows.net",
    "https://management.azure.com/",
    "https://management.azure.com",
)
_CHALLENGE = 'Bearer authorization_uri="https://login.microsoftonline.com/{tenant}", error="invalid_token"'


class ArmError(Exception):
    """A refusal in Resource Manager's error object. `headers`: more of them, names with hyphens."""

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = dict(headers or {})

    def render(self) -> Response:
        """The response."""
        response = reply({"error": {"code": self.code, "message": str(self)}}, self.status)
        return Response(response.status, response.body, {**response.headers, **self.headers})


def unauthenticated(code: str, why: str, tenant: str) -> ArmError:
    """A token that cannot be taken."""
    challenge = f'{_CHALLENGE.format(tenant=tenant)}, error_description="{why}"'
    return ArmError(HTTPStatus.UNAUTHORIZED, code, why, {"www-authenticate": challenge})


def wrong_audience(audience: object, tenant: str) -> ArmError:
    """A token for somebody else."""
    allowed = ",".join(f"'{each}'" for each in AUDIENCES)
    return unauthenticated(
        "InvalidAuthenticationTokenAudience",
        f"The access token has been obtained for wrong audience or resource '{audience}'. It should exactly match with "
        f"one of the allowed audiences {allowed}.",
        tenant,
    )


def forbidden(client: str, oid: str, action: str, scope: str) -> ArmError:
    """A caller without the permission. `client`: app id or user name."""
    return ArmError(
        HTTPStatus.FORBIDDEN,
        "AuthorizationFailed",
        f"The client '{client}' with object id '{oid}' does not have authorization to perform action '{action}' over "
        f"scope '{scope}' or the scope is invalid. If access was recently granted, please refresh your credentials.",
    )


def throttled(kind: str, subscription: str, actor: str, later: int) -> ArmError:
    """Too many requests. `kind`: `reads`, `writes` or `deletes`; `later`: seconds."""
    return ArmError(
        HTTPStatus.TOO_MANY_REQUESTS,
        "SubscriptionRequestsThrottled",
        f"Number of '{kind}' requests for subscription '{subscription}' actor '{actor}' exceeded. Please try again "
        f"after '{later}' seconds after additional tokens are available. Refer to https://aka.ms/arm-throttling for "
        "additional information.",
        {"retry-after": str(later)},
    )


def no_version() -> ArmError:
    """A request without `api-version`."""
    return ArmError(
        HTTPStatus.BAD_REQUEST,
        "MissingApiVersionParameter",
        "The api-version query parameter (?api-version=) is required for all requests.",
    )


def wrong_version(namespace: str, kind: str, version: str, known: tuple[str, ...]) -> ArmError:
    """An `api-version` that this type of resource does not have."""
    return ArmError(
        HTTPStatus.BAD_REQUEST,
        "NoRegisteredProviderFound",
        f"No registered resource provider found for location '' and API version '{version}' for type '{kind}'. The "
        f"supported api-versions are '{', '.join(known)}'. The supported locations are ''."
        if namespace
        else f"The api-version '{version}' is invalid. The supported versions are '{','.join(known)}'.",
    )


def no_subscription(name: str) -> ArmError:
    """A subscription that is not there."""
    return ArmError(HTTPStatus.NOT_FOUND, "SubscriptionNotFound", f"The subscription '{name}' could not be found.")


def no_group(name: str) -> ArmError:
    """A resource group that is not there."""
    return ArmError(HTTPStatus.NOT_FOUND, "ResourceGroupNotFound", f"Resource group '{name}' could not be found.")


def no_resource(kind: str, group: str) -> ArmError:
    """A resource that is not there. `kind`: `Microsoft.Storage/storageAccounts/NAME`."""
    return ArmError(
        HTTPStatus.NOT_FOUND,
        "ResourceNotFound",
        f"The Resource '{kind}' under resource group '{group}' was not found. For more details please go to "
        "https://aka.ms/ARMResourceNotFoundFix",
    )


def bad_request(code: str, why: str) -> ArmError:
    """A request that makes no sense."""
    return ArmError(HTTPStatus.BAD_REQUEST, code, why)


def bad_filter(text: str) -> ArmError:
    """A `$filter` that is not understood."""
    return bad_request("InvalidFilter", f"The filter '{text}' is not valid or not supported.")


def unroutable(method: str, path: str) -> ArmError:
    """A path that leads to nothing the lab plays."""
    return ArmError(HTTPStatus.NOT_FOUND, "InvalidResourceType", f"The lab plays no `{method} {path}`.")
