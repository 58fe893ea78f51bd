"""The guardrails of a message: what it asks of the cloud, added up, for policy to set bounds to.

Read from the tree by names, so that a `CustomJobSpec` counts alike in a job, in every trial of a search, in a schedule
and in a pipeline's free JSON. Counts are upper bounds: the most replicas that the message allows, times trials that run
at a time, times runs of a schedule that run at a time. A time limit counts only when all work in the message has one.
Left out: what Google adds by itself (a default machine, an accelerator that is part of a machine type).
"""

import math
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field

from remit.catalogue.mentions import Part, plain
from remit.catalogue.names import Place
from remit.catalogue.touched import Touched
from remit.model.operation import Work

_COMPUTE = "//compute.googleapis.com/"
_BUCKETS = "//storage.googleapis.com/projects/_/buckets/"
_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)s")
_LARGEST = sys.float_info.max
_MOST = 2**53  # a count above this is that: Cedar's numbers end at 2^63, and a product of counts stays below


def _plain(*names: str) -> tuple[str, ...]:
    return tuple(map(plain, names))


_REPLICAS = _plain(
    *("replica_count", "min_replica_count", "max_replica_count", "starting_replica_count", "required_replica_count"),
    *("initial_replica_count", "min_instances", "max_instances"),
)
_PARALLEL = _plain("parallel_trial_count", "max_parallel_trial_count", "max_concurrent_run_count")
_TRIALS = _plain("max_trial_count")
_LIMITS = _plain("timeout", "execution_timeout")
# Whatever runs until it ends or its limit is reached. Each needs a limit of its own for the whole to have one.
_RUNS = frozenset({"CustomJobSpec", "NotebookExecutionJob"})
# Whatever has no end of its own, or none that its message could set.
_LASTING = frozenset(
    {
        *("PipelineJob", "BatchPredictionJob", "TuningJob", "DeployedModel", "PersistentResource", "NotebookRuntime"),
        *(
            "Schedule",  # runs again and again, however short each run is
            "NotebookRuntimeTemplate",
            "DeploymentResourcePool",
            "ReasoningEngineSpec",
            "DataLabelingJob",
            "DeployedIndex",
        ),
    }
)
_ENTERED = frozenset({"NotebookRuntime", "NotebookRuntimeTemplate", "RaySpec"})  # made for somebody to log in to
_SWITCHES = _plain("enable_web_access", "enable_dashboard_access", "idle_shutdown_disabled")
_MACHINES = _plain("machine_type")
_ACCELERATORS = _plain("accelerator_type")
_ENVIRONMENTS = _plain("env", "secret_env", "environment", "environment_variables")


@dataclass(slots=True)
class _Sum:
    machines: set[str] = field(default_factory=set)
    accelerators: set[str] = field(default_factory=set)
    environment: set[str] = field(default_factory=set)
    labels: set[str] = field(default_factory=set)
    limits: list[int] = field(default_factory=list)
    replicas: int = 0
    count: int = 0
    interactive: bool = False


def of_tree(root: Part, place: Place, found: Touched) -> Work:
    """The guardrails of a message, with what was found that it names."""
    total = _Sum()
    _add(root, 1, 1, "", total)
    names = [resource.name for resource in found.resources]
    return Work(
        region=place.location,
        machines=frozenset(total.machines),
        accelerators=frozenset(total.accelerators),
        accelerator_count=min(total.count, _MOST),
        replicas=min(total.replicas, _MOST),
        images=frozenset(found.images),
        registries=frozenset(map(registry, found.images)),
        networks=frozenset(name for name in names if name.startswith(_COMPUTE)),
        buckets=frozenset(name.removeprefix(_BUCKETS) for name in names if name.startswith(_BUCKETS)),
        urls=frozenset(found.urls),
        environment=frozenset(total.environment),
        labels=frozenset(total.labels),
        duration=0 if 0 in total.limits else min(max(total.limits, default=0), _MOST),
        interactive=total.interactive,
    )


def registry(image: str) -> str:
    """`HOST/PROJECT/REPOSITORY` of an image; Docker Hub's own short names (`python:3.12`) in their long form."""
    name = image.partition("@")[0]
    host, slash, rest = name.partition("/")
    if not slash:
        return "docker.io/library"
    if not ({".", ":"} & set(host) or host == "localhost"):
        host, rest = "docker.io", name
    before = rest.split("/")[:-1]
    return "/".join([host.lower(), *(before[:2] if host.lower().endswith("-docker.pkg.dev") else before)])


