"""An issuer's keys over real TLS: rotation, outages, bad sets, bad hosts."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import Any, Self

import httpx
import pytest
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey

from remit.identity.settings import EntraIssuer, OidcIssuer
from remit.identity.tokens import keys as keys_module
from remit.identity.tokens.entra import EntraAuthenticator
from remit.identity.tokens.keys import (
    FETCH,
    MAX_AGE,
    MAX_ANSWER,
    MAX_KEYS,
    REFRESH,
    UNKNOWN_KID,
    ProviderKeys,
    read_key_set,
)
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


def _member(key: Key, kid: str, **more: object) -> dict[str, object]:
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
        assert await keys.key("key-2") is not None  # the first token that names it makes Remit ask
        assert await keys.key("key-1") is None
        assert keys.version != first
        provider.members = [_member(other_key, "key-3")]
        assert await keys.key("key-3") is None  # a token made it ask too recently
        clock.now += UNKNOWN_KID
        assert await keys.key("key-3") is not None

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


def test_a_removed_key_is_gone_within_a_minute() -> None:
    assert REFRESH + FETCH < 60


def test_a_rotation_fails_no_request(tell: Any, signing_key: RSAKey, other_key: RSAKey) -> None:
    """Keys published ahead, as providers do, and then not ahead: the background and the tokens ask apart."""

    async def story(provider: Provider, keys: ProviderKeys, clock: Clock, server: Any) -> None:
        await keys.refresh()
        provider.members = [_member(signing_key, "key-1"), _member(other_key, "key-2")]
        await keys.refresh()
        assert await keys.key("key-1") is not None
        assert await keys.key("key-2") is not None
        provider.members = [_member(signing_key, "key-3")]
        clock.now += REFRESH
        await keys.refresh()
        provider.members = [_member(signing_key, "key-4")]
        clock.now += 1  # the background asked a second ago, and a token may still ask
        assert await keys.key("key-4") is not None

    tell(story)


def test_each_key_is_bound_to_one_of_its_issuers_algorithms(signing_key: RSAKey, other_key: RSAKey) -> None:
    issuer = OidcIssuer("okta", "https://okta.example", "remit", algorithms=("PS256", "RS256", "ES384", "EdDSA"))
    members = [
        _member(signing_key, "unsaid"),
        _member(other_key, "said", alg="RS256"),
        _member(ECKey.generate_key("P-384"), "curve"),
        _member(OKPKey.generate_key("Ed25519"), "edwards", alg="EdDSA"),
        _member(ECKey.generate_key("P-256"), "another curve"),
        _member(OKPKey.generate_key("Ed25519"), "another name", alg="Ed25519"),
        _member(other_key, "another algorithm", alg="RS512"),
    ]
    keys = read_key_set({"keys": members}, issuer)
    assert {kid: key.alg for kid, key in keys.items()} == {
        "unsaid": "PS256",
        "said": "RS256",
        "curve": "ES384",
        "edwards": "EdDSA",
    }


def test_the_pushed_set_says_each_keys_algorithm(fake_https: ModuleType, certificate: Any, signing_key: RSAKey) -> None:
    async def main() -> None:
        async with FakeIssuer(fake_https, certificate) as issuer:
            issuer.members = [_member(signing_key, "r"), _member(ECKey.generate_key("P-256"), "e", alg="ES256")]
            keys = issuer.keys(algorithms=("RS256", "ES256"))
            assert await keys.refresh()
            told = {member["kid"]: (member["alg"], member["use"]) for member in keys.jwks()["keys"]}
            assert told == {"r": ("RS256", "sig"), "e": ("ES256", "sig")}
            assert all("d" not in member for member in keys.jwks()["keys"])

    asyncio.run(main())


class FakeIssuer:
    """An OIDC issuer on loopback whose keys may be on a second host."""

    def __init__(self, fake: ModuleType, certificate: Any) -> None:
        self.members: list[object] = []
        self.path = ""
        self.uri = ""
        self._fake = fake
        self._servers = [fake.FakeServer(self._discovery, certificate), fake.FakeServer(self._keys, certificate)]
        self._client = httpx.AsyncClient(verify=certificate.client())

    async def __aenter__(self) -> Self:
        for server in self._servers:
            await server.__aenter__()
        self.uri = f"{self._servers[1].url}/keys"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()
        for server in self._servers:
            await server.__aexit__()

    @property
    def url(self) -> str:
        return self._servers[0].url + self.path

    @property
    def host(self) -> str:
        return self._servers[1].url.removeprefix("https://")

    @property
    def asked(self) -> list[str]:
        return [asked.path for server in self._servers for asked in server.asked]

    def keys(self, jwks_host: str | None = None, algorithms: tuple[str, ...] = ("RS256",)) -> ProviderKeys:
        settings = OidcIssuer("fake", self.url, "remit", algorithms=algorithms)
        return ProviderKeys(settings, self._client, jwks_host=self.host if jwks_host is None else jwks_host)

    def _discovery(self, asked: Any) -> Any:
        return self._answer({"issuer": self.url, "jwks_uri": self.uri})

    def _keys(self, asked: Any) -> Any:
        return self._answer({"keys": self.members})

    def _answer(self, document: object) -> Any:
        return self._fake.Answer(json.dumps(document).encode(), headers=JSON)


def test_keys_on_another_host_are_read_when_that_host_is_named(
    fake_https: ModuleType, certificate: Any, signing_key: RSAKey
) -> None:
    async def main() -> None:
        async with FakeIssuer(fake_https, certificate) as issuer:
            issuer.members = [_member(signing_key, "key-1")]
            assert await issuer.keys().refresh()
            for host in ("", "127.0.0.1", "127.0.0.1:443", f"user@{issuer.host}", f"{issuer.host}.evil.example"):
                assert not await issuer.keys(host).refresh(), host
            good = issuer.uri
            for uri in (
                good.replace("//", "//user@"),
                good.replace("//", "//user:secret@"),
                good.replace("https", "http"),
                good.replace("https", "HTTP"),
                f"https://169.254.169.254@evil.example#@{issuer.host}/keys",
                f"https://evil.example/{issuer.host}/keys",
                "https://[::ffff:a9fe:a9fe]/keys",
                "https://2130706433/keys",
                "file:///etc/passwd",
                "//evil.example/keys",
                "https://[/keys",
                "",
            ):
                issuer.uri = uri
                before = issuer.asked.count("/keys")
                assert not await issuer.keys().refresh(), uri
                assert issuer.asked.count("/keys") == before

    asyncio.run(main())


@pytest.mark.parametrize("path", ["", "/", "/realms/ml", "/realms/ml/"])
def test_a_slash_at_the_end_of_an_issuer_is_part_of_its_name_only(
    fake_https: ModuleType, certificate: Any, signing_key: RSAKey, path: str
) -> None:
    async def main() -> None:
        async with FakeIssuer(fake_https, certificate) as issuer:
            issuer.members = [_member(signing_key, "key-1")]
            issuer.path = path
            assert await issuer.keys().refresh()
            assert issuer.asked == [f"{path.rstrip('/')}/.well-known/openid-configuration", "/keys"]

    asyncio.run(main())


def test_googles_keys_are_known_to_be_elsewhere() -> None:
    async def main() -> None:
        async with httpx.AsyncClient() as client:
            google = ProviderKeys(OidcIssuer("google", "https://accounts.google.com", "remit"), client)
            github = ProviderKeys(OidcIssuer("github", "https://token.actions.githubusercontent.com", "remit"), client)
            assert google._hosts == {"accounts.google.com", "www.googleapis.com"}
            assert github._hosts == {"token.actions.githubusercontent.com"}

    asyncio.run(main())


def test_a_template_stands_for_one_part_of_the_path(signing_key: RSAKey) -> None:
    settings = EntraIssuer(TID, "a", frozenset())
    login = "https://login.microsoftonline.com"
    for signer, counts in {
        f"{login}/{{tenantid}}/v2.0": True,
        f"{login}/{TID}/v2.0": True,
        f"{login}/{{tenantid}}/v2.0/": False,
        f"{login}/{{tenantid}}": False,
        "https://{tenantid}.evil.example/x/v2.0": False,
        f"{login}/x{{tenantid}}/v2.0": False,
        7: False,
    }.items():
        members = [_member(signing_key, "key-1", issuer=signer), _member(signing_key, "key-2")]
        assert ("key-1" in read_key_set({"keys": members}, settings)) is counts, signer
