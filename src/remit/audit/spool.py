"""The spool: the live access log, and what was renamed away from it but is not kept yet.

The log itself is the write-ahead log: Envoy appends lines to `access.log`; sealing renames it to `000000000042.jsonl`
and Envoy opens a new one. Each Envoy holds a lock on the file that it writes to, so that one that nobody holds is
final: after a hot restart there are two of them. Everything here tolerates being killed between any two lines.
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
"""Envoy looks every 5 ms whether its file was renamed."""


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

    def released(self, seconds: float, *, anew: bool) -> bool:
        """Whether nobody writes to renamed logs any more, waiting at most so long; `anew`: a new one must be there."""
        end = time.monotonic() + seconds
        while (anew and not self.log.exists()) or any(map(_written, self.pending().values())):
            if time.monotonic() > end:
                return False
            time.sleep(_POLL_SECONDS)
        return True

    def discard(self, number: int) -> None:
        """Removes a renamed log that is kept elsewhere."""
        (self._folder / f"{number:012}.jsonl").unlink(missing_ok=True)
        sync_folder(self._folder)


def _written(path: Path) -> bool:
    """Whether a process holds the file as one that it writes to."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def sync_folder(folder: Path) -> None:
    """Makes renames and removals in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
