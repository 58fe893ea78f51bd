import json
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from remit.lab import contoso, google_mapping
from remit.lab.errors import CloudError
from remit.lab.iam import Iam
from remit.lab.jwt import BrokenTokenError, encode, verify

ENGINEER = contoso.account("ml-engineer", contoso.FRAUD_TEST)
AUDITOR = contoso.account("auditor", contoso.FRAUD_TEST)
TEST_BUCKET = contoso.FRAUD_TEST.buckets[0]
ACCESS = "urn:ietf:params:oauth:token-type:access_token"
CLOUD_PLATFORM = "https://www.googleapis.com/auth/cloud-platform"


def boundary(*buckets, roles=("inRole:roles/storage.objectAdmin",), **more):
    rules = [
        {
            "availableResource": f"//storage.googleapis.com/projects/_/buckets/{bucket}",
            "availablePermissions": list(roles),
            **more,
        }
        for bucket in buckets
    ]
    return quote(json.dumps({"accessBoundary": {"accessBoundaryRules": rules}}))


def narrow(world, token, options):
    return world.exchange(token, subject_token_type=ACCESS, options=options, audience="", scope="")


def test_from_a_persons_sign_in_to_an_account(world):
    token = world.account_token(contoso.DANA, ENGINEER)
    caller = world.clouds.iam.caller(f"Bearer {token}")
    principal = f"principal://iam.googleapis.com/{contoso.PROVIDER.pool}/subject/{contoso.TENANT}/{contoso.DANA.oid}"
    assert caller.email == ENGINEER
    assert caller.delegation == (principal,)
    exchange, impersonation = world.clouds.audit.entries()
    payload = exchange["protoPayload"]
    assert exchange["logName"].startswith("projects/contoso-fraud-prod/logs/")
    assert payload["metadata"]["mapped_principal"] == principal
    assert payload["methodName"].endswith("ExchangeToken")
    payload = impersonation["protoPayload"]
    assert payload["authenticationInfo"]["principalSubject"] == principal
    assert impersonation["resource"]["labels"]["email_id"] == ENGINEER
    assert impersonation["logName"] == "projects/contoso-fraud-test/logs/cloudaudit.googleapis.com%2Fdata_access"


def test_the_exchange_takes_json_too(world):
    body = {
        "grantType": "urn:ietf:params:oauth:grant-type:token-exchange",
        "audience": f"//iam.googleapis.com/{contoso.PROVIDER.resource}",
        "scope": CLOUD_PLATFORM,
        "subjectToken": world.google_subject(contoso.DANA),
        "subjectTokenType": "urn:ietf:params:oauth:token-type:jwt",
    }
    answer = json.loads(world.ask("sts.googleapis.com", "POST", "/v1/token", body=body).body)
    assert answer["token_type"] == "Bearer"
    assert 3500 < answer["expires_in"] <= 3600
    broken = {"content-type": "application/json"}
    assert world.ask("sts.googleapis.com", "POST", "/v1/token", **broken).status == 400


def test_google_refuses_what_a_caller_exchanges_alone(world):
    # her own token for Remit: another audience
    status, answer = world.exchange(world.sign_in(contoso.DANA)["access_token"])
    assert (status, answer["error"]) == (400, "invalid_grant")
    assert "audience" in answer["error_description"]
    # her own token for Google's audience: another client
    status, answer = world.exchange(world.sign_in(contoso.DANA, "api://remit-google/.default")["access_token"])
    assert (status, answer["error"]) == (400, "unauthorized_client")
    assert answer["error_description"] == "The given credential is rejected by the attribute condition."
    entry = world.clouds.audit.entries()[-1]
    assert entry["severity"] == "ERROR"
    assert entry["protoPayload"]["status"]["code"] == 3
    assert "mapped_principal" not in entry["protoPayload"]["metadata"]


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"grant_type": "password"}, "invalid_request", "grantType"),
        ({"requested_token_type": "urn:ietf:params:oauth:token-type:jwt"}, "invalid_request", "requestedTokenType"),
        ({"subject_token_type": "urn:ietf:params:oauth:token-type:saml2"}, "invalid_request", "subjectTokenType"),
        ({"scope": ""}, "invalid_request", "scope"),
        ({"audience": "https://example.com"}, "invalid_request", "audience"),
        ({"audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/x"}, "invalid_target", "doesn't exist"),
        ({"subject_token": "a.b"}, "invalid_grant", "three parts"),
        ({"subject_token": "e30.e30.e30"}, "invalid_grant", "unknown key"),
        ({"subject_token": "W10.W10.W10"}, "invalid_grant", "not an object"),
        ({"subject_token": "!.!.!"}, "invalid_grant", "not base64url"),
        ({"subject_token": "bm8.bm8.bm8"}, "invalid_grant", "not JSON"),
    ],
)  # fmt: skip
def test_malformed_exchanges(world, change, error, words):
    status, answer = world.exchange("x.y.z", **change)
    assert (status, answer["error"]) == (400, error)
    assert words in answer["error_description"]


