"""Envoy after Envoy: a new one takes the listening sockets over from the old one, which finishes what it has begun.

Envoy's hot restart: both share a number (`--base-id`), and each has its own (`--restart-epoch`). The old one gives its
sockets away when the new one serves, tells its connections to close, and ends after `parent_seconds` at the latest. So
nothing is refused and no open stream is cut by a new configuration, nor by a new program. What runs is written down, so
that a supervisor that replaced itself finds it again. Leaves out what Envoy is told.
Source: Envoy 1.40, operations guide, hot restart.
"""

import asyncio
import contextlib
import json
import signal
from collections.abc import Iterator
from pathlib import Path

from remit.gateway.process import Running

_BASE_WITHIN = 5.0  # seconds for Envoy to choose its number


class Epochs:
    """The Envoys of one runtime folder, the newest last. `base`: how it is started, without the numbers."""

    def __init__(self, runtime: Path, base: tuple[str, ...], *, parent_seconds: int) -> None:
        self._runtime = runtime
        self._base = base
        self._parent = ("--parent-shutdown-time-s", str(parent_seconds))
        self._number = -1
        self._running: list[Running] = []

    @property
    def number(self) -> int:
        """The newest one's number, -1 before the first."""
        return self._number

    @property
    def newest(self) -> Running | None:
        """The one that serves; `None` when it has ended or never was."""
        return self._running[-1] if self._running and self._running[-1].alive else None

    @property
    def alive(self) -> tuple[Running, ...]:
        """All that have not ended."""
        self._running = [one for one in self._running if one.alive] or self._running[-1:]
        return tuple(one for one in self._running if one.alive)

    def adopt(self) -> None:
        """Finds those that an earlier supervisor of this folder started. Never another process."""
        try:
            written = json.loads((self._runtime / "envoy.pid").read_text("ascii"))
            self._number, pids = int(written["epoch"]), list(map(int, written["pids"]))
        except (OSError, ValueError, KeyError, TypeError):
            return
        self._running = list(self._found(pids))

    def _found(self, pids: list[int]) -> Iterator[Running]:
        path = str(self._runtime / "bootstrap.json")
        for pid in pids:
            with contextlib.suppress(OSError):
                found = Running(pid)
                if "--config-path" in found.command and path in found.command and found.alive:
                    yield found

    async def first(self) -> None:
        """Starts one that takes nothing over."""
        self._number = 0
        chosen = self._runtime / "envoy.base"
        chosen.unlink(missing_ok=True)
        await self._start("--use-dynamic-base-id", "--base-id-path", str(chosen))

    async def next(self) -> None:
        """Starts one that takes over from the newest; raises `OSError` when the number of these is not known."""
        base = (self._runtime / "envoy.base").read_text("ascii").strip()
        self._number += 1
        await self._start("--base-id", base)

    async def drop_newest(self, within: float) -> None:
        """The one that was started last did not come up: it ends, and the one before it is the newest again."""
        await self._running.pop().end(within)
        self._number -= 1
        self._write()

    def send(self, number: signal.Signals) -> None:
        """Sends a signal to all."""
        for one in self.alive:
            with contextlib.suppress(ProcessLookupError):
                one.send(number)

    async def end(self, within: float) -> None:
        """Ends all, the oldest first."""
        for one in self.alive:
            await one.end(within)

    async def _start(self, *numbers: str) -> None:
        command = (*self._base, "--restart-epoch", str(self._number), *self._parent, *numbers)
        self._running = [*self.alive, Running.apart(command, self._runtime / "envoy.log")]
        self._write()
        if self._number == 0:
            await self._base_chosen()

    async def _base_chosen(self) -> None:
        """Waits until Envoy has written its number down, or has ended."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_BASE_WITHIN):
                while self.newest and not (self._runtime / "envoy.base").exists():  # noqa: ASYNC110 - Envoy tells nobody
                    await asyncio.sleep(0.01)

    def _write(self) -> None:
        text = json.dumps({"epoch": self._number, "pids": [one.pid for one in self._running]})
        (self._runtime / "envoy.pid").write_text(text, "ascii")
