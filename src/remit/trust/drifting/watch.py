"""Watching: reading again and again, telling only what is new or gone, and living on when a cloud does not answer."""

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from remit.model.errors import RemitError
from remit.trust.drifting.metrics import Metrics
from remit.trust.drifting.report import Explained
from remit.trust.planning.plan import plain

Look = Callable[[], Awaitable[tuple[Explained, ...]]]
"""Reads the clouds; raises `RemitError`, or `Stopped`."""
Pause = Callable[[], Awaitable[bool]]
"""Waits for the next reading; answers whether there is to be one."""


class Stopped(Exception):
    """The watch is to end, in the middle of a reading."""


@dataclass(slots=True)
class Watch:
    """`new`, `gone`: tell of a drift; `failed`: of an error; `noted`: after each reading; `clock`: seconds."""

    look: Look
    pause: Pause
    new: Callable[[Explained], None]
    gone: Callable[[Explained], None]
    failed: Callable[[RemitError], object]
    noted: Callable[[Metrics], None]
    clock: Callable[[], float]
    metrics: Metrics = field(default_factory=Metrics)

    async def __call__(self) -> bool | None:
        """Until it is to end; whether the last reading found nothing, `None` when it failed or there was none."""
        seen: dict[str, Explained] = {}
        clean: bool | None = None
        while True:
            try:
                found = await self.look()
            except Stopped:
                return clean
            except RemitError as error:
                clean = None
                self.metrics.errors += 1
                self.failed(error)
            else:
                seen, clean = self._told(seen, found), not found
                self.metrics.success, self.metrics.found = self.clock(), found
            self.noted(self.metrics)
            if not await self.pause():
                return clean

    def _told(self, before: dict[str, Explained], found: Sequence[Explained]) -> dict[str, Explained]:
        now = {_key(one): one for one in found}
        for key, one in now.items():
            if key not in before:
                self.new(one)
        for key, one in before.items():
            if key not in now:
                self.gone(one)
        return now


def _key(one: Explained) -> str:
    """The difference itself: who did it may be known only later."""
    return json.dumps([one.drift.name, plain(one.drift.was or {}), plain(one.drift.now or {})], sort_keys=True)
