"""Planning and applying the trust of one installation: who asks the clouds, what the policy wants there, and where.

`trust_verifying.py` beside it verifies.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from remit.assembly import rooms
from remit.assembly.trust import REVIEW_LIFETIME, ApplicationReviewer, PolicyWants
from remit.assembly.trust_databases import AsDoor
from remit.credentials.cache import TokenCache, cache_key
from remit.credentials.hop import Token, cloud_client
from remit.model.secret import AccessToken
from remit.settings.placeholders import settle
from remit.settings.read import Settings
from remit.trust.applying import apply as applying
from remit.trust.applying import rollback as going_back
from remit.trust.applying.apply import Applying, Outcome, Seen
from remit.trust.applying.journal import made
from remit.trust.applying.patience import Tell
from remit.trust.applying.reviewed import keep
from remit.trust.applying.rollback import Undone
from remit.trust.clouds import azure, entra, google, sql
from remit.trust.clouds.administrator import Administrator, Credential
from remit.trust.clouds.asking import Asking
from remit.trust.clouds.entra_graph import SCOPE as GRAPH
from remit.trust.clouds.itself import Itself
from remit.trust.clouds.port import Cloud, Tokens
from remit.trust.clouds.sql_login import AsAdministrator
from remit.trust.desired import wanted
from remit.trust.desired.limits import limits
from remit.trust.planning.diff import plan
from remit.trust.planning.plan import Plan
from remit.trust.planning.reading import read
from remit.trust.things import Address, Found, Ref, Thing

_FLOOR = 60.0  # seconds that a token must still live: longer than any question takes

NEEDS: Mapping[str, Mapping[str, str]] = {
    "entra": entra.NEEDS,
    "google": google.NEEDS,
    "azure": azure.NEEDS,
    "sql": sql.NEEDS,
}
"""Cloud → permission or role → why, to apply."""
READS: Mapping[str, Mapping[str, str]] = {
    "entra": entra.READS,
    "google": google.READS,
    "azure": azure.READS,
    "sql": sql.READS,
}
"""The same, to plan."""


class Who(StrEnum):
    """As whom the clouds are asked."""

    SELF = "self"
    REMIT = "remit"


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan, what it was made from."""

    plan: Plan
    wanted: tuple[Thing, ...]
    found: tuple[Found, ...]


def folder(settings: Settings) -> Path:
    """Where plans that were shown and journals lie."""
    return settings.audit.folder.parent / "trust"


@contextlib.asynccontextmanager
async def open_tokens(settings: Settings, who: Who) -> AsyncIterator[Tokens]:
    """The tokens of whoever runs the command, or of Remit itself."""
    if who is Who.SELF:
        yield Administrator(settings.trust.tenant)
        return
    async with rooms.open_hops(settings) as hops:
        own = _Own(settings, hops)
        yield Itself(graph=own.graph, management=own.management, google=own.google)


class _Own:
    """Remit's own three ways, each token kept as long as it is good."""

    def __init__(self, settings: Settings, hops: rooms.Hops) -> None:
        self._settings = settings
        self._hops = hops
        self._kept = TokenCache("trust", floor=_FLOOR)
        self._managed = Administrator(settings.trust.tenant, credential=self._managed_identity)

    async def graph(self) -> AccessToken:
        """As its application."""

        async def fetch() -> Token:
            return await self._hops.entra.own((await self._hops.identity.assertion()).value, GRAPH)

        return (await self._kept.get(cache_key("graph"), fetch)).value

    async def google(self) -> AccessToken:
        """As the reviewing account."""

        async def fetch() -> Token:
            return Token(await ApplicationReviewer(self._hops, self._settings.trust.reviewer).token(), REVIEW_LIFETIME)

        return (await self._kept.get(cache_key("google"), fetch)).value

    async def management(self) -> AccessToken:
        """As its managed identity, which holds the roles at Azure."""
        return await self._managed.token(azure.SCOPE)

    def _managed_identity(self) -> Credential:
        from azure.identity import ManagedIdentityCredential  # noqa: PLC0415 - half a second

        return ManagedIdentityCredential(client_id=self._settings.credentials.managed_identity)


def named_secrets(settings: Settings) -> frozenset[str]:
    """App ids of which remit.yaml names a file with a secret."""
    return frozenset(one.client for one in settings.identity.providers if one.secret_file)


