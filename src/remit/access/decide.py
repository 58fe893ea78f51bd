"""May this request pass, and with which credential? The one place where the order of the steps is written.

    a  who    the token or the session becomes an identity that nobody has revoked, or nothing is believed
    b  what   the bytes become operations, or nothing is asked
    c0        the circumstances: the time, the caller's address and where it lies, the risk of the sign-in, what was
              granted to the caller just in time, whose the operations and jobs are that the request names, and what
              ends before the work does that it launches
    c  may    one verdict on all operations, the account that a permit runs with, and the labels that it puts on
    d  write  the record is durable before any effect
    e  with   the credential; when it cannot be had, that is recorded as the outcome

Every step either answers or refuses with a reason; what none of them foresaw is a refusal too.
Leaves out how a request arrives (`arbiter`), how often the answer may be repeated there (`gateway`), and what the
upstream then says (`answered`).
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from remit.access.belonging import Runs, check_run, name_of
from remit.access.lifetime import Lifetimes, Work, foresee, launched
from remit.access.ports import (
    Authenticator,
    Classifier,
    Grants,
    Judge,
    Memberships,
    Observer,
    Obtainer,
    Recorder,
    Revocations,
    Sessions,
    Works,
)
from remit.model.credential import Credential, Purpose
from remit.model.decision import Answer, Circumstances, Decision, Verdict
from remit.model.errors import HopFailed, NotRecorded, Refused, SignInAgain
from remit.model.identity import Identity
from remit.model.lifetime import Place
from remit.model.names import decision_id
from remit.model.operation import OTHERS, Group, Operation, Request, Resource
from remit.model.outcome import Outcome
from remit.model.reasons import Reason
from remit.model.record import decision_record, outcome_record
from remit.model.secret import SessionSecret, UnverifiedToken
from remit.model.wire import WireRequest

LEASE_MS = 500
"""How long the gateway may repeat a permit, from when the decision began (DESIGN section 2, lease)."""

_LARGE_BODY = 64 << 10
"""Bytes from which on a body is read and written beside the event loop: parsing more can take longer than 5 ms."""

WORKS = frozenset(
    {
        "BatchPredictionJob",
        "CustomJob",
        "DataLabelingJob",
        "HyperparameterTuningJob",
        "ModelDeploymentMonitoringJob",
        "NasJob",
        "NotebookExecutionJob",
        "Operation",
        "PipelineJob",
        "Schedule",
        "TrainingPipeline",
        "TuningJob",
    }
)
"""Types of what belongs to whoever started it. Starting one names the project, not the thing."""

LABEL = "remit-decision"
"""What is stamped: the decision alone, since people's names are nobody's business at the cloud."""

_log = logging.getLogger(__name__)
_NEVER_LEASED = frozenset({Group.LAUNCH, Group.CHANGE, Group.ADMINISTER})


@dataclass(frozen=True, slots=True)
class Rooms:
    """The rooms that the stories ask, fitted by `assembly`.

    `clock` gives microseconds since the epoch; `labels`: whether what is created gets a label that names its decision.
    """

    authenticator: Authenticator
    sessions: Sessions
    revocations: Revocations
    observer: Observer
    classifier: Classifier
    judge: Judge
    recorder: Recorder
    obtainer: Obtainer
    works: Works
    grants: Grants
    memberships: Memberships
    runs: Runs
    lifetimes: Lifetimes
    clock: Callable[[], int]
    labels: bool = False


def begun(rooms: Rooms, method: str, path: str, *, host: str = "", peer: str = "", job: str = "") -> Decision:
    """A decision that is still to be taken, about what came on the wire: a refusal until then."""
    at = rooms.clock()
    return Decision(
        id=decision_id(at),
        at=at,
        verdict=refusal(Refused(Reason.PLANE_UNAVAILABLE)),
        circumstances=Circumstances(now=at // 1_000_000, peer=peer, job=job, epoch=rooms.revocations.epoch),
        wire_method=method,
        wire_host=host,
        wire_path=path,
    )


def unanswered(draft: Decision, error: Exception) -> Decision:
    """The refusal that an error comes to which no step foresaw."""
    unrecorded = isinstance(error, NotRecorded)
    _log.error("decision %s failed: %s", draft.id, error if unrecorded else type(error).__name__)
    return replace(
        draft, verdict=refusal(Refused(Reason.RECORD_UNAVAILABLE if unrecorded else Reason.PLANE_UNAVAILABLE))
    )


class Decide:
    """The story of one request."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    async def __call__(self, wire: WireRequest, refused: Refused | None = None) -> Answer:
        """Decides one wire request; never raises, since whatever goes wrong is a refusal with a reason.

        `refused`: why it must not be asked, for what was seen where it arrived; it is recorded like every refusal.
        """
        path = wire.target.partition("?")[0]
        draft = begun(self._rooms, wire.method, path, host=wire.host, peer=wire.peer, job=wire.job)
        try:
            return await self._tell(wire, draft, refused)
        except Exception as error:  # noqa: BLE001 - fail closed: what no step foresaw is a refusal
            return Answer(unanswered(draft, error))

    async def _tell(self, wire: WireRequest, draft: Decision, unasked: Refused | None) -> Answer:
        rooms = self._rooms
        purpose: Purpose | None = None
        token: UnverifiedToken | None = None
        body: bytes | None = None
        decision = draft
        try:
            if unasked is not None:
                raise unasked
            # a who
            identity, token = await identify(rooms, wire.token, wire.session, draft.circumstances.now)
            decision = replace(decision, identity=identity)
            rooms.revocations.check(identity, wire.job, draft.circumstances.now)
            check_run(rooms.runs, identity, wire.job)
            # b what
            request = await classify(rooms, wire)
            # c0 the circumstances
            circumstances = surroundings(rooms, identity, draft.circumstances)
            decision = replace(decision, request=request, circumstances=circumstances)
            request = await others(rooms, identity, request)
            decision = replace(decision, request=request)
            # c may
            decision = judged(rooms, decision, identity, request)
            decision, purpose = mapped(rooms, decision, identity, request)
            body = await stamp(rooms, wire, decision)
        except Refused as refused:
            decision = refused_after(decision, refused)
        # d write
        await write(rooms, decision)
        if not decision.permitted or purpose is None or decision.identity is None:
            return Answer(decision)
        # e with
        credential = await obtain(rooms, decision, decision.identity, token, purpose)
        if isinstance(credential, Refused):
            return _refuse(decision, credential)
        tell = decision.request is not None and decision.request.starts
        return Answer(decision, credential, _lease_ms(decision, credential), body, tell)


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


