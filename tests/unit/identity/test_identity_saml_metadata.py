"""A provider's metadata: read narrowly, followed when it changes, and kept while the provider is away."""

import asyncio
import base64
import importlib.util
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives import hashes

from remit.identity.saml import metadata as saml_metadata
from remit.identity.saml.metadata import MAX_AGE, REFRESH, UNKNOWN_KEY, FileMetadata, UrlMetadata, parse
from remit.identity.saml.xml import Malformed
from remit.identity.settings import SamlIssuer
from remit.model.errors import Refused
from remit.model.reasons import Reason


def _load_mint() -> ModuleType:
    spec = importlib.util.spec_from_file_location("identity_saml_mint", Path(__file__).with_name("saml_mint.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


mint = _load_mint()
NOW = mint.NOW
XML = {"content-type": "application/samlmetadata+xml; charset=utf-8"}


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def issuer(**given: Any) -> SamlIssuer:
    return SamlIssuer("okta", mint.ENTITY, mint.AUDIENCE, mint.RECIPIENT, **given)


@pytest.fixture(scope="module")
def keys() -> list[Any]:
    return [mint.make_key() for _ in range(3)]


def test_an_entity_of_its_own(keys: list[Any]) -> None:
    provider = parse(b"\xef\xbb\xbf" + mint.metadata(keys[0], keys[1], keys[0]), issuer())
    assert provider.certificates == (keys[0].certificate, keys[1].certificate)
    assert (provider.sign_in, provider.valid_until) == ("https://idp.example/sso", None)


def test_an_entity_among_others(keys: list[Any]) -> None:
    ours = mint.metadata(keys[0], extra=f'validUntil="{mint.at(NOW + 99)}"').decode()
    other = mint.metadata(keys[1], entity="https://other.example").decode()
    several = f"""<EntitiesDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata" validUntil="{mint.at(NOW + 50)}">
      {other}{ours}</EntitiesDescriptor>"""
    provider = parse(several.encode(), issuer())
    assert (provider.certificates, provider.valid_until) == ((keys[0].certificate,), NOW + 50)
    twice = several.replace(other, ours)
    with pytest.raises(Malformed, match="twice"):
        parse(twice.encode(), issuer())


def test_only_keys_that_sign_and_that_are_strong(keys: list[Any]) -> None:
    weak, good, other = mint.make_key(bits=1024), mint.make_key("SECP256R1"), mint.make_key("SECP224R1")
    text = mint.metadata(keys[0], keys[1], weak, good, other).decode()
    text = text.replace('use="signing"', 'use="encryption"', 1).replace('use="signing"', "", 1)
    assert parse(text.encode(), issuer()).certificates == (keys[1].certificate, good.certificate)
    broken = mint.metadata(keys[0], keys[1]).decode().replace(keys[0].text, "AAAA")
    assert parse(broken.encode(), issuer()).certificates == (keys[1].certificate,)


def test_a_kind_of_key_that_signs_no_saml(keys: list[Any]) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ed25519

    private = ed25519.Ed25519PrivateKey.generate()
    template = keys[0].certificate
    builder = x509.CertificateBuilder(template.issuer, template.subject, private.public_key(), 1)
    builder = builder.not_valid_before(template.not_valid_before_utc).not_valid_after(template.not_valid_after_utc)
    edwards = mint.Key(private, builder.sign(private, None))
    with pytest.raises(Malformed, match="no key"):
        parse(mint.metadata(edwards), issuer())


def test_a_key_on_a_curve_that_nobody_here_knows_is_left_out(keys: list[Any]) -> None:
    # the DER of an object identifier: P-256 becomes prime239v1, of the same length, with the point left as it was
    known, strange = bytes.fromhex("06082a8648ce3d030107"), bytes.fromhex("06082a8648ce3d030104")
    der = base64.b64decode(mint.make_key("SECP256R1").text)
    assert known in der
    text = mint.metadata(keys[0], keys[1]).decode()
    odd = text.replace(keys[0].text, base64.b64encode(der.replace(known, strange)).decode())
    assert parse(odd.encode(), issuer()).certificates == (keys[1].certificate,)


def test_pins_choose_among_keys(keys: list[Any]) -> None:
    pins = frozenset({keys[1].certificate.fingerprint(hashes.SHA256()).hex()})
    assert parse(mint.metadata(*keys), issuer(pins=pins)).certificates == (keys[1].certificate,)
    with pytest.raises(Malformed, match="no key"):
        parse(mint.metadata(keys[0]), issuer(pins=pins))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("https://idp.example/saml", "https://evil.example"),
        ("urn:oasis:names:tc:SAML:2.0:protocol", "urn:oasis:names:tc:SAML:1.1:protocol"),
        ("HTTP-Redirect", "HTTP-POST"),
        ("https://idp.example/sso", "http://idp.example/sso"),
        ("https://idp.example/sso", "https://idp.example/sso#x"),
        ("https://idp.example/sso", "javascript:alert(1)"),
        ("IDPSSODescriptor", "SPSSODescriptor"),
        ("<EntityDescriptor", "<!DOCTYPE x><EntityDescriptor"),
        ("<EntityDescriptor", "<a/><EntityDescriptor"),
        ('use="signing"', 'use="encryption"'),
        ("entityID=", 'validUntil="tomorrow" entityID='),
    ],
)
def test_metadata_that_cannot_be_used(keys: list[Any], old: str, new: str) -> None:
    text = mint.metadata(keys[0]).decode()
    assert old in text
    with pytest.raises(Malformed):
        parse(text.replace(old, new).encode(), issuer())


