"""Cloud Logging: entries written by jobs and clients, and the audit entries, read with one filter language.

`google.logging.v2.LoggingServiceV2` over gRPC and REST: list, write, the names of logs; by project or by view. The
newest 100,000 entries are kept. Left out: deletion, tailing, making buckets and views. Data-access audit logs need
`logging.privateLogEntries.list`, a view of one's own `logging.views.access`, as at Google
(cloud.google.com/logging/docs/access-control, cloud.google.com/logging/docs/logs-views).
"""

import re
import secrets
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
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
_ADMIN = "cloudaudit.googleapis.com%2Factivity"
_VIEW = re.compile(r"projects/([^/]+)/locations/global/buckets/(_Default|_Required)/views/([\w.-]+)")
_LIST, _PRIVATE_LIST, _ACCESS = "logging.logEntries.list", "logging.privateLogEntries.list", "logging.views.access"
# The views that every project has (bucket, view) → what opens them besides access to the view itself.
_OWN_VIEWS = {
    ("_Required", "_AllLogs"): _LIST,
    ("_Default", "_Default"): _LIST,
    ("_Default", "_AllLogs"): _PRIVATE_LIST,
}


class Logging:
    """The logs of all projects. `surface.grpc`: the gRPC handler; `views`: filters of views that somebody made."""

    def __init__(self, iam: Iam, audit: CloudAuditLog) -> None:
        self._iam = iam
        self._audit = audit
        self._entries: deque[Mapping[str, Any]] = deque(maxlen=100_000)
        self._pool = table().pool
        methods = table().of(_SERVICE)
        plays = {"ListLogEntries": self._list, "WriteLogEntries": self._write, "ListLogs": self._list_logs}
        self._plays: Mapping[str, Callable[[Call, Caller], Proto]] = plays
        self.views: dict[str, str] = {}
        served = {path: method for path, method in methods.items() if method.name in plays}
        self.surface = Surface(table(), served, self._answer)

    async def handle(self, request: Request) -> Response:
        """The REST face, host `logging.googleapis.com`."""
        return await self.surface.handle(request)

    def append(self, entry: Mapping[str, Any]) -> None:
        """Takes an entry of the lab's own in LogEntry's JSON form; time and insert id are added where absent."""
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        self._entries.append({"timestamp": now, "receiveTimestamp": now, "insertId": secrets.token_hex(8), **entry})

    def make_view(self, name: str, condition: str) -> None:
        """Makes a view of the bucket `_Default`: `projects/P/locations/global/buckets/_Default/views/V`."""
        filters.parse(condition)
        self.views[_view(name)[0]] = condition

    async def _answer(self, call: Call) -> Sequence[Proto]:
        caller = self._iam.caller(call.authorization, call.full_name)
        return [self._plays[call.method.name](call, caller)]

    def _list(self, call: Call, caller: Caller) -> Proto:
        request = call.request
        if not request.resource_names:
            raise CloudError(StatusCode.INVALID_ARGUMENT, "A list of resource_names is required")
        readable = [self._readable(call, caller, name) for name in request.resource_names]
        conditions = filters.parse(request.filter)
        found = sorted(
            (entry for entry in _once(readable) if all(condition.holds(entry) for condition in conditions)),
            key=lambda entry: (datetime.fromisoformat(entry["timestamp"]), entry["insertId"]),
            reverse=_descending(request.order_by),
        )
        start, end = _page(request)
        answer = call.method.response()
        for entry in found[start:end]:
            json_format.ParseDict(dict(entry), answer.entries.add(), descriptor_pool=self._pool)
        answer.next_page_token = str(end) if len(found) > end else ""
        return answer

    def _list_logs(self, call: Call, caller: Caller) -> Proto:
        request = call.request
        names = [*([request.parent] if request.parent else []), *request.resource_names]
        readable = [self._readable(call, caller, name, "logging.logs.list", "logging.views.listLogs") for name in names]
        found = sorted({entry["logName"] for entries in readable for entry in entries})
        start, end = _page(request)
        answer = call.method.response(log_names=found[start:end])
        answer.next_page_token = str(end) if len(found) > end else ""
        return answer

    def _readable(
        self, call: Call, caller: Caller, name: str, of_project: str = _LIST, of_view: str = _ACCESS
    ) -> Iterator[Mapping[str, Any]]:
        """The entries below a project or in a view; raises where the caller may not read there."""
        if "/views/" not in name:
            resource = _project(name)
            self._require(call, caller, of_project, resource)
            return self._visible(caller, resource)
        resource, bucket, view = _view(name)
        opens = _OWN_VIEWS.get((bucket, view))
        if opens is None and resource not in self.views:
            raise CloudError(StatusCode.NOT_FOUND, f"View {name} does not exist or you have no access to it")
        by_role = opens is not None and self._holds(caller, opens, resource)
        self._require(call, caller, opens if opens is not None and by_role else of_view, resource)
        return self._in_view(resource, bucket, view)

    def _in_view(self, name: str, bucket: str, view: str) -> Iterator[Mapping[str, Any]]:
        """The entries of a view: admin activity lies in `_Required`, all else in `_Default`."""
        project = _project(name)
        conditions = filters.parse(self.views.get(name, ""))
        every = (*self._entries, *self._audit.entries(project.removeprefix("projects/")))
        for entry in every:
            log = entry["logName"]
            held = log.endswith(_ADMIN) == (bucket == "_Required") and log.startswith(f"{project}/")
            shown = held and (view != "_Default" or not log.endswith(_PRIVATE))
            if shown and all(condition.holds(entry) for condition in conditions):
                yield entry

    def _visible(self, caller: Caller, resource: str) -> Iterator[Mapping[str, Any]]:
        """The entries of a project that this caller may see."""
        private = self._holds(caller, _PRIVATE_LIST, resource)
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


def _view(name: str) -> tuple[str, str, str]:
    """A view's name with its project's id, its bucket and its short name."""
    found = _VIEW.fullmatch(name)
    if found is None:
        raise CloudError(StatusCode.INVALID_ARGUMENT, f"{name} is not the name of a log view")
    return f"{_project(name)}/{name.split('/', 2)[2]}", found[2], found[3]


def _once(sources: Sequence[Iterator[Mapping[str, Any]]]) -> Iterator[Mapping[str, Any]]:
    """Every entry once, in however many of the sources it is."""
    return iter({id(entry): entry for entries in sources for entry in entries}.values())


def _page(request: Proto) -> tuple[int, int]:
    """Where the page that is asked for begins and ends."""
    start = int(request.page_token) if request.page_token.isdigit() else 0
    return start, start + min(request.page_size if request.page_size > 0 else _PAGE, _PAGE_MAXIMUM)


def _descending(order: str) -> bool:
    if order not in {"", "timestamp asc", "timestamp desc"}:
        raise CloudError(StatusCode.INVALID_ARGUMENT, "order_by: only `timestamp asc` and `timestamp desc` are allowed")
    return order == "timestamp desc"
