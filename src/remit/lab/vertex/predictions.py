"""Predictions of endpoints in their other forms: raw streams, streams of tensors, tensors at once.

A raw stream is the model server's answer cut between predictions, with pauses. Left out: raw tensor bytes, streams from
the client. Source: google/cloud/aiplatform/v1/prediction_service.proto, types.proto (`Tensor`).
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Iterator
from typing import Any

from grpc import StatusCode

from remit.lab.api_table import Proto
from remit.lab.errors import CloudError
from remit.lab.vertex.endpoints import Endpoints
from remit.lab.vertex.resources import Scope

_PAUSE = 0.05  # seconds between the messages of a stream
_VALUES = ("bool_val", "string_val", "float_val", "double_val", "int_val", "int64_val", "uint_val", "uint64_val")


class Predictions:
    """Asks the model servers of endpoints."""

    def __init__(self, endpoints: Endpoints) -> None:
        self._endpoints = endpoints

    async def stream_raw(self, scope: Scope) -> AsyncGenerator[Proto, None]:
        """`StreamRawPredict`: the same bytes as `RawPredict`, in pieces."""
        whole = await self._endpoints.raw_predict(scope)

        async def each() -> AsyncGenerator[Proto, None]:
            for piece in _pieces(whole.data):
                yield scope.answer(content_type=whole.content_type, data=piece)
                await asyncio.sleep(_PAUSE)

        return each()

    async def stream_tensors(self, scope: Scope) -> AsyncGenerator[Proto, None]:
        """`ServerStreamingPredict`: one message for each tensor that came in."""
        predictions = await self._predict(scope)

        async def each() -> AsyncGenerator[Proto, None]:
            for prediction in predictions:
                answer = scope.answer()
                _fill(answer.outputs.add(), prediction)
                yield answer
                await asyncio.sleep(_PAUSE)

        return each()

    async def direct(self, scope: Scope) -> Proto:
        """`DirectPredict`: all tensors at once."""
        answer = scope.answer()
        for prediction in await self._predict(scope):
            _fill(answer.outputs.add(), prediction)
        return answer

    async def _predict(self, scope: Scope) -> list[Any]:
        instances = [_plain(tensor) for tensor in scope.request.inputs]
        _, found = await self._endpoints.ask(scope, {"instances": instances})
        return list(found["predictions"])


def _pieces(data: bytes) -> Iterator[bytes]:
    """A JSON answer, cut after each of its predictions."""
    found = json.loads(data)
    if not isinstance(found.get("predictions"), list) or len(found["predictions"]) < 2:  # noqa: PLR2004 - one is whole
        yield data
        return
    start = '{"predictions": ['
    for prediction in found["predictions"]:
        yield (start + json.dumps(prediction)).encode()
        start = ", "
    yield b"]}"


def _plain(tensor: Proto) -> Any:
    """A tensor as JSON."""
    if tensor.struct_val:
        return {key: _plain(value) for key, value in tensor.struct_val.items()}
    if tensor.list_val:
        return [_plain(each) for each in tensor.list_val]
    if tensor.tensor_val or tensor.bytes_val:
        raise CloudError(StatusCode.INVALID_ARGUMENT, "Tensors of bytes are not supported by this model.")
    values = next((list(getattr(tensor, name)) for name in _VALUES if getattr(tensor, name)), [])
    if not tensor.shape:
        return values[0] if len(values) == 1 else values
    return _shaped(values, list(tensor.shape))


def _shaped(values: list[Any], shape: list[int]) -> Any:
    """A flat list by its dimensions."""
    if not shape:
        return values[0] if values else None
    size = len(values) // shape[0] if shape[0] > 0 else 0
    return [_shaped(values[at * size : (at + 1) * size], shape[1:]) for at in range(max(0, shape[0]))]


def _fill(tensor: Proto, value: Any) -> None:
    """JSON into a tensor."""
    kinds = tensor.DESCRIPTOR.fields_by_name["dtype"].enum_type.values_by_name
    if isinstance(value, dict):
        for key, each in value.items():
            _fill(tensor.struct_val[key], each)
    elif isinstance(value, list) and value and all(isinstance(each, float | int) for each in value):
        tensor.dtype, tensor.shape[:] = kinds["DOUBLE"].number, [len(value)]
        tensor.double_val.extend(value)
    elif isinstance(value, list):
        for each in value:
            _fill(tensor.list_val.add(), each)
    elif isinstance(value, str):
        tensor.dtype = kinds["STRING"].number
        tensor.string_val.append(value)
    else:
        tensor.dtype = kinds["DOUBLE"].number
        tensor.double_val.append(value)
