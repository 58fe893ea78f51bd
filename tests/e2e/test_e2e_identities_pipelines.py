"""Pipelines launch jobs with no stored secret: azure-identity unmodified, GitHub's tokens, and `remit run` with neither.

Each is held against the ledger's record and against whom Google's own log names as delegating.
"""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from remit.assembly.evidence import reading
from remit.audit.lookup import find_decision
from remit.lab import lifecycle

pytestmark = pytest.mark.e2e

TENANT = "6f1c2a34-8b5d-4e6f-9a01-c0de00000001"
NIGHTLY = "a0000000-0000-4000-8000-000000000004"
PIPELINE = "3c000000-0000-4000-8000-000000000002"
SCOPE = "api://remit/.default"
JOBS = "/v1/projects/contoso-fraud-test/locations/us-central1/customJobs"
MAIN = "github/repo:contoso/fraud:ref:refs/heads/main"
MACHINE = f"{TENANT}/3d000000-0000-4000-8000-000000000002"
CONTAINER = {"imageUri": "us-docker.pkg.dev/vertex-ai/training/tf-cpu.2-17.py310:latest", "command": ["true"]}
JOB = {
    "displayName": "nightly",
    "jobSpec": {
        "serviceAccount": "trainer@contoso-fraud-test.iam.gserviceaccount.com",
        "workerPoolSpecs": [
            {"machineSpec": {"machineType": "n1-standard-4"}, "replicaCount": "1", "containerSpec": CONTAINER}
        ],
    },
}
# What a step of a pipeline runs: nothing in it knows of Remit, of Entra or of a credential.
STEP = f"""
import httpx
answer = httpx.post("https://us-central1-aiplatform.googleapis.com{JOBS}", json={JOB!r})
print(answer.status_code, answer.json().get("name") or answer.json()["error"]["message"])
"""


class Created:
    """The jobs that Google wrote down since."""

    def __init__(self, world: Any) -> None:
        self._world = world
        self._before = len(world.cloud("CreateCustomJob"))

    @property
    def entries(self) -> list[dict[str, Any]]:
        return [entry["protoPayload"] for entry in self._world.cloud("CreateCustomJob")[self._before :]]

    def by(self) -> dict[str, Any]:
        """The record of the one job's decision; on its behalf the call was made."""
        [entry] = self.entries
        decision = entry["requestMetadata"]["requestAttributes"]["reason"].removeprefix("decision/")
        with reading(self._world.settings) as engine:
            record = dict(find_decision(engine, decision) or {})
        subject = entry["authenticationInfo"]["serviceAccountDelegationInfo"][0]["principalSubject"]
        assert subject.rpartition("/subject/")[2] == record["principal"]
        return record


def launch(world: Any, token: str) -> Any:
    with world.tunnel(identity=token) as tunnel:
        return tunnel.ask("POST", JOBS, JOB)


# azure-identity, as it is.


