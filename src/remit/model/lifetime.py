"""How long the hops last that work depends on, and which of them end for good before the work does.

A hop that renews by itself ends nothing, however short it is. Leaves out the hops themselves and their figures
(`credentials.lifetimes`), and what follows from one that is too short (`policy`: `context.outlived`).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

SIGN_IN, SESSION, GRANT, WORKFLOW = "sign-in", "session", "grant", "workflow"
ENDING = (SIGN_IN, SESSION, GRANT, WORKFLOW)
"""Names of the hops that can end for good, and so stand in `context.outlived`."""


class Place(StrEnum):
    """Where work runs, and so by whose credentials."""

    RUN = "run"  # beside `remit run`, as whoever began it
    CLOUD = "cloud"  # at the cloud, as a service account of its own


@dataclass(frozen=True, slots=True)
class Hop:
    """One hop.

    `name`: lower-case words joined by `-`, as policies see it in `context.outlived`; `lasts`: seconds from now until it
    is over or has to be renewed, `None` where nobody can tell; `renews`: whether Remit renews it while the work runs,
    without a person; `why`: what bounds it; `change`: what would make it last, empty where nothing has to change;
    `source`: the page that says so.
    """

    name: str
    lasts: int | None
    renews: bool
    why: str
    change: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class Rests:
    """What a permit rests on that ends by itself.

    `session`: seconds for which a sign-in is fresh enough for the obligations, 0 for any; `signed_in`: when the person
    last proved who they are, seconds since the epoch, 0 when nobody says; `grants`: when the earliest of the
    grants ends that it rests on, seconds since the epoch, 0 for none.
    """

    session: int = 0
    signed_in: int = 0
    grants: int = 0


NOTHING = Rests()


def outlives(lasting: int, hops: Iterable[Hop]) -> tuple[Hop, ...]:
    """The hops that end for good before work of this duration (seconds) does, the shortest first; none for 0."""
    ending = [(hop.lasts, hop) for hop in hops if not hop.renews and hop.lasts is not None and hop.lasts < lasting]
    return tuple(hop for _, hop in sorted(ending, key=lambda one: (one[0], one[1].name)))
