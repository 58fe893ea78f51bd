"""One task of a pipeline as it runs: what goes into its command, and what comes out of its files."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from grpc import StatusCode

from remit.lab.api_table import Proto
from remit.lab.errors import CloudError
from remit.lab.vertex.buckets import Buckets
from remit.lab.vertex.fields import sibling
from remit.lab.vertex.pipeline_spec import Task, member, parsed, render

_LIVE = 2  # Artifact.State


class TaskRun:
    """`parameters`, `artifacts`: what goes in; `produced`, `made`: what came out. `folder`: where it runs."""

    def __init__(self, task: Task, job: Proto, *, number: int, buckets: Buckets, account: str, folder: Path) -> None:
        self.task = task
        self.parameters: dict[str, Any] = {}
        self.artifacts: dict[str, Proto] = {}
        self.produced: dict[str, Any] = {}
        self.made: dict[str, Proto] = {}
        self._job = job
        self._buckets = buckets
        self._account = account
        self._folder = folder
        _, project, _, _, _, key = job.name.split("/")
        root = job.runtime_config.gcs_output_directory.rstrip("/")
        self._root = f"{root}/{project}/{key}/{task.name}_{number}"

    def resolve(self, inputs: Mapping[str, Any], done: Mapping[str, "TaskRun"]) -> None:
        """Finds what goes in. `inputs`: the pipeline's own; `done`: the tasks that ended well."""
        self.parameters.update(self.task.defaults)
        for name, source in self.task.parameters.items():
            output, own = source.get("taskOutputParameter"), source.get("componentInputParameter")
            if output:
                self.parameters[name] = done[output["producerTask"]].produced[output["outputParameterKey"]]
            elif own:
                self.parameters |= {name: inputs[own]} if own in inputs else {}
            else:
                value = source.get("runtimeValue", {})
                found = value.get("constant", value.get("constantValue", {}))
                is_old = isinstance(found, dict) and set(found) & {"stringValue", "intValue", "doubleValue"}
                self.parameters[name] = next(iter(found.values())) if is_old else found
        for name, value in self.parameters.items():
            if isinstance(value, str):
                self.parameters[name] = render(value, self._value)
        for name, source in self.task.artifacts.items():
            output = source.get("taskOutputArtifact")
            if output is None:
                raise CloudError(StatusCode.UNIMPLEMENTED, f"The lab's pipelines take no input artifacts ({name}).")
            self.artifacts[name] = done[output["producerTask"]].made[output["outputArtifactKey"]]
        for name, schema in self.task.makes.items():
            artifact = sibling(self._job, "Artifact")
            artifact.display_name, artifact.uri, artifact.state = name, f"{self._root}/{name}", _LIVE
            artifact.schema_title, artifact.schema_version = schema, "0.0.1"
            self.made[name] = artifact

    def describe(self, spec: Proto) -> None:
        """Writes the task into the specification of its custom job."""
        container = self.task.container
        pool = spec.worker_pool_specs.add(replica_count=1)
        pool.machine_spec.machine_type = "e2-standard-4"
        pool.container_spec.image_uri = container.get("image", "")
        pool.container_spec.command.extend(render(each, self._value) for each in container.get("command", ()))
        pool.container_spec.args.extend(render(each, self._value) for each in container.get("args", ()))
        for each in container.get("env", ()):
            pool.container_spec.env.add(name=each["name"], value=render(each.get("value", ""), self._value))
        spec.service_account = self._account

    async def fetch(self, folder: Path) -> None:
        """Brings the artifacts that go in into the folder, and makes room for what comes out."""
        for name, artifact in self.artifacts.items():
            for uri in await self._buckets.names(artifact.uri, self._account):
                below = [part for part in uri.removeprefix(artifact.uri).split("/") if part not in {"", ".", ".."}]
                target = self._input(name).joinpath(*below)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(await self._buckets.read(uri, self._account))
        for place in ("parameters", "artifacts"):
            (folder / "outputs" / place).mkdir(parents=True)

    async def bring(self, _: Path) -> None:
        """Reads the output parameters and writes the artifacts into their bucket."""
        said = self._executor_output()
        self.produced.update(said.get("parameterValues", {}))
        for name, kind in self.task.produces.items():
            if name not in self.produced:
                path = self._output("parameters", name)
                if not path.exists():
                    raise CloudError(StatusCode.FAILED_PRECONDITION, f"Output parameter {name} was not written.")
                self.produced[name] = parsed(path.read_text("utf-8"), kind)
        for name, artifact in self.made.items():
            for entry in said.get("artifacts", {}).get(name, {}).get("artifacts", ())[:1]:
                artifact.metadata.update(entry.get("metadata", {}))
                artifact.uri = entry.get("uri") or artifact.uri
            path = self._output("artifacts", name)
            for file in [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file()):
                below = "" if file == path else f"/{file.relative_to(path)}"
                await self._buckets.write(f"{artifact.uri}{below}", file.read_bytes(), self._account)

    def _executor_output(self) -> dict[str, Any]:
        path = self._output("", "executor_output.json")
        found = json.loads(path.read_text("utf-8")) if path.exists() else {}
        return found if isinstance(found, dict) else {}

    def _value(self, expression: str) -> Any:
        """What a placeholder stands for."""
        own: dict[str, Callable[[], Any]] = {
            "": self._executor_input,
            ".pipeline_job_name": lambda: self._job.name.rpartition("/")[2],
            ".pipeline_job_resource_name": lambda: self._job.name,
            ".pipeline_task_name": lambda: self.task.name,
            ".pipeline_root": lambda: self._job.runtime_config.gcs_output_directory,
        }
        if expression in own:
            return own[expression]()
        direction, kind, name, what = member(expression)
        inputs = self.parameters if kind == "parameters" else self.artifacts
        outputs = self.task.produces if kind == "parameters" else self.made
        if name not in (inputs if direction == "inputs" else outputs):
            raise CloudError(StatusCode.INVALID_ARGUMENT, f"Task {self.task.name} has no {name} for `{expression}`.")
        if kind == "parameters":
            return self.parameters[name] if direction == "inputs" else str(self._output("parameters", name))
        artifact = (self.artifacts if direction == "inputs" else self.made)[name]
        path = self._input(name) if direction == "inputs" else self._output("artifacts", name)
        return str(path) if what == "path" else artifact.uri

    def _executor_input(self) -> dict[str, Any]:
        """`{{$}}`: everything at once, as `ExecutorInput` of the pipeline specification."""
        files = {name: {"outputFile": str(self._output("parameters", name))} for name in self.task.produces}
        return {
            "inputs": {"parameterValues": self.parameters, "artifacts": _listed(self.artifacts)},
            "outputs": {
                "parameters": files,
                "artifacts": _listed(self.made),
                "outputFile": str(self._output("", "executor_output.json")),
            },
        }

    def _input(self, name: str) -> Path:
        return self._folder / "inputs" / name

    def _output(self, kind: str, name: str) -> Path:
        return self._folder / "outputs" / kind / name


def _listed(artifacts: Mapping[str, Proto]) -> dict[str, Any]:
    return {
        name: {
            "artifacts": [
                {
                    "name": each.name,
                    "type": {"schemaTitle": each.schema_title},
                    "uri": each.uri,
                    "metadata": json_format.MessageToDict(each.metadata),
                }
            ]
        }
        for name, each in artifacts.items()
    }
