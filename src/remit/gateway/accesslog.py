"""The access log: one JSON line a request, the write-ahead log of access events (DESIGN section 8).

Written by our own module (`native/log.zig`): a line is in the log's tail before its worker goes on, and in the log five
milliseconds later. The tail outlives Envoy, whatever ends it: the next one puts what stands there into the log, where
an `event` that was being written may then stand twice. `door`: which listener; `decision`: the record that covers the
request, where there is one; `reason`: there for a refusal; `asked`: true when the arbiter was asked for this very
request, null when a lease answered. Times are microseconds. Lines that the codec refused hold neither method nor path.
"""

from pathlib import Path

from remit.gateway.module import NAMESPACE, logger
from remit.gateway.typed import Json

FAILED = rf"^{NAMESPACE}\.access_log_failed$"
"""The counter of lines that were not written and of files that did not open, as a regular expression."""


def access_log(path: Path, door: str, *, decided: bool) -> list[Json]:
    """The log of one listener. `door`: what the line calls it; `decided`: whether the gate stands behind it."""
    return [logger({"path": str(path), "door": door, "decided": decided})]
