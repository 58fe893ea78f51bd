"""Cloud Storage, where a deployment terminates it: which objects a request of the JSON API means, or an XML read.

An object's name is one segment, decoded once: `a%2Fb` is the object `a/b`, and `a%252Fb` is `a%2Fb`. What a body says
is held against path and query when it was sent along; where it was not, whatever it could add (a name, an access list)
needs the permission for untyped messages. A resumable upload is a session that belongs to whoever started it, since its
address alone lets anybody write. Left out: batches, access lists and policies, notifications, HMAC keys, signed URLs.
Sources: cloud.google.com/storage/docs/json_api/v1, /storage/docs/request-endpoints, /storage/docs/resumable-uploads,
/storage/docs/objects#naming.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import quote

from remit.catalogue import store_wire
from remit.catalogue.names import Names, shown
from remit.catalogue.store_wire import BUCKET, object_name, unsafe_header
from remit.model.errors import Refused
from remit.model.operation import UNTYPED, Action, Group, Operation, Request, Resource
from remit.model.reasons import Reason
from remit.model.wire import WireRequest

HOSTS = frozenset({"storage.googleapis.com", "www.googleapis.com"})
"""The hosts of the JSON API; the first one answers the XML API too."""

_CREATE, _UPDATE = "storage.objects.create", "storage.objects.update"
BUCKET_GET = Action("storage.buckets.get", Group.OBSERVE, "storage.buckets.get")
# Reading an object is use of the data, so that who may only observe learns names and no contents.
GET = Action("storage.objects.get", Group.USE, "storage.objects.get")
LIST = Action("storage.objects.list", Group.OBSERVE, "storage.objects.list")
INSERT = Action("storage.objects.insert", Group.CHANGE, _CREATE)
DELETE = Action("storage.objects.delete", Group.CHANGE, "storage.objects.delete")
PATCH = Action("storage.objects.patch", Group.CHANGE, _UPDATE)
UPDATE = Action("storage.objects.update", Group.CHANGE, _UPDATE)
COMPOSE = Action("storage.objects.compose", Group.CHANGE, _CREATE)
COPY = Action("storage.objects.copy", Group.CHANGE, _CREATE)
REWRITE = Action("storage.objects.rewrite", Group.CHANGE, _CREATE)
ACTIONS = (BUCKET_GET, GET, LIST, INSERT, DELETE, PATCH, UPDATE, COMPOSE, COPY, REWRITE)
"""Every action that a request to Cloud Storage can hold; to write over an object is to write it."""

_IF = frozenset({"ifGenerationMatch", "ifGenerationNotMatch", "ifMetagenerationMatch", "ifMetagenerationNotMatch"})
_IF_SOURCE = frozenset(name.replace("if", "ifSource", 1) for name in _IF)
_ONE = _IF | {"generation", "projection"}
_UPLOAD = _IF | {"uploadType", "name", "upload_id", "contentEncoding", "projection"}
_LISTED = frozenset(
    {
        *("prefix", "delimiter", "maxResults", "pageToken", "projection", "versions", "startOffset", "endOffset"),
        *("includeTrailingDelimiter", "includeFoldersAsPrefixes", "matchGlob"),
    }
)
_COPIED = _IF | _IF_SOURCE | {"sourceGeneration", "projection", "rewriteToken", "maxBytesRewrittenPerCall"}
_OBJECT = r"o/(?P<object>[^/]+)"
_FORMS = tuple(
    (verbs, re.compile(pattern), action, asked)
    for verbs, pattern, action, asked in (
        ({"GET"}, f"/storage/v1/b/{BUCKET}", BUCKET_GET, _IF | {"projection"}),
        ({"GET"}, f"/storage/v1/b/{BUCKET}/o", LIST, _LISTED),
        ({"GET"}, f"(?:/download)?/storage/v1/b/{BUCKET}/{_OBJECT}", GET, _ONE),
        ({"PATCH"}, f"/storage/v1/b/{BUCKET}/{_OBJECT}", PATCH, _ONE),
        ({"PUT"}, f"/storage/v1/b/{BUCKET}/{_OBJECT}", UPDATE, _ONE),
        ({"DELETE"}, f"/storage/v1/b/{BUCKET}/{_OBJECT}", DELETE, _ONE),
        ({"POST"}, f"/storage/v1/b/{BUCKET}/{_OBJECT}/compose", COMPOSE, _IF),
        (
            {"POST"},
            rf"/storage/v1/b/(?P<from>[^/]+)/o/(?P<source>[^/]+)/(?P<how>copyTo|rewriteTo)/b/{BUCKET}/{_OBJECT}",
            COPY,
            _COPIED,
        ),
        ({"POST", "PUT", "DELETE"}, f"/upload/storage/v1/b/{BUCKET}/o", INSERT, _UPLOAD),
    )
)
_XML_READ = re.compile(f"/{BUCKET}/(?P<object>.+)")
_API_FOLDERS = ("/storage/", "/upload/", "/download/", "/batch/", "/resumable/", "/discovery/")
_LOCATION = re.compile(rf"https://(?P<host>[a-z.]+)/upload/storage/v1/b/{BUCKET}/o\?(?P<query>[!-~]+)")
_SESSION = re.compile(r"[A-Za-z0-9_=-]{1,1024}")
_MOST_SOURCES = 32  # of a compose (cloud.google.com/storage/docs/composite-objects)
_NOT_SERVED = (
    ("/batch", "a batch holds requests of its own: send them one by one"),
    ("/acl", "access lists are set where the estate is administered"),
    ("/defaultObjectAcl", "access lists are set where the estate is administered"),
    ("/iam", "policies of buckets are set where the estate is administered"),
    ("/notificationConfigs", "notifications are set where the estate is administered"),
    ("/hmacKeys", "HMAC keys are static credentials, which nobody needs here"),
)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request taken apart: what is done, in which bucket, to which object; `query` decoded, each name once."""

    action: Action
    bucket: Resource
    object: str
    query: Mapping[str, str]
    parts: Mapping[str, str]


