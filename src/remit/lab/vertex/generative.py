"""A language model that repeats what it is told: `generateContent`, its stream, and the counting of tokens.

Deterministic and small: the answer is "You said: " and the last text; a function that is declared and named in the text
is called. A token is a word or a mark. `publishers/google/models/*`, and endpoints of tuned models. Left out: safety
ratings, grounding, log probabilities, several answers in a stream. Source: google/cloud/aiplatform/v1/
prediction_service.proto and content.proto.
"""

import asyncio
import json
import re
import secrets
import zlib
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from itertools import pairwise

from google.protobuf import json_format
from grpc import StatusCode

from remit.lab.api_table import Proto, table
from remit.lab.errors import CloudError
from remit.lab.vertex.resources import Resources, Scope

_MODELS = re.compile(
    r"projects/[^/]+/locations/[^/]+/publishers/(?:google/models/(?:gemini|gemma|text-embedding|text-multilingual-embedding)"
    r"|anthropic/models/claude|meta/models/llama|mistralai/models/mistral)-[\w.@-]+"
)
_TOKEN = re.compile(r"\w+|[^\w\s]")
_CHUNKS = 4  # of an answer's stream, where it has as many tokens
_FILE_TOKENS = 258  # what Gemini counts for an image
_MODALITY_TEXT = 1
_STOP, _MAX_TOKENS = 1, 2  # Candidate.FinishReason
_HOLDERS = frozenset(
    {
        "GoogleServiceAccountConfig",
        "OauthConfig",
        "OidcConfig",
        "ServiceAccountSpec",
        "BuildSpec",
        "ReasoningEngineSpec",
    }
)


class Generative:
    """The models of publishers and of tuning. `pause`: seconds between the messages of a stream."""

    def __init__(self, resources: Resources, *, pause: float = 0.05) -> None:
        self._resources = resources
        self._pause = pause

    def check(self, name: str) -> str:
        """The short name of a model or endpoint that there is; raises `NOT_FOUND`."""
        if "/publishers/" not in name:
            self._resources.get(name, "Endpoint")
        elif not _MODELS.fullmatch(name):
            text = (
                f"Publisher Model `{name}` was not found or your project does not have access to it. Please ensure you "
                "are using a valid model version. For more information, see: "
                "https://cloud.google.com/vertex-ai/generative-ai/docs/learn/model-versions"
            )
            raise CloudError(StatusCode.NOT_FOUND, text)
        return name.rpartition("/")[2]

    def generate(self, scope: Scope) -> Proto:
        """`GenerateContent`."""
        parts, tokens, finish = self._think(scope)
        answer = self._response(scope)
        for index in range(max(1, scope.request.generation_config.candidate_count)):
            candidate = answer.candidates.add(index=index, finish_reason=finish)
            candidate.content.role = "model"
            candidate.content.parts.extend(parts)
        _count(answer.usage_metadata, scope.request, tokens * len(answer.candidates))
        return answer

    async def stream(self, scope: Scope) -> AsyncGenerator[Proto, None]:
        """`StreamGenerateContent`: several messages with pauses, the last with the count of tokens."""
        parts, tokens, finish = self._think(scope)
        pieces = [parts] if parts[0].WhichOneof("data") != "text" else _pieces(parts[0])
        response_id = secrets.token_urlsafe(16)

        async def each() -> AsyncGenerator[Proto, None]:
            for number, piece in enumerate(pieces, 1):
                answer = self._response(scope, response_id)
                candidate = answer.candidates.add()
                candidate.content.role = "model"
                candidate.content.parts.extend(piece)
                if number == len(pieces):
                    candidate.finish_reason = finish
                    _count(answer.usage_metadata, scope.request, tokens)
                yield answer
                await asyncio.sleep(self._pause if number < len(pieces) else 0)

        return each()

    def count_tokens(self, scope: Scope) -> Proto:
        """`CountTokens`."""
        self.check(scope.name)
        total = prompt_tokens(scope.request) + sum(len(_TOKEN.findall(each)) for each in _instances(scope.request))
        characters = sum(len("".join(text.split())) for text in _texts(scope.request.contents))
        answer = scope.answer(total_tokens=total, total_billable_characters=characters)
        answer.prompt_tokens_details.add(modality=_MODALITY_TEXT, token_count=total)
        return answer

    def compute_tokens(self, scope: Scope) -> Proto:
        """`ComputeTokens`: the tokens themselves, and a number for each."""
        self.check(scope.name)
        answer = scope.answer()
        spoken = [(content.role or "user", "".join(_texts([content]))) for content in scope.request.contents]
        for role, text in [*spoken, *(("user", each) for each in _instances(scope.request))]:
            tokens = [token.encode() for token in _TOKEN.findall(text)]
            answer.tokens_info.add(role=role, tokens=tokens, token_ids=[zlib.crc32(token) for token in tokens])
        return answer

    def _think(self, scope: Scope) -> tuple[list[Proto], int, int]:
        """The parts of the answer, how many tokens they are, and why it ends."""
        self.check(scope.name)
        request = scope.request
        if not request.contents:
            raise CloudError(StatusCode.INVALID_ARGUMENT, "Unable to submit request because it must have a contents.")
        if request.cached_content:
            self._resources.get(request.cached_content, "CachedContent")
        part = scope.answer().candidates.add().content.parts.add()
        if called := _called(request):
            part.function_call.name = called
            part.function_call.args.SetInParent()
            return [part], 1, _STOP
        said = _said(request)
        tokens = [found.end() for found in _TOKEN.finditer(said)]
        limit = request.generation_config.max_output_tokens or len(tokens)
        part.text = said if limit >= len(tokens) else said[: tokens[limit - 1]]
        return [part], min(limit, len(tokens)), _STOP if limit >= len(tokens) else _MAX_TOKENS

    def _response(self, scope: Scope, response_id: str = "") -> Proto:
        answer = scope.answer(
            model_version=scope.name.rpartition("/")[2], response_id=response_id or secrets.token_urlsafe(16)
        )
        answer.create_time.GetCurrentTime()
        return answer


