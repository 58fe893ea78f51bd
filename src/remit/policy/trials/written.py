"""Reading a document strictly: the keys of a mapping, each of its kind, every problem with its place.

A value of the wrong kind is a problem and reads as nothing, so that all problems of a file are found at once; whoever
reads uses nothing of it while there is one. Leaves out YAML: a document is handed in as plain values with places.
"""

import datetime as dt
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Protocol, TypeVar

from remit.model.errors import Problem

Path_ = tuple[str | int, ...]
_T = TypeVar("_T")
_LENGTH = re.compile(r"([0-9]{1,9})([smhd])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_MOST = 10**12  # of a number: what any machine can count
_LONGEST = 36_500 * 86_400  # seconds, 100 years
_YEARS = range(1970, 2400)  # with a length of time added, still a time that can be written


class Document(Protocol):
    """A file as plain values (`settings.document.Document` is one)."""

    @property
    def file(self) -> str:
        """Its name, as people know it."""

    @property
    def value(self) -> Any:
        """Dicts, lists and scalars."""

    def problem(self, path: Path_, message: str) -> Problem:
        """A problem at the place of a path."""


class Fields:
    """The keys of one mapping. `allowed`: the keys that it may have; `None` when they are names that people choose."""

    def __init__(
        self, document: Document, path: Path_, value: Any, problems: list[Problem], allowed: Collection[str] | None
    ) -> None:
        self.document = document
        self.path = path
        self._problems = problems
        self._value: Mapping[str, Any] = {}
        self._misspelt = False
        if not isinstance(value, Mapping):
            self._misspelt = True
            self.complain("", "must be a mapping, `name: value`")
            return
        self._value = value
        for name in value:
            if allowed is not None and name not in allowed:
                self._misspelt = True
                self.complain(name, f"is not known here; there are {_listed(allowed)}")

    def complain(self, key: str | int, message: str) -> None:
        """A problem with a key, or with the whole mapping when it is empty."""
        path = self.path if key == "" else (*self.path, key)
        told = "the file" if not path else "this entry" if isinstance(path[-1], int) else f"`{path[-1]}`"
        self._problems.append(self.document.problem(path, f"{told} {message}"))

    def lacks(self, message: str) -> None:
        """A problem with what the mapping does not say; none where a word that is not known may have been meant."""
        if not self._misspelt:
            self.complain("", message)

    def complain_of(self, key: str, index: int, message: str) -> None:
        """A problem with an entry of a list, or with the key where it holds no list."""
        path = (*self.path, key, *((index,) if isinstance(self._value.get(key), list) else ()))
        self._problems.append(self.document.problem(path, message))

    def __contains__(self, key: str) -> bool:
        return key in self._value

    def __iter__(self) -> Iterator[str]:
        return iter(self._value)

    def raw(self, key: str) -> Any:
        """The value as it stands, `None` when there is none."""
        return self._value.get(key)

    def text(self, key: str, default: str = "") -> str:
        """A word or sentence. What YAML takes for something else (`no`, `1e3`) wants quotes."""
        return self._of(key, str, default, "must be text; what looks like a number, a date or yes and no wants quotes")

    def flag(self, key: str, *, default: bool = False) -> bool:
        """`true` or `false`."""
        return self._of(key, bool, default, "must be `true` or `false`")

    def number(self, key: str, default: int = 0) -> int:
        """A whole number that is not negative."""
        found = self._of(key, int, default, "must be a whole number")
        if isinstance(found, bool) or not 0 <= found <= _MOST:
            self.complain(key, f"must be a whole number, 0 or more, and {_MOST} at most")
            return default
        return found

    def seconds(self, key: str, default: int = 0) -> int:
        """A length of time: seconds, or `90s`, `30m`, `8h`, `2d`."""
        value = self._value.get(key)
        found = _LENGTH.fullmatch(value) if isinstance(value, str) else None
        if isinstance(value, str) and found is None:
            self.complain(key, "must be a length of time, such as `90s`, `30m`, `8h` or `2d`")
            return default
        length = int(found[1]) * _UNITS[found[2]] if found else self.number(key, default)
        if length > _LONGEST:
            self.complain(key, "must be 100 years at most")
            return default
        return length

    def moment(self, key: str, default: int) -> int:
        """A time, in UTC where it names no zone, as seconds since the epoch."""
        value = self._value.get(key)
        if value is None and key not in self._value:
            return default
        if isinstance(value, str):
            value = _parsed(value)
        if isinstance(value, dt.date) and value.year not in _YEARS:
            self.complain(key, f"must be a time from {_YEARS.start} to {_YEARS.stop - 1}")
            return default
        if isinstance(value, dt.datetime):
            return int((value if value.tzinfo else value.replace(tzinfo=dt.UTC)).timestamp())
        if isinstance(value, dt.date):
            return int(dt.datetime(value.year, value.month, value.day, tzinfo=dt.UTC).timestamp())
        self.complain(key, "must be a time, such as `2026-01-01T10:00:00Z`")
        return default

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of words, `[one, two]`."""
        found = self._of(key, list, [], "must be a list, such as `[one, two]`")
        for index, one in enumerate(found):
            if not isinstance(one, str):
                self._problems.append(
                    self.document.problem((*self.path, key, index), f"an entry of `{key}` must be text, in quotes")
                )
        return tuple(one for one in found if isinstance(one, str))

    def fields(self, key: str, allowed: Collection[str] | None = None) -> "Fields":
        """A mapping below this one; an empty one when there is none."""
        return Fields(self.document, (*self.path, key), self._value.get(key, {}), self._problems, allowed)

    def below(self, path: Path_, allowed: Collection[str]) -> "Fields":
        """The mapping at a path below this one, which must be there."""
        found: Any = self._value
        for step in path:
            found = found[step]
        return Fields(self.document, (*self.path, *path), found, self._problems, allowed)

    def entries(self, key: str, allowed: Collection[str]) -> Iterator["Fields"]:
        """The mappings of a list."""
        for index, one in enumerate(self._of(key, list, [], "must be a list, each entry with a `-`")):
            yield Fields(self.document, (*self.path, key, index), one, self._problems, allowed)

    def _of(self, key: str, kind: type[_T], default: _T, message: str) -> _T:
        if key not in self._value:
            return default
        value = self._value[key]
        if isinstance(value, kind):
            return value
        self.complain(key, message)
        return default


def _parsed(text: str) -> dt.datetime | None:
    try:
        return dt.datetime.fromisoformat(text)
    except ValueError:
        return None


def _listed(names: Collection[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))
