"""Tokens of an OpenID provider that this project did not write: certified, and with no claim of Entra's."""

import asyncio
import base64
import json
import time
from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from remit.identity.settings import OidcIssuer, RoleRule
from remit.identity.tokens import jose
from remit.identity.tokens.keys import UNKNOWN_KID, ProviderKeys
from remit.identity.tokens.oidc import OidcAuthenticator
from remit.model.errors import Refused
from remit.model.identity import Identity, Kind
from remit.model.reasons import Reason
from remit.model.secret import UnverifiedToken

RULES = (RoleRule("MLEngineer", (("groups", "ml-engineers"),)), RoleRule("Pipeline", (("client_id", "pipeline"),)))


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Relying:
    """Our authenticator, with keys that it discovers at the provider."""

    def __init__(self, provider: Any, running: ModuleType, client: httpx.AsyncClient, **changed: Any) -> None:
        given = {
            "audience": running.API,
            "clients": frozenset({running.CLI, running.PIPELINE}),
            "groups_claim": "groups",
        }
        settings = OidcIssuer("op", provider.issuer, roles=RULES, **{**given, **changed})
        self.clock = Clock()
        self.keys = ProviderKeys(settings, client, clock=self.clock)
        self._authenticator = OidcAuthenticator(settings, self.keys)

    async def accept(self, token: str) -> Identity:
        """As the house asks: `None`, "not mine", is a refusal too."""
        form = jose.parse_compact(UnverifiedToken(token))
        identity = await self._authenticator.attempt(form, jose.read_claims(form), int(time.time()))
        assert identity is not None
        return identity


Story = Callable[[Relying], Awaitable[Any]]


@pytest.fixture
def tell(running: ModuleType) -> Callable[..., Any]:
    def told(provider: Any, story: Story, **changed: Any) -> Any:
        async def run() -> Any:
            async with httpx.AsyncClient(verify=provider.context(), trust_env=False) as client:
                return await story(Relying(provider, running, client, **changed))

        return asyncio.run(run())

    return told


@pytest.fixture
def accept(tell: Callable[..., Any], oidc_provider: Any) -> Callable[..., Identity]:
    return lambda token, **changed: tell(oidc_provider, lambda ours: ours.accept(token), **changed)


@pytest.fixture
def refused(accept: Callable[..., Identity]) -> Callable[..., Reason]:
    def why(token: str, **changed: Any) -> Reason:
        with pytest.raises(Refused) as caught:
            accept(token, **changed)
        return caught.value.reason

    return why


def test_what_it_says_of_itself(oidc_provider: Any) -> None:
    document = oidc_provider.discovery()
    assert document["issuer"] == oidc_provider.issuer
    assert document["authorization_response_iss_parameter_supported"] is True
    assert document["code_challenge_methods_supported"] == ["S256"]


def test_a_person_by_code_with_pkce(accept: Callable[..., Identity], oidc_provider: Any, running: ModuleType) -> None:
    tokens = oidc_provider.code_flow(resource=running.API)
    identity = accept(tokens["access_token"])
    assert identity.principal.key == f"op/{running.DANA}"
    assert identity.principal.kind is Kind.PERSON
    assert identity.groups == {"op/ml-engineers", "op/ml-engineers-fraud"}
    assert identity.roles == {"MLEngineer"}
    assert (identity.client, identity.scopes) == (running.CLI, {"jobs"})
    assert 0 < identity.expires_at - time.time() <= running.LIFETIME


def test_a_person_by_device_code(accept: Callable[..., Identity], oidc_provider: Any, running: ModuleType) -> None:
    tokens = oidc_provider.device_flow()
    assert accept(tokens["access_token"]).principal.subject == running.DANA


def test_a_refreshed_token(accept: Callable[..., Identity], oidc_provider: Any, running: ModuleType) -> None:
    tokens = oidc_provider.code_flow(resource=running.API)
    form = {"grant_type": "refresh_token", "client_id": running.CLI, "refresh_token": tokens["refresh_token"]}
    again = oidc_provider.token(**form, resource=running.API)
    assert again["refresh_token"] != tokens["refresh_token"]
    assert accept(again["access_token"]).token_id != accept(tokens["access_token"]).token_id


def test_a_workload_by_its_secret(accept: Callable[..., Identity], oidc_provider: Any, running: ModuleType) -> None:
    identity = accept(oidc_provider.client_credentials()["access_token"])
    assert (identity.principal.kind, identity.principal.subject) == (Kind.WORKLOAD, running.PIPELINE)
    assert identity.roles == {"Pipeline"}


