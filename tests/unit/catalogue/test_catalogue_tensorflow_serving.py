"""TensorFlow Serving: one operation for one model, whichever way it is asked, and no message with two readings."""

import gzip
import importlib.util
import random
import time
from pathlib import Path

import pytest
from google.protobuf import json_format
from google.protobuf.message import DecodeError

from remit.catalogue.descriptors import procedures
from remit.catalogue.services import service_request, walked
from remit.model.errors import Refused
from remit.model.estate import Service, ServiceKind
from remit.model.reasons import Reason
from remit.model.wire import WireRequest

SERVING = Service(
    "digits", "contoso-fraud-prod", ServiceKind.TENSORFLOW_SERVING, "https://digits", host="digits.example"
)
BELOW = Service("below", "contoso-fraud-prod", ServiceKind.TENSORFLOW_SERVING, "https://below", prefix="/apps/below/")
ROOT = "//remit/projects/contoso-fraud-prod/services/digits"
PREDICTION, MODELS = "/tensorflow.serving.PredictionService/", "/tensorflow.serving.ModelService/"
PREDICT = f"{PREDICTION}Predict"
REQUESTS = {one.path: one.request for one in procedures("tensorflow_serving")}


def _varint(number):
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def _length(number, content):
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _frame(payload, flag=0):
    return bytes([flag]) + len(payload).to_bytes(4, "big") + payload


def _bytes(path, value):
    message = REQUESTS[path]()
    json_format.ParseDict(value, message, descriptor_pool=message.DESCRIPTOR.file.pool)
    return message.SerializeToString()


def _grpc(path, value, *, body=None, sent=True, service=SERVING):
    if body is None:
        body = _frame(value if isinstance(value, bytes) else _bytes(path, value))
    headers = (("content-type", "application/grpc"),)
    return service_request(service, WireRequest(None, "POST", service.known_as, path, headers, body, body_sent=sent))


def _rest(method, target, *, service=SERVING, headers=()):
    return service_request(service, WireRequest(None, method, service.known_as, target, tuple(headers)))


def _refused(call, *arguments, **more):
    with pytest.raises(Refused) as caught:
        call(*arguments, **more)
    return caught.value


SPECS = [
    ({"name": "mnist"}, "mnist", "/models/mnist"),
    ({"name": "mnist", "version": "7"}, "mnist/versions/7", "/models/mnist/versions/7"),
    ({"name": "mnist", "version": "0"}, "mnist/versions/0", "/models/mnist/versions/0"),
    (
        {"name": "a_b-c.d", "version": "9223372036854775807"},
        "a_b-c.d/versions/9223372036854775807",
        "/models/a_b-c.d/versions/9223372036854775807",
    ),
    ({"name": "mnist", "versionLabel": "stable"}, "mnist/labels/stable", "/models/mnist/labels/stable"),
]
WAYS = [
    (PREDICT, "POST", ":predict", "predict"),
    (f"{PREDICTION}Classify", "POST", ":classify", "classify"),
    (f"{PREDICTION}Regress", "POST", ":regress", "regress"),
    (f"{PREDICTION}GetModelMetadata", "GET", "/metadata", "getMetadata"),
    (f"{MODELS}GetModelStatus", "GET", "", "getStatus"),
]


@pytest.mark.parametrize(("spec", "path", "name"), SPECS)
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way[3])
def test_both_ways_of_asking_are_one_operation(spec, path, name, way):
    procedure, verb, suffix, action = way
    over_grpc = _grpc(procedure, {"modelSpec": {**spec, "signatureName": "serving_default"}})
    over_rest = _rest(verb, f"/v1/models/{path}{suffix}")
    assert over_grpc.operations == over_rest.operations
    (operation,) = over_grpc.operations
    assert operation.action.id == f"tensorflow_serving.models.{action}"
    assert [(one.type, one.name, one.project) for one in operation.resources] == [
        ("ServedModel", ROOT + name, "contoso-fraud-prod")
    ]
    assert over_grpc.leasable
    assert over_rest.leasable
    assert (over_grpc.lease_key_fields, over_rest.lease_key_fields) == (("model_spec",), ())