def test_too_much(keys: list[Any]) -> None:
    with pytest.raises(Malformed, match="longer"):
        parse(b"<a>" + b" " * saml_metadata.MAX_METADATA + b"</a>", issuer())
    many = [mint.make_key("SECP256R1") for _ in range(9)]
    with pytest.raises(Malformed, match="too many"):
        parse(mint.metadata(*many), issuer())


def test_a_file_is_read_anew_when_it_changes(keys: list[Any], tmp_path: Path) -> None:
    path, clock = tmp_path / "idp.xml", Clock()
    metadata = FileMetadata(issuer(metadata=path), clock=clock)

    async def story() -> None:
        with pytest.raises(Refused) as caught:
            await metadata.current(NOW)
        assert caught.value.reason is Reason.PLANE_UNAVAILABLE
        path.write_bytes(mint.metadata(keys[0]))
        first = await metadata.current(NOW)
        assert first.certificates == (keys[0].certificate,)
        assert await metadata.renewed(first, NOW) is None
        path.write_bytes(mint.metadata(keys[0], keys[1]))
        os.utime(path, ns=(1, 1))
        assert len((await metadata.current(NOW)).certificates) == 2
        path.write_bytes(mint.metadata(keys[1]))
        second = await metadata.renewed(first, NOW)
        assert second is not None
        assert second.certificates == (keys[1].certificate,)
        # a file that is being written, or is gone, leaves the last one for a day
        path.write_bytes(b"<half")
        assert await metadata.current(NOW) is second
        path.unlink()
        clock.now += MAX_AGE
        assert await metadata.current(NOW) is second
        clock.now += 1
        with pytest.raises(Refused):
            await metadata.current(NOW)

    asyncio.run(story())


def test_a_file_that_nobody_named() -> None:
    with pytest.raises(ValueError, match="file"):
        FileMetadata(issuer())


def test_valid_until_ends_everything(keys: list[Any], tmp_path: Path) -> None:
    path = tmp_path / "idp.xml"
    path.write_bytes(mint.metadata(keys[0], extra=f'validUntil="{mint.at(NOW)}"'))
    metadata = FileMetadata(issuer(metadata=path))
    assert asyncio.run(metadata.current(NOW - 1)).valid_until == NOW
    with pytest.raises(Refused) as caught:
        asyncio.run(metadata.current(NOW))
    assert caught.value.reason is Reason.PLANE_UNAVAILABLE


Story = Callable[[UrlMetadata, Any, Clock], Awaitable[None]]


