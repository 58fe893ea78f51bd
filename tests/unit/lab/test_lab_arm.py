"""Azure Resource Manager in the lab: Azure's own client, who may do what, and what it says to the rest."""

import json
import uuid
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from remit.lab import contoso, contoso_azure
from remit.lab.arm_assignments import Assignments
from remit.lab.arm_roles import ROLES, named

ARM = "management.azure.com"
SUBSCRIPTION, GROUP = contoso_azure.SUBSCRIPTION, contoso_azure.GROUP
ACCOUNT = contoso_azure.account_scope("contosofraudtest")
FEATURES = contoso_azure.container_scope(contoso_azure.TEST_FEATURES)
STAGING = contoso_azure.container_scope(contoso_azure.TEST_STAGING)
READER = contoso_azure.FRAUD_TEST_READER
AUTHORIZATION = "/providers/Microsoft.Authorization"
VERSION = "2022-04-01"


def role(name: str, scope: str = SUBSCRIPTION) -> str:
    return named(name).resource(scope)


class Azure:
    """The lab's Resource Manager in this process, asked as the administrator unless somebody else is named."""

    def __init__(self, world) -> None:
        self.world = world

    def ask(self, method, path, *, version=VERSION, who=contoso.ADMINISTRATOR, bearer=None, body=None, **query):
        token = bearer if bearer is not None else self.token(who)
        query = {f"${name}": value for name, value in query.items()}
        query |= {"api-version": version} if version else {}
        text = "&".join(f"{name}={value}" for name, value in query.items())
        return self.world.ask(ARM, method, f"{path}?{text}", body=body, bearer=token)

    def token(self, who, resource=contoso_azure.ARM) -> str:
        return self.world.clouds.entra.tokens.for_machine(who, resource).token

    def error(self, *args, **given) -> tuple[int, str, str]:
        answer = self.ask(*args, **given)
        error = json.loads(answer.body)["error"]
        return answer.status, error["code"], error["message"]

    def assign(self, scope, role_name, principal, name="", **more):
        properties = {"roleDefinitionId": role(role_name), "principalId": principal, **more}
        path = f"{scope}{AUTHORIZATION}/roleAssignments/{name or uuid.uuid4()}"
        return "PUT", path, {"properties": properties}

    def put(self, *args, **more):
        method, path, body = self.assign(*args, **more)
        return self.ask(method, path, body=body)

    def held(self, scope, text="", **given) -> list[tuple[str, str, str]]:
        """Who holds what where, as a list of the scope says."""
        query = {"filter": text} if text else {}
        answer = self.ask("GET", f"{scope}{AUTHORIZATION}/roleAssignments", **query, **given)
        assert answer.status == 200, answer.body
        rows = [each["properties"] for each in json.loads(answer.body)["value"]]
        return [
            (each["scope"], ROLES[each["roleDefinitionId"].rpartition("/")[2]].name, each["principalId"])
            for each in rows
        ]

    def blob(self, who, target="/features/x", method="GET") -> int:
        bearer = self.world.clouds.entra.tokens.for_app(who, contoso_azure.STORAGE).token
        return self.world.ask("contosofraudtest.blob.core.windows.net", method, target, bearer=bearer).status


@pytest.fixture
def azure(world) -> Azure:
    return Azure(world)


PASSED, REFUSED = 503, 403  # without a store behind it the door answers `ServerBusy` to whatever passes


# Azure's own client, against a running lab


@pytest.fixture
def client(lab_environment):
    """The stock client, signed in as the administrator's managed identity."""
    from azure.identity import ManagedIdentityCredential
    from azure.mgmt.authorization import AuthorizationManagementClient

    credential = ManagedIdentityCredential(client_id=contoso.ADMINISTRATOR.client_id)
    return AuthorizationManagementClient(credential, SUBSCRIPTION.rpartition("/")[2])


