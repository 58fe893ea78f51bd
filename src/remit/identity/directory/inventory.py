"""Everybody of one tenant, read whole: accounts, the groups that policies name with all below them, app roles.

Read every few minutes, and kept in the database as one row, so that the command line and every arbiter know the same. A
reading is taken whole or not at all: the last one stays, with its time. Only security groups count, as in tokens.
Accounts of applications are kept when they have a role or a group: a tenant holds hundreds of Microsoft's own.
For questions about the policy; no request is decided on it. Source: learn.microsoft.com/graph/api/group-list-members,
serviceprincipal-list-approleassignedto, group-list-owners.
"""

import asyncio
import json
import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NoReturn

from sqlalchemy import Column, Engine, insert, select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from remit.identity.directory.graph import BATCH, Failing, Graph, GraphFailed
from remit.identity.directory.tables import inventories
from remit.identity.tokens.claims import is_guid
from remit.model.errors import Refused
from remit.model.identity import Kind, Principal
from remit.model.inventory import Account, GroupKnown, Inventory
from remit.model.reasons import Reason

EVERY = 300.0  # seconds between two readings
LIMIT = 200_000  # accounts, groups, members of one group, assignments
DEADLINE = 120.0  # seconds for one listing: nobody's request hangs on it
SOONEST = 2.0  # seconds until a reading that failed is tried again; twice as many each time

_log = logging.getLogger(__name__)
_GROUP = "#microsoft.graph.group"
_MAX_NAME = 256  # characters: Graph's bound for a display name
_USERS = "/v1.0/users?$select=id,displayName,accountEnabled,userType&$top=999"
_APPLICATIONS = "/v1.0/servicePrincipals?$select=id,appId,displayName,accountEnabled,appRoles&$top=999"
_GROUPS = "/v1.0/groups?$select=id,displayName,securityEnabled&$top=999"

Items = Sequence[Mapping[str, Any]]


