"""Vertex AI in the lab: one table for both transports, permissions, resources, operations, custom jobs."""

import asyncio
import json
import sys
import time
from urllib.parse import parse_qsl

import grpc
import pytest

from remit.lab import contoso
from remit.lab.api_surface import start_grpc
from remit.lab.api_table import table
from remit.lab.cloud_audit_log import CloudAuditLog
from remit.lab.google_accounts import GoogleAccounts
from remit.lab.http import Request
from remit.lab.iam import CLOUD_PLATFORM, Iam
from remit.lab.logging_api import Logging
from remit.lab.metadata import Metadata
from remit.lab.storage import Storage
from remit.lab.vertex.projects import Projects
from remit.lab.vertex.service import Surroundings, Vertex

ENGINEER = contoso.account("ml-engineer", contoso.FRAUD_TEST)
TRAINER = contoso.account("trainer", contoso.FRAUD_TEST)
PARENT = "projects/contoso-fraud-test/locations/us-central1"
NUMBERED = "projects/100000000001/locations/us-central1"
API = "google.cloud.aiplatform.v1"
STAGING = contoso.FRAUD_TEST.buckets[1]


class World:
    """The lab's Google around one Vertex AI, without sockets but for jobs' metadata servers."""

    def __init__(self, folder):
        self.iam, self.audit = Iam(), CloudAuditLog(folder / "audit.jsonl")
        self.storage = Storage(folder / "objects", self.iam, self.audit)
        self.logs = Logging(self.iam, self.audit)
        metadata = Metadata(self.iam, GoogleAccounts(time.time))
        around = Surroundings(self.iam, self.audit, self.storage, self.logs, metadata, {"GIVEN": "by the lab"})
        self.vertex = Vertex(around, folder)
        self.folder = folder

    def token(self, email=ENGINEER):
        return "Bearer " + self.iam.mint(email=email, scopes=(CLOUD_PLATFORM,), lifetime=600)[0]

    async def rest(self, method, target, body=None, email=ENGINEER, **headers):
        path, _, query = target.partition("?")
        sent = {"authorization": self.token(email), **headers}
        content = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else b""
        request = Request(method, "us-central1-aiplatform.googleapis.com", path, tuple(parse_qsl(query)), sent, content)
        return await self.vertex.handle(request)

    async def ask(self, method, target, body=None, status=200, **more):
        answer = await self.rest(method, target, body, **more)
        assert answer.status == status, answer.body
        return json.loads(answer.body)

    async def ended(self, job):
        """A job once it has ended."""
        async with asyncio.timeout(40):
            while True:
                job = await self.ask("GET", f"/v1/{job['name']}")
                if job["state"] in {"JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED"}:
                    return job
                await asyncio.sleep(0.02)

    def lines(self):
        return [entry["jsonPayload"]["message"] for entry in self.logs._entries]


def story(tmp_path, tell):
    """Runs an asynchronous story in a fresh world, and ends the world."""

    async def run():
        world = World(tmp_path)
        try:
            return await tell(world)
        finally:
            await world.vertex.close()

    return asyncio.run(run())


async def until(holds):
    """Waits for what another process does, twenty seconds at most."""
    for _ in range(1000):
        if holds():
            return
        await asyncio.sleep(0.02)
    raise TimeoutError


def job(*command, account=TRAINER, **spec):
    pool = {"replicaCount": 1, "containerSpec": {"imageUri": "any", "command": [sys.executable, "-c", *command]}}
    return {"displayName": "j", "jobSpec": {"workerPoolSpecs": [pool], "serviceAccount": account, **spec}}


# Custom jobs


