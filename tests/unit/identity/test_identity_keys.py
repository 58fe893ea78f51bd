"""An issuer's keys over real TLS: rotation, outages, bad sets, bad hosts."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import Any

import httpx
import pytest
from joserfc.jwk import RSAKey

from remit.identity import keys as keys_module
from remit.identity.entra import EntraAuthenticator
from remit.identity.keys import MAX_AGE, MAX_ANSWER, MAX_KEYS, UNKNOWN_KID, ProviderKeys
from remit.identity.settings import EntraIssuer
from remit.model.errors import Refused
from remit.model.reasons import Reason

TID = "6f1c2a34-8b5d-4e6f-9a01-c0de00000001"
JSON = {"content-type": "application/json; charset=utf-8"}


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Provider:
    """A tenant's discovery document and keys; `override` answers a path in another way."""

    def __init__(self, fake: ModuleType, members: list[object]) -> None:
        self.fake = fake
        self.members = members
        self.override: dict[str, Any] = {}
        self.url = ""

    def __call__(self, asked: Any) -> Any:
        last = asked.path.rsplit("/", 1)[1]
        if last in self.override:
            return self.override[last]
        if last == "openid-configuration":
            return self.answer(
                {"issuer": f"{self.url}/{TID}/v2.0", "jwks_uri": f"{self.url}/{TID}/discovery/v2.0/keys"}
            )
        return self.answer({"keys": self.members})

    def answer(self, document: object, **more: Any) -> Any:
        return self.fake.Answer(json.dumps(document).encode(), headers=JSON, **more)


Story = Callable[[Provider, ProviderKeys, Clock, Any], Awaitable[None]]


@pytest.fixture
def tell(fake_https: ModuleType, certificate: Any, signing_key: RSAKey) -> Callable[[Story], None]:
    """Runs a story with a provider that publishes `key-1`, and with keys that ask it."""

    def told(story: Story, timeout: float = 2.0) -> None:
        async def main() -> None:
            provider = Provider(fake_https, [_member(signing_key, "key-1")])
            async with (
                fake_https.FakeServer(provider, certificate) as server,
                httpx.AsyncClient(verify=certificate.client()) as client,
            ):
                provider.url = server.url
                issuer = EntraIssuer(TID, "a", frozenset(), server.url)
                clock = Clock()
                await story(provider, ProviderKeys(issuer, client, clock=clock, timeout=timeout), clock, server)

        asyncio.run(main())

    return told


def _member(key: RSAKey, kid: str, **more: object) -> dict[str, object]:
    return {**key.as_dict(private=False), "kid": kid, "use": "sig", **more}


def _names(keys: ProviderKeys) -> list[str]:
    return [member["kid"] for member in keys.jwks()["keys"]]


async def _until(condition: Callable[[], bool]) -> None:
    for _ in range(300):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("the condition did not come about in three seconds")


async def _unavailable(keys: ProviderKeys) -> None:
    with pytest.raises(Refused) as refused:
        await keys.key("key-1")
    assert refused.value.reason is Reason.PLANE_UNAVAILABLE


def test_keys_are_fetched_once_and_pushed_as_a_public_set(tell: Any, signing_key: RSAKey) -> None:
    async def story(provider: Provider, keys: ProviderKeys, clock: Clock, server: Any) -> None:
        assert keys.jwks() == {"keys": []}
        empty = keys.version
        assert await keys.refresh()
        assert await keys.key("key-1") is await keys.key("key-1")
        assert [asked.path.rsplit("/", 1)[1] for asked in server.asked] == ["openid-configuration", "keys"]
        (member,) = keys.jwks()["keys"]
        assert member.keys() == {"kty", "kid", "n", "e", "use", "alg"}
        assert (member["kid"], member["alg"], member["n"]) == (
            "key-1",
            "RS256",
            signing_key.as_dict(private=False)["n"],
        )
        first = keys.version
        assert first != empty
        await keys.refresh()
        assert keys.version == first

    tell(story)


