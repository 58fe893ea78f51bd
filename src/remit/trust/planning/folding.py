"""Many permissions in few lines: counted by service and by what they let somebody do, the most dangerous named.

Pure. A verb that is not known to read is told by its own name, so that nothing is taken for harmless by mistake.
Source of the form `SERVICE.RESOURCE.VERB`: cloud.google.com/iam/docs/permissions-reference.
"""

import re
from collections.abc import Iterator, Mapping, Sequence

from remit.model.counts import counted
from remit.trust.planning.dangerous import seizing

FEW = 12  # permissions that are told one by one
_NAMED = 4  # resources of one verb, where there are many
_VERBS = 8  # of one service that are told with what they concern
_READS = re.compile(r"get|getIamPolicy|(list|search|query|fetch|read|batchRead|streamingRead|retrieve)\w*")
_READ = "read"
_FIRST = ("create", "deploy", "execute", "assign", "delete", "update", "import", "export", "upload", "write")
"""Verbs in the order of what they could do: to run somebody's code comes first."""
_RUNNING = (
    *("customJobs", "pipelineJobs", "trainingPipelines", "hyperparameterTuningJobs", "batchPredictionJobs"),
    *("schedules", "notebookRuntimes", "notebookExecutionJobs", "reasoningEngines", "persistentResources"),
    *("endpoints", "models", "datasets"),
)
"""Resources that run code, then those that hold what a company has trained on, and made of it."""


def folded(permissions: Sequence[str]) -> tuple[str, ...]:
    """A paragraph with how many there are, one with what takes others' rights if any, and one for each service."""
    seized = sorted(filter(seizing, permissions))
    return (
        f"{len(permissions)}, each told by `remit trust plan --verbose`",
        *([f"takes what others hold by {', '.join(seized)}"] if seized else []),
        *by_service(permissions),
    )


def by_service(names: Sequence[str]) -> tuple[str, ...]:
    """A paragraph for each service, of permissions or of methods by such names: `SERVICE.RESOURCE.VERB`."""
    services: dict[str, list[str]] = {}
    for each in names:
        services.setdefault(each.partition(".")[0], []).append(each)
    ordered = sorted(services.items(), key=lambda one: (-len(one[1]), one[0]))
    return tuple(f"{service} {len(some)}: {_service(some)}" for service, some in ordered)


def _service(permissions: Sequence[str]) -> str:
    verbs: dict[str, list[str]] = {}
    for each in permissions:
        _, _, rest = each.partition(".")
        resource, _, verb = rest.rpartition(".")
        reads = not seizing(each) and _READS.fullmatch(verb)
        verbs.setdefault(_READ if reads else verb, []).append(resource)
    reading = verbs.pop(_READ, [])
    return ", ".join((*_acting(verbs), *([_verb(_READ, reading)] if reading else [])))


def _acting(verbs: Mapping[str, list[str]]) -> Iterator[str]:
    ordered = sorted(verbs, key=lambda verb: (_place(_FIRST, verb), -len(verbs[verb]), verb))
    yield from (_verb(verb, verbs[verb]) for verb in ordered[:_VERBS])
    if rest := ordered[_VERBS:]:
        count = sum(len(verbs[verb]) for verb in rest)
        yield f"{count} by {counted(len(rest), 'other verb')} ({_some(rest)})"


def _verb(verb: str, resources: Sequence[str]) -> str:
    names = sorted(set(resources), key=lambda name: (_place(_RUNNING, name), name))
    return f"{verb} {len(resources)} ({_some(names)})" if len(resources) > 1 else f"{verb} {names[0]}"


def _some(names: Sequence[str]) -> str:
    if len(names) <= _NAMED + 1:
        return ", ".join(names)
    return f"{', '.join(names[:_NAMED])} and {len(names) - _NAMED} more"


def _place(known: Sequence[str], name: str) -> int:
    return known.index(name) if name in known else len(known)
