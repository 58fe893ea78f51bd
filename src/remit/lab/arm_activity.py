"""Azure's activity log: who changed a role assignment or an identity's federated credential, when, from what.

Administrative events of this subscription, one for each write that was tried. Source:
learn.microsoft.com/rest/api/monitor/activity-logs/list, learn.microsoft.com/azure/azure-monitor/platform/
activity-log-schema, learn.microsoft.com/azure/role-based-access-control/change-history-report.
"""

import json
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from remit.lab.arm_errors import ArmError, bad_filter, bad_request
from remit.lab.arm_scopes import SUBSCRIPTION_ID, group_of, reaches

_TERM = re.compile(r"(eventTimestamp) (ge|le) '([^']+)'|(resourceGroupName|resourceUri|caller) (eq) '([^']*)'")
_ASSIGNMENTS = "Microsoft.Authorization/roleAssignments"
_TITLES = {
    f"{_ASSIGNMENTS}/write": "Create role assignment",
    f"{_ASSIGNMENTS}/delete": "Delete role assignment",
}
_LONG = {
    "oid": "http://schemas.microsoft.com/identity/claims/objectidentifier",
    "tid": "http://schemas.microsoft.com/identity/claims/tenantid",
    "upn": "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/upn",
    "scp": "http://schemas.microsoft.com/identity/claims/scope",
}
"""Claims that the log calls by their long names."""
_TICKS = 621_355_968_000_000_000  # of .NET, 100 ns each, at the Unix epoch


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. `oid`: object id; `name`: user name, else the object id; `client`: app id; `claims`: of the token."""

    oid: str
    name: str
    client: str
    claims: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A filter of the log, understood. Times are seconds since the epoch; empty is everything."""

    start: float
    end: float
    group: str
    resource: str
    caller: str

    def holds(self, event: Mapping[str, Any]) -> bool:
        """Whether an event is asked for."""
        at = datetime.fromisoformat(event["eventTimestamp"]).timestamp()
        return (
            self.start <= at <= self.end
            and self.group.lower() in {"", event["resourceGroupName"].lower()}
            and (not self.resource or reaches(self.resource, event["resourceId"]))
            and self.caller.lower() in {"", event["caller"].lower()}
        )


def understand(text: str) -> Wanted:
    """A `$filter`; raises `ArmError`. It must say from when on."""
    found: dict[tuple[str, str], str] = {}
    for part in re.split(r"\s+and\s+", text.strip(), flags=re.IGNORECASE):
        match = _TERM.fullmatch(part)
        if match is None:
            raise bad_filter(text)
        name, operator, value = (each for each in match.groups() if each is not None)
        found[name, operator] = value
    if ("eventTimestamp", "ge") not in found:
        raise bad_request("BadRequest", "The start time is not specified. A filter on eventTimestamp is required.")
    end = found.get(("eventTimestamp", "le"))
    return Wanted(
        _seconds(found["eventTimestamp", "ge"]),
        _seconds(end) if end else float("inf"),
        found.get(("resourceGroupName", "eq"), ""),
        found.get(("resourceUri", "eq"), ""),
        found.get(("caller", "eq"), ""),
    )


def _seconds(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as cause:
        raise bad_filter(text) from cause
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


class Activity:
    """The log, in memory. `clock`: seconds since the epoch."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._events: list[dict[str, Any]] = []

    def moment(self) -> str:
        """Now, as Azure writes it."""
        return datetime.fromtimestamp(self._clock(), UTC).strftime("%Y-%m-%dT%H:%M:%S.%f0Z")

    def write(
        self,
        caller: Caller,
        verb: str,
        resource: str,
        *,
        status: int,
        body: Mapping[str, Any] | None,
        error: ArmError | None = None,
        kind: str = _ASSIGNMENTS,
    ) -> None:
        """Enter one call.

        `verb`: `write` or `delete`; `body`: what was asked, or what was there; `kind`: type of the resource.
        """
        operation = f"{kind}/{verb}"
        now, event, correlation = self._clock(), str(uuid.uuid4()), str(uuid.uuid4())
        told = "requestbody" if verb == "write" else "responseBody"
        properties = {told: json.dumps(body)} if body else {}
        properties |= {"statusCode": HTTPStatus(status).phrase.replace(" ", ""), "entity": resource}
        if error:
            properties["statusMessage"] = json.dumps({"error": {"code": error.code, "message": str(error)}})
        self._events.append(
            {
                "authorization": {"action": operation, "scope": resource},
                "caller": caller.name,
                "channels": "Operation",
                "claims": {
                    _LONG.get(key, key): str(value)
                    for key, value in caller.claims.items()
                    if isinstance(value, str | int)
                },
                "correlationId": correlation,
                "operationId": correlation,
                "eventDataId": event,
                "eventName": _both("EndRequest", "End request"),
                "category": _both("Administrative"),
                "eventTimestamp": self.moment(),
                "submissionTimestamp": self.moment(),
                "id": f"{resource}/events/{event}/ticks/{_TICKS + int(now * 10_000_000)}",
                "level": "Error" if error else "Informational",
                "operationName": _both(operation, _TITLES.get(operation, operation)),
                "resourceGroupName": group_of(resource),
                "resourceProviderName": _both(kind.partition("/")[0]),
                "resourceType": _both(kind),
                "resourceId": resource,
                "status": _both("Failed" if error else "Succeeded"),
                "subStatus": _both(HTTPStatus(status).phrase.replace(" ", "")),
                "subscriptionId": SUBSCRIPTION_ID,
                "properties": properties,
            }
        )

    def read(self, wanted: Wanted) -> list[dict[str, Any]]:
        """The events asked for, the latest first."""
        return [event for event in reversed(self._events) if wanted.holds(event)]


def _both(value: str, shown: str = "") -> dict[str, str]:
    return {"value": value, "localizedValue": shown or value}
