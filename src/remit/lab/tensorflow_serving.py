"""TensorFlow Serving: its REST API and its gRPC services over the same models, without authentication, as the real one.

Every call is kept with the headers that it came with, so that a test can see who was named to the model server. Left
out: `SessionService`, which the real server offers only when told to, and monitoring. Sources:
tensorflow.org/tfx/serving/api_rest, tensorflow_serving/apis/prediction_service.proto, model_service.proto.
"""

import json
import re
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import json_format, message_factory
from google.protobuf.message import DecodeError
from grpc import StatusCode

from remit.lab.api_table import Proto
from remit.lab.errors import CloudError
from remit.lab.http import Request, Response
from remit.lab.tensorflow_serving_models import CLASSIFY, REGRESS, Models, Version
from remit.lab.tensorflow_serving_wire import SERVING, example, examples, merged, message, plain, pool, tensor

_PATH = re.compile(
    r"/v1/models/([^/:]+)(?:/versions/([0-9]{1,19})|/labels/([^/:]+))?(?::(predict|classify|regress)|/(metadata))?"
)
_JSON = {"content-type": "application/json"}
_AVAILABLE = 30  # ModelVersionStatus.State
_REMEMBERED = 1000  # calls
_METADATA = "signature_def"


@dataclass(frozen=True, slots=True)
class Served:
    """One call. `method`: `predict`, … over REST, gRPC's full name; `headers`: all of them, names in lower case."""

    transport: str
    method: str
    model: str
    version: str = ""
    label: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


