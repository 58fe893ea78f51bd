"""SAML responses: what a provider means is accepted, and each check has its refusal."""

import asyncio
import base64
import importlib.util
import sys
import urllib.parse
import zlib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from lxml import etree
from sqlalchemy import Engine, create_engine
from sqlalchemy.pool import StaticPool

from remit.identity import replay
from remit.identity.saml.authenticator import SamlAuthenticator
from remit.identity.saml.metadata import Provider
from remit.identity.settings import RoleRule, SamlIssuer
from remit.model.errors import Refused
from remit.model.identity import Identity, Kind, Principal
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
NOW, REQUEST = mint.NOW, mint.REQUEST
OK = mint.fields()


class Metadata:
    """A provider with these keys, and later with others."""

    def __init__(self, *keys: Any, later: tuple[Any, ...] = ()) -> None:
        self.now = Provider(tuple(key.certificate for key in keys), "https://idp.example/sso?tenant=1", None)
        self.later = (
            Provider(tuple(key.certificate for key in later), "https://idp.example/sso", None) if later else None
        )
        self.asked = 0

    async def current(self, now: int) -> Provider:
        return self.now

    async def renewed(self, known: Provider, now: int) -> Provider | None:
        self.asked += 1
        return self.later


@pytest.fixture(scope="module")
def key() -> Any:
    return mint.make_key()


@pytest.fixture(scope="module")
def other_key() -> Any:
    return mint.make_key()


@pytest.fixture
def engine() -> Engine:
    made = create_engine("sqlite://", connect_args={"check_same_thread": False}, poolclass=StaticPool)
    replay.metadata.create_all(made)
    return made


@pytest.fixture
def settings() -> SamlIssuer:
    rules = (
        RoleRule("MLEngineer", (("department", "fraud"), (mint.GROUPS, "9a000000-0000-4000-8000-000000000001"))),
        RoleRule("Security", (("department", "security"),)),
        RoleRule("Owner", (("NameID", mint.DANA),)),
        RoleRule("Everybody", ()),
        RoleRule("Named", (("displayName", "Dana"),)),
    )
    return SamlIssuer("okta", mint.ENTITY, mint.AUDIENCE, mint.RECIPIENT, groups_attribute=mint.GROUPS, roles=rules)


@pytest.fixture
def accept(settings: SamlIssuer, key: Any, engine: Engine) -> Any:
    def accepted(root: Any, *, now: int = NOW, request: str | None = REQUEST, metadata: Any = None) -> Identity:
        authenticator = SamlAuthenticator(settings, metadata or Metadata(key), replay.Replay(engine))
        posted = root if isinstance(root, str) else mint.post(root)
        return asyncio.run(authenticator.accept(posted, request, now))

    return accepted


@pytest.fixture
def refused(accept: Any) -> Any:
    def why(root: Any, **how: Any) -> Reason:
        with pytest.raises(Refused) as caught:
            accept(root, **how)
        said = f"{caught.value.message} {caught.value.hint}"
        assert not any(piece in said for piece in ("mallory", mint.DANA, "_assertion", "http", "9a00"))
        chain = caught.value.__cause__
        assert chain is None, "a library's error holds the document"
        return caught.value.reason

    return why


def test_a_signed_assertion_is_an_identity(accept: Any, key: Any) -> None:
    identity = accept(mint.sign(mint.document(), key))
    assert identity.principal == Principal(mint.ENTITY, "okta", mint.DANA, Kind.PERSON)
    assert identity.display == "Dana"
    groups = {"9a000000-0000-4000-8000-000000000001", "9a000000-0000-4000-8000-000000000002"}
    assert identity.groups == {f"okta/{group}" for group in groups}, "no provider speaks of the directory's groups"
    assert identity.roles == {"MLEngineer", "Owner"}
    assert identity.attributes == (("department", "fraud"),)
    assert identity.authentication.methods == {"pwd"}
    assert identity.authentication.contexts == {OK["context"]}
    assert identity.authentication.at == NOW - 30
    assert (identity.issued_at, identity.groups_at, identity.expires_at) == (NOW - 5, NOW - 5, NOW + 3600)
    assert (identity.token_id, identity.session, identity.guest) == ("_assertion-1", "_session-1", False)