def test_a_new_key_works_and_a_removed_one_is_gone(tell: Any, signing_key: RSAKey, other_key: RSAKey) -> None:
    async def story(provider: Provider, keys: ProviderKeys, clock: Clock, server: Any) -> None:
        await keys.refresh()
        first = keys.version
        provider.members = [_member(other_key, "key-2")]
        assert await keys.key("key-2") is None  # asked too recently
        clock.now += UNKNOWN_KID
        assert await keys.key("key-2") is not None
        assert await keys.key("key-1") is None
        assert keys.version != first

    tell(story)


def test_a_flood_of_unknown_names_costs_one_fetch_in_thirty_seconds(tell: Any) -> None:
    async def story(provider: Provider, keys: ProviderKeys, clock: Clock, server: Any) -> None:
        await keys.refresh()
        clock.now += UNKNOWN_KID
        answers = await asyncio.gather(*(keys.key(f"unknown-{number}") for number in range(200)))
        assert answers == [None] * 200
        assert len(server.asked) == 4
        clock.now += UNKNOWN_KID - 1
        await keys.key("unknown")
        assert len(server.asked) == 4

    tell(story)


def test_an_outage_leaves_the_last_set_until_its_maximum_age(tell: Any, fake_https: ModuleType) -> None:
    async def story(provider: Provider, keys: ProviderKeys, clock: Clock, server: Any) -> None:
        await keys.refresh()
        provider.override["keys"] = fake_https.Answer(status=500)
        clock.now += MAX_AGE
        assert not await keys.refresh()
        assert await keys.key("key-1") is not None
        assert keys.jwks()["keys"]
        clock.now += 1
        await _unavailable(keys)
        assert keys.jwks() == {"keys": []}

    tell(story)


def test_a_start_without_the_provider_refuses_until_it_is_there(
    tell: Any, fake_https: ModuleType, sign: Any, person: dict[str, Any]
) -> None:
    async def story(provider: Provider, keys: ProviderKeys, clock: Clock, server: Any) -> None:
        provider.override["openid-configuration"] = fake_https.Answer(status=503)
        issuer = EntraIssuer(TID, person["aud"], frozenset({person["azp"]}), server.url)
        authenticator = EntraAuthenticator(issuer, keys)
        token = sign({**person, "iss": issuer.issuer})
        with pytest.raises(Refused) as refused:
            await authenticator.authenticate(token, person["iat"])
        assert refused.value.reason is Reason.PLANE_UNAVAILABLE
        await _unavailable(keys)
        assert len(server.asked) == 1
        provider.override.clear()
        clock.now += UNKNOWN_KID
        assert (await authenticator.authenticate(token, person["iat"])).principal.tenant == TID

    tell(story)


def test_one_bad_key_does_not_break_the_set(tell: Any, signing_key: RSAKey, other_key: RSAKey) -> None:
    async def story(provider: Provider, keys: ProviderKeys, clock: Clock, server: Any) -> None:
        issuer = f"{server.url}/{{tenantid}}/v2.0"
        provider.members = [
            "garbage",
            {"kty": "RSA"},
            {"kty": "oct", "k": "AAAA", "kid": "shared"},
            _member(other_key, "enc", use="enc"),
            _member(other_key, "broken", n="!"),
            _member(other_key, ""),
            _member(other_key, "twice"),
            _member(signing_key, "twice"),
            _member(other_key, "consumers", issuer="https://login.microsoftonline.com/9188040d/v2.0"),
            _member(other_key, "template", issuer=issuer),
            _member(signing_key, "key-1"),
        ]
        assert await keys.refresh()
        assert _names(keys) == ["key-1", "template"]

    tell(story)


@pytest.mark.parametrize(
    "members", [None, "keys", [], [{"kty": "RSA"}], [{"kid": str(number)} for number in range(MAX_KEYS + 1)]]
)
def test_a_set_without_a_usable_key_does_not_replace_the_last(tell: Any, members: Any) -> None:
    async def story(provider: Provider, keys: ProviderKeys, clock: Clock, server: Any) -> None:
        await keys.refresh()
        provider.members = members
        assert not await keys.refresh()
        assert await keys.key("key-1") is not None

    tell(story)


