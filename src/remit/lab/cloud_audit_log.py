"""Cloud Audit Logs: what Google writes down of each call, in the shape of a LogEntry.

Admin-activity and data-access logs; policy-denied and system-event logs are left out. Of IAM, the token service and
Vertex AI data-access entries are kept only where the project's audit configuration asks for them; of other services
always. Source:
cloud.google.com/logging/docs/audit/understanding-audit-logs, google.cloud.audit.AuditLog, and for the exchange and
the impersonation cloud.google.com/iam/docs/audit-logging/examples-workload-identity.
"""

import json
import secrets
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from remit.lab import contoso
from remit.lab.errors import CloudError
from remit.lab.iam import Caller

Audited = Callable[[str, str], Mapping[str, frozenset[str]]]
# Service → what its configuration goes by, and the log that must be on; empty where any will do.
_CONFIGURED = {
    "sts.googleapis.com": ("sts.googleapis.com", "ADMIN_READ"),
    "iamcredentials.googleapis.com": ("iam.googleapis.com", "ADMIN_READ"),
    "aiplatform.googleapis.com": ("aiplatform.googleapis.com", ""),
}


class CloudAuditLog:
    """All projects' audit entries: in memory, and one JSON line each in `path` when there is one.

    `audited`: a project's id and a service → its data-access logs with whom they leave out; all are on when absent.
    """

    def __init__(self, path: Path | None = None, audited: Audited | None = None) -> None:
        self._path = path
        self._audited = audited
        self._entries: list[dict[str, Any]] = []

    def write(
        self,
        *,
        service: str,
        method: str,
        resource: str,
        caller: Caller | None,
        permission: str,
        granted: bool,
        reason: str = "",
        request: Mapping[str, Any] | None = None,
        status: CloudError | None = None,
        activity: bool = False,
        principal_subject: str = "",
        metadata: Mapping[str, Any] | None = None,
        monitored: Mapping[str, Any] | None = None,
        response: Mapping[str, Any] | None = None,
        service_data: Mapping[str, Any] | None = None,
        owned: str = "",
    ) -> dict[str, Any]:
        """Enter one call and return the entry, which is kept unless nobody asked for its log.

        `service`: `aiplatform.googleapis.com`; `resource`: relative name; `reason`: the request's
        `x-goog-request-reason`; `activity`: admin activity, else data access; `monitored`: the monitored resource,
        `audited_resource` when absent; `owned`: whatever tells the project, where `resource` does not.
        """
        owner = contoso.owner(owned or resource)
        name = owner.id if owner else "unknown"
        payload: dict[str, Any] = {
            "@type": "type.googleapis.com/google.cloud.audit.AuditLog",
            "serviceName": service,
            "methodName": method,
            "resourceName": resource,
            "authenticationInfo": _authentication(caller, principal_subject),
            "requestMetadata": {"requestAttributes": {"reason": reason} if reason else {}},
            "authorizationInfo": [{"permission": permission, "resource": resource, "granted": granted}],
        }
        payload |= {"request": dict(request)} if request else {}
        payload |= {"response": dict(response)} if response else {}
        payload |= {"metadata": dict(metadata)} if metadata else {}
        payload |= {"serviceData": dict(service_data)} if service_data else {}
        payload |= {"status": {"code": status.code.value[0], "message": status.message}} if status else {}
        labels = {"project_id": name, "service": service, "method": method}
        log = "activity" if activity else "data_access"
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        entry = {
            "logName": f"projects/{name}/logs/cloudaudit.googleapis.com%2F{log}",
            "insertId": secrets.token_hex(8),
            "timestamp": now,
            "receiveTimestamp": now,
            "severity": "ERROR" if status else "NOTICE" if activity else "INFO",
            "resource": dict(monitored) if monitored else {"type": "audited_resource", "labels": labels},
            "protoPayload": payload,
        }
        return self._append(entry) if activity or self._asked(name, service, caller) else entry

    def _asked(self, project: str, service: str, caller: Caller | None) -> bool:
        """Whether a project keeps the data-access log of a service, and of this caller."""
        if self._audited is None or service not in _CONFIGURED:
            return True
        name, log = _CONFIGURED[service]
        who = caller.member if caller else ""
        return any(who not in exempted for kind, exempted in self._audited(project, name).items() if log in {"", kind})

    def entries(self, project: str = "") -> list[dict[str, Any]]:
        """The entries of one project (id or number), or all, in the order of writing."""
        found = contoso.project(project)
        prefix = f"projects/{found.id if found else project}/"
        return [entry for entry in self._entries if not project or entry["logName"].startswith(prefix)]

    def _append(self, entry: dict[str, Any]) -> dict[str, Any]:
        self._entries.append(entry)
        if self._path:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry, separators=(",", ":")) + "\n")
        return entry


def _authentication(caller: Caller | None, principal_subject: str) -> dict[str, Any]:
    """Who called: an account with whoever impersonated it, or a federated principal alone."""
    if caller is None:
        return {"principalSubject": principal_subject} if principal_subject else {}
    if not caller.email:
        return {"principalSubject": caller.principal_subject}
    found: dict[str, Any] = {
        "principalEmail": caller.email,
        "principalSubject": caller.member,
    }
    if caller.delegation:
        found["serviceAccountDelegationInfo"] = [{"principalSubject": each} for each in caller.delegation]
    return found
