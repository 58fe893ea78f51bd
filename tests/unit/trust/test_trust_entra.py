"""Entra as the product changes it: made once, changed only where it differs, and never more than was asked for."""

import asyncio
from dataclasses import replace
from random import Random

import httpx
import pytest
from tests.unit.trust.graph_in_memory import GRAPH_APP, Anybody, GraphInMemory

from remit.model.errors import TrustBroken
from remit.model.estate import Estate
from remit.trust.clouds.entra import NEEDS, READS, Entra
from remit.trust.clouds.entra_applications import unique_name
from remit.trust.clouds.entra_manifest import fields_of, patches
from remit.trust.clouds.port import CloudRefused, Denied, Missing, Throttled
from remit.trust.desired.entra import CONSENTS, entra
from remit.trust.planning.diff import plan
from remit.trust.planning.plan import Act, Risk
from remit.trust.settings import Applications, AzureClient, Role, TrustSettings
from remit.trust.things import Address, Found, ids_of, settled

TENANT = "6f1c2a34-8b5d-4e6f-9a01-c0de00000001"
IDENTITY = "3c000000-0000-4000-8000-000000000001"
GROUP, OTHER = "9a000000-0000-4000-8000-000000000002", "9a000000-0000-4000-8000-000000000004"
STAND_INS = {
    "00000000-aaaa-4000-8000-00000000000" + str(n): name for n, name in enumerate(("remit", "remit-cli", "p/R"))
}
REMIT, CLI, CLIENT = STAND_INS
SETTINGS = TrustSettings(
    issuer=f"https://login.microsoftonline.com/{TENANT}/v2.0",
    tenant=TENANT,
    application=REMIT,
    provider="//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/contoso/providers/entra",
    reviewer="auditor@contoso-test.iam.gserviceaccount.com",
    mappings=(),
    estate=Estate(()),
    own_issuer="https://remit.contoso.example",
    applications=Applications(
        REMIT, ("api://remit",), CLI, "api://remit-google", IDENTITY, ("https://remit.contoso.example/callback",)
    ),
    roles=(Role("MLEngineer", groups=(GROUP,)), Role("Security", groups=(OTHER,))),
    azure=(AzureClient("p/R", CLIENT, ("remit/p/R",), ("store/features",), write=False),),
    pending=STAND_INS,
)


class Tenant:
    """A tenant with nothing but Azure's own, and whoever carries out plans in it."""

    def __init__(self) -> None:
        self.graph = GraphInMemory()
        self.identity = self.graph.principal(IDENTITY)
        self.microsoft = self.graph.principal(GRAPH_APP, (*CONSENTS, "Directory.ReadWrite.All"))
        self.slept: list[float] = []
        self.cloud = self.another()

    def another(self) -> Entra:
        async def sleep(seconds: float) -> None:
            self.slept.append(seconds)

        return Entra(httpx.AsyncClient(transport=self.graph), Anybody(), ours=self.ours, sleep=sleep)

    def read(self, settings: TrustSettings = SETTINGS) -> tuple[Found, ...]:
        return asyncio.run(self.cloud.read(entra(settings)))

    def plan(self, settings: TrustSettings = SETTINGS):
        return plan(entra(settings), self.read(settings), settings, ours=self.ours())

    def ours(self) -> set[str]:
        """All applications: whoever carries out plans here made them."""
        return {one["appId"] for one in (*self.graph.applications.values(), *self.graph.deleted.values())}

    def apply(self, settings: TrustSettings = SETTINGS) -> None:
        asyncio.run(self._apply(settings))

    async def _apply(self, settings: TrustSettings) -> None:
        found = await self.cloud.read(entra(settings))
        ids = ids_of(found)
        todo = plan(entra(settings), found, settings, ours=self.ours())
        assert not todo.problems
        for change in todo.changes:
            there = Found(change.address, change.before or {}, change.ids or {})
            if change.act is Act.REMOVE:
                await self.cloud.remove(there)
                continue
            thing = replace(change.thing, fields=settled(change.thing.fields, ids))
            made = self.cloud.make(thing) if change.act is Act.MAKE else self.cloud.change(thing, there)
            ids |= ids_of([await made])

    def application(self, name: str) -> dict:
        [found] = [each for each in self.graph.applications.values() if each["uniqueName"] == unique_name(name)]
        return found


