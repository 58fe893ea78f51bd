"""Makes `src/remit/catalogue/data/vertex_v1.json`: every method of Vertex AI v1, its permission and its action group.

The sources lie under `tools/data` (its README says where they come from). The rules that give a method its group stand
here, to be reviewed as code; their result stands in the table, to be reviewed as data. Left out: what a method's
message may hold, which the catalogue room reads from the descriptors.

    python tools/catalogue.py            writes the table
    python tools/catalogue.py --check    exits 1 when the table is not what the sources give
"""

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "tools" / "data"
TABLE = ROOT / "src" / "remit" / "catalogue" / "data" / "vertex_v1.json"

# Answers from a model that exists: nothing is stored and no work is left running.
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
        "generateContent",
        "inference",
        "invoke",
        "predict",
        "rawPredict",
        "responses",
        "serverStreamingPredict",
        "streamGenerateContent",
        "streamRawPredict",
    }
)
_OBSERVE = re.compile(r"(get|list|read|search|query|fetch|batchRead|wait|download|lookup)([A-Z]\w*)?")
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
# Long-running operations: `aiplatform.operations.list` is the only permission that exists, reading or ending one asks
# for none that is published. They come into being with a change, so following one is `observe` and ending it `change`.
_OPERATION = re.compile(r"aiplatform\.projects\.locations\.([A-Za-z]+\.)*operations\.(get|list|wait|cancel|delete)")


def permissions(method: str, published: dict[str, list[str]], existing: frozenset[str]) -> tuple[list[str], str]:
    """A method's permissions, and how they are known: `published`, `derived` (name and role agree) or `none`."""
    if method in published:
        return published[method], "published"
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
        return "observe" if operation[2] in {"get", "list", "wait"} else "change"
    if not known or verb in _ADMINISTER:
        return "administer"
    if verb in _USE:
        return "use"
    if _OBSERVE.fullmatch(verb):
        return "observe"
    if verb in _LAUNCH and collection in _JOBS:
        return "launch"
    return "change"


def table(discovery: dict[str, Any], iam: dict[str, Any]) -> str:
    """The table as text: one method a line, in the order of ids."""
    existing = frozenset(iam["permissions"])
    rows = []
    for method, verb, path in sorted(discovery["methods"]):
        needed, source = permissions(method, iam["methods"], existing)
        short = method.removeprefix("aiplatform.")
        carries = {kind: fields[short] for kind, fields in sorted(discovery["sensitive"].items()) if short in fields}
        row = {
            "id": method,
            "http": verb,
            "path": re.sub(r"\{[^}]*\}", "*", path),
            "group": group(method, known=bool(needed)),
            "permissions": sorted(needed),
            "source": source,
            "carries": carries,
        }
        rows.append("  " + json.dumps(row))
    head = {
        "made_by": "tools/catalogue.py",
        "made_from": "tools/data (provenance in its README)",
        "api": "aiplatform v1",
        "revision": discovery["revision"],
    }
    lines = [f" {json.dumps(key)}: {json.dumps(value)}," for key, value in head.items()]
    return "\n".join(["{", *lines, ' "methods": [', ",\n".join(rows), " ]", "}", ""])


def made() -> str:
    """The table that the sources give today."""
    discovery = json.loads((SOURCES / "vertex_v1_discovery.json").read_text())
    return table(discovery, json.loads((SOURCES / "vertex_iam.json").read_text()))


def main() -> int:
    """Writes or checks; the exit code."""
    parser = argparse.ArgumentParser(description="makes the catalogue's table of Vertex AI")
    parser.add_argument("--check", action="store_true", help="only tell whether the table is current")
    text = made()
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
