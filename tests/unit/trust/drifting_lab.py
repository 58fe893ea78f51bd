"""The lab inside this process with Contoso's own remit.yaml, and what an administrator may do behind its back."""

import asyncio
import json
import shutil
from pathlib import Path

import httpx

from remit.assembly import trust_drift
from remit.assembly.trust_plan import permitted
from remit.lab import contoso
from remit.lab.errors import CloudError
from remit.lab.http import Request
from remit.lab.service import Clouds
from remit.model.secret import AccessToken
from remit.settings.read import read
from remit.trust.clouds import azure, entra, google
from remit.trust.clouds.asking import Asking
from remit.trust.desired import wanted

EXAMPLE = Path(__file__).parents[3] / "examples" / "contoso"
GRAPH = "https://graph.microsoft.com/v1.0/"


class Lab(httpx.AsyncBaseTransport):
    """The lab's hosts, as over the wire."""

    def __init__(self, clouds):
        self._handle = clouds.faults.around(clouds.hosts())

    async def handle_async_request(self, request):
        body = await request.aread()
        headers = {name.lower(): value for name, value in request.headers.items()}
        pairs = tuple(request.url.params.multi_items())
        path = request.url.raw_path.decode().partition("?")[0]
        try:
            answer = await self._handle(Request(request.method, request.url.host, path, pairs, headers, body))
        except CloudError as refused:
            return httpx.Response(refused.http_status, content=refused.json())
        return httpx.Response(answer.status, headers=answer.headers, content=answer.body)


class Administrator:
    """Tokens of the one who set the trust up, at all three clouds."""

    def __init__(self, clouds):
        self._clouds = clouds
        self._google = clouds.commands()["google_administrator"](True)

    async def token(self, scope):
        if "googleapis" in scope:
            return AccessToken(self._google)
        resource = scope.removesuffix("/.default")
        query = (
            ("api-version", "2018-02-01"),
            ("resource", resource),
            ("client_id", contoso.ADMINISTRATOR.client_id),
        )
        path = "/metadata/identity/oauth2/token"
        answer = await self._clouds.azure(Request("GET", "169.254.169.254", path, query, {"metadata": "true"}, b""))
        return AccessToken(json.loads(answer.body)["access_token"])


async def swiftly(seconds):
    """Nobody waits for the lab's clock."""


class World:
    """One lab, Contoso's file over it, and an administrator's hands."""

    def __init__(self, folder):
        shutil.copytree(EXAMPLE, folder / "contoso")
        (folder / "lab").mkdir()
        self.file = folder / "contoso" / "remit.yaml"
        self.clouds = Clouds(folder / "lab")
        self.tokens = Administrator(self.clouds)
        self.settings = read(self.file, pending=True)
        self.things = wanted(self.settings.trust, permitted(self.settings))

    def client(self):
        return httpx.AsyncClient(transport=Lab(self.clouds))

    def scene(self, client):
        trust = self.settings.trust
        clouds = (
            entra.Entra(client, self.tokens, sleep=swiftly),
            google.Google(Asking(client, self.tokens, google.SCOPE, sleep=swiftly), trust, sleep=swiftly),
            azure.Azure(Asking(client, self.tokens, azure.SCOPE, sleep=swiftly), trust),
        )
        return trust_drift.scene(self.settings, self.things, {one.name: one for one in clouds}, client, self.tokens)

    def run(self, story):
        async def told():
            async with self.client() as client:
                return await story(self.scene(client))

        return asyncio.run(told())

    def clean(self):
        """Contoso's two flaws are none of what is tested: they are put right first."""

        async def story(view):
            seen = await view.look()
            names = [change.name for change in seen.plan.changes]
            if names:
                planned = await trust_drift.to_revert(view, names)
                await trust_drift.reverted(view, planned, names, lambda _: None)
            return (await view.look()).plan

        return self.run(story)

    def reread(self):
        """The plan of the file as it is now."""
        self.settings = read(self.file, pending=True)
        self.things = wanted(self.settings.trust, permitted(self.settings))

        async def story(view):
            return (await view.look()).plan

        return self.run(story)


class Hands:
    """What somebody does by the clouds' own APIs, with no thought of remit.yaml."""

    def __init__(self, view):
        self.google = view.asking
        self.graph = view.graph
        self.view = view

    async def policy(self, resource, edit):
        """Changes one policy of a project, bucket or account."""
        kind, _, name = resource.partition("/")
        if kind == "buckets":
            url = f"https://storage.googleapis.com/storage/v1/b/{name}/iam"
            policy = await self.google("GET", f"{url}?optionsRequestedPolicyVersion=3")
            edit(policy)
            await self.google("PUT", url, {**policy, "version": 3})
            return
        base = "https://cloudresourcemanager.googleapis.com/v1/projects/"
        if kind == "accounts":
            base = f"https://iam.googleapis.com/v1/projects/{name.partition('@')[2].partition('.')[0]}/serviceAccounts/"
        options = {"options": {"requestedPolicyVersion": 3}} if kind == "projects" else None
        asked = f"{base}{name}:getIamPolicy" + ("" if options else "?options.requestedPolicyVersion=3")
        policy = await self.google("POST", asked, options)
        edit(policy)
        mask = {"updateMask": "bindings,auditConfigs,etag"} if kind == "projects" else {}
        await self.google("POST", f"{base}{name}:setIamPolicy", {"policy": {**policy, "version": 3}, **mask})