@pytest.fixture
def tenant() -> Tenant:
    found = Tenant()
    found.apply()
    return found


def test_what_is_made_is_what_was_wanted(tenant):
    assert tenant.plan().empty
    remit, second, cli = map(tenant.application, ("remit", "remit-google", "remit-cli"))
    assert second["api"]["preAuthorizedApplications"] == [
        {"appId": remit["appId"], "delegatedPermissionIds": [second["api"]["oauth2PermissionScopes"][0]["id"]]}
    ]
    assert second["api"]["oauth2PermissionScopes"][0]["type"] == "Admin"
    assert remit["api"]["preAuthorizedApplications"][0]["appId"] == cli["appId"]
    assert (cli["isFallbackPublicClient"], cli["publicClient"]["redirectUris"]) == (True, ["http://localhost"])
    assert remit["api"]["requestedAccessTokenVersion"] == 2
    assert [one["subject"] for one in tenant.graph.credentials[remit["id"]]] == [tenant.identity]


def test_made_again_by_somebody_else_it_is_the_same(tenant):
    tenant.graph.asked.clear()
    wanted = [
        replace(thing, fields=settled(thing.fields, ids_of(tenant.read())))
        for thing in entra(SETTINGS)
        if not thing.given
    ]

    async def again() -> list[Found]:
        other = tenant.another()
        await other.read(entra(SETTINGS))
        return [await other.make(thing) for thing in wanted]

    before = {(one.address, *sorted(one.ids.items())) for one in tenant.read()}
    assert {(one.address, *sorted(one.ids.items())) for one in asyncio.run(again())} <= before
    assert tenant.plan().empty
    assert {(method, path.rpartition("/")[2]) for method, path, _ in tenant.graph.changes} <= {
        ("POST", "servicePrincipals"),
        ("POST", "appRoleAssignedTo"),
        ("POST", "federatedIdentityCredentials"),
    }


DRIFTS = [
    ("remit", {"identifierUris": []}),
    ("remit", {"identifierUris": ["api://remit", "api://another"]}),
    ("remit", {"groupMembershipClaims": "All"}),
    ("remit", {"optionalClaims": None}),
    ("remit", {"signInAudience": "AzureADMultipleOrgs"}),
    ("remit", {"web": {"redirectUris": ["https://evil.example/"], "logoutUrl": "https://remit.contoso.example/out"}}),
    ("remit", {"spa": {"redirectUris": ["https://evil.example/"]}}),
    ("remit-cli", {"isFallbackPublicClient": False}),
    ("remit-cli", {"publicClient": {"redirectUris": ["http://localhost", "https://evil.example/"]}}),
    ("p/R", {"publicClient": {"redirectUris": ["http://localhost"]}}),
    ("p/R", {"isFallbackPublicClient": True}),
]


@pytest.mark.parametrize(("name", "change"), DRIFTS)
def test_each_thing_that_somebody_changes_is_seen_and_set_back(tenant, name, change):
    tenant.application(name).update(change)
    [found] = tenant.plan().changes
    assert (found.act, found.address) == (Act.CHANGE, Address("entra.application", name))
    tenant.graph.asked.clear()
    tenant.apply()
    assert tenant.plan().empty
    [(_, _, body)] = tenant.graph.changes
    assert set(body) <= {*change, "web"}
    assert tenant.application(name)["web"].get("logoutUrl") == change.get("web", {}).get("logoutUrl")


