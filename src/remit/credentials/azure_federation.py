"""Azure with no secret: an application's own token, for a client assertion that Remit's own issuer signed.

learn.microsoft.com, "Microsoft identity platform and the OAuth 2.0 client credentials flow", third case (federated
credential). Entra fetches the issuer's discovery document and keys, and compares `iss`, `sub` and `aud` to the letter.
What such a token opens is said by the application's role assignments alone: nobody narrows it afterwards, nobody takes
it back, and nobody asks for a shorter life. Leaves out: tokens of people (`entra_obo`), continuous access evaluation.
"""

from collections.abc import Sequence

import httpx

from remit.credentials.azure_imds import AUDIENCE
from remit.credentials.entra_obo import LOGIN, words
from remit.credentials.hop import Hop, Token, https
from remit.credentials.own_issuer import OwnIssuer
from remit.credentials.settings import AzureLine
from remit.model.credential import Cloud, Purpose
from remit.model.errors import HopFailed
from remit.model.identity import Identity
from remit.model.reasons import Reason
from remit.model.secret import Secret

HOP = "entra-federation"
LONGEST = 90 * 60
"""Seconds that a token lives at the most. Entra draws 60 to 90 minutes; a tenant's own policy can say up to a day."""

SCOPES = {
    "storage": "https://storage.azure.com/.default",
    "postgresql": "https://ossrdbms-aad.database.windows.net/.default",
    "sql": "https://database.windows.net/.default",
}
"""What is asked of Entra for a token of each service."""


class EntraFederation:
    """The token endpoint of one tenant, for applications that trust Remit's own issuer. `timeout`: seconds."""

    def __init__(
        self, client: httpx.AsyncClient, tenant: str, issuer: OwnIssuer, *, timeout: float, authority: str = LOGIN
    ) -> None:
        self._hop = Hop(HOP, client, timeout=timeout, words=words)
        self._url = f"{https(authority)}/{tenant}/oauth2/v2.0/token"
        self._issuer = issuer

    async def token(self, line: AzureLine, scope: str) -> Token:
        """A token of the line's application for `scope`, one of `SCOPES`; raises `HopFailed`.

        One that lives longer than `LONGEST` is not handed on: decisions count on its end.
        """
        form: dict[str, str | Secret] = {
            "grant_type": "client_credentials",
            "client_id": line.client,
            "scope": scope,
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": self._issuer.client_assertion(line.subject, AUDIENCE),
        }
        token = self._hop.bearer(await self._hop.post_form(self._url, form))
        if token.life > LONGEST:
            message = f"`{HOP}` gave a token that lives longer than {LONGEST // 60} minutes"
            hint = "the tenant's token lifetime policy must not be longer for this application"
            raise HopFailed(HOP, Reason.EXCHANGE_REFUSED, message, hint=hint)
        return token


def purpose_at_azure(line: AzureLine, service: str) -> Purpose:
    """What a token of a line is for: the application, and one service of it."""
    return Purpose(line.client, (SCOPES[service],), lifetime=LONGEST, cloud=Cloud.AZURE)


def line_for(identity: Identity, purpose: Purpose, lines: Sequence[AzureLine]) -> tuple[AzureLine, str]:
    """The line, and its scope, that a purpose means for this identity; raises `HopFailed` when there is none.

    Whoever holds no role of the application's gets none of its tokens, whatever was decided.
    """
    for line in lines:
        scopes = {(SCOPES[service],) for service in line.services}
        if line.client == purpose.account and line.role in identity.roles and purpose.scopes in scopes:
            return line, purpose.scopes[0]
    message = "no line of `credentials.azure` is for this application, identity and service"
    raise HopFailed(HOP, Reason.EXCHANGE_REFUSED, message)
