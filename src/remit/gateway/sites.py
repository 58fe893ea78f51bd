"""What stands behind a name, spelled for Envoy: the filters of a site and its routes, alike on every way to it.

A site whose bodies are decided on holds them whole; the others let them by in a stream with little memory. What a
service answers may not speak for Remit.
"""

import re
from typing import Any

from remit.gateway import filters, gates, streams
from remit.gateway.clusters import STREAMS
from remit.gateway.hcm import ADDED, answered, overwritten
from remit.gateway.plan import BODY_LIMIT, Mode, Plan, Site, Upstream
from remit.gateway.typed import Json

STREAMED = 1024 * 1024  # bytes that a connection may hold of bodies that nobody decides on
_STREAMS = 100  # of one HTTP/2 connection (RFC 9113 section 6.5.2 asks for at least 100)
UPGRADE: Json = {"upgrade_configs": [{"upgrade_type": "websocket"}]}
_SOCKET = [
    {"name": ":method", "string_match": {"exact": "GET"}},
    {"name": "upgrade", "string_match": {"exact": "websocket", "ignore_case": True}},
]
# What a service's path may not hold, besides what the gate refuses: escaped control characters, which some servers
# write into headers and logs, and bytes of overlong or impossible UTF-8, in which others find slashes and dots.
_ODD = r".*%(?:[01][0-9A-Fa-f]|7[Ff]|[Cc][01]|[Ee]0%[89][0-9A-Fa-f]|[Ff][5-9A-Fa-f]).*"


def hold(site: Site) -> int:
    """Bytes that a connection to this site may hold."""
    return BODY_LIMIT if site.mode.reads else STREAMED


def window(size: int) -> Json:
    """HTTP/2 towards callers: what is read whole must fit in the window, since none of it goes upstream before."""
    room = size + 65_536
    return {
        "max_concurrent_streams": _STREAMS,
        "initial_stream_window_size": room,
        "initial_connection_window_size": 2 * room,
    }


def chain(plan: Plan, site: Site, *, tunnel: bool) -> list[Json]:
    """The filters of a listener that serves this site alone."""
    open_ones = plan.settings.streams or site.socket or site.mode.assertion
    watch = [streams.watch(disabled=True)] if open_ones else []
    return [*_before(plan, site, tunnel=tunnel, websocket=False), *watch, filters.router()]


def upgrades(plan: Plan, site: Site, *, tunnel: bool) -> Json:
    """WebSockets have filters of their own: no lease table, their own headers, and always the watch."""
    if site.socket is None:
        return {}
    own = [*_before(plan, site, tunnel=tunnel, websocket=True), streams.watch(disabled=False), filters.router()]
    return {"upgrade_configs": [{"upgrade_type": "websocket", "enabled": False, "filters": own}]}


def _before(plan: Plan, site: Site, *, tunnel: bool, websocket: bool) -> list[Json]:
    passed = filters.allowed(site.mode, websocket=websocket)
    told = gates.context(plan.gate, site, passed, tunnel=tunnel, websockets=websocket)
    return [*([] if tunnel else [filters.present()]), gates.gate(told), filters.proof()]


def behaviour(plan: Plan, site: Site) -> Json:
    """How a listener that serves this site alone reads HTTP."""
    return {
        "http2_protocol_options": window(hold(site)),
        # To receive a whole request: 16 MiB over 2 Mbit/s; of what only passes, as long as any stream.
        "request_timeout": "60s" if site.mode.reads else f"{plan.settings.stream_seconds}s",
        "max_stream_duration": f"{plan.settings.stream_seconds}s",
        **(_NAMED_OBJECTS if site.mode is Mode.OBJECTS else {}),
    }


_NAMED_OBJECTS = {
    "path_with_escaped_slashes_action": "KEEP_UNCHANGED",  # an object's name is one segment, whatever it holds
    "proxy_100_continue": True,  # whether a large upload begins, the store says
}


def routes(plan: Plan, site: Site) -> list[Json]:
    """Where a site's calls go, when all of a name is its own."""
    shut = {"typed_per_filter_config": filters.ungated()}
    return [
        answered({"connect_matcher": {}}, 403, **shut),
        *odd(site, "/", shut),
        *([to(site, socket("/"), site.socket, watched=True, **UPGRADE)] if site.socket else []),
        *_calls(plan, site, shut),
        *_rest(plan, site, shut),
    ]


def odd(site: Site, prefix: str, shut: Json) -> list[Json]:
    """Refuses what no service gets to see."""
    if not site.mode.assertion:
        return []
    said = {"response_headers_to_add": [overwritten("x-remit-reason", "request_ambiguous")]}
    return [answered({"safe_regex": {"regex": re.escape(prefix) + _ODD}}, 400, **shut, **said)]


def socket(prefix: str) -> Json:
    """How a route knows a GET that becomes a WebSocket."""
    return {"prefix": prefix, "headers": _SOCKET}


def _calls(plan: Plan, site: Site, shut: Json) -> list[Json]:
    """Calls of gRPC: which methods of a web service stream nobody tells us, so there each of them is watched."""
    everything = {"prefix": "/", "grpc": {}}
    if site.grpc is None:
        return [answered(everything, 404, **shut)]
    listed, _ = streams.matches(plan.settings)
    open_ones = [to(site, match, site.grpc, watched=True) for match in listed]
    return [*open_ones, to(site, everything, site.grpc, watched=site.mode is Mode.WEB)]


def _rest(plan: Plan, site: Site, shut: Json) -> list[Json]:
    """All else. Any answer of a web service may stay open, whatever its caller says, so that each is watched."""
    if site.rest is None:
        return [answered({"prefix": "/"}, 404, **shut)]
    _, listed = streams.matches(plan.settings)
    open_ones = [] if site.mode.assertion else listed
    rest = to(site, {"prefix": "/"}, site.rest, watched=site.mode is Mode.WEB)
    return [*(to(site, match, site.rest, watched=True) for match in open_ones), rest]


def to(site: Site, match: Json, upstream: Upstream, *, watched: bool = False, **action: Any) -> Json:
    """A route that leads on."""
    rewrite = {"host_rewrite_literal": site.rewrite} if site.rewrite else {}
    route = {"cluster": upstream.name, "timeout": "0s", **rewrite, **action}
    more = {"typed_per_filter_config": {STREAMS: filters.switched_on()}} if watched else {}
    return {"match": match, "route": route, **more}


def headers(site: Site, scheme: str) -> Json:
    """What of our own never leaves, besides what the gate removes.

    `scheme`: by which the caller came, the one thing about the way that a service may know. A service gets neither a
    token nor any mark but the assertion.
    """
    if site.mode.assertion:
        return {
            "request_headers_to_remove": ["x-forwarded-for", "authorization", "x-goog-request-reason"],
            "request_headers_to_add": [overwritten("x-forwarded-proto", scheme)],
        }
    return {"request_headers_to_remove": ADDED}
