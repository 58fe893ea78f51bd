"""Is what was signed true: signxml with the provider's own certificates, and back comes what was signed.

The signature's own `KeyInfo` is never believed. What is returned was parsed anew from the very bytes whose digest the
signature holds, without comments and without what stood around it; nothing else may be read. A certificate is the
envelope of a key: its dates, names and chain say nothing (SAML V2.0 Metadata Interoperability Profile 2.6.1), since
providers publish self-signed ones and let them run out; a key ends when the metadata no longer names it. Leaves out:
the form of a signature (`form`), whose certificates these are (`metadata`).
"""

from collections.abc import Iterable

from cryptography import x509
from signxml.algorithms import CanonicalizationMethod, DigestAlgorithm, SignatureMethod
from signxml.verifier import SignatureConfiguration, VerifyResult, XMLVerifier

from remit.identity.saml import xml
from remit.identity.saml.form import Form
from remit.identity.saml.xml import Element

METHODS = frozenset(
    {
        SignatureMethod.RSA_SHA256,
        SignatureMethod.RSA_SHA384,
        SignatureMethod.RSA_SHA512,
        SignatureMethod.ECDSA_SHA256,
        SignatureMethod.ECDSA_SHA384,
        SignatureMethod.ECDSA_SHA512,
    }
)
DIGESTS = frozenset({DigestAlgorithm.SHA256, DigestAlgorithm.SHA384, DigestAlgorithm.SHA512})


def signed_assertion(form: Form, certificates: Iterable[x509.Certificate]) -> Element | None:
    """The assertion as one of these keys signed it, alone or within its response; `None` when none of them did.

    Where both are signed, one key must have signed both.
    """
    for certificate in certificates:
        signed = [_signed(form, owner, certificate) for owner in form.signed]
        if all(element is not None for element in signed):
            return _assertion(signed[-1])  # the response comes first, and holds more than the assertion
    return None


def _assertion(signed: Element) -> Element | None:
    tag = xml.name(xml.ASSERTION, "Assertion")
    return signed if signed.tag == tag else signed.find(tag)


def _signed(form: Form, owner: Element, certificate: x509.Certificate) -> Element | None:
    config = SignatureConfiguration(
        location="./" if owner is form.response else f"./{xml.name(xml.ASSERTION, 'Assertion')}/",
        signature_methods=METHODS,
        digest_algorithms=DIGESTS,
        # a time at which any certificate is valid: see above
        verification_time=certificate.not_valid_before_utc,
        default_reference_c14n_method=CanonicalizationMethod.EXCLUSIVE_XML_CANONICALIZATION_1_0,
    )
    try:
        result = XMLVerifier().verify(
            form.response, x509_cert=certificate, id_attribute="ID", expect_config=config, parser=xml.parser()
        )
    except Exception:  # noqa: BLE001 - whatever a library says of a stranger's document, it is no yes
        return None
    signed = result.signed_xml if isinstance(result, VerifyResult) else None
    same = signed is not None and (signed.tag, signed.get("ID")) == (owner.tag, owner.get("ID"))
    return signed if same else None