def surroundings(rooms: Rooms, identity: Identity, circumstances: Circumstances) -> Circumstances:
    """Step c0: the circumstances with all that is known around the caller, its run's name, and what was granted to it.

    Raises `Refused` when it cannot be told which run this is.
    """
    seen = rooms.observer.observe(identity, circumstances)
    granted = rooms.grants.in_force(identity.principal.key, seen.job, seen.now)
    return replace(seen, job_name=name_of(rooms.runs, identity, seen.job), grants=granted)


async def others(rooms: Rooms, identity: Identity, request: Request) -> Request:
    """Step c0: the request, with one more operation for each thing in it that somebody else started, or nobody known.

    Raises `Refused` when that cannot be looked up.
    """
    asked: dict[str, tuple[Resource, str]] = {}
    for operation in request.operations:
        for resource in operation.resources:
            if resource.type in WORKS:
                asked.setdefault(resource.name, (resource, operation.action.id))
    if not asked:
        return request
    owners = await rooms.works.owners(asked)
    more = tuple(
        Operation(OTHERS, (resource,), within=method)
        for name, (resource, method) in asked.items()
        if owners.get(name) != identity.principal.key
    )
    return replace(request, operations=(*request.operations, *more)) if more else request


def judged(rooms: Rooms, decision: Decision, identity: Identity, request: Request) -> Decision:
    """Step c: the verdict; for what launches work, taken with what ends before the work does."""
    lasting = launched(request, rooms.lifetimes.endless)
    if not lasting:
        return replace(decision, verdict=rooms.judge.decide(identity, request, decision.circumstances))
    work = Work(Place.CLOUD, lasting)
    found = foresee(rooms, identity, request, decision.circumstances, work)
    return replace(decision, verdict=found.verdict, circumstances=found.circumstances)


