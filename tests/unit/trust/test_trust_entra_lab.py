"""Entra as the product changes it, in the lab's tenant: which refuses what Microsoft Graph refuses, and takes its time."""

import asyncio
import json
import time
from dataclasses import replace
from urllib.parse import parse_qsl

import httpx
import pytest

from remit.lab import contoso
from remit.lab.directory import Directory
from remit.lab.entra_registry import Registry
from remit.lab.graph import Graph
from remit.lab.http import Request
from remit.lab.jwt import SigningKey, verify
from remit.lab.lag import Lag
from remit.model.estate import Estate
from remit.model.secret import AccessToken
from remit.trust.clouds.entra import NEEDS, READS, Entra
from remit.trust.clouds.port import Denied, Missing
from remit.trust.desired.entra import entra
from remit.trust.planning.diff import plan
from remit.trust.planning.plan import Act
from remit.trust.settings import Applications, AzureClient, Role, TrustSettings
from remit.trust.things import Found, ids_of, settled

KEY = SigningKey()  # making one takes long
ROLES = ("DataScientist", "MLEngineer", "Pipeline", "Security")
REDIRECTS = contoso.REMIT.redirects
STORES = (
    ("contoso-fraud-test/MLEngineer", contoso.azure.FRAUD_TEST_STORAGE, ("MLEngineer", "Pipeline")),
    ("contoso-fraud-test/DataScientist", contoso.azure.FRAUD_TEST_READER, ("DataScientist",)),
    ("contoso-fraud-prod/MLEngineer", contoso.azure.FRAUD_PROD_READER, ("MLEngineer",)),
)


def _role(name: str) -> Role:
    """As Contoso gives it: to people and workloads one by one."""
    people = tuple(user.oid for user in contoso.USERS if name in user.roles)
    machines = tuple(each.oid for each in contoso.MANAGED_IDENTITIES if name in each.roles)
    return Role(name, (), people, machines + tuple(app.principal for app in contoso.APPS if name in app.roles))


def _client(name: str, client: str, roles: tuple[str, ...]) -> AzureClient:
    project = name.partition("/")[0]
    return AzureClient(name, client, tuple(f"remit/{project}/{role}" for role in roles), (), write=False)


CONTOSO = TrustSettings(
    issuer=contoso.ISSUER,
    tenant=contoso.TENANT,
    application=contoso.REMIT.id,
    provider=f"//iam.googleapis.com/{contoso.PROVIDER.resource}",
    reviewer="auditor@contoso-fraud-test.iam.gserviceaccount.com",
    mappings=(),
    estate=Estate(()),
    own_issuer=contoso.REMIT_ISSUER,
    applications=Applications(
        contoso.REMIT.id,
        (contoso.REMIT.uri,),
        contoso.CLI.id,
        contoso.GOOGLE.uri,
        contoso.MI_ARBITER.client_id,
        REDIRECTS,
    ),
    roles=tuple(map(_role, ROLES)),
    azure=tuple(_client(name, app.id, roles) for name, app, roles in STORES),
)
NAMES = {contoso.REMIT.id: "remit", contoso.CLI.id: "remit-cli", **{app.id: name for name, app, _ in STORES}}
PENDING = replace(CONTOSO, roles=(Role("MLEngineer", groups=(contoso.ML_ENGINEERS.id,)),), pending=NAMES)


class Tenant(httpx.AsyncBaseTransport):
    """The lab's Graph, asked as somebody with these permissions."""

    def __init__(self, world: contoso.World, permissions: tuple[str, ...] = contoso.ADMINISTRATOR_ROLES) -> None:
        self.lag = Lag()
        self.registry = Registry(time.time, world, self.lag)
        self.permissions = permissions
        log = type("Log", (), {"entries": []})()
        self.graph = Graph(self, log, time.time, Directory(time.time, registry=self.registry))
        self.slept = 0.0
        self.made: set[str] = set()
        self.cloud = Entra(httpx.AsyncClient(transport=self), self, ours=self.ours, sleep=self.sleep)

    def ours(self) -> set[str]:
        """What was made here, and what bears the second audience, which no file names by its id."""
        return {contoso.GOOGLE.id, *self.made}

    def verify(self, token: str):
        return verify(token, [KEY.public(contoso.ISSUER)])

    async def sleep(self, seconds: float) -> None:
        self.slept += seconds

    async def token(self, scope: str) -> AccessToken:
        claims = {"aud": contoso.GRAPH.uri, "exp": time.time() + 60, "roles": list(self.permissions)}
        claims |= {"oid": contoso.ADMINISTRATOR.oid, "appid": contoso.ADMINISTRATOR.client_id}
        return AccessToken(KEY.sign(claims))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        query = tuple(parse_qsl(request.url.query.decode(), keep_blank_values=True))
        path = request.url.raw_path.decode().partition("?")[0]
        headers = {key.lower(): value for key, value in request.headers.items()}
        asked = Request(request.method, request.url.host, path, query, headers, request.content)
        answer = await self.graph(asked)
        return httpx.Response(answer.status, headers=dict(answer.headers), content=answer.body)

    def plan(self, settings: TrustSettings):
        return plan(entra(settings), asyncio.run(self.cloud.read(entra(settings))), settings, ours=self.ours())

    def apply(self, settings: TrustSettings) -> int:
        return asyncio.run(self._apply(settings))

    async def _apply(self, settings: TrustSettings) -> int:
        """How often something was not seen yet."""
        found = await self.cloud.read(entra(settings))
        ids, waited = ids_of(found), 0
        todo = plan(entra(settings), found, settings, ours=self.ours())
        assert not todo.problems
        for change in todo.changes:
            while True:
                try:
                    ids |= ids_of([await self._done(change, ids)])
                    break
                except Missing:
                    waited += 1
                    await asyncio.sleep(0.02)
        return waited

    async def _done(self, change, ids) -> Found:
        there = Found(change.address, change.before or {}, change.ids or {})
        if change.act is Act.REMOVE:
            await self.cloud.remove(there)
            return there
        thing = replace(change.thing, fields=settled(change.thing.fields, ids))
        if change.act is Act.CHANGE:
            return await self.cloud.change(thing, there)
        made = await self.cloud.make(thing)
        self.made |= set(made.ids.values())
        return made


