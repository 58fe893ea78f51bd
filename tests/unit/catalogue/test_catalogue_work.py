"""The guardrails of a message, and whether its answer names something that belongs to the caller."""

import gzip
import json
from importlib import resources

import pytest
from google.protobuf import descriptor_pb2, json_format

from remit.catalogue import rules
from remit.catalogue.descriptors import procedures
from remit.catalogue.methods import vertex
from remit.catalogue.names import Names
from remit.catalogue.work import registry
from remit.model.operation import Group, Work

L = "projects/contoso-fraud-test/locations/us-central1"
SA = "trainer@contoso-fraud-test.iam.gserviceaccount.com"
DIGEST = "sha256:" + "0" * 64
METHODS = {method.action.id.removeprefix("aiplatform.projects.locations."): method for method in vertex()}
CALLS = {one.path.rpartition("/")[2]: one for one in procedures("vertex_v1beta1")} | {
    one.path.rpartition("/")[2]: one for one in procedures("vertex_v1")
}
GPU = {"machineType": "n1-standard-8", "acceleratorType": "NVIDIA_TESLA_T4", "acceleratorCount": 2}
SPEC = {
    "workerPoolSpecs": [
        {
            "machineSpec": GPU,
            "replicaCount": "1",
            "containerSpec": {
                "imageUri": f"us-docker.pkg.dev/contoso-fraud-test/train/digits@{DIGEST}",
                "env": [{"name": "EPOCHS", "value": "3"}, {"name": "GOOGLE_APPLICATION_CREDENTIALS", "value": "/x"}],
            },
        },
        {
            "machineSpec": {"machineType": "e2-standard-4"},
            "replicaCount": "4",
            "pythonPackageSpec": {"executorImageUri": "gcr.io/a/b", "packageUris": ["gs://contoso-fraud-test-data/p"]},
        },
    ],
    "scheduling": {"timeout": "600.5s"},
    "serviceAccount": SA,
    "network": "projects/100000000001/global/networks/n",
}
WORK = Work(
    region="us-central1",
    machines=frozenset({"n1-standard-8", "e2-standard-4"}),
    accelerators=frozenset({"NVIDIA_TESLA_T4"}),
    accelerator_count=2,
    replicas=5,
    images=frozenset({f"us-docker.pkg.dev/contoso-fraud-test/train/digits@{DIGEST}", "gcr.io/a/b"}),
    registries=frozenset({"us-docker.pkg.dev/contoso-fraud-test/train", "gcr.io/a"}),
    networks=frozenset({"//compute.googleapis.com/projects/contoso-fraud-test/global/networks/n"}),
    buckets=frozenset({"contoso-fraud-test-data"}),
    environment=frozenset({"EPOCHS", "GOOGLE_APPLICATION_CREDENTIALS"}),
    labels=frozenset({"my-team=fraud", "a=b"}),
    duration=601,
)
CUSTOM = "gs://google-cloud-aiplatform/schema/trainingjob/definition/custom_task_1.0.0.yaml"
LABELS = {"my-team": "fraud", "a": "b"}
SNAKE = {
    "worker_pool_specs": [
        {
            "machine_spec": {
                "machine_type": "n1-standard-8",
                "accelerator_type": "NVIDIA_TESLA_T4",
                "accelerator_count": 2,
            },
            "replica_count": 1,
            "container_spec": {
                "image_uri": f"us-docker.pkg.dev/contoso-fraud-test/train/digits@{DIGEST}",
                "env": [{"name": "EPOCHS", "value": "3"}, {"name": "GOOGLE_APPLICATION_CREDENTIALS", "value": "/x"}],
            },
        },
        SPEC["workerPoolSpecs"][1],
    ],
    "scheduling": {"timeout": "600.5s", "max_wait_duration": None},
    "service_account": SA,
    "network": SPEC["network"],
}


@pytest.fixture(scope="module")
def names(estate):
    return Names(estate)


@pytest.fixture(scope="module")
def work(names):
    def of(method, call, value):
        message = CALLS[call].request()
        json_format.ParseDict(value, message, descriptor_pool=message.DESCRIPTOR.file.pool)
        return rules.read(METHODS[method], message, names.place(L), names, "parent").work

    return of


def _changed(**fields):
    return Work(**{name: fields.get(name, getattr(WORK, name)) for name in Work.__dataclass_fields__})


