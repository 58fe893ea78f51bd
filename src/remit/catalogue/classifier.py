"""The classifier: from a request on the wire to the operations that it asks for. Pure, strict, refusing by default.

The message decides. A hint beside it (`x-goog-request-params`), another spelling of it, or a second reading of it
either says the same or the request is refused.
"""

from google.protobuf.message import Message

from remit.catalogue import fields, grpc_wire, rest_wire
from remit.catalogue.api import Api, Hosts, Served, served_by_name
from remit.catalogue.methods import ACT_AS
from remit.catalogue.names import Names, Place, shown
from remit.catalogue.rules import Extra
from remit.model.errors import Refused
from remit.model.estate import Estate
from remit.model.operation import Operation, Request, Resource
from remit.model.reasons import Reason
from remit.model.wire import WireRequest

_OVERRIDES = frozenset({"x-http-method", "x-http-method-override", "x-method-override"})
_RAW = "send it with `rawPredict`, whose body is passed on unread"


class Catalogue:
    """Implements `access.ports.Classifier` for one estate."""

    def __init__(self, estate: Estate) -> None:
        self._hosts = Hosts(estate)
        self._names = Names(estate)

    def classify(self, wire: WireRequest) -> Request:
        """The operations that a request asks for; raises `Refused` for what is not known or not clear."""
        # 1. nothing around the request may change its meaning
        _check_headers(wire)
        # 2. the host says which API, and for which location
        api, location = self._hosts.api(wire.host)
        # 3. one message, whichever way it is written
        served, message, value = self._read_grpc(api, wire) if wire.grpc else self._read_rest(api, wire)
        # 4. it holds only what is understood
        if served.rule.allowed is not None:
            fields.check(message, served.rule.allowed)
        # 5. every resource in it belongs to the estate, and to the host's location
        if served.resources:
            resources, extra = served.resources(message, self._names), Extra()
        else:
            place = self._names.place(value)
            _check_location(place, location)
            extra = served.rule.read(message, place, self._names)
            resources = (place.resource, *extra.resources)
        # 6. acting as an account is an operation of its own
        operations = self._operations(served, resources, extra.acts_as)
        leasable = served.rule.grpc_leasable if wire.grpc else served.rule.rest_leasable
        keys = (served.binding.field,) if leasable and wire.grpc else ()
        return Request(operations, leasable=leasable, lease_key_fields=keys)

    def _read_grpc(self, api: Api, wire: WireRequest) -> tuple[Served, Message, str]:
        if wire.header("content-type") not in grpc_wire.CONTENT_TYPES or wire.method != "POST":
            raise Refused(Reason.REQUEST_MALFORMED, "a gRPC request is a `POST` of `application/grpc`")
        procedure = api.procedures.get(wire.target)
        if procedure is None or wire.target not in api.grpc:
            raise _unknown_procedure(api, wire.target)
        if not wire.body_sent:
            raise Refused(Reason.REQUEST_MALFORMED, "the message decides, and it was not sent along")
        first, *others = api.grpc[wire.target].values()
        _check_size(max((first, *others), key=lambda one: one.rule.largest), wire)
        message = grpc_wire.read(wire.body, procedure.request)
        value = getattr(message, first.binding.field) if first.binding.field else ""
        served = served_by_name(api, wire.target, value)
        if served is None:
            raise Refused(Reason.RESOURCE_UNKNOWN, f"{shown(value)} is not a name that this method takes")
        _check_size(served, wire)
        return served, message, value

    def _read_rest(self, api: Api, wire: WireRequest) -> tuple[Served, Message, str]:
        served, path, query = rest_wire.find(api, wire.method, wire.target)
        _check_size(served, wire)
        return served, rest_wire.message(served, path, query, wire), served.binding.value(path)

    def _operations(self, served: Served, resources: tuple[Resource, ...], acts_as: str) -> tuple[Operation, ...]:
        operation = Operation(served.method.action, resources, acts_as)
        if not acts_as:
            return (operation,)
        return (operation, Operation(ACT_AS, (self._names.account(acts_as),)))


def _check_headers(wire: WireRequest) -> None:
    names = [name for name, _ in wire.headers]
    if len(set(names)) != len(names):
        raise Refused(Reason.REQUEST_AMBIGUOUS, "a header is given twice")
    if _OVERRIDES & set(names):
        raise Refused(Reason.REQUEST_AMBIGUOUS, "a header names another method than the request")
    if wire.header("content-encoding") not in {"", "identity"}:
        raise Refused(Reason.REQUEST_AMBIGUOUS, "the body is encoded", hint="send it without `content-encoding`")


def _check_location(place: Place, location: str) -> None:
    if place.location and place.location != location:
        raise Refused(
            Reason.HOST_UNKNOWN,
            f"the host is for location {shown(location)}, the resource lies in {shown(place.location)}",
            hint="ask the host of the resource's own location",
        )


def _check_size(served: Served, wire: WireRequest) -> None:
    """Before anything is parsed: one caller's large body would hold up everybody."""
    largest = served.rule.largest
    if len(wire.body) > largest:
        hint = _RAW if served.method.action.id.endswith(".predict") else ""
        raise Refused(Reason.REQUEST_MALFORMED, f"the message is larger than {largest / (1 << 20):g} MiB", hint=hint)


def _unknown_procedure(api: Api, target: str) -> Refused:
    if target in api.procedures:
        return Refused(Reason.METHOD_UNKNOWN, f"{shown(target)} is known, but not served yet")
    return Refused(Reason.METHOD_UNKNOWN, f"{shown(target)} is not a method of {api.title} that Remit knows")
