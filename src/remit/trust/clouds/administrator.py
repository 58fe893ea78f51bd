"""The tokens of whoever runs the command: an administrator at their own machine, or a pipeline with rights of its own.

Google: gcloud's own variable for a ready token, else what google-auth finds. Microsoft: what azure-identity finds, for
the one tenant that remit.yaml names; nothing opens a browser. Both libraries are slow to import and block, so that
they are imported when they are needed and work in threads. Sources: cloud.google.com/sdk/docs/properties
(`auth/access_token`), cloud.google.com/docs/authentication/application-default-credentials,
learn.microsoft.com/python/api/azure-identity.
"""

import asyncio
import base64
import json
import logging
import os
import time
from collections.abc import Callable
from datetime import UTC
from typing import Any, Protocol

from remit.model.errors import TrustBroken
from remit.model.secret import AccessToken

VARIABLE = "CLOUDSDK_AUTH_ACCESS_TOKEN"
_GOOGLE = "https://www.googleapis.com/auth/"
_EARLY = 300.0  # seconds before its end a token is fetched anew
_HINT_GOOGLE = f"`gcloud auth application-default login`, or put `gcloud auth print-access-token` into `{VARIABLE}`"
_HINT_MICROSOFT = "`az login --tenant {tenant}`"


class Credential(Protocol):
    """What azure-identity's credentials are."""

    def get_token(self, *scopes: str, tenant_id: str | None = None) -> Any:
        """A token, with `token` and `expires_on`, seconds since the epoch."""


class Administrator:
    """Tokens at three clouds of whoever runs this.

    `credential`: makes azure-identity's; `google`: a token of Google's for a scope, and its end, seconds since the
    epoch; `clock`: the same seconds.
    """

    def __init__(
        self,
        tenant: str,
        *,
        credential: Callable[[], Credential] | None = None,
        google: Callable[[str], tuple[str, float]] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._tenant = tenant
        self._make = credential or (lambda: _default(tenant))
        self._google = google or _of_google
        self._clock = clock
        self._credential: Credential | None = None
        self._kept: dict[str, tuple[AccessToken, float]] = {}
        self._one = asyncio.Lock()

    async def token(self, scope: str) -> AccessToken:
        """A token, kept for its life; raises `TrustBroken` with a hint on how to sign in."""
        if scope.startswith(_GOOGLE) and (given := os.environ.get(VARIABLE)):
            return AccessToken(given)
        async with self._one:
            kept = self._kept.get(scope)
            if kept is None or kept[1] - self._clock() < _EARLY:
                self._kept[scope] = kept = await asyncio.to_thread(self._fetch, scope)
            return kept[0]

    async def ids(self) -> frozenset[str]:
        """The object id under which Entra knows whoever runs this, so that they cannot lock themselves out.

        Read out of a token without belief in it: it only makes a plan more careful. Empty when it does not say.
        """
        try:
            token = await self.token("https://management.azure.com/.default")
            body = token.reveal().split(".")[1]
            claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
            return frozenset({str(claims["oid"])})
        except (TrustBroken, ValueError, KeyError, IndexError, TypeError):
            return frozenset()

    def _fetch(self, scope: str) -> tuple[AccessToken, float]:
        if scope.startswith(_GOOGLE):
            value, ends = self._google(scope)
            return AccessToken(value), ends
        return self._of_microsoft(scope)

    def _of_microsoft(self, scope: str) -> tuple[AccessToken, float]:
        from azure.core.exceptions import AzureError  # noqa: PLC0415 - half a second

        self._credential = self._credential or self._make()
        broken = ""
        try:
            found = self._credential.get_token(scope, tenant_id=self._tenant)
            return AccessToken(found.token), float(found.expires_on)
        except (AzureError, ValueError) as error:
            broken = str(error).strip().partition("\n")[0]
        # outside the handler: a library's error holds the request
        hint = _HINT_MICROSOFT.format(tenant=self._tenant)
        raise TrustBroken(f"nobody is signed in at Microsoft for this: {broken}", hint=hint)


def _default(tenant: str) -> Credential:
    from azure.identity import DefaultAzureCredential  # noqa: PLC0415 - half a second

    # nobody else listens: else every identity that it tried stands on stderr, before the one line that says what to do
    logging.getLogger("azure.identity").addHandler(logging.NullHandler())
    # the tenant is remit.yaml's, whichever one `az login` took last
    return DefaultAzureCredential(exclude_interactive_browser_credential=True, additionally_allowed_tenants=[tenant])


def _of_google(scope: str) -> tuple[str, float]:
    import google.auth  # noqa: PLC0415 - a quarter of a second
    import google.auth.exceptions  # noqa: PLC0415 - the same
    import google.auth.transport.requests  # noqa: PLC0415 - the same

    broken = ""
    try:
        credentials, _ = google.auth.default(scopes=[scope])
        request = google.auth.transport.requests.Request()
        credentials.refresh(request)  # type: ignore[no-untyped-call] # the library leaves it untyped
        ends = credentials.expiry  # in UTC, without saying so
        return str(credentials.token), ends.replace(tzinfo=UTC).timestamp() if ends else 0.0
    except google.auth.exceptions.GoogleAuthError as error:
        broken = str(error).strip().partition("\n")[0]
    raise TrustBroken(f"nobody is signed in at Google: {broken}", hint=_HINT_GOOGLE)
