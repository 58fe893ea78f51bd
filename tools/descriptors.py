"""Makes `src/remit/googleapis/*.binpb.gz`: Google's APIs as descriptor sets, from the installed client packages.

A client package carries its messages as run-time descriptors, its method paths and types in `transports/grpc.py`,
its HTTP rules in `transports/rest_base.py`, and the results of long-running operations in `client.py`. Put together
they are what the published protos say: services with `google.api.http` and `google.longrunning.operation_info`.
Left out: comments, field behaviours, and every service that is not in `SETS`.

    python tools/descriptors.py            writes the files
    python tools/descriptors.py --check    exits 1 when they are not what the installed packages give
"""

import argparse
import ast
import gzip
import importlib
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, TypeGuard

from google.api import annotations_pb2, client_pb2
from google.cloud.location import locations_pb2
from google.iam.v1 import iam_policy_pb2
from google.longrunning import operations_pb2
from google.protobuf import descriptor_pb2, empty_pb2
from google.protobuf.descriptor import Descriptor, FileDescriptor

FOLDER = Path(__file__).resolve().parent.parent / "src" / "remit" / "googleapis"
_CALLS = frozenset({"unary_unary", "unary_stream", "stream_unary", "stream_stream"})
_PIECES = (annotations_pb2, client_pb2, operations_pb2, empty_pb2)
_MIXINS = (operations_pb2, locations_pb2, iam_policy_pb2)

Rule = dict[str, str]

# google-cloud-logging ships no REST transport, hence no rules. These are the `google.api.http` options of googleapis'
# google/logging/v2/logging.proto.
_OWNERS = ("projects/*", "organizations/*", "folders/*", "billingAccounts/*")
LOGGING_RULES: Mapping[str, list[Rule]] = {
    "ListLogEntries": [{"method": "post", "uri": "/v2/entries:list", "body": "*"}],
    "WriteLogEntries": [{"method": "post", "uri": "/v2/entries:write", "body": "*"}],
    "DeleteLog": [
        {"method": "delete", "uri": f"/v2/{{log_name={owner}/logs/*}}"} for owner in (_OWNERS[0], "*/*", *_OWNERS[1:])
    ],
    "ListLogs": [
        {"method": "get", "uri": f"/v2/{{parent={owner}}}/logs"}
        for owner in (
            "*/*",
            *_OWNERS,
            *(f"{owner}/locations/*/buckets/*/views/*" for owner in _OWNERS),
        )
    ],
    "ListMonitoredResourceDescriptors": [{"method": "get", "uri": "/v2/monitoredResourceDescriptors"}],
}


@dataclass(frozen=True)
class Set:
    """One file to make.

    `services`: folder names under `services/`, all of them when empty; `extra`: modules with messages that travel
    in an `Any`.
    """

    file: str
    package: str
    services: tuple[str, ...] = ()
    rules: Mapping[str, list[Rule]] = field(default_factory=dict)
    mixins: bool = False
    extra: tuple[str, ...] = ()


SETS = (
    Set("vertex_v1", "google.cloud.aiplatform_v1", mixins=True),
    Set("vertex_v1beta1", "google.cloud.aiplatform_v1beta1", mixins=True),
    Set(
        "logging_v2",
        "google.cloud.logging_v2",
        ("logging_service_v2",),
        LOGGING_RULES,
        extra=("google.cloud.audit.audit_log_pb2",),
    ),
    Set("resourcemanager_v3", "google.cloud.resourcemanager_v3", ("projects",)),
)