def mapped(rooms: Rooms, decision: Decision, identity: Identity, request: Request) -> tuple[Decision, Purpose | None]:
    """Step c, for a permit: the purpose of the credential; raises `Refused` when none is mapped."""
    if not decision.permitted:
        return decision, None
    purpose = rooms.obtainer.purpose(identity, request)
    return replace(decision, account=purpose.account), purpose


def refused_after(decision: Decision, refused: Refused) -> Decision:
    """A decision that ends with a refusal after all, with no account; what is redacted stays out of its record."""
    return replace(decision, account="", verdict=replace(refusal(refused), obligations=decision.verdict.obligations))


async def stamp(rooms: Rooms, wire: WireRequest, decision: Decision) -> bytes | None:
    """Step c, for a permit: the body with its labels in it, `None` where none belong; raises `Refused`.

    The decision's own label, and those that obligations demand: a message without room for the latter is refused.
    """
    request, demanded = decision.request, dict(decision.verdict.obligations.labels)
    if not decision.permitted or request is None:
        return None
    if demanded and not request.stampable:
        raise Refused(Reason.OBLIGATION_UNMET, "this request has no room for the labels that are demanded")
    labels = demanded | ({LABEL: decision.id} if rooms.labels else {})
    if not labels or not request.stampable:
        return None
    try:
        if len(wire.body) > _LARGE_BODY:
            return await asyncio.to_thread(rooms.classifier.stamp, wire, labels)
        return rooms.classifier.stamp(wire, labels)
    except Refused:
        raise
    except Exception as error:  # noqa: BLE001 - fail closed: what nobody foresaw here is recorded as a refusal as well
        _log.error("decision %s could not be stamped: %s", decision.id, type(error).__name__)
        raise Refused(Reason.PLANE_UNAVAILABLE, "the request could not be labelled with its decision") from None


async def write(rooms: Rooms, decision: Decision) -> None:
    """Step d: the record, after the groups that it rests on; durable when this returns. Raises `NotRecorded`."""
    if decision.identity is not None:
        await rooms.memberships.keep(decision.identity)
    await rooms.recorder.record(decision_record(decision))


async def obtain(
    rooms: Rooms, decision: Decision, identity: Identity, token: UnverifiedToken | None, purpose: Purpose
) -> Credential | Refused:
    """Step e: the credential, or the refusal of the hop that failed, which is recorded as the outcome.

    Hops take seconds: whoever was revoked meanwhile, or whose run has ended, is handed nothing any more.
    """
    try:
        credential = await rooms.obtainer.obtain(identity, token, purpose)
        rooms.revocations.check(identity, decision.circumstances.job, rooms.clock() // 1_000_000)
    except Exception as error:  # noqa: BLE001 - fail closed: what no hop foresaw is recorded as the outcome as well
        refused = error if isinstance(error, Refused) else Refused(Reason.EXCHANGE_UNAVAILABLE)
        hop = refused.hop if isinstance(refused, HopFailed) else "credentials"
        entry = outcome_record(decision, rooms.clock(), hop, refused.reason, refused.message)
        await rooms.recorder.record(entry)
        return refused
    return credential


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
    """How long the answer may be repeated: never for what changes the world or has an obligation, nor past an end."""
    request, identity = decision.request, decision.identity
    if request is None or identity is None or not request.leasable or request.starts or request.stampable:
        return 0
    if any(operation.action.group in _NEVER_LEASED for operation in request.operations):
        return 0
    if decision.verdict.obligations.rules:
        return 0
    granted = [grant.until for grant in decision.circumstances.grants if grant.id in decision.verdict.grants]
    left = min(identity.expires_at, credential.expires_at, *granted) - decision.circumstances.now
    return max(0, min(LEASE_MS, left * 1000))
