"""Google's token endpoint for service accounts' keys: what Remit makes needless, so that the two can be compared.

A key is made by the control door, since Contoso has none, and lives in memory only. Of the grants of
`oauth2.googleapis.com` there is the signed assertion for scopes; no assertion in the name of a person (`sub`), which
Contoso delegates to nobody, and no ID tokens. Sources: developers.google.com/identity/protocols/oauth2/service-account
(HTTP/REST), RFC 7523 section 2.1.
"""

import json
import secrets
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from remit.lab import contoso
from remit.lab.google_accounts import unique_id
from remit.lab.http import Request, Response
from remit.lab.http_server import form, reply
from remit.lab.iam import Iam
from remit.lab.jwt import BrokenTokenError, encode, verify

HOST = "oauth2.googleapis.com"
TOKEN_URI = f"https://{HOST}/token"

_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_LIFETIME = 3599  # seconds of an access token
_LONGEST = 3600  # seconds from `iat` to `exp`
_SKEW = 60  # seconds that a client's clock may be ahead; Google does not say how many it bears


class _RefusedError(Exception):
    """A refusal in OAuth's form."""

    def __init__(self, error: str, message: str, status: int = HTTPStatus.BAD_REQUEST) -> None:
        super().__init__(message)
        self.error, self.status = error, status


class GoogleKeys:
    """Answers oauth2.googleapis.com. `clock`: seconds since the epoch."""

    def __init__(self, iam: Iam, clock: Callable[[], float]) -> None:
        self._iam = iam
        self._clock = clock
        self._keys: dict[str, list[dict[str, Any]]] = {}  # an account's public keys

    def make(self, account: str) -> str:
        """A new key of an account, as the file that Google gives out once (JSON)."""
        owner = contoso.owner(f"projects/-/serviceAccounts/{account}")
        if owner is None:
            raise KeyError(account)
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        numbers, kid = key.public_key().public_numbers(), secrets.token_hex(20)
        n, e = (encode(value.to_bytes((value.bit_length() + 7) // 8)) for value in (numbers.n, numbers.e))
        self._keys.setdefault(account, []).append({"kty": "RSA", "kid": kid, "n": n, "e": e, "made": self._clock()})
        pkcs8, lock = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        file = {
            "type": "service_account",
            "project_id": owner.id,
            "private_key_id": kid,
            "private_key": key.private_bytes(serialization.Encoding.PEM, pkcs8, lock).decode(),
            "client_email": account,
            "client_id": unique_id(account),
            "auth_uri": "https://accounts.google.com/o/oauth2/auth",
            "token_uri": TOKEN_URI,
            "universe_domain": "googleapis.com",
        }
        return json.dumps(file)

    def made(self, account: str) -> tuple[Mapping[str, Any], ...]:
        """The keys of an account. `kid`, and `made`: seconds since the epoch."""
        return tuple(self._keys.get(account, ()))

    def end(self, account: str, kid: str) -> bool:
        """End a key; false when there is none."""
        left = [key for key in self._keys.get(account, ()) if key["kid"] != kid]
        ended = len(left) < len(self._keys.get(account, ()))
        self._keys[account] = left
        return ended

    async def __call__(self, request: Request) -> Response:
        """Answer one request."""
        if request.method != "POST" or request.path != "/token":
            return reply({"error": "not_found"}, HTTPStatus.NOT_FOUND)
        try:
            account, scopes = self._asserted(form(request))
        except _RefusedError as refused:
            return reply({"error": refused.error, "error_description": str(refused)}, refused.status)
        token, _ = self._iam.mint(email=account, scopes=scopes, lifetime=_LIFETIME)
        return reply({"access_token": token, "expires_in": _LIFETIME, "token_type": "Bearer"})

    def _asserted(self, fields: Mapping[str, str]) -> tuple[str, list[str]]:
        """The account that an assertion is of, and its scopes."""
        # 1 the form of the request
        if fields.get("grant_type") != _GRANT:
            raise _RefusedError("unsupported_grant_type", f"Invalid grant_type: {fields.get('grant_type', '')}")
        # 2 the signature, by a key of the account that it names
        claims = self._verified(fields.get("assertion", ""))
        # 3 whom it is for, and when
        if claims.get("aud") != TOKEN_URI:
            raise _RefusedError("invalid_grant", "Invalid JWT: Failed audience check.")
        self._check_times(claims)
        # 4 what it asks for
        if claims.get("sub") not in {None, claims["iss"]}:
            message = (
                "Client is unauthorized to retrieve access tokens using this method, or client not authorized for any "
                "of the scopes requested."
            )
            raise _RefusedError("unauthorized_client", message, HTTPStatus.UNAUTHORIZED)
        scopes = claims.get("scope")
        if not isinstance(scopes, str) or not scopes.split():
            raise _RefusedError("invalid_scope", "Invalid OAuth scope or ID token audience provided.")
        return str(claims["iss"]), scopes.split()

    def _verified(self, assertion: str) -> dict[str, Any]:
        every = [key for keys in self._keys.values() for key in keys]
        try:
            claims = verify(assertion, every)
            verify(assertion, self._keys.get(str(claims.get("iss")), ()))  # by a key of this very account
        except BrokenTokenError as cause:
            raise _RefusedError("invalid_grant", "Invalid JWT Signature.") from cause
        return claims

    def _check_times(self, claims: Mapping[str, Any]) -> None:
        begins, ends, now = claims.get("iat"), claims.get("exp"), self._clock()
        if not (
            isinstance(begins, int | float)
            and isinstance(ends, int | float)
            and begins - _SKEW <= now < ends
            and 0 < ends - begins <= _LONGEST
        ):
            message = (
                "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. "
                "Check your iat and exp values in the JWT claim."
            )
            raise _RefusedError("invalid_grant", message)
