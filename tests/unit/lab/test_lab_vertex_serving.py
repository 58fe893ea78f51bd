"""Models in the lab: real SavedModels through TensorFlow's C library, endpoints, predictions over both transports."""

import asyncio
import base64
import io
import json
import subprocess
import sys
import time
from pathlib import Path

import grpc
import numpy as np
import pytest

from remit.lab import contoso
from remit.lab.api_surface import start_grpc
from remit.lab.api_table import table
from remit.lab.cloud_audit_log import CloudAuditLog
from remit.lab.errors import CloudError
from remit.lab.google_accounts import GoogleAccounts
from remit.lab.http import Request
from remit.lab.iam import CLOUD_PLATFORM, Iam
from remit.lab.logging_api import Logging
from remit.lab.metadata import Metadata
from remit.lab.storage import Storage
from remit.lab.vertex import model_server, served_model, tensorflow_c
from remit.lab.vertex.served_model import ServedModel
from remit.lab.vertex.service import Surroundings, Vertex
from remit.lab.vertex.tensorflow_c import Library, SavedModel, TensorFlowError

PARENT = "projects/contoso-fraud-test/locations/us-central1"
STAGING = contoso.FRAUD_TEST.buckets[1]
ENGINEER = contoso.account("ml-engineer", contoso.FRAUD_TEST)
IMAGE = {"imageUri": "us-docker.pkg.dev/vertex-ai/prediction/tf2-cpu.2-15:latest"}

MAKE = """
import sys, tensorflow as tf
class Weigh(tf.Module):
    def __init__(self):
        self.w = tf.Variable([[1.0], [2.0]])
    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])
    def weigh(self, x):
        return {"score": tf.matmul(x, self.w)}
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="name"), tf.TensorSpec([None], tf.int64, name="n")])
    def greet(self, name, n):
        return {"text": tf.strings.join(["hello ", name]), "more": n + 1, "raw": tf.fill(tf.shape(n), b"\\xff")}
    @tf.function(input_signature=[tf.TensorSpec([None], tf.complex64, name="c")])
    def turn(self, c):
        return {"c": c}
    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def odd(self, x):
        return {"c": tf.cast(x, tf.complex64)}
m = Weigh()
tf.saved_model.save(m, sys.argv[1], {"serving_default": m.weigh, "greet": m.greet, "turn": m.turn, "odd": m.odd})
"""


@pytest.fixture(scope="session")
def saved(tmp_path_factory):
    """A SavedModel that TensorFlow itself wrote."""
    folder = tmp_path_factory.mktemp("saved") / "model"
    subprocess.run([sys.executable, "-c", MAKE, str(folder)], check=True, capture_output=True, timeout=120)
    return folder


@pytest.fixture(scope="session")
def model(saved):
    return SavedModel(saved, Library())


# The C library


def test_a_saved_model_runs(model):
    signature = model.signatures["serving_default"]
    (name,) = signature.inputs
    found = model.run(signature, {name: np.array([[1, 1], [0.5, 2]], np.float32)})
    assert found["score"].tolist() == [[3.0], [4.5]]


def test_tensorflow_says_what_does_not_fit(model):
    signature = model.signatures["serving_default"]
    (name,) = signature.inputs
    with pytest.raises(TensorFlowError, match=r"(?i)matrix|incompatible"):
        model.run(signature, {name: np.zeros((1, 3), np.float32)})


def test_what_is_no_saved_model_does_not_load(tmp_path):
    with pytest.raises(TensorFlowError, match="saved_model"):
        SavedModel(tmp_path, Library())


