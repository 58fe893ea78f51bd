"""Where Envoy may connect to: upstreams over verified TLS, its own internal listeners, the arbiter's socket.

Source: envoy.config.cluster.v3.Cluster, envoy.extensions.transport_sockets (Envoy 1.40 API reference).
"""

import ipaddress
from pathlib import Path

from remit.gateway.plan import Upstream
from remit.gateway.typed import Json, extension, message

ARBITER = "arbiter"
STREAMS = "streams"
CHECK = "check"

_CONNECT_TIMEOUT = "5s"
_HTTP_OPTIONS = "extensions.upstreams.http.v3.HttpProtocolOptions"
_BREAKERS = {  # Envoy's default of 1,024 refuses a busy gateway; the check is bounded, so that a flood is shed
    "upstream": {"max_connections": 4096, "max_pending_requests": 4096, "max_requests": 16384},
    CHECK: {"max_connections": 1024, "max_pending_requests": 256, "max_requests": 1024},
    STREAMS: {"max_connections": 64, "max_pending_requests": 1024, "max_requests": 65536},  # its server holds fewer
}
_RESOLVED = {"type": "LOGICAL_DNS", "dns_lookup_family": "ALL"}  # a host that listens on one family only is reached too
_WATCH = {"interval": "1s", "timeout": "2s"}  # a server that hangs has its streams cut within three seconds


def upstream(target: Upstream) -> Json:
    """The cluster of one site and protocol: the certificate must hold exactly the host's name."""
    protocol: Json = {"http2_protocol_options": {}} if target.http2 else {"http_protocol_options": {}}
    once = {"common_http_protocol_options": {"max_requests_per_connection": 1}} if target.once else {}
    return {
        "name": target.name,
        "connect_timeout": _CONNECT_TIMEOUT,
        **({"type": "STATIC"} if _is_address(target.address) else _RESOLVED),
        "circuit_breakers": {"thresholds": [_BREAKERS["upstream"]]},
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": message(
                _HTTP_OPTIONS, explicit_http_config=protocol, **once
            )
        },
        **({"transport_socket": _tls(target, target.roots)} if target.roots else {}),
        "load_assignment": _load(target.name, {"socket_address": _socket_address(target)}),
    }


def internal(name: str) -> Json:
    """A cluster that leads to an internal listener; filter state marked as shared travels with the connection."""
    raw = extension("transport_sockets.raw_buffer", "extensions.transport_sockets.raw_buffer.v3.RawBuffer")
    return {
        "name": name,
        "connect_timeout": _CONNECT_TIMEOUT,
        "circuit_breakers": {"thresholds": [_BREAKERS[CHECK if name == CHECK else "upstream"]]},
        "transport_socket": extension(
            "transport_sockets.internal_upstream",
            "extensions.transport_sockets.internal_upstream.v3.InternalUpstreamTransport",
            {"transport_socket": raw},
        ),
        "load_assignment": _load(name, {"envoy_internal_address": {"server_listener_name": name}}),
    }


def arbiter(socket: Path) -> Json:
    """The arbiter, behind its Unix socket."""
    return {
        "name": ARBITER,
        "connect_timeout": "0.5s",  # a local socket: longer only hides that nobody listens
        "circuit_breakers": {"thresholds": [_BREAKERS[CHECK]]},
        "load_assignment": _load(ARBITER, {"pipe": {"path": str(socket)}}),
    }


def streams(socket: Path) -> Json:
    """The arbiter's watch over open streams, gRPC behind a Unix socket."""
    protocol = {"http2_protocol_options": {"connection_keepalive": _WATCH}}
    return {
        "name": STREAMS,
        "connect_timeout": "0.5s",
        "circuit_breakers": {"thresholds": [_BREAKERS[STREAMS]]},
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": message(
                _HTTP_OPTIONS, explicit_http_config=protocol
            )
        },
        "load_assignment": _load(STREAMS, {"pipe": {"path": str(socket)}}),
    }


def _tls(target: Upstream, roots: Path) -> Json:
    kind = "extensions.transport_sockets.tls.v3.UpstreamTlsContext"
    named = {} if _is_address(target.host) else {"sni": target.host}  # RFC 6066 section 3: no literal addresses
    return extension("transport_sockets.tls", kind, {**named, "common_tls_context": _verified(target, roots)})


def _verified(target: Upstream, roots: Path) -> Json:
    kind = "IP_ADDRESS" if _is_address(target.host) else "DNS"
    name = {"san_type": kind, "matcher": {"exact": target.host}}
    return {
        "alpn_protocols": ["h2"] if target.http2 else ["http/1.1"],
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
        "validation_context": {
            "trusted_ca": {"filename": str(roots)},
            "match_typed_subject_alt_names": [name],
        },
    }


def _socket_address(target: Upstream) -> Json:
    return {"address": target.address, "port_value": target.port}


def _load(name: str, address: Json) -> Json:
    return {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}]}


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
