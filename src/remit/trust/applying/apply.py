"""Applying a plan: the one that was reviewed and no other, written ahead step by step.

1 nobody else applies, and no apply is left open
2 the clouds are read again and planned again; the checksum is the reviewed one, and nothing unsafe goes unnamed
3 each step: journal, cloud, journal; what a cloud does not see yet is waited for
4 the journal is closed, and ids that Entra gave are settled in the file
5 the clouds are read until they hold what the file says

Resuming plans again too: what is left must be part of what was reviewed. Leaves out: the way back (`rollback.py`).
"""

import asyncio
import os
import shlex
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from remit.model.counts import counted
from remit.model.errors import RemitError, TrustBroken
from remit.trust.applying.journal import Entry, Journal, Past, State, Sync, alone, unfinished
from remit.trust.applying.patience import Patience, Sleep, Tell
from remit.trust.applying.reviewed import kept, since
from remit.trust.applying.steps import between, same, same_thing, there, thing_of
from remit.trust.clouds.port import Cloud
from remit.trust.planning.plan import Act, Change, Plan, Risk
from remit.trust.things import Found, Ref, ids_of, settled

_SEEN = 60.0  # seconds until what was done is seen by reading
_GO_ON = "`remit trust apply --resume` goes on, `remit trust apply --rollback` undoes what was done"


@dataclass(frozen=True, slots=True)
class Seen:
    """What there is to do now, and what is there."""

    plan: Plan
    found: tuple[Found, ...]


Look = Callable[[], Awaitable[Seen]]
"""Reads the clouds and plans; raises `TrustBroken`."""

Settle = Callable[[Mapping[Ref, str]], None]
"""Writes ids that Entra gave into remit.yaml; raises `RemitError`."""


class Changed(TrustBroken):
    """The plan is not the one that was reviewed. `since`: what differs, a line each; `plan`: as it is now."""

    def __init__(self, message: str, differences: tuple[str, ...], plan: Plan) -> None:
        super().__init__(message, hint=f"read it, then `remit trust apply {plan.checksum}`")
        self.since = differences
        self.plan = plan


