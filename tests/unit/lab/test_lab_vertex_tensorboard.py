"""TensorBoard by the stock client of Vertex AI, over gRPC and REST."""

from datetime import UTC, datetime

import pytest

pytestmark = pytest.mark.filterwarnings("ignore")  # the client's own dependencies warn


@pytest.fixture
def run(vertex, request):
    """A run of an experiment of a TensorBoard."""
    board = vertex.Tensorboard.create(display_name=f"tb-{request.node.callspec.id}")
    experiment = vertex.TensorboardExperiment.create("exp", tensorboard_name=board.resource_name, labels={"k": "v"})
    return vertex.TensorboardRun.create("run", tensorboard_experiment_name=experiment.resource_name)


def test_series_are_written_and_read(vertex, wire, run):
    from google.api_core import exceptions

    run.create_tensorboard_time_series("loss")
    for step in range(1, 4):
        run.write_tensorboard_scalar_data({"loss": 1 / step}, step=step, wall_time=None)
    (series,) = vertex.TensorboardTimeSeries.list(tensorboard_run_name=run.resource_name)
    assert (series.display_name, series._gca_resource.metadata.max_step) == ("loss", 3)
    data = run.read_time_series_data()
    assert [(point.step, point.scalar.value) for point in data["loss"].values] == [
        (step, pytest.approx(1 / step)) for step in (1, 2, 3)
    ]
    client = series.api_client
    read = client.read_tensorboard_time_series_data(
        request={"tensorboard_time_series": series.resource_name, "max_data_points": 2}
    )
    assert [point.step for point in read.time_series_data.values] == [2, 3]
    few = client.read_tensorboard_time_series_data(
        request={"tensorboard_time_series": series.resource_name, "filter": "step > 2"}
    )
    assert [point.step for point in few.time_series_data.values] == [3]
    pages = client.export_tensorboard_time_series_data(
        request={"tensorboard_time_series": series.resource_name, "page_size": 2}
    )
    assert [point.step for point in pages] == [1, 2, 3]
    with pytest.raises(exceptions.Conflict):
        run.create_tensorboard_time_series("loss")
    point = {"scalar": {"value": 1}, "step": 1, "wall_time": datetime.now(UTC)}
    data = [{"tensorboard_time_series_id": "nobodys", "value_type": "SCALAR", "values": [point]}]
    with pytest.raises(exceptions.NotFound):
        client.write_tensorboard_run_data(tensorboard_run=run.resource_name, time_series_data=data)
    entry = wire.audited("WriteTensorboardRunData")[-1]
    assert entry["authorizationInfo"][0]["permission"] == "aiplatform.tensorboardRuns.write"
    assert entry["status"]["code"] == 5


def test_many_series_and_other_values_at_once(vertex, run):
    from google.api_core import exceptions

    client, parent = run.api_client, run.resource_name
    experiment = parent.rpartition("/runs/")[0]
    asked = [
        {"parent": parent, "tensorboard_time_series": {"display_name": name, "value_type": kind}}
        for name, kind in (("weights", "TENSOR"), ("pictures", "BLOB_SEQUENCE"))
    ]
    made = client.batch_create_tensorboard_time_series(parent=experiment, requests=asked).tensorboard_time_series
    ids = [each.name.rpartition("/")[2] for each in made]
    now = datetime.now(UTC)
    values = (
        {"tensor": {"value": b"\x01", "version_number": 1}, "step": 1, "wall_time": now},
        {"blobs": {"values": [{"data": b"png"}]}, "step": 1, "wall_time": now},
    )
    data = [
        {"tensorboard_time_series_id": key, "value_type": each.value_type, "values": [value]}
        for key, each, value in zip(ids, made, values, strict=True)
    ]
    client.write_tensorboard_experiment_data(
        tensorboard_experiment=experiment,
        write_run_data_requests=[{"tensorboard_run": parent, "time_series_data": data}],
    )
    board = experiment.rpartition("/experiments/")[0]
    read = client.batch_read_tensorboard_time_series_data(
        request={"tensorboard": board, "time_series": [each.name for each in made]}
    )
    blob = read.time_series_data[1].values[0].blobs.values[0]
    parts = client.read_tensorboard_blob_data(request={"time_series": made[1].name, "blob_ids": [blob.id]})
    assert [each.data for part in parts for each in part.blobs] == [b"png"]
    data[0]["values"] = [{"scalar": {"value": 1}, "step": 1, "wall_time": now}]
    with pytest.raises(exceptions.BadRequest, match="value type"):
        client.write_tensorboard_run_data(tensorboard_run=parent, time_series_data=data)
    with pytest.raises(exceptions.BadRequest, match="not of"):
        client.batch_read_tensorboard_time_series_data(
            request={"tensorboard": board, "time_series": [made[0].name.replace(board, f"{board}0")]}
        )


def test_boards_live(vertex, run):
    from google.api_core import exceptions

    board = vertex.Tensorboard(run.resource_name.rpartition("/experiments/")[0])
    board.update(display_name="new", labels={"a": "b"})
    assert vertex.Tensorboard(board.resource_name).display_name == "new"
    assert board.resource_name in [each.resource_name for each in vertex.Tensorboard.list()]
    default = vertex.Tensorboard.create(display_name="default", is_default=True)
    assert [each.resource_name for each in vertex.Tensorboard.list(filter="is_default=true")] == [default.resource_name]
    default.delete()
    (experiment,) = vertex.TensorboardExperiment.list(tensorboard_name=board.resource_name)
    same = vertex.TensorboardExperiment("exp", board.resource_name.rpartition("/")[2])
    assert same.resource_name == experiment.resource_name
    with pytest.raises(exceptions.Conflict):
        vertex.TensorboardExperiment.create("exp", tensorboard_name=board.resource_name)
    with pytest.raises(exceptions.NotFound):
        vertex.TensorboardExperiment.create("exp", tensorboard_name=f"{board.resource_name}0")
    run.delete()
    experiment.delete()
    board.delete()
    with pytest.raises(exceptions.NotFound):
        vertex.Tensorboard(board.resource_name)
