"""A compiled pipeline: its tasks in an order in which they can run, and the placeholders in their commands.

One level of container tasks with parameters and artifacts. Left out: nested DAGs, loops, conditions, importers and exit
handlers, all of which are refused by name. Source: the `PipelineSpec` message,
github.com/kubeflow/pipelines/blob/master/api/v2alpha1/pipeline_spec.proto.
"""

import graphlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from grpc import StatusCode

from remit.lab.errors import CloudError
from remit.lab.vertex.fields import refuse

_PLACEHOLDER = re.compile(r"\{\{\$(.*?)\}\}")
_MEMBER = re.compile(r"\.(inputs|outputs)\.(parameters|artifacts)\['([^']*)'\](?:\.(\w+))?")
_NOT_PLAYED = ("iterator", "artifactIterator", "parameterIterator", "triggerPolicy", "iteratorPolicy")
_SPEC = "pipeline_job.pipeline_spec"


@dataclass(frozen=True, slots=True)
class Task:
    """One task. `after`: the tasks that must have ended well; inputs are references as the specification writes them.

    `container`: image, command, args, env; `produces`: output parameter → its type; `makes`: output artifact → schema.
    """

    name: str
    after: frozenset[str]
    parameters: Mapping[str, Mapping[str, Any]]
    artifacts: Mapping[str, Mapping[str, Any]]
    defaults: Mapping[str, Any]
    container: Mapping[str, Any]
    produces: Mapping[str, str]
    makes: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Plan:
    """A pipeline. `inputs`: its parameters with what the specification says of them."""

    name: str
    tasks: Sequence[Task]
    inputs: Mapping[str, Mapping[str, Any]]

    def parameters(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The pipeline's parameters, defaults filled in; raises for unknown and for missing ones."""
        where = "pipeline_job.runtime_config.parameter_values"
        refuse(*((f"{where}.{name}", "Unknown parameter.") for name in given if name not in self.inputs))
        found = {}
        for name, about in self.inputs.items():
            if name in given:
                found[name] = given[name]
            elif "defaultValue" in about:
                found[name] = about["defaultValue"]
            elif not about.get("isOptional"):
                refuse((f"{where}.{name}", "Required parameter is not set."))
        return found


def read(spec: Mapping[str, Any]) -> Plan:
    """The plan of a specification; raises `CloudError` for one that Vertex AI would not take or the lab cannot run."""
    name = spec.get("pipelineInfo", {}).get("name", "")
    tasks = spec.get("root", {}).get("dag", {}).get("tasks", {})
    if not name:
        refuse((f"{_SPEC}.pipelineInfo.name", "Required field is not set."))
    if not tasks:
        refuse((f"{_SPEC}.root.dag.tasks", "At least one task must be specified."))
    found = {key: _task(key, task, spec) for key, task in tasks.items()}
    for task in found.values():
        unknown = sorted(task.after - set(found)) or _unknown_outputs(task, found)
        if unknown:
            refuse((f"{_SPEC}.root.dag.tasks.{task.name}", f"Unknown task or output {unknown[0]}."))
    try:
        order = list(graphlib.TopologicalSorter({key: task.after for key, task in found.items()}).static_order())
    except graphlib.CycleError as error:
        raise CloudError(StatusCode.INVALID_ARGUMENT, f"The pipeline has a cycle: {error.args[1]}") from error
    inputs = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    return Plan(name, [found[key] for key in order], inputs)


def render(text: str, values: Callable[[str], Any]) -> str:
    """A command or an argument with its placeholders filled in. `values`: what an expression stands for."""
    return _PLACEHOLDER.sub(lambda found: _written(values(found[1])), text)


def member(expression: str) -> tuple[str, str, str, str]:
    """Direction, kind, name and property of `.inputs.parameters['x']` and its like; raises for what is not played."""
    found = _MEMBER.fullmatch(expression)
    if found is None:
        raise CloudError(StatusCode.UNIMPLEMENTED, f"The lab has no placeholder `{{{{${expression}}}}}`.")
    return found[1], found[2], found[3], found[4] or ""


def _task(name: str, task: Mapping[str, Any], spec: Mapping[str, Any]) -> Task:
    where = f"{_SPEC}.root.dag.tasks.{name}"
    for word in _NOT_PLAYED:
        if word in task:
            raise CloudError(StatusCode.UNIMPLEMENTED, f"The lab's pipelines have no `{word}` (task {name}).")
    component = spec.get("components", {}).get(task.get("componentRef", {}).get("name", ""))
    if component is None:
        refuse((f"{where}.componentRef", "Unknown component."))
        raise AssertionError  # `refuse` has raised
    label = component.get("executorLabel", "")
    executor = spec.get("deploymentSpec", {}).get("executors", {}).get(label, {})
    container = executor.get("container")
    if container is None:
        raise CloudError(StatusCode.UNIMPLEMENTED, f"The lab's pipelines run containers only (task {name}).")
    if not container.get("command") and not container.get("args"):
        raise CloudError(StatusCode.UNIMPLEMENTED, "The lab has no container images: name a command to run.")
    inputs, outputs = task.get("inputs", {}), component.get("outputDefinitions", {})
    sources = [*inputs.get("parameters", {}).values(), *inputs.get("artifacts", {}).values()]
    produced = [source.get("taskOutputParameter") or source.get("taskOutputArtifact") for source in sources]
    after = {*task.get("dependentTasks", ()), *(each["producerTask"] for each in produced if each)}
    given = component.get("inputDefinitions", {}).get("parameters", {})
    return Task(
        name,
        frozenset(after),
        inputs.get("parameters", {}),
        inputs.get("artifacts", {}),
        {key: about["defaultValue"] for key, about in given.items() if "defaultValue" in about},
        container,
        {key: str(each.get("parameterType", "STRING")) for key, each in outputs.get("parameters", {}).items()},
        {key: _schema(each) for key, each in outputs.get("artifacts", {}).items()},
    )


def _unknown_outputs(task: Task, tasks: Mapping[str, Task]) -> list[str]:
    """What a task takes of others that they do not give."""
    outputs = [(each["taskOutputParameter"], "P") for each in task.parameters.values() if "taskOutputParameter" in each]
    outputs += [(each["taskOutputArtifact"], "A") for each in task.artifacts.values() if "taskOutputArtifact" in each]
    found = []
    for output, kind in outputs:
        producer = tasks[output["producerTask"]]
        key = str(output.get("outputParameterKey" if kind == "P" else "outputArtifactKey", ""))
        if key not in (producer.produces if kind == "P" else producer.makes):
            found.append(f"{producer.name}.{key}")
    return found


def _schema(artifact: Mapping[str, Any]) -> str:
    return str(artifact.get("artifactType", {}).get("schemaTitle") or "system.Artifact")


def _written(value: Any) -> str:
    """A value in a command: text as it is, whole numbers without a point, everything else as JSON."""
    if isinstance(value, str):
        return value
    return str(int(value)) if isinstance(value, float) and value.is_integer() else json.dumps(value)


def parsed(text: str, kind: str) -> Any:
    """An output parameter out of the file that a task wrote; raises `INVALID_ARGUMENT` when it is not of its type."""
    if kind == "STRING":
        return text
    try:
        value = json.loads(text) if kind != "BOOLEAN" else json.loads(text.lower())
    except ValueError as error:
        raise CloudError(StatusCode.INVALID_ARGUMENT, f"Output {text!r} is not of type {kind}.") from error
    return value
