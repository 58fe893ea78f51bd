"""What an ML engineer does all week, step by step; each raises when it did not come out as it should."""

import asyncio
import io
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from program import DATA, LOCATION, PROJECT, SERVING_IMAGE, STAGING, TRAINER, TRAINING_IMAGE, Program, raised, until

STEPS: dict[str, Callable[[Program], object]] = {}

_TRIAL = """
import json, os, pathlib, sys
rate = float(sys.argv[1].partition("=")[2])
path = pathlib.Path(os.environ["CLOUD_ML_HP_METRIC_FILE"])
path.parent.mkdir(parents=True, exist_ok=True)
path.write_text(json.dumps({"score": str(1 - rate), "global_step": "1"}) + chr(10))
"""
_POINT = [[1.0, 1.0]]
_SCORE = [[3.0]]


def step(does: Callable[[Program], object]) -> Callable[[Program], object]:
    """Puts a function into the table, in the order of the file."""
    STEPS[does.__name__] = does
    return does


def pools(code: str, **container: Any) -> list[dict[str, Any]]:
    """One machine that runs a line of Python."""
    image = {"image_uri": TRAINING_IMAGE, "command": ["python3", "-c", code], **container}
    return [{"machine_spec": {"machine_type": "n1-standard-4"}, "replica_count": 1, "container_spec": image}]


# Jobs


def _custom(program: Program, name: str, code: str) -> Any:
    output = f"{STAGING}/{program.tag}/{name}"
    return program.vertex.CustomJob(
        display_name=f"{name}-{program.tag}", worker_pool_specs=pools(code), base_output_dir=output
    )


@step
def custom_job_runs(program: Program) -> None:
    job = _custom(program, "run", "print('trained well')")
    job.run(service_account=TRAINER)
    assert job.state.name == "JOB_STATE_SUCCEEDED", job.state
    program.held["job"] = job
    program.facts |= {"name": job.resource_name, "labels": dict(job.labels)}


@step
def custom_job_is_cancelled(program: Program) -> None:
    job = _custom(program, "long", "import time; time.sleep(300)")
    job.submit(service_account=TRAINER)
    until(lambda: job.state.name == "JOB_STATE_RUNNING")
    job.cancel()
    until(lambda: job.state.name == "JOB_STATE_CANCELLED")
    program.held["cancelled"] = job


@step
def custom_job_is_submitted_again(program: Program) -> None:
    again = program.vertex.CustomJob.get(program.held["cancelled"].resource_name)
    assert again.state.name == "JOB_STATE_CANCELLED"
    job = _custom(program, "long", "print('short after all')")
    job.submit(service_account=TRAINER)
    job.wait()
    until(lambda: job.state.name == "JOB_STATE_SUCCEEDED")
    assert job.resource_name != again.resource_name


@step
def custom_jobs_are_listed(program: Program) -> None:
    found = program.vertex.CustomJob.list(filter=f'display_name="long-{program.tag}"')
    assert len(found) == 2, found
    assert program.held["cancelled"].resource_name in [job.resource_name for job in found]


@step
def custom_job_is_deleted(program: Program) -> None:
    name = program.held["cancelled"].resource_name
    program.held["cancelled"].delete()
    raised(lambda: program.vertex.CustomJob.get(name), "NotFound")


@step
def custom_training_job_runs(program: Program) -> None:
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "task.py")
        script.write_text("import os; print('trained into', os.environ['AIP_MODEL_DIR'])\n", "utf-8")
        job = program.vertex.CustomTrainingJob(
            display_name=f"training-{program.tag}", script_path=str(script), container_uri=TRAINING_IMAGE
        )
        job.run(service_account=TRAINER, machine_type="n1-standard-4", base_output_dir=f"{STAGING}/{program.tag}/t")
    assert job.state.name == "PIPELINE_STATE_SUCCEEDED", job.state
    program.facts |= {"name": job.resource_name, "labels": dict(job.labels)}


@step
def hyperparameters_are_tuned(program: Program) -> None:
    from google.cloud.aiplatform import hyperparameter_tuning

    trial = program.vertex.CustomJob(
        display_name=f"trial-{program.tag}", worker_pool_specs=pools(_TRIAL), base_output_dir=f"{STAGING}/trials"
    )
    job = program.vertex.HyperparameterTuningJob(
        display_name=f"tuned-{program.tag}",
        custom_job=trial,
        metric_spec={"score": "maximize"},
        parameter_spec={"rate": hyperparameter_tuning.DoubleParameterSpec(min=0.1, max=1, scale="linear")},
        max_trial_count=2,
        parallel_trial_count=2,
    )
    job.run(service_account=TRAINER)
    assert job.state.name == "JOB_STATE_SUCCEEDED", job.state
    assert [trial.state.name for trial in job.trials] == ["SUCCEEDED", "SUCCEEDED"]
    program.facts |= {"name": job.resource_name, "labels": dict(job.labels)}


