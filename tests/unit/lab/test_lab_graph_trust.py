"""What hangs on Graph's applications: federated credentials, role assignments, consents, secrets, certificates, the log."""

import base64
import datetime as dt
import time
import uuid

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from remit.lab import contoso
from remit.lab.contoso import FRAUD_PIPELINE, REMIT

FEDERATIONS = f"applications(appId='{REMIT.id}')/federatedIdentityCredentials"
GOOD = {
    "name": "one",
    "issuer": "https://issuer.example",
    "subject": "somebody",
    "audiences": ["api://AzureADTokenExchange"],
}
TO_REMIT = f"servicePrincipals(appId='{REMIT.id}')/appRoleAssignedTo"


def code(answer):
    assert answer[1]["error"]["message"]
    return answer[0], answer[1]["error"]["code"]


def values(answer):
    assert answer[0] == 200, answer
    return answer[1]["value"]


def test_federated_credentials_are_made_once(administrator):
    [born] = values(administrator("GET", FEDERATIONS))
    assert (born["name"], born["subject"]) == ("managed-identity", contoso.MI_ARBITER.oid)
    status, made = administrator("POST", FEDERATIONS, GOOD)
    assert (status, made["audiences"], made["description"]) == (201, GOOD["audiences"], None)
    status, answer = administrator("POST", FEDERATIONS, {**GOOD, "subject": "other"})
    assert (status, answer["error"]["code"]) == (409, "Request_MultipleObjectsWithSameKeyValue")
    assert answer["error"]["message"] == "FederatedIdentityCredential with name one already exists."
    assert code(administrator("POST", FEDERATIONS, {**GOOD, "name": "two"}))[0] == 409
    path = f"{FEDERATIONS}/{made['id']}"
    assert code(administrator("PATCH", path, {"name": "two"}))[0] == 400
    assert administrator("PATCH", path, {"subject": "Somebody", "description": "of the cluster"})[0] == 204
    assert administrator("GET", f"{FEDERATIONS}/one")[1]["subject"] == "Somebody"
    assert [each["id"] for each in values(administrator("GET", f"{FEDERATIONS}?$filter=name eq 'one'"))] == [made["id"]]
    upsert = f"{FEDERATIONS}(name='three')"
    body = {"issuer": "https://issuer.example", "subject": "three", "audiences": GOOD["audiences"]}
    assert code(administrator("PATCH", upsert, body))[0] == 404
    assert administrator("PATCH", upsert, body, prefer="create-if-missing")[0] == 201
    assert administrator("PATCH", upsert, body, prefer="create-if-missing")[0] == 204
    assert administrator("DELETE", upsert)[0] == 204
    assert code(administrator("DELETE", upsert))[0] == 404
    elsewhere = f"applications(appId='{contoso.CLI.id}')/federatedIdentityCredentials"
    assert code(administrator("DELETE", f"{elsewhere}/{made['id']}"))[0] == 404
    assert administrator("POST", elsewhere, GOOD)[0] == 201


@pytest.mark.promise("V22")
def test_federated_credentials_have_limits(administrator):
    for wrong in (
        {"name": None},
        {"name": "a/b"},
        {"name": "n" * 121},
        {"issuer": ""},
        {"issuer": "http://issuer.example"},
        {"issuer": f"https://issuer.example/{'x' * 600}"},
        {"subject": None},
        {"subject": "s" * 601},
        {"audiences": []},
        {"audiences": ["a", "b"]},
        {"audiences": ["a" * 601]},
        {"audiences": "a"},
        {"description": "d" * 601},
        {"claimsMatchingExpression": {}},
    ):
        assert code(administrator("POST", FEDERATIONS, {**GOOD, **wrong}))[0] == 400, wrong
    for number in range(19):
        assert administrator("POST", FEDERATIONS, {**GOOD, "name": f"f{number}", "subject": f"s{number}"})[0] == 201
    status, answer = administrator("POST", FEDERATIONS, GOOD)
    assert (status, answer["error"]["code"]) == (400, "Directory_QuotaExceeded")
    assert "(20)" in answer["error"]["message"]
    assert administrator("DELETE", f"{FEDERATIONS}/f0")[0] == 204
    assert administrator("POST", FEDERATIONS, GOOD)[0] == 201


