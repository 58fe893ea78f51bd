"""The two faces of one table: gRPC, and REST by the rules of google/api/http.proto.

What a method does is one function of `Call`; it cannot tell over which transport it was asked. Left out: streams from
the client, streams of JSON, compression, `$fields`. Errors: google/rpc/code.proto, cloud.google.com/apis/design/errors.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import grpc
from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from remit.lab.api_table import Binding, Method, Proto, Table
from remit.lab.errors import CloudError
from remit.lab.http import Request, Response

_JSON = {"content-type": "application/json; charset=UTF-8"}
_SYSTEM = frozenset({"alt", "$alt", "prettyPrint", "$prettyPrint", "key", "quotaUser", "$userProject"})
_MIB = 1024 * 1024
MAXIMUM = 64 * _MIB  # bytes of one message: well above what Vertex AI takes (10 MB for a prediction)


@dataclass(slots=True)
class Call:
    """One call. `reason`: `x-goog-request-reason`; `answer_headers`: what the method adds to the answer."""

    method: Method
    request: Proto
    authorization: str
    reason: str = ""
    answer_headers: dict[str, str] = field(default_factory=dict)


Answer = Callable[[Call], Awaitable[Sequence[Proto]]]


class Surface:
    """Serves some methods of the table. `answer` gives one message, for a stream any number; it raises `CloudError`."""

    def __init__(self, table: Table, methods: Mapping[str, Method], answer: Answer) -> None:
        self._table = table
        self._answer = answer
        self._methods = {path: method for path, method in methods.items() if not method.client_streaming}
        self._routes = [(binding, method) for method in self._methods.values() for binding in method.bindings]
        self.grpc = _GrpcFace(self._methods, answer)

    async def handle(self, request: Request) -> Response:
        """The REST face."""
        try:
            return await self._rest(request)
        except CloudError as error:
            challenge = {"www-authenticate": 'Bearer realm="https://accounts.google.com/"'}
            headers = _JSON | (challenge if error.code is grpc.StatusCode.UNAUTHENTICATED else {})
            return Response(error.http_status, error.json(), headers)

    async def _rest(self, request: Request) -> Response:
        binding, method, names = self._route(request)
        call = Call(
            method,
            self._message(request, binding, method, names),
            request.headers.get("authorization", ""),
            request.headers.get("x-goog-request-reason", ""),
        )
        messages = await self._answer(call)
        if method.response.DESCRIPTOR.full_name == "google.api.HttpBody":
            headers = {"content-type": messages[0].content_type if messages else "application/octet-stream"}
            return Response(200, b"".join(message.data for message in messages), headers | call.answer_headers)
        numbers = "enum-encoding=int" in (request.parameter("$alt") or request.parameter("alt"))
        found = json_format.MessageToJson(messages[0], use_integers_for_enums=numbers, descriptor_pool=self._table.pool)
        return Response(200, found.encode() + b"\n", _JSON | call.answer_headers)

    def _route(self, request: Request) -> tuple[Binding, Method, tuple[str, ...]]:
        for binding, method in self._routes:
            if binding.verb == request.method:
                found = binding.path.fullmatch(request.path)
                if found:
                    return binding, method, found.groups()
        raise CloudError(grpc.StatusCode.NOT_FOUND, "Method not found.")

    def _message(self, request: Request, binding: Binding, method: Method, names: Iterable[str]) -> Proto:
        """The request message: the body first, then the query, the path last, so that the path always wins."""
        message = method.request()
        try:
            if "http_body" in message.DESCRIPTOR.fields_by_name and binding.body == "*":
                message.http_body.data = request.body
                message.http_body.content_type = request.headers.get("content-type", "")
            elif binding.body and request.body:
                target = message if binding.body == "*" else getattr(message, binding.body)
                json_format.Parse(request.body, target, descriptor_pool=self._table.pool)
            if binding.body != "*":
                self._bind_query(message, request)
            for (dotted, _), value in zip(binding.variables, names, strict=True):
                _bind(message, dotted, unquote(value))
        except (json_format.ParseError, UnicodeDecodeError, ValueError) as error:
            text = f"Invalid JSON payload received. {error}"
            raise CloudError(grpc.StatusCode.INVALID_ARGUMENT, text) from error
        return message

    def _bind_query(self, message: Proto, request: Request) -> None:
        nested: dict[str, Any] = {}
        for key in dict.fromkeys(key for key, _ in request.query if key not in _SYSTEM):
            *parents, last = key.split(".")
            level = nested
            for parent in parents:
                level = level.setdefault(parent, {})
            level[last] = _query_value(message.DESCRIPTOR, key, [value for name, value in request.query if name == key])
        json_format.ParseDict(nested, message, descriptor_pool=self._table.pool)


class _GrpcFace(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpcio publishes no types
    """Looks a method up by its path and speaks in the pool's messages."""

    def __init__(self, methods: Mapping[str, Method], answer: Answer) -> None:
        self._methods = methods
        self._answer = answer

    def service(self, handler_call_details: Any) -> Any:
        """The handler of a call, `None` for a method that is not served (gRPC then says `UNIMPLEMENTED`)."""
        method = self._methods.get(handler_call_details.method)
        if method is None:
            return None
        metadata = dict(handler_call_details.invocation_metadata)

        async def run(request: Proto, context: Any) -> Sequence[Proto]:
            reason = metadata.get("x-goog-request-reason", "")
            call = Call(method, request, metadata.get("authorization", ""), reason)
            try:
                messages = await self._answer(call)
            except CloudError as error:
                await context.abort(error.code, error.message)
            if call.answer_headers:
                await context.send_initial_metadata(tuple(call.answer_headers.items()))
            return messages

        async def unary(request: Proto, context: Any) -> Proto:
            return (await run(request, context))[0]

        async def stream(request: Proto, context: Any) -> Any:
            for message in await run(request, context):
                yield message

        serialize = method.response.SerializeToString
        if method.server_streaming:
            return grpc.unary_stream_rpc_method_handler(stream, method.request.FromString, serialize)
        return grpc.unary_unary_rpc_method_handler(unary, method.request.FromString, serialize)


async def start_grpc(handlers: Iterable[Any]) -> tuple[Any, int]:
    """Starts a plaintext `grpc.aio` server on a free port of 127.0.0.1; the server (to `stop`) and its port."""
    options = [("grpc.max_receive_message_length", MAXIMUM), ("grpc.max_send_message_length", MAXIMUM)]
    server = grpc.aio.server(options=options)
    server.add_generic_rpc_handlers(tuple(handlers))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return server, port


def _bind(message: Proto, dotted: str, value: str) -> None:
    *parents, last = dotted.split(".")
    for parent in parents:
        message = getattr(message, parent)
    setattr(message, last, value)


def _query_value(descriptor: Descriptor, key: str, values: list[str]) -> Any:
    """The JSON form of a query parameter: a list for a repeated field, a boolean for a boolean one, else the last."""
    found = None
    for part in key.split("."):
        found = descriptor.fields_by_camelcase_name.get(part) or descriptor.fields_by_name.get(part)
        if found is None:
            return values[-1]  # json_format will say that there is no such field
        descriptor = found.message_type or descriptor
    if found is not None and found.is_repeated:
        return values
    if found is not None and found.type == FieldDescriptor.TYPE_BOOL:
        return values[-1] == "true"
    return values[-1]
