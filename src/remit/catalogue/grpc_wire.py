"""A gRPC request as the message that it is: one frame, read in one way only.

What is decided must be what Google's server will read, whatever parser it uses (`x-goog-request-params` is a hint for
routers and is not looked at). Two ways to know:

1. The payload equals what serialising the parsed message gives, without unknown fields. Then it is somebody's
   plain serialisation of that very message.
2. Else (maps come in any order, for one) it is walked by hand: minimal varints, no groups, every field known, each wire
   type the one that the descriptor demands, singular fields, members of a oneof and map keys at most once.

`google.protobuf.Struct`, `Value` and `ListValue` are entered for methods that are decided on by what stands in them
(`read_untyped`); elsewhere they are data for a model and name nothing that Remit decides on.
Sources: protobuf.dev/programming-guides/encoding, grpc/grpc doc/PROTOCOL-HTTP2.md.
"""

from collections.abc import Container

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message

from remit.catalogue.descriptors import descriptor
from remit.model.errors import Refused
from remit.model.reasons import Reason

CONTENT_TYPES = frozenset({"application/grpc", "application/grpc+proto"})
UNTYPED = frozenset({"google.protobuf.Struct", "google.protobuf.Value", "google.protobuf.ListValue"})
_HEADER = 5
_MOST_FIELDS = 20_000  # about 20 ms of walking; a job of the largest size has a few hundred
_VARINT_BYTES = 10
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_FIELD = FieldDescriptor
_WIRE_TYPES = {
    _FIELD.TYPE_DOUBLE: _FIXED64,
    _FIELD.TYPE_FIXED64: _FIXED64,
    _FIELD.TYPE_SFIXED64: _FIXED64,
    _FIELD.TYPE_FLOAT: _FIXED32,
    _FIELD.TYPE_FIXED32: _FIXED32,
    _FIELD.TYPE_SFIXED32: _FIXED32,
    _FIELD.TYPE_STRING: _LENGTH,
    _FIELD.TYPE_BYTES: _LENGTH,
    _FIELD.TYPE_MESSAGE: _LENGTH,
}


def read(body: bytes, kind: type[Message]) -> Message:
    """The one message of a gRPC request; raises `Refused` (malformed, or ambiguous)."""
    payload = _payload(body)
    message = kind()
    try:
        message.ParseFromString(payload)
    except DecodeError as error:
        raise Refused(
            Reason.REQUEST_MALFORMED, f"the request is not a valid `{message.DESCRIPTOR.full_name}`"
        ) from error
    message.DiscardUnknownFields()
    if message.SerializeToString() != payload:
        _Walk(payload).message(descriptor(message), 0, len(payload))
    return message


def read_untyped(body: bytes, message: Message, data: Container[str] = ()) -> None:
    """Holds what `read` did not enter to the same rules, for a method that is decided on by it; raises `Refused`.

    `data`: fields of the message itself that are a model's all the same.
    """
    payload = _payload(body)
    if message.SerializeToString() != payload:
        kind = descriptor(message)
        left = {field.full_name for field in kind.fields if field.name in data}
        _Walk(payload, entering=True, left=left).message(kind, 0, len(payload))


def _payload(body: bytes) -> bytes:
    if len(body) < _HEADER:
        raise Refused(Reason.REQUEST_MALFORMED, "the request holds no gRPC message")
    if body[0] != 0:
        raise Refused(Reason.REQUEST_AMBIGUOUS, "the gRPC message is compressed", hint="turn compression off")
    if int.from_bytes(body[1:_HEADER], "big") != len(body) - _HEADER:
        raise Refused(Reason.REQUEST_AMBIGUOUS, "the request does not hold exactly one gRPC message")
    return body[_HEADER:]


def _unclear(what: str) -> Refused:
    return Refused(Reason.REQUEST_AMBIGUOUS, f"the message can be read in two ways: {what}")


