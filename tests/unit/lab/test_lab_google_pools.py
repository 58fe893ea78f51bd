"""Google's side of Remit's own issuer: uploaded keys, the second provider, and whom it leads to."""

import json
import time

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from remit.lab import contoso
from remit.lab.errors import CloudError
from remit.lab.google_pools import describe
from remit.lab.jwt import SigningKey, encode

CLOUD_PLATFORM = "https://www.googleapis.com/auth/cloud-platform"
NAME = contoso.REMIT_PROVIDER.resource
PATH = f"/v1/{NAME}"
ENGINEER = contoso.account("ml-engineer", contoso.FRAUD_TEST)
TRAINER = contoso.account("trainer", contoso.FRAUD_TEST)


@pytest.fixture
def key(world):
    made = SigningKey()
    world.clouds.commands()["provider_keys"]({"name": "remit", "jwks": {"keys": [made.public("x")]}})
    return made


def word(tenant="okta", subject="00u1", kind="person", **changes):
    now = int(time.time())
    claims = {
        "iss": contoso.REMIT_ISSUER,
        "sub": f"{tenant}/{subject}",
        "aud": f"https://iam.googleapis.com/{NAME}",
        "iat": now,
        "exp": now + 600,
        "groups": [],
        "tenant": tenant,
        "kind": kind,
    }
    return claims | changes


def exchange(world, token):
    return world.exchange(token, audience=f"//iam.googleapis.com/{NAME}")


def may(world, key, email, **claims):
    status, answer = exchange(world, key.sign(word(**claims)))
    assert status == 200, answer
    try:
        return world.impersonate(answer["access_token"], email).status == 200
    except CloudError:
        return False


def test_pipelines_and_other_peoples_way_to_their_accounts(world, key):
    pipelines = (
        {"tenant": contoso.TENANT, "subject": contoso.FRAUD_PIPELINE.oid, "kind": "workload"},
        {"tenant": contoso.TENANT, "subject": contoso.NIGHTLY.principal, "kind": "workload"},
        {"tenant": "github", "subject": "repo:contoso/fraud:ref:refs/heads/main", "kind": "workload"},
    )
    for claims in pipelines:
        assert may(world, key, ENGINEER, **claims)
        assert may(world, key, TRAINER, **claims)
        assert not may(world, key, contoso.account("ml-engineer", contoso.FRAUD_PROD), **claims)
    branch = {"tenant": "github", "subject": "repo:contoso/fraud:ref:refs/heads/other", "kind": "workload"}
    assert not may(world, key, TRAINER, **branch)
    for group in ("okta/ml-engineers", "adfs/ml-engineers"):
        assert may(world, key, ENGINEER, groups=[group])
        assert not may(world, key, TRAINER, groups=[group])
    for group in ("okta/others", "ml-engineers"):
        assert not may(world, key, ENGINEER, groups=[group])
    # the pool's groups are the same whoever vouches for them
    assert may(world, key, ENGINEER, groups=[contoso.ML_ENGINEERS.id])
    assert world.clouds.audit.entries()[-2]["protoPayload"]["metadata"]["mapped_principal"].endswith(
        "/subject/okta/00u1"
    )


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"iss": "https://elsewhere.example"}, "invalid_grant"),
        ({"aud": contoso.GOOGLE.id}, "invalid_grant"),
        ({"aud": f"//iam.googleapis.com/{contoso.PROVIDER.resource}"}, "invalid_grant"),
        ({"iat": int(time.time()) + 86_400}, "invalid_grant"),  # from when the tests were collected
        ({"iat": int(time.time()) - 25 * 3600}, "invalid_grant"),
        ({"exp": int(time.time()) - 1}, "invalid_grant"),
        ({"kind": "robot"}, "unauthorized_client"),
        ({"sub": "github/00u1"}, "unauthorized_client"),
        ({"sub": "okta/" + "x" * 123}, "invalid_request"),
        ({"groups": [f"g{number}" for number in range(401)]}, "invalid_request"),
        ({"groups": ["g" * 100 + str(number) for number in range(90)]}, "invalid_request"),
    ],
)
def test_what_the_provider_does_not_take(world, key, changes, error):
    status, answer = exchange(world, key.sign(word() | changes))
    assert (status, answer["error"]) == (400, error), answer


def test_both_forms_of_the_provider_as_audience(world, key):
    assert exchange(world, key.sign(word(aud=[f"//iam.googleapis.com/{NAME}"])))[0] == 200


def test_only_uploaded_keys_count(world):
    status, answer = exchange(world, SigningKey().sign(word()))
    assert (status, answer["error"]) == (400, "invalid_grant")
    assert exchange(world, world.clouds.entra.keys.signing.sign(word()))[0] == 400


