"""The moments at which a condition on the time may turn: those that its own literals name, and nothing between.

Leaves out whether it does turn there: the engine is asked (`probes.moments`).
Source of the literals: https://docs.cedarpolicy.com/policies/syntax-datatypes.html (datetime, duration)
"""

import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from itertools import product
from typing import Any

from cedarpy import pst

_DAY = 86400
_MOST = 64  # moments that are tried for one condition
_DURATION = re.compile(r"-?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+)s)?(?:\d+ms)?")


def turns(condition: pst.Expr, now: int) -> tuple[int, ...]:
    """Seconds since the epoch, later than `now`, soonest first.

    Each time of day that is named, today and tomorrow, as it is and shifted by each duration that is named beside it
    (a local time is written so); midnight; each date that is named. Each of them and the second after.
    """
    literals = tuple(_literals(condition))
    durations = {0} | {_seconds(text) for op, text in literals if op == "duration"}
    days = [now - now % _DAY + day * _DAY for day in (-1, 0, 1, 2)]
    found = {day + first - second for day, first, second in product(days, durations, durations)}
    found |= {moment for op, text in literals if op == "datetime" for moment in _moment(text)}
    later = {each + second for each in found for second in (0, 1) if each + second > now}
    return tuple(sorted(later)[:_MOST])


def _literals(node: Any) -> Iterator[tuple[str, str]]:
    """Every literal date and duration under a node of a tree."""
    match node:
        case pst.UnaryOp(("duration" | "datetime") as op, pst.StringLit(text)):
            yield op, text
        case tuple():
            for each in node:
                yield from _literals(each)
        case _ if is_dataclass(node):
            for each in fields(node):
                yield from _literals(getattr(node, each.name))


def _seconds(text: str) -> int:
    found = _DURATION.fullmatch(text)
    if found is None:
        return 0
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def _moment(text: str) -> Iterator[int]:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:  # the engine's validator has taken it: a form that is rare enough to be left out
        return
    yield int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