def test_an_inference_of_several_models_is_an_operation_for_each():
    tasks = [
        {"modelSpec": {"name": "a"}, "methodName": "tensorflow/serving/classify"},
        {"modelSpec": {"name": "b", "version": "2"}, "methodName": "tensorflow/serving/regress"},
        {"modelSpec": {"name": "a"}, "methodName": "tensorflow/serving/regress"},
    ]
    request = _grpc(f"{PREDICTION}MultiInference", {"tasks": tasks, "input": {"exampleList": {"examples": [{}]}}})
    assert [one.resources[0].name for one in request.operations] == [f"{ROOT}/models/a", f"{ROOT}/models/b/versions/2"]
    assert {one.action.id for one in request.operations} == {"tensorflow_serving.models.multiInference"}
    assert not request.leasable
    assert _refused(_grpc, f"{PREDICTION}MultiInference", {}).reason is Reason.REQUEST_MALFORMED
    assert _refused(_grpc, f"{PREDICTION}MultiInference", {"tasks": [*tasks, {}]}).reason is Reason.RESOURCE_UNKNOWN


def test_reloading_is_administration_of_the_service():
    config = {"config": {"modelConfigList": {"config": [{"name": "a", "basePath": "/etc"}]}}}
    request = _grpc(f"{MODELS}HandleReloadConfigRequest", config, sent=False)
    (operation,) = request.operations
    assert (operation.action.id, operation.resources[0].name) == ("tensorflow_serving.configs.reload", ROOT)
    assert not request.leasable


@pytest.mark.parametrize(
    "path",
    [
        "/tensorflow.serving.SessionService/SessionRun",
        f"{PREDICTION}PredictStreamed",
        f"{MODELS}Nothing",
        "/tensorflow.serving.predictionservice/Predict",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        "/tensorflow.EventListener/SendEvents",
    ],
)
def test_what_is_not_served_is_refused_by_name(path):
    refused = _refused(_grpc, path, b"")
    assert (refused.reason, path in refused.message) == (Reason.METHOD_UNKNOWN, True)


@pytest.mark.parametrize(
    ("verb", "target"),
    [
        ("GET", "/v1/models"),
        ("GET", "/v1/models/"),
        ("GET", "/"),
        ("GET", "/monitoring/prometheus/metrics"),
        ("GET", "/v1/models/m:predict"),
        ("POST", "/v1/models/m"),
        ("POST", "/v1/models/m/metadata"),
        ("HEAD", "/v1/models/m"),
        ("DELETE", "/v1/models/m"),
        ("OPTIONS", "/v1/models/m:predict"),
        ("POST", "/v1/models/m:explain"),
        ("POST", "/v1/models/m:PREDICT"),
        ("POST", "/V1/models/m:predict"),
        ("POST", "/v2/models/m:predict"),
        ("POST", "/v1/models/m:predict/"),
        ("POST", "/v1/models/m:predict:predict"),
        ("POST", "/v1/models/m:predict?x=1"),
        ("POST", "/v1/models/m:predict?"),
        ("POST", "/v1/models/m/versions/07:predict"),
        ("POST", "/v1/models/m/versions/-1:predict"),
        ("POST", "/v1/models/m/versions/+1:predict"),
        ("POST", "/v1/models/m/versions/x:predict"),
        ("POST", "/v1/models/m/versions/:predict"),
        ("POST", "/v1/models/m/versions/1/labels/x:predict"),
        ("POST", "/v1/models/m/labels/:predict"),
        ("GET", "/v1/models/m/versions/1/metadata/x"),
        ("GET", "/v1/models/a/b"),
        ("POST", "/v1/models/:predict"),
    ],
)
def test_other_paths_are_unknown(verb, target):
    assert _refused(_rest, verb, target).reason is Reason.METHOD_UNKNOWN


