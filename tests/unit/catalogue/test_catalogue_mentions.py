"""What a message names: every second resource, in every form, and no way to hide one."""

import contextlib
import json
import time
from pathlib import Path

import pytest
from google.protobuf import json_format
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from remit.catalogue import mentions, rules
from remit.catalogue.descriptors import procedures
from remit.catalogue.methods import vertex
from remit.catalogue.names import Names
from remit.model.errors import Refused
from remit.model.operation import Group
from remit.model.reasons import Reason

L = "projects/contoso-fraud-test/locations/us-central1"
FULL = f"//aiplatform.googleapis.com/{L}"
OTHER = "projects/contoso-churn-prod"
ELSEWHERE = "projects/elsewhere"
SA = "trainer@contoso-fraud-test.iam.gserviceaccount.com"
BUCKET = "//storage.googleapis.com/projects/_/buckets/contoso-fraud-test-data"
SDK = json.loads(Path(__file__).with_name("sdk_messages.json").read_text())["messages"]
METHODS = {method.action.id.removeprefix("aiplatform.projects.locations."): method for method in vertex()}
CALLS = {one.path.removeprefix("/google.cloud.aiplatform."): one for one in procedures("vertex_v1")} | {
    one.path.removeprefix("/google.cloud.aiplatform."): one for one in procedures("vertex_v1beta1")
}
QUIET = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)


@pytest.fixture(scope="module")
def names(estate):
    return Names(estate)


@pytest.fixture(scope="module")
def read(names):
    """What one method's message asks for; `call` is its procedure without the package, `value` the message as JSON."""

    def extra(method, call, value, *, named_by="parent", at=L):
        kind = CALLS[call]
        message = kind.request()
        json_format.ParseDict(value, message, descriptor_pool=kind.input.file.pool)
        return rules.read(METHODS[method], message, names.place(at), names, named_by)

    return extra


@pytest.fixture(scope="module")
def job(read):
    """What a custom job asks for that holds this in its specification."""

    def extra(spec=None, version="v1", **rest):
        value = {"parent": L, "customJob": {"jobSpec": {"serviceAccount": SA, **(spec or {})}, **rest}}
        return read("customJobs.create", f"{version}.JobService/CreateCustomJob", value)

    return extra


def _names(extra):
    return [(one.type, one.name) for one in extra.resources]


SECOND = [
    ({"tensorboard": f"{L}/tensorboards/1"}, "Tensorboard", f"{FULL}/tensorboards/1"),
    ({"persistentResourceId": "pool"}, "PersistentResource", f"{FULL}/persistentResources/pool"),
    (
        {"network": "projects/100000000003/global/networks/n"},
        "Network",
        f"//compute.googleapis.com/{OTHER}/global/networks/n",
    ),
    (
        {"pscInterfaceConfig": {"networkAttachment": f"{OTHER}/regions/us-central1/networkAttachments/a"}},
        "Network",
        f"//compute.googleapis.com/{OTHER}/regions/us-central1/networkAttachments/a",
    ),
    (
        {
            "pscInterfaceConfig": {
                "dnsPeeringConfigs": [
                    {"domain": "a.", "targetProject": "contoso-churn-prod", "targetNetwork": "n"},
                ]
            }
        },
        "Network",
        f"//compute.googleapis.com/{OTHER}/global/networks/n",
    ),
    ({"models": [f"{L}/models/7@2"]}, "Model", f"{FULL}/models/7"),
    ({"experiment": f"{L}/metadataStores/default/contexts/e"}, "MetadataStore", None),
    ({"baseOutputDirectory": {"outputUriPrefix": "gs://contoso-fraud-test-data/a/b/"}}, "Bucket", BUCKET),
    ({"workerPoolSpecs": [{"pythonPackageSpec": {"packageUris": ["gs://contoso-fraud-test-data/p.tgz"]}}]}, "Bucket", BUCKET),
    ({"workerPoolSpecs": [{}, {"containerSpec": {"args": ["gs://contoso-fraud-test-data"]}}]}, "Bucket", BUCKET),
    (
        {"workerPoolSpecs": [{"containerSpec": {"env": [{"name": "T", "value": "bq://contoso-churn-prod.d.t"}]}}]},
        "Table",
        f"//bigquery.googleapis.com/{OTHER}/datasets/d/tables/t",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "kind", "name"), SECOND)
