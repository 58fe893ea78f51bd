"""The directory's audit log: who changed what, and what it was before.

Each change by Graph is an entry of `auditLogs/directoryAudits`. Values are JSON texts, as the real ones are. Source:
learn.microsoft.com/graph/api/resources/directoryaudit, learn.microsoft.com/entra/identity/monitoring-health/
reference-audit-activities.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from remit.lab.directory import Directory
from remit.lab.entra_registry import fresh
from remit.lab.graph_routes import Call

_UNTOLD = frozenset({"id", "deletedDateTime", "createdDateTime", "key"})
_KINDS = {"passwordCredentials": "Password", "keyCredentials": "AsymmetricX509Cert"}
_OPERATIONS = {"Add": "Add", "Delete": "Delete", "Remove": "Unassign", "Update": "Update"}


@dataclass(frozen=True, slots=True)
class Target:
    """What a change was about, and how it looked before and after. `kind`: as the log says it (`Application`, …)."""

    kind: str
    id: str
    name: str
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None


class Audits:
    """All entries, the first one first."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self.entries: list[dict[str, Any]] = []

    def write(self, call: Call, activity: str, *targets: Target, category: str = "ApplicationManagement") -> None:
        """Enter what the caller did."""
        caller = self._directory.find(call.caller.oid)
        self.entries.append(
            {
                "id": f"Directory_{fresh()}",
                "category": category,
                "correlationId": call.headers.get("client-request-id") or fresh(),
                "result": "success",
                "resultReason": "",
                "activityDisplayName": activity,
                "activityDateTime": self._directory.registry.now(),
                "loggedByService": "Core Directory",
                "operationType": _OPERATIONS.get(activity.split(maxsplit=1)[0], "Update"),
                "initiatedBy": {
                    "user": None,
                    "app": {
                        "appId": call.caller.app or None,
                        "displayName": caller.name if caller else None,
                        "servicePrincipalId": call.caller.oid or None,
                        "servicePrincipalName": None,
                    },
                },
                "targetResources": [_target(each) for each in targets],
                "additionalDetails": [],
            }
        )

    def listed(self) -> Sequence[Mapping[str, Any]]:
        """Every entry, the last one first."""
        return self.entries[::-1]


def described(document: Mapping[str, Any] | None) -> dict[str, Any]:
    """The secrets and certificates of an application or a service principal, as the log tells them in one property."""
    return {
        "KeyDescription": [
            f"[KeyIdentifier={each['keyId']},KeyType={kind},KeyUsage=Verify,DisplayName={each['displayName'] or ''}]"
            for name, kind in _KINDS.items()
            for each in (document or {}).get(name, ())
        ]
    }


def _target(target: Target) -> dict[str, Any]:
    return {
        "id": target.id,
        "displayName": target.name,
        "type": target.kind,
        "userPrincipalName": None,
        "groupType": None,
        "modifiedProperties": list(_modified(target.before or {}, target.after or {})),
    }


def _modified(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    names = [name for name in dict.fromkeys([*before, *after]) if name not in _UNTOLD]
    for name in names:
        old, new = before.get(name), after.get(name)
        if old != new:
            yield {
                "displayName": f"{name[0].upper()}{name[1:]}",
                "oldValue": json.dumps(_public(old)),
                "newValue": json.dumps(_public(new)),
            }


def _public(value: Any) -> Any:
    """A value without the certificates in it, which are long."""
    if isinstance(value, list):
        return [_public(each) for each in value]
    if isinstance(value, Mapping):
        return {name: each for name, each in value.items() if name != "key"}
    return value
