"""Obligations: what a permit demands besides, and how several are merged. The strictest wins.

Contexts to step up to, approvals, the longest session, redactions of records, labels, ceilings. They grant nothing.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

REDACTABLE = frozenset({"country", "device", "locations", "name", "path", "peer"})
"""Fields of a decision's record that may be left out of it: of the caller's surroundings, never who, what and when."""

CEILINGS = frozenset({"accelerator_count", "duration", "replicas"})
"""Numbers of `Work` that may have a ceiling; a `duration` of 0 is without end, and above every ceiling."""


@dataclass(frozen=True, slots=True)
class Obligations:
    """What all obligations that apply to one request demand together.

    `rules`: their ids; `contexts`: authentication contexts, all of them; `approvals`: how many people, 0 for none;
    `session`: seconds since the caller proved who they are, 0 for no limit; `redact`: fields of the record; `labels`:
    to stamp, by key; `ceilings`: by the name of a number of `Work`.
    """

    rules: tuple[str, ...] = ()
    contexts: frozenset[str] = frozenset()
    approvals: int = 0
    session: int = 0
    redact: frozenset[str] = frozenset()
    labels: tuple[tuple[str, str], ...] = ()
    ceilings: tuple[tuple[str, int], ...] = ()


NONE = Obligations()


def merge(all_: Iterable[Obligations]) -> Obligations:
    """The strictest of each: all contexts, most approvals, shortest session, all redactions, lowest ceilings.

    Raises `ValueError` when two labels of one key differ: nobody can say which is the stricter.
    """
    found = tuple(all_)
    labels: dict[str, str] = {}
    ceilings: dict[str, int] = {}
    for each in found:
        for key, value in each.labels:
            if labels.setdefault(key, value) != value:
                raise ValueError(f"two obligations want the label `{key}` to be `{labels[key]}` and `{value}`")
        for name, bound in each.ceilings:
            ceilings[name] = min(bound, ceilings.get(name, bound))
    return Obligations(
        rules=tuple(dict.fromkeys(rule for each in found for rule in each.rules)),
        contexts=frozenset[str]().union(*(each.contexts for each in found)),
        approvals=max((each.approvals for each in found), default=0),
        session=min((each.session for each in found if each.session), default=0),
        redact=frozenset[str]().union(*(each.redact for each in found)),
        labels=_sorted(labels),
        ceilings=tuple(sorted(ceilings.items())),
    )


def _sorted(values: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(values.items()))
