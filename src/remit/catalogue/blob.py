"""Azure Blob Storage: what a token for containers amounts to, and what a container is called.

Azure's data actions are the actions here, under the ids that role definitions use. Requests go straight to Azure with a
token that nobody narrows, so that it is decided as everything that it allows. What it opens of a container below a
prefix is decided as that part (`within`). Leaves out: accounts, queues, tables.
Sources: learn.microsoft.com/azure/role-based-access-control/permissions/storage, /azure/storage/blobs/
authorize-access-azure-active-directory.
"""

import re
from collections.abc import Iterable
from typing import Literal

from remit.catalogue.names import shown
from remit.model.errors import Refused
from remit.model.estate import Estate
from remit.model.operation import Action, Group, Operation, Request, Resource
from remit.model.prefixes import is_prefix
from remit.model.reasons import Reason

HOST = "blob.core.windows.net"
_BLOBS = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"
READ = Action(f"{_BLOBS}/read", Group.USE, f"{_BLOBS}/read")  # one action at Azure: to read a blob, and to list them
WRITE = Action(f"{_BLOBS}/write", Group.CHANGE, f"{_BLOBS}/write")
DELETE = Action(f"{_BLOBS}/delete", Group.CHANGE, f"{_BLOBS}/delete")
ACTIONS = (READ, WRITE, DELETE)
"""Every action that a token for Blob Storage can hold."""

_ALLOWED: dict[Literal["read", "write"], tuple[Action, ...]] = {"read": (READ,), "write": ACTIONS}
_NAME = re.compile(rf"//{re.escape(HOST)}/projects/([^/]+)/accounts/([^/]+)/containers/([^/]+)")


def blob_request(estate: Estate, containers: Iterable[str], access: Literal["read", "write"]) -> Request:
    """What a token for these containers lets its holder do: one operation per action, and per prefix.

    `containers`: `ACCOUNT/CONTAINER`, or `ACCOUNT/CONTAINER/PREFIX/` for what lies below. `write` holds everything that
    `read` does, and deleting. Raises `Refused` for a container outside the estate, and for none at all.
    """
    whole: list[Resource] = []
    parts: list[tuple[Resource, str]] = []
    for name in dict.fromkeys(containers):
        account, _, rest = name.partition("/")
        own, slash, prefix = rest.partition("/")
        resource = container(estate, f"{account}/{own}")
        if slash and not is_prefix(prefix):
            raise Refused(Reason.RESOURCE_UNKNOWN, f"{shown(name)} is no container, and no part of one below a prefix")
        parts += [(resource, prefix)] if prefix else []
        whole += [] if prefix else [resource]
    if not whole and not parts:
        raise Refused(Reason.RESOURCE_UNKNOWN, "a token for Blob Storage names at least one container")
    actions = _ALLOWED[access]
    asked = [Operation(action, tuple(whole)) for action in actions if whole]
    asked += [Operation(action, (resource,), within=prefix) for resource, prefix in parts for action in actions]
    return Request(tuple(asked))


def container(estate: Estate, name: str) -> Resource:
    """A container of the estate by `ACCOUNT/CONTAINER`; raises `Refused`."""
    owner = estate.owner_of_container(name)
    if owner is None:
        raise Refused(Reason.RESOURCE_UNKNOWN, f"container {shown(name)} belongs to no project in `remit.yaml`")
    account, _, own = name.partition("/")
    return Resource("Container", f"//{HOST}/projects/{owner.id}/accounts/{account}/containers/{own}", owner.id)


def named_container(estate: Estate, name: str) -> Resource:
    """A container of the estate by its canonical name, which names its own project; raises `Refused`."""
    found = _NAME.fullmatch(name)
    resource = container(estate, f"{found[2]}/{found[3]}") if found else None
    if resource is None or resource.name != name:
        raise Refused(Reason.RESOURCE_UNKNOWN, f"{shown(name)} is no container in `remit.yaml`")
    return resource