@pytest.mark.parametrize("version", ["v1", "v1beta1"])
def test_second_resources_of_a_job(job, spec, kind, name, version):
    found = _names(job(spec, version))
    assert kind in {one for one, _ in found}
    assert name is None or (kind, name) in found


KEY = f"{OTHER}/locations/us-central1/keyRings/r/cryptoKeys/k"
ELSE = [
    (
        "customJobs.create",
        "v1.JobService/CreateCustomJob",
        {"customJob": {"encryptionSpec": {"kmsKeyName": KEY}}},
        {("KmsKey", f"//cloudkms.googleapis.com/{KEY}")},
    ),
    (
        "batchPredictionJobs.create",
        "v1.JobService/CreateBatchPredictionJob",
        {
            "batchPredictionJob": {
                "model": "publishers/google/models/gemini-2.5-flash",
                "inputConfig": {"bigquerySource": {"inputUri": "bq://contoso-fraud-test.d.t"}},
                "outputConfig": {"gcsDestination": {"outputUriPrefix": "gs://contoso-fraud-test-data/o"}},
            }
        },
        {
            ("PublisherModel", f"{FULL}/publishers/google/models/gemini-2.5-flash"),
            ("Table", "//bigquery.googleapis.com/projects/contoso-fraud-test/datasets/d/tables/t"),
            ("Bucket", BUCKET),
        },
    ),
    (
        "tuningJobs.create",
        "v1.GenAiTuningService/CreateTuningJob",
        {
            "tuningJob": {
                "baseModel": "gemini-2.5-flash",
                "supervisedTuningSpec": {"trainingDatasetUri": f"{L}/datasets/1"},
            }
        },
        {
            ("PublisherModel", f"{FULL}/publishers/google/models/gemini-2.5-flash"),
            ("Dataset", f"{FULL}/datasets/1"),
        },
    ),
    (
        "trainingPipelines.create",
        "v1.PipelineService/CreateTrainingPipeline",
        {"trainingPipeline": {"inputDataConfig": {"datasetId": "7"}, "parentModel": f"{L}/models/3"}},
        {("Dataset", f"{FULL}/datasets/7"), ("Model", f"{FULL}/models/3")},
    ),
    (
        "datasets.create",
        "v1.DatasetService/CreateDataset",
        {
            "dataset": {
                "metadataSchemaUri": "gs://google-cloud-aiplatform/schema/dataset/metadata/tabular_1.0.0.yaml",
                "metadata": {"input_config": {"gcs_source": {"uri": ["gs://contoso-fraud-test-data/a.csv"]}}},
            }
        },
        {("Bucket", BUCKET)},
    ),
    (
        "reasoningEngines.create",
        "v1.ReasoningEngineService/CreateReasoningEngine",
        {"reasoningEngine": {"spec": {"deploymentSpec": {"secretEnv": [{"name": "K", "secretRef": {"secret": "s"}}]}}}},
        {("Secret", "//secretmanager.googleapis.com/projects/contoso-fraud-test/secrets/s")},
    ),
    (
        "metadataStores.artifacts.create",
        "v1.MetadataService/CreateArtifact",
        {"artifact": {"uri": f"https://us-central1-aiplatform.googleapis.com/v1/{L}/tensorboards/1/experiments/e"}},
        {("Tensorboard", f"{FULL}/tensorboards/1/experiments/e")},
    ),
    (
        "publishers.models.generateContent",
        "v1.PredictionService/GenerateContent",
        {
            "cachedContent": f"{L}/cachedContents/1",
            "contents": [{"parts": [{"fileData": {"fileUri": "gs://contoso-fraud-test-data/a.png"}}]}],
        },
        {("CachedContent", f"{FULL}/cachedContents/1"), ("Bucket", BUCKET)},
    ),
    (
        "publishers.models.predict",
        "v1.PredictionService/Predict",
        {"instances": [{"prompt": "a cat"}], "parameters": {"storageUri": "gs://contoso-fraud-test-data/out"}},
        {("Bucket", BUCKET)},
    ),
]


@pytest.mark.parametrize(("method", "call", "value", "expected"), ELSE)
def test_second_resources_of_other_messages(read, method, call, value, expected):
    extra = read(method, call, value)
    assert set(_names(extra)) == expected
    assert not extra.untyped
    assert not extra.external