def test_bad_signature_stale_future_and_expired(world):
    subject = world.google_subject(contoso.DANA)
    forged = subject[:-8] + ("AAAAAAAA" if not subject.endswith("AAAAAAAA") else "BBBBBBBB")
    assert world.exchange(forged)[1]["error_description"] == "The ID Token could not be verified: wrong signature."
    clock = world.clouds.google_clock
    for skew, words in ((-60, "is in the future"), (25 * 3600, "is stale to sign-in."), (7200, "expired at")):
        clock.skew = skew
        status, answer = world.exchange(subject)
        assert (status, answer["error"]) == (400, "invalid_grant")
        assert words in answer["error_description"]


def signed(world, **changes):
    claims = verify(world.google_subject(contoso.DANA), world.clouds.entra.keys.public()) | changes
    return world.clouds.entra.keys.signing.sign({key: value for key, value in claims.items() if value is not None})


def test_claims_that_google_needs(world):
    for name in ("iss", "iat", "exp", "sub", "aud"):
        assert f"lacks the claim {name}" in world.exchange(signed(world, **{name: None}))[1]["error_description"]
    assert "issuer in ID Token" in world.exchange(signed(world, iss="https://x"))[1]["error_description"]
    assert world.exchange(signed(world, aud=[contoso.GOOGLE.id]))[0] == 200
    assert world.exchange(signed(world, groups=None))[0] == 200  # the mapping allows for it: applications have none
    assert world.exchange(signed(world, tid="b"))[1]["error"] == "unauthorized_client"
    long = world.exchange(signed(world, oid="ä" * 60))[1]
    assert long["error"] == "invalid_request"
    assert "exceeds the 127 bytes limit" in long["error_description"]
    assert world.exchange(signed(world, oid=7))[1]["error"] == "invalid_grant"


def test_mapping_needs_a_subject_and_a_sound_condition():
    base = contoso.PROVIDER
    provider = contoso.Provider(base.pool, "x", base.issuer, (), (("google.subject", "assertion.n"),), "assertion.no")
    with pytest.raises(google_mapping.MappingError, match="non-empty"):
        google_mapping.apply(provider, {"n": ""})
    with pytest.raises(google_mapping.MappingError, match="condition could not be evaluated"):
        google_mapping.apply(provider, {"n": "a"})


def test_es256_subject_tokens_verify():
    key = ec.generate_private_key(ec.SECP256R1())
    numbers = key.public_key().public_numbers()
    jwk = {"kty": "EC", "kid": "e", "x": encode(numbers.x.to_bytes(32)), "y": encode(numbers.y.to_bytes(32))}
    header, claims = b'{"alg":"ES256","kid":"e"}', b'{"a":1}'
    parts = f"{encode(header)}.{encode(claims)}"
    r, s = decode_dss_signature(key.sign(parts.encode(), ec.ECDSA(hashes.SHA256())))
    token = f"{parts}.{encode(r.to_bytes(32) + s.to_bytes(32))}"
    assert verify(token, [jwk]) == {"a": 1}
    with pytest.raises(BrokenTokenError, match="algorithm"):
        verify(token, [{**jwk, "kty": "RSA"}])


def denied(world, host, method, path, **more):
    with pytest.raises(CloudError) as caught:
        world.ask(host, method, path, **more)
    return caught.value.code.name, caught.value.message


def impersonation_denied(world, federated, email, **body):
    path = f"/v1/projects/-/serviceAccounts/{email}:generateAccessToken"
    asked = {"scope": [CLOUD_PLATFORM], "lifetime": "900s", **body}
    return denied(world, "iamcredentials.googleapis.com", "POST", path, body=asked, bearer=federated)


