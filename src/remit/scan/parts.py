"""A file's content as texts: its own, the cells of a notebook, and what a Kubernetes secret holds in base64.

Left out: archives, pickles and other binary files (those with a NUL byte near their beginning; UTF-16 with its mark is
text), images in the outputs of notebooks, and base64 that does not begin like something that holds a key.
"""

import base64
import binascii
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

WINDOW = 4 * 2**20  # bytes of a file that are in memory at a time
OVERLAP = 16 * 2**10  # more than the longest secret with its neighbours
NOTEBOOK = 64 * 2**20  # bytes: a larger notebook is read as plain text
_HEAD = 8192

# the beginnings, in base64, of a JSON object, a private key, a storage connection string and PostgreSQL's address
_BASE64 = re.compile(
    r"(?<![A-Za-z0-9+/])(?:ey|ew|LS0tLS1CRUdJTi|RGVmYXVsdEVuZHBvaW50|cG9zdGdyZX)[A-Za-z0-9+/]{30,20000}={0,2}(?![A-Za-z0-9+/.])"
)
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True, slots=True)
class Part:
    """A text of a file. `line`: where it begins; 0: to be looked for. `cell` and `where`: in a notebook."""

    text: str
    line: int = 1
    cell: int = 0
    where: str = ""


def binary(data: bytes) -> bool:
    """Whether it is no text."""
    return b"\0" in data[:_HEAD] and not data.startswith((b"\xff\xfe", b"\xfe\xff"))


def decoded(data: bytes) -> str:
    """Bytes as a text of one letter a byte; UTF-16, which Windows writes, by way of UTF-8."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        data = data.decode("utf-16", "replace").encode()
    return data.decode("latin-1")


def inside(text: str, line: int = 1) -> Iterator[Part]:
    """What a text holds in base64."""
    for match in _BASE64.finditer(text):
        try:
            held = base64.b64decode(match[0] + "=" * (-len(match[0]) % 4))
        except binascii.Error:
            continue
        if not binary(held):
            yield Part(held.decode("latin-1"), line + text.count("\n", 0, match.start()), where="base64")


def cells(data: bytes) -> list[Part] | None:
    """A notebook's sources and outputs; `None` when it is none that can be read."""
    try:
        book = json.loads(data)
        listed = book["cells"] if "cells" in book else [cell for sheet in book["worksheets"] for cell in sheet["cells"]]
        return [part for number, cell in enumerate(listed, 1) for part in _of_a_cell(number, cell)]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _of_a_cell(number: int, cell: Any) -> Iterator[Part]:
    for name in ("source", "input"):
        if name in cell:
            yield _part(cell[name], number, "source")
    for output in cell.get("outputs", ()):
        for text in _texts(output):
            yield _part(text, number, "output")


def _texts(output: Any) -> Iterator[Any]:
    """The texts of an output: what was printed, tracebacks, data but for images; lines of one text stay together."""
    for name, value in output.items():
        if name == "data" and isinstance(value, dict):
            yield from (
                each for form, each in value.items() if not form.startswith(("image/p", "image/j", "audio", "video"))
            )
        elif name == "traceback" and isinstance(value, list):
            yield "\n".join(map(str, value))
        elif name not in {"output_type", "metadata", "execution_count", "png", "jpeg"}:
            yield value


def _part(value: Any, number: int, where: str) -> Part:
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        value = "".join(value)
    text = value if isinstance(value, str) else json.dumps(value)
    return Part(_COLOURS.sub("", text).encode("utf-8", "replace").decode("latin-1"), 0, number, where)
