"""The grant of a service account's key, by the stock library and by hand: what Google refuses is refused here."""

import json
import time
from typing import Any

import google.auth.transport.requests
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import crypt, jwt
from google.oauth2 import service_account

from remit.lab import contoso
from remit.lab.google_keys import HOST, TOKEN_URI

ENGINEER = contoso.account("ml-engineer", contoso.FRAUD_TEST)
TRAINER = contoso.account("trainer", contoso.FRAUD_TEST)
SCOPE = "https://www.googleapis.com/auth/devstorage.read_only"
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
SHORT = "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check your iat and "


def asked(world: Any, assertion: str | bytes, grant: str = GRANT) -> tuple[int, dict[str, Any]]:
    response = world.ask(HOST, "POST", "/token", form={"grant_type": grant, "assertion": assertion})
    return response.status, json.loads(response.body)


def assertion(file: dict[str, Any], **changes: Any) -> bytes:
    """What a client signs, with changes; `None` leaves a claim out."""
    now = int(time.time())
    claims = {"iss": file["client_email"], "scope": SCOPE, "aud": TOKEN_URI, "iat": now, "exp": now + 3600, **changes}
    return jwt.encode(
        crypt.RSASigner.from_service_account_info(file), {key: each for key, each in claims.items() if each is not None}
    )


def test_the_stock_library_gets_a_token_with_a_key_file(wire, lab_environment):
    file = json.loads(
        wire.session.post(lab_environment.control, json={"service_account_key": ENGINEER}).json()["told"][
            "service_account_key"
        ]
    )
    credentials = service_account.Credentials.from_service_account_info(file, scopes=[SCOPE])
    credentials.refresh(google.auth.transport.requests.Request())
    bucket = contoso.FRAUD_TEST.buckets[0]
    found = wire.ask("storage.googleapis.com", "GET", f"/storage/v1/b/{bucket}/o", bearer=credentials.token)
    assert found.status == 200
    refused = wire.ask("storage.googleapis.com", "DELETE", f"/storage/v1/b/{bucket}/o/x", bearer=credentials.token)
    assert refused.status == 403  # the scope is for reading


def test_the_answer_has_googles_form_and_the_token_stands_for_the_account(world):
    file = json.loads(world.clouds.account_keys.make(ENGINEER))
    status, answer = asked(world, assertion(file))
    assert (status, answer["token_type"], answer["expires_in"]) == (200, "Bearer", 3599)
    caller = world.clouds.iam.caller(f"Bearer {answer['access_token']}")
    assert (caller.email, caller.scopes) == (ENGINEER, {SCOPE})


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"aud": "https://sts.googleapis.com/token"}, "invalid_grant", "Invalid JWT: Failed audience check."),
        ({"aud": [TOKEN_URI]}, "invalid_grant", "Invalid JWT: Failed audience check."),
        ({"iss": TRAINER}, "invalid_grant", "Invalid JWT Signature."),
        ({"iss": None}, "invalid_grant", "Invalid JWT Signature."),
        ({"exp": int(time.time()) - 1}, "invalid_grant", SHORT),
        ({"exp": int(time.time()) + 90_000}, "invalid_grant", SHORT),
        ({"iat": int(time.time()) + 86_400}, "invalid_grant", SHORT),
        ({"iat": None}, "invalid_grant", SHORT),
        ({"exp": "soon"}, "invalid_grant", SHORT),
        ({"scope": None}, "invalid_scope", "Invalid OAuth scope"),
        ({"scope": " "}, "invalid_scope", "Invalid OAuth scope"),
        ({"sub": "dana@contoso.example"}, "unauthorized_client", "Client is unauthorized"),
    ],
)
def test_what_is_not_meant_for_here_and_now_is_refused(world, changes, error, message):
    world.clouds.account_keys.make(TRAINER)
    file = json.loads(world.clouds.account_keys.make(ENGINEER))
    status, answer = asked(world, assertion(file, **changes))
    assert status in {400, 401}
    assert answer["error"] == error
    assert answer["error_description"].startswith(message)


def test_another_key_of_the_same_name_proves_nothing(world):
    file = json.loads(world.clouds.account_keys.make(ENGINEER))
    from cryptography.hazmat.primitives import serialization

    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = other.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    assert asked(world, assertion({**file, "private_key": pem.decode()}))[1]["error"] == "invalid_grant"
    assert asked(world, assertion({**file, "private_key_id": "0" * 40}))[1]["error"] == "invalid_grant"


@pytest.mark.parametrize("given", ["", "a.b.c", "e30.e30."])
def test_what_is_no_assertion_is_refused(world, given):
    assert asked(world, given)[1] == {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}


def test_other_grants_and_paths_are_refused(world):
    file = json.loads(world.clouds.account_keys.make(ENGINEER))
    status, answer = asked(world, assertion(file), grant="refresh_token")
    assert (status, answer["error"]) == (400, "unsupported_grant_type")
    assert world.ask(HOST, "GET", "/token").status == 404
    with pytest.raises(KeyError):
        world.clouds.account_keys.make("somebody@elsewhere.iam.gserviceaccount.com")
