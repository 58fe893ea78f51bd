"""Azure's role assignments: what the file wants, what is there, and how the one becomes the other; against the lab."""

import asyncio
import json
import time
import uuid
from dataclasses import replace
from urllib.parse import parse_qsl

import httpx
import pytest

from remit.lab import contoso, contoso_azure
from remit.lab.arm import Arm
from remit.lab.arm_assignments import Assignments
from remit.lab.contoso_shapes import RoleAssignment
from remit.lab.entra_keys import Keys
from remit.lab.http import Request
from remit.model.errors import TrustBroken
from remit.model.estate import Estate, Project
from remit.model.secret import AccessToken
from remit.trust.clouds import azure_roles
from remit.trust.clouds.asking import Asking
from remit.trust.clouds.azure import NEEDS, READS, SCOPE, Azure
from remit.trust.clouds.port import Conflict, Denied, Missing
from remit.trust.desired.azure import azure as desired
from remit.trust.settings import AzureClient, StorageAccount, TrustSettings
from remit.trust.things import Address, Found, Ref, Thing, settled

GROUP, SUBSCRIPTION = contoso_azure.GROUP, contoso_azure.SUBSCRIPTION
FEATURES = contoso_azure.container_scope(contoso_azure.TEST_FEATURES)
STAGING = contoso_azure.container_scope(contoso_azure.TEST_STAGING)
PROD = contoso_azure.container_scope(contoso_azure.PROD_FEATURES)
ACCOUNT = contoso_azure.account_scope("contosofraudtest")
READER, WRITER = contoso_azure.READER, contoso_azure.CONTRIBUTOR
NIGHTLY = contoso.NIGHTLY.principal
GHOST = "5e000000-0000-4000-8000-0000000000ff"
_TEST, _PROD = "contoso-fraud-test", "contoso-fraud-prod"

CLIENTS = (
    AzureClient(
        f"{_TEST}/MLEngineer",
        contoso_azure.FRAUD_TEST_STORAGE.id,
        (f"remit/{_TEST}/MLEngineer", f"remit/{_TEST}/Pipeline"),
        (contoso_azure.TEST_FEATURES, contoso_azure.TEST_STAGING),
        write=True,
    ),
    AzureClient(
        f"{_TEST}/DataScientist",
        contoso_azure.FRAUD_TEST_READER.id,
        (f"remit/{_TEST}/DataScientist",),
        (contoso_azure.TEST_FEATURES,),
        write=False,
    ),
    AzureClient(
        f"{_PROD}/MLEngineer",
        contoso_azure.FRAUD_PROD_READER.id,
        (f"remit/{_PROD}/MLEngineer",),
        (contoso_azure.PROD_FEATURES,),
        write=False,
    ),
)
PRINCIPALS = {
    Ref(Address("entra.principal", client.name), "id"): app.principal
    for client, app in zip(CLIENTS, contoso_azure.CLIENTS, strict=True)
}
SETTINGS = TrustSettings(
    issuer=contoso.ISSUER,
    tenant=contoso.TENANT,
    application=contoso.REMIT.id,
    provider="",
    reviewer="",
    mappings=(),
    estate=Estate(
        (
            Project(_TEST, "1", "test", (), containers=(contoso_azure.TEST_FEATURES, contoso_azure.TEST_STAGING)),
            Project(_PROD, "2", "prod", (), containers=(contoso_azure.PROD_FEATURES,)),
        )
    ),
    azure=CLIENTS,
    storage=tuple(
        StorageAccount(name, SUBSCRIPTION.rpartition("/")[2], "contoso-ml")
        for name in ("contosofraudtest", "contosofraudprod")
    ),
)


def wanted(settings=SETTINGS) -> tuple[Thing, ...]:
    """What the file wants, with the principals' ids in their places."""
    return tuple(replace(thing, fields=settled(thing.fields, PRINCIPALS)) for thing in desired(settings))


@pytest.fixture(scope="module")
def keys() -> Keys:
    """Entra's, which take a while to make."""
    return Keys()


