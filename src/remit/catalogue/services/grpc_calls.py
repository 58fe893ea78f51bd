"""A gRPC service that Remit knows nothing of but its name: the procedure is what is decided, the message is its own.

Server reflection (grpc/grpc doc/server-reflection.md) and health checks are calls like any other.
"""

import re

from remit.catalogue.grpc_wire import CONTENT_TYPES
from remit.catalogue.names import shown
from remit.catalogue.services.place import inside, path_of, resource
from remit.model.errors import Refused
from remit.model.estate import Service
from remit.model.operation import Action, Group, Operation, Request
from remit.model.reasons import Reason
from remit.model.wire import WireRequest

CALL = Action("grpc.calls.make", Group.USE)
ACTIONS = (CALL,)
_PROCEDURE = re.compile(r"/[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*/[A-Za-z_][A-Za-z0-9_]*")


def grpc_request(service: Service, wire: WireRequest) -> Request:
    """The one operation of a call; raises `Refused`. It may be repeated: nothing but its path was decided on."""
    return Request((Operation(CALL, (resource(service),), within=procedure_of(service, wire)),), leasable=True)


def procedure_of(service: Service, wire: WireRequest) -> str:
    """The procedure that is called (`/package.Service/Method`); raises `Refused` for what is no gRPC call."""
    if wire.method != "POST" or wire.header("content-type") not in CONTENT_TYPES or wire.header("upgrade"):
        raise Refused(Reason.REQUEST_MALFORMED, "a gRPC request is a `POST` of `application/grpc`")
    path_of(service, wire.target)
    procedure = inside(service, wire.target)
    if not _PROCEDURE.fullmatch(procedure):
        raise Refused(Reason.REQUEST_MALFORMED, f"{shown(wire.target)} is not the path of a gRPC call")
    return procedure
