"""`/healthz` and `/readyz`: is the process alive, and may it permit anything at this moment.

Readiness is red, with the reason, when decisions could not be recorded, identities not verified, or access events not
written: exactly when every answer would be a refusal.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse

_FRESH = 0.25  # seconds: anybody may ask, and a look at the ledger is a commit

Probe = Callable[[], Awaitable[str]]
"""What is wrong, empty when nothing is."""


class Health:
    """Both endpoints. `notes`: what is not as it should be, and makes nothing red by itself."""

    def __init__(
        self,
        probes: Mapping[str, Probe],
        notes: Mapping[str, Callable[[], str]] = MappingProxyType({}),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._probes = probes
        self._notes = notes
        self._clock = clock
        self._lock = asyncio.Lock()
        self._seen: tuple[float, dict[str, str]] | None = None

    async def alive(self, _request: Request) -> PlainTextResponse:
        """The process answers."""
        return PlainTextResponse("ok\n")

    async def ready(self, _request: Request) -> JSONResponse:
        """200 when every probe holds, else 503 and what is wrong."""
        async with self._lock:
            if self._seen is None or self._clock() - self._seen[0] >= _FRESH:
                found = {name: said for name, probe in self._probes.items() if (said := await probe())}
                self._seen = (self._clock(), found)
            wrong = self._seen[1]
        noted = {name: said for name, note in self._notes.items() if (said := note())}
        return JSONResponse({"ready": not wrong, "wrong": wrong, "noted": noted}, 503 if wrong else 200)
