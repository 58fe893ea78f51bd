"""What is asked of a service that is not Google's: web pages and WebSockets, gRPC, TensorFlow Serving.

The host named the service, the target stands as it goes upstream. Left out: who may, and how the service is reached.
"""

from remit.catalogue.services import grpc_calls, tensorflow_serving, web
from remit.catalogue.services.tensorflow_serving import walked
from remit.model.errors import Refused
from remit.model.estate import Service, ServiceKind
from remit.model.operation import Request
from remit.model.reasons import Reason
from remit.model.wire import WireRequest

__all__ = ["ACTIONS", "service_request", "walked"]

ACTIONS = (*web.ACTIONS, *grpc_calls.ACTIONS, *tensorflow_serving.ACTIONS)
"""Every action that a service's request can hold."""

_ONCE = ("content-type", "content-encoding", "upgrade")
_OVERRIDES = frozenset({"x-http-method", "x-http-method-override", "x-method-override"})
_READERS = {
    ServiceKind.WEB: web.web_request,
    ServiceKind.GRPC: grpc_calls.grpc_request,
    ServiceKind.TENSORFLOW_SERVING: tensorflow_serving.serving_request,
}


def service_request(service: Service, wire: WireRequest) -> Request:
    """The operations of a request to a service; raises `Refused` for what is not known or not clear."""
    _check_headers(wire)
    return _READERS[service.kind](service, wire)


def _check_headers(wire: WireRequest) -> None:
    """What a request is said to be stands once; a page's other headers (`cookie`) may come in several lines."""
    names = [name for name, _ in wire.headers]
    if any(names.count(name) > 1 for name in _ONCE):
        raise Refused(Reason.REQUEST_AMBIGUOUS, "a header is given twice")
    if _OVERRIDES & set(names):
        raise Refused(Reason.REQUEST_AMBIGUOUS, "a header names another method than the request")
    if wire.grpc and wire.header("content-encoding") not in {"", "identity"}:
        raise Refused(Reason.REQUEST_AMBIGUOUS, "the body is encoded", hint="send it without `content-encoding`")
