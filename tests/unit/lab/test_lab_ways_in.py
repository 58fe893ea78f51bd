"""Ways to be an application or a managed identity that the lab lets in as the clouds do, and writes down."""

import json
import time
from dataclasses import replace

import pytest
from googleapiclient.discovery_cache import get_static_doc
from grpc import StatusCode
from tests.unit.lab.conftest import ASSERTION, CLOUD_PLATFORM, World
from tests.unit.lab.test_lab_arm import AUTHORIZATION, Azure
from tests.unit.lab.test_lab_graph_trust import Certificate
from tests.unit.lab.test_lab_iam_admin import conforms

from remit.lab import contoso, contoso_azure
from remit.lab.contoso import NIGHTLY, REMIT
from remit.lab.errors import CloudError
from remit.lab.jwt import SigningKey, peek
from remit.lab.service import Clouds

PRINCIPAL = f"servicePrincipals(appId='{NIGHTLY.id}')"
MACHINE = f"servicePrincipals(appId='{contoso.MI_ARBITER.client_id}')"
FEDERATIONS = f"{contoso_azure.IDENTITY}/federatedIdentityCredentials"
VERSION = "2023-01-31"
EVE = {"issuer": contoso.REMIT_ISSUER, "subject": "repo:eve/x", "audiences": [contoso.EXCHANGE_AUDIENCE]}


def code(answer):
    return answer[0], answer[1]["error"]["code"]


def own(world, client=NIGHTLY.id, scope="api://remit/.default", **more):
    return world.token(grant_type="client_credentials", client_id=client, scope=scope, **more)


def written_down(administrator):
    entries = administrator("GET", "auditLogs/directoryAudits")[1]["value"]
    return [(each["activityDisplayName"].strip(), each["targetResources"][0]) for each in entries]


# a service principal's own secrets and certificates


def test_a_secret_of_a_service_principal_is_the_applications(administrator):
    world = administrator.world
    status, made = administrator("POST", f"{PRINCIPAL}/addPassword", {"passwordCredential": {"displayName": "mine"}})
    assert status == 200
    assert own(world, client_secret=made["secretText"])[0] == 200
    assert world.clouds.entra.sign_ins.entries[-1]["servicePrincipalCredentialKeyId"] == made["keyId"]
    # no list of the application's shows it
    assert administrator("GET", f"applications(appId='{NIGHTLY.id}')")[1]["passwordCredentials"] == []
    [held] = administrator("GET", PRINCIPAL)[1]["passwordCredentials"]
    assert (held["keyId"], held["secretText"], held["displayName"]) == (made["keyId"], None, "mine")
    assert administrator("POST", f"{PRINCIPAL}/removePassword", {"keyId": made["keyId"]})[0] == 204
    assert own(world, client_secret=made["secretText"])[1]["error_codes"] == [7000215]
    told = written_down(administrator)[:2]
    assert [each for each, _ in told] == ["Remove service principal credentials", "Add service principal credentials"]
    [change] = told[1][1]["modifiedProperties"]
    assert (change["displayName"], change["oldValue"]) == ("KeyDescription", "[]")
    assert f"KeyIdentifier={made['keyId']},KeyType=Password" in change["newValue"]
    assert made["secretText"] not in json.dumps(told)


def test_a_certificate_of_a_service_principal_is_the_applications(administrator):
    certificate, world = Certificate(), administrator.world
    assert certificate.sign_in(world) == [700027]
    assert administrator("PATCH", PRINCIPAL, {"keyCredentials": [certificate.credential]})[0] == 204
    assert certificate.sign_in(world) == 200
    [shown] = administrator("GET", PRINCIPAL)[1]["keyCredentials"]
    [whole] = administrator("GET", f"{PRINCIPAL}?$select=keyCredentials")[1]["keyCredentials"]
    assert (shown["key"], whole["key"]) == (None, certificate.credential["key"])
    number = administrator("GET", PRINCIPAL)[1]["id"]
    another = Certificate()
    add = {"keyCredential": another.credential, "proof": certificate.proof(number)}
    assert administrator("POST", f"{PRINCIPAL}/addKey", add)[0] == 200
    assert another.sign_in(world) == 200
    assert administrator("PATCH", PRINCIPAL, {"keyCredentials": []})[0] == 204
    assert certificate.sign_in(world) == [700027]


@pytest.mark.parametrize("method", ["addPassword", "addKey"])
def test_nobody_adds_to_what_azure_keeps(administrator, method):
    assert code(administrator("POST", f"{MACHINE}/{method}", {}))[0] == 400
    assert code(administrator("PATCH", MACHINE, {"keyCredentials": [Certificate().credential]}))[0] == 400


# delegated permissions


