"""Following the policy folder: edits are taken over without a restart, whole and good, or not at all.

A folder that is being written is not read: only when two looks in a row find it the same is it loaded, and when it
changed meanwhile it is looked at again. What cannot be told from intent (a file removed, a set that was left half
written for longer than that) is prevented by writing whole files by rename, as `docs/operating.md` says.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import NoReturn

from remit.model.errors import NotRecorded, SettingsInvalid
from remit.policy.judge import CedarJudge

_log = logging.getLogger(__name__)
_EVERY = 0.5  # seconds between looks

Keep = Callable[[str, Mapping[str, str]], Awaitable[None]]
Stamps = tuple[tuple[str, int, int], ...]


class PolicyWatch:
    """Watches the folder of one judge. `keep`: makes a set durable by its version; raises `NotRecorded`."""

    def __init__(self, folder: Path, judge: CedarJudge, keep: Keep) -> None:
        self._folder = folder
        self._judge = judge
        self._keep = keep
        self._last: Stamps | None = None
        self._taken: Stamps | None = None
        self._refused = False

    async def watch(self) -> NoReturn:
        """Looks for ever; run it as a task."""
        while True:
            await self.look()
            await asyncio.sleep(_EVERY)

    async def look(self) -> None:
        """Looks once: takes over what has been still since the last look."""
        now = tuple(self._stamps())
        still, self._last = now == self._last, now
        if not still or now == self._taken:
            return
        self._taken = now
        before = self._judge.policy_version
        try:
            book = await asyncio.to_thread(self._judge.read)
            await self._keep(book.version, book.texts)  # nothing is decided by a set that nobody can look up later
        except (SettingsInvalid, OSError) as error:
            self._refused = True
            _log.error("the edited policies are not taken, the last good set stays:\n%s", error)
        except NotRecorded as error:
            self._taken = None  # looked at again, until it can be written
            _log.error("the edited policies are not taken, since they cannot be kept: %s", error.message)
        else:
            version = self._judge.take(book)
            if version != before or self._refused:
                _log.warning("policies %s decide from now on", version)
            self._refused = False

    def _stamps(self) -> Iterator[tuple[str, int, int]]:
        for file in sorted(self._folder.rglob("*") if self._folder.is_dir() else ()):
            with contextlib.suppress(FileNotFoundError):
                status = file.stat()
                yield str(file.relative_to(self._folder)), status.st_mtime_ns, status.st_size