@pytest.fixture
def on_a_machine(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process on a machine of Contoso's, as its environment says."""
    for name, value in lifecycle.variables(world.lab).items():
        monkeypatch.setenv(name, value)


@pytest.mark.promise("T4")
@pytest.mark.usefixtures("on_a_machine")
def test_a_managed_identity_launches(world: Any) -> None:
    from azure.identity import ManagedIdentityCredential

    created = Created(world)
    reply = launch(world, ManagedIdentityCredential(client_id=PIPELINE).get_token(SCOPE).token)
    assert reply.status == 200, reply.body
    assert created.by()["principal"] == MACHINE


@pytest.fixture
def federated(world: Any, tmp_path: Path) -> dict[str, str]:
    """What a cluster gives a workload: a token of another party in a file, and whose place it may take."""
    answer = httpx.get(
        f"http://127.0.0.1:{world.lab.imds}/metadata/identity/oauth2/token",
        params={"api-version": "2018-02-01", "resource": "api://AzureADTokenExchange", "client_id": PIPELINE},
        headers={"metadata": "true"},
        trust_env=False,
    )
    file = tmp_path / "token"
    file.write_text(answer.raise_for_status().json()["access_token"], "utf-8")
    return {"AZURE_TENANT_ID": TENANT, "AZURE_CLIENT_ID": NIGHTLY, "AZURE_FEDERATED_TOKEN_FILE": str(file)}


@pytest.mark.promise("T4")
@pytest.mark.usefixtures("on_a_machine")
def test_a_federated_workload_launches(world: Any, federated: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    from azure.identity import WorkloadIdentityCredential

    for name, value in federated.items():
        monkeypatch.setenv(name, value)
    created = Created(world)
    reply = launch(world, WorkloadIdentityCredential().get_token(SCOPE).token)
    assert reply.status == 200, reply.body
    found = created.by()
    assert (found["client"], found["kind"]) == (NIGHTLY, "workload")


# GitHub Actions, by its own token.


@pytest.fixture
def run(world: Any) -> Iterator[Callable[..., None]]:
    """Begins a run with claims of its own."""

    def begin(**claims: str) -> None:
        world.control(github_run=claims)

    yield begin
    world.control(github_run={})


def token_of_the_run(world: Any) -> str:
    told = dict(re.findall(r"export (\w+)='?([^'\n]*)'?", Path(world.lab.folder, "github.env").read_text("utf-8")))
    with world.entra.browser() as runner:
        answer = runner.get(
            told["ACTIONS_ID_TOKEN_REQUEST_URL"] + "&audience=api://remit",
            headers={"authorization": f"Bearer {told['ACTIONS_ID_TOKEN_REQUEST_TOKEN']}"},
        )
    return str(answer.raise_for_status().json()["value"])


def test_a_run_on_the_main_branch_launches(world: Any, run: Callable[..., None]) -> None:
    run()
    created = Created(world)
    reply = launch(world, token_of_the_run(world))
    assert reply.status == 200, reply.body
    found = created.by()
    assert (found["principal"], found["kind"]) == (MAIN, "workload")
    assert found["issuer"] == "https://token.actions.githubusercontent.com"


def test_a_run_on_another_branch_is_told_the_policys_own_sentence(world: Any, run: Callable[..., None]) -> None:
    run(ref="refs/heads/try")
    created = Created(world)
    reply = launch(world, token_of_the_run(world))
    assert (reply.status, reply.reason) == (403, "policy_forbids")
    assert "pipelines of this repository work from the branch `main` only" in reply.message
    assert "merge first, then run the pipeline again" in reply.message
    [record] = world.records(decision=reply.decision)
    assert (record.principal, record.outcome) == ("github/repo:contoso/fraud:ref:refs/heads/try", "deny")
    assert record.policies == ("github-main-branch-only",)
    assert created.entries == []


@pytest.mark.parametrize(
    "claims",
    [
        {"repository": "contoso/other"},
        {"repository": "mallory/fraud", "repository_owner": "mallory", "repository_owner_id": "6600006"},
        {"repository_owner_id": "6600006"},  # the name was given up, and somebody took it
    ],
    ids=["another repository", "another owner", "a renamed owner"],
)
def test_a_run_of_another_repository_is_nobody(world: Any, run: Callable[..., None], claims: dict[str, str]) -> None:
    run(**claims)
    created = Created(world)
    reply = launch(world, token_of_the_run(world))
    assert (reply.status, reply.reason) == (401, "token_claims")
    [record] = world.records(decision=reply.decision)
    assert (record.principal, record.outcome) == ("", "deny")
    assert created.entries == []


# `remit run` in the surroundings of a pipeline.


def step(world: Any, tmp_path: Path, *, begins: bool = True, **surroundings: str) -> str:
    """What a step says under `remit run`, where nobody is signed in; or what `remit run` says that does not begin."""
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700, exist_ok=True)
    told = {"REMIT_URL": world.url, "REMIT_STORE": "keeper", "XDG_RUNTIME_DIR": str(runtime), "HOME": str(tmp_path)}
    command = [sys.executable, "-m", "remit.cli", "run", "--project", "contoso-fraud-test", "--", sys.executable]
    done = subprocess.run(
        [*command, "-c", STEP],
        env={**world.environment, **told, **surroundings},
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )
    assert done.returncode == (0 if begins else 1), done.stderr
    return (done.stdout if begins else done.stderr).strip()


@pytest.mark.promise("V22")
def test_a_step_on_github_launches_with_nothing_but_the_runners_variables(
    world: Any, run: Callable[..., None], tmp_path: Path
) -> None:
    run()
    created = Created(world)
    text = Path(world.lab.folder, "github.env").read_text("utf-8")
    variables = dict(re.findall(r"export (\w+)='?([^'\n]*)'?", text))
    said = step(world, tmp_path, **variables)
    assert re.fullmatch(r"200 projects/\d+/locations/us-central1/customJobs/\d+", said), said
    found = created.by()
    assert found["principal"] == MAIN
    assert found["job"].startswith("j-")
    run(ref="refs/heads/try")
    refused = step(world, tmp_path, begins=False, **variables)
    assert "a policy forbids this" in refused, refused
    assert "pipelines of this repository work from the branch `main` only" in refused


@pytest.mark.promise("T4")
@pytest.mark.promise("V22")
def test_a_step_on_azure_launches_by_the_machines_identity(world: Any, tmp_path: Path) -> None:
    created = Created(world)
    said = step(world, tmp_path, REMIT_WORKLOAD="managed-identity", AZURE_CLIENT_ID=PIPELINE)
    assert said.startswith("200 projects/"), said
    assert created.by()["principal"] == MACHINE


@pytest.mark.promise("T4")
def test_a_step_in_a_cluster_launches_by_a_federated_token(
    world: Any, tmp_path: Path, federated: dict[str, str]
) -> None:
    created = Created(world)
    said = step(world, tmp_path, **federated)
    assert said.startswith("200 projects/"), said
    assert created.by()["client"] == NIGHTLY
