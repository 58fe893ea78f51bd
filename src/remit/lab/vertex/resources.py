"""The resources of Vertex AI in memory, and the methods that every collection has: create, get, list, delete, update.

Names carry the project's number, as Google's do, whichever way the caller wrote them. Left out: etags, field masks
below the first level, orders other than the newest first.
"""

import re
import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf import json_format
from grpc import StatusCode

from remit.lab import contoso, filters
from remit.lab.api_surface import Call
from remit.lab.api_table import Binding, Proto, table
from remit.lab.errors import CloudError
from remit.lab.iam import Caller

_PAGE = 100  # resources, when the caller does not say
_LOCATION = 4  # parts of `projects/P/locations/L`, which need nobody to make it
_KINDS = re.compile(r"(Create|Upload|Get|List|Delete|Update)[A-Z]\w+")


@dataclass(frozen=True, slots=True)
class Scope:
    """One call that IAM let through. `name`: the resource it names, with the project's number."""

    call: Call
    binding: Binding
    name: str
    caller: Caller

    @property
    def request(self) -> Proto:
        """The request message."""
        return self.call.request

    def answer(self, **fields: Any) -> Proto:
        """A response message of this method."""
        return self.call.method.response(**fields)


class Resources:
    """Everything that exists, by name."""

    def __init__(self) -> None:
        self._things: dict[str, Proto] = {}

    def put(self, name: str, thing: Proto) -> Proto:
        """Keeps a resource under a name and gives it that name."""
        thing.name = name
        self._things[name] = thing
        return thing

    def find(self, name: str) -> Proto | None:
        """A resource, `None` when there is none; `@VERSION` is ignored for what has no versions."""
        name = canonical(name)
        return self._things.get(name) or self._things.get(name.partition("@")[0])

    def get(self, name: str, kind: str = "") -> Proto:
        """A resource that must be there, of this message type when one is named."""
        thing = self.find(name)
        if thing is None or (kind and thing.DESCRIPTOR.name != kind):
            raise CloudError(
                StatusCode.NOT_FOUND, f"The {kind or 'resource'} {name!r} does not exist.".replace("'", '"')
            )
        return thing

    def remove(self, name: str) -> None:
        """Forgets a resource and everything below it."""
        name = canonical(name)
        self._things = {key: thing for key, thing in self._things.items() if not f"{key}/".startswith(f"{name}/")}

    def of(self, kind: str, parent: str = "") -> Iterator[Proto]:
        """The resources of one message type below a parent, the newest first; a parent of `-` stands for all."""
        prefix = re.compile(re.escape(f"{canonical(parent)}/").replace(r"/\-/", "/[^/]+/") if parent else "")
        for name, thing in reversed(self._things.items()):
            if thing.DESCRIPTOR.full_name.endswith(f".{kind}") and prefix.match(name) and "@" not in name:
                yield thing

    def every(self, kind: str) -> list[Proto]:
        """All of one message type, each once, under however many names it is kept."""
        return list({id(each): each for each in self._things.values() if each.DESCRIPTOR.name == kind}.values())

    def each(self, names: Iterable[str], kind: str) -> list[Proto]:
        """The resources of these names, which must all be there."""
        return [self.get(name, kind) for name in names]

    # The methods that every collection has

    def serve(self, scope: Scope) -> Proto | None:
        """What a method of the common kinds does; a deletion gives `None`. Raises for every other method."""
        kind = _KINDS.fullmatch(scope.call.method.name)
        if kind is None:
            raise CloudError(StatusCode.UNIMPLEMENTED, f"The lab does not play {scope.call.method.name}.")
        if kind[1] in {"Create", "Upload"}:
            return self.create(scope)
        if kind[1] == "Get":
            return self.get(scope.request.name)
        if kind[1] == "List":
            return self._list(scope)
        if kind[1] == "Update":
            return self.update(scope)
        self.get(scope.request.name)
        self.remove(scope.request.name)
        return None

    def create(self, scope: Scope) -> Proto:
        """Makes the resource that a request carries and keeps it."""
        field, collection = _creates(scope)
        thing = type(getattr(scope.request, field))()
        thing.CopyFrom(getattr(scope.request, field))
        if len(scope.name.split("/")) > _LOCATION:
            self.get(scope.name)
        name = f"{scope.name}/{collection}/{_wanted_id(scope.request, field) or new_id()}"
        if name in self._things:
            raise CloudError(StatusCode.ALREADY_EXISTS, f"Requested entity already exists: {name}")
        stamp(thing, "create_time", "update_time")
        return self.put(name, thing)

    def _list(self, scope: Scope) -> Proto:
        request, answer = scope.request, scope.answer()
        field = next(f for f in answer.DESCRIPTOR.fields if f.is_repeated and f.message_type)
        found = list(self.of(field.message_type.name, scope.name))
        conditions = filters.parse(getattr(request, "filter", ""))
        if conditions:
            found = [each for each in found if all(one.holds(flat(each)) for one in conditions)]
        return page(request, answer, found)

    def update(self, scope: Scope) -> Proto:
        """Sets the fields of a resource that the mask names, else those that the request carries."""
        field = scope.binding.body
        if field in {"", "*"}:
            raise CloudError(StatusCode.UNIMPLEMENTED, f"The lab does not play {scope.call.method.name}.")
        new = getattr(scope.request, field)
        thing = self.get(new.name)
        paths = scope.request.update_mask.paths or [f.name for f, _ in new.ListFields()]
        for path in {path.partition(".")[0] for path in paths} - {"name"}:
            if path not in thing.DESCRIPTOR.fields_by_name:
                raise CloudError(StatusCode.INVALID_ARGUMENT, f"Invalid field mask: {path}")
            thing.ClearField(path)
            part = type(thing)()
            part.CopyFrom(new)
            for other in part.DESCRIPTOR.fields:
                if other.name != path:
                    part.ClearField(other.name)
            thing.MergeFrom(part)
        stamp(thing, "update_time")
        return thing


