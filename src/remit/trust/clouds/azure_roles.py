"""Azure's roles as far as the trust must tell them apart: by name, by id, whether they open blobs or an identity.

Source: learn.microsoft.com/azure/role-based-access-control/built-in-roles/storage (ids, the same in every tenant),
role-definitions (`dataActions`, `*`) and permissions/management-and-governance (`Microsoft.Authorization`).
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
_IDENTITIES = "microsoft.managedidentity/userassignedidentities"
_GIVING = (
    "roleassignments",
    "roleassignmentschedulerequests",  # for a while, by Privileged Identity Management
    "roleeligibilityschedulerequests",  # to be taken at any time, by the same
    "roledefinitions",  # widening a role that one has
)
_WAYS = (
    f"{_IDENTITIES}/x/assign/action",
    f"{_IDENTITIES}/assign/action",
    f"{_IDENTITIES}/federatedidentitycredentials/write",
    *(f"microsoft.authorization/{each}/write" for each in _GIVING),
    "microsoft.authorization/elevateaccess/action",
)
"""Using an identity, having it trust somebody else, and coming to a role that can."""
_PROBES = tuple(f"{_BLOBS}{verb}" for verb in ("read", "write", "delete", "add/action", "tags/read"))


@dataclass(frozen=True, slots=True)
class Role:
    """A role definition.

    `id`: a GUID; `opens`: whether it lets anybody at the blobs of a container; `becomes`: whether it lets anybody use a
    managed identity, have it trust somebody, or take such a role.
    """

    id: str
    name: str
    opens: bool
    becomes: bool = False


def built_in(name: str) -> Role:
    """A role that is wanted, by its name; raises `TrustBroken`."""
    if name not in BUILT_IN:
        raise TrustBroken(f"`{name}` is no role on containers", hint=f"one of {', '.join(sorted(BUILT_IN))}")
    return Role(BUILT_IN[name], name, opens=True)


def known(guid: str) -> Role | None:
    """A built-in role by its id."""
    return next((Role(each, name, opens=True) for name, each in BUILT_IN.items() if each == guid), None)


def gone(guid: str) -> Role:
    """One whose definition is not there any more: what it opened, and whom it let become what, nobody can tell."""
    return Role(guid, guid, opens=True, becomes=True)


def understood(guid: str, definition: Mapping[str, Any]) -> Role:
    """A role as Azure describes it; raises `TrustBroken`. What it takes back (`notDataActions`) is not counted."""
    try:
        properties = definition["properties"]
        name = str(properties["roleName"])
        actions, data = (
            [str(each) for one in properties["permissions"] for each in one.get(kind) or ()]
            for kind in ("actions", "dataActions")
        )
    except (KeyError, TypeError, AttributeError) as cause:
        raise TrustBroken(f"Azure describes role `{guid}` in no known form") from cause
    shown = f"{name} ({guid})" if name in BUILT_IN else name
    return Role(guid, shown, any(map(_opens, data)), any(map(_becomes, actions)))


def _opens(action: str) -> bool:
    return action.lower().startswith(_BLOBS) or _fits(action, _PROBES)


def _becomes(action: str) -> bool:
    """What it takes back (`notActions`) is not counted either."""
    return _fits(action, _WAYS)


def _fits(action: str, probes: tuple[str, ...]) -> bool:
    pattern = re.escape(action.lower()).replace(r"\*", ".*")
    return any(re.fullmatch(pattern, probe) for probe in probes)
