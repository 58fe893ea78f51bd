"""The gate's Lua, as one program: files of `lua/` in the order in which they need each other.

Each file defines local tables and nothing else; `gate.lua` comes last and holds the one entry point. What the
program is told comes as data (`context`), so that no setting can become code (CVE-2026-22771).
"""

from importlib.resources import files

from remit.gateway.plan import Gate, Mode, Site
from remit.gateway.typed import Json

PARTS = ("wire.lua", "lease.lua", "answer.lua", "web.lua", "check.lua", "gate.lua")


def source() -> str:
    """The whole program."""
    folder = files("remit.gateway") / "lua"
    return "\n".join((folder / part).read_text("utf-8") for part in PARTS)


def context(gate: Gate, site: Site) -> Json:
    """What the program is told: a `google.protobuf.Struct`, whose numbers are floats and whose keys are strings.

    What is said of Google's gRPC methods holds for Google's hosts alone: a service could have paths of the same name.
    """
    google = site.mode is Mode.GOOGLE
    return {
        "host": site.host,
        "mode": site.mode.value,
        "assertion": site.mode.assertion,
        "leases": gate.leases,
        "lease_ms": gate.lease_ms,
        "denial_ms": gate.denial_ms,
        "entries": gate.entries,
        "timeout_ms": gate.timeout_ms,
        "body_bytes": gate.body_bytes,
        "leasable": {
            path: {"key": sorted(numbers), "known": sorted(gate.known[path])}
            for path, numbers in sorted(gate.leasable.items() if google else ())
        },
        "walked": {path: {"key": sorted(numbers)} for path, numbers in sorted(site.walked.items())},
        "streaming": sorted(gate.streaming) if google else [],
        "websockets": site.socket is not None,
    }
