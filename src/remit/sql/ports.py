"""What the door needs from the arbiter, which decides and records."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from remit.model.secret import Secret, UnverifiedToken


@dataclass(frozen=True, slots=True)
class Wish:
    """What a client wants. `database`: Remit's name of it; `job`: the run that it says it belongs to, may be empty."""

    token: UnverifiedToken
    database: str
    role: str
    peer: str
    job: str


@dataclass(frozen=True, slots=True)
class Admission:
    """A permit.

    `principal`: its key; `secret`: a password, or key and certificate (PEM) where `certificate`; `until`: seconds since
    the epoch, 0 for no end of its own.
    """

    decision: str
    principal: str
    secret: Secret
    certificate: bool
    until: int


@dataclass(frozen=True, slots=True)
class Ran:
    """One statement of a connection: how often it ran, and when first and last, in microseconds since the epoch."""

    fingerprint: str
    text: str
    count: int
    first: int
    last: int


class Arbiter(Protocol):
    """arbiter: whether somebody may connect, whether they still may, and what they ran."""

    async def connect(self, wish: Wish) -> Admission:
        """Decides, records, and gives what it takes to log in; raises `Failure`."""

    async def ended(self, decisions: Collection[str]) -> frozenset[str]:
        """Those of the decisions that are in force no longer; raises `Failure` when nobody can say."""

    async def ran(self, decision: str, statements: Sequence[Ran]) -> None:
        """Makes the statements durable; raises `Failure`."""
