"""An issuer's public keys: fetched ahead of need, kept for a while, never taken from a token.

OpenID Connect Discovery 1.0 section 4, RFC 7517 section 5. The document's issuer must be ours; its `jwks_uri` is on
the issuer's own host, or on the one other host that is known or configured, so that nobody can send Remit to
addresses of their choice. https only, no redirects, bounded in time and size. A set that cannot be fetched leaves
the last one in force until it is `MAX_AGE` old; a set that holds a bad key still gives its good ones. Leaves out:
when to refresh (`keep_fresh` is one way; whoever runs the event loop starts it); clusters whose discovery needs a
token or a private root, beyond the roots in `SSL_CERT_FILE`.
"""

import asyncio
import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping
from typing import NoReturn, Protocol
from urllib.parse import urlsplit

import httpx
from joserfc.jwk import Key

from remit.identity.tokens import jose, strict_json
from remit.model.errors import Refused
from remit.model.reasons import Reason

DISCOVERY = "openid-configuration"
MAX_AGE = 24 * 3600.0  # seconds; how long Remit goes on with a provider that is away
REFRESH = 50.0  # seconds; with `FETCH`, a new key works and a removed one stops within a minute
UNKNOWN_KID = 30.0  # seconds between two fetches that tokens can cause
FETCH = 5.0  # seconds for discovery and keys together
MAX_ANSWER = 256 * 1024  # bytes; Entra's set has 15 KiB, certificates included
MAX_KEYS = 64  # Entra publishes about ten
# issuers that keep their keys on another host, from their discovery documents
KEY_HOSTS: Mapping[str, str] = {"https://accounts.google.com": "www.googleapis.com"}

log = logging.getLogger(__name__)


class _Unusable(ValueError):
    """What a provider answered cannot be used; the message is ours and holds nothing of the answer."""


class KeySource(Protocol):
    """Where an authenticator finds keys."""

    async def key(self, kid: str) -> Key | None:
        """The issuer's current key of this name, `None` when there is none; raises `Refused` when unknowable."""


async def check_signature(form: jose.Jws, keys: KeySource, *algorithms: str) -> None:
    """Returns when a current key of the issuer signed the token, with one of its algorithms.

    Raises `Refused`, with `TOKEN_SIGNATURE` unless the keys are not known. The algorithm is looked at first: asking for
    a key that nobody knows costs a fetch.
    """
    jose.check_algorithm(form, *algorithms)
    key = await keys.key(form.kid)
    if key is None:
        raise Refused(Reason.TOKEN_SIGNATURE, "the token is signed with a key that its issuer does not publish")
    jose.verify(form, key, *algorithms)


class Issuer(Protocol):
    """What is to be known of an issuer; the settings of every kind are one."""

    @property
    def issuer(self) -> str:
        """The exact `iss`, the base of the discovery document's URL."""

    @property
    def algorithms(self) -> tuple[str, ...]:
        """JWS names, the preferred one first."""


