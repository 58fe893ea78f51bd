"""How requests of Cloud Storage are written: object names, queries, metadata, the first part of an upload.

Sources: cloud.google.com/storage/docs/json_api/v1/objects, /storage/docs/objects#naming,
/storage/docs/uploading-objects, RFC 2387 (multipart/related), RFC 2046 section 5.1.1.
"""

import re
import unicodedata
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from remit.catalogue import json_wire
from remit.catalogue.names import shown
from remit.model.errors import Refused
from remit.model.reasons import Reason
from remit.model.wire import WireRequest

BUCKET = r"(?P<bucket>[a-z0-9][a-z0-9._-]{1,220}[a-z0-9])"
"""Bucket names: cloud.google.com/storage/docs/buckets#naming."""

_LONGEST_NAME = 1024  # bytes of UTF-8 (objects#naming)
_LONGEST_QUERY = 8192  # characters: two names of 1,024 encoded bytes, and conditions
# `;` and `+` have second meanings in paths; every library encodes them in names.
_SEGMENT = re.compile(r"(?:[A-Za-z0-9._~!$&'()*,:=@/-]|%[0-9A-Fa-f]{2})+")
_EMPTY_OR_DOTS = re.compile(r"^/|//|(?:^|/)\.{1,2}(?=/|$)")
_PARAMETER = re.compile(r"[A-Za-z][A-Za-z_]*")
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_SYSTEM: Mapping[str, frozenset[str]] = {
    "alt": frozenset({"json"}),
    "prettyPrint": frozenset({"true", "false"}),
    "projection": frozenset({"noAcl"}),
}
_SHARES = {
    "userProject": "another project would pay, and would have to agree",
    **dict.fromkeys(
        ("predefinedAcl", "destinationPredefinedAcl", "predefinedDefaultObjectAcl"), "an access list would share it"
    ),
    **dict.fromkeys(("kmsKeyName", "destinationKmsKeyName"), "the bucket's own key is used"),
}
# Fields of an object that a writer sets and that name, share and lock nothing.
_METADATA = frozenset(
    {
        *("name", "bucket", "kind", "contentType", "contentEncoding", "contentDisposition", "contentLanguage"),
        *("cacheControl", "metadata", "md5Hash", "crc32c", "storageClass", "customTime"),
    }
)
_SOURCE = frozenset({"name", "generation", "objectPreconditions"})
_UNSAFE_HEADERS = frozenset(
    {
        *("x-goog-acl", "x-goog-resumable", "x-goog-user-project", "x-goog-metadata-directive"),
        *("x-http-method", "x-http-method-override", "x-method-override"),
    }
)
_UNSAFE_PREFIXES = ("x-goog-copy-source", "x-goog-upload-")
_RELATED = re.compile(
    r"multipart/related; ?boundary=(?:\"(?P<quoted>[A-Za-z0-9'()+_,./:=? -]{0,69}[A-Za-z0-9'()+_,./:=?-])\""
    r"|(?P<plain>[A-Za-z0-9'+_.=-]{1,70}))",
    re.IGNORECASE,
)
_JSON_PART = re.compile(rb"content-type: ?application/json(?:; ?charset=utf-8)?", re.IGNORECASE)


def object_name(raw: str) -> str:
    """An object's name as a path holds it, decoded once; raises `Refused`."""
    if not _SEGMENT.fullmatch(raw):
        raise Refused(Reason.REQUEST_MALFORMED, "the object's name holds what has to be encoded in a path")
    if _EMPTY_OR_DOTS.search(raw):
        raise Refused(Reason.REQUEST_AMBIGUOUS, "the path can be read in two ways: it holds empty or dotted segments")
    return checked(_decoded(raw))


def checked(name: str) -> str:
    """A decoded name, or the beginning of one: no steps upwards, nothing invisible, at most 1,024 bytes of UTF-8."""
    if {".", ".."} & set(name.split("/")) or "\\" in name:
        raise Refused(Reason.REQUEST_AMBIGUOUS, f"{shown(name)} holds steps upwards, or backslashes")
    if any(unicodedata.category(sign)[0] == "C" or unicodedata.category(sign) in {"Zl", "Zp"} for sign in name):
        raise Refused(Reason.REQUEST_AMBIGUOUS, f"{shown(name)} holds control characters")
    if not name or len(name.encode()) > _LONGEST_NAME:
        raise Refused(Reason.REQUEST_MALFORMED, f"the name of an object has 1 to {_LONGEST_NAME} bytes")
    return name


def bucket_name(raw: str) -> str:
    """A bucket's name as a path holds it; raises `Refused`."""
    if not re.fullmatch(BUCKET, raw):
        raise Refused(Reason.RESOURCE_UNKNOWN, f"{shown(raw)} is not the name of a bucket")
    return raw


