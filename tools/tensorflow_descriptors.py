"""Makes `src/remit/googleapis/tensorflow_serving.binpb.gz`: TensorFlow Serving's services as a descriptor set.

The wheel of tensorflow-serving-api holds each file's serialised descriptor as one literal in its `*_pb2.py`, and so
does the installed tensorflow for what those files import: they are read as text, since importing tensorflow takes 10 s.
Kept: two services, the messages of their calls, and `SignatureDefMap`, which travels in an `Any`. Left out: every other
message of the same files, options of other languages' generators, and `SessionService`, which Remit refuses by name.

    python tools/tensorflow_descriptors.py            writes the file (asks the package index for the wheel)
    python tools/tensorflow_descriptors.py --check    exits 1 when it is not what the packages give
    … --wheel FILE                                    takes the wheel from there
"""

import argparse
import ast
import gzip
import importlib.util
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TypeGuard

from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, wrappers_pb2

TARGET = Path(__file__).resolve().parent.parent / "src" / "remit" / "googleapis" / "tensorflow_serving.binpb.gz"
WHEEL = "tensorflow-serving-api==2.21.0"
ROOTS = tuple(f"tensorflow_serving/apis/{name}.proto" for name in ("prediction_service", "model_service"))
ENTERED = ("tensorflow.serving.SignatureDefMap",)
_STANDARD = (any_pb2, wrappers_pb2)  # imported, so that the default pool has them
_MOVED = (("xla/tsl/", "tensorflow/tsl/"), ("xla/", "tensorflow/compiler/xla/"), ("tsl/", "tensorflow/tsl/"))

File = descriptor_pb2.FileDescriptorProto
Message = descriptor_pb2.DescriptorProto
Enum = descriptor_pb2.EnumDescriptorProto


class Sources:
    """The descriptors of the wheel and of the installed tensorflow, by the name of their `.proto` file."""

    def __init__(self, wheel: Path) -> None:
        self._wheel = zipfile.ZipFile(wheel)
        self._listed = frozenset(self._wheel.namelist())
        found = importlib.util.find_spec("tensorflow")
        if found is None or not found.submodule_search_locations:
            raise SystemExit("tensorflow is not installed: its protos are needed")
        self._installed = Path(found.submodule_search_locations[0]).parent

    def every(self) -> dict[str, File]:
        """The roots and all that they import, each after its imports."""
        files: dict[str, File] = {}
        for root in ROOTS:
            self._add(files, root)
        return files

    def _add(self, files: dict[str, File], name: str) -> None:
        if name in files:
            return
        file = self._file(name)
        for dependency in file.dependency:
            self._add(files, dependency)
        files[name] = file

    def _file(self, name: str) -> File:
        if name.startswith("google/protobuf/"):
            file = File()
            descriptor_pool.Default().FindFileByName(name).CopyToProto(file)
            return file
        for node in ast.walk(ast.parse(self._text(name))):
            if _adds_a_file(node):
                return File.FromString(ast.literal_eval(node.args[0]))
        raise SystemExit(f"{name}: its module holds no descriptor")

    def _text(self, name: str) -> str:
        places = [name, *(name.replace(old, new, 1) for old, new in _MOVED if name.startswith(old))]
        for module in (f"{place.removesuffix('.proto')}_pb2.py" for place in places):
            if module in self._listed:
                return self._wheel.read(module).decode()
            if (self._installed / module).exists():
                return (self._installed / module).read_text()
        raise SystemExit(f"{name}: neither the wheel nor tensorflow holds it")


def _adds_a_file(node: ast.AST) -> TypeGuard[ast.Call]:
    """Whether this is `pool.AddSerializedFile(b"…")`."""
    return isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".AddSerializedFile")


def trimmed(files: dict[str, File]) -> descriptor_pb2.FileDescriptorSet:
    """The files with what the services' calls reach, and without the rest."""
    homes = {f".{file.package}.{one.name}": file.name for file in files.values() for one in _types(file)}
    types = {f".{file.package}.{one.name}": one for file in files.values() for one in _types(file)}
    wanted = {f".{name}" for name in ENTERED}
    for file in files.values():
        for method in (method for service in file.service for method in service.method):
            wanted |= {method.input_type, method.output_type}
    wanted = _reached({_top(name, types) for name in wanted}, types)
    kept = [_kept(file, wanted, types, homes) for file in files.values()]
    return descriptor_pb2.FileDescriptorSet(
        file=[file for file in kept if file.message_type or file.enum_type or file.service]
    )


def _types(file: File) -> Iterator[Message | Enum]:
    yield from file.message_type
    yield from file.enum_type


def _reached(names: set[str], types: dict[str, Message | Enum]) -> set[str]:
    reached: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            one = types[name]
            waiting.extend(_top(used, types) for used in (_used(one) if isinstance(one, Message) else ()))
    return reached


def _used(message: Message) -> Iterator[str]:
    yield from (field.type_name for field in message.field if field.type_name)
    for nested in message.nested_type:
        yield from _used(nested)


def _top(name: str, types: dict[str, Message | Enum]) -> str:
    """The outermost type that a type stands in, which is kept whole."""
    while name not in types:
        name = name.rpartition(".")[0]
    return name


def _kept(file: File, wanted: set[str], types: dict[str, Message | Enum], homes: dict[str, str]) -> File:
    kept = File(name=file.name, package=file.package, service=file.service)
    if file.syntax:
        kept.syntax = file.syntax  # proto2 is written by saying nothing
    kept.message_type.extend(one for one in file.message_type if f".{file.package}.{one.name}" in wanted)
    kept.enum_type.extend(one for one in file.enum_type if f".{file.package}.{one.name}" in wanted)
    used = {name for message in kept.message_type for name in _used(message)}
    for method in (method for service in kept.service for method in service.method):
        used |= {method.input_type, method.output_type}
    kept.dependency.extend(sorted({homes[_top(name, types)] for name in used} - {file.name}))
    return kept


def _download(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "download", "--no-deps"]
    subprocess.run([*command, "--only-binary=:all:", "--dest", str(folder), WHEEL], check=True)  # noqa: S603  # fixed words
    return next(folder.glob("*.whl"))


def _made(wheel: Path | None) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        files = Sources(wheel or _download(Path(folder))).every()
    made = trimmed(files)
    pool = descriptor_pool.DescriptorPool()
    for file in made.file:
        pool.AddSerializedFile(file.SerializeToString())  # ends the run here if anything that is used was left out
    return made.SerializeToString(deterministic=True)


def main() -> int:
    """Writes or checks the file; the exit code."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    options.add_argument("--check", action="store_true", help="write nothing, exit 1 on a difference")
    options.add_argument("--wheel", type=Path, help="the wheel of tensorflow-serving-api, instead of the index's")
    asked = options.parse_args()
    made = _made(asked.wheel)
    if asked.check:
        same = TARGET.exists() and gzip.decompress(TARGET.read_bytes()) == made
        print(f"{TARGET.name}: {'as made' if same else 'differs'}")
        return 0 if same else 1
    TARGET.write_bytes(gzip.compress(made, 9, mtime=0))
    print(f"{TARGET.name}: {len(made)} bytes, {TARGET.stat().st_size} compressed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
