"""The lab's own JSON Web Tokens: signing as Entra does, checking as Google does.

Deliberately not the library that `identity` is built on, so that a mistake there meets another implementation here.
RS256 and ES256 only (the algorithms that Google STS takes). Source: RFC 7515, RFC 7517, RFC 7518 section 3.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

_ES256_BYTES = 64


class BrokenTokenError(Exception):
    """A token that cannot be taken: malformed, of an unknown key, or wrongly signed."""


def encode(raw: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    """The reverse of `encode`; raises `BrokenTokenError`."""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as cause:
        raise BrokenTokenError("not base64url") from cause


class SigningKey:
    """An RSA key with a certificate, as Entra publishes them (`kid` is the certificate's SHA-1 thumbprint)."""

    def __init__(self) -> None:
        self._private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        certificate = _self_signed(self._private)
        der = certificate.public_bytes(serialization.Encoding.DER)
        self.kid = encode(hashlib.sha1(der, usedforsecurity=False).digest())
        self._x5c = base64.b64encode(der).decode()

    def sign(self, claims: Mapping[str, Any]) -> str:
        """A compact RS256 token over the claims."""
        header = {"typ": "JWT", "alg": "RS256", "kid": self.kid}
        signed = f"{encode(_json(header))}.{encode(_json(claims))}"
        signature = self._private.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{encode(signature)}"

    def stolen(self) -> str:
        """The private key as PEM, as a thief would have it: for tests that forge what only an issuer can sign."""
        form, lock = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        return self._private.private_bytes(serialization.Encoding.PEM, form, lock).decode()

    def public(self, issuer: str) -> dict[str, Any]:
        """The key as it stands in Entra's key set."""
        numbers = self._private.public_key().public_numbers()
        return {
            "kty": "RSA",
            "use": "sig",
            "kid": self.kid,
            "x5t": self.kid,
            "n": encode(_big_endian(numbers.n)),
            "e": encode(_big_endian(numbers.e)),
            "x5c": [self._x5c],
            "cloud_instance_name": "microsoftonline.com",
            "issuer": issuer,
        }


def peek(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims of a token, nothing of them checked; raises `BrokenTokenError`."""
    parts = token.split(".")
    if len(parts) != 3:  # noqa: PLR2004 - header, claims, signature (RFC 7515 section 7.1)
        raise BrokenTokenError("not three parts")
    return _object(decode(parts[0])), _object(decode(parts[1]))


def verify_with(token: str, key: rsa.RSAPublicKey) -> None:
    """Hold a token's RS256 or PS256 signature against a key (clients' certificates); raises `BrokenTokenError`."""
    signed, _, signature = token.rpartition(".")
    paddings: dict[object, padding.AsymmetricPadding] = {
        "RS256": padding.PKCS1v15(),
        "PS256": padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH),
    }
    taken = paddings.get(peek(token)[0].get("alg"))
    if taken is None:
        raise BrokenTokenError("algorithm not taken")
    try:
        key.verify(decode(signature), signed.encode(), taken, hashes.SHA256())
    except InvalidSignature as cause:
        raise BrokenTokenError("wrong signature") from cause


def verify(token: str, keys: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The claims of a token signed by one of these JSON Web Keys, its times unread; raises `BrokenTokenError`."""
    parts = token.split(".")
    header, claims = peek(token)
    key = next((each for each in keys if header.get("kid") and each.get("kid") == header["kid"]), None)
    if key is None:
        raise BrokenTokenError("unknown key")
    try:
        _check(header.get("alg"), key, f"{parts[0]}.{parts[1]}".encode(), decode(parts[2]))
    except InvalidSignature as cause:
        raise BrokenTokenError("wrong signature") from cause
    return claims


def _check(algorithm: object, key: Mapping[str, Any], signed: bytes, signature: bytes) -> None:
    if algorithm == "RS256" and key["kty"] == "RSA":
        numbers = rsa.RSAPublicNumbers(_integer(key["e"]), _integer(key["n"]))
        numbers.public_key().verify(signature, signed, padding.PKCS1v15(), hashes.SHA256())
        return
    if algorithm == "ES256" and key["kty"] == "EC" and len(signature) == _ES256_BYTES:
        point = ec.EllipticCurvePublicNumbers(_integer(key["x"]), _integer(key["y"]), ec.SECP256R1())
        half = _ES256_BYTES // 2
        der = encode_dss_signature(int.from_bytes(signature[:half]), int.from_bytes(signature[half:]))
        point.public_key().verify(der, signed, ec.ECDSA(hashes.SHA256()))
        return
    raise BrokenTokenError("algorithm not taken")


def _self_signed(key: rsa.RSAPrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "accounts.accesscontrol.windows.net")])
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=365))
        .sign(key, hashes.SHA256())
    )


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _object(raw: bytes) -> dict[str, Any]:
    try:
        found = json.loads(raw)
    except ValueError as cause:
        raise BrokenTokenError("not JSON") from cause
    if not isinstance(found, dict):
        raise BrokenTokenError("not an object")
    return found


def _integer(text: str) -> int:
    return int.from_bytes(decode(text))


def _big_endian(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8)
