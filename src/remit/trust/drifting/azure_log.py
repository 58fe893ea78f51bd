"""Azure's activity log: role assignments, and federated credentials of an identity, that were written or deleted.

Source: learn.microsoft.com/rest/api/monitor/activity-logs/list, learn.microsoft.com/azure/role-based-access-control/
change-history-report (`requestbody` of a write, `responseBody` of a deletion).
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlsplit

from remit.model.errors import TrustBroken
from remit.trust.clouds.asking import Asking
from remit.trust.clouds.azure import HOST
from remit.trust.clouds.azure_roles import known
from remit.trust.drifting.drift import Drift
from remit.trust.drifting.log import PAGES, Entry, Logged, moment, stamp
from remit.trust.drifting.marks import Mark, Marks, whole
from remit.trust.things import Found

_OPERATION = "microsoft.authorization/roleassignments/"
_TRUSTING = "microsoft.managedidentity/userassignedidentities/federatedidentitycredentials/"
_ASSIGNMENTS = "/providers/microsoft.authorization/roleassignments/"
_FEDERATION = "azure.federation"
_UPN = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/upn"

Document = Mapping[str, Any]


class AzureLog:
    """`ask`: as whoever reviews."""

    cloud = "azure"

    def __init__(self, ask: Asking) -> None:
        self._ask = ask

    async def read(self, drifts: Sequence[Drift], found: Sequence[Found], since: float) -> Logged:
        """Of the resource groups in which something drifted, the whole subscription above them, and of an identity."""
        del found
        ids = {str((one.change.ids or {}).get("id", "")).lower(): one for one in drifts}
        entries: list[Entry] = []
        whole_ = True
        for subscription, where in sorted({_terms(one) for one in drifts} - {("", "")}):
            events, complete = await self._list(subscription, where, since)
            entries += [entry for entry in (understood(event, ids) for event in events) if entry]
            whole_ = whole_ and complete
        return Logged(tuple(entries), "" if whole_ else "it holds more than was read")

    async def _list(self, subscription: str, where: str, since: float) -> tuple[list[Document], bool]:
        terms = f"eventTimestamp ge '{stamp(since)}'{where}"
        path = f"subscriptions/{subscription}/providers/Microsoft.Insights/eventtypes/management/values"
        url = f"https://{HOST}/{path}?api-version=2015-04-01&$filter={quote(terms)}"
        found: list[Document] = []
        for _ in range(PAGES):
            page = await self._ask("GET", url)
            found += [one for one in page.get("value") or () if isinstance(one, Mapping)]
            if not page.get("nextLink"):
                return found, True
            url = str(page["nextLink"])
            if urlsplit(url).scheme != "https" or urlsplit(url).netloc != HOST:
                raise TrustBroken("Azure names a next page that is not at Azure")
        return found, False


def _terms(drift: Drift) -> tuple[str, str]:
    """A subscription, and what of it a filter asks for."""
    fields = drift.now or drift.was or {}
    if drift.change.address.kind == _FEDERATION:
        identity = str(fields["identity"])
        return identity.split("/")[2], f" and resourceUri eq '{identity}'"
    subscription, group = _place(str(fields.get("scope", "")))
    return subscription, f" and resourceGroupName eq '{group}'" if group else ""


def _place(scope: str) -> tuple[str, str]:
    """Subscription and resource group of a scope; no group for one above."""
    parts = scope.strip("/").split("/")
    if len(parts) < 2 or parts[0].lower() != "subscriptions":  # noqa: PLR2004 - the word and the id
        return "", ""
    return parts[1], parts[3] if len(parts) > 3 and parts[2].lower() == "resourcegroups" else ""  # noqa: PLR2004 - the same, of a group


def understood(event: Document, ids: Mapping[str, Drift]) -> Entry | None:
    """What an event says that was done; `ids`: assignments that are there by their ids, in lower case."""
    operation = str(_value(event.get("operationName"))).lower()
    trusting = operation.startswith(_TRUSTING)
    known_ = trusting or operation.startswith(_OPERATION)
    if not known_ or _value(event.get("status")) not in {"Succeeded", "Accepted"}:
        return None
    verb = operation.rpartition("/")[2]
    resource = str(event.get("resourceId", "")).lower()
    mark = _same(ids.get(resource)) or (None if trusting else _mark(event, resource))
    if verb not in {"write", "delete"} or mark is None:
        return None
    claims = event.get("claims")
    who = (claims.get(_UPN) if isinstance(claims, Mapping) else "") or str(event.get("caller", ""))
    told = Marks(frozenset({mark})) if verb == "write" else Marks(went=frozenset({mark}))
    noun = "federatedIdentityCredentials" if trusting else "roleAssignments"
    return Entry(moment(event.get("eventTimestamp")), who, f"{noun}/{verb}", told)


def _same(drift: Drift | None) -> Mark | None:
    return whole(drift.change.address.kind, drift.now) if drift and drift.now is not None else None


def _mark(event: Document, resource: str) -> Mark | None:
    """Of an assignment that is not there: the log says by ids what it was."""
    properties = event.get("properties")
    held = properties if isinstance(properties, Mapping) else {}
    lower = {str(key).lower(): value for key, value in held.items()}
    try:
        body = json.loads(str(lower.get("requestbody") or lower.get("responsebody") or "{}"))
        said = {str(key).lower(): value for key, value in _lowered(body)["properties"].items()}
    except (ValueError, KeyError, AttributeError, TypeError):
        return None
    role = known(str(said.get("roledefinitionid", "")).rpartition("/")[2].lower())
    scope = str(said.get("scope") or resource.partition(_ASSIGNMENTS)[0]).casefold()
    if role is None:
        return None
    condition = {"condition": str(said["condition"])} if said.get("condition") else {}
    fields = {"scope": scope, "role": role.name, "principal": str(said.get("principalid", "")).lower(), **condition}
    return whole("azure.assignment", fields)


def _lowered(body: Any) -> Mapping[str, Any]:
    return {str(key).lower(): value for key, value in body.items()}


def _value(given: Any) -> Any:
    return given.get("value") if isinstance(given, Mapping) else given
