"""No record, no permit: what stands between a decision and the ledger.

The ledger refuses by itself when it cannot commit. Envoy does not: with a full disk it serves on, and lines of its
access log are lost, so that the log's counter of failed writes is watched, and a rise refuses every decision.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import NoReturn, Protocol

import httpx

from remit.gateway.accesslog import FAILED
from remit.gateway.admin import Admin
from remit.model.errors import NotRecorded
from remit.model.record import Recorded, Value

_EVERY = 0.25  # seconds: permits end within one
_ALARM = 5.0  # seconds that one failed write counts


class Recorder(Protocol):
    """The ledger's recorder."""

    async def record(self, entry: Mapping[str, Value]) -> Recorded:
        """As `access.ports.Recorder`."""


class AccessLogWatch:
    """Watches Envoy's failed writes. `trouble` is empty while there are none."""

    def __init__(self, admin: Admin, clock: Callable[[], float] = time.monotonic) -> None:
        self._admin = admin
        self._clock = clock
        self._failures: int | None = None  # until the first look: what failed before is over
        self._failed_at = float("-inf")

    @property
    def trouble(self) -> str:
        """What is wrong with the access log, empty when nothing is."""
        failing = self._clock() - self._failed_at < _ALARM
        return "access events cannot be written: the disk is full or read-only" if failing else ""

    async def watch(self) -> NoReturn:
        """Looks for ever; run it as a task. An Envoy that is away writes nothing, and lets nothing through either."""
        while True:
            await self.look()
            await asyncio.sleep(_EVERY)

    async def look(self) -> None:
        """Looks once."""
        try:
            failures = sum((await self._admin.stats(FAILED)).values())
        except httpx.HTTPError:
            return
        except (ValueError, KeyError, TypeError):  # an answer that cannot be read says nothing good
            self._failed_at = self._clock()
            return
        if self._failures is not None and failures > self._failures:
            self._failed_at = self._clock()
        self._failures = failures


class GuardedRecorder:
    """Records only while access events are kept as well."""

    def __init__(self, recorder: Recorder, watch: AccessLogWatch) -> None:
        self._recorder = recorder
        self._watch = watch

    async def record(self, entry: Mapping[str, Value]) -> Recorded:
        """As `access.ports.Recorder`; raises `NotRecorded`."""
        if self._watch.trouble:
            raise NotRecorded(self._watch.trouble)
        return await self._recorder.record(entry)
