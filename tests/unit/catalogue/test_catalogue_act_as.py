"""Every account that a message can name is found, in every method that can carry one, in both versions and spellings.

The methods and paths are Google's own (`carries` of the generated table: what the discovery documents say).
"""

import json
import re

import pytest
from google.protobuf import json_format

from remit.catalogue import rules
from remit.catalogue.descriptors import procedures
from remit.catalogue.methods import vertex
from remit.catalogue.names import Names
from remit.model.errors import Refused
from remit.model.operation import Group
from remit.model.reasons import Reason

L = "projects/contoso-fraud-test/locations/us-central1"
OURS = "trainer@contoso-fraud-test.iam.gserviceaccount.com"
OTHERS = "trainer@contoso-churn-prod.iam.gserviceaccount.com"
STRANGER = "mallory@elsewhere.iam.gserviceaccount.com"
CODE, SERVICE, COMPUTE = (
    "service-100000000001@gcp-sa-aiplatform-cc.iam.gserviceaccount.com",
    "service-100000000001@gcp-sa-aiplatform.iam.gserviceaccount.com",
    "100000000001-compute@developer.gserviceaccount.com",
)
METHODS = {method.action.id: method for method in vertex() if "serviceAccount" in method.carries}
PATHS = [(name, path) for name, method in METHODS.items() for path in method.carries["serviceAccount"]]
CALLS = {
    procedure.path: procedure for name in ("vertex_v1", "vertex_v1beta1") for procedure in procedures(name)
}  # fmt: skip
BY_ID = {method.action.id: method for method in vertex()}


@pytest.fixture(scope="module")
def names(estate):
    return Names(estate)


def _snake(name):
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def _at(path, account, spelling=str):
    """A body with an account at a path: `{"a": {"b": account}}`."""
    *outer, last = path.split(".")
    value = account
    if last in {"googleServiceAccountConfig", "serviceAccountSpec"}:
        value = {spelling("serviceAccount"): account}
    elif last == "enableCustomServiceAccount":
        outer, value = [*outer], True
    for part in [last, *reversed(outer)]:
        value = {spelling(part): value}
    return value


def _wrapped(kind, body):
    """A body with a list wherever a field repeats; `None` when this version has no such field."""
    wrapped = {}
    for key, value in body.items():
        field = kind.fields_by_name.get(_snake(key))
        if field is None:
            return None
        if isinstance(value, dict) and field.message_type is None:
            return None
        inner = _wrapped(field.message_type, value) if isinstance(value, dict) else value
        if inner is None:
            return None
        if field.message_type and field.message_type.GetOptions().map_entry:
            return None
        wrapped[key] = [inner] if field.is_repeated else inner
    return wrapped


def _messages(method, body):
    """The same body as a message of every version that has its fields."""
    for path in method.grpc:
        procedure = CALLS.get(f"/{path}")
        if procedure is None:
            continue  # the client streams
        version = path.split(".")[3]
        binding = next(
            one for one in procedure.bindings if (one.verb, one.path) == (method.verb, method.path_in(version))
        )
        whole = body if binding.body == "*" else {binding.body: body}
        wrapped = _wrapped(procedure.input, whole)
        if wrapped is not None:
            message = procedure.request()
            json_format.ParseDict(wrapped, message, descriptor_pool=procedure.input.file.pool)
            yield message


def _read(method, message, names):
    return rules.read(method, message, names.place(L), names, "parent")


def test_the_table_knows_every_method_that_can_carry_an_account():
    assert len(METHODS) == 62
    assert sum("v1" in method.versions for method in METHODS.values()) >= 54
    assert sum("v1beta1" in method.versions for method in METHODS.values()) == 62