class Cloud(httpx.AsyncBaseTransport):
    """The lab's Resource Manager behind a client, and whatever it was asked."""

    def __init__(self, keys, born=contoso_azure.ASSIGNMENTS, who=contoso.ADMINISTRATOR.oid) -> None:
        self.keys, self.who = keys, who
        self.assignments = Assignments(born)
        known = {app.principal for app in contoso.APPS}
        self.arm = Arm(keys, time.time, self.assignments, lambda oid: "ServicePrincipal" if oid in known else "")
        self.asked: list[tuple[str, str]] = []
        self.bodies: list[dict] = []
        self.waited: list[float] = []
        self.stated = ""

    async def handle_async_request(self, request):
        self.asked.append((request.method, request.url.path))
        body = await request.aread()
        if body:
            self.bodies.append(json.loads(body))
        target = request.url.raw_path.decode()
        path, _, query = target.partition("?")
        headers = {name.lower(): value for name, value in request.headers.items()}
        pairs = tuple(parse_qsl(query, keep_blank_values=True))
        answer = await self.arm(Request(request.method, request.url.host, path, pairs, headers, body, target))
        return httpx.Response(answer.status, headers=dict(answer.headers), content=answer.body)

    async def token(self, scope: str) -> AccessToken:
        assert scope == SCOPE == "https://management.azure.com/.default"
        now = int(time.time())
        claims = {"aud": "https://management.azure.com", "iss": contoso.issuer(contoso.TENANT, "1.0")}
        claims |= {"tid": contoso.TENANT, "oid": self.who, "nbf": now - 5, "exp": now + 600}
        return AccessToken(self.keys.signing.sign(claims))

    async def sleep(self, seconds: float) -> None:
        self.waited.append(seconds)

    def run(self, act, settings=SETTINGS):
        async def go():
            async with httpx.AsyncClient(transport=self) as client:
                return await act(Azure(Asking(client, self, SCOPE, sleep=self.sleep), settings))

        return asyncio.run(go())

    def read(self, settings=SETTINGS, things=None) -> tuple[Found, ...]:
        return self.run(lambda azure: azure.read(wanted(settings) if things is None else things), settings)

    def make(self, thing: Thing) -> Found:
        return self.run(lambda azure: azure.make(thing))

    def assign(self, scope, role, principal=NIGHTLY) -> None:
        self.assignments.assign(RoleAssignment(principal, scope, role))


@pytest.fixture
def cloud(keys) -> Cloud:
    return Cloud(keys)


@pytest.fixture
def empty(keys) -> Cloud:
    return Cloud(keys, ())


def names(found) -> set[str]:
    return {one.address.name for one in found}


# what is wanted


def test_the_file_wants_a_role_on_each_container_and_on_nothing_wider():
    things = desired(SETTINGS)
    assert {thing.address.name for thing in things} == {
        f"{FEATURES} {WRITER} {_TEST}/MLEngineer",
        f"{STAGING} {WRITER} {_TEST}/MLEngineer",
        f"{FEATURES} {READER} {_TEST}/DataScientist",
        f"{PROD} {READER} {_PROD}/MLEngineer",
    }
    for thing in things:
        assert thing.fields["principal"] == Ref(thing.needs[0], "id")
        assert "/blobServices/default/containers/" in thing.fields["scope"]
    assert things[0].says == (
        "lets MLEngineer and Pipeline in contoso-fraud-test read and write the blobs of `contosofraudtest/features`, "
        "and of no other container by this line"
    )


def test_a_container_that_lies_nobody_knows_where_is_refused():
    with pytest.raises(TrustBroken, match="contosofraudprod") as refusal:
        desired(replace(SETTINGS, storage=SETTINGS.storage[:1]))
    assert "trust.storage" in refusal.value.hint


# what is there


def test_contoso_holds_just_what_the_file_wants(cloud):
    found = cloud.read()
    assert {(one.address, tuple(one.fields.items())) for one in found} == {
        (thing.address, tuple(thing.fields.items())) for thing in wanted()
    }
    assert {method for method, _ in cloud.asked} == {"GET"}


def test_remit_itself_may_read_it(keys):
    assert len(Cloud(keys, who=contoso.MI_ARBITER.oid).read()) == len(wanted())


def test_reading_knows_applications_that_are_not_there_yet(empty):
    assert empty.read(things=desired(SETTINGS)) == ()


def test_without_storage_nobody_is_asked(cloud):
    assert cloud.read(replace(SETTINGS, azure=(), storage=())) == ()
    assert cloud.asked == []


