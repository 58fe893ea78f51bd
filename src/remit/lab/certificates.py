"""The lab's certificate authority and the one certificate of its TLS front.

Made once per folder and kept while it is good for another day, so that a restarted lab is still trusted by the
programs that hold its bundle. EC keys, since they are made in a millisecond.
"""

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

NAMES = (
    "localhost",
    "login.microsoftonline.com",
    "graph.microsoft.com",
    "management.azure.com",
    "accounts.google.com",
    "googleapis.com",
    "*.googleapis.com",
    "*.actions.githubusercontent.com",
    "oidc.cluster.contoso.example",
    "*.blob.core.windows.net",
)
_LIFE = timedelta(days=30)
_SPARE = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Certificates:
    """Paths of PEM files: the authority's certificate, the front's certificate and its key."""

    authority: Path
    front: Path
    key: Path


def ensure(folder: Path) -> Certificates:
    """The folder's certificates, made anew when absent or near their end."""
    found = Certificates(folder / "ca.pem", folder / "front.pem", folder / "front.key")
    if not _good(found):
        _make(found)
    return found


def _good(found: Certificates) -> bool:
    if not (found.authority.exists() and found.front.exists() and found.key.exists()):
        return False
    certificate = x509.load_pem_x509_certificate(found.front.read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    every = set(NAMES) <= set(names.get_values_for_type(x509.DNSName))
    return every and certificate.not_valid_after_utc > datetime.now(UTC) + _SPARE


def _make(found: Certificates) -> None:
    authority_key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Remit lab authority")])
    identifier = x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key())
    authority = (
        _builder(name, name, authority_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(identifier, critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    names = [*(x509.DNSName(each) for each in NAMES), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    front = (
        _builder(subject, name, key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    found.key.touch(mode=0o600)
    found.key.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    found.front.write_bytes(front.public_bytes(serialization.Encoding.PEM))
    found.authority.write_bytes(authority.public_bytes(serialization.Encoding.PEM))


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + _LIFE)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )
