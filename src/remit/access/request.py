"""The story of a grant: asked for, approved by others, in force for a while; every step is a record.

    a  who     as for every request: somebody who has been revoked asks for nothing and approves nothing
    b  what    the words become an action and a resource, or the id becomes what was asked for
    c  may     to ask: would a grant permit it (`hypothesis`); to take without waiting, to approve, deny, review, and to
               end somebody else's: the policies' word on `remit.grants.break_glass` and `remit.grants.approve`
    d  write   the decision is durable
    e  effect  the entry and the row are one commit, and what comes of it counts at this arbiter when it is told

Only people approve, never what they have asked for, and what is granted just in time grants nobody the right to grant:
those questions are decided as if the caller had no grants. Ending one's own is nobody's to permit, and has no decision.
A person who approved and is revoked later has approved: the grant stays,
and whoever may approve can withdraw it. Leaves out the form that it is asked in (`arbiter`), and the runs that
grants may wait for (`run`).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from remit.access.asking import Caller
from remit.access.case import Case, Wire, tell
from remit.access.decide import Rooms
from remit.access.hypothesis import Askable, Hypothesis, members
from remit.access.ports import Words
from remit.model.decision import Decision, Verdict
from remit.model.errors import Refused
from remit.model.grant import GrantState, Kept, Step, Wanted
from remit.model.identity import Identity, Kind
from remit.model.job import NAME
from remit.model.operation import (
    GRANTS_APPROVE,
    GRANTS_BREAK_GLASS,
    GRANTS_REQUEST,
    Action,
    Asked,
    Group,
    Operation,
    Request,
)
from remit.model.outcome import Outcome
from remit.model.reasons import Reason

SHORTEST, LONGEST = 60, 30 * 86400
"""Seconds that a grant lasts: less than a minute is over before it is used, and what is needed for more than a month is
a matter of policy."""

_REASON = 500  # characters: what a person reads before approving
_ABOUT_GRANTS = frozenset({GRANTS_REQUEST.id, GRANTS_APPROVE.id, GRANTS_BREAK_GLASS.id})
_FEW = 50  # actions that are judged without leaving the event loop
_ANSWERS = frozenset({Step.APPROVE, Step.DENY, Step.WITHDRAW, Step.REVIEW})
_CAN_APPROVE = frozenset({Outcome.PERMIT, Outcome.STEP_UP})

_log = logging.getLogger(__name__)


class Store(Protocol):
    """grants: the rows, each changed together with its entry. As `remit.grants.store.GrantStore`."""

    async def ask(self, asker: Identity, wanted: Wanted, needed: int, *, decision: str, at: int) -> Kept:
        """Asks; granted at once when nobody is `needed`. The same, asked for again, is the same grant."""

    async def answer(self, who: Identity, asked: Kept, step: Step, because: str, *, decision: str, at: int) -> Kept:
        """Approves, denies, withdraws or reviews what was judged; raises `Refused` when it is not the next step."""

    async def find(self, grant: str) -> Kept | None:
        """One grant."""

    async def own(self, principal: str, now: int, *, everything: bool) -> Sequence[Kept]:
        """What a principal has asked for."""

    async def others(self, principal: str, now: int, *, everything: bool) -> Sequence[Kept]:
        """What everybody else has asked for."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody asks for, in their words. `lasting`: seconds."""

    action: str
    resource: str
    lasting: int
    because: str
    job: str = ""
    break_glass: bool = False


@dataclass(frozen=True, slots=True)
class Said:
    """What somebody says to a grant. `digest`: of what they were shown; empty when they trust what is there."""

    grant: str
    step: Step
    because: str = ""
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Told:
    """A grant as it is shown to somebody. `may_approve`: whether their word on it is waited for."""

    kept: Kept
    mine: bool
    may_approve: bool = False


@dataclass(frozen=True, slots=True)
class Ruling:
    """What became of it; nothing did unless it is `done`.

    `decision`: with an id only where one was recorded; `grants`: what is shown, or the one that it is about;
    `permitted`: what was asked for where nothing has to be granted for it, and nothing was.
    """

    decision: Decision
    done: bool = False
    grants: tuple[Told, ...] = ()
    permitted: Wanted | None = None


