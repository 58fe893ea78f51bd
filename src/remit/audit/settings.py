"""The audit room's settings."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class AuditSettings:
    """Where evidence lies, and how often it is sealed.

    `folder`: holds the signing key, the spool with the live access log, and the sealed segments;
    `origin`: the log's name in its checkpoints, a URL without scheme, no `+`, no space (c2sp.org/tlog-checkpoint);
    `node`: this machine's name in segment manifests; `seal_seconds`: how often the access log is sealed;
    `minimum_free_bytes`: with less free space than this in the folder nothing is recorded, hence nothing permitted.
    """

    folder: Path
    origin: str
    node: str
    seal_seconds: float = 10.0
    minimum_free_bytes: int = 64 * 1024 * 1024

    @property
    def key(self) -> Path:
        """The signing key's file."""
        return self.folder / "ledger.key"

    @property
    def access_log(self) -> Path:
        """The file that Envoy writes."""
        return self.folder / "spool" / "access.log"

    @property
    def segments(self) -> Path:
        """The folder of the sealed segments."""
        return self.folder / "segments"
