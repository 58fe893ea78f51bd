"""Custom jobs, training pipelines and hyperparameter tuning by the stock client of Vertex AI, over gRPC and REST."""

import sys

import pytest

from remit.lab import contoso

pytestmark = pytest.mark.filterwarnings("ignore")  # the client's own dependencies warn

STAGING = contoso.FRAUD_TEST.buckets[1]
TRAINER = contoso.account("trainer", contoso.FRAUD_TEST)
NUMBERED = "projects/100000000001/locations/us-central1"
IMAGE = "us-docker.pkg.dev/vertex-ai/training/tf-cpu.2-17.py310:latest"
SERVE = "us-docker.pkg.dev/vertex-ai/prediction/tf2-cpu.2-15:latest"

# What `hypertune.HyperTune().report_hyperparameter_tuning_metric` writes, without the package.
REPORT = """
import json, os, pathlib, sys, time
given = dict(each[2:].split("=", 1) for each in sys.argv[1:])
path = pathlib.Path(os.environ["CLOUD_ML_HP_METRIC_FILE"])
path.parent.mkdir(parents=True, exist_ok=True)
if given.get("fail") == "yes": raise SystemExit(4)
with path.open("w") as file:
    for step in (1, 2):
        value = (float(given["rate"]) - 0.3) ** 2 + int(given["layers"]) + 1 / step
        entry = {"timestamp": time.time(), "trial": os.environ["CLOUD_ML_TRIAL_ID"], "loss": str(value)}
        file.write(json.dumps({**entry, "global_step": str(step), "checkpoint_path": ""}) + chr(10))
"""
# A script that leaves a model behind, through the bucket, as the job's account.
TRAIN = """
import json, os, sys, urllib.parse, urllib.request
root = "http://" + os.environ["GCE_METADATA_HOST"] + "/computeMetadata/v1/instance/service-accounts/default/token"
asked = urllib.request.Request(root, headers={"Metadata-Flavor": "Google"})
token = json.load(urllib.request.urlopen(asked))["access_token"]
bucket, _, prefix = os.environ["AIP_MODEL_DIR"].removeprefix("gs://").partition("/")
where = "https://storage.googleapis.com/upload/storage/v1/b/" + bucket + "/o?uploadType=media&name="
content = json.dumps({key: value for key, value in os.environ.items() if key.startswith("AIP_")}).encode()
place = where + urllib.parse.quote(prefix + "saved_model.pb", safe="")
urllib.request.urlopen(urllib.request.Request(place, content, {"authorization": "Bearer " + token}))
"""


def pools(code, *args):
    container = {"image_uri": IMAGE, "command": [sys.executable, "-c", code], "args": list(args)}
    return [{"machine_spec": {"machine_type": "n1-standard-4"}, "replica_count": 1, "container_spec": container}]


def tuned(vertex, custom, **more):
    from google.cloud.aiplatform import hyperparameter_tuning as hpt

    return vertex.HyperparameterTuningJob(
        display_name="tuned",
        custom_job=custom,
        metric_spec={"loss": "minimize"},
        parameter_spec={
            "rate": hpt.DoubleParameterSpec(min=0.01, max=1, scale="log"),
            "layers": hpt.IntegerParameterSpec(min=1, max=3, scale="linear"),
            "fail": hpt.CategoricalParameterSpec(values=["no"]),
        },
        **{"max_trial_count": 3, "parallel_trial_count": 2, **more},
    )


def test_a_custom_job_runs_is_listed_cancelled_and_deleted(vertex, wire):
    job = vertex.CustomJob(display_name="j", worker_pool_specs=pools("print('hello')"))
    job.run(service_account=TRAINER)
    assert (job.state.name, job.resource_name.startswith(f"{NUMBERED}/customJobs/")) == ("JOB_STATE_SUCCEEDED", True)
    assert job.resource_name in [each.resource_name for each in vertex.CustomJob.list(filter='display_name="j"')]
    slow = vertex.CustomJob(display_name="slow", worker_pool_specs=pools("import time; time.sleep(60)"))
    slow.submit(service_account=TRAINER)
    slow.cancel()
    with pytest.raises(RuntimeError, match="CANCELED"):
        slow.wait_for_resource_creation() or slow._block_until_complete()
    assert slow.state.name == "JOB_STATE_CANCELLED"
    assert vertex.CustomJob.get(slow.resource_name).display_name == "slow"
    job.delete()
    from google.api_core import exceptions

    with pytest.raises(exceptions.NotFound):
        vertex.CustomJob.get(job.resource_name)


