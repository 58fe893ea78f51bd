"""What the policy wants of each role, on everything that an account is compared on.

It asks the policy and remit.yaml, and no cloud. It takes seconds: callers keep it off the event loop. Leaves out the
comparison (`compare`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from remit.model.estate import Project
from remit.trust.settings import DatabaseRoles, TrustSettings
from remit.trust.verifying.ports import Wanted

_ACT = "iam.serviceAccounts.actAs"
_MAY_ACT = "roles/iam.serviceAccountUser"


@dataclass(frozen=True, slots=True)
class Wants:
    """What the policy wants on one resource, as permissions.

    `roles`: of each role; `governed`: what the comparison speaks about; `granted`: what of it nobody has without a
    grant; `methods`: permission → the methods that the policy permits and that need it, where several may.
    """

    roles: Mapping[str, frozenset[str]]
    governed: frozenset[str]
    granted: frozenset[str] = frozenset()
    methods: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class PolicySide:
    """One of the three that are compared. `others`: roles that other issuers than Entra give."""

    def __init__(self, settings: TrustSettings, wanted: Wanted, others: frozenset[str]) -> None:
        self._settings = settings
        self._wanted = wanted
        self._others = others

    def permitting(self) -> dict[str, bool]:
        """Mapped role → whether the policy permits it anything, in any project."""
        found: dict[str, bool] = {}
        for one in self._settings.mappings:
            groups = self.groups(one.role, one.account)
            found[one.role] = found.get(one.role) or bool(self._wanted.permissions(one.role, groups, one.project))
        return found

    def groups(self, role: str, account: str) -> frozenset[str]:
        """The groups of a role and of those who may become an account, by the file."""
        held = (group for each in self._settings.roles if each.name == role for group in each.groups)
        named = (member for each in self._settings.accounts if each.email == account for member in each.members)
        return frozenset({*held, *(name.removeprefix("group/") for name in named if name.startswith("group/"))})

    def connecting(self, one: DatabaseRoles, login: str) -> tuple[str, ...]:
        """The app roles that the policy lets connect as a role of a database."""
        asked = {role.name: frozenset(role.groups) for role in self._settings.roles}
        asked |= {name: frozenset[str]() for name in self._others - asked.keys()}
        for each in self._settings.mappings:
            if each.project == one.project:
                asked[each.role] = asked.get(each.role, frozenset()) | self.groups(each.role, each.account)
        given = one.project, one.name, login
        return tuple(role for role, groups in asked.items() if self._wanted.connects(role, groups, *given))

    def sides(self, account: str, place: Project, roles: Sequence[str], bound: frozenset[str]) -> Mapping[str, Wants]:
        """What it wants on the project, on its buckets and parts of them, and of accounts that jobs run as.

        `bound`: groups that may become the account.
        """
        wanted, groups = self._wanted, {role: self.groups(role, account) | bound for role in roles}
        whole = _asked(wanted.permissions, wanted.governed(), groups, place.id)
        sides = {f"projects/{place.id}": replace(whole, methods=self._methods(groups, place.id))}
        for bucket in place.buckets:
            asked = _asked(wanted.on_bucket, wanted.governed_on_buckets(), groups, place.id, bucket)
            sides[f"buckets/{bucket}"] = asked
            for part in self.parts(account, f"buckets/{bucket}"):
                asked = _asked(wanted.on_bucket, wanted.governed_on_buckets(), groups, place.id, bucket, part)
                sides[f"buckets/{bucket}/{part}"] = asked
        for other in self._acting(account):
            act = frozenset({_ACT})
            sides[f"accounts/{other}"] = Wants(dict.fromkeys(roles, act), act)
        return sides

    def _methods(self, groups: Mapping[str, frozenset[str]], project: str) -> Mapping[str, tuple[str, ...]]:
        found: dict[str, list[str]] = {}
        pairs = (self._wanted.methods(role, held, project) for role, held in groups.items())
        for permission, method in sorted(frozenset[tuple[str, str]]().union(*pairs)):
            found.setdefault(permission, []).append(method)
        return {permission: tuple(methods) for permission, methods in found.items()}

    def parts(self, account: str, resource: str) -> Iterator[str]:
        """The prefixes of a bucket below which an account holds something, by the file."""
        for each in self._settings.accounts:
            if each.email == account:
                for one in each.grants:
                    if one.startswith(f"{resource}/"):
                        yield one.removeprefix(f"{resource}/")

    def _acting(self, account: str) -> Iterator[str]:
        """The accounts that this one may let jobs run as, by the file."""
        for each in self._settings.accounts:
            if each.email == account:
                for resource, roles in each.grants.items():
                    if resource.startswith("accounts/") and _MAY_ACT in roles:
                        yield resource.removeprefix("accounts/")


def _asked(
    ask: Callable[..., frozenset[str]], governed: frozenset[str], groups: Mapping[str, frozenset[str]], *where: str
) -> Wants:
    """`groups`: by role; `where`: what is asked about."""
    wants = {role: ask(role, held, *where) for role, held in groups.items()}
    alone = (ask(role, held, *where, granted=False) for role, held in groups.items())
    return Wants(wants, governed, frozenset[str]().union(*wants.values()).difference(*alone))
