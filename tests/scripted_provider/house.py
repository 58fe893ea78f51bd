"""The pages, the relying party and the session store, put together as an installation does, and a browser for them."""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from joserfc import jwt
from starlette.applications import Starlette

from remit.arbiter.account import Account
from remit.arbiter.sign_in import SignInPages
from remit.identity import replay
from remit.identity.browser import tables as session_tables
from remit.identity.browser.cipher import make_key_file, read_cipher
from remit.identity.browser.logout_token import LogoutTokens
from remit.identity.browser.provider_metadata import Discovery
from remit.identity.browser.relying_party import RelyingParty
from remit.identity.browser.sessions import Sessions
from remit.identity.browser.sign_in import OidcDoor, SignIn
from remit.identity.browser.store import SessionStore
from remit.identity.browser.token_endpoint import ClientAssertion, ClientSecret, TokenEndpoint
from remit.identity.replay import Replay
from remit.identity.settings import RoleRule, SessionSettings, SignInProvider
from remit.identity.tokens.keys import ProviderKeys
from remit.model.errors import Refused
from remit.model.reasons import Reason
from remit.model.secret import Secret
from remit.state.database import open_database
from remit.state.schema import migrate
from remit.state.settings import StateSettings

fake_https = sys.modules["scripted_fake_https"]
provider_module = sys.modules["scripted_provider"]
ORIGIN = "https://remit.contoso.example"
TIMEOUT = 2.0  # seconds, in place of five: a slow provider is one switch here, a busy machine is none


@dataclass
class Clock:
    """Seconds that pass when a story says so."""

    ahead: int = 0

    def now(self) -> int:
        return int(time.time()) + self.ahead

    def micros(self) -> int:
        return self.now() * 1_000_000

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead


class Browser:
    """Keeps cookies by name, as `__Host-` cookies are kept: for one host, over https, sent back as they came."""

    def __init__(self, app: Starlette) -> None:
        self._client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=ORIGIN)
        self.cookies: dict[str, str] = {}

    async def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        headers = dict(more.pop("headers", {}))
        if self.cookies:
            headers["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        answer = await self._client.request(method, path, headers=headers, **more)
        self._client.cookies.clear()
        for line in answer.headers.get_list("set-cookie"):
            self._keep(line)
        return answer

    def _keep(self, line: str) -> None:
        pair, *attributes = line.split("; ")
        name, _, value = pair.partition("=")
        kept = {attribute.lower() for attribute in attributes}
        assert name.startswith("__Host-"), line
        assert {"secure", "httponly", "path=/"} <= kept, line
        assert not any(attribute.startswith("domain") for attribute in kept), line
        if "max-age=0" in kept:
            self.cookies.pop(name, None)
        else:
            self.cookies[name] = value


@dataclass
class Visit:
    """What a story has in its hands."""

    provider: Any
    sign_in: SignIn
    sessions: Sessions
    store: SessionStore
    app: Starlette
    clock: Clock
    client: httpx.AsyncClient
    keys: ProviderKeys
    party: RelyingParty
    ended: list[Any]

    def browser(self) -> Browser:
        return Browser(self.app)

    async def to_provider(self, location: str) -> str:
        """The provider's answer to a browser: where it sends it."""
        answer = await self.client.get(location)
        assert answer.status_code == 302
        return str(answer.headers["location"])

    async def signed_in(self, browser: Browser, path: str = "/sign-in/scripted") -> httpx.Response:
        """The whole way, up to our own answer to the callback."""
        away = await browser.ask("GET", path)
        if away.status_code != 303:
            return away
        back = urlsplit(await self.to_provider(away.headers["location"]))
        assert f"{back.scheme}://{back.netloc}" == ORIGIN
        return await browser.ask("GET", f"{back.path}?{back.query}")


@contextlib.asynccontextmanager
async def opened(
    switches: frozenset[str], certificate: Any, keys: Any, folder: Path, options: dict[str, Any]
) -> AsyncIterator[Visit]:
    provider = provider_module.ScriptedProvider(keys, switches, algorithm=options.get("algorithm", "RS256"))
    provider.lifetime = options.get("lifetime", provider.lifetime)
    async with (
        fake_https.FakeServer(provider.handle, certificate) as server,
        httpx.AsyncClient(verify=certificate.client(), trust_env=False, follow_redirects=False) as client,
    ):
        provider.url = server.url
        yield _fitted(provider, client, folder, options)


def _fitted(provider: Any, client: httpx.AsyncClient, folder: Path, options: dict[str, Any]) -> Visit:
    secret = folder / "client-secret"
    secret.write_text(provider_module.SECRET + "\n")
    settings = SignInProvider(
        name="scripted",
        title="Scripted & Co",
        issuer=provider.issuer,
        client=provider_module.CLIENT,
        redirect=f"{ORIGIN}/sign-in/scripted/callback",
        scopes=("openid", "profile", "offline_access"),
        secret_file=secret,
        groups_claim="groups",
        roles=(
            RoleRule("Fraud", (("department", "fraud"), ("groups_source", "true"))),
            RoleRule("Boss", (("sub", "pat"),)),
        ),
        algorithms=options.get("algorithms", ("RS256",)),
    )
    clock = Clock()
    provider.clock = clock.now
    engine = open_database(StateSettings(f"sqlite:///{folder}/state.db"))
    migrate(engine, "sessions", session_tables.metadata, session_tables.STEPS)
    migrate(engine, "replay", replay.metadata, replay.STEPS)
    make_key_file(folder / "key")
    cipher = read_cipher(folder / "key")
    key_source = ProviderKeys(settings, client, clock=clock.monotonic)

    async def assertion() -> Secret:
        now = int(time.time())
        name = provider_module.CLIENT
        claims = {"iss": name, "sub": name, "aud": f"{provider.url}/token", "iat": now, "exp": now + 60, "jti": "j"}
        return Secret(jwt.encode({"alg": "RS256"}, claims, provider.keys.client))

    credentials: Any = ClientSecret(settings.client, secret)
    if options.get("assertion"):
        credentials = ClientAssertion(settings.client, assertion)
    party = RelyingParty(
        settings,
        Discovery(settings.issuer, client, clock=clock.monotonic, timeout=TIMEOUT),
        TokenEndpoint(client, credentials, timeout=TIMEOUT),
        key_source,
    )
    store, ended = SessionStore(engine), []

    async def nobody(token: Any, now: int) -> Any:
        raise Refused(Reason.TOKEN_ISSUER)

    async def tell(lines: Any) -> None:
        ended.extend(lines)

    limits = SessionSettings(ORIGIN, folder / "key")
    sessions = Sessions(store, cipher, limits, authenticate=nobody, renewers={"scripted": party}, ended=tell)
    first = Replay(engine).first
    sign_in = SignIn({"scripted": OidcDoor(party, LogoutTokens(settings, key_source, first))}, sessions, cipher, first)
    pages, account = SignInPages(sign_in, clock.micros), Account(sessions, ORIGIN, clock.micros)
    app = Starlette(routes=[*pages.routes(), *account.routes()])
    return Visit(provider, sign_in, sessions, store, app, clock, client, key_source, party, ended)


def run(
    story: Any, switches: frozenset[str], certificate: Any, keys: Any, *, folder: Path, options: dict[str, Any]
) -> Any:
    """Opens the house for one story."""

    async def told() -> Any:
        async with opened(switches, certificate, keys, folder, options) as visit:
            return await story(visit)

    return asyncio.run(told())
