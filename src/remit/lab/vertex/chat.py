"""The wire forms of other houses on Vertex AI: OpenAI's chat completions and Anthropic's messages.

Bodies that Google hands on as they are, whole or as server-sent events. Left out: tools, images, logits. Sources:
cloud.google.com/vertex-ai/generative-ai/docs/migrate/openai/overview, docs.anthropic.com/en/api/messages-streaming.
"""

import asyncio
import json
import secrets
import time
from collections.abc import AsyncGenerator, Iterator
from typing import Any

from grpc import StatusCode

from remit.lab.api_table import Proto
from remit.lab.errors import CloudError
from remit.lab.vertex.generative import Generative, echo, split, tokens_of
from remit.lab.vertex.resources import Scope

_JSON, _EVENTS = "application/json", "text/event-stream"


class Chat:
    """What answers such bodies. `pause`: seconds between the events of a stream."""

    def __init__(self, generative: Generative, *, pause: float = 0.05) -> None:
        self._generative = generative
        self._pause = pause

    async def completions(self, scope: Scope) -> AsyncGenerator[Proto, None]:
        """`ChatCompletions`; the body says whether it is to be a stream."""
        body = _body(scope)
        model = str(body.get("model", ""))
        location = "/".join(scope.name.split("/")[:4])
        publisher, _, name = model.partition("/")
        self._generative.check(f"{location}/publishers/{publisher}/models/{name}")
        text = echo(_last(body))
        if body.get("stream"):
            return self._stream(scope, _completion_events(model, text))
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
        asked, said = tokens_of(_last(body)), tokens_of(text)
        usage = {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}
        whole = _completion(model) | {"object": "chat.completion", "choices": [choice], "usage": usage}
        return self._stream(scope, iter([json.dumps(whole).encode()]), _JSON)

    async def messages(self, scope: Scope) -> Proto:
        """`RawPredict` on a publisher's model."""
        self._generative.check(scope.name)
        return scope.answer(content_type=_JSON, data=json.dumps(_message(scope, _body(scope))).encode())

    async def message_stream(self, scope: Scope) -> AsyncGenerator[Proto, None]:
        """`StreamRawPredict` on a publisher's model; without `stream` in the body it is one message."""
        self._generative.check(scope.name)
        body = _body(scope)
        if not body.get("stream"):
            return self._stream(scope, iter([json.dumps(_message(scope, body)).encode()]), _JSON)
        return self._stream(scope, _message_events(_message(scope, body)))

    async def _stream(
        self, scope: Scope, pieces: Iterator[bytes], content_type: str = _EVENTS
    ) -> AsyncGenerator[Proto, None]:
        for piece in pieces:
            yield scope.answer(content_type=content_type, data=piece)
            await asyncio.sleep(self._pause)


def _body(scope: Scope) -> dict[str, Any]:
    try:
        found = json.loads(scope.request.http_body.data)
    except ValueError as error:
        raise CloudError(StatusCode.INVALID_ARGUMENT, "The request payload is not valid JSON.") from error
    if not isinstance(found, dict) or not isinstance(found.get("messages"), list) or not found["messages"]:
        raise CloudError(StatusCode.INVALID_ARGUMENT, "messages: Field required")
    return found


def _last(body: dict[str, Any]) -> str:
    """The text of the last message, which may be a text or a list of parts."""
    content = body["messages"][-1].get("content", "")
    return content if isinstance(content, str) else "".join(str(part.get("text", "")) for part in content)


def _completion(model: str) -> dict[str, Any]:
    return {"id": secrets.token_urlsafe(12), "created": int(time.time()), "model": model}


def _completion_events(model: str, text: str) -> Iterator[bytes]:
    head = _completion(model) | {"object": "chat.completion.chunk"}
    pieces = split(text)
    for number, piece in enumerate(pieces, 1):
        delta = {"role": "assistant", "content": piece}
        choice = {"index": 0, "delta": delta, "finish_reason": "stop" if number == len(pieces) else None}
        yield _event({**head, "choices": [choice]})
    yield b"data: [DONE]\n\n"


def _message(scope: Scope, body: dict[str, Any]) -> dict[str, Any]:
    text = echo(_last(body))
    return {
        "id": f"msg_vrtx_{secrets.token_urlsafe(12)}",
        "type": "message",
        "role": "assistant",
        "model": scope.name.rpartition("/")[2],
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": tokens_of(_last(body)), "output_tokens": tokens_of(text)},
    }


def _message_events(message: dict[str, Any]) -> Iterator[bytes]:
    text, usage = message["content"][0]["text"], message["usage"]
    yield _named({"type": "message_start", "message": {**message, "content": [], "stop_reason": None}})
    yield _named({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})
    for piece in split(text):
        delta = {"type": "text_delta", "text": piece}
        yield _named({"type": "content_block_delta", "index": 0, "delta": delta})
    yield _named({"type": "content_block_stop", "index": 0})
    yield _named({"type": "message_delta", "delta": {"stop_reason": message["stop_reason"]}, "usage": usage})
    yield _named({"type": "message_stop"})


def _named(value: dict[str, Any]) -> bytes:
    return f"event: {value['type']}\n".encode() + _event(value)


def _event(value: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(value)}\n\n".encode()
