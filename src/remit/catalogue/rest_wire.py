"""A REST request as the message that it is: target, query and body, read in one way only.

Google expands `{name=projects/*/…}` over slashes; here every path is matched segment by segment against known methods.
Nothing is decoded in a path and nothing is normalised: what would need either is refused, since no two servers agree
on it (RFC 3986 section 6, RFC 9110 section 4.2.3). Query parameters are an allow-list per method:
cloud.google.com/apis/docs/system-parameters lists the ones of the system, of which two that only shape the answer pass.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from remit.catalogue import json_wire
from remit.catalogue.api import Api, Served
from remit.catalogue.descriptors import descriptor, held, put
from remit.catalogue.names import LONGEST, shown
from remit.model.errors import Refused
from remit.model.reasons import Reason
from remit.model.wire import WireRequest

_LONGEST_QUERY = 4096  # characters; a filter of a page of text
_PATH = re.compile(r"/[A-Za-z0-9_.~:@/-]+")
_RISKY = re.compile(r"%|//|;|\\|/\.{1,2}(?=/|$)")
_QUERY_NAME = re.compile(r"\$?[A-Za-z][A-Za-z0-9_]*")
_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_JSON = re.compile(r"application/json(; ?charset=utf-8)?", re.IGNORECASE)
_SYSTEM = {
    "alt": frozenset({"json", "json;enum-encoding=int"}),
    "prettyPrint": frozenset({"true", "false", "0", "1"}),
}
# Of a method whose parameters Google publishes in prose only: paging, filters, masks and switches (google.aip.dev/158,
# 160, 161, 157, 134, 135, 155), none of which names a resource.
_PLAIN = frozenset(
    {
        *("pageSize", "pageToken", "filter", "orderBy", "readMask", "updateMask", "view", "force", "etag"),
        *("allowMissing", "validateOnly", "requestId", "returnPartialSuccess", "timeout", "showDeleted"),
    }
)
_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.~-]{0,127}")


@dataclass(frozen=True, slots=True)
class Read:
    """A request read: its message where one is published, its JSON where none is, and the name in its path."""

    name: str
    message: Message | None
    body: dict[str, Any]


def find(api: Api, verb: str, target: str) -> tuple[Served, str, str]:
    """The served method of a target, its path without the first slash, its raw query; raises `Refused`."""
    path, _, query = target.partition("?")
    path = path.replace("%40", "@")  # as Google's own clients write it, in the name of a model's version
    if _RISKY.search(path):
        raise Refused(Reason.REQUEST_AMBIGUOUS, "the path can be read in two ways: nothing in it may be encoded")
    if not _PATH.fullmatch(path) or len(path) > LONGEST:
        raise Refused(Reason.REQUEST_MALFORMED, "the path holds what no method of Google's does")
    served = api.rest.find(path[1:], verb)
    if not isinstance(served, Served):
        raise _unknown(api, verb, path[1:]) if served is None else _homeless(served.action.id)
    return served, path[1:], query


def read(served: Served, target: tuple[str, str], wire: WireRequest, *, raw: bool, drop: bool) -> Read:
    """What path, query and body make together; raises `Refused`.

    `target`: as `find` gives it; `raw`: the body is the model's own, and nobody reads it; `drop`: data for a model is
    left out of the message, since nothing is decided on it.
    """
    path, query = target
    name, asked = served.binding.value(path), _query(query, streams=served.method.streams)
    if raw and asked:
        raise _unasked(next(iter(asked)))
    body = {} if raw else _body(served, wire)
    if served.procedure is None:
        _check_plain(served, asked)
        check_document(served, body, name)
        return Read(name, None, body)
    made = served.procedure.request()
    document = served.document
    if not raw and not document:
        _put_body(made, served, body, name, drop=drop)
    if not raw:
        _put_query(made, served, asked)
    for field, value in served.binding.values(name):
        put(made, field, value)
    if document:
        check_document(served, body, name)
    return Read(name, made, body if document else {})


def written(served: Served, message: Message) -> bytes:
    """The body that a message has over REST: what path and query say is left out."""
    body = served.binding.body
    copy = type(message)()
    copy.CopyFrom(message)
    for field, _ in served.binding.variables:
        *parts, last = field.split(".")
        inner = held(copy, ".".join(parts)) if parts else copy
        assert isinstance(inner, Message)  # noqa: S101 - what a dotted name leads through
        inner.ClearField(last)
    part = copy if body == "*" else held(copy, body)
    assert isinstance(part, Message)  # noqa: S101 - the body of a method that creates something is a message
    return json_wire.dumps(part)


def _tail(path: str) -> str:
    """What a path ends in, fit for a message: its custom verb, or its last segment unless that is an id."""
    segments = path.split("/")
    last, colon, custom = segments[-1].partition(":")
    is_id = len(segments) > 1 and not (len(segments) - 1) % 2
    return f"{'' if is_id else '/' + last}{colon}{custom}" or "/"


def _unknown(api: Api, verb: str, path: str) -> Refused:
    place = f"`{shown(verb).strip('`')} …{shown(_tail(path)).strip('`')}`"
    return Refused(Reason.METHOD_UNKNOWN, f"{place} is not a method of {api.title} that Remit knows")


def _homeless(method: str) -> Refused:
    return Refused(
        Reason.METHOD_UNKNOWN,
        f"`{method}` is known, but this form of it belongs to no project that policy could decide on",
        hint="ask it below `projects/PROJECT/locations/LOCATION`",
    )


def _body(served: Served, wire: WireRequest) -> dict[str, Any]:
    if not served.binding.body:
        if wire.body:
            raise Refused(Reason.REQUEST_MALFORMED, f"a {served.binding.verb} of this method has no body")
        return {}
    if not wire.body_sent:
        raise Refused(Reason.REQUEST_MALFORMED, "the body of this method decides, and it was not sent along")
    if not wire.body:
        return {}
    if not _JSON.fullmatch(wire.header("content-type")):
        raise Refused(Reason.REQUEST_MALFORMED, "the body of this method is `application/json`")
    return json_wire.loads(wire.body)


def _put_body(made: Message, served: Served, body: dict[str, Any], name: str, *, drop: bool) -> None:
    binding = served.binding
    inside = f"{binding.body}." if binding.body not in {"", "*"} else ""
    part = getattr(made, binding.body) if inside else made
    for field, value in binding.values(name):
        if binding.body and field.startswith(inside):
            _take_out(body, descriptor(part), field.removeprefix(inside).split("."), value)
    json_wire.fill(part, body, drop_untyped=drop)
    if inside:
        part.SetInParent()


def _take_out(body: dict[str, Any], kind: Descriptor, names: list[str], value: str) -> None:
    """Takes the path's own field out of a body, where it may only say the same."""
    first, *rest = names
    for key in [key for key in body if json_wire.field_named(kind, key).name == first]:
        below = kind.fields_by_name[first].message_type
        if rest and isinstance(body[key], dict) and below is not None:
            _take_out(body[key], below, rest, value)
        elif rest or body.pop(key) != value:
            raise Refused(Reason.REQUEST_AMBIGUOUS, f"`{key}` in the body is not what the path names")


