"""Custom jobs: real subprocesses of this machine, with an account, a metadata server and logs of their own.

The code of a container or a Python package runs under this Python, not in an image. Left out: more than one replica,
accelerators, restarts, persistent resources. States and errors: google/cloud/aiplatform/v1/custom_job.proto and
cloud.google.com/vertex-ai/docs/training/understanding-training-service. A timeout cancels, as at Google; its sentence
is ours.
"""

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from grpc import StatusCode

from remit.lab.api_table import Proto
from remit.lab.errors import CloudError
from remit.lab.http_server import HttpServer
from remit.lab.logging_api import Logging
from remit.lab.metadata import Metadata
from remit.lab.vertex.accounts import custom_code_agent
from remit.lab.vertex.buckets import Buckets
from remit.lab.vertex.fields import REQUIRED, refuse
from remit.lab.vertex.job_environment import commands, environment, package_uris
from remit.lab.vertex.job_process import JobProcess
from remit.lab.vertex.resources import Resources, Scope, new_id, project_of, set_state, stamp
from remit.lab.vertex.running import INTERNAL, state_of

_ENDED = frozenset({"JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED"})
_INVALID, _CANCELLED = StatusCode.INVALID_ARGUMENT.value[0], StatusCode.CANCELLED.value[0]
_TIMEOUT = 7 * 24 * 3600  # seconds: the default of `scheduling.timeout`


Step = Callable[[Path], Awaitable[None]]  # given the job's folder


async def _nothing(_: Path) -> None:
    """For a job that nobody else launched."""


@dataclass(frozen=True, slots=True)
class Part:
    """What a larger piece of work (a trial, a task of a pipeline) adds to the custom job that is a part of it.

    `variables`: of the environment; `before`, `after`: what happens in the job's folder around a run that succeeds.
    """

    variables: Mapping[str, str] = field(default_factory=dict)
    before: Step = _nothing
    after: Step = _nothing


class Jobs:
    """All custom jobs. `folder`: each gets a folder in it; `given`: variables that every job gets."""

    def __init__(
        self,
        *,
        resources: Resources,
        buckets: Buckets,
        logs: Logging,
        metadata: Metadata,
        folder: Path,
        given: Mapping[str, str],
    ) -> None:
        self._resources = resources
        self._buckets = buckets
        self._logs = logs
        self._metadata = metadata
        self._folder = folder
        self._given = given
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def create(self, scope: Scope) -> Proto:
        """Takes a job and starts it."""
        wrong = [] if scope.request.custom_job.display_name else [("display_name", REQUIRED)]
        check_spec(scope.request.custom_job.job_spec, "job_spec", *wrong)
        job = self._resources.create(scope)
        self._start(job, Part())
        return job

    async def run(self, parent: str, job: Proto, part: Part) -> None:
        """Makes a job below a location and waits until it has ended, well or not. To cancel this cancels the job."""
        self.keep(parent, job)
        task = self._start(job, part)
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait({task})
            raise

    def keep(self, parent: str, job: Proto) -> Proto:
        """Gives a job that nobody created by itself its name, once."""
        if not job.name:
            stamp(job, "create_time", "update_time")
            self._resources.put(f"{parent}/customJobs/{new_id()}", job)
        return job

    def folder(self, job: Proto) -> Path:
        """Where a job with a name will run."""
        return self._folder / str(job.name).rpartition("/")[2]

    async def cancel(self, scope: Scope) -> Proto:
        """Asks a job to end; nothing happens to one that has ended."""
        job = self._resources.get(scope.name, "CustomJob")
        if job.name in self._tasks and state_of(job) != "JOB_STATE_CANCELLING":
            set_state(job, "JOB_STATE_CANCELLING")
            self._tasks[job.name].cancel()
        return scope.answer()

    def check_deletable(self, name: str) -> None:
        """Refuses to delete a job that has not ended."""
        job = self._resources.get(name, "CustomJob")
        if state_of(job) not in _ENDED:
            text = f"Cannot delete CustomJob {job.name} in state {state_of(job)}, cancel it first."
            raise CloudError(StatusCode.FAILED_PRECONDITION, text)

    async def close(self) -> None:
        """Ends every job."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # One job's life

    def _start(self, job: Proto, part: Part) -> asyncio.Task[None]:
        set_state(job, "JOB_STATE_PENDING")
        task = asyncio.create_task(self._run(job, part))
        self._tasks[job.name] = task
        task.add_done_callback(lambda _: self._tasks.pop(job.name, None))
        return task

    async def _run(self, job: Proto, part: Part) -> None:
        timeout = job.job_spec.scheduling.timeout.ToTimedelta().total_seconds() or _TIMEOUT
        try:
            async with asyncio.timeout(timeout):
                status = await self._work(job, part)
            if status:
                _fail(job, _INVALID, _exit_sentence(job, status))
            else:
                set_state(job, "JOB_STATE_SUCCEEDED")
        except TimeoutError:
            set_state(job, "JOB_STATE_CANCELLED")
            job.error.code, job.error.message = _CANCELLED, f"The job exceeded its timeout of {timeout:g}s."
        except asyncio.CancelledError:
            set_state(job, "JOB_STATE_CANCELLED")
            job.error.code, job.error.message = _CANCELLED, "CANCELED"
        except CloudError as error:
            _fail(job, error.code.value[0], error.message)
        finally:
            if state_of(job) not in _ENDED:  # a mistake of the lab's own must not look like work
                _fail(job, StatusCode.INTERNAL.value[0], INTERNAL)
            stamp(job, "end_time", "update_time")

    async def _work(self, job: Proto, part: Part) -> int:
        """Runs a job's commands; the first exit status that is not zero, else zero."""
        project, location = project_of(job.name), job.name.split("/")[3]
        account = account_of(job)
        folder = self.folder(job)
        folder.mkdir(parents=True)
        handler = self._metadata.handler(account, project=project.id, location=location)
        server = await HttpServer(handler).listen()
        try:
            packages = [await self._fetch(uri, account, folder) for uri in package_uris(job)]
            port = server.sockets[0].getsockname()[1]
            given = {**self._given, **part.variables}
            process = JobProcess(folder, environment(job, folder, port, given), _Lines(job, self._logs))
            await part.before(folder)
            set_state(job, "JOB_STATE_RUNNING")
            stamp(job, "start_time", "update_time")
            for command in commands(job, packages, folder):
                status = await process.run(command)
                if status:
                    return status
            await part.after(folder)
            return 0
        finally:
            server.close()
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def _fetch(self, uri: str, account: str, folder: Path) -> Path:
        """A source distribution out of Cloud Storage, read with the job's own account."""
        try:
            content = await self._buckets.read(uri, account)
        except CloudError as error:
            text = f"Unable to download the Python package {uri} as {account}: {error.message}"
            raise CloudError(StatusCode.INVALID_ARGUMENT, text) from error
        target = folder / uri.rpartition("/")[2]
        target.write_bytes(content)
        return target