class _Walk:
    """One strict pass over bytes."""

    def __init__(self, data: bytes, *, entering: bool = False, left: Container[str] = ()) -> None:
        self._data = data
        self._entering = entering
        self._left = left
        self._fields = 0

    def message(self, kind: Descriptor, position: int, end: int) -> None:
        """Checks the bytes from `position` to `end` as one message of a kind."""
        seen: set[str] = set()
        keys: set[tuple[str, bytes]] = set()
        while position < end:
            field, wire, start, stop = self._field(kind, position, end)
            if not field.is_repeated:
                once = field.containing_oneof.name if field.containing_oneof else field.name
                if once in seen:
                    raise _unclear(f"`{field.name}` is given twice")
                seen.add(once)
            if field.message_type is not None:
                self._inside(field, field.message_type, start, stop, keys)
            elif field.is_repeated and wire == _LENGTH:
                self._packed(field, start, stop)
            position = stop

    def _field(self, kind: Descriptor, position: int, end: int) -> tuple[FieldDescriptor, int, int, int]:
        """The field at a position: its descriptor, its wire type, where its content starts and where it stops."""
        self._fields += 1
        if self._fields > _MOST_FIELDS:
            raise Refused(Reason.REQUEST_MALFORMED, "the message holds too many fields")
        tag, position = self._varint(position, end)
        field = kind.fields_by_number.get(tag >> 3)
        if field is None:
            raise _unclear(f"`{kind.name}` has no field {tag >> 3} that Remit knows")
        wire = tag & 7
        if wire != _WIRE_TYPES.get(field.type, _VARINT) and not (wire == _LENGTH and field.is_repeated):
            raise _unclear(f"`{field.name}` has the wrong wire type")
        return field, wire, *self._span(field, wire, position, end)

    def _span(self, field: FieldDescriptor, wire: int, position: int, end: int) -> tuple[int, int]:
        if wire == _VARINT:
            value, stop = self._varint(position, end)
            if field.type == _FIELD.TYPE_BOOL and value > 1:
                raise _unclear(f"`{field.name}` is neither true nor false")
        elif wire == _LENGTH:
            length, position = self._varint(position, end)
            stop = position + length
        else:
            stop = position + (8 if wire == _FIXED64 else 4)
        if stop > end:
            raise _unclear(f"`{field.name}` runs over its end")
        return position, stop

    def _inside(
        self, field: FieldDescriptor, kind: Descriptor, start: int, stop: int, keys: set[tuple[str, bytes]]
    ) -> None:
        if kind.full_name in UNTYPED and (not self._entering or field.full_name in self._left):
            return
        self.message(kind, start, stop)
        if kind.GetOptions().map_entry:
            key = (field.name, self._key(kind, start, stop))
            if key in keys:
                raise _unclear(f"`{field.name}` holds a key twice")
            keys.add(key)

    def _packed(self, field: FieldDescriptor, position: int, stop: int) -> None:
        wire = _WIRE_TYPES.get(field.type, _VARINT)
        while position < stop and wire != _LENGTH:
            _, position = self._span(field, wire, position, stop)

    def _key(self, kind: Descriptor, position: int, stop: int) -> bytes:
        """The bytes of a map entry's key, after the entry itself has been walked; none for the empty key."""
        while position < stop:
            field, _, start, position = self._field(kind, position, stop)
            if field.number == 1:
                return self._data[start:position]
        return b""

    def _varint(self, position: int, end: int) -> tuple[int, int]:
        value = 0
        for shift in range(_VARINT_BYTES):
            if position >= end:
                break
            byte = self._data[position]
            position += 1
            value |= (byte & 0x7F) << (7 * shift)
            if byte < 0x80:  # noqa: PLR2004 - the last byte of a varint has its high bit clear
                if (shift and not byte) or value >> 64:
                    raise _unclear("a number is not in its shortest form")
                return value, position
        raise _unclear("a number has no end")
