"""Walking the trust as oneself: Contoso's people and workloads on the lab, each hop as it holds and as it breaks."""

import asyncio
import base64
import contextlib
import datetime as dt
import functools
import json
import shutil
from dataclasses import replace

import httpx
import pytest
from sqlalchemy import select
from tests.unit.trust.verified_contoso import EXAMPLE, GRAPH, IAM, POOL, House, Itself, Lab, microsoft

from remit.assembly import evidence, rooms
from remit.assembly.trust_oneself import oneself
from remit.assembly.trust_verifying import verification
from remit.audit import tables
from remit.audit.recorder import LedgerRecorder
from remit.credentials.own_keys import OwnKeys
from remit.identity.revocation.revoker import Revoker
from remit.lab import contoso
from remit.lab.http_server import reply
from remit.lab.jwt import SigningKey
from remit.lab.service import Clouds
from remit.model.operation import Group
from remit.model.revocation import Revocation, Scope
from remit.model.secret import UnverifiedToken
from remit.model.wire import WireRequest
from remit.settings.read import read
from remit.state.database import database_path
from remit.trust.verifying.oneself import OwnWays
from remit.trust.verifying.walking import Way, dry_calls

TEST, PROD = "contoso-fraud-test", "contoso-fraud-prod"
ENGINEER = f"ml-engineer@{TEST}.iam.gserviceaccount.com"
DANA = f"{contoso.TENANT}/{contoso.DANA.oid}"
LIST = "aiplatform.projects.locations.models.list"
LOGIN = f"https://login.microsoftonline.com/{contoso.TENANT}/oauth2/v2.0"
ON_BEHALF = ("sign-in", "policy", "azure-imds", "entra-obo", "google-sts", "google-iam")
OWN = ("sign-in", "policy", "own-issuer", "google-sts", "google-iam")
THERE = ("google-test", "vertex-call")
ENTRY = {"type": "begun", "schema": "begun/1"}


class Installed(House):
    """An installation with a ledger, and somebody at a browser. `like`: one that is taken over as its files stand."""

    def __init__(self, folder, like=None):
        if like is None:
            super().__init__(folder)
            evidence.install(self.settings)
            with evidence.writing(self.settings) as engine, self.recorder(engine) as recorder:
                recorder.record_now({**ENTRY, "at": rooms.now()})
            return
        shutil.copytree(like.file.parent, folder / "contoso")
        self.file = folder / "contoso" / "remit.yaml"
        self.settings = read(self.file)
        self.clouds = Clouds(folder / "lab")
        self.lab = Lab(self.clouds)
        keys = OwnKeys(self.settings.own_keys, lambda: 0.0).published()
        self.command(provider_keys={"name": "remit", "jwks": {"keys": [key.jwk() for key in keys]}})

    def recorder(self, engine):
        return LedgerRecorder(evidence.ledger(self.settings, engine), patience=10)

    def sign_in(self, name, scope="api://remit/.default"):
        """A person's token, by device code."""

        async def signed_in():
            async with httpx.AsyncClient(transport=self.lab) as client:
                asked = {"client_id": contoso.CLI.id}
                begun = await client.post(f"{LOGIN}/devicecode", data={**asked, "scope": f"openid {scope}"})
                flow = begun.raise_for_status().json()
                form = {"user_code": flow["user_code"], "account": f"{name}@contoso.example"}
                await client.post(flow["verification_uri"], data=form)
                asked["grant_type"] = "urn:ietf:params:oauth:grant-type:device_code"
                answer = await client.post(f"{LOGIN}/token", data={**asked, "device_code": flow["device_code"]})
                return answer.raise_for_status().json()["access_token"]

        return UnverifiedToken(asyncio.run(signed_in()))

    def machine(self):
        """The token of the nightly pipeline, a managed identity."""

        async def asked():
            async with self.opened(self.settings) as (_, hops):
                return await microsoft(hops, contoso.FRAUD_PIPELINE.client_id, "api://remit")

        return UnverifiedToken(asyncio.run(asked()).reveal())

    def verify(self, token=None):
        return asyncio.run(self._as(token))

    async def _as(self, token):
        settings = read(self.file)
        async with self.opened(settings) as (client, hops), contextlib.AsyncExitStack() as stack:
            me = await stack.enter_async_context(oneself(settings, hops, client, token)) if token else None
            tokens = Itself(settings, hops, self.clouds)
            return await verification(settings, tokens, client, hops, me)()

    def ways(self, token):
        """The hops of all ways of whoever that is."""
        return asyncio.run(self._ways(token))

    async def _ways(self, token):
        settings = read(self.file)
        async with self.opened(settings) as (client, hops), oneself(settings, hops, client, token) as me:
            own = OwnWays(me, settings.trust.mappings)
            found = list(await own.begin())
            for one in settings.trust.mappings:
                place = settings.estate.project(one.project)
                asked = {f"projects/{place.id}": frozenset({"aiplatform.models.list", "aiplatform.models.delete"})}
                way = Way(one.role, place, one.account, frozenset(), asked, None)
                walked = await own.walk(way, client, asyncio.sleep)
                found += walked.hops if walked else ()
            return [*found, *own.end()]

    def entries(self, kind):
        """What the ledger holds of a kind."""
        with evidence.reading(self.settings) as engine, engine.connect() as connection:
            found = [json.loads(row.entry) for row in connection.execute(select(tables.entries))]
        return [each for each in found if each["type"] == kind]

    def revoke(self, principal):
        async def story():
            with evidence.writing(self.settings) as engine, self.recorder(engine) as recorder:
                revoker = Revoker(recorder, engine, engine, rooms.now)
                await revoker.revoke(Revocation(Scope.PRINCIPAL, principal, locked=True), actor="sam")

        asyncio.run(story())


