"""The arbiter as a child process, and a second one that stands by.

Importing what an arbiter is made of takes a second or two. So another one has done that already, and waits for a line
on its standard input; when the first dies, recovery costs no more than opening the house. A stand-by whose parent is
gone reads the end of its input, and ends.
"""

import asyncio
import contextlib
import logging
import sys
import time

from remit.settings.read import Settings

_log = logging.getLogger(__name__)
_BACKOFF = (0.05, 5.0)  # seconds between restarts: the first at once
_STEADY = 30.0  # seconds of life after which a death counts as the first again
_STOP = 5.0  # seconds for a process to end

GO = b"go\n"


class ArbiterProcess:
    """One arbiter in office and one that stands by. The former's process id is in `run/arbiter.pid`."""

    def __init__(self, settings: Settings) -> None:
        self._config = str(settings.file)
        self._pid_file = settings.gateway.arbiter_socket.with_suffix(".pid")
        self._office: asyncio.subprocess.Process | None = None
        self._stand_by: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Puts one in office, and another one beside it."""
        taken = self._stand_by if _lives(self._stand_by) else await self._spawn()
        if taken is None or taken.stdin is None:
            raise ProcessLookupError
        with contextlib.suppress(ConnectionError):
            taken.stdin.write(GO)
            await taken.stdin.drain()
        self._office = taken
        self._pid_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._pid_file.write_text(f"{taken.pid}\n", encoding="ascii")
        self._stand_by = await self._spawn()

    async def keep(self) -> None:
        """Replaces the one in office whenever it ends."""
        pause, most = _BACKOFF
        while self._office is not None:
            began = time.monotonic()
            code = await self._office.wait()
            _log.error("the arbiter ended with %s and is replaced", code)
            pause = _BACKOFF[0] if time.monotonic() - began > _STEADY else pause
            await asyncio.sleep(pause)
            pause = min(pause * 2, most)
            await self.start()

    async def end(self) -> None:
        """Ends both."""
        for process in (self._stand_by, self._office):
            if process is None or not _lives(process):
                continue
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), _STOP)
            except TimeoutError:
                process.kill()
                await process.wait()

    async def _spawn(self) -> asyncio.subprocess.Process:
        command = [
            sys.executable,
            "-P",  # nothing of the folder that somebody happens to stand in is imported
            "-m",
            "remit.cli",
            "serve",
            "--only",
            "arbiter",
            "--stand-by",
            "--config",
            self._config,
        ]
        return await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.PIPE)


def _lives(process: asyncio.subprocess.Process | None) -> bool:
    return process is not None and process.returncode is None
