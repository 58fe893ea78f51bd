"""One call to a cloud on the way to a credential: bounded, never redirected, strictly read.

Every failure is a `HopFailed` that names the hop and carries the cloud's own code where it has the form of
one, and nothing else of what was sent or answered: descriptions can quote a token. A status of 4xx is a refusal,
except 408 and 429; everything else that is not a good answer is unavailability. Leaves out: retries.
"""

import asyncio
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NoReturn
from urllib.parse import urlencode

import httpx

from remit.model.errors import HopFailed
from remit.model.reasons import Reason
from remit.model.secret import AccessToken, Secret

MAX_ANSWER = 64 * 1024  # bytes; Google's federated tokens have at most 12 KiB, Entra's answers about 20
MAX_LIFE = 2 * 24 * 3600  # seconds; managed identities' tokens live a day, Entra's longest 28 hours

_TOKEN = re.compile(r"[\x21-\x7e]{1,16384}")
_CODE = re.compile(r"[A-Za-z_]{1,40}")
_DIGITS = re.compile(r"[0-9]{1,9}")
_SECRETS = frozenset({"access_token", "accessToken", "id_token", "refresh_token"})
_BUSY = frozenset({httpx.codes.REQUEST_TIMEOUT, httpx.codes.TOO_MANY_REQUESTS})

Words = Callable[[Mapping[str, object]], str]


@dataclass(frozen=True, slots=True)
class Token:
    """A token as a hop gave it. `life`: seconds that it lives from the answer on."""

    value: AccessToken
    life: float


class HopDenied(HopFailed):
    """A cloud refused with an error of its own. `word`: the OAuth error (RFC 6749 section 5.2), empty when none."""

    def __init__(self, hop: str, message: str, *, word: str, hint: str = "") -> None:
        super().__init__(hop, Reason.EXCHANGE_REFUSED, message, hint=hint)
        self.word = word


class Hop:
    """One kind of call: its name, how long it may take, and how its errors name themselves (`words`)."""

    def __init__(self, name: str, client: httpx.AsyncClient, *, timeout: float, words: Words) -> None:
        self.name = name
        self._client = client
        self._timeout = timeout
        self._words = words

    async def post_form(self, url: str, form: Mapping[str, str | Secret]) -> dict[str, object]:
        """Posts a form; secrets are revealed on the wire only. Returns the answer's members; raises `HopFailed`."""
        return await self._call("POST", url, {"Content-Type": "application/x-www-form-urlencoded"}, form)

    async def post_json(self, url: str, document: Mapping[str, object], bearer: Secret) -> dict[str, object]:
        """Posts JSON with a bearer token; else as `post_form`."""
        return await self._call("POST", url, {"Content-Type": "application/json"}, document, bearer)

    async def get(self, url: str, headers: Mapping[str, str]) -> dict[str, object]:
        """Gets a document; else as `post_form`."""
        return await self._call("GET", url, headers, None)

    async def _call(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Mapping[str, str | Secret] | Mapping[str, object] | None,
        bearer: Secret | None = None,
    ) -> dict[str, object]:
        broken = ""
        answer = _Answer(0)
        try:
            async with asyncio.timeout(self._timeout):
                answer = await self._send(method, url, headers, body, bearer)
        except TimeoutError:
            broken = f"did not answer within {self._timeout:g} s"
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            broken = f"could not be reached: {type(error).__name__}"
        except _UnreadableError as error:
            broken = str(error)
        if broken:  # outside the handler: a library's error holds the request, and with it the token
            self.unavailable(broken)
        return self._read(answer)

    async def _send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Mapping[str, str | Secret] | Mapping[str, object] | None,
        bearer: Secret | None,
    ) -> "_Answer":
        # identity: a compressed answer could grow past any bound between two looks at its size
        sent = {**headers, "Accept": "application/json", "Accept-Encoding": "identity"}
        if bearer is not None:
            sent["Authorization"] = f"Bearer {bearer.reveal()}"
        content = None if body is None else _encode(body, sent["Content-Type"])
        request = self._client.stream(
            method, url, headers=sent, content=content, follow_redirects=False, timeout=self._timeout
        )
        async with request as answer:
            kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
            received = bytearray()
            async for chunk in answer.aiter_raw():
                received += chunk
                if len(received) > MAX_ANSWER:
                    raise _UnreadableError("answered with too much")
            good = answer.status_code == httpx.codes.OK
            if good and (kind != "application/json" or "content-encoding" in answer.headers):
                raise _UnreadableError("did not answer with JSON")
            members = _parse(bytes(received))
            if good:
                return _Answer(200, members)
            told = members or {}
            return _Answer(answer.status_code, code=self._words(told), word=code(told.get("error")))

    def _read(self, answer: "_Answer") -> dict[str, object]:
        if answer.status == httpx.codes.OK:
            if answer.members is None:
                self.unavailable("answered with JSON that is not one object")
            return answer.members
        said = f"answered {answer.status} `{answer.code}`" if answer.code else f"answered {answer.status}"
        if httpx.codes.is_client_error(answer.status) and answer.status not in _BUSY:
            hint = _HINTS.get(answer.code, "")
            raise HopDenied(self.name, f"`{self.name}` {said}", word=answer.word, hint=hint)
        return self.unavailable(said)

    def unavailable(self, what: str) -> NoReturn:
        """Raises `HopFailed`: this hop gave nothing that can be used; `what` goes on "the hop …"."""
        raise HopFailed(self.name, Reason.EXCHANGE_UNAVAILABLE, f"`{self.name}` {what}", hint="try again soon")

    def token(self, members: Mapping[str, object], name: str = "access_token") -> AccessToken:
        """A member that is a token; raises `HopFailed`."""
        value = members.get(name)
        if not isinstance(value, AccessToken) or not _TOKEN.fullmatch(value.reveal()):
            self.unavailable(f"answered without a well-formed `{name}`")
        return value

    def bearer(self, members: Mapping[str, object]) -> Token:
        """An OAuth token answer: bearer token and whole `expires_in` (RFC 6749 section 5.1); raises `HopFailed`."""
        kind = members.get("token_type")
        if not isinstance(kind, str) or kind.lower() != "bearer":
            self.unavailable("answered with a token that is no bearer token")
        return Token(self.token(members), self.seconds(members.get("expires_in")))

    def seconds(self, value: object) -> int:
        """A token's remaining life; a string of digits will do (Azure's metadata server); raises `HopFailed`."""
        if isinstance(value, str) and _DIGITS.fullmatch(value):
            value = int(value)
        if type(value) is not int or not 0 < value <= MAX_LIFE:
            self.unavailable("answered with a token whose life is over or unclear")
        return value


