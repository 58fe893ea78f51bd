"""What a difference looks like in a log: marks that a drift has and that an entry can bear. Pure.

An entry explains a drift when it bears a mark of the very difference: this member on this role, this value in this
field. That it is about the same resource is not enough.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from remit.trust.drifting.drift import Drift, Side
from remit.trust.planning.matching import differing, tidy
from remit.trust.planning.plan import plain
from remit.trust.things import Fields, Value

Mark = tuple[str, ...]
"""Kind, what it is about, and what of it: all as texts."""

_WHOLE: Mapping[str, tuple[str, ...]] = {
    "google.binding": ("resource", "role", "member", "condition"),
    "azure.assignment": ("scope", "role", "principal", "condition"),
    "entra.assignment": ("role", "principal"),
    "entra.consent": ("permission", "principal"),
    "entra.federation": ("application", "issuer", "subject", "audience"),
    "entra.delegation": ("principal", "resource", "whom"),
    "entra.credential": ("key",),
    "azure.federation": ("identity", "name"),
}
"""Kind → the fields that are all there is of it."""

THERE = "is there"


@dataclass(frozen=True, slots=True)
class Marks:
    """What came and what went."""

    came: frozenset[Mark] = frozenset()
    went: frozenset[Mark] = frozenset()

    def meet(self, other: "Marks") -> bool:
        """Whether the two have something in common that came, or that went."""
        return bool(self.came & other.came or self.went & other.went)

    @property
    def any(self) -> bool:
        """Whether there is any mark."""
        return bool(self.came or self.went)


def marks(drift: Drift) -> Marks:
    """Those of a drift."""
    kind, name = drift.change.address.kind, drift.change.address.name
    now, was = drift.now or {}, drift.was or {}
    if kind in _WHOLE:
        return Marks(
            frozenset({whole(kind, now)} if drift.now is not None else ()),
            frozenset({whole(kind, was)} if drift.was is not None else ()),
        )
    if kind == "google.audit":
        had, has = (
            _listed(kind, f"{one.get('project')} {one.get('service')}", one.get("logTypes")) for one in (was, now)
        )
        return Marks(has - had, had - has)
    if drift.side is not Side.ALTERED:
        there = frozenset({(kind, name, THERE)})
        return Marks(there) if drift.side is Side.APPEARED else Marks(went=there)
    came, went = set[Mark](), set[Mark]()
    for field in differing(kind, now, was):
        before, after = was.get(field), now.get(field)
        if drift.change.address.cloud == "entra" and isinstance(after, tuple) and isinstance(before, tuple):
            had, has = _listed(kind, name, before, field), _listed(kind, name, after, field)
            came, went = came | (has - had), went | (had - has)
        else:
            came.add(field_mark(kind, name, field, after))
    return Marks(frozenset(came), frozenset(went))


def whole(kind: str, fields: Fields) -> Mark:
    """The mark of a thing that is nothing but these fields."""
    return (kind, *(_text(fields.get(name)) for name in _WHOLE[kind]))


def field_mark(kind: str, name: str, field: str, value: Value) -> Mark:
    """The mark of one field that has this value now."""
    return (kind, name, field, _text(value))


def _listed(kind: str, name: str, values: Value, field: str = "logTypes") -> frozenset[Mark]:
    return frozenset((kind, name, field, str(each)) for each in values) if isinstance(values, tuple) else frozenset()


def _text(value: Value) -> str:
    if isinstance(value, str):
        return value.casefold() if value.startswith("/subscriptions/") else value
    return json.dumps(plain(tidy(value)), sort_keys=True) if value else ""
