"""`/check/…`: may this request pass? Envoy's ext_authz in its HTTP form, and what our own Lua asks.

The original method and path stand behind the prefix, the original host in `Host`; 200 permits, anything else is the
answer that the caller gets. Only gateways reach this: the arbiter listens on a Unix socket (DESIGN section 5).
`x-remit-epoch` tells the gateway how new the answer's view of revocations is: a higher one ends its leases.
"""

import re
from collections.abc import Awaitable, Callable, Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from remit.arbiter import refusal
from remit.arbiter.cookies import session_secret
from remit.model.decision import Answer
from remit.model.errors import Refused
from remit.model.secret import UnverifiedToken
from remit.model.wire import WireRequest

PREFIX = "/check"
_OURS = frozenset({"authorization", "cookie", "host"})
_OUR_PREFIX = "x-remit-"
_JOB = re.compile(r"j-[0-9a-z]{26}\Z")
_MAXIMUM_BODY = 16 << 20  # bytes: what the gateway buffers for a gRPC message

Decide = Callable[[WireRequest], Awaitable[Answer]]


class Check:
    """The endpoint."""

    def __init__(self, decide: Decide) -> None:
        self._decide = decide

    async def __call__(self, request: Request) -> Response:
        """One question, one answer."""
        try:
            wire = wire_request(request, await _body(request))
        except Refused as refused:  # two sessions at once
            return JSONResponse({"error": {"code": 400, "message": refused.message}}, 400)
        answer = await self._decide(wire)
        decision = answer.decision
        epoch = {"x-remit-epoch": str(decision.circumstances.epoch)}
        if not decision.permitted or answer.credential is None:
            headers = refusal.headers(decision) | epoch
            return Response(refusal.body(decision), refusal.status(decision), headers, "application/json")
        headers = {
            "x-remit-decision": decision.id,
            "x-remit-lease-ms": str(answer.lease_ms),
            "authorization": f"Bearer {answer.credential.token.reveal()}",
            **epoch,
        }
        return Response(status_code=200, headers=headers)


async def _body(request: Request) -> bytes | None:
    """The whole body, or `None` when it is larger than any gateway sends."""
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > _MAXIMUM_BODY:
            return None
        chunks.append(chunk)
    return b"".join(chunks)


def wire_request(request: Request, body: bytes | None) -> WireRequest:
    """The caller's request, out of the gateway's question."""
    raw = [(key.decode("latin-1"), value.decode("latin-1")) for key, value in request.scope["headers"]]
    target = request.scope["raw_path"].decode("latin-1").removeprefix(PREFIX)
    query = request.scope["query_string"].decode("latin-1")
    whole = single(raw, "x-remit-body") == "whole"
    job = single(raw, "x-remit-job")
    presented = [value for key, value in raw if key == "authorization"]
    upgrade = (("upgrade", "websocket"),) if single(raw, "x-remit-upgrade") else ()  # as a header it would be one here
    return WireRequest(
        token=bearer(presented),
        session=None if presented else session_secret(request),
        method=request.method,
        host=single(raw, "host").partition(":")[0].lower(),
        target=f"{target}?{query}" if query else target,
        headers=(
            *((key, value) for key, value in raw if key not in _OURS and not key.startswith(_OUR_PREFIX)),
            *upgrade,
        ),
        body=body if body is not None and whole else b"",
        body_sent=body is not None and whole,
        peer=single(raw, "x-remit-peer"),
        job=job if _JOB.match(job) else "",
    )


def bearer(values: list[str]) -> UnverifiedToken | None:
    """The token of exactly one `Bearer` header; anything else is no identity (RFC 6750, section 2.1)."""
    if len(values) != 1:
        return None
    scheme, separator, token = values[0].partition(" ")
    return UnverifiedToken(token) if separator and scheme.lower() == "bearer" and token else None


def single(headers: Sequence[tuple[str, str]], name: str) -> str:
    """The value of a header that stands once, empty when it is absent or repeated."""
    values = [value for key, value in headers if key == name]
    return values[0] if len(values) == 1 else ""
