import asyncio
import json

import pytest

from remit.lab import contoso, entra_born
from remit.lab.http import Request
from remit.lab.jwt import decode

ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
C1 = '{"access_token":{"acrs":{"essential":true,"value":"c1"}}}'
MFA = {"second_factor": "approve"}


def claims_of(token):
    return json.loads(decode(token.split(".")[1]))


def refused(answer, number, error):
    status, body = answer
    assert body["error_codes"] == [number], body
    assert body["error"] == error
    assert body["error_description"].startswith(f"AADSTS{number}: ")
    assert {"timestamp", "trace_id", "correlation_id"} <= set(body)
    return status


def test_discovery_names_the_host_that_was_asked_and_never_another_issuer(world):
    document = json.loads(
        world.ask("login.microsoftonline.com", "GET", f"/{contoso.TENANT}/v2.0/.well-known/openid-configuration").body
    )
    assert document["issuer"] == contoso.ISSUER
    assert document["token_endpoint"] == f"https://login.microsoftonline.com/{contoso.TENANT}/oauth2/v2.0/token"
    keys = json.loads(world.ask("login.microsoftonline.com", "GET", f"/{contoso.TENANT}/discovery/v2.0/keys").body)
    assert len(keys["keys"]) == 2
    assert all(key["kid"] == key["x5t"] and key["x5c"] for key in keys["keys"])


def test_unknown_tenant(world):
    response = world.ask("login.microsoftonline.com", "GET", "/other/v2.0/.well-known/openid-configuration")
    assert refused((response.status, json.loads(response.body)), 90002, "invalid_tenant") == 400


def test_a_persons_token_carries_every_claim(world):
    answer = world.sign_in(contoso.DANA)
    claims = claims_of(answer["access_token"])
    names = (
        "acct aio amr aud auth_time azp azpacr exp groups iat ipaddr iss name nbf oid preferred_username rh roles scp "
        "sid sub tid uti ver wids"
    )
    assert set(names.split()) == set(claims)
    assert claims["aud"] == contoso.REMIT.id
    assert claims["azp"] == contoso.CLI.id
    assert claims["azpacr"] == "0"
    assert claims["amr"] == ["pwd"]
    assert claims["scp"] == "access"
    assert claims["roles"] == ["MLEngineer"]
    assert claims["groups"] == [contoso.ML_ENGINEERS_FRAUD.id, contoso.ML_ENGINEERS.id, contoso.ML_ALL.id]
    assert answer["scope"].startswith("api://remit/access api://remit/.default")
    assert json.loads(decode(answer["client_info"])) == {"uid": contoso.DANA.oid, "utid": contoso.TENANT}
    identity = claims_of(answer["id_token"])
    assert identity["aud"] == contoso.CLI.id
    assert identity["oid"] == contoso.DANA.oid


def test_a_guest_says_where_from(world):
    claims = claims_of(world.sign_in(contoso.GIL)["access_token"])
    assert claims["acct"] == 1
    assert claims["idp"] == f"https://sts.windows.net/{contoso.FABRIKAM}/"
    assert claims["tid"] == contoso.TENANT
    assert claims["roles"] == ["MLEngineer"]
    assert contoso.ML_ENGINEERS.id in claims["groups"]


def test_the_command_line_gets_a_token_for_google_too(world):
    claims = claims_of(world.sign_in(contoso.DANA, "api://remit-google/.default")["access_token"])
    assert claims["aud"] == contoso.GOOGLE.id
    assert claims["azp"] == contoso.CLI.id
    assert "roles" not in claims


def test_overage_leaves_the_groups_to_graph(world):
    world.clouds.commands()["overage"](True)
    claims = claims_of(world.sign_in(contoso.DANA)["access_token"])
    assert "groups" not in claims
    assert claims["_claim_names"] == {"groups": "src1"}


