"""Sealing: the access log becomes numbered segments whose roots are in the ledger.

One segment, step by step; each step may be the last before a kill, and each may be done again:
  1 the log is renamed to the next number            (numbers are dense; an empty log is sealed too)
  2 all who write open the new log, so the renamed file is final
  3 rows are hashed, and written where they are kept, not yet visible
  4 the manifest is entered in the ledger            (idempotent by node and number)
  5 the kept file becomes visible
  6 the renamed file is removed
Whatever a kill leaves behind is finished first. Leaves out when to seal (`collector.py`).
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from remit.audit.ports import Reopener
from remit.audit.segments import LogPass
from remit.audit.spool import Spool
from remit.audit.store import SegmentStore
from remit.model.record import Recorded, Value


class Sealer:
    """Seals the log of one node.

    `enter`: makes an entry durable, as `LedgerRecorder.record_now`; `last`: the highest number that the ledger holds;
    `patience`: seconds to wait for all writers to reopen before the segment is left for the next time.
    """

    def __init__(
        self,
        *,
        node: str,
        spool: Spool,
        store: SegmentStore,
        enter: Callable[[Mapping[str, Value]], Recorded],
        last: Callable[[], int],
        reopener: Reopener,
        patience: float = 1.0,
    ) -> None:
        self._node = node
        self._spool = spool
        self._store = store
        self._enter = enter
        self._last = last
        self._reopener = reopener
        self._patience = patience

    def seal(self) -> int:
        """Finishes what was begun, then seals what is there now; how many segments were sealed.

        Fewer than one when the writer has not reopened: the segment waits, nothing is lost. Raises `NotRecorded`,
        `EvidenceBroken` and `OSError`, each of which leaves a state that the next call goes on from.
        """
        self._spool.make()
        with self._spool.locked():
            sealed = self._finish()
            if self._spool.pending():
                return sealed
            self._spool.rotate(self._next())
            return sealed + self._finish()

    def _finish(self) -> int:
        pending = self._spool.pending()
        if not pending or not self._released():
            return 0
        for number, path in pending.items():
            self._enter(self._write(number, path))
            self._store.publish(number)
            self._spool.discard(number)
        return len(pending)

    def _next(self) -> int:
        """The ledger's last number plus one, unless an older ledger was put back: what is kept is never replaced."""
        number = self._last() + 1
        return max(self._store.numbers()) + 1 if self._store.has(number) else number

    def _released(self) -> bool:
        """Step 2: whether nobody writes to renamed files any more."""
        anew = True
        try:
            self._reopener.reopen()
        except ProcessLookupError:
            anew = False
        return self._spool.released(self._patience, anew=anew)

    def _write(self, number: int, path: Path) -> Mapping[str, Value]:
        """Step 3: the manifest of the segment, whose rows are durable by then."""
        log = LogPass()
        self._store.write(number, log.read(path))
        return log.manifest(self._node, number)
