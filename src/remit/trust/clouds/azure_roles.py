"""Azure's roles as far as the trust must tell them apart: by name, by id, and whether they open blobs.

Source: learn.microsoft.com/azure/role-based-access-control/built-in-roles/storage (ids, the same in every tenant) and
role-definitions (`dataActions`, `*`).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from remit.model.errors import TrustBroken

BUILT_IN: Mapping[str, str] = {
    "Storage Blob Data Reader": "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1",
    "Storage Blob Data Contributor": "ba92f5b4-2d11-453d-a403-e96b0029c9fe",
    "Storage Blob Data Owner": "b7e6dc6d-f1e8-4753-8033-0f276bb0955b",
}
"""Name → id. A role of another id that bears one of these names is not taken for it."""

_BLOBS = "microsoft.storage/storageaccounts/blobservices/containers/blobs/"
_PROBES = tuple(f"{_BLOBS}{verb}" for verb in ("read", "write", "delete", "add/action", "tags/read"))


@dataclass(frozen=True, slots=True)
class Role:
    """A role definition. `id`: a GUID; `opens`: whether it lets anybody at the blobs of a container."""

    id: str
    name: str
    opens: bool


def built_in(name: str) -> Role:
    """A role that is wanted, by its name; raises `TrustBroken`."""
    if name not in BUILT_IN:
        raise TrustBroken(f"`{name}` is no role on containers", hint=f"one of {', '.join(sorted(BUILT_IN))}")
    return Role(BUILT_IN[name], name, opens=True)


def known(guid: str) -> Role | None:
    """A built-in role by its id."""
    return next((Role(each, name, opens=True) for name, each in BUILT_IN.items() if each == guid), None)


def gone(guid: str) -> Role:
    """One whose definition is not there any more: what it opened nobody can tell."""
    return Role(guid, guid, opens=True)


def understood(guid: str, definition: Mapping[str, Any]) -> Role:
    """A role as Azure describes it; raises `TrustBroken`. What it takes back (`notDataActions`) is not counted."""
    try:
        properties = definition["properties"]
        name = str(properties["roleName"])
        actions = [str(each) for one in properties["permissions"] for each in one.get("dataActions") or ()]
    except (KeyError, TypeError, AttributeError) as cause:
        raise TrustBroken(f"Azure describes role `{guid}` in no known form") from cause
    return Role(guid, f"{name} ({guid})" if name in BUILT_IN else name, any(map(_opens, actions)))


def _opens(action: str) -> bool:
    pattern = re.escape(action.lower()).replace(r"\*", ".*")
    return action.lower().startswith(_BLOBS) or any(re.fullmatch(pattern, probe) for probe in _PROBES)
