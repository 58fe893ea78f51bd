"""The generated table, and what is told of it."""

import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest

from remit import catalogue
from remit.catalogue import services
from remit.catalogue.methods import vertex
from remit.model.operation import EXPLICIT_ACTIONS, OWN_ACTIONS, Group

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def generator():
    spec = importlib.util.spec_from_file_location("tools_catalogue", ROOT / "tools" / "catalogue.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_is_what_its_sources_give(generator):
    assert generator.TABLE.read_text() == generator.table()


def test_the_generator_writes_and_checks(generator, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(generator, "ROOT", tmp_path)
    monkeypatch.setattr(generator, "TABLE", tmp_path / "data" / "t.json")
    monkeypatch.setattr(sys, "argv", ["catalogue.py", "--check"])
    assert generator.main() == 1
    assert "stale" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["catalogue.py"])
    assert generator.main() == 0
    monkeypatch.setattr(sys, "argv", ["catalogue.py", "--check"])
    assert generator.main() == 0


def test_every_method_of_the_revision_is_there():
    assert catalogue.revision() == "20261106"
    for version, total, scoped in (("v1", 1144, 792), ("v1beta1", 1600, 1087)):
        known = {(method.action.id, method.verb, method.path_in(version)) for method in vertex()}
        forms = {(verb, path) for _, verb, path in known}
        source = json.loads((ROOT / "tools" / "data" / f"vertex_{version}_discovery.json").read_text())["methods"]
        assert len(source) == total
        assert sum(path.startswith(f"{version}/projects/") for _, _, path in source) == scoped
        for name, verb, path in source:
            starred = re.sub(r"\{[^}]*\}", "*", path)
            assert (verb, starred) in forms
            assert (name, verb, starred) in known, "one id, whatever the version"
    assert len({(method.verb, method.form) for method in vertex()}) == len(vertex()) == 1617


def test_one_id_has_one_group_and_one_permission():
    seen: dict = {}
    for method in vertex():
        assert seen.setdefault(method.action.id, method.action) == method.action
    # two forms of one method, and only where Google's own documents give both the same id
    twice = {method.action.id for method in vertex()}
    assert len(vertex()) - len(twice) == 2


def test_reviewed_permissions_exist_and_belong_to_a_method():
    data = ROOT / "tools" / "data"
    existing = set(json.loads((data / "vertex_iam.json").read_text())["permissions"])
    known = {method.action.id: method for method in vertex()}
    rows = json.loads((data / "vertex_reviewed.json").read_text())["permissions"]
    assert rows == sorted(rows)
    for name, permission, source in rows:
        assert permission in existing
        assert source
        assert known[name].action.permission == permission
        assert known[name].source == "reviewed", "nothing that Google publishes stands here again"


def test_what_publishes_no_permission_is_administered():
    for method in vertex():
        if not method.action.permission and ".operations." not in method.action.id:
            assert method.action.group is Group.ADMINISTER, method.action.id
        if method.action.id.endswith("IamPolicy"):
            assert method.action.group is Group.ADMINISTER


@pytest.mark.parametrize(
    ("action", "group"),
    [
        ("customJobs.create", "launch"),
        ("batchPredictionJobs.create", "launch"),
        ("pipelineJobs.create", "launch"),
        ("trainingPipelines.create", "launch"),
        ("schedules.create", "launch"),
        ("customJobs.cancel", "change"),
        ("customJobs.get", "observe"),
        ("endpoints.predict", "use"),
        ("endpoints.generateContent", "use"),
        ("publishers.models.streamRawPredict", "use"),
        ("endpoints.patch", "change"),
        ("models.upload", "change"),
        ("models.export", "change"),
        ("models.setIamPolicy", "administer"),
        ("operations.get", "observe"),
        ("operations.cancel", "change"),
        ("migratableResources.search", "observe"),
        ("endpoints.predictLongRunning", "launch"),
        ("publishers.models.predictLongRunning", "launch"),
        ("endpoints.fetchPredictOperation", "observe"),
        ("endpoints.chat.completions", "use"),
        ("endpoints.openapi.completions", "use"),
        ("endpoints.openapi.responses", "use"),
        ("publishers.v1.responses", "use"),
        ("publishers.models.invoke.invoke", "use"),
        ("publishers.models.embedContent", "use"),
        ("endpoints.serverStreamingPredict", "use"),
        ("reasoningEngines.query", "use"),
        ("reasoningEngines.streamQuery", "use"),
        ("reasoningEngines.runtimeRevisions.query", "use"),
        ("indexEndpoints.findNeighbors", "use"),
        ("retrieveContexts", "use"),
        ("metadataStores.contexts.queryContextLineageSubgraph", "observe"),
        ("featurestores.entityTypes.streamingReadFeatureValues", "observe"),
        ("featurestores.batchReadFeatureValues", "change"),  # it writes what it read
        ("models.listVersions", "observe"),
        ("tensorboards.experiments.runs.write", "change"),
        ("tensorboards.experiments.runs.timeSeries.list", "observe"),
        ("models.evaluations.import", "change"),
        ("operations.wait", "observe"),
        ("featureGroups.operations.listWait", "observe"),
        ("notebookRuntimes.generateAccessToken", "administer"),
        ("reasoningEngines.sandboxEnvironments.authorizeAccess", "administer"),
    ],
)
def test_groups(action, group):
    assert catalogue.actions()[f"aiplatform.projects.locations.{action}"] == group


def test_the_neighbours_are_actions_too():
    known = catalogue.actions()
    assert known["iam.serviceAccounts.actAs"] is Group.LAUNCH
    assert known["logging.entries.list"] is Group.OBSERVE
    assert known["cloudresourcemanager.projects.get"] is Group.OBSERVE
    assert {f"storage.objects.{verb}" for verb in ("get", "list", "insert", "delete")} < known.keys()
    assert {action.id for action in (*EXPLICIT_ACTIONS, *OWN_ACTIONS, *services.ACTIONS)} < known.keys()
    assert all(known[action.id] is Group.ADMINISTER for action in EXPLICIT_ACTIONS)


def test_two_permissions_are_named_by_the_stronger():
    patch = next(method for method in vertex() if method.action.id == "aiplatform.projects.locations.endpoints.patch")
    assert patch.action.permission == "aiplatform.endpoints.update"


def test_fields_that_carry_something_are_known():
    create = next(
        method for method in vertex() if method.action.id == "aiplatform.projects.locations.customJobs.create"
    )
    assert "jobSpec.serviceAccount" in create.carries["serviceAccount"]
    assert create.carries["network"]
    # the union of both versions: 54 in v1, 62 in v1beta1
    assert sum("serviceAccount" in method.carries for method in vertex()) == 62


def test_the_listing_is_sorted_and_says_how_to_ask():
    rows = catalogue.methods()
    assert [row.id for row in rows] == sorted(row.id for row in rows)
    row = next(row for row in rows if row.id == "aiplatform.projects.locations.customJobs.create")
    assert row.http == "POST /v1/projects/*/locations/*/customJobs"
    assert row.grpc == "/google.cloud.aiplatform.v1.JobService/CreateCustomJob"
    assert (row.group, row.permission, row.served) == ("launch", "aiplatform.customJobs.create", True)
    assert row.versions == ("v1", "v1beta1")
    for row in rows:
        assert row.served == (not row.versions or " /v1/projects/" in row.http or " /v1beta1/projects/" in row.http)
    beta = next(row for row in rows if row.id == "aiplatform.projects.locations.exampleStores.searchExamples")
    assert (beta.versions, beta.http.split("/")[1]) == (("v1beta1",), "v1beta1")
    assert beta.grpc == "/google.cloud.aiplatform.v1beta1.ExampleStoreService/SearchExamples"


def test_search_looks_everywhere():
    assert {row.id for row in catalogue.search("DEPLOYMODEL")} >= {
        "aiplatform.projects.locations.endpoints.deployModel",
        "aiplatform.projects.locations.endpoints.undeployModel",
    }
    assert catalogue.search("LoggingServiceV2")[0].id == "logging.entries.list"
    assert not catalogue.search("nothing is called that")


def test_leases_over_grpc_are_keyed_by_the_resource(requests_by_path):
    leasable = catalogue.leasable_grpc()
    assert leasable["/google.cloud.aiplatform.v1.PredictionService/Predict"] == (1,)
    assert leasable["/google.cloud.aiplatform.v1beta1.PredictionService/Predict"] == (1,)
    assert leasable["/google.longrunning.Operations/ListOperations"] == (4,)
    for path, numbers in leasable.items():
        groups = {method.action.group for method in vertex() if path[1:] in method.grpc}
        assert groups <= {Group.USE, Group.OBSERVE}, path
        fields = requests_by_path[path].DESCRIPTOR.fields_by_number
        assert all(fields[number].type == fields[number].TYPE_STRING for number in numbers)
    assert "/google.logging.v2.LoggingServiceV2/ListLogEntries" not in leasable


def test_a_leased_message_holds_known_fields_only(requests_by_path):
    known = catalogue.leasable_fields()
    assert known["/google.cloud.aiplatform.v1.PredictionService/Predict"] == (1, 2, 3, 4)
    assert known.keys() == catalogue.leasable_grpc().keys()
    for path, numbers in known.items():
        assert set(numbers) == {field.number for field in requests_by_path[path].DESCRIPTOR.fields}
        assert set(catalogue.leasable_grpc()[path]) <= set(numbers)


def test_what_streams_is_told_to_the_gateway():
    streams = catalogue.streams()
    package = "/google.cloud.aiplatform."
    assert {
        *(":streamGenerateContent", ":streamRawPredict", ":serverStreamingPredict", ":streamQuery"),
        *(":streamingReadFeatureValues", "/chat/completions"),
        f"{package}v1.PredictionService/StreamRawPredict",
        f"{package}v1beta1.PredictionService/ChatCompletions",
        f"{package}v1.TensorboardService/ReadTensorboardBlobData",
    } <= set(streams)
    assert not set(streams) & set(catalogue.streaming_grpc())
    for version in ("v1", "v1beta1"):
        assert f"{package}{version}.PredictionService/StreamingPredict" in catalogue.streaming_grpc()
    assert "/google.logging.v2.LoggingServiceV2/TailLogEntries" in catalogue.streaming_grpc()


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
def test_the_sources_hold_no_prose(version):
    data = json.loads((ROOT / "tools" / "data" / f"vertex_{version}_discovery.json").read_text())
    assert set(data) == {"revision", "sensitive", "methods"}