OURS = contoso_azure.FRAUD_TEST_READER.principal
WIDE = {
    "a wider scope of ours": (GROUP, READER, OURS, f"{_TEST}/DataScientist"),
    "the subscription": (SUBSCRIPTION, READER, OURS, f"{_TEST}/DataScientist"),
    "the account": (ACCOUNT, READER, OURS, f"{_TEST}/DataScientist"),
    "more on the same container": (FEATURES, WRITER, OURS, f"{_TEST}/DataScientist"),
    "another container": (STAGING, READER, OURS, f"{_TEST}/DataScientist"),
    "a role that opens no blob": (GROUP, "Contributor", OURS, f"{_TEST}/DataScientist"),
    "a stranger": (FEATURES, READER, NIGHTLY, NIGHTLY),
    "a stranger on the group": (GROUP, "Storage Blob Data Owner", NIGHTLY, NIGHTLY),
    "a stranger on the blob service": (f"{ACCOUNT}/blobServices/default", READER, NIGHTLY, NIGHTLY),
}


@pytest.mark.promise("V12")
@pytest.mark.parametrize("name", WIDE)
def test_what_is_not_wanted_is_found(cloud, name):
    scope, role, principal, called = WIDE[name]
    cloud.assign(scope, role, principal)
    found = [one for one in cloud.read() if one.address not in {thing.address for thing in wanted()}]
    assert [one.address.name for one in found] == [f"{scope} {role} {called}"]
    assert found[0].fields == {"scope": scope, "role": role, "principal": principal}
    if scope != SUBSCRIPTION:  # where the administrator may not
        cloud.run(lambda azure: azure.remove(found[0]))
        assert names(cloud.read()) == names(wanted())


def test_removing_above_what_one_administers_is_denied(cloud):
    cloud.assign(SUBSCRIPTION, READER)
    (found,) = [one for one in cloud.read() if one.fields["scope"] == SUBSCRIPTION]
    with pytest.raises(Denied, match="roleAssignments/delete") as refusal:
        cloud.run(lambda azure: azure.remove(found))
    assert "--needs" in refusal.value.hint


@pytest.mark.parametrize("role", ["Owner", "Contributor", "Reader", "Role Based Access Control Administrator"])
def test_whoever_administers_and_opens_no_blob_is_left_alone(cloud, role):
    cloud.assign(GROUP, role)
    assert names(cloud.read()) == names(wanted())


def test_whoever_is_apart_is_left_alone(cloud):
    cloud.assign(ACCOUNT, WRITER)
    assert len(cloud.read()) == len(wanted()) + 1
    assert len(cloud.read(replace(SETTINGS, apart=(f"azure:{NIGHTLY}",)))) == len(wanted())
    assert len(cloud.read(replace(SETTINGS, apart=(f"principal://x:{NIGHTLY}",)))) == len(wanted()) + 1


def test_containers_of_nobody_are_nobodys_business(cloud):
    settings = replace(SETTINGS, azure=CLIENTS[2:], estate=Estate(SETTINGS.estate.projects[1:]))
    assert names(cloud.read(settings)) == {f"{PROD} {READER} {_PROD}/MLEngineer"}


def test_a_container_without_an_application_is_looked_at_too(cloud):
    found = cloud.read(replace(SETTINGS, azure=CLIENTS[1:]))
    strangers = {one.address.name for one in found} - names(wanted())
    principal = contoso_azure.FRAUD_TEST_STORAGE.principal
    assert strangers == {f"{FEATURES} {WRITER} {principal}", f"{STAGING} {WRITER} {principal}"}


def test_azures_own_spelling_of_a_scope_is_the_files(cloud):
    lower = replace(SETTINGS, storage=tuple(replace(each, group="CONTOSO-ML") for each in SETTINGS.storage))
    assert names(cloud.read(lower)) == {thing.address.name for thing in wanted(lower)}


def test_pages_are_followed_to_the_end(cloud):
    cloud.arm.commands()["arm_page"](1)
    assert names(cloud.read()) == names(wanted())


# changes


@pytest.mark.promise("V12")
def test_an_empty_estate_gets_what_is_wanted_once(empty):
    assert empty.read() == ()
    made = [empty.make(thing) for thing in wanted()]
    assert {one.address for one in made} == {thing.address for thing in wanted()}
    assert [empty.make(thing).ids for thing in wanted()] == [one.ids for one in made], "made again it is the same"
    assert {(one.address, one.ids["id"]) for one in empty.read()} == {(one.address, one.ids["id"]) for one in made}
    for one in made:
        empty.run(lambda azure, one=one: azure.remove(one))
        empty.run(lambda azure, one=one: azure.remove(one))
    assert empty.read() == ()


