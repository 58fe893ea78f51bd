"""One question about Remit's own matters on its way: what is known of it so far, and whether it is written down.

Shared by the stories of grants and of runs. Nothing here raises to whoever asks: whatever goes wrong is a refusal with
a reason, recorded as the decision, or as what came of it. Leaves out the questions (`request`, `run`).
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import TypeVar

from remit.access.asking import Caller, drafted
from remit.access.decide import Rooms, identify, refusal, surroundings, unanswered, write
from remit.model.decision import Decision, Verdict
from remit.model.errors import Refused
from remit.model.identity import Identity
from remit.model.operation import INSTALLATION, Action, Operation, Request
from remit.model.reasons import Reason
from remit.model.record import outcome_record

Told = TypeVar("Told")


@dataclass(slots=True)
class Case:
    """The decision as far as it is known. `hop`: what fails when a permit comes to nothing, for the record."""

    rooms: Rooms
    decision: Decision
    hop: str
    written: bool = field(default=False)

    @property
    def identity(self) -> Identity:
        """Who asks, once that is known."""
        if self.decision.identity is None:
            raise Refused(Reason.TOKEN_MISSING)
        return self.decision.identity

    @property
    def now(self) -> int:
        """Seconds since the epoch."""
        return self.decision.circumstances.now

    def about(self, *operations: Operation) -> None:
        """What is asked."""
        self.decision = replace(self.decision, request=Request(operations))

    def without_grants(self) -> None:
        """What was granted just in time does not count."""
        self.decision = replace(self.decision, circumstances=replace(self.decision.circumstances, grants=()))

    def judged(self) -> Verdict:
        """What the policies say of what is asked."""
        if self.decision.request is None:
            raise Refused(Reason.REQUEST_MALFORMED)
        return self.rooms.judge.decide(self.identity, self.decision.request, self.decision.circumstances)

    async def conclude(self, verdict: Verdict) -> bool:
        """Writes the decision down; whether it is a permit."""
        self.decision = replace(self.decision, verdict=verdict)
        await write(self.rooms, self.decision)
        self.written = True
        return self.decision.permitted

    async def refuse(self, refused: Refused) -> Decision:
        """The refusal, recorded: as the decision, or as what came of it."""
        if self.written:
            entry = outcome_record(self.decision, self.rooms.clock(), self.hop, refused.reason, refused.message)
            await self.rooms.recorder.record(entry)
        elif self.decision.identity is not None:  # else nobody asked: the door's access event is the evidence
            await self.conclude(refusal(refused))
        return replace(self.decision, verdict=refusal(refused))

    async def enter(self, caller: Caller) -> None:
        """Steps a and c0."""
        identity, _ = await identify(self.rooms, caller.token, caller.session, self.now)
        self.decision = replace(self.decision, identity=identity)
        self.rooms.revocations.check(identity, "", self.now)
        circumstances = surroundings(self.rooms, identity, self.decision.circumstances)
        self.decision = replace(self.decision, circumstances=circumstances)


@dataclass(frozen=True, slots=True)
class Wire:
    """How it was asked, for the record, and what it is about as long as it is not understood on which resource."""

    action: Action
    method: str
    path: str
    hop: str


async def tell(
    rooms: Rooms,
    caller: Caller,
    wire: Wire,
    story: Callable[[Case], Awaitable[Told]],
    ruled: Callable[[Decision], Told],
) -> Told:
    """The story with its end; `ruled` makes an answer of a refusal."""
    request = Request((Operation(wire.action, (INSTALLATION,)),))
    draft = drafted(rooms, caller, request, method=wire.method, path=wire.path)
    case = Case(rooms, draft, wire.hop)
    try:
        try:
            await case.enter(caller)
            return await story(case)
        except Refused as refused:
            return ruled(await case.refuse(refused))
    except Exception as error:  # noqa: BLE001 - fail closed: what no step foresaw is a refusal
        return ruled(unanswered(case.decision, error))