def test_another_client_of_the_second_audience_is_shut_out_and_remit_never(tenant):
    second = tenant.application("remit-google")
    remit = tenant.application("remit")["appId"]
    [scope] = second["api"]["oauth2PermissionScopes"]
    more = {**scope, "id": "5c000000-0000-4000-8000-000000000001", "value": "more"}
    second["api"] = {
        "acceptMappedClaims": True,
        "requestedAccessTokenVersion": 2,
        "oauth2PermissionScopes": [scope, more],
        "preAuthorizedApplications": [
            {"appId": "another", "delegatedPermissionIds": [scope["id"]]},
            {"appId": remit, "delegatedPermissionIds": [scope["id"], more["id"]]},
        ],
    }
    tenant.graph.asked.clear()
    tenant.apply()
    assert tenant.plan().empty
    bodies = [body["api"] for _, _, body in tenant.graph.changes]
    only = [{"appId": remit, "delegatedPermissionIds": [scope["id"]]}]
    assert [body["preAuthorizedApplications"] for body in bodies] == [only, only]
    assert [[one["isEnabled"] for one in body["oauth2PermissionScopes"]] for body in bodies] == [[True, False], [True]]
    assert all(body["acceptMappedClaims"] is True for body in bodies)


def test_roles_keep_their_ids_and_are_disabled_before_they_go(tenant):
    before = {one["value"]: one for one in tenant.application("remit")["appRoles"]}
    fewer = replace(SETTINGS, roles=(SETTINGS.roles[1], Role("Auditor", groups=(GROUP,))))
    tenant.apply(fewer)
    after = {one["value"]: one for one in tenant.application("remit")["appRoles"]}
    assert set(after) == {"Security", "Auditor"}
    assert after["Security"] == before["Security"]
    assert tenant.plan(fewer).empty
    again = Tenant()
    again.apply(SETTINGS)
    assert {one["id"] for one in again.application("remit")["appRoles"]} == {one["id"] for one in before.values()}


def test_a_role_that_only_people_may_hold_is_opened_to_workloads(tenant):
    role = tenant.application("remit")["appRoles"][0]
    role["allowedMemberTypes"] = ["User"]
    tenant.graph.asked.clear()
    tenant.apply()
    assert [body["appRoles"][0]["isEnabled"] for _, _, body in tenant.graph.changes] == [False, True]
    assert tenant.plan().empty


def test_members_that_nobody_compares_stay(tenant):
    remit = tenant.application("remit")
    claims = {"name": "acrs", "essential": True, "additionalProperties": []}
    remit["optionalClaims"] = {
        "idToken": [{"name": "email"}],
        "saml2Token": [],
        "accessToken": [claims, {"name": "email"}],
    }
    remit["web"] |= {"implicitGrantSettings": {"enableIdTokenIssuance": False}, "redirectUriSettings": [{"uri": "x"}]}
    tenant.apply()
    assert tenant.application("remit")["optionalClaims"]["idToken"] == [{"name": "email"}]
    assert claims in tenant.application("remit")["optionalClaims"]["accessToken"]
    tenant.graph.asked.clear()
    tenant.application("remit")["web"]["redirectUris"] = []
    tenant.apply()
    [(_, _, body)] = tenant.graph.changes
    assert body == {
        "web": {
            "redirectUris": ["https://remit.contoso.example/callback"],
            "implicitGrantSettings": {"enableIdTokenIssuance": False},
        }
    }


