"""What bad input gets: a clear refusal, an event or a record, and nothing that reaches the cloud."""

import base64
import json
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import grpc
import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

pytestmark = pytest.mark.e2e

TEST = "projects/contoso-fraud-test/locations/us-central1"
PROD = "projects/contoso-fraud-prod/locations/us-central1"
CHURN = "projects/contoso-churn-prod/locations/us-central1"  # nobody of the story may do anything there
JOBS = f"/v1/{TEST}/customJobs"
SERVICE = "/google.cloud.aiplatform.v1.JobService"
FOREIGN = "a0000000-0000-4000-8000-000000000009"
ELSEWHERE = "6f1c2a34-8b5d-4e6f-9a01-c0de00000002"  # another tenant
TRAINER = "trainer@contoso-fraud-test.iam.gserviceaccount.com"


def field(number: int, content: str | bytes) -> bytes:
    """A field of wire type 2, with its shortest length."""
    data = content.encode() if isinstance(content, str) else content
    return bytes([number << 3 | 2, len(data)]) + data


def job(name: str, account: str) -> dict[str, Any]:
    container = {"imageUri": "us-docker.pkg.dev/vertex-ai/training/tf-cpu.2-17.py310:latest", "command": ["true"]}
    pool = {"machineSpec": {"machineType": "n1-standard-4"}, "replicaCount": "1", "containerSpec": container}
    return {"displayName": name, "jobSpec": {"serviceAccount": account, "workerPoolSpecs": [pool]}}


# Who is asking: tokens.


@pytest.fixture(scope="module")
def odd(world: Any, forge: Callable[..., str]) -> dict[str, str]:
    """Tokens that prove nothing here."""
    whole = world.entra.sign_in("dana")
    token, key = whole["access_token"], rsa.generate_private_key(public_exponent=65537, key_size=2048)
    world.control(skew_entra=-8000)  # seconds; the longest life is 5400
    expired = world.entra.sign_in("dana")["access_token"]
    world.control(skew_entra=0)
    issuer = f"https://login.microsoftonline.com/{ELSEWHERE}/v2.0"
    return {
        "garbage": "garbage",
        "expired": expired,
        "for another audience": world.entra.sign_in("dana", scope="api://remit-google/.default")["access_token"],
        "an id token": whole["id_token"],
        "of another tenant": forge(token, {"tid": ELSEWHERE, "iss": issuer}, key=key),
        "signed by somebody": forge(token, {}, key=key),
        "unsigned": forge(token, {}, {"alg": "none"}),
        "without its signature": forge(token, {}),
    }


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("garbage", "token_malformed"),
        ("expired", "token_expired"),
        ("for another audience", "token_audience"),
        ("an id token", "token_audience"),
        ("of another tenant", "token_issuer"),
        ("signed by somebody", "token_signature"),
        ("unsigned", "token_malformed"),
        ("without its signature", "token_malformed"),
    ],
)
def test_a_token_that_proves_nothing_is_refused_before_the_arbiter(
    world: Any, odd: dict[str, str], nonce: str, kind: str, reason: str
) -> None:
    cloud, records = len(world.cloud()), len(world.records())
    with world.tunnel(identity=odd[kind]) as tunnel:
        on_the_tunnel = tunnel.ask("GET", f"{JOBS}/{nonce}")
    with world.tunnel() as tunnel:
        inside = tunnel.ask("GET", f"{JOBS}/{nonce}", headers={"authorization": f"Bearer {odd[kind]}"})
    for reply in (on_the_tunnel, inside):
        assert (reply.status, reply.reason, reply.decision) == (401, reason, "")
        assert reply.headers["www-authenticate"].startswith("Bearer")
    status, _, _ = world.call(odd[kind], f"{SERVICE}/ListCustomJobs", field(1, TEST))
    assert status is grpc.StatusCode.UNAUTHENTICATED
    # what Envoy refuses by itself is an access event, and no record
    events = world.access(nonce)
    assert {(event["status"], event["reason"], "decision" in event) for event in events} == {(401, reason, False)}
    assert (len(world.cloud()), len(world.records())) == (cloud, records)


def test_no_token_at_all_is_refused(world: Any, nonce: str) -> None:
    cloud, records = len(world.cloud()), len(world.records())
    reply = world.ask("", "GET", f"{JOBS}/{nonce}")
    assert (reply.status, reply.reason, reply.decision) == (401, "token_missing", "")
    assert [event["reason"] for event in world.access(nonce)] == ["token_missing"]
    assert (len(world.cloud()), len(world.records())) == (cloud, records)


def test_a_genuine_token_that_a_foreign_application_obtained_is_refused_with_a_record(world: Any, nonce: str) -> None:
    token, cloud = world.entra.sign_in("dana", client=FOREIGN)["access_token"], len(world.cloud())
    with world.tunnel(identity=token) as tunnel:
        reply = tunnel.ask("GET", f"{JOBS}/{nonce}")
    assert (reply.status, reply.reason) == (401, "token_client")
    [record] = world.records(decision=reply.decision)
    assert (record.outcome, record.reasons, record.principal) == ("deny", ("token_client",), "")
    assert [event["decision"] for event in world.access(nonce)] == [reply.decision]
    assert len(world.cloud()) == cloud


