"""Pipeline jobs by the stock client of Vertex AI: real tasks, parameters and artifacts between them, lineage."""

import json
import secrets
import sys

import pytest

from remit.lab import contoso
from remit.lab.errors import CloudError
from remit.lab.vertex import pipeline_spec

pytestmark = pytest.mark.filterwarnings("ignore")  # the client's own dependencies warn

STAGING = contoso.FRAUD_TEST.buckets[1]
TRAINER = contoso.account("trainer", contoso.FRAUD_TEST)
PARENT = "projects/100000000001/locations/us-central1"

MAKE = """
import json, pathlib, sys
rows, count, data, metrics, told = sys.argv[1:]
pathlib.Path(count).write_text(str(int(rows) * 2))
pathlib.Path(data).write_text("made " + rows)
everything = json.loads(told)
out = {"artifacts": {"metrics": {"artifacts": [{"metadata": {"accuracy": 0.75}}]}}}
pathlib.Path(everything["outputs"]["outputFile"]).write_text(json.dumps(out))
print(everything["inputs"]["parameterValues"], metrics)
"""
USE = """
import pathlib, sys
count, word, data, uri, length = sys.argv[1:]
text = pathlib.Path(data).read_text()
assert (count, text, uri.startswith("gs://")) == ("14", "made 7", True), sys.argv
pathlib.Path(length).write_text(str(len(text)))
"""


def spec(make=MAKE, use=USE, **more):
    """A compiled pipeline of two tasks, written backwards."""
    artifact = {"artifactType": {"schemaTitle": "system.Dataset", "schemaVersion": "0.0.1"}}
    metrics = {"artifactType": {"schemaTitle": "system.Metrics", "schemaVersion": "0.0.1"}}
    number, word = {"parameterType": "NUMBER_INTEGER"}, {"parameterType": "STRING"}
    executors = {
        "exec-make": {
            "container": {
                "image": "python:3.11",
                "command": [sys.executable, "-c", make],
                "args": [
                    "{{$.inputs.parameters['rows']}}",
                    "{{$.outputs.parameters['count'].output_file}}",
                    "{{$.outputs.artifacts['data'].path}}",
                    "{{$.outputs.artifacts['metrics'].uri}}",
                    "{{$}}",
                ],
            }
        },
        "exec-use": {
            "container": {
                "image": "python:3.11",
                "command": [sys.executable, "-c", use],
                "args": [
                    "{{$.inputs.parameters['count']}}",
                    "{{$.inputs.parameters['word']}}",
                    "{{$.inputs.artifacts['data'].path}}",
                    "{{$.inputs.artifacts['data'].uri}}",
                    "{{$.outputs.parameters['length'].output_file}}",
                ],
                "env": [{"name": "TASK", "value": "{{$.pipeline_task_name}}"}],
            }
        },
    }
    components = {
        "comp-make": {
            "executorLabel": "exec-make",
            "inputDefinitions": {"parameters": {"rows": number}},
            "outputDefinitions": {"parameters": {"count": number}, "artifacts": {"data": artifact, "metrics": metrics}},
        },
        "comp-use": {
            "executorLabel": "exec-use",
            "inputDefinitions": {"parameters": {"count": number, "word": word}, "artifacts": {"data": artifact}},
            "outputDefinitions": {"parameters": {"length": number}},
        },
    }
    tasks = {
        "use": {
            "componentRef": {"name": "comp-use"},
            "dependentTasks": ["make"],
            "inputs": {
                "parameters": {
                    "count": {"taskOutputParameter": {"producerTask": "make", "outputParameterKey": "count"}},
                    "word": {"runtimeValue": {"constant": "said"}},
                },
                "artifacts": {"data": {"taskOutputArtifact": {"producerTask": "make", "outputArtifactKey": "data"}}},
            },
        },
        "make": {
            "componentRef": {"name": "comp-make"},
            "inputs": {"parameters": {"rows": {"componentInputParameter": "rows"}}},
        },
    }
    return {
        "pipelineInfo": {"name": "two-steps"},
        "root": {
            "dag": {"tasks": tasks},
            "inputDefinitions": {"parameters": {"rows": number, "note": {**word, "defaultValue": "none"}}},
        },
        "components": components,
        "deploymentSpec": {"executors": executors},
        "schemaVersion": "2.1.0",
        "sdkVersion": "kfp-2.13.0",
        **more,
    }