class Interrupted(TrustBroken):
    """A step failed. `step`: which, from 1; the journal stays open."""

    def __init__(self, step: int, change: Change, cause: RemitError) -> None:
        hint = f"{cause.hint}; then {_GO_ON}" if cause.hint else _GO_ON
        super().__init__(f"step {step}, `{change.address}`: {cause.message}", hint=hint)
        self.step = step


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an apply did. `steps`: how many; `left`: what the clouds still do not hold, as a plan; `journal`: of it."""

    steps: int
    left: Plan
    journal: Path | None = None


@dataclass(frozen=True, slots=True)
class Applying:
    """What an apply works with.

    `clouds`: by name; `folder`: of journals; `tell`: a line of progress; `sleep`: seconds; `sync`: makes a file
    durable.
    """

    clouds: Mapping[str, Cloud]
    look: Look
    folder: Path
    tell: Tell
    settle: Settle
    sleep: Sleep = field(default=asyncio.sleep)
    sync: Sync = field(default=os.fsync)


async def apply(work: Applying, checksum: str, allowed: Collection[str] = ()) -> Outcome:
    """Carries out the plan with this checksum. `allowed`: names of unsafe changes.

    Raises `Changed` when it is not the plan of now, `Interrupted` when a step failed, `TrustBroken` for what keeps it
    from beginning.
    """
    with alone(work.folder):
        _none_open(work.folder)
        seen = await work.look()
        _possible(seen.plan)
        if seen.plan.empty:
            work.settle(ids_of(seen.found))
            return Outcome(0, seen.plan)
        if seen.plan.checksum != checksum:
            raise _changed(work.folder, checksum, seen.plan)
        _safe(seen.plan, allowed)
        journal = Journal.begin(work.folder, seen.plan, allowed=sorted(allowed), sync=work.sync)
        return await _carry_out(work, journal, list(enumerate(seen.plan.changes)), seen, lagging=False)


async def resume(work: Applying, allowed: Collection[str] = ()) -> Outcome:
    """Goes on with an apply that was interrupted; steps whose effect is there are not repeated.

    `allowed`: names of removals after which nobody could repair this, beside those named then. Raises as `apply`.
    """
    with alone(work.folder):
        past = opened(work.folder)
        seen = await work.look()
        _possible(seen.plan)
        ids = ids_of(seen.found)
        steps = [(_reviewed(past, change, ids), change) for change in seen.plan.changes]
        strange = [change for step, change in steps if step is None]
        if strange:
            lines = tuple(f"not reviewed: {change.act} {change.address}: {change.says}" for change in strange)
            raise _strange(lines, seen.plan)
        _nobody_locked_out(seen.plan, {*past.allowed, *allowed})
        work.tell(f"{len(past.entries) - len(steps)} of {counted(len(past.entries), 'step')} done, {len(steps)} to do")
        journal = Journal(past.path, sync=work.sync)
        todo = [(step, change) for step, change in steps if step is not None]
        return await _carry_out(work, journal, todo, seen, lagging=past.touched > 0)


def opened(folder: Path) -> Past:
    """The apply that was interrupted; raises `TrustBroken` when there is none."""
    past = unfinished(folder)
    if past is None:
        raise TrustBroken("no apply was interrupted here", hint="`remit trust plan` shows what is to be done")
    return past


def _none_open(folder: Path) -> None:
    if past := unfinished(folder):
        done = sum(entry.state is State.DONE for entry in past.entries)
        message = f"the apply of `{past.checksum}` was interrupted: {done} of {counted(len(past.entries), 'step')} done"
        if past.touched > done:
            message += ", and of another nobody knows"
        raise TrustBroken(message, hint=_GO_ON)


def _possible(plan: Plan) -> None:
    if plan.problems:
        raise TrustBroken("nothing can be applied: " + "; ".join(plan.problems), hint="`remit trust plan` shows them")


def _changed(folder: Path, checksum: str, plan: Plan) -> Changed:
    before = kept(folder, checksum)
    if before is None:
        return Changed(f"`{checksum}` is not the plan of now, and was not shown here", (), plan)
    message = f"since the plan `{checksum}` was reviewed, the clouds, the policy or remit.yaml changed"
    return Changed(message, tuple(since(before, plan)), plan)


def _strange(lines: tuple[str, ...], plan: Plan) -> Changed:
    error = Changed("what is left to do is not part of what was reviewed", lines, plan)
    error.hint = "put it back as it was and resume, or undo what was done: `remit trust apply --rollback`"
    return error


def _nobody_locked_out(plan: Plan, allowed: Collection[str]) -> None:
    """What is left was reviewed, however it looks from halfway; who else can repair this may have changed since."""
    last = [one for one in plan.changes if any(each.risk is Risk.LAST_ADMINISTRATOR for each in one.unsafe)]
    _safe(Plan(tuple(last)), allowed)


def _safe(plan: Plan, allowed: Collection[str]) -> None:
    if refused := plan.refused(allowed):
        said = "; ".join(f"`{change.name}`: {change.unsafe[0].said}" for change in refused)
        hint = "name each that is meant: " + " ".join(f"--allow {shlex.quote(change.name)}" for change in refused)
        raise TrustBroken(f"unsafe, and not named: {said}", hint=hint)


def _reviewed(past: Past, change: Change, ids: Mapping[Ref, str]) -> int | None:
    """Which step of the journal a change is the rest of."""
    for step, entry in enumerate(past.entries):
        old = entry.change
        its, others = (settled(one.after or one.before or {}, ids) for one in (old, change))
        if same_thing(old.address, its, change.address, others):
            return step if _rest(entry, change, ids) else None
    return None


def _rest(entry: Entry, change: Change, ids: Mapping[Ref, str]) -> bool:
    """Whether a change is what is left of a step: to the same end, from something that lies on the way."""
    old = entry.change
    before, after, now, end = (
        None if fields is None else settled(fields, ids)
        for fields in (old.before, old.after, change.before, change.after)
    )
    if old.act is Act.REMOVE or change.act is Act.REMOVE:
        return old.act is change.act and between(now or {}, before, {})
    if not same(after, end) or (change.act is Act.MAKE and old.act is not Act.MAKE):
        return False
    half_made = old.act is Act.MAKE and entry.state is State.WILL  # it is ours, whatever it looks like
    return change.act is Act.MAKE or half_made or between(now or {}, before, after)


async def _carry_out(
    work: Applying, journal: Journal, steps: Sequence[tuple[int, Change]], seen: Seen, *, lagging: bool
) -> Outcome:
    ids = ids_of(seen.found)
    patience = Patience(work.tell, sleep=work.sleep)
    for number, (step, change) in enumerate(steps, 1):
        work.tell(f"[{number}/{len(steps)}] {change.act} {change.address}: {change.says}")
        journal.will(step)
        try:
            answer = await _do(work, change, ids, patience, lagging=lagging or number > 1)
        except RemitError as error:
            journal.failed(step, error.message)
            raise Interrupted(step + 1, change, error) from error
        journal.done(step, answer)
        if answer:
            ids |= ids_of([answer])
    journal.close()
    work.settle(ids)
    return Outcome(len(steps), await _until_seen(work), journal.path)


async def _do(
    work: Applying, change: Change, ids: Mapping[Ref, str], patience: Patience, *, lagging: bool
) -> Found | None:
    cloud = work.clouds[change.address.cloud]
    if change.act is Act.REMOVE:
        await patience(cloud.name, lambda: cloud.remove(there(change)), lagging=lagging)
        return None
    thing = thing_of(change, ids)
    if change.act is Act.MAKE:
        answer = await patience(cloud.name, lambda: cloud.make(thing), lagging=lagging)
    else:
        answer = await patience(cloud.name, lambda: cloud.change(thing, there(change)), lagging=lagging)
    return Found(change.address, answer.fields, answer.ids)


async def _until_seen(work: Applying) -> Plan:
    """What is left to do once the clouds show what was done, or a minute later."""
    return (await look_until(work, lambda seen: seen.plan.empty)).plan


async def look_until(work: Applying, good: Callable[[Seen], bool], limit: float = _SEEN) -> Seen:
    """What is there when it is good, or `limit` seconds later."""
    waited, pause = 0.0, 1.0
    while True:
        seen = await work.look()
        if good(seen) or waited >= limit:
            return seen
        pause = min(pause * 2, limit - waited)
        waited += pause
        work.tell(f"looking whether the clouds show it ({waited:.0f} s)")
        await work.sleep(pause)