@step
def pipeline_runs(program: Program) -> None:
    container = {"image": TRAINING_IMAGE, "command": ["python3", "-c", "print('one step')"]}
    spec = {
        "pipelineInfo": {"name": "one-step"},
        "root": {"dag": {"tasks": {"only": {"componentRef": {"name": "comp-only"}, "taskInfo": {"name": "only"}}}}},
        "components": {"comp-only": {"executorLabel": "exec-only"}},
        "deploymentSpec": {"executors": {"exec-only": {"container": container}}},
        "schemaVersion": "2.1.0",
        "sdkVersion": "kfp-2.13.0",
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "pipeline.json")
        path.write_text(json.dumps(spec), "utf-8")
        job = program.vertex.PipelineJob(
            display_name=f"pipeline-{program.tag}",
            template_path=str(path),
            job_id=f"pipeline-{program.tag}",
            pipeline_root=f"{STAGING}/pipelines",
        )
    job.run(service_account=TRAINER)
    assert job.state.name == "PIPELINE_STATE_SUCCEEDED", job.state
    assert job.resource_name in [each.resource_name for each in program.vertex.PipelineJob.list()]
    program.facts |= {"name": job.resource_name, "labels": dict(job.labels)}


# Models and what serves them


def _upload(program: Program, **more: Any) -> Any:
    return program.vertex.Model.upload(
        display_name=f"weigh-{program.tag}",
        artifact_uri=f"{STAGING}/models/weigh",
        serving_container_image_uri=SERVING_IMAGE,
        **more,
    )


@step
def model_is_uploaded(program: Program) -> None:
    model = program.held["model"] = _upload(program)
    program.facts |= {"name": model.resource_name, "labels": dict(model.labels)}


@step
def model_has_versions(program: Program) -> None:
    model = program.held["model"]
    second = _upload(program, parent_model=model.resource_name, is_default_version=False, version_aliases=["next"])
    assert second.version_id == "2"
    registry = program.vertex.models.ModelRegistry(model.resource_name)
    assert sorted(each.version_id for each in registry.list_versions()) == ["1", "2"]
    assert registry.get_model("next").version_id == "2"
    registry.delete_version("2")
    assert [each.version_id for each in registry.list_versions()] == ["1"]


@step
def models_are_listed(program: Program) -> None:
    found = program.vertex.Model.list(filter=f'display_name="weigh-{program.tag}"')
    assert [each.resource_name for each in found] == [program.held["model"].resource_name]


@step
def endpoint_is_created(program: Program) -> None:
    endpoint = program.vertex.Endpoint.create(display_name=f"serve-{program.tag}")
    program.held["endpoint"] = endpoint
    program.facts |= {"name": endpoint.resource_name, "labels": dict(endpoint.labels)}


@step
def model_is_deployed(program: Program) -> None:
    program.held["model"].deploy(program.held["endpoint"], machine_type="n1-standard-2")
    (deployed,) = program.held["endpoint"].list_models()
    assert deployed.model == program.held["model"].resource_name


@step
def predict(program: Program) -> None:
    found = program.held["endpoint"].predict(instances=_POINT)
    assert found.predictions == _SCORE, found
    assert found.model_resource_name == program.held["model"].resource_name


@step
def predict_many_times(program: Program) -> None:
    for number in range(20):
        found = program.held["endpoint"].predict(instances=[[float(number), 1.0]])
        assert found.predictions == [[number + 2.0]], found


@step
def predict_async(program: Program) -> None:
    async def both() -> list[Any]:
        ask = program.held["endpoint"].predict_async
        return [each.predictions for each in await asyncio.gather(ask(instances=_POINT), ask(instances=_POINT))]

    assert asyncio.run(both()) == [_SCORE, _SCORE]


# The next three have Vertex AI's host fixed in the SDK (models.py): by whichever way, they go through the tunnel.


@step
def raw_predict(program: Program) -> None:
    body = json.dumps({"instances": _POINT}).encode()
    answer = program.held["endpoint"].raw_predict(body, {"content-type": "application/json"})
    assert (answer.status_code, json.loads(answer.text)) == (200, {"predictions": _SCORE}), answer.text


@step
def predict_raw(program: Program) -> None:
    assert program.held["endpoint"].predict(instances=_POINT, use_raw_predict=True).predictions == _SCORE