def test_a_delegated_grant_is_told_as_entra_tells_it(administrator):
    client = administrator("GET", f"servicePrincipals(appId='{REMIT.id}')")[1]["id"]
    api = administrator("GET", f"servicePrincipals(appId='{contoso.GRAPH.id}')")[1]["id"]
    body = {"clientId": client, "resourceId": api, "consentType": "AllPrincipals", "scope": "User.Read"}
    made = administrator("POST", "oauth2PermissionGrants", body)[1]
    administrator("PATCH", f"oauth2PermissionGrants/{made['id']}", {"scope": "User.Read Mail.Read"})
    administrator("DELETE", f"oauth2PermissionGrants/{made['id']}")
    told = written_down(administrator)[:3][::-1]
    assert [each for each, _ in told] == [
        "Add delegated permission grant",
        "Update delegated permission grant",
        "Remove delegated permission grant",
    ]
    assert {target["id"] for _, target in told} == {api}
    values = [{each["displayName"]: each for each in target["modifiedProperties"]} for _, target in told]
    assert values[0]["DelegatedPermissionGrant.Scope"]["newValue"] == '" User.Read"'
    assert values[1]["DelegatedPermissionGrant.Scope"]["newValue"] == '" User.Read Mail.Read"'
    assert values[2]["DelegatedPermissionGrant.Scope"]["oldValue"] == '" User.Read Mail.Read"'
    assert {each["ServicePrincipal.ObjectID"]["newValue"] for each in values} == {f'"{client}"'}
    for permission, status in (("DelegatedPermissionGrant.Read.All", 200), ("Application.ReadWrite.All", 403)):
        administrator.as_one(permission)
        assert administrator("GET", "oauth2PermissionGrants")[0] == status
        assert code(administrator("POST", "oauth2PermissionGrants", body))[0] == 403


# federated credentials of a managed identity


@pytest.fixture
def azure(world):
    return Azure(world)


def put(azure, name="eve", given=EVE, **more):
    return azure.ask("PUT", f"{FEDERATIONS}/{name}", version=VERSION, body={"properties": given}, **more)


def test_whoever_controls_a_subject_is_the_identity(azure):
    world, signing = azure.world, SigningKey()
    world.clouds.commands()["provider_keys"](
        {"name": "remit", "jwks": {"keys": [signing.public(contoso.REMIT_ISSUER)]}}
    )
    now = int(time.time())
    claims = {"iss": EVE["issuer"], "sub": EVE["subject"], "aud": EVE["audiences"][0], "iat": now, "exp": now + 600}
    more = {"client_assertion_type": ASSERTION, "client_assertion": signing.sign(claims)}
    machine, scope = contoso.MI_ARBITER, "https://management.azure.com/.default"
    assert own(world, machine.client_id, scope, **more)[1]["error_codes"] == [700016]
    assert put(azure).status == 201
    status, answer = own(world, machine.client_id, scope, **more)
    assert status == 200, answer
    token = answer["access_token"]
    assert (peek(token)[1]["oid"], peek(token)[1]["appid"]) == (machine.oid, machine.client_id)
    assert azure.ask("GET", f"{contoso_azure.GROUP}{AUTHORIZATION}/roleAssignments", bearer=token).status == 200
    elsewhere = {**more, "client_assertion": signing.sign({**claims, "sub": "repo:other/x"})}
    assert own(world, machine.client_id, scope, **elsewhere)[1]["error_codes"] == [700213]
    assert azure.ask("DELETE", f"{FEDERATIONS}/eve", version=VERSION).status == 200
    assert own(world, machine.client_id, scope, **more)[1]["error_codes"] == [700016]


def test_credentials_of_an_identity_in_resource_managers_own_shape(azure):
    identity = json.loads(azure.ask("GET", contoso_azure.IDENTITY, version=VERSION).body)
    assert identity["properties"] == {
        "tenantId": contoso.TENANT,
        "principalId": contoso.MI_ARBITER.oid,
        "clientId": contoso.MI_ARBITER.client_id,
    }
    assert json.loads(azure.ask("GET", FEDERATIONS, version=VERSION).body) == {"value": []}
    made = put(azure)
    assert (made.status, put(azure).status) == (201, 200)
    document = json.loads(made.body)
    assert document["id"] == f"{FEDERATIONS}/eve"
    assert document["type"] == "Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials"
    assert document["properties"] == EVE
    assert json.loads(azure.ask("GET", FEDERATIONS.upper(), version=VERSION).body)["value"] == [document]
    assert json.loads(azure.ask("GET", f"{FEDERATIONS}/eve", version=VERSION).body) == document
    filter_ = f"eventTimestamp ge '2020-01-01T00:00:00Z' and resourceUri eq '{contoso_azure.IDENTITY}'"
    events = f"{contoso_azure.SUBSCRIPTION}/providers/Microsoft.Insights/eventtypes/management/values"
    log = json.loads(azure.ask("GET", events, version="2015-04-01", filter=filter_).body)["value"]
    assert {each["operationName"]["value"].rpartition("/")[2] for each in log} == {"write"}
    assert {each["resourceId"] for each in log} == {document["id"]}
    assert azure.ask("DELETE", f"{FEDERATIONS}/eve", version=VERSION).status == 200
    assert azure.ask("DELETE", f"{FEDERATIONS}/eve", version=VERSION).status == 204


