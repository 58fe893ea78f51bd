"""A REST request as the message that it is: target, query and body, read in one way only.

Google expands `{name=projects/*/…}` over slashes; here every path is matched segment by segment against known methods.
Nothing is decoded in a path and nothing is normalised: what would need either is refused, since no two servers agree
on it (RFC 3986 section 6, RFC 9110 section 4.2.3). Query parameters are an allow-list per method:
cloud.google.com/apis/docs/system-parameters lists the ones of the system, of which two that only shape the answer pass.
"""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from remit.catalogue import json_wire
from remit.catalogue.api import Api, Served
from remit.catalogue.descriptors import descriptor
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


def find(api: Api, verb: str, target: str) -> tuple[Served, str, str]:
    """The served method of a target, its path without the first slash, its raw query; raises `Refused`."""
    path, _, query = target.partition("?")
    if _RISKY.search(path):
        raise Refused(Reason.REQUEST_AMBIGUOUS, "the path can be read in two ways: nothing in it may be encoded")
    if not _PATH.fullmatch(path) or len(path) > LONGEST:
        raise Refused(Reason.REQUEST_MALFORMED, "the path holds what no method of Google's does")
    form = _form(path[1:])
    served = api.rest.get((verb, form))
    if served is None:
        raise _unknown(api, verb, form)
    return served, path[1:], query


def message(served: Served, path: str, query: str, wire: WireRequest) -> Message:
    """The message that path, query and body make together; raises `Refused`."""
    made = served.procedure.request()
    binding = served.binding
    value = binding.value(path)
    asked = _query(query)
    if not served.rule.raw:
        _put_body(made, served, _body(served, wire), value)
        _put_query(made, served, asked)
    elif asked:
        raise _unasked(next(iter(asked)))
    if binding.field:
        setattr(made, binding.field, value)
    return made


def _form(path: str) -> str:
    """A path with `*` for every id: `v1/projects/p:move` gives `v1/projects/*:move`."""
    segments = path.split("/")
    last = len(segments) - 1
    starred = ["*" if index and not index % 2 else part for index, part in enumerate(segments)]
    if last and not last % 2:
        _, colon, custom = segments[last].partition(":")
        starred[last] = f"*{colon}{custom}"
    return "/".join(starred)


def _unknown(api: Api, verb: str, form: str) -> Refused:
    known = api.known.get((verb, form))
    if known:
        return Refused(Reason.METHOD_UNKNOWN, f"`{known.action.id}` is known, but not served yet")
    tail = shown(form.rpartition("/")[2].removeprefix("*")).strip("`")
    place = f"`{shown(verb).strip('`')} …{'' if tail.startswith(':') else '/'}{tail}`"
    return Refused(Reason.METHOD_UNKNOWN, f"{place} is not a method of {api.title} that Remit knows")


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


def _put_body(made: Message, served: Served, body: dict[str, Any], value: str) -> None:
    binding = served.binding
    if binding.body == "*":
        for key in [key for key in body if json_wire.field_named(descriptor(made), key).name == binding.field]:
            if body.pop(key) != value:
                raise Refused(Reason.REQUEST_AMBIGUOUS, f"`{key}` in the body is not what the path names")
    part = made if binding.body in {"", "*"} else getattr(made, binding.body)
    json_wire.fill(part, body, drop_untyped=served.rule.allowed is None)
    if part is not made:
        part.SetInParent()


def _query(query: str) -> dict[str, str]:
    """The parameters of a query that are not the system's, each once; raises `Refused`."""
    if len(query) > _LONGEST_QUERY:
        raise Refused(Reason.REQUEST_MALFORMED, "the query is too long")
    asked: dict[str, str] = {}
    for piece in query.split("&") if query else ():
        name, _, value = piece.partition("=")
        name, value = _decoded(name), _decoded(value.replace("+", " "))
        if not _QUERY_NAME.fullmatch(name):
            raise Refused(Reason.REQUEST_MALFORMED, f"{shown(name)} is not the name of a query parameter")
        name = name.removeprefix("$")
        if name in asked:
            raise Refused(Reason.REQUEST_AMBIGUOUS, f"query parameter `{name}` is given twice")
        asked[name] = value
    for name in [name for name in asked if name in _SYSTEM]:
        if asked.pop(name) not in _SYSTEM[name]:
            raise Refused(Reason.REQUEST_MALFORMED, f"query parameter `{name}` has a value that Remit does not pass on")
    return asked


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


def _put_query(made: Message, served: Served, asked: Mapping[str, str]) -> None:
    values: dict[str, Any] = {}
    for name, value in asked.items():
        field = _field_asked(descriptor(made), served, name)
        if field is None or field.name in values:
            raise _unasked(name)
        values[field.name] = _typed(field, value)
    json_wire.fill(made, values, drop_untyped=False)


def _field_asked(kind: Descriptor, served: Served, name: str) -> FieldDescriptor | None:
    """The field that a query may fill: not the path's, not the body's, neither repeated nor a message (but a mask)."""
    field = kind.fields_by_name.get(name) or kind.fields_by_camelcase_name.get(name)
    if field is None or served.binding.body == "*" or field.name in {served.binding.field, served.binding.body}:
        return None
    is_mask = field.message_type is not None and field.message_type.full_name == "google.protobuf.FieldMask"
    return None if field.is_repeated or (field.message_type is not None and not is_mask) else field


def _typed(field: FieldDescriptor, value: str) -> str | bool:
    if field.type == FieldDescriptor.TYPE_BOOL and value in {"true", "false"}:
        return value == "true"
    return value


def _unasked(name: str) -> Refused:
    return Refused(Reason.REQUEST_MALFORMED, f"query parameter {shown(name)} is not one of this method's")
