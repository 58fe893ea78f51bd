"""`/v1/events`: Security Event Tokens are pushed here (RFC 8935), one a request.

202 with an empty body when the event is in effect; 400 with `err` and `description` (section 2.4) when the token is not
accepted; 503 when it should be delivered again. The transmitter proves itself by its signature.
"""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from remit.model.errors import NotRecorded, Refused
from remit.model.secret import UnverifiedToken

_TYPE = "application/secevent+jwt"
_MAXIMUM_BODY = 16 << 10  # bytes: the longest token
_LATER = {"retry-after": "5", "cache-control": "no-store"}

Receive = Callable[[UnverifiedToken, int], Awaitable[tuple[str, str] | None]]


class Events:
    """The endpoint. `receive` returns the error code and the description for a token that is not accepted."""

    def __init__(self, receive: Receive, clock: Callable[[], int]) -> None:
        self._receive = receive
        self._clock = clock

    async def __call__(self, request: Request) -> Response:
        """One token."""
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _TYPE:
            return _error("invalid_request", f"the content type is not `{_TYPE}`")
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > _MAXIMUM_BODY:
                return _error("invalid_request", f"the token is larger than {_MAXIMUM_BODY} bytes")
        try:
            wrong = await self._receive(UnverifiedToken(body.decode("latin-1")), self._clock() // 1_000_000)
        except (Refused, NotRecorded):
            return Response(status_code=503, headers=_LATER)
        return _error(*wrong) if wrong else Response(status_code=202)


def _error(code: str, description: str) -> JSONResponse:
    document = {"err": code, "description": description}
    return JSONResponse(document, 400, {"content-language": "en", "cache-control": "no-store"})
