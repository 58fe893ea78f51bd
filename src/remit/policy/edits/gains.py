"""Who gains and who loses between two sets of policies: verdicts compared, and put together by person and thing."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from remit.model.decision import Verdict
from remit.model.outcome import Outcome
from remit.model.snapshot import Past

_RANK = {Outcome.DENY: 0, Outcome.NEEDS_APPROVAL: 1, Outcome.STEP_UP: 2, Outcome.PERMIT: 3}
_TOLD = 10  # decisions that are named as examples


@dataclass(frozen=True, slots=True)
class Change:
    """Decisions of one kind that come out otherwise: somebody's, of one action on one resource.

    `principal`: `Principal.key`, `name` for people; `policies_before`, `policies_after`: ids of those that decided;
    `times`: how many decisions; `decision`: the newest of them.
    """

    principal: str
    name: str
    action: str
    resource: str
    before: Outcome
    after: Outcome
    policies_before: tuple[str, ...]
    policies_after: tuple[str, ...]
    times: int
    decision: str

    @property
    def gains(self) -> bool:
        """Whether more is permitted than before: outright, after a stronger sign-in, or after an approval."""
        return _RANK[self.after] > _RANK[self.before]


@dataclass(frozen=True, slots=True)
class Replay:
    """What replay found.

    `replayed`: decisions that are known to come out like this under both sets, and `outside` those of them that the
    edit cannot concern. `left`: why decisions could not be taken again, and how many.

    `checked`: how many were held against the record, under the set that once decided; `unlike`: how many of them come
    out otherwise than was recorded, some by their ids; `unkept`: how many could not be, since that set is not kept or
    does not fit the installation any more.
    """

    replayed: int
    outside: int
    unchanged: int
    changes: tuple[Change, ...]
    left: Mapping[str, int]
    checked: int
    unlike: int
    unlike_decisions: tuple[str, ...]
    unkept: int


_Who = tuple[str, str, str, Outcome, Outcome]


@dataclass(slots=True)
class _Group:
    name: str
    decision: str
    times: int = 0
    before: dict[str, None] = field(default_factory=dict)
    after: dict[str, None] = field(default_factory=dict)


@dataclass(slots=True)
class Found:
    """What is found so far; it is sent from one process to another.

    `seen`: decisions looked at; the rest as in `Replay`.
    """

    seen: int = 0
    replayed: int = 0
    outside: int = 0
    checked: int = 0
    unkept: int = 0
    groups: dict[_Who, _Group] = field(default_factory=dict)
    left: Counter[str] = field(default_factory=Counter)
    unlike: list[str] = field(default_factory=list)

    def compare(self, past: Past, before: Verdict, after: Verdict) -> None:
        """Counts one decision, with what the two sets say of it."""
        self.replayed += 1
        if before.outcome is after.outcome:
            return
        key = (past.principal, past.action, past.resource, before.outcome, after.outcome)
        one = _Group(past.name, past.decision, 1, _ids(before), _ids(after))
        self._join(key, one)

    def pass_over(self) -> None:
        """Counts one decision that the edit cannot concern."""
        self.replayed += 1
        self.outside += 1

    def check(self, past: Past, then: Verdict | None) -> None:
        """Holds one decision against what its own set says today; `None` when that cannot be asked."""
        if then is None:
            self.unkept += 1
            return
        self.checked += 1
        if then.outcome is not past.outcome:
            self.unlike.append(past.decision)

    def add(self, other: "Found") -> None:
        """Adds what was found later."""
        self.replayed += other.replayed
        self.outside += other.outside
        self.checked += other.checked
        self.unkept += other.unkept
        self.left += other.left
        self.unlike += other.unlike
        for key, group in other.groups.items():
            self._join(key, group)

    def told(self) -> Replay:
        """All of it, what happened most often first."""
        changes = [_change(key, group) for key, group in self.groups.items()]
        changes.sort(key=lambda one: (-one.times, one.name, one.principal, one.action, one.resource, one.before))
        return Replay(
            replayed=self.replayed,
            outside=self.outside,
            unchanged=self.replayed - sum(change.times for change in changes),
            changes=tuple(changes),
            left=dict(self.left),
            checked=self.checked,
            unlike=len(self.unlike),
            unlike_decisions=tuple(self.unlike[:_TOLD]),
            unkept=self.unkept,
        )

    def _join(self, key: _Who, other: _Group) -> None:
        mine = self.groups.get(key)
        if mine is None:
            self.groups[key] = other
            return
        mine.times += other.times
        mine.name, mine.decision = other.name, other.decision  # the newer one's
        mine.before |= other.before
        mine.after |= other.after


def _ids(verdict: Verdict) -> dict[str, None]:
    return dict.fromkeys(policy.id for policy in verdict.policies)


def _change(key: _Who, group: _Group) -> Change:
    principal, action, resource, before, after = key
    return Change(
        principal=principal,
        name=group.name,
        action=action,
        resource=resource,
        before=before,
        after=after,
        policies_before=tuple(group.before),
        policies_after=tuple(group.after),
        times=group.times,
        decision=group.decision,
    )
