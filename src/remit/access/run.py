"""The story of a run: begun under an id, with what was granted for it, and over for good when it ends.

    a  who     as for every request: somebody who has been revoked begins nothing
    b  what    the id, the name and the project; an id is whose it was first
    c0         how long it is to last, as declared or as runs of its name have lasted, and what ends before that; it
               is asked as from within the run: what policies say of runs of this name holds for beginning one
    c  may     `remit.runs.start` on the project, with `context.outlived`: the policies refuse what would die half-way
    d  write   the decision is durable
    e  effect  the entry and the row are one commit; then what waits for a run of this name is this one's

    end        the run is over, it is locked for as long as anything that it was given can live, its grants end

A run without a project asks nobody, as taking what one was granted never did; it is bound to no project then. Beginning
holds whoever runs `remit run`: what a token may do is decided at each use of it. Ending one's own is nobody's to
permit, has no decision, and may be told twice. Leaves out the form that it is asked in (`arbiter`).
"""

import asyncio
import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from remit.access.asking import Caller
from remit.access.case import Case, Wire, tell
from remit.access.decide import Rooms
from remit.access.lifetime import Outlook, foresee
from remit.access.lifetime import Work as Lasting
from remit.access.ports import Waiting, Words
from remit.access.revoke import Revoker
from remit.model.decision import Decision
from remit.model.errors import Refused
from remit.model.identity import Identity
from remit.model.job import NAME, Run, usually
from remit.model.lifetime import Hop, Place, Rests
from remit.model.operation import RUNS_START, Operation, Request, Resource, Work
from remit.model.reasons import Reason
from remit.model.revocation import ENDED_RUN, Revocation, Scope

LONGEST = 366 * 86400
"""Seconds that a run may say it lasts."""

_JOB = re.compile(r"j-[0-9a-z]{26}")
_SECOND = 1_000_000  # microseconds
_STARTS, _ENDS = (Wire(RUNS_START, method, "/v1/jobs", "grants") for method in ("POST", "DELETE"))
_ASKS = Wire(RUNS_START, "GET", "/v1/lifetime", "lifetime")

_log = logging.getLogger(__name__)


class Store(Protocol):
    """grants: the rows of runs, each changed together with its entry. As `remit.grants.runs.RunStore`."""

    async def find(self, job: str) -> Run | None:
        """One run, over or not."""

    async def begin(self, who: Identity, run: Run, *, decision: str) -> Run:
        """Writes it down; told twice, it is one run. Raises `Refused` when the id is somebody's, or over."""

    async def finish(self, who: Identity, run: Run, *, at: int) -> Run:
        """It is over, since when it was told first."""

    async def lasted(self, principal: str, project: str, name: str) -> Sequence[int]:
        """Seconds that the latest runs like this one took."""


class Grants(Waiting, Protocol):
    """grants: what runs have. As `remit.grants.store.GrantStore`."""

    async def start(self, who: Identity, job: str, name: str, *, at: int) -> tuple[str, ...]:
        """Gives a run what waits for it; the ids of all that it has."""

    async def end(self, who: Identity, job: str, *, at: int) -> tuple[str, ...]:
        """Ends what a run has; the ids."""


@dataclass(frozen=True, slots=True)
class Begin:
    """A run as it is told, or asked about. `project`: an id or number, or empty; `lasting`: seconds, 0 for unsaid."""

    job: str = ""
    name: str = ""
    project: str = ""
    lasting: int = 0


@dataclass(frozen=True, slots=True)
class Ruling:
    """What became of it; nothing did unless it is `done`.

    `decision`: with an id only where one was recorded; `ids`: of the grants that the run has, or had; `hops`: all that
    it depends on, and `outlived`: those that end before it; `lasting`: seconds that it is taken to last, 0 for unknown.
    """

    decision: Decision
    done: bool = False
    ids: tuple[str, ...] = ()
    hops: tuple[Hop, ...] = ()
    outlived: tuple[Hop, ...] = ()
    lasting: int = 0


@dataclass(frozen=True, slots=True)
class Keeping:
    """What runs are kept with.

    `refresh`: makes what was committed count in this process, blocks; `lives`: seconds that anything can live which a
    run was given.
    """

    runs: Store
    grants: Grants
    revoker: Revoker
    refresh: Callable[[], None]
    lives: int


