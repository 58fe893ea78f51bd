"""Entra gives the tokens that the registry says, and no others: after each change, and from the first day on."""

import json
import uuid

import pytest

from remit.lab import contoso
from remit.lab.contoso import ADA, DANA, FRAUD_PIPELINE, GOOGLE, MI_ARBITER, ML_ENGINEERS, ML_ENGINEERS_FRAUD, REMIT
from remit.lab.entra_errors import EntraError
from remit.lab.jwt import peek

ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
OPTIONAL = ("acct", "groups", "idtyp", "sid", "xms_cc")


def refused(answer, number):
    assert answer[0] != 200, answer
    assert answer[1]["error_codes"] == [number], answer
    return answer[1]


def app(given):
    """An application id as the lab's own value, for what the world's helpers take."""
    return contoso.App(given["appId"], given["displayName"], "")


class Founded:
    """What `remit trust apply` leaves behind on the first day, made by hand."""

    def __init__(self, administrator):
        self.ask = administrator
        self.world = administrator.world
        role = {"id": str(uuid.uuid4()), "value": "MLEngineer", "displayName": "MLEngineer", "description": "x"}
        self.role = {**role, "allowedMemberTypes": ["User", "Application"], "isEnabled": True}
        self.cli = self.ask.make(
            "CLI", isFallbackPublicClient=True, publicClient={"redirectUris": ["http://localhost"]}
        )
        self.remit = self.api("api://remit", "access", self.cli["appId"], appRoles=[self.role])
        self.second = self.api("api://remit-google", "exchange", self.remit["appId"])
        self.principals = {
            each["appId"]: self.ask.principal(each["appId"]) for each in (self.cli, self.remit, self.second)
        }
        trusted = {"name": "mi", "issuer": contoso.ISSUER, "subject": MI_ARBITER.oid}
        trusted["audiences"] = ["api://AzureADTokenExchange"]
        path = f"applications/{self.remit['id']}/federatedIdentityCredentials"
        assert self.ask("POST", path, trusted)[0] == 201

    def api(self, uri, scope, client, **more):
        number = str(uuid.uuid4())
        permission = {"id": number, "value": scope, "adminConsentDisplayName": scope, "adminConsentDescription": scope}
        claims = {"accessToken": [{"name": name, "essential": False} for name in OPTIONAL]}
        return self.ask.make(
            uri,
            identifierUris=[uri],
            optionalClaims=claims,
            groupMembershipClaims="SecurityGroup",
            api={
                "requestedAccessTokenVersion": 2,
                "oauth2PermissionScopes": [permission],
                "preAuthorizedApplications": [{"appId": client, "delegatedPermissionIds": [number]}],
            },
            **more,
        )

    def principal(self, given):
        return self.principals[given["appId"]]["id"]

    def sign_in(self, user=DANA, scope="api://remit/.default"):
        flow = self.world.start_device(scope, self.cli["appId"])
        self.world.approve(flow["user_code"], user)
        grant = "urn:ietf:params:oauth:grant-type:device_code"
        return self.world.token(grant_type=grant, client_id=self.cli["appId"], device_code=flow["device_code"])

    def on_behalf(self, user=DANA, **more):
        status, answer = self.sign_in(user)
        assert status == 200, answer
        return self.world.on_behalf(answer["access_token"], client_id=self.remit["appId"], **more)

    def assign(self, oid, kind="POST"):
        body = {"principalId": oid, "resourceId": self.principal(self.remit), "appRoleId": self.role["id"]}
        status, made = self.ask("POST", f"servicePrincipals/{body['resourceId']}/appRoleAssignedTo", body)
        assert status == 201, made
        return made


@pytest.fixture
def founded(beginner):
    return Founded(beginner)


def claims_of(answer):
    status, body = answer
    assert status == 200, body
    return peek(body["access_token"])[1]


def test_on_the_first_day_there_is_nothing_to_sign_in_to(beginner):
    world = beginner.world
    device = {"client_id": contoso.CLI.id, "scope": "api://remit/access"}
    answer = world.ask("login.microsoftonline.com", "POST", f"/{contoso.TENANT}/oauth2/v2.0/devicecode", form=device)
    refused((answer.status, json.loads(answer.body)), 700016)
    device["client_id"] = contoso.FOREIGN.id
    answer = world.ask("login.microsoftonline.com", "POST", f"/{contoso.TENANT}/oauth2/v2.0/devicecode", form=device)
    refused((answer.status, json.loads(answer.body)), 500011)
    own = {"grant_type": "client_credentials", "scope": "https://graph.microsoft.com/.default"}
    refused(world.token(**own, client_id=REMIT.id, client_secret="x"), 700016)


