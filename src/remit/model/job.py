"""A run: what somebody started under one id, and what is kept of it (DESIGN section 2, job).

Leaves out what was granted for it (`grant`), and how long its credentials last (`lifetime`).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil

from remit.model.operation import ACCESS_ACTIONS, OWN_ACTIONS, RUNS_START

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
"""The name of a run. No slash is in it: what stands before the last one of a `job` is its owner."""

ASKED_OUTSIDE = frozenset(action.id for action in (*OWN_ACTIONS, *ACCESS_ACTIONS)) - {RUNS_START.id}
"""What is asked of Remit itself, at its API, where nobody asks from within a run."""

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


def job(owner: str, name: str) -> str:
    """`OWNER/NAME`, what policies know all runs of a name by; empty where a run has none.

    `owner`: `Principal.key`. It is part of it, so that nobody is in another's by naming their own run alike.
    """
    return f"{owner}/{name}" if name else ""


def parted(job_: str) -> tuple[str, str]:
    """The owner and the name that `job` was made of; raises `ValueError` for what is none."""
    owner, _, name = job_.rpartition("/")
    tenant, _, subject = owner.partition("/")
    if not (tenant and subject and NAME.fullmatch(name)):
        raise ValueError(f"`{job_}` is no `TENANT/OBJECT-ID/NAME`")
    return owner, name


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
