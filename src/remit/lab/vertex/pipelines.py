"""Pipeline jobs: the tasks of a compiled pipeline, one after another, each a custom job of its own.

Parameters and artifacts go from task to task, and everything is written down in ML Metadata. A task's files lie in its
own folder: there is no `/gcs/` mount, so the lab fetches and brings them as the pipeline's account. Left out: caching,
retries, tasks side by side, what `pipeline_spec` leaves out. Sources: google/cloud/aiplatform/v1/pipeline_job.proto,
cloud.google.com/vertex-ai/docs/pipelines/lineage.
"""

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from grpc import StatusCode

from remit.lab.api_table import Proto, table
from remit.lab.errors import CloudError
from remit.lab.vertex import pipeline_spec
from remit.lab.vertex.accounts import compute_default
from remit.lab.vertex.buckets import Buckets
from remit.lab.vertex.fields import REQUIRED, as_json, refuse, sibling
from remit.lab.vertex.jobs import Jobs, Part
from remit.lab.vertex.metadata_stores import MetadataStores
from remit.lab.vertex.operations import Operations
from remit.lab.vertex.pipeline_spec import Plan, Task
from remit.lab.vertex.pipeline_task import TaskRun
from remit.lab.vertex.resources import Resources, Scope, canonical, project_of, stamp
from remit.lab.vertex.running import Running, state_of

_FAIL_FAST = 2  # PipelineFailurePolicy
_BATCH = 32  # names in one batch call: pipeline_service.proto


class Pipelines:
    """All pipeline jobs."""

    def __init__(
        self, resources: Resources, operations: Operations, jobs: Jobs, stores: MetadataStores, buckets: Buckets
    ) -> None:
        self._resources = resources
        self._operations = operations
        self._jobs = jobs
        self._stores = stores
        self._buckets = buckets
        self.running = Running(resources, "PipelineJob", "PIPELINE_STATE_")

    def create(self, scope: Scope) -> Proto:
        """Takes a pipeline and starts it."""
        asked = as_json(scope.request.pipeline_job)
        runtime = asked.get("runtimeConfig")
        config: Mapping[str, Any] = runtime if isinstance(runtime, dict) else {}
        if not config.get("gcsOutputDirectory"):
            refuse(("pipeline_job.runtime_config.gcs_output_directory", REQUIRED))
        spec = asked.get("pipelineSpec")
        plan = pipeline_spec.read(spec if isinstance(spec, dict) else {})
        parameters = plan.parameters(_given(config))
        job = self._resources.create(scope)
        detail = self._describe(scope.name, job, plan, parameters)

        async def work() -> None:
            await _Run(job, plan, parameters, jobs=self._jobs, stores=self._stores, buckets=self._buckets).all()

        detail.state = _word(detail, "RUNNING")
        return self.running.start(job, work)

    def get(self, scope: Scope) -> Proto:
        """`GetPipelineJob`: with the contexts as they are now."""
        job = self._resources.get(scope.name, "PipelineJob")
        for field in ("pipeline_context", "pipeline_run_context"):
            found = self._resources.find(getattr(job.job_detail, field).name)
            if found is not None:
                getattr(job.job_detail, field).CopyFrom(found)
        return job

    def delete_many(self, scope: Scope) -> Proto:
        """`BatchDeletePipelineJobs`: all of them or none."""
        found = self._named(scope)
        for job in found:
            self.running.check_deletable(job.name)
        for job in found:
            self._resources.remove(job.name)
        result = table().message(scope.call.method.result)(pipeline_jobs=found)
        return self._operations.done(scope.name, scope.call.method, result)

    def cancel_many(self, scope: Scope) -> Proto:
        """`BatchCancelPipelineJobs`."""
        found = [self.running.cancel_named(job.name) for job in self._named(scope)]
        result = table().message(scope.call.method.result)(pipeline_jobs=found)
        return self._operations.done(scope.name, scope.call.method, result)

    def _named(self, scope: Scope) -> list[Proto]:
        names = list(scope.request.names)
        outside = [name for name in names if not canonical(name).startswith(f"{scope.name}/pipelineJobs/")]
        if outside or not 0 < len(names) <= _BATCH:
            refuse(("names", f"Between 1 and {_BATCH} pipeline jobs of {scope.name} must be named."))
        return self._resources.each(names, "PipelineJob")

    def _describe(self, location: str, job: Proto, plan: Plan, parameters: Mapping[str, Any]) -> Proto:
        """Writes the job into ML Metadata; the detail of the pipeline as a whole, which is a task too."""
        store = self._stores.ensure(location, job)
        key = job.name.rpartition("/")[2]
        whole = sibling(job, "Context")
        whole.display_name, whole.schema_title, whole.schema_version = plan.name, "system.Pipeline", "0.0.1"
        run = sibling(job, "Context")
        run.display_name, run.schema_title, run.schema_version = key, "system.PipelineRun", "0.0.1"
        whole = self._stores.keep(store, "contexts", plan.name, whole)
        run = self._stores.keep(store, "contexts", key, run)
        if whole.name not in run.parent_contexts:
            run.parent_contexts.append(whole.name)
        job.job_detail.pipeline_context.CopyFrom(whole)
        job.job_detail.pipeline_run_context.CopyFrom(run)
        execution = sibling(job, "Execution")
        execution.display_name, execution.schema_title, execution.schema_version = key, "system.Run", "0.0.1"
        execution.metadata.update({f"input:{name}": value for name, value in parameters.items()})
        execution = self._stores.keep(store, "executions", f"{key}-run", execution)
        self._stores.put_in(run, [execution])
        detail = job.job_detail.task_details.add(task_name=plan.name, task_id=secrets.randbelow(2**62))
        stamp(detail, "create_time", "start_time")
        detail.execution.CopyFrom(execution)
        return detail