def test_device_flow_pending_then_once(world):
    flow = world.start_device("api://remit/access")
    poll = {"grant_type": DEVICE, "client_id": contoso.CLI.id, "device_code": flow["device_code"]}
    assert refused(world.token(**poll), 70016, "authorization_pending") == 400
    page = world.ask("login.microsoftonline.com", "GET", f"/common/oauth2/deviceauth?user_code={flow['user_code']}")
    assert b"<form" in page.body
    assert world.approve(flow["user_code"], contoso.DANA).status == 200
    assert world.token(**poll)[0] == 200
    refused(world.token(**poll), 70000, "invalid_grant")


def test_device_flow_refusals(world):
    flow = world.start_device("api://remit/access")
    poll = {"grant_type": DEVICE, "client_id": contoso.CLI.id, "device_code": flow["device_code"]}
    refused(world.token(**{**poll, "client_id": contoso.FOREIGN.id}), 70000, "invalid_grant")
    assert world.approve("WRONGCODE", contoso.DANA).status == 400
    nobody = contoso.User("x", "Nobody", "nobody@contoso.example")
    assert world.approve(flow["user_code"], nobody).status == 400
    world.approve(flow["user_code"], contoso.DANA, decline="yes")
    refused(world.token(**poll), 70019, "authorization_declined")
    late = world.start_device("api://remit/access")
    world.clouds.entra_clock.skew = 901
    refused(world.token(**{**poll, "device_code": late["device_code"]}), 70020, "expired_token")


def test_the_second_factor_is_demanded_when_the_claims_ask(world):
    flow = world.start_device("api://remit/access", claims=C1)
    poll = {"grant_type": DEVICE, "client_id": contoso.CLI.id, "device_code": flow["device_code"]}
    assert b"second_factor" in world.approve(flow["user_code"], contoso.DANA).body
    refused(world.token(**poll), 70016, "authorization_pending")
    world.approve(flow["user_code"], contoso.DANA, **MFA)
    claims = claims_of(world.token(**poll)[1]["access_token"])
    assert claims["amr"] == ["pwd", "mfa"]
    assert claims["acrs"] == ["c1"]


@pytest.mark.parametrize(
    ("fields", "number", "error"),
    [
        (
            {"client_id": "b0000000-0000-4000-8000-000000000001", "scope": "api://remit/access"},
            700016,
            "unauthorized_client",
        ),
        ({"scope": "api://remit/access"}, 900144, "invalid_request"),
        ({"client_id": contoso.CLI.id, "scope": "api://nobody/access"}, 500011, "invalid_resource"),
        ({"client_id": contoso.CLI.id, "scope": "api://remit/other"}, 650053, "invalid_scope"),
        ({"client_id": contoso.CLI.id, "scope": "anything"}, 70011, "invalid_scope"),
        (
            {"client_id": contoso.CLI.id, "scope": "api://remit/access api://remit-google/exchange"},
            28000,
            "invalid_scope",
        ),
        ({"client_id": contoso.CLI.id}, 900144, "invalid_request"),
        ({"client_id": contoso.REMIT.id, "scope": "api://remit/access"}, 7000218, "invalid_client"),
        ({"client_id": contoso.CLI.id, "scope": "api://remit/access", "claims": "[1]"}, 900235, "invalid_request"),
        (
            {"client_id": contoso.CLI.id, "scope": "api://remit/access", "claims": C1.replace("c1", "c9")},
            50146,
            "invalid_request",
        ),
    ],
)
def test_what_entra_refuses_at_the_start(world, fields, number, error):
    response = world.ask("login.microsoftonline.com", "POST", f"/{contoso.TENANT}/oauth2/v2.0/devicecode", form=fields)
    refused((response.status, json.loads(response.body)), number, error)


def refresh(world, token, **more):
    fields = {
        "grant_type": "refresh_token",
        "client_id": contoso.CLI.id,
        "scope": "api://remit/.default offline_access",
    }
    return world.token(**{**fields, "refresh_token": token, **more})


def test_refresh_keeps_the_session_and_serves_another_resource(world):
    first = world.sign_in(contoso.DANA)
    status, second = refresh(world, first["refresh_token"])
    assert status == 200
    assert claims_of(first["access_token"])["sid"] == claims_of(second["access_token"])["sid"]
    status, google = refresh(world, second["refresh_token"], scope="api://remit-google/.default")
    assert claims_of(google["access_token"])["aud"] == contoso.GOOGLE.id


