"""Asking again: with growing, jittered pauses, for a bounded time, and never where the answer was no."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

T = TypeVar("T")

_FIRST, _LONGEST = 0.1, 10.0  # seconds of a pause
_RENEWALS = 3  # tokens that a service turned down one after the other: it means it


class Verdict(Enum):
    """What an error says about asking again."""

    AGAIN = "it may pass"
    RENEW = "with a new token"
    NEVER = "the answer stays"


@dataclass(frozen=True, slots=True)
class Patience:
    """`seconds` without a single byte after which an error counts. Clock, sleep and chance are for tests."""

    seconds: float = 120.0
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], object] = time.sleep
    chance: Callable[[float, float], float] = random.uniform

    def insist(self, ask: Callable[[], T], judge: Callable[[BaseException], Verdict], renew: Callable[[], object]) -> T:
        """The answer; raises the last error when it stays, or when time is over."""
        end, times, renewals = self.clock() + self.seconds, 0, 0
        while True:
            try:
                return ask()
            except Exception as error:  # judged below; whatever is not known to pass is raised
                verdict = judge(error)
                renewals += verdict is Verdict.RENEW
                if verdict is Verdict.NEVER or renewals > _RENEWALS or self.clock() >= end:
                    raise
            if verdict is Verdict.RENEW:
                renew()
            pause = min(_LONGEST, _FIRST * 2.0 ** min(times, 10))
            self.sleep(self.chance(pause / 2, pause))
            times += 1
