"""The generated table, and what is told of it."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from remit import catalogue
from remit.catalogue.methods import vertex
from remit.model.operation import Group

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def generator():
    spec = importlib.util.spec_from_file_location("tools_catalogue", ROOT / "tools" / "catalogue.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_is_what_its_sources_give(generator):
    assert generator.TABLE.read_text() == generator.made()


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
    assert len(vertex()) == 1144
    assert len({(method.verb, method.path) for method in vertex()}) == 1144


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
    ],
)
def test_groups(action, group):
    assert catalogue.actions()[f"aiplatform.projects.locations.{action}"] == group


def test_the_neighbours_are_actions_too():
    known = catalogue.actions()
    assert known["iam.serviceAccounts.actAs"] is Group.LAUNCH
    assert known["logging.entries.list"] is Group.OBSERVE
    assert known["cloudresourcemanager.projects.get"] is Group.OBSERVE
    assert {name for name in known if name.startswith("storage.")} == {
        f"storage.objects.{verb}" for verb in ("get", "list", "insert", "delete")
    }
    assert len(known) == 1144 + 10


def test_two_permissions_are_named_by_the_stronger():
    patch = next(method for method in vertex() if method.action.id == "aiplatform.projects.locations.endpoints.patch")
    assert patch.action.permission == "aiplatform.endpoints.update"


def test_fields_that_carry_something_are_known():
    create = next(
        method for method in vertex() if method.action.id == "aiplatform.projects.locations.customJobs.create"
    )
    assert "jobSpec.serviceAccount" in create.carries["serviceAccount"]
    assert create.carries["network"]
    assert sum("serviceAccount" in method.carries for method in vertex()) == 54


def test_the_listing_is_sorted_and_says_how_to_ask():
    rows = catalogue.methods()
    assert [row.id for row in rows] == sorted(row.id for row in rows)
    row = next(row for row in rows if row.id == "aiplatform.projects.locations.customJobs.create")
    assert row.http == "POST /v1/projects/*/locations/*/customJobs"
    assert row.grpc == "/google.cloud.aiplatform.v1.JobService/CreateCustomJob"
    assert (row.group, row.permission, row.served) == ("launch", "aiplatform.customJobs.create", True)
    assert not next(
        row for row in rows if row.id.endswith("batchPredictionJobs.create") and "locations" in row.id
    ).served


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
    assert leasable["/google.longrunning.Operations/ListOperations"] == (4,)
    for path, numbers in leasable.items():
        rows = [row for row in catalogue.methods() if row.grpc == path]
        assert {row.group for row in rows} <= {"use", "observe"}
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


def test_the_sources_hold_no_prose():
    data = json.loads((ROOT / "tools" / "data" / "vertex_v1_discovery.json").read_text())
    assert set(data) == {"revision", "sensitive", "methods"}