@pytest.mark.parametrize("which", ["openid-configuration", "keys"])
@pytest.mark.parametrize(
    "answer",
    [
        {"status": 302, "headers": {"location": "/elsewhere", **JSON}},
        {"status": 404},
        {"status": 201},
        {"headers": {"content-type": "text/html"}},
        {"headers": {}},
        {"body": b""},
        {"body": b"[]"},
        {"body": b'{"keys":[],"keys":[]}'},
        {"body": b'{"issuer": "x'},
        {"body": b"\xff"},
        {"body": b"[" * 100_000},
        {"body": b" " * (MAX_ANSWER + 1)},
        {"body": b'{"keys": []}', "half": True},
        {"hang": True},
    ],
)
def test_a_bad_answer_is_a_refusal_not_a_crash(tell: Any, fake_https: ModuleType, which: str, answer: Any) -> None:
    async def story(provider: Provider, keys: ProviderKeys, clock: Clock, server: Any) -> None:
        provider.override[which] = fake_https.Answer(**answer)
        assert not await keys.refresh()
        await _unavailable(keys)
        assert "/elsewhere" not in {asked.path for asked in server.asked}

    tell(story, timeout=0.3 if answer.get("hang") else 2.0)


def test_discovery_must_be_the_issuers_own(tell: Any) -> None:
    async def story(provider: Provider, keys: ProviderKeys, clock: Clock, server: Any) -> None:
        own = f"{server.url}/{TID}/v2.0"
        for document in (
            {"issuer": own + "/", "jwks_uri": f"{server.url}/keys"},
            {"issuer": f"{server.url}/{{tenantid}}/v2.0", "jwks_uri": f"{server.url}/keys"},
            {"issuer": own, "jwks_uri": "https://evil.example/keys"},
            {"issuer": own, "jwks_uri": "http" + server.url.removeprefix("https") + "/keys"},
            {"issuer": own, "jwks_uri": "http://169.254.169.254/keys"},
            {"issuer": own, "jwks_uri": server.url.replace("//", "//user@") + "/keys"},
            {"issuer": own, "jwks_uri": ["x"]},
            {"issuer": own},
        ):
            provider.override["openid-configuration"] = provider.answer(document)
            assert not await keys.refresh()
        assert {asked.path.rsplit("/", 1)[1] for asked in server.asked} == {"openid-configuration"}

    tell(story)


def test_only_https_is_asked() -> None:
    async def main() -> None:
        async with keys_module.http_client() as client:
            for authority in ("http://127.0.0.1:9", "file:///etc", "gopher://127.0.0.1", ""):
                assert not await ProviderKeys(EntraIssuer(TID, "a", frozenset(), authority), client).refresh()
            # nobody listens there
            assert not await ProviderKeys(EntraIssuer(TID, "a", frozenset(), "https://127.0.0.1:9"), client).refresh()
            assert not client.follow_redirects

    asyncio.run(main())


def test_an_untrusted_certificate_is_not_accepted(
    fake_https: ModuleType, certificate: Any, signing_key: RSAKey
) -> None:
    async def main() -> None:
        provider = Provider(fake_https, [_member(signing_key, "key-1")])
        async with fake_https.FakeServer(provider, certificate) as server, keys_module.http_client() as client:
            provider.url = server.url
            assert not await ProviderKeys(EntraIssuer(TID, "a", frozenset(), server.url), client).refresh()
            assert server.asked == []

    asyncio.run(main())


def test_keys_stay_fresh_in_the_background(tell: Any, other_key: RSAKey) -> None:
    async def story(provider: Provider, keys: ProviderKeys, clock: Clock, server: Any) -> None:
        task = asyncio.create_task(keys.keep_fresh(0.02))
        await _until(lambda: _names(keys) == ["key-1"])
        provider.members = [_member(other_key, "key-2")]
        await _until(lambda: _names(keys) == ["key-2"])
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    tell(story)
