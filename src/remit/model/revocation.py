"""A revocation: the end of what a principal, a session or a job was permitted; each one raises the epoch."""

from dataclasses import dataclass
from enum import StrEnum

ENDED_RUN = "run"
"""The source of the locks on runs that are over: by the hundred, and nobody's to lift."""


class Scope(StrEnum):
    """What a revocation ends."""

    PRINCIPAL = "principal"
    SESSION = "session"
    JOB = "job"


@dataclass(frozen=True, slots=True)
class Revocation:
    """One revocation as it is asked for.

    `subject`: `Principal.key`, a session's id or a job's id; `before`: what was issued before this time (seconds since
    the epoch) no longer counts, which a newer sign-in cures; `locked`: nothing counts, however new, until it is lifted
    or `until` has passed (seconds since the epoch, 0 for never). `source`: who asks (`operator`, `directory`, `run`, or
    the transmitter of a security event); `because`: in words, for the record.
    """

    scope: Scope
    subject: str
    before: int = 0
    locked: bool = False
    until: int = 0
    source: str = "operator"
    because: str = ""
