"""A service account's token for a federated identity that may impersonate it.

cloud.google.com/iam/docs/reference/credentials/rest/v1/projects.serviceAccounts/generateAccessToken. Google writes
the federated principal into `serviceAccountDelegationInfo` of whatever the token then does. Leaves out: delegation
chains, lifetimes over an hour, which an organisation policy must allow.
"""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

import httpx

from remit.credentials.hop import MAX_LIFE, Hop, Token, code, https
from remit.model.errors import HopFailed
from remit.model.reasons import Reason
from remit.model.secret import Secret

IAM = "https://iamcredentials.googleapis.com"

_EMAIL = re.compile(r"[a-z0-9-]{1,63}@[a-z0-9.-]{1,128}\.gserviceaccount\.com")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?Z")


class GoogleIam:
    """Impersonation. `timeout`: seconds; `wall`: seconds since the epoch, since Google answers with a time of day."""

    def __init__(
        self, client: httpx.AsyncClient, *, timeout: float, wall: Callable[[], float] = time.time, base: str = IAM
    ) -> None:
        self._hop = Hop("google-iam", client, timeout=timeout, words=_words)
        self._wall = wall
        self._base = https(base)

    async def impersonate(self, federated: Secret, account: str, scopes: Sequence[str], lifetime: int) -> Token:
        """A token of `account` (an e-mail) for `lifetime` seconds, at most 3600; raises `HopFailed`."""
        if not _EMAIL.fullmatch(account):
            message = "the mapped account is not the e-mail of a service account"
            raise HopFailed(self._hop.name, Reason.EXCHANGE_REFUSED, message, hint="correct the mapping in remit.yaml")
        url = f"{self._base}/v1/projects/-/serviceAccounts/{account}:generateAccessToken"
        asked = {"scope": list(scopes), "lifetime": f"{lifetime}s"}
        members = await self._hop.post_json(url, asked, federated)
        return Token(self._hop.token(members, "accessToken"), self._life(members.get("expireTime")))

    def _life(self, expires: object) -> float:
        if not isinstance(expires, str) or not _TIME.fullmatch(expires):
            self._hop.unavailable("answered without a well-formed `expireTime`")
        try:
            life = datetime.fromisoformat(expires).timestamp() - self._wall()
        except ValueError:
            life = 0.0
        if not 0 < life <= MAX_LIFE:
            self._hop.unavailable("answered with a token whose life is over or unclear")
        return life


def _words(members: Mapping[str, object]) -> str:
    """The canonical status: `PERMISSION_DENIED`, `NOT_FOUND`."""
    error = members.get("error")
    return code(error.get("status")) if isinstance(error, dict) else code(error)
