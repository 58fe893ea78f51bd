"""What Google's refusals mean, in the words that Google uses, and what its answers started."""

import json

import pytest
from google.api import error_reason_pb2

from remit.catalogue import upstream
from remit.catalogue.descriptors import procedures
from remit.catalogue.upstream import cause_of, started_by
from remit.model.causes import Cause
from remit.model.wire import UpstreamAnswer

JSON = "application/json; charset=UTF-8"


def _rest(status, message="", *, reason="", metadata=None, older="", state=""):
    error = {"code": status, "message": message, "status": state}
    if reason:
        kind = "type.googleapis.com/google.rpc.ErrorInfo"
        error["details"] = [{"@type": kind, "reason": reason, "domain": "googleapis.com", "metadata": metadata or {}}]
    if older:
        error["errors"] = [{"message": message, "domain": "global", "reason": older}]
    return UpstreamAnswer(status, JSON, body=json.dumps({"error": error}).encode())


def _grpc(status, message):
    return UpstreamAnswer(200, "application/grpc", grpc_status=status, message=message)


RESOURCE = "//aiplatform.googleapis.com/projects/p/locations/us-central1/endpoints/1"
DISABLED = (
    "Vertex AI API has not been used in project 100000000001 before or it is disabled. Enable it by visiting "
    "https://console.developers.google.com/apis/api/aiplatform.googleapis.com/overview?project=100000000001 then retry."
)
SAID = [
    (f"Permission 'aiplatform.endpoints.predict' denied on resource '{RESOURCE}' (or it may not exist).", Cause.IAM, "aiplatform.endpoints.predict"),
    ("Permission aiplatform.customJobs.create denied for consumer", Cause.IAM, "aiplatform.customJobs.create"),
    ("Permission 'iam.serviceaccounts.actAs' denied on service account t@p.iam.gserviceaccount.com (or it may not exist).", Cause.IAM, "iam.serviceaccounts.actAs"),
    ("You do not have permission to act as service_account: t@p.iam.gserviceaccount.com.", Cause.IAM, ""),
    ("t@p.iam.gserviceaccount.com does not have storage.objects.get access to the Google Cloud Storage object. Permission 'storage.objects.get' denied on resource (or it may not exist).", Cause.IAM, "storage.objects.get"),
    ("Required 'compute.networks.use' permission for 'projects/p/global/networks/n'", Cause.IAM, "compute.networks.use"),
    ("The caller does not have permission", Cause.IAM, ""),
    (DISABLED, Cause.API_DISABLED, "aiplatform.googleapis.com"),
    ("Cloud Logging API has not been used in project 1 before or it is disabled.", Cause.API_DISABLED, "Cloud Logging API"),
    ("This API method requires billing to be enabled. Please enable billing on project #p.", Cause.API_DISABLED, ""),
    ("Quota exceeded for quota metric 'Generate content requests' and limit 'x per minute' of service 'aiplatform.googleapis.com' for consumer 'project_number:1'.", Cause.QUOTA, "Generate content requests"),
    ("The following quota metrics exceed quota limits: aiplatform.googleapis.com/custom_model_training_cpus", Cause.QUOTA, "aiplatform.googleapis.com/custom_model_training_cpus"),
    ("Permission denied on 'locations/mars-north1' (or it may not exist).", Cause.REGION, "locations/mars-north1"),
    ("Location mars-north1 is not found or access is unauthorized.", Cause.REGION, "mars-north1"),
    ("Constraint constraints/gcp.resourceLocations violated for projects/p attempting to use location asia-east1.", Cause.REGION, "constraints/gcp.resourceLocations"),
    ("Machine type a3 is not supported in region us-west9", Cause.REGION, "us-west9"),
    ("Request had insufficient authentication scopes.", Cause.TOKEN, ""),
    ("Permission denied on resource project contoso-nowhere.", Cause.WRONG_PROJECT, "contoso-nowhere"),
    ("Caller does not have required permission to use project contoso-other. Grant the caller the roles/serviceusage.serviceUsageConsumer role.", Cause.WRONG_PROJECT, "contoso-other"),
    ("Project 'projects/nowhere' not found or deleted.", Cause.WRONG_PROJECT, "projects/nowhere"),
    ("Request is prohibited by organization's policy. vpcServiceControlsUniqueIdentifier: eYhDk_f-1", Cause.FIREWALL, "eYhDk_f-1"),
    ("Request is prohibited by organization's policy.", Cause.FIREWALL, ""),
    ("Request violates VPC Service Controls.", Cause.FIREWALL, ""),
    ("There is an IP filtering condition that is preventing access to the resource.", Cause.FIREWALL, ""),
    ("no", Cause.UNKNOWN, ""),
    ("", Cause.UNKNOWN, ""),
]  # fmt: skip


