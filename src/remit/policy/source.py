"""The policy files: reading the folder, its version, and where in a file something stands.

A folder holds policies (`*.cedar`), and may hold obligations (`obligations/*.cedar`) and policy tests (`tests/*.yaml`,
which decide nothing and are no part of the version). Anything else in it is a problem.

Leaves out what policies mean: the engine parses and validates (`book`), and its messages name no place. So the places
are found here: a scanner splits a file into statements, and for a syntax error the shortest prefix that the engine
rejects for more than being unfinished ends with the token to blame.
"""

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cedarpy import PolicySet

from remit.model.errors import Problem

_TOKEN = re.compile(r'"(?:\\.|[^"\\])*"|[A-Za-z_]\w*|\d+|::|==|!=|<=|>=|&&|\|\||\S')
_BLANK = re.compile(r"(?:\s|//[^\n]*)*")
_UNFINISHED = "unexpected end of input"
_SUFFIX = ".cedar"
_TEST_SUFFIX = ".yaml"
_PROSE = (".md", ".txt")
OBLIGATIONS, TESTS = "obligations", "tests"


@dataclass(frozen=True, slots=True)
class Statement:
    """One policy's text and where it starts in its file, as an offset."""

    file: "PolicyFile"
    start: int
    text: str

    def problem(self, message: str, *, at: str = "") -> Problem:
        """A problem with this policy, placed at the first occurrence of `at` in it, else at its start."""
        return self.file.problem(self.offset(at), message)

    def offset(self, word: str) -> int:
        """Where in the file a word of this policy first stands; the policy's start when it does not."""
        found = re.search(rf"(?<!\w){re.escape(word)}(?!\w)", self.text) if word else None
        return self.start + (found.start() if found else 0)


@dataclass(frozen=True, slots=True)
class PolicyFile:
    """One `*.cedar` file. `name`: as people know it, the path from where Remit was started or configured."""

    name: str
    text: str

    def problem(self, offset: int, message: str) -> Problem:
        """A problem at an offset of the text, told by line and column."""
        line = self.text.count("\n", 0, offset) + 1
        column = offset - (self.text.rfind("\n", 0, offset) + 1) + 1
        return Problem(self.name, line, column, message)

    def statements(self) -> tuple[Statement, ...]:
        """The policies of the file in order; what follows the last semicolon counts as one more."""
        ends = [end for _, end in self._tokens() if self.text[end - 1] == ";"]
        starts = [self._skip_blank(start) for start in [0, *ends]]
        pairs = zip(starts, [*ends, len(self.text)], strict=True)
        return tuple(Statement(self, start, self.text[start:end]) for start, end in pairs if start < len(self.text))

    def syntax_problem(self) -> Problem | None:
        """The first thing in the file that the engine cannot parse."""
        for statement in self.statements():
            message = _parse_error(statement.text)
            if message:
                return self.problem(_culprit(statement), message)
        return None

    def _tokens(self) -> list[tuple[int, int]]:
        return _tokens(self.text)

    def _skip_blank(self, start: int) -> int:
        found = _BLANK.match(self.text, start)
        return found.end() if found else start


