"""What the verification needs from other rooms."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from remit.model.reasons import Reason
from remit.model.secret import AccessToken


class Wanted(Protocol):
    """policy and catalogue: what the policy lets a role do."""

    def permissions(self, role: str, groups: frozenset[str], project: str, *, granted: bool = True) -> frozenset[str]:
        """IAM permissions of every known action that the policy permits this role and these groups in this project.

        `granted`: with whatever can be granted just in time, else as things stand.
        """

    def methods(self, role: str, groups: frozenset[str], project: str) -> frozenset[tuple[str, str]]:
        """Each of these permissions, whatever can be granted among them, with a permitted method that needs it."""

    def governed(self) -> frozenset[str]:
        """IAM permissions of every known action: what the comparison speaks about."""

    def on_bucket(
        self, role: str, groups: frozenset[str], project: str, bucket: str, within: str = "", *, granted: bool = True
    ) -> frozenset[str]:
        """IAM permissions on a bucket's objects that the policy permits this role and these groups; the same.

        `within`: the prefix below which they lie, empty for all of the bucket.
        """

    def connects(self, role: str, groups: frozenset[str], project: str, database: str, login: str) -> bool:
        """Whether the policy lets this role and these groups connect to a database as one of its roles, ever."""

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

    async def enter(self, database: str, role: str) -> bool:
        """A login to a database as a role, in the way of the door; false where only another machine can.

        Raises `TrustBroken` as well, when the database refuses.
        """

    def vouched(self, groups: frozenset[str]) -> frozenset[str]:
        """Those of the groups that Remit's own issuer would tell Google; none where it is no issuer."""

    def keys(self) -> Sequence[Mapping[str, Any]]:
        """The public keys of Remit's own issuer; none where it is no issuer."""


@dataclass(frozen=True, slots=True)
class Call:
    """A question to a cloud that changes nothing: a GET. `permission`: the one that it needs."""

    permission: str
    host: str
    target: str

    @property
    def url(self) -> str:
        """The whole address."""
        return f"https://{self.host}{self.target}"


@dataclass(frozen=True, slots=True)
class Known:
    """Whom a token proves. `name`: for people's eyes; `roles`: app roles."""

    name: str
    roles: frozenset[str]


@dataclass(frozen=True, slots=True)
class Gained:
    """What came of a call that somebody wanted to make in their own name, up to the credential for it.

    `decision`: its id in the ledger; `reason`: why it is permitted, or why there is no credential, with `said` and
    `hint`; `hops`: by which the credential comes, in order, none where it never came to that; `failed`: the one of them
    that broke, empty for none; `account`: whose token it is.
    """

    call: Call
    decision: str
    reason: Reason
    said: str = ""
    hint: str = ""
    hops: tuple[str, ...] = ()
    failed: str = ""
    account: str = ""
    token: AccessToken | None = None


class Oneself(Protocol):
    """access: whoever runs the verification, asking by their own token as through the gateway."""

    async def known(self) -> Known:
        """Who that is; raises `Refused`."""

    async def ask(self, calls: Sequence[Call]) -> Gained:
        """The first of the calls that the policy permits them, else the first of all, decided; never raises.

        The decision is recorded before a credential is asked for.
        """
