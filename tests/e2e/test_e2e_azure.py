"""Azure by the broker: stock clients, the real door, and the lab's Entra, which holds Remit's word to its keys.

azure-identity wants TLS, so that its door is a forwarder with a certificate, as a company's own proxy is.
"""

import asyncio
import base64
import importlib.util
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import google.auth.transport.requests
import httpx
import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import WorkloadIdentityCredential
from google.auth import identity_pool

TENANT, TEST, PROD = "6f1c2a34-8b5d-4e6f-9a01-c0de00000001", "contoso-fraud-test", "contoso-fraud-prod"
WRITER, READER, PROD_READER = (f"a0000000-0000-4000-8000-0000000000{number}" for number in (11, 12, 13))
PIPELINE = "3c000000-0000-4000-8000-000000000002"
SCOPE = "https://storage.azure.com/.default"
FEATURES = f"//blob.core.windows.net/projects/{TEST}/accounts/contosofraudtest/containers/features"
TYPE = "urn:ietf:params:oauth:token-type:"


@pytest.fixture(scope="module")
def front(world: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The door behind a certificate: its URL, and the roots that it is known by."""
    path = Path(__file__).parents[1] / "unit" / "identity" / "fake_https.py"
    spec = importlib.util.spec_from_file_location("e2e_fake_https", path)
    assert spec is not None
    assert spec.loader is not None
    fake = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = fake
    spec.loader.exec_module(fake)
    certificate = fake.Certificate(tmp_path_factory.mktemp("tls"))
    started, told = threading.Event(), {}

    async def passed_on(asked: Any) -> Any:
        async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
            kind = {"content-type": asked.headers.get("content-type", "")}
            answer = await client.request(asked.method, world.url + asked.path, content=asked.body, headers=kind)
        names = {"content-type", "x-remit-decision", "x-remit-reason"} & set(answer.headers)
        return fake.Answer(answer.content, answer.status_code, {name: answer.headers[name] for name in names})

    async def serve() -> None:
        told["stop"], told["loop"] = asyncio.Event(), asyncio.get_running_loop()
        async with fake.FakeServer(passed_on, certificate) as server:
            told["url"] = server.url
            started.set()
            await told["stop"].wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert started.wait(60)
    yield told["url"], certificate.path
    told["loop"].call_soon_threadsafe(told["stop"].set)
    thread.join(60)


@pytest.fixture
def workload(
    front: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str, str], WorkloadIdentityCredential]:
    """A credential as a pod makes it, from variables and a file that holds a token for Remit."""

    def made(token: str, client: str) -> WorkloadIdentityCredential:
        file = tmp_path / client
        file.write_text(token)
        told = {
            "AZURE_AUTHORITY_HOST": front[0],
            "AZURE_TENANT_ID": TENANT,
            "AZURE_CLIENT_ID": client,
            "AZURE_FEDERATED_TOKEN_FILE": str(file),
            "REQUESTS_CA_BUNDLE": str(front[1]),
        }
        for name, value in told.items():
            monkeypatch.setenv(name, value)
        return WorkloadIdentityCredential()

    return made


def claims(token: str) -> dict[str, Any]:
    payload = token.split(".")[1]
    return dict(json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))))


def exchanged(world: Any, token: str, audience: str, **more: str) -> httpx.Response:
    form = {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "subject_token": token,
        "subject_token_type": f"{TYPE}access_token",
        "audience": audience,
        **more,
    }
    return httpx.post(f"{world.url}/v1/token", data=form, trust_env=False, timeout=30)


@pytest.mark.promise("T4")
@pytest.mark.parametrize(("name", "client"), [("dana", WRITER), ("ada", READER), ("pipeline", WRITER)])
def test_a_workload_identity_credential_gets_the_token_of_its_own_application(
    world: Any, workload: Any, name: str, client: str
) -> None:
    token = world.entra.machine(PIPELINE) if name == "pipeline" else world.entra.token(name)
    since = int(time.time() * 1_000_000)
    found = workload(token, client).get_token(SCOPE)
    told = claims(found.token)
    assert (told["aud"], told["appid"], told["tid"]) == ("https://storage.azure.com", client, TENANT)
    assert abs(found.expires_on - told["exp"]) <= 5
    [record] = [row for row in world.records(since=since) if row.kind == "decision"]
    assert (record.outcome, record.resource, record.project) == ("permit", FEATURES, TEST)
    assert record.action.endswith("/blobs/read")


@pytest.mark.promise("T9")
@pytest.mark.parametrize(
    ("name", "client", "reason"),
    [("ada", WRITER, "no_account"), ("ada", PROD_READER, "no_account"), ("sam", READER, "no_account")],
)
def test_the_application_of_another_line_is_refused_with_a_record(
    world: Any, workload: Any, name: str, client: str, reason: str
) -> None:
    since = int(time.time() * 1_000_000)
    with pytest.raises(ClientAuthenticationError, match=r"no application at Azure is mapped .*\(decision d-"):
        workload(world.entra.token(name), client).get_token(SCOPE)
    [record] = [row for row in world.records(since=since) if row.kind == "decision"]
    assert (record.outcome, record.reasons) == ("deny", (reason,))


def test_production_wants_more_than_a_role(world: Any) -> None:
    answer = exchanged(world, world.entra.token("dana"), f"//blob.core.windows.net/projects/{PROD}")
    assert not answer.is_success
    assert answer.headers["x-remit-reason"] in {"policy_forbids", "step_up_required"}


@pytest.mark.parametrize("kind", ["access_token", "jwt", "id_token"])
def test_a_token_for_somebody_else_is_no_identity_whatever_it_is_called(world: Any, kind: str) -> None:
    signed_in = world.entra.sign_in("dana", scope="https://graph.microsoft.com/User.Read")
    for token in (signed_in["access_token"], signed_in["id_token"]):
        for audience in (f"//blob.core.windows.net/projects/{TEST}", "remit"):
            answer = exchanged(world, token, audience, subject_token_type=f"{TYPE}{kind}")
            assert answer.status_code == 401
            assert "access_token" not in answer.json()


@pytest.mark.promise("T6")
@pytest.mark.parametrize("kind", ["jwt", "id_token"])
def test_an_external_account_gets_storages_token(world: Any, tmp_path: Path, kind: str) -> None:
    file = tmp_path / "token"
    file.write_text(world.entra.token("dana"))
    credentials = identity_pool.Credentials.from_info(
        {
            "type": "external_account",
            "audience": f"//storage.googleapis.com/projects/{TEST}",
            "subject_token_type": f"{TYPE}{kind}",
            "token_url": f"{world.url}/v1/token",
            "credential_source": {"file": str(file)},
        },
        scopes=["https://www.googleapis.com/auth/devstorage.read_only"],
    )
    credentials.refresh(google.auth.transport.requests.Request())
    with world.entra.browser() as browser:
        url = f"https://storage.googleapis.com/upload/storage/v1/b/{TEST}-data/o"
        carried = {"authorization": f"Bearer {credentials.token}"}
        listed = browser.get(f"https://storage.googleapis.com/storage/v1/b/{TEST}-data/o", headers=carried)
        written = browser.post(url, params={"uploadType": "media", "name": "e2e-azure"}, content=b"x", headers=carried)
    assert (listed.status_code, written.status_code) == (200, 403)  # who asked to read got a token that can only read


def test_ones_own_token_comes_back_as_it_is(world: Any) -> None:
    token, since = world.entra.token("dana"), int(time.time() * 1_000_000)
    answer = exchanged(world, token, "remit")
    assert (answer.status_code, answer.json()["access_token"]) == (200, token)
    assert abs(time.time() + answer.json()["expires_in"] - claims(token)["exp"]) <= 5
    assert "decision" not in answer.json()
    assert [row for row in world.records(since=since) if row.kind == "decision"] == []
