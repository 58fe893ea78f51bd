"""Undoing an apply that was interrupted, from its journal, the last step first.

What was made is removed, what was removed is made again, what was changed is set back. What somebody else changed since
is left as it is, and said. A step of which nobody knows whether the cloud did it is looked for, since a cloud may not
show at once what it holds. What is made again has other ids than before.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from remit.model.errors import RemitError
from remit.trust.applying.apply import Applying, Interrupted, Seen, look_until, opened
from remit.trust.applying.journal import Entry, Journal, Past, State, alone
from remit.trust.applying.patience import Patience
from remit.trust.applying.reviewed import since
from remit.trust.applying.steps import between, restored, same, same_thing, there, thing_of
from remit.trust.clouds.port import Cloud, CloudRefused, Denied, Throttled
from remit.trust.planning.plan import Act
from remit.trust.things import Fields, Found, ids_of, settled

_LAG = 30.0  # seconds for which a thing is looked for that may have been made
_ELSE = "somebody else changed it since"


@dataclass(frozen=True, slots=True)
class Undone:
    """What a rollback did.

    `steps`: how many were undone; `left`: what cannot be undone, a sentence each; `same`: there is as much to do as
    before the apply, so that the clouds hold what they held.
    """

    steps: int
    left: tuple[str, ...]
    same: bool
    journal: Path


async def rollback(work: Applying) -> Undone:
    """Undoes what the interrupted apply did.

    Raises `TrustBroken` when none was interrupted, `Interrupted` when a cloud does not answer or permit: the journal
    stays open.
    """
    with alone(work.folder):
        past = opened(work.folder)
        journal = Journal(past.path, sync=work.sync)
        seen = await work.look()
        steps = [(step, entry) for step, entry in enumerate(past.entries) if entry.state is not State.UNTOUCHED]
        left = await _Back(work, journal, seen, past.renamed).undo(steps)
        journal.close(back=True)
        now = await look_until(work, lambda seen: bool(left) or _as_before(past, seen))
        return Undone(len(steps) - len(left), tuple(left), _as_before(past, now), past.path)


def _as_before(past: Past, seen: Seen) -> bool:
    """Whether all that was to be done is to be done again, and nothing else."""
    return not list(since(tuple(entry.change for entry in past.entries), seen.plan))


class _Left(Exception):
    """A step cannot be undone."""


class _Back:
    def __init__(self, work: Applying, journal: Journal, seen: Seen, renamed: Mapping[str, str]) -> None:
        self._work = work
        self._journal = journal
        self._seen = seen
        self._renamed = dict(renamed)
        self._patience = Patience(work.tell, sleep=work.sleep)

    async def undo(self, steps: list[tuple[int, Entry]]) -> list[str]:
        """Undoes steps, the last first; tells which cannot be."""
        left: list[str] = []
        for number, (step, entry) in enumerate(reversed(steps), 1):
            change = entry.change
            self._work.tell(f"[{number}/{len(steps)}] undoing {change.act} {change.address}")
            self._journal.will(step, back=True)
            try:
                said = await self._undo(entry)
            except _Left as why:
                said = f"`{change.act} {change.address}` stays: {why}"
                left.append(said)
            except RemitError as error:
                self._journal.failed(step, error.message)
                raise Interrupted(step + 1, change, error) from error
            self._journal.undone(step, said, self._renamed)
        return left

    async def _undo(self, entry: Entry) -> str:
        cloud = self._work.clouds[entry.change.address.cloud]
        act = {Act.MAKE: self._unmake, Act.CHANGE: self._set_back, Act.REMOVE: self._make_again}[entry.change.act]
        try:
            return await act(cloud, entry)
        except (Denied, Throttled):
            raise
        except CloudRefused as error:  # it will not say otherwise another time
            raise _Left(error.message) from error

    async def _unmake(self, cloud: Cloud, entry: Entry) -> str:
        now = await self._now(entry)
        made = entry.answer or now
        if made is None:
            return "was not made"
        if entry.state is State.DONE and now and not between(now.fields, {}, made.fields):
            raise _Left(_ELSE)
        await cloud.remove(made)
        return "removed"

    async def _set_back(self, cloud: Cloud, entry: Entry) -> str:
        change, now = entry.change, await self._now(entry)
        before, after = self._sides(entry)
        if now is None:
            raise _Left("somebody else removed it since")
        if not between(now.fields, before, after):
            raise _Left(_ELSE)
        # what a cloud shows may be older than what it holds: all that the step wrote is written back
        held = Found(change.address, {**now.fields, **after}, entry.answer.ids if entry.answer else now.ids)
        thing = restored(change, self._renamed)
        await self._patience(cloud.name, lambda: cloud.change(thing, held), lagging=True)
        return "set back"

    async def _make_again(self, cloud: Cloud, entry: Entry) -> str:
        before, now = there(entry.change), self._found(entry, self._seen)
        if entry.state is State.DONE and now:  # it is shown yet, or there is another
            self._seen = await look_until(self._work, lambda seen: self._found(entry, seen) is None, _LAG)
            now = self._found(entry, self._seen)
        if now and not same(now.fields, before.fields):
            raise _Left("somebody else made another since")
        thing = restored(entry.change, self._renamed)
        made = await self._patience(cloud.name, lambda: cloud.make(thing), lagging=True)
        others = {name: value for name, value in before.ids.items() if made.ids.get(name, value) != value}
        self._renamed |= {value: made.ids[name] for name, value in others.items()}
        return f"made again, with another {' and '.join(sorted(others))}" if others else "made again"

    async def _now(self, entry: Entry) -> Found | None:
        """What is there; what is not is looked for when nobody knows whether it was made."""
        now = self._found(entry, self._seen)
        if now or entry.answer or entry.change.act is not Act.MAKE:
            return now
        self._seen = await look_until(self._work, lambda seen: self._found(entry, seen) is not None, _LAG)
        return self._found(entry, self._seen)

    def _found(self, entry: Entry, seen: Seen) -> Found | None:
        ids = ids_of(seen.found)
        address, fields = entry.change.address, settled(entry.change.after or entry.change.before or {}, ids)
        return next((one for one in seen.found if same_thing(one.address, one.fields, address, fields)), None)

    def _sides(self, entry: Entry) -> tuple[Fields, Fields]:
        """What a step changed, before and after, with ids in their places."""
        ids = ids_of(self._seen.found)
        fields = thing_of(entry.change, ids).fields
        return entry.change.before or {}, fields
