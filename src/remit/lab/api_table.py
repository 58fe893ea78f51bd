"""Google's APIs as one table: every method with its messages and its HTTP rules, from `remit/googleapis/*.binpb.gz`.

Messages live in a private pool, so that the lab needs no client package. Left out: streams from the client.
Source of the rules' grammar: google/api/http.proto.
"""

import gzip
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any

from google.api import annotations_pb2
from google.longrunning import operations_pb2
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import MethodDescriptor

Proto = Any  # a message of the private pool: its fields are known at run time only

_SETS = ("vertex_v1", "vertex_v1beta1", "logging_v2", "resourcemanager_v3")
_VARIABLE = re.compile(r"\{([\w.]+)(?:=([^}]+))?\}")
_STRUCT = "google/protobuf/struct.proto"
_VERBS = {"POST": "create", "PATCH": "patch", "PUT": "update", "DELETE": "delete"}


@dataclass(frozen=True, slots=True)
class Binding:
    """One HTTP rule. `variables`: the request's fields in the path, dotted, with what they must look like."""

    verb: str
    template: str
    body: str
    variables: tuple[tuple[str, re.Pattern[str]], ...]

    @property
    def path(self) -> re.Pattern[str]:
        """What a path of this rule looks like, with a group for each variable."""
        return _path(self.template)

    @property
    def place(self) -> tuple[str, str, str]:
        """Where the rule is looked for: see `place`."""
        return place(self.verb, re.sub(r"\{[\w.]+=([^}]+)\}", r"\1", self.template))

    @property
    def method_id(self) -> str:
        """The method's name in Google's discovery documents, as `projects.locations.endpoints.deployModel`."""
        flat = re.sub(r"\{[\w.]+=([^}]+)\}", r"\1", self.template)
        path, _, custom = flat.partition(":")
        segments = path.split("/")[2:]
        names = [segment for segment in segments if "*" not in segment]
        verb = custom or _VERBS.get(self.verb) or ("get" if "*" in segments[-1] else "list")
        return ".".join([*names, verb])

    def name_in(self, request: Proto) -> str | None:
        """The resource that a request names, `None` when this rule is not the one that fits it."""
        values = [_field(request, dotted) for dotted, _ in self.variables]
        fits = all(rule.fullmatch(value) for (_, rule), value in zip(self.variables, values, strict=True))
        return values[0] if fits and values else None


@dataclass(frozen=True, slots=True)
class Method:
    """One method. `path`: gRPC's, `/SERVICE/METHOD`; `result`, `progress`: messages of its long-running operation."""

    path: str
    request: type[Any]
    response: type[Any]
    bindings: tuple[Binding, ...]
    client_streaming: bool
    server_streaming: bool
    result: str
    progress: str

    @property
    def service(self) -> str:
        """The service's full name."""
        return self.path[1:].partition("/")[0]

    @property
    def name(self) -> str:
        """The method's own name."""
        return self.path.rpartition("/")[2]

    def target(self, request: Proto) -> tuple[Binding, str] | None:
        """The rule that fits a request and the resource it names, `None` when no rule fits."""
        for binding in self.bindings:
            name = binding.name_in(request)
            if name is not None:
                return binding, name
        return None


class Table:
    """All methods, and the messages they speak in."""

    def __init__(self) -> None:
        self.pool = descriptor_pool.DescriptorPool()
        self.methods: dict[str, Method] = {}
        known: set[str] = set()
        for name in _SETS:
            content = files("remit.googleapis").joinpath(f"{name}.binpb.gz").read_bytes()
            for file in descriptor_pb2.FileDescriptorSet.FromString(gzip.decompress(content)).file:
                if file.name in known:
                    self._add_rules(file)
                else:
                    known.add(file.name)
                    _complete(file)
                    self.pool.Add(file)
                    self.methods |= {method.path: method for method in self._methods(file)}
        self.pool.Add(_audit_data())

    def message(self, name: str) -> type[Any]:
        """The class of a message by its full name."""
        return message_factory.GetMessageClass(self.pool.FindMessageTypeByName(name))

    def of(self, *services: str) -> dict[str, Method]:
        """The methods of these services (`google.cloud.aiplatform.v1.` stands for all of a package), by gRPC path."""
        return {
            path: method
            for path, method in self.methods.items()
            if any(
                method.service == service or (service[-1] == "." and path[1:].startswith(service))
                for service in services
            )
        }

    def _methods(self, file: descriptor_pb2.FileDescriptorProto) -> Iterator[Method]:
        for service in file.service:
            for method in self.pool.FindServiceByName(f"{file.package}.{service.name}").methods:
                yield _method(method)

    def _add_rules(self, file: descriptor_pb2.FileDescriptorProto) -> None:
        """Operations, Locations and IAMPolicy stand in both versions' sets, each time with that version's paths."""
        for service in file.service:
            for method in service.method:
                path = f"/{file.package}.{service.name}/{method.name}"
                known = self.methods[path].bindings
                more = (rule for rule in _bindings(method.options) if rule.template not in {r.template for r in known})
                self.methods[path] = replace(self.methods[path], bindings=(*known, *more))


