"""How Entra says no: an OAuth error with an AADSTS number.

Source: learn.microsoft.com/entra/identity-platform/reference-error-codes.
"""

import uuid
from datetime import UTC, datetime
from http import HTTPStatus

from remit.lab.http import Request, Response
from remit.lab.http_server import reply


class EntraError(Exception):
    """A refusal. `claims`: what a new sign-in must satisfy, as JSON text, for an interaction that would help."""

    def __init__(
        self,
        error: str,
        number: int,
        message: str,
        *,
        status: int = HTTPStatus.BAD_REQUEST,
        suberror: str = "",
        claims: str = "",
    ) -> None:
        super().__init__(message)
        self.error = error
        self.number = number
        self.message = message
        self.status = status
        self.suberror = suberror
        self.claims = claims


def correlation(request: Request) -> str:
    """The client's own request id, which Entra gives back, else a new one."""
    return request.headers.get("client-request-id") or str(uuid.uuid4())


def render(error: EntraError, request: Request) -> Response:
    """The error as the token and device code endpoints answer it."""
    trace, about = str(uuid.uuid4()), correlation(request)
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    body: dict[str, object] = {
        "error": error.error,
        "error_description": f"AADSTS{error.number}: {error.message} Trace ID: {trace} Correlation ID: {about} "
        f"Timestamp: {now}",
        "error_codes": [error.number],
        "timestamp": now,
        "trace_id": trace,
        "correlation_id": about,
        "error_uri": f"https://login.microsoftonline.com/error?code={error.number}",
    }
    body |= {"suberror": error.suberror} if error.suberror else {}
    body |= {"claims": error.claims} if error.claims else {}
    return reply(body, error.status, cache_control="no-store")


def missing(name: str) -> EntraError:
    """A parameter that the request needs."""
    return EntraError("invalid_request", 900144, f"The request body must contain the following parameter: '{name}'.")


def uncredentialed() -> EntraError:
    """A client that had to prove itself and did not."""
    return EntraError(
        "invalid_client",
        7000218,
        "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.",
        status=HTTPStatus.UNAUTHORIZED,
    )