def test_the_api_of_the_door_believes_them_no_more(world: Any, odd: dict[str, str]) -> None:
    for kind, token in odd.items():
        headers = {"authorization": f"Bearer {token}"}
        assert httpx.get(f"{world.url}/v1/identity", headers=headers, trust_env=False).status_code == 401, kind
        form = {
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "subject_token": token,
            "subject_token_type": "urn:ietf:params:oauth:token-type:access_token",
            "audience": "//storage.googleapis.com/projects/contoso-fraud-test",
        }
        assert httpx.post(f"{world.url}/v1/token", data=form, trust_env=False).status_code == 401, kind


@pytest.mark.promise("V5")
def test_a_token_of_ones_own_is_worth_nothing_at_google(world: Any, odd: dict[str, str]) -> None:
    form = {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "audience": world.settings.credentials.provider,
        "scope": "https://www.googleapis.com/auth/cloud-platform",
        "requested_token_type": "urn:ietf:params:oauth:token-type:access_token",
        "subject_token": odd["for another audience"],
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
    }
    with world.entra.browser() as browser:
        answer = browser.post("https://sts.googleapis.com/v1/token", data=form)
    assert (answer.status_code, answer.json()["error"]) == (400, "unauthorized_client")
    assert "attribute condition" in answer.json()["error_description"]


# What is asked: methods and messages.


@pytest.mark.parametrize(
    ("method", "target", "named"),
    [
        ("GET", "/nothing/here", "GET …/here"),
        ("GET", f"/v1/{TEST}/customTrains", "GET …/customTrains"),
        ("PUT", JOBS, "PUT …/customJobs"),
        ("POST", f"{JOBS}/7:destroy", ":destroy"),
    ],
)
def test_an_unknown_path_or_method_is_refused_by_name(world: Any, method: str, target: str, named: str) -> None:
    cloud = len(world.cloud())
    reply = world.ask("dana", method, target, {} if method != "GET" else None)
    assert (reply.status, reply.reason) == (403, "method_unknown")
    assert named in reply.message
    [record] = world.records(decision=reply.decision)
    assert record.reasons == ("method_unknown",)
    assert len(world.cloud()) == cloud


def test_an_unknown_http_verb_is_refused(world: Any) -> None:
    reply = world.ask("dana", "OPTIONS", JOBS)
    assert (reply.status, reply.reason) == (403, "method_unknown")


def test_an_unknown_grpc_method_is_refused_by_name(world: Any) -> None:
    cloud = len(world.cloud())
    status, message, _ = world.call(world.entra.token("dana"), f"{SERVICE}/DestroyCustomJob", field(1, TEST))
    assert status is grpc.StatusCode.PERMISSION_DENIED
    assert f"`{SERVICE}/DestroyCustomJob` is not a method of Vertex AI that Remit knows" in message
    assert len(world.cloud()) == cloud


def test_the_message_decides_and_no_routing_header(world: Any) -> None:
    token, method = world.entra.token("dana"), f"{SERVICE}/ListCustomJobs"
    for mine, theirs in ((TEST, CHURN), (CHURN, TEST)):
        cloud = len(world.cloud("JobService"))
        header = ("x-goog-request-params", f"parent={theirs.replace('/', '%2F')}")
        status, message, _ = world.call(token, method, field(1, mine), (header,))
        reached = [entry["protoPayload"]["resourceName"] for entry in world.cloud("JobService")[cloud:]]
        if mine == TEST:
            assert (status, reached) == (grpc.StatusCode.OK, [TEST])
        else:
            assert (status, reached) == (grpc.StatusCode.PERMISSION_DENIED, [])
            assert "contoso-churn-prod" in message


def crafted(real: str, shown: str) -> bytes:
    """`real` in field 1; then field 1 once more as a fixed32: who ignores wire types reads `shown`, a parser skips it.

    The parser takes four bytes, the length and `pro`; then `j` is the tag of field 13, and `e` says 101 bytes.
    """
    assert shown.startswith("proje")
    padding = bytes(ord("e") - len(shown.removeprefix("proje")))
    return field(1, real) + bytes([1 << 3 | 5, len(shown)]) + shown.encode() + padding


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (field(1, TEST) + field(1, CHURN), "`parent` is given twice"),
        (field(1, CHURN) + b"\x08\x01", "`parent` has the wrong wire type"),
        (crafted(CHURN, TEST), "`parent` has the wrong wire type"),
        (b"\x8a\x00" + field(1, CHURN)[1:], "not in its shortest form"),
        (b"\x7b" + field(1, TEST) + b"\x7c" + field(1, CHURN), "has no field 15"),
    ],
    ids=["duplicate field", "wrong wire type", "crafted 0A 0D", "overlong tag", "group around the field"],
)
def test_a_forged_message_reaches_nobody(world: Any, message: bytes, said: str) -> None:
    cloud, records = len(world.cloud()), len(world.records())
    status, told, _ = world.call(world.entra.token("dana"), f"{SERVICE}/ListCustomJobs", message)
    assert status is grpc.StatusCode.INVALID_ARGUMENT
    assert said in told
    assert len(world.cloud()) == cloud
    assert not world.cloud("contoso-churn-prod")
    assert len(world.records()) == records + 1


