"""The trust between the clouds: every hop that can be broken, and every permission on which two sides disagree."""

import asyncio
import json
from dataclasses import replace

import httpx
import pytest

from remit.model.errors import HopFailed, TrustBroken
from remit.model.estate import Estate
from remit.model.reasons import Reason
from remit.model.secret import AccessToken
from remit.trust.compare import admits_only, groups_of, impersonation_hop, permission_findings, provider_hops
from remit.trust.findings import Finding, Hop, Report
from remit.trust.google import Binding, Google, Provider
from remit.trust.settings import Mapping, TrustSettings
from remit.trust.verify import Verify

ISSUER = "https://login.microsoftonline.com/6f1c2a34-8b5d-4e6f-9a01-c0de00000001/v2.0"
TENANT = "6f1c2a34-8b5d-4e6f-9a01-c0de00000001"
APP = "a0000000-0000-4000-8000-000000000001"
POOL = "projects/100000000002/locations/global/workloadIdentityPools/contoso"
ACCOUNT = "ml-engineer@contoso-fraud-test.iam.gserviceaccount.com"
MAPPING = Mapping("MLEngineer", "contoso-fraud-test", ACCOUNT)
SETTINGS = TrustSettings(
    issuer=ISSUER,
    tenant=TENANT,
    application=APP,
    provider=f"//iam.googleapis.com/{POOL}/providers/entra",
    reviewer="auditor@contoso-fraud-test.iam.gserviceaccount.com",
    mappings=(MAPPING,),
    estate=Estate(()),
)
CONDITION = f'assertion.azp == "{APP}" && assertion.tid == "{TENANT}"'
PROVIDER = Provider(
    active=True,
    issuer=ISSUER,
    audiences=("google",),
    mapping={"google.subject": 'assertion.tid + "/" + assertion.oid'},
    condition=CONDITION,
)
GROUP = f"principalSet://iam.googleapis.com/{POOL}/group/g1"
USER = "roles/iam.workloadIdentityUser"


def broken(provider):
    return [(hop.name, hop.cure) for hop in provider_hops(SETTINGS, provider) if not hop.holds]


def test_a_good_provider_holds_throughout():
    hops = list(provider_hops(SETTINGS, PROVIDER))
    assert [hop.name for hop in hops] == ["google-provider", "google-issuer", "google-subject", "google-condition"]
    assert all(hop.holds and not hop.cure for hop in hops)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"active": False}, "google-provider"),
        ({"issuer": "https://login.microsoftonline.com/common/v2.0"}, "google-issuer"),
        ({"issuer": ""}, "google-issuer"),
        ({"mapping": {}}, "google-subject"),
        ({"mapping": {"google.subject": "assertion.email"}}, "google-subject"),
        ({"condition": ""}, "google-condition"),
    ],
)
def test_each_thing_that_a_provider_can_lack(change, name):
    [(found, cure)] = broken(replace(PROVIDER, **change))
    assert found == name
    assert cure


@pytest.mark.parametrize(
    "condition",
    [
        CONDITION,
        f"assertion.tid=='{TENANT}'   &&\n assertion.azp ==  '{APP}'",
        f'{CONDITION} && assertion.azp == "{APP}"',
    ],
)
def test_conditions_that_admit_remit_alone(condition):
    assert admits_only(SETTINGS, condition)


@pytest.mark.parametrize(
    "condition",
    [
        "",
        "true",
        f'assertion.azp == "{APP}"',
        f'assertion.tid == "{TENANT}"',
        CONDITION.replace("&&", "||"),
        f"{CONDITION} || true",
        f"true || {CONDITION}",
        CONDITION.replace(APP, "a0000000-0000-4000-8000-000000000009"),
        CONDITION.replace("==", "!="),
        CONDITION.replace(TENANT, "common"),
        f'assertion.azp in ["{APP}", "x"] && assertion.tid == "{TENANT}"',
        CONDITION.replace("assertion.azp", "assertion.aud"),
        CONDITION.replace(f'"{APP}"', f'"{APP} "'),
        f"!({CONDITION})",
    ],
)
def test_conditions_that_admit_others(condition):
    assert not admits_only(SETTINGS, condition)
    assert [name for name, _ in broken(replace(PROVIDER, condition=condition))] == ["google-condition"]


def bound(*members, role=USER):
    return (Binding(role, frozenset(members)),)