@pytest.mark.promise("N8")
def test_a_job_is_added_up(work):
    job = {"jobSpec": SPEC, "labels": LABELS}
    assert work("customJobs.create", "CreateCustomJob", {"parent": L, "customJob": job}) == WORK


def test_the_same_job_as_a_custom_task_of_a_pipeline(work):
    for inputs in (SPEC, SNAKE):
        pipeline = {"trainingTaskDefinition": CUSTOM, "trainingTaskInputs": inputs, "labels": LABELS}
        assert work("trainingPipelines.create", "CreateTrainingPipeline", {"trainingPipeline": pipeline}) == WORK


def test_the_same_job_in_bare_json_and_in_a_string(names, work):
    place, method = names.place(L), METHODS["customJobs.create"]
    for spec in (SPEC, SNAKE, json.dumps(SNAKE)):
        assert rules.read_opaque(method, {"jobSpec": spec, "labels": LABELS}, place, names).work == WORK


def test_trials_multiply(work):
    job = {"trialJobSpec": SPEC, "labels": LABELS, "maxTrialCount": 10, "parallelTrialCount": 3}
    found = work("hyperparameterTuningJobs.create", "CreateHyperparameterTuningJob", {"hyperparameterTuningJob": job})
    assert found == _changed(replicas=15, accelerator_count=6, duration=4 * 601)


def test_architecture_search_adds_both_kinds_of_trials(work):
    search = {"searchTrialJobSpec": SPEC, "maxTrialCount": 4, "maxParallelTrialCount": 2}
    algorithm = {"searchTrialSpec": search, "trainTrialSpec": {"trainTrialJobSpec": SPEC, "maxParallelTrialCount": 1}}
    job = {"nasJobSpec": {"multiTrialAlgorithmSpec": algorithm}, "labels": LABELS}
    found = work("nasJobs.create", "CreateNasJob", {"nasJob": job})
    assert found == _changed(replicas=15, accelerator_count=6, duration=2 * 601)


@pytest.mark.parametrize(
    ("scheduling", "duration"),
    [({}, 0), ({"timeout": "0s"}, 0), ({"timeout": "-5s"}, 0), ({"timeout": "1s"}, 1), ({"strategy": "SPOT"}, 0)],
)
def test_a_time_limit(work, scheduling, duration):
    value = {"customJob": {"jobSpec": {**SPEC, "scheduling": scheduling}}}
    assert work("customJobs.create", "CreateCustomJob", value).duration == duration


def test_one_job_without_an_end_has_no_end(work):
    search = {"searchTrialJobSpec": SPEC, "maxTrialCount": 1}
    algorithm = {"searchTrialSpec": search, "trainTrialSpec": {"trainTrialJobSpec": {"workerPoolSpecs": []}}}
    value = {"nasJob": {"nasJobSpec": {"multiTrialAlgorithmSpec": algorithm}}}
    assert work("nasJobs.create", "CreateNasJob", value).duration == 0


@pytest.mark.parametrize(
    ("resources", "replicas", "count"),
    [
        ({"machineSpec": GPU}, 1, 2),
        ({"machineSpec": GPU, "minReplicaCount": 2}, 2, 4),
        ({"machineSpec": GPU, "minReplicaCount": 1, "maxReplicaCount": 7}, 7, 14),
    ],
)
def test_a_deployment_counts_its_most_replicas(work, resources, replicas, count):
    value = {"deployedModel": {"model": f"{L}/models/1", "dedicatedResources": resources}}
    found = work("endpoints.deployModel", "DeployModel", value)
    assert (found.replicas, found.accelerator_count) == (replicas, count)
    changed = work("endpoints.mutateDeployedModel", "MutateDeployedModel", value)
    assert (changed.replicas, changed.accelerator_count) == (replicas, count)


def test_hosts_of_many_nodes_count_for_all_of_them(names):
    kind = next(one.request for one in procedures("vertex_v1beta1") if one.path.endswith("/DeployModel"))
    resources = {"machineSpec": {**GPU, "multihostGpuNodeCount": 2}, "maxReplicaCount": 3}
    message = kind()
    value = {"deployedModel": {"dedicatedResources": resources}}
    json_format.ParseDict(value, message, descriptor_pool=message.DESCRIPTOR.file.pool)
    found = rules.read(METHODS["endpoints.deployModel"], message, names.place(L), names, "endpoint").work
    assert (found.replicas, found.accelerator_count) == (3, 12)


