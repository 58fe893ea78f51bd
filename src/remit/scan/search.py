"""`remit scan`, the story: the trees first, then the history of every repository in them, each secret once a file.

1. walk: every file below the paths, and the repositories among the folders
2. look: batches of files, here or in other processes
3. history: every object that a ref reaches and no earlier repository had, the same way
4. gather: the same secret in a file's versions is one finding; the work tree's comes first
5. commit: for those that only the history has, the oldest commit that brought them
"""

import datetime as dt
import os
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from remit.model.errors import RemitError
from remit.scan import git
from remit.scan.finding import Finding, Found
from remit.scan.look import Looked, Run, Target
from remit.scan.text import masked
from remit.scan.tree import Walk, enclosing, passed
from remit.scan.workers import BATCH, MANY, Batch, shared

Told = Callable[[int, int], None]
_HASH = 64  # digits of the longest name of an object: repositories may use SHA-256


@dataclass(frozen=True, slots=True)
class Asked:
    """What to scan. `since`: a commit or a time, as typed; `moment`: the time in seconds, if it is one."""

    paths: tuple[Path, ...]
    history: bool = True
    everything: bool = False
    since: str = ""
    moment: int | None = None
    workers: int = 0


@dataclass(slots=True)
class Report:
    """`findings` count; `dismissed` do not, each with its reason. `notes`: what was left out. `unread`: errors."""

    findings: list[Finding] = field(default_factory=list)
    dismissed: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class _Place:
    """One secret in one file: its first sight, the objects that hold it, and whether the work tree does."""

    first: Found
    repository: Path | None
    blobs: dict[str, Found]
    present: bool