@pytest.fixture
def job(vertex, tmp_path):
    """Makes pipeline jobs out of specifications."""

    def make(spec):
        path = tmp_path / "pipeline.json"
        path.write_text(json.dumps(spec))
        # the client's own ids differ by the second only
        return vertex.PipelineJob(
            display_name="p",
            template_path=str(path),
            parameter_values={"rows": 7},
            job_id=f"p-{secrets.token_hex(8)}",
            failure_policy="fast",
        )

    return make


def test_tasks_run_in_order_and_hand_things_on(vertex, wire, job):
    made = job(spec())
    made.run(service_account=TRAINER)
    assert made.state.name == "PIPELINE_STATE_SUCCEEDED"
    assert made.resource_name == f"{PARENT}/pipelineJobs/{made.job_id}"
    details = {each.task_name: each for each in made.task_details}
    assert {name: each.state.name for name, each in details.items()} == dict.fromkeys(
        ("two-steps", "make", "use"), "SUCCEEDED"
    )
    assert details["make"].parent_task_id == details["two-steps"].task_id
    assert details["make"].end_time <= details["use"].start_time
    assert dict(details["use"].execution.metadata) == {"input:count": 14, "input:word": "said", "output:length": 6}
    (data,) = details["make"].outputs["data"].artifacts
    assert wire.read(data.uri) == b"made 7"
    assert details["use"].inputs["data"].artifacts[0].name == data.name
    task = vertex.CustomJob.get(details["use"].executor_detail.container_detail.main_job)
    assert task._gca_resource.job_spec.service_account == TRAINER
    listed = vertex.PipelineJob.list(filter='display_name="p"')
    assert made.resource_name in [each.resource_name for each in listed]
    assert vertex.PipelineJob.get(made.resource_name).state.name == "PIPELINE_STATE_SUCCEEDED"

    graph = vertex.Artifact(data.name)
    assert graph.schema_title == "system.Dataset"
    run = vertex.Execution(details["use"].execution.name)
    assert [each.resource_name for each in run.get_input_artifacts()] == [data.name]
    (metrics,) = details["make"].outputs["metrics"].artifacts
    assert vertex.Artifact(metrics.name).metadata == {"accuracy": 0.75}
    written = wire.audited("storage.objects.create")
    assert any(each["authenticationInfo"]["principalEmail"] == TRAINER for each in written)
    made.delete()


def test_a_pipeline_belongs_to_an_experiment(vertex, wire, job, request):
    name = f"piped-{request.node.callspec.id}"
    made = job(spec())
    made.submit(service_account=TRAINER, experiment=name)
    made.wait()
    assert made.get_associated_experiment().name == name
    (context,) = vertex.Context.list(filter=f'parent_contexts:"{vertex.Experiment(name).resource_name}"')
    row = vertex.PipelineJob._query_experiment_row(context)  # a row of `get_experiment_df`, which wants pandas
    assert (row.name, row.params, row.metrics) == (made.job_id, {"rows": 7, "note": "none"}, {"accuracy": 0.75})


def test_a_failed_task_stops_those_behind_it(vertex, job):
    made = job(spec(make="raise SystemExit(5)"))
    with pytest.raises(RuntimeError, match=r"The failed tasks are: \[make\]"):
        made.run(service_account=TRAINER)
    states = {each.task_name: each.state.name for each in made.task_details}
    assert states == {"two-steps": "FAILED", "make": "FAILED", "use": "NOT_TRIGGERED"}
    silent = job(spec(make="pass"))
    with pytest.raises(RuntimeError):
        silent.run(service_account=TRAINER)
    strange = job(
        spec(make="import json, sys; open(json.loads(sys.argv[-1])['outputs']['outputFile'], 'w').write('x')")
    )
    with pytest.raises(RuntimeError, match="The failed tasks are"):
        strange.run(service_account=TRAINER)
    assert strange.task_details[1].error.message == "Internal error encountered."
    (failed,) = [each for each in silent.task_details if each.task_name == "make"]
    assert "was not written" in failed.error.message


