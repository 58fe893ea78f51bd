"""A process by its id, whoever started it: this supervisor, or the one that this program was before it replaced itself.

A handle of the kernel's (pidfd_open(2)) stands for the process, so that a signal can never reach another one that got
the same number. Leaves out what is run.
"""

import asyncio
import contextlib
import os
import select
import signal
from collections.abc import Sequence
from pathlib import Path


def children() -> "list[Running]":
    """This process's children, an earlier program's of the same process included: nobody else can reap them."""
    found: list[Running] = []
    for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text("ascii").split():
        with contextlib.suppress(ProcessLookupError):
            found.append(Running(int(pid)))
    return found


class Running:
    """One process. Raises `ProcessLookupError` when there is none of this id."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._handle = os.pidfd_open(pid)

    @classmethod
    def apart(cls, command: Sequence[str], log: Path) -> "Running":
        """Starts a command in a session of its own, without environment and input, its output appended to `log`.

        No signal is reset: SIGXFSZ stays ignored, so that a file-size limit is a failed write and not its death.
        """
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), flags, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ]
        return cls(os.posix_spawn(command[0], list(command), {}, file_actions=actions, setsid=True))

    @classmethod
    def beside(cls, command: Sequence[str], given: int) -> "Running":
        """Starts a command with our own environment and output, and an open file as its standard input."""
        actions = [(os.POSIX_SPAWN_DUP2, given, 0)]
        return cls(os.posix_spawn(command[0], list(command), os.environ, file_actions=actions))

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
        poll = select.poll()
        poll.register(self._handle, select.POLLIN)
        if not poll.poll(0):
            return True
        self._reap()
        return False

    @property
    def command(self) -> tuple[str, ...]:
        """What it was started as, empty when that cannot be read."""
        try:
            words = Path(f"/proc/{self.pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            return ()
        return tuple(word.decode("utf-8", "replace") for word in words[:-1])

    def send(self, number: signal.Signals) -> None:
        """Sends a signal; raises `ProcessLookupError` when it has ended."""
        signal.pidfd_send_signal(self._handle, number)

    async def ended(self) -> None:
        """Returns when it has ended."""
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        copy = os.dup(self._handle)  # so that two may wait at once
        loop.add_reader(copy, readable.set)
        try:
            await readable.wait()
        finally:
            loop.remove_reader(copy)
            os.close(copy)
        self._reap()

    async def end(self, within: float) -> None:
        """Asks it to end, and kills it after so many seconds."""
        with contextlib.suppress(ProcessLookupError):
            self.send(signal.SIGTERM)
            try:
                await asyncio.wait_for(self.ended(), within)
            except TimeoutError:
                self.send(signal.SIGKILL)
                await self.ended()

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):  # somebody else's child, or reaped already
            os.waitid(os.P_PIDFD, self._handle, os.WEXITED | os.WNOHANG)

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError, OSError):
            os.close(self._handle)
