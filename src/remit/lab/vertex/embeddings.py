"""Text embeddings: texts as vectors, near each other where they share words.

`Predict` on `text-embedding-*` and `gemini-embedding-*`, and `EmbedContent`. Each word has a direction of its own; a
text is their sum, of length one. Left out: task types, titles. Source: cloud.google.com/vertex-ai/generative-ai/docs/
model-reference/text-embeddings-api.
"""

import zlib
from typing import Any

import numpy as np
from google.protobuf import json_format
from grpc import StatusCode

from remit.lab.api_table import Proto
from remit.lab.errors import CloudError
from remit.lab.vertex.generative import Generative, tokens_of
from remit.lab.vertex.resources import Scope

_LARGE, _USUAL = 3072, 768  # dimensions of gemini-embedding-001 and of the others


class Embeddings:
    """The embedding models of the publisher Google."""

    def __init__(self, generative: Generative) -> None:
        self._generative = generative

    def predict(self, scope: Scope) -> Proto:
        """`Predict`: one embedding an instance."""
        model = self._generative.check(scope.name)
        if "embedding" not in model:
            text = f"{scope.name} is not supported for prediction. Please use generateContent instead."
            raise CloudError(StatusCode.INVALID_ARGUMENT, text)
        parameters = json_format.MessageToDict(scope.request.parameters) or {}
        size = int(parameters.get("outputDimensionality") or _size(model))
        answer = scope.answer()
        for instance in scope.request.instances:
            given = json_format.MessageToDict(instance)
            if not isinstance(given, dict) or not isinstance(given.get("content"), str):
                raise CloudError(StatusCode.INVALID_ARGUMENT, "The instance must have a string `content`.")
            json_format.ParseDict({"embeddings": _embedding(given["content"], size)}, answer.predictions.add())
        return answer

    def embed_content(self, scope: Scope) -> Proto:
        """`EmbedContent`: one embedding of all parts."""
        model = self._generative.check(scope.name)
        text = " ".join(part.text for part in scope.request.content.parts)
        size = (
            scope.request.output_dimensionality
            or scope.request.embed_content_config.output_dimensionality
            or _size(model)
        )
        answer = scope.answer()
        answer.embedding.values.extend(vector(text, size))
        answer.usage_metadata.prompt_token_count = answer.usage_metadata.total_token_count = tokens_of(text)
        return answer


def vector(text: str, size: int) -> list[float]:
    """A text's direction."""
    words = text.lower().split() or [""]
    directions = [np.random.default_rng(zlib.crc32(word.encode())).standard_normal(size) for word in words]
    found = np.sum(directions, axis=0)
    return [float(each) for each in found / np.linalg.norm(found)]


def _embedding(text: str, size: int) -> dict[str, Any]:
    return {"values": vector(text, size), "statistics": {"token_count": tokens_of(text), "truncated": False}}


def _size(model: str) -> int:
    return _LARGE if model.startswith("gemini") else _USUAL
