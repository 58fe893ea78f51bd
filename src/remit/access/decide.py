"""May this request pass, and with which credential? The one place where the order of the steps is written.

    a  who    the token or the session becomes an identity that nobody has revoked, or nothing is believed
    b  what   the bytes become operations, or nothing is asked
    c0        the circumstances: the time, the caller's address and where it lies, the risk of the sign-in
    c  may    one verdict on all operations, and the account that a permit runs with
    d  write  the record is durable before any effect
    e  with   the credential; when it cannot be had, that is recorded as the outcome

Every step either answers or refuses with a reason; what none of them foresaw is a refusal too.
Leaves out how a request arrives (`arbiter`) and how often the answer may be repeated there (`gateway`).
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from remit.access.ports import Authenticator, Classifier, Judge, Observer, Obtainer, Recorder, Revocations, Sessions
from remit.model.credential import Credential, Purpose
from remit.model.decision import Answer, Circumstances, Decision, Verdict
from remit.model.errors import HopFailed, NotRecorded, Refused, SignInAgain
from remit.model.identity import Identity
from remit.model.names import decision_id
from remit.model.operation import Group, Request
from remit.model.outcome import Outcome
from remit.model.reasons import Reason
from remit.model.record import decision_record, outcome_record
from remit.model.secret import SessionSecret, UnverifiedToken
from remit.model.wire import WireRequest

LEASE_MS = 500
"""How long the gateway may repeat a permit, from when the decision began (DESIGN section 2, lease)."""

_LARGE_BODY = 64 << 10
"""Bytes from which on a body is classified beside the event loop: parsing more can take longer than 5 ms."""

_log = logging.getLogger(__name__)
_NEVER_LEASED = frozenset({Group.LAUNCH, Group.CHANGE, Group.ADMINISTER})


@dataclass(frozen=True, slots=True)
class Rooms:
    """The rooms that the stories ask, fitted by `assembly`. `clock` gives microseconds since the epoch."""

    authenticator: Authenticator
    sessions: Sessions
    revocations: Revocations
    observer: Observer
    classifier: Classifier
    judge: Judge
    recorder: Recorder
    obtainer: Obtainer
    clock: Callable[[], int]


class Decide:
    """The story of one request."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    async def __call__(self, wire: WireRequest) -> Answer:
        """Decides one wire request; never raises, since whatever goes wrong is a refusal with a reason."""
        began = self._rooms.clock()
        circumstances = Circumstances(
            now=began // 1_000_000, peer=wire.peer, job=wire.job, epoch=self._rooms.revocations.epoch
        )
        draft = Decision(
            id=decision_id(began),
            at=began,
            verdict=refusal(Refused(Reason.PLANE_UNAVAILABLE)),
            circumstances=circumstances,
            wire_method=wire.method,
            wire_host=wire.host,
            wire_path=wire.target.partition("?")[0],
        )
        try:
            return await self._tell(wire, draft)
        except NotRecorded as error:
            _log.error("decision %s could not be recorded: %s", draft.id, error.message)
            return _refuse(draft, Refused(Reason.RECORD_UNAVAILABLE))
        except Exception as error:  # noqa: BLE001 - fail closed: what no step foresaw is a refusal
            _log.error("decision %s failed: %s", draft.id, type(error).__name__)
            return _refuse(draft, Refused(Reason.PLANE_UNAVAILABLE))

    async def _tell(self, wire: WireRequest, draft: Decision) -> Answer:
        rooms = self._rooms
        purpose: Purpose | None = None
        token: UnverifiedToken | None = None
        decision = draft
        try:
            # a who
            identity, token = await identify(rooms, wire.token, wire.session, draft.circumstances.now)
            decision = replace(decision, identity=identity)
            rooms.revocations.check(identity, wire.job, draft.circumstances.now)
            # b what
            request = await classify(rooms, wire)
            # c0 the circumstances
            circumstances = rooms.observer.observe(identity, draft.circumstances)
            decision = replace(decision, request=request, circumstances=circumstances)
            # c may
            decision, purpose = judge(rooms, decision, identity, request)
        except Refused as refused:
            decision = replace(decision, verdict=refusal(refused))
        # d write
        await rooms.recorder.record(decision_record(decision))
        if not decision.permitted or purpose is None or decision.identity is None:
            return Answer(decision)
        # e with
        credential = await obtain(rooms, decision, decision.identity, token, purpose)
        if isinstance(credential, Refused):
            return _refuse(decision, credential)
        return Answer(decision, credential, _lease_ms(decision, credential))


