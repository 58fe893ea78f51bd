"""Hyperparameter tuning jobs: every trial is a custom job of its own, which gets its parameters as arguments.

A trial reports what it measured through the file that `CLOUD_ML_HP_METRIC_FILE` names, one JSON object a line, as the
`cloudml-hypertune` package writes it (github.com/GoogleCloudPlatform/cloudml-hypertune). Left out: Bayesian search (the
parameters are drawn at random within their scale, or all combinations are tried in order), early stopping, conditional
parameters. Source: google/cloud/aiplatform/v1/study.proto.
"""

import asyncio
import json
import math
import random
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from grpc import StatusCode

from remit.lab.api_table import Proto
from remit.lab.errors import CloudError
from remit.lab.vertex.fields import REQUIRED, sibling
from remit.lab.vertex.jobs import Jobs, Part, check_spec
from remit.lab.vertex.resources import Resources, Scope, stamp
from remit.lab.vertex.running import Running, state_of

_METRICS = Path("hypertune", "output.metrics")
_GRID, _LOG, _MAXIMIZE, _LAST = 2, 2, 1, 1  # StudySpec: Algorithm, ParameterSpec.ScaleType, MetricSpec.GoalType, …
_STEPS = 10  # values of a continuous parameter in a grid


class Tuning:
    """All hyperparameter tuning jobs."""

    def __init__(self, resources: Resources, jobs: Jobs) -> None:
        self._resources = resources
        self._jobs = jobs
        self.running = Running(resources, "HyperparameterTuningJob")

    def create(self, scope: Scope) -> Proto:
        """Takes a tuning job and starts its first trials."""
        _check(scope.request.hyperparameter_tuning_job)
        job = self._resources.create(scope)

        async def work() -> None:
            await self._search(scope.name, job)

        return self.running.start(job, work)

    async def _search(self, parent: str, job: Proto) -> None:
        """Runs the trials, as many at a time as the job says."""
        suggestions = _suggestions(job.study_spec)
        left = job.max_trial_count
        try:
            async with asyncio.TaskGroup() as group:
                waiting = iter([next(suggestions) for _ in range(left)])
                for _ in range(min(job.parallel_trial_count, left)):
                    group.create_task(self._some(parent, job, waiting))
        except* CloudError as failed:
            raise failed.exceptions[0] from None
        if not any(trial.state == _trial_state(trial, "SUCCEEDED") for trial in job.trials):
            raise CloudError(StatusCode.INTERNAL, "Hyperparameter tuning job failed: no trial succeeded.")

    async def _some(self, parent: str, job: Proto, waiting: Iterator[dict[str, Any]]) -> None:
        for suggestion in waiting:
            await self._try(parent, job, suggestion)
            failed = sum(trial.state == _trial_state(trial, "INFEASIBLE") for trial in job.trials)
            if 0 < job.max_failed_trial_count < failed:
                text = f"Too many failed trials: {failed} of at most {job.max_failed_trial_count}."
                raise CloudError(StatusCode.FAILED_PRECONDITION, text)

    async def _try(self, parent: str, job: Proto, suggestion: dict[str, Any]) -> None:
        """One trial, from its custom job's first state to the measurement that counts."""
        trial = job.trials.add(id=str(len(job.trials) + 1))
        for name, value in suggestion.items():
            json_format.ParseDict(value, trial.parameters.add(parameter_id=name).value)
        custom = self._jobs.keep(parent, _trial_job(job, trial))
        trial.custom_job, trial.state = custom.name, _trial_state(trial, "ACTIVE")
        stamp(trial, "start_time")
        reported = self._jobs.folder(custom) / _METRICS
        measured: list[dict[str, str]] = []

        async def collect(_: Path) -> None:
            measured.extend(_lines(reported))

        variables = {"CLOUD_ML_TRIAL_ID": trial.id, "CLOUD_ML_HP_METRIC_FILE": str(reported)}
        await self._jobs.run(parent, custom, Part(variables, after=collect))
        stamp(trial, "end_time")
        stamp(job, "update_time")
        self._judge(job, trial, custom, measured)

    def _judge(self, job: Proto, trial: Proto, custom: Proto, measured: list[dict[str, str]]) -> None:
        metric = job.study_spec.metrics[0]
        for line in measured:
            if _is_number(line.get(metric.metric_id, "")) and line.get("global_step", "0").isdigit():
                entry = trial.measurements.add(step_count=int(line.get("global_step", 0)))
                entry.metrics.add(metric_id=metric.metric_id, value=float(line[metric.metric_id]))
        if state_of(custom) != "JOB_STATE_SUCCEEDED" or not trial.measurements:
            why = custom.error.message or f"The trial reported no measurement of {metric.metric_id}."
            trial.state, trial.infeasible_reason = _trial_state(trial, "INFEASIBLE"), why
            return
        sign = 1 if metric.goal == _MAXIMIZE else -1
        last = job.study_spec.measurement_selection_type == _LAST
        best = trial.measurements[-1] if last else max(trial.measurements, key=lambda m: sign * m.metrics[0].value)
        trial.final_measurement.CopyFrom(best)
        trial.state = _trial_state(trial, "SUCCEEDED")


