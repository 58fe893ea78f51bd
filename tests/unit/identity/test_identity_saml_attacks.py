"""What attackers make of a signed response: wrapped, tampered with, signed by others, or no XML to be read at all."""

import asyncio
import base64
import copy
import importlib.util
import random
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from lxml import etree
from signxml.algorithms import CanonicalizationMethod
from signxml.verifier import XMLVerifier
from sqlalchemy import create_engine, delete
from sqlalchemy.pool import StaticPool

from remit.identity import replay
from remit.identity.saml import form as saml_form
from remit.identity.saml.authenticator import SamlAuthenticator
from remit.identity.saml.metadata import Provider
from remit.identity.settings import SamlIssuer
from remit.model.errors import Refused
from remit.model.identity import Identity
from remit.model.reasons import Reason

ROUNDS = 400
EVIL = "mallory"


def _load_mint() -> ModuleType:
    spec = importlib.util.spec_from_file_location("identity_saml_mint", Path(__file__).with_name("saml_mint.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


mint = _load_mint()
NS = mint.NS


class Metadata:
    def __init__(self, key: Any) -> None:
        self._provider = Provider((key.certificate,), "https://idp.example/sso", None)

    async def current(self, now: int) -> Provider:
        return self._provider

    async def renewed(self, known: Provider, now: int) -> Provider | None:
        return None


class Door:
    """An authenticator that forgets what it has seen, so that nothing is refused as a replay."""

    def __init__(self, key: Any) -> None:
        self._engine = create_engine("sqlite://", connect_args={"check_same_thread": False}, poolclass=StaticPool)
        replay.metadata.create_all(self._engine)
        settings = SamlIssuer("okta", mint.ENTITY, mint.AUDIENCE, mint.RECIPIENT, groups_attribute=mint.GROUPS)
        self._authenticator = SamlAuthenticator(settings, Metadata(key), replay.Replay(self._engine))

    def accept(self, posted: str) -> Identity:
        with self._engine.begin() as connection:
            connection.execute(delete(replay.seen))
        return asyncio.run(self._authenticator.accept(posted, mint.REQUEST, mint.NOW))

    def refuses(self, document: Any) -> Reason:
        posted = document if isinstance(document, str) else mint.post(document)
        with pytest.raises(Refused) as caught:
            self.accept(posted)
        assert EVIL not in f"{caught.value.message}{caught.value.hint}"
        return caught.value.reason


@pytest.fixture(scope="module")
def key() -> Any:
    return mint.make_key()


@pytest.fixture(scope="module")
def mallory_key() -> Any:
    return mint.make_key()


@pytest.fixture(scope="module")
def door(key: Any) -> Door:
    return Door(key)


def evil_twin(element: Any, *, keep_signature: bool = False) -> Any:
    """A copy that says mallory, under another id."""
    twin = copy.deepcopy(element)
    if not keep_signature:
        for signature in twin.findall(".//d:Signature", NS):
            signature.getparent().remove(signature)
    for one in [twin, *twin.iter("{*}Assertion")]:
        one.set("ID", f"{one.get('ID')}-evil")
    twin.find(".//a:NameID", NS).text = EVIL
    return twin


def without_signature(element: Any) -> Any:
    clean = copy.deepcopy(element)
    clean.remove(clean.find("d:Signature", NS))
    return clean


def xsw1(root: Any) -> Any:
    """Response signed: an evil response around the signature, the original within the signature."""
    evil = evil_twin(root)
    signature = copy.deepcopy(root.find("d:Signature", NS))
    signature.append(without_signature(root))
    evil.insert(1, signature)
    return evil


def xsw2(root: Any) -> Any:
    """Response signed: the original beside the signature in an evil response."""
    evil = evil_twin(root)
    evil.insert(1, without_signature(root))
    evil.insert(2, copy.deepcopy(root.find("d:Signature", NS)))
    return evil


def xsw3(root: Any) -> Any:
    """Assertion signed: an evil one before it."""
    original = root.find("a:Assertion", NS)
    original.addprevious(evil_twin(original))
    return root


def xsw4(root: Any) -> Any:
    """Assertion signed: within an evil one."""
    original = root.find("a:Assertion", NS)
    evil = evil_twin(original)
    root.replace(original, evil)
    evil.append(original)
    return root


def xsw5(root: Any) -> Any:
    """Assertion signed: changed under its signature, the original without signature behind it."""
    original = root.find("a:Assertion", NS)
    root.append(without_signature(original))
    original.find(".//a:NameID", NS).text = EVIL
    original.set("ID", "_evil")
    return root


def xsw6(root: Any) -> Any:
    """As 5, the original within the signature."""
    original = root.find("a:Assertion", NS)
    clean = without_signature(original)
    original.find("d:Signature", NS).append(clean)
    original.find(".//a:NameID", NS).text = EVIL
    original.set("ID", "_evil")
    return root


def xsw7(root: Any) -> Any:
    """Assertion signed: an evil one in `Extensions`, whose schema allows anything."""
    original = root.find("a:Assertion", NS)
    extensions = etree.Element(f"{{{NS['p']}}}Extensions")
    extensions.append(evil_twin(original))
    original.addprevious(extensions)
    return root


def xsw8(root: Any) -> Any:
    """Assertion signed: an evil one keeps the signature, the original in the signature's `Object`."""
    original = root.find("a:Assertion", NS)
    clean = without_signature(original)
    holder = etree.SubElement(original.find("d:Signature", NS), f"{{{NS['d']}}}Object")
    holder.append(clean)
    original.find(".//a:NameID", NS).text = EVIL
    original.set("ID", "_evil")
    return root


def same_id(root: Any) -> Any:
    """Assertion signed: an evil one of the same id before it."""
    original = root.find("a:Assertion", NS)
    evil = evil_twin(original)
    evil.set("ID", original.get("ID"))
    original.addprevious(evil)
    return root


def foreign_name(root: Any) -> Any:
    """Assertion signed: an evil one of another namespace before it."""
    original = root.find("a:Assertion", NS)
    evil = evil_twin(original)
    evil.tag = "{urn:oasis:names:tc:SAML:1.0:assertion}Assertion"
    original.addprevious(evil)
    return root


def moved_signature(root: Any) -> Any:
    """Assertion signed, the signature moved to the response, the assertion changed back to nobody's."""
    original = root.find("a:Assertion", NS)
    root.insert(1, original.find("d:Signature", NS))
    return root


WRAPPINGS = [
    (xsw1, "response"),
    (xsw2, "response"),
    *((wrap, "assertion") for wrap in (xsw3, xsw4, xsw5, xsw6, xsw7, xsw8, same_id, foreign_name, moved_signature)),
    *((wrap, "both") for wrap in (xsw1, xsw2, xsw3, xsw4, xsw5, xsw6, xsw7, xsw8)),
]


@pytest.mark.parametrize(("wrap", "which"), WRAPPINGS, ids=lambda value: getattr(value, "__name__", value))
def test_no_wrapping_of_a_signature_gets_through(door: Door, key: Any, wrap: Callable[[Any], Any], which: str) -> None:
    root = mint.sign(mint.document(), key, which)
    wrapped = wrap(copy.deepcopy(root))
    assert etree.tostring(wrapped) != etree.tostring(root)
    assert door.refuses(wrapped) in (Reason.TOKEN_MALFORMED, Reason.TOKEN_SIGNATURE)


def test_wrapping_is_an_attack_on_whoever_reads_carelessly(key: Any) -> None:
    """The corpus is no straw man: the library alone calls this one good, and the first name in it is mallory."""
    wrapped = xsw3(mint.sign(mint.document(), key))
    XMLVerifier().verify(wrapped, x509_cert=key.certificate, id_attribute="ID")
    assert wrapped.findtext(".//a:NameID", namespaces=NS) == EVIL


@pytest.mark.parametrize("which", ["assertion", "response", "both"])
@pytest.mark.parametrize(
    ("path", "value"),
    [
        (".//a:NameID", EVIL),
        (".//a:AttributeValue", "9a000000-0000-4000-8000-00000000000f"),
        (".//a:AuthnContextClassRef", "https://refeds.org/profile/mfa"),
        (".//d:SignatureValue", "AAAA"),
        (".//d:DigestValue", "AAAA"),
    ],
)
def test_nothing_that_was_signed_can_be_changed(door: Door, key: Any, which: str, path: str, value: str) -> None:
    root = mint.sign(mint.document(), key, which)
    root.find(path, NS).text = value
    assert door.refuses(root) is Reason.TOKEN_SIGNATURE


def test_the_outer_signature_counts_though_the_inner_one_is_good(door: Door, key: Any, mallory_key: Any) -> None:
    root = mint.sign(mint.document(), key)
    mint.sign(root, mallory_key, "response")
    assert door.refuses(root) is Reason.TOKEN_SIGNATURE


@pytest.mark.parametrize("which", ["assertion", "response", "both"])
@pytest.mark.parametrize("claims_to_be", [True, False])
def test_a_certificate_in_the_document_is_not_believed(
    door: Door, key: Any, mallory_key: Any, which: str, claims_to_be: bool
) -> None:
    root = mint.sign(mint.document(), mallory_key, which, cert=key if claims_to_be else mallory_key)
    assert door.refuses(root) is Reason.TOKEN_SIGNATURE


def test_unsigned(door: Door) -> None:
    assert door.refuses(mint.document()) is Reason.TOKEN_SIGNATURE


@pytest.mark.parametrize(
    "how",
    [
        {"signature": "rsa-sha1"},
        {"digest": "sha1"},
        {"signature": "sha256-rsa-MGF1"},
        {"canonical": CanonicalizationMethod.CANONICAL_XML_1_1},
        {"canonical": CanonicalizationMethod.EXCLUSIVE_XML_CANONICALIZATION_1_0_WITH_COMMENTS},
    ],
    ids=str,
)
@pytest.mark.parametrize("which", ["assertion", "response"])
def test_signatures_that_saml_does_not_make(door: Door, key: Any, which: str, how: dict[str, Any]) -> None:
    assert door.refuses(mint.sign(mint.document(), key, which, **how)) is Reason.TOKEN_SIGNATURE


def test_a_reference_to_the_whole_document(door: Door, key: Any) -> None:
    root = mint.sign(mint.document(), key, "response")
    root.find(".//d:Reference", NS).set("URI", "")
    mint.sign_again(root.find("d:Signature", NS), key)
    XMLVerifier().verify(root, x509_cert=key.certificate)  # the library has nothing against it
    assert door.refuses(root) is Reason.TOKEN_SIGNATURE


@pytest.mark.parametrize("which", ["hmac-sha256", "rsa-md5"])
def test_a_method_of_another_kind(door: Door, key: Any, which: str) -> None:
    root = mint.sign(mint.document(), key)
    root.find(".//d:SignatureMethod", NS).set("Algorithm", f"http://www.w3.org/2001/04/xmldsig-more#{which}")
    assert door.refuses(root) is Reason.TOKEN_SIGNATURE


XSLT = """<ds:Transform xmlns:ds="http://www.w3.org/2000/09/xmldsig#" Algorithm="http://www.w3.org/TR/1999/REC-xslt-19991116">
<xsl:stylesheet xmlns:xsl="http://www.w3.org/1999/XSL/Transform" version="1.0"><xsl:template match="/">
<xsl:value-of select="document('file:///etc/passwd')"/></xsl:template></xsl:stylesheet></ds:Transform>"""


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_transform_that_runs_is_refused_before_it_does(door: Door, key: Any, place: int) -> None:
    root = mint.sign(mint.document(), key)
    root.find(".//d:Transforms", NS).insert(place, etree.fromstring(XSLT))
    assert door.refuses(root) is Reason.TOKEN_SIGNATURE


@pytest.mark.parametrize("part", ["Reference", "SignedInfo", "Transforms"])
def test_a_signature_with_a_part_twice_or_not_at_all(door: Door, key: Any, part: str) -> None:
    twice = mint.sign(mint.document(), key)
    found = twice.find(f".//d:{part}", NS)
    found.addnext(copy.deepcopy(found))
    assert door.refuses(twice) is Reason.TOKEN_SIGNATURE
    found.getparent().remove(found.getnext())
    found.getparent().remove(found)
    assert door.refuses(twice) is Reason.TOKEN_SIGNATURE


def test_two_signatures_on_one_assertion(door: Door, key: Any) -> None:
    root = mint.sign(mint.document(), key)
    signature = root.find(".//d:Signature", NS)
    signature.addnext(copy.deepcopy(signature))
    for one in (signature, signature.getnext()):
        one.attrib.pop("Id", None)
    assert door.refuses(root) is Reason.TOKEN_MALFORMED


def test_an_assertion_without_an_id_is_signed_by_nobody(door: Door, key: Any) -> None:
    root = mint.sign(mint.document(), key)
    del root.find("a:Assertion", NS).attrib["ID"]
    assert door.refuses(root) is Reason.TOKEN_SIGNATURE


def test_an_id_twice(door: Door, key: Any) -> None:
    root = mint.sign(mint.document(), key)
    root.find("p:Status", NS).set("id", "_assertion-1")
    assert door.refuses(root) is Reason.TOKEN_MALFORMED


def test_two_assertions_of_the_provider_itself(door: Door, key: Any) -> None:
    root = mint.sign(mint.document(), key)
    root.append(mint.sign(mint.document(assertion="_assertion-2"), key).find("a:Assertion", NS))
    assert door.refuses(root) is Reason.TOKEN_MALFORMED


@pytest.mark.parametrize("name", ["EncryptedAssertion", "EncryptedID", "EncryptedAttribute"])
def test_encrypted_parts(door: Door, key: Any, name: str) -> None:
    root = mint.document()
    etree.SubElement(root, f"{{{NS['a']}}}{name}")
    assert door.refuses(mint.sign(root, key, "response")) is Reason.TOKEN_MALFORMED


def test_no_assertion(door: Door, key: Any) -> None:
    assert door.refuses(mint.sign(mint.document(inner=""), key, "response")) is Reason.TOKEN_MALFORMED


def test_an_assertion_alone_or_another_document(door: Door, key: Any) -> None:
    root = mint.sign(mint.document(), key)
    assert door.refuses(etree.tostring(root.find("a:Assertion", NS))) is Reason.TOKEN_MALFORMED
    assert door.refuses(b"<html/>") is Reason.TOKEN_MALFORMED


LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
DOCTYPES = {
    "doctype": b"<!DOCTYPE samlp:Response>",
    "external": b'<!DOCTYPE r SYSTEM "http://127.0.0.1:9/evil.dtd">',
    "xxe": b'<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
    "parameter": b'<!DOCTYPE r [<!ENTITY % x SYSTEM "http://127.0.0.1:9/x"> %x;]>',
    "laughs": f'<!DOCTYPE r [<!ENTITY l0 "ha">{LAUGHS}]>'.encode(),
    "default": b'<!DOCTYPE r [<!ATTLIST saml:Assertion ID CDATA "_evil">]>',
}


@pytest.mark.parametrize("name", DOCTYPES)
def test_no_document_type_is_ever_read(door: Door, key: Any, name: str) -> None:
    text = etree.tostring(mint.sign(mint.document(), key))
    entity = {"xxe": b"&x;", "laughs": b"&l9;"}.get(name, b"")
    assert door.refuses(DOCTYPES[name] + text.replace(b">Dana<", b">" + entity + b"<")) is Reason.TOKEN_MALFORMED


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "utf-7", "utf-8-sig"])
def test_no_other_encoding_hides_a_document_type(door: Door, key: Any, encoding: str) -> None:
    text = etree.tostring(mint.sign(mint.document(), key)).decode()
    declared = f'<?xml version="1.0" encoding="{encoding}"?><!DOCTYPE r [<!ENTITY x "y">]>{text}'
    assert door.refuses(declared.encode(encoding)) is Reason.TOKEN_MALFORMED


