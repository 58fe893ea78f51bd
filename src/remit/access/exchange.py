"""The broker's story: a token for an identity (RFC 8693), decided and recorded like any request.

What it hands out here is a `direct` Storage token: narrowed to the buckets of one project that the policy permits
this identity, at most 15 minutes long (DESIGN section 3) and never longer than a grant that it rests on. Write access
is tried first; who may only read gets a token that can only read. Leaves out the protocol's form (`arbiter`).
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, Protocol

from remit.access.decide import Rooms, mapped, obtain, refusal, refused_after, surroundings, write
from remit.model.credential import Purpose
from remit.model.decision import Answer, Circumstances, Decision, Verdict
from remit.model.errors import NotRecorded, Refused
from remit.model.identity import Identity
from remit.model.names import decision_id
from remit.model.operation import Request
from remit.model.outcome import Outcome
from remit.model.reasons import Reason
from remit.model.secret import UnverifiedToken

Mode = Literal["read", "write"]
_MINUTE = 60  # seconds
_SHORTEST = 6 * _MINUTE  # a token has five minutes left when it is handed out (`Obtainer.obtain`)
_SCOPES: dict[Mode, str] = {
    "read": "https://www.googleapis.com/auth/devstorage.read_only",
    "write": "https://www.googleapis.com/auth/devstorage.read_write",
}


class Storage(Protocol):
    """catalogue: what reading or writing buckets means."""

    def buckets(self, project: str) -> Sequence[str]:
        """The buckets of a project, by id or number; raises `Refused` when the project is unknown."""

    def request(self, buckets: Sequence[str], mode: Mode) -> Request:
        """The operations that a token for these buckets allows."""


class Exchange:
    """Exchanges a caller's token for a Storage token of one project."""

    def __init__(self, rooms: Rooms, storage: Storage) -> None:
        self._rooms = rooms
        self._storage = storage

    async def __call__(self, token: UnverifiedToken, project: str, peer: str, job: str = "") -> Answer:
        """Decides, records and obtains; never raises, since whatever goes wrong is a refusal with a reason."""
        began = self._rooms.clock()
        draft = Decision(
            id=decision_id(began),
            at=began,
            verdict=refusal(Refused(Reason.PLANE_UNAVAILABLE)),
            circumstances=Circumstances(
                now=began // 1_000_000, peer=peer, job=job, epoch=self._rooms.revocations.epoch
            ),
            wire_method="POST",
            wire_host="",
            wire_path="/v1/token",
        )
        try:
            return await self._tell(token, project, draft)
        except NotRecorded:
            return Answer(replace(draft, verdict=refusal(Refused(Reason.RECORD_UNAVAILABLE))))
        except Exception:  # noqa: BLE001 - fail closed: what no step foresaw is a refusal
            return Answer(replace(draft, verdict=refusal(Refused(Reason.PLANE_UNAVAILABLE))))

    async def _tell(self, token: UnverifiedToken, project: str, draft: Decision) -> Answer:
        rooms, decision, purpose = self._rooms, draft, None
        try:
            identity = await rooms.authenticator.authenticate(token, draft.circumstances.now)  # a who
            decision = replace(decision, identity=identity)
            rooms.revocations.check(identity, draft.circumstances.job, draft.circumstances.now)
            decision = replace(decision, circumstances=surroundings(rooms, identity, draft.circumstances))  # c0
            request, mode, names = self._widest(identity, project, decision.circumstances)  # b what
            verdict = rooms.judge.decide(identity, request, decision.circumstances)  # c may
            decision = replace(decision, request=request, verdict=verdict)
            decision, purpose = mapped(rooms, decision, identity, request)
            if purpose is not None:
                purpose = _ending(_narrowed(purpose, mode, names, verdict), verdict, decision.circumstances)
        except Refused as refused:
            decision = refused_after(decision, refused)
            if decision.identity is None:
                return Answer(
                    decision
                )  # nobody asked: the door's access event is the evidence, and floods cost no record
        await write(rooms, decision)  # d write
        if not decision.permitted or purpose is None or decision.identity is None:
            return Answer(decision)
        credential = await obtain(rooms, decision, decision.identity, token, purpose)  # e with
        if isinstance(credential, Refused):
            return Answer(replace(decision, verdict=refusal(credential)))
        return Answer(decision, credential)

    def _widest(
        self, identity: Identity, project: str, circumstances: Circumstances
    ) -> tuple[Request, Mode, Sequence[str]]:
        """The buckets that the policy lets this identity write, else those it may read, else all (to be refused)."""
        names = self._storage.buckets(project)
        for mode in ("write", "read"):
            permitted = [name for name in names if self._permits(identity, name, mode, circumstances)]
            if permitted:
                return self._storage.request(permitted, mode), mode, permitted
        return self._storage.request(names, "read"), "read", names

    def _permits(self, identity: Identity, bucket: str, mode: Mode, circumstances: Circumstances) -> bool:
        verdict = self._rooms.judge.decide(identity, self._storage.request([bucket], mode), circumstances)
        return verdict.outcome is Outcome.PERMIT


def _narrowed(purpose: Purpose, mode: Mode, buckets: Sequence[str], verdict: Verdict) -> Purpose:
    """The purpose for these buckets alone; raises `Refused` for an obligation that no token can meet."""
    if verdict.obligations.labels:
        raise Refused(Reason.OBLIGATION_UNMET, "a token has no room for the labels that are demanded")
    return replace(purpose, scopes=(_SCOPES[mode],), buckets=tuple(sorted(buckets)))


def _ending(purpose: Purpose, verdict: Verdict, circumstances: Circumstances) -> Purpose:
    """The purpose for a token that is over when the grants that it rests on are: nobody can take it back.

    Whole minutes, so that one token serves several askers of a minute; raises `Refused` for less than Google gives.
    """
    ends = [grant.until for grant in circumstances.grants if grant.id in verdict.grants]
    left = min(ends) - circumstances.now if ends else purpose.lifetime
    if left < _SHORTEST:
        raise Refused(Reason.OBLIGATION_UNMET, "the grant ends before a token would", hint="ask for a longer grant")
    return replace(purpose, lifetime=min(purpose.lifetime, left // _MINUTE * _MINUTE))
