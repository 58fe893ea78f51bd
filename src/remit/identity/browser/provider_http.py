"""One question to a provider: over TLS, bounded in time and size, no redirect followed, the answer strict JSON.

RFC 9700 section 4.12 and the history of its clients: a redirect from a token endpoint, a huge answer or a slow one
is an answer that cannot be used. Leaves out: what is asked, and what the answer means.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx

from remit.identity.tokens import strict_json
from remit.model.errors import Refused
from remit.model.reasons import Reason

TIMEOUT = 5.0  # seconds, from the first byte to the last: a person waits
MAX_ANSWER = 256 * 1024  # bytes: as for keys; the largest token answer, with 200 groups twice, has 40 KiB


@dataclass(frozen=True, slots=True)
class Answered:
    """A status and a JSON object; empty for an answer that is no error and no JSON."""

    status: int
    members: Mapping[str, object] = field(repr=False)


async def ask(
    client: httpx.AsyncClient,
    method: str,
    url: str,
    *,
    form: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float = TIMEOUT,  # noqa: ASYNC109 - of the whole exchange, which httpx's own does not bound
) -> Answered:
    """The answer; raises `Refused` with `EXCHANGE_UNAVAILABLE` when there is none that can be used."""
    # identity: a compressed answer could grow past any bound between two looks at its size
    sent = {"Accept": "application/json", "Accept-Encoding": "identity", **(headers or {})}
    try:
        async with (
            asyncio.timeout(timeout),
            client.stream(method, url, data=form, headers=sent, follow_redirects=False) as answer,
        ):
            body = bytearray()
            async for chunk in answer.aiter_raw():
                body += chunk
                if len(body) > MAX_ANSWER:
                    raise unavailable("answered with too much")
            return Answered(answer.status_code, _members(answer, bytes(body)))
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError):
        said = "could not be reached in time"
    raise unavailable(said)  # outside the handler: a library's error holds the request, and with it our secrets


def unavailable(what: str) -> Refused:
    """The provider gave no answer that can be used."""
    return Refused(Reason.EXCHANGE_UNAVAILABLE, f"the identity provider {what}", hint="try again in a minute")


def _members(answer: httpx.Response, body: bytes) -> Mapping[str, object]:
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        value = strict_json.parse(body) if kind == "application/json" else None
    except ValueError:
        value = None
    return value if isinstance(value, dict) else {}
