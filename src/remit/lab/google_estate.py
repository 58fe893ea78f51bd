"""The lab's Google as it stands: accounts, pools, providers, custom roles and IAM policies, each of them changeable.

Whatever is enforced, and whatever is read, is read here, so that a change has its effect everywhere (after the lag,
when there is one). Deleted things stay for as long as Google keeps them. Sources, below cloud.google.com/iam/docs:
service-accounts-delete-undelete, manage-workload-identity-pools-providers, creating-custom-roles.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from remit.lab import contoso
from remit.lab.contoso import Provider, World
from remit.lab.google_accounts import unique_id
from remit.lab.google_wire import DAY
from remit.lab.lag import Lag, Slowly
from remit.lab.roles import permissions_of

KEPT = 30 * DAY  # seconds for which a deleted account, pool or provider can be had back
UNDELETABLE = 7 * DAY  # seconds for which a deleted role can be had back
_ROLE_KEPT = 37 * DAY  # seconds for which its id cannot be used again


@dataclass(frozen=True, slots=True)
class Account:
    """A service account. `number`: its unique id; `deleted`: when, in seconds since the epoch, else 0."""

    email: str
    number: str
    title: str = ""
    about: str = ""
    disabled: bool = False
    deleted: float = 0.0
    revision: int = 1

    @property
    def project(self) -> str:
        """The id of its project."""
        return self.email.partition("@")[2].partition(".")[0]


@dataclass(frozen=True, slots=True)
class Pool:
    """A workload identity pool. `resource`: with the project's number; `deleted`: when, else 0."""

    resource: str
    title: str = ""
    about: str = ""
    disabled: bool = False
    deleted: float = 0.0


@dataclass(frozen=True, slots=True)
class CustomRole:
    """A project's own role, `projects/ID/roles/NAME`. `deleted`: when, else 0."""

    name: str
    title: str = ""
    about: str = ""
    permissions: tuple[str, ...] = ()
    stage: str = "ALPHA"
    deleted: float = 0.0
    revision: int = 1


@dataclass(frozen=True, slots=True)
class Condition:
    """When a binding holds (google.type.Expr)."""

    expression: str
    title: str
    description: str = ""
    location: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """One binding of a policy."""

    role: str
    members: tuple[str, ...]
    condition: Condition | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """An IAM policy. `audits`: service → log type → exempted members; `revision`: 0 for one that was never set."""

    lines: tuple[Line, ...] = ()
    audits: tuple[tuple[str, tuple[tuple[str, tuple[str, ...]], ...]], ...] = ()
    revision: int = 0