@contextlib.asynccontextmanager
async def open_clouds(settings: Settings, tokens: Tokens) -> AsyncIterator[Mapping[str, Cloud]]:
    """The clouds by name, asked with these tokens; databases as their administrator, or as Remit's own roles there."""
    async with cloud_client() as client:
        found: tuple[Cloud, ...] = (
            entra.Entra(client, tokens, ours=lambda: made(folder(settings)), secrets=named_secrets(settings)),
            google.Google(Asking(client, tokens, google.SCOPE), settings.trust),
            azure.Azure(Asking(client, tokens, azure.SCOPE), settings.trust),
            databases(settings, tokens),
        )
        yield {cloud.name: cloud for cloud in found}


def databases(settings: Settings, tokens: Tokens) -> sql.Databases:
    """PostgreSQL, asked by whoever these tokens are of."""
    login = AsAdministrator(tokens) if isinstance(tokens, Administrator) else AsDoor(settings)
    return sql.Databases(settings.trust, settings.file.parent, login)


@dataclass(frozen=True, slots=True)
class _View:
    """The clouds, and how what they hold is held against what is wanted."""

    settings: Settings
    clouds: Mapping[str, Cloud]
    wanted: tuple[Thing, ...]
    applier: frozenset[str]

    async def look(self) -> Seen:
        """Reads and plans; raises `TrustBroken`."""
        found = await read(tuple(self.clouds.values()), self.wanted)
        problems = limits(self.wanted)
        ours = await asyncio.to_thread(made, folder(self.settings))
        planned = plan(self.wanted, found, self.settings.trust, problems=problems, applier=self.applier, ours=ours)
        return Seen(planned, found)

    def applying(self, tell: Tell) -> Applying:
        """What an apply works with."""
        return Applying(self.clouds, self.look, folder(self.settings), tell, self._settle)

    def _settle(self, ids: Mapping[Ref, str]) -> None:
        names = self.settings.trust.pending.values()
        given = {name: ids.get(Ref(Address("entra.application", name), "appId"), "") for name in names}
        if settled := {name: one for name, one in given.items() if one}:
            settle(self.settings.file, settled)


@contextlib.asynccontextmanager
async def _view(settings: Settings, who: Who) -> AsyncIterator[_View]:
    things = wanted(settings.trust, permitted(settings))
    async with open_tokens(settings, who) as tokens, open_clouds(settings, tokens) as clouds:
        applier = await tokens.ids() if isinstance(tokens, Administrator) else frozenset[str]()
        yield _View(settings, clouds, things, applier)


def permitted(settings: Settings) -> Callable[[str, str], tuple[str, ...]]:
    """Account and project → IAM permissions of what the policy lets those do who work there as it."""
    wants = PolicyWants(rooms.judge(settings), settings.estate, settings.credentials.tenant)
    trust = settings.trust
    groups = {role.name: frozenset(role.groups) for role in trust.roles}
    members = {
        account.email: frozenset(one.removeprefix("group/") for one in account.members if one.startswith("group/"))
        for account in trust.accounts
    }

    def of(email: str, project: str) -> tuple[str, ...]:
        roles = sorted({one.role for one in trust.mappings if (one.account, one.project) == (email, project)})
        held = members.get(email, frozenset())
        found = (wants.permissions(role, groups.get(role, frozenset()) | held, project) for role in roles)
        return tuple(sorted(frozenset[str]().union(*found)))

    return of


async def planned(settings: Settings, who: Who = Who.SELF) -> Planned:
    """What is to be done; it is kept, so that an apply can say what changed since. Raises `TrustBroken`."""
    async with _view(settings, who) as view:
        seen = await view.look()
    await asyncio.to_thread(keep, folder(settings), seen.plan)
    return Planned(seen.plan, view.wanted, seen.found)


async def applied(settings: Settings, checksum: str, allowed: Collection[str], tell: Tell) -> Outcome:
    """Carries out the plan with this checksum; raises as `trust.applying.apply`."""
    async with _view(settings, Who.SELF) as view:
        return await applying.apply(view.applying(tell), checksum, allowed)


async def resumed(settings: Settings, allowed: Collection[str], tell: Tell) -> Outcome:
    """Goes on with an apply that was interrupted."""
    async with _view(settings, Who.SELF) as view:
        return await applying.resume(view.applying(tell), allowed)


async def rolled_back(settings: Settings, tell: Tell) -> Undone:
    """Undoes an apply that was interrupted."""
    async with _view(settings, Who.SELF) as view:
        return await going_back.rollback(view.applying(tell))