class Ask:
    """All that can be asked; nothing here raises, since whatever goes wrong is a refusal with a reason.

    `actions`: every action that a request can hold, with its group; `named`: ids of those that the policies name now;
    `refresh`: makes what was committed count in this process, blocks.
    """

    def __init__(
        self,
        rooms: Rooms,
        words: Words,
        store: Store,
        *,
        actions: Mapping[str, Group],
        named: Callable[[], Collection[str]],
        refresh: Callable[[], None],
    ) -> None:
        self._rooms = rooms
        self._words = words
        self._store = store
        self._actions = actions
        self._named = named
        self._refresh = refresh

    async def ask(self, caller: Caller, wish: Wish) -> Ruling:
        """Asks for a grant, or takes one without waiting."""
        return await self._tell(caller, GRANTS_REQUEST, "POST", lambda case: self._ask(case, wish))

    async def say(self, caller: Caller, said: Said) -> Ruling:
        """Approves, denies, withdraws or reviews."""
        return await self._tell(caller, GRANTS_APPROVE, "POST", lambda case: self._say(case, said))

    async def show(self, caller: Caller, *, everything: bool = False) -> Ruling:
        """What the caller has asked for, and what others have that the caller may approve."""
        return await self._tell(caller, GRANTS_APPROVE, "GET", lambda case: self._list(case, everything=everything))

    async def _ask(self, case: Case, wish: Wish) -> Ruling:
        # b what
        action, wanted = self._wanted(case, wish)
        _check(wanted)
        asked = Asked(wanted.action, wanted.lasting, wanted.principal, wanted.break_glass)
        asking = GRANTS_BREAK_GLASS if wanted.break_glass else GRANTS_REQUEST
        case.about(Operation(asking, (wanted.resource,), asked=asked))
        # c may
        askable = await self._askable(case, action, wanted)
        verdict = askable.verdict
        if askable.already:
            case.about(Operation(GRANTS_REQUEST, (wanted.resource,), asked=asked))  # whatever it was: nothing is taken
            await case.conclude(verdict)
            return Ruling(case.decision, done=True, permitted=wanted)
        if verdict.outcome is Outcome.PERMIT and wanted.break_glass:
            case.without_grants()
            verdict = case.judged()
        # d write
        if not await case.conclude(verdict):
            return Ruling(case.decision)
        # e effect
        decision = case.decision
        kept = await self._store.ask(case.identity, wanted, askable.needed, decision=decision.id, at=decision.at)
        if wanted.break_glass:
            words = (wanted.principal, wanted.action, wanted.resource.name, wanted.because, kept.id)
            _log.warning("break glass: `%s` takes `%s` on `%s` without waiting: %s (%s)", *words)
        await self._counts()
        return Ruling(decision, done=True, grants=(Told(kept, mine=True),))

    def _wanted(self, case: Case, wish: Wish) -> tuple[Action, Wanted]:
        action, resource = self._words.action(wish.action), self._words.resource(wish.resource)
        key, because = case.identity.principal.key, wish.because.strip()
        return action, Wanted(key, action.id, resource, wish.lasting, because, wish.job, wish.break_glass)

    async def _askable(self, case: Case, action: Action, wanted: Wanted) -> Askable:
        actions = members(action, self._actions, self._named())
        question = Hypothesis(self._rooms.judge, case.identity, case.decision.circumstances, wanted, actions)
        return question.askable() if len(actions) <= _FEW else await asyncio.to_thread(question.askable)

    async def _say(self, case: Case, said: Said) -> Ruling:
        # b what
        kept = await self._store.find(said.grant) if said.step in _ANSWERS else None
        if kept is None:
            raise Refused(Reason.REQUEST_MALFORMED, "there is no such grant", hint="look at them: `remit list`")
        mine = kept.wanted.principal == case.identity.principal.key
        case.about(_approving(kept))
        decision = ""
        if not (mine and said.step is Step.WITHDRAW):
            case.without_grants()
            if case.identity.principal.kind is not Kind.PERSON or mine:
                raise Refused(Reason.NO_POLICY_PERMITS, "only people approve, and never what they have asked for")
            # c may, d write
            if not await case.conclude(case.judged()):
                return Ruling(case.decision)
            decision = case.decision.id
        # e effect
        _check_reason(said.because, least=0)
        if said.digest and said.digest != kept.wanted.digest:
            raise Refused(Reason.REQUEST_MALFORMED, "this is not what was shown", hint="look again: `remit list`")
        at = case.decision.at
        kept = await self._store.answer(case.identity, kept, said.step, said.because, decision=decision, at=at)
        await self._counts()
        return Ruling(replace(case.decision, id=decision), done=True, grants=(Told(kept, mine),))

    async def _list(self, case: Case, *, everything: bool) -> Ruling:
        """Whoever could approve after a stronger sign-in reads what it would be for; saying so takes the sign-in."""
        key = case.identity.principal.key
        own = await self._store.own(key, case.now, everything=everything)
        told = [Told(kept, mine=True) for kept in own]
        if case.identity.principal.kind is Kind.PERSON:
            case.without_grants()
            others = await self._store.others(key, case.now, everything=everything)
            found = await asyncio.to_thread(self._approvable, case, others)
            if found:
                case.about(*dict.fromkeys(_approving(kept) for kept, _ in found))
                verdicts = sorted((verdict for _, verdict in found), key=lambda one: one.outcome is Outcome.PERMIT)
                await case.conclude(verdicts[0])
            told += [Told(kept, mine=False, may_approve=_waits(kept, key, case.now)) for kept, _ in found]
        return Ruling(case.decision, done=True, grants=tuple(told))

    def _approvable(self, case: Case, others: Sequence[Kept]) -> list[tuple[Kept, Verdict]]:
        """What of this the caller may approve; each question is asked once."""
        known: dict[Operation, Verdict] = {}
        for kept in others:
            question = _approving(kept)
            if question not in known:
                circumstances = case.decision.circumstances
                known[question] = self._rooms.judge.decide(case.identity, Request((question,)), circumstances)
        return [(kept, known[_approving(kept)]) for kept in others if known[_approving(kept)].outcome in _CAN_APPROVE]

    async def _counts(self) -> None:
        """What was committed counts here at once; where that cannot be had, a moment later."""
        try:
            await asyncio.to_thread(self._refresh)
        except Exception as error:  # noqa: BLE001 - it is committed, and the view goes on looking by itself
            _log.info("grants could not be looked at: %s", type(error).__name__)

    async def _tell(
        self, caller: Caller, action: Action, method: str, story: Callable[[Case], Awaitable[Ruling]]
    ) -> Ruling:
        return await tell(self._rooms, caller, Wire(action, method, "/v1/grants", "grants"), story, Ruling)


