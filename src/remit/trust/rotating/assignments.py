"""Who is assigned to what: owner, expiry, last use, and what follows of them.

Of remit.yaml alone, which the clouds hold after `remit trust apply`. The last use is the newest that was permitted on
Remit's own record: of a person or a workload by their id, of a group by whoever was lately seen in it. Without a record
that reaches back far enough nothing is called unused. Leaves out what anybody does beside Remit, and when Google last
saw an account.
"""

import datetime as dt
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from remit.trust.settings import Role, TrustSettings


class State(StrEnum):
    """What there is to say of an assignment; the first that fits."""

    EXPIRED = "expired"
    UNUSED = "unused"
    UNOWNED = "no owner"
    UNKNOWN = "not known"  # the record does not reach back far enough
    USED = "used"

    @property
    def due(self) -> bool:
        """Whether somebody has to do something."""
        return self in {State.EXPIRED, State.UNUSED, State.UNOWNED}


@dataclass(frozen=True, slots=True)
class Use:
    """What the record knows of a principal. `principal`: `tenant/subject`; `last`: project → seconds, `""` for any."""

    principal: str
    groups: frozenset[str]
    roles: frozenset[str]
    last: Mapping[str, float]


_Fits = Callable[[Use], bool]


@dataclass(frozen=True, slots=True)
class Assignment:
    """One line. `kind`: as in a plan; `name`: what `--remove` takes; `under`: what `--renew` takes (role or account).

    `expires`: `YYYY-MM-DD` or empty; `used`: seconds since the epoch, 0 for never.
    """

    kind: str
    name: str
    under: str
    owner: str
    expires: str
    used: float
    state: State


@dataclass(frozen=True, slots=True)
class Record:
    """What is on record.

    `since`: when it begins, seconds since the epoch, 0 when there is none; `whole`: everybody's groups and roles are
    known, without which neither is called unused.
    """

    uses: Collection[Use] = ()
    since: float = 0.0
    whole: bool = True


def assignments(trust: TrustSettings, record: Record, now: float, unused_for: float) -> tuple[Assignment, ...]:
    """Every assignment of the file; `unused_for`: seconds without a use that make one unused."""
    judge = _Judge(trust, record, now, unused_for)
    return (*judge.roles(), *judge.accounts(), *judge.azure())


@dataclass(frozen=True, slots=True)
class _Judge:
    trust: TrustSettings
    record: Record
    now: float
    unused_for: float

    def roles(self) -> Iterator[Assignment]:
        for role in self.trust.roles:
            for group in role.groups:
                yield self._of_role(role, group, self._last(_in(group)), known=self.record.whole)
            for oid in (*role.people, *role.workloads):
                yield self._of_role(role, oid, self._last(_is(f"{self.trust.tenant}/{oid}")))

    def accounts(self) -> Iterator[Assignment]:
        for account in self.trust.accounts:
            projects = self._projects(account.email)
            for member in account.members:
                used = self._member(member, projects)
                state = self._state(account.owner, account.expires, used, known=member != "remit" and self.record.whole)
                name = f"{account.email}/{member}"
                yield Assignment("google.binding", name, account.email, account.owner, account.expires, used, state)

    def azure(self) -> Iterator[Assignment]:
        by_name = {role.name: role for role in self.trust.roles}
        for client in self.trust.azure:
            project, _, name = client.name.partition("/")
            role = by_name.get(name, Role(name))
            used = self._last(_as(name), frozenset({project}))
            for container in client.containers:
                state = self._state(role.owner, role.expires, used, known=self.record.whole)
                yield Assignment(
                    "azure.assignment", f"{client.name}/{container}", name, role.owner, role.expires, used, state
                )

    def _of_role(self, role: Role, holder: str, used: float, *, known: bool = True) -> Assignment:
        state = self._state(role.owner, role.expires, used, known=known)
        name = f"{role.name}/{holder}"
        return Assignment("entra.assignment", name, role.name, role.owner, role.expires, used, state)

    def _projects(self, email: str) -> frozenset[str]:
        return frozenset(one.project for one in self.trust.mappings if one.account == email)

    def _member(self, member: str, projects: frozenset[str]) -> float:
        kind, _, name = member.partition("/")
        return self._last(_in(name) if kind == "group" else _is(name), projects)

    def _last(self, fits: _Fits, projects: frozenset[str] = frozenset()) -> float:
        wanted = projects or frozenset({""})
        found = (use.last.get(project, 0.0) for use in self.record.uses if fits(use) for project in wanted)
        return max(found, default=0.0)

    def _state(self, owner: str, expires: str, used: float, *, known: bool = True) -> State:
        before = self.now - self.unused_for
        today = dt.datetime.fromtimestamp(self.now, dt.UTC).date().isoformat()
        # the day itself still counts; both are written alike, so that they compare as texts
        if expires and expires < today:
            return State.EXPIRED
        reaches = 0 < self.record.since <= before
        if known and reaches and used < before:
            return State.UNUSED
        if not owner:
            return State.UNOWNED
        return State.USED if used >= before and used else State.UNKNOWN


def _in(group: str) -> _Fits:
    return lambda use: group in use.groups


def _is(principal: str) -> _Fits:
    return lambda use: use.principal == principal


def _as(role: str) -> _Fits:
    return lambda use: role in use.roles
