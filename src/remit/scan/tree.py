"""Files below a path: those that git ignores too, since environment files are mostly ignored ones.

Nothing is followed that leads elsewhere: symbolic links are counted, a link inside the tree leads to what is looked at
anyway. Pipes, sockets and devices are no files. Of a `.git` its configuration is read, which holds addresses, and
nothing else: its objects are the history's.
"""

import os
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from remit.scan.text import masked

OTHERS = frozenset({"node_modules", "site-packages", "__pycache__", ".tox", ".nox", "__pypackages__"})
CACHES = frozenset({".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis", ".cache"})


@dataclass(slots=True)
class Walk:
    """The files of one path. `repositories`: folders in it with a git of their own; `left`: names of folders passed."""

    root: Path
    everything: bool = False
    repositories: list[Path] = field(default_factory=list)
    left: Counter[str] = field(default_factory=Counter)
    links: int = 0
    unread: list[str] = field(default_factory=list)

    def files(self) -> Iterator[str]:
        """Every file's path, depth first, in the order of names."""
        if not self.root.is_dir():
            yield os.fspath(self.root)
            return
        above = [os.fspath(self.root)]
        while above:
            folder = above.pop()
            if is_repository(Path(folder)):
                self.repositories.append(Path(folder))
                if not os.path.lexists(os.path.join(folder, ".git")):  # noqa: PTH118 - bytes of names stay as they are
                    yield os.path.join(folder, "config")  # noqa: PTH118 - a bare one: the rest is objects
                    continue
            for entry in reversed(self._entries(folder)):
                if entry.is_dir(follow_symlinks=False):
                    above += [entry.path] if self._wanted(entry) else []
            for entry in self._entries(folder):
                yield from self._file(entry)

    def _entries(self, folder: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(folder) as found:
                return sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            said = f"{masked(folder)}: {error.strerror}"
            self.unread += [] if said in self.unread else [said]
            return []

    def _wanted(self, entry: os.DirEntry[str]) -> bool:
        if entry.name == ".git":
            return False
        if self.everything or not passed(entry.name, entry.path):
            return True
        self.left[masked(entry.name)] += 1
        return False

    def _file(self, entry: os.DirEntry[str]) -> Iterator[str]:
        if entry.is_symlink():
            self.links += 1
        elif entry.name == ".git" and entry.is_dir(follow_symlinks=False):
            for folder, below, names in os.walk(entry.path):
                below[:] = [name for name in below if name == "modules" or "/modules" in folder]
                if "config" in names:
                    yield os.path.join(folder, "config")  # noqa: PTH118 - as above
        elif entry.is_file(follow_symlinks=False):
            yield entry.path


def passed(name: str, path: str = "") -> bool:
    """Whether a folder holds other people's programs, or a cache. An environment of Python is one by what is in it."""
    return name in OTHERS or name in CACHES or (bool(path) and os.path.exists(os.path.join(path, "pyvenv.cfg")))  # noqa: PTH110, PTH118 - as above


def is_repository(folder: Path) -> bool:
    """Whether git would take a folder for a repository: with a `.git`, or bare."""
    if os.path.lexists(folder / ".git"):
        return True
    return all((folder / name).is_dir() for name in ("objects", "refs")) and (folder / "HEAD").is_file()


def enclosing(path: Path) -> Path | None:
    """The repository that a path lies in."""
    above = path.resolve()
    return next((each for each in (above, *above.parents) if is_repository(each)), None)


def opened(path: str) -> int:
    """A descriptor of a regular file; `OSError` for anything else, without waiting for whoever writes to a pipe."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(0, "not a regular file")
    return descriptor
