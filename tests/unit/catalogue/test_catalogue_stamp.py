"""Labels that Remit puts on what is created."""

import re

import pytest

from remit.catalogue.descriptors import procedures
from remit.catalogue.methods import vertex
from remit.catalogue.stamp import fit, fit_key, stamp, stampable

METHODS = {method.action.id.removeprefix("aiplatform.projects.locations."): method for method in vertex()}
CALLS = {one.path.removeprefix("/"): one for name in ("vertex_v1", "vertex_v1beta1") for one in procedures(name)}
STAMPED = sorted(name for name, method in METHODS.items() if stampable(method) and "schedules" not in name)


def _created(request):
    """What a request creates: its one message that has labels."""
    fields = [field.name for field in request.DESCRIPTOR.fields if field.message_type]
    return next(getattr(request, name) for name in fields if hasattr(getattr(request, name), "labels"))


def test_jobs_endpoints_models_and_pipelines_are_stamped():
    assert {"customJobs.create", "endpoints.create", "models.upload", "pipelineJobs.create"} < set(STAMPED)
    jobs = {
        name
        for name, method in METHODS.items()
        if name.count(".") == 1 and name.endswith("Jobs.create") and method.grpc and method.scoped
    }
    assert jobs <= set(STAMPED)


@pytest.mark.parametrize("name", STAMPED)
def test_a_stamp_replaces_what_the_caller_wrote(name):
    for call in METHODS[name].grpc:
        request = CALLS[call].request()
        created = _created(request)
        created.labels["remit-decision"] = "forged"
        created.labels["team"] = "fraud"
        stamp(METHODS[name], request, {"remit-decision": "d-01JABC", "Remit_By": "Anna K."})
        assert dict(created.labels) == {"remit-decision": "d-01jabc", "remit_by": "anna-k-", "team": "fraud"}


LATER = [
    ("schedules.create", "ScheduleService/CreateSchedule", "schedule.create_pipeline_job_request.pipeline_job"),
    ("schedules.patch", "ScheduleService/UpdateSchedule", "schedule.create_pipeline_job_request.pipeline_job"),
    (
        "schedules.create",
        "ScheduleService/CreateSchedule",
        "schedule.create_notebook_execution_job_request.notebook_execution_job",
    ),
    (
        "trainingPipelines.create",
        "PipelineService/CreateTrainingPipeline",
        "training_pipeline.model_to_upload",
    ),
]


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
@pytest.mark.parametrize(("name", "call", "path"), LATER)
def test_what_comes_of_a_message_later_is_stamped_too(name, call, path, version):
    request = CALLS[f"google.cloud.aiplatform.{version}.{call}"].request()
    created = request
    for step in path.split("."):
        created = getattr(created, step)
    created.labels["remit-decision"] = "forged"
    stamp(METHODS[name], request, {"remit-decision": "d-1"})
    assert dict(created.labels) == {"remit-decision": "d-1"}


@pytest.mark.parametrize("name", ["schedules.create", "schedules.patch"])
def test_a_stamp_adds_no_work_to_a_schedule(name):
    for call in METHODS[name].grpc:
        request = CALLS[call].request()
        stamp(METHODS[name], request, {"remit-decision": "d-1"})
        assert not request.ByteSize()


def test_other_methods_have_no_room():
    request = CALLS["google.cloud.aiplatform.v1.JobService/CancelCustomJob"].request()
    assert not stampable(METHODS["customJobs.cancel"])
    with pytest.raises(ValueError, match="no"):
        stamp(METHODS["customJobs.cancel"], request, {"a": "b"})


@pytest.mark.parametrize("text", ["", "A" * 100, "é!*", "d-01JABCDEFGHJKMNPQRSTVWXYZ0", "anna@contoso.example", "\n"])
def test_values_fit_googles_rules(text):
    assert re.fullmatch(r"[a-z0-9_-]{0,63}", fit(text))


def test_keys_begin_with_a_letter():
    assert fit_key("9-Remit") == "remit"
    for text in ("", "123", "-_-"):
        with pytest.raises(ValueError, match="key"):
            fit_key(text)
