"""A JSON body as the message that it is, read in one way only.

Refused before protobuf's own reader sees it, since readers differ there: a key twice, both spellings of one field
(`serviceAccount`, `service_account`), unknown fields, two members of a oneof, `null`, `NaN`, a byte order mark, lone
surrogates, deep nesting. Data for a model (`Struct`, `Value`, `ListValue`) is checked for duplicate keys only.
Sources: RFC 8259 section 4, protobuf.dev/programming-guides/json, RFC 7493 (I-JSON).
"""

import json
import re
from typing import Any, NoReturn, cast

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message

from remit.catalogue.descriptors import descriptor
from remit.catalogue.grpc_wire import UNTYPED
from remit.catalogue.names import shown
from remit.model.errors import Refused
from remit.model.reasons import Reason

_DEEPEST = 64
# One escaped half of a character outside the first plane. Raw ones are no UTF-8, so that escapes are all there are.
_HALF = re.compile(r"\\u[dD][89a-fA-F]")
# An escaped backslash, or both halves; else a half that stands alone, or after its other half.
_PAIRED = re.compile(r"\\\\|\\u[dD][89abAB]..\\u[dD][c-fC-F]..|(\\u[dD][89a-fA-F])")
_FIELD = FieldDescriptor
# Types that JSON writes as a plain value: protobuf's reader knows their forms.
_WELL_KNOWN = frozenset({"google.protobuf.Duration", "google.protobuf.FieldMask", "google.protobuf.Timestamp"})


def loads(body: bytes) -> dict[str, Any]:
    """A JSON object, every key in it once; raises `Refused` (malformed, or ambiguous)."""
    try:
        text = body.decode("utf-8")
        value = json.loads(text, object_pairs_hook=_once, parse_constant=_constant)
    except RecursionError:
        raise Refused(Reason.REQUEST_MALFORMED, "the body nests too deeply") from None
    except ValueError as error:
        raise Refused(Reason.REQUEST_MALFORMED, "the body is not plain JSON in UTF-8") from error
    if _HALF.search(text) and any(found[1] for found in _PAIRED.finditer(text)):
        raise Refused(Reason.REQUEST_MALFORMED, "the body holds half a character: a lone surrogate")
    if not isinstance(value, dict):
        raise Refused(Reason.REQUEST_MALFORMED, "the body is not a JSON object")
    return value


def fill(message: Message, value: dict[str, Any], *, drop_untyped: bool) -> None:
    """Puts a JSON object into a message. `drop_untyped`: leave data for a model out, which nobody will look at."""
    plain = _object(descriptor(message), value, drop_untyped=drop_untyped, depth=0)
    try:
        json_format.ParseDict(plain, message, descriptor_pool=cast("DescriptorPool", message.DESCRIPTOR.file.pool))
    except (json_format.ParseError, ValueError, TypeError) as error:
        name = message.DESCRIPTOR.name
        raise Refused(Reason.REQUEST_MALFORMED, f"a value in the request does not fit `{name}`") from error


def dumps(message: Message) -> bytes:
    """A message as a JSON body, in Google's own spelling."""
    pool = cast("DescriptorPool", message.DESCRIPTOR.file.pool)
    return json.dumps(json_format.MessageToDict(message, descriptor_pool=pool), separators=(",", ":")).encode()


def field_named(kind: Descriptor, key: str) -> FieldDescriptor:
    """The field that a JSON key means, in either spelling."""
    field = kind.fields_by_name.get(key) or kind.fields_by_camelcase_name.get(key)
    if field is None:
        raise Refused(Reason.REQUEST_AMBIGUOUS, f"`{kind.name}` has no field {shown(key)} that Remit knows")
    return field


def _object(kind: Descriptor, value: Any, *, drop_untyped: bool, depth: int) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Refused(Reason.REQUEST_MALFORMED, f"a `{kind.name}` is not a JSON object")
    if depth > _DEEPEST:
        raise Refused(Reason.REQUEST_MALFORMED, "the body nests too deeply")
    plain: dict[str, Any] = {}
    seen: set[str] = set()
    for key, content in value.items():
        field = field_named(kind, key)
        once = field.containing_oneof.name if field.containing_oneof else field.name
        if once in seen:
            raise Refused(Reason.REQUEST_AMBIGUOUS, f"`{field.name}` is given twice")
        seen.add(once)
        if not (drop_untyped and _untyped(field)):
            plain[field.name] = _value(field, content, drop_untyped=drop_untyped, depth=depth)
    return plain


def _value(field: FieldDescriptor, content: Any, *, drop_untyped: bool, depth: int) -> Any:
    if content is None and not _untyped(field):
        raise Refused(Reason.REQUEST_AMBIGUOUS, f"`{field.name}` is `null`, which readers take differently")
    kind = field.message_type
    if kind is None or kind.full_name in _WELL_KNOWN | UNTYPED or kind.GetOptions().map_entry:
        return content
    if field.is_repeated and isinstance(content, list):
        return [_object(kind, item, drop_untyped=drop_untyped, depth=depth + 1) for item in content]
    return _object(kind, content, drop_untyped=drop_untyped, depth=depth + 1)


def _untyped(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.full_name in UNTYPED


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise Refused(Reason.REQUEST_AMBIGUOUS, "the body names a key twice")
    return value


def _constant(name: str) -> NoReturn:
    raise ValueError(name)
