"""`/check/…`: may this request pass? What our own gateway asks, and any proxy that asks before it forwards.

The original method and path stand behind the prefix, the original host in `Host`; 200 permits, anything else is the
answer that the caller gets. Only gateways reach this: the arbiter listens on a Unix socket (DESIGN section 5). An
answer has `x-remit-decision`, and `x-remit-epoch`, how new its view of revocations is: a higher one ends the gateway's
leases. A permit has `x-remit-lease-ms`, and what goes upstream: `authorization` to Google, `x-remit-assertion` to a
service of the estate; `x-remit-body: replace` when the answer's body goes in place of the caller's, and `x-remit-tell`
when the upstream's answer is to be told (`answered`). The gateway names a service `NAME.service`; its own host will do.

Whoever asks with `x-remit-again: 1` asks again when told so: a decision that is still being made shortly before that
gateway loses patience is answered 503 with the same header, and goes on, so that what it fetched and kept is there for
the next question, which is decided anew. It permits nothing, says nothing else, and its own permit reaches nobody.

Proxies that users run already ask in one of two ways, and copy the two headers above from a 200:
- A stock Envoy's `ext_authz` as HTTP service, `path_prefix: /check`, with `authorization`, `cookie`, `content-type`,
  `origin`, `accept` and `sec-websocket-key` (else a WebSocket looks like a page) allowed; `x-remit-body: whole` and
  `x-remit-peer` as `headers_to_add`, the former only together with `with_request_body`. It sends no other header of the
  caller's, so that nobody speaks for it, and takes away from what goes upstream whatever
  `x-envoy-auth-headers-to-remove` names.
- nginx's `auth_request` and Traefik's `forwardAuth`, which send whatever the caller sends: `GET /forwarded-check` with
  `x-forwarded-method`, `x-forwarded-host`, `x-forwarded-uri` (path and query) and `x-forwarded-for`, of which the last
  address counts. Here every `x-remit-` header is the caller's, and counts for nothing: nothing is decided on a body.
  The caller's `authorization` and `cookie` must be taken away there before a service sees them.
Neither replaces bodies nor tells of answers: what is started through them belongs to nobody.

A browser has its session in a cookie, and then nothing else to say who it is. What such a request changes, or keeps
open, must come from our own pages (`origin`; RFC 6265bis section 8.8). Leaves out: what is permitted (`access.decide`).
"""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from remit.arbiter import refusal
from remit.arbiter.cookies import session_secret
from remit.model.decision import Answer
from remit.model.errors import Refused
from remit.model.estate import Service
from remit.model.reasons import Reason
from remit.model.secret import UnverifiedToken
from remit.model.wire import WireRequest

PREFIX = "/check"
FORWARDED = "/forwarded-check"
_OURS = frozenset({"authorization", "content-length", "cookie", "host", "transfer-encoding"})  # the question's own
_OUR_PREFIX = "x-remit-"
_THEIR_PREFIX = "x-forwarded-"
_AGAIN = "x-remit-again"
_LEFT = 256  # decisions that nobody waits for any more; with more an arbiter is not cold but overrun, and says so
_JOB = re.compile(r"j-[0-9a-z]{26}\Z")
_MAXIMUM_BODY = 16 << 20  # bytes: what the gateway buffers for a gRPC message
_MAXIMUM_RETURN = 1024  # characters of an address to return to, as identity takes
_BYTES = "application/octet-stream"
_SOCKET_KEY = "sec-websocket-key"
_SAFE = frozenset({"GET", "HEAD"})
_CURED_BY_SIGN_IN = frozenset({Reason.TOKEN_MISSING, Reason.SESSION_ENDED, Reason.SIGN_IN_AGAIN})


class Decide(Protocol):
    """access: the story of one request."""

    async def __call__(self, wire: WireRequest, refused: Refused | None) -> Answer:
        """Decides; `refused`: why it must not be asked at all."""