def test_a_machine_without_tensorflow_says_so(monkeypatch):
    monkeypatch.setattr(tensorflow_c.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(TensorFlowError, match="no tensorflow package"):
        Library()


def test_a_function_that_the_library_lacks():
    with pytest.raises(TensorFlowError, match="no TF_Nonsense"):
        Library().Nonsense()


# The model server, in this process


def test_the_server_speaks_tensorflow_servings_json(saved):
    requests = [
        {"instances": [[1, 1], [0.5, 2]]},
        {"instances": [{"x": [1, 1]}]},
        {"inputs": [[1, 1]]},
        {"inputs": {"x": [[1, 1]]}},
        {
            "signature_name": "greet",
            "instances": [{"name": "Dana", "n": 1}, {"name": {"b64": base64.b64encode(b"Ada").decode()}, "n": 2}],
        },
        {"signature_name": "greet", "inputs": {"name": ["Sam"], "n": [3]}},
        {"instances": [[0.1, 0.1]]},
    ]
    out = io.StringIO()
    model_server.serve(saved, [json.dumps(each) for each in requests], out)
    ready, *answers = [json.loads(line) for line in out.getvalue().splitlines()]
    assert ready == {"ready": True}
    assert [answer["status"] for answer in answers] == [200] * len(requests), answers
    bodies = [answer["body"] for answer in answers]
    assert bodies[0] == {"predictions": [[3.0], [4.5]]}
    assert bodies[1] == {"predictions": [[3.0]]}
    assert bodies[2] == bodies[3] == {"outputs": [[3.0]]}
    raw = {"b64": base64.b64encode(b"\xff").decode()}
    assert bodies[4]["predictions"] == [
        {"text": "hello Dana", "more": 2, "raw": raw},
        {"text": "hello Ada", "more": 3, "raw": raw},
    ]
    assert bodies[5] == {"outputs": {"text": ["hello Sam"], "more": [4], "raw": [raw]}}
    assert bodies[6] == {"predictions": [[0.3]]}  # the shortest text of the 32-bit float, not 0.30000001192092896


@pytest.mark.parametrize(
    "line",
    [
        "not json",
        "[]",
        "{}",
        '{"instances": [], "inputs": []}',
        '{"instances": []}',
        '{"instances": {"x": 1}}',
        '{"instances": [{"y": [1, 1]}]}',
        '{"instances": [{"x": [1, 1]}, [1, 1]]}',
        '{"instances": [["a", "b"]]}',
        '{"instances": [[1], [1, 2]]}',
        '{"inputs": {"y": 1}}',
        '{"signature_name": "greet", "instances": ["Dana"]}',
        '{"signature_name": "greet", "inputs": ["Dana"]}',
        '{"signature_name": "nobody", "instances": [1]}',
        '{"signature_name": "turn", "instances": [1]}',
        '{"signature_name": "odd", "instances": [1]}',
    ],
)
def test_what_does_not_fit_the_model_is_a_400(model, monkeypatch, line):
    monkeypatch.setattr(model_server, "SavedModel", lambda *_: model)
    out = io.StringIO()
    model_server.serve(Path(), [line], out)
    answer = json.loads(out.getvalue().splitlines()[1])
    assert (answer["status"], bool(answer["body"]["error"])) == (400, True)


def test_a_model_that_does_not_load_is_said(tmp_path):
    out = io.StringIO()
    model_server.serve(tmp_path, [], out)
    assert json.loads(out.getvalue())["ready"] is False


# The process


def test_a_model_server_that_ended_is_unavailable(saved):
    async def tell():
        served = await ServedModel.start(saved)
        assert (await served.predict({"instances": [[1, 1]]})) == {"predictions": [[3.0]]}
        served._process.kill()
        codes = []
        for _ in range(2):
            with pytest.raises(CloudError) as refused:
                await served.predict({"instances": [[1, 1]]})
            codes.append(refused.value.code)
            await served._process.wait()
        await served.stop()
        return codes

    assert asyncio.run(tell()) == [grpc.StatusCode.UNAVAILABLE] * 2


def test_a_model_server_that_does_not_come_up_is_ended(saved, monkeypatch):
    monkeypatch.setattr(served_model, "_START", 0.01)
    monkeypatch.setattr(served_model, "_GRACE", 0.01)
    with pytest.raises(TimeoutError):
        asyncio.run(ServedModel.start(saved))


# The whole


class World:
    def __init__(self, folder):
        self.iam, self.audit = Iam(), CloudAuditLog()
        self.storage = Storage(folder / "objects", self.iam, self.audit)
        logs = Logging(self.iam, self.audit)
        around = Surroundings(
            self.iam, self.audit, self.storage, logs, Metadata(self.iam, GoogleAccounts(time.time)), {}
        )
        self.vertex = Vertex(around, folder)

    def token(self, email=ENGINEER):
        return "Bearer " + self.iam.mint(email=email, scopes=(CLOUD_PLATFORM,), lifetime=600)[0]

    async def rest(self, method, target, body=None, email=ENGINEER):
        content = json.dumps(body).encode() if body is not None else b""
        headers = {"authorization": self.token(email)}
        return await self.vertex.handle(
            Request(method, "us-central1-aiplatform.googleapis.com", target, (), headers, content)
        )

    async def ask(self, method, target, body=None, status=200, **more):
        answer = await self.rest(method, target, body, **more)
        assert answer.status == status, answer.body
        return json.loads(b"".join([part async for part in answer.parts]) if answer.parts else answer.body)

    async def wait(self, operation):
        return await self.ask("POST", f"/v1/{operation['name']}:wait", {})

    async def upload(self, uri, **more):
        model = {"displayName": "fraud", "artifactUri": uri, "containerSpec": IMAGE, "versionAliases": ["default"]}
        body = {"model": model, **more}
        return await self.wait(await self.ask("POST", f"/v1/{PARENT}/models:upload", body))

    async def endpoint(self):
        made = await self.ask("POST", f"/v1/{PARENT}/endpoints", {"displayName": "e"})
        return made["response"]["name"]

    def put(self, folder, prefix):
        for path in folder.rglob("*"):
            if path.is_file():
                self.storage.objects.write(STAGING, f"{prefix}{path.relative_to(folder)}", path.read_bytes(), {})
        self.storage.objects.write(STAGING, f"{prefix}empty/", b"", {})
        self.storage.objects.write(STAGING, f"{prefix}../../../escape", b"x", {})


def story(tmp_path, tell):
    async def run():
        world = World(tmp_path)
        try:
            return await tell(world)
        finally:
            await world.vertex.close()

    return asyncio.run(run())


async def over_grpc(world, endpoint):
    """What Predict and StreamRawPredict answer."""
    service = "/google.cloud.aiplatform.v1.PredictionService"
    server, port = await start_grpc([world.vertex.surface.grpc])
    credentials = (("authorization", world.token()),)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:

        def caller(kind, name):
            method = table().methods[f"{service}/{name}"]
            speak = {
                "request_serializer": method.request.SerializeToString,
                "response_deserializer": method.response.FromString,
            }
            return kind(method.path, **speak), method.request(endpoint=endpoint)

        predict, request = caller(channel.unary_unary, "Predict")
        for value in ({"x": [1.0, 1.0]}, {"x": [0.5, 2.0]}):
            request.instances.add().struct_value.update(value)
        predictions = [each.list_value[0] for each in (await predict(request, metadata=credentials)).predictions]
        stream, request = caller(channel.unary_stream, "StreamRawPredict")
        request.http_body.data = b'{"instances": [[1, 1]]}'
        chunks = [chunk async for chunk in stream(request, metadata=credentials)]
    await server.stop(0)
    return predictions, [(chunk.content_type, json.loads(chunk.data)) for chunk in chunks]


def test_upload_deploy_predict_and_take_down(tmp_path, saved):
    async def tell(world):
        world.put(saved, "run/model/")
        uploaded = await world.upload(f"gs://{STAGING}/run/model")
        name = uploaded["response"]["model"]
        assert uploaded["response"]["modelVersionId"] == "1"
        found = await world.ask("GET", f"/v1/{name}@1")
        assert (found["versionId"], found["versionAliases"]) == ("1", ["default"])
        endpoint = await world.endpoint()
        early = await world.ask("POST", f"/v1/{endpoint}:predict", {"instances": [[1, 1]]}, 400)
        assert early["error"]["status"] == "FAILED_PRECONDITION"
        body = {"deployedModel": {"model": name, "dedicatedResources": {}}, "trafficSplit": {"0": 100}}
        started = await world.ask("POST", f"/v1/{endpoint}:deployModel", body)
        assert "done" not in started
        deployed = (await world.wait(started))["response"]["deployedModel"]

        answer = await world.ask("POST", f"/v1/{endpoint}:predict", {"instances": [[1, 1], [0.5, 2]]})
        assert answer["predictions"] == [[3], [4.5]]
        assert (answer["deployedModelId"], answer["model"], answer["modelVersionId"]) == (deployed["id"], name, "1")
        raw = await world.rest("POST", f"/v1/{endpoint}:rawPredict", {"instances": [{"x": [1, 1]}]})
        assert (json.loads(raw.body), raw.headers["x-vertex-ai-deployed-model-id"]) == (
            {"predictions": [[3.0]]},
            deployed["id"],
        )
        assert raw.headers["content-type"] == "application/json"
        greet = {"signature_name": "greet", "instances": [{"name": "Dana", "n": 1}]}
        stream = await world.ask("POST", f"/v1/{endpoint}:streamRawPredict", greet)
        assert stream["predictions"][0]["text"] == "hello Dana"
        bad = await world.ask("POST", f"/v1/{endpoint}:predict", {"instances": [["x", "y"]]}, 400)
        assert "Failed to process element" in bad["error"]["message"]
        await world.ask(
            "POST",
            f"/v1/{endpoint}:predict",
            {"instances": [[1, 1]]},
            403,
            email=contoso.account("auditor", contoso.FRAUD_TEST),
        )

        assert await over_grpc(world, endpoint) == ([3.0, 4.5], [("application/json", {"predictions": [[3.0]]})])

        refused = await world.ask("DELETE", f"/v1/{endpoint}", status=400)
        assert deployed["id"] in refused["error"]["message"]
        assert (await world.ask("DELETE", f"/v1/{name}", status=400))["error"]["status"] == "FAILED_PRECONDITION"
        down = await world.ask("POST", f"/v1/{endpoint}:undeployModel", {"deployedModelId": deployed["id"]})
        assert (await world.wait(down))["done"] is True
        assert "deployedModels" not in await world.ask("GET", f"/v1/{endpoint}")
        await world.ask("DELETE", f"/v1/{endpoint}")
        await world.ask("DELETE", f"/v1/{name}")
        await world.ask("GET", f"/v1/{name}", status=404)
        assert not list((tmp_path / "models").iterdir())
        assert not (tmp_path / "escape").exists()
        return world.audit.entries()

    entries = story(tmp_path, tell)
    methods = {entry["protoPayload"]["methodName"].rpartition(".")[2]: entry["logName"] for entry in entries}
    assert methods["DeployModel"].endswith("%2Factivity")
    assert methods["Predict"].endswith("%2Fdata_access")


def test_versions_and_traffic(tmp_path, saved):
    async def tell(world):
        world.put(saved, "m/")
        first = (await world.upload(f"gs://{STAGING}/m/"))["response"]
        world.storage.objects.write(STAGING, "m/saved_model.pb", b"broken", {})
        second = (await world.upload(f"gs://{STAGING}/m/", parentModel=first["model"]))["response"]
        assert (second["model"], second["modelVersionId"]) == (first["model"], "2")
        listed = await world.ask("GET", f"/v1/{first['model']}:listVersions")
        assert [each["versionId"] for each in listed["models"]] == ["1", "2"]
        assert (await world.ask("GET", f"/v1/{first['model']}"))["versionId"] == "2"
        assert [each["name"] for each in (await world.ask("GET", f"/v1/{PARENT}/models"))["models"]] == [first["model"]]
        endpoint = await world.endpoint()

        async def deploy(model, status=200, **split):
            body = {"deployedModel": {"model": model}, **split}
            started = await world.ask("POST", f"/v1/{endpoint}:deployModel", body, status)
            return await world.wait(started) if status == 200 else started

        broken = await deploy(second["model"])
        one = (await deploy(f"{first['model']}@1"))["response"]["deployedModel"]["id"]
        assert (await world.ask("GET", f"/v1/{endpoint}"))["trafficSplit"] == {one: 100}
        two = (await deploy(f"{first['model']}@1"))["response"]["deployedModel"]["id"]
        assert (await world.ask("GET", f"/v1/{endpoint}"))["trafficSplit"] == {one: 100}
        await deploy(f"{first['model']}@1", 400, trafficSplit={"0": 50})
        await deploy(f"{first['model']}@1", 400, trafficSplit={"0": 50, "7": 50})
        await deploy("projects/contoso-churn-prod/locations/us-central1/models/1", 403)
        await deploy(f"{PARENT}/models/1", 404)
        body = {"deployedModelId": one, "trafficSplit": {two: 100}}
        await world.wait(await world.ask("POST", f"/v1/{endpoint}:undeployModel", body))
        found = await world.ask("GET", f"/v1/{endpoint}")
        assert (found["trafficSplit"], [each["id"] for each in found["deployedModels"]]) == ({two: 100}, [two])
        return broken

    broken = story(tmp_path, tell)
    assert broken["error"]["code"] == 9
    assert broken["error"]["message"].startswith("Model server terminated: ")


@pytest.mark.parametrize(
    ("uri", "code", "says"),
    [
        (f"gs://{STAGING}/nothing", 9, "There are no files under"),
        (
            "gs://contoso-fraud-prod-data/m",
            7,
            "service-100000000001@gcp-sa-aiplatform.iam.gserviceaccount.com does not",
        ),
        ("gs://nobodys-bucket", 7, "does not have storage.objects.list access"),
    ],
)
def test_an_artifact_that_cannot_be_read(tmp_path, uri, code, says):
    error = story(tmp_path, lambda world: world.upload(uri))["error"]
    assert (error["code"], says in error["message"]) == (code, True)


def test_a_model_without_an_artifact_and_with_a_chosen_id(tmp_path):
    async def tell(world):
        return (await world.upload("", modelId="mine"))["response"]["model"]

    assert story(tmp_path, tell) == "projects/100000000001/locations/us-central1/models/mine"


def test_a_lab_that_ends_while_a_model_loads(tmp_path, saved):
    async def tell(world):
        world.put(saved, "m/")
        name = (await world.upload(f"gs://{STAGING}/m"))["response"]["model"]
        endpoint = await world.endpoint()
        started = await world.ask("POST", f"/v1/{endpoint}:deployModel", {"deployedModel": {"model": name}})
        await asyncio.sleep(0.05)
        await world.vertex.close()
        return await world.ask("GET", f"/v1/{started['name']}")

    assert "done" not in story(tmp_path, tell)