class TensorFlowServing:
    """A model server. `calls`: the latest ones; `grpc`: the handler of its services."""

    def __init__(self, folder: Path) -> None:
        self.models = Models(folder)
        self.calls: deque[Served] = deque(maxlen=_REMEMBERED)
        self.grpc = _GrpcFace(self)

    async def close(self) -> None:
        """Ends the models' processes."""
        await self.models.close()

    # REST

    async def handle(self, request: Request) -> Response:
        """One request of the REST API."""
        found = _PATH.fullmatch(request.path)
        wanted = "POST" if found and found[4] else "GET"
        if found is None or request.method != wanted:
            return _answer({"error": f"Malformed request: {request.method} {request.path}"}, HTTPStatus.BAD_REQUEST)
        name, number, label, verb = found[1], found[2] or "", found[3] or "", found[4] or found[5] or "status"
        self.calls.append(Served("rest", verb, name, number, label, dict(request.headers)))
        try:
            if verb == "status":
                return _answer(_statuses(self.models, name, int(number) if number else None, label))
            version = self.models.find(name, int(number) if number else None, label)
            if verb == "metadata":
                return _answer(_json(_metadata(version)))
            return _answer(await _infer(version, verb, json.loads(request.body)))
        except CloudError as error:
            failed = error.code is StatusCode.FAILED_PRECONDITION
            return _answer({"error": error.message}, 412 if failed else error.http_status)
        except ValueError as error:
            return _answer({"error": f"JSON Parse error: {error}"}, HTTPStatus.BAD_REQUEST)

    # gRPC

    async def predict(self, request: Proto) -> Proto:
        """`PredictionService.Predict`."""
        version = self._version(request.model_spec)
        name, signature = version.signature(request.model_spec.signature_name)
        outputs = await version.run(name, {key: plain(value) for key, value in request.inputs.items()})
        wanted = list(request.output_filter) or sorted(outputs)
        if unknown := sorted(set(wanted) - set(outputs)):
            text = f"output tensor alias not found in signature: {unknown[0]}"
            raise CloudError(StatusCode.INVALID_ARGUMENT, text)
        answer = message(f"{SERVING}PredictResponse")(model_spec=_spec(version, name))
        for key in wanted:
            answer.outputs[key].CopyFrom(tensor(outputs[key], signature.outputs[key].dtype))
        return answer

    async def classify(self, request: Proto) -> Proto:
        """`PredictionService.Classify`."""
        version = self._version(request.model_spec)
        result, spec = await _task(version, request.model_spec, CLASSIFY, request.input)
        return message(f"{SERVING}ClassificationResponse")(model_spec=spec, result=result)

    async def regress(self, request: Proto) -> Proto:
        """`PredictionService.Regress`."""
        version = self._version(request.model_spec)
        result, spec = await _task(version, request.model_spec, REGRESS, request.input)
        return message(f"{SERVING}RegressionResponse")(model_spec=spec, result=result)

    async def multi_inference(self, request: Proto) -> Proto:
        """`PredictionService.MultiInference`: several signatures of one model."""
        if not request.tasks or len({task.model_spec.name for task in request.tasks}) > 1:
            text = "All ModelSpecs in a MultiInferenceRequest must access the same model name."
            raise CloudError(StatusCode.INVALID_ARGUMENT, text)
        answer = message(f"{SERVING}MultiInferenceResponse")()
        for task in request.tasks:
            if task.method_name not in {CLASSIFY, REGRESS}:
                raise CloudError(StatusCode.UNIMPLEMENTED, f"Unsupported signature method_name: {task.method_name}")
            version = self._version(task.model_spec)
            result, spec = await _task(version, task.model_spec, task.method_name, request.input)
            place = "classification_result" if task.method_name == CLASSIFY else "regression_result"
            answer.results.add(model_spec=spec, **{place: result})
        return answer

    async def metadata(self, request: Proto) -> Proto:
        """`PredictionService.GetModelMetadata`."""
        version = self._version(request.model_spec)
        for asked in request.metadata_field or [""]:
            if asked != _METADATA:
                raise CloudError(StatusCode.INVALID_ARGUMENT, f"Metadata field {asked} is not supported")
        return _metadata(version)

    async def status(self, request: Proto) -> Proto:
        """`ModelService.GetModelStatus`."""
        spec = request.model_spec
        found = _statuses(
            self.models, spec.name, spec.version.value if spec.HasField("version") else None, spec.version_label
        )
        return json_format.ParseDict(found, message(f"{SERVING}GetModelStatusResponse")(), descriptor_pool=pool())

    async def reload(self, request: Proto) -> Proto:
        """`ModelService.HandleReloadConfigRequest`: reads the folder again and takes the labels, never a path."""
        self.models.load()
        for config in request.config.model_config_list.config:
            self.models.label(config.name, dict(config.version_labels))
        return message(f"{SERVING}ReloadConfigResponse")(status={"error_code": 0})

    def _version(self, spec: Proto) -> Version:
        return self.models.find(spec.name, spec.version.value if spec.HasField("version") else None, spec.version_label)