async def identify(
    rooms: Rooms, token: UnverifiedToken | None, session: SessionSecret | None, now: int
) -> tuple[Identity, UnverifiedToken | None]:
    """Step a: who presents exactly one of a token and a session, and the token that goes with it; raises `Refused`."""
    match token, session:
        case UnverifiedToken(), None:
            return await rooms.authenticator.authenticate(token, now), token
        case None, SessionSecret():
            return await rooms.sessions.authenticate(session, now)
        case None, None:
            raise Refused(Reason.TOKEN_MISSING)
    raise Refused(Reason.TOKEN_MALFORMED, "the request carries two identities")


async def classify(rooms: Rooms, wire: WireRequest) -> Request:
    """Step b: the operations; a large body is read in a thread, so that nobody else waits for it."""
    if len(wire.body) > _LARGE_BODY:
        return await asyncio.to_thread(rooms.classifier.classify, wire)
    return rooms.classifier.classify(wire)


def judge(rooms: Rooms, decision: Decision, identity: Identity, request: Request) -> tuple[Decision, Purpose | None]:
    """Step c: the verdict, and with a permit the purpose of the credential; raises `Refused` when none is mapped."""
    verdict = rooms.judge.decide(identity, request, decision.circumstances)
    judged = replace(decision, verdict=verdict)
    if verdict.outcome is not Outcome.PERMIT:
        return judged, None
    purpose = rooms.obtainer.purpose(identity, request)
    return replace(judged, account=purpose.account), purpose


async def obtain(
    rooms: Rooms, decision: Decision, identity: Identity, token: UnverifiedToken | None, purpose: Purpose
) -> Credential | Refused:
    """Step e: the credential, or the refusal of the hop that failed, which is recorded as the outcome."""
    try:
        return await rooms.obtainer.obtain(identity, token, purpose)
    except Exception as error:  # noqa: BLE001 - fail closed: what no hop foresaw is recorded as the outcome as well
        refused = error if isinstance(error, Refused) else Refused(Reason.EXCHANGE_UNAVAILABLE)
        hop = refused.hop if isinstance(refused, HopFailed) else "credentials"
        entry = outcome_record(decision, rooms.clock(), hop, refused.reason, refused.message)
        await rooms.recorder.record(entry)
        return refused


def refusal(refused: Refused) -> Verdict:
    """The verdict of a refusal that came before, or beside, the policy."""
    outcome = refused.reason.outcome
    detail = "" if refused.message == refused.reason.sentence else refused.message
    return Verdict(
        outcome=Outcome.DENY if outcome is Outcome.PERMIT else outcome,
        reasons=(refused.reason,),
        detail=detail,
        hint=refused.hint,
        not_before=refused.not_before if isinstance(refused, SignInAgain) else 0,
    )


def _refuse(decision: Decision, refused: Refused) -> Answer:
    return Answer(replace(decision, verdict=refusal(refused)))


def _lease_ms(decision: Decision, credential: Credential) -> int:
    """How long the answer may be repeated: never for what changes the world, never past the token's or our own end."""
    request, identity = decision.request, decision.identity
    if request is None or identity is None or not request.leasable:
        return 0
    if any(operation.action.group in _NEVER_LEASED for operation in request.operations):
        return 0
    left = min(identity.expires_at, credential.expires_at) - decision.circumstances.now
    return max(0, min(LEASE_MS, left * 1000))
