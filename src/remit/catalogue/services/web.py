"""A web service: pages, event streams and WebSockets of a notebook, a TensorBoard, an MLflow, anything over HTTP.

Nothing about the application is known, so that what counts is the verb and the path: reading (RFC 9110 section 9.2.1,
safe methods), writing, and opening a WebSocket, which is a change: a notebook's kernel runs code that comes through it.
"""

import re
from urllib.parse import unquote

from remit.catalogue.services.place import path_of, resource
from remit.model.errors import Refused
from remit.model.estate import Service
from remit.model.operation import Action, Group, Operation, Request
from remit.model.reasons import Reason
from remit.model.wire import WireRequest

READ = Action("web.requests.read", Group.USE)
WRITE = Action("web.requests.write", Group.CHANGE)
OPEN = Action("web.sockets.open", Group.CHANGE)
ACTIONS = (READ, WRITE, OPEN)

_READS = frozenset({"GET", "HEAD", "OPTIONS"})
_WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_GRPC = re.compile(r"application/grpc(?!-web)", re.IGNORECASE)


def web_request(service: Service, wire: WireRequest) -> Request:
    """The one operation of a request to a web service; raises `Refused`."""
    path, query = path_of(service, wire.target)
    if _GRPC.match(wire.header("content-type")):
        raise Refused(Reason.REQUEST_MALFORMED, f"`{service.name}` is a web service and speaks no gRPC")
    action = _action(service, wire)
    if action is not WRITE:
        _check_read(wire, query)
    return Request((Operation(action, (resource(service),), within=path),), leasable=action is READ)


def _action(service: Service, wire: WireRequest) -> Action:
    upgrade = wire.header("upgrade")
    if upgrade:
        if upgrade.lower() != "websocket" or wire.method != "GET":
            raise Refused(Reason.REQUEST_MALFORMED, "the only upgrade is that of a `GET` to `websocket`")
        if not service.websockets:
            raise Refused(
                Reason.METHOD_UNKNOWN,
                f"`{service.name}` serves no WebSockets",
                hint="set `websockets: true` for the service in `remit.yaml`",
            )
        return OPEN
    if wire.method in _READS:
        return READ
    if wire.method in _WRITES:
        return WRITE
    raise Refused(Reason.METHOD_UNKNOWN, "the verb is none of those that a web service is asked with")


def _check_read(wire: WireRequest, query: str) -> None:
    """A read stays one: frameworks take another verb from `_method`, and a body is for what writes."""
    names = {unquote(piece.partition("=")[0]).strip().casefold() for piece in re.split("[&;]", query)}
    if "_method" in names:
        raise Refused(Reason.REQUEST_AMBIGUOUS, "the query names another method than the request")
    if wire.body:
        raise Refused(Reason.REQUEST_MALFORMED, f"a `{wire.method}` of a web service has no body")
