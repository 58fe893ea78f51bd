"""One byte form for each entry and each access row: RFC 8785 for flat objects.

Strings, integers, lists of strings; in access rows also true, false and null. For these, sorted compact JSON is what
RFC 8785 asks for, as long as names are ASCII (it sorts by UTF-16 units, Python by code points) and integers stay
within a double's exact range (section 3.2.2.3). Leaves out numbers with a fraction, and nesting: both are refused.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from remit.model.record import Value

EXACT_INTEGER = 2**53
"""Integers at or beyond this, either way, are not exact in every JSON reader (RFC 8785, section 3.2.2.3)."""

ENTRY_LIMIT = 64 * 1024
"""An entry is shorter than this: a tlog-tiles entry bundle counts bytes in 16 bits (c2sp.org/tlog-tiles)."""


def canonical_entry(entry: Mapping[str, Value]) -> bytes:
    """The bytes of a ledger entry; raises `ValueError` for what has no canonical form here."""
    data = _encode(entry, allow_null=False)
    if len(data) >= ENTRY_LIMIT:
        raise ValueError(f"the entry has {len(data)} bytes, {ENTRY_LIMIT - 1} are allowed")
    return data


def canonical_row(line: bytes) -> tuple[bytes, int]:
    """The bytes of an access row and its time in microseconds, from a line as Envoy wrote it.

    Raises `ValueError` for a line that is torn, ambiguous (a name twice), nested, too long or without `time`.
    """
    if len(line) >= ENTRY_LIMIT:
        raise ValueError("the line is too long")
    try:
        row = json.loads(line, object_pairs_hook=_unique, parse_float=_refuse, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("the line is nested") from None
    if not isinstance(row, dict):
        raise ValueError("the line is not an object")  # noqa: TRY004 - one error for all that is no row
    return _encode(row, allow_null=True), _time(row.get("time"))


def _encode(values: Mapping[str, Any], *, allow_null: bool) -> bytes:
    for name, value in values.items():
        if not name.isascii():
            raise ValueError(f"the name {name!r} is not ASCII")
        if not (_plain(value) or (allow_null and (value is None or isinstance(value, bool)))):
            raise ValueError(f"the value of `{name}` is neither string, exact integer nor list of strings")
    # UnicodeEncodeError, which a lone surrogate raises, is a ValueError
    return json.dumps(dict(values), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _plain(value: object) -> bool:
    if isinstance(value, str):
        return True
    if isinstance(value, int):
        return not isinstance(value, bool) and -EXACT_INTEGER < value < EXACT_INTEGER
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a name occurs twice")
    return values


def _refuse(number: str) -> NoReturn:
    raise ValueError(f"the number {number} is not an integer")


def _time(value: object) -> int:
    """Envoy writes `%START_TIME(%s%6f)%` as a string of digits; a number is taken as well."""
    if isinstance(value, str) and value.isascii() and value.isdecimal():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < EXACT_INTEGER:
        raise ValueError("`time` is not in microseconds")
    return value
