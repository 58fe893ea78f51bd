"""JSON that reads the same in every parser, or is refused.

RFC 8259, narrowed where it leaves parsers a choice: UTF-8 without a byte order mark, no member twice at any
depth, nesting at most `MAX_DEPTH`, no lone surrogates, integers within the range that RFC 8259 section 6 calls
interoperable, no number that overflows to infinity. Leaves out: schemas.
"""

import json
import math
import re
from typing import NoReturn

MAX_DEPTH = 16  # Entra's claims nest three deep; the C scanner would overflow its stack at about a thousand
MAX_INTEGER = 2**53 - 1  # beyond it parsers that read numbers as doubles disagree: RFC 8259 section 6

_STRUCTURE = re.compile(r'"(?:[^"\\]|\\.)*+"|[\[\]{}]', re.DOTALL)
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def parse(data: bytes) -> object:
    """The value of one JSON text; raises `ValueError` for anything that is not strict."""
    text = data.decode("utf-8")
    if text.startswith("\ufeff"):
        raise ValueError("starts with a byte order mark")
    _check_depth(text)
    value: object = json.loads(
        text, object_pairs_hook=_members, parse_constant=_constant, parse_float=_float, parse_int=_integer
    )
    if _SURROGATE.search(text):
        json.dumps(value, ensure_ascii=False).encode("utf-8")  # fails for a surrogate without its half
    return value


def _check_depth(text: str) -> None:
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    depth = 0
    for match in _STRUCTURE.finditer(text):
        if match[0] in "[{":
            depth += 1
        elif match[0] in "]}":
            depth -= 1
        if depth > MAX_DEPTH:
            raise ValueError(f"nests deeper than {MAX_DEPTH}")


def _members(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("an object has a member twice")
    return members


def _constant(name: str) -> NoReturn:
    raise ValueError(f"`{name}` is not JSON")


def _float(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError("a number overflows")
    return number


def _integer(digits: str) -> int:
    if len(digits) > len(str(-MAX_INTEGER)) or abs(number := int(digits)) > MAX_INTEGER:
        raise ValueError("an integer is out of range")
    return number
