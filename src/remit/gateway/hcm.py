"""How every listener of ours reads HTTP: nothing is patched up, the odd is refused. And how it shows its certificate.

Bounds are of one connection or request; each says why.
Source: envoy.extensions.filters.network.http_connection_manager.v3 (Envoy 1.40 API reference).
"""

from collections.abc import Sequence
from typing import Any

from remit.gateway.settings import GatewaySettings
from remit.gateway.typed import Json, extension

DOOR_SECRET = "door"  # the names under which certificates are discovered
ENDPOINT_SECRET = "endpoint"
SECRETS = {DOOR_SECRET: "secrets.json", ENDPOINT_SECRET: "secrets-endpoint.json"}  # files of the runtime folder
ADDED = ["x-forwarded-for", "x-forwarded-proto"]  # by Envoy or the caller: nobody behind us may believe them
TLS_VERSION = {"tls_minimum_protocol_version": "TLSv1_2"}

_HEADERS_KIB = 60  # an Entra token with 200 groups has about 16 KiB, and a tunnel may hold one beside cookies
_HEADERS = 64  # stock clients send fewer than 20


def manager(name: str, chain: Sequence[Json], hosts: Sequence[Json], **options: Any) -> Json:
    """An HTTP connection manager with what all of ours have in common. `options`: fields of its own."""
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


def virtual_host(name: str, domains: list[str], routes: list[Json], **fields: Any) -> Json:
    """Some names and their routes."""
    return {"name": name, "domains": domains, "routes": routes, **fields}


def answered(match: Json, status: int, **fields: Any) -> Json:
    """A route that answers by itself."""
    return {"match": match, "direct_response": {"status": status}, **fields}


def overwritten(name: str, value: str) -> Json:
    """A header that is ours to set, whatever was there."""
    return {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


def discovered_tls(settings: GatewaySettings, secret: str) -> Json:
    """TLS with a certificate that Envoy reads again when it changes."""
    certificate = {"name": secret, "sds_config": watched(settings, SECRETS[secret])}
    common = {
        "tls_certificate_sds_secret_configs": [certificate],
        "alpn_protocols": ["h2", "http/1.1"],
        "tls_params": TLS_VERSION,
    }
    return downstream_tls(common)


def downstream_tls(common: Json) -> Json:
    """The transport socket of a listener's filter chain."""
    kind = "extensions.transport_sockets.tls.v3.DownstreamTlsContext"
    return extension("transport_sockets.tls", kind, {"common_tls_context": common})


def inspected() -> list[Json]:
    """Reads the SNI before a filter chain is chosen."""
    return [extension("filters.listener.tls_inspector", "extensions.filters.listener.tls_inspector.v3.TlsInspector")]


def watched(settings: GatewaySettings, name: str) -> Json:
    """A file of the runtime folder that Envoy reads again when it is replaced by rename."""
    return {"resource_api_version": "V3", "path_config_source": {"path": str(settings.runtime / name)}}
