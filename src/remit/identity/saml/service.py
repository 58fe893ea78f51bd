"""Our own side of SAML: the request that sends a browser to its provider, and the metadata that introduces us.

SAML 2.0 core 3.4.1, bindings 3.4 (HTTP-Redirect with DEFLATE), metadata 2.4.4. Requests are not signed: nothing in
them is secret or decides anything, since the answer goes to the address that the provider has on file and is held
against the browser's own pending request. Leaves out: keeping that request, reading the answer (`saml`).
"""

import base64
import re
import zlib
from datetime import UTC, datetime
from urllib.parse import urlencode

from lxml import etree

from remit.identity.saml import xml
from remit.identity.saml.metadata import Provider
from remit.identity.settings import SamlIssuer

_ID = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}")  # an xs:ID that any provider takes
_MAX_RELAY = 80  # bytes: bindings 3.4.3
_RAW_DEFLATE = -15  # a window of 32 KiB, and neither header nor checksum: RFC 1951
_PERSISTENT = "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"


def authn_request(settings: SamlIssuer, provider: Provider, request_id: str, now: int, *, relay: str = "") -> str:
    """The provider's URL with our request in it.

    `request_id`: an xs:ID with 128 bits of chance or more, which the answer must repeat; `relay`: comes back beside
    the answer, at most 80 bytes. Raises `ValueError` for an id or a relay state that cannot be sent.
    """
    if not _ID.fullmatch(request_id) or len(relay.encode()) > _MAX_RELAY:
        raise ValueError("a request's id must be an xs:ID, and its relay state short")
    request = etree.Element(
        xml.name(xml.PROTOCOL, "AuthnRequest"),
        {
            "ID": request_id,
            "Version": "2.0",
            "IssueInstant": datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "Destination": provider.sign_in,
            "ProtocolBinding": xml.POST,
            "AssertionConsumerServiceURL": settings.recipient,
        },
        nsmap={"samlp": xml.PROTOCOL, "saml": xml.ASSERTION},
    )
    etree.SubElement(request, xml.name(xml.ASSERTION, "Issuer")).text = settings.audience
    squeeze = zlib.compressobj(wbits=_RAW_DEFLATE)
    packed = base64.b64encode(squeeze.compress(etree.tostring(request)) + squeeze.flush()).decode("ascii")
    query = urlencode({"SAMLRequest": packed} | ({"RelayState": relay} if relay else {}))
    return f"{provider.sign_in}{'&' if '?' in provider.sign_in else '?'}{query}"


def metadata_xml(settings: SamlIssuer) -> str:
    """Our metadata, for the provider's administrator."""
    entity = etree.Element(
        xml.name(xml.METADATA, "EntityDescriptor"), {"entityID": settings.audience}, nsmap={"md": xml.METADATA}
    )
    role = etree.SubElement(
        entity,
        xml.name(xml.METADATA, "SPSSODescriptor"),
        {
            "protocolSupportEnumeration": xml.PROTOCOL,
            "AuthnRequestsSigned": "false",
            "WantAssertionsSigned": "true",
        },
    )
    etree.SubElement(role, xml.name(xml.METADATA, "NameIDFormat")).text = _PERSISTENT
    place = {"Binding": xml.POST, "Location": settings.recipient, "index": "0", "isDefault": "true"}
    etree.SubElement(role, xml.name(xml.METADATA, "AssertionConsumerService"), place)
    document: bytes = etree.tostring(entity, xml_declaration=True, encoding="UTF-8", pretty_print=True)
    return document.decode("utf-8")
