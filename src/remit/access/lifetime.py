"""Will this work outlive what it depends on? The policy is told, and asked again when its own answer shortens it.

What a permit rests on is known only when there is one: a sign-in that an obligation wants fresh, a grant that ends. So
the first verdict may show an end that it did not know of; the question is then asked once more with it. Ends are only
ever added, so that this comes to rest. Leaves out the figures (`credentials`) and what follows (`policy`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from remit.model.decision import Circumstances, Verdict
from remit.model.identity import Identity
from remit.model.lifetime import NOTHING, Hop, Place, Rests, outlives
from remit.model.operation import Group, Request


class Judge(Protocol):
    """policy: may they. As `access.ports.Judge`."""

    def decide(self, identity: Identity, request: Request, circumstances: Circumstances) -> Verdict:
        """The verdict on all operations together."""


class Lifetimes(Protocol):
    """credentials: how long each hop lasts."""

    @property
    def endless(self) -> int:
        """Seconds after which the cloud itself ends a job that sets no end."""

    def hops(self, identity: Identity, place: Place, rests: Rests, now: int) -> Sequence[Hop]:
        """The hops that work of this caller depends on, from the sign-in to the data; `now`: seconds."""


class Asked(Protocol):
    """The rooms that are asked; as `access.decide.Rooms`."""

    @property
    def judge(self) -> Judge:
        """May they."""

    @property
    def lifetimes(self) -> Lifetimes:
        """How long hops last."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """What the policy says, on what, and which hops there are. `lasting`: seconds, 0 where nobody knows."""

    verdict: Verdict
    circumstances: Circumstances
    hops: tuple[Hop, ...]
    lasting: int = 0

    @property
    def outlived(self) -> tuple[Hop, ...]:
        """Those that end for good before the work does, the shortest first."""
        return outlives(self.lasting, self.hops)


@dataclass(frozen=True, slots=True)
class Work:
    """What is asked about. `lasting`: its duration in seconds, 0 for unknown; `rests`: what is known beforehand."""

    place: Place
    lasting: int
    rests: Rests = NOTHING


def foresee(rooms: Asked, identity: Identity, request: Request, circumstances: Circumstances, work: Work) -> Outlook:
    """The verdict on a request, taken with `outlived` as it is: what ends before the work does."""
    verdict: Verdict | None = None
    rests, outlived = work.rests, frozenset[str]()
    while True:
        hops = tuple(rooms.lifetimes.hops(identity, work.place, rests, circumstances.now))
        found = frozenset(hop.name for hop in outlives(work.lasting, hops))
        if verdict is not None and found <= outlived:
            return Outlook(verdict, circumstances, hops, work.lasting)
        outlived |= found
        circumstances = replace(circumstances, outlived=outlived)
        verdict = rooms.judge.decide(identity, request, circumstances)
        rests = _rests(work.rests, verdict, identity, circumstances)


def launched(request: Request, endless: int) -> int:
    """How long the work may run that a request launches, in seconds: 0 when it launches none.

    Work that sets no end runs until the cloud ends it (`endless`).
    """
    works = [one.work for one in request.operations if one.action.group is Group.LAUNCH and one.work is not None]
    return max((work.duration or endless for work in works), default=0)


def _rests(known: Rests, verdict: Verdict, identity: Identity, circumstances: Circumstances) -> Rests:
    ends = [grant.until for grant in circumstances.grants if grant.id in verdict.grants]
    ends += [known.grants] if known.grants else []
    return Rests(
        session=verdict.obligations.session,
        signed_in=identity.authentication.at,
        grants=min(ends, default=0),
    )
