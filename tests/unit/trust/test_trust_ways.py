"""Delegated permissions, secrets and whom a managed identity trusts, as values, at a Graph and an Azure in memory."""

import asyncio
import datetime as dt
import json
from dataclasses import replace
from types import SimpleNamespace

import httpx
import pytest
from tests.unit.trust.graph_in_memory import Anybody, GraphInMemory
from tests.unit.trust.planned_contoso import SETTINGS

from remit.model.errors import TrustBroken
from remit.model.secret import AccessToken
from remit.trust.clouds import azure_identity as at_azure
from remit.trust.clouds.asking import Asking
from remit.trust.clouds.azure import Azure
from remit.trust.clouds.azure_roles import understood
from remit.trust.clouds.entra_assignments import Holder
from remit.trust.clouds.entra_delegations import Delegations
from remit.trust.clouds.entra_graph import SCOPE, Graph
from remit.trust.clouds.entra_secrets import Credentials, held
from remit.trust.clouds.port import CloudRefused
from remit.trust.planning.az import az
from remit.trust.planning.plan import Act, Change
from remit.trust.planning.shell import Words
from remit.trust.things import Address, Found, Thing
from remit.trust.verifying.credentials import credentials

NOW = dt.datetime(2026, 11, 23, tzinfo=dt.UTC)
REMIT = Holder("remit", "5e000000-0000-4000-8000-000000000001")
MICROSOFT, OTHER = "5e000000-0000-4000-8000-00000000000a", "5e000000-0000-4000-8000-00000000000b"
ANN = "0d000000-0000-4000-8000-000000000001"
IDENTITY = (
    "/subscriptions/5b000000-0000-4000-8000-000000000001/resourcegroups/remit"
    "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/remit-arbiter"
)


# delegated permissions


def grant(scope, api=MICROSOFT, person=None, **more):
    whose = "Principal" if person else "AllPrincipals"
    ends = {"clientId": REMIT.principal, "resourceId": api, "principalId": person}
    return {"id": f"grant-{len(scope)}-{api[-1]}", **ends, "consentType": whose, "scope": scope, **more}


@pytest.fixture
def graph():
    return GraphInMemory()


def delegations(graph, act):
    async def go():
        async with httpx.AsyncClient(transport=graph) as client:
            return await act(Delegations(Graph(Asking(client, Anybody(), SCOPE))))

    return asyncio.run(go())


def read(graph, microsoft=MICROSOFT):
    return delegations(graph, lambda found: found.read(REMIT, microsoft))


@pytest.mark.promise("V3")
@pytest.mark.parametrize(
    ("document", "microsoft", "scopes"),
    [
        (grant("Mail.Read"), MICROSOFT, ("Mail.Read",)),
        (grant(" openid Mail.Read  Files.Read.All"), MICROSOFT, ("Files.Read.All", "Mail.Read")),
        (grant("openid profile email offline_access"), MICROSOFT, ()),
        (grant("User.Read openid", person=ANN), MICROSOFT, ("User.Read",)),
        # anybody may call a scope of their own API like that
        (grant("openid profile", api=OTHER), MICROSOFT, ("openid", "profile")),
        (grant("openid profile"), "", ("openid", "profile")),
        (grant(""), MICROSOFT, ()),
        (grant("mail.read OPENID"), MICROSOFT, ("OPENID", "mail.read")),
    ],
)
def test_what_says_more_than_who_signed_in_is_told(graph, document, microsoft, scopes):
    graph.grants = [document, {**grant("Mail.Read"), "clientId": OTHER}]
    found = read(graph, microsoft)
    assert [one.fields["scopes"] for one in found] == ([scopes] if scopes else [])
    assert all(one.fields["whom"] == (document["principalId"] or "everybody") for one in found)


def test_two_apis_of_one_name_are_two_and_a_name_stays_on_its_line(graph):
    graph.principals = {OTHER: {"id": OTHER, "displayName": "Microsoft Graph\n\x1b[2K", "appId": "x", "appRoles": [1]}}
    graph.grants = [grant("Mail.Read"), grant("a b", api=OTHER)]
    names = [one.address.name for one in read(graph)]
    assert names == ["remit at Microsoft Graph as everybody", f"remit at Microsoft Graph  [2K ({OTHER}) as everybody"]


def test_what_was_consented_to_for_signing_in_stays(graph):
    graph.grants = [grant("openid Mail.Read profile"), grant("Mail.Send", person=ANN)]
    for one in read(graph):
        delegations(graph, lambda found, one=one: found.remove(one))
    assert [(one["scope"], one["principalId"]) for one in graph.grants] == [("openid profile", None)]
    assert read(graph) == ()


def test_an_undone_step_gives_back_what_there_was(graph):
    graph.grants = [grant("openid Mail.Read"), grant("Mail.Send", person=ANN)]
    before = [(one.address, one.fields) for one in read(graph)]
    for one in read(graph):
        delegations(graph, lambda found, one=one: found.remove(one))
    for address, fields in before:
        thing = Thing(address, fields)
        delegations(graph, lambda found, thing=thing: found.make(thing))
    assert [(one.address, one.fields) for one in read(graph)] == before
    assert graph.grants[0]["scope"] == "openid Mail.Read"


