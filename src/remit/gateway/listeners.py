"""The three kinds of listener: the outer one, a door for each terminated host, and the check.

The outer listener opens tunnels to the listed hosts and passes a few plain paths to the arbiter, the only place where
a cookie goes. A door ends TLS inside the tunnel and holds the gate. The check verifies a token's signature before the
arbiter is asked; it is the one part that changes at run time. Bounds are of one connection or request; each says why.
Source: envoy.extensions.filters.network.http_connection_manager.v3 (Envoy 1.40 API reference).
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from remit.gateway import filters, streams
from remit.gateway.accesslog import access_log
from remit.gateway.clusters import ARBITER, CHECK
from remit.gateway.plan import BODY_LIMIT, HTTPS, Door, Plan, Upstream
from remit.gateway.settings import GatewaySettings
from remit.gateway.typed import Json, extension

DOOR_SECRET = "door"  # the name under which the door's certificate is discovered
OUTER = "outer"

_HEADERS_KIB = 60  # an Entra token with 200 groups has about 16 KiB, and a tunnel may hold one beside cookies
_HEADERS = 64  # stock clients send fewer than 20
_STREAMS = 100  # of one HTTP/2 connection (RFC 9113 section 6.5.2 asks for at least 100)
_API_BODY = 1024 * 1024  # bytes: a token request has a few KiB, a SAML response in a form a few hundred
_WINDOW = BODY_LIMIT + 65_536  # a whole body must fit, since the gate reads it before any goes upstream
_BEARER = "Bearer [A-Za-z0-9._~+/=-]+"
_JOB = "j-[0-9a-z]{26}"
_BELOW = "(?:[A-Za-z0-9_~-][A-Za-z0-9._~-]*/)*[A-Za-z0-9_~-][A-Za-z0-9._~-]*"  # no `..`, nothing empty or escaped
_TLS_VERSION = {"tls_minimum_protocol_version": "TLSv1_2"}
_ADDED = ["x-forwarded-for", "x-forwarded-proto"]  # by Envoy or the caller: nobody behind us may believe them
_OURS = ("x-remit-", "x-envoy-")
_WEBSOCKET = {
    "prefix": "/",
    "headers": [
        {"name": ":method", "string_match": {"exact": "GET"}},
        {"name": "upgrade", "string_match": {"exact": "websocket", "ignore_case": True}},
    ],
}


def outer(plan: Plan) -> Json:
    """The listener that callers connect to."""
    settings = plan.settings
    routes = [*(_tunnel(door) for door in plan.doors), _api(settings)]
    manager = _manager(
        OUTER,
        [
            filters.unrepeated(),
            filters.carried(),
            filters.stripped(_OURS),
            filters.form_bound(_API_BODY),
            filters.router(),
        ],
        routes,
        access_log=access_log(settings.access_log, OUTER, decided=False),
        codec_type="HTTP1",
        http_protocol_options={"accept_http_10": True},  # Python 3.11's http.client opens tunnels with HTTP/1.0
        upgrade_configs=[{"upgrade_type": "CONNECT"}],
        request_timeout="30s",
    )
    address = {"socket_address": {"address": settings.listen_host, "port_value": settings.listen_port}}
    chain = {"filters": [manager], **_outer_tls(settings)}
    return {
        "name": OUTER,
        "address": address,
        "enable_reuse_port": False,  # a second process on our port must fail, not share our callers
        "per_connection_buffer_limit_bytes": _API_BODY,
        "filter_chains": [chain],
    }


def door(plan: Plan, door: Door) -> Json:
    """The inside of a tunnel to one host: another SNI finds no filter chain, another `Host` a refusal."""
    settings = plan.settings
    watch = [streams.watch(disabled=True)] if settings.streams or door.socket else []
    manager = _manager(
        "door",
        [filters.cleaned(), filters.gate(), filters.proof(), *watch, filters.router()],
        [_served(plan, door), _misdirected()],
        **_upgrades(door),
        access_log=access_log(settings.access_log, "door", decided=True),
        codec_type="AUTO",
        http2_protocol_options={
            "max_concurrent_streams": _STREAMS,
            "initial_stream_window_size": _WINDOW,
            "initial_connection_window_size": 2 * _WINDOW,
        },
        request_timeout="60s",  # to receive a whole request: 16 MiB over 2 Mbit/s
        max_connection_duration=f"{settings.connection_seconds}s",
        max_stream_duration=f"{settings.stream_seconds}s",
    )
    return {
        "name": door.listener,
        "internal_listener": {},
        "per_connection_buffer_limit_bytes": BODY_LIMIT,
        "listener_filters": [
            extension("filters.listener.tls_inspector", "extensions.filters.listener.tls_inspector.v3.TlsInspector")
        ],
        "filter_chains": [
            {
                "filter_chain_match": {"server_names": [door.host], "transport_protocol": "tls"},
                "transport_socket": _door_tls(settings),
                "filters": [manager],
            }
        ],
    }


def _upgrades(door: Door) -> Json:
    """WebSockets have filters of their own: no lease table, their own headers, and always the watch."""
    if door.socket is None:
        return {}
    chain = [
        filters.cleaned(websocket=True),
        filters.gate(),
        filters.proof(),
        streams.watch(disabled=False),
        filters.router(),
    ]
    return {"upgrade_configs": [{"upgrade_type": "websocket", "enabled": False, "filters": chain}]}


def check(settings: GatewaySettings, keys: Mapping[str, str]) -> Json:
    """The native check in front of the arbiter. Without keys nobody can be known, and every check is answered 503."""
    if any(issuer in keys for issuer, _ in settings.issuers):
        checks = [filters.signatures(settings, keys), filters.router()]
        route: Json = {"match": {"prefix": "/check/"}, "route": {"cluster": ARBITER, "timeout": "0s"}}
    else:
        checks = [filters.router()]
        route = {"match": {"prefix": "/"}, "direct_response": {"status": 503}}
    manager = _manager("check", checks, [_virtual_host("check", ["*"], [route], request_headers_to_remove=_ADDED)])
    return {
        "name": CHECK,
        "internal_listener": {},
        "per_connection_buffer_limit_bytes": BODY_LIMIT,
        "filter_chains": [{"filters": [manager]}],
    }


def _manager(name: str, chain: Sequence[Json], hosts: Sequence[Json], **options: Any) -> Json:
    """An HTTP connection manager with what all of ours have in common: nothing is patched up, the odd is refused."""
    bounds = {key: options.pop(key) for key in ("max_connection_duration", "max_stream_duration") if key in options}
    fields: Json = {
        "stat_prefix": name,
        "route_config": {"name": name, "virtual_hosts": list(hosts)},
        "http_filters": list(chain),
        "common_http_protocol_options": {
            "idle_timeout": "300s",
            "max_headers_count": _HEADERS,
            "headers_with_underscores_action": "REJECT_REQUEST",
            **bounds,
        },
        "max_request_headers_kb": _HEADERS_KIB,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
        "normalize_path": False,
        "merge_slashes": False,
        "use_remote_address": False,
        "skip_xff_append": True,
        "generate_request_id": False,
        "request_headers_timeout": "10s",  # a slow sender of headers holds nothing else up
        "stream_idle_timeout": "300s",
        "server_header_transformation": "PASS_THROUGH",
        **options,
    }
    kind = "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    return extension("filters.network.http_connection_manager", kind, fields)


def _virtual_host(name: str, domains: list[str], routes: list[Json], **fields: Any) -> Json:
    return {"name": name, "domains": domains, "routes": routes, **fields}


def _tunnel(door: Door) -> Json:
    """CONNECT to one host: with no identity, or with exactly one bearer token; with no job, or with one job's id.

    The authority is `host:443` in any case of letters. Of anything else Envoy's codec lets one form pass, an empty user
    (`@host:443`), and drops it before a filter, a route or the log could see it (measured): the same tunnel opens.
    """
    refused = [
        {
            "match": {"connect_matcher": {}, "headers": [_anything_but(name, form)]},
            "direct_response": {"status": status},
        }
        for name, form, status in (("proxy-authorization", _BEARER, 407), ("x-remit-job", _JOB, 400))
    ]
    upgrade = {"upgrade_type": "CONNECT", "connect_config": {}}
    opened = {"cluster": door.listener, "timeout": "0s", "idle_timeout": "0s", "upgrade_configs": [upgrade]}
    through = {"match": {"connect_matcher": {}}, "route": opened}
    return _virtual_host(door.listener, [f"{door.host}:{HTTPS}"], [*refused, through])


def _anything_but(name: str, form: str) -> Json:
    """A header that is there, and is not of this form."""
    return {"name": name, "string_match": {"safe_regex": {"regex": form}}, "invert_match": True}


def _api(settings: GatewaySettings) -> Json:
    peer = {
        "header": {"key": "x-remit-peer", "value": filters.PEER_FORMAT},
        "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
    }
    below = [{"safe_regex": {"regex": re.escape(prefix) + _BELOW}} for prefix in settings.api_prefixes]
    routes: list[Json] = [
        {
            "match": match,
            "route": {"cluster": ARBITER, "timeout": "15s"},
            "typed_per_filter_config": filters.formed(_API_BODY),
        }
        for match in (*({"path": path} for path in settings.api_paths), *below)
    ]
    refused = [
        {"match": {"connect_matcher": {}}, "direct_response": {"status": 403}},
        {"match": {"prefix": "/"}, "direct_response": {"status": 404}},
    ]
    return _virtual_host(
        "api",
        ["*"],
        [*routes, *refused],
        request_headers_to_add=[peer],
        request_headers_to_remove=["proxy-authorization", *_ADDED],
    )


def _served(plan: Plan, door: Door) -> Json:
    """Calls to the host itself: gRPC over HTTP/2, the rest over HTTP/1.1, each under the host's plain name."""

    def to(match: Json, upstream: Upstream, *, watched: bool = False, **action: Any) -> Json:
        route = {"cluster": upstream.name, "timeout": "0s", "host_rewrite_literal": door.host, **action}
        more = {"typed_per_filter_config": streams.watched()} if watched else {}
        return {"match": match, "route": route, **more}

    upgrade = {"upgrade_configs": [{"upgrade_type": "websocket"}]}
    sockets = [to(_WEBSOCKET, door.socket, watched=True, **upgrade)] if door.socket else []
    calls, paths = streams.matches(plan.settings)
    return _virtual_host(
        door.host,
        [door.host, f"{door.host}:{HTTPS}"],
        [
            {
                "match": {"connect_matcher": {}},
                "direct_response": {"status": 403},
                "typed_per_filter_config": filters.ungated(),
            },
            *sockets,
            *(to(match, door.grpc, watched=True) for match in calls),
            to({"prefix": "/", "grpc": {}}, door.grpc),
            *(to(match, door.rest, watched=True) for match in paths),
            to({"prefix": "/"}, door.rest),
        ],
        typed_per_filter_config=filters.gate_context(plan.gate, door.host),
        request_headers_to_remove=[*_ADDED, filters.CALLER],
        response_headers_to_remove=["set-cookie", "alt-svc"],  # a session, or a way around the door
    )


