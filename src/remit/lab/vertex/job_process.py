"""A job's processes: one process group at a time, their output line by line, and an end that leaves nobody behind."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

_GRACE = 3.0  # seconds between SIGTERM and SIGKILL
_LINE = 64 * 1024  # bytes: a longer line is cut into entries of this size (Cloud Logging takes 256 KB an entry)

Output = Callable[[str, str], None]  # stream (`stdout`, `stderr`), line


class JobProcess:
    """Runs commands in one folder with one environment. A command that is cancelled takes its children along."""

    def __init__(self, folder: Path, environment: Mapping[str, str], output: Output) -> None:
        self._folder = folder
        self._environment = dict(environment)
        self._output = output

    async def run(self, command: Sequence[str]) -> int:
        """The exit status of a command, 127 when it cannot be started."""
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                cwd=self._folder,
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            self._output("stderr", f"{command[0]}: {error.strerror}")
            return 127
        readers = [
            asyncio.create_task(self._read("stdout", process.stdout)),
            asyncio.create_task(self._read("stderr", process.stderr)),
        ]
        try:
            return await process.wait()
        except asyncio.CancelledError:
            await self._end(process)
            raise
        finally:
            _signal(process, signal.SIGKILL)  # what the command left behind would keep the pipes open
            await asyncio.gather(*readers)

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        """Asks the command and its children to end, and gives them three seconds."""
        _signal(process, signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), _GRACE)

    async def _read(self, stream: str, reader: asyncio.StreamReader | None) -> None:
        rest = b""
        while reader is not None and (block := await reader.read(_LINE)):
            *lines, rest = (rest + block).split(b"\n")
            if len(rest) >= _LINE:
                lines, rest = [*lines, rest], b""
            for line in lines:
                self._output(stream, line.decode("utf-8", "replace").rstrip("\r"))
        if rest:
            self._output(stream, rest.decode("utf-8", "replace"))


def _signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):  # the whole group has ended already
        os.killpg(process.pid, number)
