"""TensorFlow Serving in the lab: both protocols over real SavedModels, and what each call came with."""

import asyncio
import base64
import json
import threading
from collections.abc import Iterator

import grpc
import httpx
import numpy as np
import pytest
from google.protobuf import message_factory

from remit.lab import lifecycle
from remit.lab.api_surface import start_grpc
from remit.lab.errors import CloudError
from remit.lab.http_server import HttpServer
from remit.lab.tensorflow_serving import TensorFlowServing
from remit.lab.tensorflow_serving_wire import example, message, plain, pool, tensor

S = "tensorflow.serving."
CLASSIFY, REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"


class World:
    """A model server on a loop of its own."""

    def __init__(self, models):
        self.serving = TensorFlowServing(models)
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.http = self.run(HttpServer(self.serving.handle).listen())
        self.url = f"http://127.0.0.1:{self.http.sockets[0].getsockname()[1]}"
        self.server, port = self.run(start_grpc([self.serving.grpc]))
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}")

    def run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(60)

    def close(self):
        async def end():
            await self.serving.close()
            await self.server.stop(0)
            self.http.close()
            left = asyncio.all_tasks() - {asyncio.current_task()}
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
            await asyncio.sleep(0)

        self.channel.close()
        self.run(end())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()

    def rest(self, method, path, body=None, **headers):
        answer = httpx.request(method, f"{self.url}{path}", json=body, headers=headers, trust_env=False)
        return answer.status_code, answer.json()

    def call(self, name, request, *metadata):
        service, _, method = name.partition("/")
        found = pool().FindServiceByName(f"{S}{service}").methods_by_name[method]
        ask = self.channel.unary_unary(
            f"/{S}{name}",
            message_factory.GetMessageClass(found.input_type).SerializeToString,
            message_factory.GetMessageClass(found.output_type).FromString,
        )
        return ask(request, metadata=metadata, timeout=60)

    def refused(self, name, request):
        with pytest.raises(grpc.RpcError) as error:
            self.call(name, request)
        return error.value.code().name, error.value.details()


@pytest.fixture(scope="module")
def world(models) -> Iterator[World]:
    made = World(models)
    yield made
    made.close()


def spec(name="half", **more):
    return message(f"{S}ModelSpec")(name=name, **more)


def given(*features, context=None):
    found = message(f"{S}Input")()
    kind = found.example_list_with_context if context else found.example_list
    kind.examples.extend(example(each) for each in features)
    if context:
        kind.context.CopyFrom(example(context))
    return found


# REST


@pytest.mark.parametrize(
    ("path", "body", "answer"),
    [
        ("half:predict", {"instances": [1, 2]}, {"predictions": [3.5, 4.0]}),
        ("half/versions/1:predict", {"instances": [{"x": 1}]}, {"predictions": [2.5]}),
        ("half/labels/stable:predict", {"inputs": [1.0]}, {"outputs": [2.5]}),
        ("half/labels/canary:predict", {"inputs": {"x": [1.0]}}, {"outputs": [3.5]}),
        (
            "half:predict",
            {"signature_name": "greet", "instances": [{"name": "Dana", "n": 1}]},
            {"predictions": [{"more": 2, "text": "hello Dana"}]},
        ),
        ("trend:classify", {"examples": [{"x": 2.0}]}, {"results": [[["up", 4.0], ["down", -4.0]]]}),
        (
            "trend/versions/7:classify",
            {
                "signature_name": "only_scores",
                "context": {"bias": 1.0},
                "examples": [{"x": 1.0}, {"x": [2.5], "bias": 0.5}],
            },
            {"results": [[["", 3.0], ["", -3.0]], [["", 5.5], ["", -5.5]]]},
        ),
        ("trend:regress", {"signature_name": "size", "examples": [{"x": 2.0}, {"x": 0.5}]}, {"results": [4.0, 1.0]}),
    ],
)
def test_inference_over_rest(world, path, body, answer):
    assert world.rest("POST", f"/v1/models/{path}", body) == (200, answer)


