"""Open streams under watch: server-sent events, gRPC server streams, WebSockets.

On the listed routes, and on no other, Envoy keeps one gRPC stream to the arbiter open for as long as the caller's
stream is (`remit.arbiter.streams`). The arbiter learns the decision that permitted it, and nothing else; when it ends
its side with an error, or dies, Envoy resets the caller's stream within milliseconds, an idle one too (measured: SSE,
gRPC, WebSocket). The response trailers are asked for because Envoy lets go early of a watch that has nothing to come.
Source: envoy.extensions.filters.http.ext_proc.v3 (Envoy 1.40 API reference).
"""

import re

from remit.gateway.clusters import STREAMS
from remit.gateway.settings import GatewaySettings
from remit.gateway.typed import Json, extension

_ANSWER = "0.9s"  # for the word that the stream may open: as long as a check
_WATCHED = {
    "request_header_mode": "SEND",
    "response_header_mode": "SKIP",
    "request_body_mode": "NONE",
    "response_body_mode": "NONE",
    "request_trailer_mode": "SKIP",
    "response_trailer_mode": "SEND",
}


def watch(*, disabled: bool) -> Json:
    """The filter; where it is disabled it costs nothing until a route switches it on."""
    fields = {
        "grpc_service": {"envoy_grpc": {"cluster_name": STREAMS}},
        "failure_mode_allow": False,
        "message_timeout": _ANSWER,
        "status_on_error": {"code": "ServiceUnavailable"},
        "processing_mode": _WATCHED,
        "forward_rules": {"allowed_headers": {"patterns": [{"exact": "x-goog-request-reason"}]}},  # never a credential
    }
    named = extension(STREAMS, "extensions.filters.http.ext_proc.v3.ExternalProcessor", fields)
    return {"disabled": True, **named} if disabled else named


def matches(settings: GatewaySettings) -> tuple[list[Json], list[Json]]:
    """How routes know a method that streams: over gRPC, and over REST.

    A REST path with anything escaped is watched too: nobody spells a method so who does not want to be overlooked.
    """
    calls = [{"path": path, "grpc": {}} for path in settings.streams if _is_grpc(path)]
    ends = "|".join(re.escape(end) for end in settings.streams if not _is_grpc(end))
    return calls, [{"safe_regex": {"regex": f".*(?:{ends}|%.*)"}}] if ends else []


def _is_grpc(method: str) -> bool:
    """Whether it is a gRPC path (`/package.Service/Method`) rather than the end of a REST path."""
    return method.startswith("/") and "." in method