def test_what_others_added_is_found_and_removed(tenant):
    remit = tenant.application("remit")
    tenant.graph.credentials[remit["id"]].append(
        {"id": "f1", "name": "theirs", "issuer": "https://evil.example", "subject": "x", "audiences": ["api://x"]}
    )
    tenant.graph.credentials[tenant.application("remit-cli")["id"]].append(
        {"id": "f2", "name": "any", "issuer": "https://evil.example", "subject": None, "claimsMatchingExpression": {}}
    )
    principals = {one["appId"]: one["id"] for one in tenant.graph.principals.values()}
    api, role = principals[remit["appId"]], remit["appRoles"][0]["id"]
    wide = next(
        one["id"]
        for one in tenant.graph.principals[tenant.microsoft]["appRoles"]
        if one["value"] == "Directory.ReadWrite.All"
    )
    client = principals[tenant.application("p/R")["appId"]]
    for number, (who, resource, which) in enumerate(
        [
            ("somebody", api, role),
            (client, api, "0" * 8 + "-0000" * 3 + "-" + "0" * 12),
            (client, tenant.microsoft, wide),
        ]
    ):
        tenant.graph.assignments.append(
            {
                "id": f"a{number}",
                "principalId": who,
                "resourceId": resource,
                "appRoleId": which,
                "principalType": "User",
            }
        )
    removals = {str(change.address) for change in tenant.plan().changes}
    assert removals == {
        "entra.federation remit/theirs",
        "entra.federation remit-cli/any",
        "entra.assignment MLEngineer/somebody",
        f"entra.assignment default access/{client}",
        "entra.consent Directory.ReadWrite.All of p/R",
    }
    assert all(change.act is Act.REMOVE for change in tenant.plan().changes)
    tenant.apply()
    assert tenant.plan().empty


def test_a_credential_that_was_pointed_at_somebody_else_is_set_back(tenant):
    remit = tenant.application("remit")
    [credential] = tenant.graph.credentials[remit["id"]]
    credential["subject"] = "somebody"
    [change] = tenant.plan().changes
    assert (change.act, str(change.address)) == (Act.CHANGE, "entra.federation remit/managed-identity")
    tenant.apply()
    assert tenant.graph.credentials[remit["id"]][0]["subject"] == tenant.identity
    # the right one under another name, and one with its name that trusts somebody else
    tenant.graph.credentials[remit["id"]] = [
        {**credential, "id": "f8", "name": "other", "subject": tenant.identity},
        {**credential, "id": "f9", "subject": "somebody"},
    ]
    [change] = tenant.plan().changes
    assert (change.act, str(change.address)) == (Act.REMOVE, "entra.federation remit/managed-identity (f9)")


def test_a_name_that_is_taken_gives_way(tenant):
    remit = tenant.application("remit")
    thing = next(one for one in entra(SETTINGS) if one.address.kind == "entra.federation")
    other = replace(thing, fields={**thing.fields, "subject": "another"})
    made = asyncio.run(tenant.cloud.make(other))
    assert made.ids["name"].startswith("managed-identity-")
    assert {one["subject"] for one in tenant.graph.credentials[remit["id"]]} == {tenant.identity, "another"}
    assert asyncio.run(tenant.cloud.make(other)).ids["name"] == made.ids["name"]


def test_a_principal_that_is_switched_off_or_open_to_all_is_seen(tenant):
    remit = next(
        one for one in tenant.graph.principals.values() if one["appId"] == tenant.application("remit")["appId"]
    )
    remit.update(accountEnabled=False, appRoleAssignmentRequired=False)
    [change] = tenant.plan().changes
    assert change.before["enabled"] is False
    tenant.graph.asked.clear()
    tenant.apply()
    assert [body for _, _, body in tenant.graph.changes] == [
        {"accountEnabled": True, "appRoleAssignmentRequired": True}
    ]
    assert tenant.plan().empty


def test_an_application_is_found_by_its_id_however_it_is_called(tenant):
    ids = {name: tenant.application(name)["appId"] for name in STAND_INS.values()}
    known = {stand_in: ids[name] for stand_in, name in STAND_INS.items()}
    applications = replace(SETTINGS.applications, remit=known[REMIT], cli=known[CLI])
    settings = replace(
        SETTINGS, applications=applications, azure=(replace(SETTINGS.azure[0], client=known[CLIENT]),), pending={}
    )
    for application in tenant.graph.applications.values():
        application["uniqueName"] = None
        application["displayName"] = "as somebody likes it"
    tenant.graph.applications[next(iter(tenant.graph.applications))]["uniqueName"] = None
    assert tenant.plan(settings).empty  # the second audience by its URI