def test_impersonation_refusals(world):
    federated = world.exchange(world.google_subject(contoso.ADA))[1]["access_token"]
    resource = f"//iam.googleapis.com/projects/-/serviceAccounts/{ENGINEER}"
    words = f"Permission 'iam.serviceAccounts.getAccessToken' denied on resource '{resource}' (or it may not exist)."
    assert impersonation_denied(world, federated, ENGINEER) == ("PERMISSION_DENIED", words)
    assert world.clouds.audit.entries("contoso-fraud-test")[-1]["protoPayload"]["status"]["code"] == 7
    assert impersonation_denied(world, "nothing", ENGINEER)[0] == "UNAUTHENTICATED"
    assert impersonation_denied(world, "", ENGINEER)[1].startswith("Request is missing required authentication")
    assert impersonation_denied(world, federated, ENGINEER, lifetime="3601s")[0] == "INVALID_ARGUMENT"
    assert impersonation_denied(world, federated, ENGINEER, lifetime="soon")[0] == "INVALID_ARGUMENT"
    assert impersonation_denied(world, federated, ENGINEER, scope=[])[0] == "INVALID_ARGUMENT"
    assert impersonation_denied(world, federated, ENGINEER, delegates=["x"])[0] == "PERMISSION_DENIED"
    path = f"/v1/projects/-/serviceAccounts/{ENGINEER}:generateAccessToken"
    assert (
        denied(world, "iamcredentials.googleapis.com", "POST", path, body=[], bearer=federated)[0] == "INVALID_ARGUMENT"
    )
    text = {"authorization": f"Bearer {federated}"}
    assert denied(world, "iamcredentials.googleapis.com", "POST", path, **text)[0] == "INVALID_ARGUMENT"
    locations = f"/v1/projects/-/serviceAccounts/{ENGINEER}/allowedLocations"
    assert denied(world, "iamcredentials.googleapis.com", "GET", locations, bearer=federated)[0] == "NOT_FOUND"


def test_a_token_of_the_wrong_scope_impersonates_nobody(world):
    subject = world.google_subject(contoso.DANA)
    logs = world.exchange(subject, scope="https://www.googleapis.com/auth/logging.read")[1]["access_token"]
    assert impersonation_denied(world, logs, ENGINEER)[1] == "Request had insufficient authentication scopes."
    iam = world.exchange(subject, scope="https://www.googleapis.com/auth/iam")[1]["access_token"]
    assert world.impersonate(iam, ENGINEER).status == 200


def test_tokens_end(world):
    token = world.account_token(contoso.DANA, ENGINEER)
    world.clouds.google_clock.skew = 901
    with pytest.raises(CloudError, match="invalid authentication credentials"):
        world.clouds.iam.caller(f"Bearer {token}")
    world.clouds.google_clock.skew = 0
    assert world.clouds.iam.caller(f"bearer {token}").email == ENGINEER
    world.clouds.commands()["expire"]("google")
    with pytest.raises(CloudError):
        world.clouds.iam.caller(f"Bearer {token}")


def test_a_narrowed_token_is_good_for_its_buckets_and_nothing_else(world):
    token = world.account_token(contoso.DANA, ENGINEER)
    status, answer = narrow(world, token, boundary(TEST_BUCKET))
    assert status == 200
    assert 890 <= answer["expires_in"] <= 900
    iam = world.clouds.iam
    caller = iam.caller(f"Bearer {answer['access_token']}")
    assert caller.email == ENGINEER
    assert caller.delegation == iam.caller(f"Bearer {token}").delegation
    iam.require(caller, "storage.objects.create", f"projects/_/buckets/{TEST_BUCKET}")
    for permission, resource in (
        ("storage.objects.get", f"projects/_/buckets/{contoso.FRAUD_TEST.buckets[1]}"),
        ("storage.buckets.get", f"projects/_/buckets/{TEST_BUCKET}"),
        ("aiplatform.customJobs.create", "projects/contoso-fraud-test"),
        ("logging.logEntries.list", "projects/contoso-fraud-test"),
        ("iam.serviceAccounts.actAs", "projects/-/serviceAccounts/trainer@contoso-fraud-test.iam.gserviceaccount.com"),
    ):
        with pytest.raises(CloudError, match="denied on resource"):
            iam.require(caller, permission, resource)
    assert narrow(world, answer["access_token"], boundary(TEST_BUCKET))[1]["error"] == "invalid_grant"