@pytest.mark.parametrize("which", ["assertion", "response", "both"])
@pytest.mark.parametrize("kind", ["rsa", "SECP256R1", "SECP384R1"])
def test_what_is_signed_may_be_either_or_both(accept: Any, which: str, kind: str) -> None:
    key = mint.make_key(kind)
    method = "rsa-sha256" if kind == "rsa" else "ecdsa-sha384"
    root = mint.sign(mint.document(), key, which, signature=method, digest="sha512")
    assert accept(root, metadata=Metadata(key)).principal.subject == mint.DANA


def test_base64_may_come_in_lines(accept: Any, key: Any) -> None:
    text = mint.post(mint.sign(mint.document(), key))
    assert accept("\r\n".join(text[start : start + 76] for start in range(0, len(text), 76))).display == "Dana"


def test_a_comment_cuts_no_name_short(accept: Any, refused: Any, key: Any) -> None:
    whole = etree.tostring(mint.sign(mint.document(), key)).decode()
    cut = whole.replace(mint.DANA, f"{mint.DANA[:8]}<!-- -->{mint.DANA[8:]}")
    assert cut != whole
    assert etree.fromstring(cut).findtext(".//a:NameID", namespaces=mint.NS) == mint.DANA[:8]  # what naive code reads
    assert accept(cut.encode()).principal.subject == mint.DANA
    forged = etree.tostring(
        mint.sign(mint.document(name_id=f"<saml:NameID>{mint.DANA}<!-- -->.evil</saml:NameID>", assertion="_2"), key)
    )
    assert accept(forged).principal.subject == f"{mint.DANA}.evil"


def test_an_expired_certificate_is_still_the_key_that_metadata_names(accept: Any) -> None:
    key = mint.make_key(days=-30)
    assert accept(mint.sign(mint.document(), key), metadata=Metadata(key)).display == "Dana"


def test_rotation_two_keys_at_once_and_one_that_is_not_known_yet(
    accept: Any, refused: Any, key: Any, other_key: Any
) -> None:
    assert accept(mint.sign(mint.document(), other_key), metadata=Metadata(key, other_key)).display == "Dana"
    metadata = Metadata(key, later=(other_key,))
    assert accept(mint.sign(mint.document(assertion="_2"), other_key), metadata=metadata).display == "Dana"
    assert metadata.asked == 1
    metadata = Metadata(key, later=(key,))
    assert refused(mint.sign(mint.document(assertion="_3"), other_key), metadata=metadata) is Reason.TOKEN_SIGNATURE


@pytest.mark.promise("V5")
def test_an_assertion_is_good_once(accept: Any, refused: Any, key: Any) -> None:
    root = mint.sign(mint.document(), key)
    accept(root)
    assert refused(root) is Reason.TOKEN_CLAIMS
    # the same assertion in another envelope
    again = mint.sign(mint.document(), key)
    again.set("ID", "_response-2")
    assert refused(again) is Reason.TOKEN_CLAIMS
    assert refused(root, now=NOW + 359) is Reason.TOKEN_CLAIMS
    assert refused(root, now=NOW + 360) is Reason.TOKEN_EXPIRED


def test_a_refused_response_uses_nothing_up(accept: Any, refused: Any, key: Any) -> None:
    root = mint.sign(mint.document(), key)
    refused(root, request="_another")
    assert accept(root).display == "Dana"


def test_a_database_that_does_not_answer_is_no_yes(refused: Any, accept: Any, engine: Engine, key: Any) -> None:
    replay.metadata.drop_all(engine)
    assert refused(mint.sign(mint.document(), key)) is Reason.PLANE_UNAVAILABLE


