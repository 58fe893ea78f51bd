"""The classifier: from a request on the wire to the operations that it asks for. Pure, strict, refusing by default.

The message decides. A hint beside it (`x-goog-request-params`), another spelling of it, or a second reading of it
either says the same or the request is refused. Left out: what a message holds (`rules.py`), what a service that is not
Google's is asked (`services/`), and what its objects are called (`store.py`).
"""

from collections.abc import Iterator, Mapping
from typing import Any

from remit.catalogue import frame, grpc_wire, json_wire, rest_wire, rules, stamp, store, upstream
from remit.catalogue.api import Api, Hosts, Served, logging_api, projects_api, vertex_api
from remit.catalogue.methods import ACT_AS
from remit.catalogue.names import Names, Place, shown
from remit.catalogue.rest_wire import Read
from remit.catalogue.rules import Extra
from remit.catalogue.services import service_request
from remit.model.errors import Refused
from remit.model.estate import Estate
from remit.model.operation import EXTERNAL, UNTYPED, Operation, Request, Resource
from remit.model.reasons import Reason
from remit.model.wire import Answered, UpstreamAnswer, WireRequest

_OVERRIDES = frozenset({"x-http-method", "x-http-method-override", "x-method-override"})
_OK = 200
_RAW = "send it with `rawPredict`, whose body is passed on unread"


class Catalogue:
    """Implements `access.ports.Classifier` for one estate."""

    def __init__(self, estate: Estate) -> None:
        self._estate = estate
        self._hosts = Hosts(estate)
        self._names = Names(estate)

    def prepare(self) -> None:
        """Reads the tables and descriptors now, which would cost the first request a quarter of a second."""
        for read in (vertex_api, logging_api, projects_api):
            read()

    def classify(self, wire: WireRequest) -> Request:
        """The operations that a request asks for; raises `Refused` for what is not known or not clear."""
        service = self._estate.service(wire.host)
        if service is not None:
            return service_request(service, wire)
        # 1. nothing around the request may change its meaning
        _check_headers(wire)
        if self._estate.stores_terminated and wire.host in store.HOSTS:
            return store.store_request(wire, self._names)
        # 2. the host says which API, and for which location
        api, location = self._hosts.api(wire.host)
        # 3. one message, whichever way it is written
        served, read = _read(api, wire)
        # 4. every resource in it belongs to the estate, and the one that it is named by to the host's location
        resources, extra = self._touched(served, read, location)
        # 5. each account to act as, and each part that nobody can judge beforehand, is an operation of its own
        operations = (*_named(served, resources, extra), *self._besides(served, resources, extra))
        rest, grpc = rules.leasable(served.method)
        one_field = served.resources is None  # else a lease's key would miss what the others name
        leasable = (grpc and one_field if wire.grpc else rest) and len(operations) == 1
        return Request(
            operations,
            leasable=leasable,
            lease_key_fields=(served.binding.field,) if leasable and wire.grpc else (),
            starts=served.method.starts,
            stampable=read.message is not None and stamp.stampable(served.method),
        )

    def stamp(self, wire: WireRequest, labels: Mapping[str, str]) -> bytes:
        """The body of a request that is `stampable`, with these labels added to what it creates, in its own framing."""
        api, _ = self._hosts.api(wire.host)
        served, read = _read(api, wire)
        if read.message is None or not stamp.stampable(served.method):
            raise Refused(Reason.REQUEST_MALFORMED, "the message has no room for labels")
        stamp.stamp(served.method, read.message, labels)
        if wire.grpc:
            return frame.framed(read.message.SerializeToString())
        return rest_wire.written(served, read.message)

    def answered(self, host: str, answer: UpstreamAnswer) -> Answered:
        """What an upstream's answer says: the canonical name of what came into being, the cause of a refusal."""
        if self._estate.service(host) is not None:
            return Answered()
        cause, detail = upstream.cause_of(answer)
        if cause is not None:
            return Answered(cause=cause, detail=detail)
        if self._estate.stores_terminated and host in store.HOSTS:
            return Answered(started=store.upload_started(answer.location))
        return Answered(started=self._started(answer))

    def _started(self, answer: UpstreamAnswer) -> str:
        """Only what Google names as the estate's own; a name that is not understood belongs to nobody."""
        if answer.status // 100 != _OK // 100 or answer.grpc_status > 0:
            return ""
        name = upstream.started_by(answer.content_type, answer.body)
        try:
            return self._names.place(name).resource.name
        except Refused:
            return ""

    def _touched(self, served: Served, read: Read, location: str) -> tuple[tuple[Resource, ...], Extra]:
        if served.resources:
            return served.resources(read.message, self._names), Extra()
        place = self._names.place(read.name)
        _check_location(place, location)
        extra = self._extra(served, read, place)
        return tuple(dict.fromkeys((place.resource, *extra.resources))), extra

    def _extra(self, served: Served, read: Read, place: Place) -> Extra:
        if read.message is None or served.document:
            return rules.read_opaque(served.method, read.body, place, self._names)
        return rules.read(served.method, read.message, place, self._names, served.binding.field)

    def _besides(self, served: Served, resources: tuple[Resource, ...], extra: Extra) -> Iterator[Operation]:
        for account in extra.accounts:
            yield Operation(ACT_AS, (self._names.account(account),))
        for action, asked in ((UNTYPED, extra.untyped), (EXTERNAL, extra.external)):
            if asked:
                yield Operation(action, resources[:1], within=served.method.action.id)


