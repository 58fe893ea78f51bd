"""One script, unchanged, in four places: on a laptop, on a machine at Azure, in a pod, in a job of Vertex AI.

Each is held against the ledger's records and against what the clouds themselves wrote down. Python's own audit events
tell which files the runs wrote.
"""

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.jobs_world import (
    APPLICATION,
    DANA,
    ENGINEER,
    HERE,
    MACHINE,
    PIPELINE,
    POD,
    PROJECT,
    TRAINER,
    VERTEX_JOB,
    Ended,
    Jobs,
    ended,
    shared,
    since,
    soon,
)
from tests.e2e.watch import sitecustomize as watch

pytestmark = pytest.mark.e2e

SCRIPT = HERE / "jobs_script.py"
VERTEX = f"/v1/projects/{PROJECT}/locations/us-central1/customJobs"
IMAGE = "us-docker.pkg.dev/vertex-ai/training/tf-cpu.2-17.py310:latest"
EXPECTED = {
    "adlfs": ["blob 1 0", "blob 1 1"],
    "blob": 200,
    "bucket": "bucket 2 99",
    "models": 0,
    "rows": [1000, "fraud_reader"],
    "batches": [8, 8, 4],
}
TOOK = {  # what every run asks for: action → resource
    "remit.runs.start": f"//cloudresourcemanager.googleapis.com/projects/{PROJECT}",
    "aiplatform.projects.locations.models.list": f"//cloudresourcemanager.googleapis.com/projects/{PROJECT}",
    "storage.objects.get": f"//storage.googleapis.com/projects/_/buckets/{PROJECT}-data",
}


@dataclass(frozen=True)
class Place:
    """Where a run was: who it was to Remit, what it did, what its script found, which files were written.

    `blob`, `google`: what the clouds wrote down while all the runs went on.
    """

    principal: str
    run: Ended
    found: dict[str, Any]
    log: Path
    blob: list[dict[str, Any]]
    google: list[dict[str, Any]]

    @property
    def watched(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text("utf-8").splitlines()]


@pytest.fixture(scope="module")
def jobs(pytestconfig: pytest.Config, postgres: str) -> Jobs:
    return shared(pytestconfig, postgres)


@pytest.fixture(scope="module")
def began() -> int:
    return since()


@pytest.fixture(scope="module")
def places(jobs: Jobs, began: int) -> dict[str, Place]:
    """All at the same time, as a company has them."""
    del began
    before = len(_blob(jobs)), len(jobs.cloud())
    machines = {
        "laptop": jobs.signed_in("dana"),
        "azure": jobs.machine("azure", REMIT_WORKLOAD="managed-identity", AZURE_CLIENT_ID=PIPELINE),
        "pod": jobs.pod("pod"),
    }
    watched = {name: Path(_watching(jobs, name)["WATCH_LOG"]) for name in (*machines, "vertex")}
    name, out = _launched(jobs)
    command = [sys.executable, str(SCRIPT), jobs.dsn]
    under_way = {key: jobs.begin(value | _watching(jobs, key), command) for key, value in machines.items()}
    done = {key: ended(process) for key, process in under_way.items()}
    done["vertex"] = _over(jobs, name, out)
    who = {"laptop": DANA, "azure": MACHINE, "pod": POD, "vertex": VERTEX_JOB}
    clouds = _blob(jobs)[before[0] :], jobs.cloud()[before[1] :]
    return {
        key: Place(who[key], run, run.lines[-1] if run.lines else {}, watched[key], *clouds)
        for key, run in done.items()
    }


def _blob(jobs: Jobs) -> list[dict[str, Any]]:
    return [line for line in jobs.blob_log() if line["operationName"] == "GetBlob"]


def _watching(jobs: Jobs, name: str) -> dict[str, str]:
    return {"PYTHONPATH": str(HERE / "watch"), "WATCH_LOG": str(jobs.folder / f"{name}.watched")}


def _launched(jobs: Jobs) -> tuple[str, Path]:
    """Dana's custom job, whose image runs the script under `remit run`; its name, and where it puts what it said."""
    home = jobs.machine("vertex")
    image, out = jobs.folder / "image.sh", jobs.folder / "vertex"
    given = {key: home[key] for key in ("REMIT_URL", "XDG_RUNTIME_DIR", "TMPDIR", "TF_CPP_MIN_LOG_LEVEL")}
    exported = [f"export {key}='{value}'" for key, value in (given | _watching(jobs, "vertex")).items()]
    words = [sys.executable, "-m", "remit.cli", "run", "--project", PROJECT, "--", sys.executable, str(SCRIPT)]
    image.write_text("\n".join([*exported, " ".join([*words, f"'{jobs.dsn}' >{out}.out 2>{out}.err"])]), "utf-8")
    container = {"imageUri": IMAGE, "command": ["sh", str(image)]}
    pool = {"machineSpec": {"machineType": "n1-standard-4"}, "replicaCount": "1", "containerSpec": container}
    job = {"displayName": "anywhere", "jobSpec": {"serviceAccount": TRAINER, "workerPoolSpecs": [pool]}}
    reply = jobs.ask("dana", "POST", VERTEX, job)
    assert reply.status == 200, reply.body
    return str(json.loads(reply.body)["name"]), out