def test_a_group_of_the_pool_may_become_the_account():
    hop = impersonation_hop(SETTINGS, MAPPING, bound(GROUP))
    assert hop.holds
    assert hop.said == "contoso/group/g1"
    assert groups_of(SETTINGS, bound(GROUP, "user:dana@contoso.example")) == {"g1"}


@pytest.mark.parametrize(
    ("bindings", "said"),
    [
        ((), "nobody of the pool"),
        (bound(GROUP, role="roles/viewer"), "nobody of the pool"),
        (bound(GROUP.replace("/contoso/", "/contoso2/")), "nobody of the pool"),
        (bound("user:dana@contoso.example"), "nobody of the pool"),
        (bound(f"principalSet://iam.googleapis.com/{POOL}/*"), "everybody of the pool"),
        (bound(GROUP, f"principalSet://iam.googleapis.com/{POOL}/*"), "everybody of the pool"),
        (bound(GROUP, "allAuthenticatedUsers"), "everybody may"),
        (bound("allUsers", role="roles/iam.serviceAccountTokenCreator"), "everybody may"),
    ],
)
def test_nobody_and_everybody_are_both_wrong(bindings, said):
    hop = impersonation_hop(SETTINGS, MAPPING, bindings)
    assert not hop.holds
    assert hop.said.startswith(said)
    assert hop.cure
    assert ACCOUNT in hop.name


def test_what_is_missing_and_what_is_too_much():
    found = list(permission_findings(MAPPING, frozenset("ab"), frozenset("bcz"), frozenset("abc")))
    assert [(one.kind, one.permission) for one in found] == [("missing", "a"), ("excess", "c")]
    assert all(one.account == ACCOUNT and one.cure for one in found)


def test_a_report_is_clean_only_when_nothing_was_found():
    good, bad = Hop("a", holds=True, said=""), Hop("a", holds=False, said="")
    finding = Finding("excess", "r", "a", "p", "x", "c")
    assert Report((good,), ()).clean
    assert Report((good,), (finding,)).holds
    assert not Report((good,), (finding,)).clean
    assert not Report((good, bad), ()).clean


class Clouds:
    """Entra's discovery and Google's IAM, as a transport that answers from a table."""

    def __init__(self):
        iam, projects = "https://iam.googleapis.com/v1", "https://cloudresourcemanager.googleapis.com/v1/projects"
        self.discovery = f"{ISSUER}/.well-known/openid-configuration"
        self.provider = f"{iam}/{POOL}/providers/entra"
        self.account = f"{iam}/projects/-/serviceAccounts/{ACCOUNT}:getIamPolicy"
        self.project = f"{projects}/contoso-fraud-test:getIamPolicy"
        self.role = f"{iam}/roles/aiplatform.user"
        lines = [{"role": "roles/aiplatform.user", "members": [f"serviceAccount:{ACCOUNT}"]}, {"role": "roles/viewer"}]
        self.answers = {
            self.discovery: {"issuer": ISSUER, "jwks_uri": "https://login.microsoftonline.com/keys"},
            "https://login.microsoftonline.com/keys": {"keys": [{"kid": "1"}]},
            self.provider: {
                "state": "ACTIVE",
                "oidc": {"issuerUri": ISSUER, "allowedAudiences": ["google"]},
                "attributeMapping": dict(PROVIDER.mapping),
                "attributeCondition": CONDITION,
            },
            self.account: {"bindings": [{"role": USER, "members": [GROUP]}]},
            self.project: {"bindings": lines},
            self.role: {"includedPermissions": ["aiplatform.jobs.create", "aiplatform.models.list", "other.x.get"]},
        }
        self.asked = []

    def __call__(self, request):
        url = str(request.url)
        self.asked.append((request.method, url, request.headers.get("authorization", "")))
        answer = self.answers.get(url, httpx.Response(404, json={"error": {"message": "no such thing"}}))
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, httpx.Response) else httpx.Response(200, content=json.dumps(answer))

    def client(self):
        return httpx.AsyncClient(transport=httpx.MockTransport(self))


class World:
    """credentials and policy, as the verification sees them."""

    def __init__(self):
        self.failure = None
        self.wanted = frozenset({"aiplatform.models.list", "aiplatform.endpoints.predict"})

    async def token(self):
        if self.failure:
            raise self.failure
        return AccessToken("reviewing")

    def permissions(self, role, groups, project):
        assert (role, groups, project) == ("MLEngineer", frozenset({"g1"}), "contoso-fraud-test")
        return self.wanted

    def governed(self):
        return frozenset({"aiplatform.jobs.create", "aiplatform.models.list", "aiplatform.endpoints.predict"})


