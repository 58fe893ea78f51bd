"""The methods that Remit knows by name: Vertex AI's from the generated table, its neighbours' by hand.

Vertex AI: `data/vertex.json` (`tools/catalogue.py` makes it; sources in `tools/data/README.md`), v1 and v1beta1 in one:
a method has one id, one permission and one group, whichever version it is asked in. The neighbours are few; their ids
and permissions are those of Google's reference pages: cloud.google.com/resource-manager/docs/access-control-proj and
/iam/docs/service-account-permissions; those of Cloud Logging stand in `log_names.py`, of Cloud Storage in `store.py`,
of other services in `services/`. Left out: how a request is written and read (`api.py`).
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any

from remit.model.operation import ACCESS_ACTIONS, EXPLICIT_ACTIONS, OWN_ACTIONS, Action, Group

NOTHING: Mapping[str, tuple[str, ...]] = MappingProxyType({})
# Verbs whose answer is a stream of server-sent events or of JSON, by their names: `streamQuery`, `subscribe`.
_STREAMS = re.compile(r"(serverS|s)tream([A-Z]\w*|ing[A-Z]\w*)?|createStream|subscribe")
# Answers that stream when the body asks for it (platform.openai.com/docs/api-reference, `stream`).
_STREAMS_ON_DEMAND = re.compile(r"(chat\.completions|openapi\.(completions|responses)|v1\.responses)$|invoke\.invoke")


@dataclass(frozen=True, slots=True)
class Method:
    """One method of a provider, in one of its REST forms.

    `verb` and `path`: that form, with `*` for each variable and no leading slash, empty where there is none, in the
    first of its `versions`; `source`: how its permission is known (`published`, `reviewed`, `derived`, `none`);
    `carries`: for `kms`, `network`, `serviceAccount` and `untyped` the body fields that can hold one; `grpc`: the
    procedures of the same form, `package.Service/Method`; `starts`: whether its answer names what belongs to the caller
    from then on.
    """

    action: Action
    verb: str
    path: str
    source: str = "published"
    carries: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: NOTHING)
    versions: tuple[str, ...] = ()
    grpc: tuple[str, ...] = ()
    starts: bool = False

    @property
    def form(self) -> str:
        """The path without its version: `projects/*/locations/*/customJobs`, `:evaluateDataset`."""
        return self.path.removeprefix(self.versions[0]).removeprefix("/") if self.versions else self.path

    @property
    def scoped(self) -> bool:
        """Whether the path names a project, so that somebody can say who may."""
        return self.form.startswith("projects/")

    @property
    def streams(self) -> bool:
        """Whether the answer may stay open."""
        identifier = self.action.id
        return bool(_STREAMS.fullmatch(identifier.rpartition(".")[2]) or _STREAMS_ON_DEMAND.search(identifier))

    def path_in(self, version: str) -> str:
        """The path in one version."""
        return f"{version}{self.form}" if self.form.startswith(":") else f"{version}/{self.form}"


PROJECTS = (
    Method(
        Action("cloudresourcemanager.projects.get", Group.OBSERVE, "resourcemanager.projects.get"),
        "GET",
        "v1/projects/*",
    ),
)
ACT_AS = Action("iam.serviceAccounts.actAs", Group.LAUNCH, "iam.serviceAccounts.actAs")
NEIGHBOURS = (ACT_AS, *EXPLICIT_ACTIONS, *OWN_ACTIONS, *ACCESS_ACTIONS)
"""Actions without a method of their own on the wire of an API: acting as an account, parts of a message that need a
permission of their own, and what Remit itself is asked."""


@cache
def _table() -> Mapping[str, Any]:
    text = resources.files("remit").joinpath("catalogue", "data", "vertex.json").read_text()
    table: Mapping[str, Any] = json.loads(text)
    return table


@cache
def vertex() -> tuple[Method, ...]:
    """Every method of Vertex AI, v1 and v1beta1, once for each of its REST forms, in the order of ids."""
    return tuple(_row(row) for row in _table()["methods"])


def revision() -> str:
    """The revision of the discovery documents that the table was made from (`20261106`)."""
    return str(_table()["revision"])


def _row(row: Mapping[str, Any]) -> Method:
    action = Action(row["id"], Group(row["group"]), _strongest(row["permissions"]))
    fields = {kind: tuple(names) for kind, names in row["carries"].items()}
    version = row["versions"][0]
    path = f"{version}{'' if row['path'].startswith(':') else '/'}{row['path']}"
    versions, grpc = tuple(row["versions"]), tuple(row["grpc"])
    return Method(action, row["http"], path, row["source"], fields, versions, grpc, row["starts"])


def _strongest(permissions: list[str]) -> str:
    """The permission that a method is named by: of `get` and `update` together, `update`."""
    return max(permissions, key=lambda name: (not name.endswith(".get"), name), default="")
