"""The directory of one installation: Microsoft Graph, asked as Remit's own application."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
from sqlalchemy import Engine

from remit.assembly.rooms import Hops
from remit.credentials.cache import TokenCache, cache_key
from remit.credentials.hop import Token
from remit.identity.directory.graph import Graph
from remit.identity.directory.group_paths import GroupPaths
from remit.identity.directory.groups import DirectoryGroups
from remit.identity.directory.inventory import DirectoryInventory, KeptInventory
from remit.identity.directory.poll import DirectoryPoll
from remit.identity.directory.told import Told
from remit.identity.revocation.revoker import Revoker
from remit.identity.surroundings.locations import NamedLocations
from remit.model.identity import Principal
from remit.model.secret import AccessToken, Secret
from remit.settings.identity import IdentitySettings

_SCOPE = "https://graph.microsoft.com/.default"
_FLOOR = 60.0  # seconds that a token must still live: longer than any question takes
_DROP_PAUSE = 60.0  # seconds between two tokens that are given up: Graph may refuse for other reasons than the token


class ApplicationToken:
    """The application's own token for Graph, kept for its life."""

    def __init__(self, hops: Hops, clock: Callable[[], float] = time.monotonic) -> None:
        self._hops = hops
        self._tokens = TokenCache("entra-own", floor=_FLOOR, clock=clock)
        self._clock = clock
        self._dropped_at = -_DROP_PAUSE

    async def __call__(self) -> Secret:
        """The token; raises `HopFailed`."""
        return (await self._tokens.get(cache_key("graph"), self._fetch)).value

    def drop(self, refused: Secret) -> bool:
        """Forgets a token that Graph does not believe; false when one was forgotten a moment ago."""
        now = self._clock()
        if now - self._dropped_at < _DROP_PAUSE:
            return False
        self._dropped_at = now
        self._tokens.drop(cache_key("graph"), AccessToken(refused.reveal()))
        return True

    async def _fetch(self) -> Token:
        return await self._hops.entra.own((await self._hops.identity.assertion()).value, _SCOPE)


@dataclass(frozen=True, slots=True)
class DirectoryView:
    """What is asked of the directory."""

    groups: DirectoryGroups
    paths: GroupPaths
    locations: NamedLocations
    poll: DirectoryPoll
    inventory: DirectoryInventory

    async def shown(self, principal: Principal) -> Sequence[Mapping[str, Any]]:
        """By which path each group came about, as `/v1/identity` shows it; raises `Refused`."""
        found = await self.paths.of(principal, int(time.time()))
        return [
            {
                "group": one.group,
                "name": one.name,
                "path": [{"id": id_, "name": name} for id_, name in (*one.via, (one.group, one.name))],
            }
            for one in found
        ]


def directory(  # noqa: PLR0917 - one for each part that it is made of
    settings: IdentitySettings,
    hops: Hops,
    client: httpx.AsyncClient,
    revoker: Revoker,
    engines: tuple[Engine, Engine],
    named: Callable[[], frozenset[str]],
) -> DirectoryView:
    """The directory of the tenant. `named`: the groups that policies name."""
    token = ApplicationToken(hops)
    graph = Graph(client, token, drop=token.drop, tenant=settings.entra.tenant)
    kept = KeptInventory(settings.entra.tenant, *engines)
    app = settings.entra.audience
    return DirectoryView(
        groups=DirectoryGroups(graph),
        paths=GroupPaths(graph),
        locations=NamedLocations(graph),
        poll=DirectoryPoll(graph, revoker, Told(*engines)),
        inventory=DirectoryInventory(graph, kept, app=app, named=named, clock=lambda: int(time.time())),
    )
