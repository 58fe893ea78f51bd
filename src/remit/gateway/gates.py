"""The gate's filter and what it is told, as data (`native/gate.zig`).

Each gate has leases of its own, so each belongs to one site and one way to it.
Source: envoy.extensions.filters.http.dynamic_modules.v3 (Envoy 1.40 API reference).
"""

import json

from remit.gateway.module import dynamic_module
from remit.gateway.plan import Gate, Mode, Site
from remit.gateway.typed import Json, message

GATE = "remit.gate"

_FILTER = "extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter"


def gate(told: Json, name: str = GATE) -> Json:
    """The filter, which is told (`context`) what it has to know."""
    config = {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": json.dumps(told, sort_keys=True)}
    fields = {"dynamic_module_config": dynamic_module(), "filter_name": "gate", "filter_config": config}
    return {"name": name, "typed_config": message(_FILTER, **fields)}


def context(gate: Gate, site: Site, passed: tuple[str, ...], *, tunnel: bool, websockets: bool = False) -> Json:
    """What a gate is told. `passed`: the request headers that the site may see, and no other.

    `tunnel`: whether callers come through one, which may carry an identity and a job.
    What is said of Google's gRPC methods holds for Google's hosts alone: a service could have paths of the same name.
    """
    google = site.mode is Mode.GOOGLE
    return {
        "host": site.host,
        "mode": site.mode.value,
        "assertion": site.mode.assertion,
        "tunnel": tunnel,
        "leases": gate.leases,
        "lease_ms": gate.lease_ms,
        "denial_ms": gate.denial_ms,
        "entries": gate.entries,
        "timeout_ms": gate.timeout_ms,
        "body_bytes": gate.body_bytes,
        "websockets": websockets,
        "passed": sorted(passed),
        "streaming": sorted(gate.streaming) if google else [],
        "leasable": {
            path: {"key": sorted(numbers), "known": sorted(gate.known[path])}
            for path, numbers in sorted(gate.leasable.items() if google else ())
        },
        "walked": {path: {"key": sorted(numbers)} for path, numbers in sorted(site.walked.items())},
    }
