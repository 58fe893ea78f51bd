"""By which way somebody came to be in a group: `dana → ml-engineers-fraud → ml-engineers → ml-all`.

For people's eyes (`remit whoami --groups`, explain); no decision is taken on it. Asked breadth first, each group's own
groups once, twenty a round trip. `memberOf` is asked without a cast to groups, which would read an index that lags
(learn.microsoft.com/graph/api/user-list-memberof); directory roles and administrative units are left out here instead,
and for people, as in `groups`, groups that carry no security.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from remit.identity.directory.graph import Failing, Graph, GraphFailed, Listing
from remit.identity.tokens.claims import is_guid
from remit.model.errors import Refused
from remit.model.identity import Kind, Principal
from remit.model.reasons import Reason

FRESH = 300  # seconds, as for the groups themselves
SIZE = 1_000  # principals: people who look at their own
LIMIT = 20_000  # groups, as for the groups themselves
WAYS = 4  # ways to one group that are told, shortest first: a dense nest has more of them than anybody reads

_SELECT = "$select=id,displayName,securityEnabled&$top=999"
_GROUP = "#microsoft.graph.group"
_MAX_NAME = 256  # Graph's bound for a display name


@dataclass(frozen=True, slots=True)
class GroupPath:
    """One way to one group. `via`: `(id, name)` of the groups on the way, the direct one first, this one left out."""

    group: str
    name: str
    via: tuple[tuple[str, str], ...] = ()


class GroupPaths:
    """The ways to every group of a principal of `graph`'s tenant."""

    def __init__(self, graph: Graph, *, fresh: int = FRESH, size: int = SIZE, limit: int = LIMIT) -> None:
        self._graph = graph
        self._fresh = fresh
        self._size = size
        self._limit = limit
        self._known: OrderedDict[Principal, tuple[int, tuple[GroupPath, ...]]] = OrderedDict()

    async def of(self, principal: Principal, now: int) -> tuple[GroupPath, ...]:
        """Every group with its ways, by name, shortest way first; `now`: epoch seconds.

        Raises `Refused` with `IDENTITY_INCOMPLETE` when the directory does not tell all of it.
        """
        if principal.tenant != self._graph.tenant or not is_guid(principal.subject):
            raise Refused(Reason.IDENTITY_INCOMPLETE)
        at, paths = self._known.get(principal, (None, ()))
        if at is not None and 0 <= now - at < self._fresh:
            return paths
        try:
            paths = await self._read(principal)
        except GraphFailed as failed:
            raise Refused(Reason.IDENTITY_INCOMPLETE, failed.message, hint=failed.hint) from failed
        self._known[principal] = now, paths
        self._known.move_to_end(principal)
        if len(self._known) > self._size:
            self._known.popitem(last=False)
        return paths

    async def _read(self, principal: Principal) -> tuple[GroupPath, ...]:
        person = principal.kind is Kind.PERSON
        kind = "users" if person else "servicePrincipals"
        listing = await self._graph.collect(f"/v1.0/{kind}/{principal.subject}/memberOf?{_SELECT}", limit=self._limit)
        names = _groups(listing, secure=person)
        direct, above = tuple(names), dict[str, Sequence[str]]()
        ahead = list(direct)
        while ahead:
            paths = [f"/v1.0/groups/{group}/memberOf?{_SELECT}" for group in ahead]
            for group, parents in zip(ahead, await self._graph.batch(paths, limit=self._limit), strict=True):
                found = _groups(parents, secure=person)
                above[group] = tuple(found)
                names.update(found)
            if len(names) > self._limit:
                raise GraphFailed(Failing.TOO_MUCH, f"has more than {self._limit} groups for this principal")
            ahead = [group for group in names if group not in above]
        return tuple(_ways(direct, above, names))


def _ways(direct: Sequence[str], above: Mapping[str, Sequence[str]], names: Mapping[str, str]) -> Iterable[GroupPath]:
    """At most `WAYS` ways to each group, none through a group twice; sorted."""
    told: dict[str, int] = {}
    found: list[GroupPath] = []
    ahead: deque[tuple[str, ...]] = deque((group,) for group in direct)
    while ahead:
        way = ahead.popleft()
        group = way[-1]
        if told.get(group, 0) == WAYS:
            continue
        told[group] = told.get(group, 0) + 1
        found.append(GroupPath(group, names[group], tuple((each, names[each]) for each in way[:-1])))
        ahead.extend((*way, parent) for parent in above[group] if parent not in way)
    return sorted(found, key=lambda path: (path.name, path.group, len(path.via), path.via))


def _groups(listing: Listing, *, secure: bool) -> dict[str, str]:
    """Id to name of the groups among directory objects; a name that we may not read is the id."""
    groups: dict[str, str] = {}
    for item in listing.items:
        if not isinstance(item, dict):
            raise GraphFailed(Failing.UNREADABLE, "gave memberships that are no objects")
        if item.get("@odata.type") != _GROUP or (secure and item.get("securityEnabled") is False):
            continue
        group, name = item.get("id"), item.get("displayName")
        if not isinstance(group, str) or not is_guid(group):
            raise GraphFailed(Failing.UNREADABLE, "gave groups that are no object ids")
        groups[group] = _printable(name) if isinstance(name, str) and name else group
    return groups


def _printable(name: str) -> str:
    """Without anything that a terminal would act on."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in name[:_MAX_NAME])
