"""TensorFlow Serving: which model a request means, over REST by its path, over gRPC by its message.

Of a message only the fields that name models are read, strictly; tensors and examples name nothing and are passed by,
however large they are. `SessionService` runs any part of a model's graph, which no signature limits: it is refused.
Sources: tensorflow/serving tensorflow_serving/apis/*.proto, tensorflow_serving/model_servers/http_rest_api_handler.cc,
tensorflow.org/tfx/serving/api_rest.
"""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from remit.catalogue import grpc_wire
from remit.catalogue.descriptors import descriptor, procedures
from remit.catalogue.frame import LENGTH, Field, Unclear, fields, framed, payload
from remit.catalogue.names import shown
from remit.catalogue.services.grpc_calls import procedure_of
from remit.catalogue.services.place import inside, path_of, resource
from remit.model.errors import Refused
from remit.model.estate import Service
from remit.model.operation import Action, Group, Operation, Request, Resource
from remit.model.reasons import Reason
from remit.model.wire import WireRequest

_MODELS = "tensorflow_serving.models."
PREDICT = Action(f"{_MODELS}predict", Group.USE)
CLASSIFY = Action(f"{_MODELS}classify", Group.USE)
REGRESS = Action(f"{_MODELS}regress", Group.USE)
MULTI_INFERENCE = Action(f"{_MODELS}multiInference", Group.USE)
METADATA = Action(f"{_MODELS}getMetadata", Group.OBSERVE)
STATUS = Action(f"{_MODELS}getStatus", Group.OBSERVE)
RELOAD = Action("tensorflow_serving.configs.reload", Group.ADMINISTER)
ACTIONS = (PREDICT, CLASSIFY, REGRESS, MULTI_INFERENCE, METADATA, STATUS, RELOAD)

_RELOAD = "/tensorflow.serving.ModelService/HandleReloadConfigRequest"
_BY_MESSAGE: Mapping[str, Action] = MappingProxyType(
    {
        "/tensorflow.serving.PredictionService/Predict": PREDICT,
        "/tensorflow.serving.PredictionService/Classify": CLASSIFY,
        "/tensorflow.serving.PredictionService/Regress": REGRESS,
        "/tensorflow.serving.PredictionService/MultiInference": MULTI_INFERENCE,
        "/tensorflow.serving.PredictionService/GetModelMetadata": METADATA,
        "/tensorflow.serving.ModelService/GetModelStatus": STATUS,
    }
)
_SPEC = 1  # `model_spec`, and `tasks` of MultiInference: the field's number in all of these messages
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")
_OF_A_LENGTH = frozenset({FieldDescriptor.TYPE_MESSAGE, FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES})
_LARGEST_VERSION = (1 << 63) - 1
_PATH = re.compile(
    r"/v1/models/(?P<model>[^/:]+)(?:/versions/(?P<version>0|[1-9][0-9]{0,18})|/labels/(?P<label>[^/:]+))?"
    r"(?::(?P<verb>predict|classify|regress)|(?P<metadata>/metadata))?"
)
_VERBS = {"predict": PREDICT, "classify": CLASSIFY, "regress": REGRESS}


def serving_request(service: Service, wire: WireRequest) -> Request:
    """The operations of a request, REST or gRPC alike: one for each model that is asked; raises `Refused`."""
    return _by_message(service, wire) if wire.grpc else _by_path(service, wire)


def walked() -> Mapping[str, tuple[int, ...]]:
    """The procedures whose message must be seen, with the numbers of the fields that a lease's key holds, whole."""
    return MappingProxyType(dict.fromkeys(_BY_MESSAGE, (_SPEC,)))


def _by_path(service: Service, wire: WireRequest) -> Request:
    path_of(service, wire.target)
    found = _PATH.fullmatch(inside(service, wire.target))
    action = _action(found) if found else None
    if not found or action is None or wire.method != ("POST" if found["verb"] else "GET") or wire.header("upgrade"):
        asked = f"{wire.method} {wire.target.partition('?')[0]}"
        raise Refused(Reason.METHOD_UNKNOWN, f"{shown(asked)} is not a method of TensorFlow Serving that Remit knows")
    version = int(found["version"]) if found["version"] else None
    model = _model(service, found["model"], version, found["label"])
    return Request((Operation(action, (model,)),), leasable=True)