@pytest.mark.parametrize(("name", "path"), PATHS)
@pytest.mark.promise("N8")
def test_an_account_at_every_path_is_acted_as(names, name, path):
    method, place = METHODS[name], names.place(L)
    switch = path.endswith("enableCustomServiceAccount")
    for spelling in (str, _snake):
        body = _at(path, OTHERS, spelling)
        found = [rules.read_opaque(method, body, place, names)]
        found += [_read(method, message, names) for message in _messages(method, body)]
        assert all((OTHERS in extra.accounts) is not switch for extra in found)
        if not switch:
            stranger = _at(path, STRANGER, spelling)
            with pytest.raises(Refused) as caught:
                rules.read_opaque(method, stranger, place, names)
            assert caught.value.reason is Reason.RESOURCE_UNKNOWN
            for message in _messages(method, stranger):
                with pytest.raises(Refused):
                    _read(method, message, names)


def test_most_paths_are_read_from_real_messages():
    typed = [path for name, path in PATHS if list(_messages(METHODS[name], _at(path, OURS)))]
    assert len(typed) >= 40  # the others stand in fields that Google's client libraries do not have


JOB = {"jobSpec": {"workerPoolSpecs": [{"machineSpec": {"machineType": "n1-standard-4"}}]}}
SPEC = JOB["jobSpec"]
CUSTOM = "gs://google-cloud-aiplatform/schema/trainingjob/definition/custom_task_1.0.0.yaml"
TABULAR = "gs://google-cloud-aiplatform/schema/trainingjob/definition/automl_tabular_1.0.0.yaml"
TUNING = "gs://google-cloud-aiplatform/schema/trainingjob/definition/hyperparameter_tuning_task_1.0.0.yaml"
NAS = {"multiTrialAlgorithmSpec": {"searchTrialSpec": {"searchTrialJobSpec": {**SPEC, "serviceAccount": OURS}}}}
NAS_TWO = {"multiTrialAlgorithmSpec": {**NAS["multiTrialAlgorithmSpec"], "trainTrialSpec": {"trainTrialJobSpec": SPEC}}}
DEPLOYED = {"model": f"{L}/models/1", "dedicatedResources": {"machineSpec": {"machineType": "n1-standard-2"}}}
DEFAULTS = [
    ("customJobs.create", JOB, (CODE,)),
    ("customJobs.create", {"jobSpec": {**SPEC, "serviceAccount": OURS}}, (OURS,)),
    ("hyperparameterTuningJobs.create", {"trialJobSpec": SPEC}, (CODE,)),
    ("nasJobs.create", {"nasJobSpec": NAS}, (OURS,)),
    ("nasJobs.create", {"nasJobSpec": NAS_TWO}, (OURS, CODE)),
    ("trainingPipelines.create", {"trainingTaskDefinition": CUSTOM, "trainingTaskInputs": SPEC}, (CODE,)),
    (
        "trainingPipelines.create",
        {"trainingTaskDefinition": CUSTOM, "trainingTaskInputs": {**SPEC, "service_account": OURS}},
        (OURS,),
    ),
    ("trainingPipelines.create", {"trainingTaskDefinition": TABULAR, "trainingTaskInputs": {"a": 1}}, (CODE,)),
    ("trainingPipelines.create", {}, (CODE,)),
    # an account where no task reads one is acted as, and is not whom the work runs as
    (
        "trainingPipelines.create",
        {"trainingTaskDefinition": TABULAR, "trainingTaskInputs": {"serviceAccount": OURS}},
        (OURS, CODE),
    ),
    (
        "trainingPipelines.create",
        {"trainingTaskDefinition": TUNING, "trainingTaskInputs": {"trialJobSpec": {**SPEC, "serviceAccount": OURS}}},
        (OURS,),
    ),
    (
        "trainingPipelines.create",
        {"trainingTaskDefinition": TUNING, "trainingTaskInputs": {"serviceAccount": OURS, "trialJobSpec": SPEC}},
        (OURS, CODE),
    ),
    ("persistentResources.create", {"displayName": "p"}, (CODE,)),
    (
        "persistentResources.create",
        {"resourceRuntimeSpec": {"serviceAccountSpec": {"enableCustomServiceAccount": True, "serviceAccount": OURS}}},
        (OURS,),
    ),
    (
        "persistentResources.create",
        {"resourceRuntimeSpec": {"serviceAccountSpec": {"enableCustomServiceAccount": False, "serviceAccount": OURS}}},
        (OURS, CODE),
    ),
    ("persistentResources.patch", {"displayName": "p"}, ()),
    ("pipelineJobs.create", {"pipelineSpec": {"root": {}}}, (COMPUTE,)),
    ("pipelineJobs.create", {"serviceAccount": OTHERS, "pipelineSpec": {"a": OURS}}, (OURS, OTHERS)),
    ("batchPredictionJobs.create", {"model": f"{L}/models/1"}, (SERVICE,)),
    ("tuningJobs.create", {"baseModel": "gemini-2.5-flash"}, (SERVICE,)),
    ("endpoints.create", {"displayName": "e"}, ()),
    ("endpoints.create", {"deployedModels": [{**DEPLOYED, "serviceAccount": OURS}, DEPLOYED]}, (OURS, SERVICE)),
    ("endpoints.deployModel", {"deployedModel": DEPLOYED}, (SERVICE,)),
    (
        "endpoints.deployModel",
        {"deployedModel": {"model": f"{L}/models/1", "sharedResources": f"{L}/deploymentResourcePools/1"}},
        (SERVICE,),
    ),
    ("endpoints.mutateDeployedModel", {"deployedModel": DEPLOYED}, ()),
    ("deploymentResourcePools.create", {"deploymentResourcePool": {"dedicatedResources": {}}}, (SERVICE,)),
    ("reasoningEngines.create", {"spec": {"agentFramework": "langchain"}}, (SERVICE,)),
    ("notebookExecutionJobs.create", {"displayName": "n"}, (COMPUTE,)),
    ("notebookRuntimeTemplates.create", {"displayName": "n"}, (COMPUTE,)),
    ("notebookRuntimes.assign", {"notebookRuntimeTemplate": f"{L}/notebookRuntimeTemplates/1"}, (COMPUTE,)),
    ("schedules.create", {"createPipelineJobRequest": {"pipelineJob": {"displayName": "p"}}}, (COMPUTE,)),
    ("dataLabelingJobs.create", {"displayName": "d"}, (SERVICE,)),
    ("modelDeploymentMonitoringJobs.create", {"displayName": "d"}, (SERVICE,)),
    ("models.upload", {"model": {"displayName": "m"}}, ()),
    ("datasets.create", {"displayName": "d"}, ()),
]


