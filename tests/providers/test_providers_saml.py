"""Responses of a SAML provider that this project did not write."""

import asyncio
import base64
import time
from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import Any

import httpx
import pytest
from lxml import etree
from sqlalchemy import create_engine
from sqlalchemy.pool import StaticPool

from remit.identity import replay
from remit.identity.saml.authenticator import SamlAuthenticator
from remit.identity.saml.metadata import REFRESH, UNKNOWN_KEY, UrlMetadata
from remit.identity.settings import RoleRule, SamlIssuer
from remit.model.errors import Refused
from remit.model.identity import Identity
from remit.model.reasons import Reason

AUDIENCE = "https://remit.contoso.example/saml"
RECIPIENT = "https://remit.contoso.example/sign-in/saml"
REQUEST = "_request-1"
GOOD = {"audience": AUDIENCE, "recipient": RECIPIENT, "destination": RECIPIENT, "inResponseTo": REQUEST}

Story = Callable[[SamlAuthenticator], Awaitable[Any]]


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tell(saml_provider: Any, running: ModuleType, clock: Clock) -> Callable[[Story], Any]:
    """Runs a story with an authenticator that reads the provider's own metadata over TLS."""
    settings = SamlIssuer(
        "samlp",
        saml_provider.entity_id,
        AUDIENCE,
        RECIPIENT,
        metadata_url=saml_provider.entity_id,
        groups_attribute=running.GROUPS,
        roles=(RoleRule("MLEngineer", (("department", "fraud"),)),),
    )
    engine = create_engine("sqlite://", connect_args={"check_same_thread": False}, poolclass=StaticPool)
    replay.metadata.create_all(engine)

    def told(story: Story) -> Any:
        async def run() -> Any:
            async with httpx.AsyncClient(verify=saml_provider.context(), trust_env=False) as client:
                metadata = UrlMetadata(settings, client, clock=clock)
                return await story(SamlAuthenticator(settings, metadata, replay.Replay(engine)))

        return asyncio.run(run())

    return told


def posted(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.fixture
def accept(tell: Callable[[Story], Any]) -> Callable[..., Identity]:
    def accepted(text: str, now: int = 0) -> Identity:
        return tell(lambda saml: saml.accept(posted(text), REQUEST, now or int(time.time())))

    return accepted


@pytest.fixture
def refused(accept: Callable[..., Identity]) -> Callable[..., Reason]:
    def why(text: str, now: int = 0) -> Reason:
        with pytest.raises(Refused) as caught:
            accept(text, now)
        return caught.value.reason

    return why


def test_a_browsers_whole_round(tell: Callable[[Story], Any], saml_provider: Any, running: ModuleType) -> None:
    async def story(saml: SamlAuthenticator) -> Identity:
        now = int(time.time())
        url = await saml.authn_request("_chance-1", now, relay="back")
        assert url.startswith(f"{saml_provider.issuer}/sso?")
        form = await asyncio.to_thread(saml_provider.sign_in, url)
        assert (form.action, form.relay) == (RECIPIENT, "back")
        with pytest.raises(Refused):
            await saml.accept(form.response, "_another", now)
        identity = await saml.accept(form.response, "_chance-1", now)
        with pytest.raises(Refused):
            await saml.accept(form.response, "_chance-1", now)
        return identity

    identity = tell(story)
    assert identity.principal.key == f"samlp/{running.DANA}"
    assert identity.display == "Dana"
    assert identity.groups == {"samlp/ml-engineers", "samlp/fraud"}
    assert identity.roles == {"MLEngineer"}
    assert identity.authentication.methods == {"pwd"}
    assert identity.session == "_session-1"
    assert 0 < identity.expires_at - time.time() <= 600


@pytest.mark.parametrize(
    "signed",
    [
        {"signAssertion": True},
        {"signAssertion": False, "signResponse": True},
        {"signAssertion": True, "signResponse": True},
        {"signatureAlgorithm": "rsa-sha256", "digestAlgorithm": "sha256", "signatureNamespacePrefix": "ds"},
        {"typedAttributes": False, "includeAttributeNameFormat": False},
    ],
    ids=str,
)
def test_ways_of_signing(accept: Callable[..., Identity], saml_provider: Any, signed: dict[str, Any]) -> None:
    assert accept(saml_provider.mint(**GOOD, **signed)).display == "Dana"


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [
        ("signAssertion", False, Reason.TOKEN_SIGNATURE),
        ("signatureAlgorithm", "rsa-sha1", Reason.TOKEN_SIGNATURE),
        ("digestAlgorithm", "sha1", Reason.TOKEN_SIGNATURE),
        ("audience", "https://other.example", Reason.TOKEN_AUDIENCE),
        ("audience", [AUDIENCE, "https://other.example"], Reason.TOKEN_MALFORMED),
        ("recipient", "https://other.example", Reason.TOKEN_AUDIENCE),
        ("destination", "https://other.example", Reason.TOKEN_AUDIENCE),
        ("inResponseTo", "_other", Reason.TOKEN_CLAIMS),
        ("inResponseTo", None, Reason.TOKEN_CLAIMS),
        ("issuer", "https://other.example", Reason.TOKEN_ISSUER),
        ("person", "transient", Reason.TOKEN_CLAIMS),
        ("samlStatusCode", "urn:oasis:names:tc:SAML:2.0:status:Requester", Reason.TOKEN_CLAIMS),
    ],
)
def test_what_it_says_otherwise(
    refused: Callable[..., Reason], saml_provider: Any, option: str, value: Any, reason: Reason
) -> None:
    assert refused(saml_provider.mint(**{**GOOD, option: value})) is reason


