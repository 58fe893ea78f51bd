"""Just in time: what somebody asks to be granted, and the grant that came of it (DESIGN section 2).

Leaves out who may approve (`policy`), how a grant comes to be (`access.request`) and where it is kept (`grants`).
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from remit.model.operation import ACCESS_ACTIONS, OWN_ACTIONS, Operation, Resource

_OUR_OWN = frozenset(action.id for action in (*OWN_ACTIONS, *ACCESS_ACTIONS))


class GrantState(StrEnum):
    """How far a grant has come. Only a `GRANTED` one whose time has come permits anything."""

    ASKED = "asked"
    GRANTED = "granted"
    DENIED = "denied"
    WITHDRAWN = "withdrawn"
    ENDED = "ended"


class Step(StrEnum):
    """What somebody does with a grant; each is an entry of the ledger."""

    ASK = "ask"
    APPROVE = "approve"
    DENY = "deny"
    WITHDRAW = "withdraw"
    START = "start"
    END = "end"
    REVIEW = "review"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for, and nothing but that is ever granted: an approval names its `digest`.

    `principal`: `Principal.key` of whoever is to have it; `action`: a method id, or the name of an action group;
    `resource`: that, and everything below it; of a project everything in it; `lasting`: seconds; `because`: for
    whoever approves; `job`: the name of the run that it begins and ends with, empty for none; `break_glass`: that
    nobody is to be waited for, and that it is looked at afterwards.
    """

    principal: str
    action: str
    resource: Resource
    lasting: int
    because: str
    job: str = ""
    break_glass: bool = False

    @property
    def digest(self) -> str:
        """SHA-256 over all fields with their lengths, as hex."""
        parts = (
            self.principal,
            self.action,
            self.resource.type,
            self.resource.name,
            self.resource.project,
            str(self.lasting),
            self.because,
            self.job,
            str(int(self.break_glass)),
        )
        whole = hashlib.sha256()
        for part in parts:
            whole.update(len(part.encode()).to_bytes(8, "big") + part.encode())
        return whole.hexdigest()


@dataclass(frozen=True, slots=True)
class Grant:
    """A grant as the policy sees it: approved, and bound to a person, a run, or both.

    `id`: `g-` and 26 characters; `since`, `until`: seconds since the epoch, the latter not included; `approvals`: how
    many people said yes, 0 for one that nobody was waited for; `job`: id of the run that it holds for, empty for all
    (and for none yet where `wanted.job` names a run that has not begun).
    """

    id: str
    wanted: Wanted
    since: int
    until: int
    approvals: int = field(default=0)
    job: str = ""

    def holds(self, principal: str, job: str, now: int) -> bool:
        """Whether it is in force for somebody, in a run (or in none, empty), at a time."""
        if self.wanted.principal != principal or not self.since <= now < self.until:
            return False
        return not self.wanted.job or (bool(self.job) and self.job == job)

    def covers(self, operation: Operation) -> bool:
        """Whether all that an operation touches was asked for by name. No group holds what is Remit's own to permit."""
        action = operation.action
        names = {action.id} if action.id in _OUR_OWN else {action.id, str(action.group)}
        return self.wanted.action in names and all(map(self._covers, operation.resources))

    def _covers(self, resource: Resource) -> bool:
        wanted = self.wanted.resource
        if wanted.project != resource.project:
            return False
        return wanted.type == "Project" or resource.name == wanted.name or resource.name.startswith(f"{wanted.name}/")


@dataclass(frozen=True, slots=True)
class Vote:
    """What somebody said to a grant. `at`: seconds since the epoch; `digest`: of what they said it to."""

    principal: str
    name: str
    said: Step
    at: int
    because: str
    digest: str


@dataclass(frozen=True, slots=True)
class Kept:
    """A grant with all that has become of it.

    `name`: of whoever is to have it, for people's eyes; `needed`: how many people have to say yes; `state`: as it was
    written down, which does not know that time goes by; all times are seconds since the epoch; `lapses`: when it ends
    unless somebody approves it, or its run begins, before; `since`, `until`: 0 until it is in force; `run`: as
    `Grant.job`.
    """

    id: str
    wanted: Wanted
    name: str
    needed: int
    state: GrantState
    asked_at: int
    lapses: int
    since: int = 0
    until: int = 0
    run: str = ""
    votes: tuple[Vote, ...] = ()

    def standing(self, now: int) -> GrantState:
        """How far it has come at a time."""
        open_ = self.state in {GrantState.ASKED, GrantState.GRANTED}
        return GrantState.ENDED if open_ and now >= (self.until or self.lapses) else self.state

    @property
    def approvers(self) -> frozenset[str]:
        """Who said yes to exactly this: each of them once."""
        digest = self.wanted.digest
        return frozenset(vote.principal for vote in self.votes if vote.said is Step.APPROVE and vote.digest == digest)

    @property
    def review_due(self) -> bool:
        """Whether nobody was waited for, and nobody has looked at it since."""
        return self.wanted.break_glass and all(vote.said is not Step.REVIEW for vote in self.votes)

    @property
    def grant(self) -> Grant:
        """The grant as the policy sees it; it holds only where `state` is `GRANTED`."""
        return Grant(self.id, self.wanted, self.since, self.until, len(self.approvers), self.run)


def grant_record(
    step: Step, grant: str, wanted: Wanted, *, actor: str, name: str, because: str, decision: str, at: int
) -> Mapping[str, str | int | list[str]]:
    """The `grant/1` entry of one step; what came of it (`state`, `approvals`, `since`, …) is added when it commits.

    `grant`: its id, and `wanted`: all that the digest is made of; `actor`, `name`: who took the step, and `because`:
    why; `decision`: that permitted it, empty where nobody has to be asked (ending one's own); `at`: microseconds.
    """
    return {
        "type": "grant",
        "schema": "grant/1",
        "decision": decision,
        "at": at,
        "step": str(step),
        "grant": grant,
        "actor": actor,
        "name": name,
        "because": because,
        "principal": wanted.principal,
        "action": wanted.action,
        "resource": wanted.resource.name,
        "resource_type": wanted.resource.type,
        "project": wanted.resource.project,
        "lasting": wanted.lasting,
        "wanted_because": wanted.because,
        "job_name": wanted.job,
        "break_glass": int(wanted.break_glass),
        "digest": wanted.digest,
    }
