"""The outermost fields of one protobuf message, and the one message of a gRPC body: told apart, and no more.

For messages that are too large to be walked whole (a tensor names nothing), and for answers of which one field counts.
`grpc_wire` reads whole messages. Sources: protobuf.dev/programming-guides/encoding, grpc/grpc doc/PROTOCOL-HTTP2.md.
"""

from collections.abc import Iterator
from dataclasses import dataclass

LENGTH = 2
_VARINT, _FIXED64, _FIXED32 = 0, 1, 5
_HEADER = 5
_MOST_FIELDS = 20_000  # outermost ones; a prediction has one for each input
_VARINT_BYTES = 10
_TAG_LIMIT = 1 << 32  # a field number has 29 bits


class Unclear(ValueError):
    """The bytes can be read in two ways, or in none. The text names what is wrong."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field as it stands: `whole` with its tag, `content` without tag and length."""

    number: int
    wire: int
    whole: memoryview
    content: memoryview


def payload(body: bytes) -> bytes:
    """The one uncompressed message of a gRPC body; raises `Unclear`."""
    if len(body) < _HEADER:
        raise Unclear("there is no gRPC message")
    if body[0] != 0:
        raise Unclear("the gRPC message is compressed")
    if int.from_bytes(body[1:_HEADER], "big") != len(body) - _HEADER:
        raise Unclear("there is not exactly one gRPC message")
    return body[_HEADER:]


def framed(message: bytes) -> bytes:
    """A message as a gRPC body."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def fields(message: bytes) -> Iterator[Field]:
    """Every outermost field in order; raises `Unclear` for numbers that are not minimal, groups, and cut-off ends."""
    position, view = 0, memoryview(message)
    for _ in range(_MOST_FIELDS):
        if position == len(message):
            return
        tag, content = _varint(message, position)
        number, wire = tag >> 3, tag & 7
        if not number or tag >= _TAG_LIMIT:
            raise Unclear(f"{number} is no number of a field")
        start, stop = _span(message, wire, content)
        if stop > len(message):
            raise Unclear(f"field {number} runs over the end")
        yield Field(number, wire, view[position:stop], view[start:stop])
        position = stop
    raise Unclear("there are too many fields")


def _span(message: bytes, wire: int, position: int) -> tuple[int, int]:
    if wire == LENGTH:
        length, start = _varint(message, position)
        return start, start + length
    if wire == _VARINT:
        return position, _varint(message, position)[1]
    if wire in {_FIXED64, _FIXED32}:
        return position, position + (8 if wire == _FIXED64 else 4)
    raise Unclear("a field has a wire type that is not used any more")


def _varint(message: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift, byte in enumerate(message[position : position + _VARINT_BYTES]):
        value |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:  # noqa: PLR2004 - the last byte of a varint has its high bit clear
            if (shift and not byte) or value >> 64:
                raise Unclear("a number is not in its shortest form")
            return value, position + shift + 1
    raise Unclear("a number has no end")