def test_a_job_is_a_real_process_with_its_own_account_and_logs(tmp_path):
    code = """
import json, os, sys, urllib.request
url = f"http://{os.environ['GCE_METADATA_HOST']}/computeMetadata/v1/instance/service-accounts/default/"
def get(path): return urllib.request.urlopen(urllib.request.Request(url + path, headers={"Metadata-Flavor": "Google"})).read()
print(get("email").decode())
print(json.loads(get("token"))["expires_in"] > 3500)
print(sorted(key for key in os.environ if key == "SECRET_OF_THE_LAB"), os.environ["GIVEN"], os.environ["MINE"])
print(os.environ["AIP_MODEL_DIR"], os.getcwd() == os.environ["HOME"])
print("bad news", file=sys.stderr)
"""

    async def tell(world):
        body = job(code, baseOutputDirectory={"outputUriPrefix": f"gs://{STAGING}/out/"})
        body["jobSpec"]["workerPoolSpecs"][0]["containerSpec"]["env"] = [{"name": "MINE", "value": "yes"}]
        made = await world.ask("POST", f"/v1/{PARENT}/customJobs", body)
        assert made["name"].startswith(f"{NUMBERED}/customJobs/")
        assert made["state"] == "JOB_STATE_PENDING"
        done = await world.ended(made)
        assert (done["state"], "endTime" in done) == ("JOB_STATE_SUCCEEDED", True)
        return done, world

    import os

    os.environ["SECRET_OF_THE_LAB"] = "x"
    try:
        done, world = story(tmp_path, tell)
    finally:
        del os.environ["SECRET_OF_THE_LAB"]
    said = [TRAINER, "True", "[] by the lab yes", f"gs://{STAGING}/out/model/ True"]
    assert [line for line in world.lines() if line != "bad news"] == said
    error = next(entry for entry in world.logs._entries if entry["severity"] == "ERROR")
    labels = {
        "job_id": done["name"].rpartition("/")[2],
        "project_id": "contoso-fraud-test",
        "task_name": "workerpool0-0",
    }
    assert error["resource"] == {"type": "ml_job", "labels": labels}
    assert error["logName"] == "projects/contoso-fraud-test/logs/workerpool0-0"
    assert list((tmp_path / "jobs").iterdir()) == []


@pytest.mark.parametrize(
    ("code", "status"),
    [("raise SystemExit(3)", "3"), ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "137")],
)
def test_a_job_that_fails_says_so_in_vertex_words(tmp_path, code, status):
    async def tell(world):
        return await world.ended(await world.ask("POST", f"/v1/{PARENT}/customJobs", job(code)))

    done = story(tmp_path, tell)
    assert (done["state"], done["error"]["code"]) == ("JOB_STATE_FAILED", 3)
    assert done["error"]["message"].startswith(f"The replica workerpool0-0 exited with a non-zero status of {status}. ")


def test_a_command_that_is_not_there_fails(tmp_path):
    async def tell(world):
        body = job("pass")
        body["jobSpec"]["workerPoolSpecs"][0]["containerSpec"]["command"] = ["no-such-program"]
        return await world.ended(await world.ask("POST", f"/v1/{PARENT}/customJobs", body)), world

    done, world = story(tmp_path, tell)
    assert ("non-zero status of 127" in done["error"]["message"], world.lines()) == (
        True,
        ["no-such-program: No such file or directory"],
    )


def test_a_timeout_cancels(tmp_path):
    async def tell(world):
        body = job("import time; time.sleep(60)", scheduling={"timeout": "1s"})
        return await world.ended(await world.ask("POST", f"/v1/{PARENT}/customJobs", body))

    done = story(tmp_path, tell)
    assert (done["state"], done["error"]) == (
        "JOB_STATE_CANCELLED",
        {"code": 1, "message": "The job exceeded its timeout of 1s."},
    )


