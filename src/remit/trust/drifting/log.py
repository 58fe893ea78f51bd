"""The clouds' own logs of who changed what, as entries that bear marks.

Retention: Google keeps Admin Activity for 400 days (cloud.google.com/logging/quotas), Entra its audit log for 30, 7
without a licence (learn.microsoft.com/entra/identity/monitoring-health/reference-reports-data-retention), Azure its
activity log for 90 (learn.microsoft.com/azure/azure-monitor/platform/activity-log).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from remit.trust.drifting.drift import Drift
from remit.trust.drifting.marks import Marks
from remit.trust.things import Found

DAYS: Mapping[str, int] = {"google": 400, "entra": 30, "azure": 90}
"""Cloud → how far back its log reaches."""
PAGES = 50  # of one query: what lies behind them is told to be unread


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that somebody did. `at`: seconds since the epoch; `who`: as the log names them; `how`: the method."""

    at: float
    who: str
    how: str
    marks: Marks


@dataclass(frozen=True, slots=True)
class Logged:
    """What a log told. `unread`: why not all of it could be read, empty when it could."""

    entries: tuple[Entry, ...] = ()
    unread: str = ""


class Log(Protocol):
    """One cloud's log."""

    @property
    def cloud(self) -> str:
        """`entra`, `google` or `azure`."""

    async def read(self, drifts: Sequence[Drift], found: Sequence[Found], since: float) -> Logged:
        """What was done to what these drifts are about, since then; raises `TrustBroken`."""


def moment(text: object) -> float:
    """Seconds since the epoch of a log's time, 0 where it is none. Azure writes seven digits after the point."""
    whole, dot, rest = str(text).rstrip("Z").partition(".")
    try:
        found = datetime.fromisoformat(f"{whole}.{rest[:6]:0<6}" if dot else whole)
    except ValueError:
        return 0.0
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def stamp(at: float) -> str:
    """A moment as the clouds' filters take it."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