def _add(part: Part, times: int, rounds: int, above: str, total: _Sum) -> None:
    """Adds one part and all below: `times` that it runs at a time, `rounds` after each other."""
    _read(part, above, total)
    if not part.parts and part.kind not in _RUNS:
        total.limits.extend([0] * (part.kind in _LASTING))
        return  # most parts of large messages
    parallel = max([1, *_numbers(part, _PARALLEL)])
    times *= parallel
    rounds *= math.ceil(max([1, *_numbers(part, _TRIALS)]) / parallel)
    _count(part, times, total)
    if part.kind in _RUNS or any(one.name == "workerpoolspecs" for one in part.parts):
        total.limits.append(_limit(part) * rounds)
    elif part.kind in _LASTING:
        total.limits.append(0)
    if part.name in _MACHINES + _ACCELERATORS:
        above = part.name
    for below in part.parts:
        if below.name != "autoscalingspec":  # read with the pool that it belongs to
            _add(below, times, rounds, above, total)


def _count(part: Part, times: int, total: _Sum) -> None:
    """Adds the replicas of a pool, and the accelerators of its machines."""
    specs = list(part.all("machinespec"))
    pools = [part, *part.all("autoscalingspec")]
    given = [number for pool in pools for number in _numbers(pool, _REPLICAS)]
    if not given and not specs and not (part.name == "workerpoolspecs" and part.parts):
        return
    replicas = max([1, *given]) * times
    total.replicas += replicas
    for spec in specs:
        nodes = max([1, *_numbers(spec, _plain("multihost_gpu_node_count"))])
        total.count += max([0, *_numbers(spec, _plain("accelerator_count"))]) * nodes * replicas


def _read(part: Part, above: str, total: _Sum) -> None:
    """Adds what one part says by its own name, or in free JSON by the name of what it stands in."""
    name, value = above if above and not part.within else part.name, part.value
    if isinstance(value, str) and value:
        if name in _MACHINES:
            total.machines.add(value)
        elif name in _ACCELERATORS:
            total.accelerators.add(value)
    if part.kind in _ENTERED or (part.name in _SWITCHES and str(value).lower() in {"true", "1", "1.0"}):
        total.interactive = True
    if part.name in _ENVIRONMENTS:
        total.environment.update(_variables(part))
    if part.name == "labels":
        total.labels.update(f"{one.key}={_word(one.value)}" for one in part.parts if one.key and one.value is not None)
    if part.name == "accelerator" and not part.within:  # of a pipeline's executor
        total.accelerators.update(str(one.value) for one in part.all("type", "resourcetype") if one.value)
        total.count += max([0, *_numbers(part, ("count", "resourcecount"))])


def _word(value: object) -> str:
    """A label's value. A number is a double in a `Struct`, whatever it was in JSON: `1` and `1.0` are one value."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        number = float(value) if abs(value) <= _LARGEST else _LARGEST * (1 if value > 0 else -1)
        return str(int(number)) if number.is_integer() else str(number)
    return str(value)


def _variables(part: Part) -> Iterator[str]:
    """Names of environment variables: of one `{"name": …}`, or of a map."""
    for one in part.parts:
        if one.name == "name" and isinstance(one.value, str):
            yield one.value
        elif one.key and not part.within and one.name != "value":
            yield one.key


def _numbers(part: Part, names: tuple[str, ...]) -> list[int]:
    """The whole numbers, written as numbers or as strings, that stand under these names; none for a broken one."""
    found = []
    for one in part.all(*names):
        try:
            found.append(min(int(float(one.value or 0)), _MOST))
        except (ValueError, OverflowError):
            continue
    return found


def _limit(part: Part) -> int:
    """The time that one run may take, in whole seconds; 0 for no end."""
    places = [part, *part.all("scheduling")]
    for one in (limit for place in places for limit in place.all(*_LIMITS)):
        if isinstance(one.value, str):
            written = _DURATION.fullmatch(one.value)
            return math.ceil(float(written[1])) if written else 0
        if isinstance(one.value, float):
            return max(0, math.ceil(one.value))
    return 0