def test_what_is_there_under_another_name_is_taken_as_it_is(cloud):
    there = {one.address: one.ids for one in cloud.read()}
    for thing in wanted():
        assert cloud.make(thing).ids == there[thing.address]


def test_what_was_made_and_is_not_to_be_seen_yet_is_a_conflict_to_wait_for(empty):
    empty.assignments.lag.seconds = 3600
    empty.assign(FEATURES, READER, contoso_azure.FRAUD_TEST_READER.principal)
    (thing,) = [each for each in wanted() if each.address.name == f"{FEATURES} {READER} {_TEST}/DataScientist"]
    with pytest.raises(Conflict, match="RoleAssignmentExists"):
        empty.make(thing)


def test_a_principal_that_was_just_made_needs_no_look_into_the_directory(empty):
    thing = wanted()[0]
    fresh = replace(thing, fields={**thing.fields, "principal": GHOST})
    assert empty.make(fresh).fields["principal"] == GHOST
    assert empty.bodies[-1]["properties"]["principalType"] == "ServicePrincipal"


def test_a_principal_that_azure_looks_for_in_vain_is_waited_for(empty):
    thing = replace(wanted()[0], fields={**wanted()[0].fields, "principal": GHOST})

    async def make(azure):
        send = azure._send  # what an older Azure, which believes nobody, would be sent

        async def untyped(method, url, body=None):
            if body:
                body["properties"].pop("principalType")
            return await send(method, url, body)

        azure._send = untyped
        return await azure.make(thing)

    with pytest.raises(Missing, match="PrincipalNotFound"):
        empty.run(make)


def test_a_condition_shows_and_is_taken_away(cloud):
    (found,) = [one for one in cloud.read() if one.address.name.endswith("DataScientist")]
    held = next(each for each in cloud.assignments.seen() if each.resource == found.ids["id"])
    cloud.assignments.put(replace(held, more={"condition": "@Resource[x] StringEquals 'y'", "conditionVersion": "2.0"}))
    (found,) = [one for one in cloud.read() if one.address.name.endswith("DataScientist")]
    assert found.fields["condition"] == "@Resource[x] StringEquals 'y'"
    (thing,) = [each for each in wanted() if each.address == found.address]
    changed = cloud.run(lambda azure: azure.change(thing, found))
    assert changed.ids == found.ids
    assert [one.fields for one in cloud.read() if one.address == thing.address] == [thing.fields]


def test_who_may_not_is_told_what_it_takes(keys):
    arbiter = Cloud(keys, (RoleAssignment(contoso.MI_ARBITER.oid, GROUP, "Reader"),), contoso.MI_ARBITER.oid)
    with pytest.raises(Denied, match="roleAssignments/write") as refusal:
        arbiter.make(wanted()[0])
    assert "--needs" in refusal.value.hint
    assert set(NEEDS) == {"Role Based Access Control Administrator", "Managed Identity Contributor"}
    assert set(READS) == {"Reader"}


def test_throttling_is_waited_for(cloud):
    cloud.arm.commands()["arm_throttle"]({"times": 2, "retry_after": 3})
    assert len(cloud.read()) == len(wanted())
    assert cloud.waited == [3.0, 3.0]


@pytest.mark.parametrize(
    "change",
    [
        {"principal": Ref(Address("entra.principal", "x"), "id")},
        {"principal": "../../x"},
        {"role": "Owner"},
    ],
)
def test_what_is_not_known_is_not_made(empty, change):
    thing = wanted()[0]
    with pytest.raises(TrustBroken):
        empty.make(replace(thing, fields={**thing.fields, **change}))
    assert empty.asked == []


@pytest.mark.parametrize("name", ["", "/x", f"{FEATURES}?x=", f"//evil.example{FEATURES}", "https://evil.example/x"])
def test_an_id_that_is_none_of_azures_is_not_asked_for(cloud, name):
    with pytest.raises(TrustBroken, match="no id of Azure's"):
        cloud.run(lambda azure: azure.remove(Found(Address("azure.assignment", "x"), {}, {"id": name})))
    assert cloud.asked == []