def test_a_claims_challenge_on_refresh_needs_the_second_factor(world):
    weak = world.sign_in(contoso.DANA)
    answer = refresh(world, weak["refresh_token"], claims=C1)
    refused(answer, 50076, "invalid_grant")
    assert json.loads(answer[1]["claims"]) == json.loads(C1)
    assert answer[1]["suberror"] == "basic_action"
    strong = world.sign_in(contoso.DANA, **MFA)
    status, fresh = refresh(world, strong["refresh_token"], claims=C1)
    assert status == 200
    assert claims_of(fresh["access_token"])["acrs"] == ["c1"]


def test_client_capabilities_reach_the_token_and_lengthen_it(world):
    first = world.sign_in(contoso.DANA)
    capable = '{"access_token":{"xms_cc":{"values":["CP1"]}}}'
    claims = claims_of(refresh(world, first["refresh_token"], claims=capable)[1]["access_token"])
    assert claims["xms_cc"] == ["CP1"]
    assert claims["exp"] - claims["iat"] >= 20 * 3600


def test_refresh_refusals(world):
    token = world.sign_in(contoso.DANA)["refresh_token"]
    refused(refresh(world, "unknown"), 700082, "invalid_grant")
    refused(refresh(world, token, client_id=contoso.FOREIGN.id), 700082, "invalid_grant")
    world.clouds.commands()["expire"]("entra")
    refused(refresh(world, token), 700082, "invalid_grant")


def test_grant_type_refusals(world):
    refused(world.token(client_id=contoso.CLI.id), 900144, "invalid_request")
    refused(world.token(client_id=contoso.CLI.id, grant_type="password"), 70003, "unsupported_grant_type")


def own(world, **more):
    fields = {
        "grant_type": "client_credentials",
        "client_id": contoso.REMIT.id,
        "scope": "https://graph.microsoft.com/.default",
        "client_assertion_type": ASSERTION,
        "client_assertion": world.machine(),
    }
    return world.token(**{**fields, **more})


def test_client_credentials_through_the_federated_identity(world):
    status, answer = own(world)
    assert status == 200
    claims = claims_of(answer["access_token"])
    assert claims["idtyp"] == "app"
    assert claims["oid"] == claims["sub"] == contoso.REMIT.principal
    assert claims["appid"] == contoso.REMIT.id
    assert "GroupMember.Read.All" in claims["roles"]
    assert world.clouds.entra.sign_ins.entries[-1]["uniqueTokenIdentifier"] == claims["uti"]


def test_client_assertion_refusals(world):
    tokens = world.clouds.entra.tokens
    forged = world.machine()[:-8] + "AAAAAAAA"
    assert refused(own(world, client_assertion=forged), 700027, "invalid_client") == 401
    pipeline = world.machine(identity=contoso.FRAUD_PIPELINE)
    refused(own(world, client_assertion=pipeline), 700213, "invalid_client")
    elsewhere = tokens.for_machine(contoso.MI_ARBITER, contoso.GOOGLE).token
    refused(own(world, client_assertion=elsewhere), 700212, "invalid_client")
    first_version = tokens.for_machine(contoso.MI_ARBITER, contoso.GRAPH).token
    refused(own(world, client_assertion=first_version), 700211, "invalid_client")
    old = world.machine()
    world.clouds.entra_clock.skew = 25 * 3600
    refused(own(world, client_assertion=old), 700024, "invalid_client")
    world.clouds.entra_clock.skew = 0
    refused(own(world, client_assertion_type="other"), 900144, "invalid_request")
    refused(own(world, scope="api://remit/access"), 1002012, "invalid_scope")
    refused(own(world, client_id=contoso.CLI.id), 700025, "invalid_client")
    bare = {"grant_type": "client_credentials", "scope": "api://remit/.default"}
    refused(world.token(**bare, client_id=contoso.REMIT.id), 7000218, "invalid_client")
    refused(world.token(**bare, client_id=contoso.CLI.id), 7000218, "invalid_client")
    refused(world.token(**bare, client_id=contoso.REMIT.id, client_secret="x"), 7000215, "invalid_client")


