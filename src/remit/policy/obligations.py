"""Obligations: what a permit demands besides, as `obligations/*.cedar` says it.

A rule is a Cedar `permit` that grants nothing: its scope and conditions say on which permitted questions it applies,
and its annotations what it demands there. All rules that apply count, and the strictest of each demand wins
(`model.obligation.merge`). Leaves out what follows when a demand is not met (`weigh`, `judge`).
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from remit.model.obligation import CEILINGS, REDACTABLE, Obligations, merge

_CONTEXT = re.compile(r"c([1-9]|[1-9][0-9])")  # Entra's authentication contexts are c1 to c99
_APPROVALS = re.compile(r"[1-9]")
_LENGTH = re.compile(r"([1-9][0-9]{0,8})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_NUMBER = re.compile(r"0|[1-9][0-9]{0,8}")
# cloud.google.com/resource-manager/docs/labels-overview#requirements; what Remit itself stamps begins with `remit-`
_LABEL_KEY = re.compile(r"(?!remit-)[a-z][a-z0-9_-]{0,62}")
_LABEL_VALUE = re.compile(r"[a-z0-9_-]{1,63}")


def context(text: str) -> str:
    """An authentication context; raises `ValueError`."""
    if not _CONTEXT.fullmatch(text):
        raise ValueError(f"`{text}` is not an authentication context: `c1` to `c99`")
    return text


def demanded(rule: str, annotations: Mapping[str, str]) -> Obligations:
    """What a rule with these annotations demands; raises `ValueError` for one that cannot be read."""
    found = merge(READERS[name](text) for name, text in annotations.items() if name in READERS)
    return replace(found, rules=(rule,))


def _step_up(text: str) -> Obligations:
    return Obligations(contexts=frozenset({context(text)}))


def _approvals(text: str) -> Obligations:
    if not _APPROVALS.fullmatch(text):
        raise ValueError(f"`{text}` is not a number of people: `1` to `9`")
    return Obligations(approvals=int(text))


def _session(text: str) -> Obligations:
    return Obligations(session=_length(text))


def _redact(text: str) -> Obligations:
    names = _listed(text)
    for name in names:
        if name not in REDACTABLE:
            known = ", ".join(f"`{each}`" for each in sorted(REDACTABLE))
            raise ValueError(f"`{name}` cannot be left out of a record: what can is {known}")
    return Obligations(redact=frozenset(names))


def _labels(text: str) -> Obligations:
    pairs = _pairs(text)
    for key, value in pairs:
        if not _LABEL_KEY.fullmatch(key) or not _LABEL_VALUE.fullmatch(value):
            raise ValueError(f"`{key}={value}` is not a label: lower-case letters, digits, `-` and `_`, not `remit-…`")
    return Obligations(labels=pairs)


def _ceilings(text: str) -> Obligations:
    return Obligations(ceilings=tuple((name, _ceiling(name, bound)) for name, bound in _pairs(text)))


def _ceiling(name: str, bound: str) -> int:
    if name not in CEILINGS:
        known = ", ".join(f"`{each}`" for each in sorted(CEILINGS))
        raise ValueError(f"`{name}` has no ceiling: what has one is {known}")
    if name == "duration":
        return _length(bound)
    if not _NUMBER.fullmatch(bound):
        raise ValueError(f"`{bound}` is not a number")
    return int(bound)


def _length(text: str) -> int:
    found = _LENGTH.fullmatch(text)
    if found is None:
        raise ValueError(f"`{text}` is not a length of time: `90s`, `30m`, `8h`, `7d`")
    return int(found[1]) * _SECONDS[found[2]]


def _pairs(text: str) -> tuple[tuple[str, str], ...]:
    """`a=1, b=2` by key; each key once, or nobody could say which of two was meant."""
    pairs = []
    for part in _listed(text):
        key, between, value = part.partition("=")
        if not between:
            raise ValueError(f"`{part}` has no `=`")
        pairs.append((key, value))
    _once(key for key, _ in pairs)
    return tuple(sorted(pairs))


def _listed(text: str) -> tuple[str, ...]:
    parts = tuple(part.strip() for part in text.split(","))
    _once(parts)
    return parts


def _once(names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"`{name}` stands there twice")
        seen.add(name)


READERS: Mapping[str, Callable[[str], Obligations]] = {
    "step_up": _step_up,
    "approvals": _approvals,
    "session": _session,
    "redact": _redact,
    "labels": _labels,
    "ceilings": _ceilings,
}
"""The annotations that demand something, each with its grammar."""