TIMES = [
    ("confirmation", OK["confirmation"].replace(mint.at(NOW + 300), mint.at(NOW - 60)), Reason.TOKEN_EXPIRED),
    ("conditions", f'NotOnOrAfter="{mint.at(NOW - 60)}"', Reason.TOKEN_EXPIRED),
    ("statement", f'AuthnInstant="{mint.at(NOW - 30)}" SessionNotOnOrAfter="{mint.at(NOW)}"', Reason.TOKEN_EXPIRED),
    ("conditions", f'NotBefore="{mint.at(NOW + 61)}" NotOnOrAfter="{mint.at(NOW + 99)}"', Reason.TOKEN_NOT_YET_VALID),
    ("statement", f'AuthnInstant="{mint.at(NOW + 61)}"', Reason.TOKEN_NOT_YET_VALID),
    ("issued", mint.at(NOW + 61), Reason.TOKEN_NOT_YET_VALID),
    ("conditions", "", Reason.TOKEN_MALFORMED),
    ("conditions", 'NotOnOrAfter="2026-11-22T06:00:00+01:00"', Reason.TOKEN_MALFORMED),
    ("conditions", 'NotOnOrAfter="2026-13-22T06:00:00Z"', Reason.TOKEN_MALFORMED),
    ("statement", "", Reason.TOKEN_MALFORMED),
    ("confirmation", f'InResponseTo="{REQUEST}" Recipient="{mint.RECIPIENT}"', Reason.TOKEN_MALFORMED),
    ("confirmation", OK["confirmation"] + f' NotBefore="{mint.at(NOW - 9)}"', Reason.TOKEN_MALFORMED),
]
PARTIES = [
    ("issuer", "https://evil.example", Reason.TOKEN_ISSUER),
    ("issuer", mint.ENTITY + "/", Reason.TOKEN_ISSUER),
    ("response_issuer", "https://evil.example", Reason.TOKEN_ISSUER),
    ("restriction", "", Reason.TOKEN_AUDIENCE),
    ("restriction", OK["restriction"].replace(mint.AUDIENCE, "https://other.example"), Reason.TOKEN_AUDIENCE),
    ("restriction", OK["restriction"] * 2, Reason.TOKEN_MALFORMED),
    (
        "restriction",
        OK["restriction"].replace("</saml:Audience>", "</saml:Audience><saml:Audience>b</saml:Audience>"),
        Reason.TOKEN_MALFORMED,
    ),
    ("restriction", OK["restriction"] + "<saml:Condition/>", Reason.TOKEN_MALFORMED),
    ("confirmation", OK["confirmation"].replace(mint.RECIPIENT, "https://other.example/"), Reason.TOKEN_AUDIENCE),
    ("confirmation", OK["confirmation"].replace(REQUEST, "_other"), Reason.TOKEN_CLAIMS),
    ("confirmation", OK["confirmation"].partition(" ")[2], Reason.TOKEN_CLAIMS),
    ("envelope", f'InResponseTo="{REQUEST}"', Reason.TOKEN_AUDIENCE),
    ("envelope", f'Destination="https://other.example/" InResponseTo="{REQUEST}"', Reason.TOKEN_AUDIENCE),
    ("envelope", f'Destination="{mint.RECIPIENT}"', Reason.TOKEN_CLAIMS),
    ("envelope", f'Destination="{mint.RECIPIENT}" InResponseTo="_other"', Reason.TOKEN_CLAIMS),
    ("status", "urn:oasis:names:tc:SAML:2.0:status:Responder", Reason.TOKEN_CLAIMS),
]
PEOPLE = [
    ("name_id", "", Reason.TOKEN_MALFORMED),
    ("name_id", "<saml:NameID></saml:NameID>", Reason.TOKEN_MALFORMED),
    ("name_id", "<saml:NameID>a\tb</saml:NameID>", Reason.TOKEN_MALFORMED),
    ("name_id", "<saml:NameID>a<saml:b/>c</saml:NameID>", Reason.TOKEN_MALFORMED),
    ("name_id", f"<saml:NameID>{'x' * 257}</saml:NameID>", Reason.TOKEN_MALFORMED),
    ("name_id", OK["name_id"].replace("persistent", "transient"), Reason.TOKEN_CLAIMS),
    (
        "name_id",
        '<saml:NameID Format="urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress">d@c.example</saml:NameID>',
        Reason.TOKEN_CLAIMS,
    ),
    ("name_id", '<saml:NameID NameQualifier="https://other.example">d</saml:NameID>', Reason.TOKEN_ISSUER),
    ("name_id", '<saml:NameID SPNameQualifier="https://other.example">d</saml:NameID>', Reason.TOKEN_AUDIENCE),
    ("attributes", OK["attributes"] * 2, Reason.TOKEN_MALFORMED),
    (
        "attributes",
        OK["attributes"].replace('"department"', '"http://schemas.microsoft.com/claims/groups.link"'),
        Reason.IDENTITY_INCOMPLETE,
    ),
    (
        "attributes",
        OK["attributes"].replace(">9a000000-0000-4000-8000-000000000002<", "><saml:b/><"),
        Reason.IDENTITY_INCOMPLETE,
    ),
]