class _Run:
    """One pipeline under way."""

    def __init__(
        self,
        job: Proto,
        plan: Plan,
        parameters: Mapping[str, Any],
        *,
        jobs: Jobs,
        stores: MetadataStores,
        buckets: Buckets,
    ) -> None:
        self._jobs = jobs
        self._stores = stores
        self._buckets = buckets
        self._job = job
        self._plan = plan
        self._parameters = parameters
        self._done: dict[str, TaskRun] = {}

    async def all(self) -> None:
        """Every task whose predecessors ended well; raises `CloudError` when one did not."""
        details = {task.name: self._detail(task) for task in self._plan.tasks}
        failed: list[str] = []
        root = self._job.job_detail.task_details[0]
        try:
            for task in self._plan.tasks:
                stopped = failed and self._job.runtime_config.failure_policy == _FAIL_FAST
                if stopped or not task.after <= set(self._done):
                    details[task.name].state = _word(root, "NOT_TRIGGERED")
                elif not await self._one(task, details[task.name]):
                    failed.append(task.name)
        except asyncio.CancelledError:
            for detail in (root, *details.values()):
                if detail.state in {_word(root, "RUNNING"), _word(root, "PENDING")}:
                    detail.state = _word(root, "CANCELLED")
            raise
        root.state = _word(root, "FAILED" if failed else "SUCCEEDED")
        stamp(root, "end_time")
        _ended(self._stores.found(root.execution), "FAILED" if failed else "COMPLETE", root)
        if failed:
            raise CloudError(StatusCode.FAILED_PRECONDITION, self._sentence(failed))

    async def _one(self, task: Task, detail: Proto) -> bool:
        """Runs one task; whether it ended well."""
        account = self._job.service_account or compute_default(project_of(self._job.name))
        custom = sibling(self._job, "CustomJob")
        custom.display_name = f"{self._job.name.rpartition('/')[2]}-{task.name}"
        location = self._job.name.partition("/pipelineJobs/")[0]
        self._jobs.keep(location, custom)
        folder = self._jobs.folder(custom)
        run = TaskRun(task, self._job, number=detail.task_id, buckets=self._buckets, account=account, folder=folder)
        detail.executor_detail.container_detail.main_job = custom.name
        detail.state = _word(detail, "RUNNING")
        stamp(detail, "start_time")
        try:
            run.resolve(self._parameters, self._done)
            run.describe(custom.job_spec)
            execution = self._execution(task, detail, run)
            await self._jobs.run(location, custom, Part({}, run.fetch, run.bring))
        except CloudError as error:
            detail.state = _word(detail, "FAILED")
            detail.error.code, detail.error.message = error.code.value[0], error.message
            return False
        finally:
            stamp(detail, "end_time")
        if state_of(custom) != "JOB_STATE_SUCCEEDED":
            detail.state = _word(detail, "FAILED")
            detail.error.CopyFrom(custom.error)
            _ended(execution, "FAILED", detail)
            return False
        detail.state = _word(detail, "SUCCEEDED")
        self._done[task.name] = run
        self._keep_outputs(run, execution, detail)
        _ended(execution, "COMPLETE", detail)
        return True

    def _detail(self, task: Task) -> Proto:
        root = self._job.job_detail.task_details[0]
        detail = self._job.job_detail.task_details.add(
            task_name=task.name, task_id=secrets.randbelow(2**62), parent_task_id=root.task_id
        )
        detail.state = _word(detail, "PENDING")
        stamp(detail, "create_time")
        return detail

    def _execution(self, task: Task, detail: Proto, run: TaskRun) -> Proto:
        """The task in ML Metadata, with what goes into it."""
        store, context = self._store()
        made = sibling(self._job, "Execution")
        made.display_name, made.schema_title, made.schema_version = task.name, "system.ContainerExecution", "0.0.1"
        made.state = _word(made, "RUNNING")
        made.metadata.update({f"input:{key}": value for key, value in run.parameters.items()})
        execution = self._stores.keep(store, "executions", f"{context.name.rpartition('/')[2]}-{task.name}", made)
        self._stores.put_in(context, [execution])
        for name, artifact in run.artifacts.items():
            self._stores.link(execution, artifact)
            detail.inputs[name].artifacts.append(artifact)
        detail.execution.CopyFrom(execution)
        return execution

    def _keep_outputs(self, run: TaskRun, execution: Proto, detail: Proto) -> None:
        """The task's artifacts in ML Metadata, and its output parameters on its execution."""
        store, context = self._store()
        for name, made in run.made.items():
            key = f"{detail.task_id}-{name}".lower().replace("_", "-")
            artifact = self._stores.keep(store, "artifacts", key, made)
            run.made[name] = artifact
            self._stores.put_in(context, [artifact])
            self._stores.link(execution, artifact, output=True)
            detail.outputs[name].artifacts.append(artifact)
        execution.metadata.update({f"output:{key}": value for key, value in run.produced.items()})

    def _store(self) -> tuple[str, Proto]:
        context = self._stores.found(self._job.job_detail.pipeline_run_context)
        return context.name.partition("/contexts/")[0], context

    def _sentence(self, failed: Sequence[str]) -> str:
        """Vertex AI's own words for a pipeline that failed."""
        project, key = project_of(self._job.name), self._job.name.rpartition("/")[2]
        return (
            f"The DAG failed because some tasks failed. The failed tasks are: [{', '.join(failed)}].; "
            f"Job (project_id = {project.id}, job_id = {key}) is failed due to the above error."
        )


def _given(config: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that the caller set: as values, or typed as before version 2.1 of the specification."""
    old = {name: next(iter(value.values()), None) for name, value in config.get("parameters", {}).items()}
    return {**old, **config.get("parameterValues", {})}


def _ended(execution: Proto, state: str, detail: Proto) -> None:
    execution.state = _word(execution, state)
    stamp(execution, "update_time")
    detail.execution.CopyFrom(execution)


def _word(thing: Proto, word: str) -> int:
    """The number of a state."""
    return int(thing.DESCRIPTOR.fields_by_name["state"].enum_type.values_by_name[word].number)