@pytest.mark.parametrize(
    "options",
    [
        "",
        "{}",
        "[]",
        boundary(),
        boundary("*"),
        boundary(TEST_BUCKET, roles=("inRole:roles/owner",)),
        boundary(TEST_BUCKET, availabilityCondition={"expression": "resource.tags"}),
        boundary(*[f"bucket-{number}" for number in range(11)]),
    ],
)
def test_boundaries_that_are_not_taken(world, options):
    token, _ = world.clouds.iam.mint(email=ENGINEER, scopes=[CLOUD_PLATFORM], lifetime=900)
    assert narrow(world, token, options)[1]["error"] == "invalid_request"
    assert narrow(world, "nothing", boundary(TEST_BUCKET))[1]["error"] == "invalid_grant"


def test_scopes_bound_permissions():
    iam = Iam()
    auth = "https://www.googleapis.com/auth/"
    bucket = f"projects/_/buckets/{TEST_BUCKET}"
    for scope, good, bad in (
        ("devstorage.read_write", ("storage.objects.create", bucket), ("aiplatform.endpoints.predict", "projects/contoso-fraud-test")),
        ("devstorage.read_only", ("storage.objects.get", bucket), ("storage.objects.create", bucket)),
        ("cloud-platform.read-only", ("storage.objects.get", bucket), ("storage.objects.create", bucket)),
        ("logging.read", ("logging.logEntries.list", "projects/contoso-fraud-test"), ("storage.objects.get", bucket)),
    ):  # fmt: skip
        token, _ = iam.mint(email=ENGINEER, scopes=[auth + scope], lifetime=60)
        caller = iam.caller(f"Bearer {token}")
        iam.require(caller, *good)
        with pytest.raises(CloudError, match="insufficient authentication scopes"):
            iam.require(caller, *bad)


def test_the_seeded_bindings_and_their_two_mistakes():
    iam = Iam()

    def holds(account, permission, resource):
        return permission in iam.permissions(f"serviceAccount:{account}", resource)

    test, prod = "projects/contoso-fraud-test", "projects/contoso-fraud-prod"
    scientist = contoso.account("data-scientist", contoso.FRAUD_TEST)
    assert holds(ENGINEER, "aiplatform.customJobs.create", test)
    assert holds(ENGINEER, "aiplatform.customJobs.create", "projects/100000000001/locations/us-central1")
    assert not holds(ENGINEER, "aiplatform.customJobs.create", prod)
    assert holds(scientist, "aiplatform.customJobs.create", test)  # the excess
    assert not holds(scientist, "storage.objects.create", f"projects/_/buckets/{TEST_BUCKET}")
    assert not holds(AUDITOR, "logging.logEntries.list", test)  # what is missing
    assert holds(AUDITOR, "iam.serviceAccounts.getIamPolicy", f"projects/-/serviceAccounts/{ENGINEER}")
    assert not holds(ENGINEER, "storage.objects.get", f"projects/_/buckets/{contoso.CHURN_PROD.buckets[0]}")
    assert iam.permissions("serviceAccount:nobody@x", "folders/1") == frozenset()
    assert contoso.owner("folders/1") is None


def administrator(world, account=AUDITOR):
    return world.clouds.iam.mint(email=account, scopes=[CLOUD_PLATFORM], lifetime=900)[0]


def test_resource_manager(world):
    host, token = "cloudresourcemanager.googleapis.com", administrator(world)
    first = json.loads(world.ask(host, "GET", "/v1/projects/100000000002", bearer=token).body)
    assert (first["projectId"], first["projectNumber"]) == ("contoso-fraud-prod", "100000000002")
    third = json.loads(world.ask(host, "GET", "/v3/projects/contoso-fraud-prod", bearer=token).body)
    assert third["name"] == "projects/100000000002"
    policy = json.loads(
        world.ask(host, "POST", "/v1/projects/contoso-fraud-test:getIamPolicy", body={}, bearer=token).body
    )
    users = next(each for each in policy["bindings"] if each["role"] == "roles/aiplatform.user")
    assert f"serviceAccount:{ENGINEER}" in users["members"]
    asked = {"permissions": ["aiplatform.customJobs.create", "aiplatform.customJobs.get"]}
    for version in ("v1", "v3"):
        path = f"/{version}/projects/contoso-fraud-test:testIamPermissions"
        answer = json.loads(world.ask(host, "POST", path, body=asked, bearer=token).body)
        assert answer == {"permissions": ["aiplatform.customJobs.get"]}
    path = "/v1/projects/contoso-churn-prod:testIamPermissions"
    assert json.loads(world.ask(host, "POST", path, body=asked, bearer=token).body) == {}
    engineer = administrator(world, ENGINEER)
    assert denied(world, host, "GET", "/v1/projects/contoso-churn-prod", bearer=engineer)[0] == "PERMISSION_DENIED"
    assert denied(world, host, "GET", "/v1/projects/nowhere", bearer=token)[0] == "PERMISSION_DENIED"
    assert denied(world, host, "GET", "/v1/projects/contoso-fraud-test")[0] == "UNAUTHENTICATED"
    assert denied(world, host, "GET", "/v1/folders/1", bearer=token)[0] == "NOT_FOUND"
    assert denied(world, host, "POST", path, body={}, bearer=token)[0] == "INVALID_ARGUMENT"
    assert denied(world, host, "POST", path, body={"permissions": ["a.*"]}, bearer=token)[0] == "INVALID_ARGUMENT"


