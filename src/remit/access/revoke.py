"""The story of a revocation: asked for like anything else, recorded before its effect, acknowledged after it.

    a  who     as for every request: somebody who has been revoked revokes nobody
    c  may     `remit.revocations.create`, `.lift` or `.list` on the installation, by the same policies
    d  write   the decision is durable
    b  whom    a name becomes a principal, only now: whoever may not revoke learns nothing of who is known here
    e  effect  the entry and the row are one commit, and it holds at every arbiter

Leaves out the form that it is asked in (`arbiter`), and the operator on the machine itself (`cli`), whom no policy
judges: who may read the ledger's key needs none.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from remit.access.asking import Caller, asked, drafted
from remit.access.decide import Rooms, refusal, unanswered
from remit.model.decision import Decision
from remit.model.errors import Refused
from remit.model.operation import INSTALLATION, OWN_ACTIONS, Action, Operation, Request
from remit.model.reasons import Reason
from remit.model.record import outcome_record
from remit.model.revocation import ENDED_RUN, Revocation, Scope

_CREATE, _LIFT, _LIST = OWN_ACTIONS
_PATH = "/v1/revocations"
_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_PREFIXES = {"s-": Scope.SESSION, "j-": Scope.JOB}


class Acknowledgement(Protocol):
    """That a revocation holds everywhere; as `remit.identity.revocation.revoker.Acknowledged`."""

    @property
    def epoch(self) -> int:
        """The revocation's number."""

    @property
    def arbiters(self) -> tuple[str, ...]:
        """Who holds it."""

    @property
    def fenced(self) -> tuple[str, ...]:
        """Who does not, and permits nothing until it does."""

    @property
    def took_ms(self) -> int:
        """From being asked to this."""


class InForce(Protocol):
    """A revocation that stands; as `remit.identity.revocation.store.Standing`."""

    @property
    def number(self) -> int:
        """Its epoch."""

    @property
    def at(self) -> int:
        """Microseconds since the epoch."""

    @property
    def actor(self) -> str:
        """Who asked for it."""

    @property
    def revocation(self) -> Revocation:
        """What was asked for."""


class Revoker(Protocol):
    """identity: makes it so, and waits until it is."""

    async def revoke(self, revocation: Revocation, *, actor: str, name: str, decision: str) -> Acknowledgement:
        """Returns when it holds everywhere; raises `Refused`, `NotRecorded`. `name`: of the actor, for people."""

    async def lift(
        self, scope: Scope, subject: str, *, because: str, actor: str, decision: str
    ) -> Acknowledgement | None:
        """Ends the operators' locks on a subject; `None` when there is none."""

    def standing(self, now: int) -> Sequence[InForce]:
        """What is in force; blocks."""


