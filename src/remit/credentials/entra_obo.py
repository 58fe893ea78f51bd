"""A person's token for Remit becomes, on her behalf, her token for the second audience.

learn.microsoft.com, "Microsoft identity platform and OAuth 2.0 On-Behalf-Of flow", third case (federated
credential). Google's attribute condition demands that Remit's application obtained the token, so nobody can do
this hop without Remit. Leaves out: app-only tokens, which Entra does not exchange.
"""

import re
from collections.abc import Mapping

import httpx

from remit.credentials.hop import Hop, Token, code, https
from remit.credentials.settings import CredentialSettings
from remit.model.secret import Secret

LOGIN = "https://login.microsoftonline.com"

_AADSTS = re.compile(r"AADSTS[0-9]{4,9}(?=:)")


class EntraOnBehalfOf:
    """The token endpoint of one tenant, as Remit's application. `timeout`: seconds."""

    def __init__(
        self, client: httpx.AsyncClient, settings: CredentialSettings, *, timeout: float, authority: str = LOGIN
    ) -> None:
        self._hop = Hop("entra-obo", client, timeout=timeout, words=words)
        self._settings = settings
        self._url = f"{https(authority)}/{settings.tenant}/oauth2/v2.0/token"

    async def exchange(self, person: Secret, assertion: Secret) -> Token:
        """The person's token for the second audience; `assertion` proves the application; raises `HopFailed`."""
        person_form: dict[str, str | Secret] = {
            "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
            "requested_token_use": "on_behalf_of",
            "assertion": person,
        }
        return await self._ask(person_form, assertion)

    async def own(self, assertion: Secret, scope: str = "") -> Token:
        """The application's own token (client credentials); raises `HopFailed`.

        `scope`: of what, `https://graph.microsoft.com/.default`; the second audience when empty.
        """
        return await self._ask({"grant_type": "client_credentials"}, assertion, scope)

    async def _ask(self, form: dict[str, str | Secret], assertion: Secret, scope: str = "") -> Token:
        application: dict[str, str | Secret] = {
            "scope": scope or self._settings.scope,
            "client_id": self._settings.application,
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": assertion,
        }
        return self._hop.bearer(await self._hop.post_form(self._url, {**form, **application}))


def words(members: Mapping[str, object]) -> str:
    """Entra's number where it gives one, for it says more than the OAuth word."""
    number = _AADSTS.match(str(members.get("error_description", "")))
    return number[0] if number else code(members.get("error"))
