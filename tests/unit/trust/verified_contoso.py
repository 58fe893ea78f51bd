"""Contoso's installation and the lab in this process: verified by the product's own parts, broken by the lab's own."""

import asyncio
import contextlib
import shutil
from pathlib import Path

import httpx

from remit.assembly import rooms
from remit.assembly.trust import ApplicationReviewer
from remit.assembly.trust_verifying import Reviewing, Walk, verification
from remit.credentials.own_issuer import OwnIssuer
from remit.credentials.own_keys import OwnKeys
from remit.lab import contoso
from remit.lab.errors import CloudError
from remit.lab.http import Request
from remit.lab.service import Clouds
from remit.model.errors import HopFailed, TrustBroken
from remit.model.secret import AccessToken
from remit.settings.read import read

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "contoso"
GOOGLE = "https://www.googleapis.com/auth/cloud-platform"
POOL = contoso.PROVIDER.pool
IAM = "https://iam.googleapis.com/v1"
GRAPH = "https://graph.microsoft.com/v1.0"


class Lab(httpx.AsyncBaseTransport):
    """The lab's hosts, and Azure's metadata service, inside this process."""

    def __init__(self, clouds: Clouds) -> None:
        self._handle = clouds.faults.around(clouds.hosts())
        self._azure = clouds.azure
        self.asked: list[str] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        body = await request.aread()
        headers = {name.lower(): value for name, value in request.headers.items()}
        pairs = tuple(request.url.params.multi_items())
        target = request.url.raw_path.decode().partition("?")[0]
        asked = Request(request.method, request.url.host, target, pairs, headers, body)
        self.asked.append(f"{request.method} {request.url.host}{target}")
        try:
            answer = await (self._azure if request.url.host == "169.254.169.254" else self._handle)(asked)
        except CloudError as refused:  # as the lab's server answers
            kind = {"content-type": "application/json"}
            return httpx.Response(refused.http_status, headers=kind, stream=httpx.ByteStream(_bytes(refused.json())))
        return httpx.Response(answer.status, headers=answer.headers, stream=httpx.ByteStream(_bytes(answer.body)))


def _bytes(body):
    return body.encode() if isinstance(body, str) else body


class Itself:
    """Remit's own tokens: as `assembly` gets them, but for Azure's, whose library speaks past this process."""

    def __init__(self, settings, hops, clouds):
        self._settings, self._hops, self._clouds = settings, hops, clouds

    async def token(self, scope):
        try:
            if scope == GOOGLE:
                return await ApplicationReviewer(self._hops, self._settings.trust.reviewer).token()
            if "graph" in scope:
                return (await self._hops.entra.own((await self._hops.identity.assertion()).value, scope)).value
        except HopFailed as failed:
            raise TrustBroken(failed.message) from failed
        return await microsoft(self._hops, contoso.MI_ARBITER.client_id, "https://management.azure.com")


async def microsoft(hops, client_id, resource):
    """A managed identity's token."""
    url = "http://169.254.169.254/metadata/identity/oauth2/token"
    query = {"api-version": "2018-02-01", "resource": resource, "client_id": client_id}
    answer = await hops.client.get(url, params=query, headers={"Metadata": "true"})
    return AccessToken(answer.json()["access_token"])


class House:
    """One installation over one lab."""

    def __init__(self, folder: Path) -> None:
        shutil.copytree(EXAMPLE, folder / "contoso", ignore=shutil.ignore_patterns(".remit"))
        self.file = folder / "contoso" / "remit.yaml"
        self.clouds = Clouds(folder / "lab")
        self.lab = Lab(self.clouds)
        self.keys = folder / "contoso" / ".remit" / "issuer"
        settings = read(self.file)
        issuer = OwnIssuer(settings.credentials.own_issuer, settings.own_keys)
        self.settings = settings
        self.command(provider_keys={"name": "remit", "jwks": issuer.jwks()})

    def rewrite(self, before: str, after: str) -> None:
        text = self.file.read_text()
        assert before in text
        self.file.write_text(text.replace(before, after))

    def command(self, **order):
        [(name, value)] = order.items()
        return self.clouds.commands()[name](value)

    def verify(self):
        return asyncio.run(self._verified())

    async def _verified(self):
        settings = read(self.file)
        async with self.opened(settings) as (client, hops):
            walk = Walk(settings, hops)
            itself = Itself(settings, hops, self.clouds)
            tokens = Reviewing(itself, walk, client, settings.trust)
            return await verification(settings, tokens, client, hops)()

    @contextlib.asynccontextmanager
    async def opened(self, settings):
        async with httpx.AsyncClient(transport=self.lab) as client:
            hops = rooms.Hops(settings, client, client)
            hops.client = client
            yield client, hops

    def change(self, method, url, body=None):
        """As the administrator, who owns the projects and registers applications."""

        async def sent():
            async with self.opened(self.settings) as (client, hops):
                if "googleapis" in url:
                    token = AccessToken(self.clouds.commands()["google_administrator"](True))
                else:
                    host = "management.azure.com" if "management.azure.com" in url else "graph.microsoft.com"
                    token = await microsoft(hops, contoso.ADMINISTRATOR.client_id, f"https://{host}")
                headers = {"authorization": f"Bearer {token.reveal()}"}
                answer = await client.request(method, url, json=body, headers=headers)
                assert answer.is_success, answer.text
                return answer.json() if answer.content else {}

        return asyncio.run(sent())

    def bind(self, url, edit):
        """Edits a policy: `edit` is given its bindings."""
        policy = self.change("POST", f"{url}:getIamPolicy", {"options": {"requestedPolicyVersion": 3}})
        edit(policy["bindings"])
        self.change("POST", f"{url}:setIamPolicy", {"policy": {**policy, "version": 3}})

    def new_key(self):
        """A new key of Remit's own, that nobody uploaded."""
        OwnKeys(read(self.file).own_keys, lambda: 0.0).add()
