"""The steps of a plan as lines of a journal, and how one is known again in what the clouds hold later.

A value survives its way through JSON as it was: references to ids stay references. Leaves out: doing anything.
"""

import json
from collections.abc import Mapping
from typing import Any

from remit.model.errors import TrustBroken
from remit.trust.planning.plan import Act, Change, plain
from remit.trust.things import KINDS, Address, Fields, Found, Ref, Text, Thing, Value, refs, settled

_REF, _TEXT, _MAP = "$ref", "$text", "$map"
_ASIDE = frozenset({"appId", "uniqueName", "jwksJson"})
"""Never compared: what Entra gives, what it never changes, and what `rotate keys` renews."""

_LONG = 16  # characters: an id that no other text holds by chance
_NOTHING = (None, "", (), False)


def encoded(value: "Value | Fields | None") -> Any:
    """A value as JSON that `decoded` makes the same value of."""
    if isinstance(value, Ref):
        return {_REF: [value.of.kind, value.of.name, value.name]}
    if isinstance(value, Text):
        return {_TEXT: [encoded(part) for part in value.parts]}
    if isinstance(value, tuple):
        return [encoded(each) for each in value]
    if isinstance(value, Mapping):
        return {_MAP: {name: encoded(each) for name, each in value.items()}}
    return value


def decoded(value: Any) -> Any:
    """The value of `encoded`; raises `ValueError`, `KeyError` or `TypeError` for anything else."""
    if isinstance(value, list):
        return tuple(decoded(each) for each in value)
    if not isinstance(value, dict):
        return value
    [(form, content)] = value.items()
    if form == _REF:
        kind, name, id_ = content
        return Ref(Address(kind, name), id_)
    if form == _TEXT:
        return Text(tuple(decoded(part) for part in content))
    if form == _MAP:
        return {name: decoded(each) for name, each in content.items()}
    raise ValueError(form)


def written(change: Change) -> dict[str, Any]:
    """A change as JSON: everything that it takes to make it and to undo it."""
    fields = change.thing.fields if change.thing else change.after
    return {
        "act": change.act.value,
        "kind": change.address.kind,
        "name": change.address.name,
        "before": encoded(change.before),
        "after": encoded(change.after),
        "wanted": encoded(fields),
        "ids": dict(change.ids or {}),
        "says": change.says,
    }


def change_of(document: Mapping[str, Any]) -> Change:
    """The change of `written`; raises `ValueError`, `KeyError` or `TypeError` for anything else."""
    address = Address(str(document["kind"]), str(document["name"]))
    fields = decoded(document["wanted"])
    return Change(
        act=Act(document["act"]),
        address=address,
        before=decoded(document["before"]),
        after=decoded(document["after"]),
        says=str(document["says"]),
        thing=None if fields is None else Thing(address, fields, says=str(document["says"])),
        ids={str(name): str(value) for name, value in document["ids"].items()},
    )


def thing_of(change: Change, ids: Mapping[Ref, str]) -> Thing:
    """What is wanted, with every id in its place; raises `TrustBroken` when one is not known."""
    thing = change.thing or Thing(change.address, change.after or {}, says=change.says)
    fields = settled(thing.fields, ids)
    for name, value in fields.items():
        if waits := next(refs(value), None):
            raise TrustBroken(
                f"`{name}` of `{change.address}` waits for the {waits.name} of `{waits.of}`, which is not known"
            )
    return Thing(thing.address, fields, thing.needs, thing.says, thing.given)


def there(change: Change) -> Found:
    """What the plan saw there before the change."""
    return Found(change.address, change.before or {}, change.ids or {})


def restored(change: Change, renamed: Mapping[str, str]) -> Thing:
    """What the plan saw there, as something to make there again. `renamed`: ids that are others now, old → new."""
    aside = {name: value for name, value in (change.thing.fields if change.thing else {}).items() if name in _ASIDE}
    if change.address.kind == "entra.application":  # a deleted one is restored by it, with the ids that it had
        aside["appId"] = (change.ids or {}).get("appId")
    before = {name: _renewed(value, renamed) for name, value in (change.before or {}).items()}
    return Thing(change.address, {**aside, **before})


def _renewed(value: Value, renamed: Mapping[str, str]) -> Value:
    if isinstance(value, str):
        for old, new in renamed.items():
            value = value.replace(old, new) if value == old or len(old) >= _LONG else value
        return value
    if isinstance(value, tuple):
        return tuple(_renewed(each, renamed) for each in value)
    if isinstance(value, Mapping):
        return {name: _renewed(each, renamed) for name, each in value.items()}
    return value


def same_thing(one: Address, its: Fields, other: Address, others: Fields) -> bool:
    """Whether two speak of one thing: by address, or by the fields by which a cloud knows it."""
    if one == other:
        return True
    names = KINDS.get(one.kind, ())
    return one.kind == other.kind and bool(names) and all(alike(its.get(name), others.get(name)) for name in names)


def alike(one: Value, other: Value) -> bool:
    """Whether two values are the same, whatever the order of their parts."""
    return bool(_normal(one) == _normal(other))


def same(one: Fields | None, other: Fields | None) -> bool:
    """Whether two have the same fields, those aside that are never written."""
    return bool(_less(one) == _less(other))


def between(now: Fields, before: Fields | None, after: Fields | None) -> bool:
    """Whether what is there may come of a change that was made, not made, or made by half.

    A collection may hold some of what is added and some of what is removed; anything else somebody else did.
    """
    names = (set(before or {}) | set(after or {})) - _ASIDE
    return all(_halfway(now.get(name), (before or {}).get(name), (after or {}).get(name)) for name in names)


def _halfway(now: Value, before: Value, after: Value) -> bool:
    if any(alike(now, side) for side in (before, after)):
        return True
    if now in _NOTHING and (before in _NOTHING or after in _NOTHING):
        return True
    if not isinstance(now, tuple):
        return False
    sides = [{_key(each) for each in side} if isinstance(side, tuple) else set() for side in (before, after)]
    parts = {_key(each) for each in now}
    return sides[0] & sides[1] <= parts <= sides[0] | sides[1]


def _less(fields: Fields | None) -> Any:
    return None if fields is None else {name: _normal(fields[name]) for name in fields if name not in _ASIDE}


def _normal(value: Value) -> Any:
    if isinstance(value, tuple):
        return sorted(map(_key, value))
    if isinstance(value, Mapping):
        return {name: _normal(each) for name, each in value.items()}
    return plain(value)


def _key(value: Value) -> str:
    return json.dumps(_normal(value), sort_keys=True)
