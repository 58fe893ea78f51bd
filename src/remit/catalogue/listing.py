"""What Remit knows, for people (`remit catalogue`), for policy and for the gateway."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

from remit.catalogue import blob, databases, log_names, rules, services, store
from remit.catalogue.api import Api, Served, logging_api, projects_api, vertex_api
from remit.catalogue.descriptors import Procedure, client_streaming, procedures
from remit.catalogue.methods import NEIGHBOURS, PROJECTS, Method, vertex
from remit.model.operation import Group

_SETS = ("vertex_v1", "vertex_v1beta1", "logging_v2", "resourcemanager_v3")
# Actions whose requests are told apart by more than a path: `store.py`, `services/`, or that have none: `blob.py`.
_OTHERS = (*store.ACTIONS, *blob.ACTIONS, *databases.ACTIONS, *NEIGHBOURS, *services.ACTIONS)
_GRPC = {
    "logging.entries.list": "/google.logging.v2.LoggingServiceV2/ListLogEntries",
    "logging.entries.write": "/google.logging.v2.LoggingServiceV2/WriteLogEntries",
    "logging.projects.locations.buckets.views.logs.list": "/google.logging.v2.LoggingServiceV2/ListLogs",
    "logging.projects.logs.delete": "/google.logging.v2.LoggingServiceV2/DeleteLog",
    "logging.projects.logs.list": "/google.logging.v2.LoggingServiceV2/ListLogs",
    "cloudresourcemanager.projects.get": "/google.cloud.resourcemanager.v3.Projects/GetProject",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One known method. `http` and `grpc`: how it is asked, empty where there is no such way; `served`: it passes.

    `versions`: of the API in which this form is known, empty where there are none.
    """

    id: str
    group: str
    permission: str
    http: str
    grpc: str
    served: bool
    versions: tuple[str, ...] = ()


@cache
def methods() -> tuple[Row, ...]:
    """Every known method, in the order of ids; one that has two forms stands twice."""
    known = (*vertex(), *log_names.METHODS, *PROJECTS, *(Method(action, "", "") for action in _OTHERS))
    return tuple(sorted(map(_row, known), key=lambda row: (row.id, row.http)))


def search(text: str) -> tuple[Row, ...]:
    """The known methods whose id, group, permission, path or procedure holds a text, in any case."""
    wanted = text.casefold()
    return tuple(
        row
        for row in methods()
        if any(wanted in part.casefold() for part in (row.id, row.group, row.permission, row.http, row.grpc))
    )


@cache
def actions() -> Mapping[str, Group]:
    """Every action id that a request can hold, with its group: what policy may name."""
    known = (method.action for method in (*vertex(), *log_names.METHODS, *PROJECTS))
    return MappingProxyType({action.id: action.group for action in (*known, *_OTHERS)})


def leasable_grpc() -> Mapping[str, tuple[int, ...]]:
    """Each procedure whose permits may be repeated, with the numbers of the fields that belong in the lease's key."""
    return MappingProxyType(
        {
            path: tuple(sorted({procedure.input.fields_by_name[one.binding.field].number for one in forms}))
            for path, forms, procedure in _leasable()
        }
    )


def leasable_fields() -> Mapping[str, tuple[int, ...]]:
    """For each procedure of `leasable_grpc` the numbers of all fields of its message: any other one is refused."""
    return MappingProxyType(
        {path: tuple(sorted(procedure.input.fields_by_number)) for path, _, procedure in _leasable()}
    )


def streaming_grpc() -> tuple[str, ...]:
    """Each procedure in which the client streams, so that the gateway refuses it: a decision covers one message."""
    return tuple(path for name in _SETS for path in client_streaming(name))


def streams() -> tuple[str, ...]:
    """What stays open after its answer began: ends of REST paths, and procedures in which the server streams.

    An end is a custom verb (`:streamQuery`), or the last segments of a path that has none (`/chat/completions`); some
    of those stream only when the body asks for it. One whose path ends in an id is not listed: there is no such end.
    """
    ends = {_end(method) for method in vertex() if method.scoped and method.streams} - {""}
    return (*sorted(ends), *(one.path for name in _SETS for one in procedures(name) if one.streams))


def _end(method: Method) -> str:
    _, colon, custom = method.form.partition(":")
    return f"{colon}{custom}" if custom else method.form.rpartition("*")[2]


def _leasable() -> Iterator[tuple[str, tuple[Served, ...], Procedure]]:
    for api in _apis():
        for path, forms in api.grpc.items():
            procedure = forms[0].procedure
            # One form is enough: the name is in the key, so that a lease of one form is never another's.
            if procedure and any(rules.leasable(one.method)[1] for one in forms) and all(map(_keyed, forms)):
                yield path, forms, procedure


def _keyed(served: Served) -> bool:
    """Whether one outermost field says it all."""
    return len(served.binding.variables) == 1 and "." not in served.binding.field and served.resources is None


def _apis() -> tuple[Api, ...]:
    return vertex_api(), logging_api(), projects_api()


def _row(method: Method) -> Row:
    action = method.action
    http = f"{method.verb} /{method.path}" if method.path else ""
    grpc = f"/{method.grpc[0]}" if method.grpc else _GRPC.get(action.id, "")
    served = method.scoped or not method.versions
    return Row(action.id, str(action.group), action.permission, http, grpc, served, method.versions)
