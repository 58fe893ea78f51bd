"""What the verification needs from other rooms."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from remit.model.secret import AccessToken


class Wanted(Protocol):
    """policy and catalogue: what the policy lets a role do."""

    def permissions(self, role: str, groups: frozenset[str], project: str) -> frozenset[str]:
        """IAM permissions of every known action that the policy permits this role and these groups in this project."""

    def governed(self) -> frozenset[str]:
        """IAM permissions of every known action: what the comparison speaks about."""

    def on_bucket(self, role: str, groups: frozenset[str], project: str, bucket: str) -> frozenset[str]:
        """IAM permissions on a bucket's objects that the policy permits this role and these groups."""

    def governed_on_buckets(self) -> frozenset[str]:
        """All of those there are."""


class Walker(Protocol):
    """credentials: the hops themselves. All raise `HopFailed` naming the broken one."""

    async def itself(self) -> None:
        """Remit's own way: managed identity, its application, the second audience, the provider, the reviewer."""

    async def become(self, account: str, groups: frozenset[str]) -> AccessToken:
        """A token of an account, as somebody whom Remit's own issuer vouches for as in just these groups."""

    async def application(self, client: str) -> None:
        """A token for storage of an application at Azure, by its app id."""

    def vouched(self, groups: frozenset[str]) -> frozenset[str]:
        """Those of the groups that Remit's own issuer would tell Google; none where it is no issuer."""

    def keys(self) -> Sequence[Mapping[str, Any]]:
        """The public keys of Remit's own issuer; none where it is no issuer."""
