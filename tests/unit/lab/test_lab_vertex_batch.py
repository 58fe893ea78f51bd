"""Models, endpoints and batch prediction by the stock client of Vertex AI, over gRPC and REST."""

import asyncio
import json
import subprocess
import sys

import pytest

from remit.lab import contoso

pytestmark = pytest.mark.filterwarnings("ignore")  # the client's own dependencies warn

STAGING = contoso.FRAUD_TEST.buckets[1]
TRAINER = contoso.account("trainer", contoso.FRAUD_TEST)
IMAGE = "us-docker.pkg.dev/vertex-ai/prediction/tf2-cpu.2-15:latest"
MAKE = """
import sys, tensorflow as tf
class Weigh(tf.Module):
    def __init__(self, w):
        self.w = tf.Variable(w)
    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])
    def weigh(self, x):
        return {"score": tf.matmul(x, self.w)}
for name, w in (("one", [[1.0], [2.0]]), ("two", [[10.0], [20.0]])):
    m = Weigh(w)
    tf.saved_model.save(m, sys.argv[1] + "/" + name, {"serving_default": m.weigh})
"""


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory, wire):
    """Two SavedModels in the bucket."""
    folder = tmp_path_factory.mktemp("two")
    subprocess.run([sys.executable, "-c", MAKE, str(folder)], check=True, capture_output=True, timeout=120)
    for path in folder.rglob("*"):
        if path.is_file():
            wire.put(STAGING, f"saved/{path.relative_to(folder)}", path.read_bytes())
    return f"gs://{STAGING}/saved"


@pytest.fixture
def model(vertex, artifacts):
    return vertex.Model.upload(
        display_name="weigh", artifact_uri=f"{artifacts}/one", serving_container_image_uri=IMAGE, labels={"a": "b"}
    )


def test_versions_aliases_and_evaluations(vertex, model, artifacts):
    from google.api_core import exceptions

    second = vertex.Model.upload(
        display_name="weigh",
        artifact_uri=f"{artifacts}/two",
        serving_container_image_uri=IMAGE,
        parent_model=model.resource_name,
        is_default_version=False,
        version_aliases=["candidate"],
    )
    assert (second.version_id, list(second.version_aliases)) == ("2", ["candidate"])
    with pytest.raises(exceptions.BadRequest, match="parent_model"):
        vertex.Model.upload(
            display_name="theirs",
            serving_container_image_uri=IMAGE,
            parent_model="projects/contoso-fraud-prod/locations/us-central1/models/1",
        )
    registry = vertex.models.ModelRegistry(model.resource_name)
    assert [(each.version_id, each.version_aliases) for each in registry.list_versions()] == [
        ("1", ["default"]),
        ("2", ["candidate"]),
    ]
    assert vertex.Model(model.resource_name).version_id == "1"
    assert vertex.Model(f"{model.resource_name}@candidate").version_id == "2"
    registry.add_version_aliases(["default", "best"], "2")
    assert vertex.Model(model.resource_name).version_id == "2"
    registry.remove_version_aliases(["best"], "2")
    assert registry.get_version_info("2").version_aliases == ["candidate", "default"]
    registry.delete_version("1")
    with pytest.raises(exceptions.NotFound):
        vertex.Model(f"{model.resource_name}@1")
    with pytest.raises(exceptions.BadRequest, match="default version"):
        registry.delete_version("2")
    assert model.resource_name in [
        each.resource_name for each in vertex.Model.list(filter="labels.a=b") + vertex.Model.list()
    ]
    schema = "gs://google-cloud-aiplatform/schema/modelevaluation/classification_metrics_1.0.0.yaml"
    model.api_client.import_model_evaluation(
        parent=f"{model.resource_name}@2",
        model_evaluation={"display_name": "e", "metrics_schema_uri": schema, "metrics": {"auPrc": 0.9}},
    )
    (evaluation,) = vertex.Model(model.resource_name).list_model_evaluations()
    assert evaluation.metrics["auPrc"] == 0.9
    assert vertex.Model(model.resource_name).get_model_evaluation().resource_name == evaluation.resource_name
    vertex.Model(model.resource_name).update(display_name="heavier", description="d")
    assert vertex.Model(model.resource_name).display_name == "heavier"
    model.delete()
    with pytest.raises(exceptions.NotFound):
        vertex.Model(model.resource_name)


