"""Resource Manager's token buckets: so many requests at once, so many a second, for each caller.

Source: learn.microsoft.com/azure/azure-resource-manager/management/request-limits-and-throttling (bucket sizes and
refill rates by subscription).
"""

import math
from collections.abc import Callable

from remit.lab.arm_errors import throttled
from remit.lab.arm_scopes import SUBSCRIPTION_ID

_BUCKETS = {"reads": (250, 25.0), "writes": (200, 10.0), "deletes": (200, 10.0)}
_KINDS = {"GET": "reads", "HEAD": "reads", "DELETE": "deletes"}


class Throttle:
    """The buckets. `clock`: seconds, which never go back; `fault`: how many requests to refuse, `Retry-After`."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._left: dict[tuple[str, str], tuple[float, float]] = {}
        self.fault = (0, 0)

    def spend(self, actor: str, method: str) -> dict[str, str]:
        """Take one token; the header that says how many are left. Raises `ArmError`."""
        kind = _KINDS.get(method, "writes")
        times, later = self.fault
        if times:
            self.fault = times - 1, later
            raise throttled(kind, SUBSCRIPTION_ID, actor, later)
        size, rate = _BUCKETS[kind]
        now = self._clock()
        left, at = self._left.get((actor, kind), (float(size), now))
        left = min(float(size), left + (now - at) * rate)
        if left < 1:
            raise throttled(kind, SUBSCRIPTION_ID, actor, math.ceil((1 - left) / rate))
        self._left[actor, kind] = left - 1, now
        return {f"x-ms-ratelimit-remaining-subscription-{kind}": str(int(left - 1))}
