"""What is in force, in memory: asked on every decision, and never older than `FRESH`.

A thread of its own looks every fifth of a second at one number (`tables.changes`), and reads what has changed since.
A view that could not look for `FRESH` seconds knows of no grant: what is not known to be granted is not. A grant ends
by the clock on the wall and by the time that has gone by since the view first saw it, whichever is earlier, so that a
clock that is set back prolongs nothing. Leaves out how a grant comes to be (`store`).
"""

import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from sqlalchemy import Engine, select

from remit.grants.rows import newest, read
from remit.grants.tables import grants
from remit.model.grant import Grant, GrantState, Kept

EVERY = 0.2  # seconds between two looks
FRESH = 2.0
"""Seconds after its last look at the database for which a view may answer: as for revocations."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Held:
    """A grant, and when it ends by the view's own clock."""

    grant: Grant
    ends: float


def uptime() -> float:
    """Monotonic seconds that go on while the machine sleeps: a view must not wake up believing that it is fresh."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class GrantView:
    """The `Grants` of the stories (`remit.access.ports`). `reader` may be an engine that only reads.

    `clock`: monotonic seconds; `wall`: seconds since the epoch.
    """

    def __init__(
        self, reader: Engine, *, clock: Callable[[], float] = uptime, wall: Callable[[], float] = time.time
    ) -> None:
        self._reader = reader
        self._clock = clock
        self._wall = wall
        self._number = -1
        self._held: dict[str, tuple[_Held, ...]] = {}
        self._fresh_at = -math.inf
        self._looking = threading.Lock()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._failing = False

    def in_force(self, principal: str, job: str, now: int) -> tuple[Grant, ...]:
        """Of a principal (`Principal.key`), in this run or in none (empty), at `now` (seconds); none of an old view."""
        clock = self._clock()
        if clock - self._fresh_at > FRESH:
            return ()
        held = self._held.get(principal, ())
        return tuple(one.grant for one in held if clock < one.ends and one.grant.holds(principal, job, now))

    def refresh(self) -> None:
        """One look at the database: what was committed before counts when this returns. Blocks.

        Raises what goes wrong, and the view is as old as it was.
        """
        if not self._looking.acquire(timeout=FRESH):
            raise RuntimeError("another look at the database has not returned")
        try:
            self._look()
        finally:
            self._looking.release()

    def start(self) -> None:
        """Looks for the first time, then for ever, in a thread of its own."""
        self._try()
        self._thread = threading.Thread(target=self._run, name="grants", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stops; nothing is in force afterwards."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join()
        self._fresh_at = -math.inf

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        while not self._closing.wait(EVERY):
            self._try()

    def _try(self) -> None:
        try:
            self.refresh()
        except Exception as error:  # noqa: BLE001 - a thread that dies would grant nothing for ever; the view runs out by itself
            if not self._failing:
                _log.warning("grants cannot be followed: %s", getattr(error, "orig", None) or error)
            self._failing = True
        else:
            self._failing = False

    def _look(self) -> None:
        began, now = self._clock(), self._wall()
        with self._reader.connect() as connection:
            number = newest(connection)
            if number < self._number:
                raise RuntimeError("the database is older than what it said before")
            if number > self._number:
                first = (grants.c.state == str(GrantState.GRANTED), grants.c.until > int(now))
                which = first if self._number < 0 else (grants.c.changed > self._number,)
                found = read(connection, *which, most=None)
                changed = connection.execute(select(grants.c.id).where(*which)).scalars().all()
                self._keep(found, frozenset(changed), began, now)
                self._number = number
        self._fresh_at = began

    def _keep(self, found: list[Kept], changed: frozenset[str], began: float, now: float) -> None:
        """Puts what has changed in place of what was there. One assignment: whoever asks meanwhile sees all or none."""
        before = {held.grant.id: held for several in self._held.values() for held in several}
        kept = {name: held for name, held in before.items() if name not in changed and began < held.ends}
        for each in found:
            if each.state is GrantState.GRANTED and each.until > now:
                ends = began + each.until - now
                known = before.get(each.id)
                kept[each.id] = _Held(each.grant, min(ends, known.ends) if known else ends)
        several: dict[str, list[_Held]] = {}
        for held in kept.values():
            several.setdefault(held.grant.wanted.principal, []).append(held)
        self._held = {principal: tuple(one) for principal, one in several.items()}
