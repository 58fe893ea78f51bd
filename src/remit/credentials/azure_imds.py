"""Remit's own proof of who it is: a managed identity's token from Azure's metadata server.

learn.microsoft.com, "How to use managed identities for Azure resources on an Azure VM to acquire an access token"
and "Configure an application to trust a managed identity". The token's audience is fit for one thing, to be the
client assertion of an application that trusts this identity. The host is link-local, so plain http; a client
without proxies belongs here. Leaves out: App Service's and Arc's endpoints.
"""

from collections.abc import Mapping
from urllib.parse import urlencode

import httpx

from remit.credentials.hop import Hop, Token, code

HOST = "http://169.254.169.254"  # whoever reads the environment: `AZURE_POD_IDENTITY_AUTHORITY_HOST` names another
AUDIENCE = "api://AzureADTokenExchange"


class ManagedIdentity:
    """One user-assigned managed identity. `client_id`: its, not the application's; `timeout`: seconds."""

    def __init__(self, client: httpx.AsyncClient, client_id: str, *, timeout: float, host: str = HOST) -> None:
        self._hop = Hop("azure-imds", client, timeout=timeout, words=_words)
        self._client_id = client_id
        self._host = host.rstrip("/")

    async def assertion(self) -> Token:
        """A client assertion for Remit's application; raises `HopFailed`."""
        query = urlencode({"api-version": "2018-02-01", "resource": AUDIENCE, "client_id": self._client_id})
        url = f"{self._host}/metadata/identity/oauth2/token?{query}"
        return self._hop.bearer(await self._hop.get(url, {"Metadata": "true"}))


def _words(members: Mapping[str, object]) -> str:
    return code(members.get("error"))
