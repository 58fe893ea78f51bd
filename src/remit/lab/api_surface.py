"""The two faces of one table: gRPC, and REST by the rules of google/api/http.proto.

What a method does is one function of `Call`; it cannot tell over which transport it was asked. A stream's messages go
out one by one as they come, over REST as server-sent events (`alt=sse`) or as a JSON array. Left out: streams from the
client, compression, `$fields`. Errors: google/rpc/code.proto, cloud.google.com/apis/design/errors.
"""

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import grpc
from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from remit.lab.api_table import Binding, Method, Proto, Table, place
from remit.lab.errors import CloudError
from remit.lab.http import Request, Response

_JSON = {"content-type": "application/json; charset=UTF-8"}
_SYSTEM = frozenset({"alt", "$alt", "prettyPrint", "$prettyPrint", "key", "quotaUser", "$userProject"})
_MIB = 1024 * 1024
MAXIMUM = 64 * _MIB  # bytes of one message: well above what Vertex AI takes (10 MB for a prediction)


@dataclass(slots=True)
class Call:
    """One call. `reason`: `x-goog-request-reason`; `answer_headers`: what the method adds to the answer.

    `asked_as`: the full name under which the method was called, where `method` is another version's of the same.
    """

    method: Method
    request: Proto
    authorization: str
    reason: str = ""
    answer_headers: dict[str, str] = field(default_factory=dict)
    asked_as: str = ""

    @property
    def full_name(self) -> str:
        """The method that was called, `SERVICE.METHOD`."""
        return self.asked_as or f"{self.method.service}.{self.method.name}"


Messages = Sequence[Proto] | AsyncGenerator[Proto, None]
Answer = Callable[[Call], Awaitable[Messages]]
Check = Callable[[Call], CloudError | None]


class Surface:
    """Serves some methods of the table. `answer` gives one message, for a stream any number; it raises `CloudError`.

    `refuse`: what a front end refuses before the method is asked (a fault), `None` for what passes.
    """

    def __init__(self, table: Table, methods: Mapping[str, Method], answer: Answer) -> None:
        self._table = table
        self._asked = answer
        self.refuse: Check = lambda _: None
        self._methods = {path: method for path, method in methods.items() if not method.client_streaming}
        self._routes: dict[tuple[str, str, str], list[tuple[Binding, Method]]] = {}
        for method in self._methods.values():
            for binding in method.bindings:
                self._routes.setdefault(binding.place, []).append((binding, method))
        self.grpc = _GrpcFace(self._methods, self._answer)

    async def _answer(self, call: Call) -> Messages:
        if refusal := self.refuse(call):
            raise refusal
        return await self._asked(call)

    async def handle(self, request: Request) -> Response:
        """The REST face."""
        try:
            return await self._rest(request)
        except CloudError as error:
            return Response(error.http_status, error.json(), _JSON | error.challenge)

    async def _rest(self, request: Request) -> Response:
        binding, method, names = self._route(request)
        call = Call(
            method,
            self._message(request, binding, method, names),
            request.headers.get("authorization", ""),
            request.headers.get("x-goog-request-reason", ""),
        )
        messages = await self._answer(call)
        numbers = "enum-encoding=int" in (request.parameter("$alt") or request.parameter("alt"))
        if method.response.DESCRIPTOR.full_name == "google.api.HttpBody":
            return await _raw(messages, call)
        if method.server_streaming:
            events = (request.parameter("$alt") or request.parameter("alt")).startswith("sse")
            return await self._stream(messages, call, events=events, numbers=numbers)
        found = self._json(await anext(_each(messages)), numbers=numbers)
        return Response(200, found + b"\n", _JSON | call.answer_headers)

    async def _stream(self, messages: Messages, call: Call, *, events: bool, numbers: bool) -> Response:
        """Many messages; an error before the first is an error, a later one stands where a message would."""
        found = _each(messages)
        first = await anext(found, None)

        async def each() -> AsyncGenerator[bytes, None]:
            try:
                async with contextlib.aclosing(found):
                    if first is not None:
                        yield self._json(first, numbers=numbers)
                    async for message in found:
                        yield self._json(message, numbers=numbers)
            except CloudError as error:
                yield error.json()

        kind = {"content-type": "text/event-stream"} if events else _JSON
        return Response(200, headers=kind | call.answer_headers, parts=_events(each()) if events else _array(each()))

    def _json(self, message: Proto, *, numbers: bool) -> bytes:
        text = json_format.MessageToJson(
            message, use_integers_for_enums=numbers, indent=None, descriptor_pool=self._table.pool
        )
        return text.encode()

    def _route(self, request: Request) -> tuple[Binding, Method, tuple[str, ...]]:
        if request.path.startswith("/"):
            for binding, method in self._routes.get(place(request.method, request.path), ()):
                found = binding.path.fullmatch(request.path)
                if found:
                    return binding, method, found.groups()
        raise CloudError(grpc.StatusCode.NOT_FOUND, "Method not found.")

    def _message(self, request: Request, binding: Binding, method: Method, names: Iterable[str]) -> Proto:
        """The request message: the body first, then the query, the path last, so that the path always wins."""
        message = method.request()
        try:
            if "http_body" in message.DESCRIPTOR.fields_by_name and binding.body in {"*", "http_body"}:
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

        async def run(request: Proto, context: Any) -> Messages:
            reason = metadata.get("x-goog-request-reason", "")
            call = Call(method, request, metadata.get("authorization", ""), reason)
            messages = await self._answer(call)
            if call.answer_headers:
                await context.send_initial_metadata(tuple(call.answer_headers.items()))
            return messages

        async def unary(request: Proto, context: Any) -> Proto:
            try:
                return await anext(_each(await run(request, context)))
            except CloudError as error:
                await _abort(context, error)

        async def stream(request: Proto, context: Any) -> Any:
            try:
                async with contextlib.aclosing(_each(await run(request, context))) as messages:
                    async for message in messages:
                        yield message
            except CloudError as error:
                await _abort(context, error)

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


async def _abort(context: Any, error: CloudError) -> None:
    """Ends a call with Google's status, its details in the trailer in which Google puts them."""
    status = error.status()
    trailer = (("grpc-status-details-bin", status.SerializeToString()),) if status.details else ()
    await context.abort(error.code, error.message, trailer)


async def _each(messages: Messages) -> AsyncGenerator[Proto, None]:
    """The messages one by one, whichever way they are given."""
    if isinstance(messages, Sequence):
        for message in messages:
            yield message
        return
    async with contextlib.aclosing(messages):
        async for message in messages:
            yield message


async def _raw(messages: Messages, call: Call) -> Response:
    """`google.api.HttpBody`: bytes of a type that the first message tells."""
    found = _each(messages)
    first = await anext(found, None)
    headers = {"content-type": first.content_type if first is not None else "application/octet-stream"}
    if not call.method.server_streaming:
        return Response(200, first.data if first is not None else b"", headers | call.answer_headers)

    async def parts() -> AsyncGenerator[bytes, None]:
        async with contextlib.aclosing(found):
            yield first.data if first is not None else b""
            async for message in found:
                yield message.data

    return Response(200, headers=headers | call.answer_headers, parts=parts())


async def _events(messages: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Server-sent events, with the line ends that Google writes."""
    async for message in messages:
        yield b"data: " + message + b"\r\n\r\n"


async def _array(messages: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """A JSON array that grows."""
    start = b"["
    async for message in messages:
        yield start + message
        start = b",\r\n"
    yield b"]" if start != b"[" else b"[]"


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
