"""Which IAM permissions a method of Vertex AI needs.

First what Google publishes (`data/iam_vertex.json`). Where that is silent, inference needs
`aiplatform.endpoints.predict` (cloud.google.com/vertex-ai/docs/general/access-control), an operation what its owner
needs to be read, and everything else `aiplatform.COLLECTION.VERB`: where no role has that, the call is refused.
"""

import json
from functools import cache
from importlib.resources import files

from remit.lab.api_table import Binding

_INFERENCE = frozenset(
    {
        "predict",
        "rawPredict",
        "streamRawPredict",
        "directPredict",
        "directRawPredict",
        "serverStreamingPredict",
        "generateContent",
        "streamGenerateContent",
        "countTokens",
        "computeTokens",
        "embedContent",
    }
)
_HAND = {
    "reasoningEngines.streamQuery": "aiplatform.reasoningEngines.query",
    "reasoningEngines.asyncQuery": "aiplatform.reasoningEngines.query",
    "completions.create": "aiplatform.endpoints.predict",
    "models.listVersions": "aiplatform.models.list",
    "models.listCheckpoints": "aiplatform.models.get",
    "models.deleteVersion": "aiplatform.models.delete",
    "pipelineJobs.batchDelete": "aiplatform.pipelineJobs.delete",
    "pipelineJobs.batchCancel": "aiplatform.pipelineJobs.cancel",
    "contexts.removeContextChildren": "aiplatform.contexts.addContextChildren",
    "artifacts.queryArtifactLineageSubgraph": "aiplatform.artifacts.get",
    "tensorboards.batchRead": "aiplatform.tensorboardTimeSeries.batchRead",
    "tensorboardExperiments.batchCreate": "aiplatform.tensorboardTimeSeries.batchCreate",
    "tensorboardTimeSeries.readBlobData": "aiplatform.tensorboardTimeSeries.read",
    "tensorboardTimeSeries.exportTensorboardTimeSeries": "aiplatform.tensorboardTimeSeries.read",
    "models.mergeVersionAliases": "aiplatform.models.update",
}


# Collections whose permissions carry the name of what they are below.
_BELOW = {
    ("tensorboards", "experiments"): "tensorboardExperiments",
    ("tensorboards", "runs"): "tensorboardRuns",
    ("tensorboards", "timeSeries"): "tensorboardTimeSeries",
    ("models", "evaluations"): "modelEvaluations",
    ("models", "slices"): "modelEvaluationSlices",
}


def permissions(binding: Binding) -> tuple[str, ...]:
    """Every permission that a call by this rule needs on the resource that it names."""
    published = _published().get(f"aiplatform.{binding.method_id}")
    if published:
        return published
    *collections, verb = binding.method_id.split(".")
    collection = collections[-1] if collections else ""
    collection = next(
        (name for (top, own), name in _BELOW.items() if top in collections[:-1] and own == collection), collection
    )
    if verb in _INFERENCE:
        return ("aiplatform.endpoints.predict",)
    if collection == "operations" and verb in {"get", "list", "wait"}:
        owner = collections[-2]
        return ("aiplatform.operations.list" if owner == "locations" else f"aiplatform.{owner}.get",)
    by_hand = _HAND.get(f"{collection}.{verb}")
    return (by_hand or f"aiplatform.{collection}.{'update' if verb == 'patch' else verb}",)


@cache
def _published() -> dict[str, tuple[str, ...]]:
    data = json.loads(files("remit.lab").joinpath("data/iam_vertex.json").read_bytes())
    return {method: tuple(names) for method, names in data["methods"].items()}
