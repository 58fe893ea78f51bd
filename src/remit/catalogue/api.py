"""The APIs behind the gateway: which hosts, which methods, and for each one how it is written.

Both forms of a request, REST and gRPC, in either version, lead to the same method, so that they are decided alike. Left
out: streams of a client's, paths that name no project (both are known, to be refused by name), and other versions than
those listed.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor

from remit.catalogue import log_names
from remit.catalogue.descriptors import Binding, Procedure, client_streaming, procedures
from remit.catalogue.methods import PROJECTS, Method, vertex
from remit.catalogue.names import Names, named_in
from remit.catalogue.routes import Routes
from remit.model.errors import Refused
from remit.model.estate import Estate
from remit.model.operation import Resource
from remit.model.reasons import Reason

_LOGGING_HOST = "logging.googleapis.com"
_PROJECTS_HOST = "cloudresourcemanager.googleapis.com"
_VERTEX_HOST = "aiplatform.googleapis.com"
_REGIONAL = re.compile(r"(?P<location>[a-z0-9-]+)-aiplatform\.googleapis\.com")
_SETS = {"v1": "vertex_v1", "v1beta1": "vertex_v1beta1"}
_UI = re.compile(
    r"projects/(?:.*operations(?:/\*(?::\w+)?)?|.*:(?:[gs]etIamPolicy|testIamPermissions)|\*/locations(?:/\*)?)"
)
# The field that a mixin's path fills; Google's own rules for them name no Vertex AI resource.
_MIXIN_FIELDS = {"google.longrunning.Operations": "name", "google.iam.v1.IAMPolicy": "resource"}
_STREAM = "is a stream of the client's, and a decision covers one message"
_NOT_SERVED = "is none that Remit serves"
_WHOLE = frozenset({"setIamPolicy", "testIamPermissions"})

Main = Callable[[Any, Names], tuple[Resource, ...]]


@dataclass(frozen=True, slots=True)
class Served:
    """One method in one of its forms: who it is, how it is written.

    `procedure`: `None` where Google publishes no message, so that a body is JSON that is read as such; `resources`: for
    a message that names what it is about in several fields, or in one that repeats.
    """

    method: Method
    binding: Binding
    procedure: Procedure | None = None
    resources: Main | None = None

    @property
    def document(self) -> str:
        """The field that holds a body of JSON which no message describes (`google.api.HttpBody`), empty for none."""
        if self.procedure is None or self.binding.body in {"", "*"}:
            return ""
        kind: Descriptor | None = self.procedure.input.fields_by_name[self.binding.body].message_type
        return self.binding.body if kind is not None and kind.full_name == "google.api.HttpBody" else ""


@dataclass(frozen=True, slots=True)
class Api:
    """One API. `rest`: by path and verb, a method that no project is named for as itself; `grpc`: by procedure.

    `names`: by the form of a name and the procedure; `refused`: procedures that are known and never served, with the
    reason.
    """

    title: str
    rest: Routes[Served | Method]
    grpc: Mapping[str, tuple[Served, ...]]
    names: Routes[Served]
    refused: Mapping[str, str]

    def named(self, path: str, name: str) -> Served | None:
        """The method of a procedure that is named by such a name."""
        found = self.names.find(name, path)
        return found or next((one for one in self.grpc[path] if one.resources), None)


def _collect(
    title: str,
    served: Sequence[tuple[Served, tuple[str, ...]]],
    every: Iterable[Procedure],
    *,
    why: str,
    sets: Iterable[str],
) -> Api:
    """`served`: each with the paths of its procedures; `why`: the others of `every` are not served."""
    rest: Routes[Served | Method] = Routes()
    names: Routes[Served] = Routes()
    grpc: dict[str, list[Served]] = {}
    for one, paths in served:
        rest.add(one.binding.path, one, one.binding.verb)
        for path in paths:
            grpc.setdefault(path, []).append(one)
            names.add(one.binding.pattern, one, path)
    refused = {one.path: why for one in every if one.path not in grpc}
    refused |= {path: _STREAM for name in sets for path in client_streaming(name)}
    return Api(title, rest, {path: tuple(forms) for path, forms in grpc.items()}, names, refused)


@cache
def vertex_api() -> Api:
    """Vertex AI, v1 and v1beta1, with the long-running operations of both."""
    sets = {version: {one.path[1:]: one for one in procedures(name)} for version, name in _SETS.items()}
    every = {**sets["v1beta1"], **sets["v1"]}
    served = [one for method in vertex() if method.scoped for one in _forms_of(method, every)]
    homeless = "belongs to no project that policy could decide on"
    api = _collect("Vertex AI", served, every.values(), why=homeless, sets=_SETS.values())
    for method in vertex():
        if not method.scoped:
            for version in method.versions:
                api.rest.add(method.path_in(version), method, method.verb)
    return api


def _forms_of(method: Method, every: Mapping[str, Procedure]) -> Iterator[tuple[Served, tuple[str, ...]]]:
    """A method in each of its versions, `/ui/` being another address of what all of Google's APIs have."""
    known = [every[path] for path in method.grpc if path in every]
    for version in method.versions:
        own = [one for one in known if _version(one) in {version, ""}]
        procedure = next(iter((*own, *known)), None)
        one = Served(method, _binding_of(method, version, procedure), procedure)
        first = version == method.versions[0]
        # `GET …:wait` is one more way to `WaitOperation`, which belongs to the plain one.
        named = () if method.action.id.endswith(".listWait") else own
        yield one, tuple(found.path for found in named if first or _version(found))
        if first and _UI.fullmatch(method.form):
            yield replace(one, binding=replace(one.binding, path=f"ui/{method.form}")), ()