def test_every_form_of_prediction(vertex, model, artifacts):
    from google.api_core import exceptions

    endpoint = vertex.Endpoint.create(display_name="e")
    model.deploy(endpoint=endpoint, machine_type="n1-standard-2", deployed_model_display_name="one")
    answer = endpoint.predict(instances=[[1, 1], [0.5, 2]])
    assert answer.predictions == [[3.0], [4.5]]
    assert (answer.model_version_id, answer.model_resource_name) == ("1", model.resource_name)
    assert endpoint.predict(instances=[[1, 1]], use_raw_predict=True).predictions == [[3.0]]
    assert asyncio.run(endpoint.predict_async(instances=[[1, 1]])).predictions == [[3.0]]
    raw = endpoint.raw_predict(
        body=json.dumps({"instances": [[1, 1]]}).encode(), headers={"Content-Type": "application/json"}
    )
    assert raw.json() == {"predictions": [[3.0]]}
    stream = endpoint.stream_raw_predict(
        body=json.dumps({"instances": [[1, 1]]}).encode(), headers={"Content-Type": "application/json"}
    )
    assert json.loads("".join(each.decode() if isinstance(each, bytes) else each for each in stream)) == {
        "predictions": [[3.0]]
    }
    direct = endpoint.direct_predict(inputs=[{"dtype": "FLOAT", "shape": [2], "float_val": [1, 1]}])
    assert list(
        direct.predictions[0]["doubleVal"]
        if isinstance(direct.predictions[0], dict)
        else direct.predictions[0].double_val
    ) == [3.0]
    with pytest.raises(exceptions.MethodNotImplemented):
        endpoint.explain(instances=[[1, 1]])
    with pytest.raises(exceptions.BadRequest, match="Failed to process element"):
        endpoint.predict(instances=[["x", "y"]])

    other = vertex.Model.upload(display_name="two", artifact_uri=f"{artifacts}/two", serving_container_image_uri=IMAGE)
    endpoint.deploy(other, traffic_percentage=50, machine_type="n1-standard-2", deployed_model_display_name="two")
    assert sorted(endpoint.traffic_split.values()) == [50, 50]
    seen = {endpoint.predict(instances=[[1, 1]]).predictions[0][0] for _ in range(40)}
    assert seen == {3.0, 30.0}
    ids = {each.display_name: each.id for each in endpoint.list_models()}
    endpoint.update(traffic_split={ids["two"]: 100, ids["one"]: 0}, display_name="renamed")
    assert {endpoint.predict(instances=[[1, 1]]).predictions[0][0] for _ in range(10)} == {30.0}
    with pytest.raises(exceptions.BadRequest, match="100"):
        endpoint.update(traffic_split={ids["two"]: 40})
    with pytest.raises(exceptions.BadRequest, match="undeploy it first"):
        model.delete()
    endpoint.undeploy(ids["one"])
    endpoint.delete(force=True)
    model.delete()
    other.delete()


def test_a_batch_of_instances(vertex, wire, model, request):
    lines = [[1, 1], [0.5, 2], ["x", "y"], [2, 2]]
    name = f"in-{request.node.callspec.id}.jsonl"
    wire.put(STAGING, name, "".join(json.dumps(line) + "\n" for line in lines).encode())
    job = model.batch_predict(
        job_display_name="b",
        gcs_source=f"gs://{STAGING}/{name}",
        gcs_destination_prefix=f"gs://{STAGING}/out",
        service_account=TRAINER,
        machine_type="n1-standard-2",
        batch_size=2,
    )
    assert job.state.name == "JOB_STATE_SUCCEEDED"
    assert (job.completion_stats.successful_count, job.completion_stats.failed_count) == (3, 1)
    assert job.output_info.gcs_output_directory.startswith(f"gs://{STAGING}/out/prediction-weigh-")
    blobs = {blob.name.rpartition("/")[2]: blob.download_as_bytes() for blob in job.iter_outputs()}
    results = [json.loads(line) for line in blobs["prediction.results-00000-of-00001"].splitlines()]
    assert results == [
        {"instance": [1, 1], "prediction": [3.0]},
        {"instance": [0.5, 2], "prediction": [4.5]},
        {"instance": [2, 2], "prediction": [6.0]},
    ]
    (failed,) = [json.loads(line) for line in blobs["prediction.errors_stats-00000-of-00001"].splitlines()]
    assert (failed["instance"], failed["error"]["code"]) == (["x", "y"], 3)
    mine = [
        each["resourceName"]
        for each in wire.audited("storage.objects.get")
        if each["authenticationInfo"]["principalEmail"] == TRAINER
    ]
    assert f"projects/_/buckets/{STAGING}/objects/{name}" in mine
    assert job.resource_name in [each.resource_name for each in vertex.BatchPredictionJob.list()]
    job.delete()
    model.delete()


def test_a_batch_that_may_not_or_cannot(vertex, wire, model):
    from google.api_core import exceptions

    def run(source, account=TRAINER, **more):
        return model.batch_predict(
            job_display_name="b",
            gcs_source=source,
            gcs_destination_prefix=f"gs://{STAGING}/out",
            service_account=account,
            machine_type="n1-standard-2",
            **more,
        )

    with pytest.raises(exceptions.Forbidden, match="act as service_account"):
        run(f"gs://{STAGING}/x", contoso.account("trainer", contoso.FRAUD_PROD))
    for source, says in (
        ("gs://contoso-fraud-prod-data/x", "storage.objects.get"),
        (f"gs://{STAGING}/none", "No such object"),
    ):
        with pytest.raises(RuntimeError, match=says):
            run(source)
    with pytest.raises(exceptions.MethodNotImplemented):
        run(f"gs://{STAGING}/x", instances_format="csv")
    with pytest.raises(exceptions.NotFound):
        vertex.BatchPredictionJob.submit(
            job_display_name="b",
            model_name=f"{model.resource_name}0",
            gcs_source=f"gs://{STAGING}/x",
            gcs_destination_prefix=f"gs://{STAGING}/out",
        )