def test_one_that_was_deleted_comes_back_with_its_ids_and_one_that_never_was_does_not(tenant):
    app_id = tenant.application("remit")["appId"]
    settings = replace(
        SETTINGS,
        applications=replace(SETTINGS.applications, remit=app_id),
        pending={key: name for key, name in STAND_INS.items() if name != "remit"},
    )
    found = next(one for one in tenant.read(settings) if str(one.address) == "entra.application remit")
    before = {str(one.address): one.ids for one in tenant.read(settings)}
    asyncio.run(tenant.cloud.remove(found))
    asyncio.run(tenant.cloud.remove(found))
    assert "entra.application remit" in {str(change.address) for change in tenant.plan(settings).changes}
    thing = next(one for one in entra(settings) if str(one.address) == "entra.application remit")
    thing = replace(thing, fields=settled(thing.fields, ids_of(tenant.read(settings))))
    assert asyncio.run(tenant.cloud.make(thing)).ids == found.ids
    tenant.apply(settings)
    assert {str(one.address): one.ids for one in tenant.read(settings)} == before  # the principal and its roles too
    never = replace(thing, fields={**thing.fields, "appId": "a0000000-0000-4000-8000-00000000dead"})
    with pytest.raises(TrustBroken, match="none to restore") as refusal:
        asyncio.run(tenant.cloud.make(never))
    assert refusal.value.hint.startswith("write `app:remit`")


@pytest.mark.parametrize("secret", ["passwordCredentials", "keyCredentials"])
@pytest.mark.parametrize("name", ["remit", "remit-cli", "p/R"])
def test_whoever_took_the_name_first_with_a_secret_does_not_become_remit(tenant, name, secret):
    tenant.application(name)[secret] = [{"keyId": "k"}]
    with pytest.raises(TrustBroken, match="and a secret") as refusal:
        tenant.read()
    assert tenant.application(name)["appId"] in refusal.value.message
    # nor by letting it be deleted, and restored
    oid = tenant.application(name)["id"]
    thing = next(one for one in entra(SETTINGS) if str(one.address) == f"entra.application {name}")
    tenant.graph.deleted[oid] = tenant.graph.applications.pop(oid)
    with pytest.raises(TrustBroken, match="and a secret"):
        asyncio.run(tenant.cloud.make(thing))


def test_a_secret_of_an_application_that_the_file_knows_goes_only_by_its_name(tenant):
    remit = tenant.application("remit")
    remit["passwordCredentials"] = [{"keyId": "k"}]
    pending = {key: name for key, name in STAND_INS.items() if name != "remit"}
    known = replace(SETTINGS, applications=replace(SETTINGS.applications, remit=remit["appId"]), pending=pending)
    [change] = tenant.plan(known).changes
    assert (change.act, change.name) == (Act.REMOVE, "entra.credential secret k of application remit")
    assert [one.risk for one in change.unsafe] == [Risk.DESTROYS]
    # of one whose file remit.yaml names, its secrets are `remit trust rotate`'s, and its principal's are nobody's
    client = httpx.AsyncClient(transport=tenant.graph)
    tenant.cloud = Entra(client, Anybody(), ours=tenant.ours, secrets={remit["appId"]})
    assert tenant.plan(known).empty
    remit["keyCredentials"] = [{"keyId": "c"}]  # the file is of a secret
    [change] = tenant.plan(known).changes
    assert change.name == "entra.credential certificate c of application remit"
    remit["keyCredentials"] = []
    principal = next(one for one in tenant.graph.principals.values() if one["appId"] == remit["appId"])
    principal["passwordCredentials"] = [{"keyId": "p"}]
    [change] = tenant.plan(known).changes
    assert change.name == "entra.credential secret p of principal remit"