@pytest.mark.parametrize(("message", "cause", "detail"), SAID)
def test_both_transports_tell_the_same_by_their_text(message, cause, detail):
    assert cause_of(_rest(403, message, state="PERMISSION_DENIED")) == (cause, detail)
    assert cause_of(_grpc(7, message)) == (cause, detail)


@pytest.mark.parametrize(
    ("reason", "metadata", "cause", "detail"),
    [
        ("IAM_PERMISSION_DENIED", {"permission": "aiplatform.jobs.create"}, Cause.IAM, "aiplatform.jobs.create"),
        ("SERVICE_DISABLED", {"service": "aiplatform.googleapis.com"}, Cause.API_DISABLED, "aiplatform.googleapis.com"),
        ("CONSUMER_INVALID", {"consumer": "projects/nowhere"}, Cause.WRONG_PROJECT, "projects/nowhere"),
        ("USER_PROJECT_DENIED", {"consumer": "projects/other"}, Cause.WRONG_PROJECT, "projects/other"),
        ("ACCESS_TOKEN_SCOPE_INSUFFICIENT", {"method": "google.x.Y.Z"}, Cause.TOKEN, "google.x.Y.Z"),
        ("LOCATION_ORG_POLICY_VIOLATED", {"location": "asia-east1"}, Cause.REGION, "asia-east1"),
        ("LOCATION_POLICY_VIOLATED", {}, Cause.REGION, "LOCATION_POLICY_VIOLATED"),
        ("RESOURCE_QUOTA_EXCEEDED", {"quota_metric": "x.googleapis.com/y"}, Cause.QUOTA, "x.googleapis.com/y"),
        ("SECURITY_POLICY_VIOLATED", {"uid": "abc"}, Cause.FIREWALL, "abc"),
        ("NEVER_HEARD_OF", {}, Cause.IAM, ""),
        ("IAM_PERMISSION_DENIED", {"permission": ["x"]}, Cause.IAM, "IAM_PERMISSION_DENIED"),
    ],
)
def test_error_info_is_believed_first(reason, metadata, cause, detail):
    assert cause_of(_rest(403, "The caller does not have permission", reason=reason, metadata=metadata)) == (
        cause,
        detail,
    )
    listed = json.loads(_rest(403, "The caller does not have permission", reason=reason, metadata=metadata).body)
    assert cause_of(UpstreamAnswer(403, JSON, body=json.dumps([listed]).encode())) == (cause, detail)


@pytest.mark.parametrize(
    ("status", "older", "cause"),
    [
        (403, "accessNotConfigured", Cause.API_DISABLED),
        (403, "rateLimitExceeded", Cause.QUOTA),
        (403, "quotaExceeded", Cause.QUOTA),
        (403, "insufficientPermissions", Cause.TOKEN),
        (403, "UserProjectAccessDenied", Cause.WRONG_PROJECT),
        (403, "vpcServiceControls", Cause.FIREWALL),
        (403, "forbidden", Cause.IAM),
        (401, "authError", Cause.TOKEN),
        (429, "rateLimitExceeded", Cause.QUOTA),
    ],
)
def test_older_reasons(status, older, cause):
    message = "x@p.iam.gserviceaccount.com does not have storage.objects.get access to the object."
    assert cause_of(_rest(status, message, older=older))[0] is cause


def test_every_reason_is_googles():
    known = set(error_reason_pb2.ErrorReason.keys())
    assert set(upstream._BY_REASON) <= known


def test_statuses_that_speak_for_themselves():
    assert cause_of(_rest(401, "x", reason="ACCESS_TOKEN_EXPIRED")) == (Cause.TOKEN, "ACCESS_TOKEN_EXPIRED")
    assert cause_of(_rest(401, "Permission 'a.b.c' denied")) == (Cause.TOKEN, "a.b.c")
    assert cause_of(_rest(429, "Resource has been exhausted (e.g. check quota).")) == (Cause.QUOTA, "")
    assert cause_of(_rest(429, "")) == (Cause.QUOTA, "")
    assert cause_of(_grpc(16, "Request had invalid authentication credentials.")) == (Cause.TOKEN, "")
    assert cause_of(_grpc(8, "Quota exceeded for aiplatform.googleapis.com/x with base model: y.")) == (
        Cause.QUOTA,
        "aiplatform.googleapis.com/x with base model",
    )
    assert cause_of(_grpc(8, "Received message larger than max (5 vs. 4)")) == (None, "")


@pytest.mark.parametrize("status", [0, 200, 204, 308, 400, 404, 409, 412, 500, 503])
def test_what_is_no_refusal_of_that_kind(status):
    assert cause_of(_rest(status, "Permission 'a.b.c' denied", reason="IAM_PERMISSION_DENIED")) == (None, "")


