"""Google's IAM: who a token stands for, and what they may do where.

Bindings, custom roles, accounts and pools are those of the estate as it stands; deny policies come by the control door.
There are no folders. Source: cloud.google.com/iam/docs/overview; credential access boundaries:
cloud.google.com/iam/docs/downscoping-short-lived-credentials.
"""

import secrets
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from remit.lab import contoso, google_conditions, refusals
from remit.lab.google_estate import Estate

_SCOPE = "https://www.googleapis.com/auth/"
CLOUD_PLATFORM = f"{_SCOPE}cloud-platform"
# Scope → the permissions it opens, by prefix (developers.google.com/identity/protocols/oauth2/scopes).
_SCOPES = {
    CLOUD_PLATFORM: ("",),
    f"{_SCOPE}cloud-platform.read-only": ("",),
    f"{_SCOPE}iam": ("iam.",),
    f"{_SCOPE}devstorage.full_control": ("storage.",),
    f"{_SCOPE}devstorage.read_write": ("storage.objects.", "storage.buckets.get", "storage.buckets.list"),
    f"{_SCOPE}devstorage.read_only": (
        "storage.objects.get",
        "storage.objects.list",
        "storage.buckets.get",
        "storage.buckets.list",
    ),
    f"{_SCOPE}logging.admin": ("logging.",),
    f"{_SCOPE}logging.read": ("logging.logEntries.list", "logging.logs.list", "logging.views."),
    f"{_SCOPE}logging.write": ("logging.logEntries.create",),
}
_READ_ONLY = f"{_SCOPE}cloud-platform.read-only"
_REMEMBERED = 3600  # seconds for which an ended token is still told from one that never was


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of a credential access boundary: what it leaves of a bucket. `condition`: in CEL, empty for none."""

    bucket: str
    permissions: frozenset[str]
    condition: str = ""


@dataclass(frozen=True, slots=True)
class Caller:
    """Whom a token stands for.

    `email`: a service account or a person, empty for a federated token; `principal_subject`: `principal://…` of a
    federated token; `delegation`: who impersonated the account; `buckets`: `None` when the token is not narrowed, else
    the only buckets it is good for; `boundary`: the rules of the narrowing, none where it names buckets alone;
    `sets`: the `principalSet://` members that a federated token belongs to. `expires_at`: seconds since the epoch;
    `person`: whether the e-mail is a person's; `number`: the account's.
    """

    email: str
    principal_subject: str
    delegation: tuple[str, ...]
    scopes: frozenset[str]
    buckets: frozenset[str] | None
    boundary: tuple[Rule, ...] = ()
    sets: frozenset[str] = frozenset()
    expires_at: int = 0
    person: bool = False
    number: str = ""

    @property
    def member(self) -> str:
        """The IAM member that this caller is alone."""
        if not self.email:
            return self.principal_subject
        return f"{'user' if self.person else 'serviceAccount'}:{self.email}"

    @property
    def members(self) -> frozenset[str]:
        """Every IAM member that this caller is. Whom a pool vouches for is not among all authenticated users."""
        known = {"allAuthenticatedUsers"} if self.email else set()
        of_domain = {f"domain:{self.email.partition('@')[2]}"} if self.person else set()
        return self.sets | {self.member, "allUsers"} | known | of_domain


class Iam:
    """Tokens and permissions. `clock`: seconds since the epoch; `estate`: Contoso's with these bindings when absent."""

    def __init__(
        self,
        bindings: Iterable[contoso.Binding] = contoso.BINDINGS,
        clock: Callable[[], float] = time.time,
        estate: Estate | None = None,
    ) -> None:
        self.estate = estate or Estate(replace(contoso.CONTOSO, bindings=tuple(bindings)), clock)
        self._clock = clock
        self._callers: dict[str, Caller] = {}
        self._denied: dict[str, list[tuple[frozenset[str], frozenset[str]]]] = {}  # by the project's id

    def mint(
        self,
        *,
        email: str,
        scopes: Collection[str],
        lifetime: int,
        delegation: tuple[str, ...] = (),
        buckets: Collection[str] | tuple[Rule, ...] | None = None,
        principal_subject: str = "",
        sets: Collection[str] = (),
        person: bool = False,
    ) -> tuple[str, int]:
        """A token and when it ends (seconds since the epoch). `buckets` as rules narrows the permissions too."""
        rules = tuple(each for each in buckets or () if isinstance(each, Rule))
        names = (each.bucket if isinstance(each, Rule) else each for each in buckets or ())
        expires_at = int(self._clock()) + lifetime
        token = f"ya29.{'' if email else 'd.'}{secrets.token_urlsafe(48)}"
        now = self._clock()
        self._callers = {key: each for key, each in self._callers.items() if each.expires_at + _REMEMBERED > now}
        self._callers[token] = Caller(
            email,
            principal_subject,
            delegation,
            frozenset(scopes),
            None if buckets is None else frozenset(names),
            rules,
            frozenset(sets),
            expires_at,
            person,
            self.estate.number(email) if email and not person else "",
        )
        return token, expires_at

    def caller(self, authorization: str, method: str = "") -> Caller:
        """Whom an `Authorization` value stands for; raises `CloudError` (`UNAUTHENTICATED`).

        `method`: gRPC's full name of what is called, for the error's details.
        """
        if not authorization:
            raise refusals.unauthenticated("CREDENTIALS_MISSING", method)
        scheme, _, token = authorization.partition(" ")
        found = self._callers.get(token.strip()) if scheme.lower() == "bearer" else None
        if found is None:
            raise refusals.unauthenticated("ACCESS_TOKEN_TYPE_UNSUPPORTED", method)
        if found.expires_at <= self._clock():
            raise refusals.unauthenticated("ACCESS_TOKEN_EXPIRED", method)
        account = self.estate.accounts.seen(found.number)
        if account and (account.disabled or account.deleted):
            raise refusals.unauthenticated("ACCOUNT_STATE_INVALID", method)
        return found

    def expire(self) -> None:
        """End every token at once (a fault)."""
        now = int(self._clock())
        self._callers = {
            key: replace(each, expires_at=min(each.expires_at, now)) for key, each in self._callers.items()
        }

    def require(self, caller: Caller, permission: str, resource: str, listed: str | None = None) -> None:
        """Raise `CloudError` (`PERMISSION_DENIED`) unless the caller holds the permission on the resource.

        `resource`: `projects/ID-or-number…`, `projects/_/buckets/B`, `projects/-/serviceAccounts/EMAIL`; `listed`: the
        prefix that a list of objects asks for.
        """
        if not _in_scope(caller.scopes, permission):
            raise refusals.insufficient_scopes()
        held = permission in self.held(caller, resource, listed)
        if not held or not self._within_boundary(caller, permission, resource, listed):
            raise refusals.permission_denied(permission, resource)

    def held(self, caller: Caller, resource: str, listed: str | None = None) -> frozenset[str]:
        """What a caller's roles permit on a resource, before scopes and narrowing; nothing while its pool is closed."""
        if caller.principal_subject and not self.estate.open(_pool(caller.principal_subject)):
            return frozenset()
        return self._permitted(caller.members, resource, listed)

    def effective(self, caller: Caller, permissions: Iterable[str], resource: str) -> list[str]:
        """Those of the permissions that `require` would let pass (testIamPermissions)."""
        held = self.held(caller, resource)
        return [
            each
            for each in permissions
            if each in held and _in_scope(caller.scopes, each) and self._within_boundary(caller, each, resource)
        ]

    def permissions(self, member: str, resource: str) -> frozenset[str]:
        """The permissions of one member on a resource, those inherited from its project included."""
        return self._permitted(frozenset({member}), resource)

    def deny(self, given: Mapping[str, Any]) -> None:
        """For the control door: a rule of a deny policy on a `project` (an id), of `members` and `permissions`.

        What a rule denies no role grants. No permissions end the rules of that project. Source:
        cloud.google.com/iam/docs/deny-overview.
        """
        rule = frozenset(given.get("members", ())), frozenset(given.get("permissions", ()))
        self._denied[given["project"]] = [*self._denied.get(given["project"], ()), rule] if rule[1] else []

    def denials(self, project: str) -> tuple[tuple[frozenset[str], frozenset[str]], ...]:
        """Members and permissions of every rule on a project, by its id."""
        return tuple(self._denied.get(project, ()))

    def _within_boundary(self, caller: Caller, permission: str, resource: str, listed: str | None = None) -> bool:
        if caller.buckets is None:
            return True
        bucket = resource.removeprefix("projects/_/buckets/").partition("/")[0]
        if not resource.startswith("projects/_/buckets/") or bucket not in caller.buckets:
            return False
        now = self._clock()
        left = (
            each
            for each in caller.boundary
            if each.bucket == bucket
            and permission in each.permissions
            and (not each.condition or google_conditions.holds(each.condition, resource, now, listed))
        )
        return permission.startswith("storage.") and (not caller.boundary or any(left))

    def _permitted(self, members: frozenset[str], resource: str, listed: str | None = None) -> frozenset[str]:
        return self._granted(members, resource, listed) - self._forbidden(members, resource)

    def _forbidden(self, members: frozenset[str], resource: str) -> frozenset[str]:
        project = contoso.owner(resource)
        rules = self._denied.get(project.id, ()) if project else ()
        return frozenset().union(*(denied for whom, denied in rules if not members.isdisjoint(whom)))

    def _granted(self, members: frozenset[str], resource: str, listed: str | None) -> frozenset[str]:
        now = self._clock()
        return frozenset().union(
            *(
                self.estate.permissions(line.role)
                for policy in self.estate.reaching(resource)
                for line in policy.lines
                if not members.isdisjoint(line.members)
                and (
                    line.condition is None or google_conditions.holds(line.condition.expression, resource, now, listed)
                )
            )
        )


def _in_scope(scopes: frozenset[str], permission: str) -> bool:
    reading = permission.rpartition(".")[2].startswith(("get", "list", "search", "query"))
    return any(
        permission.startswith(prefix)
        for scope in scopes
        if scope != _READ_ONLY or reading
        for prefix in _SCOPES.get(scope, ())
    )


def _pool(principal: str) -> str:
    """The pool of a `principal://iam.googleapis.com/POOL/subject/S`."""
    return principal.removeprefix("principal://iam.googleapis.com/").partition("/subject/")[0]
