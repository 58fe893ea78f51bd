"""Messages of PostgreSQL's wire protocol: how they are framed, and the few that the door itself writes.

A stream is followed message by message without being changed; a length that cannot be true ends it. Leaves out the
first packets, which have no type (`startup.py`). Source: postgresql.org/docs/18, "Frontend/Backend Protocol", sections
"Message Formats" and "Error and Notice Message Fields".
"""

import struct
from collections.abc import Mapping

from remit.model.errors import RemitError

LONGEST = 0x3FFF_FFFF
"""Bytes of one message, as PostgreSQL bounds them (`PQ_LARGE_MESSAGE_LIMIT`)."""

FROM_CLIENT = frozenset(b"QPBDECSHFfdcX")
"""Every message that a client may send once it is logged in; a password (`p`) is none of them."""

FROM_SERVER = frozenset(b"123ACDEGHIKNRSTVWZcdntsv")
"""Every message of a server."""

VIOLATION = "08P01"
UNREACHABLE = "08006"
NOT_NOW = "57P03"
ENDED = "57P01"
TOO_MANY = "53300"
NO_PERMIT = "28000"
NO_IDENTITY = "28P01"

_HEAD = struct.Struct("!BI")
_INT = struct.Struct("!I")


class Failure(RemitError):
    """A connection cannot be, or can be no longer. `code`: its SQLSTATE (PostgreSQL, "Error Codes")."""

    def __init__(self, code: str, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.code = code


class Frames:
    """Follows one direction of a connection.

    `known`: types that may come; `captured`: how many bytes of a type's body are kept for whoever looks at it.
    """

    def __init__(self, known: frozenset[int], captured: Mapping[int, int]) -> None:
        self._known = known
        self._captured = captured
        self._head = bytearray()
        self._kind = 0
        self._left = 0
        self._kept = bytearray()
        self._room = 0

    @property
    def whole(self) -> bool:
        """Whether the last message has ended: nothing may be put in between before."""
        return not self._head and not self._left

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """The captured messages that end in this piece; raises `Failure` for what is no message."""
        found: list[tuple[int, bytes]] = []
        at, end = 0, len(data)
        while at < end:
            if self._left:
                at = self._body(data, at, found)
            elif self._head or end - at < _HEAD.size:
                at = self._part_of_head(data, at, found)
            else:
                kind, length = _HEAD.unpack_from(data, at)
                after = at + 1 + length
                if after <= end and length >= _INT.size and kind in self._known and kind not in self._captured:
                    at = after  # whole, and nobody looks at it
                    continue
                self._begin(kind, length, found)
                at += _HEAD.size
        return found

    def _part_of_head(self, data: bytes, at: int, found: list[tuple[int, bytes]]) -> int:
        missing = _HEAD.size - len(self._head)
        self._head += data[at : at + missing]
        if len(self._head) == _HEAD.size:
            kind, length = _HEAD.unpack(self._head)
            self._head.clear()
            self._begin(kind, length, found)
        return min(at + missing, len(data))

    def _begin(self, kind: int, length: int, found: list[tuple[int, bytes]]) -> None:
        if kind not in self._known or not _INT.size <= length <= LONGEST:
            raise Failure(VIOLATION, f"what came is no message of the protocol (type {kind}, {length} bytes)")
        self._kind, self._left = kind, length - _INT.size
        self._kept, self._room = bytearray(), self._captured.get(kind, 0)
        if not self._left:
            self._end(found)

    def _body(self, data: bytes, at: int, found: list[tuple[int, bytes]]) -> int:
        taken = min(self._left, len(data) - at)
        if self._room:
            part = data[at : at + min(taken, self._room)]
            self._kept += part
            self._room -= len(part)
        self._left -= taken
        if not self._left:
            self._end(found)
        return at + taken

    def _end(self, found: list[tuple[int, bytes]]) -> None:
        if self._kind in self._captured:
            found.append((self._kind, bytes(self._kept)))


def message(kind: bytes, body: bytes) -> bytes:
    """One message."""
    return kind + _INT.pack(len(body) + _INT.size) + body


def error(code: str, text: str, hint: str = "") -> bytes:
    """An ErrorResponse that ends the connection."""
    fields = [(b"S", "FATAL"), (b"V", "FATAL"), (b"C", code), (b"M", text), *([(b"H", hint)] if hint else [])]
    return message(b"E", b"".join(key + _plain(value).encode() + b"\0" for key, value in fields) + b"\0")


def failure(found: Failure) -> bytes:
    """An ErrorResponse of what went wrong."""
    return error(found.code, found.message, found.hint)


def fields(body: bytes) -> dict[str, str]:
    """The fields of an ErrorResponse or a notice, by their letters."""
    parts = (part for part in body.split(b"\0") if part)
    return {chr(part[0]): part[1:].decode("utf-8", "replace") for part in parts}


def startup(version: int, parameters: Mapping[str, str]) -> bytes:
    """The packet that a client begins with."""
    body = _INT.pack(version) + b"".join(
        key.encode() + b"\0" + value.encode() + b"\0" for key, value in parameters.items()
    )
    return _INT.pack(len(body) + _INT.size + 1) + body + b"\0"


def cancellation(process: int, secret: bytes) -> bytes:
    """The packet that ends what a connection is doing."""
    return _INT.pack(12 + len(secret)) + _INT.pack(CANCEL) + _INT.pack(process) + secret


CANCEL = 80877102
SSL = 80877103
GSS = 80877104
VERSION_3 = 3 << 16

SSL_REQUEST = _INT.pack(8) + _INT.pack(SSL)
AUTHENTICATED = message(b"R", _INT.pack(0))
ASK_PASSWORD = message(b"R", _INT.pack(3))
TERMINATE = message(b"X", b"")


def key_data(process: int, secret: bytes) -> bytes:
    """The BackendKeyData by which a client cancels."""
    return message(b"K", _INT.pack(process) + secret)


def negotiate(version: int, unknown: tuple[str, ...]) -> bytes:
    """A NegotiateProtocolVersion: the newest that is spoken here, and the options that nobody knows."""
    names = b"".join(name.encode() + b"\0" for name in unknown)
    return message(b"v", _INT.pack(version) + _INT.pack(len(unknown)) + names)


def _plain(value: str) -> str:
    """Text that one field can hold, and that a terminal may show."""
    return "".join(sign if sign.isprintable() else " " for sign in value)
