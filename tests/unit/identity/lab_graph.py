"""The lab's Graph behind a real client of Microsoft Graph, without a socket; and a clock that tests turn."""

import asyncio
import json
import time

import httpx

from remit.identity.directory.graph import Graph
from remit.lab import contoso, graph
from remit.lab.directory import Directory
from remit.lab.http import Request
from remit.model.identity import Kind, Principal
from remit.model.secret import AccessToken

ISSUER = f"https://login.microsoftonline.com/{contoso.TENANT}/v2.0"
DANA = Principal(ISSUER, contoso.TENANT, contoso.DANA.oid, Kind.PERSON)
OLGA = Principal(ISSUER, contoso.TENANT, contoso.OLGA.oid, Kind.PERSON)
PIPELINE = Principal(ISSUER, contoso.TENANT, contoso.FRAUD_PIPELINE.oid, Kind.WORKLOAD)


class Clock:
    def __init__(self, now=1_795_000_000.0):
        self.now = now

    def __call__(self):
        return self.now

    async def sleep(self, seconds):
        self.now += seconds
        await asyncio.sleep(0)


class LabWorld(httpx.AsyncBaseTransport):
    """`world.graph` asks the lab; `world.asked` is what was asked; `world.down` fails it; `world.before` may wait.

    `world.throttled`: seconds that its next answer asks for.
    """

    def __init__(self, groups=contoso.GROUPS):
        self.clock = Clock()
        self.directory = Directory(self.clock, groups)
        self.permissions = ["GroupMember.Read.All", "User.Read.All", "Application.Read.All", "Policy.Read.All"]
        log = type("Log", (), {"entries": []})()
        self.lab = graph.Graph(self, log, time.time, self.directory)
        self.asked = []
        self.down = False
        self.before = None
        self.throttled = 0
        client = httpx.AsyncClient(transport=self)
        self.graph = Graph(client, self.token, tenant=contoso.TENANT, clock=self.clock, sleep=self.clock.sleep)

    async def token(self):
        return AccessToken("t")

    def verify(self, token):
        """As the lab's keys: this test is about what stands behind them."""
        assert token == "t"
        return {"aud": contoso.GRAPH.uri, "exp": time.time() + 60, "roles": self.permissions}

    async def handle_async_request(self, request):
        body = await request.aread()
        self.asked.append((request.method, str(request.url), json.loads(body) if body else None))
        if self.before:
            await self.before()
        if self.down:
            raise httpx.ConnectError("a secret of the library", request=request)
        if self.throttled:
            later, self.throttled = str(self.throttled), 0
            return httpx.Response(429, headers={"retry-after": later}, stream=httpx.ByteStream(b""))
        headers = {name.lower(): value for name, value in request.headers.items()}
        pairs = tuple(request.url.params.multi_items())
        asked = Request(request.method, request.url.host, request.url.path, pairs, headers, body)
        answer = await self.lab(asked)
        return httpx.Response(answer.status, headers=dict(answer.headers), stream=httpx.ByteStream(answer.body))
