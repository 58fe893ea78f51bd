"""A question about Remit itself, put at its API: decided by the same policies, recorded like everything else.

    a  who     as for every request: somebody who has been revoked asks nothing
    c0, c      the circumstances, and whether policy permits the action on its resource
    d  write   the decision is durable before anything comes of it

Leaves out what is done then: that is each story's own.
"""

import logging
from dataclasses import dataclass, replace

from remit.access.decide import Rooms, begun, identify, refusal, surroundings, write
from remit.model.decision import Decision
from remit.model.errors import Refused
from remit.model.identity import Identity
from remit.model.operation import Request
from remit.model.secret import SessionSecret, UnverifiedToken

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, as it stood on the wire: a token or a browser's session, and the address."""

    token: UnverifiedToken | None
    session: SessionSecret | None = None
    peer: str = ""


async def known(rooms: Rooms, caller: Caller) -> Identity:
    """Step a alone, for what needs no permission; raises `Refused`."""
    now = rooms.clock() // 1_000_000
    identity, _ = await identify(rooms, caller.token, caller.session, now)
    rooms.revocations.check(identity, "", now)
    return identity


async def asked(rooms: Rooms, caller: Caller, request: Request, *, method: str, path: str) -> Decision:
    """The decision on one question, durable when this returns; raises `NotRecorded`.

    Not recorded when nobody could be identified: then the door's access event is the evidence, and floods cost nothing.
    """
    decision = await _decided(rooms, caller, drafted(rooms, caller, request, method=method, path=path), request)
    if decision.identity is not None:
        await write(rooms, decision)
    return decision


def drafted(rooms: Rooms, caller: Caller, request: Request, *, method: str, path: str) -> Decision:
    """A decision on a question that is still to be taken: a refusal until then."""
    return replace(begun(rooms, method, path, peer=caller.peer), request=request)


async def _decided(rooms: Rooms, caller: Caller, draft: Decision, request: Request) -> Decision:
    decision, now = draft, draft.circumstances.now
    try:
        identity, _ = await identify(rooms, caller.token, caller.session, now)
        decision = replace(decision, identity=identity)
        rooms.revocations.check(identity, "", now)
        circumstances = surroundings(rooms, identity, draft.circumstances)
        decision = replace(decision, circumstances=circumstances)
        return replace(decision, verdict=rooms.judge.decide(identity, request, circumstances))
    except Refused as refused:
        return replace(decision, verdict=refusal(refused))
