"""Drifts with who, when and what comes of it, as people read it and as JSON. Pure."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from remit.model.counts import counted
from remit.trust.drifting.attribution import Cause
from remit.trust.drifting.blast import Reach
from remit.trust.drifting.drift import Drift, Side
from remit.trust.planning.headlines import concerns, headline
from remit.trust.planning.matching import differing
from remit.trust.planning.plan import plain
from remit.trust.planning.render import compact, shown
from remit.trust.things import Value

_WIDTH = 100
_INDENT = "      "
_FIRST = 4  # of those whom it concerns, on one line
_WORDS: Mapping[Side, str] = {Side.APPEARED: "appeared", Side.ALTERED: "altered", Side.GONE: "gone"}


@dataclass(frozen=True, slots=True)
class Explained:
    """A drift, who did it, and whom it concerns."""

    drift: Drift
    cause: Cause
    blast: tuple[Reach, ...]


def as_json(found: Sequence[Explained], problems: Sequence[str] = ()) -> dict[str, Any]:
    """For programs: everything."""
    return {"problems": list(problems), "drifts": [_data(one) for one in found]}


def _data(one: Explained) -> dict[str, Any]:
    cause = one.cause
    return {
        "name": one.drift.name,
        "key": one.drift.key,
        "kind": one.drift.change.address.kind,
        "cloud": one.drift.change.address.cloud,
        "happened": _WORDS[one.drift.side],
        "file": plain(one.drift.was) if one.drift.was is not None else None,
        "there": plain(one.drift.now) if one.drift.now is not None else None,
        "who": cause.who or None,
        "when": _moment(cause.at) if cause.at else None,
        "how": cause.how or None,
        "applied": cause.remit or None,
        "unknown": cause.unknown or None,
        "unsafe": [{"risk": each.risk.value, "said": each.said} for each in one.drift.unsafe],
        "blast": [
            {
                "who": [{"name": who.label, "people": list(who.people)} for who in reach.who],
                "gains": reach.gains,
                "what": reach.what,
                "permissions": list(reach.permissions),
                "actions": {group: list(ids) for group, ids in reach.actions.items()},
                "refused": list(reach.beyond),
            }
            for reach in one.blast
        ],
    }


def render(found: Sequence[Explained]) -> str:
    """For people: at most 100 columns but for names that are longer; one empty line between drifts."""
    if not found:
        return "the clouds hold what remit.yaml says: no drift"
    count = counted(len(found), "drift")
    return "\n\n".join([*map(render_one, found), f"{count}; `remit trust drift revert KEY` or `adopt KEY` for each"])


def render_one(one: Explained) -> str:
    """One drift as it stands on the page."""
    return "\n".join(_printable(line) for line in lines(one))


def lines(one: Explained) -> Iterator[str]:
    """One drift."""
    change = one.drift.change
    noun = change.address.kind.partition(".")[2]
    yield from _wrapped(f"{one.drift.side} [{one.drift.key}] {concerns(change)}: {noun} {headline(change)}", "")
    if one.drift.side is Side.ALTERED:
        before, after = one.drift.was or {}, one.drift.now or {}
        for name in differing(change.address.kind, before, after):
            yield from _wrapped(f"{name}: {_difference(before.get(name), after.get(name))}")
    else:
        said = "is there, and not in the file" if one.drift.side is Side.APPEARED else "is in the file, and not there"
        yield from _wrapped(said)
    yield from _wrapped(_by(one.cause))
    for reach in one.blast:
        yield from _wrapped(_reached(reach))
    for each in one.drift.unsafe:
        yield from _wrapped(f"! {each.risk.value}: {each.said}")


def _by(cause: Cause) -> str:
    if cause.unknown:
        return f"by whom: {cause.unknown}"
    when = _moment(cause.at)
    if cause.remit:
        who = f" for {cause.who}" if cause.who else ""
        return f"by `remit trust apply {cause.remit}`{who}, {when}: the file is another since"
    return f"by {cause.who or 'nobody whom the log names'}, {when} ({cause.how})"


def _reached(reach: Reach) -> str:
    who = ", ".join(map(str, reach.who[:_FIRST]))
    who += f" and {len(reach.who) - _FIRST} more" if len(reach.who) > _FIRST else ""
    counts = ", ".join(f"{len(ids)} {group}" for group, ids in reach.actions.items())
    said = f"{'gains' if reach.gains else 'loses'}: {who}: {reach.what}" + (f" ({counts} actions)" if counts else "")
    if reach.beyond:
        said += f"; policy refuses {len(reach.beyond)} of them at the gateway, but a leaked token would be worth more"
    return said


def _difference(before: Value, after: Value) -> str:
    if isinstance(before, tuple) and isinstance(after, tuple):
        gone, come = ([str(x) for x in one if x not in other] for one, other in ((before, after), (after, before)))
        return "; ".join(f"{sign} {compact(some)}" for sign, some in (("-", gone), ("+", come)) if some)
    return f"`{shown(before)}` in the file, `{shown(after)}` there"


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _wrapped(text: str, indent: str = _INDENT) -> list[str]:
    wrapper = textwrap.TextWrapper(_WIDTH, initial_indent=indent, subsequent_indent=f"{indent or _INDENT}  ")
    wrapper.break_long_words = wrapper.break_on_hyphens = False
    return wrapper.wrap(text)


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
