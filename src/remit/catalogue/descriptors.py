"""Google's remote procedures, from the descriptor sets under `remit/googleapis`.

A set goes into a private pool, so that it can never collide with a client library in the same process; its message
classes are built when they are first asked for. Left out: procedures in which the client streams, whose messages are
still to come when one is decided on; they are known by name only.
"""

import gzip
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import cast

from google.api import annotations_pb2
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor, MethodDescriptor
from google.protobuf.message import Message

_VERBS = ("get", "post", "put", "patch", "delete")
_VARIABLE = re.compile(r"\{(?P<field>[a-z_][a-z_.]*)=(?P<pattern>[^{}]+)\}")


@dataclass(frozen=True, slots=True)
class Binding:
    """One HTTP rule of a procedure.

    `path`: with `*` for each variable part and no leading slash; `variables`: the message fields that the path fills,
    dotted where nested, each with the form of its value; `body`: the field that the body fills, `*` for the whole
    message, empty for none.
    """

    verb: str
    path: str
    variables: tuple[tuple[str, str], ...] = ()
    body: str = ""

    @property
    def field(self) -> str:
        """The field that the path's first variable fills, empty for a path without one."""
        return self.variables[0][0] if self.variables else ""

    @property
    def pattern(self) -> str:
        """The form of the whole name in the path, empty for a path without one."""
        return "/".join(pattern for _, pattern in self.variables)

    def value(self, path: str) -> str:
        """The name in a path (no leading slash); empty for a binding without one."""
        if not self.variables:
            return ""
        first = self.path.partition(self.pattern)[0].count("/")
        segments = path.split("/")[first : first + self.pattern.count("/") + 1]
        return "/".join([*segments[:-1], segments[-1].partition(":")[0]])

    def values(self, name: str) -> tuple[tuple[str, str], ...]:
        """What each field holds when the whole name is this one."""
        segments, found = name.split("/"), []
        for field, pattern in self.variables:
            length = pattern.count("/") + 1
            found.append((field, "/".join(segments[:length])))
            segments = segments[length:]
        return tuple(found)

    def name(self, message: Message) -> str:
        """The whole name that a message holds in these fields."""
        return "/".join(str(held(message, field)) for field, _ in self.variables)


@dataclass(frozen=True, slots=True)
class Procedure:
    """One remote procedure: `path` as in HTTP/2's `:path`, its request, its HTTP rules, whether the server streams."""

    path: str
    input: Descriptor
    bindings: tuple[Binding, ...]
    streams: bool = False

    @property
    def request(self) -> type[Message]:
        """The class of its request."""
        return message_factory.GetMessageClass(self.input)


def descriptor(message: Message | type[Message]) -> Descriptor:
    """A message's descriptor; its published type is a union of two implementations that behave as one."""
    return cast("Descriptor", message.DESCRIPTOR)


def held(message: Message, field: str) -> object:
    """The value of a field by its dotted name."""
    value: object = message
    for part in field.split("."):
        value = getattr(value, part)
    return value


def put(message: Message, field: str, value: str) -> None:
    """Sets a field by its dotted name."""
    *parts, last = field.split(".")
    for part in parts:
        message = getattr(message, part)
    setattr(message, last, value)


@cache
def procedures(name: str) -> tuple[Procedure, ...]:
    """All procedures of one set in which the client sends one message.

    `name`: `vertex_v1`, `vertex_v1beta1`, `logging_v2` or `resourcemanager_v3`.
    """
    return tuple(_procedure(method) for method in _methods(name) if not method.client_streaming)


def client_streaming(name: str) -> tuple[str, ...]:
    """The paths of a set's procedures in which the client streams."""
    return tuple(_path(method) for method in _methods(name) if method.client_streaming)


@cache
def _methods(name: str) -> tuple[MethodDescriptor, ...]:
    packed = resources.files("remit").joinpath("googleapis", f"{name}.binpb.gz").read_bytes()
    files = descriptor_pb2.FileDescriptorSet.FromString(gzip.decompress(packed))
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.AddSerializedFile(file.SerializeToString())
    return tuple(
        method
        for file in files.file
        for service in file.service
        for method in pool.FindServiceByName(f"{file.package}.{service.name}").methods
    )


def _path(method: MethodDescriptor) -> str:
    return f"/{method.containing_service.full_name}/{method.name}"


def _procedure(method: MethodDescriptor) -> Procedure:
    # The pool's own options know the extension only by number: read them again with the annotations imported.
    options = descriptor_pb2.MethodOptions.FromString(method.GetOptions().SerializeToString())
    rule = options.Extensions[annotations_pb2.http]
    bindings = tuple(binding for one in (rule, *rule.additional_bindings) for binding in _binding(one))
    return Procedure(_path(method), method.input_type, bindings, method.server_streaming)


def _binding(rule: Message) -> Iterator[Binding]:
    verb = next((verb for verb in _VERBS if getattr(rule, verb)), "")
    if verb:
        template, body = getattr(rule, verb), rule.body  # type: ignore[attr-defined]  # google.api publishes no types
        variables = tuple((found["field"], found["pattern"]) for found in _VARIABLE.finditer(template))
        path = _VARIABLE.sub(lambda found: found["pattern"], template).removeprefix("/")
        yield Binding(verb.upper(), path, variables, body)
