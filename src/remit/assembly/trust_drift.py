"""Drift of one installation: which logs are asked and by whom, what the policy makes of it, and the two ways out."""

import asyncio
import contextlib
import os
import stat
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path

import httpx

from remit.assembly import evidence, rooms
from remit.assembly.trust import PolicyWants
from remit.assembly.trust_plan import Who, folder, open_clouds, open_tokens, permitted
from remit.catalogue import methods
from remit.credentials.hop import cloud_client
from remit.identity.directory.inventory import KeptInventory
from remit.model.errors import Refused, RemitError, TrustBroken
from remit.model.inventory import Inventory
from remit.model.operation import Action, Group
from remit.settings.read import Settings
from remit.settings.read import read as read_settings
from remit.state.private_file import write_whole
from remit.trust.applying import apply as applying
from remit.trust.applying.apply import Applying, Outcome, Seen
from remit.trust.applying.patience import Tell
from remit.trust.applying.reviewed import keep
from remit.trust.clouds import azure, google
from remit.trust.clouds.administrator import Administrator
from remit.trust.clouds.asking import Asking
from remit.trust.clouds.entra_graph import SCOPE as GRAPH
from remit.trust.clouds.entra_graph import Graph
from remit.trust.clouds.port import Cloud, Tokens
from remit.trust.desired import wanted
from remit.trust.desired.limits import limits
from remit.trust.drifting.adoption import adoption
from remit.trust.drifting.attribution import applied, cause
from remit.trust.drifting.azure_log import AzureLog
from remit.trust.drifting.blast import Known, blast
from remit.trust.drifting.drift import Drift, Side, chosen, drifts, only
from remit.trust.drifting.edit import Edit, edited
from remit.trust.drifting.entra_log import EntraLog
from remit.trust.drifting.google_log import GoogleLog
from remit.trust.drifting.log import DAYS, Log, Logged
from remit.trust.drifting.people import People, asked
from remit.trust.drifting.report import Explained
from remit.trust.planning.diff import plan
from remit.trust.planning.plan import Plan
from remit.trust.planning.reading import read
from remit.trust.things import Found, Thing

_DAY = 86400.0  # seconds
_MEMBERS = 999  # of one page of a group, Graph's most


@dataclass(frozen=True)
class Scene:
    """Everything that drift is looked at with. `logs`, `clouds`: asked as the same one."""

    settings: Settings
    wanted: tuple[Thing, ...]
    clouds: Mapping[str, Cloud]
    logs: tuple[Log, ...]
    asking: Asking
    graph: Graph
    applier: frozenset[str] = frozenset()
    clock: Callable[[], float] = time.time
    included: dict[str, frozenset[str]] = field(default_factory=dict)  # of roles that Google itself defines

    @cached_property
    def permitted(self) -> Callable[[str, str], tuple[str, ...]]:
        """Account and project → IAM permissions of what the policy lets those do who work as it."""
        return cache(permitted(self.settings))

    @cached_property
    def permits(self) -> Callable[[str], Mapping[str, frozenset[str]]]:
        """App role → the same by project."""
        return cache(_permits(self.settings))

    async def look(self) -> Seen:
        """Reads and plans; raises `TrustBroken`."""
        found = await read(tuple(self.clouds.values()), self.wanted)
        made = plan(self.wanted, found, self.settings.trust, problems=limits(self.wanted), applier=self.applier)
        return Seen(made, found)


@contextlib.asynccontextmanager
async def open_scene(settings: Settings, who: Who) -> AsyncIterator[Scene]:
    """As whoever runs the command, or as Remit itself."""
    things = wanted(settings.trust, permitted(settings))
    async with (
        open_tokens(settings, who) as tokens,
        open_clouds(settings, tokens) as clouds,
        cloud_client() as client,
    ):
        yield replace(scene(settings, things, clouds, client, tokens), applier=await _applier(tokens))


async def _applier(tokens: Tokens) -> frozenset[str]:
    return await tokens.ids() if isinstance(tokens, Administrator) else frozenset()


def scene(
    settings: Settings,
    things: tuple[Thing, ...],
    clouds: Mapping[str, Cloud],
    client: httpx.AsyncClient,
    tokens: Tokens,
) -> Scene:
    """The same over clouds that are there already."""
    asking = Asking(client, tokens, google.SCOPE)
    graph = Graph(Asking(client, tokens, GRAPH))
    logs = (EntraLog(graph), GoogleLog(asking, settings.estate), AzureLog(Asking(client, tokens, azure.SCOPE)))
    return Scene(settings, things, clouds, logs, asking, graph)


async def explained(view: Scene) -> tuple[Explained, ...]:
    """Every drift with who, when and whom it concerns; raises `TrustBroken` when a cloud cannot be read or planned."""
    seen = await view.look()
    if seen.plan.problems:
        raise TrustBroken("; ".join(seen.plan.problems), hint="`remit trust plan` shows the rest")
    found = drifts(seen.plan, view.settings.trust)
    if not found:
        return ()
    logged = {log.cloud: await _logged(log, found, seen.found, view.clock()) for log in view.logs}
    steps = await asyncio.to_thread(applied, folder(view.settings))
    known = await _known(view, found, seen.found)
    return tuple(Explained(one, cause(one, logged, steps), blast(one, known)) for one in found)