@pytest.mark.parametrize("status", [0, 1, 2, 3, 4, 5, 6, 9, 10, 11, 12, 13, 14, 15, 17, 99])
def test_what_is_no_grpc_refusal_of_that_kind(status):
    assert cause_of(_grpc(status, "Permission 'a.b.c' denied")) == (None, "")


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>Forbidden</html>", b"{", b"[]", b"[1]", b'{"error": "x"}', b'{"error": {"message": 7, "details": {}}}',
     b'{"error": {"details": [7, {"reason": 7}, {"reason": "IAM_PERMISSION_DENIED", "metadata": 7}], "errors": [1]}}',
     b"\xff" * 70, b"[" * 60_000, b'{"error": {"message": "x"}, "error": {"message": "y"}}'],
)  # fmt: skip
def test_garbage_is_unknown_and_never_an_error(body):
    cause, detail = cause_of(UpstreamAnswer(403, "text/html", body=body))
    assert cause in {Cause.UNKNOWN, Cause.IAM}
    assert detail in {"", "IAM_PERMISSION_DENIED"}


def test_storage_answers_in_xml():
    text = "<?xml version='1.0' encoding='UTF-8'?><Error><Code>{}</Code><Message>Access denied.</Message><Details>{}</Details></Error>"
    body = text.format("AccessDenied", "x@p does not have storage.objects.get access to the object.")
    assert cause_of(UpstreamAnswer(403, "application/xml", body=body.encode())) == (Cause.IAM, "storage.objects.get")
    body = text.format("UserProjectAccessDenied", "x")
    assert cause_of(UpstreamAnswer(403, "application/xml", body=body.encode()))[0] is Cause.WRONG_PROJECT


def test_the_detail_is_printable_and_short():
    _, detail = cause_of(
        _rest(403, reason="IAM_PERMISSION_DENIED", metadata={"permission": "a\r\nx-y: z\x00é" + "b" * 900})
    )
    assert len(detail) == 200
    assert detail.startswith("a??x-y: z??b")
    flood = cause_of(_grpc(7, "does not have " + "a." * 40_000))
    assert flood[0] in {Cause.UNKNOWN, Cause.IAM}


def _frame(payload, flag=0):
    return bytes([flag]) + len(payload).to_bytes(4, "big") + payload


NAME = "projects/100000000001/locations/us-central1/customJobs/7"


def test_what_an_answer_started():
    text = json.dumps({"name": NAME, "state": "JOB_STATE_PENDING", "jobSpec": {"name": "x"}}).encode()
    assert started_by(JSON, text) == NAME
    assert started_by("application/json", text) == NAME
    job = b"\x0a" + bytes([len(NAME)]) + NAME.encode() + b"\x12\x01x"
    assert started_by("application/grpc", _frame(job)) == NAME
    assert started_by("application/grpc+proto", _frame(job[-3:] + job[:-3])) == NAME


def test_field_one_is_the_name_of_everything_that_is_started():
    kinds = {one.request.DESCRIPTOR.file.pool for one in procedures("vertex_v1")}
    (pool,) = kinds
    for name in (
        "CustomJob",
        "BatchPredictionJob",
        "HyperparameterTuningJob",
        "TrainingPipeline",
        "PipelineJob",
        "NasJob",
    ):
        assert pool.FindMessageTypeByName(f"google.cloud.aiplatform.v1.{name}").fields_by_name["name"].number == 1
    assert pool.FindMessageTypeByName("google.longrunning.Operation").fields_by_name["name"].number == 1


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (JSON, b""),
        (JSON, b"[]"),
        (JSON, b'{"name": 7}'),
        (JSON, b'{"name": null}'),
        (JSON, b'{"name": "a", "name": "b"}'),
        (JSON, b'{"name": "a"}{"name": "b"}'),
        (JSON, b'[{"name": "a"}]'),
        (JSON, b"[" * 60_000),
        (JSON, b'{"Name": "a"}'),
        ("text/html", b'{"name": "a"}'),
        ("text/event-stream", b'data: {"name": "a"}'),
        ("", b'{"name": "a"}'),
        ("application/grpc-web", _frame(b"\x0a\x01a")),
        ("application/grpc", b""),
        ("application/grpc", _frame(b"")),
        ("application/grpc", _frame(b"\x0a\x01a", 1)),
        ("application/grpc", _frame(b"\x0a\x01a") * 2),
        ("application/grpc", _frame(b"\x0a\x01a\x0a\x01b")),
        ("application/grpc", _frame(b"\x08\x01")),
        ("application/grpc", _frame(b"\x0a\x01\xff")),
        ("application/grpc", _frame(b"\x0a\x05a")),
        ("application/grpc", _frame(b"\x12\x01a")),
    ],
)
def test_an_unclear_answer_names_nothing(kind, body):
    assert started_by(kind, body) == ""