@pytest.mark.parametrize(
    ("asked", "body", "status", "words"),
    [
        ("POST nobody:predict", {"instances": [1]}, 404, "Servable not found for request: Latest(nobody)"),
        ("POST half/versions/9:predict", {}, 404, "Servable not found for request: Specific(half, 9)"),
        ("POST half/labels/none:predict", {}, 400, "Unrecognized servable version label: none"),
        ("POST half:predict", {}, 400, "must have either"),
        ("POST half:predict", {"signature_name": "none", "instances": [1]}, 400, "not found in signature def"),
        ("POST half:classify", {"examples": [{"x": 1.0}]}, 400, "Expected classification signature method_name"),
        ("POST trend:regress", {"examples": [{"x": 1.0}]}, 400, "Expected regression signature method_name"),
        ("POST trend:classify", {"examples": []}, 400, "non-empty list"),
        ("POST trend:classify", {"examples": [1]}, 400, "must be JSON object"),
        ("POST trend:classify", {"examples": [{"y": 1.0}]}, 400, "Feature: x"),
        ("POST half:explain", {}, 400, "Malformed request: POST /v1/models/half:explain"),
        ("GET half:predict", None, 400, "Malformed request"),
        ("POST half/metadata", {}, 400, "Malformed request"),
        ("GET half/versions/x", None, 400, "Malformed request"),
        ("GET nobody", None, 404, "Latest(nobody)"),
    ],
)
def test_refusals_over_rest(world, asked, body, status, words):
    method, path = asked.split()
    found, answer = world.rest(method, f"/v1/models/{path}", body)
    assert (found, words in answer["error"]) == (status, True), answer


def test_what_is_no_json_is_refused(world):
    answer = httpx.post(f"{world.url}/v1/models/half:predict", content=b"{", trust_env=False)
    assert (answer.status_code, "JSON Parse error" in answer.json()["error"]) == (400, True)


