"""What the newest decisions on record knew of whoever asked: for questions about people who are not asking now.

Looks at so many of the newest entries, and at each principal's own newest among them; kept for a minute. Leaves out
everybody who has not been seen in them.
"""

import json
import threading
import time
from collections.abc import Callable, Mapping

from sqlalchemy import Engine, select

from remit.audit import tables
from remit.audit.decisions import Decisions, Left
from remit.model.identity import Identity
from remit.model.snapshot import FactsUnreadable

NEWEST = 5_000  # entries: half a second to read
FRESH = 60.0  # seconds


class Lately:
    """By `Principal.key`, the identity as the newest decision on it had it. `engine` may be one that only reads.

    `clock`: monotonic seconds.
    """

    def __init__(self, engine: Engine, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._engine = engine
        self._clock = clock
        self._lock = threading.Lock()
        self._found: Mapping[str, Identity] = {}
        self._read_at: float | None = None

    def __call__(self) -> Mapping[str, Identity]:
        """Everybody who has been seen; raises `SQLAlchemyError`. Blocks."""
        with self._lock:
            if self._read_at is None or self._clock() - self._read_at > FRESH:
                self._found = self._read()
                self._read_at = self._clock()
            return self._found

    def _read(self) -> Mapping[str, Identity]:
        entry = tables.entries.c
        newest = select(entry.entry).where(entry.type == "decision").order_by(entry.at.desc()).limit(NEWEST)
        with self._engine.connect() as connection:
            entries = [json.loads(row.entry) for row in connection.execute(newest)]
        decisions, found, seen = Decisions(self._engine), dict[str, Identity](), set[str]()
        for one in entries:
            principal = one.get("principal", "")
            if not principal or principal in seen:
                continue
            past = decisions.past(one)
            if isinstance(past, Left):
                continue
            seen.add(principal)
            try:
                found[principal] = past.taken_on().identity
            except FactsUnreadable:
                continue
        return found
