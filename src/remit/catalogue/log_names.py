"""Cloud Logging: which projects and views a message of its reads, and where it writes.

Entries are read and logs are listed by what the message names: projects, and views of log buckets. Folders,
organisations and billing accounts hold what lies outside of the estate, and are refused. A filter only narrows what is
named. `TailLogEntries` is a stream in both directions, of which no decision could cover the later messages.
Sources: google/logging/v2/logging.proto, cloud.google.com/logging/docs/reference/v2/rest,
cloud.google.com/logging/docs/access-control.
"""

import re
from collections.abc import Iterator
from typing import Any

from remit.catalogue.methods import Method
from remit.catalogue.names import LONGEST, Names, shown
from remit.model.errors import Refused
from remit.model.operation import Action, Group, Resource
from remit.model.reasons import Reason

_LIST, _LIST_LOGS = "logging.logEntries.list", "logging.logs.list"
METHODS = (
    Method(Action("logging.entries.list", Group.OBSERVE, _LIST), "POST", "v2/entries:list"),
    Method(Action("logging.entries.write", Group.CHANGE, "logging.logEntries.create"), "POST", "v2/entries:write"),
    Method(Action("logging.projects.logs.list", Group.OBSERVE, _LIST_LOGS), "GET", "v2/projects/*/logs"),
    Method(
        Action("logging.projects.locations.buckets.views.logs.list", Group.OBSERVE, _LIST_LOGS),
        "GET",
        "v2/projects/*/locations/*/buckets/*/views/*/logs",
    ),
    # Google's permission is one of many; here it is the end of evidence.
    Method(
        Action("logging.projects.logs.delete", Group.ADMINISTER, "logging.logs.delete"),
        "DELETE",
        "v2/projects/*/logs/*",
    ),
)
"""What google-cloud-logging sends for its entries and logs; what else it can send is refused as unknown."""

_ID = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
_VIEW = re.compile(rf"projects/(?P<project>[^/]+)/(?P<rest>locations/{_ID}/buckets/{_ID}/views/{_ID})")
# `LOG_ID` is one segment: slashes in it are written `%2F` (google.logging.v2.LogEntry, `log_name`).
_LOG = re.compile(r"(?P<project>projects/[^/]+)/logs/(?:[A-Za-z0-9_.-]|%2F){1,511}")


def resources_of(message: Any, names: Names) -> tuple[Resource, ...]:
    """Every project and view whose entries a `ListLogEntriesRequest` reads; raises `Refused`."""
    return _all(message.resource_names, names, "log entries are read by project or view")


def parent_of(message: Any, names: Names) -> tuple[Resource, ...]:
    """Every project and view whose logs a `ListLogsRequest` lists; raises `Refused`."""
    named = (*filter(None, (message.parent,)), *message.resource_names)
    return _all(named, names, "logs are listed by project or view")


def written(message: Any, names: Names) -> tuple[Resource, ...]:
    """Every project that a `WriteLogEntriesRequest` writes to; raises `Refused`.

    An entry that names no log takes the request's: without either there is nothing to decide on.
    """
    return tuple(dict.fromkeys(_project_of(name, names) for name in _logs_written(message)))


def deleted(message: Any, names: Names) -> tuple[Resource, ...]:
    """The project whose log a `DeleteLogRequest` deletes; raises `Refused`."""
    return (_project_of(message.log_name, names),)


def _all(named: Any, names: Names, how: str) -> tuple[Resource, ...]:
    found = tuple(dict.fromkeys(_readable(name, names) for name in named))
    if not found:
        raise Refused(Reason.RESOURCE_UNKNOWN, f"{how}, and the request names none")
    return found


def _readable(name: str, names: Names) -> Resource:
    view = _VIEW.fullmatch(name) if len(name) <= LONGEST else None
    if view:
        project = names.place(f"projects/{view['project']}").project
        full = f"//logging.googleapis.com/projects/{project.id}/{view['rest']}"
        return Resource("LogView", full, project.id)
    if name.count("/") == 1:
        place = names.place(name)
        if place.resource.type == "Project":
            return place.resource
    raise Refused(
        Reason.RESOURCE_UNKNOWN,
        f"{shown(name)} is neither a project nor a log view",
        hint="name `projects/ID` or `projects/ID/locations/L/buckets/B/views/V`",
    )


def _logs_written(message: Any) -> Iterator[str]:
    if message.log_name:
        yield message.log_name
    for entry in message.entries:
        if entry.log_name or not message.log_name:
            yield entry.log_name
    if not message.log_name and not message.entries:
        raise Refused(Reason.RESOURCE_UNKNOWN, "the request names no log to write to")


def _project_of(name: str, names: Names) -> Resource:
    log = _LOG.fullmatch(name)
    if not log:
        raise Refused(Reason.RESOURCE_UNKNOWN, f"{shown(name)} is not the name of a project's log")
    return names.place(log["project"]).resource