def _over(jobs: Jobs, name: str, out: Path) -> Ended:
    state = ""

    def over() -> bool:
        nonlocal state
        state = json.loads(jobs.ask("dana", "GET", f"/v1/{name}").body)["state"]
        time.sleep(0.5)
        return state in {"JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED"}

    soon(over, jobs.tail)
    said = [Path(f"{out}.{end}").read_text("utf-8") for end in ("out", "err")]
    return Ended(int(state != "JOB_STATE_SUCCEEDED"), *said)


WHERE = ("laptop", "azure", "pod", "vertex")


@pytest.mark.promise("V8")
@pytest.mark.promise("T6")
@pytest.mark.promise("T7")
@pytest.mark.parametrize("where", WHERE)
def test_the_script_reads_everything(places: dict[str, Place], where: str) -> None:
    place = places[where]
    assert place.run.code == 0, place.run.err
    assert place.found == EXPECTED


@pytest.mark.promise("T2")
@pytest.mark.promise("T3")
@pytest.mark.promise("T4")
@pytest.mark.parametrize("where", WHERE)
def test_every_token_was_decided_on_and_names_who_and_which_run(
    jobs: Jobs, places: dict[str, Place], began: int, where: str
) -> None:
    place = places[where]
    rows = [row for row in jobs.records(since=began, who=place.principal) if row.job == place.run.job]
    taken = {row.action.rpartition("/containers/")[2]: row.resource for row in rows if row.kind == "decision"}
    assert {row.outcome for row in rows if row.kind == "decision"} == {"permit"}
    assert {action: taken.get(action) for action in TOOK} == TOOK
    assert taken["blobs/read"].startswith(f"//blob.core.windows.net/projects/{PROJECT}/accounts/")
    assert taken["postgresql.databases.connect"].endswith("/databases/fraud/roles/fraud_reader")
    assert [row.outcome for row in rows if row.kind == "run"] == ["start", "end"]


@pytest.mark.promise("T3")
@pytest.mark.promise("T6")
@pytest.mark.parametrize("where", WHERE)
def test_the_database_s_statements_are_the_run_s(jobs: Jobs, places: dict[str, Place], where: str) -> None:
    place = places[where]
    entries = [entry for entry in jobs.entries("statements") if entry["job"] == place.run.job]
    assert {(entry["principal"], entry["role"]) for entry in entries} == {(place.principal, "fraud_reader")}
    said = [text for entry in entries for text in entry["statements"]]
    assert "select count (*), session_user from claims" in said
    assert any("select id, note from claims where id <= ?" in text for text in said)


@pytest.mark.promise("T6")
@pytest.mark.promise("T7")
def test_blob_storage_saw_one_application_and_a_token_of_each_run_s_own(places: dict[str, Place]) -> None:
    lines = places["laptop"].blob
    assert {line["statusCode"] for line in lines} <= {200, 206}
    assert {line["identity"]["type"] for line in lines} == {"OAuth"}
    assert {line["identity"]["requester"]["appId"] for line in lines} == {APPLICATION}
    assert len({line["identity"]["tokenHash"] for line in lines}) == len(WHERE)


@pytest.mark.promise("T1")
def test_google_saw_whom_remit_vouched_for(places: dict[str, Place]) -> None:
    entries = [entry["protoPayload"] for entry in places["laptop"].google]
    read = [one for one in entries if one["resourceName"].endswith("payments/2.tfrecord")]
    assert {one["authenticationInfo"]["principalEmail"] for one in read} == {ENGINEER}
    chains = [one["authenticationInfo"].get("serviceAccountDelegationInfo", [{}])[0] for one in read]
    subjects = {chain.get("principalSubject", "").rpartition("/subject/")[2] for chain in chains}
    assert subjects == {place.principal for place in places.values()}


@pytest.mark.promise("V22")
@pytest.mark.parametrize("where", WHERE)
def test_no_secret_reached_the_disk(places: dict[str, Place], where: str) -> None:
    """Neither from the sidecar nor from the job, nor in a file that is gone by now."""
    seen = places[where].watched
    assert len({one["pid"] for one in seen}) >= 2  # the sidecar and the job
    assert any(one["path"].endswith("roots.pem") for one in seen)
    assert [one["path"] for one in seen if one["token"]] == []
    left = {one["path"] for one in seen if Path(one["path"]).is_file()}
    assert [path for path in left if watch.holds(path)] == []


def test_the_watch_sees_what_is_written_and_removed(jobs: Jobs) -> None:
    """The test above would find it."""
    text = "import os, sys; p = sys.argv[1]; open(p, 'w').write('a ya29.' + 'x' * 40); os.remove(p)"
    given = _watching(jobs, "control")
    place = jobs.folder / "control"
    subprocess.run([sys.executable, "-c", text, str(place)], env={**jobs.environment, **given}, check=True)
    lines = [json.loads(line) for line in Path(given["WATCH_LOG"]).read_text("utf-8").splitlines()]
    assert [(one["what"], one["token"]) for one in lines if one["path"] == str(place)] == [
        ("write", False),
        ("remove", True),
    ]


@pytest.mark.promise("V22")
@pytest.mark.parametrize("where", WHERE)
def test_nothing_is_left_on_the_machine(jobs: Jobs, places: dict[str, Place], where: str) -> None:
    """What libraries in C wrote is no audit event: every file of the machine is looked at."""
    assert places[where].run.code == 0
    name = "dana" if where == "laptop" else where
    files = [path for path in (jobs.folder / "machines" / name).rglob("*") if path.is_file()]
    assert [path for path in files if watch.holds(path)] == []