def test_on_behalf_of_carries_the_sign_in(world):
    person = world.sign_in(contoso.DANA, **MFA)["access_token"]
    status, answer = world.on_behalf(person)
    assert status == 200
    claims = claims_of(answer["access_token"])
    assert claims["aud"] == contoso.GOOGLE.id
    assert claims["azp"] == contoso.REMIT.id
    assert claims["oid"] == contoso.DANA.oid
    assert claims["sid"] == claims_of(person)["sid"]
    assert claims["acrs"] == ["c1"]
    assert "refresh_token" not in answer


def test_on_behalf_of_refusals(world):
    person = world.sign_in(contoso.DANA)["access_token"]
    refused(world.on_behalf(person, requested_token_use=""), 900144, "invalid_request")
    refused(world.on_behalf(person[:-8] + "AAAAAAAA"), 50013, "invalid_grant")
    google = world.sign_in(contoso.DANA, "api://remit-google/.default")["access_token"]
    refused(world.on_behalf(google), 500131, "invalid_grant")
    machine = world.machine("api://remit", contoso.FRAUD_PIPELINE)
    refused(world.on_behalf(machine), 7000114, "invalid_grant")
    answer = world.on_behalf(person, claims=C1)
    refused(answer, 50076, "interaction_required")
    assert json.loads(answer[1]["claims"]) == json.loads(C1)
    world.clouds.entra_clock.skew = 7200
    fresh = world.machine()
    refused(world.on_behalf(person, client_assertion=fresh), 500133, "invalid_grant")
    fields = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "client_id": contoso.CLI.id}
    refused(world.token(**fields, requested_token_use="on_behalf_of"), 7000218, "invalid_client")


def test_failures_are_in_the_sign_in_log_and_polls_are_not(world):
    flow = world.start_device("api://remit/access")
    world.token(grant_type=DEVICE, client_id=contoso.CLI.id, device_code=flow["device_code"])
    assert world.clouds.entra.sign_ins.entries == []
    refresh(world, "unknown")
    entry = world.clouds.entra.sign_ins.entries[-1]
    assert entry["status"]["errorCode"] == 700082
    assert entry["appId"] == contoso.CLI.id


def test_keys_turn_and_are_replaced(world):
    token = world.sign_in(contoso.DANA)["access_token"]
    keys = world.clouds.entra.keys
    published = {key["kid"] for key in keys.public()}
    world.clouds.commands()["rotate_keys"]("planned")
    assert keys.signing.kid in published
    assert keys.verify(token)["oid"] == contoso.DANA.oid
    world.clouds.commands()["rotate_keys"]("emergency")
    assert not published & {key["kid"] for key in keys.public()}
    refused(world.on_behalf(token), 50013, "invalid_grant")


def imds(service, query, headers=None):
    pairs = tuple(query.items())
    request = Request(
        "GET", "127.0.0.1", "/metadata/identity/oauth2/token", pairs, headers or {"metadata": "true"}, b""
    )
    response = asyncio.run(service(request))
    return response.status, json.loads(response.body)


def test_the_metadata_service_speaks_in_strings(world):
    query = {"api-version": "2018-02-01", "resource": "api://remit", "client_id": contoso.FRAUD_PIPELINE.client_id}
    status, answer = imds(world.azure(), query)
    assert status == 200
    assert all(isinstance(value, str) for value in answer.values())
    claims = claims_of(answer["access_token"])
    assert claims["roles"] == ["Pipeline"]
    assert claims["idtyp"] == "app"
    assert claims["azp"] == contoso.FRAUD_PIPELINE.client_id
    assert claims["xms_mirid"].endswith("/userAssignedIdentities/fraud-pipeline")
    only = world.azure(identities=(contoso.MI_ARBITER,))
    assert imds(only, {"api-version": "2018-02-01", "resource": "api://remit-google"})[0] == 200
    # Remit itself gives tokens to nobody who holds no role there
    status, answer = imds(only, {"api-version": "2018-02-01", "resource": "api://remit"})
    assert (status, answer["error_description"][:13]) == (400, "AADSTS501051:")


