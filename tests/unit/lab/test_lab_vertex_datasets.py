"""Data sets by the stock client of Vertex AI, over gRPC and REST."""

import json

import pytest

from remit.lab import contoso

pytestmark = pytest.mark.filterwarnings("ignore")  # the client's own dependencies warn

STAGING = contoso.FRAUD_TEST.buckets[1]
AGENT = "service-100000000001@gcp-sa-aiplatform.iam.gserviceaccount.com"
SENTIMENT = "gs://google-cloud-aiplatform/schema/dataset/ioformat/text_sentiment_io_format_1.0.0.yaml"


def test_a_table(vertex, wire):
    from google.api_core import exceptions

    wire.put(STAGING, "t/rows.csv", b"a,b\n1,2\n3,4\n")
    made = vertex.TabularDataset.create(
        display_name="rows", gcs_source=[f"gs://{STAGING}/t/rows.csv"], labels={"team": "fraud"}
    )
    assert sorted(made.column_names) == ["a", "b"]
    assert made.resource_name.startswith("projects/100000000001/locations/us-central1/datasets/")
    assert vertex.TabularDataset(made.resource_name).display_name == "rows"
    listed = vertex.TabularDataset.list(filter="labels.team=fraud")
    assert made.resource_name in [each.resource_name for each in listed]
    made.update(display_name="renamed", description="d")
    assert vertex.TabularDataset(made.resource_name).display_name == "renamed"
    (file,) = made.export_data(f"gs://{STAGING}/exports")
    assert file.startswith(f"gs://{STAGING}/exports/export-data-renamed-")
    assert wire.read(file) == b"a,b\n1,2\n3,4\n"
    with pytest.raises(ValueError, match="check the dataset type"):
        vertex.TextDataset(made.resource_name)
    made.delete()
    with pytest.raises(exceptions.NotFound):
        vertex.TabularDataset(made.resource_name)


def test_a_text_is_imported_and_exported(vertex, wire):
    lines = [{"textContent": f"text {n}", "sentimentAnnotation": {"sentiment": n}} for n in range(10)]
    wire.put(STAGING, "t/texts.jsonl", "".join(json.dumps(line) + "\n" for line in lines).encode())
    made = vertex.TextDataset.create(
        display_name="texts", gcs_source=f"gs://{STAGING}/t/texts.jsonl", import_schema_uri=SENTIMENT
    )
    assert vertex.TextDataset(made.resource_name)._gca_resource.data_item_count == 10
    items = made.api_client.list_data_items(parent=made.resource_name)
    assert len(list(items)) == 10
    wire.put(STAGING, "t/more.csv", b"good,positive\nbad,negative\n")
    made.import_data(gcs_source=f"gs://{STAGING}/t/more.csv", import_schema_uri=SENTIMENT)
    (file,) = made.export_data(f"gs://{STAGING}/exports/")
    assert [json.loads(line) for line in wire.read(file).splitlines()][:10] == lines
    answer = made.export_data_for_custom_training(
        f"gs://{STAGING}/exports/",
        annotation_schema_uri="gs://google-cloud-aiplatform/schema/dataset/annotation/text_sentiment_1.0.0.yaml",
        split={"training_fraction": 0.5, "validation_fraction": 0.25, "test_fraction": 0.25},
    )
    sizes = [len(wire.read(each).splitlines()) for each in answer["exportedFiles"]]
    assert sizes == [6, 3, 3]
    read = [
        each for each in wire.audited("storage.objects.get") if each["authenticationInfo"]["principalEmail"] == AGENT
    ]
    assert read
    made.delete()


def test_what_cannot_be_imported(vertex, wire):
    from google.api_core import exceptions

    made = vertex.TextDataset.create(display_name="empty")
    wire.put(STAGING, "t/bad.jsonl", b"[1]\n")
    for uri, says in (
        (f"gs://{STAGING}/t/none.jsonl", "No such object"),
        (f"gs://{STAGING}/t/bad.jsonl", "must be a JSON object"),
        ("gs://contoso-fraud-prod-data/x.jsonl", f"{AGENT} does not have storage.objects.get access"),
        ("http://elsewhere/x", "Invalid Cloud Storage URI"),
    ):
        with pytest.raises(exceptions.GoogleAPICallError, match=says):
            made.import_data(gcs_source=uri, import_schema_uri=SENTIMENT)
    with pytest.raises(exceptions.BadRequest, match=r"dataset\.display_name"):
        made.api_client.create_dataset(parent=made.resource_name.rpartition("/datasets")[0], dataset={})
