"""Data sets: tables that stay where they are, and text whose lines are imported one by one.

A tabular data set names its CSV files (`metadata.inputConfig.gcsSource.uri`); a text data set takes JSON Lines or CSV
by `ImportData`. Both are read as the project's Vertex AI service agent. Left out: BigQuery, images and video,
annotations apart from the lines that carry them, saved queries. That a table can be exported too is the lab's own.
Source: google/cloud/aiplatform/v1/dataset_service.proto, dataset.proto.
"""

import csv
import io
import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime

from grpc import StatusCode

from remit.lab.api_table import Proto, table
from remit.lab.errors import CloudError
from remit.lab.vertex.accounts import service_agent
from remit.lab.vertex.buckets import Buckets
from remit.lab.vertex.fields import as_json, from_json, refuse, require, sibling
from remit.lab.vertex.operations import Operations
from remit.lab.vertex.resources import Resources, Scope, new_id, project_of, stamp

_SHARE = 0.8, 0.1, 0.1  # training, validation, test: Vertex AI's own when none is given
_NAMES = "training", "validation", "test"


class Datasets:
    """All data sets, and the lines imported into them."""

    def __init__(self, resources: Resources, operations: Operations, buckets: Buckets) -> None:
        self._resources = resources
        self._operations = operations
        self._buckets = buckets
        self._lines: dict[str, list[str]] = {}  # of text data sets, by the data set's name

    def create(self, scope: Scope) -> Proto:
        """`CreateDataset`."""
        require(scope.request.dataset, "dataset", ("display_name", "metadata_schema_uri"))
        dataset = self._resources.create(scope)
        dataset.etag = new_id()
        return self._operations.done(dataset.name, scope.call.method, dataset)

    def import_data(self, scope: Scope) -> Proto:
        """`ImportData`: every line of every file becomes a data item."""
        dataset = self._resources.get(scope.name, "Dataset")
        if not scope.request.import_configs:
            refuse(("import_configs", "Required field is not set."))
        configs = list(scope.request.import_configs)

        async def work() -> Proto:
            for config in configs:
                await self._take(dataset, config)
            dataset.data_item_count = len(self._lines.get(dataset.name, ()))
            stamp(dataset, "update_time")
            return table().message(scope.call.method.result)()

        return self._operations.start(dataset.name, scope.call.method, work)

    def export_data(self, scope: Scope) -> Proto:
        """`ExportData`: writes the items into a new folder below the destination."""
        dataset = self._resources.get(scope.name, "Dataset")
        config = scope.request.export_config
        if not config.gcs_destination.output_uri_prefix:
            refuse(("export_config.gcs_destination.output_uri_prefix", "Required field is not set."))
        moment = datetime.now(UTC).strftime("%Y%m%d%H%M%S")
        base = f"{config.gcs_destination.output_uri_prefix.rstrip('/')}/export-data-{dataset.display_name}-{moment}"
        agent = service_agent(project_of(dataset.name))

        async def work() -> Proto:
            if config.WhichOneof("split"):
                form = await self.split(dataset, config.fraction_split, base, agent)
                written = [f"{base}/{name}-00000-of-00001.{form}" for name in _NAMES]
            else:
                header, lines, form = await self._content(dataset, agent)
                written = [f"{base}/data-00000-of-00001.{form}"]
                await self._buckets.write(written[0], _text([*header, *lines]), agent)
            return table().message(scope.call.method.result)(exported_files=written)

        return self._operations.start(dataset.name, scope.call.method, work)

    def of_id(self, location: str, dataset_id: str) -> Proto:
        """A data set of a location; raises `NOT_FOUND`."""
        return self._resources.get(f"{location}/datasets/{dataset_id}", "Dataset")

    async def split(self, dataset: Proto, fractions: Proto, base: str, account: str) -> str:
        """Writes training, validation and test data below `base`, in order; their form: `csv` or `jsonl`."""
        header, lines, form = await self._content(dataset, account)
        given = fractions.training_fraction, fractions.validation_fraction, fractions.test_fraction
        first, second, _ = given if any(given) else _SHARE
        ends = round(len(lines) * first), round(len(lines) * (first + second))
        for name, part in zip(_NAMES, (lines[: ends[0]], lines[ends[0] : ends[1]], lines[ends[1] :]), strict=True):
            await self._buckets.write(f"{base}/{name}-00000-of-00001.{form}", _text([*header, *part]), account)
        return form

    async def _content(self, dataset: Proto, account: str) -> tuple[list[str], list[str], str]:
        """Header, lines and form of all that a data set holds."""
        uris = _sources(dataset)
        if not uris:
            return [], self._lines.get(dataset.name, []), "jsonl"
        header: list[str] = []
        lines: list[str] = []
        for uri in uris:
            found = _decoded(await self._buckets.read(uri, account), uri).splitlines()
            header = found[:1]
            lines += found[1:]
        return header, lines, "csv"

    async def _take(self, dataset: Proto, config: Proto) -> None:
        agent = service_agent(project_of(dataset.name))
        if not config.gcs_source.uris or not config.import_schema_uri:
            refuse(("import_configs.gcs_source", "Source and import_schema_uri must be set."))
        for uri in config.gcs_source.uris:
            for line in _items(_decoded(await self._buckets.read(uri, agent), uri), uri):
                self._lines.setdefault(dataset.name, []).append(json.dumps(line))
                item = sibling(dataset, "DataItem")
                from_json(line, item.payload, uri)
                item.labels.update(config.data_item_labels)
                stamp(item, "create_time", "update_time")
                self._resources.put(f"{dataset.name}/dataItems/{new_id()}", item)


def _sources(dataset: Proto) -> list[str]:
    """The files that a tabular data set names."""
    metadata = as_json(dataset).get("metadata")
    for key in ("inputConfig", "gcsSource", "uri"):
        metadata = metadata.get(key) if isinstance(metadata, dict) else None
    found = [metadata] if isinstance(metadata, str) else metadata if isinstance(metadata, list) else []
    return [str(uri) for uri in found]


def _items(text: str, uri: str) -> Sequence[dict[str, object]]:
    """The items of one import file: JSON objects a line, or CSV rows of `text[,label…]`."""
    if not re.search(r"\.jsonl?$", uri):
        return [{"textContent": row[0], "labels": row[1:]} for row in csv.reader(io.StringIO(text)) if row]
    try:
        found = [json.loads(line) for line in text.splitlines() if line.strip()]
    except ValueError as error:
        raise CloudError(StatusCode.INVALID_ARGUMENT, f"Failed to parse {uri}: {error}") from error
    if any(not isinstance(each, dict) for each in found):
        raise CloudError(StatusCode.INVALID_ARGUMENT, f"Failed to parse {uri}: every line must be a JSON object.")
    return found


def _decoded(content: bytes, uri: str) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise CloudError(StatusCode.INVALID_ARGUMENT, f"{uri} is not UTF-8 text.") from error


def _text(lines: Sequence[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()
