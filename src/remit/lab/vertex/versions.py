"""One Vertex AI for v1 and v1beta1: a call of v1beta1 is turned into v1's twin, its answer back again.

The two versions number their fields alike (checked on all 1,291 messages that both have), and what one version does not
know survives as unknown fields. So the methods are played once, in v1; what only v1beta1 has is played as it is.
"""

import contextlib
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from typing import Any

from remit.lab.api_surface import Answer, Call, Messages
from remit.lab.api_table import Proto, table

_OPERATION = "google.longrunning.Operation"
_V1, _V1BETA1 = "google.cloud.aiplatform.v1.", "google.cloud.aiplatform.v1beta1."


class Versions:
    """Answers calls of either version. `answer`: what plays v1, and what v1beta1 alone has."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._beta: set[str] = set()  # operations that were started by way of v1beta1

    async def __call__(self, call: Call) -> Messages:
        """The answer, in messages of the version that was asked."""
        messages = await self._answer(_at_home(call))
        if not isinstance(messages, Sequence):
            return _translated(messages, call.method.response)
        return [self._said(call, message) for message in messages]

    def _said(self, call: Call, message: Proto) -> Proto:
        """One answer. An operation stays of the version that started it, whoever asks for it later."""
        if message.DESCRIPTOR.full_name == _OPERATION:
            if call.method.service.startswith(_V1BETA1):
                self._beta.add(message.name)
            return _in_beta(message) if message.name in self._beta else message
        if "operations" in message.DESCRIPTOR.fields_by_name and self._beta:
            found = [_in_beta(each) if each.name in self._beta else each for each in message.operations]
            return type(message)(operations=found, next_page_token=message.next_page_token)
        return _translate(message, call.method.response)


def _at_home(call: Call) -> Call:
    """The call of v1's twin, the same call where there is none."""
    twin = table().methods.get(call.method.path.replace(f"/{_V1BETA1}", f"/{_V1}"))
    if twin is None or twin is call.method:
        return call
    return replace(call, method=twin, request=_translate(call.request, twin.request), asked_as=call.full_name)


def _translate(message: Proto, into: type[Any]) -> Proto:
    return message if isinstance(message, into) else into.FromString(message.SerializeToString())


async def _translated(messages: AsyncGenerator[Proto, None], into: type[Any]) -> AsyncGenerator[Proto, None]:
    async with contextlib.aclosing(messages):
        async for message in messages:
            yield _translate(message, into)


def _in_beta(operation: Proto) -> Proto:
    """A copy whose packed messages are named after v1beta1: their bytes are the same."""
    copy = type(operation)()
    copy.CopyFrom(operation)
    for field in ("metadata", "response"):
        if copy.HasField(field):
            packed = getattr(copy, field)
            packed.type_url = packed.type_url.replace(_V1, _V1BETA1)
    return copy
