"""What Envoy is started with, and what it is told while it runs: three JSON documents, each a pure function.

`bootstrap` is read once. `discovered_listeners` (the check, with the keys inline) and `discovered_secrets` (where the
doors' certificate lies) are files that Envoy watches: a rename replaces them. Envoy fetches nothing over the network.
"""

from collections.abc import Mapping
from pathlib import Path

from remit.gateway.clusters import CHECK, arbiter, internal, streams, upstream
from remit.gateway.doors import door, endpoint
from remit.gateway.hcm import DOOR_SECRET, ENDPOINT_SECRET, watched
from remit.gateway.listeners import check, outer
from remit.gateway.plan import plan
from remit.gateway.settings import GatewaySettings
from remit.gateway.typed import Json, extension, message

_CONNECTIONS = 10_000  # tunnels at once: beyond, new ones are refused while open ones work on
_HEAP = "envoy.resource_monitors.fixed_heap"
_HEAP_BYTES = 1 << 31  # 100 MiB at work, and 128 of the largest bodies on their way
_TRACKED = 20  # 2**20 bytes: streams that hold less are never reset for it
_PATTERN_LIMIT, _PATTERN_SIZE = "re2.max_program_size.error_level", 4096  # what a path may not hold takes 194
_SOCKET_MODE = 0o600  # the admin socket is its owner's


def bootstrap(settings: GatewaySettings) -> Json:
    """The document for `envoy --config-path`."""
    gateway = plan(settings)
    doors = gateway.doors
    return {
        "node": {"id": "remit", "cluster": "remit"},
        "admin": {"address": {"pipe": {"path": str(settings.admin_socket), "mode": _SOCKET_MODE}}},
        "bootstrap_extensions": [
            extension("bootstrap.internal_listener", "extensions.bootstrap.internal_listener.v3.InternalListener")
        ],
        "overload_manager": _overload(),
        "layered_runtime": {"layers": [{"name": "remit", "static_layer": {_PATTERN_LIMIT: _PATTERN_SIZE}}]},
        "dynamic_resources": {"lds_config": watched(settings, "listeners.json")},
        "static_resources": {
            "listeners": [
                outer(gateway),
                *(door(gateway, each) for each in doors),
                *(endpoint(gateway, each) for each in (settings.endpoint,) if each),
            ],
            "clusters": [
                arbiter(settings.arbiter_socket),
                internal(CHECK),
                *(internal(each.listener) for each in doors),
                *(upstream(target) for site in gateway.sites for target in site.upstreams),
                *(streams(socket) for socket in (settings.streams_socket,) if socket),
            ],
        },
    }


def discovered_listeners(settings: GatewaySettings, keys: Mapping[str, str]) -> Json:
    """`listeners.json`: the check, which verifies with `keys` (a JWK set as text an issuer), or refuses all."""
    return {"resources": [message("config.listener.v3.Listener", **check(settings, keys))]}


def discovered_secrets(certificate: Path, key: Path) -> Json:
    """`secrets.json`: where the doors' certificate and key lie."""
    return {"resources": [_secret(DOOR_SECRET, certificate, key)]}


def endpoint_secrets(certificate: Path, key: Path) -> Json:
    """`secrets-endpoint.json`, a file of its own since Envoy takes one secret a file: those that an operator gave."""
    return {"resources": [_secret(ENDPOINT_SECRET, certificate, key)]}


def _secret(name: str, certificate: Path, key: Path) -> Json:
    """Files in one folder are read again whenever anything is renamed into it, links of Kubernetes too."""
    files: Json = {"certificate_chain": {"filename": str(certificate)}, "private_key": {"filename": str(key)}}
    if certificate.parent == key.parent:
        files["watched_directory"] = {"path": str(certificate.parent)}
    return message("extensions.transport_sockets.tls.v3.Secret", name=name, tls_certificate=files)


def _overload() -> Json:
    """Bounds of the whole process: connections, and the heap, which a flood of half-sent bodies would fill."""
    connections = extension(
        "resource_monitors.global_downstream_max_connections",
        "extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
        {"max_active_downstream_connections": _CONNECTIONS},
    )
    heap = extension(
        _HEAP.removeprefix("envoy."),
        "extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig",
        {"max_heap_size_bytes": _HEAP_BYTES},
    )
    return {
        "refresh_interval": "0.25s",
        "resource_monitors": [connections, heap],
        "buffer_factory_config": {"minimum_account_to_track_power_of_two": _TRACKED},
        "actions": [
            {"name": "envoy.overload_actions.reset_high_memory_stream", "triggers": [_beyond(0.8, 0.95)]},
            {"name": "envoy.overload_actions.stop_accepting_requests", "triggers": [_beyond(0.95)]},
        ],
    }


def _beyond(share: float, full: float = 0.0) -> Json:
    """A trigger at a share of the heap; with a second one it grows between the two."""
    grows: Json = {"scaled": {"scaling_threshold": share, "saturation_threshold": full}}
    return {"name": _HEAP, **(grows if full else {"threshold": {"value": share}})}