@cache
def table() -> Table:
    """The one table of the process: it takes a quarter of a second and some 50 MB."""
    return Table()


def _complete(file: descriptor_pb2.FileDescriptorProto) -> None:
    """Adds what Vertex AI's discovery document has and Google's client packages have not: a retrieval's `externalApi`.

    It may name a service account, so the lab takes it. Its number is ours: over gRPC nobody can send it.
    """
    for message in file.message_type:
        if message.name == "Retrieval" and file.package.startswith("google.cloud.aiplatform."):
            nested, single = 11, 1  # FieldDescriptorProto: TYPE_MESSAGE, LABEL_OPTIONAL
            field = message.field.add(
                name="external_api", json_name="externalApi", number=1000, type=nested, label=single
            )
            field.type_name = ".google.protobuf.Struct"
            if _STRUCT not in file.dependency:
                file.dependency.append(_STRUCT)


def _audit_data() -> descriptor_pb2.FileDescriptorProto:
    """What an audit entry of a changed policy holds (google/iam/v1/logging/audit_data.proto): no API refers to it."""
    file = descriptor_pb2.FileDescriptorProto(
        name="google/iam/v1/logging/audit_data.proto",
        package="google.iam.v1.logging",
        syntax="proto3",
        dependency=["google/iam/v1/policy.proto"],
    )
    nested, single = 11, 1  # FieldDescriptorProto: TYPE_MESSAGE, LABEL_OPTIONAL
    field = file.message_type.add(name="AuditData").field.add(name="policy_delta", number=2, type=nested, label=single)
    field.json_name, field.type_name = "policyDelta", ".google.iam.v1.PolicyDelta"
    return file


def _method(method: MethodDescriptor) -> Method:
    # The private pool does not know the extensions of the generated classes: parse the options once more with those.
    options = descriptor_pb2.MethodOptions.FromString(method.GetOptions().SerializeToString())
    info = options.Extensions[operations_pb2.operation_info]
    return Method(
        path=f"/{method.containing_service.full_name}/{method.name}",
        request=message_factory.GetMessageClass(method.input_type),
        response=message_factory.GetMessageClass(method.output_type),
        bindings=tuple(_bindings(options)),
        client_streaming=method.client_streaming,
        server_streaming=method.server_streaming,
        result=info.response_type,
        progress=info.metadata_type,
    )


def _bindings(options: descriptor_pb2.MethodOptions) -> Iterable[Binding]:
    http = options.Extensions[annotations_pb2.http]
    return (_binding(rule) for rule in (http, *http.additional_bindings) if rule.WhichOneof("pattern"))


def place(verb: str, path: str) -> tuple[str, str, str]:
    """What a path tells at a glance: its verb, its first segment (the version), and what follows a colon at its end."""
    return verb, path.split("/", 2)[1].partition(":")[0], path.rpartition("/")[2].partition(":")[2]


def _binding(rule: Any) -> Binding:
    verb = rule.WhichOneof("pattern")
    template = getattr(rule, verb)
    variables = tuple((found[1], _name(found[2] or "*")) for found in _VARIABLE.finditer(template))
    return Binding(verb.upper(), template, rule.body, variables)


@cache
def _name(pattern: str) -> re.Pattern[str]:
    return re.compile(_glob(pattern))


@cache
def _path(template: str) -> re.Pattern[str]:
    pattern, at = "", 0
    for found in _VARIABLE.finditer(template):
        pattern += f"{re.escape(template[at : found.start()])}({_glob(found[2] or '*')})"
        at = found.end()
    return re.compile(pattern + re.escape(template[at:]))


def _glob(pattern: str) -> str:
    return re.escape(pattern).replace(r"\*\*", ".+").replace(r"\*", "[^/:]+")


def _field(message: Proto, dotted: str) -> str:
    for part in dotted.split("."):
        message = getattr(message, part)
    return str(message)