class Estate:
    """All of it. `clock`: seconds since the epoch, which deleted things are kept by.

    Policies lie under `projects/ID`, `projects/_/buckets/B`, `accounts/NUMBER`; accounts under their numbers.
    """

    def __init__(
        self, world: World = contoso.CONTOSO, clock: Callable[[], float] = time.time, lag: Lag | None = None
    ) -> None:
        lag = lag or Lag()
        self.clock = clock
        self.accounts: Slowly[str, Account] = Slowly(lag)
        self.pools: Slowly[str, Pool] = Slowly(lag)
        self.providers: Slowly[str, Provider] = Slowly(lag)
        self.roles: Slowly[str, CustomRole] = Slowly(lag)
        self.policies: Slowly[str, Policy] = Slowly(lag)
        self._revision = 0
        for email in world.accounts:
            self.accounts.put(unique_id(email), Account(email, unique_id(email)))
        for provider in world.providers:
            self.pools.put(provider.pool, Pool(provider.pool, provider.pool.rpartition("/")[2]))
            self.providers.put(provider.resource, replace(provider, title=provider.title or provider.name))
        self._bind(world)

    def _bind(self, world: World) -> None:
        audits = tuple((service, tuple((log, ()) for log in logs)) for service, logs in world.audited)
        found: dict[str, dict[str, list[str]]] = {f"projects/{project.id}": {} for project in contoso.PROJECTS}
        for binding in world.bindings:
            roles = found.setdefault(self.key(binding.resource), {})
            roles.setdefault(binding.role, []).extend(binding.members)
        for key, roles in found.items():
            lines = tuple(Line(role, tuple(sorted(set(members)))) for role, members in sorted(roles.items()))
            project = key.startswith("projects/") and key.count("/") == 1
            self.policies.put(key, Policy(lines, audits if project else (), self.next()))

    def next(self) -> int:
        """A revision that nothing has had yet."""
        self._revision += 1
        return self._revision

    # Accounts

    def account(self, name: str) -> Account | None:
        """The account with this e-mail or number, as it is seen; the deleted ones are not."""
        return _account(self.accounts.all_seen(), name)

    def account_written(self, name: str) -> Account | None:
        """The account as it was last written, whether others see it yet or not."""
        return _account(self.accounts.all_written(), name)

    def number(self, email: str) -> str:
        """The number of the account with this e-mail: of whichever has it now, else of whichever had it first."""
        found = self.account(email)
        return found.number if found else unique_id(email)

    def fresh_number(self, email: str) -> str:
        """A number for a new account with this e-mail: never that of an earlier one."""
        times = sum(each.email == email for each in self.accounts.all_written().values())
        return unique_id(f"{email}#{times}" if times else email)

    def rename_member(self, old: str, new: str) -> None:
        """Write a member differently wherever it stands: what becomes of an account's when it is deleted."""
        for key, policy in self.policies.all_written().items():
            if any(old in line.members for line in policy.lines):
                lines = tuple(
                    replace(line, members=tuple(sorted(new if each == old else each for each in line.members)))
                    for line in policy.lines
                )
                self.policies.put(key, replace(policy, lines=lines, revision=self.next()))

    # Pools

    def pool(self, resource: str) -> Pool | None:
        """The pool with this name, deleted ones that are kept yet among them."""
        found = self.pools.seen(resource)
        return found if found and self.kept(found.deleted) else None

    def provider(self, resource: str) -> Provider | None:
        """The provider with this name, deleted ones that are kept yet among them."""
        found = self.providers.seen(resource)
        return found if found and self.kept(found.deleted) and self.pool(found.pool) else None

    def open(self, pool: str) -> bool:
        """Whether a pool lets anybody in: not when it is disabled or deleted."""
        found = self.pool(pool)
        return found is not None and not found.disabled and not found.deleted

    def kept(self, deleted: float, seconds: float = KEPT) -> bool:
        """Whether a thing is there at all, be it deleted: `deleted` is when that was, else 0."""
        return not deleted or self.clock() < deleted + seconds

    # Roles and policies

    def role(self, name: str) -> CustomRole | None:
        """The custom role with this name, deleted ones whose names are not free yet among them."""
        found = self.roles.seen(name)
        return found if found and self.kept(found.deleted, _ROLE_KEPT) else None

    def permissions(self, role: str) -> frozenset[str]:
        """What a role permits now: a custom one that is deleted or disabled permits nothing."""
        if role.startswith("roles/"):
            return permissions_of(role)
        found = self.role(role)
        return (
            frozenset(found.permissions) if found and not found.deleted and found.stage != "DISABLED" else frozenset()
        )

    def key(self, resource: str) -> str:
        """Where the policy of a resource lies."""
        parts = resource.split("/")
        if len(parts) >= 4 and parts[0] == "projects" and parts[2] == "serviceAccounts":  # noqa: PLR2004 - projects/P/serviceAccounts/E
            found = self.account_written(parts[3])
            return f"accounts/{found.number if found else unique_id(parts[3])}"
        project = contoso.project(parts[1]) if len(parts) > 1 and parts[0] == "projects" else None
        return "/".join(["projects", project.id, *parts[2:]]) if project else resource

    def reaching(self, resource: str) -> tuple[Policy, ...]:
        """Every policy that reaches a resource, as it is seen: its own, those of what it lies in, its project's."""
        key = self.key(resource)
        parts = key.split("/")
        owner = contoso.owner(resource)
        keys = dict.fromkeys("/".join(parts[:count]) for count in range(2, len(parts) + 1))
        keys |= {f"projects/{owner.id}": None} if owner else {}
        return tuple(policy for each in keys if (policy := self.policies.seen(each)))

    def audited(self, project: str, service: str) -> Mapping[str, frozenset[str]]:
        """The Data Access logs that a project keeps of a service: log type → exempted members."""
        policy = self.policies.seen(f"projects/{project}") or Policy()
        found: dict[str, frozenset[str]] = {}
        for name, logs in policy.audits:
            if name in {service, "allServices"}:
                for log, exempted in logs:
                    found[log] = found.get(log, frozenset()) | frozenset(exempted)
        return found


def _account(accounts: Mapping[str, Account], name: str) -> Account | None:
    return next((each for each in accounts.values() if name in {each.email, each.number} and not each.deleted), None)
