"""Batch prediction: instances out of Cloud Storage, through a model server of its own, results back into Cloud Storage.

Read and written as the account that the job names, else as the project's Vertex AI service agent. Left out: BigQuery,
forms other than JSON Lines, explanations, monitoring, models without an artifact. Sources:
google/cloud/aiplatform/v1/batch_prediction_job.proto,
cloud.google.com/vertex-ai/docs/predictions/get-batch-predictions (the names and lines of the results).
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from grpc import StatusCode

from remit.lab.api_table import Proto
from remit.lab.errors import CloudError
from remit.lab.vertex.accounts import service_agent
from remit.lab.vertex.buckets import Buckets
from remit.lab.vertex.fields import REQUIRED, refuse
from remit.lab.vertex.models import Models
from remit.lab.vertex.resources import Resources, Scope, project_of
from remit.lab.vertex.running import Running
from remit.lab.vertex.served_model import ServedModel

_BATCH = 64  # instances in one request: `manual_batch_tuning_parameters.batch_size`, its default
_SHARD = "00000-of-00001"


class BatchPredictions:
    """All batch prediction jobs."""

    def __init__(self, resources: Resources, models: Models, buckets: Buckets) -> None:
        self._resources = resources
        self._models = models
        self._buckets = buckets
        self.running = Running(resources, "BatchPredictionJob")

    def create(self, scope: Scope) -> Proto:
        """Takes a job and starts it."""
        _check(scope.request.batch_prediction_job)
        model = self._models.get(scope.request.batch_prediction_job.model)
        job = self._resources.create(scope)
        job.model, job.model_version_id = model.name, model.version_id

        async def work() -> None:
            await self._predict(job, model)

        return self.running.start(job, work)

    async def _predict(self, job: Proto, model: Proto) -> None:
        account = job.service_account or service_agent(project_of(job.name))
        moment = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z").replace(":", "_")
        prefix = job.output_config.gcs_destination.output_uri_prefix.rstrip("/")
        folder = f"{prefix}/prediction-{model.display_name}-{moment}"
        instances = [each for uri in job.input_config.gcs_source.uris for each in await self._instances(uri, account)]
        served = await ServedModel.start(self._models.folder_of(model))
        try:
            results, errors = await _ask_all(served, instances, job.manual_batch_tuning_parameters.batch_size or _BATCH)
        finally:
            await served.stop()
        await self._buckets.write(f"{folder}/prediction.results-{_SHARD}", _lines(results), account)
        await self._buckets.write(f"{folder}/prediction.errors_stats-{_SHARD}", _lines(errors), account)
        job.output_info.gcs_output_directory = folder
        job.completion_stats.successful_count, job.completion_stats.failed_count = len(results), len(errors)

    async def _instances(self, uri: str, account: str) -> list[Any]:
        content = await self._buckets.read(uri, account)
        try:
            return [json.loads(line) for line in content.decode().splitlines() if line.strip()]
        except ValueError as error:
            raise CloudError(StatusCode.INVALID_ARGUMENT, f"Failed to parse the instances of {uri}: {error}") from error


def _check(job: Proto) -> None:
    """Refuses a job that Vertex AI would not take, and one that the lab cannot run."""
    wanted = ("display_name", "model")
    refuse(*((f"batch_prediction_job.{name}", REQUIRED) for name in wanted if not getattr(job, name)))
    if job.input_config.WhichOneof("source") not in {"gcs_source", None}:
        raise CloudError(StatusCode.UNIMPLEMENTED, "The lab reads instances out of Cloud Storage only.")
    if job.output_config.WhichOneof("destination") not in {"gcs_destination", None}:
        raise CloudError(StatusCode.UNIMPLEMENTED, "The lab writes predictions into Cloud Storage only.")
    if {job.input_config.instances_format, job.output_config.predictions_format} - {"", "jsonl"}:
        raise CloudError(StatusCode.UNIMPLEMENTED, "The lab's batch predictions speak `jsonl` only.")
    if job.generate_explanation or job.instance_config.ListFields():
        raise CloudError(StatusCode.UNIMPLEMENTED, "The lab's batch predictions take instances as they are.")
    found = []
    if not job.input_config.gcs_source.uris:
        found.append(("batch_prediction_job.input_config.gcs_source.uris", REQUIRED))
    if not job.output_config.gcs_destination.output_uri_prefix:
        found.append(("batch_prediction_job.output_config.gcs_destination.output_uri_prefix", REQUIRED))
    refuse(*found)


async def _ask_all(served: ServedModel, instances: Sequence[Any], size: int) -> tuple[list[Any], list[Any]]:
    """Predictions and errors, each with its instance. A batch that fails is asked again one by one."""
    results: list[Any] = []
    errors: list[Any] = []
    for start in range(0, len(instances), size):
        batch = list(instances[start : start + size])
        try:
            results += _paired(batch, await served.predict({"instances": batch}))
        except CloudError:
            for each in batch:
                try:
                    results += _paired([each], await served.predict({"instances": [each]}))
                except CloudError as error:
                    status = {"code": error.code.value[0], "message": error.message}
                    errors.append({"instance": each, "error": status})
    return results, errors


def _paired(batch: Sequence[Any], answer: Any) -> list[dict[str, Any]]:
    pairs = zip(batch, answer["predictions"], strict=True)
    return [{"instance": instance, "prediction": prediction} for instance, prediction in pairs]


def _lines(values: Sequence[Any]) -> bytes:
    return "".join(f"{json.dumps(value)}\n" for value in values).encode()