@pytest.mark.parametrize("case", TIMES + PARTIES + PEOPLE)
@pytest.mark.parametrize("which", ["assertion", "response"])
def test_each_check_has_its_refusal(refused: Any, key: Any, which: str, case: tuple[str, str, Reason]) -> None:
    field, value, reason = case
    assert refused(mint.sign(mint.document(**{field: value}), key, which)) is reason


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (
            'SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer"',
            'SubjectConfirmation Method="x"',
            Reason.TOKEN_CLAIMS,
        ),
        ('ID="_assertion-1" Version="2.0"', 'ID="_assertion-1" Version="1.1"', Reason.TOKEN_MALFORMED),
        ('ID="_response-1" Version="2.0"', 'ID="_response-1" Version="1.1"', Reason.TOKEN_MALFORMED),
        ("<samlp:Status>", "<samlp:Other>", Reason.TOKEN_MALFORMED),
    ],
)
def test_other_kinds_of_documents(refused: Any, key: Any, old: str, new: str, reason: Reason) -> None:
    text = etree.tostring(mint.document()).decode()
    assert old in text
    text = text.replace(old, new).replace("</samlp:Status>", "</samlp:Other>" if "Other" in new else "</samlp:Status>")
    assert refused(mint.sign(etree.fromstring(text), key)) is reason


@pytest.mark.parametrize("request_id", [None, ""])
def test_what_nobody_asked_for_is_refused(refused: Any, key: Any, request_id: str | None) -> None:
    root = mint.sign(mint.document(), key)
    assert refused(root, request=request_id) is Reason.TOKEN_CLAIMS


@pytest.mark.parametrize("skewed", [NOW - 65, NOW + 359])
def test_clocks_may_differ_by_a_minute(accept: Any, key: Any, skewed: int) -> None:
    assert accept(mint.sign(mint.document(), key), now=skewed).display == "Dana"


def test_when_it_ends(accept: Any, key: Any) -> None:
    long = mint.document(conditions=f'NotOnOrAfter="{mint.at(NOW + 99 * 3600)}"', assertion="_1")
    assert accept(mint.sign(long, key)).expires_at == NOW + 12 * 3600
    said = mint.document(statement=OK["statement"] + f' SessionNotOnOrAfter="{mint.at(NOW + 7200)}"', assertion="_2")
    assert accept(mint.sign(said, key)).expires_at == NOW + 7200


METHODS = "http://schemas.microsoft.com/claims/authnmethodsreferences"


def test_how_somebody_signed_in(accept: Any, key: Any) -> None:
    said = f"""<saml:AttributeStatement><saml:Attribute Name="{METHODS}">
      <saml:AttributeValue>http://schemas.microsoft.com/claims/multipleauthn</saml:AttributeValue>
      <saml:AttributeValue>urn:unknown</saml:AttributeValue></saml:Attribute></saml:AttributeStatement>"""
    identity = accept(mint.sign(mint.document(attributes=said), key))
    assert identity.authentication.methods == {"pwd", "mfa"}
    assert (identity.groups, identity.roles, identity.display) == (frozenset(), {"Owner"}, mint.DANA)
    nothing = mint.document(context="urn:oasis:names:tc:SAML:2.0:ac:classes:unspecified", attributes="", assertion="_2")
    identity = accept(mint.sign(nothing, key))
    assert identity.authentication.methods == frozenset()
    bare = etree.tostring(mint.document(assertion="_3")).decode().replace("AuthnContextClassRef", "AuthnContextDeclRef")
    assert accept(mint.sign(etree.fromstring(bare), key)).authentication.methods == frozenset()


