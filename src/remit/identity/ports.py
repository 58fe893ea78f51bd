"""What identity's own files need from each other across a network or a disk."""

from dataclasses import dataclass
from typing import Protocol

from remit.model.identity import Principal


@dataclass(frozen=True, slots=True)
class Membership:
    """All groups of a principal, nested ones included, as object ids; `at`: when they were read, epoch seconds."""

    groups: frozenset[str]
    at: int


class GroupSource(Protocol):
    """The directory, asked when a token does not hold the groups."""

    async def of(self, principal: Principal, now: int) -> Membership:
        """The complete membership; raises `Refused` with `IDENTITY_INCOMPLETE` when it cannot be known."""