def test_roles_are_assigned_to_people_groups_and_programs(administrator):
    remit = administrator("GET", f"servicePrincipals(appId='{REMIT.id}')")[1]
    roles = {each["value"]: each["id"] for each in remit["appRoles"]}
    body = {"resourceId": remit["id"], "appRoleId": roles["Security"]}
    held = [
        (contoso.DANA.oid, "User", f"users/{contoso.DANA.oid}"),
        (contoso.SECURITY.id, "Group", f"groups/{contoso.SECURITY.id}"),
        (FRAUD_PIPELINE.oid, "ServicePrincipal", f"servicePrincipals/{FRAUD_PIPELINE.oid}"),
    ]
    for oid, kind, path in held:
        status, made = administrator("POST", TO_REMIT, {**body, "principalId": oid})
        assert (status, made["principalType"], made["resourceDisplayName"]) == (201, kind, "Remit")
        status, answer = administrator("POST", TO_REMIT, {**body, "principalId": oid})
        assert (status, answer["error"]["message"]) == (400, "Permission being assigned already exists on the object")
        mine = values(administrator("GET", f"{path}/appRoleAssignments"))
        assert made["id"] in {each["id"] for each in mine}
        [found] = values(
            administrator("GET", f"{TO_REMIT}?$filter=principalId eq {oid} and appRoleId eq {roles['Security']}")
        )
        assert found["id"] == made["id"]
        assert administrator("DELETE", f"{path}/appRoleAssignments/{made['id']}")[0] == 204
        assert code(administrator("DELETE", f"{TO_REMIT}/{made['id']}"))[0] == 404
        assert administrator("POST", f"{path}/appRoleAssignments", {**body, "principalId": oid})[0] == 201
    nobody = str(uuid.uuid4())
    for wrong, status in (
        ({"principalId": nobody}, 404),
        ({"principalId": contoso.ADA.oid, "appRoleId": nobody}, 400),
        ({"principalId": contoso.ADA.oid, "resourceId": nobody}, 400),
        ({"principalId": None}, 400),
    ):
        assert code(administrator("POST", TO_REMIT, {**body, **wrong}))[0] == status, wrong
    everything = {"resourceId": remit["id"], "appRoleId": str(uuid.UUID(int=0)), "principalId": contoso.ADA.oid}
    assert administrator("POST", TO_REMIT, everything)[0] == 201


def test_a_role_is_for_what_it_says_and_while_it_is_enabled(administrator):
    role = {"id": str(uuid.uuid4()), "value": "R", "displayName": "R", "description": "R", "isEnabled": True}
    made = administrator.make("New", appRoles=[{**role, "allowedMemberTypes": ["User"]}])
    principal = administrator.principal(made["appId"])
    body = {"resourceId": principal["id"], "appRoleId": role["id"]}
    path = f"servicePrincipals/{principal['id']}/appRoleAssignedTo"
    assert code(administrator("POST", path, {**body, "principalId": FRAUD_PIPELINE.oid}))[0] == 400
    disabled = {"appRoles": [{**role, "allowedMemberTypes": ["User"], "isEnabled": False}]}
    assert administrator("PATCH", f"applications/{made['id']}", disabled)[0] == 204
    status, answer = administrator("POST", path, {**body, "principalId": contoso.DANA.oid})
    assert (status, "was not found on application" in answer["error"]["message"]) == (400, True)


def test_consents(administrator):
    ends = {"clientId": contoso.NIGHTLY.principal, "resourceId": contoso.GOOGLE.principal, "scope": "exchange"}
    status, made = administrator.as_one("DelegatedPermissionGrant.ReadWrite.All") or administrator(
        "POST", "oauth2PermissionGrants", {**ends, "consentType": "AllPrincipals"}
    )
    assert (status, made["principalId"]) == (201, None)
    again = administrator("POST", "oauth2PermissionGrants", {**ends, "consentType": "AllPrincipals"})
    assert code(again)[0] == 409
    one = {**ends, "consentType": "Principal", "principalId": contoso.DANA.oid}
    assert administrator("POST", "oauth2PermissionGrants", one)[0] == 201
    for wrong in ({"consentType": "Some"}, {"consentType": "AllPrincipals"}, {"principalId": None}, {"scope": 1}):
        assert code(administrator("POST", "oauth2PermissionGrants", {**one, **wrong}))[0] == 400, wrong
    assert administrator("PATCH", f"oauth2PermissionGrants/{made['id']}", {"scope": "other"})[0] == 204
    found = values(administrator("GET", "oauth2PermissionGrants?$filter=consentType eq 'AllPrincipals'"))
    assert [each["scope"] for each in found] == ["other"]
    assert administrator("DELETE", f"oauth2PermissionGrants/{made['id']}")[0] == 204
    assert code(administrator("DELETE", f"oauth2PermissionGrants/{made['id']}"))[0] == 404


NIGHTLY = f"applications(appId='{contoso.NIGHTLY.id}')"


def own(world, **more):
    status, answer = world.token(
        grant_type="client_credentials", client_id=contoso.NIGHTLY.id, scope="api://remit/.default", **more
    )
    return status if status == 200 else answer["error_codes"]


