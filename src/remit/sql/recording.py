"""What one connection runs, on its way to the ledger: every few seconds, when there is much of it, and at its end."""

import asyncio
import logging
from collections.abc import Callable

from remit.sql.ports import Arbiter
from remit.sql.protocol import NOT_NOW, Failure
from remit.sql.statements import Tally

_log = logging.getLogger(__name__)


class Recording:
    """Of one decision. `every`: seconds; `failed`: is told when nothing more may run, since it would not be known."""

    def __init__(
        self, arbiter: Arbiter, decision: str, tally: Tally, every: float, failed: Callable[[Failure], None]
    ) -> None:
        self._arbiter = arbiter
        self._decision = decision
        self._tally = tally
        self._every = every
        self._failed = failed
        self._writing = asyncio.Lock()
        self._keeping = asyncio.create_task(self._keep())

    async def hear(self, messages: list[tuple[int, bytes]]) -> None:
        """The client's messages, which go no further before this returns; raises `Failure`."""
        for kind, body in messages:
            if self._tally.full:
                await self._record()
            self._tally.heard(kind, body)

    async def finish(self) -> None:
        """Records the rest. A database that ran it has run it: what cannot be recorded any more is said in the log."""
        async with self._writing:  # whatever is on its way arrives once
            self._keeping.cancel()
        await asyncio.gather(self._keeping, return_exceptions=True)
        try:
            await self._record()
        except Exception:  # noqa: BLE001 - the same
            _log.error("the last statements of decision %s could not be recorded", self._decision)

    async def _keep(self) -> None:
        try:
            while True:
                await asyncio.sleep(self._every)
                await self._record()
        except Failure as failure:
            self._failed(failure)
        except Exception as error:  # noqa: BLE001 - fail closed: whatever it is, what runs is not written down
            _log.error("what runs cannot be recorded: %s", type(error).__name__, exc_info=error)
            self._failed(Failure(NOT_NOW, f"remit: what ran could not be recorded (decision {self._decision})"))

    async def _record(self) -> None:
        async with self._writing:
            taken = self._tally.take()
            if not taken:
                return
            try:
                await self._arbiter.ran(self._decision, taken)
            except BaseException:  # a cancelled one too: it is still to be recorded
                self._tally.put_back(taken)
                raise