@pytest.mark.parametrize(
    "target",
    [
        "/v1/models/a%2Fb:predict",
        "/v1/models/a%2fb:predict",
        "/v1/models/..:predict/../m",
        "/v1/models/%2e%2e:predict",
        "/v1/models//m:predict",
        "/v1/models/m/../n:predict",
        "/v1/models/m%00:predict",
        "/v1/models/a%20b:predict",
        "/v1/models/%6Dnist:predict",
        "/v1/models/..:predict",
        "/v1/models/m/labels/%73table:predict",
        "/v1/models/m/labels/.x:predict",
        "/v1/models/m/versions/9223372036854775808:predict",
        "/v1/models/m/versions/9999999999999999999:predict",
        f"/v1/models/{'m' * 201}:predict",
        "/v1/models/a@b:predict",
    ],
)
def test_a_name_has_one_spelling(target):
    assert _refused(_rest, "POST", target).reason in {Reason.REQUEST_AMBIGUOUS, Reason.RESOURCE_UNKNOWN}


def test_no_upgrade_of_a_model():
    assert _refused(_rest, "GET", "/v1/models/m", headers=[("upgrade", "websocket")]).reason is Reason.METHOD_UNKNOWN


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"name": ""},
        {"version": "1"},
        {"name": "a/b"},
        {"name": "../a"},
        {"name": ".."},
        {"name": "a b"},
        {"name": "a\x00"},
        {"name": "a\n"},
        {"name": "\uff41"},
        {"name": "a%2Fb"},
        {"name": "a:predict"},
        {"name": "m" * 201},
        {"name": "m", "versionLabel": ""},
        {"name": "m", "versionLabel": "a/b"},
        {"name": "m", "versionLabel": "stable/../x"},
        {"name": "m", "version": "-1"},
    ],
)
@pytest.mark.parametrize("procedure", [way[0] for way in WAYS])
def test_a_message_names_a_plain_model(procedure, spec):
    assert _refused(_grpc, procedure, {"modelSpec": spec}).reason is Reason.RESOURCE_UNKNOWN


def test_a_message_without_a_model_is_refused():
    for procedure in (way[0] for way in WAYS):
        assert _refused(_grpc, procedure, b"").reason is Reason.RESOURCE_UNKNOWN
        assert _refused(_grpc, procedure, b"", sent=False).reason is Reason.REQUEST_MALFORMED


MINE, THEIRS = _length(1, b"mine"), _length(1, b"theirs")
ATTACKS = {
    "two model_specs": _length(1, MINE) + _length(1, THEIRS),
    "the same twice": _length(1, MINE) * 2,
    "around the inputs": _length(1, MINE) + _length(2, _length(1, b"x")) + _length(1, THEIRS),
    "a second name inside": _length(1, MINE + THEIRS),
    "version and label": _length(1, MINE + _length(2, b"\x08\x01") + _length(4, b"stable")),
    "two versions": _length(1, MINE + _length(2, b"\x08\x01") + _length(2, b"\x08\x02")),
    "two values of a version": _length(1, MINE + _length(2, b"\x08\x01\x08\x02")),
    "a field nobody knows": _length(1, MINE) + _length(99, THEIRS),
    "one inside": _length(1, MINE + _length(99, b"x")),
    "wrong wire type, fixed": _length(1, MINE) + b"\x0d\x01\x02\x03\x04",
    "wrong wire type, varint": _length(1, MINE) + b"\x08\x01",
    "wrong wire type of the inputs": _length(1, MINE) + b"\x10\x01",
    "wrong wire type of the name": _length(1, b"\x0d\x01\x02\x03\x04" + MINE),
    "a group": b"\x0b" + _length(1, b"x") + b"\x0c" + _length(1, MINE),
    "a group of another field": b"\x13\x14" + _length(1, MINE),
    "a long tag": b"\x8a\x00" + _length(1, MINE)[1:],
    "a long length": b"\x0a" + bytes([len(MINE) | 0x80, 0]) + MINE,
    "a tag of 64 bits": b"\x8a\x80\x80\x80\x80\x80\x80\x80\x80\x01" + _length(1, MINE)[1:],
    "field zero": b"\x02\x00" + _length(1, MINE),
    "cut off": _length(1, MINE)[:-1],
    "cut off in the inputs": _length(1, MINE) + b"\x12\x7f",
    "no end of a number": _length(1, MINE) + b"\x12" + b"\xff" * 11,
    "bytes behind it": _length(1, MINE) + b"\x0a",
    "no UTF-8": _length(1, _length(1, b"\xff")),
}


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("procedure", [way[0] for way in WAYS])
def test_a_message_with_two_readings_is_refused(procedure, attack):
    assert _refused(_grpc, procedure, ATTACKS[attack]).reason in {Reason.REQUEST_AMBIGUOUS, Reason.REQUEST_MALFORMED}


