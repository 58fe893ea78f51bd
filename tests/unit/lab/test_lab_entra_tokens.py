"""What tokens say: overage, guests, other tenants, versions, places; and when a sign-in gives none any more."""

import json

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from remit.lab import contoso
from remit.lab.entra_errors import EntraError
from remit.lab.jwt import encode, peek

LOGIN = "login.microsoftonline.com"
CAPABLE = '{"access_token":{"xms_cc":{"values":["CP1"]}}}'


def claims_of(token):
    return peek(token)[1]


def refresh(world, token, **more):
    fields = {"grant_type": "refresh_token", "client_id": contoso.CLI.id, "scope": "api://remit/.default"}
    return world.token(**{**fields, "refresh_token": token, **more})


def refused(answer, number, error="invalid_grant"):
    status, body = answer
    assert (status, body["error_codes"], body["error"]) == (400, [number], error), body


def fabrikam(world, user, tenant=contoso.FABRIKAM):
    fields = {"client_id": contoso.CLI.id, "scope": "api://remit/.default openid offline_access"}
    flow = json.loads(world.ask(LOGIN, "POST", f"/{tenant}/oauth2/v2.0/devicecode", form=fields).body)
    approved = world.approve(flow["user_code"], user)
    grant = "urn:ietf:params:oauth:grant-type:device_code"
    form = {"grant_type": grant, "client_id": contoso.CLI.id, "device_code": flow["device_code"]}
    return approved, json.loads(world.ask(LOGIN, "POST", f"/{tenant}/oauth2/v2.0/token", form=form).body)


def test_two_hundred_groups_and_no_more(world):
    olga = claims_of(world.sign_in(contoso.OLGA)["access_token"])
    assert "groups" not in olga
    assert olga["_claim_names"] == {"groups": "src1"}
    assert olga["_claim_sources"]["src1"]["endpoint"].startswith("https://graph.windows.net/")
    leave = world.clouds.commands()["leave"]
    for league in contoso.LEAGUES[197:]:
        leave({"group": league.id, "member": contoso.OLGA.oid})
    assert len(claims_of(world.sign_in(contoso.OLGA)["access_token"])["groups"]) == 200


def test_the_marks_can_be_forced(world):
    overage = world.clouds.commands()["overage"]
    overage("hasgroups")
    dana = claims_of(world.sign_in(contoso.DANA)["access_token"])
    assert dana["hasgroups"] is True
    assert not {"groups", "_claim_names"} & set(dana)
    overage(False)
    assert "groups" in claims_of(world.sign_in(contoso.DANA)["access_token"])


def test_a_group_that_somebody_joins_is_in_the_next_token(world):
    first = world.sign_in(contoso.ADA)
    world.clouds.commands()["join"]({"group": contoso.SECURITY.id, "member": contoso.ADA.oid})
    second = refresh(world, first["refresh_token"])[1]
    assert contoso.SECURITY.id in claims_of(second["access_token"])["groups"]


def test_una_is_fabrikams(world):
    una = claims_of(fabrikam(world, contoso.UNA)[1]["access_token"])
    assert (una["tid"], una["iss"]) == (contoso.FABRIKAM, contoso.issuer(contoso.FABRIKAM))
    assert una["aud"] == contoso.REMIT.id
    assert una["acct"] == 0
    assert "groups" not in una
    assert fabrikam(world, contoso.UNA, "common")[1]["client_info"]
    assert fabrikam(world, contoso.DANA)[0].status == 400
    assert fabrikam(world, contoso.UNA, contoso.TENANT)[0].status == 400


