"""Labels that Remit puts on what is created through it, so that a job at Google leads back to its decision.

A stamp replaces a label of the same key that the caller sent: it cannot be forged. Only messages that have room for
labels of what they create are stamped; a caller who used up Google's 64 labels gets Google's own refusal.
Source: cloud.google.com/resource-manager/docs/labels-overview#requirements.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from google.protobuf.message import Message

from remit.catalogue.methods import Method

_LONGEST = 63
_OTHER = re.compile(r"[^a-z0-9_-]")
_VERTEX = "aiplatform.projects.locations."
# The field of the request that holds what is created.
_CREATED: Mapping[str, str] = {
    f"{_VERTEX}{method}": field
    for method, field in (
        ("batchPredictionJobs.create", "batch_prediction_job"),
        ("customJobs.create", "custom_job"),
        ("dataLabelingJobs.create", "data_labeling_job"),
        ("endpoints.create", "endpoint"),
        ("hyperparameterTuningJobs.create", "hyperparameter_tuning_job"),
        ("modelDeploymentMonitoringJobs.create", "model_deployment_monitoring_job"),
        ("models.upload", "model"),
        ("nasJobs.create", "nas_job"),
        ("notebookExecutionJobs.create", "notebook_execution_job"),
        ("persistentResources.create", "persistent_resource"),
        ("pipelineJobs.create", "pipeline_job"),
        ("trainingPipelines.create", "training_pipeline"),
        ("tuningJobs.create", "tuning_job"),
    )
}
# What is created later out of a message, by dotted fields: its labels would else be the caller's word alone.
_LATER: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(
        (f"{_VERTEX}schedules.create", f"{_VERTEX}schedules.patch"),
        (
            "schedule.create_pipeline_job_request.pipeline_job",
            "schedule.create_notebook_execution_job_request.notebook_execution_job",
        ),
    ),
    f"{_VERTEX}trainingPipelines.create": ("training_pipeline.model_to_upload",),
}


def stampable(method: Method) -> bool:
    """Whether a method creates something that carries labels, now or later."""
    return method.action.id in _CREATED or method.action.id in _LATER


def stamp(method: Method, message: Message, labels: Mapping[str, str]) -> None:
    """Puts labels on what a request creates, in place; raises `ValueError` for a method that is not stampable.

    `labels`: any words; they are made fit for Google (lower case, `[a-z0-9_-]`, at most 63 characters).
    """
    if not stampable(method):
        problem = f"`{method.action.id}` creates nothing that has labels"
        raise ValueError(problem)
    for created in _created(method, message):
        for key, value in labels.items():
            created.labels[fit_key(key)] = fit(value)


def _created(method: Method, message: Any) -> Iterator[Any]:
    """What has labels in one of Google's own messages, whose fields are found by name."""
    field = _CREATED.get(method.action.id)
    if field is not None:
        yield getattr(message, field)
    for path in _LATER.get(method.action.id, ()):
        part = message
        for step in path.split("."):
            if not part.HasField(step):
                break
            part = getattr(part, step)
        else:
            yield part


def fit(value: str) -> str:
    """A label's value as Google takes it."""
    return _OTHER.sub("-", value.lower())[:_LONGEST]


def fit_key(key: str) -> str:
    """A label's key as Google takes it: not empty, and a letter first; raises `ValueError` when there is none."""
    fitted = fit(key).lstrip("0123456789_-")
    if not fitted:
        problem = f"{key!r} is no key of a label"
        raise ValueError(problem)
    return fitted