def test_a_group_s_role_is_no_workload_s(world):
    registry = world.clouds.entra.tokens.registry
    roles = {each["value"]: each["id"] for each in registry.backing(contoso.REMIT.id)["appRoles"]}
    group = contoso.ML_ALL
    document = entra_born.assignment((group.id, group.name, "Group"), contoso.REMIT, roles["Security"], registry.now())
    registry.assignments.put(document["id"], document)
    world.clouds.commands()["join"]({"group": group.id, "member": contoso.FRAUD_PIPELINE.oid})
    query = {"api-version": "2018-02-01", "resource": "api://remit", "client_id": contoso.FRAUD_PIPELINE.client_id}
    assert claims_of(imds(world.azure(), query)[1]["access_token"])["roles"] == ["Pipeline"]


@pytest.mark.parametrize(
    ("change", "headers", "words"),
    [
        ({}, {}, "metadata header"),
        ({}, {"metadata": "true", "x-forwarded-for": "10.0.0.1"}, "metadata header"),
        ({"api-version": "2001-01-01"}, None, "version"),
        ({"resource": ""}, None, "'resource' is missing"),
        ({"resource": "api://nobody"}, None, "AADSTS500011"),
        ({"client_id": ""}, None, "Multiple user assigned identities"),
        ({"client_id": "3c000000-0000-4000-8000-00000000000a"}, None, "Identity not found"),
    ],
)
def test_the_metadata_service_refuses(world, change, headers, words):
    query = {"api-version": "2018-02-01", "resource": "api://remit", "client_id": contoso.MI_ARBITER.client_id}
    named = headers if headers is not None else {"metadata": "true"}
    request = Request("GET", "", "/metadata/identity/oauth2/token", tuple({**query, **change}.items()), named, b"")
    response = asyncio.run(world.azure()(request))
    assert response.status == 400
    assert words in json.loads(response.body)["error_description"]


def members(world, oid, token, body=None):
    path = f"/v1.0/users/{oid}/getMemberObjects"
    response = world.ask(
        "graph.microsoft.com", "POST", path, body={"securityEnabledOnly": True} if body is None else body, bearer=token
    )
    return response.status, json.loads(response.body)


def test_graph_answers_transitive_groups(world):
    token = own(world)[1]["access_token"]
    status, answer = members(world, contoso.DANA.oid, token)
    assert status == 200
    assert answer["value"] == [contoso.ML_ENGINEERS_FRAUD.id, contoso.ML_ENGINEERS.id, contoso.ML_ALL.id]
    path = f"/v1.0/users/{contoso.ADA.oid}/transitiveMemberOf/microsoft.graph.group"
    answer = json.loads(world.ask("graph.microsoft.com", "GET", path, bearer=token).body)
    assert [group["displayName"] for group in answer["value"]] == ["ml-all", "data-scientists"]
    log = json.loads(world.ask("graph.microsoft.com", "GET", "/v1.0/auditLogs/signIns", bearer=token).body)
    assert log["value"][-1]["servicePrincipalId"] == contoso.REMIT.principal


def test_graph_refusals(world):
    token = own(world)[1]["access_token"]
    assert members(world, contoso.DANA.oid, "")[0] == 401
    assert members(world, contoso.DANA.oid, token[:-8] + "AAAAAAAA")[0] == 401
    person = world.sign_in(contoso.DANA)["access_token"]
    assert members(world, contoso.DANA.oid, person)[1]["error"]["code"] == "InvalidAuthenticationToken"
    machine = world.machine("https://graph.microsoft.com", contoso.FRAUD_PIPELINE)
    assert members(world, contoso.DANA.oid, machine)[1]["error"]["code"] == "Authorization_RequestDenied"
    assert members(world, "0d000000-0000-4000-8000-00000000000f", token)[0] == 404
    assert members(world, contoso.DANA.oid, token, {})[0] == 400
    assert world.ask("graph.microsoft.com", "GET", "/v1.0/me", bearer=token).status == 400
    world.clouds.entra_clock.skew = 7200
    assert "expired" in members(world, contoso.DANA.oid, token)[1]["error"]["message"]