class DirectoryInventory:
    """Keeps the inventory of `graph`'s tenant. `app`: client id of Remit's own application, whose roles count.

    `named`: ids of the groups that policies name now; `clock`: seconds since the epoch.
    """

    def __init__(
        self,
        graph: Graph,
        kept: "KeptInventory",
        *,
        app: str,
        named: Callable[[], frozenset[str]],
        clock: Callable[[], int],
    ) -> None:
        self._graph = graph
        self._kept = kept
        self._app = app
        self._named = named
        self._clock = clock

    async def keep_fresh(self, every: float = EVERY) -> NoReturn:
        """Reads for ever; run it as a task and cancel it."""
        pause = SOONEST
        while True:
            try:
                await self.refresh()
                pause = SOONEST
                await asyncio.sleep(every)
            except (GraphFailed, SQLAlchemyError) as error:
                said = error.message if isinstance(error, GraphFailed) else type(error).__name__
                _log.warning("the directory's inventory is not read: %s", said)
                await asyncio.sleep(pause)
                pause = min(2 * pause, every)

    async def refresh(self) -> Inventory:
        """Reads it now and keeps it; raises `GraphFailed`, `SQLAlchemyError`."""
        found = await self.read()
        await asyncio.to_thread(self._kept.keep, self._graph.tenant, found)
        return found

    async def read(self) -> Inventory:
        """Reads it now; raises `GraphFailed`."""
        at = self._clock()
        users, applications = await self._all(_USERS), await self._all(_APPLICATIONS)
        names = {_id(one): _name(one) for one in await self._all(_GROUPS) if one.get("securityEnabled") is not False}
        roles, held = await self._roles(applications)
        wanted = {group.lower() for group in self._named()} | held.keys()  # a group that has a role, named or not
        members = await self._members(frozenset(wanted & names.keys()), names)
        owners = await self._owners(members)
        parents = _parents(members)
        groups = {
            group: GroupKnown(
                group, names.get(group, group), parents.get(group, frozenset()) & set(members), owners[group]
            )
            for group in members
        }
        accounts = (
            *(_account(self._graph.tenant, one, Kind.PERSON, parents, held) for one in users),
            *(_account(self._graph.tenant, one, Kind.WORKLOAD, parents, held) for one in applications),
        )
        once = {one.principal.key: one for one in accounts}  # what changes meanwhile can stand on two pages
        counted = tuple(one for one in once.values() if one.principal.kind is Kind.PERSON or one.groups or one.roles)
        others = {group: GroupKnown(group, name) for group, name in names.items() if group not in groups}
        return Inventory(at, counted, {**others, **groups}, roles)

    async def _all(self, path: str) -> Items:
        listing = await self._graph.collect(path, limit=LIMIT, deadline=DEADLINE)
        return [_object(item) for item in listing.items]

    async def _each(self, paths: Sequence[str]) -> list[Items]:
        """Several collections, in their order: a batch has a deadline of its own."""
        found: list[Items] = []
        for start in range(0, len(paths), BATCH):
            listings = await self._graph.batch(paths[start : start + BATCH], limit=LIMIT)
            found += ([_object(item) for item in listing.items] for listing in listings)
        return found

    async def _members(self, named: frozenset[str], names: Mapping[str, str]) -> dict[str, frozenset[str]]:
        """Direct members of the named groups and of every security group inside them."""
        found: dict[str, frozenset[str]] = {}
        ahead = sorted(named)
        while ahead:
            paths = [f"/v1.0/groups/{group}/members?$select=id&$top=999" for group in ahead]
            for group, items in zip(ahead, await self._each(paths), strict=True):
                found[group] = frozenset(
                    _id(one) for one in items if one.get("@odata.type") != _GROUP or _id(one) in names
                )
            ahead = sorted({member for members in found.values() for member in members if member in names} - set(found))
        return found

    async def _owners(self, groups: Iterable[str]) -> dict[str, tuple[str, ...]]:
        wanted = sorted(groups)
        paths = [f"/v1.0/groups/{group}/owners?$select=id,displayName&$top=999" for group in wanted]
        owners = await self._each(paths)
        return {group: tuple(sorted(map(_name, items))) for group, items in zip(wanted, owners, strict=True)}

    async def _roles(self, applications: Items) -> tuple[frozenset[str], dict[str, frozenset[str]]]:
        """Every role of our application, and who holds which; a group's assignment is its members'."""
        own = next((one for one in applications if str(one.get("appId", "")).lower() == self._app), None)
        if own is None:
            return frozenset(), {}
        listed = own.get("appRoles") or []
        if not isinstance(listed, list):
            raise GraphFailed(Failing.UNREADABLE, "gave roles that are no list")
        enabled = (
            role for role in map(_object, listed) if role.get("isEnabled") is not False
        )  # tokens lack the others
        values = {_id(role): str(role.get("value") or "") for role in enabled}
        path = f"/v1.0/servicePrincipals(appId='{self._app}')/appRoleAssignedTo?$top=999"
        held: dict[str, frozenset[str]] = {}
        for one in await self._all(path):
            value = values.get(str(one.get("appRoleId", "")).lower(), "")
            principal = str(one.get("principalId", "")).lower()
            if value and is_guid(principal):
                held[principal] = held.get(principal, frozenset()) | {value}
        return frozenset(filter(None, values.values())), held


class KeptInventory:
    """Implements `access.ports.Directory`: the last reading of a tenant, out of the database.

    `reader`, `writer`: engines on the same database, which may be one and the same. A reading is parsed once, by one
    thread: 100,000 accounts are 2 s of the interpreter's lock, and decisions are taken beside.
    """

    def __init__(self, tenant: str, reader: Engine, writer: Engine) -> None:
        self._tenant = tenant
        self._reader = reader
        self._writer = writer
        self._parsed: Inventory | None = None
        self._lock = threading.Lock()

    def inventory(self) -> Inventory:
        """The last reading; raises `Refused` when there is none, or when it cannot be read. Blocks."""
        with self._lock:
            if self._parsed is None or self._of(inventories.c.at) != self._parsed.at:
                self._parsed = self._read()
            return self._parsed

    def _read(self) -> Inventory:
        try:
            return _read(self._of(inventories.c.document))
        except (ValueError, TypeError, KeyError):
            raise Refused(Reason.PLANE_UNAVAILABLE, "the directory's inventory is not readable") from None

    def _of(self, column: Column[Any]) -> Any:
        """One field of the last reading; raises `Refused` when there is none."""
        try:
            with self._reader.connect() as connection:
                found = connection.execute(select(column).where(inventories.c.tenant == self._tenant)).scalar()
        except SQLAlchemyError:
            raise Refused(Reason.PLANE_UNAVAILABLE, "the directory's inventory cannot be read right now") from None
        if found is None:
            hint = "it is read within a minute of the start, where `remit.yaml` lets Remit ask Microsoft Graph"
            raise Refused(Reason.PLANE_UNAVAILABLE, "the directory has not been read yet", hint=hint)
        return found

    def keep(self, tenant: str, found: Inventory) -> None:
        """Keeps a reading in place of an older one; raises `SQLAlchemyError`."""
        table, values = inventories.c, {"at": found.at, "document": _written(found)}
        change = update(inventories).where(table.tenant == tenant, table.at <= found.at).values(**values)
        with self._writer.begin() as connection:
            if connection.execute(change).rowcount:
                return
        try:
            with self._writer.begin() as connection:
                connection.execute(insert(inventories).values(tenant=tenant, **values))
        except IntegrityError:  # another arbiter was faster, or read later than this one
            with self._writer.begin() as connection:
                connection.execute(change)


