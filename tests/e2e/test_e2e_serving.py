"""TensorFlow Serving behind the running plane: every call of its protocols, on both doors, over gRPC and REST.

The model server is the lab's, over SavedModels that TensorFlow wrote; the clients are `tensorflow-serving-api`'s own
stubs (a wheel beside the environment, in a process of its own, since TensorFlow comes with it), and the same calls made
from the descriptors. Policy: ml engineers use every model of the project, security predicts with `half` alone.
"""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc
import pytest

from remit.lab.board import ASSERTION
from remit.lab.tensorflow_serving_wire import example, message, plain, pool, tensor

pytestmark = pytest.mark.e2e

HERE = Path(__file__).resolve().parent
WHEEL = HERE.parents[1] / ".venv" / "oracles" / "tensorflow_serving_api-2.21.0-py2.py3-none-any.whl"
S = "tensorflow.serving."
DOORS = ["tunnel", "endpoint"]
FLOAT = 1


def _load(name: str, path: Path) -> ModuleType:
    """A module that stands beside the tests, once."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


lib = _load("e2e_services_world", HERE / "services_world.py")


@pytest.fixture(scope="module")
def town(pytestconfig: pytest.Config) -> Any:
    return lib.shared(pytestconfig)


class Calls:
    """One caller on one door."""

    def __init__(self, town: Any, door: str, name: str) -> None:
        self._town, self._door, self._name = town, door, name

    def call(self, method: str, request: Any) -> Any:
        """A gRPC call, or the status of its refusal with the reason."""
        service, _, name = method.partition("/")
        found = pool().FindServiceByName(f"{S}{service}").methods_by_name[name]
        answer = message(found.output_type.full_name)
        data = request if isinstance(request, bytes) else request.SerializeToString()
        with self._town.channel(lib.DIGITS, door=self._door) as channel:
            ask = channel.unary_unary(f"/{S}{method}", response_deserializer=answer.FromString)
            token = self._town.bearer(self._name)["authorization"]
            try:
                return ask(data, metadata=(("authorization", token),), timeout=lib.SOON)
            except grpc.RpcError as error:
                told = dict((*(error.initial_metadata() or ()), *(error.trailing_metadata() or ())))
                return error.code().name, told.get("x-remit-reason", "")

    def rest(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        headers = self._town.bearer(self._name)
        opened = self._town.world.tunnel(host=lib.DIGITS) if self._door == "tunnel" else self._town.at(lib.DIGITS)
        with opened as connection:
            reply = connection.ask(method, f"/v1/models/{path}", body, headers)
        return reply.status, reply.reason or json.loads(reply.body)


def served(town: Any) -> list[Any]:
    """What reached the model server."""
    return list(json.loads(town.world.control(serving_calls=True)["serving_calls"]))


def spec(name: str = "half", **more: Any) -> Any:
    return message(f"{S}ModelSpec")(name=name, **more)


def predict(name: str = "half", value: float = 1.0, **more: Any) -> Any:
    return message(f"{S}PredictRequest")(model_spec=spec(name, **more), inputs={"x": tensor([value], FLOAT)})


def given(*features: Any) -> Any:
    found = message(f"{S}Input")()
    found.example_list.examples.extend(example(each) for each in features)
    return found


def tasks(*names: str) -> Any:
    made = message(f"{S}MultiInferenceRequest")(input=given({"x": 2.0}))
    for name in names:
        made.tasks.add(model_spec=spec(name, signature_name="size"), method_name="tensorflow/serving/regress")
    return made


@pytest.mark.promise("V24")
@pytest.mark.parametrize("door", DOORS)
def test_every_call_of_its_protocol(town: Any, door: str) -> None:
    dana = Calls(town, door, "dana")
    for more, answer in (
        ({}, 3.5),
        ({"version": {"value": 1}}, 2.5),
        ({"version_label": "stable"}, 2.5),
        ({"version_label": "canary"}, 3.5),
    ):
        found = dana.call("PredictionService/Predict", predict(**more))
        assert plain(found.outputs["y"]) == [answer], more
    classify = message(f"{S}ClassificationRequest")(model_spec=spec("trend"), input=given({"x": 2.0}))
    [classes] = dana.call("PredictionService/Classify", classify).result.classifications
    assert [(each.label, each.score) for each in classes.classes] == [("up", 4.0), ("down", -4.0)]
    regress = message(f"{S}RegressionRequest")(
        model_spec=spec("trend", signature_name="size"), input=given({"x": 2.0}, {"x": 0.5})
    )
    assert [each.value for each in dana.call("PredictionService/Regress", regress).result.regressions] == [4.0, 1.0]
    [one] = dana.call("PredictionService/MultiInference", tasks("trend")).results
    assert one.regression_result.regressions[0].value == 4.0
    asked = message(f"{S}GetModelMetadataRequest")(model_spec=spec(), metadata_field=["signature_def"])
    assert dana.call("PredictionService/GetModelMetadata", asked).model_spec.version.value == 2
    status = dana.call("ModelService/GetModelStatus", message(f"{S}GetModelStatusRequest")(model_spec=spec()))
    assert [each.version for each in status.model_version_status] == [2, 1]
    # the same over REST
    assert dana.rest("POST", "half:predict", {"instances": [1.0]}) == (200, {"predictions": [3.5]})
    assert dana.rest("POST", "half/versions/1:predict", {"instances": [1.0]}) == (200, {"predictions": [2.5]})
    assert dana.rest("POST", "half/labels/stable:predict", {"inputs": [1.0]}) == (200, {"outputs": [2.5]})
    assert dana.rest("POST", "trend:classify", {"examples": [{"x": 2.0}]})[1]["results"][0][0] == ["up", 4.0]
    body = {"signature_name": "size", "examples": [{"x": 2.0}]}
    assert dana.rest("POST", "trend:regress", body) == (200, {"results": [4.0]})
    assert dana.rest("GET", "half/metadata")[1]["model_spec"]["name"] == "half"
    assert len(dana.rest("GET", "half")[1]["model_version_status"]) == 2
    assert len(dana.rest("GET", "half/versions/1")[1]["model_version_status"]) == 1
    # what the model server was told of the caller: who it is, once, and nothing else
    for call in served(town):
        claims = town.claims(call["headers"])
        assert (claims["aud"], claims["sub"]) == (f"https://{lib.DIGITS}", lib.DANA)
        assert not {"authorization", "cookie", "x-remit-caller", "x-goog-request-reason"} & set(call["headers"])


@pytest.mark.parametrize("door", DOORS)
def test_a_policy_on_one_model_is_of_that_model(town: Any, door: str) -> None:
    sam, before = Calls(town, door, "sam"), len(served(town))
    assert plain(sam.call("PredictionService/Predict", predict()).outputs["y"]) == [3.5]
    assert sam.rest("POST", "half:predict", {"instances": [1.0]})[0] == 200
    refused = ("PERMISSION_DENIED", "no_policy_permits")
    classify = message(f"{S}ClassificationRequest")(model_spec=spec(), input=given({"x": 2.0}))
    for method, request in (
        ("PredictionService/Predict", predict("trend")),
        ("PredictionService/Predict", predict("HALF")),
        ("PredictionService/MultiInference", tasks("half", "trend")),
        ("PredictionService/MultiInference", tasks("trend", "half")),
        ("PredictionService/Classify", classify),
    ):
        assert sam.call(method, request) == refused, (method, request)
    assert sam.rest("POST", "trend:predict", {"instances": [1.0]}) == (403, "no_policy_permits")
    # what only an administrator may, whoever else may everything with the models
    reload = message(f"{S}ReloadConfigRequest")()
    for who in (sam, Calls(town, door, "dana")):
        assert who.call("ModelService/HandleReloadConfigRequest", reload) == refused
    assert len(served(town)) == before + 2


def _forged() -> dict[str, bytes]:
    """Messages that name `half` to one reader and `trend` to another."""
    half, trend = predict().SerializeToString(), predict("trend").SerializeToString()

    def field(number: int, data: bytes) -> bytes:
        return bytes([number << 3 | 2, len(data)]) + data

    rest = half[len(field(1, spec().SerializeToString())) :]
    both = field(1, b"\x0a\x04half\x0a\x05trend") + rest
    return {
        "a second model_spec": half + field(1, spec("trend").SerializeToString()),
        "a first model_spec": field(1, spec("trend").SerializeToString()) + half,
        "two messages in one": half + trend,
        "two names in one": both,
        "a version and a label": field(1, b"\x0a\x04half\x12\x02\x08\x01\x22\x06canary") + rest,
        "a longer tag": b"\x8a\x00" + field(1, spec("trend").SerializeToString())[1:] + half,
        "an unknown field": half + field(15, b"trend"),
        "a number where a message belongs": b"\x08\x01" + half,
        "no model": rest,
        "cut off": half[:-1],
        "a group": half + b"\x0b\x0c",
    }


@pytest.mark.promise("N9")
@pytest.mark.parametrize("what", _forged())
def test_a_message_that_can_be_read_in_two_ways_is_refused(town: Any, what: str) -> None:
    """Whoever may use every model is refused as well: what is not clear is not decided."""
    before = len(served(town))
    for name in ("sam", "dana"):
        said = Calls(town, "endpoint", name).call("PredictionService/Predict", _forged()[what])
        assert isinstance(said, tuple), what
        assert said[0] in {"INVALID_ARGUMENT", "PERMISSION_DENIED"}, said
        assert said[1].startswith(("request_", "resource_")), said
    assert len(served(town)) == before


@pytest.mark.parametrize("door", DOORS)
def test_paths_that_are_no_methods(town: Any, door: str) -> None:
    before, dana = len(served(town)), Calls(town, door, "dana")
    for method, path in (
        ("POST", "half:explain"),
        ("GET", "half:predict"),
        ("DELETE", "half"),
        ("POST", "half/versions/01:predict"),
        ("POST", "half/versions/1/labels/x:predict"),
        ("POST", "half%3Apredict"),
        ("POST", "ha%6Cf:predict"),
        ("POST", "../models/half:predict"),
        ("POST", "half;x:predict"),
        ("POST", "half:predict/"),
    ):
        status, _ = dana.rest(method, path, {"instances": [1.0]} if method == "POST" else None)
        assert status in {400, 403}, (method, path)
    for unknown in ("SessionService/SessionRun", "PredictionService/Other", "Other/Predict"):
        with town.channel(lib.DIGITS, door=door) as channel:
            ask = channel.unary_unary(f"/{S}{unknown}")
            with pytest.raises(grpc.RpcError) as refused:
                ask(b"", metadata=(("authorization", town.bearer("dana")["authorization"]),), timeout=lib.SOON)
        assert refused.value.code().name in {"PERMISSION_DENIED", "UNIMPLEMENTED"}
    assert len(served(town)) == before


STOCK = """
import json, sys
sys.path.insert(0, sys.argv[1])
import grpc
from tensorflow_serving.apis import classification_pb2, get_model_status_pb2, predict_pb2
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc
import tensorflow as tf
given = json.loads(sys.argv[2])
trusted = grpc.ssl_channel_credentials(open(given["roots"], "rb").read())
who = (("authorization", given["token"]),)
said = {}
for door, (target, options) in given["doors"].items():
    with grpc.secure_channel(target, trusted, [tuple(each) for each in options]) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "half"
        request.inputs["x"].CopyFrom(tf.make_tensor_proto([1.0, 2.0]))
        answer = stub.Predict(request, metadata=who, timeout=30)
        classify = classification_pb2.ClassificationRequest()
        classify.model_spec.name = "trend"
        features = {"x": tf.train.Feature(float_list=tf.train.FloatList(value=[2.0]))}
        classify.input.example_list.examples.append(tf.train.Example(features=tf.train.Features(feature=features)))
        try:
            stub.Classify(classify, metadata=who, timeout=30)
            refused = "none"
        except grpc.RpcError as error:
            refused = error.code().name
        status = get_model_status_pb2.GetModelStatusRequest()
        status.model_spec.name = "half"
        asked = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(status, metadata=who, timeout=30)
        versions = [each.version for each in asked.model_version_status]
        said[door] = [tf.make_ndarray(answer.outputs["y"]).tolist(), refused, versions]