@functools.cache
def kept(make):
    """What takes a second to make of Contoso's files."""
    return make(read(EXAMPLE / "remit.yaml"))


@pytest.fixture
def quickly(monkeypatch):
    """Policies and catalogue are read once for all tests that change neither."""
    judge, classifier = rooms.judge, rooms.classifier
    monkeypatch.setattr(rooms, "judge", lambda _: kept(judge))
    monkeypatch.setattr(rooms, "classifier", lambda _: kept(classifier))


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """Whose files all others begin with: nobody changes anything in it."""
    return Installed(tmp_path_factory.mktemp("first"))


@pytest.fixture
def house(quickly, first, tmp_path):
    return Installed(tmp_path, first)


@pytest.fixture
def house_with_policies_of_its_own(first, tmp_path):
    return Installed(tmp_path, first)


def broken(hops):
    return {hop.name: f"{hop.said} / {hop.cure}" for hop in hops if not hop.holds}


def names(hops, project=TEST):
    return tuple(hop.name for hop in hops if hop.project == project)


# as it holds


def test_dana_walks_her_own_ways_on_her_own_behalf(house):
    token = house.sign_in("dana")
    hops = house.ways(token)
    assert broken(hops) == {}
    assert names(hops) == names(hops, PROD) == (*ON_BEHALF, *THERE)
    assert {hop.role for hop in hops} == {"MLEngineer"}
    assert f"`dana@contoso.example` becomes `{ENGINEER}`" in [hop.said for hop in hops]
    for secret in (token.reveal(), "eyJ", "ya29"):
        assert secret not in str(hops)


@pytest.mark.promise("V4")
def test_what_is_walked_in_her_name_is_decided_and_recorded_like_any_request(house):
    hops = house.ways(house.sign_in("dana"))
    decided = house.entries("decision")
    told = [(each["principal"], each["action"], each["outcome"], each["method"]) for each in decided]
    assert told == [(DANA, LIST, "permit", "GET")] * 2
    assert {each["account"] for each in decided} == {ENGINEER, ENGINEER.replace("test", "prod")}
    said = " ".join(hop.said for hop in hops if hop.name == "policy")
    assert all(each["decision"] in said for each in decided)
    # by Google's own word it was she, and not before it was recorded
    log = [json.loads(line) for line in (house.file.parents[1] / "lab" / "cloud_audit.jsonl").read_text().splitlines()]
    hers = [each for each in log if DANA in json.dumps(each)]
    assert any("ListModels" in json.dumps(each) for each in hers)
    first = min(dt.datetime.fromisoformat(each["timestamp"]).timestamp() for each in hers)
    assert decided[0]["at"] / 1e6 <= first
    assert not any("trust-verify" in json.dumps(each) for each in log)