def store_request(wire: WireRequest, names: Names) -> Request:
    """The operations of a request to Cloud Storage; raises `Refused` for what is not known or not clear."""
    # 1. no header may make another request of it
    unsafe = unsafe_header(wire)
    if unsafe:
        raise Refused(Reason.REQUEST_AMBIGUOUS, f"header `{unsafe}` makes another request of it", hint="leave it out")
    # 2. path and query say what is done, where, and to which object
    asked = _asked(wire, names)
    # 3. an upload under way is its owner's, and was decided when it began
    if "upload_id" in asked.query:
        return _continued(asked)
    if asked.action is INSERT and wire.method != "POST":
        raise Refused(Reason.REQUEST_MALFORMED, f"a `{wire.method}` of an upload names its `upload_id`")
    # 4. reads have nothing else
    if asked.action in {BUCKET_GET, GET, LIST}:
        if wire.body:
            raise Refused(Reason.REQUEST_MALFORMED, "a read of Cloud Storage has no body")
        return Request((_operation(asked.action, asked.bucket, asked.object),), leasable=True)
    # 5. a change may name more in its body
    return Request(tuple(_changes(asked, wire, names)), starts=asked.query.get("uploadType") == "resumable")


def upload_started(location: str) -> str:
    """The session that a `location` header opens to whoever holds it, by its canonical name; empty for none."""
    found = _LOCATION.fullmatch(location)
    if not found or found["host"] not in HOSTS:
        return ""
    try:
        query = store_wire.query(found["query"])
        name = store_wire.checked(query["name"]) if "name" in query else ""
    except Refused:
        return ""
    return _session_name(found["bucket"], name, query) if _SESSION.fullmatch(query.get("upload_id", "")) else ""


def _asked(wire: WireRequest, names: Names) -> _Asked:
    path, _, raw = wire.target.partition("?")
    query = store_wire.query(raw)
    for verbs, pattern, action, allowed in _FORMS:
        found = pattern.fullmatch(path)
        if found and wire.method in verbs:
            store_wire.allow(query, allowed, media=action is GET)
            parts = {key: value or "" for key, value in found.groupdict().items()}
            meant = object_name(parts["object"]) if "object" in parts else _in_query(action, query)
            done = REWRITE if parts.get("how") == "rewriteTo" else action
            return _Asked(done, names.bucket(parts["bucket"]), meant, query, parts)
    found = _XML_READ.fullmatch(path) if wire.host == "storage.googleapis.com" else None
    if found and wire.method in {"GET", "HEAD"} and not path.startswith(_API_FOLDERS):
        store_wire.allow_only(query, frozenset({"generation"}))
        return _Asked(GET, names.bucket(found["bucket"]), object_name(found["object"]), query, {})
    raise _unknown(wire.method, path)


