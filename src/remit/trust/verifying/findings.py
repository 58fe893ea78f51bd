"""What a verification reports: hops that hold or do not, and what two of three sides disagree about."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

ALL = " and "
"""Between the roles of one finding."""


@dataclass(frozen=True, slots=True)
class Hop:
    """One hop of the trust.

    `said`: what was seen, or why it does not hold; `cure`: the change that mends it; `role`, `project`: as whom it was
    walked, empty for those that everybody's way takes; `walked`: false where it could only be read about.
    """

    name: str
    holds: bool
    said: str
    cure: str = ""
    role: str = ""
    project: str = ""
    walked: bool = True


@dataclass(frozen=True, slots=True)
class Finding:
    """One permission on which Entra, the policy and IAM disagree.

    `missing`: the policy permits it and no role grants it, a run-time 403 to come; `excess`: it is granted and no
    policy uses it, so that a leak of a token would be worth more than it should; `clash`: one side grants what another
    defeats. `role`: whose, several with `ALL` between; `account`: the service account or application, empty where it
    is about the role itself; `resource`: `projects/ID`, `buckets/NAME`, `accounts/EMAIL`, `containers/ACCOUNT/NAME`, a
    scope of Azure's, or `entra`; `permission`: or the role that would be given or taken; `hop`: where it shows;
    `methods`: those that the policy permits and that fail without the permission.
    """

    kind: Literal["missing", "excess", "clash"]
    role: str
    account: str
    resource: str
    permission: str
    hop: str
    said: str
    cure: str
    methods: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """A verification; `unseen`: what was not looked at. Clean when every hop holds and nobody disagrees."""

    hops: tuple[Hop, ...]
    findings: tuple[Finding, ...]
    unseen: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Every hop holds: people can work, whatever permissions say."""
        return all(hop.holds for hop in self.hops)

    @property
    def clean(self) -> bool:
        """The hops hold and the three sides agree."""
        return self.holds and not self.findings

    def about(self, role: str) -> "Report":
        """What concerns one role: its own hops and findings, and the hops that everybody's way takes."""
        hops = tuple(hop for hop in self.hops if hop.role in {"", role})
        findings = tuple(each for each in self.findings if not each.role or role in each.role.split(ALL))
        return Report(hops, findings, self.unseen)

    def data(self) -> Mapping[str, Any]:
        """For programs."""
        return {"holds": self.holds, "clean": self.clean, **asdict(self)}
