"""Which thing that is there is which that is wanted, and in what they differ. Pure."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from remit.trust.planning.plan import plain
from remit.trust.things import KINDS, Fields, Found, Ref, Thing, Value, ids_of, refs, settled

_UNCOMPARED: Mapping[str, frozenset[str]] = {
    "entra.application": frozenset({"appId", "uniqueName"}),  # Entra gives the one, and never changes the other
    "google.provider": frozenset({"jwksJson"}),  # of Remit's own issuer: `remit trust rotate keys` renews them
}
_SETTABLE = frozenset({"entra.federation", "google.binding"})
"""Kinds whose identity can be changed in place. Both clouds refuse a second one of the same name."""
_LAST = "\N{REPLACEMENT CHARACTER}"


@dataclass(frozen=True, slots=True)
class Matched:
    """`pairs`: wanted things, with every known id in its place, and what is there for each; `rest`: found by nobody."""

    pairs: tuple[tuple[Thing, Found | None], ...]
    rest: tuple[Found, ...]
    twice: tuple[tuple[Thing, Thing], ...] = ()


def matched(wanted: Sequence[Thing], found: Sequence[Found]) -> Matched:
    """Pairs by the identity of each kind, kind after kind, since a later kind's identity holds an earlier one's ids."""
    ids = ids_of(tuple(found))
    pairs: list[tuple[Thing, Found | None]] = []
    rest: list[Found] = []
    twice: list[tuple[Thing, Thing]] = []
    addresses = [*(thing.address for thing in wanted), *(one.address for one in found)]
    for kind in sorted({address.kind for address in addresses}, key=rank):
        there = [one for one in found if one.address.kind == kind]
        mine = [_settled(thing, ids) for thing in wanted if thing.address.kind == kind]
        twice.extend(_twice(mine))
        own, left = _paired(mine, there)
        pairs.extend(own)
        rest.extend(left)
        for thing, one in own:
            ids.update({Ref(thing.address, name): value for name, value in (one.ids if one else {}).items()})
    return Matched(tuple(pairs), tuple(rest), tuple(twice))


def differing(kind: str, before: Fields, after: Fields) -> tuple[str, ...]:
    """Names of the fields that differ. One that only the cloud knows counts when it says something."""
    names = sorted({*before, *after} - _UNCOMPARED.get(kind, frozenset()))
    return tuple(name for name in names if not _same(before.get(name), after.get(name)))


def tidy(value: Value) -> Value:
    """The value with its collections in order: an id in the place of a reference may have changed it."""
    if isinstance(value, tuple):
        return tuple(sorted((tidy(each) for each in value), key=_canonical))
    if isinstance(value, Mapping):
        return {name: tidy(value[name]) for name in sorted(value)}
    return value


def rank(kind: str) -> tuple[int, str]:
    """Where a kind stands among all: what others are built on comes first."""
    kinds = list(KINDS)
    return (kinds.index(kind) if kind in KINDS else len(kinds), kind)


def _settled(thing: Thing, ids: Mapping[Ref, str]) -> Thing:
    fields = {name: tidy(value) for name, value in settled(thing.fields, ids).items()}
    return Thing(thing.address, fields, thing.needs, thing.says, thing.given)


def _paired(wanted: Sequence[Thing], found: Sequence[Found]) -> tuple[list[tuple[Thing, Found | None]], list[Found]]:
    left: dict[str, list[Found]] = defaultdict(list)
    for one in found:
        left[_identity(one) or ""].append(one)
    chosen: dict[int, Found] = {}
    for place, thing in enumerate(wanted):
        if same := left.get(_identity(thing) or _LAST):
            chosen[place] = same.pop(_nearest(same, thing))
    for place, thing in enumerate(wanted):
        if place not in chosen and (thing.address.kind in _SETTABLE or _identity(thing) is None):
            for same in left.values():
                if at := [number for number, one in enumerate(same) if one.address == thing.address]:
                    chosen[place] = same.pop(at[0])
                    break
    remaining = {id(one) for same in left.values() for one in same}
    pairs = [(thing, chosen.get(place)) for place, thing in enumerate(wanted)]
    return pairs, [one for one in found if id(one) in remaining]


def _nearest(same: Sequence[Found], thing: Thing) -> int:
    """Of several with one identity the one of the wanted name, or the first."""
    return next((number for number, one in enumerate(same) if one.address == thing.address), 0)


def _identity(one: Thing | Found) -> str | None:
    """By what it is known, `None` while an id of that is not known."""
    names = KINDS.get(one.address.kind, ())
    if not names:
        return one.address.name
    values = tuple(one.fields.get(name) for name in names)
    return None if any(refs(values)) else json.dumps([_canonical(value or None) for value in values])


def _twice(things: Sequence[Thing]) -> list[tuple[Thing, Thing]]:
    seen: dict[str, Thing] = {}
    return [
        (seen[key], thing)
        for thing in things
        for key in (f"name {thing.address}", f"same {_identity(thing) or thing.address}")
        if seen.setdefault(key, thing) is not thing
    ]


def _same(before: Value, after: Value) -> bool:
    return _canonical(before or None) == _canonical(after or None)


def _canonical(value: Value) -> str:
    return json.dumps(plain(tidy(value) if isinstance(value, Mapping | tuple) else value), sort_keys=True)