FOREIGN = [
    "gs://elsewhere/x",
    "GS://contoso-fraud-test-data/x",
    " gs://contoso-fraud-test-data",
    "gs://contoso-fraud-test-data/a/../b",
    "gs://contoso-fraud-test-data\\x",
    "gs:\\\\contoso-fraud-test-data",
    "gs://",
    "gs:contoso-fraud-test-data",
    "https:/good.example/",
    "gs://Contoso-fraud-test-data/x",
    "bq://elsewhere.d.t",
    "BQ://contoso-fraud-test.d.t",
    "bq://contoso-fraud-test.d.t.u",
    f"{ELSEWHERE}/locations/us-central1/models/1",
    f"{L}/models/1/",
    f"{L}/models/../models/1",
    f"{L}/models/1 ",
    f"{L}/models/*",
    "PROJECTS/contoso-fraud-test/locations/us-central1/models/1",
    f"//aiplatform.googleapis.com/{ELSEWHERE}/locations/us-central1/models/1",
    f"//compute.googleapis.com/{ELSEWHERE}/global/networks/n",
    f"https://compute.googleapis.com/compute/v1/{ELSEWHERE}/global/networks/n",
    f"https://us-central1-aiplatform.googleapis.com/v1/{ELSEWHERE}/locations/us-central1/models/1",
    "organizations/1/x",
    "mallory@elsewhere.iam.gserviceaccount.com",
    "Trainer@contoso-fraud-test.iam.gserviceaccount.com",
    "https://user@good.example/",
    "https://good.example\\@evil.example/",
    "HTTPS://good.example/",
    "https://good.example:port/",
    "https://",
]
PLACES = [
    lambda value: {"tensorboard": value},
    lambda value: {"experiment": value},
    lambda value: {"models": [f"{L}/models/1", value]},
    lambda value: {"baseOutputDirectory": {"outputUriPrefix": value}},
    lambda value: {"workerPoolSpecs": [{"pythonPackageSpec": {"packageUris": [value]}}]},
    lambda value: {"workerPoolSpecs": [{}, {"containerSpec": {"args": ["a", value]}}]},
    lambda value: {"workerPoolSpecs": [{"containerSpec": {"command": [value]}}]},
    lambda value: {"workerPoolSpecs": [{"containerSpec": {"env": [{"name": "A", "value": value}]}}]},
]


@pytest.mark.parametrize("value", FOREIGN)
@pytest.mark.parametrize("place", PLACES)
def test_what_is_not_plainly_the_estates_is_refused_wherever_it_stands(job, place, value):
    with pytest.raises(Refused) as caught:
        job(place(value))
    assert caught.value.reason is Reason.RESOURCE_UNKNOWN


@st.composite
def _wrapped(draw, value):
    """A value somewhere in free JSON: beside others, in lists and objects, twice, as a key, in a string of JSON."""
    for _ in range(draw(st.integers(0, 5))):
        match draw(st.sampled_from(["list", "object", "beside", "twice", "text", "key"])):
            case "list":
                value = [draw(st.sampled_from([1, "x", None, {}])), value]
            case "object":
                value = {draw(st.sampled_from(["a", "description", "labels", "text", "instances", "é"])): value}
            case "beside":
                value = {"first": "gs://contoso-fraud-test-data", "then": value}
            case "twice":
                value = [value, value]
            case "text" if not isinstance(value, str):
                value = json.dumps(value)
            case "key" if isinstance(value, str) and len(value) < 200:
                value = {value: "x"}
    return value


@given(data=st.data(), value=st.sampled_from(FOREIGN))
@QUIET
def test_nothing_hides_a_stranger_in_free_json(names, *, data, value):
    body = {data.draw(st.sampled_from(["spec", "displayName", "labels", "filter"])): data.draw(_wrapped(value))}
    with pytest.raises(Refused):
        rules.read_opaque(METHODS["evaluationRuns.create"], body, names.place(L), names)
    message = CALLS["v1.PipelineService/CreatePipelineJob"].request()
    json_format.ParseDict(
        {"pipelineJob": {"pipelineSpec": body}}, message, descriptor_pool=message.DESCRIPTOR.file.pool
    )
    with pytest.raises(Refused):
        rules.read(METHODS["pipelineJobs.create"], message, names.place(L), names, "parent")