@step
def stream_raw_predict(program: Program) -> None:
    body = json.dumps({"instances": [[1.0, 1.0], [0.0, 1.0]]}).encode()
    lines = program.held["endpoint"].stream_raw_predict(body, {"content-type": "application/json"})
    assert json.loads(b"".join(lines)) == {"predictions": [[3.0], [2.0]]}


def _tensor() -> dict[str, Any]:
    return {"dtype": "DOUBLE", "shape": [2], "double_val": [1.0, 1.0]}


@step
def direct_predict(program: Program) -> None:
    found = program.held["endpoint"].direct_predict(inputs=[_tensor()])
    assert found.predictions[0]["doubleVal"] == [3.0], found


@step
def server_streaming_predict(program: Program) -> None:
    client = program.client(program.vertex.gapic.PredictionServiceClient)
    asked = {"endpoint": program.held["endpoint"].resource_name, "inputs": [_tensor(), _tensor()]}
    answers = list(client.server_streaming_predict(asked))
    assert [answer.outputs[0].double_val for answer in answers] == [[3.0], [3.0]]


@step
def a_stream_from_the_client_is_refused(program: Program) -> None:
    """A decision covers one message, so that nobody can send a second one behind it. Over REST the SDK has none."""
    ask = program.held["endpoint"].stream_direct_predict
    # over REST it is the SDK's own error, before anything is sent
    kind = "PermissionDenied" if program.transport == "grpc" else "NotImplementedError"
    error = raised(lambda: list(ask(inputs_iterator=iter([[_tensor()]]))), kind)
    assert program.transport == "rest" or "methods on which the client streams" in str(error)


@step
def explain_reaches_vertex(program: Program) -> None:
    """The lab's models explain nothing, so that what is heard is the cloud's own word."""
    error = raised(lambda: program.held["endpoint"].explain(instances=_POINT), "MethodNotImplemented")
    assert "remit" not in str(error)


@step
def batch_predict(program: Program) -> None:
    job = program.held["model"].batch_predict(
        job_display_name=f"batch-{program.tag}",
        gcs_source=f"{DATA}/points.jsonl",
        gcs_destination_prefix=f"{STAGING}/batch/{program.tag}",
        machine_type="n1-standard-2",
    )
    assert job.state.name == "JOB_STATE_SUCCEEDED", job.state
    assert job.completion_stats.successful_count == 2
    program.facts |= {"name": job.resource_name, "labels": dict(job.gca_resource.labels)}


@step
def what_is_not_there_is_not_found(program: Program) -> None:
    vertex = program.vertex
    raised(lambda: vertex.Endpoint("4040404040404040404").list_models(), "NotFound")
    raised(lambda: vertex.Model("4040404040404040404"), "NotFound")
    raised(lambda: vertex.CustomJob.get("4040404040404040404"), "NotFound")


@step
def endpoint_and_model_go(program: Program) -> None:
    endpoint, model = program.held["endpoint"], program.held["model"]
    endpoint.undeploy_all()
    endpoint.delete()
    model.delete()
    raised(lambda: program.vertex.Endpoint(endpoint.resource_name).list_models(), "NotFound")


# Data and what is written down of it


@step
def dataset(program: Program) -> None:
    made = program.vertex.TabularDataset.create(display_name=f"d-{program.tag}", gcs_source=[f"{DATA}/table.csv"])
    program.facts["name"] = made.resource_name
    assert set(made.column_names) == {"age", "fraud"}
    found = program.vertex.TabularDataset.list(filter=f'display_name="d-{program.tag}"')
    assert [each.resource_name for each in found] == [made.resource_name]
    made.delete()
    raised(lambda: program.vertex.TabularDataset(made.resource_name), "NotFound")


@step
def experiment(program: Program) -> None:
    """Get or create, many times over: the store, the experiment, the run, its board and its series."""
    name = f"e-{program.tag}"
    board = program.vertex.Tensorboard.create(display_name=name)
    program.begin(experiment=name, experiment_tensorboard=board)
    run = program.vertex.start_run("first")
    program.vertex.log_params({"rate": 0.1, "kind": "linear"})
    program.vertex.log_metrics({"accuracy": 0.7})
    for number in (1, 2):
        program.vertex.log_time_series_metrics({"loss": 1 / number}, step=number)
    program.vertex.end_run()
    assert (run.get_params(), run.get_metrics()) == ({"rate": 0.1, "kind": "linear"}, {"accuracy": 0.7})
    series = run._backing_tensorboard_run.resource.read_time_series_data()["loss"]
    assert [point.scalar.value for point in series.values] == [1.0, 0.5]
    again = program.vertex.ExperimentRun.list(experiment=name)
    assert [each.name for each in again] == ["first"]
    program.vertex.Experiment(name).delete(delete_backing_tensorboard_runs=True)
    assert program.vertex.Experiment.get(name) is None
    board.delete()


