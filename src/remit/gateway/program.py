"""The gate's Lua, as one program: files of `lua/` in the order in which they need each other.

Each file defines local tables and nothing else; `gate.lua` comes last and holds the one entry point. What the
program is told comes as data (`context`), so that no setting can become code (CVE-2026-22771).
"""

from importlib.resources import files

from remit.gateway.plan import Gate
from remit.gateway.typed import Json

PARTS = ("wire.lua", "lease.lua", "answer.lua", "check.lua", "gate.lua")


def source() -> str:
    """The whole program."""
    folder = files("remit.gateway") / "lua"
    return "\n".join((folder / part).read_text("utf-8") for part in PARTS)


def context(gate: Gate, host: str) -> Json:
    """What the program is told: a `google.protobuf.Struct`, whose numbers are floats and whose keys are strings."""
    return {
        "host": host,
        "leases": gate.leases,
        "lease_ms": gate.lease_ms,
        "denial_ms": gate.denial_ms,
        "entries": gate.entries,
        "timeout_ms": gate.timeout_ms,
        "body_bytes": gate.body_bytes,
        "leasable": {
            path: {"key": sorted(numbers), "known": sorted(gate.known[path])}
            for path, numbers in sorted(gate.leasable.items())
        },
        "streaming": sorted(gate.streaming),
        "websockets": host in gate.websockets,
    }