@pytest.mark.parametrize("value", [1, 1.0, -2, 2.5, 2**60 + 1, 1e300, True, "x"])
def test_a_number_in_free_json_is_one_label_in_a_struct_and_over_rest(names, value):
    body = {"labels": {"a": value}}
    message = CALLS["v1.PipelineService/CreatePipelineJob"].request()
    json_format.ParseDict(
        {"pipelineJob": {"pipelineSpec": body}}, message, descriptor_pool=message.DESCRIPTOR.file.pool
    )
    typed = rules.read(METHODS["pipelineJobs.create"], message, names.place(L), names, "parent")
    opaque = rules.read_opaque(METHODS["pipelineJobs.create"], body, names.place(L), names)
    assert typed.work.labels == opaque.work.labels != frozenset()


@given(data=st.data())
@QUIET
def test_free_json_reads_alike_in_a_struct_and_over_rest(names, data):
    known = ["gs://contoso-churn-prod-data/x", f"{L}/models/1", "bq://contoso-churn-prod.d", "https://a.example/x"]
    body = {"a": [data.draw(_wrapped(value)) for value in data.draw(st.permutations(known))]}
    message = CALLS["v1.PipelineService/CreatePipelineJob"].request()
    json_format.ParseDict(
        {"pipelineJob": {"pipelineSpec": body}}, message, descriptor_pool=message.DESCRIPTOR.file.pool
    )
    place = names.place(L)
    typed = rules.read(METHODS["pipelineJobs.create"], message, place, names, "parent")
    opaque = rules.read_opaque(METHODS["pipelineJobs.create"], body, place, names)
    assert set(typed.resources) == set(opaque.resources)
    assert {one.type for one in typed.resources} == {"Bucket", "Model", "Table"}
    assert typed.external
    assert typed.work == opaque.work


def test_a_value_of_another_project_of_the_estate_is_a_resource_there(job):
    found = job({"baseOutputDirectory": {"outputUriPrefix": "gs://contoso-churn-prod-data/x"}})
    assert [one.project for one in found.resources] == ["contoso-churn-prod"]


def test_the_first_resource_counts_once_and_another_one_in_its_place_counts(read):
    same = read(
        "endpoints.deployModel",
        "v1.EndpointService/DeployModel",
        {"endpoint": f"{L}/endpoints/8", "deployedModel": {"id": f"{L}/endpoints/8", "model": f"{L}/models/1"}},
        named_by="endpoint",
        at=f"{L}/endpoints/8",
    )
    assert _names(same) == [("Model", f"{FULL}/models/1")]
    other = read(
        "metadataStores.contexts.patch",
        "v1.MetadataService/UpdateContext",
        {"context": {"name": f"{L}/metadataStores/a/contexts/1", "parentContexts": [f"{L}/metadataStores/b/contexts/1"]}},
        named_by="context.name",
        at=f"{L}/metadataStores/a/contexts/1",
    )  # fmt: skip
    assert _names(other) == [("MetadataStore", f"{FULL}/metadataStores/b/contexts/1")]


@pytest.mark.parametrize(
    ("value", "host", "external"),
    [
        ("https://hooks.example/x?y=1", "hooks.example", True),
        ("http://10.0.0.1:8080/", "10.0.0.1", True),
        ("https://[::1]/", "::1", True),
        ("https://Good.example./", "good.example", True),
        ("s3://elsewhere/x", "elsewhere", True),
        ("//evil.example/x", "evil.example", True),
        ("https://storage.googleapis.com/elsewhere/x", "storage.googleapis.com", True),
        ("https://us-central1-kfp.pkg.dev/elsewhere/repo/t/1", "us-central1-kfp.pkg.dev", True),
        ("https://us-central1-kfp.pkg.dev/contoso-fraud-test/repo/t/1", "us-central1-kfp.pkg.dev", False),
    ],
)
def test_web_addresses_are_named_by_their_host(job, value, host, external):
    extra = job({"workerPoolSpecs": [{"containerSpec": {"args": [value]}}]})
    assert extra.work.urls == {host}
    assert extra.external is external


REACHING = [
    {"toolConfig": {}, "tools": [{"urlContext": {}}]},
    {"tools": [{"exaAiSearch": {"apiKey": "k"}}]},
    {"contents": [{"parts": [{"fileData": {"fileUri": "https://elsewhere.example/a.png"}}]}]},
]


