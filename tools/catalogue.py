"""Makes `src/remit/catalogue/data/vertex.json`: every method of Vertex AI v1 and v1beta1, its permission and its group.

The sources lie under `tools/data` (its README says where they come from), and the descriptor sets under
`src/remit/googleapis` (`tools/descriptors.py` makes those first). The rules that give a method its group stand here, to
be reviewed as code; their result stands in the table, to be reviewed as data. A method of both versions is one row: one
id, one permission, one group. Left out: what a method's message may hold, which the catalogue room reads from the
descriptors.

    python tools/catalogue.py            writes the table
    python tools/catalogue.py --check    exits 1 when the table is not what the sources give
"""

import argparse
import gzip
import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from google.api import annotations_pb2
from google.protobuf import descriptor_pb2

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "tools" / "data"
DESCRIPTORS = ROOT / "src" / "remit" / "googleapis"
TABLE = ROOT / "src" / "remit" / "catalogue" / "data" / "vertex.json"
VERSIONS = ("v1", "v1beta1")
_OPERATION_TYPE = ".google.longrunning.Operation"
_WORK = ("Jobs", ".schedules", ".trainingPipelines")  # collections of what runs, whose `create` answers with the thing

# Answers from a model, an index or an engine that exists: nothing is stored and no work is left running.
_USE = frozenset(
    {
        "batchEmbedContents",
        "completions",
        "computeTokens",
        "countTokens",
        "directPredict",
        "directRawPredict",
        "embedContent",
        "embeddings",
        "explain",
        "findNeighbors",
        "generateContent",
        "inference",
        "invoke",
        "predict",
        "rawPredict",
        "readIndexDatapoints",
        "responses",
        "retrieveContexts",
        "serverStreamingPredict",
        "streamGenerateContent",
        "streamQuery",
        "streamRawPredict",
    }
)
# Asking an engine runs it; what else is called `query` looks something up.
_ENGINES = frozenset({"reasoningEngines", "runtimeRevisions"})
_OBSERVE = re.compile(
    r"(get|list|read|search|query|fetch|batchRead|streamingRead|streamingFetch|retrieve|wait|download|lookup)"
    r"([A-Z]\w*)?"
)
# Read by name, and a job by what it does: its results are written to a table or a bucket that the caller names.
_WRITES = frozenset({"batchReadFeatureValues"})
# Collections whose `create` starts work that runs with an identity of its own.
_JOBS = frozenset(
    {
        "batchPredictionJobs",
        "customJobs",
        "dataLabelingJobs",
        "hyperparameterTuningJobs",
        "modelDeploymentMonitoringJobs",
        "nasJobs",
        "notebookExecutionJobs",
        "notebookRuntimes",
        "persistentResources",
        "pipelineJobs",
        "schedules",
        "trainingPipelines",
        "tuningJobs",
    }
)
_LAUNCH = frozenset({"create", "batchCreate", "assign", "start", "resume", "upgrade"})
_ADMINISTER = frozenset({"getIamPolicy", "setIamPolicy", "testIamPermissions", "updateCacheConfig", "authorizeAccess"})
# Google's page "Access control with IAM" names one permission for all requests to a model; of the inference verbs
# only some stand in the data set.
_INFERENCE = re.compile(r"aiplatform\.projects\.locations\.(endpoints|publishers\.models)\.(\w+)")
# An inference that goes on after its answer.
_STARTS = frozenset({"predictLongRunning"})
# Long-running operations: `aiplatform.operations.list` is the only permission that exists, reading or ending one asks
# for none that is published. They come into being with a change, so following one is `observe` and ending it `change`.
_OPERATION = re.compile(
    r"aiplatform\.projects\.locations\.([A-Za-z]+\.)*operations\.(get|list|wait|listWait|cancel|delete)"
)