def verify(clouds, world):
    async def story():
        async with clouds.client() as client:
            return await Verify(SETTINGS, world, world, client)()

    return asyncio.run(story())


def names(report):
    return [hop.name for hop in report.hops if not hop.holds]


def test_the_whole_walk():
    clouds = Clouds()
    report = verify(clouds, World())
    assert report.holds
    assert [hop.name.split()[0] for hop in report.hops] == [
        "entra-keys",
        "entra-application",
        "google-provider",
        "google-issuer",
        "google-subject",
        "google-condition",
        "google-impersonation",
    ]
    assert [(one.kind, one.permission) for one in report.findings] == [
        ("missing", "aiplatform.endpoints.predict"),
        ("excess", "aiplatform.jobs.create"),
    ]
    google = [(method, bearer) for method, url, bearer in clouds.asked if "googleapis" in url]
    assert {bearer for _, bearer in google} == {"Bearer reviewing"}
    assert all(bearer == "" for _, url, bearer in clouds.asked if "microsoft" in url)


@pytest.mark.parametrize(
    "answer",
    [
        httpx.ConnectError("no"),
        httpx.Response(200, content=b"<html>"),
        [],
        {"issuer": ISSUER},
        {"issuer": ISSUER, "jwks_uri": "http://[bad"},
        {"issuer": ISSUER, "jwks_uri": "https://nowhere/keys"},
        {"issuer": "https://evil", "jwks_uri": "https://login.microsoftonline.com/keys"},
    ],
)
def test_an_issuer_without_keys_ends_the_walk(answer):
    clouds = Clouds()
    clouds.answers[clouds.discovery] = answer
    report = verify(clouds, World())
    assert names(report) == ["entra-keys"]
    assert len(report.hops) == 1
    assert report.hops[0].cure


def test_an_empty_set_of_keys_is_none():
    clouds = Clouds()
    clouds.answers["https://login.microsoftonline.com/keys"] = {"keys": []}
    assert names(verify(clouds, World())) == ["entra-keys"]


def test_the_hop_that_failed_is_named():
    world = World()
    world.failure = HopFailed("google-sts", Reason.EXCHANGE_REFUSED, "said no", hint="look there")
    report = verify(Clouds(), world)
    assert (report.hops[-1].name, report.hops[-1].said, report.hops[-1].cure) == ("google-sts", "said no", "look there")
    assert not report.holds


@pytest.mark.parametrize("path", ["provider", "account", "project", "role"])
@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (httpx.ReadTimeout("slow"), "does not answer"),
        (httpx.Response(200, content=b"not JSON"), "does not answer"),
        (httpx.Response(403, json={"error": {"message": "denied"}}), "answered 403: denied"),
        (httpx.Response(403, json={"error": "denied"}), "answered 403"),
        (httpx.Response(500, json=[]), "answered 500"),
        (httpx.Response(200, json=[]), "answered 200"),
    ],
)
def test_google_that_does_not_let_itself_be_read(path, answer, said):
    clouds = Clouds()
    clouds.answers[getattr(clouds, path)] = answer
    report = verify(clouds, World())
    assert report.hops[-1].name == "google-review"
    assert said in report.hops[-1].said
    assert "reviewing" not in report.hops[-1].said
    assert not report.holds


@pytest.mark.parametrize(
    ("document", "active"),
    [
        ({"state": "ACTIVE"}, True),
        ({"state": "ACTIVE", "disabled": True}, False),
        ({"state": "DELETED"}, False),
        ({}, False),
    ],
)
def test_a_provider_is_active_when_google_says_so(document, active):
    clouds = Clouds()
    clouds.answers[clouds.provider] = document

    async def story():
        async with clouds.client() as client:
            return await Google(client, AccessToken("t")).provider(SETTINGS.provider)

    found = asyncio.run(story())
    assert found == Provider(active=active, issuer="", audiences=(), mapping={}, condition="")


def test_a_role_is_read_once():
    clouds = Clouds()

    async def story():
        async with clouds.client() as client:
            google = Google(client, AccessToken("t"))
            first = await google.permissions("roles/aiplatform.user")
            with pytest.raises(TrustBroken):
                await google.permissions("roles/none")
            return first, await google.permissions("roles/aiplatform.user")

    first, again = asyncio.run(story())
    assert first is again
    assert [url for _, url, _ in clouds.asked].count(clouds.role) == 1