def test_what_resource_manager_refuses(azure):
    def error(method, path, who=contoso.ADMINISTRATOR, **more):
        return azure.error(method, path, version=VERSION, who=who, **more)[:2]

    body = {"properties": EVE}
    denied = (403, "AuthorizationFailed")
    assert error("PUT", f"{FEDERATIONS}/eve", contoso.MI_ARBITER, body=body) == denied
    assert error("DELETE", f"{FEDERATIONS}/eve", contoso.MI_ARBITER) == denied
    assert azure.ask("GET", FEDERATIONS, version=VERSION, who=contoso.MI_ARBITER).status == 200
    assert error("GET", FEDERATIONS, contoso.FRAUD_PIPELINE) == denied
    assert error("GET", f"{FEDERATIONS}/none") == (404, "NotFound")
    assert error("PUT", f"{FEDERATIONS}/x", body=body)[0] == 400
    assert error("PUT", f"{FEDERATIONS}/eve", body={"properties": {**EVE, "audiences": []}})[0] == 400
    assert error("PUT", f"{FEDERATIONS}/eve", body={"properties": {"issuer": "https://x"}})[0] == 400
    assert put(azure).status == 201
    assert error("PUT", f"{FEDERATIONS}/other", body=body) == (409, "Conflict")
    for number in range(19):
        assert put(azure, f"more-{number}", {**EVE, "subject": f"s{number}"}).status == 201
    assert error("PUT", f"{FEDERATIONS}/one-too-many", body={"properties": {**EVE, "subject": "s"}})[0] == 400
    assert azure.error("GET", FEDERATIONS, version="2011-01-01")[:2] == (400, "NoRegisteredProviderFound")
    gone = FEDERATIONS.replace("remit-arbiter", "nobody")
    azure.world.clouds.arm._assignments.assign(
        contoso_azure.RoleAssignment(contoso.ADMINISTRATOR.oid, contoso_azure.SUBSCRIPTION, "Reader")
    )
    assert error("GET", gone) == (404, "ResourceNotFound")


# what denies a way: Google's deny policies


DENIALS = "/v2/policies/cloudresourcemanager.googleapis.com%2Fprojects%2Fcontoso-fraud-test/denypolicies"
AUDITOR = contoso.account("auditor", contoso.FRAUD_TEST)


def test_deny_policies_are_read_as_google_describes_them(tmp_path):
    reviewing = contoso.Binding("projects/contoso-fraud-test", "roles/iam.denyReviewer", (f"serviceAccount:{AUDITOR}",))
    clouds = Clouds(tmp_path, world=replace(contoso.CONTOSO, bindings=(*contoso.BINDINGS, reviewing)))
    world, described = World(clouds), json.loads(get_static_doc("iam", "v2"))

    def ask(path, method="GET", email=AUDITOR):
        token = clouds.iam.mint(email=email, scopes=[CLOUD_PLATFORM], lifetime=900)[0]
        return json.loads(world.ask("iam.googleapis.com", method, path, bearer=token).body)

    assert ask(DENIALS) == {}
    rule = {"project": "contoso-fraud-test", "members": ["serviceAccount:a@p.iam.gserviceaccount.com", "allUsers"]}
    clouds.commands()["deny"]({**rule, "permissions": ["aiplatform.models.list", "resourcemanager.projects.get"]})
    listed = ask(DENIALS)
    conforms(described, {"$ref": "GoogleIamV2ListPoliciesResponse"}, listed)
    [short] = listed["policies"]
    assert "rules" not in short
    whole = ask(f"/v2/{short['name']}")
    conforms(described, {"$ref": "GoogleIamV2Policy"}, whole)
    assert whole["rules"][0]["denyRule"] == {
        "deniedPrincipals": [
            "principal://iam.googleapis.com/projects/-/serviceAccounts/a@p.iam.gserviceaccount.com",
            "principalSet://goog/public:all",
        ],
        "deniedPermissions": [
            "aiplatform.googleapis.com/models.list",
            "cloudresourcemanager.googleapis.com/projects.get",
        ],
    }
    for path, email, method, status in (
        (DENIALS, contoso.account("ml-engineer", contoso.FRAUD_TEST), "GET", StatusCode.PERMISSION_DENIED),
        (DENIALS.replace("contoso-fraud-test", "contoso-fraud-prod"), AUDITOR, "GET", StatusCode.PERMISSION_DENIED),
        (DENIALS.replace("contoso-fraud-test", "nowhere"), AUDITOR, "GET", StatusCode.PERMISSION_DENIED),
        (f"{DENIALS}/none", AUDITOR, "GET", StatusCode.NOT_FOUND),
        (DENIALS, AUDITOR, "POST", StatusCode.NOT_FOUND),
    ):
        with pytest.raises(CloudError) as refused:
            ask(path, method, email)
        assert refused.value.code is status, path
