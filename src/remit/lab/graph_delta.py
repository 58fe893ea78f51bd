"""`users/delta` and `servicePrincipals/delta`: everything once, then what changed.

The state lies in the token; `$select` is kept in it, so that a link needs no other parameter. A token from before
`forget` is answered with 410 and the way back to the start, as a tenant that was moved does. Source:
learn.microsoft.com/graph/delta-query-overview.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from remit.lab.directory import Directory, Entry
from remit.lab.graph_errors import GraphError
from remit.lab.graph_paging import CONTEXT, HOST, read_token, select, token
from remit.lab.http import Request


def account(entry: Entry) -> dict[str, Any]:
    """A user or service principal, as Graph renders it."""
    common = {"id": entry.id, "displayName": entry.name, "accountEnabled": entry.enabled}
    if not entry.person:
        return common
    since = datetime.fromtimestamp(entry.sessions, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {**common, "signInSessionsValidFromDateTime": since}


class Delta:
    """Changes of accounts. `size`: gives the number of items on a page."""

    def __init__(self, directory: Directory, size: Callable[[], int]) -> None:
        self._directory = directory
        self._size = size
        self._generation = 0

    def forget(self) -> None:
        """Every token that was given out is void."""
        self._generation += 1

    def answer(self, request: Request, *, person: bool) -> dict[str, Any]:
        """One page, with a link to the next one, or for the next round."""
        state = read_token(request.parameter("$skiptoken") or request.parameter("$deltatoken"))
        if state and state.get("generation") != self._generation:
            raise GraphError(HTTPStatus.GONE, "resyncRequired", "Resync required. Start again without a token.")
        selected = state.get("select", request.parameter("$select"))
        since, until = state.get("since"), state.get("until", self._directory.serial)
        after = state.get("after", "")
        entries = sorted(self._entries(since, person=person), key=lambda entry: entry.id)
        ahead = [entry for entry in entries if entry.id > after]
        here, rest = ahead[: self._size()], ahead[self._size() :]
        where = f"{HOST}{request.path}"
        common = {"generation": self._generation, "select": selected}
        answer: dict[str, Any] = {
            "@odata.context": f"{CONTEXT}#{'users' if person else 'servicePrincipals'}",
            "value": [_item(entry, selected) for entry in here],
        }
        if rest:
            more = token(**common, since=since, until=until, after=here[-1].id)
            return {**answer, "@odata.nextLink": f"{where}?$skiptoken={more}"}
        return {**answer, "@odata.deltaLink": f"{where}?$deltatoken={token(**common, since=until)}"}

    def _entries(self, since: int | None, *, person: bool) -> tuple[Entry, ...]:
        if since is None:
            return self._directory.entries(person=person)
        return self._directory.changed_since(since, person=person)


def _item(entry: Entry, selected: str) -> dict[str, Any]:
    if entry.deleted:
        return {"id": entry.id, "@removed": {"reason": "changed"}}
    return select(account(entry), [name for name in selected.split(",") if name])