def _parents(members: Mapping[str, frozenset[str]]) -> dict[str, frozenset[str]]:
    """The groups that name somebody, or a group, among their direct members."""
    found: dict[str, frozenset[str]] = {}
    for group, inside in members.items():
        for member in inside:
            found[member] = found.get(member, frozenset()) | {group}
    return found


def _account(
    tenant: str,
    item: Mapping[str, Any],
    kind: Kind,
    parents: Mapping[str, frozenset[str]],
    held: Mapping[str, frozenset[str]],
) -> Account:
    oid = _id(item)
    direct = parents.get(oid, frozenset())
    groups, ahead = set[str](), list(direct)
    while ahead:
        group = ahead.pop()
        if group not in groups:
            groups.add(group)
            ahead += parents.get(group, frozenset())
    roles = frozenset[str]().union(*(held.get(one, frozenset()) for one in (oid, *direct)))  # nested members get none
    issuer = f"https://login.microsoftonline.com/{tenant}/v2.0"
    return Account(
        principal=Principal(issuer, tenant, oid, kind),
        name=_name(item),
        enabled=item.get("accountEnabled") is not False,
        guest=item.get("userType") == "Guest",
        direct=direct,
        groups=frozenset(groups),
        roles=roles,
    )


def _object(item: object) -> Mapping[str, Any]:
    if not isinstance(item, dict):
        raise GraphFailed(Failing.UNREADABLE, "gave what is no object")
    return item


def _id(item: Mapping[str, Any]) -> str:
    found = str(item.get("id", "")).lower()
    if not is_guid(found):
        raise GraphFailed(Failing.UNREADABLE, "gave what has no object id")
    return found


def _name(item: Mapping[str, Any]) -> str:
    """Without anything that a terminal would act on; the id when there is none, or we may not read it."""
    name = item.get("displayName")
    if not isinstance(name, str) or not name:
        return _id(item)
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in name[:_MAX_NAME])


def _written(found: Inventory) -> str:
    return json.dumps(
        {
            "at": found.at,
            "roles": sorted(found.roles),
            "groups": [[one.id, one.name, sorted(one.parents), list(one.owners)] for one in found.groups.values()],
            "accounts": [
                [
                    one.principal.issuer,
                    one.principal.tenant,
                    one.principal.subject,
                    str(one.principal.kind),
                    one.name,
                    one.enabled,
                    one.guest,
                    sorted(one.direct),
                    sorted(one.groups),
                    sorted(one.roles),
                    one.home,
                ]
                for one in found.accounts
            ],
        },
        separators=(",", ":"),
    )


def _read(text: str) -> Inventory:
    document = json.loads(text)
    groups = (
        GroupKnown(id_, name, frozenset(parents), tuple(owners)) for id_, name, parents, owners in document["groups"]
    )
    accounts = (
        Account(
            Principal(issuer, tenant, subject, Kind(kind)),
            name,
            enabled,
            guest,
            frozenset(direct),
            frozenset(inside),
            frozenset(roles),
            home,
        )
        for issuer, tenant, subject, kind, name, enabled, guest, direct, inside, roles, home in document["accounts"]
    )
    return Inventory(document["at"], tuple(accounts), {one.id: one for one in groups}, frozenset(document["roles"]))