class ProviderKeys:
    """The current keys of one issuer, each bound to one of its algorithms.

    `client` must not follow redirects (`http_client` makes one that obeys `HTTPS_PROXY` and `SSL_CERT_FILE`);
    `jwks_host`: `host[:port]` of the keys when it is neither the issuer's nor in `KEY_HOSTS`; `document`: the name of
    the document that tells where they are (`ssf-configuration` for a transmitter of events); `clock`: monotonic
    seconds; `timeout`: seconds for one refresh.
    """

    def __init__(
        self,
        settings: Issuer,
        client: httpx.AsyncClient,
        *,
        jwks_host: str = "",
        document: str = DISCOVERY,
        clock: Callable[[], float] = time.monotonic,
        timeout: float = FETCH,
    ) -> None:
        self._settings = settings
        self._client = client
        self._document = document
        self._hosts = {urlsplit(settings.issuer).netloc, jwks_host or KEY_HOSTS.get(settings.issuer, "")} - {""}
        self._clock = clock
        self._timeout = timeout
        self._keys: dict[str, Key] = {}
        self._fetched_at: float | None = None
        self._asked_at: float | None = None  # when a token last caused a fetch
        self._lock = asyncio.Lock()

    async def key(self, kid: str) -> Key | None:
        """As `KeySource.key`; an unknown name, or having no keys, costs at most one fetch in `UNKNOWN_KID`."""
        if self._stale() or kid not in self._keys:
            async with self._lock:
                if (self._stale() or kid not in self._keys) and self._may_ask():
                    self._asked_at = self._clock()
                    await self._fetch()
        if self._stale():
            raise Refused(Reason.PLANE_UNAVAILABLE, "the issuer's keys are not known right now", hint="try again soon")
        return self._keys.get(kid)

    async def refresh(self) -> bool:
        """Fetches the keys now; true when the set is new from the provider, false when the last one stays."""
        async with self._lock:
            return await self._fetch()

    async def keep_fresh(self, interval: float = REFRESH) -> NoReturn:
        """Refreshes for ever; run it as a task and cancel it."""
        while True:
            await self.refresh()
            await asyncio.sleep(interval)

    def jwks(self) -> dict[str, list[dict[str, str]]]:
        """The current keys as a public JWK set, sorted by name; empty when there are none younger than `MAX_AGE`."""
        if self._stale():
            return {"keys": []}
        return {
            "keys": [{**jose.public_members(key), "kid": kid, "use": "sig"} for kid, key in sorted(self._keys.items())]
        }

    @property
    def version(self) -> str:
        """A digest of `jwks()`: equal when the keys are."""
        return hashlib.sha256(json.dumps(self.jwks(), sort_keys=True).encode()).hexdigest()

    def _stale(self) -> bool:
        return self._fetched_at is None or self._clock() - self._fetched_at > MAX_AGE

    def _may_ask(self) -> bool:
        return self._asked_at is None or self._clock() - self._asked_at >= UNKNOWN_KID

    async def _fetch(self) -> bool:
        started = self._clock()
        try:
            async with asyncio.timeout(self._timeout):
                keys = read_key_set(await self._get(await self._discover()), self._settings)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, TimeoutError) as error:
            log.warning("keys of %s not refreshed: %s", self._settings.issuer, _words(error))
            return False
        self._keys, self._fetched_at = keys, started
        return True

    async def _discover(self) -> str:
        # section 4.1: a slash at the end of the issuer is left out, here and nowhere else
        document = await self._get(f"{self._settings.issuer.removesuffix('/')}/.well-known/{self._document}")
        if document.get("issuer") != self._settings.issuer:
            raise _Unusable("the discovery document names another issuer")
        uri = document.get("jwks_uri")
        # the whole authority is compared: no user, no other port
        if not isinstance(uri, str) or urlsplit(uri).netloc not in self._hosts:
            raise _Unusable("the discovery document's `jwks_uri` is on another host")
        return uri

    async def _get(self, url: str) -> dict[str, object]:
        if not url.startswith("https://"):
            raise _Unusable("has an address that is no https URL")
        # identity: a compressed answer could grow past any bound between two looks at its size
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        async with self._client.stream("GET", url, headers=headers, follow_redirects=False) as answer:
            if answer.status_code != httpx.codes.OK:
                raise _Unusable(f"answered {answer.status_code}")
            kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind not in {"application/json", "application/jwk-set+json"}:
                raise _Unusable("did not answer with JSON")
            body = bytearray()
            async for chunk in answer.aiter_raw():
                body += chunk
                if len(body) > MAX_ANSWER:
                    raise _Unusable("answered with too much")
        document = strict_json.parse(bytes(body))
        if not isinstance(document, dict):
            raise _Unusable("did not answer with an object")
        return document


def read_key_set(document: Mapping[str, object], settings: Issuer) -> dict[str, Key]:
    """The keys of a JWK set that may sign for this issuer, by name; raises `ValueError` when there is none.

    A name that stands twice names nothing; a key that cannot be used is left out and said so in the log.
    """
    members = document.get("keys")
    if not isinstance(members, list) or len(members) > MAX_KEYS:
        raise _Unusable("did not answer with a set of keys")
    found: dict[str, Key] = {}
    twice: set[str] = set()
    for member in members:
        try:
            kid, key = _read_key(member, settings)
        except ValueError as error:
            log.info("a key of %s is left out: it %s", settings.issuer, error)
            continue
        if kid in found:
            twice.add(kid)
        found[kid] = key
    keys = {kid: key for kid, key in found.items() if kid not in twice}
    if not keys:
        raise _Unusable("published no key that can be used")
    return keys


def _read_key(member: object, settings: Issuer) -> tuple[str, Key]:
    if not isinstance(member, dict):
        raise _Unusable("is not an object")
    kid = member.get("kid")
    if not isinstance(kid, str) or not kid:
        raise _Unusable("has no name")
    if not _signs_for(str(member.get("issuer", settings.issuer)), settings.issuer):
        raise _Unusable("belongs to another issuer")
    return kid, jose.load_key(member, *settings.algorithms)


def _signs_for(signer: str, issuer: str) -> bool:
    """Entra says whose tokens a key may sign, with a template that stands for every tenant."""
    theirs, ours = signer.split("/"), issuer.split("/")
    return len(theirs) == len(ours) and all(
        one in {"{tenantid}", other} for one, other in zip(theirs, ours, strict=True)
    )


def http_client() -> httpx.AsyncClient:
    """A client for `ProviderKeys`: proxies and roots from the environment, no redirects."""
    return httpx.AsyncClient(trust_env=True, follow_redirects=False, timeout=FETCH)


def _words(error: Exception) -> str:
    """Why, in words of ours: a library's text may hold what a stranger sent."""
    return str(error) if isinstance(error, _Unusable) else type(error).__name__
