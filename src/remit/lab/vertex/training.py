"""Training pipelines: a custom job of its own, and then perhaps a model.

What the task is comes as an untyped value; of the definitions that Google publishes under
gs://google-cloud-aiplatform/schema/trainingjob/definition the lab plays custom training, none of AutoML. A data set's
rows are split and written to the destination before the task begins. Sources:
google/cloud/aiplatform/v1/training_pipeline.proto, cloud.google.com/vertex-ai/docs/training/using-managed-datasets.
"""

import asyncio

from google.protobuf import json_format
from grpc import StatusCode

from remit.lab.api_table import Proto
from remit.lab.errors import CloudError
from remit.lab.vertex.accounts import service_agent
from remit.lab.vertex.datasets import Datasets
from remit.lab.vertex.fields import REQUIRED, as_json, from_json, refuse, sibling
from remit.lab.vertex.jobs import Jobs, Part, check_spec
from remit.lab.vertex.models import Models
from remit.lab.vertex.resources import Resources, Scope, project_of
from remit.lab.vertex.running import Running, state_of

_CUSTOM = "gs://google-cloud-aiplatform/schema/trainingjob/definition/custom_task_1.0.0.yaml"


class TrainingPipelines:
    """All training pipelines."""

    def __init__(self, resources: Resources, jobs: Jobs, models: Models, datasets: Datasets) -> None:
        self._resources = resources
        self._jobs = jobs
        self._models = models
        self._datasets = datasets
        self.running = Running(resources, "TrainingPipeline", "PIPELINE_STATE_")

    def create(self, scope: Scope) -> Proto:
        """Takes a pipeline and starts its task."""
        asked = scope.request.training_pipeline
        spec = _task(asked)
        model_name = ""
        if asked.HasField("model_to_upload"):
            model_name = self._models.check(scope.name, asked.model_to_upload, asked.model_id, asked.parent_model)
        if asked.input_data_config.dataset_id:
            self._datasets.of_id(scope.name, asked.input_data_config.dataset_id)
        pipeline = self._resources.create(scope)

        async def work() -> None:
            await self._train(scope.name, pipeline, spec)
            if model_name:
                self._upload(pipeline, spec, model_name)

        return self.running.start(pipeline, work)

    async def _train(self, location: str, pipeline: Proto, spec: Proto) -> None:
        variables = await self._data(location, pipeline)
        job = sibling(pipeline, "CustomJob")
        job.display_name = f"{pipeline.display_name}-custom-job"
        job.job_spec.CopyFrom(spec)
        job.labels.update(pipeline.labels)
        self._jobs.keep(location, job)
        json_format.ParseDict({"backingCustomJob": job.name}, pipeline.training_task_metadata)
        await self._jobs.run(location, job, Part(variables))
        if state_of(job) == "JOB_STATE_CANCELLED":
            raise asyncio.CancelledError
        if state_of(job) != "JOB_STATE_SUCCEEDED":
            raise CloudError(StatusCode.INVALID_ARGUMENT, f"Training failed with:\n{job.error.message}")

    async def _data(self, location: str, pipeline: Proto) -> dict[str, str]:
        """Writes the data set's rows where the pipeline wants them; what tells the task where they are."""
        config = pipeline.input_data_config
        if not config.dataset_id:
            return {}
        agent = service_agent(project_of(location))
        dataset = self._datasets.of_id(location, config.dataset_id)
        base = f"{config.gcs_destination.output_uri_prefix.rstrip('/')}/dataset-{config.dataset_id}"
        form = await self._datasets.split(dataset, config.fraction_split, base, agent)
        return {"AIP_DATA_FORMAT": form} | {
            f"AIP_{word}_DATA_URI": f"{base}/{word.lower()}-*" for word in ("TRAINING", "VALIDATION", "TEST")
        }

    def _upload(self, pipeline: Proto, spec: Proto, name: str) -> None:
        """Uploads what the task left below `AIP_MODEL_DIR`."""
        model = type(pipeline.model_to_upload)()
        model.CopyFrom(pipeline.model_to_upload)
        base = spec.base_output_directory.output_uri_prefix.rstrip("/")
        model.artifact_uri = model.artifact_uri or f"{base}/model"
        model.training_pipeline = pipeline.name
        pipeline.model_to_upload.CopyFrom(self._models.take(name, model))


def _task(pipeline: Proto) -> Proto:
    """The custom job's specification out of the untyped inputs; raises for what Vertex AI or the lab would not take."""
    found = [(name, REQUIRED) for name in ("display_name", "training_task_definition") if not getattr(pipeline, name)]
    refuse(*found)
    if pipeline.training_task_definition != _CUSTOM:
        text = f"The lab does not play the training task {pipeline.training_task_definition}."
        raise CloudError(StatusCode.UNIMPLEMENTED, text)
    inputs = as_json(pipeline).get("trainingTaskInputs")
    spec = from_json(inputs, sibling(pipeline, "CustomJobSpec"), "training_task_inputs")
    check_spec(spec, "training_task_inputs")
    config = pipeline.input_data_config
    if config.dataset_id and not config.gcs_destination.output_uri_prefix:
        refuse(("input_data_config.gcs_destination", REQUIRED))
    if pipeline.HasField("model_to_upload") and not (
        spec.base_output_directory.output_uri_prefix or pipeline.model_to_upload.artifact_uri
    ):
        refuse(("training_task_inputs.base_output_directory", REQUIRED))
    return spec