def test_other_work_is_counted_too(work):
    batch = {"dedicatedResources": {"machineSpec": GPU, "startingReplicaCount": 2, "maxReplicaCount": 9}}
    found = work("batchPredictionJobs.create", "CreateBatchPredictionJob", {"batchPredictionJob": batch})
    assert (found.replicas, found.accelerator_count, found.duration) == (9, 18, 0)
    pools = [{"machineSpec": GPU, "replicaCount": 2, "autoscalingSpec": {"minReplicaCount": 1, "maxReplicaCount": 6}}]
    pool = {"resourcePools": pools, "resourceRuntimeSpec": {"raySpec": {"resourcePoolImages": {"p": "a/b:1"}}}}
    found = work("persistentResources.create", "CreatePersistentResource", {"persistentResource": pool})
    assert (found.replicas, found.accelerator_count, found.images, found.interactive) == (6, 12, {"a/b:1"}, True)
    notebook = {"executionTimeout": "60s", "customEnvironmentSpec": {"machineSpec": GPU}}
    found = work("notebookExecutionJobs.create", "CreateNotebookExecutionJob", {"notebookExecutionJob": notebook})
    assert (found.replicas, found.accelerator_count, found.duration, found.interactive) == (1, 2, 60, False)
    engine = {"spec": {"deploymentSpec": {"maxInstances": 8, "env": [{"name": "A"}], "secretEnv": [{"name": "B"}]}}}
    found = work("reasoningEngines.create", "CreateReasoningEngine", {"reasoningEngine": engine})
    assert (found.replicas, found.environment) == (8, {"A", "B"})
    runs = {"maxConcurrentRunCount": 3, "createPipelineJobRequest": {"pipelineJob": {"pipelineSpec": {"x": SPEC}}}}
    found = work("schedules.create", "CreateSchedule", {"schedule": runs})
    assert (found.replicas, found.accelerator_count, found.duration) == (15, 6, 0)


def test_a_schedule_has_no_end_however_short_each_of_its_runs_is(work):
    job = {"executionTimeout": "60s", "customEnvironmentSpec": {"machineSpec": GPU}}
    runs = {"createNotebookExecutionJobRequest": {"notebookExecutionJob": job}, "maxRunCount": 2}
    assert work("schedules.create", "CreateSchedule", {"schedule": runs}).duration == 0
    assert work("schedules.patch", "UpdateSchedule", {"schedule": runs}).duration == 0


def test_a_pipelines_free_json_is_added_up(work):
    executor = {
        "container": {
            "image": "python:3.11",
            "env": [{"name": "MODE", "value": "x"}],
            "resources": {"accelerator": {"count": "4", "type": "NVIDIA_TESLA_T4"}},
        }
    }
    constant = {"machine_type": {"runtimeValue": {"constant": "a2-highgpu-1g"}}}
    spec = {"deploymentSpec": {"executors": {"e": executor}}, "root": {"inputs": {"parameters": constant}}}
    found = work("pipelineJobs.create", "CreatePipelineJob", {"pipelineJob": {"pipelineSpec": spec}})
    assert found == Work(
        region="us-central1",
        machines=frozenset({"a2-highgpu-1g"}),
        accelerators=frozenset({"NVIDIA_TESLA_T4"}),
        accelerator_count=4,
        images=frozenset({"python:3.11"}),
        registries=frozenset({"docker.io/library"}),
        environment=frozenset({"MODE"}),
    )


@pytest.mark.parametrize(
    ("method", "call", "value", "interactive"),
    [
        ("customJobs.create", "CreateCustomJob", {"customJob": {"jobSpec": {"enableWebAccess": True}}}, True),
        ("customJobs.create", "CreateCustomJob", {"customJob": {"jobSpec": {"enableDashboardAccess": True}}}, True),
        ("customJobs.create", "CreateCustomJob", {"customJob": {"jobSpec": {"enableWebAccess": False}}}, False),
        (
            "pipelineJobs.create",
            "CreatePipelineJob",
            {"pipelineJob": {"pipelineSpec": {"enable_web_access": "True"}}},
            True,
        ),
        ("notebookRuntimeTemplates.create", "CreateNotebookRuntimeTemplate", {"notebookRuntimeTemplate": {}}, True),
        ("endpoints.create", "CreateEndpoint", {"endpoint": {"displayName": "e"}}, False),
    ],
)
def test_what_somebody_could_log_in_to(work, method, call, value, interactive):
    assert work(method, call, value).interactive is interactive