def test_no_list_of_roles_is_no_empty_list(tenant):
    remit = next(one for one in tenant.read() if str(one.address) == "entra.principal remit")
    answer = httpx.Response(200, json={"id": "x", "appId": "y"})
    tenant.graph.before = lambda _method, path: answer if path == f"servicePrincipals/{remit.ids['id']}" else None
    with pytest.raises(TrustBroken, match="no list of roles"):
        tenant.read()


def anything(random):
    """An application as somebody may have left it, and one that is wanted."""
    some = lambda names: [one for one in names if random.random() < 0.5]  # noqa: E731 - one word for a coin
    switch = lambda: random.random() < 0.7  # noqa: E731 - the same
    scopes = [{"id": f"s{one}", "value": one, "type": "User", "isEnabled": switch()} for one in some("abcd")]
    holders = (["User"], ["Application"], ["User", "Application"])
    document = {
        "id": "o",
        "appId": "x",
        "appRoles": [
            {"id": f"r{one}", "value": one, "isEnabled": switch(), "allowedMemberTypes": random.choice(holders)}
            for one in some("mnop")
        ],
        "identifierUris": some(["api://a", "api://b"]),
        "api": {
            "oauth2PermissionScopes": scopes,
            "preAuthorizedApplications": [
                {"appId": one, "delegatedPermissionIds": [each["id"] for each in some(scopes)]} for one in some("tuvw")
            ],
            "requestedAccessTokenVersion": random.choice([None, 1, 2]),
            "acceptMappedClaims": True,
        },
        "web": {"redirectUris": some(["https://a/", "https://b/"]), "logoutUrl": "https://out/"},
        "spa": random.choice([None, {"redirectUris": []}, {"redirectUris": ["https://s/"]}]),
        "publicClient": {"redirectUris": some(["http://localhost"])},
        "optionalClaims": random.choice([None, {"accessToken": [{"name": one} for one in some("ghi")], "idToken": []}]),
        "groupMembershipClaims": random.choice([None, "None", "All", "SecurityGroup"]),
        "signInAudience": random.choice(["AzureADMyOrg", "AzureADMultipleOrgs"]),
        "isFallbackPublicClient": random.choice([None, False, True]),
    }
    scope_values = tuple(some("abcd"))
    wanted = {
        "audience": "AzureADMyOrg",
        "public": random.random() < 0.5,
        "uris": tuple(some(["api://a", "api://b"])),
        "webRedirects": tuple(some(["https://a/", "https://b/"])),
        "publicRedirects": tuple(some(["http://localhost"])),
        "scopes": scope_values,
        "roles": tuple(some("mnop")),
        "preauthorized": tuple(some("tuvw")) if scope_values else (),
        "optionalClaims": tuple(some("ghi")),
        "groupClaims": random.choice(["", "SecurityGroup"]),
        "tokenVersion": 2,
    }
    return document, wanted


def test_whatever_was_left_becomes_what_is_wanted_by_steps_that_entra_takes():
    seed = Random().randrange(2**32)
    print(f"seed {seed}")
    random = Random(seed)
    for _ in range(500):
        document, wanted = anything(random)
        graph = GraphInMemory()
        graph.applications["o"] = document
        steps = list(patches(document, wanted, "remit-x"))
        for body in steps:
            graph.update("o", body)
        after = graph.applications["o"]
        found = fields_of(after, wanted)
        assert {name: found[name] for name in wanted} == wanted
        assert list(patches(after, wanted, "remit-x")) == []
        assert (after["api"]["acceptMappedClaims"], after["web"]["logoutUrl"]) == (True, "https://out/")
        kept = {one["value"]: one["id"] for one in document["appRoles"] if one["value"] in wanted["roles"]}
        assert kept.items() <= {one["value"]: one["id"] for one in after["appRoles"]}.items()
        assert len(steps) <= 3


def error(status: int, message: str, **headers: str) -> httpx.Response:
    body = {"error": {"code": "Request_BadRequest", "message": message}}
    return httpx.Response(status, json=body, headers={key.replace("_", "-"): headers[key] for key in headers})


