"""What the verification needs from other rooms."""

from typing import Protocol

from remit.model.secret import AccessToken


class Wanted(Protocol):
    """policy and catalogue: what the policy lets a role do."""

    def permissions(self, role: str, groups: frozenset[str], project: str) -> frozenset[str]:
        """IAM permissions of every known action that the policy permits this role and these groups in this project."""

    def governed(self) -> frozenset[str]:
        """IAM permissions of every known action: what the comparison speaks about."""


class Reviewer(Protocol):
    """credentials: the account that may read policies."""

    async def token(self) -> AccessToken:
        """A token of the reviewing account, by Remit's own chain of hops; raises `HopFailed` naming the broken one."""
