"""Whether a message holds a part that nobody can read beforehand.

What such a part names is counted all the same (`touched.py`), but what Google makes of it is not known here, so that
sending it is a permission of its own (`remit.messages.untyped`). Reviewed and let pass are the parts of `_READABLE`:
data or settings for one known reader, in which nothing is a launch, an account or a query, and every address counts.
What is only somebody's notes or words is not in the tree at all (`mentions.py`).
"""

from collections.abc import Mapping

from remit.catalogue.mentions import UNTYPED, Part, plain

_READABLE: Mapping[str, tuple[str, ...]] = {
    # read by Google's own model: addresses in them count
    "PredictRequest": ("instances", "parameters"),
    "CountTokensRequest": ("instances",),
    "ComputeTokensRequest": ("instances",),
    "BatchPredictionJob": ("model_parameters",),
    # where the data lies, and how an index is built: published schemas under `gs://google-cloud-aiplatform/schema`
    "Dataset": ("metadata",),
    "Index": ("metadata",),
    # numbers and names of a model's own inputs and outputs
    "ExplanationMetadata.InputMetadata": ("input_baselines", "encoded_baselines"),
    "ExplanationMetadataOverride.InputMetadataOverride": ("input_baselines",),
    "ExplanationMetadata.OutputMetadata": ("index_display_name_mapping",),
    "ExplanationParameters": ("output_indices",),
    "Examples": ("nearest_neighbor_search_config",),
    # settings of a computation that Google publishes
    "PartnerModelTuningSpec": ("hyper_parameters",),
    "PredefinedMetricSpec": ("metric_spec_parameters",),
    "ComputationBasedMetricSpec": ("parameters",),
    # arguments of a pipeline, whose specification is untyped itself
    "PipelineJob.RuntimeConfig": ("parameter_values",),
    "PipelineTaskRerunConfig.Inputs": ("parameter_values",),
}
_FREE: Mapping[str, tuple[str, ...]] = {
    # strings that are programs or specifications of their own
    "PipelineJob": ("template_uri",),
    "ExtensionManifest.ApiSpec": ("open_api_yaml",),
    "ModelMonitoringInput.ModelMonitoringDataset.ModelMonitoringBigQuerySource": ("query",),
}
_READ = {(kind, plain(name)) for kind, names in _READABLE.items() for name in names}
_SPELLED = {(kind, plain(name)) for kind, names in _FREE.items() for name in names}


def holds_untyped(part: Part) -> bool:
    """Whether anything in a tree is untyped, not empty, and not reviewed."""
    where = (part.within, part.name)
    if where in _READ:
        return False
    if part.kind in UNTYPED or where in _SPELLED:
        return bool(part.parts) or bool(part.value)
    return any(holds_untyped(below) for below in part.parts)