@pytest.mark.parametrize("value", REACHING)
def test_tools_that_reach_outside_say_so(read, value):
    assert read("publishers.models.generateContent", "v1beta1.PredictionService/GenerateContent", value).external


@pytest.mark.parametrize(
    ("image", "external"),
    [
        ("us-docker.pkg.dev/contoso-fraud-test/r/i", False),
        ("gcr.io/contoso-churn-prod/i:1", False),
        ("us-docker.pkg.dev/elsewhere/r/i", True),
        ("registry.example/contoso-fraud-test/i", True),
        ("gcr.io", True),
    ],
)
def test_a_model_is_exported_to_registries_of_the_estate(read, image, external):
    value = {"name": f"{L}/models/1", "outputConfig": {"imageDestination": {"outputUri": image}}}
    extra = read("models.export", "v1.ModelService/ExportModel", value, named_by="name", at=f"{L}/models/1")
    assert extra.external is external
    assert extra.work.images == {image}


def test_mounts_of_file_systems_are_outside(job):
    extra = job({"workerPoolSpecs": [{"nfsMounts": [{"server": "10.0.0.2", "path": "/x", "mountPoint": "y"}]}]})
    assert extra.external
    assert extra.work.urls == {"10.0.0.2"}


@pytest.mark.parametrize(
    "value",
    [
        {"contents": [{"role": "user", "parts": [{"text": "gs://elsewhere/x"}, {"text": "https://a.example"}]}]},
        {"contents": [{"parts": [{"functionCall": {"name": "f", "args": {"u": "https://a.example"}}}]}]},
        {"labels": {"a": "b"}, "generationConfig": {"stopSequences": ["https://"]}},
        {
            "tools": [
                {"functionDeclarations": [{"name": "f", "parametersJsonSchema": {"$schema": "https://a.example"}}]}
            ]
        },
        {"tools": [{"googleSearch": {}}, {"codeExecution": {}}]},
    ],
)
def test_words_for_a_model_name_nothing(read, value):
    extra = read("publishers.models.generateContent", "v1.PredictionService/GenerateContent", value)
    assert extra == rules.Extra()


def test_words_for_people_name_nothing(job):
    extra = job(displayName="gs://elsewhere/x", labels={"a": "projects-elsewhere"})
    assert extra.resources == ()
    assert not extra.external


def test_googles_own_schemas_may_be_read_and_not_written(read, job):
    schema = "gs://google-cloud-aiplatform/schema/dataset/metadata/tabular_1.0.0.yaml"
    value = {"dataset": {"metadataSchemaUri": schema}}
    assert read("datasets.create", "v1.DatasetService/CreateDataset", value).resources == ()
    with pytest.raises(Refused):
        job({"baseOutputDirectory": {"outputUriPrefix": "gs://google-cloud-aiplatform/x"}})


@pytest.mark.parametrize(
    "image",
    [
        "us-docker.pkg.dev/good/../evil/x",
        "us-docker.pkg.dev//x",
        " python:3",
        "docker.io/a@b",
        "a/b?c",
        f"x@sha256:{'0' * 63}",
    ],
)
def test_images_are_plain(job, image):
    with pytest.raises(Refused):
        job({"workerPoolSpecs": [{"containerSpec": {"imageUri": image}}]})


def test_a_message_that_nests_or_holds_too_much_is_refused(names):
    deep: object = "x"
    for _ in range(300):
        deep = [deep] if isinstance(deep, dict) else {"a": deep}
    for body in ({"a": deep}, {"a": ["x"] * 50_001}):
        with pytest.raises(Refused) as caught:
            rules.read_opaque(METHODS["evaluationRuns.create"], body, names.place(L), names)
        assert caught.value.reason is Reason.REQUEST_MALFORMED


OWN = [
    "predict",
    "rawPredict",
    "streamRawPredict",
    "directPredict",
    "directRawPredict",
    "serverStreamingPredict",
    "explain",
]


