"""Waiting until a cloud sees what was just made.

cloud.google.com/iam/docs/access-change-propagation: typically two minutes, potentially seven or longer;
learn.microsoft.com/graph/best-practices-graph-permission and /entra/architecture/ say the same of replicas without a
number. Being throttled was already waited for (`clouds/asking.py`).
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from remit.trust.clouds.port import CloudRefused, Conflict, Denied, Missing

PROPAGATION = 420.0  # seconds, over all steps of one apply
_LONGEST = 30.0  # seconds between two attempts
_PERHAPS = "may not exist"  # so Google words a 403 on what it does not see yet
_NAMES = {"entra": "Entra", "google": "Google", "azure": "Azure", "sql": "PostgreSQL"}

Sleep = Callable[[float], Awaitable[None]]
Tell = Callable[[str], None]
_T = TypeVar("_T")


class Patience:
    """How long one apply waits. `tell`: a line for people; `sleep`: seconds."""

    def __init__(self, tell: Tell, *, sleep: Sleep = asyncio.sleep, limit: float = PROPAGATION) -> None:
        self._tell = tell
        self._sleep = sleep
        self._left = limit

    async def __call__(self, cloud: str, ask: Callable[[], Awaitable[_T]], *, lagging: bool) -> _T:
        """What is asked, as often as it takes while patience lasts; raises what the last attempt raised.

        `lagging`: something was changed before, which the cloud may not see everywhere yet.
        """
        waited, pause = 0.0, 1.0
        while True:
            try:
                return await ask()
            except (Missing, Conflict, Denied) as error:
                if not lagging or not _may_pass(error) or self._left <= 0:
                    raise
            pause = min(pause, self._left)
            self._left -= pause
            waited += pause
            self._tell(f"waiting for {_NAMES.get(cloud, cloud)} to see it ({waited:.0f} s)")
            await self._sleep(pause)
            pause = min(pause * 2, _LONGEST)


def _may_pass(error: CloudRefused) -> bool:
    return not isinstance(error, Denied) or _PERHAPS in error.message