@dataclass(slots=True)
class Folder:
    """What was read.

    `texts`: by path inside the folder, with `/`; `names`: of each as people know it, where that differs; `problems`:
    what is wrong with the folder itself.
    """

    texts: dict[str, str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    @property
    def policies(self) -> tuple[PolicyFile, ...]:
        """The policy files, in the order of their names."""
        return self._files(lambda path: "/" not in path)

    @property
    def obligations(self) -> tuple[PolicyFile, ...]:
        """The files of obligations, likewise."""
        return self._files(lambda path: path.startswith(f"{OBLIGATIONS}/"))

    @property
    def version(self) -> str:
        """The first 16 hex digits of SHA-256 over each file's path and content, with their lengths."""
        digest = hashlib.sha256()
        for path, text in sorted(self.texts.items()):
            for part in (path.encode(), text.encode()):
                digest.update(len(part).to_bytes(8, "big") + part)
        return digest.hexdigest()[:16]

    def _files(self, wanted: Callable[[str], bool]) -> tuple[PolicyFile, ...]:
        found = sorted((path, text) for path, text in self.texts.items() if wanted(path))
        return tuple(PolicyFile(self.names.get(path, path), text) for path, text in found)


def read_folder(folder: Path) -> Folder:
    """The policies and obligations of a folder, and what is wrong with it.

    A file that is neither policy nor prose is a problem: a misspelt ending must not silently drop a `forbid`.
    """
    found = Folder()
    for path in _entries(folder, found):
        if path.name in {OBLIGATIONS, TESTS} and path.is_dir():
            continue
        _take(path, path.name, found)
    if not found.texts and not found.problems:
        found.problems.append(
            Problem(str(folder), 0, 0, f"the policy folder holds no `*{_SUFFIX}` file: nothing is permitted")
        )
    if (folder / OBLIGATIONS).is_dir():
        _take_obligations(folder / OBLIGATIONS, found)
    if (folder / TESTS).is_dir():
        for path in _entries(folder / TESTS, found):
            if not path.name.endswith(_TEST_SUFFIX):
                message = f"not a policy test: tests end in `{_TEST_SUFFIX}`, and nothing here decides"
                found.problems.append(Problem(str(path), 0, 0, message))
    return found


def _take_obligations(folder: Path, found: Folder) -> None:
    before = len(found.texts) + len(found.problems)
    for path in _entries(folder, found):
        _take(path, f"{OBLIGATIONS}/{path.name}", found)
    if len(found.texts) + len(found.problems) == before:
        message = f"the folder holds no `*{_SUFFIX}` file: was it emptied? a folder that is not needed is deleted"
        found.problems.append(Problem(str(folder), 0, 0, message))


def _entries(folder: Path, found: Folder) -> Iterator[Path]:
    """What lies in a folder, but for what is hidden and prose, in the order of names."""
    try:
        paths = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        message = f"the policy folder cannot be read: {error.strerror}"
        found.problems.append(Problem(str(folder), 0, 0, message))
        return
    yield from (path for path in paths if not path.name.endswith(_PROSE))


def _take(path: Path, inside: str, found: Folder) -> None:
    if not path.name.endswith(_SUFFIX):
        message = f"not a policy file: policies end in `{_SUFFIX}`, in no subfolder but `{OBLIGATIONS}`"
        found.problems.append(Problem(str(path), 0, 0, message))
        return
    try:
        found.texts[inside] = path.read_bytes().decode()
    except OSError as error:
        found.problems.append(Problem(str(path), 0, 0, f"the file cannot be read: {error.strerror}"))
    except UnicodeDecodeError as error:
        found.problems.append(Problem(str(path), 0, 0, f"the file is not UTF-8 at byte {error.start}"))
    else:
        found.names[inside] = str(path)


def _tokens(text: str) -> list[tuple[int, int]]:
    """Start and end of each token; comments and blanks are none."""
    found: list[tuple[int, int]] = []
    position = 0
    while True:
        blank = _BLANK.match(text, position)
        token = _TOKEN.match(text, blank.end() if blank else position)
        if token is None:
            return found
        found.append(token.span())
        position = token.end()


def _culprit(statement: Statement) -> int:
    """The offset in the file of the token that makes the statement unreadable."""
    tokens = _tokens(statement.text)
    # one by one: the parser recovers from some errors, so that a longer prefix may be merely unfinished again
    errors = (_parse_error(statement.text[:end]) for _, end in tokens)
    first = next((index for index, error in enumerate(errors) if error not in {_UNFINISHED, ""}), None)
    if first is None:  # the whole statement is merely unfinished: blame its end
        return statement.start + tokens[-1][1] - 1
    whole = first == len(tokens) - 1 and statement.text[tokens[first][0]] == ";"
    message = _parse_error(statement.text)
    if whole and "token" not in message:  # grammatical, and still wrong: the message ends with the word to blame
        return statement.offset(message.rpartition(": ")[2])
    return statement.start + tokens[first][0]


def _parse_error(text: str) -> str:
    try:
        PolicySet.from_str(text)
    except ValueError as error:
        return str(error)
    return ""