# secrets and certificates


def test_secrets_and_certificates_that_count_are_told():
    document = {
        "id": "oid",
        "passwordCredentials": [
            {"keyId": "a", "displayName": "night\nly", "endDateTime": "2027-01-01T00:00:00Z"},
            {"keyId": "b", "displayName": None, "endDateTime": "2026-11-22T00:00:00.1234567Z"},
            {"keyId": "c", "displayName": None, "endDateTime": "whenever"},
            {"keyId": "d"},
        ],
        "keyCredentials": [{"keyId": "e", "displayName": "CN=x", "endDateTime": "9999-12-31T23:59:59Z"}],
    }
    found = held(Address("entra.principal", "remit"), document, NOW)
    assert [(one.fields["key"], one.fields["credential"]) for one in found] == [
        ("a", "secret"),
        ("c", "secret"),
        ("d", "secret"),
        ("e", "certificate"),
    ]
    assert found[0].address.name == "secret a of principal remit"
    assert (found[0].fields["called"], found[0].fields["ends"]) == ("night ly", "2027-01-01")
    with pytest.raises(CloudRefused, match="cannot be made again"):
        Credentials(None).make(Thing(found[0].address, found[0].fields))


# the managed identity


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["isExplicit=True", IDENTITY], IDENTITY),
        ([IDENTITY.upper()], IDENTITY.upper()),
        (["isExplicit=False", IDENTITY.replace("userAssignedIdentities", "virtualMachines")], ""),
        ([f"{IDENTITY}/../other"], ""),
        ([f"{IDENTITY}?x=1"], ""),
        ([f"{IDENTITY}\n"], ""),
        ([f" {IDENTITY}"], ""),
        ([IDENTITY.replace("/remit/", "/../")], ""),
        ([1, None], ""),
        ("x", ""),
        (None, ""),
    ],
)
def test_where_an_identity_lies_is_believed_in_one_form_alone(names, expected):
    assert at_azure.resource_of(names) == expected


class ResourceManager(httpx.AsyncBaseTransport):
    """Answers from a table: method and path → status and body."""

    def __init__(self, answers):
        self.answers = answers
        self.asked = []

    async def handle_async_request(self, request):
        self.asked.append((request.method, request.url.path, request.content.decode()))
        status, body = self.answers.get((request.method, request.url.path), (404, {"error": {"code": "NotFound"}}))
        return httpx.Response(status, json=body)

    async def token(self, scope):
        assert scope == "https://management.azure.com/.default"
        return AccessToken("someone")

    def run(self, act):
        async def go():
            async with httpx.AsyncClient(transport=self) as client:
                ask = Asking(client, self, "https://management.azure.com/.default")
                return await act(Azure(ask, replace(SETTINGS, storage=())))

        return asyncio.run(go())

    def read(self, resource=IDENTITY):
        thing = Thing(Address("azure.identity", "remit"), {"resource": resource}, given=True)
        return self.run(lambda azure: azure.read([thing]))


def credential(name="eve", **properties):
    whole = {"issuer": "https://eve.example", "subject": "repo:eve/x", "audiences": ["api://AzureADTokenExchange"]}
    return {"id": f"{IDENTITY}/federatedIdentityCredentials/{name}", "name": name, "properties": whole | properties}


LIST = ("GET", f"{IDENTITY}/federatedIdentityCredentials")
ROLES = ("GET", f"{IDENTITY}/providers/Microsoft.Authorization/roleAssignments")
NOBODY = {ROLES: (200, {"value": []})}


def test_credentials_are_found_removed_and_given_back():
    azure = ResourceManager({**NOBODY, LIST: (200, {"value": [credential(), credential("cluster", subject=None)]})})
    identity, eve, other = azure.read()
    assert (identity.ids, identity.fields["keepers"]) == ({"id": IDENTITY}, ())
    assert eve.fields == {
        "identity": IDENTITY,
        "name": "eve",
        "issuer": "https://eve.example",
        "subject": "repo:eve/x",
        "audience": "api://AzureADTokenExchange",
    }
    assert other.fields["subject"].startswith("expression")
    path = eve.ids["id"]
    azure.answers = {("DELETE", path): (200, {}), ("PUT", path): (201, credential())}
    azure.run(lambda cloud: cloud.remove(eve))
    azure.run(lambda cloud: cloud.remove(other))  # gone already
    again = azure.run(lambda cloud: cloud.make(Thing(eve.address, eve.fields)))
    assert (again.fields, again.ids) == (eve.fields, eve.ids)
    assert json.loads(azure.asked[-1][2]) == {"properties": credential()["properties"]}