@pytest.mark.parametrize(
    ("status", "message", "expected"),
    [
        (400, "The appId 'x' of the service principal does not reference a valid application object.", Missing),
        (
            400,
            "Resource 'x' does not exist or one of its queried reference-property objects are not present.",
            Missing,
        ),
        (404, "Resource does not exist", Missing),
        (403, "Insufficient privileges to complete the operation.", Denied),
        (429, "Too many requests.", Throttled),
        (400, "Values of identifierUris property must use a verified domain of the organization.", CloudRefused),
    ],
)
def test_what_graph_says_is_told_for_what_it_is(tenant, status, message, expected):
    tenant.graph.before = lambda method, _path: error(status, message) if method == "POST" else None
    thing = next(one for one in entra(SETTINGS) if one.address.kind == "entra.principal")
    thing = replace(thing, fields=settled(thing.fields, ids_of(tenant.read())))
    with pytest.raises(expected) as refusal:
        asyncio.run(tenant.cloud.make(thing))
    assert type(refusal.value) is expected
    assert bool(refusal.value.hint) == (expected in {Denied, CloudRefused})


def test_a_busy_graph_is_waited_for_as_long_as_it_asks(tenant):
    answers = [error(429, "Too many requests.", retry_after="7"), error(503, "Busy.")]
    tenant.graph.before = lambda _method, _path: answers.pop() if answers else None
    tenant.slept.clear()
    assert tenant.plan().empty
    assert tenant.slept[1] == 7.0


@pytest.mark.parametrize(
    "link",
    [
        "https://graph.microsoft.com.evil.example/v1.0/x",
        "https://evil.example/v1.0/x",
        "http://graph.microsoft.com/v1.0/x",
        "https://me@graph.microsoft.com/v1.0/x",
        "https://graph.microsoft.com:444/v1.0/x",
        "//evil.example/",
        7,
    ],
)
def test_a_next_page_elsewhere_never_gets_the_token(tenant, link):
    page = httpx.Response(200, json={"value": [], "@odata.nextLink": link})
    tenant.graph.before = lambda _method, path: page if path.endswith("appRoleAssignedTo") else None
    with pytest.raises(TrustBroken, match="not at Microsoft Graph"):
        tenant.read()


@pytest.mark.parametrize("body", [{}, {"value": None}, {"value": [1]}])
def test_no_list_is_no_empty_list(tenant, body):
    page = httpx.Response(200, json=body)
    tenant.graph.before = lambda _method, path: page if path.endswith("appRoleAssignedTo") else None
    with pytest.raises(TrustBroken, match="answered no list"):
        tenant.read()


def test_a_list_without_an_end_is_given_up(tenant):
    link = "https://graph.microsoft.com/v1.0/servicePrincipals/x/appRoleAssignedTo"
    page = {"value": [], "@odata.nextLink": link}
    tenant.graph.before = lambda _method, path: (
        httpx.Response(200, json=page) if path.endswith("appRoleAssignedTo") else None
    )
    with pytest.raises(TrustBroken, match="no last page"):
        tenant.read()


def test_a_person_listed_as_a_group_is_told(tenant):
    tenant.graph.assignments[0]["principalType"] = "User"
    with pytest.raises(TrustBroken, match="is a User") as refusal:
        tenant.apply()
    assert "`people`" in refusal.value.hint


def test_names_with_quotes_stay_names(tenant):
    settings = replace(SETTINGS, applications=replace(SETTINGS.applications, second="api://o'brien' or 1 eq 1"))
    assert all("brien" not in str(one.ids) for one in tenant.read(settings))
    asked = [path for method, path, _ in tenant.graph.asked if method == "GET"]
    assert "applications" not in asked[:1]


def test_what_must_be_granted_is_told_with_what_it_is_for():
    assert set(READS) <= set(CONSENTS)  # Remit itself may plan, and not apply
    assert not set(NEEDS) & set(CONSENTS)
    assert all({**NEEDS, **READS}.values())