@pytest.mark.parametrize(("method", "body", "accounts"), DEFAULTS)
def test_work_that_names_no_account_runs_as_an_agent_of_the_project(names, method, body, accounts):
    method = BY_ID[f"aiplatform.projects.locations.{method}"]
    binding_bodies = {
        binding.body
        for path in method.grpc
        if f"/{path}" in CALLS
        for binding in CALLS[f"/{path}"].bindings
        if (binding.verb, binding.path) == (method.verb, method.path_in(path.split(".")[3]))
    }
    assert len(binding_bodies) == 1
    inner = binding_bodies.pop()
    for path in method.grpc:
        procedure = CALLS[f"/{path}"]
        message = procedure.request()
        whole = body if inner == "*" else {inner: body}
        json_format.ParseDict(whole, message, descriptor_pool=procedure.input.file.pool)
        if inner != "*":
            getattr(message, inner).SetInParent()
        assert _read(method, message, names).accounts == accounts


def test_every_launch_acts_as_somebody(names):
    """Whatever starts work is asked for as an account, even when its message says nothing at all."""
    launches = [method for method in vertex() if method.action.group is Group.LAUNCH and method.scoped]
    assert len(launches) >= 13
    for method in launches:
        assert len(rules.read_opaque(method, {}, names.place(L), names).accounts) == 1, method.action.id


@pytest.mark.parametrize(
    "value",
    [
        OURS.upper(),
        OURS.replace("trainer", "TRAINER"),
        f" {OURS}",
        f"{OURS} ",
        f"{OURS}\n",
        f"projects/contoso-churn-prod/serviceAccounts/{OURS}",
        "projects/-/serviceAccounts/mallory@elsewhere.iam.gserviceaccount.com",
        "123456789012345678901",
        "someone@contoso.example",
        "-",
    ],
)
def test_an_account_that_is_not_plainly_the_estates_is_refused(names, grpc_wire, catalogue, value):
    body = {"parent": L, "customJob": {"jobSpec": {"serviceAccount": value}}}
    with pytest.raises(Refused) as caught:
        catalogue.classify(grpc_wire("JobService/CreateCustomJob", body))
    assert caught.value.reason is Reason.RESOURCE_UNKNOWN