def test_what_was_made_works(founded):
    person = claims_of(founded.sign_in())
    assert (person["aud"], person["azp"]) == (founded.remit["appId"], founded.cli["appId"])
    assert person["scp"] == "access"
    assert "roles" not in person
    assert ML_ENGINEERS.id in person["groups"]
    assert (person["acct"], "deviceid" in person) == (0, False)
    google = claims_of(founded.on_behalf())
    assert (google["aud"], google["azp"], google["scp"]) == (
        founded.second["appId"],
        founded.remit["appId"],
        "exchange",
    )


def test_roles_come_by_the_person_and_by_direct_groups(founded):
    founded.assign(ML_ENGINEERS.id)
    assert "roles" not in claims_of(founded.sign_in())
    direct = founded.assign(ML_ENGINEERS_FRAUD.id)
    assert claims_of(founded.sign_in())["roles"] == ["MLEngineer"]
    founded.assign(DANA.oid)
    assert claims_of(founded.sign_in())["roles"] == ["MLEngineer"]
    path = f"servicePrincipals/{founded.principal(founded.remit)}/appRoleAssignedTo/{direct['id']}"
    assert founded.ask("DELETE", path)[0] == 204
    assert claims_of(founded.sign_in())["roles"] == ["MLEngineer"]
    disabled = {"appRoles": [{**founded.role, "isEnabled": False}]}
    assert founded.ask("PATCH", f"applications/{founded.remit['id']}", disabled)[0] == 204
    assert "roles" not in claims_of(founded.sign_in())


def test_only_who_is_assigned_gets_in_where_that_is_required(founded):
    path = f"servicePrincipals/{founded.principal(founded.remit)}"
    assert founded.ask("PATCH", path, {"appRoleAssignmentRequired": True})[0] == 204
    assert "not a direct member" in refused(founded.sign_in(), 50105)["error_description"]
    tokens, remit = founded.world.clouds.entra.tokens, founded.ask.registry.resource("api://remit")
    with pytest.raises(EntraError, match="not assigned to a role"):
        tokens.for_machine(FRAUD_PIPELINE, remit)
    founded.assign(FRAUD_PIPELINE.oid)
    assert peek(tokens.for_machine(FRAUD_PIPELINE, remit).token)[1]["roles"] == ["MLEngineer"]
    founded.assign(DANA.oid)
    assert claims_of(founded.sign_in())["roles"] == ["MLEngineer"]
    refused(founded.sign_in(ADA), 50105)


@pytest.mark.promise("V5")
def test_nobody_but_the_permitted_client_acts_on_behalf(founded):
    path, api = f"applications/{founded.second['id']}", founded.second["api"]
    other = {"appId": founded.cli["appId"], "delegatedPermissionIds": [api["oauth2PermissionScopes"][0]["id"]]}
    assert founded.ask("PATCH", path, {"api": {"preAuthorizedApplications": [other]}})[0] == 204
    assert refused(founded.on_behalf(), 65001)["suberror"] == "consent_required"
    founded.ask.as_one("DelegatedPermissionGrant.ReadWrite.All")
    grant = {"clientId": founded.principal(founded.remit), "resourceId": founded.principal(founded.second)}
    grant |= {"scope": "exchange", "consentType": "Principal", "principalId": ADA.oid}
    assert founded.ask("POST", "oauth2PermissionGrants", grant)[0] == 201
    refused(founded.on_behalf(), 65001)
    assert claims_of(founded.on_behalf(ADA))["scp"] == "exchange"


def test_scopes_versions_and_claims_follow_the_registration(founded):
    path = f"applications/{founded.remit['id']}"
    [scope] = founded.remit["api"]["oauth2PermissionScopes"]
    change = {"api": {"requestedAccessTokenVersion": 1}, "optionalClaims": None, "groupMembershipClaims": None}
    assert founded.ask("PATCH", path, change)[0] == 204
    claims = claims_of(founded.sign_in())
    assert (claims["ver"], claims["aud"]) == ("1.0", "api://remit")
    assert not {"acct", "groups", "sid"} & set(claims)
    assert founded.ask("PATCH", path, {"api": {"oauth2PermissionScopes": [{**scope, "isEnabled": False}]}})[0] == 204
    device = {"client_id": founded.cli["appId"], "scope": "api://remit/access"}
    answer = founded.world.ask(
        "login.microsoftonline.com", "POST", f"/{contoso.TENANT}/oauth2/v2.0/devicecode", form=device
    )
    refused((answer.status, json.loads(answer.body)), 650053)


