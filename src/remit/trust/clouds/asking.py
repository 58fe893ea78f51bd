"""Asking a cloud's REST API: one way to send, to wait as long as it asks, and to say what went wrong.

Google: cloud.google.com/apis/design/errors; Graph: learn.microsoft.com/graph/errors and /graph/throttling; Resource
Manager: learn.microsoft.com/azure/azure-resource-manager/management/request-limits-and-throttling.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import httpx

from remit.model.errors import TrustBroken
from remit.trust.clouds.port import CloudRefused, Conflict, Denied, Missing, Throttled, Tokens

_TIMEOUT = 20.0  # seconds for one answer
_TRIES = 6
_LONGEST = 60.0  # seconds that one `Retry-After` is waited for
_CLASSES: Mapping[int, type[CloudRefused]] = {401: Denied, 403: Denied, 404: Missing, 409: Conflict, 412: Conflict}
_BUSY = frozenset({408, 429, 500, 502, 503, 504})

Sleep = Callable[[float], Awaitable[None]]


class Asking:
    """One API, asked as one identity. `scope`: of the tokens; `sleep`: seconds."""

    def __init__(self, client: httpx.AsyncClient, tokens: Tokens, scope: str, *, sleep: Sleep = asyncio.sleep) -> None:
        self._client = client
        self._tokens = tokens
        self._scope = scope
        self._sleep = sleep

    async def __call__(
        self, method: str, url: str, body: Mapping[str, Any] | None = None, **headers: str
    ) -> dict[str, Any]:
        """The answer's JSON object, empty where there is none; raises `TrustBroken`.

        Waits and asks again when the cloud is busy, at most six times; `headers`: with `_` for `-`.
        """
        for attempt in range(1, _TRIES + 1):
            try:
                return await self._once(method, url, body, headers)
            except Throttled as busy:
                if attempt == _TRIES:
                    raise
                await self._sleep(min(busy.after or 2.0 ** (attempt - 2), _LONGEST))
        raise AssertionError("the last attempt answers or raises")

    async def _once(
        self, method: str, url: str, body: Mapping[str, Any] | None, more: Mapping[str, str]
    ) -> dict[str, Any]:
        token = await self._tokens.token(self._scope)
        headers = {"authorization": f"Bearer {token.reveal()}", **{key.replace("_", "-"): more[key] for key in more}}
        place = f"{method} {url.partition('?')[0]}"
        try:
            answer = await self._client.request(method, url, headers=headers, json=body, timeout=_TIMEOUT)
        except httpx.HTTPError as cause:
            raise Throttled(f"`{place}` does not answer") from cause
        if answer.is_success:
            return _object(answer, place)
        raise _refused(answer, place)


def _object(answer: httpx.Response, place: str) -> dict[str, Any]:
    if not answer.content:
        return {}
    try:
        document = answer.json()
    except ValueError as cause:
        raise TrustBroken(f"`{place}` answered no JSON") from cause
    if not isinstance(document, dict):
        raise TrustBroken(f"`{place}` answered no object")
    return document


def _refused(answer: httpx.Response, place: str) -> CloudRefused:
    code, said = _error(answer)
    message = f"`{place}` answered {answer.status_code}{f' {code}' if code else ''}{f': {said}' if said else ''}"
    if answer.status_code in _BUSY:
        return Throttled(message, status=answer.status_code, code=code, after=_seconds(answer))
    return _CLASSES.get(answer.status_code, CloudRefused)(message, status=answer.status_code, code=code)


def _error(answer: httpx.Response) -> tuple[str, str]:
    """The cloud's own code and sentence. All three put them under `error`, Google its code under `status`."""
    try:
        error = answer.json()["error"]
        return str(error.get("status") or error.get("code") or ""), str(error.get("message") or "")
    except (ValueError, KeyError, TypeError, AttributeError):
        return "", ""


def _seconds(answer: httpx.Response) -> float:
    try:
        return max(0.0, float(answer.headers.get("retry-after", "0")))
    except ValueError:
        return 0.0
