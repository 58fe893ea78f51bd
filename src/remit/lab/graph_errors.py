"""How the lab's Graph says no: one error object, whatever was asked.

Source: learn.microsoft.com/graph/errors.
"""

import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from http import HTTPStatus

from remit.lab.http import Request, Response
from remit.lab.http_server import reply


class GraphError(Exception):
    """A refusal in Graph's error object.

    `later`: seconds for `Retry-After`, 0 for none; `details`: a finer code, and the property that it is about.
    """

    def __init__(
        self, status: int, code: str, message: str, *, later: int = 0, details: tuple[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.later = later
        self.details = details

    def render(self, request: Request) -> Response:
        """The response."""
        inner = {
            "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S"),
            "request-id": str(uuid.uuid4()),
            "client-request-id": request.headers.get("client-request-id", ""),
        }
        headers = {"retry_after": str(self.later)} if self.later else {}
        error: dict[str, object] = {"code": self.code, "message": str(self), "innerError": inner}
        if self.details:
            error["details"] = [{"code": self.details[0], "message": str(self), "target": self.details[1]}]
        return reply({"error": error}, self.status, **headers)


def unauthenticated(why: str) -> GraphError:
    """A token that cannot be taken."""
    return GraphError(HTTPStatus.UNAUTHORIZED, "InvalidAuthenticationToken", why)


def bad_request(why: str, code: str = "Request_BadRequest", *, details: tuple[str, str] | None = None) -> GraphError:
    """A request that makes no sense."""
    return GraphError(HTTPStatus.BAD_REQUEST, code, why, details=details)


def unknown(what: str) -> GraphError:
    """An object that the directory does not have."""
    return GraphError(
        HTTPStatus.NOT_FOUND,
        "Request_ResourceNotFound",
        f"Resource '{what}' does not exist or one of its queried reference-property objects are not present.",
    )


def throttled(later: int) -> GraphError:
    """Too much was asked. `later`: seconds."""
    return GraphError(HTTPStatus.TOO_MANY_REQUESTS, "TooManyRequests", "Too many requests.", later=later)


def need(held: frozenset[str], *alternatives: Iterable[str]) -> None:
    """Raises unless every permission of one alternative is held."""
    if not any(held.issuperset(alternative) for alternative in alternatives):
        raise GraphError(
            HTTPStatus.FORBIDDEN, "Authorization_RequestDenied", "Insufficient privileges to complete the operation."
        )
