"""Labels that Remit puts on what is created through it, so that a job at Google leads back to its decision.

A stamp replaces a label of the same key that the caller sent: it cannot be forged. Only messages that have room for
labels of what they create are stamped; a caller who used up Google's 64 labels gets Google's own refusal.
Source: cloud.google.com/resource-manager/docs/labels-overview#requirements.
"""

import re
from collections.abc import Mapping
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


def stampable(method: Method) -> bool:
    """Whether a method creates something that carries labels."""
    return method.action.id in _CREATED


def stamp(method: Method, message: Message, labels: Mapping[str, str]) -> None:
    """Puts labels on what a request creates, in place; raises `ValueError` for a method that is not stampable.

    `labels`: any words; they are made fit for Google (lower case, `[a-z0-9_-]`, at most 63 characters).
    """
    field = _CREATED.get(method.action.id)
    if field is None:
        problem = f"`{method.action.id}` creates nothing that has labels"
        raise ValueError(problem)
    created: Any = getattr(message, field)  # one of Google's own messages: its fields are found by name
    for key, value in labels.items():
        created.labels[fit_key(key)] = fit(value)


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
