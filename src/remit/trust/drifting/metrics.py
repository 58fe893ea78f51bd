"""What Prometheus reads of drift: a file for node_exporter's textfile collector, whole or not at all.

Source: prometheus.io/docs/instrumenting/exposition_formats, github.com/prometheus/node_exporter (textfile collector).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from remit.state.private_file import write_whole
from remit.trust.drifting.report import Explained
from remit.trust.things import KINDS


@dataclass(slots=True)
class Metrics:
    """Counts over one watch. `success`: when it was last read, seconds since the epoch; `errors`: failed readings."""

    success: float = 0.0
    errors: int = 0
    found: Sequence[Explained] = ()

    def text(self) -> str:
        """Every kind, also those of which nothing drifted: a series that ends is no zero."""
        counts = Counter(one.drift.change.address.kind for one in self.found)
        gauge = [
            f'remit_trust_drift{{kind="{kind}",cloud="{kind.partition(".")[0]}"}} {counts[kind]}' for kind in KINDS
        ]
        lines = [
            "# HELP remit_trust_drift Differences between remit.yaml and the clouds.",
            "# TYPE remit_trust_drift gauge",
            *(gauge if self.success else ()),
            "# HELP remit_trust_drift_last_success_timestamp_seconds When the clouds were last read.",
            "# TYPE remit_trust_drift_last_success_timestamp_seconds gauge",
            f"remit_trust_drift_last_success_timestamp_seconds {self.success:.3f}",
            "# HELP remit_trust_drift_errors_total Readings that failed.",
            "# TYPE remit_trust_drift_errors_total counter",
            f"remit_trust_drift_errors_total {self.errors}",
        ]
        return "\n".join(lines) + "\n"

    def write(self, path: Path) -> None:
        """To a file that the collector may read; raises `OSError`."""
        write_whole(path, self.text().encode(), 0o644)
        path.chmod(0o644)  # what the umask took away
