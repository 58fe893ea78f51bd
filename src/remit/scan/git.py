"""The objects of a repository, by git's plumbing, without trusting the repository.

Only `rev-parse`, `rev-list`, `diff-tree` and `cat-file` are called: they run no hook, no pager, no text conversion, no
external diff and no signature check, whatever the repository's configuration says (`git log` would: `log.showSignature`
with `gpg.program`). The monitor of the file system is off, no protocol is allowed (a partial clone would fetch, by a
command that it names), no replacement and no graft hides anything, and no `GIT_…` variable of the caller counts.
The folder is named, not looked for, so that `safe.directory` does not come into it.
"""

import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from remit.model.errors import RemitError

_SECONDS = 60  # for a question with one line as its answer
_QUIET = {
    "GIT_ALLOW_PROTOCOL": "none",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_GRAFT_FILE": os.devnull,
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "LC_ALL": "C",
}
_OFF = ("core.fsmonitor=false", f"core.hooksPath={os.devnull}", "core.commitGraph=false", "core.quotePath=false")


def program() -> str | None:
    """Where git is, if it is there."""
    return shutil.which("git")


@dataclass(frozen=True, slots=True)
class Blob:
    """An object of the history: a file's content, with a path that it had, or a commit or tag with its message."""

    name: str
    kind: str
    size: int
    path: str


