"""The four outcomes of a decision."""

from enum import StrEnum


class Outcome(StrEnum):
    """What a decision says. Only `PERMIT` lets anything through."""

    PERMIT = "permit"
    DENY = "deny"
    STEP_UP = "step_up"
    NEEDS_APPROVAL = "needs_approval"
