"""The trust of Contoso on the lab: as it is, and with one thing after the other broken, each told by its name."""

import asyncio
import functools
import json

import pytest
from grpc import StatusCode
from tests.unit.trust.test_trust_ways_lab import mischief
from tests.unit.trust.verified_contoso import EXAMPLE, GRAPH, IAM, POOL, House

from remit.assembly import trust_verifying
from remit.assembly.trust import PolicyWants
from remit.credentials.own_keys import OwnKeys
from remit.lab import contoso
from remit.lab.errors import CloudError
from remit.lab.faults import Fault
from remit.settings.read import read
from remit.trust.verifying.page import page

TEST = "contoso-fraud-test"
PROJECT = f"https://cloudresourcemanager.googleapis.com/v1/projects/{TEST}"
ENGINEER, SCIENTIST, AUDITOR = (
    f"{name}@{TEST}.iam.gserviceaccount.com" for name in ("ml-engineer", "data-scientist", "auditor")
)
ENTRA, OWN = f"{IAM}/{POOL}/providers/entra", f"{IAM}/{POOL}/providers/remit"
NOBODYS = "6f1c2a34-8b5d-4e6f-9a01-c0de0000dead"


@pytest.fixture(scope="module")
def policy():
    """What the policy permits, worked out once: it takes seconds, and no test changes it."""
    with pytest.MonkeyPatch.context() as patch:
        of = functools.cache(trust_verifying.permitted(read(EXAMPLE / "remit.yaml")))
        wants = []

        def same(*given):
            wants.append(wants[0] if wants else PolicyWants(*given))
            return wants[0]

        patch.setattr(trust_verifying, "permitted", lambda _: of)
        patch.setattr(trust_verifying, "PolicyWants", same)
        yield


@pytest.fixture(scope="module")
def contosos(policy, tmp_path_factory):
    """Contoso's report, and what was asked for it."""
    house = House(tmp_path_factory.mktemp("contoso"))
    return house.verify(), tuple(house.lab.asked)


@pytest.fixture
def house(policy, tmp_path):
    return House(tmp_path)


def broken(report):
    return {hop.name: f"{hop.said} / {hop.cure}" for hop in report.hops if not hop.holds}


def more(report, contosos):
    """What is found beside what Contoso is born with."""
    return [each for each in report.findings if each not in contosos[0].findings]


def test_contoso_holds_and_has_its_two_flaws(contosos):
    report, asked = contosos
    assert broken(report) == {}
    assert {one.kind for one in report.findings} == {"missing", "excess"}
    excess = {(one.role, one.permission) for one in report.findings if one.kind == "excess"}
    assert ("DataScientist", "aiplatform.models.delete") in excess
    assert ("DataScientist", "aiplatform.customJobs.create") not in excess  # somebody may grant her that
    missing = {(one.role, one.permission) for one in report.findings if one.kind == "missing"}
    assert ("Security", "logging.logEntries.list") in missing
    [predict] = [one for one in report.findings if one.permission == "aiplatform.endpoints.predict"]
    assert predict.role == "Security"  # who may not predict, and may look after what somebody predicts
    assert predict.methods == tuple(
        f"aiplatform.projects.locations.{of}.fetchPredictOperation" for of in ("endpoints", "publishers.models")
    )
    [granted] = [one for one in report.findings if "with a grant" in one.said and one.role == "DataScientist"]
    assert (granted.kind, granted.permission) == ("missing", "aiplatform.persistentResources.create")
    # what else there is, Google's own wide roles are the reason of, and no bucket, account or container
    assert {one.resource.partition("/")[0] for one in report.findings} == {"projects"}
    assert all("roles/" in one.said for one in report.findings if one.kind == "excess")
    writing = [each for each in asked if each.split()[0] in {"PUT", "PATCH", "DELETE"}]
    assert writing == []


def test_every_role_is_walked_to_a_call(contosos):
    walked = {(hop.role, hop.name) for hop in contosos[0].hops if hop.role and hop.walked}
    steps = ("own-issuer", "google-sts", "google-iam", "vertex-call")
    assert {
        (role, step) for role in ("DataScientist", "MLEngineer", "Pipeline", "Security") for step in steps
    } <= walked


