"""Experiments and ML Metadata by the stock client of Vertex AI, over gRPC and REST."""

import pytest

from remit.lab.errors import CloudError
from remit.lab.vertex.metadata_filter import Node, parse

pytestmark = pytest.mark.filterwarnings("ignore")  # the client's own dependencies warn

STORE = "projects/100000000001/locations/us-central1/metadataStores/default"


@pytest.fixture
def name(request):
    return f"e-{request.node.callspec.id}-{request.node.originalname.replace('_', '-')}"[:60]


def test_an_experiment_with_its_runs(vertex, wire, name):
    board = vertex.Tensorboard.create(display_name=name)
    vertex.init(
        project="contoso-fraud-test",
        location="us-central1",
        experiment=name,
        experiment_tensorboard=board,
        credentials=vertex.initializer.global_config.credentials,
        api_transport=vertex.initializer.global_config._api_transport,
    )
    for number in (1, 2):
        run = vertex.start_run(f"run-{number}")
        vertex.log_params({"rate": number / 10, "kind": "linear"})
        vertex.log_metrics({"accuracy": 0.5 + number / 10})
        vertex.log_classification_metrics(
            labels=["cat", "dog"], matrix=[[9, 1], [1, 9]], fpr=[0.1, 0.9], tpr=[0.2, 0.8], threshold=[0.9, 0.1]
        )
        for step in (1, 2, 3):
            vertex.log_time_series_metrics({"loss": 1 / step}, step=step)
        vertex.end_run()
    assert run.get_params() == {"rate": 0.2, "kind": "linear"}
    assert run.get_metrics() == {"accuracy": 0.7}
    series = run._backing_tensorboard_run.resource.read_time_series_data()["loss"]
    assert [point.scalar.value for point in series.values] == pytest.approx([1, 1 / 2, 1 / 3])
    assert run.get_classification_metrics()[0]["matrix"] == [[9, 1], [1, 9]]
    assert run.get_state() == "COMPLETE" or run.state.name == "COMPLETE"

    experiment = vertex.Experiment(name)
    assert {each.name for each in vertex.ExperimentRun.list(experiment=name)} == {"run-1", "run-2"}
    assert name in [each.name for each in vertex.Experiment.list()]
    with vertex.start_run("run-1", resume=True) as again:
        vertex.log_metrics({"accuracy": 0.9, "recall": 1})
    assert again.get_metrics() == {"accuracy": 0.9, "recall": 1}
    again.delete(delete_backing_tensorboard_run=True)
    assert [each.name for each in vertex.ExperimentRun.list(experiment=name)] == ["run-2"]
    experiment.delete(delete_backing_tensorboard_runs=True)
    assert vertex.Experiment.get(name) is None
    assert wire.audited("UpdateContext")[-1]["authorizationInfo"][0]["granted"] is True


def test_artifacts_executions_and_lineage(vertex, wire, name):
    from google.api_core import exceptions

    data = vertex.Artifact.create(
        schema_title="system.Dataset",
        display_name=name,
        resource_id=f"{name}-data",
        uri=f"gs://b/{name}",
        metadata={"rows": 3},
    )
    model = vertex.Artifact.create(schema_title="system.Model", display_name=f"{name}-m")
    with vertex.start_execution(schema_title="system.CustomJobExecution", display_name=name) as execution:
        execution.assign_input_artifacts([data])
        execution.assign_output_artifacts([model])
        execution.update(metadata={"seconds": 4})
    assert execution.state.name == "COMPLETE"
    assert [each.resource_name for each in execution.get_input_artifacts()] == [data.resource_name]
    assert [each.resource_name for each in execution.get_output_artifacts()] == [model.resource_name]
    assert vertex.Artifact.get_with_uri(f"gs://b/{name}").resource_name == data.resource_name
    assert vertex.Artifact.get(f"{name}-data").metadata == {"rows": 3}
    data.update(metadata={"cols": 2}, description="d")
    assert (data.metadata, data.description) == ({"rows": 3, "cols": 2}, "d")
    found = vertex.Artifact.list(filter=f'schema_title="system.Dataset" AND display_name="{name}"')
    assert [each.resource_name for each in found] == [data.resource_name]
    with pytest.raises(exceptions.Conflict):
        vertex.Artifact.create(schema_title="system.Dataset", resource_id=f"{name}-data")
    with pytest.raises(exceptions.BadRequest, match="filter"):
        vertex.Artifact.list(filter="NOT (x")
    assert vertex.Artifact.get(f"{name}-none") is None

    context = vertex.Context.create(schema_title="system.Experiment", resource_id=f"{name}-top")
    child = vertex.Context.create(schema_title="system.ExperimentRun", resource_id=f"{name}-below")
    context.add_context_children([child])
    child.add_artifacts_and_executions([data.resource_name], [execution.resource_name])
    graph = child.query_lineage_subgraph()
    assert ([each.name for each in graph.artifacts], len(graph.events)) == ([data.resource_name], 1)
    whole = context.api_client.query_artifact_lineage_subgraph(artifact=model.resource_name)
    assert {each.name for each in whole.artifacts} == {data.resource_name, model.resource_name}
    assert [each.resource_name for each in child.get_artifacts()] == [data.resource_name]
    again = vertex.Context.get(child.resource_name)
    assert list(again.parent_contexts) == [context.resource_name]
    foreign = data.resource_name.replace("100000000001", "contoso-fraud-prod")
    with pytest.raises(exceptions.BadRequest, match="not of the metadata store"):
        child.add_artifacts_and_executions([foreign])
    with pytest.raises(exceptions.BadRequest, match="descendant"):
        child.add_context_children([context])
    context.api_client.remove_context_children(context=context.resource_name, child_contexts=[child.resource_name])
    context.delete()
    execution.delete()
    assert child.query_lineage_subgraph().events == []
    with pytest.raises(exceptions.NotFound):
        vertex.Execution(execution.resource_name)


def test_a_store_is_made_once(vertex):
    from google.api_core import exceptions
    from google.cloud.aiplatform.metadata import metadata_store

    store = metadata_store._MetadataStore.get_or_create()
    assert store.resource_name == STORE
    with pytest.raises(exceptions.Conflict):
        store.api_client.create_metadata_store(
            parent=STORE.rpartition("/metadataStores")[0], metadata_store={}, metadata_store_id="default"
        )
    with pytest.raises(exceptions.NotFound):
        store.api_client.create_context(parent=STORE.replace("default", "nobodys"), context={}, context_id="x")


NODE = Node({"schema_title": "a", "uri": "u"}, frozenset({"p"}), frozenset({"c", "d"}))


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("", True),
        ('schema_title="a"', True),
        ('schema_title = "b" OR uri="u"', True),
        ('(schema_title="b" OR schema_title="c") AND uri="u"', False),
        ('schema_title="b" AND uri="u" OR uri="u"', True),
        ('in_context("c") AND in_context("d")', True),
        ('in_context("e")', False),
        ('parent_contexts:"p"', True),
        ('parent_contexts:"p","q"', False),
    ],
)
def test_filters(text, holds):
    assert parse(text)(NODE) is holds


@pytest.mark.parametrize("text", ["schema_title", '(uri="u"', 'uri="u" uri="u"', "in_context(", 'x="', "a=b )"])
def test_filters_that_are_not_understood_are_refused(text):
    with pytest.raises(CloudError):
        parse(text)