def test_the_stock_client_reads_makes_and_removes(client):
    from azure.core.exceptions import HttpResponseError
    from azure.mgmt.authorization.models import RoleAssignmentCreateParameters

    found = list(client.role_definitions.list(FEATURES, filter="roleName eq 'Storage Blob Data Reader'"))
    assert [(each.name, each.role_name) for each in found] == [
        ("2a2b9908-6ea1-4ae2-8e65-a410df84e7d1", "Storage Blob Data Reader")
    ]
    assert client.role_definitions.get(FEATURES, found[0].name).permissions[0].data_actions == [
        "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read"
    ]
    wanted = RoleAssignmentCreateParameters(
        role_definition_id=found[0].id, principal_id=READER.principal, principal_type="ServicePrincipal"
    )
    name = str(uuid.uuid4())
    made = client.role_assignments.create(STAGING, name, wanted)
    try:
        assert (made.name, made.scope, made.principal_type) == (name, STAGING, "ServicePrincipal")
        assert made.created_by == contoso.ADMINISTRATOR.oid
        assert client.role_assignments.create(STAGING, name, wanted).id == made.id
        assert client.role_assignments.get_by_id(made.id).principal_id == READER.principal
        with pytest.raises(HttpResponseError) as refusal:
            client.role_assignments.create(STAGING, str(uuid.uuid4()), wanted)
        assert (refusal.value.status_code, refusal.value.error.code) == (409, "RoleAssignmentExists")
        mine = client.role_assignments.list_for_scope(ACCOUNT, filter=f"principalId eq '{READER.principal}'")
        assert {each.scope for each in mine} == {FEATURES, STAGING}
    finally:
        assert client.role_assignments.delete(STAGING, name).name == name
    assert client.role_assignments.delete(STAGING, name) is None


def test_the_stock_client_follows_pages(client, lab):
    httpx.post(lab.control, json={"arm_page": 2}).raise_for_status()
    try:
        found = [each.id for each in client.role_assignments.list_for_scope(GROUP)]
    finally:
        httpx.post(lab.control, json={"arm_page": 0}).raise_for_status()
    assert len(found) == len(set(found)) == len(contoso_azure.ASSIGNMENTS) + len(contoso_azure.ADMINISTRATION)


# who may


@pytest.mark.promise("T8")
@pytest.mark.parametrize(
    ("bearer", "code"),
    [
        ("", "AuthenticationFailed"),
        ("not.a.token", "InvalidAuthenticationToken"),
    ],
)
def test_no_token_and_no_good_one(azure, bearer, code):
    answer = azure.ask("GET", "/subscriptions", bearer=bearer, version="2022-12-01")
    assert (answer.status, json.loads(answer.body)["error"]["code"]) == (401, code)
    assert answer.headers["www-authenticate"].startswith("Bearer authorization_uri=")


@pytest.mark.promise("T8")
@pytest.mark.parametrize(
    ("over", "code"),
    [
        ({"aud": "https://graph.microsoft.com"}, "InvalidAuthenticationTokenAudience"),
        ({"aud": ["https://management.azure.com"]}, "InvalidAuthenticationTokenAudience"),
        ({"tid": contoso.FABRIKAM}, "InvalidAuthenticationTokenTenant"),
        ({"iss": contoso.issuer(contoso.FABRIKAM, "1.0")}, "InvalidAuthenticationTokenTenant"),
        ({"oid": ""}, "InvalidAuthenticationTokenTenant"),
        ({"exp": 1}, "ExpiredAuthenticationToken"),
        ({"nbf": 9_999_999_999}, "ExpiredAuthenticationToken"),
    ],
)
def test_a_token_for_somebody_else_or_of_another_time(azure, over, code):
    now = int(datetime.now(UTC).timestamp())
    claims = {
        "aud": "https://management.azure.com",
        "iss": contoso.issuer(contoso.TENANT, "1.0"),
        "tid": contoso.TENANT,
        "oid": contoso.ADMINISTRATOR.oid,
        "nbf": now - 5,
        "exp": now + 600,
    }
    keys = azure.world.clouds.entra.keys
    path = f"{GROUP}{AUTHORIZATION}/roleAssignments"
    assert azure.ask("GET", path, bearer=keys.signing.sign(claims)).status == 200
    assert azure.error("GET", path, bearer=keys.signing.sign(claims | over))[:2] == (401, code)


