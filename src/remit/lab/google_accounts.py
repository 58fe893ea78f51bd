"""Google as an issuer of ID tokens: for service accounts, by way of their machine's metadata server.

Sources: accounts.google.com/.well-known/openid-configuration; cloud.google.com/docs/authentication/get-id-token. No
people and no browsers.
"""

import hashlib
from collections.abc import Callable
from typing import Any

from remit.lab.http import Request, Response
from remit.lab.http_server import reply
from remit.lab.jwt import SigningKey

HOST = "accounts.google.com"
ISSUER = f"https://{HOST}"
CERTS = "/oauth2/v3/certs"
"""Where the keys are, on `www.googleapis.com`."""

LIFETIME = 3600  # seconds


def unique_id(account: str) -> str:
    """The number of the first service account with this e-mail: 21 digits, the `sub` and `azp` of its tokens."""
    return str(10**20 + int(hashlib.sha256(account.encode()).hexdigest(), 16) % 10**20)


class GoogleAccounts:
    """The issuer. `clock`: seconds since the epoch; `number`: of the account that has an e-mail now."""

    def __init__(self, clock: Callable[[], float], number: Callable[[str], str] = unique_id) -> None:
        self._clock = clock
        self._number = number
        self._key = SigningKey()

    async def __call__(self, request: Request) -> Response:
        """Answer one request for the discovery document or the keys."""
        if request.path == "/.well-known/openid-configuration":
            return reply(_discovery())
        if request.path == CERTS:
            return reply({"keys": [self._key.public(ISSUER)]})
        return reply({"error": "not_found"}, 404)

    def token(self, account: str, audience: str, *, full: bool) -> str:
        """A service account's ID token; `full` tells the e-mail address too."""
        now = int(self._clock())
        number = self._number(account)
        claims: dict[str, Any] = {
            "iss": ISSUER,
            "aud": audience,
            "azp": number,
            "sub": number,
            "iat": now,
            "exp": now + LIFETIME,
        }
        return self._key.sign(claims | ({"email": account, "email_verified": True} if full else {}))


def _discovery() -> dict[str, Any]:
    return {
        "issuer": ISSUER,
        "jwks_uri": f"https://www.googleapis.com{CERTS}",
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
    }