def test_a_prediction_on_an_own_endpoint_is_not_walked(names):
    message = CALLS["v1.PredictionService/Predict"].request(endpoint=f"{L}/endpoints/1")
    for _ in range(1400):
        message.instances.add().string_value = "gs://elsewhere/" + "x" * 1000
    place, began = names.place(f"{L}/endpoints/1"), time.perf_counter()
    for verb in OWN:
        assert rules.read(METHODS[f"endpoints.{verb}"], message, place, names, "endpoint") == rules.Extra()
    assert time.perf_counter() - began < 0.01
    with pytest.raises(Refused):
        rules.read(METHODS["publishers.models.predict"], message, place, names, "endpoint")


@pytest.mark.parametrize(
    "text", ["x" * 1_400_000, "gserviceaccount.com@" * 70_000, "a@" * 700_000, "{" * 1_000_000, "a/" * 500_000]
)
def test_no_string_takes_long(names, text):
    began = time.perf_counter()
    with contextlib.suppress(Refused):
        rules.read_opaque(METHODS["evaluationRuns.create"], {"a": text, "imageUri": text}, names.place(L), names)
    assert time.perf_counter() - began < 2


def test_leases():
    leased = {name: rules.leasable(METHODS[f"endpoints.{name}"]) for name in OWN}
    assert leased.pop("explain") == (False, False)
    assert leased.pop("predict") == leased.pop("rawPredict") == leased.pop("streamRawPredict") == (True, True)
    assert set(leased.values()) == {(False, True)}
    for method in vertex():
        identifier, (rest, grpc) = method.action.id, rules.leasable(method)
        if identifier.rpartition(".")[2] not in OWN or ".endpoints." not in identifier:
            assert not rest or (method.verb == "GET" and method.action.group is Group.OBSERVE), identifier
        assert not grpc or rest or identifier.split(".")[-2] == "endpoints", identifier
        assert "enerateContent" not in identifier or not rest


def test_a_leased_read_has_one_field_that_names_anything():
    """Over gRPC a lease's key holds the fields of the path alone, so that no other one may name anything."""
    harmless = {"filter", "page_token", "order_by", "etag"}
    for method in vertex():
        for path in method.grpc if method.verb == "GET" and rules.leasable(method)[1] else ():
            procedure = CALLS.get(path.removeprefix("google.cloud.aiplatform."))
            if procedure is None:
                continue
            named = {field.partition(".")[0] for binding in procedure.bindings for field, _ in binding.variables}
            for field in procedure.input.fields:
                plain = field.message_type is None and field.type not in {field.TYPE_STRING, field.TYPE_BYTES}
                mask = field.message_type is not None and field.message_type.full_name.startswith("google.protobuf.")
                assert plain or mask or field.name in named | harmless, (method.action.id, field.name)


def test_raw_bodies_and_sizes():
    raw = {name for name, method in METHODS.items() if rules.raw(method)}
    assert {"endpoints.rawPredict", "endpoints.streamRawPredict", "publishers.models.rawPredict"} <= raw
    assert all(name.endswith("awPredict") and "direct" not in name for name in raw)
    assert rules.largest(METHODS["endpoints.predict"]) == 3 << 19
    assert rules.largest(METHODS["endpoints.rawPredict"]) == 16 << 20
    assert rules.largest(METHODS["publishers.models.generateContent"]) == 16 << 20
    assert rules.largest(METHODS["customJobs.create"]) == 1 << 20


def test_every_request_of_google_can_be_read(names):
    """No message of either version makes the reader stumble, filled or empty."""
    for procedure in CALLS.values():
        message = procedure.request()
        for field in procedure.input.fields:
            if field.type == field.TYPE_STRING and not field.is_repeated:
                setattr(message, field.name, f"{L}/models/1")
            elif field.message_type and not field.is_repeated:
                getattr(message, field.name).SetInParent()
        part = mentions.of_message(message)
        assert part.kind == procedure.input.name or procedure.input.file.package != "google.cloud.aiplatform"