def test_cancelling_ends_the_whole_process_group(tmp_path):
    code = "import os, subprocess, sys; c = subprocess.Popen(['sleep', '60']); print(c.pid, flush=True); c.wait()"

    async def tell(world):
        made = await world.ask("POST", f"/v1/{PARENT}/customJobs", job(code))
        await until(world.lines)
        refused = await world.ask("DELETE", f"/v1/{made['name']}", status=400)
        assert refused["error"]["status"] == "FAILED_PRECONDITION"
        assert await world.ask("POST", f"/v1/{made['name']}:cancel", {}) == {}
        await world.ask("POST", f"/v1/{made['name']}:cancel", {})
        done = await world.ended(made)
        assert await world.ask("POST", f"/v1/{made['name']}:cancel", {}) == {}
        assert (await world.ask("GET", f"/v1/{made['name']}"))["state"] == "JOB_STATE_CANCELLED"
        assert (await world.ask("DELETE", f"/v1/{made['name']}"))["done"] is True
        return done, int(world.lines()[0])

    done, child = story(tmp_path, tell)
    assert done["error"] == {"code": 1, "message": "CANCELED"}
    with open_status(child) as status:
        assert status is None or "Z" in status  # gone, or a zombie that waits for its adoptive parent


class open_status:  # noqa: N801 - reads as a function
    """The state letter of a process, `None` when there is none."""

    def __init__(self, pid):
        from pathlib import Path

        path = Path(f"/proc/{pid}/stat")
        self.status = path.read_text().rpartition(")")[2].split()[0] if path.exists() else None

    def __enter__(self):
        return self.status

    def __exit__(self, *_):
        return None


def test_a_job_that_ignores_sigterm_is_killed_and_long_lines_are_cut(tmp_path):
    code = """
import signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
sys.stdout.write("x" * 200_000)
sys.stdout.flush()
time.sleep(60)
"""

    async def tell(world):
        made = await world.ask("POST", f"/v1/{PARENT}/customJobs", job(code))
        await until(lambda: sum(map(len, world.lines())) > 100_000)
        await world.vertex.close()
        return (await world.ask("GET", f"/v1/{made['name']}"))["state"], world.lines()

    state, lines = story(tmp_path, tell)
    assert state == "JOB_STATE_CANCELLED"
    assert sum(map(len, lines)) == 200_000