def _misdirected() -> Json:
    """Any other `Host` than the tunnel's and the SNI's (RFC 9110 section 15.5.20)."""
    routes = [{"match": {"prefix": "/"}, "direct_response": {"status": 421}}]
    return _virtual_host("misdirected", ["*"], routes, typed_per_filter_config=filters.ungated())


def _outer_tls(settings: GatewaySettings) -> Json:
    if settings.tls_certificate is None or settings.tls_key is None:
        return {}
    files = {
        "certificate_chain": {"filename": str(settings.tls_certificate)},
        "private_key": {"filename": str(settings.tls_key)},
    }
    common = {"tls_certificates": [files], "alpn_protocols": ["http/1.1"], "tls_params": _TLS_VERSION}
    return {"transport_socket": _downstream(common)}


def _door_tls(settings: GatewaySettings) -> Json:
    discovered = {"name": DOOR_SECRET, "sds_config": watched(settings, "secrets.json")}
    common = {
        "tls_certificate_sds_secret_configs": [discovered],
        "alpn_protocols": ["h2", "http/1.1"],
        "tls_params": _TLS_VERSION,
    }
    return _downstream(common)


def _downstream(common: Json) -> Json:
    kind = "extensions.transport_sockets.tls.v3.DownstreamTlsContext"
    return extension("transport_sockets.tls", kind, {"common_tls_context": common})


def watched(settings: GatewaySettings, name: str) -> Json:
    """A file of the runtime folder that Envoy reads again when it is replaced by rename."""
    return {"resource_api_version": "V3", "path_config_source": {"path": str(settings.runtime / name)}}
