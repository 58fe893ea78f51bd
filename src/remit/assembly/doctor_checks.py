"""What `remit doctor --live` reports: one check a line, and what to do about each that did not pass."""

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """How a check came out."""

    PASS = "pass"
    FAIL = "fail"
    SKIPPED = "skipped"
    """It could not be looked at, so that nobody can say."""
    APART = "not asked"
    """Nobody wanted it, or the file has nothing of the kind."""


@dataclass(frozen=True, slots=True)
class Check:
    """One check. `part`: what it belongs to; `said`: what was seen, or why not; `cure`: what to do about it."""

    part: str
    name: str
    state: State
    said: str
    cure: str = ""

    @property
    def well(self) -> bool:
        """Whether nothing is left to do about it."""
        return self.state in {State.PASS, State.APART}