@pytest.mark.parametrize(
    "posted",
    [
        "",
        "not base64!",
        "QUJD=",
        "Zm9v\x00",
        "\N{SNOWMAN}",
        base64.b64encode(b"").decode() or "====",
        base64.b64encode(b"<unclosed>").decode(),
        base64.b64encode(b"\xff\xfe\x00").decode(),
        base64.b64encode(b"<a>&undefined;</a>").decode(),
        base64.b64encode(b"<?pi evil?><a><?pi evil?></a>").decode(),
        base64.b64encode(b"<a>" * 300 + b"</a>" * 300).decode(),
        base64.b64encode(b"<a>" + b"x" * saml_form.MAX_RESPONSE + b"</a>").decode(),
        base64.b64encode(b"<a>" + b"<b/>" * saml_form.MAX_PIECES + b"</a>").decode(),
        base64.b64encode(b"<a " + b" ".join(b'a%d=""' % n for n in range(9000)) + b"/>").decode(),
        "A" * (saml_form.MAX_RESPONSE * 2),
    ],
    ids=range(15),
)
def test_what_is_no_response_at_all(door: Door, posted: str) -> None:
    assert door.refuses(posted) is (Reason.TOKEN_MALFORMED if posted else Reason.TOKEN_MISSING)


def _mutate(root: Any, chance: random.Random) -> None:
    """One change of the kind that attackers make: a node moved, doubled, dropped, renamed, or another text."""
    nodes = [node for node in root.iter("{*}*") if node is not root]
    node, other = chance.choice(nodes), chance.choice(nodes)
    match chance.randrange(8):
        case 0:
            node.getparent().remove(node)
        case 1:
            other.append(copy.deepcopy(node))
        case 2 if node not in other.iterancestors() and node is not other:
            other.insert(0, node)
        case 3:
            node.addprevious(copy.deepcopy(node))
        case 4:
            node.text = EVIL
        case 5:
            node.tail = EVIL
        case 6 if node.attrib:
            node.set(chance.choice(list(node.attrib)), EVIL)
        case _:
            node.insert(0, etree.Comment(EVIL))


def test_whatever_is_done_to_a_response_it_says_the_same_or_nothing(door: Door, key: Any) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    roots = [mint.sign(mint.document(), key, which) for which in ("assertion", "response", "both")]
    honest = door.accept(mint.post(roots[0]))
    accepted = 0
    for _ in range(ROUNDS):
        root = copy.deepcopy(chance.choice(roots))
        for _ in range(chance.randint(1, 3)):
            _mutate(root, chance)
        try:
            identity = door.accept(mint.post(root))
        except Refused:
            continue
        accepted += 1
        assert identity == honest
    assert accepted < ROUNDS / 2
