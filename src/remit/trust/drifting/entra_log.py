"""Entra's audit log: what was changed of applications, principals, assignments, delegations and credentials.

An entry names its targets by id and its changes as JSON texts before and after; a mark is told where a value stands in
one and not in the other. Source: learn.microsoft.com/graph/api/resources/directoryaudit,
learn.microsoft.com/entra/identity/monitoring-health/reference-audit-activities.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from remit.trust.clouds.entra_applications import Principals
from remit.trust.clouds.entra_delegations import EVERYBODY
from remit.trust.clouds.entra_graph import Graph
from remit.trust.clouds.port import Missing
from remit.trust.drifting.drift import Drift
from remit.trust.drifting.log import Entry, Logged, moment, stamp
from remit.trust.drifting.marks import THERE, Mark, Marks, marks
from remit.trust.things import Address, Found

_PROPERTIES: Mapping[str, frozenset[str]] = {
    "audience": frozenset({"signinaudience", "availabletoothertenants"}),
    "public": frozenset({"isfallbackpublicclient", "publicclient"}),
    "tokenVersion": frozenset({"api"}),
    "groupClaims": frozenset({"groupmembershipclaims"}),
    "enabled": frozenset({"accountenabled"}),
    "assignmentRequired": frozenset({"approleassignmentrequired"}),
}
"""Field that is no list → what the log calls it."""
_ENDED = ("Delete application", "Hard Delete application", "Remove service principal", "Hard Delete service principal")
_MOST = 2000  # entries about one object: what lies behind them is told to be unread

Document = Mapping[str, Any]


class EntraLog:
    """`graph`: as whoever reviews."""

    cloud = "entra"

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._principals = Principals(graph)

    async def read(self, drifts: Sequence[Drift], found: Sequence[Found], since: float) -> Logged:
        """Of the objects that drifted; raises `TrustBroken`."""
        subjects = {one.address: one.ids for one in found if one.address.cloud == "entra"}
        terms = {
            f"targetResources/any(t:t/id eq {_quoted(each)})" for one in drifts for each in _targets(one, subjects)
        }
        if any(_ended(one) for one in drifts):
            terms |= {f"activityDisplayName eq {_quoted(each)}" for each in _ENDED}
        reader = _Reader(drifts, subjects, await self._roles(subjects))
        entries: list[Entry] = []
        whole = True
        for term in sorted(terms):
            documents, complete = await self._list(term, since)
            entries += [entry for entry in map(reader.understood, documents) if entry]
            whole = whole and complete
        return Logged(tuple(entries), "" if whole else "it holds more than was read")

    async def _list(self, term: str, since: float) -> tuple[list[Document], bool]:
        text = quote(f"activityDateTime ge {stamp(since)} and {term}", safe="")
        path = f"auditLogs/directoryAudits?$filter={text}&$orderby={quote('activityDateTime desc')}"
        found: list[Document] = []
        async for one in self._graph.each(path):
            found.append(one)
            if len(found) >= _MOST:
                return found, False
        return found, True

    async def _roles(self, subjects: Mapping[Address, Mapping[str, str]]) -> Mapping[str, str]:
        """Id → value of every role at Remit and at Microsoft Graph."""
        known: dict[str, str] = {}
        for name in ("remit", "microsoft-graph"):
            if principal := subjects.get(Address("entra.principal", name), {}).get("id"):
                try:
                    known |= await self._principals.roles(principal)
                except Missing:
                    continue
        return known


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _ended(drift: Drift) -> bool:
    return drift.now is None and drift.change.address.kind in {"entra.application", "entra.principal"}


def _targets(drift: Drift, subjects: Mapping[Address, Mapping[str, str]]) -> Iterator[str]:
    """Object ids under which the log has its changes."""
    kind, fields = drift.change.address.kind, drift.now or drift.was or {}
    if kind == "entra.assignment":
        places: tuple[Address, ...] = (Address("entra.principal", "remit"),)
    elif kind == "entra.federation":
        places = (Address("entra.application", str(fields.get("application"))),)
    elif kind == "entra.consent":
        places = ()
        yield str(fields.get("principal"))
    elif kind == "entra.delegation":  # consented to on a page, it is told of the client; by Graph, of the API
        places = ()
        yield from (str(fields.get("principal")), str(fields.get("resource")))
    elif kind == "entra.credential":
        places = (Address(f"entra.{fields.get('of')}", str(fields.get("application"))),)
    else:
        places = (drift.change.address,)
    yield from (each for place in places if (each := subjects.get(place, {}).get("id")))


class _Reader:
    """Entries of the log, held against what is looked for."""

    def __init__(
        self, drifts: Sequence[Drift], subjects: Mapping[Address, Mapping[str, str]], roles: Mapping[str, str]
    ) -> None:
        self._wanted = [(one, marks(one), frozenset(_targets(one, subjects))) for one in drifts]
        self._roles = roles

    def understood(self, document: Document) -> Entry | None:
        """The entry with the marks that it tells, `None` where it tells none."""
        if document.get("result") != "success":
            return None
        came, went = set[Mark](), set[Mark]()
        for drift, wanted, places in self._wanted:
            said = _Said(document, places, self._roles)
            if not (said.about or (_ended(drift) and said.ends(drift))):
                continue
            came |= {one for one in wanted.came if said.tells(one, came=True)}
            went |= {one for one in wanted.went if said.tells(one, came=False)}
        if not came and not went:
            return None
        at = moment(document.get("activityDateTime"))
        return Entry(
            at, _who(document), str(document.get("activityDisplayName")), Marks(frozenset(came), frozenset(went))
        )


class _Said:
    """One entry, as far as it is about some objects."""

    def __init__(self, document: Document, places: frozenset[str], roles: Mapping[str, str]) -> None:
        self._activity = str(document.get("activityDisplayName", ""))
        self._targets = [one for one in document.get("targetResources") or () if isinstance(one, Mapping)]
        self._roles = roles
        self._properties = [
            (str(each.get("displayName", "")).lower(), _text(each.get("oldValue")), _text(each.get("newValue")))
            for one in self._targets
            for each in one.get("modifiedProperties") or ()
            if isinstance(each, Mapping)
        ]
        self.about = bool(places.intersection(str(one.get("id")) for one in self._targets))

    def ends(self, drift: Drift) -> bool:
        """Whether it tells the end of an application or principal that is not there any more."""
        known = (drift.was or {}).get("appId") or (drift.was or {}).get("application")
        named = (drift.was or {}).get("displayName")
        names = {str(one.get("displayName")) for one in self._targets}
        return self._activity in _ENDED and ((bool(named) and named in names) or self._moved(str(known), came=False))

    def tells(self, mark: Mark, *, came: bool) -> bool:
        """Whether it says that this came, or went."""
        kind = mark[0]
        if kind in {"entra.assignment", "entra.consent"}:
            return self._assigned(mark[1], mark[2], came=came)
        if kind == "entra.federation":
            return self._moved(mark[2], came=came) and self._moved(mark[3], came=came)
        if kind == "entra.delegation":
            return self._delegated(mark[1], mark[2], mark[3], came=came)
        return self._named(mark[1], came=came) if kind == "entra.credential" else self._field(mark, came=came)

    def _field(self, mark: Mark, *, came: bool) -> bool:
        field, value = mark[2], mark[-1]
        if field == THERE:
            return self._activity.startswith(("Add ", "Restore ") if came else ("Delete ", "Remove ", "Hard Delete "))
        if field in _PROPERTIES:
            return any(name in _PROPERTIES[field] and old != new for name, old, new in self._properties)
        return self._moved(value.removeprefix("spa:"), came=came)

    def _assigned(self, role: str, principal: str, *, came: bool) -> bool:
        if not self._activity.startswith("Add app role" if came else "Remove app role"):
            return False
        texts = [text.strip('"') for _, old, new in self._properties for text in (old, new)]
        roles = {role, *(key for key, value in self._roles.items() if value == role)}
        targets = {str(one.get("id")) for one in self._targets}
        return bool(roles.intersection(texts)) and (principal in texts or principal in targets)

    def _delegated(self, client: str, api: str, whom: str, *, came: bool) -> bool:
        """A consent of this client at this API. For whom, an entry says by its type, and a person by nothing else."""
        told = ("Add delegated", "Update delegated", "Consent to application") if came else ("Remove delegated",)
        if not self._activity.startswith(told):
            return False
        texts = " ".join(text for _, old, new in self._properties for text in (old, new))
        targets = {str(one.get("id")) for one in self._targets}
        everybody = "AllPrincipals" in texts
        ends = all(each in targets or each in texts for each in (client, api))
        return ends and (everybody if whom == EVERYBODY else not everybody or whom in texts)

    def _named(self, key: str, *, came: bool) -> bool:
        """Whether an id stands in what is there now and did not before, or the other way round, however it is told."""
        sides = ((old, new) if came else (new, old) for _, old, new in self._properties)
        return bool(key) and any(key in after and key not in before for before, after in sides)

    def _moved(self, value: str, *, came: bool) -> bool:
        """Whether a value stands in what is there now and did not before, or the other way round."""
        quoted = json.dumps(value)
        sides = ((old, new) if came else (new, old) for _, old, new in self._properties)
        return any(_holds(after, quoted) and not _holds(before, quoted) for before, after in sides)


def _holds(text: str, quoted: str) -> bool:
    return quoted in text or quoted.replace('"', '\\"') in text


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _who(document: Document) -> str:
    """The person's user name, or the application's name with its id."""
    by = document.get("initiatedBy")
    by = by if isinstance(by, Mapping) else {}
    user, app = (one if isinstance(one, Mapping) else {} for one in (by.get("user"), by.get("app")))
    person = user.get("userPrincipalName") or user.get("displayName") or user.get("id")
    return str(person or app.get("displayName") or app.get("servicePrincipalId") or app.get("appId") or "")