def _action(found: re.Match[str]) -> Action:
    if found["verb"]:
        return _VERBS[found["verb"]]
    return METADATA if found["metadata"] else STATUS


def _by_message(service: Service, wire: WireRequest) -> Request:
    procedure = procedure_of(service, wire)
    if procedure == _RELOAD:
        return Request((Operation(RELOAD, (resource(service),)),))
    action = _BY_MESSAGE.get(procedure)
    if action is None:
        raise Refused(
            Reason.METHOD_UNKNOWN, f"{shown(procedure)} is not a method of TensorFlow Serving that Remit serves"
        )
    if not wire.body_sent:
        raise Refused(Reason.REQUEST_MALFORMED, "the message decides, and it was not sent along")
    message = _read(procedure, wire.body)
    named = [task.model_spec for task in message.tasks] if action is MULTI_INFERENCE else [message.model_spec]
    models = tuple(dict.fromkeys(_specified(service, one) for one in named))
    if not models:
        raise Refused(Reason.REQUEST_MALFORMED, "the message asks no model")
    # The gateway keeps one value of a field in a lease's key, and an inference of several models has several.
    leasable = action is not MULTI_INFERENCE
    keys = ("model_spec",) if leasable else ()
    operations = tuple(Operation(action, (model,)) for model in models)
    return Request(operations, leasable=leasable, lease_key_fields=keys)


def _specified(service: Service, spec: Any) -> Resource:
    """The model that a `ModelSpec` means."""
    chosen = spec.WhichOneof("version_choice")
    version = spec.version.value if chosen == "version" else None
    return _model(service, spec.name, version, spec.version_label if chosen == "version_label" else None)


def _model(service: Service, name: str, version: int | None, label: str | None) -> Resource:
    """A served model, with the version or the label that is asked for; without one the server takes its latest."""
    for text in (name, label):
        if text is not None and not _NAME.fullmatch(text):
            raise Refused(Reason.RESOURCE_UNKNOWN, f"{shown(text)} is not the plain name of a served model or label")
    if version is not None and not 0 <= version <= _LARGEST_VERSION:
        raise Refused(Reason.RESOURCE_UNKNOWN, f"{version} is not a version of a model")
    full = f"{resource(service).name}/models/{name}"
    if version is not None:
        full += f"/versions/{version}"
    elif label is not None:
        full += f"/labels/{label}"
    return Resource("ServedModel", full, service.project)


def _read(procedure: str, body: bytes) -> Any:
    """The message with nothing in it but what names models; raises `Refused`."""
    kind = _request(procedure)
    try:
        kept = b"".join(field.whole for field in _checked(kind, payload(body)) if field.number == _SPEC)
    except Unclear as error:
        raise Refused(Reason.REQUEST_AMBIGUOUS, f"the message can be read in two ways: {error}") from error
    return grpc_wire.read(framed(kept), _requests()[procedure])


def _checked(kind: Descriptor, message: bytes) -> Iterator[Field]:
    """The outermost fields, each known, in its own wire type, and at most once unless it is repeated."""
    seen: set[int] = set()
    for field in fields(message):
        known = kind.fields_by_number.get(field.number)
        if known is None:
            raise Unclear(f"`{kind.name}` has no field {field.number} that Remit knows")
        if (field.wire == LENGTH) != (known.type in _OF_A_LENGTH):
            raise Unclear(f"`{known.name}` has the wrong wire type")
        if not known.is_repeated and field.number in seen:
            raise Unclear(f"`{known.name}` is given twice")
        seen.add(field.number)
        yield field


@cache
def _requests() -> Mapping[str, type[Message]]:
    return MappingProxyType({one.path: one.request for one in procedures("tensorflow_serving")})


def _request(procedure: str) -> Descriptor:
    return descriptor(_requests()[procedure])