class Check:
    """The endpoint. `origin`: of the door's own pages, `https://host[:port]`; `services`: those of the estate.

    `patience`: seconds after which a gateway that offers to ask again is told to; `None`: never.
    """

    def __init__(
        self,
        decide: Decide,
        *,
        origin: str = "",
        services: Sequence[Service] = (),
        patience: float | None = None,
    ) -> None:
        self._decide = decide
        self._patience = patience
        self._left: set[asyncio.Task[Response]] = set()
        self._origin = origin
        self._services = {service.known_as: service for service in services}
        self._hosts = {service.host: service.known_as for service in services if service.host}

    async def __call__(self, request: Request) -> Response:
        """One question, one answer."""
        asked = wire_request(request, await _body(request))
        offers = single(_raw(request), _AGAIN) == "1" and len(self._left) < _LEFT
        if self._patience is None or not offers:
            return await self._answer(request, asked)
        story = asyncio.create_task(self._answer(request, asked))
        try:
            done, _ = await asyncio.wait({story}, timeout=self._patience)
        finally:
            if not story.done():  # it goes on, whether the gateway was told so or has gone away
                self._left.add(story)
                story.add_done_callback(self._forget)
        return await story if done else Response(status_code=503, headers={_AGAIN: "1"})

    async def forwarded(self, request: Request) -> Response:
        """One question of a proxy that says in headers what it was asked."""
        return await self._answer(request, forwarded_request(request))

    def _forget(self, story: asyncio.Task[Response]) -> None:
        self._left.discard(story)
        if not story.cancelled():
            story.exception()  # seen: nobody else looks

    async def _answer(self, request: Request, asked: WireRequest) -> Response:
        wire, refused = self._identified(request, replace(asked, host=self._hosts.get(asked.host, asked.host)))
        answer = await self._decide(wire, refused)
        decision, credential = answer.decision, answer.credential
        epoch = {"x-remit-epoch": str(decision.circumstances.epoch)}
        service = self._services.get(wire.host)
        # a credential has an account at Google, an assertion has none: neither ever goes to the other's party
        if not decision.permitted or credential is None or bool(credential.account) == bool(service):
            headers = refusal.headers(decision, self._way_in(wire, service, answer)) | epoch
            return Response(refusal.body(decision), refusal.status(decision), headers, "application/json")
        token = credential.token.reveal()
        headers = {
            "x-remit-decision": decision.id,
            "x-remit-lease-ms": str(answer.lease_ms),
            **({"x-remit-assertion": token} if service else {"authorization": f"Bearer {token}"}),
            "x-envoy-auth-headers-to-remove": _taken_away(wire, service),
            **({"x-remit-tell": "1"} if answer.tell else {}),
            **({"x-remit-body": "replace", "content-type": _BYTES} if answer.body is not None else {}),
            **epoch,
        }
        return Response(answer.body, 200, headers)

    def _identified(self, request: Request, wire: WireRequest) -> tuple[WireRequest, Refused | None]:
        """The request with its token or its session; and why it must not be asked, if it has too much of either."""
        presented = request.headers.getlist("authorization")
        wire = replace(wire, token=bearer(presented))
        if presented and wire.host not in self._services:
            return wire, None  # a browser's cookies are nobody's business where there is a header for it
        try:
            session = session_secret(request)
        except Refused as refused:  # two sessions at once
            return wire, refused
        if session is None:
            return wire, None
        if presented:
            return wire, Refused(Reason.TOKEN_MALFORMED, "the request carries two identities")
        if not self._from_our_pages(wire):
            return wire, Refused(Reason.REQUEST_MALFORMED, "the request comes from another site")
        return replace(wire, session=session), None

    def _from_our_pages(self, wire: WireRequest) -> bool:
        """Whether a browser's request came from our own origin, or says nothing of it and can do no harm."""
        names = [name for name, _ in wire.headers]
        if "origin" in names:
            return [value for name, value in wire.headers if name == "origin"] == [self._origin]
        return wire.host not in self._services or (wire.method in _SAFE and "upgrade" not in names)

    def _way_in(self, wire: WireRequest, service: Service | None, answer: Answer) -> str:
        """Where a browser signs in before it tries again; empty when it is none, or cannot return from there."""
        if service is None or not service.prefix or not wire.target.startswith(service.prefix):
            return ""
        accepted = ",".join(value for name, value in wire.headers if name == "accept")
        upgrade = any(name == "upgrade" for name, _ in wire.headers)
        if wire.method != "GET" or upgrade or wire.token is not None or "text/html" not in accepted:
            return ""
        if answer.decision.verdict.reasons[0] not in _CURED_BY_SIGN_IN:
            return ""
        to = wire.target if len(wire.target) <= _MAXIMUM_RETURN else service.prefix
        return f"/sign-in?to={quote(to, safe='')}"


def _taken_away(wire: WireRequest, service: Service | None) -> str:
    """Headers of the caller's that an upstream must not see: a token for Remit, a session, another word of who asks."""
    if service is None:
        return "cookie,x-remit-assertion"
    return "authorization,cookie" if wire.session else "authorization"


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
    """The caller's request, out of the gateway's question; whose it is stands in the question's own headers."""
    raw = _raw(request)
    target = request.scope["raw_path"].decode("latin-1").removeprefix(PREFIX)
    query = request.scope["query_string"].decode("latin-1")
    whole = single(raw, "x-remit-body") == "whole"
    job = single(raw, "x-remit-job")
    upgrade = (("upgrade", "websocket"),) if single(raw, "x-remit-upgrade") else ()  # as a header it would be one here
    return WireRequest(
        token=None,
        method=request.method,
        host=_host(single(raw, "host")),
        target=f"{target}?{query}" if query else target,
        headers=(*_theirs(raw), *(upgrade or _opening(raw))),
        body=body if body is not None and whole else b"",
        body_sent=body is not None and whole,
        peer=single(raw, "x-remit-peer"),
        job=job if _JOB.match(job) else "",
    )


def forwarded_request(request: Request) -> WireRequest:
    """The caller's request, out of the headers that a proxy sets; one that is missing or repeated names nothing."""
    raw = _raw(request)
    return WireRequest(
        token=None,
        method=single(raw, "x-forwarded-method"),
        host=_host(single(raw, "x-forwarded-host")),
        target=single(raw, "x-forwarded-uri"),
        headers=(*(pair for pair in _theirs(raw) if not pair[0].startswith(_THEIR_PREFIX)), *_opening(raw)),
        peer=single(raw, "x-forwarded-for").rpartition(",")[2].strip(),
    )


def _raw(request: Request) -> list[tuple[str, str]]:
    return [(key.decode("latin-1"), value.decode("latin-1")) for key, value in request.scope["headers"]]


def _theirs(raw: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(key, value) for key, value in raw if key not in _OURS and not key.startswith(_OUR_PREFIX)]


def _opening(raw: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """That a WebSocket opens: proxies keep `upgrade` to themselves, and its key (RFC 6455 section 4.1) they pass on."""
    names = {name for name, _ in raw}
    return (("upgrade", "websocket"),) if _SOCKET_KEY in names and "upgrade" not in names else ()


def _host(value: str) -> str:
    return value.partition(":")[0].lower()


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
