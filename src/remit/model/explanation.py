"""Why a decision came out as it did, and what would change it: what `remit explain` tells.

Everything here may disclose policy: it is for those who may administer or approve. What callers read of their own
decisions is in the verdict (`Verdict.detail`, `Verdict.hint`).
"""

from dataclasses import dataclass
from enum import StrEnum

from remit.model.decision import DeterminingPolicy, Verdict
from remit.model.operation import Operation, Resource


@dataclass(frozen=True, slots=True)
class Condition:
    """One part of a policy, and what it saw.

    `text`: as Cedar writes it; `holds`: `None` when it could not be evaluated; `saw`: the values that it looked at, in
    words (`context.country is "DE"`), empty when there is nothing to tell.
    """

    text: str
    holds: bool | None
    saw: str = ""


@dataclass(frozen=True, slots=True)
class PolicyTold:
    """One policy with its parts. `decided`: whether it is one of those that the outcome rests on."""

    policy: DeterminingPolicy
    decided: bool
    conditions: tuple[Condition, ...]


class Means(StrEnum):
    """What has to be done so that a change comes about."""

    STEP_UP = "step_up"
    GRANT = "grant"
    GROUP = "group"
    ROLE = "role"
    DEVICE = "device"
    PLACE = "place"
    TIME = "time"
    RISK = "risk"
    WORK = "work"
    RUN = "run"
    SIGN_IN = "sign_in"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that would have to be otherwise.

    `what`: in words (`a member of group ml-engineers`); `value`: of the thing itself (a group's id, `c1`, a machine
    type); `command`: what brings it about, empty when no command does; `who`: who can bring it about, filled in by the
    story that knows people.
    """

    means: Means
    what: str
    value: str = ""
    command: str = ""
    who: str = ""


@dataclass(frozen=True, slots=True)
class Repair:
    """Changes that together would have permitted: the engine was asked again with all of them, and said so."""

    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class QuestionTold:
    """One action on one resource of the request. `policies`: those that decided, then those that came near."""

    operation: Operation
    resource: Resource
    allowed: bool
    policies: tuple[PolicyTold, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """Everything about one decision. `repairs`: cheapest first; none when no change that is known of would do."""

    verdict: Verdict
    questions: tuple[QuestionTold, ...]
    repairs: tuple[Repair, ...]