class Jobs:
    """All that can be asked of runs; nothing here raises, since whatever goes wrong is a refusal with a reason."""

    def __init__(self, rooms: Rooms, words: Words, keeping: Keeping) -> None:
        self._rooms = rooms
        self._words = words
        self._keep = keeping

    async def start(self, caller: Caller, begin: Begin) -> Ruling:
        """A run of the caller's begins."""
        return await tell(self._rooms, caller, _STARTS, lambda case: self._start(case, begin), Ruling)

    async def end(self, caller: Caller, job: str) -> Ruling:
        """A run of the caller's is over: what was granted for it, and whatever else it holds."""
        return await tell(self._rooms, caller, _ENDS, lambda case: self._end(case, job), Ruling)

    async def outlook(self, caller: Caller, begin: Begin) -> Ruling:
        """What a run would depend on, and what the policies would say of it: of oneself nothing is recorded."""

        async def story(case: Case) -> Ruling:
            resource = self._checked(begin)
            outlook = await self._outlook(case, begin, resource)
            return _ruling(replace(case.decision, id="", verdict=outlook.verdict), outlook)

        return await tell(self._rooms, caller, _ASKS, story, Ruling)

    async def _start(self, case: Case, begin: Begin) -> Ruling:
        # b what
        if not _JOB.fullmatch(begin.job):
            raise Refused(Reason.REQUEST_MALFORMED, "a run has an id (`j-…`)")
        resource = self._checked(begin)
        self._rooms.revocations.check(case.identity, begin.job, case.now)
        _check_free(await self._keep.runs.find(begin.job), case.identity)
        # c0, c may
        outlook = await self._outlook(case, begin, resource)
        decision = ""
        if resource is not None:
            # d write
            if not await case.conclude(outlook.verdict):
                return _ruling(case.decision, outlook, done=False)
            decision = case.decision.id
        # e effect
        at, who = case.decision.at, case.identity
        project = resource.project if resource else ""
        run = Run(begin.job, who.principal.key, begin.name, project, begin.lasting, at)
        await self._keep.runs.begin(who, run, decision=decision)
        ids = await self._keep.grants.start(who, begin.job, begin.name, at=at) if begin.name else ()
        await self._counts()
        return replace(_ruling(replace(case.decision, id=decision), outlook), ids=ids)

    async def _end(self, case: Case, job: str) -> Ruling:
        if not _JOB.fullmatch(job):
            raise Refused(Reason.REQUEST_MALFORMED, "a run has an id (`j-…`)")
        keep, who, at = self._keep, case.identity, case.decision.at
        run = await keep.runs.find(job)
        if run is not None:
            if run.principal != who.principal.key:
                raise _somebody_elses(job)
            await self._lock(who, await keep.runs.finish(who, run, at=at), case.now)
        ids = await keep.grants.end(who, job, at=at)
        await self._counts()
        return Ruling(replace(case.decision, id=""), done=True, ids=ids)

    async def _lock(self, who: Identity, run: Run, now: int) -> None:
        """The id is good for nothing any more, until nothing lives that was given for it."""
        until = run.ended // _SECOND + self._keep.lives
        if until <= now:  # told again, days later
            return
        because = "the run is over"
        asked = Revocation(Scope.JOB, run.id, locked=True, until=until, source=ENDED_RUN, because=because)
        await self._keep.revoker.revoke(asked, actor=who.principal.key, name=who.display, decision="")

    async def _outlook(self, case: Case, begin: Begin, resource: Resource | None) -> Outlook:
        """Steps c0 and c; without a project nobody is asked, and only the hops are told."""
        key, now = case.identity.principal.key, case.now
        project = resource.project if resource else ""
        lasting = begin.lasting
        waiting: Sequence[int] = ()
        if begin.name:
            lasting = lasting or usually(await self._keep.runs.lasted(key, project, begin.name))
            waiting = [kept.wanted.lasting for kept in await self._keep.grants.waiting(key, begin.name, now)]
        rests = Rests(grants=now + min(waiting) if waiting else 0)
        seen = replace(case.decision.circumstances, job=begin.job, job_name=begin.name)
        if resource is None:
            hops = tuple(self._rooms.lifetimes.hops(case.identity, Place.RUN, rests, now))
            return Outlook(case.decision.verdict, seen, hops, lasting)
        work = Work(duration=lasting) if lasting else None
        request = Request((Operation(RUNS_START, (resource,), work=work),))
        asked = Lasting(Place.RUN, lasting, rests)
        found = foresee(self._rooms, case.identity, request, seen, asked)
        case.decision = replace(case.decision, request=request, circumstances=found.circumstances)
        return found

    def _checked(self, begin: Begin) -> Resource | None:
        """The project, `None` for none; raises `Refused` for what is no run."""
        if begin.name and not NAME.fullmatch(begin.name):
            hint = "letters, digits, `.`, `_` and `-`, at most 63"
            raise Refused(Reason.REQUEST_MALFORMED, "this is not the name of a run", hint=hint)
        if not 0 <= begin.lasting <= LONGEST:
            raise Refused(Reason.REQUEST_MALFORMED, "a run lasts a year at the most", hint="say `--for 6h`")
        if not begin.project:
            return None
        resource = self._words.resource(begin.project)
        if resource.type != "Project":
            raise Refused(Reason.RESOURCE_UNKNOWN, f"`{begin.project}` is no project in `remit.yaml`")
        return resource

    async def _counts(self) -> None:
        """What was committed counts here at once; where that cannot be had, a moment later."""
        try:
            await asyncio.to_thread(self._keep.refresh)
        except Exception as error:  # noqa: BLE001 - it is committed, and the views go on looking by themselves
            _log.info("runs could not be looked at: %s", type(error).__name__)


def _ruling(decision: Decision, outlook: Outlook, *, done: bool = True) -> Ruling:
    return Ruling(decision, done, (), outlook.hops, outlook.outlived, outlook.lasting)


def _check_free(run: Run | None, who: Identity) -> None:
    if run is None:
        return
    if run.principal != who.principal.key:
        raise _somebody_elses(run.id)
    if run.ended:
        raise Refused(Reason.REQUEST_MALFORMED, f"the run `{run.id}` is over")


def _somebody_elses(job: str) -> Refused:
    return Refused(Reason.REQUEST_MALFORMED, f"the run `{job}` is somebody else's")