async def _logged(log: Log, found: Sequence[Drift], there: Sequence[Found], now: float) -> Logged:
    """What a log tells; one that cannot be read is told, and stops nothing."""
    mine = [one for one in found if one.change.address.cloud == log.cloud]
    if not mine:
        return Logged()
    try:
        return await log.read(mine, there, now - DAYS[log.cloud] * _DAY)
    except TrustBroken as cause_:
        return Logged(unread=cause_.message)


async def _known(view: Scene, found: Sequence[Drift], there: Sequence[Found]) -> Known:
    held: dict[str, list[tuple[str, str]]] = {}
    for fields in (one.fields for one in there if one.address.kind == "google.binding"):
        who = str(fields["member"])
        if who.startswith("serviceAccount:"):
            held.setdefault(who.partition(":")[2], []).append((str(fields["resource"]), str(fields["role"])))
    sides = [one for each in found for one in (each.now, each.was) if one]
    bindings = [str(each.get("role")) for each in sides if "resource" in each]
    roles = {*bindings, *(role for some in held.values() for _, role in some)}
    included = {role: some for role in sorted(roles) if (some := await _permissions(view, role)) is not None}
    texts = [str(value) for each in sides for value in each.values() if isinstance(value, str)]
    return Known(
        settings=view.settings.trust,
        included=included,
        actions=_actions(),
        permitted=view.permitted,
        permits=view.permits,
        held={email: tuple(some) for email, some in held.items()},
        people=await _people(view, texts),
    )


async def _permissions(view: Scene, role: str) -> frozenset[str] | None:
    """What a role includes. Google's own change with its releases, a custom role at any moment."""
    if role in view.included:
        return view.included[role]
    try:
        found = await google.Google(view.asking, view.settings.trust).permissions(role)
    except TrustBroken:
        return None
    if role.startswith("roles/"):
        view.included[role] = found
    return found


@cache
def _actions() -> Mapping[str, tuple[Action, ...]]:
    """Permission → the actions of the catalogue that need it."""
    known: dict[str, dict[str, Action]] = {}
    for row in methods():
        if row.permission:
            known.setdefault(row.permission, {})[row.id] = Action(row.id, Group(row.group), row.permission)
    return {permission: tuple(some.values()) for permission, some in known.items()}


def _permits(settings: Settings) -> Callable[[str], Mapping[str, frozenset[str]]]:
    wants = PolicyWants(rooms.judge(settings), settings.estate, settings.credentials.tenant)
    trust = settings.trust
    members = {one.email: one.members for one in trust.accounts}

    def of(role: str) -> Mapping[str, frozenset[str]]:
        """At the strongest: as one of the groups that may work as the role's accounts."""
        groups = {each for one in trust.roles if one.name == role for each in one.groups}
        names = (name for one in trust.mappings if one.role == role for name in members.get(one.account, ()))
        mine = frozenset({*groups, *(name.removeprefix("group/") for name in names if name.startswith("group/"))})
        projects = sorted({one.project for one in trust.mappings if one.role == role})
        return {project: wants.permissions(role, mine, project) for project in projects}

    return of


async def _people(view: Scene, texts: Sequence[str]) -> People:
    """From the directory as the arbiter last read it, where there is one; else from Microsoft Graph."""
    ids, groups = asked(view.settings.trust, texts)
    kept = await asyncio.to_thread(_inventory, view.settings)
    if kept is not None:
        names = {one.principal.subject: one.name for one in kept.accounts} | {
            key: one.name for key, one in kept.groups.items()
        }
        within = {each: tuple(one.principal.subject for one in kept.accounts if each in one.groups) for each in groups}
        return People(names, within)
    return await _from_graph(view.graph, ids, groups)


def _inventory(settings: Settings) -> Inventory | None:
    try:
        if not evidence.begun(settings):
            return None
        with evidence.reading(settings) as engine:
            return KeptInventory(settings.identity.entra.tenant, engine, engine).inventory()
    except (Refused, RemitError):  # names are a comfort: an id stands in for each
        return None


async def _from_graph(graph: Graph, ids: Collection[str], groups: Collection[str]) -> People:
    names: dict[str, str] = {}
    members: dict[str, tuple[str, ...]] = {}
    for each in sorted(groups):
        try:
            path = f"groups/{each}/members?$select=id,displayName&$top={_MEMBERS}"
            listed = [one async for one in graph.each(path)]
        except TrustBroken:  # an id stands in for each name
            continue
        members[each] = tuple(str(one.get("id")) for one in listed)
        names |= {str(one["id"]): str(one["displayName"]) for one in listed if one.get("id") and one.get("displayName")}
    for each in sorted({*ids, *groups} - names.keys()):
        for kind in ("groups",) if each in groups else ("users", "servicePrincipals", "groups"):
            try:
                one = await graph.find(f"{kind}/{each}?$select=id,displayName")
            except TrustBroken:
                continue
            if one and one.get("displayName"):
                names[each] = str(one["displayName"])
                break
    return People(names, members)


