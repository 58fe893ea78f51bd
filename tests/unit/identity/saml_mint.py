"""A SAML provider in a few lines, which also signs what no provider would."""

import base64
import datetime as dt
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID
from lxml import etree
from signxml.algorithms import CanonicalizationMethod
from signxml.signer import XMLSigner

NOW = 1_795_000_000
ENTITY = "https://idp.example/saml"
AUDIENCE = "https://remit.contoso.example/saml"
RECIPIENT = "https://remit.contoso.example/sign-in/saml"
REQUEST = "_request-1"
GROUPS = "http://schemas.microsoft.com/ws/2008/06/identity/claims/groups"
DANA = "0d000000-0000-4000-8000-000000000001"

NS = {
    "p": "urn:oasis:names:tc:SAML:2.0:protocol",
    "a": "urn:oasis:names:tc:SAML:2.0:assertion",
    "d": "http://www.w3.org/2000/09/xmldsig#",
}
RSA_SHA256 = "rsa-sha256"
EXCLUSIVE = CanonicalizationMethod.EXCLUSIVE_XML_CANONICALIZATION_1_0

ATTRIBUTES = f"""<saml:AttributeStatement>
<saml:Attribute Name="{GROUPS}">
<saml:AttributeValue>9a000000-0000-4000-8000-000000000001</saml:AttributeValue>
<saml:AttributeValue>9a000000-0000-4000-8000-000000000002</saml:AttributeValue></saml:Attribute>
<saml:Attribute Name="displayName"><saml:AttributeValue>Dana</saml:AttributeValue></saml:Attribute>
<saml:Attribute Name="department"><saml:AttributeValue>fraud</saml:AttributeValue></saml:Attribute>
</saml:AttributeStatement>"""

ASSERTION = """<saml:Assertion xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" ID="{assertion}" Version="2.0"
 IssueInstant="{issued}"><saml:Issuer>{issuer}</saml:Issuer><saml:Subject>{name_id}
<saml:SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer"><saml:SubjectConfirmationData {confirmation}/>
</saml:SubjectConfirmation></saml:Subject><saml:Conditions {conditions}>{restriction}</saml:Conditions>
<saml:AuthnStatement {statement}>{locality}<saml:AuthnContext><saml:AuthnContextClassRef>{context}\
</saml:AuthnContextClassRef></saml:AuthnContext></saml:AuthnStatement>{attributes}</saml:Assertion>"""

RESPONSE = """<samlp:Response xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" ID="_response-1" Version="2.0"
 IssueInstant="{issued}" {envelope}><saml:Issuer xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion">{response_issuer}\
</saml:Issuer><samlp:Status><samlp:StatusCode Value="{status}"/></samlp:Status>{inner}</samlp:Response>"""


def at(seconds: int) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.123Z")


def fields() -> dict[str, str]:
    return {
        "assertion": "_assertion-1",
        "issued": at(NOW - 5),
        "issuer": ENTITY,
        "response_issuer": ENTITY,
        "status": "urn:oasis:names:tc:SAML:2.0:status:Success",
        "envelope": f'Destination="{RECIPIENT}" InResponseTo="{REQUEST}"',
        "name_id": '<saml:NameID Format="urn:oasis:names:tc:SAML:2.0:nameid-format:persistent">'
        + DANA
        + "</saml:NameID>",
        "confirmation": f'InResponseTo="{REQUEST}" Recipient="{RECIPIENT}" NotOnOrAfter="{at(NOW + 300)}"',
        "conditions": f'NotBefore="{at(NOW - 5)}" NotOnOrAfter="{at(NOW + 3600)}"',
        "restriction": f"<saml:AudienceRestriction><saml:Audience>{AUDIENCE}</saml:Audience></saml:AudienceRestriction>",
        "statement": f'AuthnInstant="{at(NOW - 30)}" SessionIndex="_session-1"',
        "locality": "",
        "context": "urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport",
        "attributes": ATTRIBUTES,
    }