def test_secrets_work_while_they_are_there(administrator):
    status, made = administrator("POST", f"{NIGHTLY}/addPassword", {"passwordCredential": {"displayName": "night"}})
    assert status == 200
    assert made["secretText"].startswith(made["hint"])
    assert 16 <= len(made["secretText"]) <= 64
    assert own(administrator.world, client_secret=made["secretText"]) == 200
    signed_in = administrator.world.clouds.entra.sign_ins.entries[-1]
    assert signed_in["servicePrincipalCredentialKeyId"] == made["keyId"]
    [held] = administrator("GET", NIGHTLY)[1]["passwordCredentials"]
    assert (held["keyId"], held["secretText"], held["displayName"]) == (made["keyId"], None, "night")
    assert (
        abs(dt.datetime.fromisoformat(held["endDateTime"]).timestamp() - time.time() - 2 * 365.25 * 86400) < 3 * 86400
    )
    soon = (dt.datetime.now(dt.UTC) + dt.timedelta(minutes=5)).isoformat()
    brief = administrator("POST", f"{NIGHTLY}/addPassword", {"passwordCredential": {"endDateTime": soon}})[1]
    assert own(administrator.world, client_secret=brief["secretText"]) == 200
    assert administrator("POST", f"{NIGHTLY}/removePassword", {"keyId": made["keyId"]})[0] == 204
    assert own(administrator.world, client_secret=made["secretText"]) == [7000215]
    assert code(administrator("POST", f"{NIGHTLY}/removePassword", {"keyId": made["keyId"]}))[0] == 400
    administrator.world.clouds.entra_clock.skew = 600
    assert own(administrator.world, client_secret=brief["secretText"]) == [7000222]
    for wrong in ({"endDateTime": "x"}, {"endDateTime": "2001-01-01T00:00:00Z"}, {"secretText": "mine"}, []):
        asked = {"passwordCredential": wrong or [1]}
        assert code(administrator("POST", f"{NIGHTLY}/addPassword", asked))[0] == 400, wrong


class Certificate:
    """A key with a certificate, which signs as an application does."""

    def __init__(self, days: int = 30) -> None:
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "nightly")])
        now = dt.datetime.now(dt.UTC)
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(self.key.public_key())
        dated = builder.not_valid_before(now - dt.timedelta(days=40)).not_valid_after(now + dt.timedelta(days=days))
        signed = dated.serial_number(1).sign(self.key, hashes.SHA256())
        self.der = signed.public_bytes(serialization.Encoding.DER)
        self.thumbprint = base64.urlsafe_b64encode(signed.fingerprint(hashes.SHA1())).decode()  # noqa: S303 - how `x5t` is defined
        self.credential = {
            "type": "AsymmetricX509Cert",
            "usage": "Verify",
            "key": base64.b64encode(self.der).decode(),
            "displayName": "CN=nightly",
        }

    def sign(self, claims):
        import jwt

        return jwt.encode(claims, self.key, "RS256", {"x5t": self.thumbprint})

    def proof(self, application, **more):
        now = int(time.time())
        common = {"aud": "00000002-0000-0000-c000-000000000000", "iss": application, "nbf": now, "exp": now + 600}
        return self.sign({**common, **more})

    def sign_in(self, world):
        now = int(time.time())
        claims = {"aud": f"https://login.microsoftonline.com/{contoso.TENANT}/oauth2/v2.0/token", "exp": now + 300}
        claims |= {"iss": contoso.NIGHTLY.id, "sub": contoso.NIGHTLY.id, "nbf": now, "jti": str(uuid.uuid4())}
        kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        return own(world, client_assertion=self.sign(claims), client_assertion_type=kind)


