"""What applications prove themselves with: secrets, certificates, other parties' tokens."""

import datetime as dt
import json
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from remit.lab import contoso
from remit.lab.entra_clients import strength
from remit.lab.jwt import SigningKey, encode, peek

APP = contoso.NIGHTLY.id
ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ENDPOINT = f"https://login.microsoftonline.com/{contoso.TENANT}/oauth2/v2.0/token"
CLUSTER = "https://oidc.cluster.example/"


def own(world, **more):
    return world.token(grant_type="client_credentials", client_id=APP, scope="api://remit/.default", **more)


def asserted(world, assertion):
    return own(world, client_assertion=assertion, client_assertion_type=ASSERTION)


def refused(answer, number):
    status, body = answer
    assert (status, body["error"], body["error_codes"]) == (401, "invalid_client", [number]), body
    return body["error_description"]


def test_secrets_come_and_end(world):
    add = world.clouds.commands()["secret"]
    refused(own(world, client_secret="first"), 7000215)
    add({"app": APP, "secret": "first"})
    status, answer = own(world, client_secret="first")
    assert status == 200
    claims = peek(answer["access_token"])[1]
    assert (claims["azpacr"], claims["roles"]) == ("1", ["Pipeline"])
    assert world.clouds.entra.sign_ins.entries[-1]["clientCredentialType"] == "clientSecret"
    refused(own(world, client_secret="second"), 7000215)
    add({"app": APP, "secret": "second", "ends": time.time() - 1})
    refused(own(world, client_secret="second"), 7000222)
    assert strength({}, contoso.CLI) == "0"


@pytest.fixture
def key():
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def certificate(key):
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "nightly")])
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).serial_number(1)
    dated = builder.not_valid_before(now).not_valid_after(now + dt.timedelta(days=1))
    return dated.public_key(key.public_key()).sign(key, hashes.SHA256())


def assertion(key, made, *, sha256=False, header=None, **changes):
    """As msal and azure-identity make it: padded thumbprint, times as floats."""
    import base64

    thumb = made.fingerprint(hashes.SHA256() if sha256 else hashes.SHA1())  # noqa: S303 - `x5t` is defined so
    text = base64.urlsafe_b64encode(thumb).decode()
    head = {"alg": "PS256", "x5t#S256": text} if sha256 else {"alg": "RS256", "x5t": text}
    now = time.time()
    claims = {"aud": ENDPOINT, "iss": APP, "sub": APP, "jti": "j", "iat": now, "exp": now + 600.5, **changes}
    parts = f"{encode(json.dumps(head | (header or {})).encode())}.{encode(json.dumps(claims).encode())}"
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
    return f"{parts}.{encode(key.sign(parts.encode(), pss if sha256 else padding.PKCS1v15(), hashes.SHA256()))}"


def test_certificates_of_either_thumbprint(world, key):
    made = certificate(key)
    refused(asserted(world, assertion(key, made)), 700027)
    register = world.clouds.commands()["certificate"]
    register({"app": APP, "pem": made.public_bytes(serialization.Encoding.PEM).decode()})
    for sha256 in (False, True):
        status, answer = asserted(world, assertion(key, made, sha256=sha256))
        assert status == 200, answer
        assert peek(answer["access_token"])[1]["azpacr"] == "2"
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    refused(asserted(world, assertion(other, made)), 700027)
    refused(asserted(world, assertion(key, made, header={"alg": "none"})), 700027)
    refused(asserted(world, assertion(key, made, header={"x5t": "AAAA"})), 700027)
    refused(asserted(world, assertion(key, made, sub="another")), 700021)
    refused(asserted(world, assertion(key, made, aud="https://elsewhere.example/")), 700023)
    refused(asserted(world, assertion(key, made, exp=time.time() - 1)), 700024)
    refused(asserted(world, assertion(key, made, iat=time.time() + 1000)), 700024)
    refused(asserted(world, "not.a-token"), 700027)


def test_a_certificate_of_another_kind_of_key_is_no_use(world, key):
    elliptic = ec.generate_private_key(ec.SECP256R1())
    made = certificate(elliptic)
    register = world.clouds.commands()["certificate"]
    register({"app": APP, "pem": made.public_bytes(serialization.Encoding.PEM).decode()})
    refused(asserted(world, assertion(key, made)), 700027)