def canonical(name: str) -> str:
    """A name with its project's number."""
    parts = name.split("/")
    project = contoso.project(parts[1]) if parts[0] == "projects" and len(parts) > 1 else None
    return "/".join([parts[0], project.number, *parts[2:]]) if project else name


def project_of(name: str) -> contoso.Project:
    """The project of a name that IAM let through."""
    project = contoso.project(name.split("/")[1])
    if project is None:
        raise CloudError(StatusCode.NOT_FOUND, f"Project of {name} not found")
    return project


def new_id() -> str:
    """A resource id as Vertex AI gives them: nineteen digits."""
    return str(secrets.randbelow(9 * 10**18) + 10**18)


def stamp(thing: Proto, *fields: str) -> None:
    """Sets those of the time fields that a message has to now."""
    for field in fields:
        if field in thing.DESCRIPTOR.fields_by_name:
            getattr(thing, field).GetCurrentTime()


def set_state(thing: Proto, state: str) -> None:
    """Sets `state` by the enumeration's own word."""
    thing.state = thing.DESCRIPTOR.fields_by_name["state"].enum_type.values_by_name[state].number


def _creates(scope: Scope) -> tuple[str, str]:
    """The field that carries the new resource, and the collection it goes into."""
    field = scope.binding.body
    if field in {"", "*"}:
        raise CloudError(StatusCode.UNIMPLEMENTED, f"The lab does not play {scope.call.method.name}.")
    return field, scope.binding.template.rpartition("/")[2]


def _wanted_id(request: Proto, field: str) -> str:
    """The id that the caller chose: `pipeline_job_id` and the like."""
    names = (f"{field}_id", *(f.name for f in request.DESCRIPTOR.fields if f.name.endswith("_id")))
    return next((str(getattr(request, name)) for name in names if name in request.DESCRIPTOR.fields_by_name), "")


def page(request: Proto, answer: Proto, found: Sequence[Proto]) -> Proto:
    """Fills a list's answer with the page that was asked for."""
    field = next(f for f in answer.DESCRIPTOR.fields if f.is_repeated and f.message_type)
    start = int(request.page_token) if request.page_token.isdigit() else 0
    end = start + (request.page_size if request.page_size > 0 else _PAGE)
    getattr(answer, field.name).extend(found[start:end])
    answer.next_page_token = str(end) if len(found) > end else ""
    return answer


def flat(thing: Proto) -> dict[str, Any]:
    """A resource as filters see it, by either spelling of its fields, truth as the words `true` and `false`."""
    pool = table().pool
    snake = json_format.MessageToDict(thing, preserving_proto_field_name=True, descriptor_pool=pool)
    found: dict[str, Any] = json_format.MessageToDict(thing, descriptor_pool=pool)
    return {key: str(each).lower() if isinstance(each, bool) else each for key, each in (found | snake).items()}