def _check(job: Proto) -> None:
    """Refuses a job that Vertex AI would not take."""
    found = [] if job.display_name else [("display_name", REQUIRED)]
    found += [
        (name, "Must be greater than 0.")
        for name in ("max_trial_count", "parallel_trial_count")
        if getattr(job, name) < 1
    ]
    study = job.study_spec
    found += [(f"study_spec.{name}", REQUIRED) for name in ("metrics", "parameters") if not getattr(study, name)]
    for number, parameter in enumerate(study.parameters):
        where = f"study_spec.parameters[{number}]"
        if not parameter.parameter_id:
            found.append((f"{where}.parameter_id", REQUIRED))
        if parameter.WhichOneof("parameter_value_spec") is None:
            found.append((where, "A value specification must be set."))
        if parameter.conditional_parameter_specs:
            raise CloudError(StatusCode.UNIMPLEMENTED, "The lab has no conditional parameters.")
    if len(study.metrics) > 1:
        raise CloudError(StatusCode.UNIMPLEMENTED, "The lab tunes for one metric.")
    check_spec(job.trial_job_spec, "trial_job_spec", *found)


def _trial_job(job: Proto, trial: Proto) -> Proto:
    """The custom job of one trial: the specification with `--PARAMETER=VALUE` behind its arguments."""
    custom = sibling(job, "CustomJob")
    custom.display_name = f"{job.display_name}_trial_{trial.id}"
    custom.job_spec.CopyFrom(job.trial_job_spec)
    custom.labels.update(job.labels)
    pool = custom.job_spec.worker_pool_specs[0]
    task = getattr(pool, pool.WhichOneof("task"))
    values = {each.parameter_id: json_format.MessageToDict(each.value) for each in trial.parameters}
    task.args.extend(f"--{name}={_argument(value)}" for name, value in values.items())
    base = custom.job_spec.base_output_directory
    if base.output_uri_prefix:
        base.output_uri_prefix = f"{base.output_uri_prefix.rstrip('/')}/{trial.id}"
    return custom


def _argument(value: object) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _lines(path: Path) -> list[dict[str, str]]:
    """What a trial reported; a line that is no JSON object is passed over, as a half-written one would be."""
    found = []
    for line in path.read_text("utf-8").splitlines() if path.exists() else ():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict):
            found.append({str(key): str(value) for key, value in entry.items()})
    return found


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _suggestions(study: Proto) -> Iterator[dict[str, Any]]:
    """The parameters to try, without an end: a grid begins again."""
    names = [parameter.parameter_id for parameter in study.parameters]
    if study.algorithm == _GRID:
        while True:
            for values in product(*map(_grid, study.parameters)):
                yield dict(zip(names, values, strict=True))
    chance = random.Random(study.SerializeToString(deterministic=True))  # noqa: S311  # the same study, the same trials
    while True:
        yield {parameter.parameter_id: _drawn(parameter, chance) for parameter in study.parameters}


def _grid(parameter: Proto) -> list[object]:
    spec = getattr(parameter, parameter.WhichOneof("parameter_value_spec"))
    if "values" in spec.DESCRIPTOR.fields_by_name:
        return list(spec.values)
    if isinstance(spec.min_value, int):
        return list(range(spec.min_value, spec.max_value + 1))
    return [spec.min_value + (spec.max_value - spec.min_value) * at / (_STEPS - 1) for at in range(_STEPS)]


def _drawn(parameter: Proto, chance: random.Random) -> object:
    spec = getattr(parameter, parameter.WhichOneof("parameter_value_spec"))
    if "values" in spec.DESCRIPTOR.fields_by_name:
        return chance.choice(list(spec.values))
    if isinstance(spec.min_value, int):
        return chance.randint(spec.min_value, spec.max_value)
    if parameter.scale_type == _LOG and spec.min_value > 0:
        return math.exp(chance.uniform(math.log(spec.min_value), math.log(spec.max_value)))
    return chance.uniform(spec.min_value, spec.max_value)


def _trial_state(trial: Proto, word: str) -> int:
    return int(trial.DESCRIPTOR.fields_by_name["state"].enum_type.values_by_name[word].number)
