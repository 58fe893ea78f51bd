"""What Remit knows, for people (`remit catalogue`), for policy and for the gateway."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from remit.catalogue.api import Api, Served, logging_api, projects_api, vertex_api
from remit.catalogue.descriptors import client_streaming, descriptor
from remit.catalogue.methods import LOGGING, NEIGHBOURS, PROJECTS, STORAGE, Method, vertex


@dataclass(frozen=True, slots=True)
class Row:
    """One known method. `http` and `grpc`: how it is asked, empty where there is no such way; `served`: it passes."""

    id: str
    group: str
    permission: str
    http: str
    grpc: str
    served: bool


def methods() -> tuple[Row, ...]:
    """Every known method, in the order of ids."""
    grpc = {one.method.action.id: path for api in _apis() for path, forms in api.grpc.items() for one in forms.values()}
    served = set(grpc) | {method.action.id for method in STORAGE} | {action.id for action in NEIGHBOURS}
    neighbours = (Method(action, "", "") for action in NEIGHBOURS)
    rows = [_row(method, grpc, served) for method in (*vertex(), *LOGGING, *PROJECTS, *STORAGE, *neighbours)]
    return tuple(sorted(rows, key=lambda row: row.id))


def search(text: str) -> tuple[Row, ...]:
    """The known methods whose id, permission, path or procedure holds a text, in any case."""
    wanted = text.casefold()
    return tuple(
        row
        for row in methods()
        if any(wanted in part.casefold() for part in (row.id, row.permission, row.http, row.grpc))
    )


def leasable_grpc() -> Mapping[str, tuple[int, ...]]:
    """Each procedure whose permits may be repeated, with the numbers of the fields that belong in the lease's key."""
    return MappingProxyType(
        {
            path: tuple(
                sorted(
                    {
                        descriptor(one.procedure.request).fields_by_name[one.binding.field].number
                        for one in forms.values()
                    }
                )
            )
            for path, forms in _leasable()
        }
    )


def leasable_fields() -> Mapping[str, tuple[int, ...]]:
    """For each procedure of `leasable_grpc` the numbers of all fields of its message: any other one is refused."""
    return MappingProxyType(
        {
            path: tuple(sorted(descriptor(next(iter(forms.values())).procedure.request).fields_by_number))
            for path, forms in _leasable()
        }
    )


def streaming_grpc() -> tuple[str, ...]:
    """Each procedure in which the client streams, so that the gateway refuses it: a decision covers one message."""
    return tuple(path for name in ("vertex_v1", "logging_v2") for path in client_streaming(name))


def _leasable() -> Iterator[tuple[str, Mapping[str, Served]]]:
    for api in _apis():
        for path, forms in api.grpc.items():
            if all(one.rule.grpc_leasable for one in forms.values()):
                yield path, forms


def _apis() -> tuple[Api, ...]:
    return vertex_api(), logging_api(), projects_api()


def _row(method: Method, grpc: Mapping[str, str], served: set[str]) -> Row:
    action = method.action
    http = f"{method.verb} /{method.path}" if method.path else ""
    return Row(action.id, str(action.group), action.permission, http, grpc.get(action.id, ""), action.id in served)