async def to_revert(view: Scene, names: Sequence[str]) -> Plan:
    """The plan that undoes just these drifts, by name or key; raises `TrustBroken`."""
    seen = await view.look()
    picked = chosen(drifts(seen.plan, view.settings.trust), names)
    chosen_ = only(seen.plan, [one.name for one in picked])
    await asyncio.to_thread(keep, folder(view.settings), chosen_)
    return chosen_


def spelled(planned: Plan, allowed: Collection[str]) -> tuple[str, ...]:
    """Names of changes as a plan has them, where some are given by their key."""
    keys = {Drift(one, Side.ALTERED).key: one.name for one in planned.changes}
    return tuple(keys.get(name, name) for name in allowed)


async def reverted(view: Scene, planned: Plan, allowed: Collection[str], tell: Tell) -> Outcome:
    """Carries out such a plan, in the journal of `remit trust apply`; raises as `trust.applying.apply`."""
    return await applying.apply(_applying(view, [one.name for one in planned.changes], tell), planned.checksum, allowed)


async def resumed(view: Scene, allowed: Collection[str], tell: Tell) -> Outcome:
    """Goes on with a reverting that was interrupted."""
    past = await asyncio.to_thread(applying.opened, folder(view.settings))
    names = [one.change.name for one in past.entries]
    return await applying.resume(_applying(view, names, tell), allowed)


def _applying(view: Scene, names: Collection[str], tell: Tell) -> Applying:
    async def look() -> Seen:
        seen = await view.look()
        return Seen(Plan(tuple(one for one in seen.plan.changes if one.name in names), seen.plan.problems), seen.found)

    return Applying(view.clouds, look, folder(view.settings), tell, lambda _: None)


@dataclass(frozen=True, slots=True)
class Adopted:
    """What was written. `also`: names of other drifts that the same words say, and that are gone with it."""

    edits: tuple[Edit, ...]
    also: tuple[str, ...]


async def adopted(view: Scene, names: Sequence[str], allowed: Collection[str]) -> Adopted:
    """Edits remit.yaml so that it says what is there; raises `TrustBroken`, and then nothing was written.

    1 it is a drift, and nothing unsafe goes unnamed   2 the file has words for it
    3 the edited file is read and planned: these drifts are gone and nothing else came   4 it is put in its place
    """
    seen = await view.look()
    trust = view.settings.trust
    picked = chosen(drifts(seen.plan, trust), names)
    for one in picked:
        if one.unsafe and not {one.name, one.key}.intersection(allowed):
            raise TrustBroken(f"unsafe, and not named: `{one.name}`: {one.unsafe[0].said}", hint=f"--allow {one.key}")
    edits = tuple(dict.fromkeys(edit for one in picked for edit in adoption(one, trust)))
    target = view.settings.file.resolve()
    before = await asyncio.to_thread(target.read_bytes)
    after = edited(before.decode(), edits).encode()
    with _draft(target, after) as draft:
        settings = await asyncio.to_thread(read_settings, draft, pending=True)
        things = await asyncio.to_thread(wanted, settings.trust, permitted(settings))
        told = plan(things, seen.found, settings.trust, problems=limits(things), applier=view.applier)
    also = _proved(seen.plan, told, picked)
    if await asyncio.to_thread(target.read_bytes) != before:
        raise TrustBroken(f"`{target}` changed meanwhile", hint="run it again")
    await asyncio.to_thread(_put, target, after)
    return Adopted(edits, also)


def _proved(before: Plan, after: Plan, picked: Sequence[Drift]) -> tuple[str, ...]:
    """What else is gone; raises `TrustBroken` when these are not, or something came."""
    if after.problems:
        raise TrustBroken(f"with that in the file there would be a problem: {after.problems[0]}")
    names, left = {one.name for one in before.changes}, {one.name for one in after.changes}
    if stays := [one.name for one in picked if one.name in left]:
        raise TrustBroken(f"`{stays[0]}` would still differ from the file", hint="edit it by hand, or revert the drift")
    if came := sorted(left - names):
        raise TrustBroken(
            f"with that in the file `{came[0]}` would differ too", hint="edit it by hand, or revert the drift"
        )
    return tuple(sorted(names - left - {one.name for one in picked}))


@contextlib.contextmanager
def _draft(target: Path, data: bytes) -> Iterator[Path]:
    """A file beside the real one, so that what it refers to is found; never left behind."""
    draft = target.with_name(f".{target.name}.adopt-{os.getpid()}")
    write_whole(draft, data, 0o600)
    try:
        yield draft
    finally:
        draft.unlink(missing_ok=True)


def _put(target: Path, data: bytes) -> None:
    status = target.stat()
    write_whole(target, data, stat.S_IMODE(status.st_mode))
    target.chmod(stat.S_IMODE(status.st_mode))  # what the umask took away
    with contextlib.suppress(PermissionError):  # only the superuser can give a file away
        os.chown(target, status.st_uid, status.st_gid)
