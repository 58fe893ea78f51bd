"""Reasoning engines that repeat what they are asked, whole or as a stream of JSON lines.

The engine itself is a resource like any other; its code never runs here. Source: google/cloud/aiplatform/v1/
reasoning_engine_execution_service.proto.
"""

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

from google.protobuf import json_format

from remit.lab.api_table import Proto
from remit.lab.vertex.resources import Resources, Scope

_PAUSE = 0.05  # seconds between the lines of a stream


class Reasoning:
    """Asking an engine that there is."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources

    def query(self, scope: Scope) -> Proto:
        """`QueryReasoningEngine`."""
        answer = scope.answer()
        json_format.ParseDict(self._asked(scope), answer.output)
        return answer

    async def stream(self, scope: Scope) -> AsyncGenerator[Proto, None]:
        """`StreamQueryReasoningEngine`: a line for what was asked, and one for each of its inputs."""
        asked = self._asked(scope)
        lines = [asked, *({key: value} for key, value in sorted(asked["input"].items()))]

        async def each() -> AsyncGenerator[Proto, None]:
            for line in lines:
                yield scope.answer(content_type="application/json", data=json.dumps(line).encode() + b"\n")
                await asyncio.sleep(_PAUSE)

        return each()

    def _asked(self, scope: Scope) -> dict[str, Any]:
        self._resources.get(scope.name, "ReasoningEngine")
        given = json_format.MessageToDict(scope.request.input)
        return {"class_method": scope.request.class_method or "query", "input": given}
