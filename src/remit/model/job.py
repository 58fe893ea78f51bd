"""A run: what somebody started under one id, and what is kept of it (DESIGN section 2, job).

Leaves out what was granted for it (`grant`), and how long its credentials last (`lifetime`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil

_ENOUGH = 5  # past runs: of fewer, one odd run would be the whole of what is known


@dataclass(frozen=True, slots=True)
class Run:
    """One run.

    `id`: `j-` and 26 characters; `principal`: `Principal.key` of whoever began it, and nobody else speaks for it;
    `name`: that runs of a kind share, may be empty; `project`: the id of the one project whose tokens it gets, empty
    when it said none; `lasting`: the declared duration in seconds, 0 for none; `started`, `ended`: microseconds since
    the epoch, the latter 0 while it goes on.
    """

    id: str
    principal: str
    name: str = ""
    project: str = ""
    lasting: int = 0
    started: int = 0
    ended: int = 0

    def same(self, other: "Run") -> bool:
        """Whether both say the same of themselves, whatever the times: told twice, it is one run."""
        mine = (self.id, self.principal, self.name, self.project, self.lasting)
        return mine == (other.id, other.principal, other.name, other.project, other.lasting)


def usually(durations: Sequence[int]) -> int:
    """The duration that 95 of 100 past runs kept within (nearest rank), 0 when there were too few to tell."""
    if len(durations) < _ENOUGH:
        return 0
    return sorted(durations)[ceil(len(durations) * 0.95) - 1]


def run_record(step: str, run: Run, *, name: str, decision: str, at: int) -> Mapping[str, str | int | list[str]]:
    """The `run/1` entry of a run's beginning or end (`step`: `start`, `end`).

    `name`: of whoever it belongs to, for people's eyes; `decision`: that permitted its start, empty where nobody has to
    be asked; `at`: microseconds since the epoch.
    """
    return {
        "type": "run",
        "schema": "run/1",
        "decision": decision,
        "at": at,
        "step": step,
        "job": run.id,
        "job_name": run.name,
        "principal": run.principal,
        "name": name,
        "project": run.project,
        "lasting": run.lasting,
        "started": run.started,
    }