def query(raw: str) -> dict[str, str]:
    """The parameters of a query, decoded, each once; raises `Refused`."""
    if len(raw) > _LONGEST_QUERY or not raw.isascii():
        raise Refused(Reason.REQUEST_MALFORMED, "the query is too long, or holds what has to be encoded")
    asked: dict[str, str] = {}
    for piece in raw.split("&") if raw else ():
        key, _, value = piece.partition("=")
        name = _decoded(key).removeprefix("$")
        if not _PARAMETER.fullmatch(name):
            raise Refused(Reason.REQUEST_MALFORMED, f"{shown(name)} is not the name of a query parameter")
        if name in asked:
            raise Refused(Reason.REQUEST_AMBIGUOUS, f"query parameter `{name}` is given twice")
        asked[name] = _decoded(value.replace("+", " "))
    return asked


def allow(asked: Mapping[str, str], names: frozenset[str], *, media: bool) -> None:
    """Raises `Refused` unless every parameter is one of these or shapes the answer. `media`: contents may be read."""
    allow_only(asked, names | {"alt", "prettyPrint", "fields"})
    for name, values in _SYSTEM.items():
        if name in asked and asked[name] not in values and not (media and (name, asked[name]) == ("alt", "media")):
            raise Refused(Reason.REQUEST_MALFORMED, f"query parameter `{name}` has a value that Remit does not pass on")


def allow_only(asked: Mapping[str, str], names: frozenset[str]) -> None:
    """Raises `Refused` for a parameter that is none of these."""
    for name in asked:
        if name not in names:
            hint = _SHARES.get(name, "")
            raise Refused(
                Reason.REQUEST_MALFORMED, f"query parameter {shown(name)} is not one that Remit passes on", hint=hint
            )


def unsafe_header(wire: WireRequest) -> str:
    """A header that makes a request another one (a copy, a shared object, another upload); empty for none."""
    names = (name for name, _ in wire.headers)
    return next((name for name in names if name in _UNSAFE_HEADERS or name.startswith(_UNSAFE_PREFIXES)), "")


def body_of(wire: WireRequest) -> bytes | None:
    """The body, `None` when there may be one that was not sent along."""
    return wire.body if wire.body_sent else None


def json_object(body: bytes) -> dict[str, Any]:
    """The JSON object of a body, or an empty one for no body; raises `Refused`."""
    return json_wire.loads(body) if body else {}


def metadata(told: Mapping[str, Any], bucket: str, name: str) -> str:
    """The name that an object's metadata gives (`name` when it gives none); raises `Refused`.

    What the path or the query says, metadata may repeat and not contradict; fields that share, lock or name keys are
    refused.
    """
    strange = next((key for key in told if key not in _METADATA), None)
    if strange is not None:
        raise Refused(
            Reason.RESOURCE_UNKNOWN,
            f"field {shown(strange)} of an object reaches beyond what Remit decides on",
            hint="leave the field out",
        )
    if told.get("bucket", bucket) != bucket:
        raise Refused(Reason.REQUEST_AMBIGUOUS, "`bucket` in the body is not what the path names")
    if "name" not in told:
        return name
    said = told["name"]
    if not isinstance(said, str) or (name and said != name):
        raise Refused(Reason.REQUEST_AMBIGUOUS, "`name` in the body is not what the request names")
    return checked(said)


def composed(body: bytes) -> tuple[tuple[str, ...], Mapping[str, Any]]:
    """The names of the objects that a compose reads, and the metadata of the one that it makes; raises `Refused`."""
    told = json_object(body)
    sources, destination = told.get("sourceObjects"), told.get("destination", {})
    if set(told) - {"kind", "sourceObjects", "destination"} or not isinstance(destination, dict):
        raise Refused(Reason.REQUEST_MALFORMED, "a compose holds `sourceObjects` and `destination`")
    if not isinstance(sources, list) or not all(_is_source(one) for one in sources):
        raise Refused(Reason.REQUEST_MALFORMED, "`sourceObjects` is a list of objects with a `name`")
    return tuple(checked(one["name"]) for one in sources), destination


def first_part(body: bytes, content_type: str) -> bytes:
    """The JSON text that stands first in a `multipart/related` upload; raises `Refused`."""
    found = _RELATED.fullmatch(content_type)
    if not found:
        raise Refused(Reason.REQUEST_MALFORMED, "a multipart upload is `multipart/related` with a boundary")
    delimiter = b"--" + (found["quoted"] or found["plain"]).encode()
    head, ended, rest = body.removeprefix(delimiter + b"\r\n").partition(b"\r\n\r\n")
    if not body.startswith(delimiter + b"\r\n") or not ended or not _JSON_PART.fullmatch(head):
        raise Refused(Reason.REQUEST_MALFORMED, "a multipart upload begins with its metadata, as `application/json`")
    text, ended, _ = rest.partition(b"\r\n" + delimiter)
    if not ended or not text:
        raise Refused(Reason.REQUEST_MALFORMED, "the metadata of a multipart upload has no end")
    return text


def _is_source(value: Any) -> bool:
    return isinstance(value, dict) and set(value) <= _SOURCE and isinstance(value.get("name"), str)


def _decoded(text: str) -> str:
    if _BROKEN_ESCAPE.search(text):
        raise Refused(Reason.REQUEST_MALFORMED, "the request holds a broken escape")
    try:
        plain = unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise Refused(Reason.REQUEST_MALFORMED, "the request is not UTF-8") from None
    return plain