@pytest.mark.parametrize(
    ("confirmation", "locality", "address"),
    [
        ("192.0.2.7", "", "192.0.2.7"),
        ("", '<saml:SubjectLocality Address="2001:DB8::7"/>', "2001:db8::7"),
        ("host.example", '<saml:SubjectLocality DNSName="x"/>', ""),
    ],
)
def test_where_somebody_signed_in_from(accept: Any, key: Any, confirmation: str, locality: str, address: str) -> None:
    root = mint.document(confirmation=OK["confirmation"] + f' Address="{confirmation}"', locality=locality)
    assert accept(mint.sign(root, key)).address == address


def test_an_unspecified_name_with_our_qualifiers(accept: Any, key: Any) -> None:
    name_id = f'<saml:NameID NameQualifier="{mint.ENTITY}" SPNameQualifier="{mint.AUDIENCE}"> 00u1 </saml:NameID>'
    assert accept(mint.sign(mint.document(name_id=name_id), key)).principal.key == "okta/00u1"


def test_an_attribute_cannot_play_the_subject(accept: Any, key: Any) -> None:
    attributes = OK["attributes"].replace('"department"', '"NameID"').replace(">fraud<", f">{mint.DANA}<")
    name_id = "<saml:NameID>mallory</saml:NameID>"
    assert accept(mint.sign(mint.document(attributes=attributes, name_id=name_id), key)).roles == frozenset()


def test_a_session_without_a_name(accept: Any, key: Any) -> None:
    root = mint.document(statement=f'AuthnInstant="{mint.at(NOW - 30)}"')
    root.remove(root.find("a:Issuer", mint.NS))  # optional on a response
    assert accept(mint.sign(root, key)).session == ""


def test_the_request_that_sends_a_browser_there(settings: SamlIssuer, key: Any, engine: Engine) -> None:
    authenticator = SamlAuthenticator(settings, Metadata(key), replay.Replay(engine))
    url = asyncio.run(authenticator.authn_request("_abc", NOW, relay="r&1"))
    parts = urllib.parse.urlsplit(url)
    query = dict(urllib.parse.parse_qsl(parts.query))
    assert (parts.netloc, query["tenant"], query["RelayState"]) == ("idp.example", "1", "r&1")
    request = etree.fromstring(zlib.decompress(base64.b64decode(query["SAMLRequest"]), wbits=-15))
    assert (request.get("ID"), request.get("AssertionConsumerServiceURL")) == ("_abc", mint.RECIPIENT)
    assert request.findtext("a:Issuer", namespaces=mint.NS) == mint.AUDIENCE
    assert request.get("IssueInstant").endswith("Z")
    assert "RelayState" not in asyncio.run(authenticator.authn_request("_abc", NOW))


@pytest.mark.parametrize(("request_id", "relay"), [("1abc", ""), ("a b", ""), ("", ""), ("_a", "x" * 81)])
def test_a_request_that_cannot_be_sent(
    settings: SamlIssuer, key: Any, engine: Engine, request_id: str, relay: str
) -> None:
    authenticator = SamlAuthenticator(settings, Metadata(key), replay.Replay(engine))
    with pytest.raises(ValueError, match="xs:ID"):
        asyncio.run(authenticator.authn_request(request_id, NOW, relay=relay))


def test_our_own_metadata(settings: SamlIssuer, key: Any, engine: Engine) -> None:
    text = SamlAuthenticator(settings, Metadata(key), replay.Replay(engine)).metadata_xml()
    entity = etree.fromstring(text.encode())
    service = entity.find(".//{*}AssertionConsumerService")
    assert (entity.get("entityID"), service.get("Location")) == (mint.AUDIENCE, mint.RECIPIENT)
    assert entity.find("{*}SPSSODescriptor").get("WantAssertionsSigned") == "true"
