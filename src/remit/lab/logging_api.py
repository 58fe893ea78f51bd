"""Cloud Logging: entries written by jobs and clients, and the audit entries, read with one filter language.

`google.logging.v2.LoggingServiceV2` over gRPC and REST: list and write. The newest 100,000 entries are kept. Left out:
deletion, buckets and views, tailing. Data-access audit logs need `logging.privateLogEntries.list` as at Google
(cloud.google.com/logging/docs/access-control).
"""

import secrets
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from google.protobuf import json_format
from grpc import StatusCode

from remit.lab import contoso, filters
from remit.lab.api_surface import Call, Surface
from remit.lab.api_table import Proto, table
from remit.lab.cloud_audit_log import CloudAuditLog
from remit.lab.errors import CloudError
from remit.lab.http import Request, Response
from remit.lab.iam import Caller, Iam

_SERVICE = "google.logging.v2.LoggingServiceV2"
_HOST = "logging.googleapis.com"
_PAGE = 50  # entries, when the caller does not say (entries.list, `pageSize`)
_PAGE_MAXIMUM = 1000
_PRIVATE = "cloudaudit.googleapis.com%2Fdata_access"


class Logging:
    """The logs of all projects. `surface.grpc`: the gRPC handler."""

    def __init__(self, iam: Iam, audit: CloudAuditLog) -> None:
        self._iam = iam
        self._audit = audit
        self._entries: deque[Mapping[str, Any]] = deque(maxlen=100_000)
        self._pool = table().pool
        methods = table().of(_SERVICE)
        served = {
            path: method for path, method in methods.items() if method.name in {"ListLogEntries", "WriteLogEntries"}
        }
        self.surface = Surface(table(), served, self._answer)

    async def handle(self, request: Request) -> Response:
        """The REST face, host `logging.googleapis.com`."""
        return await self.surface.handle(request)

    def append(self, entry: Mapping[str, Any]) -> None:
        """Takes an entry of the lab's own in LogEntry's JSON form; time and insert id are added where absent."""
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        self._entries.append({"timestamp": now, "receiveTimestamp": now, "insertId": secrets.token_hex(8), **entry})

    async def _answer(self, call: Call) -> Sequence[Proto]:
        caller = self._iam.caller(call.authorization)
        return [self._write(call, caller) if call.method.name == "WriteLogEntries" else self._list(call, caller)]

    def _list(self, call: Call, caller: Caller) -> Proto:
        request = call.request
        if not request.resource_names:
            raise CloudError(StatusCode.INVALID_ARGUMENT, "A list of resource_names is required")
        for resource in request.resource_names:
            self._require(call, caller, "logging.logEntries.list", _project(resource))
        conditions = filters.parse(request.filter)
        found = sorted(
            (
                entry
                for resource in dict.fromkeys(_project(resource) for resource in request.resource_names)
                for entry in self._visible(caller, resource)
                if all(condition.holds(entry) for condition in conditions)
            ),
            key=lambda entry: (datetime.fromisoformat(entry["timestamp"]), entry["insertId"]),
            reverse=_descending(request.order_by),
        )
        start = int(request.page_token) if request.page_token.isdigit() else 0
        size = min(request.page_size if request.page_size > 0 else _PAGE, _PAGE_MAXIMUM)
        answer = call.method.response()
        for entry in found[start : start + size]:
            json_format.ParseDict(dict(entry), answer.entries.add(), descriptor_pool=self._pool)
        answer.next_page_token = str(start + size) if len(found) > start + size else ""
        return answer

    def _visible(self, caller: Caller, resource: str) -> Iterator[Mapping[str, Any]]:
        """The entries of a project that this caller may see."""
        private = self._holds(caller, "logging.privateLogEntries.list", resource)
        project = resource.removeprefix("projects/")
        yield from (entry for entry in self._entries if entry["logName"].startswith(f"{resource}/"))
        yield from (
            entry for entry in self._audit.entries(project) if private or not entry["logName"].endswith(_PRIVATE)
        )

    def _holds(self, caller: Caller, permission: str, resource: str) -> bool:
        try:
            self._iam.require(caller, permission, resource)
        except CloudError:
            return False
        return True

    def _write(self, call: Call, caller: Caller) -> Proto:
        request = call.request
        names = [entry.log_name or request.log_name for entry in request.entries]
        for resource in dict.fromkeys(_project(name) for name in names):
            self._require(call, caller, "logging.logEntries.create", resource)
        if request.dry_run:
            return call.method.response()
        for entry, name in zip(request.entries, names, strict=True):
            if not entry.HasField("resource"):
                entry.resource.CopyFrom(request.resource)
            for key, value in request.labels.items():
                entry.labels.setdefault(key, value)
            _, _, log = name.partition("/logs/")
            written = json_format.MessageToDict(entry, descriptor_pool=self._pool)
            self.append({**written, "logName": f"{_project(name)}/logs/{log}"})
        return call.method.response()

    def _require(self, call: Call, caller: Caller, permission: str, resource: str) -> None:
        """Asks IAM and enters the answer in the audit log. Google logs no `WriteLogEntries`, only its refusal."""
        refusal = None
        try:
            self._iam.require(caller, permission, resource)
        except CloudError as error:
            refusal = error
        if refusal or call.method.name != "WriteLogEntries":
            self._audit.write(
                service=_HOST,
                method=f"{_SERVICE}.{call.method.name}",
                resource=resource,
                caller=caller,
                permission=permission,
                granted=refusal is None,
                reason=call.reason,
                status=refusal,
            )
        if refusal:
            raise refusal


def _project(name: str) -> str:
    """`projects/ID` of a project, log or view; raises for other parents and unknown projects."""
    parts = name.split("/")
    project = contoso.project(parts[1]) if parts[0] == "projects" and len(parts) > 1 else None
    if project is None:
        parent = "/".join(parts[:2])
        raise CloudError(StatusCode.NOT_FOUND, f"Parent {parent} does not exist or you have no access to it")
    return f"projects/{project.id}"


def _descending(order: str) -> bool:
    if order not in {"", "timestamp asc", "timestamp desc"}:
        raise CloudError(StatusCode.INVALID_ARGUMENT, "order_by: only `timestamp asc` and `timestamp desc` are allowed")
    return order == "timestamp desc"