def test_a_clusters_token(world):
    signing = SigningKey()
    subject = "system:serviceaccount:ml:trainer"
    world.clouds.commands()["federation"](
        {"app": APP, "issuer": CLUSTER, "subject": subject, "jwks": {"keys": [signing.public(CLUSTER)]}}
    )
    now = int(time.time())
    good = {"iss": CLUSTER, "sub": subject, "aud": ["api://AzureADTokenExchange"], "iat": now, "exp": now + 600}
    assert asserted(world, signing.sign(good))[0] == 200
    assert "issuer 'https://oidc" in refused(asserted(world, signing.sign(good | {"iss": CLUSTER[:-1]})), 700211)
    assert "subject" in refused(asserted(world, signing.sign(good | {"sub": subject.upper()})), 700213)
    assert "audience" in refused(asserted(world, signing.sign(good | {"aud": "x"})), 700212)
    # its own id names the exchange in Entra's tokens only
    refused(asserted(world, signing.sign(good | {"aud": contoso.EXCHANGE.id})), 700212)
    refused(asserted(world, SigningKey().sign(good)), 700027)
    refused(asserted(world, signing.sign(good | {"exp": now - 1})), 700024)


def test_a_machines_token_speaks_for_the_nightly_job(world):
    machine = world.machine(identity=contoso.FRAUD_PIPELINE)
    status, answer = asserted(world, machine)
    assert status == 200
    assert peek(answer["access_token"])[1]["oid"] == contoso.NIGHTLY.principal
    world.clouds.commands()["disable"](contoso.NIGHTLY.principal)
    status, answer = asserted(world, machine)
    assert (status, answer["error_codes"]) == (400, [7000112])


def test_capabilities_of_an_application_are_shown(world):
    capable = '{"access_token":{"xms_cc":{"values":["CP1"]}}}'
    more = {"client_assertion": world.machine(identity=contoso.FRAUD_PIPELINE), "client_assertion_type": ASSERTION}
    assert peek(own(world, **more, claims=capable)[1]["access_token"])[1]["xms_cc"] == ["CP1"]


# Remit's own issuer, whose discovery document nobody can reach here


REMIT = SigningKey()
WRITER = contoso.azure.FRAUD_TEST_STORAGE
STORAGE = "https://storage.azure.com/.default"


def vouched(world, key=REMIT, client=WRITER.id, scope=STORAGE, **changes):
    now = int(time.time())
    claims = {
        "iss": contoso.REMIT_ISSUER,
        "sub": "remit/contoso-fraud-test/Pipeline",
        "aud": contoso.EXCHANGE_AUDIENCE,
        "iat": now,
        "nbf": now,
        "exp": now + 600,
        **changes,
    }
    return world.token(
        grant_type="client_credentials",
        client_id=client,
        scope=scope,
        client_assertion=key.sign(claims),
        client_assertion_type=ASSERTION,
    )


def test_azures_applications_trust_remits_issuer_by_the_keys_that_were_uploaded(world):
    refused(vouched(world), 700027)  # nobody knows its keys yet
    keys = {"keys": [REMIT.public(contoso.REMIT_ISSUER)]}
    world.clouds.commands()["provider_keys"]({"name": "remit", "jwks": keys})
    status, answer = vouched(world)
    assert status == 200
    claims = peek(answer["access_token"])[1]
    assert (claims["aud"], claims["appid"], claims["oid"]) == (contoso.azure.STORAGE.uri, WRITER.id, WRITER.principal)
    assert (claims["ver"], claims["idtyp"]) == ("1.0", "app")
    refused(vouched(world, key=SigningKey()), 700027)
    refused(vouched(world, sub="remit/contoso-fraud-test/DataScientist"), 700213)
    refused(vouched(world, sub="Remit/contoso-fraud-test/Pipeline"), 700213)
    refused(vouched(world, iss="https://other.example"), 700211)
    refused(vouched(world, aud="https://iam.googleapis.com/x"), 700212)
    refused(vouched(world, client=contoso.azure.FRAUD_TEST_READER.id), 700213)
    refused(vouched(world, client=contoso.REMIT.id), 700211)
    refused(vouched(world, exp=int(time.time()) - 600, nbf=0), 700024)
    for scope in ("https://ossrdbms-aad.database.windows.net/.default", "https://database.windows.net//.default"):
        assert vouched(world, scope=scope)[0] == 200


def test_every_role_at_azure_is_on_a_container(world):
    principals = {app.principal for app in contoso.azure.CLIENTS}
    theirs = [each for each in contoso.azure.ASSIGNMENTS if each.principal in principals]
    assert {each.principal for each in theirs} == principals
    assert {each.scope for each in theirs} == set(map(contoso.azure.container_scope, contoso.azure.CONTAINERS))
    assert {each.app for each in contoso.azure.FEDERATIONS} == {app.id for app in contoso.azure.CLIENTS}