def test_es256(world):
    private = ec.generate_private_key(ec.SECP256R1())
    numbers = private.public_key().public_numbers()
    jwk = {
        "kty": "EC",
        "crv": "P-256",
        "kid": "e",
        "x": encode(numbers.x.to_bytes(32)),
        "y": encode(numbers.y.to_bytes(32)),
    }
    world.clouds.commands()["provider_keys"]({"name": "remit", "jwks": {"keys": [jwk]}})
    header = b'{"alg":"ES256","kid":"e"}'
    parts = f"{encode(header)}.{encode(json.dumps(word()).encode())}"
    r, s = decode_dss_signature(private.sign(parts.encode(), ec.ECDSA(hashes.SHA256())))
    assert exchange(world, f"{parts}.{encode(r.to_bytes(32) + s.to_bytes(32))}")[0] == 200


def keeper(world):
    account = contoso.account("remit-keys", contoso.FRAUD_PROD)
    return world.clouds.iam.mint(email=account, scopes=[CLOUD_PLATFORM], lifetime=900)[0]


def patch(world, mask, body, bearer=None, path=PATH):
    response = world.ask(
        "iam.googleapis.com", "PATCH", f"{path}?updateMask={mask}", body=body, bearer=bearer or keeper(world)
    )
    return json.loads(response.body)


def test_keys_are_uploaded_over_rest(world):
    made = SigningKey()
    body = {"oidc": {"jwksJson": json.dumps({"keys": [made.public("x")]})}}
    operation = patch(world, "oidc.jwksJson", body)
    assert operation["done"] is True
    assert operation["response"]["oidc"] == {"issuerUri": contoso.REMIT_ISSUER, "allowedAudiences": [], **body["oidc"]}
    assert exchange(world, made.sign(word()))[0] == 200
    patch(world, "oidc.jwksJson", {"oidc": {}})
    # without uploaded keys Google fetches the issuer's own, which the lab's does not publish
    assert exchange(world, made.sign(word()))[0] == 400


def test_other_members_can_be_changed(world, key):
    shown = patch(
        world,
        "disabled,attributeCondition,attributeMapping,oidc.issuerUri,oidc.allowedAudiences",
        {
            "disabled": True,
            "attributeCondition": "true",
            "attributeMapping": {"google.subject": "assertion.sub"},
            "oidc": {"issuerUri": "https://i.example", "allowedAudiences": ["a"]},
        },
        path=PATH.replace("100000000002", "contoso-fraud-prod"),
    )["response"]
    assert (shown["disabled"], shown["attributeCondition"]) == (True, "true")
    assert (shown["oidc"]["issuerUri"], shown["oidc"]["allowedAudiences"]) == ("https://i.example", ["a"])
    assert exchange(world, key.sign(word()))[1]["error"] == "invalid_target"
    assert "disabled" not in describe(contoso.PROVIDER)


@pytest.mark.parametrize(
    ("mask", "body"),
    [
        ("", {}),
        ("name", {}),
        ("oidc.jwksJson", {"oidc": {"jwksJson": "{}"}}),
        ("oidc.jwksJson", {"oidc": {"jwksJson": "x"}}),
        ("oidc.jwksJson", {"oidc": {"jwksJson": '{"keys": [{"kty": "oct", "kid": "a"}]}'}}),
        ("oidc.jwksJson", {"oidc": {"jwksJson": '{"keys": [{"kty": "RSA", "kid": "a", "d": "AA"}]}'}}),
        ("oidc.allowedAudiences", {"oidc": {"allowedAudiences": "x"}}),
        ("attributeMapping", {"attributeMapping": {"google.groups": "assertion.groups"}}),
        ("attributeCondition", {"attributeCondition": 1}),
    ],
)
def test_changes_that_are_not_taken(world, mask, body):
    with pytest.raises(CloudError) as caught:
        patch(world, mask, body)
    assert caught.value.code.name == "INVALID_ARGUMENT"


def test_only_the_keeper_changes_a_provider_and_only_one_that_exists(world):
    engineer = world.clouds.iam.mint(email=ENGINEER, scopes=[CLOUD_PLATFORM], lifetime=900)[0]
    for bearer, path, code in (
        (engineer, PATH, "PERMISSION_DENIED"),
        (None, f"{PATH}x", "NOT_FOUND"),
        (None, f"{PATH.partition('/providers')[0]}x", "NOT_FOUND"),
    ):
        with pytest.raises(CloudError) as caught:
            patch(world, "disabled", {"disabled": True}, bearer, path)
        assert caught.value.code.name == code
    with pytest.raises(CloudError):
        world.ask("iam.googleapis.com", "PATCH", f"{PATH}?updateMask=disabled", body=[], bearer=keeper(world))


def test_remits_own_application_may_become_the_keeper(world):
    token = world.token(
        grant_type="client_credentials",
        client_id=contoso.REMIT.id,
        scope="api://remit-google/.default",
        client_assertion_type="urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        client_assertion=world.machine(),
    )[1]["access_token"]
    federated = world.exchange(token)[1]["access_token"]
    assert world.impersonate(federated, contoso.account("remit-keys", contoso.FRAUD_PROD)).status == 200