def test_each_tenant_has_its_own_issuer_and_all_share_the_keys(world):
    def get(path):
        return json.loads(world.ask(LOGIN, "GET", path).body)

    documents = {name: get(f"/{name}/v2.0/.well-known/openid-configuration") for name in ("common", contoso.FABRIKAM)}
    assert documents["common"]["issuer"].endswith("/{tenantid}/v2.0")
    fabrikams = documents[contoso.FABRIKAM]
    assert fabrikams["issuer"] == contoso.issuer(contoso.FABRIKAM)
    for name in ("authorization_endpoint", "end_session_endpoint", "token_endpoint", "jwks_uri"):
        assert contoso.FABRIKAM in fabrikams[name]
    assert fabrikams["id_token_signing_alg_values_supported"] == ["RS256"]
    keys = {name: get(f"/{name}/discovery/v2.0/keys")["keys"] for name in ("common", contoso.TENANT, contoso.FABRIKAM)}
    assert len({tuple(key["kid"] for key in found) for found in keys.values()}) == 1
    assert {found[0]["issuer"] for found in keys.values()} == {
        "https://login.microsoftonline.com/{tenantid}/v2.0",
        contoso.ISSUER,
        contoso.issuer(contoso.FABRIKAM),
    }


def test_no_application_of_contoso_is_known_in_fabrikam(world):
    form = {"grant_type": "client_credentials", "client_id": contoso.NIGHTLY.id, "scope": "api://remit/.default"}
    response = world.ask(LOGIN, "POST", f"/{contoso.FABRIKAM}/oauth2/v2.0/token", form=form)
    assert json.loads(response.body)["error_codes"] == [700016]


def test_the_resource_picks_the_version(world):
    machine = claims_of(world.machine("api://remit", contoso.FRAUD_PIPELINE))
    assert machine["ver"] == "2.0"
    world.clouds.commands()["token_version"]({"app": contoso.REMIT.id, "version": "1.0"})
    machine = claims_of(world.machine("api://remit", contoso.FRAUD_PIPELINE))
    assert (machine["ver"], machine["aud"]) == ("1.0", "api://remit")
    assert machine["iss"] == machine["idp"] == f"https://sts.windows.net/{contoso.TENANT}/"
    assert (machine["appid"], machine["appidacr"]) == (contoso.FRAUD_PIPELINE.client_id, "2")
    assert machine["xms_mirid"].endswith("fraud-pipeline")
    assert machine["roles"] == ["Pipeline"]
    assert not {"azp", "azpacr", "preferred_username"} & set(machine)
    answer = world.sign_in(contoso.DANA)
    person = claims_of(answer["access_token"])
    assert (person["unique_name"], person["upn"], person["acr"]) == (contoso.DANA.upn, contoso.DANA.upn, "1")
    assert "preferred_username" not in person
    assert world.on_behalf(answer["access_token"])[0] == 200


def test_a_workload_says_its_groups(world):
    world.clouds.commands()["join"]({"group": contoso.SECURITY.id, "member": contoso.FRAUD_PIPELINE.oid})
    assert claims_of(world.machine("api://remit", contoso.FRAUD_PIPELINE))["groups"] == [contoso.SECURITY.id]


def test_where_somebody_sits(world):
    first = world.sign_in(contoso.DANA)
    assert claims_of(first["access_token"])["ipaddr"] == "127.0.0.1"
    device = "de000000-0000-4000-8000-000000000001"
    place = {"account": contoso.DANA.upn, "address": "203.0.113.7", "device": device, "states": ["dvc_mngd", "dvc_cmp"]}
    world.clouds.commands()["place"](place)
    moved = claims_of(refresh(world, first["refresh_token"])[1]["access_token"])
    assert (moved["ipaddr"], moved["deviceid"]) == ("203.0.113.7", device)
    assert moved["signin_state"] == ["dvc_mngd", "dvc_cmp"]
    entry = world.clouds.entra.sign_ins.entries[-1]
    assert (entry["ipAddress"], entry["deviceDetail"]) == ("203.0.113.7", {"deviceId": device})
    google = claims_of(refresh(world, first["refresh_token"], scope="api://remit-google/.default")[1]["access_token"])
    assert not {"ipaddr", "deviceid", "signin_state", "auth_time", "xms_cc"} & set(google)
    with pytest.raises(KeyError):
        world.clouds.commands()["place"]({"account": "nobody@contoso.example"})


def test_only_a_resource_that_asks_makes_tokens_long(world):
    token = world.sign_in(contoso.DANA)["refresh_token"]
    long = claims_of(refresh(world, token, claims=CAPABLE)[1]["access_token"])
    assert 24 * 3600 <= long["exp"] - long["iat"] <= 28 * 3600
    google = refresh(world, token, claims=CAPABLE, scope="api://remit-google/.default")[1]
    assert google["expires_in"] <= 5400
    assert "xms_cc" not in claims_of(google["access_token"])