def test_each_person_walks_the_ways_that_remit_takes_for_them_and_no_others(house):
    for name, role, account in (("ada", "DataScientist", "data-scientist"), ("sam", "Security", "auditor")):
        hops = house.ways(house.sign_in(name))
        assert broken(hops) == {}
        assert {(hop.role, hop.project) for hop in hops} == {(role, TEST)}
        assert any(f"becomes `{account}@" in hop.said for hop in hops)


def test_what_is_called_changes_nothing_and_is_there(house):
    """By the catalogue, which decides it, and by the clouds."""
    place = house.settings.estate.project(TEST)
    calls = dry_calls(place)
    assert len(calls) > len(dry_calls(replace(place, locations=()))) == 1
    for call in calls:
        [operation] = (
            rooms.classifier(house.settings).classify(WireRequest(None, "GET", call.host, call.target)).operations
        )
        assert operation.action.group in {Group.USE, Group.OBSERVE}
        assert operation.action.permission == call.permission
        assert operation.resources[0].project == TEST
        house.change("GET", call.url)


# as it breaks


def without_consent(house):
    url = f"{GRAPH}/applications(appId='{contoso.GOOGLE.id}')"
    api = house.change("GET", f"{url}?$select=id,api")["api"]
    house.change("PATCH", url, {"api": {**api, "preAuthorizedApplications": []}})


def without_application(house):
    house.change("DELETE", f"{GRAPH}/applications(appId='{contoso.GOOGLE.id}')")


def with_principal_disabled(house):
    house.change("PATCH", f"{GRAPH}/servicePrincipals(appId='{contoso.GOOGLE.id}')", {"accountEnabled": False})


def without_managed_identity(house):
    house.rewrite("3c000000-0000-4000-8000-000000000001", "3c000000-0000-4000-8000-00000000dead")


def answering(number):
    """Entra refuses what is asked on somebody's behalf for a reason that the lab does not play."""

    def edit(house):
        async def refused(request, answer=house.lab._handle):
            if b"on_behalf_of" not in request.body:
                return await answer(request)
            return reply({"error": "invalid_grant", "error_description": f"AADSTS{number}: no. Trace ID: 1"}, 400)

        house.lab._handle = refused

    return edit


def provider(mask, **fields):
    return lambda house: house.change("PATCH", f"{IAM}/{POOL}/providers/entra?updateMask={mask}", fields)


def subject(expression):
    return provider(
        "attributeMapping", attributeMapping={**dict(contoso.PROVIDER.mapping), "google.subject": expression}
    )


def unbound(condition=None):
    """The engineers' group may no longer become their account, or only under a condition."""

    def edit(house):
        member = f"principalSet://iam.googleapis.com/{POOL}/group/9a000000-0000-4000-8000-000000000002"

        def changed(lines):
            [line] = [each for each in lines if member in each["members"]]
            line["members"].remove(member)
            if condition:
                lines.append({"role": line["role"], "members": [member], "condition": condition})

        house.bind(f"{IAM}/projects/{TEST}/serviceAccounts/{ENGINEER}", changed)

    return edit


def without_roles_there(house):
    def changed(lines):
        for line in lines:
            line["members"] = [each for each in line["members"] if each != f"serviceAccount:{ENGINEER}"]

    house.bind(f"https://cloudresourcemanager.googleapis.com/v1/projects/{TEST}", changed)


NEVER = {"title": "long ago", "expression": 'request.time < timestamp("2020-01-01T00:00:00Z")'}
OTHER = {"allowedAudiences": ["api://other"]}
LONG = "assertion.tid + assertion.tid + assertion.tid + assertion.oid"