@step
def metadata(program: Program) -> None:
    execution = program.vertex.Execution
    titled = {"schema_title": "system.CustomJobExecution", "resource_id": f"execution-{program.tag}"}
    made = execution.get_or_create(**titled)
    assert execution.get_or_create(**titled).resource_name == made.resource_name
    assert program.vertex.Artifact.get(f"nothing-{program.tag}") is None
    made.delete()


# Language models. The client speaks REST only, whatever Vertex AI's other clients do.


def _talk(program: Program) -> Any:
    if "genai" not in program.held:
        from google import genai

        given = {"credentials": program.own["credentials"]} if program.own else {}
        options = {"base_url": f"https://{program.address}"} if program.address else None
        program.held["genai"] = genai.Client(
            vertexai=True, project=PROJECT, location=LOCATION, http_options=options, **given
        )
    return program.held["genai"]


@step
def generate_content(program: Program) -> None:
    answer = _talk(program).models.generate_content(model="gemini-2.5-flash", contents="Hello there")
    assert answer.text == "You said: Hello there", answer.text


@step
def generate_content_in_a_stream(program: Program) -> None:
    words = "one two three four five six seven eight nine ten"
    chunks = list(_talk(program).models.generate_content_stream(model="gemini-2.5-flash", contents=words))
    assert len(chunks) > 1
    assert "".join(chunk.text or "" for chunk in chunks) == f"You said: {words}"


@step
def count_tokens(program: Program) -> None:
    assert _talk(program).models.count_tokens(model="gemini-2.5-flash", contents="one two three").total_tokens == 3


@step
def embed_content(program: Program) -> None:
    answer = _talk(program).models.embed_content(model="text-embedding-005", contents=["a card", "a stolen card"])
    first, second = (each.values for each in answer.embeddings)
    assert len(first) == len(second) > 0


@step
def chat(program: Program) -> None:
    talk = _talk(program).chats.create(model="gemini-2.5-flash")
    assert talk.send_message("Good morning").text == "You said: Good morning"
    assert talk.send_message("Good night").text == "You said: Good night"
    assert len(talk.get_history()) == 4


# Logs and objects have one way only: the second door stands for Vertex AI.


def _logs(program: Program) -> Any:
    from google.cloud import logging

    return logging.Client(project=PROJECT, _use_grpc=program.transport == "grpc")


@step
def log_of_a_job_is_read(program: Program) -> None:
    job = program.held["job"].name
    wanted = f'resource.type="ml_job" AND resource.labels.job_id="{job}"'
    said = [entry.payload["message"] for entry in _logs(program).list_entries(filter_=wanted)]
    assert said == ["trained well"], said


@step
def log_is_written_and_read(program: Program) -> None:
    client = _logs(program)
    log = client.logger(f"conformance-{program.tag}")
    log.log_struct({"accuracy": 0.9}, severity="NOTICE")
    found = [(entry.payload, entry.severity) for entry in log.list_entries()]
    assert ({"accuracy": 0.9}, "NOTICE") in found, found  # the library may have written of itself, too


@step
def log_view_is_read(program: Program) -> None:
    view = f"projects/{PROJECT}/locations/global/buckets/_Default/views/_Default"
    wanted = f'resource.labels.job_id="{program.held["job"].name}"'
    found = list(_logs(program).list_entries(resource_names=[view], filter_=wanted))
    assert [entry.payload["message"] for entry in found] == ["trained well"]


@step
def objects(program: Program) -> None:
    from google.cloud import storage

    bucket = storage.Client(project=PROJECT).bucket(f"{PROJECT}-staging")
    name = f"{program.tag}/a folder/grün & 100%.txt"
    blob = bucket.blob(name)
    blob.upload_from_string(b"some bytes")
    assert bucket.blob(name).download_as_bytes() == b"some bytes"
    assert bucket.blob(name).download_as_bytes(start=5, end=9) == b"bytes"
    assert name in [each.name for each in bucket.list_blobs(prefix=f"{program.tag}/a folder/")]
    assert not bucket.blob(f"{name}.not").exists()
    blob.delete()
    raised(bucket.blob(name).download_as_bytes, "NotFound")


@step
def large_object(program: Program) -> None:
    """In parts, each of which is a request of its own, to an address that the first one was told."""
    from google.cloud import storage

    bucket = storage.Client(project=PROJECT).bucket(f"{PROJECT}-staging")
    content = bytes(range(256)) * 2048
    blob = bucket.blob(f"{program.tag}/large", chunk_size=256 << 10)
    blob.upload_from_file(io.BytesIO(content))
    assert bucket.blob(blob.name).download_as_bytes() == content
    blob.delete()
