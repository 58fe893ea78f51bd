"""Everything that has an end, and what to do before it."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum


class State(StrEnum):
    """How a credential stands."""

    EXPIRED = "expired"
    DUE = "due"
    NEEDLESS = "should not be"
    UNREAD = "cannot be read"
    GOOD = "good"

    @property
    def calls(self) -> bool:
        """Whether somebody has to do something."""
        return self is not State.GOOD


@dataclass(frozen=True, slots=True)
class Credential:
    """One credential. `made`, `expires`: seconds since the epoch, 0 when unknown or never; `do`: what renews it."""

    kind: str
    of: str
    id: str
    do: str
    made: float = 0.0
    expires: float = 0.0
    state: State = State.GOOD


def judged(found: Iterable[Credential], now: float, within: float) -> tuple[Credential, ...]:
    """Each with its state, the most pressing first; `within`: seconds before its end in which one is due."""
    return tuple(sorted((_one(each, now, within) for each in found), key=_order))


def _one(found: Credential, now: float, within: float) -> Credential:
    if found.state is not State.GOOD or not found.expires or found.expires > now + within:
        return found
    return replace(found, state=State.EXPIRED if found.expires <= now else State.DUE)


def _order(found: Credential) -> tuple[int, float, str, str]:
    return list(State).index(found.state), found.expires or float("inf"), found.kind, found.of