def check_document(served: Served, body: Mapping[str, Any], name: str) -> None:
    """Where no descriptor tells which field the path fills, all that it could be say the same, or are not there."""
    collection = served.binding.pattern.rpartition("/*")[0].rpartition("/")[2]
    for key in body:
        if _plain(key) in {"name", "parent", _singular(collection).lower()} and body[key] != name:
            raise Refused(Reason.REQUEST_AMBIGUOUS, f"{shown(key)} in the body is not what the path names")
    if len({_plain(key) for key in body}) != len(body):
        raise Refused(Reason.REQUEST_AMBIGUOUS, "the body names a field twice, in two spellings")


def _check_plain(served: Served, asked: Mapping[str, list[str]]) -> None:
    plain = {_plain(name) for name in _PLAIN}
    created = f"{_singular(served.method.form.rpartition('/')[2].partition(':')[0])}id".lower()
    seen: set[str] = set()
    for name, given in asked.items():
        value = _one(name, given)
        asks_for_id = served.binding.verb == "POST" and _plain(name) == created and _ID.fullmatch(value)
        if (_plain(name) not in plain and not asks_for_id) or _plain(name) in seen:
            raise _unasked(name)
        seen.add(_plain(name))


def _plain(name: str) -> str:
    """A name in the one spelling that `pageSize` and `page_size` share."""
    return name.replace("_", "").lower()