def test_the_arbiter_reads_and_changes_nothing(azure):
    assert azure.held(GROUP, who=contoso.MI_ARBITER)
    method, path, body = azure.assign(FEATURES, "Storage Blob Data Owner", contoso.MI_ARBITER.oid)
    status, code, message = azure.error(method, path, body=body, who=contoso.MI_ARBITER)
    assert (status, code) == (403, "AuthorizationFailed")
    assert f"object id '{contoso.MI_ARBITER.oid}'" in message
    assert "'Microsoft.Authorization/roleAssignments/write' over scope" in message
    kept = azure.ask("GET", f"{FEATURES}{AUTHORIZATION}/roleAssignments", filter="atScope()")
    path = json.loads(kept.body)["value"][0]["id"]
    assert azure.error("DELETE", path, who=contoso.MI_ARBITER)[:2] == (403, "AuthorizationFailed")


def test_who_holds_nothing_sees_nothing_and_a_role_on_a_group_does_not_reach_above_it(azure):
    answer = azure.ask("GET", "/subscriptions", who=contoso.FRAUD_PIPELINE, version="2022-12-01")
    assert json.loads(answer.body) == {"value": []}
    path = f"{AUTHORIZATION}/roleAssignments"
    assert azure.error("GET", f"{GROUP}{path}", who=contoso.FRAUD_PIPELINE)[1] == "AuthorizationFailed"
    assert azure.error("GET", f"{SUBSCRIPTION}{path}")[1] == "AuthorizationFailed"
    method, path, body = azure.assign(SUBSCRIPTION, "Owner", contoso.ADMINISTRATOR.oid)
    assert azure.error(method, path, body=body)[1] == "AuthorizationFailed"
    wider = f"{SUBSCRIPTION}/resourceGroups/contoso-ml2"
    assert azure.error("GET", f"{wider}{AUTHORIZATION}/roleAssignments")[1] == "AuthorizationFailed"


# what there is


def test_the_subscription_and_what_lies_in_it(azure):
    def names(path, version):
        return [each["name"] for each in json.loads(azure.ask("GET", path, version=version).body)["value"]]

    subscriptions = json.loads(azure.ask("GET", "/subscriptions", version="2022-12-01").body)["value"]
    assert [each["id"] for each in subscriptions] == [SUBSCRIPTION]
    assert names(f"{SUBSCRIPTION}/resourceGroups", "2021-04-01") == ["contoso-ml"]
    accounts = ["contosofraudtest", "contosofraudprod"]
    for place in (SUBSCRIPTION, GROUP):
        assert names(f"{place}/providers/Microsoft.Storage/storageAccounts", "2023-05-01") == accounts
    containers = f"{ACCOUNT}/blobServices/default/containers"
    assert names(containers, "2023-05-01") == ["features", "staging"]
    for path, version in ((GROUP, "2021-04-01"), (ACCOUNT, "2023-05-01"), (FEATURES, "2023-05-01")):
        assert (
            json.loads(azure.ask("GET", path.upper().replace("/FEATURES", "/features"), version=version).body)["id"]
            == path
        )


@pytest.mark.parametrize(
    ("path", "version", "expected"),
    [
        (f"{GROUP}{AUTHORIZATION}/roleAssignments", "", (400, "MissingApiVersionParameter")),
        (f"{GROUP}{AUTHORIZATION}/roleAssignments", "2011-01-01", (400, "NoRegisteredProviderFound")),
        ("/subscriptions", "2011-01-01", (400, "NoRegisteredProviderFound")),
        ("/subscriptions/5b000000-0000-4000-8000-00000000000f", "2022-12-01", (404, "SubscriptionNotFound")),
        (f"{GROUP}/providers/Microsoft.Storage/storageAccounts/other", "2023-05-01", (404, "ResourceNotFound")),
        (f"{ACCOUNT}/blobServices/default/containers/other", "2023-05-01", (404, "ResourceNotFound")),
        (f"{ACCOUNT}{AUTHORIZATION}/roleAssignments/{uuid.UUID(int=7)}", VERSION, (404, "RoleAssignmentNotFound")),
        (f"{ACCOUNT}{AUTHORIZATION}/roleDefinitions/{uuid.UUID(int=7)}", VERSION, (404, "RoleDefinitionDoesNotExist")),
        (f"{ACCOUNT}{AUTHORIZATION}/denyAssignments", VERSION, (404, "InvalidResourceType")),
    ],
)
def test_what_is_not_there(azure, path, version, expected):
    assert azure.error("GET", path, version=version)[:2] == expected