# May they: the story's refusals.


def test_ada_is_told_what_is_missing_and_how_to_ask_for_it(world: Any, nonce: str) -> None:
    reply = world.ask("ada", "POST", JOBS, job(nonce, TRAINER))
    assert (reply.status, reply.reason) == (403, "approval_required")
    assert "the group `ml-engineers` is missing" in reply.message
    assert "remit request aiplatform.projects.locations.customJobs.create contoso-fraud-test" in reply.message
    assert not world.cloud(nonce)
    [record] = world.records(decision=reply.decision)
    told = (record.name, record.outcome, record.project)
    assert told == ("ada@contoso.example", "needs_approval", "contoso-fraud-test")


@pytest.mark.parametrize(
    ("account", "reason"),
    [
        ("churn-trainer@contoso-churn-prod.iam.gserviceaccount.com", "policy_forbids"),
        ("ml-engineer@contoso-fraud-test.iam.gserviceaccount.com", "policy_forbids"),
        ("trainer@contoso-fraud-prod.iam.gserviceaccount.com", "policy_forbids"),
        ("nobody@contoso-fraud-test.iam.gserviceaccount.com", "resource_unknown"),
    ],
)
def test_no_job_runs_as_an_account_that_dana_may_not_act_as(world: Any, nonce: str, account: str, reason: str) -> None:
    created = len(world.cloud("CreateCustomJob"))
    reply = world.ask("dana", "POST", JOBS, job(nonce, account))
    assert (reply.status, reply.reason) == (403, reason)
    assert world.records(decision=reply.decision)
    assert len(world.cloud("CreateCustomJob")) == created


def test_production_asks_for_a_second_factor_and_then_opens(world: Any, nonce: str) -> None:
    dana = world.person("dana")
    dana.sign_in()
    body = job(nonce, "trainer@contoso-fraud-prod.iam.gserviceaccount.com")
    with world.tunnel(identity=kept_token(world, "dana")) as tunnel:
        refused = tunnel.ask("POST", f"/v1/{PROD}/customJobs", body)
    assert (refused.status, refused.reason) == (401, "step_up_required")
    assert 'error="insufficient_claims"' in refused.headers["www-authenticate"]  # the token's client declared `cp1`
    assert f"run `remit login --for {refused.decision}`" in refused.message
    created = len(world.cloud("CreateCustomJob"))
    dana.sign_in("--for", refused.decision, second_factor=True)
    with world.tunnel(identity=kept_token(world, "dana")) as tunnel:
        permitted = tunnel.ask("POST", f"/v1/{PROD}/customJobs", body)
    assert permitted.status == 200, permitted.body
    [entry] = world.cloud("CreateCustomJob")[created:]
    assert entry["protoPayload"]["resourceName"].startswith(PROD)


def test_a_client_that_understands_claims_challenges_gets_one(world: Any, nonce: str) -> None:
    capable = {"xms_cc": {"values": ["cp1"]}}
    token = world.entra.sign_in("dana", claims={"access_token": capable})["access_token"]
    body = job(nonce, "trainer@contoso-fraud-prod.iam.gserviceaccount.com")
    with world.tunnel(identity=token) as tunnel:
        refused = tunnel.ask("POST", f"/v1/{PROD}/customJobs", body)
    assert (refused.status, refused.reason) == (401, "step_up_required")
    said = dict(re.findall(r'(\w+)="([^"]*)"', refused.headers["www-authenticate"]))
    assert said["error"] == "insufficient_claims"
    wanted = json.loads(base64.b64decode(said["claims"]))
    assert wanted == {"access_token": {"acrs": {"essential": True, "value": "c1"}}}
    wanted["access_token"] |= capable
    stronger = world.entra.sign_in("dana", claims=wanted, second_factor=True)["access_token"]
    with world.tunnel(identity=stronger) as tunnel:
        assert tunnel.ask("POST", f"/v1/{PROD}/customJobs", body).status == 200


def kept_token(world: Any, name: str) -> str:
    """The token that this person's programs would have now."""
    script = "from remit.sdk.sign_in import SignIn; print(SignIn.kept().token().reveal())"
    runtime = {"XDG_RUNTIME_DIR": str(world.folder / "people" / name)}
    command = [sys.executable, "-c", script]
    done = subprocess.run(
        command, env={**world.environment, **runtime}, capture_output=True, text=True, check=True, timeout=30
    )
    return done.stdout.strip()


def test_a_refusal_is_googles_own_error_object(world: Any) -> None:
    reply = world.ask("ada", "POST", JOBS, job("j", TRAINER))
    error = json.loads(reply.body)["error"]
    assert (error["code"], error["status"]) == (403, "PERMISSION_DENIED")
    assert error["details"][0]["metadata"] == {"decision": reply.decision}
