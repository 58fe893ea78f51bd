"""The methods that Remit knows by name: Vertex AI's from the generated table, its neighbours' by hand.

Vertex AI: `data/vertex_v1.json` (`tools/catalogue.py` makes it; sources in `tools/data/README.md`). The neighbours are
few, and their ids and permissions are those of Google's reference pages: cloud.google.com/logging/docs/access-control,
/resource-manager/docs/access-control-proj, /storage/docs/access-control/iam-permissions and
/iam/docs/service-account-permissions. Left out: which of them are served, and how (`api.py`).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from types import MappingProxyType

from remit.model.operation import OWN_ACTIONS, Action, Group


@dataclass(frozen=True, slots=True)
class Method:
    """One method of a provider.

    `verb` and `path`: its REST form, with `*` for each variable and no leading slash, empty where there is none;
    `source`: how its permission is known (`published`, `derived`, `none`); `carries`: for `kms`, `network`,
    `serviceAccount` and `untyped` the body fields that can hold one.
    """

    action: Action
    verb: str
    path: str
    source: str = "published"
    carries: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def _neighbour(name: str, group: Group, permission: str, verb: str = "", path: str = "") -> Method:
    return Method(Action(name, group, permission), verb, path)


LOGGING = (_neighbour("logging.entries.list", Group.OBSERVE, "logging.logEntries.list", "POST", "v2/entries:list"),)
PROJECTS = (
    _neighbour(
        "cloudresourcemanager.projects.get", Group.OBSERVE, "resourcemanager.projects.get", "GET", "v1/projects/*"
    ),
)
# Reading an object is use of the data, so that who may only observe learns names and no contents.
STORAGE = (
    _neighbour("storage.objects.get", Group.USE, "storage.objects.get"),
    _neighbour("storage.objects.list", Group.OBSERVE, "storage.objects.list"),
    _neighbour("storage.objects.insert", Group.CHANGE, "storage.objects.create"),
    _neighbour("storage.objects.delete", Group.CHANGE, "storage.objects.delete"),
)
ACT_AS = Action("iam.serviceAccounts.actAs", Group.LAUNCH, "iam.serviceAccounts.actAs")
NEIGHBOURS = (ACT_AS, *OWN_ACTIONS)
"""Actions without a method of their own on the wire of an API: acting as an account, and what Remit itself is asked."""


@cache
def vertex() -> tuple[Method, ...]:
    """Every method of Vertex AI v1, in the order of ids."""
    text = resources.files("remit").joinpath("catalogue", "data", "vertex_v1.json").read_text()
    return tuple(_row(row) for row in json.loads(text)["methods"])


def revision() -> str:
    """The revision of the discovery document that the table was made from (`20261106`)."""
    text = resources.files("remit").joinpath("catalogue", "data", "vertex_v1.json").read_text()
    return str(json.loads(text)["revision"])


@cache
def actions() -> Mapping[str, Group]:
    """Every action id that a request can hold, with its group: what policy may name."""
    known = {method.action.id: method.action.group for method in (*vertex(), *LOGGING, *PROJECTS, *STORAGE)}
    return MappingProxyType({**known, **{action.id: action.group for action in NEIGHBOURS}})


def _row(row: Mapping[str, object]) -> Method:
    permissions, carries = row["permissions"], row["carries"]
    assert isinstance(permissions, list)  # noqa: S101 - the shape of our own data, held by the golden test
    assert isinstance(carries, dict)  # noqa: S101 - as above
    action = Action(str(row["id"]), Group(str(row["group"])), _strongest(permissions))
    fields = {kind: tuple(names) for kind, names in carries.items()}
    return Method(action, str(row["http"]), str(row["path"]), str(row["source"]), fields)


def _strongest(permissions: list[str]) -> str:
    """The permission that a method is named by: of `get` and `update` together, `update`."""
    return max(permissions, key=lambda name: (not name.endswith(".get"), name), default="")