def test_google_s_log_names_nobody_but_the_probe(house):
    house.verify()
    subjects = {
        str(each).partition("/subject/")[2].partition("'")[0]
        for each in ((house.file.parents[1] / "lab" / "cloud_audit.jsonl").read_text().splitlines())
        if "/subject/" in each
    }
    people = [user.oid for user in contoso.USERS]
    assert subjects
    assert not [each for each in subjects for oid in people if oid in each]


def test_nothing_of_a_token_is_told(contosos):
    text = "\n".join(line.text for line in page(contosos[0]))
    assert "eyJ" not in text
    assert "ya29" not in text


def test_a_disabled_pool(house):
    house.change("PATCH", f"{IAM}/{POOL}?updateMask=disabled", {"disabled": True})
    told = broken(house.verify())
    assert "pool `contoso` is disabled" in told["google-review"]
    assert "google-sts" in told
    assert "entra-review" not in told


@pytest.mark.promise("V3")
def test_a_provider_that_takes_no_token_of_remit(house):
    wrong = {"attributeCondition": f'assertion.azp == "{contoso.FOREIGN.id}"'}
    house.change("PATCH", f"{ENTRA}?updateMask=attributeCondition", wrong)
    told = broken(house.verify())
    assert contoso.FOREIGN.id in told["google-provider entra"]
    assert contoso.REMIT.id in told["google-provider entra"]
    assert "google-sts" in told  # and the provider is read all the same
    assert "google-review" not in told


def test_a_wrong_audience(house):
    house.change("PATCH", f"{ENTRA}?updateMask=oidc.allowedAudiences", {"oidc": {"allowedAudiences": ["api://x"]}})
    told = broken(house.verify())
    assert "`audiences` is `api://x`" in told["google-provider entra"]
    assert contoso.GOOGLE.id in told["google-provider entra"]


def test_another_tenants_provider(house):
    other = contoso.issuer(contoso.FABRIKAM)
    body = {"attributeMapping": {"google.subject": "assertion.sub"}, "oidc": {"issuerUri": other}}
    house.change("POST", f"{IAM}/{POOL}/providers?workloadIdentityPoolProviderId=second", body)
    told = broken(house.verify())
    assert list(told) == ["google-provider second"]
    assert other in told["google-provider second"]


def test_a_disabled_provider_of_remits_own(house):
    house.change("PATCH", f"{OWN}?updateMask=disabled", {"disabled": True})
    report = house.verify()
    told = broken(report)
    assert "its `disabled` is `true`" in told["google-provider remit"]
    assert {hop.role for hop in report.hops if hop.name == "google-sts" and not hop.holds} == {
        "DataScientist",
        "MLEngineer",
        "Pipeline",
        "Security",
    }


def test_stale_keys(house):
    house.new_key()
    told = broken(house.verify())
    assert list(told) == ["google-keys"]
    assert "stale" in told["google-keys"]


def test_a_stranger_at_the_second_audience(house):
    api = house.change("GET", f"{GRAPH}/applications(appId='{contoso.GOOGLE.id}')?$select=id,api")["api"]
    [one] = api["preAuthorizedApplications"]
    api["preAuthorizedApplications"] = [one, {**one, "appId": contoso.FOREIGN.id}]
    house.change("PATCH", f"{GRAPH}/applications(appId='{contoso.GOOGLE.id}')", {"api": api})
    told = broken(house.verify())
    assert list(told) == ["entra-application remit-google"]
    assert contoso.FOREIGN.id in told["entra-application remit-google"]


@pytest.mark.parametrize(
    ("app", "hops"),
    [
        (contoso.GOOGLE, {"entra-principal remit-google"}),
        (contoso.azure.FRAUD_TEST_READER, {"entra-principal contoso-fraud-test/DataScientist"}),
    ],
)
def test_a_disabled_service_principal(house, app, hops):
    house.change("PATCH", f"{GRAPH}/servicePrincipals(appId='{app.id}')", {"accountEnabled": False})
    told = broken(house.verify())
    assert hops <= told.keys()
    assert all("enabled" in told[name] for name in hops)
    assert len(told) > len(hops)  # a hop that is walked breaks too


