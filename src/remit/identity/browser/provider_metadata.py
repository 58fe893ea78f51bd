"""What a sign-in provider says of itself: OpenID Connect Discovery 1.0 section 4, RFC 8414.

The document's issuer must be ours to the letter, its endpoints https. It may place them on other hosts (Google does),
since it came over TLS from the issuer's own. A document is kept for an hour, and for a day when no newer one can be
had. Leaves out: keys (`keys`), endpoints that Remit does not use (userinfo, registration, end of session).
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

from remit.identity.browser.provider_http import TIMEOUT, ask, unavailable
from remit.model.errors import Refused
from remit.model.reasons import Reason

FRESH = 3600.0  # seconds: endpoints move about never
MAX_AGE = 24 * 3600.0  # seconds: as long as keys
RETRY = 15.0  # seconds between two attempts at a provider that is away
_OK = 200


@dataclass(frozen=True, slots=True)
class ProviderMetadata:
    """`methods`: how clients may authenticate at the token endpoint; `names_itself`: RFC 9207's `iss` is promised."""

    authorization_endpoint: str
    token_endpoint: str
    methods: frozenset[str]
    names_itself: bool


class Discovery:
    """One issuer's document. `client` must not follow redirects; `clock`: monotonic seconds; `timeout`: seconds."""

    def __init__(
        self,
        issuer: str,
        client: httpx.AsyncClient,
        *,
        clock: Callable[[], float] = time.monotonic,
        timeout: float = TIMEOUT,
    ) -> None:
        self._timeout = timeout
        self._issuer = issuer
        self._client = client
        self._clock = clock
        self._lock = asyncio.Lock()
        self._found: ProviderMetadata | None = None
        self._found_at = 0.0
        self._tried_at: float | None = None

    async def metadata(self) -> ProviderMetadata:
        """The present document; raises `Refused`, `TOKEN_ISSUER` for one of somebody else."""
        async with self._lock:
            now = self._clock()
            if self._found is None or now - self._found_at >= FRESH:
                await self._refresh(now)
            if self._found is None:
                raise unavailable("could not be reached a moment ago")
            return self._found

    async def _refresh(self, now: float) -> None:
        """Asks again, unless it was asked a moment ago: anybody may begin a sign-in, and so cause this."""
        if self._tried_at is not None and now - self._tried_at < RETRY:
            return
        self._tried_at = now
        try:
            self._found, self._found_at = read_metadata(self._issuer, await self._fetch()), now
        except Refused:
            if self._found is None or now - self._found_at > MAX_AGE:
                self._found = None
                raise

    async def _fetch(self) -> Mapping[str, object]:
        if urlsplit(self._issuer).scheme != "https":
            raise Refused(Reason.TOKEN_ISSUER, "the identity provider's issuer is not an https URL")
        url = self._issuer.removesuffix("/") + "/.well-known/openid-configuration"
        answered = await ask(self._client, "GET", url, timeout=self._timeout)
        if answered.status != _OK or not answered.members:
            raise unavailable(f"answered {answered.status} to discovery")
        return answered.members


def read_metadata(issuer: str, document: Mapping[str, object]) -> ProviderMetadata:
    """What of a document is used, checked; raises `Refused`."""
    if document.get("issuer") != issuer:
        raise Refused(
            Reason.TOKEN_ISSUER,
            "the identity provider's discovery document names another issuer",
            hint="ask an administrator to compare `issuer` in remit.yaml with the provider's",
        )
    if "code" not in _words(document, "response_types_supported", "code"):
        raise unavailable("does not offer the authorization code")
    if "S256" not in _words(document, "code_challenge_methods_supported", "S256"):
        raise unavailable("offers no PKCE with `S256`")
    return ProviderMetadata(
        authorization_endpoint=_endpoint(document, "authorization_endpoint"),
        token_endpoint=_endpoint(document, "token_endpoint"),
        methods=_words(document, "token_endpoint_auth_methods_supported", "client_secret_basic"),
        names_itself=document.get("authorization_response_iss_parameter_supported") is True,
    )


def _words(document: Mapping[str, object], name: str, unsaid: str) -> frozenset[str]:
    value = document.get(name, [unsaid])
    return frozenset(word for word in value if isinstance(word, str)) if isinstance(value, list) else frozenset()


def _endpoint(document: Mapping[str, object], name: str) -> str:
    value = document.get(name)
    try:
        parts = urlsplit(value if isinstance(value, str) else "")
        good = parts.scheme == "https" and bool(parts.hostname) and "@" not in parts.netloc and not parts.fragment
    except ValueError:
        good = False
    if not good:
        raise unavailable(f"names no https `{name}`")
    return str(value)
