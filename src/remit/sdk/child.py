"""The command itself: its input, output and terminal are ours, signals reach it, and its end is ours.

A signal that is ignored (nohup) stays ignored. What a terminal sends goes to the whole foreground group, so the command
has it already; sent a second time, Ctrl-C would cut short what the first one began (a last checkpoint). Left out: what
happens when this process is killed outright: the command goes on without credentials.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from types import FrameType

from remit.model.errors import RemitError

_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
_TERMINAL = frozenset({signal.SIGINT, signal.SIGQUIT})
_BY_SIGNAL = 128  # a shell's exit code is this and the signal's number


class Relay:
    """Hands signals on to the command. `received`: the first one, 0 for none."""

    def __init__(self) -> None:
        self.received = 0
        self.child: asyncio.subprocess.Process | None = None

    def take(self, number: int, _frame: FrameType | None) -> None:
        """One signal."""
        self.received = self.received or number
        if self.child is None or (number in _TERMINAL and _from_terminal()):
            return
        with contextlib.suppress(ProcessLookupError):
            self.child.send_signal(number)

    @property
    def code(self) -> int:
        """The exit code of a run that was ended before its command began."""
        return _BY_SIGNAL + self.received

    async def run(self, command: Sequence[str], environment: Mapping[str, str]) -> int:
        """Runs the command and returns its exit code, 128 + n when signal n ended it; raises `RemitError`."""
        if self.received:
            return self.code
        try:
            self.child = await asyncio.create_subprocess_exec(*command, env=environment)
        except (OSError, ValueError) as error:
            message = f"`{command[0]}` cannot be run: {getattr(error, 'strerror', None) or error}"
            raise RemitError(message, hint="what stands after `--` is run as it is, without a shell") from error
        if self.received:  # while it began
            with contextlib.suppress(ProcessLookupError):
                self.child.send_signal(self.received)
        code = await self.child.wait()
        return code if code >= 0 else _BY_SIGNAL - code


@contextlib.contextmanager
def relayed() -> Iterator[Relay]:
    """Takes this process's signals until the end: the last thing, telling the installation, is not cut off by them."""
    relay = Relay()
    before = {number: signal.getsignal(number) for number in _FORWARDED}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, relay.take)
    try:
        yield relay
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _from_terminal() -> bool:
    """Whether a terminal has this process in its foreground group: then it sends its signals to all of it."""
    with contextlib.suppress(OSError):
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            return os.tcgetpgrp(terminal) == os.getpgrp()
        finally:
            os.close(terminal)
    return False