@pytest.fixture
def tell(fake_https: ModuleType, certificate: Any, keys: list[Any]) -> Any:
    """Runs a story with a provider of metadata over TLS."""

    def told(story: Story, **given: Any) -> list[Any]:
        async def run() -> list[Any]:
            clock = Clock()
            body = mint.metadata(keys[0])
            async with (
                fake_https.FakeServer(lambda _: fake_https.Answer(body, headers=XML), certificate) as server,
                httpx.AsyncClient(verify=certificate.client(), trust_env=False) as client,
            ):
                url = given.get("url") or f"{server.url}/metadata"
                metadata = UrlMetadata(issuer(metadata_url=url), client, clock=clock, timeout=given.get("timeout", 5))
                await story(metadata, server, clock)
                return list(server.asked)

        return asyncio.run(run())

    return told


def test_a_url_is_asked_once_a_minute(tell: Any, keys: list[Any]) -> None:
    async def story(metadata: UrlMetadata, _: Any, clock: Clock) -> None:
        first, *others = await asyncio.gather(*(metadata.current(NOW) for _ in range(5)))
        assert first.certificates == (keys[0].certificate,)
        assert all(other is first for other in others)
        clock.now += REFRESH - 1
        assert await metadata.current(NOW) is first
        clock.now += 1
        assert (await metadata.current(NOW)).certificates == first.certificates

    assert len(tell(story)) == 2


def test_rotation_at_a_url(tell: Any, keys: list[Any], fake_https: ModuleType) -> None:
    async def story(metadata: UrlMetadata, server: Any, clock: Clock) -> None:
        first = await metadata.current(NOW)
        server.handler = lambda _: fake_https.Answer(mint.metadata(keys[0], keys[1]), headers=XML)
        # a key that nobody knows costs one fetch in half a minute
        for _ in range(20):
            assert await metadata.renewed(first, NOW) is None
        clock.now += UNKNOWN_KEY
        found = await asyncio.gather(*(metadata.renewed(first, NOW) for _ in range(20)))
        assert all(provider and len(provider.certificates) == 2 for provider in found)
        # one that is gone is refused within a minute
        server.handler = lambda _: fake_https.Answer(mint.metadata(keys[1]), headers=XML)
        clock.now += REFRESH
        assert (await metadata.current(NOW)).certificates == (keys[1].certificate,)

    assert len(tell(story)) == 3


def test_a_provider_may_be_away_for_a_day(tell: Any, fake_https: ModuleType) -> None:
    async def story(metadata: UrlMetadata, server: Any, clock: Clock) -> None:
        first = await metadata.current(NOW)
        server.handler = lambda _: fake_https.Answer(status=503)
        for _ in range(24):
            clock.now += 3600
            assert await metadata.current(NOW) is first
        clock.now += 1
        with pytest.raises(Refused) as caught:
            await metadata.current(NOW)
        assert caught.value.reason is Reason.PLANE_UNAVAILABLE
        assert await metadata_refuses(metadata)

    async def metadata_refuses(metadata: UrlMetadata) -> bool:
        with pytest.raises(Refused):
            await metadata.current(NOW)
        return True

    assert len(tell(story)) == 25


@pytest.mark.parametrize(
    "answer",
    [
        {"status": 500},
        {"status": 302, "headers": {"location": "/elsewhere", **XML}},
        {"headers": {"content-type": "text/html"}},
        {"body": b"<half", "headers": XML},
        {"body": b"<a>" + b"x" * saml_metadata.MAX_METADATA, "headers": XML},
        {"headers": XML, "half": True},
        {"headers": XML, "hang": True},
    ],
    ids=str,
)
def test_an_answer_that_cannot_be_used(tell: Any, fake_https: ModuleType, answer: dict[str, Any]) -> None:
    async def story(metadata: UrlMetadata, server: Any, clock: Clock) -> None:
        server.handler = lambda _: fake_https.Answer(**answer)
        for _ in range(3):  # also costs one fetch only
            with pytest.raises(Refused) as caught:
                await metadata.current(NOW)
            assert caught.value.reason is Reason.PLANE_UNAVAILABLE

    assert len(tell(story, timeout=0.5)) == 1


def test_https_only(tell: Any) -> None:
    async def story(metadata: UrlMetadata, _: Any, __: Clock) -> None:
        with pytest.raises(Refused):
            await metadata.current(NOW)

    assert tell(story, url="http://127.0.0.1:1/metadata") == []