def descriptor_set(wanted: Set) -> descriptor_pb2.FileDescriptorSet:
    """Messages first, in the order of their dependencies, then one file per service."""
    files: dict[str, descriptor_pb2.FileDescriptorProto] = {}
    for module in (*_PIECES, *(_MIXINS if wanted.mixins else ())):
        _add(files, module.DESCRIPTOR)
    for name in wanted.extra:
        _add(files, importlib.import_module(name).DESCRIPTOR)
    root = importlib.import_module(wanted.package)
    folders = sorted(Path(str(root.__file__)).parent.joinpath("services").glob("*/transports/grpc.py"))
    services = []
    for path in folders:
        name = path.parent.parent.name
        if not wanted.services or name in wanted.services:
            services.append(_service(files, wanted, name, path.parent))
    if wanted.mixins:
        _give_mixins_their_rules(files, folders[0].parent)
    else:
        for file in files.values():
            del file.service[:]  # imported for a message, not served here
    return descriptor_pb2.FileDescriptorSet(file=[*_in_order(files), *services])


def _in_order(files: Mapping[str, descriptor_pb2.FileDescriptorProto]) -> list[descriptor_pb2.FileDescriptorProto]:
    """Every file after its imports, otherwise by name: proto-plus lists imports in another order on each run."""
    placed: dict[str, descriptor_pb2.FileDescriptorProto] = {}

    def place(name: str) -> None:
        file = files[name]
        if name in placed:
            return
        if not file.public_dependency and not file.weak_dependency:
            file.dependency.sort()
        for dependency in file.dependency:
            place(dependency)
        placed[name] = file

    for name in sorted(files):
        place(name)
    return list(placed.values())


def _service(
    files: dict[str, descriptor_pb2.FileDescriptorProto], wanted: Set, name: str, transports: Path
) -> descriptor_pb2.FileDescriptorProto:
    """One service of the package as a file of its own."""
    grpc_module = importlib.import_module(f"{wanted.package}.services.{name}.transports.grpc")
    client = importlib.import_module(f"{wanted.package}.services.{name}.client")
    rules = {**_rules(transports / "rest_base.py"), **wanted.rules}
    results = dict(_results(client))
    made = descriptor_pb2.FileDescriptorProto(name=f"{wanted.package.replace('.', '/')}/services/{name}.proto")
    made.syntax = "proto3"
    needs = {annotations_pb2.DESCRIPTOR.name, operations_pb2.DESCRIPTOR.name, empty_pb2.DESCRIPTOR.name}
    for full_name, call, request, response in _calls(grpc_module, transports / "grpc.py"):
        service, method = full_name.rsplit("/", 1)
        if service.startswith(("google.longrunning.", "google.cloud.location.", "google.iam.")):
            continue
        for message in (request, response):
            _add(files, message.file)
            needs.add(message.file.name)
        if not made.service:
            made.package = service.rsplit(".", 1)[0]
            made.service.add(name=service.rsplit(".", 1)[1])
        entry = made.service[0].method.add(
            name=method, input_type=f".{request.full_name}", output_type=f".{response.full_name}"
        )
        entry.client_streaming, entry.server_streaming = call.startswith("stream_"), call.endswith("_stream")
        _annotate(entry, rules.get(method, []), results.get(_snake(method)))
    made.dependency.extend(sorted(needs))
    return made


def _annotate(entry: descriptor_pb2.MethodDescriptorProto, rules: list[Rule], result: tuple[str, str] | None) -> None:
    if rules:
        http = entry.options.Extensions[annotations_pb2.http]
        http.Clear()
        for number, rule in enumerate(rules):
            target = http if number == 0 else http.additional_bindings.add()
            setattr(target, rule["method"], rule["uri"])
            target.body = rule.get("body", "")
    if result:
        info = entry.options.Extensions[operations_pb2.operation_info]
        info.response_type, info.metadata_type = result


def _give_mixins_their_rules(files: dict[str, descriptor_pb2.FileDescriptorProto], transports: Path) -> None:
    """Operations, Locations and IAMPolicy answer on this API's own paths; every service lists the same ones."""
    rules = _rules(transports / "rest_base.py")
    for module in _MIXINS:
        for service in files[module.DESCRIPTOR.name].service:
            for method in service.method:
                method.options.ClearExtension(annotations_pb2.http)
                _annotate(method, rules.get(method.name, []), None)


