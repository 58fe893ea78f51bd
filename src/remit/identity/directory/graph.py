"""Microsoft Graph, asked for one tenant: bounded, strict, patient within a deadline.

Source: learn.microsoft.com/graph "Paging", "Throttling guidance", "JSON batching", "Delta query overview",
"Error codes". https only, no redirects, no compression (an answer could grow past any bound). A link to the next page
is followed on the same host only, since the token goes with it. What Graph answers never stands in an error's text.
Leaves out: what is asked (`groups`, `group_paths`, `directory`, `locations`), and writing: Remit changes no directory.
"""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import httpx

from remit.identity.tokens import strict_json
from remit.model.errors import RemitError
from remit.model.secret import Secret

BASE = "https://graph.microsoft.com"
DEADLINE = 8.0  # seconds for one question, its pages and its waiting included: somebody's request hangs on it
MAX_ANSWER = 8 * 1024 * 1024  # bytes a page; 11,000 ids, Graph's largest answer to a question of ours, are 430 KiB
MAX_PAGES = 10_000  # a full reading of a million accounts, at a hundred a page
BATCH = 20  # requests in one, Graph's bound
MAX_PAUSE = 300.0  # seconds: Graph's own pauses are minutes; a longer one would leave revocations unheard for as long
BACKOFF = 0.5  # seconds before the next try when Graph names no time

Token = Callable[[], Awaitable[Secret]]
Drop = Callable[[Secret], bool]

_AGAIN = frozenset({429, 503, 504})
# the codes that change what is done next; no other word of an answer is looked at
_CODES = {"syncstatenotfound", "resyncrequired", "directory_resultsizelimitexceeded"}
_SECONDS = re.compile(r"[0-9]{1,6}")
_BASE = re.compile(r"https://[a-z0-9.-]+(:[0-9]{1,5})?")


class Failing(StrEnum):
    """In which way Graph did not answer."""

    REFUSED = "refused"  # 401, 403: our application lacks a permission, or has no token
    NOT_FOUND = "not_found"  # 404: the directory does not know the object
    RESYNC = "resync"  # the delta token is too old: read everything again
    TOO_MUCH = "too_much"  # more than Graph or we put in one answer
    UNAVAILABLE = "unavailable"  # throttled, down or slow
    UNREADABLE = "unreadable"  # not an answer as documented


class GraphFailed(RemitError):
    """Graph gave no answer that can be used. `message` is ours and holds nothing of the answer."""

    def __init__(self, failing: Failing, message: str, *, hint: str = "") -> None:
        super().__init__(f"Microsoft Graph {message}", hint=hint)
        self.failing = failing


@dataclass(frozen=True, slots=True)
class _Answer:
    """`later`: seconds to wait before asking again; `page`: empty where the body is no JSON object."""

    status: int
    later: float
    page: dict[str, object]


@dataclass(frozen=True, slots=True)
class Listing:
    """All pages of a collection. `delta`: the link that the next round of changes is asked at, else empty."""

    items: tuple[object, ...]
    delta: str = ""