def test_framing():
    one = _frame(_bytes(PREDICT, {"modelSpec": {"name": "m"}}))
    assert _grpc(PREDICT, b"", body=one)
    for body in (one + one, one[:-1], b"\1" + one[1:], b"", b"\0\0", one + b"\0"):
        assert _refused(_grpc, PREDICT, b"", body=body).reason is Reason.REQUEST_AMBIGUOUS


def test_the_order_of_fields_is_free():
    inputs = _length(2, _length(1, b"x") + _length(2, b"\x08\x01"))
    version = _length(2, b"\x08\x03")
    request = _grpc(PREDICT, inputs * 3 + _length(1, _length(3, b"sig") + version + MINE) + _length(3, b"y"))
    assert request.first.resources[0].name == f"{ROOT}/models/mine/versions/3"


def test_a_large_tensor_is_passed_by():
    tensor = REQUESTS[PREDICT]().inputs["x"]
    tensor.dtype = 1
    tensor.float_val.extend([0.5] * 3_000_000)
    message = _length(2, _length(1, b"x") + _length(2, tensor.SerializeToString())) + _length(1, MINE)
    began = time.perf_counter()
    assert _grpc(PREDICT, message).first.resources[0].name == f"{ROOT}/models/mine"
    assert time.perf_counter() - began < 0.5, "12 MB are not walked"


def test_too_many_fields_have_an_end():
    refused = _refused(_grpc, PREDICT, _length(2, b"") * 30_000 + _length(1, MINE))
    assert "too many" in refused.message


def test_no_mutation_names_another_model():
    seed = random.randrange(1 << 32)
    print("seed", seed)
    chance = random.Random(seed)
    plain = _bytes(PREDICT, {"modelSpec": {"name": "mine", "version": "3"}, "outputFilter": ["y"]})
    for _ in range(3000):
        payload = bytearray(plain)
        for _ in range(chance.randint(1, 3)):
            payload[chance.randrange(len(payload))] = chance.randrange(256)
        try:
            operation = _grpc(PREDICT, bytes(payload)).first
        except Refused:
            continue
        try:
            spec = REQUESTS[PREDICT].FromString(bytes(payload)).model_spec
        except DecodeError:
            continue  # of what names nothing, text that is not UTF-8: the server reads no message at all
        which = spec.WhichOneof("version_choice")
        chosen = {"version": f"/versions/{spec.version.value}", "version_label": f"/labels/{spec.version_label}"}
        assert operation.resources[0].name == f"{ROOT}/models/{spec.name}{chosen.get(which, '')}"


def test_by_prefix():
    assert _rest("GET", "/apps/below/v1/models/m", service=BELOW).first.resources[0].name.endswith("/below/models/m")
    assert _refused(_rest, "GET", "/v1/models/m", service=BELOW).reason is Reason.RESOURCE_UNKNOWN
    assert _refused(_rest, "GET", "/apps/below/apps/below/v1/models/m", service=BELOW).reason is Reason.METHOD_UNKNOWN


def test_what_the_gateway_is_told():
    assert set(walked()) == {way[0] for way in WAYS} | {f"{PREDICTION}MultiInference"}
    assert set(walked().values()) == {(1,)}
    for path in walked():
        assert REQUESTS[path].DESCRIPTOR.fields_by_number[1].name in {"model_spec", "tasks"}


def test_the_descriptors_hold_what_is_needed_and_no_more():
    path = Path(__file__).parents[3] / "tools" / "tensorflow_descriptors.py"
    spec = importlib.util.spec_from_file_location("tensorflow_descriptors", path)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    held = tool.descriptor_pb2.FileDescriptorSet.FromString(gzip.decompress(tool.TARGET.read_bytes()))
    assert tool.trimmed({file.name: file for file in held.file}) == held
    assert set(REQUESTS) == {*walked(), f"{MODELS}HandleReloadConfigRequest"}