print(json.dumps(said))
"""


@pytest.mark.promise("T1")
def test_the_real_client(town: Any, tmp_path: Path) -> None:
    """The stubs as they are published, and TensorFlow's own tensors. Sam may not classify with `trend`."""
    assert WHEEL.is_file(), f"{WHEEL} is missing: `make install` brings it (tests/oracles/requirements.txt)"
    roots = tmp_path / "roots.pem"
    roots.write_text(town.world.door_roots)
    named = [["grpc.ssl_target_name_override", lib.DIGITS], ["grpc.default_authority", lib.DIGITS]]
    doors = {
        "tunnel": (f"{lib.DIGITS}:443", [["grpc.http_proxy", town.origin]]),
        "endpoint": (f"127.0.0.1:{town.endpoint}", [*named, ["grpc.enable_http_proxy", 0]]),
    }
    answers = {}
    for name in ("dana", "sam"):
        given_ = {"roots": str(roots), "token": town.bearer(name)["authorization"], "doors": doors}
        command = [sys.executable, "-c", STOCK, str(WHEEL), json.dumps(given_)]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr[-3000:]
        answers[name] = json.loads(done.stdout.splitlines()[-1])
    for name, classified in (("dana", "none"), ("sam", "PERMISSION_DENIED")):
        for door in DOORS:
            assert answers[name][door] == [[3.5, 4.0], classified, [2, 1]], (name, door)
    last = served(town)[-1]
    assert town.claims({ASSERTION: last["headers"][ASSERTION]})["sub"] == lib.SAM
