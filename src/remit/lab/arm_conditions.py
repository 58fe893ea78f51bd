"""Conditions of role assignments, as far as the lab evaluates them: actions, a blob's path, a list's prefix.

Understood whole or not at all: a word that is not known here, or an AND beside an OR without brackets, and the
assignment gives nothing. An attribute that a request does not have equals nothing. Sources:
learn.microsoft.com/azure/role-based-access-control/conditions-format,
learn.microsoft.com/azure/storage/blobs/storage-auth-abac-attributes.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

_STORAGE = "Microsoft.Storage/storageAccounts/blobServices/containers"
NAME, PATH = f"@Resource[{_STORAGE}:name]", f"@Resource[{_STORAGE}/blobs:path]"
PREFIX = f"@Request[{_STORAGE}/blobs:prefix]"
LIST = "Blob.List"
"""The suboperation of a list of blobs, whose action is reading."""

_TOKEN = re.compile(
    r"\s*(?:(?P<sign>[()!]|(?:AND|OR|NOT)\b)"
    r"|(?P<matches>ActionMatches|SubOperationMatches)\{'(?P<what>[^'*]*)'\}"
    r"|(?P<attribute>@(?:Resource|Request)\[[^\]]*\])\s*(?P<operator>\w+)\s+'(?P<value>[^']*)')\s*"
)
_OPERATORS: Mapping[str, Callable[[str, str], bool]] = {
    "StringEquals": str.__eq__,
    "StringStartsWith": str.startswith,
}
_DEEPEST = 32  # brackets within brackets


class UnknownConditionError(ValueError):
    """A condition that the lab does not evaluate, and why."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a condition is held against. `action`: Azure's name; `part`: a suboperation; `attributes`: by full name."""

    action: str
    part: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)


Condition: TypeAlias = Callable[[Asked], bool]


def understood(text: str) -> Condition:
    """The condition; raises `UnknownConditionError`."""
    reader = _Reader(text)
    found = reader.alternatives(0)
    if reader.ahead is not None:
        raise reader.unknown()
    return found


class _Reader:
    """One reading, a token ahead."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self.ahead: re.Match[str] | None = None
        self._next()

    def alternatives(self, depth: int) -> Condition:
        """Terms that are joined by AND alone, or by OR alone."""
        terms, joined = [self._term(depth)], ""
        while self._sign() in {"AND", "OR"}:
            if joined not in {"", self._sign()}:
                raise self.unknown()
            joined = self._sign()
            self._next()
            terms.append(self._term(depth))
        every = all if joined == "AND" else any
        return terms[0] if not joined else lambda asked: every([term(asked) for term in terms])

    def _term(self, depth: int) -> Condition:
        found, sign = self.ahead, self._sign()
        if found is None or depth > _DEEPEST:
            raise self.unknown()
        if not sign:
            self._next()
            return _compared(found)
        if sign not in {"!", "NOT", "("}:
            raise self.unknown()
        self._next()
        if sign != "(":
            term = self._term(depth + 1)
            return lambda asked: not term(asked)
        inner = self.alternatives(depth + 1)
        if self._sign() != ")":
            raise self.unknown()
        self._next()
        return inner

    def _sign(self) -> str:
        return (self.ahead["sign"] or "") if self.ahead else ""

    def _next(self) -> None:
        self.ahead = _TOKEN.match(self._text, self._at)
        if self.ahead is None and self._at < len(self._text):
            raise self.unknown()
        self._at = self.ahead.end() if self.ahead else self._at

    def unknown(self) -> UnknownConditionError:
        """Where it is not understood."""
        start = self.ahead.start() if self.ahead else self._at
        what = self._text[start : start + 60]
        return UnknownConditionError(f"not understood from character {start + 1} on: {what!r}")


def _compared(found: re.Match[str]) -> Condition:
    if found["matches"]:
        action, what = found["matches"] == "ActionMatches", found["what"].lower()
        return lambda asked: (asked.action if action else asked.part).lower() == what
    name, holds, value = found["attribute"], _OPERATORS.get(found["operator"]), found["value"]
    if name not in {NAME, PATH, PREFIX} or holds is None:
        raise UnknownConditionError(f"`{name} {found['operator']}` is not evaluated")
    return lambda asked: name in asked.attributes and holds(asked.attributes[name], value)