def _named(served: Served, resources: tuple[Resource, ...], extra: Extra) -> Iterator[Operation]:
    """The method itself, once for each account that it would act as."""
    for account in extra.accounts or ("",):
        yield Operation(served.method.action, resources, account, extra.work)


def _read(api: Api, wire: WireRequest) -> tuple[Served, Read]:
    return _read_grpc(api, wire) if wire.grpc else _read_rest(api, wire)


def _read_rest(api: Api, wire: WireRequest) -> tuple[Served, Read]:
    served, path, query = rest_wire.find(api, wire.method, wire.target)
    _check_size(served, wire)
    raw, drop = rules.raw(served.method), _data_only(served)
    return served, rest_wire.read(served, (path, query), wire, raw=raw, drop=drop)


def _read_grpc(api: Api, wire: WireRequest) -> tuple[Served, Read]:
    if wire.header("content-type") not in grpc_wire.CONTENT_TYPES or wire.method != "POST":
        raise Refused(Reason.REQUEST_MALFORMED, "a gRPC request is a `POST` of `application/grpc`")
    forms = api.grpc.get(wire.target)
    if forms is None:
        raise _unknown_procedure(api, wire.target)
    if not wire.body_sent:
        raise Refused(Reason.REQUEST_MALFORMED, "the message decides, and it was not sent along")
    first = forms[0]
    _check_size(_meant(api, forms, wire), wire)
    assert first.procedure is not None  # noqa: S101 - what is found by its procedure has one
    message = grpc_wire.read(wire.body, first.procedure.request)
    name = first.binding.name(message)
    served = api.named(wire.target, name)
    if served is None:
        raise Refused(Reason.RESOURCE_UNKNOWN, f"{shown(name)} is not a name that this method takes")
    _check_size(served, wire)
    if not _data_only(served):
        grpc_wire.read_untyped(wire.body, message, rules.data(served.method))
    return served, Read(name, message, _document(served, message, name))


def _meant(api: Api, forms: tuple[Served, ...], wire: WireRequest) -> Served:
    """The form that counts for the size of a message: by a first look at its name where they differ, else the smallest.

    Only a bound is taken from that look, before anything is parsed.
    """
    smallest = min(forms, key=lambda one: rules.largest(one.method))
    if len(wire.body) <= rules.largest(smallest.method) or smallest.procedure is None:
        return smallest
    field = smallest.procedure.input.fields_by_name.get(smallest.binding.field)
    try:
        payload = frame.payload(wire.body)
        names = (one.content for one in frame.fields(payload) if field is not None and one.number == field.number)
        name = bytes(next(names, b"")).decode("ascii", "replace")
    except frame.Unclear:
        return smallest
    return api.named(wire.target, name) or smallest


def _document(served: Served, message: Any, name: str) -> dict[str, Any]:
    """The JSON that a message carries as bytes, where that is what its method is about."""
    if not served.document:
        return {}
    document = getattr(message, served.document)
    if document.content_type not in {"", "application/json"} or document.extensions:
        raise Refused(Reason.REQUEST_MALFORMED, "the document in the message is not `application/json`")
    body = json_wire.loads(document.data) if document.data else {}
    rest_wire.check_document(served, body, name)
    return body


def _data_only(served: Served) -> bool:
    """Whether nothing is decided on untyped values, since all of them are data for a model."""
    return rules.own(served.method) and bool(served.binding.body)


def _check_headers(wire: WireRequest) -> None:
    names = [name for name, _ in wire.headers]
    if len(set(names)) != len(names):
        raise Refused(Reason.REQUEST_AMBIGUOUS, "a header is given twice")
    if _OVERRIDES & set(names):
        raise Refused(Reason.REQUEST_AMBIGUOUS, "a header names another method than the request")
    if wire.header("content-encoding") not in {"", "identity"}:
        raise Refused(Reason.REQUEST_AMBIGUOUS, "the body is encoded", hint="send it without `content-encoding`")
    if "upgrade" in names:
        raise Refused(Reason.METHOD_UNKNOWN, "a connection that becomes a WebSocket names what it is about only later")


def _check_location(place: Place, location: str) -> None:
    if place.location and place.location != location:
        raise Refused(
            Reason.HOST_UNKNOWN,
            f"the host is for location {shown(location)}, the resource lies in {shown(place.location)}",
            hint="ask the host of the resource's own location",
        )


def _check_size(served: Served, wire: WireRequest) -> None:
    """Before anything is parsed: one caller's large body would hold up everybody."""
    largest = rules.largest(served.method)
    if len(wire.body) > largest:
        hint = _RAW if served.method.action.id.endswith(".predict") else ""
        raise Refused(Reason.REQUEST_MALFORMED, f"the message is larger than {largest / (1 << 20):g} MiB", hint=hint)


def _unknown_procedure(api: Api, target: str) -> Refused:
    if target in api.refused:
        return Refused(Reason.METHOD_UNKNOWN, f"{shown(target)} is known, but {api.refused[target]}")
    return Refused(Reason.METHOD_UNKNOWN, f"{shown(target)} is not a method of {api.title} that Remit knows")
