"""`/answered/DECISION`: what an upstream answered to a permitted request, as our own gateway tells it.

The gateway posts the answer's body, or none where it is larger than is told, with `x-remit-host`, `x-remit-status`,
`x-remit-content-type`, `x-remit-location`, `x-remit-grpc-status` and `x-remit-grpc-message` (as on the wire: gRPC over
HTTP/2, percent-encoded). The answer is always 200; of a refusal it has the probable cause in `x-remit-upstream`, which
the gateway adds to what it passes on. Only gateways reach this, over the Unix socket: it is no path of the door's.
Proxies that only ask (`check`) need not tell anything. Leaves out: what an answer means (`access.answered`).
"""

from typing import Protocol
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import Response

from remit.arbiter.check import single
from remit.model.causes import Cause
from remit.model.wire import UpstreamAnswer

PATH = "/answered/{decision}"
_MAXIMUM_BODY = 64 << 10  # bytes: errors and names of operations are far below
_MAXIMUM_MESSAGE = 4096  # characters of a gRPC message
_MAXIMUM_LOCATION = 4096  # characters of the address of an upload
_STATUS = range(100, 600)
_GRPC_STATUS = range(17)  # the codes of google/rpc/code.proto


class Learn(Protocol):
    """access: the story of one answer; never raises, and never takes long."""

    async def __call__(self, decision: str, host: str, answer: UpstreamAnswer) -> Cause | None:
        """The probable cause of a refusal."""


class Answered:
    """The endpoint."""

    def __init__(self, learn: Learn) -> None:
        self._learn = learn

    async def __call__(self, request: Request) -> Response:
        """One answer."""
        headers = request.headers.items()
        status = _number(single(headers, "x-remit-status"), _STATUS)
        if status < 0:
            return Response()
        answer = UpstreamAnswer(
            status=status,
            content_type=single(headers, "x-remit-content-type"),
            grpc_status=_number(single(headers, "x-remit-grpc-status"), _GRPC_STATUS),
            message=unquote(single(headers, "x-remit-grpc-message")[:_MAXIMUM_MESSAGE], errors="replace"),
            body=await _body(request),
            location=single(headers, "x-remit-location")[:_MAXIMUM_LOCATION],
        )
        cause = await self._learn(request.path_params["decision"], single(headers, "x-remit-host"), answer)
        return Response(headers={"x-remit-upstream": str(cause)} if cause else {})


def _number(text: str, known: range) -> int:
    """A status, -1 for none and for what is none."""
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= len("599") else -1
    return number if number in known else -1


async def _body(request: Request) -> bytes:
    """The whole body, empty when it is larger than any gateway tells."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAXIMUM_BODY:
            return b""
    return bytes(body)
