"""Everything of Vertex AI that works by itself or keeps more than a message, put together, and its methods by name."""

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from remit.lab.api_table import Proto
from remit.lab.cloud_audit_log import CloudAuditLog
from remit.lab.iam import Iam
from remit.lab.logging_api import Logging
from remit.lab.metadata import Metadata
from remit.lab.storage import Storage
from remit.lab.vertex.batch_prediction import BatchPredictions
from remit.lab.vertex.buckets import Buckets
from remit.lab.vertex.datasets import Datasets
from remit.lab.vertex.jobs import Jobs
from remit.lab.vertex.metadata_stores import MetadataStores
from remit.lab.vertex.models import Models
from remit.lab.vertex.operations import Operations
from remit.lab.vertex.pipelines import Pipelines
from remit.lab.vertex.resources import Resources, Scope
from remit.lab.vertex.tensorboards import Tensorboards
from remit.lab.vertex.training import TrainingPipelines
from remit.lab.vertex.tuning import Tuning

Plays = Mapping[str, Callable[[Scope], Proto | Awaitable[Proto]]]


class Nouns:
    """Jobs, pipelines, models, data sets, metadata and TensorBoards. `folder`: absolute; `given`: for every job."""

    def __init__(
        self,
        resources: Resources,
        operations: Operations,
        *,
        iam: Iam,
        audit: CloudAuditLog,
        storage: Storage,
        logs: Logging,
        metadata: Metadata,
        folder: Path,
        given: Mapping[str, str],
    ) -> None:
        buckets = Buckets(storage, iam, audit)
        self._jobs = Jobs(
            resources=resources, buckets=buckets, logs=logs, metadata=metadata, folder=folder / "jobs", given=given
        )
        self.models = Models(resources, operations, storage, folder / "models")
        self._datasets = Datasets(resources, operations, buckets)
        self._stores = MetadataStores(resources, operations)
        self._tensorboards = Tensorboards(resources)
        self._tuning = Tuning(resources, self._jobs)
        self._training = TrainingPipelines(resources, self._jobs, self.models, self._datasets)
        self._pipelines = Pipelines(resources, operations, self._jobs, self._stores, buckets)
        self._batches = BatchPredictions(resources, self.models, buckets)
        self._running = (self._tuning, self._training, self._pipelines, self._batches)

    def plays(self) -> Plays:
        """Method → what plays it."""
        return {**self._works(), **self._models(), **self._metadata(), **self._boards()}

    def before_deletion(self) -> Mapping[str, Callable[[str], None]]:
        """Deleting method → what looks at the resource's name first, and may refuse."""
        return {
            "DeleteCustomJob": self._jobs.check_deletable,
            "DeleteHyperparameterTuningJob": self._tuning.running.check_deletable,
            "DeleteTrainingPipeline": self._training.running.check_deletable,
            "DeletePipelineJob": self._pipelines.running.check_deletable,
            "DeleteBatchPredictionJob": self._batches.running.check_deletable,
            **dict.fromkeys(
                (f"DeleteTensorboard{kind}" for kind in ("", "Experiment", "Run", "TimeSeries")),
                self._tensorboards.forget,
            ),
        }

    async def close(self) -> None:
        """Ends everything that works; jobs last, since the others wait for theirs."""
        for each in self._running:
            await each.running.close()
        await self._jobs.close()

    def _works(self) -> Plays:
        return {
            "CreateCustomJob": self._jobs.create,
            "CancelCustomJob": self._jobs.cancel,
            "CreateHyperparameterTuningJob": self._tuning.create,
            "CancelHyperparameterTuningJob": self._tuning.running.cancel,
            "CreateTrainingPipeline": self._training.create,
            "CancelTrainingPipeline": self._training.running.cancel,
            "CreatePipelineJob": self._pipelines.create,
            "GetPipelineJob": self._pipelines.get,
            "CancelPipelineJob": self._pipelines.running.cancel,
            "BatchDeletePipelineJobs": self._pipelines.delete_many,
            "BatchCancelPipelineJobs": self._pipelines.cancel_many,
            "CreateBatchPredictionJob": self._batches.create,
            "CancelBatchPredictionJob": self._batches.running.cancel,
        }

    def _models(self) -> Plays:
        return {
            "UploadModel": self.models.upload,
            "GetModel": self.models.serve,
            "ListModelVersions": self.models.list_versions,
            "MergeVersionAliases": self.models.merge_aliases,
            "DeleteModel": self.models.delete,
            "DeleteModelVersion": self.models.delete_version,
            "ImportModelEvaluation": self.models.import_evaluation,
            "ListModelEvaluations": self.models.list_evaluations,
            "CreateDataset": self._datasets.create,
            "ImportData": self._datasets.import_data,
            "ExportData": self._datasets.export_data,
        }

    def _metadata(self) -> Plays:
        kinds = ("Artifact", "Execution", "Context")
        return {
            **{f"Create{kind}": self._stores.create for kind in (*kinds, "MetadataSchema")},
            **{f"Update{kind}": self._stores.update for kind in kinds},
            **{f"List{kind}s": self._stores.search for kind in kinds},
            **{f"Delete{kind}": self._stores.delete for kind in kinds},
            "AddContextChildren": self._stores.add_children,
            "RemoveContextChildren": self._stores.remove_children,
            "AddContextArtifactsAndExecutions": self._stores.add_members,
            "AddExecutionEvents": self._stores.add_events,
            "QueryContextLineageSubgraph": self._stores.of_context,
            "QueryExecutionInputsAndOutputs": self._stores.of_execution,
            "QueryArtifactLineageSubgraph": self._stores.of_artifact,
        }

    def _boards(self) -> Plays:
        return {
            "CreateTensorboardRun": self._tensorboards.create_run,
            "CreateTensorboardTimeSeries": self._tensorboards.create_series,
            "BatchCreateTensorboardTimeSeries": self._tensorboards.create_many,
            "WriteTensorboardRunData": self._tensorboards.write_run,
            "WriteTensorboardExperimentData": self._tensorboards.write_experiment,
            "ReadTensorboardTimeSeriesData": self._tensorboards.read,
            "BatchReadTensorboardTimeSeriesData": self._tensorboards.read_many,
            "ExportTensorboardTimeSeriesData": self._tensorboards.export,
            "ReadTensorboardBlobData": self._tensorboards.read_blobs,
        }
