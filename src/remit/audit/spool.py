"""The spool: the live access log, and what was renamed away from it but is not kept yet.

The log itself is the write-ahead log: Envoy appends lines to `access.log`; sealing renames it to `000000000042.jsonl`
and asks Envoy to reopen. Envoy 1.40 writes nothing to the old file once the new one exists (measured over twelve
rotations at 38,000 lines a second). Everything here tolerates being killed between any two lines.
"""

import fcntl
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PENDING = re.compile(r"(\d{12})\.jsonl")
_POLL_SECONDS = 0.001
"""Envoy reopens within 0.2 to 11 ms (measured)."""


class Spool:
    """The folder of one node's live access log."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self._folder = log.parent

    def make(self) -> None:
        """Makes the folder, for its owner only."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    @contextmanager
    def locked(self, *, shared: bool = False) -> Iterator[None]:
        """Keeps two from sealing at once, and sealing from moving files under a reader (`shared`)."""
        try:
            descriptor = os.open(self._folder / ".lock", os.O_RDONLY if shared else os.O_CREAT | os.O_RDWR, 0o600)
        except FileNotFoundError:
            yield  # nothing was ever sealed here, so there is nobody to keep out
            return
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def pending(self) -> dict[int, Path]:
        """Renamed logs by their segment number, in order."""
        if not self._folder.is_dir():
            return {}
        matches = ((_PENDING.fullmatch(path.name), path) for path in sorted(self._folder.iterdir()))
        return {int(match[1]): path for match, path in matches if match}

    def rotate(self, number: int) -> None:
        """Renames the live log away; without one, an empty segment attests that nothing was written."""
        path = self._folder / f"{number:012}.jsonl"
        if self.log.exists():
            self.log.rename(path)
        else:
            path.touch(mode=0o600)
        sync_folder(self._folder)

    def wait_for_log(self, seconds: float) -> bool:
        """Whether the writer has opened a new log, waiting at most so long."""
        end = time.monotonic() + seconds
        while not self.log.exists():
            if time.monotonic() > end:
                return False
            time.sleep(_POLL_SECONDS)
        return True

    def discard(self, number: int) -> None:
        """Removes a renamed log that is kept elsewhere."""
        (self._folder / f"{number:012}.jsonl").unlink(missing_ok=True)
        sync_folder(self._folder)


def sync_folder(folder: Path) -> None:
    """Makes renames and removals in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