def test_iam_shows_the_provider_and_the_accounts(world):
    host, token = "iam.googleapis.com", administrator(world)
    provider = json.loads(world.ask(host, "GET", f"/v1/{contoso.PROVIDER.resource}", bearer=token).body)
    assert provider["oidc"] == {"issuerUri": contoso.ISSUER, "allowedAudiences": [contoso.GOOGLE.id]}
    assert provider["attributeCondition"] == contoso.PROVIDER.condition
    by_id = contoso.PROVIDER.pool.replace("100000000002", "contoso-fraud-prod")
    assert json.loads(world.ask(host, "GET", f"/v1/{by_id}", bearer=token).body)["state"] == "ACTIVE"
    account = f"/v1/projects/-/serviceAccounts/{ENGINEER}"
    assert json.loads(world.ask(host, "GET", account, bearer=token).body)["projectId"] == "contoso-fraud-test"
    policy = json.loads(world.ask(host, "POST", f"{account}:getIamPolicy", bearer=token).body)
    assert [binding["role"] for binding in policy["bindings"]] == ["roles/iam.workloadIdentityUser"]
    assert contoso.group_member(contoso.ML_ENGINEERS) in policy["bindings"][0]["members"]
    asked = {"permissions": ["iam.serviceAccounts.actAs", "iam.serviceAccounts.get"]}
    answer = world.ask(host, "POST", f"{account}:testIamPermissions", body=asked, bearer=token)
    assert json.loads(answer.body) == {"permissions": ["iam.serviceAccounts.get"]}
    assert denied(world, host, "GET", f"/v1/{contoso.PROVIDER.resource}x", bearer=token)[0] == "NOT_FOUND"
    assert denied(world, host, "DELETE", account, bearer=token)[0] == "PERMISSION_DENIED"
    assert denied(world, host, "OPTIONS", account, bearer=token)[0] == "NOT_FOUND"
    engineer = administrator(world, ENGINEER)
    assert denied(world, host, "POST", f"{account}:getIamPolicy", bearer=engineer)[0] == "PERMISSION_DENIED"
    assert denied(world, host, "GET", f"/v1/{contoso.PROVIDER.resource}", bearer=engineer)[0] == "PERMISSION_DENIED"


def test_audit_entries_carry_the_reason_and_lie_on_disk(world, tmp_path):
    token = world.account_token(contoso.DANA, ENGINEER)
    caller = world.clouds.iam.caller(f"Bearer {token}")
    world.clouds.audit.write(
        service="aiplatform.googleapis.com",
        method="google.cloud.aiplatform.v1.JobService.CreateCustomJob",
        resource="projects/contoso-fraud-test/locations/us-central1",
        caller=caller,
        permission="aiplatform.customJobs.create",
        granted=True,
        reason="decision/d-1",
        activity=True,
    )
    entry = json.loads((tmp_path / "cloud_audit.jsonl").read_text().splitlines()[-1])
    assert entry == world.clouds.audit.entries("100000000001")[-1]
    assert entry["logName"].endswith("%2Factivity")
    payload = entry["protoPayload"]
    assert payload["requestMetadata"]["requestAttributes"]["reason"] == "decision/d-1"
    assert payload["authenticationInfo"]["principalEmail"] == ENGINEER
    assert payload["authenticationInfo"]["serviceAccountDelegationInfo"] == [{"principalSubject": caller.delegation[0]}]