def test_lists_by_filter(azure):
    everything = azure.held(GROUP)
    assert len(everything) == len(contoso_azure.ASSIGNMENTS) + len(contoso_azure.ADMINISTRATION)
    above = azure.held(FEATURES, "atScope()")
    assert {scope for scope, _, _ in above} == {GROUP, FEATURES}
    assert {scope for scope, _, _ in azure.held(GROUP, "atScope()")} == {GROUP}
    principal = READER.principal
    assert azure.held(GROUP, f"principalId eq '{principal}'") == [(FEATURES, contoso_azure.READER, principal)]
    assert azure.held(GROUP, f"atScope() and principalId eq '{principal}'") == []
    for wrong in ("principalName eq 'x'", f"principalId ne '{principal}'", "atscope() or atScope()"):
        assert azure.error("GET", f"{GROUP}{AUTHORIZATION}/roleAssignments", filter=wrong)[:2] == (400, "InvalidFilter")


def test_a_group_brings_its_roles_to_its_members(azure):
    engineers, dana = contoso.ML_ENGINEERS, contoso.DANA
    azure.put(FEATURES, "Storage Blob Data Reader", engineers.id)
    assert azure.held(GROUP, f"assignedTo('{dana.oid}')") == [(FEATURES, contoso_azure.READER, engineers.id)]
    assert azure.held(GROUP, f"principalId eq '{dana.oid}'") == []


def test_before_anybody_set_up_the_trust_only_the_administrator_holds_anything():
    seen = Assignments(contoso.EMPTY.assignments).seen()
    # but for what an identity may read of itself
    held = {each.principal for each in seen if each.scope != contoso_azure.IDENTITY}
    assert held == {contoso.ADMINISTRATOR.oid}
    assert contoso.MI_ARBITER.oid == contoso_azure.ARBITER
    assert contoso.ADMINISTRATOR.oid == contoso_azure.ADMINISTRATOR


# changes


def test_an_assignment_is_made_once_and_cannot_become_another(azure):
    name = str(uuid.uuid4())
    method, path, body = azure.assign(STAGING, contoso_azure.READER, READER.principal, name)
    assert azure.ask(method, path, body=body).status == 201
    assert azure.ask(method, path, body=body).status == 200
    other = azure.assign(STAGING, contoso_azure.CONTRIBUTOR, READER.principal, name)[2]
    assert azure.error(method, path, body=other) == (
        403,
        "RoleAssignmentUpdateNotPermitted",
        "Tenant ID, application ID, principal ID, and scope are not allowed to be updated.",
    )
    status, code, message = azure.error(*azure.assign(STAGING, contoso_azure.READER, READER.principal)[:2], body=body)
    assert (status, code) == (409, "RoleAssignmentExists")
    assert message.endswith(f"The ID of the existing role assignment is {name.replace('-', '')}.")
    assert azure.ask("DELETE", path).status == 200
    assert azure.ask("DELETE", path).status == 204