_VERBS = ("get", "post", "put", "patch", "delete")
# Procedures of every Google API: the client packages list only some of the paths on which they are served.
_MIXINS = {
    ("GET", "operations"): "google.longrunning.Operations/ListOperations",
    ("GET", "operations/*"): "google.longrunning.Operations/GetOperation",
    ("DELETE", "operations/*"): "google.longrunning.Operations/DeleteOperation",
    ("POST", "operations/*:cancel"): "google.longrunning.Operations/CancelOperation",
    ("POST", "operations/*:wait"): "google.longrunning.Operations/WaitOperation",
    ("GET", "operations/*:wait"): "google.longrunning.Operations/WaitOperation",
    ("POST", ":getIamPolicy"): "google.iam.v1.IAMPolicy/GetIamPolicy",
    ("POST", ":setIamPolicy"): "google.iam.v1.IAMPolicy/SetIamPolicy",
    ("POST", ":testIamPermissions"): "google.iam.v1.IAMPolicy/TestIamPermissions",
}


def permissions(
    method: str, published: dict[str, list[str]], reviewed: dict[str, str], existing: frozenset[str]
) -> tuple[list[str], str]:
    """A method's permissions, and how they are known.

    `published`; `reviewed` by hand; `derived`, where a role holds what the name says; or `none`.
    """
    if method in published:
        return published[method], "published"
    if method in reviewed:
        return [reviewed[method]], "reviewed"
    *_, collection, verb = method.split(".")
    inference = _INFERENCE.fullmatch(method)
    if inference and inference[2] in _USE:
        return ["aiplatform.endpoints.predict"], "derived"
    guess = f"aiplatform.{collection}.{ {'patch': 'update'}.get(verb, verb) }"
    if method.startswith("aiplatform.projects.") and guess in existing:
        return [guess], "derived"
    return [], "none"


def group(method: str, *, known: bool) -> str:
    """A method's action group. `known`: whether its permission is; without one it is `administer`."""
    *_, collection, verb = method.split(".")
    operation = _OPERATION.fullmatch(method)
    if operation:
        return "change" if operation[2] in {"cancel", "delete"} else "observe"
    if not known or verb in _ADMINISTER:
        return "administer"
    if verb in _USE or (verb == "query" and collection in _ENGINES):
        return "use"
    if _OBSERVE.fullmatch(verb) and verb not in _WRITES:
        return "observe"
    if verb in _STARTS or (verb in _LAUNCH and collection in _JOBS):
        return "launch"
    return "change"


def starts(one: "Form", verb: str, answers: Mapping[str, str]) -> bool:
    """Whether the answer names what belongs to the caller from then on: a new operation, or a job that it created."""
    if not one.grpc:  # no descriptor tells: what it creates, or a video that takes its time
        return verb == "POST" and one.id.endswith((".create", ".predictLongRunning"))
    collection, _, method = one.id.rpartition(".")
    job = method == "create" and collection.endswith(_WORK)
    return ".operations." not in one.id and (job or any(answers.get(call) == _OPERATION_TYPE for call in one.grpc))


@dataclass
class Form:
    """One REST form of a method, or the one that a procedure's HTTP rule gives it."""

    id: str
    versions: set[str] = field(default_factory=set)
    grpc: set[str] = field(default_factory=set)


def forms() -> dict[tuple[str, str], Form]:
    """Every form: by verb and path without its version (`projects/*/locations/*/models:upload`, `:evaluateDataset`)."""
    found: dict[tuple[str, str], Form] = {}
    for version in VERSIONS:
        for method, verb, path in _discovery(version)["methods"]:
            form = re.sub(r"\{[^}]*\}", "*", path).removeprefix(version).removeprefix("/")
            found.setdefault((verb, form), Form(method)).versions.add(version)
    for version in VERSIONS:
        for procedure, verb, path in _rules(version):
            of, _, form = path.partition("/")
            if of != version or not form.startswith("projects/"):
                continue
            one = found.setdefault((verb, form), Form(_named(verb, form)))
            one.versions.add(version)
            one.grpc.add(procedure)
    for (verb, form), one in found.items():
        for (asked, end), procedure in _MIXINS.items():
            if verb == asked and form.startswith("projects/") and form.endswith(end):
                one.grpc.add(procedure)
    return found


