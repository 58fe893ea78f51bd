"""Issuers' keys on their way to Envoy: one JWK set an issuer, only what can verify a signature.

Envoy takes a symmetric key out of a set, and with it anybody's HMAC (measured): what is published is no secret, so such
keys are dropped. A set without one good key makes Envoy refuse its whole configuration, and all issuers' keys with it
(measured): it is refused here, by itself. Source: RFC 7517 section 4, RFC 7518 section 6, RFC 8037 section 2.
"""

import json
import re
from typing import Any

from remit.model.errors import RemitError

_BASE64URL = re.compile(r"[A-Za-z0-9_-]+\Z")
_MEMBERS = {"RSA": ("n", "e"), "EC": ("x", "y"), "OKP": ("x",)}
_CURVES = {"RSA": (None,), "EC": ("P-256", "P-384", "P-521"), "OKP": ("Ed25519",)}


def public_keys(issuer: str, text: str) -> str:
    """The set with its good public keys only; raises `RemitError` when there is none."""
    try:
        found = json.loads(text)["keys"]
        kept = [key for key in found if isinstance(key, dict) and _good(key)]
    except (ValueError, KeyError, TypeError, RecursionError):
        kept = []
    if not kept:
        raise RemitError(
            f"the keys of `{issuer}` hold none that verifies a signature", hint="look at what it publishes"
        )
    return json.dumps({"keys": kept}, sort_keys=True)


def _good(key: dict[str, Any]) -> bool:
    kind = key.get("kty")
    if not isinstance(kind, str) or kind not in _MEMBERS or key.get("crv") not in _CURVES[kind]:
        return False
    if key.get("use", "sig") != "sig":
        return False
    values = [key.get(member) for member in _MEMBERS[kind]]
    return all(isinstance(value, str) and _BASE64URL.match(value) for value in values)