@pytest.mark.parametrize(
    ("scope", "change", "expected"),
    [
        (FEATURES, {"principalId": "somebody"}, (400, "InvalidPrincipalId")),
        (FEATURES, {"principalId": None}, (400, "InvalidPrincipalId")),
        (FEATURES, {"principalType": "User"}, (400, "UnmatchedPrincipalType")),
        (FEATURES, {"principalType": "Robot"}, (400, "InvalidPrincipalType")),
        (FEATURES, {"roleDefinitionId": f"{SUBSCRIPTION}/x"}, (404, "RoleDefinitionDoesNotExist")),
        (FEATURES, {"roleDefinitionID": "x"}, (400, "InvalidRequestContent")),
        (f"{ACCOUNT}/blobServices/default/containers/other", {}, (404, "ResourceNotFound")),
        (f"{GROUP}/providers/Microsoft.Compute/virtualMachines/x", {}, (400, "InvalidScope")),
    ],
)
def test_an_assignment_that_makes_no_sense(azure, scope, change, expected):
    method, path, body = azure.assign(scope, contoso_azure.CONTRIBUTOR, READER.principal)
    body["properties"] |= change
    before = azure.held(GROUP)
    assert azure.error(method, path, body=body)[:2] == expected
    assert azure.held(GROUP) == before


def test_a_name_that_is_no_guid_and_a_body_that_is_no_object(azure):
    method, path, body = azure.assign(FEATURES, contoso_azure.CONTRIBUTOR, READER.principal, "mine")
    assert azure.error(method, path, body=body)[:2] == (400, "InvalidRoleAssignmentId")
    for strange in ([], {"properties": []}, {}):
        path = azure.assign(FEATURES, contoso_azure.CONTRIBUTOR, READER.principal)[1]
        assert azure.error(method, path, body=strange)[:2] == (400, "InvalidRequestContent")


def test_a_principal_that_is_not_to_be_seen_yet_is_believed_when_its_type_is_told(azure):
    unseen = "5e000000-0000-4000-8000-0000000000ff"
    method, path, body = azure.assign(FEATURES, contoso_azure.READER, unseen)
    status, code, message = azure.error(method, path, body=body)
    assert (status, code) == (400, "PrincipalNotFound")
    assert message.startswith(f"Principal {unseen.replace('-', '')} does not exist in the directory {contoso.TENANT}.")
    body["properties"]["principalType"] = "ServicePrincipal"
    assert azure.ask(method, path, body=body).status == 201


def test_what_was_changed_stands_in_the_activity_log(azure):
    start = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
    name = str(uuid.uuid4())
    azure.put(STAGING, contoso_azure.READER, READER.principal, name)
    azure.ask(*azure.assign(STAGING, contoso_azure.READER, READER.principal)[:2], body={"properties": {}})
    azure.ask("DELETE", f"{STAGING}{AUTHORIZATION}/roleAssignments/{name}")
    path = f"{SUBSCRIPTION}/providers/Microsoft.Insights/eventtypes/management/values"
    text = f"eventTimestamp ge '{start}' and resourceGroupName eq 'contoso-ml'"
    given = {"version": "2015-04-01", "who": contoso.MI_ARBITER}
    events = json.loads(azure.ask("GET", path, filter=text, **given).body)["value"]
    told = [(each["operationName"]["value"].rpartition("/")[2], each["status"]["value"]) for each in events]
    assert told == [("delete", "Succeeded"), ("write", "Failed"), ("write", "Succeeded")]
    gone, failed, made = events
    assert {each["caller"] for each in events} == {contoso.ADMINISTRATOR.oid}
    assert made["claims"]["appid"] == contoso.ADMINISTRATOR.client_id
    assert made["resourceId"] == gone["resourceId"] == f"{STAGING}{AUTHORIZATION}/roleAssignments/{name}"
    assert json.loads(made["properties"]["requestbody"])["properties"]["principalId"] == READER.principal
    assert json.loads(gone["properties"]["responseBody"])["properties"]["principalId"] == READER.principal
    assert json.loads(failed["properties"]["statusMessage"])["error"]["code"] == "InvalidPrincipalId"
    assert datetime.fromisoformat(made["eventTimestamp"]) >= datetime.fromisoformat(start)
    later = (datetime.now(UTC) + timedelta(minutes=1)).isoformat()
    nothing = text.replace(start, later)
    assert json.loads(azure.ask("GET", path, filter=nothing, **given).body)["value"] == []
    whole = f"eventTimestamp ge '{start}'"
    assert azure.error("GET", path, filter=whole, **given)[1] == "AuthorizationFailed"
    assert azure.error("GET", path, filter="caller eq 'x'", **given)[0] == 400


