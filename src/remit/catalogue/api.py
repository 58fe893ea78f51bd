"""The APIs behind the gateway: which hosts, which methods, and for each served one its procedure and its rule.

Both forms of a request, REST and gRPC, lead to the same `Served`, so that they are decided alike. Left out: what is not
unary, what has no project in its name, other versions than those listed (they are unknown, hence refused).
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from remit.catalogue.descriptors import Binding, Procedure, procedures
from remit.catalogue.methods import LOGGING, PROJECTS, Method, vertex
from remit.catalogue.names import Names, pattern_of
from remit.catalogue.rules import Extra, Rule, projects_of, rule_for
from remit.model.errors import Refused
from remit.model.estate import Estate
from remit.model.operation import Resource
from remit.model.reasons import Reason

_LOGGING_HOST = "logging.googleapis.com"
_PROJECTS_HOST = "cloudresourcemanager.googleapis.com"
_VERTEX_HOST = "aiplatform.googleapis.com"
_REGIONAL = re.compile(r"(?P<location>[a-z0-9-]+)-aiplatform\.googleapis\.com")
_VERSION = re.compile(r"(v1|ui)/")
_NOT_BY_NAME = Rule(lambda _message, _place, _names: Extra())
_FOUND_BY_NAME = Rule(lambda _message, _place, _names: Extra(), rest_leasable=True, grpc_leasable=True)

Main = Callable[[Any, Names], tuple[Resource, ...]]


@dataclass(frozen=True, slots=True)
class Served:
    """One method that Remit serves: who it is, how it is written, how it is understood.

    `resources`: for a message that names several resources in one field and none in its path.
    """

    method: Method
    procedure: Procedure
    binding: Binding
    rule: Rule
    resources: Main | None = None


@dataclass(frozen=True, slots=True)
class Api:
    """One API. `rest`: by verb and path; `grpc`: by procedure, then by the form of the name in the message."""

    title: str
    rest: Mapping[tuple[str, str], Served]
    grpc: Mapping[str, Mapping[str, Served]]
    known: Mapping[tuple[str, str], Method]
    procedures: Mapping[str, Procedure] = field(default_factory=dict)


def _collect(title: str, served: list[Served], known: tuple[Method, ...], every: tuple[Procedure, ...]) -> Api:
    grpc: dict[str, dict[str, Served]] = {}
    for one in served:
        grpc.setdefault(one.procedure.path, {}).setdefault(one.binding.pattern, one)
    return Api(
        title,
        {(one.binding.verb, one.binding.path): one for one in served},
        grpc,
        {(method.verb, method.path): method for method in known},
        {procedure.path: procedure for procedure in every},
    )


def _vertex_served(by_path: Mapping[tuple[str, str], Method]) -> Iterator[Served]:
    for procedure in procedures("vertex_v1"):
        for binding in procedure.bindings:
            # `/ui/` is another address of the same long-running operations.
            method = by_path.get((binding.verb, _VERSION.sub("v1/", binding.path, count=1)))
            rule = rule_for(method, binding, procedure.request) if method else None
            if method and rule:
                yield Served(method, procedure, binding, rule)


@cache
def vertex_api() -> Api:
    """Vertex AI v1, with its long-running operations."""
    by_path = {(method.verb, method.path): method for method in vertex()}
    return _collect("Vertex AI", list(_vertex_served(by_path)), vertex(), procedures("vertex_v1"))


@cache
def logging_api() -> Api:
    """Cloud Logging v2: reading entries."""
    every = procedures("logging_v2")
    procedure = next(one for one in every if one.path.endswith("/ListLogEntries"))
    served = Served(LOGGING[0], procedure, procedure.bindings[0], _NOT_BY_NAME, projects_of)
    return _collect("Cloud Logging", [served], LOGGING, every)


@cache
def projects_api() -> Api:
    """Resource Manager: one project, over gRPC (v3) and REST (v3, and v1 which Google's libraries still ask)."""
    every = procedures("resourcemanager_v3")
    procedure = next(one for one in every if one.path.endswith("/GetProject"))
    older = Binding("GET", "v1/projects/*", "name", "projects/*")
    served = [Served(PROJECTS[0], procedure, binding, _FOUND_BY_NAME) for binding in (*procedure.bindings, older)]
    return _collect("Resource Manager", served, PROJECTS, every)


class Hosts:
    """The hosts of one estate."""

    def __init__(self, estate: Estate) -> None:
        self._locations = {location for project in estate.projects for location in project.locations}

    def api(self, host: str) -> tuple[Api, str]:
        """The API behind a host, and the location that the host is for (empty for none); raises `Refused`."""
        if host == _LOGGING_HOST:
            return logging_api(), ""
        if host == _PROJECTS_HOST:
            return projects_api(), ""
        if host == _VERTEX_HOST:
            return vertex_api(), "global"
        regional = _REGIONAL.fullmatch(host)
        if regional and regional["location"] in self._locations:
            return vertex_api(), regional["location"]
        raise Refused(Reason.HOST_UNKNOWN)


def served_by_name(api: Api, path: str, name: str) -> Served | None:
    """The served method of a procedure for a resource name (empty for procedures that are not named by one)."""
    return api.grpc[path].get(pattern_of(name) if name else "")
