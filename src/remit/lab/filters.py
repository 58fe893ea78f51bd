"""A slice of Google's filter language: comparisons joined by AND, for log entries and for lists of resources.

`resource.type="ml_job" AND timestamp>="2026-11-22T00:00:00Z"`; operators `=`, `!=`, `:` (has), `<`, `<=`, `>`, `>=`;
a new line is an AND too. Left out: OR, NOT, parentheses, functions, regular expressions: they are refused, never
ignored. Sources: cloud.google.com/logging/docs/view/logging-query-language, google.aip.dev/160.
"""

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from grpc import StatusCode

from remit.lab.errors import CloudError

_SEVERITIES = ("DEFAULT", "DEBUG", "INFO", "NOTICE", "WARNING", "ERROR", "CRITICAL", "ALERT", "EMERGENCY")
_TERM = re.compile(
    r"""\s*(?:AND\s+)?(?P<path>[A-Za-z_@][\w@.\-]*)\s*(?P<op>!=|<=|>=|=|:|<|>)\s*"""
    r"""(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<bare>[^\s()"]+))\s*"""
)
_ORDERED: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True, slots=True)
class Comparison:
    """One `path operator value`."""

    path: str
    operator: str
    value: str

    def holds(self, thing: Mapping[str, Any]) -> bool:
        """Whether it is true of a thing in JSON form; a path that is not there equals the empty string."""
        found = _follow(thing, self.path.split("."))
        if self.operator == "=":
            return found == self.value
        if self.operator == "!=":
            return found != self.value
        if self.operator == ":":
            return bool(found) and (self.value == "*" or self.value.lower() in found.lower())
        return bool(found) and _ORDERED[self.operator](_rank(self.path, found), _rank(self.path, self.value))


def parse(text: str) -> tuple[Comparison, ...]:
    """The comparisons of a filter; raises `CloudError` (`INVALID_ARGUMENT`) for what is not understood."""
    found, at = [], 0
    while at < len(text.rstrip()):
        term = _TERM.match(text, at)
        if term is None or term["bare"] in {"OR", "NOT"}:
            raise CloudError(StatusCode.INVALID_ARGUMENT, f"Unparseable filter: syntax error at column {at + 1}")
        value = term["bare"] if term["quoted"] is None else re.sub(r"\\(.)", r"\1", term["quoted"])
        found.append(Comparison(term["path"], term["op"], value))
        at = term.end()
    return tuple(found)


def _follow(thing: Any, path: list[str]) -> str:
    """The value at a path; what is left of the path may be one key (a label with a dot in its name)."""
    if not path:
        return "" if thing is None else str(thing)
    if not isinstance(thing, Mapping):
        return ""
    for split in range(1, len(path) + 1):
        key = ".".join(path[:split])
        if key in thing:
            return _follow(thing[key], path[split:])
    return ""


def _rank(path: str, value: str) -> Any:
    """What a value is ordered by: a time, a severity, a number, or itself."""
    if path.lower().endswith("timestamp") or path.lower().endswith("time"):
        try:
            return datetime.fromisoformat(value).timestamp()
        except ValueError as error:
            raise CloudError(StatusCode.INVALID_ARGUMENT, f"Unparseable filter: bad timestamp {value}") from error
    if path == "severity" and value in _SEVERITIES:
        return _SEVERITIES.index(value)
    return float(value) if re.fullmatch(r"-?\d+(\.\d+)?", value) else -1.0