def test_an_encrypted_assertion(refused: Callable[..., Reason], saml_provider: Any) -> None:
    signing = saml_provider._given["signing"]
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = x509.load_pem_x509_certificate(signing["cert"].encode()).public_key()
    public = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    how = {"encryptionCert": signing["cert"], "encryptionPublicKey": public}
    algorithm = {"encryptionAlgorithm": "http://www.w3.org/2009/xmlenc11#aes256-gcm"}
    assert refused(saml_provider.mint(**GOOD, **how, **algorithm)) is Reason.TOKEN_MALFORMED


def test_time_passes(refused: Callable[..., Reason], saml_provider: Any) -> None:
    text, now = saml_provider.mint(**GOOD), int(time.time())
    assert refused(text, now + 700) is Reason.TOKEN_EXPIRED
    assert refused(text, now - 120) is Reason.TOKEN_NOT_YET_VALID


def test_somebody_elses_key(refused: Callable[..., Reason], saml_provider: Any, running: ModuleType) -> None:
    mallory = running.Signing.new()
    assert refused(saml_provider.mint(**GOOD, key=mallory.key, cert=mallory.cert)) is Reason.TOKEN_SIGNATURE
    ours = saml_provider._given["signing"]["cert"]
    assert refused(saml_provider.mint(**GOOD, key=mallory.key, cert=ours)) is Reason.TOKEN_SIGNATURE


@pytest.mark.parametrize("signed", [{}, {"signAssertion": False, "signResponse": True}], ids=["assertion", "response"])
def test_what_was_changed_on_the_way(
    accept: Callable[..., Identity], refused: Callable[..., Reason], saml_provider: Any, signed: dict[str, Any]
) -> None:
    text = saml_provider.mint(**GOOD, **signed)
    for old, new in [
        (">Dana<", ">Mallory<"),
        ("ml-engineers", "administrators"),
        (AUDIENCE, f"{AUDIENCE} "),
        ("PasswordProtectedTransport", "TimeSyncToken"),
        ("<saml:AuthnStatement", "<saml:Advice/><saml:AuthnStatement"),
    ]:
        assert old in text
        assert refused(text.replace(old, new)) in (Reason.TOKEN_SIGNATURE, Reason.TOKEN_MALFORMED)
    root = etree.fromstring(text)
    root.append(etree.fromstring(etree.tostring(root.find("{*}Assertion"))))
    assert refused(etree.tostring(root).decode()) is Reason.TOKEN_MALFORMED
    commented = text.replace(">Dana<", "><!-- -->Dana<")
    assert accept(commented).display == "Dana"


def test_rotation(tell: Callable[[Story], Any], saml_provider: Any, running: ModuleType, clock: Clock) -> None:
    first = saml_provider._given["signing"]

    async def story(saml: SamlAuthenticator) -> None:
        async def accept(text: str) -> Identity:
            return await saml.accept(posted(text), REQUEST, int(time.time()))

        await accept(saml_provider.mint(**GOOD))
        old = saml_provider.mint(**GOOD)
        await asyncio.to_thread(saml_provider.restart, signing=vars(running.Signing.new()))
        clock.now += UNKNOWN_KEY
        await accept(saml_provider.mint(**GOOD))  # a key that nobody knew yet
        clock.now += REFRESH
        with pytest.raises(Refused) as caught:
            await accept(old)  # a key that nobody publishes any more
        assert caught.value.reason is Reason.TOKEN_SIGNATURE

    try:
        tell(story)
    finally:
        saml_provider.restart(signing=first)