@dataclass(frozen=True, slots=True)
class Known:
    """Who can be meant. `tenants`: as in `Principal.tenant`, of all issuers.

    `seen`: the principals' keys that a display name had in recent decisions; blocks.
    """

    tenants: frozenset[str]
    seen: Callable[[str], frozenset[str]]

    def subject(self, word: str, scope: Scope | None = None) -> tuple[Scope, str]:
        """What a person means by a word; raises `Refused` with `REQUEST_MALFORMED` unless it is one thing.

        `TENANT/SUBJECT`; an object id, where there is one Entra tenant; `s-…`, a session; `j-…`, a job; else a name.
        """
        scope = scope or _PREFIXES.get(word[:2], Scope.PRINCIPAL)
        if not word:
            raise _unclear("nobody is named", "name a principal, a session or a job")
        if scope is not Scope.PRINCIPAL:
            return scope, word
        tenant, separator, rest = word.partition("/")
        if separator:
            return scope, self._key(tenant, rest)
        if _GUID.fullmatch(word.lower()):
            directories = sorted(filter(_GUID.fullmatch, self.tenants))
            return scope, _only(word, [f"{directory}/{word.lower()}" for directory in directories])
        return scope, _only(word, sorted(self.seen(word)))

    def _key(self, tenant: str, subject: str) -> str:
        if _GUID.fullmatch(tenant.lower()):
            tenant, subject = tenant.lower(), subject.lower()
        if tenant not in self.tenants or not subject:
            known = ", ".join(f"`{name}/…`" for name in sorted(self.tenants))
            raise _unclear(f"`{tenant}/{subject}` names nobody of an issuer of this installation", f"known are {known}")
        return f"{tenant}/{subject}"


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants revoked or lifted.

    `word`: as in `Known.subject`; `scope`: when the word alone does not tell; `sign_in_again`: end what was issued
    until now, instead of locking; `lasting`: seconds that the lock holds, 0 for until it is lifted.
    """

    word: str
    scope: Scope | None = None
    sign_in_again: bool = False
    lasting: int = 0
    because: str = ""

    def revocation(self, scope: Scope, subject: str, now: int) -> Revocation:
        """The revocation as it is asked for at `now`, seconds since the epoch."""
        if self.sign_in_again:
            return Revocation(scope, subject, before=now, because=self.because)
        until = now + self.lasting if self.lasting else 0
        return Revocation(scope, subject, locked=True, until=until, because=self.because)


@dataclass(frozen=True, slots=True)
class Ruling:
    """What became of it. Nothing did unless the decision is a permit.

    `acknowledged` is `None` for a lift that found nothing to lift; `standing`: what was asked to be listed; `warning`:
    what the caller should know, may be empty.
    """

    decision: Decision
    scope: Scope | None = None
    subject: str = ""
    acknowledged: Acknowledgement | None = None
    standing: tuple[InForce, ...] = ()
    warning: str = ""


class Revoke:
    """The three things that can be asked; none of them raises, since whatever goes wrong is a refusal with a reason."""

    def __init__(self, rooms: Rooms, revoker: Revoker, known: Known) -> None:
        self._rooms = rooms
        self._revoker = revoker
        self._known = known

    async def create(self, caller: Caller, wish: Wish) -> Ruling:
        """Revokes."""

        async def effect(ruling: Ruling) -> Ruling:
            scope, subject = await self._subject(wish)
            asked = wish.revocation(scope, subject, ruling.decision.circumstances.now)
            who, decision = ruling.decision.identity, ruling.decision.id
            name = who.display if who else ""
            done = await self._revoker.revoke(asked, actor=_actor(ruling), name=name, decision=decision)
            warning = "this is your own access" if subject == _actor(ruling) else ""
            return replace(ruling, scope=scope, subject=subject, acknowledged=done, warning=warning)

        return await self._tell(caller, _CREATE, effect)

    async def lift(self, caller: Caller, wish: Wish) -> Ruling:
        """Lifts what operators have locked."""

        async def effect(ruling: Ruling) -> Ruling:
            scope, subject = await self._subject(wish)
            asked = self._revoker.lift(
                scope, subject, because=wish.because, actor=_actor(ruling), decision=ruling.decision.id
            )
            return replace(ruling, scope=scope, subject=subject, acknowledged=await asked)

        return await self._tell(caller, _LIFT, effect)

    async def list(self, caller: Caller) -> Ruling:
        """Tells what stands, without the runs that are over: there are hundreds a day, and nobody lifts them."""

        async def effect(ruling: Ruling) -> Ruling:
            found = await asyncio.to_thread(self._revoker.standing, ruling.decision.circumstances.now)
            return replace(ruling, standing=tuple(one for one in found if one.revocation.source != ENDED_RUN))

        return await self._tell(caller, _LIST, effect)

    async def _subject(self, wish: Wish) -> tuple[Scope, str]:
        return await asyncio.to_thread(self._known.subject, wish.word, wish.scope)

    async def _tell(self, caller: Caller, action: Action, effect: Callable[[Ruling], Awaitable[Ruling]]) -> Ruling:
        request = Request((Operation(action, (INSTALLATION,)),))
        method = "GET" if action is _LIST else "POST"
        try:
            decision = await asked(self._rooms, caller, request, method=method, path=_PATH)
            return await self._effect(decision, effect) if decision.permitted else Ruling(decision)
        except Exception as error:  # noqa: BLE001 - fail closed: what no step foresaw is a refusal
            return Ruling(unanswered(drafted(self._rooms, caller, request, method=method, path=_PATH), error))

    async def _effect(self, decision: Decision, effect: Callable[[Ruling], Awaitable[Ruling]]) -> Ruling:
        """Steps b and e; what cannot be done is recorded as the outcome."""
        try:
            return await effect(Ruling(decision))
        except Refused as refused:
            at = self._rooms.clock()
            entry = outcome_record(decision, at, "revocations", refused.reason, refused.message)
            await self._rooms.recorder.record(entry)
            return Ruling(replace(decision, verdict=refusal(refused)))


def _actor(ruling: Ruling) -> str:
    identity = ruling.decision.identity
    return identity.principal.key if identity else ""


def _only(word: str, candidates: list[str]) -> str:
    if len(candidates) == 1:
        return candidates[0]
    if not candidates:
        raise _unclear(f"nobody named `{word}` was seen in the last 30 days", "name the principal: TENANT/SUBJECT")
    raise _unclear(f"`{word}` can mean {', '.join(f'`{key}`' for key in candidates)}", "name one of them")


def _unclear(message: str, hint: str) -> Refused:
    return Refused(Reason.REQUEST_MALFORMED, message, hint=hint)
