"""Who did it, and when: the newest entry of the logs that explains a very difference, or Remit's own journal. Pure.

Leaves out: reading logs (`google_log`, `entra_log`, `azure_log`).
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from remit.trust.applying.journal import read
from remit.trust.applying.steps import alike, same_thing
from remit.trust.drifting.drift import Drift
from remit.trust.drifting.log import DAYS, Logged
from remit.trust.drifting.marks import marks
from remit.trust.planning.matching import differing
from remit.trust.things import Address, Fields

_NO_LOG = "PostgreSQL keeps no record of who and when: its own log may (`log_statement = ddl`), or pgaudit's"
_NEAR = 300.0  # seconds between a journal's clock and a cloud's, and until a cloud's log has it


@dataclass(frozen=True, slots=True)
class Applied:
    """One step of Remit's own. `at`: seconds since the epoch; `left`: what it left there; `checksum`: of its plan."""

    at: float
    checksum: str
    address: Address
    left: Fields | None


@dataclass(frozen=True, slots=True)
class Cause:
    """Who did it. `remit`: checksum of the apply that did it; `unknown`: why nobody is named, else empty."""

    at: float = 0.0
    who: str = ""
    how: str = ""
    remit: str = ""
    unknown: str = ""


def cause(drift: Drift, logged: Mapping[str, Logged], applied: Sequence[Applied]) -> Cause:
    """The newest that explains it; what Remit did itself is told as such, though a log has it too."""
    cloud = drift.change.address.cloud
    log, wanted = logged.get(cloud, Logged()), marks(drift)
    told = max((one for one in log.entries if one.marks.meet(wanted)), key=lambda one: one.at, default=None)
    own = max((one for one in applied if _left(one, drift)), key=lambda one: one.at, default=None)
    if own and (told is None or told.at <= own.at + _NEAR):
        return Cause(own.at, told.who if told else "", told.how if told else "", own.checksum)
    if told:
        return Cause(told.at, told.who, told.how)
    if cloud not in DAYS:
        return Cause(unknown=_NO_LOG)
    why = f": {log.unread}" if log.unread else f": it is older than {DAYS[cloud]} days, or not there yet"
    return Cause(unknown=f"not found in the log of {cloud}{why}")


def _left(step: Applied, drift: Drift) -> bool:
    """Whether a step left there what is there now."""
    now, left = drift.now, step.left
    if not same_thing(step.address, left or {}, drift.change.address, now or drift.was or {}):
        return False
    if now is None or left is None:
        return now is left
    return all(
        alike(now.get(name), left.get(name)) for name in differing(drift.change.address.kind, now, drift.was or {})
    )


def applied(folder: Path) -> tuple[Applied, ...]:
    """Every step of the journals in a folder; raises `RemitError` for one that cannot be understood."""
    return tuple(step for path in sorted(folder.glob("apply-*.jsonl")) for step in _steps(path))


def _steps(path: Path) -> Iterator[Applied]:
    past = read(path)
    if past is None:
        return
    lines = [json.loads(line) for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
    start = max(place for place, line in enumerate(lines) if line["line"] == "begin")  # as `read` tells of the last
    for line in lines[start:]:
        if line["line"] in {"done", "undone"}:
            entry = past.entries[int(line["step"])]
            after = entry.answer.fields if entry.answer else entry.change.after
            left = after if line["line"] == "done" else entry.change.before
            yield Applied(float(line["at"]), past.checksum, entry.change.address, left)