class _Lines:
    """Turns a job's lines into log entries, as Vertex AI does."""

    def __init__(self, job: Proto, logs: Logging) -> None:
        project = project_of(job.name)
        labels = {"job_id": job.name.rpartition("/")[2], "project_id": project.id, "task_name": "workerpool0-0"}
        self._name = f"projects/{project.id}/logs/workerpool0-0"
        self._resource = {"type": "ml_job", "labels": labels}
        self._logs = logs

    def __call__(self, stream: str, line: str) -> None:
        severity = "ERROR" if stream == "stderr" else "INFO"
        payload = {"message": line, "levelname": severity, "attrs": {"tag": "workerpool0-0"}}
        entry = {"logName": self._name, "resource": self._resource, "severity": severity, "jsonPayload": payload}
        self._logs.append(entry)


def account_of(job: Proto) -> str:
    """The account that a job runs as: the one it names, else the Custom Code Service Agent of its project."""
    return str(job.job_spec.service_account or custom_code_agent(project_of(job.name)))


def check_spec(spec: Proto, where: str, *wrong: tuple[str, str]) -> None:
    """Refuses a specification that Vertex AI would not take, and one that the lab cannot run.

    `where`: the field that carries it; `wrong`: what the caller found wrong already, which comes first.
    """
    pools, found = spec.worker_pool_specs, list(wrong)
    if not pools:
        found.append((f"{where}.worker_pool_specs", "At least one worker pool should be specified."))
    elif pools[0].WhichOneof("task") is None:
        found.append((f"{where}.worker_pool_specs[0]", "Either container_spec or python_package_spec must be set."))
    elif pools[0].HasField("python_package_spec") and not pools[0].python_package_spec.python_module:
        found.append((f"{where}.worker_pool_specs[0].python_package_spec.python_module", REQUIRED))
    elif pools[0].HasField("container_spec") and not [*pools[0].container_spec.command, *pools[0].container_spec.args]:
        raise CloudError(StatusCode.UNIMPLEMENTED, "The lab has no container images: name a command to run.")
    refuse(*found)
    if len(pools) > 1 or pools[0].replica_count > 1:
        raise CloudError(StatusCode.UNIMPLEMENTED, "The lab runs one replica of one worker pool.")


def _fail(job: Proto, code: int, message: str) -> None:
    set_state(job, "JOB_STATE_FAILED")
    job.error.code, job.error.message = code, message


def _exit_sentence(job: Proto, status: int) -> str:
    """Vertex AI's own sentence; a signal's number becomes a shell's exit status."""
    job_id = job.name.rpartition("/")[2]
    query = quote(f'resource.type="ml_job"\nresource.labels.job_id="{job_id}"', safe="")
    link = (
        f"https://console.cloud.google.com/logs/viewer?project={project_of(job.name).number}"
        f"&resource=ml_job%2Fjob_id%2F{job_id}&advancedFilter={query}"
    )
    shown = status if status > 0 else 128 - status
    return (
        f"The replica workerpool0-0 exited with a non-zero status of {shown}. "
        f"To find out more about why your job exited please check the logs: {link}"
    )
