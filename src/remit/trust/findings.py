"""What a verification reports: hops that hold or do not, and permissions that are missing or too many."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Hop:
    """One hop of the trust. `said`: what was seen, or why it does not hold; `cure`: the change that mends it."""

    name: str
    holds: bool
    said: str
    cure: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """One permission on which policy and IAM disagree.

    `missing`: the policy permits it and IAM does not, a run-time 403 to come; `excess`: IAM allows it and no policy
    does, so that a leak of the account's token would be worth more than it should.
    """

    kind: Literal["missing", "excess"]
    role: str
    account: str
    project: str
    permission: str
    cure: str


@dataclass(frozen=True, slots=True)
class Report:
    """A verification. It is clean when every hop holds and nothing is missing or too much."""

    hops: tuple[Hop, ...]
    findings: tuple[Finding, ...]

    @property
    def holds(self) -> bool:
        """Every hop holds: people can work, whatever permissions say."""
        return all(hop.holds for hop in self.hops)

    @property
    def clean(self) -> bool:
        """The hops hold and the permissions agree."""
        return self.holds and not self.findings
