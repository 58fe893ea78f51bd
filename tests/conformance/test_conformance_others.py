"""Whose work is it? A colleague of another team, and a guest in the same one, at a job of Dana's that runs."""

from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

TEST = "projects/contoso-fraud-test/locations/us-central1"
WAYS = [(way, transport) for way in ("tunnel", "endpoint") for transport in ("grpc", "rest")]
REFUSED = {"grpc": "PermissionDenied", "rest": "Forbidden"}
LONG = {
    "displayName": "danas",
    "jobSpec": {
        "serviceAccount": "trainer@contoso-fraud-test.iam.gserviceaccount.com",
        "workerPoolSpecs": [
            {
                "machineSpec": {"machineType": "n1-standard-4"},
                "replicaCount": "1",
                "containerSpec": {
                    "imageUri": "us-docker.pkg.dev/vertex-ai/training/tf-cpu.2-17.py310:latest",
                    "command": ["python3", "-c", "import time; time.sleep(600)"],
                },
            }
        ],
    },
}

pytestmark = [pytest.mark.e2e]


@pytest.fixture(scope="module")
def job(dana_asks):
    """A job of Dana's that runs until all have tried; its name."""
    made = dana_asks("POST", f"/v1/{TEST}/customJobs", json=LONG)
    assert made.status_code == 200, made.text
    name = made.json()["name"]
    yield name
    dana_asks("POST", f"/v1/{name}:cancel", json={})


@pytest.fixture(scope="module")
def tries(plane, door, run_program, job):
    """What Ada, a data scientist, and Gil, a guest among the ML engineers, tried with it."""
    people = {name: plane.person(name) for name in ("ada", "gil")}
    with ThreadPoolExecutor() as pool:
        ran = {name: pool.submit(run_program, person, "others.py", door, job) for name, person in people.items()}
        return {name: each.result() for name, each in ran.items()}


MAY = {
    # Ada may observe what is there, and nothing of what others started.
    "ada": {"list": True, "get": False, "cancel": False, "delete": False, "create": False, "dataset": False},
    # ML engineers look at each other's work in test; ending it is the owner's.
    "gil": {"list": True, "get": True, "cancel": False, "delete": False, "create": True, "dataset": True},
}


@pytest.mark.promise("V7")
@pytest.mark.parametrize("way", WAYS, ids=["-".join(way) for way in WAYS])
@pytest.mark.parametrize(("name", "attempt"), [(name, attempt) for name in MAY for attempt in MAY[name]], ids=str)
def test_what_somebody_else_may(tries, name, attempt, way):
    ran = tries[name]
    told = ran.told.get("/".join((*way, attempt)))
    assert told, ran.err[-3000:]
    assert told["error"] == ("" if MAY[name][attempt] else REFUSED[way[1]]), told
    assert told["took"] < 15, told
    if not MAY[name][attempt]:
        assert "remit: " in told["message"]
        assert "(decision d-" in told["message"]


def test_the_job_still_runs(tries, dana_asks, job):
    found = dana_asks("GET", f"/v1/{job}")
    assert (found.status_code, found.json()["state"]) == (200, "JOB_STATE_RUNNING"), found.text


def test_whose_it_is_stands_in_the_record(plane, job, tries):
    canonical = "//aiplatform.googleapis.com/" + job.replace("100000000001", "contoso-fraud-test")
    [row] = [row for row in plane.records(outcome="started", resource=canonical) if row.resource == canonical]
    [dana] = {row.principal for row in plane.records(who="dana@contoso.example") if row.kind == "decision"}
    assert row.principal == dana


def test_an_operation_is_its_owners_too(plane, asks, dana_asks):
    """A long-running operation by its name, which anybody could guess or read somewhere."""
    model = {"displayName": "m", "containerSpec": {"imageUri": "us-docker.pkg.dev/vertex-ai/prediction/tf2-cpu.2-15:1"}}
    made = dana_asks("POST", f"/v1/{TEST}/models:upload", json={"model": model})
    assert made.status_code == 200, made.text
    name = made.json()["name"]
    for path in (f"/v1/{name}", f"/ui/{name}"):
        assert dana_asks("GET", path).status_code == 200
        for way in ("tunnel", "endpoint"):
            refused: httpx.Response = asks(way, "ada", "GET", path)
            assert (refused.status_code, refused.headers["x-remit-reason"]) == (403, "no_policy_permits"), refused.text
