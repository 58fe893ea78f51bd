"""The broker's story: a token for an identity (RFC 8693), decided and recorded like any request.

What it hands out here is a `direct` Storage token: narrowed to the buckets of one project that the policy permits
this identity, at most 15 minutes long (DESIGN section 3). Write access is tried first; who may only read gets a token
that can only read. Leaves out the protocol's form (`arbiter`).
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, Protocol

from remit.access.decide import Rooms, judge, obtain, refusal
from remit.model.credential import Purpose
from remit.model.decision import Answer, Circumstances, Decision
from remit.model.errors import NotRecorded, Refused
from remit.model.identity import Identity
from remit.model.names import decision_id
from remit.model.operation import Request
from remit.model.outcome import Outcome
from remit.model.reasons import Reason
from remit.model.record import decision_record
from remit.model.secret import UnverifiedToken

Mode = Literal["read", "write"]
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
            decision = replace(decision, circumstances=rooms.observer.observe(identity, draft.circumstances))  # c0
            request, mode, names = self._widest(identity, project, decision.circumstances)  # b what
            decision, purpose = judge(rooms, replace(decision, request=request), identity, request)  # c may
            if purpose is not None:
                purpose = _narrowed(purpose, mode, names)
        except Refused as refused:
            decision = replace(decision, verdict=refusal(refused))
            if decision.identity is None:
                return Answer(
                    decision
                )  # nobody asked: the door's access event is the evidence, and floods cost no record
        await rooms.recorder.record(decision_record(decision))  # d write
        if purpose is None or decision.identity is None:
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


def _narrowed(purpose: Purpose, mode: Mode, buckets: Sequence[str]) -> Purpose:
    return replace(purpose, scopes=(_SCOPES[mode],), buckets=tuple(sorted(buckets)))