def accounts(message: Proto) -> Iterator[str]:
    """The service accounts that the tools of a message would call others as, at any depth."""
    for field, value in message.ListFields():
        if field.message_type is None or field.message_type.GetOptions().map_entry:
            continue
        for each in value if field.is_repeated else (value,):
            if field.name == "external_api":
                yield from _named(json_format.MessageToDict(each))
            elif each.DESCRIPTOR.name in _HOLDERS and each.service_account:
                yield each.service_account
            yield from accounts(each)


def _named(value: object) -> Iterator[str]:
    """The accounts in a part of a message that is JSON, in either spelling."""
    if isinstance(value, dict):
        yield from (str(each) for key, each in value.items() if key in {"serviceAccount", "service_account"} and each)
        for each in value.values():
            yield from _named(each)


def echo(text: str) -> str:
    """What every model of the lab answers."""
    return f"You said: {text}"


def tokens_of(text: str) -> int:
    """How many tokens a text is."""
    return len(_TOKEN.findall(text))


def prompt_tokens(request: Proto) -> int:
    """How many tokens a request's contents are."""
    parts = [part for content in (*request.contents, request.system_instruction) for part in content.parts]
    return sum(tokens_of(part.text) if part.WhichOneof("data") == "text" else _FILE_TOKENS for part in parts)


def split(text: str) -> list[str]:
    """A text in about four pieces, between tokens."""
    ends = [found.end() for found in _TOKEN.finditer(text)]
    step = max(1, -(-len(ends) // _CHUNKS))
    cuts = [0, *ends[step - 1 : -1 : step], len(text)]
    return [text[start:end] for start, end in pairwise(cuts) if start < end] or [text]


def _pieces(part: Proto) -> list[list[Proto]]:
    return [[type(part)(text=piece)] for piece in split(part.text)]


def _said(request: Proto) -> str:
    """The answer's text: to a function's result that, else to the last text."""
    last = request.contents[-1]
    for part in last.parts:
        if part.WhichOneof("data") == "function_response":
            result = json_format.MessageToDict(part.function_response.response, descriptor_pool=table().pool)
            return f"{part.function_response.name} answered {json.dumps(result)}"
    text = echo("".join(_texts([last])))
    return json.dumps({"text": text}) if "json" in request.generation_config.response_mime_type else text


def _called(request: Proto) -> str:
    """A declared function that the last text names, empty for none."""
    text = "".join(_texts(request.contents[-1:]))
    declared = [function.name for tool in request.tools for function in tool.function_declarations]
    return next((name for name in declared if re.search(rf"\b{re.escape(name)}\b", text)), "")


def _texts(contents: Iterable[Proto]) -> Iterator[str]:
    return (part.text for content in contents for part in content.parts if part.text)


def _instances(request: Proto) -> Sequence[str]:
    """The older form of a prompt, values with a `content` or `prompt`."""
    found = [json_format.MessageToDict(value) for value in request.instances]
    return [
        str(each.get("content") or each.get("prompt") or "") if isinstance(each, dict) else str(each) for each in found
    ]


def _count(usage: Proto, request: Proto, answered: int) -> None:
    asked = prompt_tokens(request)
    usage.prompt_token_count, usage.candidates_token_count = asked, answered
    usage.total_token_count = asked + answered
