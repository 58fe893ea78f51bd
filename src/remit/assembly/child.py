"""The arbiter as a child process, and a second one that stands by.

Importing what an arbiter is made of takes a second or two. So another one has done that already, and waits for a line
on its standard input; when the first dies, recovery costs no more than opening the house. A stand-by whose parent is
gone reads the end of its input, and ends. The one in office before this supervisor replaced itself is retired: it
decides nothing more, and watches over the streams that are open.
"""

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable

from remit.gateway.process import Running
from remit.settings.read import Settings

_log = logging.getLogger(__name__)
_BACKOFF = (0.05, 5.0)  # seconds between restarts: the first at once
_STEADY = 30.0  # seconds of life after which a death counts as the first again
_STOP = 5.0  # seconds for a process to end
_RELIEF = 45.0  # seconds to wait for the successor of an arbiter that still answers; it takes two

GO = b"go\n"
RETIRE = signal.SIGUSR1


async def kept(what: str, office: Callable[[], Running | None], start: Callable[[], Awaitable[None]]) -> None:
    """Starts another one whenever the one in office ends, soon at first, and less often while they keep dying."""
    pause, most = _BACKOFF
    while (found := office()) is not None:
        began = time.monotonic()
        await found.ended()
        _log.error("%s ended and is replaced", what)
        pause = _BACKOFF[0] if time.monotonic() - began > _STEADY else pause
        await asyncio.sleep(pause)
        pause = min(pause * 2, most)
        await start()


class ArbiterProcess:
    """One arbiter in office and one that stands by. The former's process id is in `run/arbiter.pid`."""

    def __init__(self, settings: Settings) -> None:
        self._config = str(settings.file)
        self._socket = settings.gateway.arbiter_socket
        self._pid_file = self._socket.with_suffix(".pid")
        self._found = self._listening()
        self._office: Running | None = None
        self._pipe: int | None = None
        self._stand_by: tuple[Running, int] | None = None
        self._retired: list[Running] = []

    async def start(self) -> None:
        """Puts one in office, and another one beside it."""
        if self._office is None:
            self._retired = [found for found in (self._predecessor(),) if found]
        taken, pipe = self._stand_by if self._stand_by and self._stand_by[0].alive else self._spawn()
        with contextlib.suppress(BrokenPipeError):
            os.write(pipe, GO)
        if self._pipe is not None:
            os.close(self._pipe)
        self._office, self._pipe = taken, pipe  # the end of its input, closed, would tell it that we are gone
        self._pid_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._pid_file.write_text(f"{taken.pid}\n", encoding="ascii")
        self._stand_by = self._spawn()

    @property
    def serves(self) -> bool:
        """Whether callers come to one that was started here, and not to its predecessor."""
        return self._listening() not in {None, self._found}

    async def relieved(self, stop: asyncio.Event) -> None:
        """Waits until callers come to the one in office, where an earlier program's still answers; not for ever.

        A gateway with a new configuration must not ask an arbiter with the old one, which knows nothing of a service
        that was added, and would refuse it.
        """
        deadline = time.monotonic() + _RELIEF
        while self._retired and not self.serves and time.monotonic() < deadline:
            with contextlib.suppress(TimeoutError):  # nobody tells when a socket takes another one's place
                await asyncio.wait_for(stop.wait(), 0.02)
                return

    def retire_predecessor(self) -> None:
        """Tells the one that an earlier program of this supervisor had in office that another one is."""
        for one in self._retired:
            with contextlib.suppress(ProcessLookupError):
                one.send(RETIRE)

    async def keep(self) -> None:
        """Replaces the one in office whenever it ends."""
        await kept("the arbiter", lambda: self._office, self.start)

    async def end(self) -> None:
        """Ends all of them."""
        stand_by = [self._stand_by[0]] if self._stand_by else []
        for process in (*stand_by, *filter(None, (self._office,)), *self._retired):
            await process.end(_STOP)

    def leave(self) -> None:
        """Lets the one in office live, for the program that takes this one's place; the stand-by ends by itself."""
        if self._stand_by:
            os.close(self._stand_by[1])
            self._stand_by = None

    def _listening(self) -> int | None:
        """Which socket stands where callers look."""
        try:
            return self._socket.stat().st_ino
        except OSError:
            return None

    def _predecessor(self) -> Running | None:
        try:
            found = Running(int(self._pid_file.read_text("ascii")))
        except (OSError, ValueError):
            return None
        ours = self._command()[1:] == found.command[1:] and found.alive
        return found if ours else None

    def _command(self) -> tuple[str, ...]:
        return (
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
        )

    def _spawn(self) -> tuple[Running, int]:
        """A new one, and the end of its input."""
        theirs, ours = os.pipe()
        try:
            return Running.beside(self._command(), theirs), ours
        finally:
            os.close(theirs)