def sdist(folder):
    """A source distribution of one module, as the Vertex AI client makes them."""
    import io
    import tarfile

    files = {
        "t-0.1/setup.py": "from setuptools import setup\nsetup(name='t', version='0.1', packages=['t'])\n",
        "t-0.1/t/__init__.py": "",
        "t-0.1/t/task.py": "import sys\nprint('trained with', sys.argv[1:])\n",
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
    return buffer.getvalue()


def package_job(uri, account=TRAINER):
    spec = {"executorImageUri": "any", "packageUris": [uri], "pythonModule": "t.task", "args": ["--fast"]}
    return {
        "displayName": "p",
        "jobSpec": {"workerPoolSpecs": [{"pythonPackageSpec": spec}], "serviceAccount": account},
    }


def test_a_python_package_is_installed_offline_and_run(tmp_path):
    async def tell(world):
        world.storage.objects.write(STAGING, "code/t-0.1.tar.gz", sdist(tmp_path), {})
        body = package_job(f"gs://{STAGING}/code/t-0.1.tar.gz")
        return await world.ended(await world.ask("POST", f"/v1/{PARENT}/customJobs", body)), world

    done, world = story(tmp_path, tell)
    assert done["state"] == "JOB_STATE_SUCCEEDED", world.lines()
    assert "trained with ['--fast']" in world.lines()


@pytest.mark.parametrize("account", [TRAINER, ""])
def test_a_package_that_the_jobs_account_may_not_read_fails_the_job(tmp_path, account):
    async def tell(world):
        body = package_job("gs://contoso-fraud-prod-staging/t.tar.gz", account)
        return await world.ended(await world.ask("POST", f"/v1/{PARENT}/customJobs", body))

    done = story(tmp_path, tell)
    expected = account or "service-100000000001@gcp-sa-aiplatform-cc.iam.gserviceaccount.com"
    assert done["state"] == "JOB_STATE_FAILED"
    assert f"{expected} does not have storage.objects.get access" in done["error"]["message"]


@pytest.mark.parametrize(
    ("change", "status", "says"),
    [
        ({"displayName": ""}, 400, "1.Field: display_name; Message: Required field is not set."),
        ({"jobSpec": {}}, 400, "At least one worker pool should be specified."),
        ({"jobSpec": {"workerPoolSpecs": [{}]}}, 400, "Either container_spec or python_package_spec must be set."),
        ({"jobSpec": {"workerPoolSpecs": [{"pythonPackageSpec": {}}]}}, 400, "python_module"),
        ({"jobSpec": {"workerPoolSpecs": [{"containerSpec": {"imageUri": "x"}}]}}, 501, "no container images"),
        (
            {"jobSpec": {"workerPoolSpecs": [{"containerSpec": {"command": ["x"]}, "replicaCount": 2}]}},
            501,
            "one replica",
        ),
    ],
)
def test_a_job_that_cannot_be_run_is_refused(tmp_path, change, status, says):
    async def tell(world):
        return await world.ask("POST", f"/v1/{PARENT}/customJobs", {**job("pass"), **change}, status=status)

    assert says in story(tmp_path, tell)["error"]["message"]


# Who may


@pytest.mark.parametrize(
    ("email", "body", "permission"),
    [
        (contoso.account("auditor", contoso.FRAUD_TEST), job("pass"), "aiplatform.customJobs.create"),
        (ENGINEER, job("pass", account=contoso.account("trainer", contoso.FRAUD_PROD)), "iam.serviceAccounts.actAs"),
        (
            contoso.account("data-scientist", contoso.FRAUD_TEST),
            job("pass", account=contoso.account("ml-engineer", contoso.FRAUD_TEST)),
            "iam.serviceAccounts.actAs",
        ),
    ],
)
def test_a_job_that_one_may_not_launch_is_refused_and_recorded(tmp_path, email, body, permission):
    async def tell(world):
        headers = {"x-goog-request-reason": "decision/d-7"}
        error = await world.ask("POST", f"/v1/{PARENT}/customJobs", body, 403, email=email, **headers)
        jobs = await world.ask("GET", f"/v1/{PARENT}/customJobs")
        return error["error"], jobs, world.audit.entries("contoso-fraud-test")[0]

    error, jobs, entry = story(tmp_path, tell)
    assert error["status"] == "PERMISSION_DENIED"
    assert ("act as service_account" in error["message"]) == (permission == "iam.serviceAccounts.actAs")
    assert jobs == {}
    payload = entry["protoPayload"]
    assert payload["methodName"] == f"{API}.JobService.CreateCustomJob"
    assert payload["authorizationInfo"] == [{"permission": permission, "resource": PARENT, "granted": False}]
    assert payload["requestMetadata"]["requestAttributes"]["reason"] == "decision/d-7"
    assert payload["status"]["code"] == 7


def test_another_project_and_an_unknown_one_are_refused_alike(tmp_path):
    async def tell(world):
        for project in ("contoso-churn-prod", "nobodys", "100000000003"):
            await world.ask("GET", f"/v1/projects/{project}/locations/us-central1/customJobs", status=403)
        request = Request("GET", "us-central1-aiplatform.googleapis.com", f"/v1/{PARENT}/customJobs", (), {}, b"")
        return await world.vertex.handle(request)

    answer = story(tmp_path, tell)
    assert (answer.status, json.loads(answer.body)["error"]["status"]) == (401, "UNAUTHENTICATED")


def test_a_method_without_a_published_permission_is_refused(tmp_path):
    async def tell(world):
        return await world.ask("POST", f"/v1/{PARENT}/studies/1/trials:suggest", {}, 403)

    assert "aiplatform.trials.suggest" in story(tmp_path, tell)["error"]["message"]


# Resources of every kind, by both transports


def test_a_collection_lives(tmp_path):
    async def tell(world):
        base = f"/v1/{PARENT}/datasets"
        for name in ("one", "two", "three"):
            body = {"displayName": name, "metadataSchemaUri": "gs://x", "labels": {"n": name}}
            made = await world.ask("POST", base, body)
            assert (made["done"], made["response"]["@type"]) == (True, f"type.googleapis.com/{API}.Dataset")
            assert made["name"].startswith(f"{NUMBERED}/datasets/")
            operation = await world.ask("GET", f"/ui/{made['name']}")
            assert operation == await world.ask("POST", f"/v1/{made['name']}:wait", {}) == made
        name = made["response"]["name"]
        assert (await world.ask("GET", f"/v1/{name.replace('100000000001', 'contoso-fraud-test')}"))[
            "displayName"
        ] == "three"
        first = await world.ask("GET", f"{base}?pageSize=2")
        assert [each["displayName"] for each in first["datasets"]] == ["three", "two"]
        rest = await world.ask("GET", f"{base}?pageToken={first['nextPageToken']}")
        assert [each["displayName"] for each in rest["datasets"]] == ["one"]
        some = await world.ask("GET", f'{base}?filter=labels.n="two"')
        assert [each["displayName"] for each in some["datasets"]] == ["two"]
        update = f"/v1/{name}?updateMask=displayName,labels"
        changed = await world.ask(
            "PATCH", update, {"displayName": "new", "labels": {"m": "1"}, "metadataSchemaUri": "no"}
        )
        assert (changed["displayName"], changed["labels"], changed["metadataSchemaUri"]) == (
            "new",
            {"m": "1"},
            "gs://x",
        )
        await world.ask("PATCH", f"/v1/{name}?updateMask=nonsense", {}, 400)
        assert len((await world.ask("GET", f"/v1/{name}/operations"))["operations"]) == 1
        await world.ask("DELETE", f"/v1/{name}")
        return await world.ask("GET", f"/v1/{name}", status=404)

    assert story(tmp_path, tell)["error"]["status"] == "NOT_FOUND"


def pipeline(**more):
    """A pipeline of one task."""
    task = {"componentRef": {"name": "c"}}
    spec = {
        "pipelineInfo": {"name": "p"},
        "root": {"dag": {"tasks": {"only": task}}},
        "components": {"c": {"executorLabel": "e"}},
        "deploymentSpec": {"executors": {"e": {"container": {"image": "any", "command": ["true"]}}}},
    }
    runtime = {"gcsOutputDirectory": f"gs://{STAGING}/root"}
    return {"displayName": "p", "pipelineSpec": spec, "runtimeConfig": runtime, "serviceAccount": TRAINER, **more}


def test_ids_chosen_by_the_caller_exist_once(tmp_path):
    async def tell(world):
        target = f"/v1/{PARENT}/pipelineJobs?pipelineJobId=mine"
        made = await world.ask("POST", target, pipeline())
        assert made["name"] == f"{NUMBERED}/pipelineJobs/mine"
        return await world.ask("POST", target, pipeline(), 409)

    assert story(tmp_path, tell)["error"]["status"] == "ALREADY_EXISTS"


def test_numbers_for_enumerations_and_the_path_that_wins(tmp_path):
    async def tell(world):
        made = await world.ask("POST", f"/v1/{PARENT}/customJobs?%24alt=json%3Benum-encoding%3Dint", job("pass"))
        body = {"name": "projects/contoso-churn-prod/locations/us-central1/customJobs/1"}
        await world.ask("POST", f"/v1/{made['name']}:cancel", body)
        return made, world.audit.entries()[-1]["protoPayload"]["resourceName"]

    made, resource = story(tmp_path, tell)
    assert (made["state"], resource) == (2, made["name"])  # JOB_STATE_PENDING


@pytest.mark.parametrize(
    ("method", "target", "body", "status"),
    [
        ("GET", "/v1/nonsense", None, 404),
        ("POST", f"/v1/{PARENT}/customJobs", b"{nonsense", 400),
        ("POST", f"/v1/{PARENT}/customJobs", {"unknown": 1}, 400),
        ("GET", f"/v1/{PARENT}/customJobs?unknown.field=1", None, 400),
        ("GET", f"/v1/{PARENT}/customJobs?pageSize=many", None, 400),
        ("GET", f"/v1/{PARENT}/customJobs/1", None, 404),
        ("GET", f"/v1/{PARENT}/models/1/operations/1", None, 404),
        ("GET", f"/v1/{PARENT}/endpoints/1", None, 404),
        ("POST", f"/v1/{PARENT}/endpoints/1:predict", {"instances": [1]}, 404),
        ("POST", f"/v1/{PARENT}/endpoints/1:rawPredict", b"not json", 400),
        ("POST", f"/v1/{PARENT}/publishers/google/models/m:predict", {"instances": [1]}, 404),
        ("POST", f"/v1/{PARENT}/endpoints/1:explain", {}, 501),
        ("POST", f"/v1/{PARENT}/endpoints/1:undeployModel", {"deployedModelId": "2"}, 404),
        ("POST", f"/v1/{PARENT}/models:upload", {"model": {}}, 400),
    ],
)
def test_what_is_wrong_is_said_in_googles_shape(tmp_path, method, target, body, status):
    async def tell(world):
        return await world.ask(method, target, body, status)

    error = story(tmp_path, tell)["error"]
    assert (error["code"], set(error)) == (status, {"code", "message", "status"})


def test_repeated_and_boolean_parameters_are_bound(tmp_path):
    async def tell(world):
        base = f"/v1/{PARENT}/datasets"
        assert await world.ask("GET", f"{base}?readMask=name&orderBy=x&pageSize=1") == {}
        made = await world.ask("POST", base, {"displayName": "d", "metadataSchemaUri": "gs://x"})
        name = made["response"]["name"]
        answer = await world.rest(
            "GET", f"/v1/{name}:searchDataItems?dataLabelingJob=x&annotationFilters=a&fieldMask=b"
        )
        return answer.status

    assert story(tmp_path, tell) in {403, 501}


def test_the_same_over_grpc(tmp_path):
    async def tell(world):
        projects = Projects(world.iam, world.audit)
        server, port = await start_grpc([world.vertex.surface.grpc, projects.surface.grpc])
        authorization = ("authorization", world.token())

        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:

            async def ask(path, email=None, **fields):
                method = table().methods[path]
                call = channel.unary_unary(
                    path,
                    request_serializer=method.request.SerializeToString,
                    response_deserializer=method.response.FromString,
                )
                who = authorization if email is None else ("authorization", world.token(email))
                return await call(method.request(**fields), metadata=(who, ("x-goog-request-reason", "decision/d-3")))

            async def refusal(path, **fields):
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await ask(path, **fields)
                return refused.value.code()

            listed = await ask(f"/{API}.JobService/ListCustomJobs", parent=PARENT)
            reason = world.audit.entries()[-1]["protoPayload"]["requestMetadata"]["requestAttributes"]["reason"]
            project = await ask(
                "/google.cloud.resourcemanager.v3.Projects/GetProject", name="projects/contoso-fraud-test"
            )
            get = "/google.cloud.resourcemanager.v3.Projects/GetProject"
            codes = [
                await refusal(f"/{API}.JobService/GetCustomJob", name="nonsense"),
                await refusal(f"/{API}.JobService/GetCustomJob", name=f"{PARENT}/customJobs/1"),
                await refusal(f"/{API}.JobService/ListCustomJobs", parent="projects/contoso-churn-prod/locations/x"),
                await refusal(f"/{API}.PredictionService/StreamDirectPredict"),
                await refusal(get, name="projects/contoso-churn-prod"),
                await refusal(f"/{API}.PredictionService/ServerStreamingPredict", endpoint=f"{PARENT}/endpoints/1"),
            ]
        await server.stop(0)
        return len(listed.custom_jobs), reason, (project.name, project.project_id), codes

    count, reason, project, codes = story(tmp_path, tell)
    assert (count, reason, project) == (0, "decision/d-3", ("projects/100000000001", "contoso-fraud-test"))
    code = grpc.StatusCode
    expected = [
        code.INVALID_ARGUMENT,
        code.NOT_FOUND,
        code.PERMISSION_DENIED,
        code.UNIMPLEMENTED,
        code.PERMISSION_DENIED,
        code.NOT_FOUND,
    ]
    assert codes == expected
