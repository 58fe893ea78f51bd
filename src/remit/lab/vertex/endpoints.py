"""Endpoints: deploying starts a model server of its own, predicting asks it.

Left out: autoscaling, private and dedicated endpoints, explanations, deployment resource pools. Source:
google/cloud/aiplatform/v1/endpoint_service.proto and prediction_service.proto.
"""

import json
import secrets
from typing import Any

from google.protobuf import json_format
from grpc import StatusCode

from remit.lab.api_table import Proto, table
from remit.lab.errors import CloudError
from remit.lab.vertex.models import Models
from remit.lab.vertex.operations import Operations
from remit.lab.vertex.resources import Resources, Scope, new_id, stamp
from remit.lab.vertex.served_model import ServedModel

_WHOLE = 100  # per cent of an endpoint's traffic


class Endpoints:
    """All endpoints, and the model servers behind them."""

    def __init__(self, resources: Resources, operations: Operations, models: Models) -> None:
        self._resources = resources
        self._operations = operations
        self._models = models
        self._served: dict[tuple[str, str], ServedModel] = {}

    def deploy(self, scope: Scope) -> Proto:
        """`DeployModel`: a long-running operation that ends when the model answers."""
        endpoint = self._resources.get(scope.name, "Endpoint")
        deployed = type(scope.request.deployed_model)()
        deployed.CopyFrom(scope.request.deployed_model)
        model = self._models.get(deployed.model)
        deployed.id = deployed.id or new_id()
        deployed.model, deployed.model_version_id = model.name, model.version_id
        deployed.display_name = deployed.display_name or model.display_name
        split = {deployed.id if key == "0" else key: share for key, share in scope.request.traffic_split.items()}
        known = {deployed.id, *(each.id for each in endpoint.deployed_models)}
        if split:
            _check_split(split, known)
        folder = self._models.folder(f"{model.name}@{model.version_id}")

        async def work() -> Proto:
            self._served[endpoint.name, deployed.id] = await ServedModel.start(folder)
            stamp(deployed, "create_time")
            endpoint.deployed_models.append(deployed)
            _set_split(endpoint, split or ({} if endpoint.traffic_split else {deployed.id: _WHOLE}))
            stamp(endpoint, "update_time")
            return table().message(scope.call.method.result)(deployed_model=deployed)

        return self._operations.start(endpoint.name, scope.call.method, work)

    def undeploy(self, scope: Scope) -> Proto:
        """`UndeployModel`: ends the model's server."""
        endpoint = self._resources.get(scope.name, "Endpoint")
        wanted = scope.request.deployed_model_id
        kept = [each for each in endpoint.deployed_models if each.id != wanted]
        if len(kept) == len(endpoint.deployed_models):
            raise CloudError(StatusCode.NOT_FOUND, f"DeployedModel {wanted} is not deployed to {endpoint.name}.")

        async def work() -> Proto:
            await self._served.pop((endpoint.name, wanted)).stop()
            del endpoint.deployed_models[:]
            endpoint.deployed_models.extend(kept)
            endpoint.traffic_split.pop(wanted, None)
            _set_split(endpoint, dict(scope.request.traffic_split))
            return table().message(scope.call.method.result)()

        return self._operations.start(endpoint.name, scope.call.method, work)

    def update(self, scope: Scope) -> Proto:
        """`UpdateEndpoint`: a traffic split must be whole, of models that are deployed here."""
        endpoint = self._resources.get(scope.name, "Endpoint")
        new = scope.request.endpoint
        paths = scope.request.update_mask.paths
        if new.traffic_split and (not paths or "traffic_split" in paths):
            _check_split(dict(new.traffic_split), {each.id for each in endpoint.deployed_models})
        return self._resources.update(scope)

    def check_deletable(self, name: str) -> None:
        """Refuses to delete an endpoint that still serves."""
        endpoint = self._resources.get(name, "Endpoint")
        if endpoint.deployed_models:
            ids = ", ".join(each.id for each in endpoint.deployed_models)
            text = f"The Endpoint {endpoint.name!r} has deployed or being-deployed DeployedModel(s): {ids}"
            raise CloudError(StatusCode.FAILED_PRECONDITION, text.replace("'", '"'))

    async def predict(self, scope: Scope) -> Proto:
        """`Predict`: instances as JSON values."""
        instances = [_value(each) for each in scope.request.instances]
        deployed, found = await self.ask(scope, {"instances": instances})
        model = self._resources.find(f"{deployed.model}@{deployed.model_version_id}")
        answer = scope.answer(
            deployed_model_id=deployed.id,
            model=deployed.model,
            model_display_name=model.display_name if model else "",
            model_version_id=deployed.model_version_id,
        )
        for prediction in found["predictions"]:
            json_format.ParseDict(prediction, answer.predictions.add())
        return answer

    async def raw_predict(self, scope: Scope) -> Proto:
        """`RawPredict`: the body goes to the model server as it is, and its answer comes back as it is."""
        try:
            body = json.loads(scope.request.http_body.data)
        except ValueError as error:
            raise CloudError(StatusCode.INVALID_ARGUMENT, "The request payload is not valid JSON.") from error
        deployed, found = await self.ask(scope, body)
        model = self._resources.find(deployed.model)
        scope.call.answer_headers.update(
            {
                "x-vertex-ai-deployed-model-id": deployed.id,
                "x-vertex-ai-model": deployed.model,
                "x-vertex-ai-model-display-name": model.display_name if model else "",
                "x-vertex-ai-model-version-id": deployed.model_version_id,
            }
        )
        return scope.answer(content_type="application/json", data=json.dumps(found).encode())

    async def close(self) -> None:
        """Ends every model server."""
        for served in self._served.values():
            await served.stop()
        self._served.clear()

    async def ask(self, scope: Scope, body: Any) -> tuple[Proto, Any]:
        """Sends a body to one deployed model, chosen by the traffic split."""
        endpoint = self._resources.get(scope.name, "Endpoint")
        ids = [key for key, share in sorted(endpoint.traffic_split.items()) for _ in range(share)]
        if not ids:
            text = f"Endpoint {endpoint.name} doesn't have traffic_split or any DeployedModel to serve this request."
            raise CloudError(StatusCode.FAILED_PRECONDITION, text)
        chosen = secrets.choice(ids)
        deployed = next(each for each in endpoint.deployed_models if each.id == chosen)
        return deployed, await self._served[endpoint.name, chosen].predict(body)


def _check_split(split: dict[str, int], known: set[str]) -> None:
    if sum(split.values()) != _WHOLE or not set(split) <= known:
        text = "Traffic split percentage values must sum up to 100 and name deployed models."
        raise CloudError(StatusCode.INVALID_ARGUMENT, text)


def _set_split(endpoint: Proto, split: dict[str, int]) -> None:
    if split:
        endpoint.traffic_split.clear()
        endpoint.traffic_split.update(split)


def _value(value: Proto) -> Any:
    """A `google.protobuf.Value` as JSON, whole numbers as integers: a double has lost whether it was one."""
    return _whole(json_format.MessageToDict(value))


def _whole(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_whole(each) for each in value]
    return {key: _whole(each) for key, each in value.items()} if isinstance(value, dict) else value