def test_a_tuning_job_finds_the_best_of_real_trials(vertex, wire):
    custom = vertex.CustomJob(
        display_name="trial", worker_pool_specs=pools(REPORT), base_output_dir=f"gs://{STAGING}/t"
    )
    job = tuned(vertex, custom)
    job.run()
    assert job.state.name == "JOB_STATE_SUCCEEDED"
    assert sorted(trial.id for trial in job.trials) == ["1", "2", "3"]
    for trial in job.trials:
        given = {each.parameter_id: each.value for each in trial.parameters}
        expected = (given["rate"] - 0.3) ** 2 + given["layers"] + 1 / 2
        assert trial.state.name == "SUCCEEDED"
        (metric,) = trial.final_measurement.metrics
        assert (metric.metric_id, trial.final_measurement.step_count) == ("loss", 2)
        assert metric.value == pytest.approx(expected)
        assert len(trial.measurements) == 2
        own = vertex.CustomJob.get(trial.custom_job)
        assert own.state.name == "JOB_STATE_SUCCEEDED"
        assert own._gca_resource.job_spec.base_output_directory.output_uri_prefix == f"gs://{STAGING}/t/{trial.id}"
    job.delete()


def test_a_tuning_job_whose_trials_fail_fails_and_one_is_cancelled(vertex, wire):
    job = tuned(vertex, vertex.CustomJob(display_name="trial", worker_pool_specs=pools("raise SystemExit(4)")))
    with pytest.raises(RuntimeError, match="no trial succeeded"):
        job.run()
    assert {trial.state.name for trial in job.trials} == {"INFEASIBLE"}
    assert "non-zero status of 4" in job.trials[0].infeasible_reason
    few = tuned(
        vertex,
        vertex.CustomJob(display_name="trial", worker_pool_specs=pools("raise SystemExit(4)")),
        max_trial_count=5,
        parallel_trial_count=1,
        max_failed_trial_count=1,
    )
    with pytest.raises(RuntimeError, match="Too many failed trials"):
        few.run()
    assert len(few.trials) == 2
    quiet = tuned(vertex, vertex.CustomJob(display_name="trial", worker_pool_specs=pools("pass")), max_trial_count=1)
    with pytest.raises(RuntimeError):
        quiet.run()
    assert quiet.trials[0].infeasible_reason == "The trial reported no measurement of loss."
    long = tuned(vertex, vertex.CustomJob(display_name="t", worker_pool_specs=pools("import time; time.sleep(60)")))
    long.run(sync=False)
    long.wait_for_resource_creation()
    from google.api_core import exceptions

    with pytest.raises(exceptions.BadRequest):
        long.api_client.delete_hyperparameter_tuning_job(name=long.resource_name)
    long.cancel()
    with pytest.raises(RuntimeError, match="CANCELED"):
        long.wait()
    assert {vertex.CustomJob.get(trial.custom_job).state.name for trial in long.trials} <= {"JOB_STATE_CANCELLED"}


def test_a_grid_is_searched_in_order(vertex):
    from google.cloud.aiplatform import hyperparameter_tuning as hpt

    job = vertex.HyperparameterTuningJob(
        display_name="grid",
        custom_job=vertex.CustomJob(display_name="trial", worker_pool_specs=pools(REPORT, "--rate=0.3")),
        metric_spec={"loss": "maximize"},
        parameter_spec={
            "layers": hpt.IntegerParameterSpec(min=1, max=2, scale="linear"),
            "width": hpt.DiscreteParameterSpec(values=[8, 16], scale="linear"),
        },
        max_trial_count=4,
        parallel_trial_count=1,
        search_algorithm="grid",
        measurement_selection="last",
    )
    job.run()
    seen = [tuple(each.value for each in trial.parameters) for trial in job.trials]
    assert seen == [(1, 8), (1, 16), (2, 8), (2, 16)]


