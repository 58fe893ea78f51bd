"""The one strict parser of signed tokens, in front of any JOSE library.

RFC 7515 compact serialisation, narrowed by RFC 8725: no library checked here is strict alone (each lets some
of padding, duplicate members, unknown `crit` or deep nesting through), so form is decided here, and joserfc is
asked for one thing: does this signature verify with exactly this key and exactly this algorithm. Leaves out:
encryption, JSON serialisation, detached content, symmetric keys, whose keys they are (`keys`), what the claims
mean (`entra`, `oidc`).
"""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey

from remit.identity.tokens import strict_json
from remit.model.errors import Refused
from remit.model.reasons import Reason
from remit.model.secret import UnverifiedToken

MAX_TOKEN = 16 * 1024  # 200 groups, Entra's most, make a token of 11 KiB
MAX_HEADER = 512  # Entra's header has 120 characters

_SEGMENT = re.compile(r"[A-Za-z0-9_-]*")
_SEGMENTS = 3
# every other member is refused: `crit` and `b64` change how the rest is read, `jku`, `x5u` and `jwk` bring a key
# along, `cty` and `zip` nest and compress, `nonce` marks tokens that only Graph may read
_MEMBERS = frozenset({"alg", "typ", "kid", "x5t", "x5t#S256"})
# the type and the curve of an algorithm's key: RFC 7518 section 3.1, RFC 8037, RFC 9864
_FITS = {
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), ("RSA", "")),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    **dict.fromkeys(("EdDSA", "Ed25519"), ("OKP", "Ed25519")),
}
_MEMBERS_OF: Mapping[str, tuple[type[Key], tuple[str, ...]]] = {
    "RSA": (RSAKey, ("n", "e")),
    "EC": (ECKey, ("crv", "x", "y")),
    "OKP": (OKPKey, ("crv", "x")),
}
_MIN_MODULUS = 2048  # bits: RFC 7518 sections 3.3 and 3.5
# moduli of one maker's chips are powers of 65537 modulo small primes, and can be factored: CVE-2017-15361 (ROCA)
_FACTORABLE = {
    prime: frozenset(pow(65537, power, prime) for power in range(prime))
    for prime in (11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157)
}


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


def check_algorithm(token: Jws, *algorithms: str) -> None:
    """Returns when the token says that it is signed with one of these; raises `Refused` with `TOKEN_SIGNATURE`."""
    if token.alg not in algorithms or token.alg not in _FITS:
        raise _otherwise(algorithms)


def verify(token: Jws, key: Key, *algorithms: str) -> None:
    """Returns when the signature verifies with this key and one of the issuer's algorithms, the key's own if bound.

    Raises `Refused` with `TOKEN_SIGNATURE`, for symmetric algorithms too.
    """
    check_algorithm(token, *algorithms)
    if (key.alg or token.alg) != token.alg:
        raise _otherwise(algorithms)
    text, _, signature = token.token.reveal().rpartition(".")
    try:
        algorithm = jws.JWSRegistry.algorithms[token.alg]
        algorithm.check_key(key)
        verified = algorithm.verify(text.encode("ascii"), _decode(signature), key)
    except (JoseError, ValueError):
        verified = False
    if not verified:  # outside the handler, so that no library's error, which holds the token, is chained to ours
        raise Refused(Reason.TOKEN_SIGNATURE)


def load_key(member: Mapping[str, object], *algorithms: str) -> Key:
    """One public key of a JWK set, bound to one of the algorithms; raises `ValueError` for a key that fits none.

    A key that does not name its algorithm takes the first one that its type and curve fit. Private members are left
    behind (RFC 7517 section 4: `use`, `key_ops`, `alg` limit what a key is for).
    """
    algorithm = _bound(member, algorithms)
    operations = member.get("key_ops", ["verify"])
    if member.get("use", "sig") != "sig" or not isinstance(operations, list) or "verify" not in operations:
        raise ValueError("is not a key for signatures")
    kind, _ = _FITS[algorithm]
    loader, names = _MEMBERS_OF[kind]
    public = {name: value for name in names if isinstance(value := member.get(name), str)}
    try:
        key = loader.import_key({"kty": kind, "alg": algorithm, **public})
    except (JoseError, KeyError, ValueError) as error:
        raise ValueError("is not a well-formed key") from error
    if isinstance(key, RSAKey) and key.raw_value.key_size < _MIN_MODULUS:
        raise ValueError("is an RSA key of fewer than 2048 bits")
    if isinstance(key, RSAKey) and _factorable(key.public_key.public_numbers().n):
        raise ValueError("is an RSA key of a kind that can be factored")
    return key


def _factorable(modulus: int) -> bool:
    return all(modulus % prime in remainders for prime, remainders in _FACTORABLE.items())


def _bound(member: Mapping[str, object], algorithms: tuple[str, ...]) -> str:
    shape = (member.get("kty"), member.get("crv", "") if member.get("kty") != "RSA" else "")
    fitting = [name for name in algorithms if _FITS.get(name) == shape]
    if not fitting:
        raise ValueError(f"is not a key for {_named(algorithms)}")
    if member.get("alg", fitting[0]) not in fitting:
        raise ValueError(f"is bound to another algorithm than {_named(algorithms)}")
    return str(member.get("alg", fitting[0]))


def _otherwise(algorithms: tuple[str, ...]) -> Refused:
    return Refused(Reason.TOKEN_SIGNATURE, f"the token is not signed with {_named(algorithms)}")


def _named(algorithms: tuple[str, ...]) -> str:
    return " or ".join(f"`{name}`" for name in algorithms)


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