@pytest.mark.parametrize(
    "form", ["projects/-/serviceAccounts/{}", "//iam.googleapis.com/projects/-/serviceAccounts/{}"]
)
def test_an_account_by_its_resource_name_is_that_account(names, form):
    body = {"jobSpec": {"serviceAccount": form.format(OTHERS)}}
    extra = rules.read_opaque(METHODS["aiplatform.projects.locations.customJobs.create"], body, names.place(L), names)
    assert extra.accounts == (OTHERS,)


def test_whoever_a_notebook_would_run_as_is_no_person(names):
    method = BY_ID["aiplatform.projects.locations.notebookExecutionJobs.create"]
    with pytest.raises(Refused):
        rules.read_opaque(method, {"executionUser": "anna@contoso.example"}, names.place(L), names)


@pytest.mark.parametrize("user", ["runtimeUser", "runtime_user"])
def test_whoever_a_notebook_is_for_is_no_person(catalogue, rest_wire, user):
    body = json.dumps({"notebookRuntime": {user: "anna@contoso.example"}})
    with pytest.raises(Refused):
        catalogue.classify(rest_wire("POST", f"/v1/{L}/notebookRuntimes:assign", body))


PIPELINE = {"createPipelineJobRequest": {"pipelineJob": {"serviceAccount": OURS}}}
MASKS = [
    ("schedules/1", "createPipelineJobRequest.pipelineJob.serviceAccount", {}, {COMPUTE}),
    ("schedules/1", "createPipelineJobRequest.pipelineJob", {"displayName": "s"}, {COMPUTE}),
    ("schedules/1", "cron,createPipelineJobRequest", {"cron": "0 0 * * *"}, {COMPUTE}),
    ("schedules/1", "*", {"displayName": "s"}, {COMPUTE}),
    ("schedules/1", "createNotebookExecutionJobRequest.notebookExecutionJob.serviceAccount", PIPELINE, {OURS, COMPUTE}),
    ("schedules/1", "createPipelineJobRequest", PIPELINE, {OURS}),
    ("schedules/1", "displayName,cron", {"displayName": "s"}, set()),
    ("reasoningEngines/1", "spec.serviceAccount", {}, {SERVICE}),
    ("reasoningEngines/1", "spec", {"displayName": "r"}, {SERVICE}),
    ("reasoningEngines/1", "spec.serviceAccount", {"spec": {"serviceAccount": OURS}}, {OURS}),
    ("reasoningEngines/1", "displayName", {"displayName": "r"}, set()),
    ("deploymentResourcePools/1", "serviceAccount", {}, {SERVICE}),
    ("deploymentResourcePools/1", "dedicatedResources", {"dedicatedResources": {}}, set()),
    ("notebookRuntimeTemplates/1", "serviceAccount", {}, {COMPUTE}),
    ("endpoints/1", "displayName,trafficSplit", {"displayName": "e"}, set()),
]


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
@pytest.mark.parametrize("case", MASKS, ids=lambda case: f"{case[0]}-{case[1]}")
def test_a_mask_that_takes_an_account_away_leaves_the_agent(catalogue, rest_wire, case, version):
    name, mask, body, accounts = case
    target = f"/{version}/{L}/{name}?updateMask={mask}"
    request = catalogue.classify(rest_wire("PATCH", target, json.dumps(body)))
    assert {one.acts_as for one in request.operations if one.acts_as} == accounts


def test_members_of_a_policy_are_nobody_to_act_as(names):
    method = BY_ID["aiplatform.projects.locations.datasets.setIamPolicy"]
    body = {"policy": {"bindings": [{"role": "roles/viewer", "members": [f"serviceAccount:{STRANGER}"]}]}}
    assert rules.read_opaque(method, body, names.place(f"{L}/datasets/1"), names).accounts == ()