def test_a_training_job_trains_and_uploads_a_model(vertex, wire, tmp_path, request):
    script = tmp_path / "task.py"
    script.write_text(TRAIN)
    wire.put(STAGING, "rows.csv", b"a,b\n" + b"".join(b"%d,%d\n" % (n, n * n) for n in range(10)))
    table = vertex.TabularDataset.create(display_name="rows", gcs_source=f"gs://{STAGING}/rows.csv")
    job = vertex.CustomTrainingJob(
        display_name="trained", script_path=str(script), container_uri=IMAGE, model_serving_container_image_uri=SERVE
    )
    model = job.run(
        dataset=table,
        base_output_dir=f"gs://{STAGING}/run-{request.node.callspec.id}",
        service_account=TRAINER,
        replica_count=1,
        model_display_name="trained-model",
        args=["--one", "--two=2"],
        environment_variables={"MINE": "1"},
    )
    assert job.state.name == "PIPELINE_STATE_SUCCEEDED"
    assert job.get_model().resource_name == model.resource_name
    assert model.version_id == "1"
    backing = job._gca_resource.training_task_metadata["backingCustomJob"]
    assert vertex.CustomJob.get(backing).state.name == "JOB_STATE_SUCCEEDED"
    told = wire.read(f"gs://{STAGING}/run-{request.node.callspec.id}/model/saved_model.pb")
    import json

    told = json.loads(told)
    assert told["AIP_DATA_FORMAT"] == "csv"
    for name, rows in (("TRAINING", 8), ("VALIDATION", 1), ("TEST", 1)):
        lines = wire.read(told[f"AIP_{name}_DATA_URI"].replace("*", "00000-of-00001.csv")).decode().splitlines()
        assert (lines[0], len(lines)) == ("a,b", rows + 1)
    second = vertex.CustomContainerTrainingJob(
        display_name="again",
        container_uri=IMAGE,
        command=[sys.executable, "-c", TRAIN],
        model_serving_container_image_uri=SERVE,
    ).run(service_account=TRAINER, parent_model=model.resource_name, model_display_name="trained-model")
    assert (second.version_id, second.resource_name) == ("2", model.resource_name)
    assert [each.version_id for each in model.versioning_registry.list_versions()] == ["1", "2"]
    table.delete()
    job.delete()


def test_a_training_job_that_fails_or_may_not_act(vertex, wire):
    job = vertex.CustomContainerTrainingJob(
        display_name="bad", container_uri=IMAGE, command=[sys.executable, "-c", "raise SystemExit(3)"]
    )
    with pytest.raises(RuntimeError, match="non-zero status of 3"):
        job.run(service_account=TRAINER)
    assert job.has_failed
    empty = vertex.CustomContainerTrainingJob(
        display_name="no-model",
        container_uri=IMAGE,
        command=[sys.executable, "-c", "pass"],
        model_serving_container_image_uri=SERVE,
    )
    with pytest.raises(RuntimeError, match="There are no files under"):
        empty.run(service_account=TRAINER, model_display_name="none")
    from google.api_core import exceptions

    foreign = contoso.account("trainer", contoso.FRAUD_PROD)
    with pytest.raises(exceptions.Forbidden, match=f"act as service_account: {foreign}"):
        vertex.CustomContainerTrainingJob(
            display_name="foreign", container_uri=IMAGE, command=[sys.executable, "-c", "pass"]
        ).run(service_account=foreign)
    with pytest.raises(exceptions.Forbidden, match="act as service_account"):
        tuned(vertex, vertex.CustomJob(display_name="t", worker_pool_specs=pools("pass"))).run(service_account=foreign)
    refused = wire.audited("CreateTrainingPipeline")[-1]["authorizationInfo"][0]
    assert (refused["permission"], refused["granted"]) == ("iam.serviceAccounts.actAs", False)
    slow = vertex.CustomContainerTrainingJob(
        display_name="slow", container_uri=IMAGE, command=[sys.executable, "-c", "import time; time.sleep(60)"]
    )
    slow.submit(service_account=TRAINER)
    slow.cancel()
    with pytest.raises(RuntimeError, match="CANCELED"):
        slow._block_until_complete()
    with pytest.raises(exceptions.MethodNotImplemented):
        slow.api_client.create_training_pipeline(
            parent=NUMBERED,
            training_pipeline={
                "display_name": "a",
                "training_task_definition": "gs://x/automl_tables_1.0.0.yaml",
                "training_task_inputs": {},
            },
        )


def test_custom_code_without_an_account_needs_nobodys_leave(vertex, wire):
    from google.cloud.aiplatform import initializer

    initializer.global_config._service_account = None
    job = vertex.CustomJob(display_name="j", worker_pool_specs=pools("print('agent')"))
    job.run()
    assert job.state.name == "JOB_STATE_SUCCEEDED"