def _singular(collection: str) -> str:
    if collection.endswith("ies"):
        return f"{collection[:-3]}y"
    return collection.removesuffix("s")


def _query(query: str, *, streams: bool) -> dict[str, list[str]]:
    """The parameters of a query that are not the system's, each with its values in order; raises `Refused`."""
    if len(query) > _LONGEST_QUERY:
        raise Refused(Reason.REQUEST_MALFORMED, "the query is too long")
    asked: dict[str, list[str]] = {}
    for piece in query.split("&") if query else ():
        name, _, value = piece.partition("=")
        name, value = _decoded(name), _decoded(value.replace("+", " "))
        if not _QUERY_NAME.fullmatch(name):
            raise Refused(Reason.REQUEST_MALFORMED, f"{shown(name)} is not the name of a query parameter")
        asked.setdefault(name.removeprefix("$"), []).append(value)
    for name in [name for name in asked if name in _SYSTEM]:
        value = _one(name, asked.pop(name))
        if value not in _SYSTEM[name] and not (streams and (name, value) == ("alt", "sse")):
            raise Refused(Reason.REQUEST_MALFORMED, f"query parameter `{name}` has a value that Remit does not pass on")
    return asked


def _one(name: str, given: list[str]) -> str:
    """The value of a parameter that stands once; raises `Refused`."""
    if len(given) != 1:
        raise Refused(Reason.REQUEST_AMBIGUOUS, f"query parameter `{name}` is given twice")
    return given[0]


def _decoded(text: str) -> str:
    if _ESCAPE.search(text):
        raise Refused(Reason.REQUEST_MALFORMED, "the query holds a broken escape")
    try:
        plain = unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise Refused(Reason.REQUEST_MALFORMED, "the query is not UTF-8") from None
    if _CONTROL.search(plain) or not text.isascii():
        raise Refused(Reason.REQUEST_MALFORMED, "the query holds control characters or unencoded text")
    return plain


def _put_query(made: Message, served: Served, asked: Mapping[str, list[str]]) -> None:
    values: dict[str, Any] = {}
    for name, given in asked.items():
        field = _field_asked(descriptor(made), served, name)
        if field is None or field.name in values:
            raise _unasked(name)
        values[field.name] = given if field.is_repeated else _typed(field, _one(name, given))
    json_wire.fill(made, values, drop_untyped=False)


def _field_asked(kind: Descriptor, served: Served, name: str) -> FieldDescriptor | None:
    """The field that a query may fill: not the path's, not the body's, no message but a mask; only texts repeat."""
    field = kind.fields_by_name.get(name) or kind.fields_by_camelcase_name.get(name)
    of_path = {variable.partition(".")[0] for variable, _ in served.binding.variables}
    if field is None or served.binding.body == "*" or field.name in {*of_path, served.binding.body}:
        return None
    is_mask = field.message_type is not None and field.message_type.full_name == "google.protobuf.FieldMask"
    repeats = field.is_repeated and field.type != FieldDescriptor.TYPE_STRING
    return None if repeats or (field.message_type is not None and not is_mask) else field


def _typed(field: FieldDescriptor, value: str) -> str | bool:
    if field.type == FieldDescriptor.TYPE_BOOL and value in {"true", "false"}:
        return value == "true"
    return value


def _unasked(name: str) -> Refused:
    return Refused(Reason.REQUEST_MALFORMED, f"query parameter {shown(name)} is not one of this method's")
