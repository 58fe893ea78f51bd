"""Which messages hold a part that nobody can read beforehand."""

import json

import pytest
from google.protobuf import json_format, message_factory

from remit.catalogue import rules
from remit.catalogue.descriptors import procedures
from remit.catalogue.mentions import UNTYPED, short
from remit.catalogue.methods import vertex
from remit.catalogue.names import Names
from remit.model.errors import Refused

L = "projects/contoso-fraud-test/locations/us-central1"
METHODS = {method.action.id.removeprefix("aiplatform.projects.locations."): method for method in vertex()}
CALLS = {one.path.rpartition("/")[2]: one for one in procedures("vertex_v1beta1")} | {
    one.path.rpartition("/")[2]: one for one in procedures("vertex_v1")
}
TASK = "gs://google-cloud-aiplatform/schema/trainingjob/definition/"
CUSTOM, TABULAR = f"{TASK}custom_task_1.0.0.yaml", f"{TASK}automl_tabular_1.0.0.yaml"


def _pipeline(task, inputs):
    return {"trainingPipeline": {"trainingTaskDefinition": task, "trainingTaskInputs": inputs}}


def _run(**fields):
    return {"pipelineJob": fields}


CASES = [
    ("trainingPipelines.create", "CreateTrainingPipeline", _pipeline(CUSTOM, {"workerPoolSpecs": []}), False),
    ("trainingPipelines.create", "CreateTrainingPipeline", _pipeline(CUSTOM, {"worker_pool_specs": []}), False),
    ("trainingPipelines.create", "CreateTrainingPipeline", _pipeline(CUSTOM, {}), False),
    ("trainingPipelines.create", "CreateTrainingPipeline", _pipeline(CUSTOM, {"surprise": 1}), True),
    ("trainingPipelines.create", "CreateTrainingPipeline", _pipeline(CUSTOM, [{"workerPoolSpecs": []}]), True),
    (
        "trainingPipelines.create",
        "CreateTrainingPipeline",
        _pipeline(CUSTOM, {"serviceAccount": "", "service_account": ""}),
        True,
    ),
    ("trainingPipelines.create", "CreateTrainingPipeline", _pipeline(TABULAR, {"workerPoolSpecs": []}), True),
    ("trainingPipelines.create", "CreateTrainingPipeline", _pipeline(f"{TASK}custom_task_2.yaml", {"a": 1}), True),
    ("trainingPipelines.create", "CreateTrainingPipeline", _pipeline(TABULAR, {}), False),
    (
        "trainingPipelines.create",
        "CreateTrainingPipeline",
        {"trainingPipeline": {"trainingTaskMetadata": {"a": 1}}},
        True,
    ),
    ("pipelineJobs.create", "CreatePipelineJob", _run(pipelineSpec={"root": {}}), True),
    ("pipelineJobs.create", "CreatePipelineJob", _run(pipelineSpec={}), False),
    ("pipelineJobs.create", "CreatePipelineJob", _run(templateUri="gs://contoso-fraud-test-data/p.yaml"), True),
    ("pipelineJobs.create", "CreatePipelineJob", _run(runtimeConfig={"parameterValues": {"a": 1}}), False),
    (
        "schedules.create",
        "CreateSchedule",
        {"schedule": {"createPipelineJobRequest": _run(pipelineSpec={"a": 1})}},
        True,
    ),
    ("dataLabelingJobs.create", "CreateDataLabelingJob", {"dataLabelingJob": {"inputs": {"a": 1}}}, True),
    (
        "batchPredictionJobs.create",
        "CreateBatchPredictionJob",
        {"batchPredictionJob": {"modelParameters": {"a": 1}}},
        False,
    ),
    ("datasets.create", "CreateDataset", {"dataset": {"metadata": {"a": 1}}}, False),
    ("indexes.create", "CreateIndex", {"index": {"metadata": {"config": {"dimensions": 3}}}}, False),
    ("models.upload", "UploadModel", {"model": {"metadata": {"a": 1}}}, True),
    (
        "models.upload",
        "UploadModel",
        {"model": {"explanationSpec": {"metadata": {"inputs": {"x": {"inputBaselines": [0.5]}}, "outputs": {}}}}},
        False,
    ),
    ("metadataStores.contexts.create", "CreateContext", {"context": {"metadata": {"a": "https://x.example"}}}, False),
    ("metadataStores.artifacts.create", "CreateArtifact", {"artifact": {"metadata": {"a": 1}}}, False),
    ("metadataStores.executions.create", "CreateExecution", {"execution": {"metadata": {"a": 1}}}, False),
    ("studies.trials.create", "CreateTrial", {"trial": {"parameters": [{"value": 1}]}}, False),
    ("publishers.models.predict", "Predict", {"instances": [{"prompt": "x"}], "parameters": {"n": 1}}, False),
    (
        "publishers.models.generateContent",
        "GenerateContent",
        {
            "contents": [{"parts": [{"functionResponse": {"name": "f", "response": {"a": 1}}}]}],
            "tools": [{"functionDeclarations": [{"name": "f", "parameters": {"default": {"a": 1}}}]}],
            "generationConfig": {"responseJsonSchema": {"type": "object"}},
        },
        False,
    ),
    ("extensions.execute", "ExecuteExtension", {"operationParams": {"a": 1}}, True),
    ("customJobs.create", "CreateCustomJob", {"customJob": {"jobSpec": {"workerPoolSpecs": [{}]}}}, False),
]