# Entra's codes that the caller can do something about: learn.microsoft.com, "Microsoft Entra error codes"
_HINTS = {
    "AADSTS50076": "sign in with a second factor: `remit login`",
    "AADSTS50079": "enrol a second factor, then sign in again: `remit login`",
    "AADSTS50173": "the sign-in was revoked, sign in again: `remit login`",
    "AADSTS53003": "a conditional access policy of the tenant blocks this sign-in",
    "AADSTS65001": "an administrator must consent to Remit's second audience",
    **dict.fromkeys(
        ("AADSTS70021", "AADSTS700211", "AADSTS700212", "AADSTS700213", "AADSTS700016"),
        "the application's federated credential trusts another issuer or subject: see docs/azure.md",
    ),
    "unauthorized_client": "the attribute condition of the workload identity provider refuses: `remit trust verify`",
    "PERMISSION_DENIED": "the account does not admit this identity: `remit trust verify`",
}


def https(url: str) -> str:
    """A cloud's base URL, checked; raises `ValueError` when a token sent there could be read on the way."""
    if not url.startswith("https://") or url.endswith("/"):
        raise ValueError("a cloud's base URL is https and does not end in a slash")
    return url


def cloud_client() -> httpx.AsyncClient:
    """A client for the clouds: proxies and roots from the environment, no redirects, connections kept warm."""
    return httpx.AsyncClient(follow_redirects=False, limits=httpx.Limits(max_connections=100, keepalive_expiry=60.0))


def metadata_client() -> httpx.AsyncClient:
    """A client for a metadata server: link-local, so that no proxy may stand between."""
    return httpx.AsyncClient(follow_redirects=False, trust_env=False)


def code(value: object) -> str:
    """An error code as clouds write them, else nothing: a word of letters and underscores cannot be a token."""
    return value if isinstance(value, str) and _CODE.fullmatch(value) else ""


@dataclass(frozen=True, slots=True)
class _Answer:
    """What is kept of an answer: a good one's members, a bad one's code and nothing of its text."""

    status: int
    members: dict[str, object] | None = None
    code: str = ""
    word: str = ""


class _UnreadableError(Exception):
    """An answer that is not read on; the message is ours and holds nothing of it."""


def _encode(body: Mapping[str, str | Secret] | Mapping[str, object], kind: str) -> bytes:
    if kind == "application/json":
        return json.dumps(body).encode()
    return urlencode(
        {name: value.reveal() if isinstance(value, Secret) else value for name, value in body.items()}
    ).encode()


def _parse(content: bytes) -> dict[str, object] | None:
    """The members of a JSON object, tokens hidden; `None` for anything else, duplicates and deep nesting included."""
    try:
        value = json.loads(content.decode("utf-8"), object_pairs_hook=_members, parse_constant=_members)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _members(pairs: list[tuple[str, object]] | str) -> dict[str, object]:
    members = {} if isinstance(pairs, str) else dict(pairs)
    if isinstance(pairs, str) or len(members) != len(pairs):
        raise ValueError("not strict JSON")
    # a secret from the moment it is read, so that no later frame holds it in clear
    return {name: _hide(value) if name in _SECRETS else value for name, value in members.items()}


def _hide(value: object) -> object:
    return AccessToken(value) if isinstance(value, str) else value