def test_an_app_role_that_is_gone(house, contosos):
    url = f"{GRAPH}/applications(appId='{contoso.REMIT.id}')"
    roles = house.change("GET", f"{url}?$select=id,appRoles")["appRoles"]
    off = [{**role, "isEnabled": role["isEnabled"] and role["value"] != "Security"} for role in roles]
    house.change("PATCH", url, {"appRoles": off})
    house.change("PATCH", url, {"appRoles": [role for role in off if role["value"] != "Security"]})
    report = house.verify()
    assert "Security" in broken(report)["entra-application remit"]
    assert ("clash", "Security") in {(one.kind, one.role) for one in more(report, contosos)}


@pytest.mark.promise("V12")
def test_a_group_that_holds_only_groups(house, contosos):
    roles = house.change("GET", f"{GRAPH}/servicePrincipals(appId='{contoso.REMIT.id}')?$select=id,appRoles")
    role = next(each["id"] for each in roles["appRoles"] if each["value"] == "MLEngineer")
    body = {"principalId": contoso.ML_ALL.id, "resourceId": roles["id"], "appRoleId": role}
    house.change("POST", f"{GRAPH}/servicePrincipals/{roles['id']}/appRoleAssignedTo", body)
    [clash] = more(house.verify(), contosos)
    assert (clash.kind, clash.role) == ("clash", "MLEngineer")
    assert "`ml-all` -> `ml-engineers`" in clash.said
    assert "inner groups" in clash.cure


def aiplatform_user(bindings):
    """The engineer's own line, taken from those of others."""
    [line] = [each for each in bindings if each["role"] == "roles/aiplatform.user"]
    line["members"].remove(f"serviceAccount:{ENGINEER}")
    return line


def test_a_binding_that_is_gone(house, contosos):
    house.bind(PROJECT, aiplatform_user)
    report = house.verify()
    found = more(report, contosos)
    assert {one.kind for one in found} == {"missing"}
    assert "aiplatform.customJobs.create" in {one.permission for one in found}
    assert {one.account for one in found} == {ENGINEER}
    assert "vertex-call" in broken(report)


@pytest.mark.promise("V9")
def test_a_condition_that_defeats_a_binding(house, contosos):
    condition = {"title": "long ago", "expression": 'request.time < timestamp("2020-01-01T00:00:00Z")'}

    def edit(bindings):
        aiplatform_user(bindings)
        member = f"serviceAccount:{ENGINEER}"
        bindings.append({"role": "roles/aiplatform.user", "members": [member], "condition": condition})

    house.bind(PROJECT, edit)
    found = [one for one in more(house.verify(), contosos) if one.kind == "clash"]
    assert "aiplatform.customJobs.create" in {one.permission for one in found}
    assert all(condition["title"] in one.said and condition["expression"] in one.said for one in found)


def test_an_owner(house, contosos):
    member = f"serviceAccount:{ENGINEER}"
    house.bind(PROJECT, lambda lines: lines.append({"role": "roles/owner", "members": [member]}))
    found = more(house.verify(), contosos)
    assert [(one.kind, one.permission) for one in found if one.kind == "excess"] == [("excess", "roles/owner")]
    assert "take `roles/owner`" in found[-1].cure


def test_a_stranger_who_may_become_an_account(house, contosos):
    account = f"{IAM}/projects/{TEST}/serviceAccounts/{SCIENTIST}"
    line = {"role": "roles/iam.serviceAccountTokenCreator", "members": [f"serviceAccount:{AUDITOR}"]}
    house.bind(account, lambda lines: lines.append(line))
    [excess] = more(house.verify(), contosos)
    assert (excess.kind, excess.role, excess.resource) == ("excess", "DataScientist", f"accounts/{SCIENTIST}")
    assert AUDITOR in excess.cure


def test_a_disabled_account(house):
    house.change("POST", f"{IAM}/projects/{TEST}/serviceAccounts/{SCIENTIST}:disable", {})
    told = broken(house.verify())
    assert f"google-account {SCIENTIST}" in told
    assert SCIENTIST in told["google-iam"]  # its own role's way; the others hold