def document(**changed: str) -> Any:
    """An unsigned response; a field replaces its default, `inner` the whole assertion."""
    known = fields() | changed
    inner = changed.get("inner", ASSERTION.format(**known))
    return etree.fromstring(RESPONSE.format(**{**known, "inner": inner}))


@dataclass(frozen=True)
class Key:
    private: Any
    certificate: x509.Certificate

    @property
    def pem(self) -> bytes:
        return self.private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    @property
    def text(self) -> str:
        return base64.b64encode(self.certificate.public_bytes(serialization.Encoding.DER)).decode()


def make_key(kind: str = "rsa", bits: int = 2048, days: int = 365) -> Key:
    private: Any = (
        rsa.generate_private_key(65537, bits) if kind == "rsa" else ec.generate_private_key(getattr(ec, kind)())
    )
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "idp.example")])
    ends = dt.datetime.now(dt.UTC) + dt.timedelta(days=days)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(ends - dt.timedelta(days=730))
        .not_valid_after(ends)
        .sign(private, hashes.SHA256())
    )
    return Key(private, certificate)


class _Any(XMLSigner):
    def check_deprecated_methods(self) -> None:
        """Old methods too: they must be refused by whoever reads."""


def sign_element(
    element: Any,
    key: Key,
    *,
    signature: str = RSA_SHA256,
    digest: str = "sha256",
    canonical: CanonicalizationMethod = EXCLUSIVE,
    cert: Key | None = None,
) -> None:
    """Signs in place, the signature behind the issuer as the schema wants it."""
    holder = etree.fromstring(etree.tostring(element))
    etree.SubElement(
        holder, "{http://www.w3.org/2000/09/xmldsig#}Signature", {"Id": "placeholder"}, nsmap={"ds": NS["d"]}
    )
    holder.insert(1, holder[-1])
    signer = _Any(signature_algorithm=signature, digest_algorithm=digest, c14n_algorithm=canonical)
    pem = (cert or key).certificate.public_bytes(serialization.Encoding.PEM).decode()
    signed = signer.sign(holder, key=key.pem, cert=pem, reference_uri=f"#{holder.get('ID')}", id_attribute="ID")
    element.insert(1, signed.find("d:Signature", NS))


def sign(root: Any, key: Key, which: str = "assertion", **how: Any) -> Any:
    """Signs the assertion, the response, or both, inner first."""
    if which in ("assertion", "both"):
        sign_element(root.find("a:Assertion", NS), key, **how)
    if which in ("response", "both"):
        sign_element(root, key, **how)
    return root


def sign_again(signature: Any, key: Key) -> None:
    """Signs a `SignedInfo` that was changed by hand, RSA with SHA-256."""
    canonical = etree.tostring(signature.find("d:SignedInfo", NS), method="c14n", exclusive=True)
    value = key.private.sign(canonical, padding.PKCS1v15(), hashes.SHA256())
    signature.find("d:SignatureValue", NS).text = base64.b64encode(value).decode()


def post(root: Any) -> str:
    return base64.b64encode(root if isinstance(root, bytes) else etree.tostring(root)).decode()


def metadata(*keys: Key, entity: str = ENTITY, extra: str = "", location: str = "https://idp.example/sso") -> bytes:
    described = "".join(
        '<KeyDescriptor use="signing"><KeyInfo xmlns="http://www.w3.org/2000/09/xmldsig#"><X509Data><X509Certificate>'
        f"{key.text}</X509Certificate></X509Data></KeyInfo></KeyDescriptor>"
        for key in keys
    )
    return (
        f'<EntityDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata" entityID="{entity}" {extra}>'
        f'<IDPSSODescriptor protocolSupportEnumeration="{NS["p"]}">{described}'
        f'<SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect" Location="{location}"/>'
        "</IDPSSODescriptor></EntityDescriptor>"
    ).encode()
