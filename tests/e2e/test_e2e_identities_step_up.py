"""Step-up and continuous evaluation with stock clients: they meet a challenge on one Vertex verb, and answer it.

azure-core's bearer policy does the whole round trip by itself; msal is given what the door says. Nothing of Remit's is
between them and the door: they go straight through it, with a token for Remit in `Authorization`.
"""

import base64
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from remit.lab import lifecycle

pytestmark = pytest.mark.e2e

TENANT = "6f1c2a34-8b5d-4e6f-9a01-c0de00000001"
CLI = "a0000000-0000-4000-8000-000000000002"
OLGA = "olga@contoso.example"
OLGAS_KEY = f"{TENANT}/0d000000-0000-4000-8000-000000000007"
SCOPE = "api://remit/.default"
VERTEX = "https://us-central1-aiplatform.googleapis.com"
JOBS = "/v1/projects/{}/locations/us-central1/customJobs"
TEST, PROD = "contoso-fraud-test", "contoso-fraud-prod"


def job(project: str) -> dict[str, Any]:
    container = {"imageUri": "us-docker.pkg.dev/vertex-ai/training/tf-cpu.2-17.py310:latest", "command": ["true"]}
    pool = {"machineSpec": {"machineType": "n1-standard-4"}, "replicaCount": "1", "containerSpec": container}
    account = f"trainer@{project}.iam.gserviceaccount.com"
    return {"displayName": "job", "jobSpec": {"serviceAccount": account, "workerPoolSpecs": [pool]}}


class Olga:
    """She sits at her browser, and writes down what she was asked for. `second_factor`: her phone is at hand."""

    def __init__(self, world: Any) -> None:
        self._world = world
        self.asked = 0
        self.second_factor = False

    def approve(self, uri: str, code: str) -> None:
        self.asked += 1
        form = {"user_code": code, "account": OLGA}
        form |= {"second_factor": "approve"} if self.second_factor else {}
        with self._world.entra.browser() as browser:
            assert "You have signed in" in browser.post(uri, data=form).text


@pytest.fixture
def olga(world: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Olga]:
    """Somebody of whom no other test holds a token, at this machine."""
    for name, value in lifecycle.variables(world.lab).items():
        monkeypatch.setenv(name, value)
    yield Olga(world)
    world.entra.held.pop("olga", None)
    time.sleep(2)  # times are whole seconds: whoever signs in next is later than what was revoked here


def revoke(world: Any, *options: str) -> None:
    done = world.remit("revoke", OLGAS_KEY, *options, "--config", str(world.config))
    assert done.returncode == 0, done.stderr


@pytest.fixture
def roots(world: Any, tmp_path: Path) -> str:
    """What a machine trusts to meet the door."""
    path = tmp_path / "door.pem"
    path.write_text(world.door_roots, "utf-8")
    return str(path)


class Stock:
    """azure-core and azure-identity as anybody uses them, with the door for a proxy. `seen`: the statuses."""

    def __init__(self, world: Any, olga: Olga, roots: str, *, cae: bool = True) -> None:
        from azure.core import PipelineClient
        from azure.core.pipeline.policies import BearerTokenCredentialPolicy, CustomHookPolicy
        from azure.identity import DeviceCodeCredential

        self.seen: list[int] = []
        self._way = {"proxies": {"https": world.url}, "connection_verify": roots}
        credential = DeviceCodeCredential(
            CLI, tenant_id=TENANT, prompt_callback=lambda uri, code, _: olga.approve(uri, code)
        )
        policy = BearerTokenCredentialPolicy(credential, SCOPE, enable_cae=cae)
        watch = CustomHookPolicy(raw_response_hook=lambda answer: self.seen.append(answer.http_response.status_code))
        self._client = PipelineClient(VERTEX, policies=[policy, watch])

    def launch(self, project: str) -> Any:
        from azure.core.rest import HttpRequest

        request = HttpRequest("POST", VERTEX + JOBS.format(project), json=job(project))
        answer = self._client.send_request(request, **self._way)
        answer.read()
        return answer


def challenged(answer: Any) -> dict[str, Any]:
    """What a challenge demands of the access token."""
    said = dict(re.findall(r'(\w+)="([^"]*)"', answer.headers["www-authenticate"]))
    assert said["error"] == "insufficient_claims"
    assert said["authorization_uri"].startswith(f"https://login.microsoftonline.com/{TENANT}/")
    return dict(json.loads(base64.b64decode(said["claims"]))["access_token"])


@pytest.mark.promise("N3")
@pytest.mark.promise("V23")
def test_azure_core_steps_up_by_itself(world: Any, olga: Olga, roots: str) -> None:
    client = Stock(world, olga, roots)
    assert client.launch(TEST).status_code == 200
    assert (client.seen, olga.asked) == ([200], 1)
    olga.second_factor = True
    assert client.launch(PROD).status_code == 200
    assert client.seen == [200, 401, 200]
    assert olga.asked == 2
    # the stronger token serves from now on, for everything
    assert client.launch(PROD).status_code == 200
    assert client.launch(TEST).status_code == 200
    assert (client.seen[3:], olga.asked) == ([200, 200], 2)