def test_messages_of_the_real_client(names, requests_by_path):
    expected = {
        "CreateCustomJob": ("customJobs.create", [("Bucket", BUCKET.replace("data", "staging"))], (SA,)),
        "UploadModel": ("models.upload", [("Bucket", BUCKET.replace("data", "staging"))], ()),
        "CreateEndpoint": ("endpoints.create", [], ()),
        "DeployModel": (
            "endpoints.deployModel",
            [("Model", f"{FULL}/models/9")],
            ("service-100000000001@gcp-sa-aiplatform.iam.gserviceaccount.com",),
        ),
        "UndeployModel": ("endpoints.undeployModel", [], ()),
        "GetEndpoint": ("endpoints.get", [], ()),
        "ListModels": ("models.list", [], ()),
    }
    for path, raw in SDK.items():
        short = path.rpartition("/")[2]
        if short in expected:
            method, resources, accounts = expected[short]
            message = requests_by_path[path].FromString(bytes.fromhex(raw))
            first = next(field.name for field in message.DESCRIPTOR.fields if field.number == 1)
            place = names.place(getattr(message, first))
            extra = rules.read(METHODS[method], message, place, names, first)
            assert (_names(extra), extra.accounts) == (resources, accounts), short
            assert not extra.untyped
            assert not extra.external


EXAMPLES = {
    "parameters": {"examples": {"exampleGcsSource": {"gcsSource": {"uris": ["gs://contoso-churn-prod-data/e"]}}}}
}


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
def test_an_explanation_names_where_its_examples_lie(catalogue, grpc_wire, version):
    call = f"/google.cloud.aiplatform.{version}.PredictionService/Explain"
    data = {"endpoint": f"{L}/endpoints/1", "instances": [{"a": "gs://elsewhere/x"}]}
    plain = catalogue.classify(grpc_wire(call, data))
    assert [one.type for one in plain.first.resources] == ["Endpoint"]
    assert not plain.leasable
    request = catalogue.classify(grpc_wire(call, {**data, "explanationSpecOverride": EXAMPLES}))
    assert [one.type for one in request.first.resources] == ["Endpoint", "Bucket"]
    if version == "v1beta1":
        request = catalogue.classify(grpc_wire(call, {**data, "concurrentExplanationSpecOverride": {"a": EXAMPLES}}))
        assert [one.type for one in request.first.resources] == ["Endpoint", "Bucket"]


WORK = f"{L}/pipelineJobs/1"
NAMED = [
    ("pipelineJobs.batchCancel", "v1.PipelineService/BatchCancelPipelineJobs", "names", [WORK]),
    ("pipelineJobs.batchDelete", "v1.PipelineService/BatchDeletePipelineJobs", "names", [WORK]),
    ("datasets.searchDataItems", "v1.DatasetService/SearchDataItems", "dataLabelingJob", f"{L}/dataLabelingJobs/1"),
    ("models.upload", "v1.ModelService/UploadModel", "parentModel", f"{L}/models/1"),
    ("models.copy", "v1.ModelService/CopyModel", "sourceModel", f"{L}/models/1"),
]


@pytest.mark.parametrize(("method", "call", "field", "value"), NAMED)
def test_whose_work_is_meant_is_said_by_a_whole_name(read, method, call, field, value):
    """A bare id would be nobody's to ask about, and some server might take it for the thing."""
    assert [one.name.rpartition("/")[2] for one in read(method, call, {field: value}).resources] == ["1"]
    whole = value[0] if isinstance(value, list) else value
    for odd in ("1", whole.partition("/locations/")[2], f"/{whole}", f"{whole}/", f" {whole}", whole.upper()):
        with pytest.raises(Refused):
            read(method, call, {field: [odd] if isinstance(value, list) else odd})


@pytest.mark.parametrize("name", ["endpoints/1", "publishers/google/models/veo"])
def test_an_operation_that_is_followed_is_said_by_its_whole_name(catalogue, rest_wire, name):
    target = f"/v1/{L}/{name}:fetchPredictOperation"
    request = catalogue.classify(rest_wire("POST", target, json.dumps({"operationName": f"{L}/{name}/operations/1"})))
    assert [one.type for one in request.first.resources][1:] == ["Operation"]
    for odd in ("1", "operations/1", f"/{L}/{name}/operations/1"):
        for key in ("operationName", "operation_name"):
            with pytest.raises(Refused):
                catalogue.classify(rest_wire("POST", target, json.dumps({key: odd})))


def test_a_run_that_is_taken_up_again_is_named(read):
    value = {"pipelineJob": {"serviceAccount": SA, "originalPipelineJobId": "7"}}
    extra = read("pipelineJobs.create", "v1beta1.PipelineService/CreatePipelineJob", value)
    assert _names(extra) == [("PipelineJob", f"{FULL}/pipelineJobs/7")]
