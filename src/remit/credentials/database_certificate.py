"""Client certificates for databases: Remit's own authority says for some minutes that a connection is a role's.

PostgreSQL checks them by `hostssl … cert` with `ssl_ca_file` (docs/databases.md), and takes the common name for the
role. The subject names the person as well (`UID`), so that PostgreSQL's own log does (`log_connections`). The
authority's key lies in the state folder; a certificate's own key is in memory, and the door's alone. Source:
postgresql.org/docs/18, "Certificate Authentication"; RFC 5280; RFC 4519 section 2.39 (`uid`).
"""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from remit.model.errors import HopFailed
from remit.model.reasons import Reason
from remit.model.secret import AccessToken
from remit.state.private_file import read_private, write_whole

HOP = "database-certificate"
MINUTES = 5  # a login takes a moment, and this is not looked at afterwards
LONGEST_NAME = 63  # bytes of a role, as PostgreSQL's NAMEDATALEN
_AUTHORITY_DAYS = 1825  # five years: as long as an installation, since every database holds it
_BACKDATED = dt.timedelta(minutes=5)  # databases' clocks are late
_KEY_LIMIT = 4096  # bytes of a P-256 key in PEM: about 250


@dataclass(frozen=True, slots=True)
class Authority:
    """The authority of one installation, in PEM: `certificate` is for databases to trust."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


class DatabaseCertificates:
    """Makes certificates. `folder`: of the authority, which is made where there is none; `clock`: the time, aware."""

    def __init__(self, folder: Path, clock: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC)) -> None:
        self._folder = folder
        self._clock = clock
        self._authority: Authority | None = None

    def make(self, role: str, principal: str) -> tuple[AccessToken, int]:
        """Key and certificate in PEM, and when they end, in seconds since the epoch; raises `HopFailed`."""
        try:
            authority = self._authority = self._authority or ensure(self._folder, self._clock())
            return _signed(authority, role, principal, self._clock())
        except HopFailed:
            raise
        except Exception as error:  # noqa: BLE001 - files that are gone, keys that are none, names that cannot be
            message = f"no certificate could be made for the role: {type(error).__name__}"
            hint = "look at the folder `databases` of the state folder"
            raise HopFailed(HOP, Reason.EXCHANGE_UNAVAILABLE, message, hint=hint) from None


def ensure(folder: Path, now: dt.datetime) -> Authority:
    """The authority in a folder (`ca.pem`, `ca.key`), made when there is none.

    Raises `SettingsInvalid` when others could read its key, `HopFailed` when it has expired, `ValueError` and `OSError`
    for files that do not hold it.
    """
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # the state folder: its owner's alone
    folder.mkdir(mode=0o700, exist_ok=True)
    path, key_path = folder / "ca.pem", folder / "ca.key"
    if not path.exists():
        _make(path, key_path, now)
    key = serialization.load_pem_private_key(read_private(key_path, _KEY_LIMIT, "the databases' authority"), None)
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise ValueError("the authority's key and certificate do not belong together")
    if certificate.not_valid_after_utc <= now:
        hint = f"move `{folder}` away and start anew: databases must trust the new authority"
        raise HopFailed(HOP, Reason.EXCHANGE_UNAVAILABLE, "the databases' authority has expired", hint=hint)
    return Authority(certificate, key)


def _make(path: Path, key_path: Path, now: dt.datetime) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Remit databases' authority")])
    certificate = (
        _builder(name, name, key, now - _BACKDATED, now + dt.timedelta(days=_AUTHORITY_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    write_whole(key_path, _pem(key), 0o600)
    write_whole(path, certificate.public_bytes(serialization.Encoding.PEM), 0o644)


def _signed(authority: Authority, role: str, principal: str, now: dt.datetime) -> tuple[AccessToken, int]:
    if not 0 < len(role.encode()) <= LONGEST_NAME:
        raise HopFailed(HOP, Reason.EXCHANGE_REFUSED, f"a role has at most {LONGEST_NAME} bytes")
    key, ends = ec.generate_private_key(ec.SECP256R1()), now + dt.timedelta(minutes=MINUTES)
    subject = x509.Name([x509.NameAttribute(NameOID.USER_ID, principal), x509.NameAttribute(NameOID.COMMON_NAME, role)])
    certificate = (
        _builder(subject, authority.certificate.subject, key, now - _BACKDATED, ends)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False)
        .sign(authority.key, hashes.SHA256())
    )
    pem = _pem(key) + certificate.public_bytes(serialization.Encoding.PEM)
    return AccessToken(pem.decode("ascii")), int(ends.timestamp())


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, begins: dt.datetime, ends: dt.datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
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


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