@pytest.mark.promise("N3")
def test_azure_core_signs_in_again_after_a_revocation_by_itself(world: Any, olga: Olga, roots: str) -> None:
    client = Stock(world, olga, roots)
    assert client.launch(TEST).status_code == 200
    revoke(world, "--sign-in-again")
    assert client.launch(TEST).status_code == 200
    assert client.seen == [200, 401, 200]
    assert client.launch(TEST).status_code == 200
    assert client.seen[3:] == [200]


@pytest.mark.promise("N3")
@pytest.mark.promise("V23")
def test_msal_completes_both_challenges(world: Any, olga: Olga) -> None:
    import msal

    app = msal.PublicClientApplication(
        CLI, authority=f"https://login.microsoftonline.com/{TENANT}", client_capabilities=["CP1"], http_cache={}
    )

    def by_device(claims: str | None = None) -> str:
        flow = app.initiate_device_flow(scopes=[SCOPE], claims_challenge=claims)
        olga.approve(flow["verification_uri"], flow["user_code"])
        return str(app.acquire_token_by_device_flow(flow, claims_challenge=claims)["access_token"])

    # 1. an authentication context: only a person can give it
    token = by_device()
    answer = ask(world, token, PROD)
    wanted = challenged(answer)
    assert (answer.status, wanted) == (401, {"acrs": {"essential": True, "value": "c1"}})
    claims = json.dumps({"access_token": wanted})
    assert "access_token" not in silently(app, claims)
    olga.second_factor = True
    token = by_device(claims)
    assert ask(world, token, PROD).status == 200
    # 2. a newer token: msal has it silently, for the sign-in itself still counts at Entra
    revoke(world, "--sign-in-again")
    answer = ask(world, token, TEST)
    wanted = challenged(answer)
    assert (answer.status, wanted.keys(), answer.reason) == (401, {"nbf"}, "sign_in_again")
    newer = silently(app, json.dumps({"access_token": wanted}))
    assert ask(world, newer["access_token"], TEST).status == 200
    assert olga.asked == 2


def silently(app: Any, claims: str) -> dict[str, Any]:
    return dict(app.acquire_token_silent_with_error([SCOPE], app.get_accounts()[0], claims_challenge=claims) or {})


def ask(world: Any, token: str, project: str) -> Any:
    with world.tunnel() as tunnel:
        return tunnel.ask("POST", JOBS.format(project), job(project), {"authorization": f"Bearer {token}"})


@pytest.mark.promise("V23")
def test_a_client_that_understands_no_challenge_gets_none(world: Any, olga: Olga, roots: str) -> None:
    client = Stock(world, olga, roots, cae=False)
    refused = client.launch(PROD)
    assert (refused.status_code, refused.headers["x-remit-reason"]) == (403, "step_up_required")
    assert "www-authenticate" not in refused.headers
    assert "run `remit login --for d-" in refused.json()["error"]["message"]
    revoke(world, "--sign-in-again")
    refused = client.launch(TEST)
    assert (refused.status_code, refused.headers["x-remit-reason"]) == (401, "sign_in_again")
    assert refused.headers["www-authenticate"] == "Bearer"
    assert "sign in again: `remit login`" in refused.json()["error"]["message"]
    assert (client.seen, olga.asked) == ([403, 401], 1)


@pytest.mark.promise("N3")
@pytest.mark.promise("V23")
def test_a_challenge_that_cannot_help_is_never_sent(world: Any, olga: Olga, roots: str) -> None:
    client = Stock(world, olga, roots)
    olga.second_factor = True
    assert client.launch(TEST).status_code == 200
    # 1. locked: no sign-in of hers would be let in
    revoke(world, "--because", "a laptop was lost")
    try:
        for project in (TEST, PROD):
            refused = client.launch(project)
            assert (refused.status_code, refused.headers["x-remit-reason"]) == (403, "revoked")
            assert "www-authenticate" not in refused.headers
    finally:
        revoke(world, "--lift")
    assert client.launch(TEST).status_code == 200
    assert olga.asked == 1
    # 2. a guest in production, where no second factor opens anything
    capable = {"access_token": {"xms_cc": {"values": ["cp1"]}}}
    reply = ask(world, world.entra.sign_in("gil@fabrikam.example", claims=capable)["access_token"], PROD)
    assert (reply.status, reply.reason, "www-authenticate" in reply.headers) == (403, "policy_forbids", False)


@pytest.mark.promise("N3")
def test_the_doors_own_api_refuses_what_was_issued_before_a_revocation(world: Any, olga: Olga) -> None:
    token = world.entra.sign_in("olga")["access_token"]
    headers = {"authorization": f"Bearer {token}"}
    assert httpx.get(f"{world.url}/v1/identity", headers=headers, trust_env=False, timeout=15).status_code == 200
    revoke(world, "--sign-in-again")
    answer = httpx.get(f"{world.url}/v1/identity", headers=headers, trust_env=False, timeout=15)
    assert (answer.status_code, answer.json()["error"]) == (401, "sign_in_again")
    assert answer.json()["not_before"] > 0
    assert olga.asked == 0