def test_groups_of_the_application_only(founded):
    path = f"applications/{founded.remit['id']}"
    assert founded.ask("PATCH", path, {"groupMembershipClaims": "ApplicationGroup"})[0] == 204
    assert "groups" not in claims_of(founded.sign_in())
    founded.assign(ML_ENGINEERS_FRAUD.id)
    assert claims_of(founded.sign_in())["groups"] == [ML_ENGINEERS_FRAUD.id]


def test_what_is_deleted_or_disabled_ends(founded):
    flow = founded.sign_in()
    assert flow[0] == 200
    path = f"servicePrincipals/{founded.principal(founded.cli)}"
    assert founded.ask("PATCH", path, {"accountEnabled": False})[0] == 204
    refused(founded.sign_in(), 7000112)
    assert founded.ask("PATCH", path, {"accountEnabled": True})[0] == 204
    remit = f"servicePrincipals/{founded.principal(founded.remit)}"
    assert founded.ask("PATCH", remit, {"accountEnabled": False})[0] == 204
    refused(founded.sign_in(), 500014)
    assert founded.ask("DELETE", remit)[0] == 204
    device = {"client_id": founded.cli["appId"], "scope": "api://remit/access"}
    endpoint = f"/{contoso.TENANT}/oauth2/v2.0/devicecode"
    answer = founded.world.ask("login.microsoftonline.com", "POST", endpoint, form=device)
    refused((answer.status, json.loads(answer.body)), 650052)
    assert founded.ask("POST", f"directory/deletedItems/{founded.principal(founded.remit)}/restore")[0] == 200
    assert founded.ask("PATCH", remit, {"accountEnabled": True})[0] == 204
    assert founded.sign_in()[0] == 200
    assert founded.ask("DELETE", path)[0] == 204
    answer = founded.world.ask("login.microsoftonline.com", "POST", endpoint, form=device)
    refused((answer.status, json.loads(answer.body)), 7000229)
    assert founded.ask("DELETE", f"applications/{founded.cli['id']}")[0] == 204
    answer = founded.world.ask("login.microsoftonline.com", "POST", endpoint, form=device)
    refused((answer.status, json.loads(answer.body)), 700016)


@pytest.mark.promise("V22")
def test_a_federated_credential_that_does_not_fit_is_told_by_name(founded):
    path = f"applications/{founded.remit['id']}/federatedIdentityCredentials/mi"
    wanted = ["api://AzureADTokenExchange"]
    for wrong, number in (
        ({"audiences": ["api://other"]}, 700212),
        ({"audiences": wanted, "subject": FRAUD_PIPELINE.oid}, 700213),
        ({"issuer": contoso.ISSUER.replace("/v2.0", "/v2.0/")}, 700211),
    ):
        assert founded.ask("PATCH", path, wrong)[0] == 204
        refused(founded.on_behalf(), number)
    assert founded.ask("PATCH", path, {"issuer": contoso.ISSUER, "subject": MI_ARBITER.oid})[0] == 204
    assert founded.on_behalf()[0] == 200
    used = founded.world.clouds.entra.sign_ins.entries[-1]["federatedCredentialId"]
    assert used == founded.ask("GET", path)[1]["id"]
    assert founded.ask("DELETE", path)[0] == 204
    refused(founded.on_behalf(), 700211)


def test_graph_permissions_come_by_consent(founded):
    graph = founded.ask("GET", f"servicePrincipals(appId='{contoso.GRAPH.id}')")[1]
    number = next(each["id"] for each in graph["appRoles"] if each["value"] == "User.Read.All")
    own = {
        "grant_type": "client_credentials",
        "client_id": founded.remit["appId"],
        "client_assertion_type": ASSERTION,
        "scope": "https://graph.microsoft.com/.default",
    }
    assert "roles" not in claims_of(founded.world.token(**own, client_assertion=founded.world.machine()))
    body = {"principalId": founded.principal(founded.remit), "resourceId": graph["id"], "appRoleId": number}
    assert founded.ask("POST", f"servicePrincipals/{body['principalId']}/appRoleAssignments", body)[0] == 201
    claims = claims_of(founded.world.token(**own, client_assertion=founded.world.machine()))
    assert (claims["roles"], claims["idtyp"]) == (["User.Read.All"], "app")


def test_enforcement_waits_for_the_lag_as_reads_do(founded):
    founded.world.clouds.commands()["lag"]({"entra": 3600})
    founded.assign(DANA.oid)
    assert "roles" not in claims_of(founded.sign_in())
    path = f"servicePrincipals/{founded.principal(founded.cli)}"
    assert founded.ask("PATCH", path, {"accountEnabled": False})[0] == 204
    assert founded.sign_in()[0] == 200


def test_the_second_audience_has_one_client_in_contoso(world):
    assert GOOGLE.id == claims_of(world.on_behalf(world.sign_in(DANA)["access_token"]))["aud"]
