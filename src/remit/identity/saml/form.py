"""The one strict reading of a SAML response's form, before any signature is looked at.

Signature wrapping lives on documents in which two elements could be meant. So there is one `Response`, the root, and
one `Assertion` anywhere, its child; every id is there once; a signature stands in what it signs and refers to just
that, with the transforms that SAML allows and no object of its own. Sources: SAML 2.0 core 3.2.2, 5.4; profiles 4.1.4;
Somorovsky et al., "On Breaking SAML: Be Whoever You Want to Be" (2012), whose eight variants are tests. Leaves out:
whether a signature is true (`signature`), what an assertion says (`conditions`). Encrypted assertions are
refused: TLS and the form post already hide them from all but their subject.
"""

import base64
import binascii
from dataclasses import dataclass

from lxml import etree

from remit.identity.saml import xml
from remit.identity.saml.xml import Element, Malformed
from remit.model.errors import Refused
from remit.model.reasons import Reason

MAX_RESPONSE = 128 * 1024  # bytes; 150 groups, Entra's most, with two signatures and their certificates take 24 KiB
# anybody may post one: 32,000 empty elements cost 0.2 s, one element of 11,000 attributes half a second (measured)
MAX_PIECES = 4096  # angle brackets that open; 150 groups take 600
MAX_PIECE = 16 * 1024  # bytes from one to the next; the longest is a certificate

SUCCESS = "urn:oasis:names:tc:SAML:2.0:status:Success"
EXCLUSIVE = "http://www.w3.org/2001/10/xml-exc-c14n#"
ENVELOPED = "http://www.w3.org/2000/09/xmldsig#enveloped-signature"


@dataclass(frozen=True, slots=True)
class Form:
    """A response of sound form, in which nothing is known to be true. `signed`: which of the two carry a signature."""

    response: Element
    assertion: Element
    signed: tuple[Element, ...]


def read(encoded: str) -> Form:
    """The form of a `SAMLResponse` field (bindings 3.5.4); raises `Refused`.

    `TOKEN_MISSING` when it is empty, `TOKEN_CLAIMS` when the provider says that nobody signed in, `TOKEN_SIGNATURE`
    when it is not signed or not as SAML signs, else `TOKEN_MALFORMED`.
    """
    if not encoded:
        raise Refused(Reason.TOKEN_MISSING)
    try:
        response = _response(encoded)
        _check_status(response)
        assertion = _only_assertion(response)
        _check_ids(response)
        signed = _signed(response, assertion)
    except Malformed as error:
        raise Refused(Reason.TOKEN_MALFORMED, f"the SAML response {error}") from None
    if not signed:
        raise Refused(Reason.TOKEN_SIGNATURE, "neither the SAML response nor its assertion is signed")
    return Form(response, assertion, signed)


def _response(encoded: str) -> Element:
    data = _decode(encoded)
    pieces = data.split(b"<")
    if len(pieces) > MAX_PIECES or max(map(len, pieces)) > MAX_PIECE:
        raise Malformed("has too many elements, or one that is too long")
    response = xml.parse(data, MAX_RESPONSE)
    if response.tag != xml.name(xml.PROTOCOL, "Response") or xml.attribute(response, "Version") != "2.0":
        raise Malformed("is not a SAML 2.0 `Response`")
    return response


def _decode(encoded: str) -> bytes:
    if len(encoded) > MAX_RESPONSE * 3 // 2:
        raise Malformed(f"is longer than {MAX_RESPONSE} bytes")
    try:
        # lines, since RFC 2045 breaks them
        return base64.b64decode("".join(encoded.split()), validate=True)
    except (binascii.Error, ValueError):
        raise Malformed("is not base64") from None


def _check_status(response: Element) -> None:
    code = xml.one(xml.one(response, xml.PROTOCOL, "Status"), xml.PROTOCOL, "StatusCode")
    if xml.attribute(code, "Value") != SUCCESS:
        raise Refused(Reason.TOKEN_CLAIMS, "the provider did not sign this person in", hint="sign in again")


def _only_assertion(response: Element) -> Element:
    elements = [node for node in response.iter() if isinstance(node.tag, str)]
    if any(etree.QName(node).localname.startswith("Encrypted") for node in elements):
        raise Malformed("has an encrypted part")
    # by local name, so that nothing that anybody could read as an assertion stands beside ours
    messages = [node for node in elements if etree.QName(node).localname in ("Assertion", "Response")]
    assertion = xml.one(response, xml.ASSERTION, "Assertion")
    if messages != [response, assertion]:
        raise Malformed("has more than one `Response` or `Assertion`")
    return assertion


def _check_ids(response: Element) -> None:
    """No id twice, under any of the names that a library would look for."""
    ids = [
        value
        for node in response.iter()
        if isinstance(node.tag, str)
        for key, value in node.attrib.items()
        if etree.QName(key).localname.lower() == "id"
    ]
    if len(ids) != len(set(ids)):
        raise Malformed("has an id twice")


def _signed(response: Element, assertion: Element) -> tuple[Element, ...]:
    """Which of the two are signed; every signature anywhere is one of theirs."""
    owners = [owner for owner in (response, assertion) if _own_signature(owner) is not None]
    if len(owners) != len(list(response.iter(xml.name(xml.SIGNATURE, "Signature")))):
        raise Malformed("has a signature in a place of its own")
    return tuple(owners)


def _own_signature(owner: Element) -> Element | None:
    signature = xml.at_most_one(owner, xml.SIGNATURE, "Signature")
    if signature is not None:
        try:
            fits = _fits(signature, xml.attribute(owner, "ID"))
        except Malformed:
            fits = False
        if not fits:
            raise Refused(Reason.TOKEN_SIGNATURE, "the SAML response is not signed as SAML 2.0 signs")
    return signature


def _fits(signature: Element, owner: str) -> bool:
    """SAML's profile of XML signatures (core 5.4): one reference to the owner, two transforms, no object.

    Core also allows comments to be canonical; here they never are.
    """
    info = xml.one(signature, xml.SIGNATURE, "SignedInfo")
    reference = xml.one(info, xml.SIGNATURE, "Reference")
    transforms = xml.one(reference, xml.SIGNATURE, "Transforms").findall(xml.name(xml.SIGNATURE, "Transform"))
    return (
        signature.find(xml.name(xml.SIGNATURE, "Object")) is None
        and xml.one(info, xml.SIGNATURE, "CanonicalizationMethod").get("Algorithm") == EXCLUSIVE
        and reference.get("URI") == f"#{owner}"
        and [transform.get("Algorithm") for transform in transforms] == [ENVELOPED, EXCLUSIVE]
    )
