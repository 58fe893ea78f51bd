"""The door's certificate authority: made at installation, good for the terminated hosts and nothing else.

The authority's certificate is constrained by name (RFC 5280 section 4.2.1.10), critically, to the hosts that it was
made for, and excludes every IP address: whoever trusts it trusts it for those alone. Its key never leaves the folder.
More hosts need another authority, which every client must come to trust: that is refused here, not done unseen.
The leaf names exactly the hosts and is renewed when a third of its life is left.
"""

import datetime as dt
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from remit.model.errors import RemitError
from remit.state.private_file import write_whole

_AUTHORITY_DAYS = 1825  # five years: as long as an installation, since every client holds it
_LEAF_DAYS = 90  # Let's Encrypt's term; renewal needs nobody
_BACKDATED = dt.timedelta(hours=1)  # clients' clocks are late
_PRIVATE = 0o600
_RESTORE = "restore the folder from a backup, or move it away and have clients trust the new authority"
_EVERY_ADDRESS = ("0.0.0.0/0", "::/0")


@dataclass(frozen=True, slots=True)
class DoorFiles:
    """PEM files: `authority` for clients to trust, `certificate` (leaf, then authority) and `key` for the door."""

    authority: Path
    certificate: Path
    key: Path


def ensure(folder: Path, hosts: Sequence[str], now: dt.datetime) -> DoorFiles:
    """The door's files for these hosts, made or renewed when need be; a good leaf stays as it is.

    Raises `RemitError` when the authority in `folder` was made for other hosts, or has expired.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    files = DoorFiles(folder / "ca.pem", folder / "door.pem", folder / "door.key")
    authority_key = folder / "ca.key"
    if not files.authority.exists():
        _make_authority(files.authority, authority_key, hosts, now)
    authority = x509.load_pem_x509_certificate(files.authority.read_bytes())
    _check_authority(authority, folder, hosts, now)
    if not _leaf_is_good(files, authority, hosts, now):
        _make_leaf(files, authority, authority_key, hosts, now)
    return files


def _make_authority(path: Path, key_path: Path, hosts: Sequence[str], now: dt.datetime) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Remit gateway authority")])
    permitted = [x509.DNSName(host) for host in sorted(hosts)]
    excluded = [x509.IPAddress(ipaddress.ip_network(network)) for network in _EVERY_ADDRESS]
    certificate = (
        _builder(name, name, key.public_key(), now, _AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(certificates=True), critical=True)
        .add_extension(x509.NameConstraints(permitted, excluded), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    write_whole(key_path, _key_pem(key), _PRIVATE)
    write_whole(path, certificate.public_bytes(serialization.Encoding.PEM), 0o644)


def _check_authority(authority: x509.Certificate, folder: Path, hosts: Sequence[str], now: dt.datetime) -> None:
    hint = f"move `{folder}` away: a new authority is made at the next start, and clients must trust it"
    constraints = authority.extensions.get_extension_for_class(x509.NameConstraints).value
    allowed = {name.value for name in constraints.permitted_subtrees or () if isinstance(name, x509.DNSName)}
    missing = sorted(set(hosts) - allowed)
    if missing:
        raise RemitError(f"the gateway's authority was not made for `{'`, `'.join(missing)}`", hint=hint)
    if authority.not_valid_after_utc <= now:
        raise RemitError("the gateway's authority has expired", hint=hint)


def _leaf_is_good(files: DoorFiles, authority: x509.Certificate, hosts: Sequence[str], now: dt.datetime) -> bool:
    if not (files.certificate.exists() and files.key.exists()):
        return False
    leaf = x509.load_pem_x509_certificate(files.certificate.read_bytes())
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    left = leaf.not_valid_after_utc - now
    return (
        set(names.get_values_for_type(x509.DNSName)) == set(hosts)
        and leaf.issuer == authority.subject
        and leaf.public_key() == _load_key(files.key).public_key()
        and leaf.not_valid_before_utc <= now
        and left > dt.timedelta(days=_LEAF_DAYS / 3)
    )


def _make_leaf(
    files: DoorFiles, authority: x509.Certificate, authority_key: Path, hosts: Sequence[str], now: dt.datetime
) -> None:
    signer = _load_key(authority_key)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Remit gateway door")])
    leaf = (
        _builder(subject, authority.subject, key.public_key(), now, _LEAF_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host) for host in sorted(hosts)]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .sign(signer, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    write_whole(files.key, _key_pem(key), _PRIVATE)
    write_whole(files.certificate, leaf.public_bytes(pem) + authority.public_bytes(pem), 0o644)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: dt.datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + dt.timedelta(days=days))
    )


def _usage(*, certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=certificates,
        crl_sign=certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError) as error:
        raise RemitError(f"`{path}` does not hold a private key", hint=_RESTORE) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise RemitError(f"`{path}` holds a key of another kind", hint=_RESTORE)
    return key


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
