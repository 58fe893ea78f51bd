"""TensorBoard: the data points of time series, written and read. Everything else of it is like any other collection.

Left out: down-sampling beyond `max_data_points`, usage figures. Source:
google/cloud/aiplatform/v1/tensorboard_service.proto.
"""

from collections.abc import Iterator

from grpc import StatusCode

from remit.lab import filters
from remit.lab.api_table import Proto
from remit.lab.errors import CloudError
from remit.lab.vertex.fields import refuse, require
from remit.lab.vertex.resources import Resources, Scope, canonical, flat, new_id, page, stamp

_POINTS = 1000  # ReadTensorboardTimeSeriesData, `max_data_points`: the default
_VALUES = {"scalar": 1, "tensor": 2, "blobs": 3}  # TensorboardTimeSeries.ValueType


class Tensorboards:
    """The points of all time series, by their names."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._points: dict[str, dict[int, Proto]] = {}

    def create_run(self, scope: Scope) -> Proto:
        """`CreateTensorboardRun`: names are unique within an experiment."""
        require(scope.request.tensorboard_run, "tensorboard_run", ("display_name",))
        self._unique(scope.name, "TensorboardRun", scope.request.tensorboard_run.display_name)
        return self._resources.create(scope)

    def create_series(self, scope: Scope) -> Proto:
        """`CreateTensorboardTimeSeries`: names are unique within a run."""
        return self._series(scope.name, scope.request)

    def create_many(self, scope: Scope) -> Proto:
        """`BatchCreateTensorboardTimeSeries`: in runs of one experiment."""
        outside = [each.parent for each in scope.request.requests if not self._within(each.parent, scope.name)]
        if outside:
            refuse(("requests.parent", f"{outside[0]} is not a run of {scope.name}."))
        made = [self._series(canonical(each.parent), each) for each in scope.request.requests]
        return scope.answer(tensorboard_time_series=made)

    def write_run(self, scope: Scope) -> Proto:
        """`WriteTensorboardRunData`."""
        self._write(scope.name, scope.request.time_series_data)
        return scope.answer()

    def write_experiment(self, scope: Scope) -> Proto:
        """`WriteTensorboardExperimentData`: the same for several runs of one experiment."""
        requests = scope.request.write_run_data_requests
        for each in requests:
            if not self._within(each.tensorboard_run, scope.name):
                refuse(("write_run_data_requests.tensorboard_run", f"{each.tensorboard_run} is of another experiment."))
        for each in requests:
            self._write(canonical(each.tensorboard_run), each.time_series_data)
        return scope.answer()

    def read(self, scope: Scope) -> Proto:
        """`ReadTensorboardTimeSeriesData`."""
        series = self._resources.get(scope.name, "TensorboardTimeSeries")
        answer = scope.answer()
        points = self._matching(series, scope.request.filter)
        self._fill(answer.time_series_data, series, points, scope.request.max_data_points or _POINTS)
        return answer

    def read_many(self, scope: Scope) -> Proto:
        """`BatchReadTensorboardTimeSeriesData`: of one tensorboard."""
        outside = [name for name in scope.request.time_series if not self._within(name, scope.name)]
        if outside:
            refuse(("time_series", f"{outside[0]} is not of {scope.name}."))
        found = self._resources.each(scope.request.time_series, "TensorboardTimeSeries")
        answer = scope.answer()
        for series in found:
            self._fill(answer.time_series_data.add(), series, self._matching(series), _POINTS)
        return answer

    def export(self, scope: Scope) -> Proto:
        """`ExportTensorboardTimeSeriesData`: the points, page by page."""
        series = self._resources.get(scope.name, "TensorboardTimeSeries")
        return page(scope.request, scope.answer(), self._matching(series, scope.request.filter))

    def read_blobs(self, scope: Scope) -> Proto:
        """`ReadTensorboardBlobData`: the blobs of a series, those named or all."""
        series = self._resources.get(scope.name, "TensorboardTimeSeries")
        wanted = set(scope.request.blob_ids)
        blobs = [blob for point in self._matching(series) for blob in point.blobs.values]
        return scope.answer(blobs=[blob for blob in blobs if not wanted or blob.id in wanted])

    def forget(self, name: str) -> None:
        """Drops the points of a deleted resource."""
        name = canonical(name)
        self._points = {key: each for key, each in self._points.items() if not f"{key}/".startswith(f"{name}/")}

    def _series(self, run: str, request: Proto) -> Proto:
        self._resources.get(run, "TensorboardRun")
        series = type(request.tensorboard_time_series)()
        series.CopyFrom(request.tensorboard_time_series)
        require(series, "tensorboard_time_series", ("display_name", "value_type"))
        self._unique(run, "TensorboardTimeSeries", series.display_name)
        stamp(series, "create_time", "update_time")
        name = f"{run}/timeSeries/{request.tensorboard_time_series_id or new_id()}"
        if self._resources.find(name):
            raise CloudError(StatusCode.ALREADY_EXISTS, f"Requested entity already exists: {name}")
        return self._resources.put(name, series)

    def _unique(self, parent: str, kind: str, name: str) -> None:
        if any(each.display_name == name for each in self._resources.of(kind, parent)):
            raise CloudError(StatusCode.ALREADY_EXISTS, f'{kind} with display name "{name}" already exists.')

    def _write(self, run: str, data: list[Proto]) -> None:
        """Checks everything, then keeps everything."""
        self._resources.get(run, "TensorboardRun")
        named = [f"{run}/timeSeries/{each.tensorboard_time_series_id}" for each in data]
        found = self._resources.each(named, "TensorboardTimeSeries")
        for series, each in zip(found, data, strict=True):
            for point in each.values:
                if _VALUES.get(point.WhichOneof("value") or "") != series.value_type:
                    refuse(("time_series_data.values", f"Not of the value type of {series.name}."))
        for series, each in zip(found, data, strict=True):
            for point in each.values:
                kept = type(point)()
                kept.CopyFrom(point)
                for blob in kept.blobs.values if kept.HasField("blobs") else ():
                    blob.id = blob.id or new_id()
                self._points.setdefault(series.name, {})[point.step] = kept
                series.metadata.max_step = max(series.metadata.max_step, point.step)
                if point.wall_time.ToNanoseconds() > series.metadata.max_wall_time.ToNanoseconds():
                    series.metadata.max_wall_time.CopyFrom(point.wall_time)
            stamp(series, "update_time")

    def _matching(self, series: Proto, text: str = "") -> list[Proto]:
        """The points of a series by step, those that a filter lets pass."""
        points = self._points.get(series.name, {})
        conditions = filters.parse(text)
        return [points[step] for step in sorted(points) if all(each.holds(flat(points[step])) for each in conditions)]

    def _fill(self, target: Proto, series: Proto, points: list[Proto], most: int) -> None:
        """Evenly chosen points, the last one always among them."""
        target.tensorboard_time_series_id = series.name.rpartition("/")[2]
        target.value_type = series.value_type
        target.values.extend(_thinned(points, most))

    def _within(self, name: str, parent: str) -> bool:
        return canonical(name).startswith(f"{parent}/")


def _thinned(points: list[Proto], most: int) -> Iterator[Proto]:
    if len(points) <= most:
        yield from points
        return
    for at in range(most):
        yield points[-1 - (most - 1 - at) * len(points) // most]
