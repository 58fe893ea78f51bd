"""Eventual consistency: what a cloud was told, and what it tells others of it so much later.

Source: cloud.google.com/iam/docs/overview (the IAM API is eventually consistent),
learn.microsoft.com/azure/role-based-access-control/troubleshooting (changes are not detected at once).
"""

import time
from collections.abc import Callable
from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class Lag:
    """How long one cloud takes until a change is seen, in `seconds`; of changes that are made from now on."""

    def __init__(self) -> None:
        self.seconds = 0.0


class Slowly(Generic[Key, Value]):
    """A mapping with two faces: as it was written, and as it is seen. Its times are not those of a cloud's clock."""

    def __init__(self, lag: Lag, clock: Callable[[], float] = time.monotonic) -> None:
        self._lag = lag
        self._clock = clock
        self._past: dict[Key, list[tuple[float, Value | None]]] = {}

    def put(self, key: Key, value: Value) -> None:
        """Write a value, to be seen later."""
        self._write(key, value)

    def drop(self, key: Key) -> None:
        """Take a key away, to be seen later."""
        self._write(key, None)

    def written(self, key: Key) -> Value | None:
        """The last value, seen or not."""
        return self._past[key][-1][1] if key in self._past else None

    def seen(self, key: Key) -> Value | None:
        """The value that is seen at present."""
        now = self._clock()
        return next((value for at, value in reversed(self._past.get(key, ())) if at <= now), None)

    def all_written(self) -> dict[Key, Value]:
        """Every key with its last value, in the order of first writing."""
        return {key: value for key in self._past if (value := self.written(key)) is not None}

    def all_seen(self) -> dict[Key, Value]:
        """Every key with the value that is seen at present."""
        return {key: value for key in self._past if (value := self.seen(key)) is not None}

    def _write(self, key: Key, value: Value | None) -> None:
        now = self._clock()
        past = self._past.setdefault(key, [])
        first = max((place for place, (at, _) in enumerate(past) if at <= now), default=0)
        del past[:first]  # what is older than the seen one is never asked for again
        # a change is never seen before an earlier one
        past.append((max(now + self._lag.seconds, past[-1][0] if past else 0.0), value))
