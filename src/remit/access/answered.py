"""The story of an upstream's answer: whose is what came into being, and why was it refused?

    1  which   the decision that permitted the request: a permit, young, of this very host
    2  what    the answer becomes a name, or a cause
    3  whose   what was started belongs to the caller from then on
    4  why     the probable cause of a refusal is written down, and told to the caller

Nothing here permits anything, and nothing fails: what is not understood, not known or not in time is as if nobody had
told it. What is started then belongs to nobody, and needs an explicit permit. Leaves out how it is told (`arbiter`).
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from remit.access.decide import Rooms
from remit.model.causes import Cause
from remit.model.errors import NotRecorded, RemitError
from remit.model.outcome import Outcome
from remit.model.record import answer_record
from remit.model.wire import Answered, UpstreamAnswer

PATIENCE = 0.9  # seconds that the caller's answer waits for this story, which goes on without it
AGE = 15 * 60 * 1_000_000  # microseconds between a decision and the answer to it: the gateway's longest request

_SKEW = 60 * 1_000_000  # microseconds by which the clock of the arbiter that decided may be ahead
_REMEMBERED = 10_000  # refusals that were written down: a leased permit can be refused many times over
_GOOD = range(200, 300)
_BUCKET = 7  # parts of `//storage.googleapis.com/projects/_/buckets/BUCKET`

_log = logging.getLogger(__name__)

Record = Mapping[str, Any]
Find = Callable[[str], Record | None]
"""A decision's record by its id, which may block."""


class Learn:
    """The story of one answer."""

    def __init__(self, rooms: Rooms, find: Find, *, patience: float = PATIENCE) -> None:
        self._rooms = rooms
        self._find = find
        self._patience = patience
        self._under_way: set[asyncio.Task[Cause | None]] = set()
        self._written: OrderedDict[tuple[str, Cause], None] = OrderedDict()

    async def __call__(self, decision: str, host: str, answer: UpstreamAnswer) -> Cause | None:
        """The probable cause of a refusal, `None` for everything else; never raises, and answers within `patience`."""
        task = asyncio.create_task(self._told(decision, host, answer))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        done, _ = await asyncio.wait({task}, timeout=self._patience)
        return task.result() if done else None

    async def close(self) -> None:
        """Waits for what is under way; for a process that stops."""
        await asyncio.gather(*self._under_way, return_exceptions=True)

    async def _told(self, decision: str, host: str, answer: UpstreamAnswer) -> Cause | None:
        cause: Cause | None = None
        try:
            # 1 which
            record = await asyncio.to_thread(self._find, decision)
            if record is None or not self._believed(record, host):
                _log.warning("an answer to decision %.40r is not heard: no young permit for that host", decision)
                return None
            # 2 what
            said = self._rooms.classifier.answered(host, answer)
            cause = said.cause
            # 3 whose
            if said.started and _could_start(record, said.started, answer):
                await self._rooms.works.started(said.started, record["principal"], decision, self._rooms.clock())
            # 4 why
            if cause is not None:
                await self._write(decision, answer, cause, said)
        except Exception as error:  # noqa: BLE001 - the answer passes all the same: what is lost is what it would have told
            what = error.message if isinstance(error, RemitError) else type(error).__name__
            _log.error("the answer to decision %.40r could not be learnt from: %s", decision, what)
        return cause

    def _believed(self, record: Record, host: str) -> bool:
        young = -_SKEW <= self._rooms.clock() - record["at"] <= AGE
        return bool(young and record["outcome"] == str(Outcome.PERMIT) and record["host"] == host)

    async def _write(self, decision: str, answer: UpstreamAnswer, cause: Cause, said: Answered) -> None:
        """One entry for each cause of a decision."""
        key = (decision, cause)
        if key in self._written:
            return
        self._written[key] = None
        while len(self._written) > _REMEMBERED:
            self._written.popitem(last=False)
        entry = answer_record(decision, self._rooms.clock(), answer.status, cause, said.detail)
        try:
            await self._rooms.recorder.record(entry)
        except NotRecorded:
            self._written.pop(key, None)  # the next one tries again
            raise


def _could_start(record: Record, name: str, answer: UpstreamAnswer) -> bool:
    """Whether the permit was for starting something, the answer is a good one, and the name lies in its project.

    An upload lies in its bucket, whose name holds no project: the permit must have been for that bucket.
    """
    good = answer.status in _GOOD and answer.grpc_status in {-1, 0}
    project, parts = record["project"], name.split("/")
    stored = parts[3:6] == ["projects", "_", "buckets"] and "/".join(parts[:_BUCKET]) in record.get("resources", ())
    at_home = stored or parts[3:5] == ["projects", project]
    return bool(record.get("starts") and good and project and at_home)