# what is enforced


@pytest.mark.parametrize("scope", [FEATURES, f"{ACCOUNT}/blobServices/default", ACCOUNT, GROUP])
def test_a_role_opens_what_lies_below_its_scope(azure, scope):
    nightly = contoso.NIGHTLY
    assert azure.blob(nightly) == REFUSED
    name = str(uuid.uuid4())
    assert azure.put(scope, contoso_azure.READER, nightly.principal, name).status == 201
    assert azure.blob(nightly) == PASSED
    assert azure.blob(nightly, method="DELETE") == REFUSED
    assert azure.blob(nightly, "/staging/x") == (REFUSED if scope == FEATURES else PASSED)
    azure.ask("DELETE", f"{scope}{AUTHORIZATION}/roleAssignments/{name}")
    assert azure.blob(nightly) == REFUSED


@pytest.mark.parametrize("name", ["Owner", "Contributor", "Reader", "User Access Administrator"])
def test_a_role_over_everything_opens_no_blob(azure, name):
    azure.put(ACCOUNT, name, contoso.NIGHTLY.principal)
    assert azure.blob(contoso.NIGHTLY) == REFUSED


def test_an_assignment_with_a_condition_lets_nobody_in(azure):
    method, path, body = azure.assign(FEATURES, contoso_azure.READER, contoso.NIGHTLY.principal)
    body["properties"] |= {"condition": "@Resource[x] StringEquals 'y'", "conditionVersion": "2.0"}
    assert azure.ask(method, path, body=body).status == 201
    assert azure.blob(contoso.NIGHTLY) == REFUSED


def test_a_change_is_seen_after_the_lag(azure):
    lag = azure.world.clouds.commands()["lag"]
    lag({"azure": 3600})
    name = str(uuid.uuid4())
    assert azure.put(FEATURES, contoso_azure.READER, contoso.NIGHTLY.principal, name).status == 201
    assert azure.blob(contoso.NIGHTLY) == REFUSED
    path = f"{FEATURES}{AUTHORIZATION}/roleAssignments/{name}"
    assert azure.error("GET", path)[1] == "RoleAssignmentNotFound"
    again = azure.assign(FEATURES, contoso_azure.READER, contoso.NIGHTLY.principal)
    assert azure.error(*again[:2], body=again[2])[1] == "RoleAssignmentExists", "what was written is known to writers"
    lag({"azure": 0})


def test_too_many_requests_are_put_off(azure):
    left = int(azure.ask("GET", GROUP, version="2021-04-01").headers["x-ms-ratelimit-remaining-subscription-reads"])
    assert 240 <= left < 250
    azure.world.clouds.commands()["arm_throttle"]({"times": 1, "retry_after": 7})
    answer = azure.ask("GET", GROUP, version="2021-04-01")
    assert (answer.status, answer.headers["retry-after"]) == (429, "7")
    assert json.loads(answer.body)["error"]["code"] == "SubscriptionRequestsThrottled"
    assert azure.ask("GET", GROUP, version="2021-04-01").status == 200


def test_the_bucket_of_writes_runs_dry_and_fills_again():
    from remit.lab.arm_errors import ArmError
    from remit.lab.arm_throttle import Throttle

    now = [100.0]
    throttle = Throttle(lambda: now[0])
    for left in range(199, -1, -1):
        assert throttle.spend("a", "PUT") == {"x-ms-ratelimit-remaining-subscription-writes": str(left)}
    with pytest.raises(ArmError) as refused:
        throttle.spend("a", "PUT")
    assert (refused.value.status, refused.value.headers) == (429, {"retry-after": "1"})
    assert throttle.spend("b", "PUT"), "another caller's bucket is another"
    assert throttle.spend("a", "DELETE"), "so is that of deletions"
    now[0] += 1
    assert throttle.spend("a", "PUT") == {"x-ms-ratelimit-remaining-subscription-writes": "9"}