def _in_query(action: Action, query: Mapping[str, str]) -> str:
    """What the query names: the object of an upload, the folder of a list."""
    name = query.get("prefix" if action is LIST else "name", "")
    return store_wire.checked(name) if name else ""


def _continued(asked: _Asked) -> Request:
    """A part of a resumable upload, a question about it, or its end."""
    session = asked.query["upload_id"]
    if asked.query.get("uploadType") != "resumable" or not _SESSION.fullmatch(session):
        raise Refused(Reason.REQUEST_MALFORMED, f"{shown(session)} is not the id of a resumable upload")
    bucket = asked.parts["bucket"]
    upload = Resource("Operation", _session_name(bucket, asked.object, asked.query), asked.bucket.project)
    return Request((Operation(INSERT, (asked.bucket, upload), within=asked.object),))


def _session_name(bucket: str, name: str, query: Mapping[str, str]) -> str:
    """With the bucket, and the object where its address names it: another's would be another session, of nobody."""
    within = f"/objects/{quote(name, safe='')}" if name else ""
    return f"//storage.googleapis.com/projects/_/buckets/{bucket}{within}/uploads/{query['upload_id']}"


def _changes(asked: _Asked, wire: WireRequest, names: Names) -> Iterator[Operation]:
    if asked.action is INSERT:
        yield from _upload(asked, wire)
        return
    yield _operation(asked.action, asked.bucket, asked.object)
    if asked.action in {COPY, REWRITE}:
        source = names.bucket(store_wire.bucket_name(asked.parts["from"]))
        yield _operation(GET, source, object_name(asked.parts["source"]))
    body = store_wire.body_of(wire)
    if asked.action is DELETE:
        if body:
            raise Refused(Reason.REQUEST_MALFORMED, "a `DELETE` of an object has no body")
    elif body is None:
        yield _untyped(asked)
    elif asked.action is COMPOSE:
        sources, destination = store_wire.composed(body)
        if not 1 <= len(sources) <= _MOST_SOURCES:
            raise Refused(Reason.REQUEST_MALFORMED, f"an object is composed of 1 to {_MOST_SOURCES} others")
        store_wire.metadata(destination, asked.parts["bucket"], asked.object)
        yield from (_operation(GET, asked.bucket, source) for source in dict.fromkeys(sources))
    else:
        store_wire.metadata(store_wire.json_object(body), asked.parts["bucket"], asked.object)


def _upload(asked: _Asked, wire: WireRequest) -> Iterator[Operation]:
    how = asked.query.get("uploadType", "")
    if how not in {"media", "multipart", "resumable"}:
        raise Refused(
            Reason.REQUEST_MALFORMED, f"{shown(how)} is not a way to upload: `media`, `multipart`, `resumable`"
        )
    named, unread = asked.object, False
    if how != "media":
        body = store_wire.body_of(wire)
        unread = body is None
        if body is not None:
            content = store_wire.first_part(body, wire.header("content-type")) if how == "multipart" else body
            told = store_wire.metadata(store_wire.json_object(content), asked.parts["bucket"], asked.object)
            named = named or told
    if not named and not unread:
        raise Refused(Reason.REQUEST_MALFORMED, "an upload names its object", hint="name it in the query: `name=…`")
    yield _operation(INSERT, asked.bucket, named)
    if unread:
        yield _untyped(asked)


def _operation(action: Action, bucket: Resource, name: str) -> Operation:
    return Operation(action, (bucket,), within=name)


def _untyped(asked: _Asked) -> Operation:
    return Operation(UNTYPED, (asked.bucket,), within=asked.action.id)


def _unknown(verb: str, path: str) -> Refused:
    asked = shown(f"{verb} {path}")
    why = next((why for part, why in _NOT_SERVED if f"{part}/" in f"{path}/"), "")
    return Refused(Reason.METHOD_UNKNOWN, f"{asked} is not a method of Cloud Storage that Remit serves", hint=why)
