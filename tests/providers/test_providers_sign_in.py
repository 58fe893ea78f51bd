"""Remit as a browser's client of a provider that this project did not write: in, on, and out again."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from sqlalchemy import create_engine
from sqlalchemy.pool import StaticPool

from remit.identity import replay
from remit.identity.browser.logout_token import LogoutTokens
from remit.identity.browser.provider_metadata import Discovery
from remit.identity.browser.relying_party import RelyingParty
from remit.identity.browser.sign_in_flow import new_flow
from remit.identity.browser.token_endpoint import ClientSecret, ProviderSaysNo, TokenEndpoint
from remit.identity.settings import RoleRule, SignInProvider
from remit.identity.tokens.keys import ProviderKeys
from remit.model.errors import Refused
from remit.model.reasons import Reason
from remit.model.secret import UnverifiedToken

Story = Callable[[RelyingParty, ProviderKeys], Awaitable[None]]


@pytest.fixture
def tell(running: ModuleType, tmp_path: Path) -> Callable[[Any, Story], None]:
    secret = tmp_path / "secret"
    secret.write_text(running.WEB_SECRET)
    secret.chmod(0o600)

    def told(provider: Any, story: Story) -> None:
        settings = SignInProvider(
            name="op",
            title="an independent provider",
            issuer=provider.issuer,
            client=running.WEB,
            redirect=running.WEB_REDIRECT,
            scopes=("openid", "profile", "groups", "offline_access"),
            secret_file=secret,
            groups_claim="groups",
            roles=(RoleRule("MLEngineer", (("groups", "ml-engineers"),)),),
        )

        async def run() -> None:
            async with httpx.AsyncClient(verify=provider.context(), trust_env=False) as client:
                keys = ProviderKeys(settings, client)
                endpoint = TokenEndpoint(client, ClientSecret(settings.client, secret))
                await story(RelyingParty(settings, Discovery(provider.issuer, client), endpoint, keys), keys)

        asyncio.run(run())

    return told


def test_in_and_on(tell: Callable[[Any, Story], None], oidc_provider: Any, running: ModuleType) -> None:
    async def story(party: RelyingParty, _: ProviderKeys) -> None:
        flow = new_flow("/", int(time.time()))
        address = f"{await party.address(flow)}&prompt=consent"
        back = await asyncio.to_thread(oidc_provider.sign_in, address, running.DANA)
        query = urlsplit(back).query
        assert parse_qs(query)["iss"] == [oidc_provider.issuer]
        held = await party.finish(flow, query, int(time.time()))
        assert held.identity.principal.key == f"op/{running.DANA}"
        assert held.identity.groups == {"op/ml-engineers", "op/ml-engineers-fraud"}
        assert held.identity.roles == {"MLEngineer"}
        again = await party.renew(held, int(time.time()))
        assert again.identity.principal == held.identity.principal
        with pytest.raises(ProviderSaysNo):
            await party.finish(flow, query, int(time.time()))  # a code is good once
        with pytest.raises(ProviderSaysNo) as caught:
            await party.renew(again, int(time.time()))  # and its second use ended the whole grant (RFC 6749, 4.1.2)
        assert caught.value.final

    tell(oidc_provider, story)


def test_a_refusal_and_an_answer_of_somebody_else(tell: Callable[[Any, Story], None], oidc_provider: Any) -> None:
    async def story(party: RelyingParty, _: ProviderKeys) -> None:
        flow, now = new_flow("/", int(time.time())), int(time.time())
        back = await asyncio.to_thread(oidc_provider.sign_in, await party.address(flow), "nobody")
        query = urlsplit(back).query
        with pytest.raises(ProviderSaysNo) as said:
            await party.finish(flow, query, now)
        assert said.value.code == "access_denied"
        with pytest.raises(Refused) as mixed:
            await party.finish(flow, query.replace("127.0.0.1", "127.0.0.2"), now)
        assert mixed.value.reason is Reason.TOKEN_ISSUER
        with pytest.raises(Refused) as other:
            await party.finish(new_flow("/", now), query, now)
        assert other.value.reason is Reason.REQUEST_MALFORMED

    tell(oidc_provider, story)


def test_out_again_when_the_provider_says_so(
    tell: Callable[[Any, Story], None],
    start_oidc_provider: Callable[..., Any],
    running: ModuleType,
    authority: Any,
    tmp_path: Path,
) -> None:
    with running.Listener(authority, tmp_path) as listener:
        told = {"backchannel_logout_uri": listener.url, "backchannel_logout_session_required": True}
        clients = [{**client, **(told if client["client_id"] == running.WEB else {})} for client in running.CLIENTS]
        provider = start_oidc_provider(clients=clients)

        async def story(party: RelyingParty, keys: ProviderKeys) -> None:
            flow = new_flow("/", int(time.time()))
            with provider.browser() as browser:
                address = await party.address(flow)
                back = await asyncio.to_thread(provider.sign_in, address, running.DANA, browser=browser)
                held = await party.finish(flow, urlsplit(back).query, int(time.time()))
                await asyncio.to_thread(provider.sign_out, browser)
            token = UnverifiedToken(listener.posted.get(timeout=10)["logout_token"])
            engine = create_engine("sqlite://", connect_args={"check_same_thread": False}, poolclass=StaticPool)
            replay.metadata.create_all(engine)
            tokens = LogoutTokens(party.provider, keys, replay.Replay(engine).first)
            logout = await tokens.verify(token, int(time.time()))
            assert (logout.issuer, logout.subject, logout.sid) == (provider.issuer, running.DANA, held.sid)
            assert held.sid
            with pytest.raises(Refused):
                await tokens.verify(token, int(time.time()))

        tell(provider, story)