@pytest.mark.promise("T9")
def test_a_role_on_the_whole_subscription(house, contosos):
    principal = contoso.azure.FRAUD_TEST_STORAGE.principal
    role = "Storage Blob Data Contributor"
    house.command(assign={"principal": principal, "scope": contoso.azure.SUBSCRIPTION, "role": role})
    [excess] = more(house.verify(), contosos)
    assert (excess.kind, excess.permission) == ("excess", role)
    assert "subscription" in excess.said
    assert excess.role == "MLEngineer and Pipeline"


def test_what_no_cloud_takes_is_told_by_name(house):
    house.rewrite("subject/okta/pipeline\n", f"subject/okta/{chr(233) * 70}\n")
    client = "        client: a0000000-0000-4000-8000-000000000012\n        containers: [contosofraudtest/features]\n"
    lines = "".join(f"      - role: Role{n}\n        project: {TEST}\n{client}" for n in range(21))
    house.rewrite(
        "      - role: MLEngineer\n        project: contoso-fraud-prod\n        client",
        f"{lines}      - role: MLEngineer\n        project: contoso-fraud-prod\n        client",
    )
    roles = "".join(f"    Role{n}: {{about: one of many}}\n" for n in range(21))
    house.rewrite("    MLEngineer:\n      about", f"{roles}    MLEngineer:\n      about")
    said = [hop.said for hop in house.verify().hops if hop.name == "limit"]
    assert any("bytes" in each and "127" in each for each in said)
    assert any("federated credentials" in each and "20" in each for each in said)


def test_an_assignment_that_expired_and_a_tenant_that_is_none(house, contosos):
    house.rewrite("expires: 2027-06-30", "expires: 2026-06-30")
    house.rewrite(contoso.FABRIKAM, NOBODYS)
    report = house.verify()
    assert list(broken(report)) == [f"entra-guests {NOBODYS}"]
    found = more(report, contosos)
    assert {one.role for one in found} == {"MLEngineer", "DataScientist", "Pipeline"}
    assert all("expired on 2026-06-30" in one.said and "olga" in one.cure for one in found)


def test_one_cloud_that_says_nothing_hides_no_other(house, contosos):
    house.clouds.faults.hosts["graph.microsoft.com"] = Fault(status=403)
    report = house.verify()
    assert list(broken(report)) == ["entra-review"]
    assert more(report, contosos) == []
    house.clouds.faults.hosts.clear()
    house.clouds.faults.hosts["management.azure.com"] = Fault(status=403)
    assert list(broken(house.verify())) == ["azure-review"]


ACCOUNT = f"{IAM}/projects/{TEST}/serviceAccounts/{ENGINEER}"
TRAINER = f"trainer@{TEST}.iam.gserviceaccount.com"
OKTA = f"principalSet://iam.googleapis.com/{POOL}/group/okta/ml-engineers"


def taken(role, member):
    def edit(lines):
        [line] = [each for each in lines if each["role"] == role and member in each["members"]]
        line["members"].remove(member)

    return edit


def test_one_of_several_who_may_become_an_account_is_gone(house, contosos):
    """The others' way holds, and the probe walks it."""
    house.bind(ACCOUNT, taken("roles/iam.workloadIdentityUser", OKTA))
    [missing] = more(house.verify(), contosos)
    assert (missing.kind, missing.account) == ("missing", ENGINEER)
    assert missing.role == "MLEngineer and Pipeline"
    assert "okta/ml-engineers" in missing.said


def test_one_of_several_is_admitted_under_a_condition(house, contosos):
    condition = {"title": "long ago", "expression": 'request.time < timestamp("2020-01-01T00:00:00Z")'}

    def edit(lines):
        taken("roles/iam.workloadIdentityUser", OKTA)(lines)
        lines.append({"role": "roles/iam.workloadIdentityUser", "members": [OKTA], "condition": condition})

    house.bind(ACCOUNT, edit)
    found = more(house.verify(), contosos)
    assert [(one.kind, one.account) for one in found] == [("clash", ENGINEER), ("excess", ENGINEER)]
    assert condition["expression"] in found[0].said


def test_an_account_that_nobody_walks_lost_its_role(house, contosos):
    """Jobs run as the trainer, and no role of a person's is mapped to it."""
    house.bind(PROJECT, taken("roles/logging.logWriter", f"serviceAccount:{TRAINER}"))
    [missing] = more(house.verify(), contosos)
    assert (missing.kind, missing.account, missing.permission) == ("missing", TRAINER, "roles/logging.logWriter")


