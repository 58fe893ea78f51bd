"""Who waits for the ledger: any number of tasks and threads, one writer, one commit for all who came meanwhile.

When a commit fails, all who wait are refused at once, so that nobody waits for a broken disk twice; the next who
comes tries again. Leaves out how an entry is written (`ledger.py`).
"""

import asyncio
import logging
import queue
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Self

from remit.audit.ledger import Also, Entry, Ledger
from remit.model.errors import NotRecorded, RemitError
from remit.model.record import Recorded, Value

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Waiter:
    entry: Entry
    answer: "Future[Recorded]" = field(default_factory=Future)


class LedgerRecorder:
    """The `Recorder` of the stories (`remit.access.ports`).

    `patience`: seconds after which a caller is refused though the disk has not answered, so that a hanging disk
    costs under a second; `batch`: entries in one commit; `backlog`: callers that may wait, more are refused.
    """

    def __init__(self, ledger: Ledger, *, patience: float = 0.9, batch: int = 256, backlog: int = 10_000) -> None:
        self._ledger = ledger
        self._patience = patience
        self._batch = batch
        self._queue: queue.Queue[_Waiter | None] = queue.Queue(backlog)
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Starts the writer."""
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Writes what waits, then stops the writer; later callers are refused."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._queue.put(None)
            thread.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def record(self, entry: Mapping[str, Value], also: Also | None = None) -> Recorded:
        """Makes the entry durable before it returns, together with the change of state `also`; raises `NotRecorded`.

        Raises what `also` raises, when that is a `RemitError`. Whoever lost patience has to ask what became of it.
        """
        waiter = self._enqueue(entry, also)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(waiter.answer), self._patience)
        except TimeoutError:
            raise self._impatient() from None

    def record_now(self, entry: Mapping[str, Value], also: Also | None = None) -> Recorded:
        """The same for a thread: blocks. Raises `EvidenceBroken` for a segment that has another manifest already."""
        waiter = self._enqueue(entry, also)
        try:
            return waiter.answer.result(self._patience)
        except TimeoutError:
            waiter.answer.cancel()
            raise self._impatient() from None

    def probe(self) -> None:
        """Raises `NotRecorded` when entries could not be written now: readiness (blocks about a commit's time)."""
        if self._thread is None or not self._thread.is_alive():
            raise NotRecorded("the ledger's writer is not running")
        self._ledger.probe()

    def _enqueue(self, entry: Mapping[str, Value], also: Also | None) -> _Waiter:
        waiter = _Waiter(Entry.of(entry, also))
        if self._thread is None:
            raise NotRecorded("the ledger's writer is not running")
        try:
            self._queue.put_nowait(waiter)
        except queue.Full:
            raise NotRecorded("too many entries wait for the ledger") from None
        return waiter

    def _impatient(self) -> NotRecorded:
        return NotRecorded(f"the ledger did not answer within {self._patience} s")

    def _run(self) -> None:
        running = True
        while running:
            waiters, running = self._take()
            if waiters:
                self._write(waiters)

    def _take(self) -> tuple[list[_Waiter], bool]:
        """All who wait now, at most a batch, once there is one; and whether to go on."""
        first = self._queue.get()
        if first is None:
            return [], False
        taken, more = self._drain(self._batch - 1)
        # a caller who gave up before the writer came is not written for
        return [waiter for waiter in (first, *taken) if waiter.answer.set_running_or_notify_cancel()], more

    def _drain(self, most: int) -> tuple[list[_Waiter], bool]:
        taken: list[_Waiter] = []
        for _ in range(most):
            try:
                waiter = self._queue.get_nowait()
            except queue.Empty:
                break
            if waiter is None:
                return taken, False
            taken.append(waiter)
        return taken, True

    def _write(self, waiters: list[_Waiter]) -> None:
        try:
            answers = self._ledger.append([waiter.entry for waiter in waiters])
        except Exception as error:  # noqa: BLE001 - a writer that dies would refuse for ever; every cause is a refusal
            self._refuse(waiters, error)
            return
        for waiter, answer in zip(waiters, answers, strict=True):
            if isinstance(answer, RemitError):
                waiter.answer.set_exception(answer)
            else:
                waiter.answer.set_result(answer)

    def _refuse(self, waiters: list[_Waiter], error: Exception) -> None:
        known = isinstance(error, NotRecorded)
        _log.error("nothing can be recorded: %s", error, exc_info=None if known else error)
        message = str(error) if known else "the ledger could not be written"
        taken, more = self._drain(self._queue.qsize())
        if not more:
            self._queue.put(None)  # `close` is waiting: the next turn ends
        late = [waiter for waiter in taken if waiter.answer.set_running_or_notify_cancel()]
        for waiter in (*waiters, *late):
            # each its own: a raised exception gathers its raiser's traceback
            waiter.answer.set_exception(NotRecorded(message, hint=getattr(error, "hint", "")))