def test_one_that_is_gone_one_that_is_none_and_one_that_nobody_may_read():
    assert ResourceManager({}).read() == ()
    [found] = ResourceManager({}).read("")
    assert found.ids == {}
    refused = {"error": {"code": "AuthorizationFailed", "message": "no"}}
    with pytest.raises(TrustBroken) as denied:
        ResourceManager({LIST: (403, refused)}).read()
    assert "--needs" in denied.value.hint


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"value": {}},
        {"value": [None]},
        {"value": [{**credential(), "id": "/subscriptions/x"}]},
        {"value": [{**credential(), "id": f"{credential()['id']}/../../other"}]},
        {"value": [{"id": credential()["id"], "name": "x"}]},
        {"value": [], "nextLink": "https://eve.example/next"},
        {"value": [], "nextLink": f"https://management.azure.com{IDENTITY}/federatedIdentityCredentials"},
    ],
)
def test_an_answer_that_is_none_is_no_empty_list(answer):
    with pytest.raises(TrustBroken):
        ResourceManager({**NOBODY, LIST: (200, answer)}).read()


@pytest.mark.parametrize("resource", ["https://eve.example/x", "/subscriptions/x", f"{IDENTITY}/x", "//eve.example"])
def test_a_token_goes_nowhere_for_what_is_no_identity(resource):
    azure = ResourceManager({})
    with pytest.raises(TrustBroken, match="no managed identity"):
        azure.read(resource)
    assert azure.asked == []


@pytest.mark.parametrize(
    ("actions", "becomes"),
    [
        (["*"], True),
        (["Microsoft.ManagedIdentity/userAssignedIdentities/*/assign/action"], True),
        (["Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials/write"], True),
        (["microsoft.managedidentity/*"], True),
        (["Microsoft.Authorization/*"], True),
        (["Microsoft.Authorization/*/read", "Microsoft.ManagedIdentity/userAssignedIdentities/*/read"], False),
        (["*/read"], False),
        ([], False),
    ],
)
def test_which_roles_let_somebody_become_an_identity(actions, becomes):
    definition = {"properties": {"roleName": "x", "permissions": [{"actions": actions, "dataActions": []}]}}
    assert understood("x", definition).becomes is becomes


@pytest.mark.parametrize(
    ("scope", "said"),
    [
        (IDENTITY.replace("resourcegroups", "resourceGroups"), "Owner on it: P"),
        (IDENTITY.partition("/providers/")[0], "Owner on its resource group: P"),
        ("/subscriptions/5b000000-0000-4000-8000-000000000001", "Owner on its subscription: P"),
        ("/providers/Microsoft.Management/managementGroups/all", "Owner on all that its subscription is part of: P"),
        ("", "Owner on all that its subscription is part of: P"),
    ],
)
def test_where_a_role_holds_is_told(scope, said):
    assert at_azure.keeper("Owner", scope, "P", IDENTITY) == said


# a script of the same


@pytest.mark.parametrize(
    ("found", "commands"),
    [
        (
            Found(Address("entra.delegation", "d"), {"scopes": ("a",)}, {"id": "G", "left": ""}),
            ["--method DELETE --url https://graph.microsoft.com/v1.0/oauth2PermissionGrants/G"],
        ),
        (
            Found(Address("entra.delegation", "d"), {"scopes": ("a",)}, {"id": "G", "left": "openid"}),
            ["--method PATCH", "oauth2PermissionGrants/G", '{"scope": "openid"}'],
        ),
        (
            Found(
                Address("entra.credential", "c"),
                {"of": "principal", "credential": "secret"},
                {"id": "K", "holder": "H"},
            ),
            ["--method POST", "servicePrincipals/H/removePassword", '{"keyId": "K"}'],
        ),
        (
            Found(
                Address("entra.credential", "c"),
                {"of": "application", "credential": "certificate"},
                {"id": "K", "holder": "H"},
            ),
            ["patched", "applications/H?$select=id,keyCredentials", ".keyId != $want"],
        ),
        (
            Found(Address("azure.federation", "f"), {}, {"id": credential()["id"]}),
            [f"--method DELETE --url 'https://management.azure.com{credential()['id']}?api-version=2023-01-31'"],
        ),
    ],
)
def test_a_script_takes_them_away_too(found, commands):
    change = Change(Act.REMOVE, found.address, found.fields, None, "", None, found.ids)
    text = "\n".join(az(Words({}), change))
    for each in commands:
        assert each in text, text


@pytest.mark.promise("V12")
def test_of_an_application_whose_secret_remit_yaml_names_only_its_own_secrets_are_no_finding():
    """Its certificates, and what its principal holds, are nobody's there: whoever has one is the application."""
    held_there = {
        "passwordCredentials": [{"keyId": "s", "displayName": "s"}],
        "keyCredentials": [{"keyId": "c", "displayName": "c"}],
    }

    class Directory:
        async def find(self, path):
            return {"id": path, **held_there}

        async def each(self, path):
            for nobody in ():
                yield nobody

    kinds = ("entra.application", "entra.principal")
    things = [Thing(Address(kind, "remit"), {}) for kind in kinds]
    pairs = [(one, Found(one.address, {}, {"id": one.address.kind, "appId": "remit"})) for one in things]
    match = SimpleNamespace(pairs=pairs)
    found = asyncio.run(credentials(Directory(), match, frozenset({"remit"}), "2026-11-23"))
    assert [one.permission for one in found] == ["certificate", "secret", "certificate"]
