"""A view in memory that follows the database, and knows how old it is.

A thread of its own looks every fifth of a second at one number (`tables.changes`), and reads what has changed since.
Leaves out what is looked at (`view`, `runs`), and what a view that is too old answers: nothing that permits.
"""

import logging
import math
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Self

EVERY = 0.2  # seconds between two looks
FRESH = 2.0
"""Seconds after its last look at the database for which a view may answer: as for revocations."""

_log = logging.getLogger(__name__)


def uptime() -> float:
    """Monotonic seconds that go on while the machine sleeps: a view must not wake up believing that it is fresh."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Following(ABC):
    """A view. `what`: it follows, for people's eyes; `clock`: monotonic seconds."""

    def __init__(self, what: str, clock: Callable[[], float]) -> None:
        self._what = what
        self._clock = clock
        self._fresh_at = -math.inf
        self._looking = threading.Lock()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._failing = False

    @property
    def fresh(self) -> bool:
        """Whether it may answer."""
        return self._clock() - self._fresh_at <= FRESH

    def refresh(self) -> None:
        """One look at the database: what was committed before counts when this returns. Blocks.

        Raises what goes wrong, and the view is as old as it was.
        """
        if not self._looking.acquire(timeout=FRESH):
            raise RuntimeError("another look at the database has not returned")
        try:
            began = self._clock()
            self._look(began)
            self._fresh_at = began
        finally:
            self._looking.release()

    def start(self) -> None:
        """Looks for the first time, then for ever, in a thread of its own."""
        self._try()
        self._thread = threading.Thread(target=self._run, name=self._what, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stops; nothing is known afterwards."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join()
        self._fresh_at = -math.inf

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def _look(self, began: float) -> None:
        """Reads what has changed; `began`: by the view's own clock."""

    def _run(self) -> None:
        while not self._closing.wait(EVERY):
            self._try()

    def _try(self) -> None:
        try:
            self.refresh()
        except Exception as error:  # noqa: BLE001 - a thread that dies would know nothing for ever; the view runs out by itself
            if not self._failing:
                _log.warning("%s cannot be followed: %s", self._what, getattr(error, "orig", None) or error)
            self._failing = True
        else:
            self._failing = False