def test_status_and_metadata_over_rest(world):
    _, both = world.rest("GET", "/v1/models/half")
    assert [each["version"] for each in both["model_version_status"]] == ["2", "1"]
    status = {"error_code": "OK", "error_message": ""}
    for path in ("versions/1", "labels/stable"):
        _, one = world.rest("GET", f"/v1/models/half/{path}")
        assert one == {"model_version_status": [{"version": "1", "state": "AVAILABLE", "status": status}]}
    _, found = world.rest("GET", "/v1/models/half/metadata")
    assert found["model_spec"] == {"name": "half", "version": "2"}
    signature = found["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["inputs"]["x"]["dtype"] == "DT_FLOAT"
    assert signature["method_name"] == "tensorflow/serving/predict"


# gRPC


def test_predict_over_grpc(world):
    request = message(f"{S}PredictRequest")(model_spec=spec(version={"value": 1}))
    request.inputs["x"].CopyFrom(tensor([1.0, 2.0], 1))
    answer = world.call("PredictionService/Predict", request)
    assert np.frombuffer(answer.outputs["y"].tensor_content, np.float32).tolist() == [2.5, 3.0]
    assert (answer.model_spec.name, answer.model_spec.version.value) == ("half", 1)
    assert answer.model_spec.signature_name == "serving_default"
    request = message(f"{S}PredictRequest")(model_spec=spec(signature_name="greet"), output_filter=["text"])
    request.inputs["name"].CopyFrom(tensor([b"Dana", b"\xff"], 7))
    request.inputs["n"].CopyFrom(tensor([1, 2**62], 9))
    answer = world.call("PredictionService/Predict", request)
    assert set(answer.outputs) == {"text"}
    assert list(answer.outputs["text"].string_val) == [b"hello Dana", b"hello \xff"]
    request.output_filter[:] = ["more"]
    more = world.call("PredictionService/Predict", request).outputs["more"]
    assert np.frombuffer(more.tensor_content, np.int64).tolist() == [2, 2**62 + 1]
    request.output_filter[:] = ["none"]
    assert world.refused("PredictionService/Predict", request)[0] == "INVALID_ARGUMENT"


def test_examples_over_grpc(world):
    classify = message(f"{S}ClassificationRequest")(model_spec=spec("trend"), input=given({"x": 2.0}))
    answer = world.call("PredictionService/Classify", classify)
    assert [(each.label, each.score) for each in answer.result.classifications[0].classes] == [("up", 4), ("down", -4)]
    size = spec("trend", signature_name="size")
    regress = message(f"{S}RegressionRequest")(model_spec=size, input=given({"x": 1.0}, context={"bias": 3.0}))
    assert [each.value for each in world.call("PredictionService/Regress", regress).result.regressions] == [5.0]
    several = message(f"{S}MultiInferenceRequest")(input=given({"x": 1.0}))
    several.tasks.add(model_spec=spec("trend"), method_name=CLASSIFY)
    several.tasks.add(model_spec=size, method_name=REGRESS)
    found = world.call("PredictionService/MultiInference", several).results
    assert found[0].classification_result.classifications[0].classes[0].score == 2.0
    assert found[1].regression_result.regressions[0].value == 2.0
    assert found[1].model_spec.signature_name == "size"


def multi(*tasks):
    made = message(f"{S}MultiInferenceRequest")(input=given({"x": 1.0}))
    for name, method in tasks:
        made.tasks.add(model_spec=spec(name), method_name=method)
    return made


REFUSED = [
    ("PredictionService/Predict", "PredictRequest", {"model_spec": {"name": "none"}}, "NOT_FOUND"),
    ("PredictionService/Predict", "PredictRequest", {}, "INVALID_ARGUMENT"),
    ("PredictionService/Predict", "PredictRequest", {"model_spec": {"name": "half"}}, "INVALID_ARGUMENT"),
    ("PredictionService/Classify", "ClassificationRequest", {"model_spec": {"name": "trend"}}, "INVALID_ARGUMENT"),
    ("PredictionService/MultiInference", "MultiInferenceRequest", {}, "INVALID_ARGUMENT"),
    (
        "PredictionService/GetModelMetadata",
        "GetModelMetadataRequest",
        {"model_spec": {"name": "half"}},
        "INVALID_ARGUMENT",
    ),
    ("ModelService/GetModelStatus", "GetModelStatusRequest", {"model_spec": {"name": "none"}}, "NOT_FOUND"),
    (
        "ModelService/HandleReloadConfigRequest",
        "ReloadConfigRequest",
        {"config": {"model_config_list": {"config": [{"name": "half", "version_labels": {"next": 9}}]}}},
        "FAILED_PRECONDITION",
    ),
]


@pytest.mark.parametrize(("name", "kind", "fields", "code"), REFUSED)
def test_refusals_over_grpc(world, name, kind, fields, code):
    assert world.refused(name, message(f"{S}{kind}")(**fields))[0] == code


def test_sessions_are_not_served(world):
    with pytest.raises(grpc.RpcError) as error:
        world.channel.unary_unary(f"/{S}SessionService/SessionRun")(b"")
    assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_tasks_of_one_model_only(world):
    name = "PredictionService/MultiInference"
    assert world.refused(name, multi(("trend", CLASSIFY), ("half", CLASSIFY)))[0] == "INVALID_ARGUMENT"
    assert world.refused(name, multi(("trend", "tensorflow/serving/predict")))[0] == "UNIMPLEMENTED"


def test_a_message_that_cannot_be_parsed(world):
    with pytest.raises(grpc.RpcError) as error:
        world.channel.unary_unary(f"/{S}PredictionService/Predict")(b"\x0a\xff")
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_status_metadata_and_reload_over_grpc(world, models):
    status = message(f"{S}GetModelStatusRequest")(model_spec=spec(version_label="canary"))
    (one,) = world.call("ModelService/GetModelStatus", status).model_version_status
    assert (one.version, one.state, one.status.error_code) == (2, 30, 0)
    wanted = message(f"{S}GetModelMetadataRequest")(model_spec=spec(), metadata_field=["signature_def"])
    found = message(f"{S}SignatureDefMap")()
    world.call("PredictionService/GetModelMetadata", wanted).metadata["signature_def"].Unpack(found)
    assert set(found.signature_def) == {"serving_default", "greet"}
    reload = message(f"{S}ReloadConfigRequest")()
    reload.config.model_config_list.config.add(name="half", version_labels={"stable": 1, "canary": 2, "next": 2})
    assert world.call("ModelService/HandleReloadConfigRequest", reload).status.error_code == 0
    assert world.rest("GET", "/v1/models/half/labels/next")[0] == 200


def test_every_call_is_kept_with_what_it_came_with(world):
    world.serving.calls.clear()
    world.rest("POST", "/v1/models/half/labels/stable:predict", {"instances": [1]}, **{"x-remit-assertion": "a.b.c"})
    request = message(f"{S}PredictRequest")(model_spec=spec(version={"value": 2}))
    request.inputs["x"].CopyFrom(tensor([1.0], 1))
    world.call("PredictionService/Predict", request, ("x-remit-assertion", "d.e.f"))
    rest, rpc = world.serving.calls
    assert (rest.transport, rest.method, rest.model, rest.label) == ("rest", "predict", "half", "stable")
    assert (rpc.method, rpc.model, rpc.version) == (f"{S}PredictionService.Predict", "half", "2")
    assert [each.headers["x-remit-assertion"] for each in (rest, rpc)] == ["a.b.c", "d.e.f"]


# Tensors


@pytest.mark.parametrize(
    ("fields", "value"),
    [
        ({"dtype": 1, "float_val": [1.5], "tensor_shape": {"dim": [{"size": 2}]}}, [1.5, 1.5]),
        ({"dtype": 9, "int64_val": [1, 2], "tensor_shape": {"dim": [{"size": 2}, {"size": 1}]}}, [[1], [2]]),
        ({"dtype": 3, "int_val": [7]}, 7),
        ({"dtype": 10, "bool_val": [True]}, True),
        ({"dtype": 7, "string_val": [b"\xff"]}, {"b64": base64.b64encode(b"\xff").decode()}),
    ],
)
def test_tensors_in_every_spelling(fields, value):
    assert plain(message("tensorflow.TensorProto")(**fields)) == value


@pytest.mark.parametrize(
    "fields",
    [
        {"dtype": 8, "scomplex_val": [1, 2]},
        {"dtype": 1, "tensor_content": b"abc"},
        {"dtype": 1, "float_val": [1, 2], "tensor_shape": {"dim": [{"size": 3}]}},
        {"dtype": 4, "int_val": [300]},
    ],
)
def test_tensors_that_are_none(fields):
    with pytest.raises(CloudError):
        plain(message("tensorflow.TensorProto")(**fields))


# The lab's process


def test_the_lab_serves_models_when_it_is_given_some(tmp_path, models):
    lab = lifecycle.up(tmp_path / "lab", models=models)
    try:
        urls = lifecycle.services(lab)
        assert set(urls) == {"board", "serving", "serving-grpc"}
        answer = httpx.get(f"{urls['serving']}/v1/models/trend", headers={"x-remit-assertion": "t"}, trust_env=False)
        assert answer.json()["model_version_status"][0]["version"] == "7"
        told = httpx.post(lab.control, json={"serving_calls": True}, trust_env=False).json()["told"]
        (call,) = json.loads(told["serving_calls"])
        assert (call["model"], call["headers"]["x-remit-assertion"]) == ("trend", "t")
    finally:
        lifecycle.down(tmp_path / "lab")