class Search:
    """One run. `told`: called with files and bytes as they are done."""

    def __init__(self, asked: Asked, told: Told = lambda _files, _bytes: None) -> None:
        self._asked, self._told = asked, told
        self._run = Run(secrets.token_bytes(32), dt.datetime.now(dt.UTC).date())
        self._places: dict[tuple[bytes, str], _Place] = {}
        self._report = Report()

    def report(self) -> Report:
        """Scans. Raises `RemitError` when a path is not there, or `since` is neither a commit nor a time."""
        walks = [self._walk(path) for path in self._asked.paths]
        for walk in walks:
            self._look(self._files(walk), None)
            self._report.unread += walk.unread
        self._left(walks)
        if self._asked.history:
            self._histories(walks)
        self._report.findings += [self._finding(place, {}) for place in self._places.values() if place.present]
        self._sort()
        return self._report

    def _walk(self, path: Path) -> Walk:
        if not path.exists():
            raise RemitError(f"`{masked(str(path))}` is not there")
        return Walk(path, everything=self._asked.everything)

    def _files(self, walk: Walk) -> Iterator[Batch]:
        """2. Files in batches; a repository above the path counts for what their places are called."""
        above = enclosing(walk.root if walk.root.is_dir() else walk.root.parent)
        roots = [os.fspath(above)] if above else [os.fspath(walk.root.resolve())]
        targets: list[Target] = []
        paths: list[str] = []
        for path in walk.files():
            try:
                size = os.lstat(path).st_size
            except OSError:
                size = 0
            absolute = os.path.abspath(path)  # noqa: PTH100 - names are bytes
            nearest = max(
                (
                    root
                    for root in [*roots, *map(os.path.abspath, walk.repositories)]
                    if absolute.startswith(f"{root}/")
                ),
                key=len,
                default="",
            )
            targets.append(Target(shown(absolute), absolute.removeprefix(f"{nearest}/"), size))
            paths.append(path)
            if len(paths) >= MANY or sum(target.size for target in targets[-MANY:]) >= BATCH:
                yield Batch(None, tuple(targets), tuple(paths))
                targets, paths = [], []
        yield Batch(None, tuple(targets), tuple(paths))

    def _look(self, batches: Iterable[Batch], repository: Path | None) -> None:
        for looked in shared(batches, self._run, self._asked.workers):
            self._gather(looked, repository)
            self._told(looked.counts["texts"] + looked.counts["binary"], looked.counts["bytes"])

    def _gather(self, looked: Looked, repository: Path | None) -> None:
        """4. A secret in the versions of a file is one place."""
        where = "history" if repository else "tree"
        self._report.unread += looked.unread
        self._report.counts += Counter({f"{where} {name}": count for name, count in looked.counts.items()})
        for found in looked.found:
            place = self._places.setdefault((found.same, found.file), _Place(found, repository, {}, not repository))
            if found.blob:
                place.blobs[found.blob] = found
            if place.first.dismissed and not found.dismissed:  # a comment in one version does not excuse another
                place.first, place.repository = found, repository

    def _left(self, walks: Iterable[Walk]) -> None:
        left: Counter[str] = sum((walk.left for walk in walks), Counter())
        if left:
            names = ", ".join(f"{name} ({count})" if count > 1 else name for name, count in sorted(left.items()))
            self._report.notes.append(f"folders left out: {names}; `--all` includes them")
        if links := sum(walk.links for walk in walks):
            self._report.notes.append(f"{links} symbolic links not followed")

    # 3. history

    def _histories(self, walks: Iterable[Walk]) -> None:
        folders = list(dict.fromkeys(folder for walk in walks for folder in _repositories(walk)))
        if folders and git.program() is None:
            self._report.notes.append("the history was not scanned: there is no `git` here")
            return
        done: set[Path] = set()
        dated = False
        for folder, below in folders:
            repository = git.Repository(folder)
            try:
                common = repository.common()
                if common not in done or below:
                    done.add(common)
                    dated = self._history(repository, below) or dated
            except RemitError as error:
                self._report.unread.append(masked(error.message))
        if self._asked.since and folders and not dated and self._asked.moment is None and not self._report.unread:
            raise RemitError(
                f"`{masked(self._asked.since)}` is neither a commit nor a time",
                hint="such as 2026-11-22, 30d or main~10",
            )

    def _history(self, repository: git.Repository, below: str) -> bool:
        """One repository's; whether `--since` named a commit of it."""
        name = shown(os.path.abspath(repository.folder))  # noqa: PTH100 - as above
        limits, dated = self._limits(repository)
        if limits is None:
            self._report.notes.append(
                f"the history of {masked(name)} was not scanned: it has no commit `{masked(self._asked.since)}`"
            )
            return False
        before = len(self._report.unread)
        self._look(self._blobs(repository, name, below, limits), repository.folder)
        if repository.shallow():
            self._report.notes.append(f"the history of {masked(name)} is shallow: older commits are not here")
        if repository.missing:
            self._report.notes.append(
                f"{repository.missing} objects of {masked(name)} are not here: it is a partial clone"
            )
        self._report.counts["repositories"] += 1
        self._report.counts["history unread"] += len(self._report.unread) - before
        self._settle(repository)
        return dated

    def _limits(self, repository: git.Repository) -> tuple[tuple[str, ...] | None, bool]:
        if not self._asked.since:
            return (), True
        if commit := repository.commit(self._asked.since):
            return ("--not", commit), True
        return (None if self._asked.moment is None else (f"--max-age={self._asked.moment}",)), False

    def _blobs(self, repository: git.Repository, name: str, below: str, limits: tuple[str, ...]) -> Iterator[Batch]:
        targets: list[Target] = []
        size = 0
        for blob in repository.objects(*limits):
            if not self._wanted(blob, below):
                continue
            path = blob.path if blob.kind == "blob" else f"(message of a {blob.kind})"
            targets.append(Target(os.path.normpath(os.path.join(name, path)), path, blob.size, blob.name))  # noqa: PTH118 - as above
            size += blob.size
            if len(targets) >= MANY or size >= BATCH:
                yield Batch(repository.folder, tuple(targets))
                targets, size = [], 0
        yield Batch(repository.folder, tuple(targets))

    def _wanted(self, blob: git.Blob, below: str) -> bool:
        if below and not (blob.path == below or blob.path.startswith(f"{below}/")):
            return False
        return self._asked.everything or not any(map(passed, blob.path.split("/")[:-1]))

    def _settle(self, repository: git.Repository) -> None:
        """5. What only this history has becomes findings, with their commits."""
        places = {
            key: place
            for key, place in self._places.items()
            if place.repository == repository.folder and not place.present
        }
        wanted = {blob for place in places.values() for blob in place.blobs}
        commits = repository.introduced(wanted)
        for key, place in places.items():
            del self._places[key]
            self._report.findings.append(self._finding(place, commits))

    def _finding(self, place: _Place, commits: dict[str, str]) -> Finding:
        found = place.first
        oldest = next((blob for blob in commits if blob in place.blobs), "")
        if oldest and place.blobs[oldest].dismissed == found.dismissed:
            found = place.blobs[oldest]  # the line is that of the commit's version
        message = found.file.rpartition("/")[2].startswith("(message of a ")
        return Finding(found, found.blob if message else commits.get(oldest, ""), place.present)

    def _sort(self) -> None:
        every = sorted(
            self._report.findings, key=lambda one: (not one.present, one.found.file, one.found.cell, one.found.line)
        )
        self._report.findings = [one for one in every if not one.found.dismissed]
        self._report.dismissed = [one for one in every if one.found.dismissed]


def _repositories(walk: Walk) -> Iterator[tuple[Path, str]]:
    """Those in a tree, what is not checked out of their submodules, and the one around it, for the part below it."""
    root = walk.root.resolve()
    around = enclosing(root)
    if around is not None and around != root:
        yield around, os.fspath(root.relative_to(around))
    for folder in walk.repositories:
        yield folder, ""
        for inner, names, files in os.walk(folder / ".git" / "modules"):
            if "HEAD" in files and "objects" in names:
                yield Path(inner), ""


def shown(absolute: str) -> str:
    """A path as a person would name it: from where they stand, if it is below that."""
    here = os.getcwd()  # noqa: PTH109 - as above
    if absolute == here:
        return "."
    return absolute.removeprefix(f"{here}/") if here != "/" else absolute