@pytest.mark.promise("V5")
@pytest.mark.parametrize(
    ("role", "who"),
    [
        ("roles/iam.serviceAccountTokenCreator", "user:eve@contoso.example"),
        ("roles/iam.serviceAccountKeyAdmin", "user:eve@contoso.example"),
        ("roles/iam.serviceAccountTokenCreator", f"serviceAccount:{ENGINEER}"),
        ("roles/logging.viewer", f"principalSet://iam.googleapis.com/{POOL}/attribute.kind/person"),
    ],
)
def test_a_stranger_above_the_accounts(house, contosos, role, who):
    house.bind(PROJECT, lambda lines: lines.append({"role": role, "members": [who]}))
    [excess] = more(house.verify(), contosos)
    assert (excess.kind, excess.permission, excess.resource) == ("excess", role, f"projects/{TEST}")
    assert who in excess.cure


def test_a_stranger_who_can_take_nothing_is_no_alarm(house, contosos):
    line = {"role": "roles/logging.viewer", "members": ["user:eve@contoso.example"]}
    house.bind(PROJECT, lambda lines: lines.append(line))
    assert more(house.verify(), contosos) == []


def assignments(house):
    remit = house.change("GET", f"{GRAPH}/servicePrincipals(appId='{contoso.REMIT.id}')?$select=id,appRoles")
    roles = {each["value"]: each["id"] for each in remit["appRoles"]}
    return f"{GRAPH}/servicePrincipals/{remit['id']}/appRoleAssignedTo", roles, remit["id"]


def test_one_person_s_role_is_gone_and_another_has_it(house, contosos):
    url, roles, remit = assignments(house)
    dana = next(user for user in contoso.USERS if user.oid.endswith("0001"))
    eve = next(user for user in contoso.USERS if user.oid.endswith("0003"))
    held = house.change("GET", url)["value"]
    [hers] = [each for each in held if (each["principalId"], each["appRoleId"]) == (dana.oid, roles["MLEngineer"])]
    house.change("DELETE", f"{url}/{hers['id']}")
    body = {"principalId": eve.oid, "resourceId": remit, "appRoleId": roles["MLEngineer"]}
    house.change("POST", url, body)
    missing, excess = more(house.verify(), contosos)
    assert (missing.kind, missing.role) == ("missing", "MLEngineer")
    assert dana.oid in missing.said
    assert (excess.kind, excess.role) == ("excess", "MLEngineer")
    assert eve.oid in excess.said


def test_a_secret_of_remit_s_own_application(house, contosos):
    house.change("POST", f"{GRAPH}/applications(appId='{contoso.REMIT.id}')/addPassword", {})
    [excess] = more(house.verify(), contosos)
    assert (excess.kind, excess.account, excess.permission) == ("excess", "remit", "secret")


@pytest.mark.promise("V3")
def test_a_deny_policy_defeats_what_a_role_grants(house, contosos):
    permission = "aiplatform.models.list"
    house.command(deny={"project": TEST, "members": [f"serviceAccount:{ENGINEER}"], "permissions": [permission]})
    report = house.verify()
    told = more(report, contosos)
    assert {(one.kind, one.permission, one.account) for one in told} == {("clash", permission, ENGINEER)}
    assert all("deny policy" in one.cure for one in told)
    assert all("grant the reviewer `roles/iam.denyReviewer`" in one.cure for one in told)
    # where the reviewer may read deny policies, the very one is named
    line = {"role": "roles/iam.denyReviewer", "members": [f"serviceAccount:{AUDITOR}"]}
    house.bind(PROJECT, lambda bindings: bindings.append(line))
    [named] = {(one.said, one.cure) for one in house.verify().findings if one.kind == "clash"}
    assert named[0].endswith("its deny policy `lab-deny-1` does")
    assert "projects%2F100000000001/denypolicies/lab-deny-1`, or take" in named[1]