class Graph:
    """One tenant's Graph.

    `tenant`: whose directory the token opens, lower case; `client` must not follow redirects (`keys.http_client` makes
    one); `token`: gives an access token for Graph, cached by whoever gives it; `drop`: takes one back that Graph does
    not believe, and says whether another one is worth a try; `deadline`: seconds for one question; `clock`: monotonic
    seconds. Every method raises `GraphFailed`.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        token: Token,
        *,
        tenant: str,
        base: str = BASE,
        drop: Drop = lambda _: False,
        deadline: float = DEADLINE,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        if not _BASE.fullmatch(base):
            raise ValueError("Microsoft Graph's address is not `https://HOST`")
        self.tenant = tenant
        self._client = client
        self._token = token
        self._drop = drop
        self._base = base
        self._deadline = deadline
        self._clock = clock
        self._sleep = sleep
        self._quiet_until = 0.0

    async def collect(
        self, path: str, *, limit: int, body: Mapping[str, object] | None = None, deadline: float | None = None
    ) -> Listing:
        """Every item of a collection, page after page. `body`: asked by POST; `path`: from `/v1.0/` or a delta link.

        `limit`: items in all, beyond which it fails with `TOO_MUCH`; `deadline`: seconds, when not the usual one.
        """
        async with self._within(deadline) as end:
            items: list[object] = []
            link, seen = self._absolute(path), set[str]()
            while True:
                page = await self._ask(link, body if not seen else None, end)
                items += _values(page)
                if len(items) > limit:
                    raise GraphFailed(Failing.TOO_MUCH, f"has more than {limit} of what was asked for")
                seen.add(link)
                if "@odata.nextLink" not in page:
                    return Listing(tuple(items), self._delta(page))
                link = self._same_host(page["@odata.nextLink"])
                if link in seen or len(seen) >= MAX_PAGES:
                    raise GraphFailed(Failing.UNREADABLE, "gives pages without end")

    async def batch(self, paths: Sequence[str], *, limit: int) -> tuple[Listing, ...]:
        """`collect` of several collections, in their order, twenty a round trip. `paths`: from `/v1.0/`.

        `limit`: items of each; more pages than the first of one are asked for one by one.
        """
        async with self._within(None) as end:
            found: dict[str, Listing] = {}
            ahead = list(dict.fromkeys(paths))
            while ahead:
                answers = await self._batch(ahead[:BATCH], end)
                again = [path for path, answer in answers.items() if answer.status in _AGAIN]
                for path, answer in answers.items():
                    if path not in again:
                        found[path] = await self._rest(_checked(answer), limit, end)
                self._quieten([answers[path].later for path in again])
                ahead = again + ahead[BATCH:]
            return tuple(found[path] for path in paths)

    async def _rest(self, page: Mapping[str, object], limit: int, end: float) -> Listing:
        items = _values(page)
        if "@odata.nextLink" in page:
            more = await self.collect(
                self._same_host(page["@odata.nextLink"]), limit=limit, deadline=max(0.0, end - self._clock())
            )
            items += more.items
        if len(items) > limit:
            raise GraphFailed(Failing.TOO_MUCH, f"has more than {limit} of what was asked for")
        return Listing(tuple(items))

    async def _batch(self, paths: Sequence[str], end: float) -> dict[str, _Answer]:
        numbered = {str(number): path for number, path in enumerate(paths)}
        requests = [
            {"id": number, "method": "GET", "url": path.removeprefix("/v1.0")} for number, path in numbered.items()
        ]
        responses = (await self._ask(f"{self._base}/v1.0/$batch", {"requests": requests}, end)).get("responses")
        answers: dict[str, _Answer] = {}
        for response in responses if isinstance(responses, list) else ():
            if isinstance(response, dict) and response.get("id") in numbered:
                answers[numbered[str(response["id"])]] = _part(response)
        if len(answers) != len(paths):
            raise GraphFailed(Failing.UNREADABLE, "left requests of a batch unanswered")
        return answers

    async def _ask(self, url: str, body: Mapping[str, object] | None, end: float) -> dict[str, object]:
        """One answer, asked for again while Graph says "later" and the deadline allows."""
        while True:
            pause = max(0.0, self._quiet_until - self._clock())
            if pause > end - self._clock():
                raise GraphFailed(
                    Failing.UNAVAILABLE, "asks to be asked later than this can wait", hint="try again soon"
                )
            if pause:
                await self._sleep(pause)
            token = await self._fresh_token()
            answer = await self._send(url, body, token)
            if answer.status == httpx.codes.UNAUTHORIZED and self._drop(token):
                continue  # the provider's keys may have changed since it was issued
            if answer.status not in _AGAIN:
                return _checked(answer)
            self._quieten([answer.later])

    def _quieten(self, pauses: Sequence[float]) -> None:
        """Nobody asks through here before Graph wants to be asked again."""
        self._quiet_until = max([self._quiet_until, *(self._clock() + pause for pause in pauses)])

    async def _send(self, url: str, body: Mapping[str, object] | None, token: Secret) -> _Answer:
        headers = {
            "Authorization": f"Bearer {token.reveal()}",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
        }
        sent: dict[str, Any] = {}
        if body is not None:
            headers["Content-Type"] = "application/json"
            sent["content"] = json.dumps(body).encode()
        method = "GET" if body is None else "POST"
        async with self._client.stream(method, url, headers=headers, follow_redirects=False, **sent) as answer:
            raw = bytearray()
            async for chunk in answer.aiter_raw():
                raw += chunk
                if len(raw) > MAX_ANSWER:
                    raise GraphFailed(Failing.TOO_MUCH, "answered with too much")
        return _Answer(answer.status_code, _seconds(answer.headers.get("retry-after")), _object(answer, bytes(raw)))

    async def _fresh_token(self) -> Secret:
        try:
            return await self._token()
        except RemitError as error:
            raise GraphFailed(
                Failing.REFUSED, "cannot be asked: there is no token for it", hint=error.hint or error.message
            ) from error

    @asynccontextmanager
    async def _within(self, deadline: float | None) -> AsyncIterator[float]:
        """Gives the time, on `clock`, by which the block must end; what fails in it becomes `GraphFailed`."""
        seconds = self._deadline if deadline is None else deadline
        try:
            async with asyncio.timeout(seconds):
                yield self._clock() + seconds
        except TimeoutError:
            words = "did not answer in time"
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            words = f"cannot be reached: {type(error).__name__}"
        else:
            return
        # outside of the handler: a library's error holds the request, and with it our token
        raise GraphFailed(Failing.UNAVAILABLE, words, hint="try again soon")

    def _absolute(self, path: str) -> str:
        return self._base + path if path.startswith("/v1.0/") else self._same_host(path)

    def _same_host(self, link: object) -> str:
        if not isinstance(link, str) or not link.startswith(f"{self._base}/"):
            raise GraphFailed(Failing.UNREADABLE, "names a next page on another host")
        return link

    def _delta(self, page: Mapping[str, object]) -> str:
        return self._same_host(page["@odata.deltaLink"]) if "@odata.deltaLink" in page else ""


def _checked(answer: _Answer) -> dict[str, object]:
    """The page of a good answer; raises `GraphFailed` for any other."""
    status, page = answer.status, answer.page
    if status == httpx.codes.OK:
        if not page:
            raise GraphFailed(Failing.UNREADABLE, "did not answer with an object")
        return page
    code = _code(page)
    if status == httpx.codes.GONE or code in {"syncstatenotfound", "resyncrequired"}:
        raise GraphFailed(Failing.RESYNC, "has forgotten how far the changes were read")
    if code == "directory_resultsizelimitexceeded":
        raise GraphFailed(Failing.TOO_MUCH, "has more of them than it gives in one answer")
    if status in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
        raise GraphFailed(
            Failing.REFUSED,
            f"refuses Remit's application with {status}",
            hint="consent to the application permissions that Remit needs",
        )
    if status == httpx.codes.NOT_FOUND:
        raise GraphFailed(Failing.NOT_FOUND, "does not know the object")
    failing = Failing.UNAVAILABLE if status >= httpx.codes.INTERNAL_SERVER_ERROR else Failing.UNREADABLE
    raise GraphFailed(failing, f"answered {status}")


def _code(page: Mapping[str, object]) -> str:
    error = page.get("error")
    code = str(error.get("code", "")).lower() if isinstance(error, dict) else ""
    return code if code in _CODES else ""


def _values(page: Mapping[str, object]) -> list[object]:
    values = page.get("value")
    if not isinstance(values, list):
        raise GraphFailed(Failing.UNREADABLE, "did not answer with a collection")
    return values


def _object(answer: httpx.Response, raw: bytes) -> dict[str, object]:
    """The body as an object; empty when it is none, which no good answer is."""
    if answer.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        return {}
    try:
        value = strict_json.parse(raw)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _part(response: Mapping[str, object]) -> _Answer:
    """One response of a batch."""
    status, headers, body = response.get("status"), response.get("headers"), response.get("body")
    later = _seconds(headers.get("Retry-After") if isinstance(headers, dict) else None)
    return _Answer(status if type(status) is int else 0, later, body if isinstance(body, dict) else {})


def _seconds(header: object) -> float:
    """`Retry-After` as Graph sends it, in seconds; `BACKOFF` at least, and when it is absent or of another form."""
    if not isinstance(header, str) or not _SECONDS.fullmatch(header):
        return BACKOFF
    return min(max(float(header), BACKOFF), MAX_PAUSE)
