"""A slice of OData's `$filter`: comparisons joined by `and`, `startswith`, and `any` over a collection.

`appId eq '…'`, `identifierUris/any(x:x eq '…')`, `activityDateTime ge 2026-11-22T00:00:00Z`. What is not understood is
refused, never ignored. Source: learn.microsoft.com/graph/filter-query-parameter.
"""

import operator
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from remit.lab.graph_errors import bad_request

_LITERAL = r"(?:'(?P<text>(?:[^']|'')*)'|(?P<bare>[^\s'()]+))"
_PATH = r"[A-Za-z_][\w/]*"
_COMPARISON = re.compile(rf"(?P<path>{_PATH})\s+(?P<op>eq|ne|ge|gt|le|lt)\s+{_LITERAL}")
_STARTS = re.compile(rf"startswith\(\s*(?P<path>{_PATH})\s*,\s*{_LITERAL}\s*\)")
_ANY = re.compile(
    rf"(?P<list>{_PATH})/any\(\s*(?P<name>[a-z]+)\s*:\s*(?P=name)(?:/(?P<path>{_PATH}))?"
    rf"\s+(?P<op>eq|ne|ge|gt|le|lt)\s+{_LITERAL}\s*\)"
)
_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "ge": operator.ge,
    "gt": operator.gt,
    "le": operator.le,
    "lt": operator.lt,
}
_GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")  # which may stand without quotes
_WORDS: Mapping[str, object] = {"true": True, "false": False, "null": None}

Test = Callable[[Mapping[str, Any]], bool]


def parse(text: str) -> Test:
    """What a filter holds a document against; everything passes an empty one. Raises `GraphError`."""
    tests, at = [], 0
    text = text.strip()
    while at < len(text):
        found = next((match for kind in (_ANY, _STARTS, _COMPARISON) if (match := kind.match(text, at))), None)
        if found is None:
            raise _invalid(text)
        tests.append(_test(found))
        at = found.end()
        joint = re.compile(r"\s+and\s+").match(text, at)
        if at < len(text) and (joint is None or joint.end() == len(text)):
            raise _invalid(text)
        at = joint.end() if joint else at
    return lambda document: all(test(document) for test in tests)


def _test(found: re.Match[str]) -> Test:
    wanted = _value(found)
    groups = found.groupdict()
    if found.re is _STARTS:
        return lambda document: str(_at(document, found["path"]) or "").lower().startswith(str(wanted).lower())
    if found.re is _ANY:
        return lambda document: any(
            _compare(_at(each, groups["path"] or ""), found["op"], wanted)
            for each in _at(document, found["list"]) or ()
        )
    return lambda document: _compare(_at(document, found["path"]), found["op"], wanted)


def _value(found: re.Match[str]) -> object:
    if found["text"] is not None:
        return found["text"].replace("''", "'")
    bare = found["bare"]
    if _GUID.fullmatch(bare):
        return bare
    if bare in _WORDS:
        return _WORDS[bare]
    time = _time(bare)
    if time is None:
        raise _invalid(found.string)
    return time


def _compare(value: object, name: str, wanted: object) -> bool:
    if isinstance(wanted, datetime):
        value = _time(str(value))
    elif isinstance(wanted, str) and isinstance(value, str):
        value, wanted = value.lower(), wanted.lower()  # the directory's strings have no case
    if name in {"eq", "ne"}:
        return _OPERATORS[name](value, wanted)
    comparable = value is not None and type(value) is type(wanted)
    return comparable and _OPERATORS[name](value, wanted)


def _at(document: Any, path: str) -> Any:
    for name in path.split("/") if path else ():
        document = document.get(name) if isinstance(document, Mapping) else None
    return document


def _time(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _invalid(text: str) -> Exception:
    return bad_request(f"Invalid filter clause: {text}", "BadRequest")