@pytest.fixture(scope="module")
def names(estate):
    return Names(estate)


@pytest.mark.parametrize(("method", "call", "value", "untyped"), CASES)
def test_untyped_parts_are_told(names, method, call, value, untyped):
    message = CALLS[call].request()
    json_format.ParseDict(value, message, descriptor_pool=message.DESCRIPTOR.file.pool)
    assert rules.read(METHODS[method], message, names.place(L), names, "parent").untyped is untyped


def test_bare_json_is_untyped_unless_it_is_empty(names):
    method, place = METHODS["evaluationRuns.create"], names.place(L)
    assert not rules.read_opaque(method, {}, place, names).untyped
    assert rules.read_opaque(method, {"displayName": "x"}, place, names).untyped


def test_documents_and_any_values_are_untyped(names):
    chat = CALLS["ChatCompletions"].request(endpoint=f"{L}/endpoints/openapi")
    place, method = names.place(f"{L}/endpoints/openapi"), METHODS["endpoints.chat.completions"]
    assert not rules.read(method, chat, place, names, "endpoint").untyped
    chat.http_body.data = b'{"model": "x"}'
    assert rules.read(method, chat, place, names, "endpoint").untyped


JSON = {f"google.protobuf.{name}" for name in ("Struct", "Value", "ListValue")}
# Fields of free content that pass without the permission: each was looked at, and stands with its reason in
# `mentions.py` or `untyped.py`. Whatever is not here is untyped; a new field of Google's is, until somebody looks.
LET_PASS = {
    *("AgentEvent.state_delta", "Artifact.metadata", "BatchPredictionJob.model_parameters", "Context.metadata"),
    *("ComputationBasedMetricSpec.parameters", "ComputeTokensRequest.instances", "CountTokensRequest.instances"),
    *("Dataset.metadata", "EventActions.requested_auth_configs", "EventActions.state_delta"),
    *("EventMetadata.custom_metadata", "Examples.nearest_neighbor_search_config", "Execution.metadata"),
    "ExplanationMetadata.InputMetadata.encoded_baselines",
    "ExplanationMetadata.InputMetadata.input_baselines",
    "ExplanationMetadata.OutputMetadata.index_display_name_mapping",
    "ExplanationMetadataOverride.InputMetadataOverride.input_baselines",
    *("ExplanationParameters.output_indices", "FunctionCall.args", "FunctionDeclaration.parameters_json_schema"),
    *("FunctionDeclaration.response_json_schema", "FunctionResponse.response", "Index.metadata"),
    *("GenerationConfig.response_json_schema", "IndexDatapoint.embedding_metadata", "Memory.StructuredContent.data"),
    *("MetricMetadata.other_metadata", "ModelDeploymentMonitoringJob.sample_predict_instance"),
    *("ModelEvaluation.metadata", "ModelEvaluation.metrics", "ModelEvaluationSlice.metrics"),
    *("PartnerModelTuningSpec.hyper_parameters", "PipelineJob.RuntimeConfig.parameter_values"),
    *("PipelineTaskRerunConfig.Inputs.parameter_values", "PredefinedMetricSpec.metric_spec_parameters"),
    *("PredictRequest.instances", "PredictRequest.parameters", "QueryReasoningEngineRequest.input"),
    *("ReasoningEngineSpec.class_methods", "Schema.additional_properties", "Schema.default", "Schema.example"),
    *("Session.session_state", "SessionEvent.raw_event", "StreamQueryReasoningEngineRequest.input"),
    *("ToolUseExample.request_params", "ToolUseExample.response_params", "Trial.Parameter.value"),
}