def test_certificates_are_rolled_with_a_proof(administrator):
    first, second, world = Certificate(), Certificate(), administrator.world
    number = administrator("GET", NIGHTLY)[1]["id"]
    add = {"keyCredential": second.credential, "passwordCredential": None, "proof": second.proof(number)}
    assert code(administrator("POST", f"{NIGHTLY}/addKey", add)) == (401, "Authentication_MissingOrMalformed")
    assert administrator("PATCH", NIGHTLY, {"keyCredentials": [first.credential]})[0] == 204
    assert first.sign_in(world) == 200
    for proof in (
        None,
        "x",
        second.proof(number),
        first.proof("other"),
        first.proof(number, aud="https://graph.microsoft.com"),
        first.proof(number, exp=int(time.time()) + 3600),
        first.proof(number, nbf=int(time.time()) - 7200, exp=int(time.time()) - 6600),
    ):
        assert code(administrator("POST", f"{NIGHTLY}/addKey", {**add, "proof": proof}))[0] == 401
    administrator.as_one()
    assert code(administrator("POST", f"{NIGHTLY}/addKey", {**add, "proof": first.proof(number)}))[0] == 403
    administrator.as_one("Application.ReadWrite.All")
    status, held = administrator("POST", f"{NIGHTLY}/addKey", {**add, "proof": first.proof(number)})
    assert (status, held["key"], held["customKeyIdentifier"]) == (200, None, held["customKeyIdentifier"].upper())
    assert second.sign_in(world) == 200
    keys = administrator("GET", NIGHTLY)[1]["keyCredentials"]
    signed_in = world.clouds.entra.sign_ins.entries[-1]
    assert signed_in["clientCredentialType"] == "certificate"
    assert signed_in["servicePrincipalCredentialKeyId"] == keys[1]["keyId"]
    assert [each["key"] for each in keys] == [None, None]
    told = administrator("GET", f"{NIGHTLY}?$select=keyCredentials")[1]["keyCredentials"]
    assert [each["key"] for each in told] == [each.credential["key"] for each in (first, second)]
    gone = {"keyId": keys[0]["keyId"], "proof": second.proof(number)}
    assert administrator("POST", f"{NIGHTLY}/removeKey", gone)[0] == 204
    assert code(administrator("POST", f"{NIGHTLY}/removeKey", gone))[0] == 400
    assert first.sign_in(world) == [700027]
    assert second.sign_in(world) == 200
    assert administrator("PATCH", NIGHTLY, {"keyCredentials": told[1:]})[0] == 204
    assert second.sign_in(world) == 200
    expired = Certificate(days=-1).credential
    assert code(administrator("PATCH", NIGHTLY, {"keyCredentials": [expired]})) == (400, "KeyCredentialsInvalidEndDate")


def audited(administrator, text=""):
    return values(administrator("GET", f"auditLogs/directoryAudits{text and f'?$filter={text}'}"))


@pytest.mark.promise("V11")
def test_every_change_is_written_down_with_who_and_what(administrator):
    before = dt.datetime.now(dt.UTC).isoformat().replace("+00:00", "Z")
    assert audited(administrator) == []
    made = administrator.make("New")
    principal = administrator.principal(made["appId"])
    administrator("PATCH", f"applications/{made['id']}", {"displayName": "Newer"})
    administrator("POST", f"applications/{made['id']}/federatedIdentityCredentials", GOOD)
    administrator("POST", f"applications/{made['id']}/addPassword", {})
    administrator("PATCH", f"servicePrincipals/{principal['id']}", {"accountEnabled": False})
    remit = administrator("GET", f"servicePrincipals(appId='{REMIT.id}')")[1]
    body = {"resourceId": remit["id"], "appRoleId": remit["appRoles"][0]["id"], "principalId": contoso.SECURITY.id}
    assignment = administrator("POST", TO_REMIT, body)[1]
    administrator("DELETE", f"{TO_REMIT}/{assignment['id']}")
    administrator("DELETE", f"applications/{made['id']}")
    administrator("POST", "applications", {"displayName": ""})
    entries = audited(administrator)
    assert [each["activityDisplayName"].strip() for each in entries][::-1] == [
        "Add application",
        "Add service principal",
        "Update application",
        "Update application",
        "Update application \u2013 Certificates and secrets management",
        "Update service principal",
        "Add app role assignment grant to group",
        "Remove app role assignment from group",
        "Delete application",
        "Remove service principal",
    ]
    who = entries[0]["initiatedBy"]["app"]
    assert (who["servicePrincipalId"], who["displayName"]) == (contoso.ADMINISTRATOR.oid, "trust-administrator")
    renamed = entries[-3]["targetResources"][0]
    assert (renamed["id"], renamed["type"]) == (made["id"], "Application")
    assert renamed["modifiedProperties"] == [{"displayName": "DisplayName", "oldValue": '"New"', "newValue": '"Newer"'}]
    assert 'secretText": "' not in str(entries)
    assert len(audited(administrator, f"activityDateTime ge {before}")) == len(entries)
    assert audited(administrator, "activityDateTime ge 2100-01-01T00:00:00Z") == []
    about = f"targetResources/any(t:t/id eq '{contoso.SECURITY.id}') and category eq 'GroupManagement'"
    assert len(audited(administrator, about)) == 2
    mine = f"initiatedBy/app/servicePrincipalId eq '{contoso.ADMINISTRATOR.oid}'"
    assert len(audited(administrator, mine)) == len(entries)
    ordered = values(administrator("GET", "auditLogs/directoryAudits?$orderby=activityDateTime asc&$top=1"))
    assert ordered[0]["id"] == entries[-1]["id"]
    assert code(administrator("GET", "auditLogs/directoryAudits?$orderby=id"))[0] == 400