class Repository:
    """One repository. Raises `RemitError` when git does not answer, or not to the end."""

    def __init__(self, folder: Path) -> None:
        inner = folder / ".git"
        self.folder, self._directory = folder, inner if os.path.lexists(inner) else folder
        self.missing = 0

    def common(self) -> Path:
        """Where its objects are: the same for all its work trees. No pipe is among them: git would wait for it."""
        found = (self._directory / self._ask("rev-parse", "--path-format=absolute", "--git-common-dir")).resolve()
        if any(_waits(os.path.join(folder, name)) for folder, _, names in os.walk(found) for name in names):  # noqa: PTH118 - bytes of names stay as they are
            raise RemitError(f"git cannot read `{self.folder.name}`: it holds a pipe or a device")
        return found

    def shallow(self) -> bool:
        """Whether older commits were not fetched."""
        return self._ask("rev-parse", "--is-shallow-repository") == "true"

    def commit(self, name: str) -> str:
        """The id of what a name stands for; empty when it is none."""
        try:
            return self._ask("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
        except RemitError:
            return ""

    def objects(self, *limits: str) -> Iterator[Blob]:
        """Every blob, commit and tag that a ref reaches, once. `limits`: of `rev-list`."""
        form = "--batch-check=%(objectname) %(objecttype) %(objectsize) %(rest)"
        listing = self._start("rev-list", "--objects", "--all", "--missing=print", *limits)
        checking = self._start("cat-file", "--buffer", form, stdin=listing.stdout)
        with _ended(self.folder, listing, checking) as lines:
            for line in lines:
                words = line.rstrip(b"\n").split(b" ", 3)
                if words[-1] == b"missing" or len(words) < 3:  # noqa: PLR2004 - name, kind, size
                    self.missing += 1
                elif words[1] != b"tree":
                    path = os.fsdecode(words[3]) if len(words) > 3 else ""  # noqa: PLR2004 - commits have none
                    yield Blob(words[0].decode(), words[1].decode(), int(words[2]), path)

    def introduced(self, wanted: set[str], *limits: str) -> dict[str, str]:
        """For each blob the oldest commit that has it, of those that git reaches."""
        if not wanted:
            return {}
        found: dict[str, str] = {}
        commits = self._start("rev-list", "--all", "--reverse", "--topo-order", *limits)
        changes = self._start(
            "diff-tree", "--stdin", "--root", "-r", "-c", "--raw", "--no-abbrev", "--no-renames", stdin=commits.stdout
        )
        with _ended(self.folder, commits, changes) as lines:
            commit = ""
            for line in lines:
                if not line.startswith(b":"):
                    commit = line.strip().decode("ascii", "replace")
                    continue
                parents = len(line) - len(line.lstrip(b":"))
                blob = line.split(b"\t", 1)[0].split()[2 * parents + 1].decode("ascii", "replace")
                if blob in wanted:
                    found.setdefault(blob, commit)
        return found

    @contextmanager
    def contents(self) -> Iterator["Contents"]:
        """Reads objects by name, one after another."""
        with subprocess.Popen(  # noqa: S603 - no shell; the words are ours, the folder is one word
            self._words("cat-file", "--batch"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_around(),
        ) as process:
            if process.stdin is None or process.stdout is None:
                raise AssertionError("pipes were asked for")
            try:
                yield Contents(process.stdin, process.stdout)
            finally:
                process.stdout.close()
                process.kill()

    def _words(self, *words: str) -> list[str]:
        switches = [word for setting in _OFF for word in ("-c", setting)]
        where = (f"--git-dir={self._directory}", f"--work-tree={self.folder}")  # its own may be gone, or anywhere
        return [program() or "git", "--no-pager", *switches, *where, *words]

    def _ask(self, *words: str) -> str:
        try:
            done = subprocess.run(  # noqa: S603 - as above
                self._words(*words), capture_output=True, env=_around(), timeout=_SECONDS, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise RemitError(f"git does not answer for `{self.folder.name}`") from error
        if done.returncode:
            raise RemitError(f"git cannot read `{self.folder.name}`")
        return os.fsdecode(done.stdout).rstrip("\n")

    def _start(self, *words: str, stdin: IO[bytes] | None = None) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 - as above
            self._words(*words),
            stdin=subprocess.DEVNULL if stdin is None else stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_around(),
        )


class Contents:
    """The two ends of `cat-file --batch`."""

    def __init__(self, questions: IO[bytes], answers: IO[bytes]) -> None:
        self._questions, self._answers = questions, answers
        self._left = 0

    def open(self, name: str) -> int:
        """Begins an object, after the rest of the one before; its size. `FileNotFoundError` when it is not there."""
        while self._left and self.read(2**20):
            """What nobody wanted."""
        self._questions.write(name.encode() + b"\n")
        self._questions.flush()
        words = self._answers.readline().split()
        if words[1:] == [b"missing"]:
            raise FileNotFoundError(0, "git has no such object")
        if len(words) != 3:  # noqa: PLR2004 - name, kind, size
            raise OSError(0, "git cannot read the object")
        self._left = int(words[2]) + 1
        return self._left - 1

    def read(self, most: int) -> bytes:
        """At most so many bytes of it; none at its end."""
        wanted = min(most, self._left - 1)
        data = self._answers.read(wanted) if wanted > 0 else b""
        if len(data) < wanted:
            raise OSError(0, "git ended within the object")
        self._left -= len(data)
        if self._left == 1:
            self._answers.read(1)
            self._left = 0
        return data


def _waits(path: str) -> bool:
    """Whether reading it may never end. A socket, such as the file system monitor's, cannot even be opened."""
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 - as above
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISSOCK(mode))


def _around() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("GIT_")} | _QUIET


@contextmanager
def _ended(folder: Path, first: subprocess.Popen[bytes], second: subprocess.Popen[bytes]) -> Iterator[IO[bytes]]:
    """The lines of two programs in a row; an error unless both come to a good end, or nobody wants the rest."""
    if first.stdout is None or second.stdout is None:
        raise AssertionError("pipes were asked for")
    first.stdout.close()  # the second has it
    whole = False
    try:
        yield second.stdout
        whole = True
    finally:
        second.stdout.close()
        for process in (second, first):
            if not whole:
                process.kill()
            process.wait()
    if first.returncode or second.returncode:
        raise RemitError(f"git could not read the history of `{folder.name}` to its end")
