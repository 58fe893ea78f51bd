"""How Envoy is told of our own module: one shared object, loaded once, never unloaded.

Source: envoy.extensions.dynamic_modules.v3 and the extensions `dynamic_modules` of access loggers and of network
filters (Envoy 1.40).
"""

from remit.gateway.native import module_path
from remit.gateway.typed import Json, extension

NAMESPACE = "remit"
"""What the names of its counters begin with."""

_STRUCT = "type.googleapis.com/google.protobuf.Struct"


def dynamic_module() -> Json:
    """Where it is. It stays loaded when nothing uses it for a moment: it holds open files, and a thread."""
    where = {"local": {"filename": str(module_path())}}
    return {"module": where, "do_not_close": True, "metrics_namespace": NAMESPACE}


def logger(given: Json) -> Json:
    """The module's access logger; `given`: what it is told (`native/log.zig`)."""
    kind = "extensions.access_loggers.dynamic_modules.v3.DynamicModuleAccessLog"
    config = {"@type": _STRUCT, "value": given}
    fields = {"dynamic_module_config": dynamic_module(), "logger_name": "log", "logger_config": config}
    return extension("access_loggers.dynamic_modules", kind, fields)


def peers() -> Json:
    """The network filter that keeps, for the log, who opened a tunnel (`native/log_peer.zig`)."""
    kind = "extensions.filters.network.dynamic_modules.v3.DynamicModuleNetworkFilter"
    fields = {"dynamic_module_config": dynamic_module(), "filter_name": "peers"}
    return extension("filters.network.dynamic_modules", kind, fields)