def test_a_revoked_sign_in_gives_nothing_more(world):
    answer = world.sign_in(contoso.DANA)
    flow = world.start_device("api://remit/access")
    world.approve(flow["user_code"], contoso.DANA)
    world.clouds.commands()["revoke_sessions"](contoso.DANA.oid)
    refused(refresh(world, answer["refresh_token"]), 50173)
    refused(world.on_behalf(answer["access_token"]), 50173)
    grant = "urn:ietf:params:oauth:grant-type:device_code"
    fields = {"grant_type": grant, "client_id": contoso.CLI.id, "device_code": flow["device_code"]}
    refused(world.token(**fields), 50173)
    newer = world.sign_in(contoso.DANA)
    assert refresh(world, newer["refresh_token"])[0] == 200
    assert world.clouds.entra.sign_ins.entries[-2]["status"]["errorCode"] == 0


def test_a_challenge_for_a_newer_token(world):
    answer = world.sign_in(contoso.DANA)
    issued = claims_of(answer["access_token"])["iat"]

    def challenge(moment):
        return json.dumps({"access_token": {"nbf": {"essential": True, "value": str(moment)}}})

    for ahead in (0, 2):
        status, newer = refresh(world, answer["refresh_token"], claims=challenge(issued + ahead))
        assert status == 200
        assert claims_of(newer["access_token"])["iat"] > issued + ahead
    # what lies too far ahead is not waited for
    late = refresh(world, answer["refresh_token"], claims=challenge(issued + 1000))[1]
    assert claims_of(late["access_token"])["iat"] < issued + 60
    world.clouds.commands()["revoke_sessions"](contoso.DANA.oid)
    refused(refresh(world, answer["refresh_token"], claims=challenge(issued + 5)), 50173, "interaction_required")


def test_a_disabled_or_deleted_account_gives_nothing(world):
    answer = world.sign_in(contoso.DANA)
    commands = world.clouds.commands()
    commands["disable"](contoso.DANA.oid)
    refused(refresh(world, answer["refresh_token"]), 50057)
    refused(world.on_behalf(answer["access_token"]), 50057)
    flow = world.start_device("api://remit/access")
    assert world.approve(flow["user_code"], contoso.DANA).status == 403
    commands["enable"](contoso.DANA.oid)
    assert refresh(world, answer["refresh_token"])[0] == 200
    commands["delete_account"](contoso.DANA.oid)
    refused(refresh(world, answer["refresh_token"]), 50057)


def test_a_disabled_machine_gets_no_token(world):
    world.clouds.commands()["disable"](contoso.FRAUD_PIPELINE.oid)
    with pytest.raises(EntraError, match="is disabled"):
        world.machine("api://remit", contoso.FRAUD_PIPELINE)


def test_a_token_of_an_unknown_session_is_exchanged_for_nobody(world):
    token = world.sign_in(contoso.DANA)["access_token"]
    claims = claims_of(token) | {"sid": "another"}
    forged = world.clouds.entra.keys.signing.sign(claims)
    refused(world.on_behalf(forged), 7000114)


def test_the_metadata_service_has_none_for_a_disabled_identity(world):
    world.clouds.commands()["disable"](contoso.FRAUD_PIPELINE.oid)
    fields = f"api-version=2018-02-01&resource=api://remit&client_id={contoso.FRAUD_PIPELINE.client_id}"
    world.hosts = world.azure()
    answer = world.ask("127.0.0.1", "GET", f"/metadata/identity/oauth2/token?{fields}", metadata="true")
    assert answer.status == 400
    assert "AADSTS7000112" in json.loads(answer.body)["error_description"]
    assert world.ask("127.0.0.1", "GET", "/elsewhere").status == 404


def test_the_signing_key_can_be_stolen(world):
    """Whoever has it forges what everybody believes, until the keys turn."""
    stolen = load_pem_private_key(world.clouds.entra.commands()["steal_key"](True).encode(), None)
    public = world.clouds.entra.keys.public()[0]
    assert encode(stolen.public_key().public_numbers().n.to_bytes(256)) == public["n"]
