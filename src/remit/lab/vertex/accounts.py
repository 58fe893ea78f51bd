"""Whom a call's work would run as, and so whom the caller must be allowed to act as.

Every account that a request names, and the Compute Engine default account of a pipeline that names none: "Users
starting the pipeline must have the `iam.serviceAccounts.actAs` permission on this service account"
(google/cloud/aiplatform/v1/pipeline_job.proto, `service_account`). Custom code without an account runs as Google's own
agent, which asks nothing of the caller (custom_job.proto, `CustomJobSpec.service_account`).
"""

from remit.lab import contoso
from remit.lab.api_table import Proto
from remit.lab.vertex.fields import as_json

_PATHS = (
    "custom_job.job_spec.service_account",
    "hyperparameter_tuning_job.trial_job_spec.service_account",
    "batch_prediction_job.service_account",
    "deployed_model.service_account",
    "service_account",
)


def acted_as(request: Proto, project: contoso.Project | None) -> list[str]:
    """The e-mails of a request's accounts. `project`: the one that the request names."""
    found = [account for path in _PATHS if (account := text(request, path))]
    if "training_pipeline" in request.DESCRIPTOR.fields_by_name:
        inputs = as_json(request.training_pipeline).get("trainingTaskInputs")
        found += _named_in(inputs)
    for job in _pipelines(request):
        account = job.service_account or (compute_default(project) if project else "")
        found += [account] if account else []
    return found


def compute_default(project: contoso.Project) -> str:
    """The Compute Engine default service account of a project, which pipelines run as when they name nobody."""
    return f"{project.number}-compute@developer.gserviceaccount.com"


def service_agent(project: contoso.Project) -> str:
    """The Vertex AI service agent of a project: batch prediction, deployed models and data sets work as it."""
    return f"service-{project.number}@gcp-sa-aiplatform.iam.gserviceaccount.com"


def custom_code_agent(project: contoso.Project) -> str:
    """The Custom Code Service Agent of a project, which custom jobs run as when they name nobody."""
    return f"service-{project.number}@gcp-sa-aiplatform-cc.iam.gserviceaccount.com"


def text(message: Proto, path: str) -> str:
    """A text field by its path, empty where a message has no such field."""
    for part in path.split("."):
        if part not in message.DESCRIPTOR.fields_by_name:
            return ""
        message = getattr(message, part)
    return str(message)


def _pipelines(request: Proto) -> list[Proto]:
    """The pipeline that a request starts, or has started by a schedule."""
    fields = request.DESCRIPTOR.fields_by_name
    if "schedule" in fields and request.schedule.HasField("create_pipeline_job_request"):
        return [request.schedule.create_pipeline_job_request.pipeline_job]
    return [request.pipeline_job] if "pipeline_job" in fields else []


def _named_in(inputs: object) -> list[str]:
    """The accounts in an untyped body, at any depth and in either spelling."""
    if isinstance(inputs, list):
        return [account for each in inputs for account in _named_in(each)]
    if not isinstance(inputs, dict):
        return []
    named = [value for key, value in inputs.items() if key in {"serviceAccount", "service_account"} and value]
    below = [account for value in inputs.values() for account in _named_in(value)]
    return [*(str(each) for each in named if isinstance(each, str)), *below]
