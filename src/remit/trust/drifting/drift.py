"""A drift: one change of a plan seen from the other side, as something that somebody did to a cloud. Pure.

Leaves out: who (`attribution`), what comes of it (`blast`).
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from remit.model.errors import TrustBroken
from remit.trust.planning.matching import Matched
from remit.trust.planning.plan import Act, Change, Plan, Unsafe
from remit.trust.planning.safety import judged
from remit.trust.settings import TrustSettings
from remit.trust.things import Fields, refs


class Side(StrEnum):
    """What happened at the cloud, one character each."""

    APPEARED = "+"
    ALTERED = "~"
    GONE = "-"


_SIDES = {Act.REMOVE: Side.APPEARED, Act.CHANGE: Side.ALTERED, Act.MAKE: Side.GONE}
_ACTS = {Side.APPEARED: Act.MAKE, Side.ALTERED: Act.CHANGE, Side.GONE: Act.REMOVE}


@dataclass(frozen=True, slots=True)
class Drift:
    """One difference. `change`: what would undo it; `unsafe`: why nobody should have done it without saying so."""

    change: Change
    side: Side
    unsafe: tuple[Unsafe, ...] = ()

    @property
    def name(self) -> str:
        """As in a plan."""
        return self.change.name

    @property
    def key(self) -> str:
        """A short name for the command line, always the same for one name: 8 hex digits of SHA-256."""
        return hashlib.sha256(self.name.encode()).hexdigest()[:8]

    @property
    def was(self) -> Fields | None:
        """What the file says, `None` where it says nothing."""
        return self.change.after

    @property
    def now(self) -> Fields | None:
        """What is there, `None` where nothing is."""
        return self.change.before


def drifts(plan: Plan, settings: TrustSettings) -> tuple[Drift, ...]:
    """Every change of a plan as what somebody did, in the plan's order."""
    return tuple(Drift(one, _SIDES[one.act], _unsafe(one, settings)) for one in plan.changes)


def _unsafe(change: Change, settings: TrustSettings) -> tuple[Unsafe, ...]:
    """As if remit.yaml had asked for what was done."""
    act = _ACTS[_SIDES[change.act]]
    done = replace(change, act=act, before=change.after, after=change.before, thing=None, unsafe=())
    return judged([done], Matched((), ()), settings)[0].unsafe


def chosen(found: Sequence[Drift], names: Sequence[str]) -> tuple[Drift, ...]:
    """Those that are named, by name or key; raises `TrustBroken` for a name that none has."""
    known = {each for one in found for each in (one.name, one.key)}
    if strange := [name for name in names if name not in known]:
        hint = "`remit trust drift` lists them, each with its key in brackets"
        raise TrustBroken(f"there is no drift `{strange[0]}`", hint=hint)
    return tuple(one for one in found if {one.name, one.key}.intersection(names))


def only(plan: Plan, names: Sequence[str]) -> Plan:
    """The plan with just the changes of these names; raises `TrustBroken` where they need others that are not there."""
    picked = tuple(change for change in plan.changes if change.name in names)
    made = {change.address for change in plan.changes if change.act is Act.MAKE and change.name not in names}
    for change in picked:
        after = change.after or {}
        waits = {
            *(change.thing.needs if change.thing else ()),
            *(ref.of for one in after.values() for ref in refs(one)),
        }
        if lacking := sorted(waits & made):
            raise TrustBroken(f"`{change.name}` needs `{lacking[0]}`, which is gone too", hint="name that as well")
    return Plan(picked, plan.problems)