def test_contoso_holds_what_its_file_says():
    tenant = Tenant(contoso.CONTOSO)
    todo = tenant.plan(CONTOSO)
    assert [(change.name, change.before, change.after) for change in todo.changes] == []
    assert todo.problems == ()


def test_from_nothing_to_everything_and_then_there_is_nothing_to_do():
    tenant = Tenant(contoso.EMPTY)
    assert {change.act for change in tenant.plan(PENDING).changes} == {Act.MAKE}
    tenant.apply(PENDING)
    assert tenant.plan(PENDING).empty


def test_whatever_is_not_seen_yet_is_made_once():
    tenant = Tenant(contoso.EMPTY)
    before = len(tenant.registry.applications.all_written())
    tenant.lag.seconds = 0.4
    assert tenant.apply(PENDING)
    tenant.lag.seconds = 0.0
    deadline = time.monotonic() + 60
    while not tenant.plan(PENDING).empty and time.monotonic() < deadline:
        time.sleep(0.05)
    assert tenant.plan(PENDING).empty
    assert len(tenant.registry.applications.all_written()) - before == len(NAMES) + 1


def test_a_file_that_changed_is_followed():
    tenant = Tenant(contoso.CONTOSO)
    fewer = replace(
        CONTOSO,
        roles=(*CONTOSO.roles[1:], Role("Auditor", groups=(contoso.SECURITY.id,))),
        azure=(replace(CONTOSO.azure[0], subjects=CONTOSO.azure[0].subjects[:1]), *CONTOSO.azure[1:]),
        applications=replace(CONTOSO.applications, redirects=REDIRECTS[:1], uris=("api://remit", "api://another")),
    )
    tenant.apply(fewer)
    assert tenant.plan(fewer).empty
    tenant.apply(CONTOSO)
    assert tenant.plan(CONTOSO).empty


def test_what_was_removed_can_be_made_again_with_the_ids_that_it_had():
    tenant = Tenant(contoso.CONTOSO)
    before = asyncio.run(tenant.cloud.read(entra(CONTOSO)))
    for one in before:
        if one.address.kind == "entra.application":
            asyncio.run(tenant.cloud.remove(one))
            asyncio.run(tenant.cloud.remove(one))
    assert tenant.plan(CONTOSO).changes
    tenant.apply(CONTOSO)
    assert tenant.plan(CONTOSO).empty
    after = {one.address: one.ids for one in asyncio.run(tenant.cloud.read(entra(CONTOSO)))}
    assert after == {one.address: one.ids for one in before}


def test_a_busy_tenant_is_waited_for():
    tenant = Tenant(contoso.CONTOSO)
    tenant.graph.throttle(3, retry_after=11)
    assert tenant.plan(CONTOSO).empty
    assert tenant.slept == 33.0


@pytest.mark.parametrize(
    ("permissions", "may"), [(NEEDS, True), ([*READS], False), (["Application.ReadWrite.All"], False)]
)
def test_the_permissions_that_are_named_are_just_those_that_it_takes(permissions, may):
    tenant = Tenant(contoso.EMPTY, tuple(permissions))
    assert tenant.plan(PENDING).changes  # whoever may read may plan
    if may:
        tenant.apply(PENDING)
        return
    with pytest.raises(Denied) as refusal:
        tenant.apply(PENDING)
    assert "--needs" in refusal.value.hint


def test_what_is_written_down_of_it_names_whoever_did_it():
    tenant = Tenant(contoso.EMPTY)
    tenant.apply(PENDING)
    tenant.permissions = ("AuditLog.Read.All", "Directory.Read.All")
    request = httpx.Request(
        "GET",
        "https://graph.microsoft.com/v1.0/auditLogs/directoryAudits",
        headers={"authorization": f"Bearer {asyncio.run(tenant.token('')).reveal()}"},
    )
    told = json.loads(asyncio.run(tenant.handle_async_request(request)).content)["value"]
    assert contoso.ADMINISTRATOR.oid in json.dumps(told)