@cache
def _discovery(version: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((SOURCES / f"vertex_{version}_discovery.json").read_text())
    return found


def _rules(version: str) -> Iterator[tuple[str, str, str]]:
    """`(package.Service/Method, verb, path)` of every HTTP rule in a version's descriptors, `*` for each variable."""
    for file in _files(version):
        for service in file.service:
            for method in service.method:
                rule = method.options.Extensions[annotations_pb2.http]
                for one in (rule, *rule.additional_bindings):
                    verb = next((verb for verb in _VERBS if getattr(one, verb)), "get")
                    path = re.sub(r"\{\w[\w.]*=([^}]+)\}", r"\1", getattr(one, verb)).removeprefix("/")
                    yield f"{file.package}.{service.name}/{method.name}", verb.upper(), path


def _answers() -> dict[str, str]:
    """The type that each procedure answers with."""
    return {
        f"{file.package}.{service.name}/{method.name}": method.output_type
        for version in VERSIONS
        for file in _files(version)
        for service in file.service
        for method in service.method
    }


@cache
def _files(version: str) -> tuple[descriptor_pb2.FileDescriptorProto, ...]:
    packed = (DESCRIPTORS / f"vertex_{version}.binpb.gz").read_bytes()
    return tuple(descriptor_pb2.FileDescriptorSet.FromString(gzip.decompress(packed)).file)


def _named(verb: str, form: str) -> str:
    """The id of a form that the discovery document leaves out, made as the document makes its own."""
    collections = [part for part in form.partition(":")[0].split("/") if part != "*"]
    plain = {"GET": "get" if form.endswith("*") else "list", "POST": "create", "DELETE": "delete", "PATCH": "patch"}
    return ".".join(["aiplatform", *collections, form.partition(":")[2] or plain[verb]])


def _carried(method: str) -> dict[str, list[str]]:
    """For each kind the body fields, in either version, that can hold one."""
    short = method.removeprefix("aiplatform.")
    found: dict[str, set[str]] = {}
    for version in VERSIONS:
        for kind, methods in _discovery(version)["sensitive"].items():
            if short in methods:
                found.setdefault(kind, set()).update(methods[short])
    return {kind: sorted(fields) for kind, fields in sorted(found.items())}


def table() -> str:
    """The table as text: one form of a method a line, in the order of ids."""
    iam = json.loads((SOURCES / "vertex_iam.json").read_text())
    reviewed = {row[0]: row[1] for row in json.loads((SOURCES / "vertex_reviewed.json").read_text())["permissions"]}
    existing = frozenset(iam["permissions"])
    answers, rows = _answers(), []
    for (verb, form), one in sorted(forms().items(), key=lambda item: (item[1].id, item[0])):
        needed, source = permissions(one.id, iam["methods"], reviewed, existing)
        row = {
            "id": one.id,
            "http": verb,
            "path": form,
            "versions": sorted(one.versions),
            "grpc": sorted(one.grpc),
            "group": group(one.id, known=bool(needed)),
            "starts": starts(one, verb, answers),
            "permissions": sorted(needed),
            "source": source,
            "carries": _carried(one.id),
        }
        rows.append("  " + json.dumps(row))
    head = {
        "made_by": "tools/catalogue.py",
        "made_from": "tools/data (provenance in its README)",
        "api": "aiplatform v1 and v1beta1",
        "revision": max(_discovery(version)["revision"] for version in VERSIONS),
    }
    lines = [f" {json.dumps(key)}: {json.dumps(value)}," for key, value in head.items()]
    return "\n".join(["{", *lines, ' "methods": [', ",\n".join(rows), " ]", "}", ""])


def main() -> int:
    """Writes or checks; the exit code."""
    parser = argparse.ArgumentParser(description="makes the catalogue's table of Vertex AI")
    parser.add_argument("--check", action="store_true", help="only tell whether the table is current")
    text = table()
    if parser.parse_args().check:
        current = TABLE.exists() and TABLE.read_text() == text
        print("current" if current else f"`{TABLE.relative_to(ROOT)}` is stale: run `make catalogue`")
        return 0 if current else 1
    TABLE.parent.mkdir(exist_ok=True)
    TABLE.write_text(text)
    print(f"{TABLE.relative_to(ROOT)}: {text.count(chr(10))} lines")
    return 0


if __name__ == "__main__":
    sys.exit(main())