def _version(procedure: Procedure) -> str:
    """The version that a procedure belongs to, empty for those that both have."""
    return next(
        (version for version in _SETS if f".{version}." in procedure.path and "aiplatform" in procedure.path), ""
    )


def _binding_of(method: Method, version: str, procedure: Procedure | None) -> Binding:
    path, form = method.path_in(version), method.form
    if procedure is not None:
        for binding in procedure.bindings:
            if binding.verb == method.verb and binding.path.partition("/")[2] == form:
                return replace(binding, path=path)
    body = "*" if method.verb in {"POST", "PATCH", "PUT"} else ""
    name = named_in(form)
    mixin = _MIXIN_FIELDS.get(procedure.path[1:].partition("/")[0], "") if procedure else ""
    if mixin:
        body = "*" if method.action.id.rpartition(".")[2] in _WHOLE else ""
    return Binding(method.verb, path, ((mixin, name),), body)


@cache
def logging_api() -> Api:
    """Cloud Logging v2: what is read and written of entries and logs."""
    every = {one.path.rpartition("/")[2]: one for one in procedures("logging_v2")}
    calls: dict[str, tuple[str, Main]] = {
        "logging.entries.list": ("ListLogEntries", log_names.resources_of),
        "logging.entries.write": ("WriteLogEntries", log_names.written),
        "logging.projects.logs.list": ("ListLogs", log_names.parent_of),
        "logging.projects.locations.buckets.views.logs.list": ("ListLogs", log_names.parent_of),
        "logging.projects.logs.delete": ("DeleteLog", log_names.deleted),
    }
    served = []
    for method in log_names.METHODS:
        name, resources = calls[method.action.id]
        binding = next(one for one in every[name].bindings if (one.verb, one.path) == (method.verb, method.path))
        served.append((Served(method, binding, every[name], resources), (every[name].path,)))
    return _collect("Cloud Logging", served, every.values(), why=_NOT_SERVED, sets=("logging_v2",))


@cache
def projects_api() -> Api:
    """Resource Manager: one project, over gRPC (v3) and REST (v3, and v1 which Google's libraries still ask)."""
    every = procedures("resourcemanager_v3")
    procedure = next(one for one in every if one.path.endswith("/GetProject"))
    older = Binding("GET", "v1/projects/*", (("name", "projects/*"),))
    served = [(Served(PROJECTS[0], binding, procedure), (procedure.path,)) for binding in (*procedure.bindings, older)]
    return _collect("Resource Manager", served, every, why=_NOT_SERVED, sets=("resourcemanager_v3",))


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
