"""The one strict parser of signed tokens, in front of any JOSE library.

RFC 7515 compact serialisation, narrowed by RFC 8725: no library checked here is strict alone (each lets some
of padding, duplicate members, unknown `crit` or deep nesting through), so form is decided here, and joserfc is
asked for one thing: does this signature verify with exactly this key and exactly this algorithm. Leaves out:
encryption, JSON serialisation, detached content, symmetric keys, whose keys they are (`keys`), what the claims
mean (`entra`).
"""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, Key, RSAKey

from remit.identity import strict_json
from remit.model.errors import Refused
from remit.model.reasons import Reason
from remit.model.secret import UnverifiedToken

MAX_TOKEN = 16 * 1024  # 200 groups, Entra's most, make a token of 11 KiB
MAX_HEADER = 512  # joserfc's own bound; Entra's header has 120 characters
MAX_PAYLOAD = MAX_TOKEN

_SEGMENT = re.compile(r"[A-Za-z0-9_-]*")
_SEGMENTS = 3
# every other member is refused: `crit` and `b64` change how the rest is read, `jku`, `x5u` and `jwk` bring a key
# along, `cty` and `zip` nest and compress, `nonce` marks tokens that only Graph may read
_MEMBERS = frozenset({"alg", "typ", "kid", "x5t", "x5t#S256"})
_KEY_TYPES = {
    "RS256": "RSA",
    "RS384": "RSA",
    "RS512": "RSA",
    "PS256": "RSA",
    "PS384": "RSA",
    "PS512": "RSA",
    "ES256": "EC",
    "ES384": "EC",
    "ES512": "EC",
}
_MIN_MODULUS = 2048  # bits: RFC 7518 sections 3.3 and 3.5


@dataclass(frozen=True, slots=True)
class Jws:
    """A token of canonical form whose signature nobody has verified yet. The payload is any bytes."""

    token: UnverifiedToken
    alg: str
    kid: str
    typ: str
    payload: bytes = field(repr=False)


def parse_compact(token: UnverifiedToken) -> Jws:
    """Reads the form of a compact token; raises `Refused` with `TOKEN_MALFORMED`, `TOKEN_MISSING` when empty."""
    text = token.reveal()
    if not text:
        raise Refused(Reason.TOKEN_MISSING)
    if len(text) > MAX_TOKEN:
        raise _malformed(f"is longer than {MAX_TOKEN} characters")
    segments = text.split(".")
    if len(segments) != _SEGMENTS:
        raise _malformed("does not have three segments")
    if len(segments[0]) > MAX_HEADER:
        raise _malformed(f"has a header longer than {MAX_HEADER} characters")
    raw_header, payload, signature = (_decode(segment) for segment in segments)
    if not signature:
        raise _malformed("is not signed")
    header = _header(raw_header)
    return Jws(token=token, alg=header["alg"], kid=header["kid"], typ=header.get("typ", ""), payload=payload)


def read_claims(token: Jws) -> dict[str, object]:
    """The payload as strict JSON, with an integral `exp`; raises `Refused`. Nothing in it is verified."""
    claims = _object(token.payload, "payload")
    if type(claims.get("exp")) is not int:
        raise Refused(
            Reason.TOKEN_CLAIMS, "the token's claim `exp` is not a whole number of seconds", hint="get a new token"
        )
    return claims


def verify(token: Jws, key: Key, algorithm: str) -> None:
    """Returns when the signature verifies with this key and algorithm; raises `Refused`, `TOKEN_SIGNATURE`."""
    if token.alg != algorithm:
        raise Refused(Reason.TOKEN_SIGNATURE, f"the token is not signed with `{algorithm}`")
    registry = jws.JWSRegistry(algorithms=[algorithm])
    registry.max_payload_length = MAX_PAYLOAD
    try:
        jws.deserialize_compact(token.token.reveal(), key, registry=registry)
        verified = True
    except (JoseError, ValueError):
        verified = False
    if not verified:  # outside the handler, so that no library's error, which holds the token, is chained to ours
        raise Refused(Reason.TOKEN_SIGNATURE)


def load_key(member: Mapping[str, object], algorithm: str) -> Key:
    """One public key of a JWK set for one algorithm; raises `ValueError` for a key that is not meant for it.

    Private members are left behind (RFC 7517 section 4: `use`, `key_ops`, `alg` limit what a key is for).
    """
    kind = _KEY_TYPES.get(algorithm)
    if kind is None or member.get("kty") != kind:
        raise ValueError(f"is not a key for `{algorithm}`")
    operations = member.get("key_ops", ["verify"])
    if member.get("use", "sig") != "sig" or not isinstance(operations, list) or "verify" not in operations:
        raise ValueError("is not a key for signatures")
    if member.get("alg", algorithm) != algorithm:
        raise ValueError(f"is bound to another algorithm than `{algorithm}`")
    names = ("n", "e") if kind == "RSA" else ("crv", "x", "y")
    public = {name: value for name in names if isinstance(value := member.get(name), str)}
    try:
        key = RSAKey.import_key({"kty": kind, **public}) if kind == "RSA" else ECKey.import_key({"kty": kind, **public})
    except (JoseError, KeyError, ValueError) as error:
        raise ValueError("is not a well-formed key") from error
    if isinstance(key, RSAKey) and key.raw_value.key_size < _MIN_MODULUS:
        raise ValueError("is an RSA key of fewer than 2048 bits")
    return key


def public_members(key: Key) -> dict[str, str]:
    """The public half of a key as JWK members."""
    return {name: str(value) for name, value in key.as_dict(private=False).items() if name != "kid"}


def _decode(segment: str) -> bytes:
    if not _SEGMENT.fullmatch(segment) or len(segment) % 4 == 1:
        raise _malformed("is not base64url without padding")
    data = base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    if base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii") != segment:
        raise _malformed("has stray bits at the end of a segment")
    return data


def _object(data: bytes, part: str) -> dict[str, object]:
    try:
        value = strict_json.parse(data)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise _malformed(f"has a {part} that is not one strict JSON object")
    return value


def _header(data: bytes) -> dict[str, str]:
    header = _object(data, "header")
    unknown = header.keys() - _MEMBERS
    if unknown:
        raise _malformed("has a header member that is not accepted here")
    members = {name: value for name, value in header.items() if isinstance(value, str) and value}
    if len(members) != len(header) or not {"alg", "kid"} <= members.keys():
        raise _malformed("has a header without `alg` and `kid`, or with a member that is empty or no string")
    return members


def _malformed(what: str) -> Refused:
    return Refused(Reason.TOKEN_MALFORMED, f"the token {what}")