@pytest.mark.promise("V3")
@pytest.mark.parametrize(
    ("edit", "hop", "said", "cure"),
    [
        (without_managed_identity, "azure-imds", "azure-imds", ""),
        (without_consent, "entra-obo", "AADSTS65001", "pre-authorize"),
        (without_application, "entra-obo", "AADSTS500011", "second audience is gone"),
        (with_principal_disabled, "entra-obo", "AADSTS500014", "enable it"),
        (answering("50013"), "entra-obo", "AADSTS50013", "`audience` of `issuers`"),
        (answering("53003"), "entra-obo", "AADSTS53003", "conditional access"),
        (answering("50076"), "entra-obo", "AADSTS50076", "second factor"),
        (answering("500113"), "entra-obo", "AADSTS500113", "sign-in log tells what `AADSTS500113` is about"),
        (provider("disabled", disabled=True), "google-sts", "invalid_target", "disabled"),
        (provider("attributeCondition", attributeCondition="false"), "google-sts", "unauthorized_client", "condition"),
        (provider("oidc.allowedAudiences", oidc=OTHER), "google-sts", "invalid_grant", "audience or key"),
        (subject(LONG), "google-sts", "invalid_request", "127 bytes"),
        (unbound(), "google-iam", "PERMISSION_DENIED", f"`roles/iam.workloadIdentityUser` on `{ENGINEER}`"),
        (unbound(NEVER), "google-iam", "PERMISSION_DENIED", "a condition that refuses"),
        (without_roles_there, "vertex-call", "PERMISSION_DENIED", "aiplatform.models.list"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_hop_that_breaks_is_told_with_its_cure(house, edit, hop, said, cure):
    token = house.sign_in("dana")
    edit(house)
    hops = [one for one in house.ways(token) if one.project == TEST]
    [(name, told)] = broken(hops).items()
    assert name == hop
    assert said in told
    assert cure in told
    assert not told.endswith("/ ")
    order = (*ON_BEHALF, *THERE)
    assert names(hops) == order[: order.index(hop) + 1]


def test_a_hop_that_broke_is_on_the_record_too(house):
    token = house.sign_in("dana")
    without_consent(house)
    house.ways(token)
    failed = house.entries("outcome")
    assert [each["hop"] for each in failed] == ["entra-obo"] * 2
    assert {each["decision"] for each in failed} == {each["decision"] for each in house.entries("decision")}


# somebody of whom nothing is walked


def refused(house, token):
    """The one hop that stands before all ways."""
    asked = len(house.lab.asked)
    [hop] = house.ways(token)
    assert not hop.holds
    assert (hop.role, hop.project) == ("", "")
    assert [each for each in house.lab.asked[asked:] if "googleapis" in each] == []
    assert house.entries("decision") == []
    return hop


def test_a_token_that_proves_nobody_here_walks_nothing(house):
    now = int(dt.datetime.now(dt.UTC).timestamp())
    claims = {"iss": contoso.issuer(contoso.TENANT), "aud": contoso.REMIT.id, "iat": now, "nbf": now, "exp": now + 600}
    for token in (UnverifiedToken("nothing"), UnverifiedToken(SigningKey().sign(claims))):
        hop = refused(house, token)
        assert hop.name == "sign-in"
        assert "`remit login`" in hop.cure
        assert token.reveal() not in f"{hop.said} {hop.cure}"


def test_a_sign_in_at_another_installation_walks_nothing(house):
    claims = house.sign_in("dana").reveal().split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(claims + "=="))
    token = house.clouds.entra.keys.signing.sign({**claims, "aud": contoso.FOREIGN.id})
    hop = refused(house, UnverifiedToken(token))
    assert hop.name == "sign-in"
    assert "another installation" in hop.cure


def test_whoever_was_revoked_walks_nothing(house):
    token = house.sign_in("dana")
    house.revoke(DANA)
    assert refused(house, token).said == "access has been revoked"


def test_somebody_who_lost_their_role_is_told_so_and_that_is_no_success(house):
    resource = house.change("GET", f"{GRAPH}/servicePrincipals(appId='{contoso.REMIT.id}')?$select=id")["id"]
    place = f"{GRAPH}/servicePrincipals/{resource}/appRoleAssignedTo"
    hers = [each for each in house.change("GET", place)["value"] if each["principalId"] == contoso.DANA.oid]
    none = {
        "principalId": contoso.DANA.oid,
        "resourceId": resource,
        "appRoleId": "0" * 8 + "-0000-0000-0000-" + "0" * 12,
    }
    house.change("POST", place, none)
    for each in hers:
        house.change("DELETE", f"{place}/{each['id']}")
    assert "holds no role that an account is mapped to" in refused(house, house.sign_in("dana")).said


@pytest.mark.promise("V4")
@pytest.mark.parametrize("gone", ["database", "key"])
def test_where_nothing_can_be_recorded_nothing_is_walked_and_nothing_is_made(house, gone):
    token = house.sign_in("dana")
    state = database_path(house.settings.state.url)
    file = house.settings.audit.key if gone == "key" else state
    away = file.rename(file.with_name("away"))
    asked = len(house.lab.asked)
    [hop] = house.ways(token)
    assert (hop.name, hop.holds) == ("record", False)
    assert "where `remit serve` runs" in hop.cure
    assert house.lab.asked[asked:] == []
    assert not file.exists()
    away.rename(file)
    assert house.entries("decision") == []


# workloads, and what the policy does not permit


LOOKS = f"""
@id("pipeline-looks")
@purpose("a pipeline proves its own way")
permit (principal is Workload in Role::"Pipeline", action == Action::"{LIST}", resource in Project::"{TEST}");
"""


def test_who_may_only_launch_walks_nothing_and_that_is_no_success(house):
    way, last = house.ways(house.machine())
    assert (way.name, way.walked, way.holds) == ("policy", False, True)
    assert "is not permitted" in way.said
    assert [each["outcome"] for each in house.entries("decision")] == ["deny"]
    assert (last.name, last.holds, last.role) == ("policy", False, "")
    assert "aiplatform.models.list" in last.cure


def test_a_workload_walks_its_way_by_remit_s_own_word(house_with_policies_of_its_own):
    house = house_with_policies_of_its_own
    (house.settings.policy.folder / "looks.cedar").write_text(LOOKS)
    hops = house.ways(house.machine())
    assert broken(hops) == {}
    assert names(hops) == (*OWN, *THERE)
    assert {hop.role for hop in hops} == {"Pipeline"}


def test_a_run_of_a_pipeline_whose_name_google_does_not_take(house_with_policies_of_its_own):
    house = house_with_policies_of_its_own
    (house.settings.policy.folder / "looks.cedar").write_text(LOOKS)
    name = f"contoso/{'fraud' * 18}"
    house.rewrite("repository: contoso/fraud\n", f"repository: {name}\n")
    house.command(github_run={"repository": name})
    hops = house.ways(UnverifiedToken(house.clouds.github.token("api://remit")))
    [(name, told)] = broken(hops).items()
    assert name == "own-issuer"
    assert "127 bytes" in told
    assert "shorter" in told


# among all that is verified


def test_an_account_of_single_people_is_read_by_the_probe_and_walked_by_one_of_them(house):
    """Dana alone may become production's account: the probe is in no group that may, and reads."""
    account = f"{IAM}/projects/{PROD}/serviceAccounts/{ENGINEER.replace('test', 'prod')}"
    members = [f"principal://iam.googleapis.com/{POOL}/subject/{DANA}"]
    house.bind(account, lambda lines: lines.__setitem__(0, {"role": lines[0]["role"], "members": members}))
    report = house.verify(house.sign_in("dana"))
    hops = [hop for hop in report.hops if hop.project == PROD]
    assert names(hops, PROD) == (*ON_BEHALF, *THERE)
    assert all(hop.walked and hop.holds for hop in hops)
    # elsewhere the probe walks beside her, and where she is nobody alone
    assert sum(hop.name == "google-iam" for hop in report.hops if (hop.role, hop.project) == ("MLEngineer", TEST)) == 2
    [alone] = [hop for hop in report.hops if (hop.name, hop.role) == ("google-iam", "DataScientist")]
    assert "the probe becomes" in alone.said
    assert len(house.entries("decision")) == 2
