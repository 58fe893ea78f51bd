"""Google's remote procedures, from the descriptor sets under `remit/googleapis`.

A set goes into a private pool, so that it can never collide with a client library in the same process. Left out:
procedures in which the client streams (one decision cannot cover messages that are still to come) or the server does
(served with a later issue), and HTTP rules with more than one variable.
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
_TEMPLATE = re.compile(r"/(?P<before>[^{}]*)\{(?P<field>[a-z_.]+)=(?P<pattern>[^{}]+)\}(?P<after>[^{}]*)")


@dataclass(frozen=True, slots=True)
class Binding:
    """One HTTP rule of a procedure.

    `path`: with `*` for each variable and no leading slash; `field`: the message field that the path's variable part
    fills, and `pattern` the form of its value, both empty for a path without one; `body`: the field that the body
    fills, `*` for the whole message, empty for none.
    """

    verb: str
    path: str
    field: str = ""
    pattern: str = ""
    body: str = ""

    def value(self, path: str) -> str:
        """The part of a path (no leading slash) that fills the field; empty for a binding without one."""
        if not self.pattern:
            return ""
        first = self.path.partition(self.pattern)[0].count("/")
        segments = path.split("/")[first : first + self.pattern.count("/") + 1]
        return "/".join([*segments[:-1], segments[-1].partition(":")[0]])


@dataclass(frozen=True, slots=True)
class Procedure:
    """One remote procedure: `path` as in HTTP/2's `:path`, the type of its request, its HTTP rules."""

    path: str
    request: type[Message]
    bindings: tuple[Binding, ...]


def descriptor(message: Message | type[Message]) -> Descriptor:
    """A message's descriptor; its published type is a union of two implementations that behave as one."""
    return cast("Descriptor", message.DESCRIPTOR)


@cache
def procedures(name: str) -> tuple[Procedure, ...]:
    """All unary procedures of one set: `vertex_v1`, `logging_v2` or `resourcemanager_v3`."""
    return tuple(procedure for method in _methods(name) for procedure in _procedure(method))


def client_streaming(name: str) -> tuple[str, ...]:
    """The paths of a set's procedures in which the client streams."""
    return tuple(
        f"/{method.containing_service.full_name}/{method.name}" for method in _methods(name) if method.client_streaming
    )


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


def _procedure(method: MethodDescriptor) -> Iterator[Procedure]:
    if method.client_streaming or method.server_streaming:
        return
    path = f"/{method.containing_service.full_name}/{method.name}"
    # The pool's own options know the extension only by number: read them again with the annotations imported.
    options = descriptor_pb2.MethodOptions.FromString(method.GetOptions().SerializeToString())
    rule = options.Extensions[annotations_pb2.http]
    bindings = tuple(binding for one in (rule, *rule.additional_bindings) for binding in _binding(one))
    yield Procedure(path, message_factory.GetMessageClass(method.input_type), bindings)


def _binding(rule: Message) -> Iterator[Binding]:
    verb = next((verb for verb in _VERBS if getattr(rule, verb)), "")
    template, body = getattr(rule, verb, ""), rule.body  # type: ignore[attr-defined]  # google.api publishes no types
    found = _TEMPLATE.fullmatch(template)
    if found:
        path = found["before"] + found["pattern"] + found["after"]
        yield Binding(verb.upper(), path, found["field"], found["pattern"], body)
    elif verb and "{" not in template:
        yield Binding(verb.upper(), template.removeprefix("/"), body=body)