def _calls(module: ModuleType, path: Path) -> Iterator[tuple[str, str, Descriptor, Descriptor]]:
    """`(service/Method, kind of call, request, response)` of every stub."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _CALLS):
            continue
        if not (node.args and isinstance(node.args[0], ast.Constant)):
            continue  # the interceptor hands a call on
        types = {keyword.arg: keyword.value for keyword in node.keywords}
        request = _message(types["request_serializer"], module)
        response = _message(types["response_deserializer"], module)
        yield str(node.args[0].value).lstrip("/"), node.func.attr, request, response


def _message(node: ast.expr, module: ModuleType) -> Descriptor:
    """The message behind `types.Thing.serialize`; no deserializer means an empty answer."""
    if isinstance(node, ast.Constant):
        return empty_pb2.Empty.DESCRIPTOR
    assert isinstance(node, ast.Attribute), ast.dump(node)  # noqa: S101  # a package of another shape ends the run here
    return _descriptor(node.value, module)


def _descriptor(node: ast.expr, module: ModuleType) -> Descriptor:
    found: Any = eval(ast.unparse(node), vars(module))  # noqa: S307  # a dotted name of the package's own source
    descriptor: Descriptor = found.pb().DESCRIPTOR if hasattr(found, "pb") else found.DESCRIPTOR
    return descriptor


def _rules(path: Path) -> dict[str, list[Rule]]:
    """Method → its HTTP rules, from the literals in `rest_base.py`."""
    found: dict[str, list[Rule]] = {}
    if not path.exists():
        return found
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ClassDef) and node.name.startswith("_Base"):
            for part in ast.walk(node):
                if isinstance(part, ast.AnnAssign) and ast.unparse(part.target) == "http_options" and part.value:
                    found[node.name.removeprefix("_Base")] = ast.literal_eval(part.value)
    return found


def _results(client: ModuleType) -> Iterator[tuple[str, tuple[str, str]]]:
    """Client method → `(response type, metadata type)` of its long-running operation."""
    for function in ast.walk(ast.parse(Path(str(client.__file__)).read_text())):
        if not isinstance(function, ast.FunctionDef):
            continue
        for node in ast.walk(function):
            if _is_from_gapic(node):
                metadata = next(keyword.value for keyword in node.keywords if keyword.arg == "metadata_type")
                types = (_descriptor(node.args[2], client), _descriptor(metadata, client))
                yield function.name, (types[0].full_name, types[1].full_name)


def _is_from_gapic(node: ast.AST) -> TypeGuard[ast.Call]:
    """Whether this is `operation.from_gapic(operation, client, result type, …)`."""
    named = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "from_gapic"
    return named and isinstance(node, ast.Call) and len(node.args) > 2  # noqa: PLR2004  # the three named above


def _add(files: dict[str, descriptor_pb2.FileDescriptorProto], file: FileDescriptor) -> None:
    """Adds a file after everything that it imports."""
    if file.name in files:
        return
    for dependency in file.dependencies:
        _add(files, dependency)
    files[file.name] = descriptor_pb2.FileDescriptorProto()
    file.CopyToProto(files[file.name])


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def main() -> int:
    """Writes or checks every set; the exit code."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    options.add_argument("--check", action="store_true", help="write nothing, exit 1 on a difference")
    check = options.parse_args().check
    stale = 0
    for wanted in SETS:
        made = descriptor_set(wanted).SerializeToString(deterministic=True)
        path = FOLDER / f"{wanted.file}.binpb.gz"
        if check:
            same = path.exists() and gzip.decompress(path.read_bytes()) == made
            stale += not same
            print(f"{path.name}: {'as made' if same else 'differs'}")
        else:
            path.write_bytes(gzip.compress(made, 9, mtime=0))
            print(f"{path.name}: {len(made)} bytes, {path.stat().st_size} compressed")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