def test_elliptic_curves(
    accept: Callable[..., Identity], refused: Callable[..., Reason], oidc_provider: Any, running: ModuleType
) -> None:
    token = oidc_provider.code_flow(resource=running.API_ES256)["access_token"]
    both = {"audience": running.API_ES256, "algorithms": ("RS256", "ES256")}
    assert accept(token, **both).principal.subject == running.DANA
    assert refused(token, audience=running.API_ES256) is Reason.TOKEN_SIGNATURE, "its algorithm is not in the table"


def test_tokens_of_another_kind(refused: Callable[..., Reason], oidc_provider: Any, running: ModuleType) -> None:
    tokens = oidc_provider.code_flow(resource=running.API)
    assert refused(tokens["id_token"]) is Reason.TOKEN_MALFORMED
    assert refused(tokens["id_token"], audience=running.CLI) is Reason.TOKEN_MALFORMED
    assert refused(tokens["refresh_token"]) is Reason.TOKEN_MALFORMED
    opaque = oidc_provider.code_flow(resource=running.API_OPAQUE)["access_token"]
    assert refused(opaque) is Reason.TOKEN_MALFORMED
    assert refused(oidc_provider.code_flow()["access_token"]) is Reason.TOKEN_MALFORMED


def test_tokens_for_somebody_else(refused: Callable[..., Reason], oidc_provider: Any, running: ModuleType) -> None:
    other = oidc_provider.client_credentials(resource=running.API_OTHER)["access_token"]
    assert refused(other) is Reason.TOKEN_AUDIENCE
    foreign = oidc_provider.client_credentials(running.FOREIGN, running.FOREIGN_SECRET)["access_token"]
    assert refused(foreign) is Reason.TOKEN_CLIENT


def test_a_token_that_was_changed(refused: Callable[..., Reason], oidc_provider: Any) -> None:
    head, payload, signature = oidc_provider.client_credentials()["access_token"].split(".")
    claims = json.loads(base64.urlsafe_b64decode(f"{payload}==")) | {"client_id": "remit-cli"}
    forged = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    assert refused(f"{head}.{forged}.{signature}") is Reason.TOKEN_SIGNATURE


def test_keys_rotate_and_removed_ones_stop(
    tell: Callable[..., Any], start_oidc_provider: Callable[..., Any], running: ModuleType
) -> None:
    first, second = running.new_keys("first"), running.new_keys("second")
    provider = start_oidc_provider(jwks={"keys": first})
    old = provider.client_credentials()["access_token"]

    async def story(ours: Relying) -> None:
        await ours.accept(old)
        await asyncio.to_thread(provider.restart, jwks={"keys": [*second, *first]})
        new = provider.client_credentials()["access_token"]
        assert jose.parse_compact(UnverifiedToken(new)).kid == "second-RS256"
        ours.clock.now += UNKNOWN_KID
        await ours.accept(new)  # found by its name, which nobody knew
        await ours.accept(old)
        await asyncio.to_thread(provider.restart, jwks={"keys": second})
        assert await ours.keys.refresh()
        await ours.accept(new)
        with pytest.raises(Refused) as caught:
            await ours.accept(old)
        assert caught.value.reason is Reason.TOKEN_SIGNATURE

    tell(provider, story)


def test_a_refusal_comes_back_with_the_issuers_name(oidc_provider: Any, running: ModuleType) -> None:
    query = f"client_id={running.WEB}&response_type=code&redirect_uri={running.WEB_REDIRECT}&scope=openid"
    pkce = f"code_challenge={'A' * 43}&code_challenge_method=S256&state=s"
    back = parse_qs(urlsplit(oidc_provider.sign_in(f"{oidc_provider.issuer}/auth?{query}&{pkce}", "nobody")).query)
    assert back["error"] == ["access_denied"]
    assert back["iss"] == [oidc_provider.issuer]
    without = parse_qs(urlsplit(oidc_provider.sign_in(f"{oidc_provider.issuer}/auth?{query}&state=s")).query)
    assert without["error"] == ["invalid_request"], "PKCE is needed"


def test_a_confidential_client_in_a_browser(
    refused: Callable[..., Reason], oidc_provider: Any, running: ModuleType
) -> None:
    web = {"client": running.WEB, "redirect": running.WEB_REDIRECT}
    tokens = oidc_provider.code_flow(**web, secret=running.WEB_SECRET, resource=running.API)
    assert refused(tokens["access_token"]) is Reason.TOKEN_CLIENT
    with pytest.raises(AssertionError, match="invalid_client"):
        oidc_provider.code_flow(**web)


def test_a_provider_that_cannot_start_fails(start_oidc_provider: Callable[..., Any]) -> None:
    with pytest.raises(AssertionError, match="did not start"):
        start_oidc_provider(jwks={"keys": "none"})