def _approving(kept: Kept) -> Operation:
    wanted = kept.wanted
    asked = Asked(wanted.action, wanted.lasting, wanted.principal, wanted.break_glass)
    return Operation(GRANTS_APPROVE, (wanted.resource,), asked=asked)


def _waits(kept: Kept, key: str, now: int) -> bool:
    """Whether a word is waited for that this person has not said."""
    return kept.review_due or (kept.standing(now) is GrantState.ASKED and key not in kept.approvers)


def _check(wanted: Wanted) -> None:
    """The bounds of what can be asked for; raises `Refused`."""
    if wanted.action in _ABOUT_GRANTS:
        raise Refused(Reason.REQUEST_MALFORMED, "what is about grants is not granted just in time")
    if not SHORTEST <= wanted.lasting <= LONGEST:
        raise Refused(Reason.REQUEST_MALFORMED, "a grant lasts from a minute to 30 days", hint="say `--for 2h`")
    if wanted.job and not NAME.fullmatch(wanted.job):
        hint = "letters, digits, `.`, `_` and `-`, at most 63"
        raise Refused(Reason.REQUEST_MALFORMED, "this is not the name of a run", hint=hint)
    _check_reason(wanted.because, least=1)


def _check_reason(because: str, *, least: int) -> None:
    if not least <= len(because) <= _REASON or not because.isprintable():
        raise Refused(Reason.REQUEST_MALFORMED, f"a reason has {least} to {_REASON} characters that print")
