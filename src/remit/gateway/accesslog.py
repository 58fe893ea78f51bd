"""The access log: one JSON line a request, the write-ahead log of access events (DESIGN section 8).

Never in a line: a query, a token, a body. Every text is cut, so that no caller can make a line grow; Envoy escapes
what is not text. What has no value is null: leaving it out took Envoy a third of its work on a line (measured).
`decision` is the record that covers the request, where there is one; `reason` is there for a refusal; `asked` is true
when the arbiter was asked for this very request, and null when a lease answered. Lines that the codec refused hold
neither method nor path.
Source: Envoy 1.40, access log format strings.
"""

from collections.abc import Mapping
from pathlib import Path

from remit.gateway.settings import Flush
from remit.gateway.typed import Json, extension

FLUSH_MS = 5  # how long a line may wait: what it waits for is lost when Envoy is killed
FLUSH_KIB: Mapping[Flush, int] = {  # of lines that end the wait: each end wakes a thread and costs a system call
    "prompt": 1,  # two or three lines; one or two acknowledged events were lost in 8 of 32 runs of `kill -9` (measured)
    "batched": 64,  # what 5 ms bring; 7 and 35 acknowledged events were lost in two runs of nine (measured)
}

_FIELDS = {
    "time": "%START_TIME(%s%6f)%",  # microseconds since the epoch, as text
    "event": "%UNIQUE_ID%",  # STREAM_ID wants Envoy to make up a request id, which callers can influence
    "peer": "%FILTER_STATE(remit.peer:PLAIN)%",
    "method": "%REQ(:METHOD):32%",
    "host": "%REQ(:AUTHORITY):256%",
    "path": "%PATH(NQ:PATH):1024%",
    "status": "%RESPONSE_CODE%",
    "grpc_status": "%GRPC_STATUS_NUMBER%",
    "flags": "%RESPONSE_FLAGS%",
    "detail": "%RESPONSE_CODE_DETAILS%",
    "received": "%BYTES_RECEIVED%",
    "sent": "%BYTES_SENT%",
    "duration_us": "%COMMON_DURATION(DS_RX_BEG:DS_TX_END:us)%",
    "agent": "%REQ(USER-AGENT):256%",
}
_DECIDED = {
    "decision": "%DYNAMIC_METADATA(remit:decision)%",
    "asked": "%DYNAMIC_METADATA(remit:asked)%",
    "reason": "%DYNAMIC_METADATA(remit:reason)%",
}


def access_log(path: Path, door: str, *, decided: bool) -> list[Json]:
    """The log of one listener. `door`: what the line calls it; `decided`: whether the gate stands behind it."""
    fields = {"door": door, **_FIELDS, **(_DECIDED if decided else {})}
    return [
        extension(
            "access_loggers.file",
            "extensions.access_loggers.file.v3.FileAccessLog",
            {"path": str(path), "log_format": {"json_format": fields}},
        )
    ]