@pytest.mark.parametrize("number", ["x", "1e400", "-3", "", None, [], {"a": 1}, "99999999999999999999999"])
def test_broken_numbers_count_for_no_less(names, number):
    body = {"jobSpec": {"workerPoolSpecs": [{"replicaCount": number, "machineSpec": {"acceleratorCount": number}}]}}
    found = rules.read_opaque(METHODS["customJobs.create"], body, names.place(L), names).work
    assert 1 <= found.replicas <= 2**53
    assert 0 <= found.accelerator_count <= 2**53


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("us-docker.pkg.dev/p/r/i:1", "us-docker.pkg.dev/p/r"),
        ("US-docker.pkg.dev/p/r/deep/i", "us-docker.pkg.dev/p/r"),
        (f"us-docker.pkg.dev/p/r/i@{DIGEST}", "us-docker.pkg.dev/p/r"),
        ("gcr.io/p/i", "gcr.io/p"),
        ("localhost:5000/i", "localhost:5000"),
        ("python:3.12", "docker.io/library"),
        ("contoso/trainer", "docker.io/contoso"),
    ],
)
def test_registries(image, expected):
    assert registry(image) == expected


def test_work_stands_where_something_is_started_or_changed(names):
    for method in vertex():
        if method.scoped:
            found = rules.read_opaque(method, {}, names.place(L), names).work
            quiet = method.action.group in {Group.USE, Group.OBSERVE} or method.verb == "GET"
            assert (found is None) is quiet, method.action.id


def test_addresses_are_guardrails_of_a_question_too(names):
    body = {"contents": [{"parts": [{"fileData": {"fileUri": "gs://contoso-fraud-test-data/a"}}]}]}
    found = rules.read_opaque(METHODS["publishers.models.generateContent"], body, names.place(L), names)
    assert found.work == Work(region="us-central1", buckets=frozenset({"contoso-fraud-test-data"}))


def _answers():
    """The response type of every procedure, from the sets themselves."""
    for version in ("v1", "v1beta1"):
        packed = resources.files("remit").joinpath("googleapis", f"vertex_{version}.binpb.gz").read_bytes()
        for file in descriptor_pb2.FileDescriptorSet.FromString(gzip.decompress(packed)).file:
            for service in file.service:
                for method in service.method:
                    yield f"{file.package}.{service.name}/{method.name}", method.output_type


def test_what_starts_something_is_what_answers_with_an_operation_or_a_job():
    answers = dict(_answers())
    for method in vertex():
        operation = any(answers.get(call) == ".google.longrunning.Operation" for call in method.grpc)
        collection, _, verb = method.action.id.rpartition(".")
        jobs = collection.endswith(("Jobs", ".schedules", ".trainingPipelines")) and verb == "create"
        if not method.scoped or ".operations." in method.action.id:
            continue
        if method.grpc:
            assert method.starts == (operation or jobs), method.action.id
        elif method.starts:
            assert verb in {"create", "predictLongRunning"}, method.action.id
    assert METHODS["evaluationRuns.create"].starts
    assert not METHODS["operations.get"].starts


@pytest.mark.parametrize(
    "hidden",
    [
        lambda text: '{"pad": "' + "x" * 600_000 + '", "a": ' + text + "}",
        json.dumps,
        lambda text: f'{{"a": {text}, "a": 1}}',
        lambda text: f'{{"a": 1, "a": {text}}}',
        lambda text: f" \n[{text}]",
    ],
    ids=["long", "twice", "first", "second", "blank"],
)
def test_no_string_hides_a_machine(names, hidden):
    text = json.dumps({"workerPoolSpecs": [{"machineSpec": {"machineType": "a3-megagpu-8g"}}]})
    method = next(one for one in vertex() if one.action.id.endswith(".evaluationRuns.create"))
    extra = rules.read_opaque(method, {"spec": hidden(text)}, names.place(L), names)
    assert extra.work.machines == {"a3-megagpu-8g"}