@pytest.mark.parametrize("place", ["applications", "servicePrincipals"])
def test_an_owner_could_give_remit_a_secret(house, contosos, place):
    url = f"{GRAPH}/{place}(appId='{contoso.REMIT.id}')/owners"
    eve = next(user for user in contoso.USERS if user.oid.endswith("0003"))
    house.change("POST", f"{url}/$ref", {"@odata.id": f"https://graph.microsoft.com/v1.0/directoryObjects/{eve.oid}"})
    [excess] = more(house.verify(), contosos)
    assert (excess.kind, excess.account, excess.permission) == ("excess", "remit", "owner")
    assert f"`{eve.name}` owns its" in excess.said
    house.change("DELETE", f"{url}/{eve.oid}/$ref")
    assert more(house.verify(), contosos) == []


def test_a_custom_role_that_takes_accounts_and_lacks_what_the_policy_permits(house):
    held = ["aiplatform.models.list", "iam.serviceAccounts.getAccessToken"]
    role = {"title": "Remit: data-scientist", "includedPermissions": held, "stage": "GA"}
    house.change("POST", f"{IAM}/projects/{TEST}/roles", {"roleId": "remit_data_scientist", "role": role})
    told = broken(house.verify())
    assert list(told) == ["google-role remit_data_scientist"]
    assert (
        "more by `iam.serviceAccounts.getAccessToken`, less by `aiplatform." in told["google-role remit_data_scientist"]
    )


@pytest.mark.promise("V10")
def test_a_log_that_leaves_somebody_out(house):
    policy = house.change("POST", f"{PROJECT}:getIamPolicy", {"options": {"requestedPolicyVersion": 3}})
    [vertex] = [each for each in policy["auditConfigs"] if each["service"] == "aiplatform.googleapis.com"]
    vertex["auditLogConfigs"][0]["exemptedMembers"] = ["user:eve@contoso.example"]
    body = {"policy": {**policy, "version": 3}, "updateMask": "auditConfigs,etag"}
    house.change("POST", f"{PROJECT}:setIamPolicy", body)
    told = broken(house.verify())
    assert list(told) == [f"google-audit {TEST} aiplatform.googleapis.com"]
    assert "eve" in str(told)


def test_keys_uploaded_to_entra_s_provider(house):
    """Whoever has the other half of such a key would be anybody of the tenant."""
    jwks = json.dumps({"keys": [{**OwnKeys(house.keys, lambda: 0.0).published()[0].jwk(), "kid": "evil"}]})
    body = {"oidc": {"issuerUri": contoso.issuer(contoso.CONTOSO), "jwksJson": jwks}}
    house.change("PATCH", f"{ENTRA}?updateMask=oidc.jwksJson", body)
    assert "google-provider entra" in broken(house.verify())


def test_keys_that_could_not_be_read_are_no_good_keys(house):
    """One answer that fails where the rest can be read: the check is told as broken, and not left out."""
    provider = OWN.removeprefix("https://iam.googleapis.com")

    async def refuse(request, answer=house.lab._handle):
        if (request.method, request.path) == ("GET", provider):
            raise CloudError(StatusCode.PERMISSION_DENIED, "not to you")
        return await answer(request)

    house.lab._handle = refuse
    told = broken(house.verify())
    assert list(told) == ["google-keys"]
    assert "not to you" in told["google-keys"]


@pytest.mark.promise("V3")
def test_each_way_to_be_remit_that_is_no_part_of_the_file(house, contosos):
    good = {hop.name: hop.said for hop in contosos[0].hops if hop.holds}
    assert good["entra-delegation"] == "no application of Remit's may act as anybody elsewhere"
    assert f"Managed Identity Contributor on it: {contoso.ADMINISTRATOR.oid}" in good["azure-identity"]

    async def send(method, url, body):
        return await asyncio.to_thread(house.change, method, url, body)  # it asks in a loop of its own

    asyncio.run(mischief(send))
    report = house.verify()
    told = broken(report)
    assert set(told) == {"entra-delegation remit", "azure-identity eve"}
    assert "every person at Microsoft Graph: Mail.Read" in told["entra-delegation remit"]
    assert "`repo:eve/x` of `https://eve.example`" in told["azure-identity eve"]
    assert "az rest --method DELETE" in told["azure-identity eve"]
    secrets = more(report, contosos)
    assert [(one.kind, one.account, one.permission) for one in secrets] == [("excess", "remit", "secret")] * 2