# answers that are not to be trusted


class Strange(Cloud):
    """Azure as it never answers."""

    answer: object = None

    async def handle_async_request(self, request):
        self.asked.append((request.method, str(request.url)))
        return httpx.Response(200, json=self.answer)


def assignment(**over):
    properties = {
        "roleDefinitionId": f"{SUBSCRIPTION}/providers/Microsoft.Authorization/roleDefinitions/{uuid.UUID(int=1)}",
        "principalId": NIGHTLY,
        "scope": FEATURES,
    }
    name = f"{FEATURES}/providers/Microsoft.Authorization/roleAssignments/{uuid.UUID(int=2)}"
    return {"id": over.pop("id", name), "properties": properties | over}


@pytest.mark.promise("T6")
@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"value": None},
        {"value": {}},
        {"value": [None]},
        {"value": [{"id": 3}]},
        {"value": [assignment(id="/x")]},
        {"value": [assignment(id="//evil.example/x")]},
        {"value": [assignment(principalId=None)]},
        {"value": [assignment(principalId="x")]},
        {"value": [assignment(roleDefinitionId="Owner")]},
        {"value": [assignment(roleDefinitionId=None)]},
        {"value": [], "nextLink": "https://evil.example/x"},
        {"value": [], "nextLink": "https://management.azure.com@evil.example/x"},
        {"value": [], "nextLink": "http://management.azure.com/x"},
        {"value": [], "nextLink": 3},
        {"value": [], "nextLink": "https://management.azure.com/again"},
    ],
)
def test_an_answer_that_is_none_fails_and_the_token_goes_nowhere_else(keys, answer):
    strange = Strange(keys)
    strange.answer = answer
    with pytest.raises(TrustBroken):
        strange.read()
    assert all(url.startswith("https://management.azure.com/") for _, url in strange.asked)


@pytest.mark.parametrize(
    ("definition", "opens"),
    [
        (["Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read"], True),
        (["*"], True),
        (["Microsoft.Storage/*"], True),
        (["MICROSOFT.STORAGE/storageAccounts/*/read"], True),
        (["Microsoft.Storage/storageAccounts/blobServices/containers/blobs/runAsSuperUser/action"], True),
        (["Microsoft.Storage/storageAccounts/queueServices/queues/messages/read"], False),
        ([], False),
    ],
)
def test_which_roles_open_blobs(definition, opens):
    properties = {"roleName": "x", "permissions": [{"actions": ["*"], "dataActions": definition}]}
    assert azure_roles.understood("g", {"properties": properties}).opens is opens


@pytest.mark.parametrize(
    ("action", "becomes"),
    [
        ("Microsoft.ManagedIdentity/userAssignedIdentities/assign/action", True),
        ("Microsoft.ManagedIdentity/userAssignedIdentities/*/assign/action", True),
        ("Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials/write", True),
        ("Microsoft.Authorization/roleAssignments/write", True),
        ("Microsoft.Authorization/roleAssignmentScheduleRequests/write", True),
        ("Microsoft.Authorization/roleEligibilityScheduleRequests/write", True),
        ("Microsoft.Authorization/roleDefinitions/write", True),
        ("Microsoft.Authorization/elevateAccess/action", True),
        ("MICROSOFT.AUTHORIZATION/ROLEELIGIBILITY*/WRITE", True),
        ("Microsoft.Authorization/*", True),
        ("*/write", True),
        ("*/read", False),
        ("Microsoft.Authorization/*/read", False),
        ("Microsoft.Authorization/roleAssignments/delete", False),
        ("Microsoft.Authorization/roleEligibilityScheduleRequests/cancel/action", False),
        ("Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials/read", False),
    ],
)
def test_which_roles_lead_to_an_identity(action, becomes):
    properties = {"roleName": "x", "permissions": [{"actions": [action], "dataActions": ["*"]}]}
    assert azure_roles.understood("g", {"properties": properties}).becomes is becomes


def test_a_role_that_only_bears_the_name_of_azures_is_not_azures():
    role = azure_roles.understood("g", {"properties": {"roleName": READER, "permissions": []}})
    assert role.name == f"{READER} (g)"
    with pytest.raises(TrustBroken):
        azure_roles.understood("g", {"properties": {}})
    assert azure_roles.gone("g").opens
    assert azure_roles.gone("g").becomes