class _GrpcFace(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpcio publishes no types
    """Both services, each call recorded before it is played."""

    def __init__(self, serving: TensorFlowServing) -> None:
        self._serving = serving
        self._plays: Mapping[str, Callable[[Proto], Awaitable[Proto]]] = {
            "PredictionService/Predict": serving.predict,
            "PredictionService/Classify": serving.classify,
            "PredictionService/Regress": serving.regress,
            "PredictionService/MultiInference": serving.multi_inference,
            "PredictionService/GetModelMetadata": serving.metadata,
            "ModelService/GetModelStatus": serving.status,
            "ModelService/HandleReloadConfigRequest": serving.reload,
        }

    def service(self, handler_call_details: Any) -> Any:
        """The handler of a call, `None` for a method that is not served (gRPC then says `UNIMPLEMENTED`)."""
        path = handler_call_details.method.removeprefix(f"/{SERVING}")
        play = self._plays.get(path)
        if play is None:
            return None
        metadata = dict(handler_call_details.invocation_metadata)
        service, _, method = path.partition("/")
        asked = pool().FindServiceByName(f"{SERVING}{service}").methods_by_name[method]
        request_type = message_factory.GetMessageClass(asked.input_type)

        async def run(raw: bytes, context: Any) -> bytes:
            try:
                request = request_type.FromString(raw)
                for spec in _specs(request):
                    number = str(spec.version.value) if spec.HasField("version") else ""
                    served = Served(
                        "grpc", f"{SERVING}{service}.{method}", spec.name, number, spec.version_label, metadata
                    )
                    self._serving.calls.append(served)
                answer: bytes = (await play(request)).SerializeToString()
            except CloudError as error:
                await context.abort(error.code, error.message)
            except DecodeError:
                await context.abort(StatusCode.INVALID_ARGUMENT, "the message cannot be parsed")
            return answer

        return grpc.unary_unary_rpc_method_handler(run)


def _specs(request: Proto) -> list[Proto]:
    """Every model that a request names; an empty one where it names none."""
    if "tasks" in request.DESCRIPTOR.fields_by_name:
        return [task.model_spec for task in request.tasks]
    if "model_spec" in request.DESCRIPTOR.fields_by_name:
        return [request.model_spec]
    configs = request.config.model_config_list.config
    return [message(f"{SERVING}ModelSpec")(name=config.name) for config in configs] or [
        message(f"{SERVING}ModelSpec")()
    ]


def _spec(version: Version, signature: str) -> Proto:
    return message(f"{SERVING}ModelSpec")(
        name=version.model, version={"value": version.number}, signature_name=signature
    )


async def _task(version: Version, spec: Proto, method: str, given: Proto) -> tuple[Proto, Proto]:
    """The result of one inference over examples, and the model that it is of."""
    name, _ = version.signature(spec.signature_name)
    found = await version.infer(name, method, examples(given))
    if method == REGRESS:
        result = message(f"{SERVING}RegressionResult")()
        for value in found:
            result.regressions.add(value=value)
        return result, _spec(version, name)
    result = message(f"{SERVING}ClassificationResult")()
    for pairs in found:
        made = result.classifications.add()
        for label, score in pairs:
            made.classes.add(label=label, score=score)
    return result, _spec(version, name)


async def _infer(version: Version, verb: str, body: Any) -> Any:
    """The REST API's inferences."""
    if verb == "predict":
        return await version.ask(body)
    if not isinstance(body, dict) or not isinstance(body.get("examples"), list) or not body["examples"]:
        raise CloudError(
            StatusCode.INVALID_ARGUMENT, "When method is classify or regress, 'examples' must be a non-empty list"
        )
    context = example(body.get("context", {}))
    given = [merged(example(each), context) for each in body["examples"]]
    method = CLASSIFY if verb == "classify" else REGRESS
    return {"results": await version.infer(str(body.get("signature_name", "")), method, given)}


def _metadata(version: Version) -> Proto:
    answer = message(f"{SERVING}GetModelMetadataResponse")(model_spec=_spec(version, ""))
    found = message(f"{SERVING}SignatureDefMap")()
    for name, signature in version.signatures.items():
        found.signature_def[name].CopyFrom(signature)
    answer.metadata[_METADATA].Pack(found)
    return answer


def _statuses(models: Models, name: str, number: int | None, label: str) -> dict[str, Any]:
    """The status of one version, or of all."""
    asked = [models.find(name, number, label)] if number is not None or label else models.versions(name).values()
    numbers = sorted((version.number for version in asked), reverse=True)
    status = {"error_code": "OK", "error_message": ""}
    return {
        "model_version_status": [{"version": str(each), "state": "AVAILABLE", "status": status} for each in numbers]
    }


def _json(answer: Proto) -> Any:
    return json_format.MessageToDict(answer, preserving_proto_field_name=True, descriptor_pool=pool())


def _answer(value: Any, status: int = HTTPStatus.OK) -> Response:
    """Indented as the real server writes it."""
    return Response(status, json.dumps(value, indent=4).encode(), _JSON)