def test_a_pipeline_is_cancelled_and_deleted_in_batches(vertex, job):
    from google.api_core import exceptions

    slow = job(spec(make="import time; time.sleep(60)"))
    slow.submit(service_account=TRAINER)
    with pytest.raises(exceptions.BadRequest, match="cancel it first"):
        slow.api_client.delete_pipeline_job(name=slow.resource_name)
    slow.cancel()
    slow.wait()
    assert (slow.state.name, slow._gca_resource.error.message) == ("PIPELINE_STATE_CANCELLED", "CANCELED")
    assert {each.state.name for each in slow.task_details} == {"CANCELLED"}
    other = job(spec(make="import time; time.sleep(60)"))
    other.submit(service_account=TRAINER)
    operation = other.batch_cancel("contoso-fraud-test", "us-central1", [other.resource_name])
    assert len(operation.result().pipeline_jobs) == 1
    other.wait()
    names = [slow.resource_name, other.resource_name]
    assert len(other.batch_delete("contoso-fraud-test", "us-central1", names).pipeline_jobs) == 2
    with pytest.raises(exceptions.NotFound):
        vertex.PipelineJob.get(slow.resource_name)


def test_who_may_start_a_pipeline(vertex, wire, job):
    from google.api_core import exceptions
    from google.cloud.aiplatform import initializer

    foreign = contoso.account("trainer", contoso.FRAUD_PROD)
    with pytest.raises(exceptions.Forbidden, match=f"act as service_account: {foreign}"):
        job(spec()).submit(service_account=foreign)
    runtime = {"gcs_output_directory": f"gs://{STAGING}/root"}
    own = {"display_name": "p", "service_account": foreign, "pipeline_spec": spec(), "runtime_config": runtime}
    schedule = {
        "display_name": "s",
        "cron": "0 0 1 1 *",
        "max_concurrent_run_count": 1,
        "create_pipeline_job_request": {"parent": PARENT, "pipeline_job": own},
    }
    client = vertex.PipelineJobSchedule._instantiate_client(location="us-central1")
    with pytest.raises(exceptions.Forbidden, match=f"act as service_account: {foreign}"):
        client.create_schedule(parent=PARENT, schedule=schedule)
    initializer.global_config._service_account = None
    with pytest.raises(exceptions.Forbidden, match="100000000001-compute@developer"):
        job(spec()).submit()
    assert wire.audited("CreatePipelineJob")[-1]["authorizationInfo"][0]["granted"] is False


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"pipelineInfo": {}}, "pipelineInfo.name"),
        ({"root": {}}, "At least one task"),
        ({"components": {}}, "Unknown component"),
        ({"deploymentSpec": {}}, "containers only"),
        ({"deploymentSpec": {"executors": {"exec-use": {"container": {"image": "x"}}}}}, "no container images"),
    ],
)
def test_a_specification_that_cannot_be_run_is_refused(change, says):
    with pytest.raises(CloudError, match=says):
        pipeline_spec.read({**spec(), **change})


@pytest.mark.parametrize(
    ("task", "says"),
    [
        ({"dependentTasks": ["nobody"]}, "Unknown task or output nobody"),
        ({"dependentTasks": ["use"]}, "has a cycle"),
        ({"triggerPolicy": {"condition": "true"}}, "no `triggerPolicy`"),
        ({"parameterIterator": {}}, "no `parameterIterator`"),
    ],
)
def test_a_task_that_cannot_be_run_is_refused(task, says):
    given = spec()
    given["root"]["dag"]["tasks"]["make"] |= task
    with pytest.raises(CloudError, match=says):
        pipeline_spec.read(given)


def test_an_output_that_nobody_gives_is_refused():
    given = spec()
    given["components"]["comp-make"]["outputDefinitions"]["parameters"] = {}
    with pytest.raises(CloudError, match=r"Unknown task or output make\.count"):
        pipeline_spec.read(given)


def test_parameters_are_checked_and_filled_in():
    plan = pipeline_spec.read(spec())
    assert plan.parameters({"rows": 1}) == {"rows": 1, "note": "none"}
    for given, says in (({}, "Required parameter"), ({"rows": 1, "cols": 2}, "Unknown parameter")):
        with pytest.raises(CloudError, match=says):
            plan.parameters(given)
    with pytest.raises(CloudError, match="no placeholder"):
        pipeline_spec.member(".nonsense")
    assert pipeline_spec.parsed("true", "BOOLEAN") is True
    with pytest.raises(CloudError, match="not of type NUMBER_DOUBLE"):
        pipeline_spec.parsed("x", "NUMBER_DOUBLE")