def _kinds():
    """Every kind of message that a request can hold, of both versions."""
    waiting = [one.input for name in ("vertex_v1", "vertex_v1beta1") for one in procedures(name)]
    seen = set()
    while waiting:
        kind = waiting.pop()
        if kind.full_name not in seen:
            seen.add(kind.full_name)
            yield kind
            waiting += [field.message_type for field in kind.fields if field.message_type]


def test_every_field_of_free_content_was_looked_at(names):
    passed = set()
    place, method = names.place(L), METHODS["models.upload"]
    for kind in _kinds():
        if short(kind) in UNTYPED or kind.GetOptions().map_entry:
            continue
        for field in kind.fields:
            inner = field.message_type
            if inner is not None and inner.GetOptions().map_entry:
                inner = inner.fields_by_name["value"].message_type
            if inner is None or short(inner) not in JSON:
                continue
            message = message_factory.GetMessageClass(kind)()
            free = [1.5] if inner.name == "ListValue" else {"a": "b"}
            is_map = field.message_type is not inner
            value = {"k": free} if is_map else [free] if field.is_repeated else free
            json_format.ParseDict({field.name: value}, message, descriptor_pool=kind.file.pool)
            if not rules.read(method, message, place, names, "").untyped:
                passed.add(f"{short(kind)}.{field.name}")
    assert passed == LET_PASS


SEARCH = {"parameters": {"examples": {"nearestNeighborSearchConfig": {"contentsDeltaUri": "gs://stranger/x"}}}}


def _refusal(catalogue, wire):
    with pytest.raises(Refused) as refused:
        catalogue.classify(wire)
    return refused.value.message


def test_what_explains_is_read_alike_over_both(catalogue, grpc_wire, rest_wire):
    """The data is the model's own; a free value beside it is not, in whichever way it comes."""
    endpoint, override = f"{L}/endpoints/1", {"explanationSpecOverride": SEARCH}
    data = {"instances": [{"gs": "gs://stranger/x", "b": 1, "a": 2}]}
    rest = rest_wire("POST", f"/v1/{endpoint}:explain", json.dumps({**data, **override}).encode())
    call = "/google.cloud.aiplatform.v1.PredictionService/Explain"
    grpc = grpc_wire(call, {"endpoint": endpoint, **data, **override})
    assert _refusal(catalogue, rest) == _refusal(catalogue, grpc)
    assert "stranger" in _refusal(catalogue, rest)
    plain = catalogue.classify(rest_wire("POST", f"/v1/{endpoint}:explain", json.dumps(data).encode()))
    assert plain == catalogue.classify(grpc_wire(call, {"endpoint": endpoint, **data}))
    assert len(plain.operations) == 1
