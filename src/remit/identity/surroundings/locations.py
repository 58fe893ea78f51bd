"""Entra's named locations: which of them an address lies in.

Source: learn.microsoft.com/graph/api/conditionalaccessroot-list-namedlocations, .../resources/ipnamedlocation,
.../resources/countrynamedlocation. Polled; the last answer serves for `MAX_AGE`, after which no location is known.

A policy sees the display names as they stand in Entra, and nothing else: a word of ours for "trusted" could be the name
of a location that is not. Display names need not be unique; an address in one of several of a name is in that name.
Left out, and said in `trouble`, since it would look like "not there": a location by the GPS of somebody's telephone,
countries when there is no country database, a range that cannot be read. So policies that permit *in* a location are
safe with less knowledge, and those that forbid in one are not, unless they ask `complete` as well.
"""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import NoReturn

from remit.identity.directory.graph import Graph, GraphFailed

EVERY = 300.0  # seconds between two readings
SOON = 1.0  # seconds after a first reading that failed, then twice as long each time; Graph's own pauses `Graph` keeps
MAX_AGE = 24 * 3600.0  # seconds
LIMIT = 1_000  # locations; Entra takes 195, with 2,000 ranges each
REMEMBERED = 4096  # addresses: so many ranges are not walked through for every request

_PATH = "/v1.0/identity/conditionalAccess/namedLocations"
_IP = "#microsoft.graph.ipNamedLocation"
_COUNTRY = "#microsoft.graph.countryNamedLocation"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Location:
    """One named location. `unknown`: it holds addresses of no known country."""

    name: str
    v4: tuple[IPv4Network, ...] = ()
    v6: tuple[IPv6Network, ...] = ()
    countries: frozenset[str] = frozenset()
    unknown: bool = False

    @property
    def by_country(self) -> bool:
        return bool(self.countries or self.unknown)

    def holds(self, address: IPv4Address | IPv6Address, country: str | None) -> bool:
        """`country`: empty when the database does not know the address, `None` when there is no database."""
        if isinstance(address, IPv4Address):
            return any(address in network for network in self.v4) or self._holds_country(country)
        return any(address in network for network in self.v6) or self._holds_country(country)

    def _holds_country(self, country: str | None) -> bool:
        return country in self.countries or (self.unknown and country == "")


@dataclass(frozen=True, slots=True)
class _View:
    """What was read, and when, monotonic seconds; `unread`: what could not be; `told`: what was asked of it lately."""

    locations: tuple[_Location, ...] = ()
    at: float = -math.inf
    unread: tuple[str, ...] = ()
    told: dict[tuple[object, str | None], frozenset[str]] = field(default_factory=dict)


class NamedLocations:
    """The named locations of `graph`'s tenant. `clock`: monotonic seconds."""

    def __init__(
        self,
        graph: Graph,
        *,
        max_age: float = MAX_AGE,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._graph = graph
        self._max_age = max_age
        self._clock = clock
        self._sleep = sleep
        self._view = _View()
        self._failed = ""

    @property
    def trouble(self) -> str:
        """What keeps locations from being known, in words; empty when they all are."""
        old = "" if self._current else "no named location is known"
        unread = f"named locations that cannot be told: {', '.join(self._view.unread)}" if self._view.unread else ""
        return "; ".join(filter(None, (self._failed, old, unread)))

    @property
    def by_country(self) -> bool:
        """Whether some location needs a country database."""
        return any(location.by_country for location in self._view.locations)

    async def refresh(self) -> bool:
        """Reads them now; false when they could not be, and the last ones stay."""
        now = self._clock()
        try:
            items = (await self._graph.collect(_PATH, limit=LIMIT)).items
        except GraphFailed as failed:
            self._failed = f"named locations are not read: {failed.message}"
            log.warning("%s", self._failed)
            return False
        unread: list[str] = []
        found = [_read(item if isinstance(item, Mapping) else {}, unread) for item in items]
        self._view = _View(tuple(location for location in found if location), now, tuple(sorted(unread)))
        self._failed = ""
        return True

    async def keep_fresh(self, every: float = EVERY) -> NoReturn:
        """Reads them for ever, again soon after a failure; run it as a task and cancel it."""
        soon = SOON
        while True:
            if await self.refresh():
                soon = SOON
                await self._sleep(every)
            else:
                await self._sleep(min(soon, every))
                soon = min(soon * 2, every)

    def holding(self, address: IPv4Address | IPv6Address, country: str | None) -> frozenset[str]:
        """Names of the locations that the address lies in, none when they are unknown or `max_age` old.

        `country`: as a database says it, empty when it does not know the address, `None` when there is none.
        """
        if not self._current:
            return frozenset()
        told, key = self._view.told, (address, country)
        names = told.get(key)
        if names is None:
            names = frozenset(each.name for each in self._view.locations if each.holds(address, country))
            if len(told) >= REMEMBERED:
                told.clear()
            told[key] = names
        return names

    def complete(self, address: IPv4Address | IPv6Address, *, countries: bool) -> bool:
        """Whether `holding` leaves out no location that the address may lie in. `countries`: there is a database.

        An address that is not of the Internet (a private one, loopback) lies in no country, which needs no database.
        """
        return self._current and not self._view.unread and (countries or not address.is_global or not self.by_country)

    @property
    def _current(self) -> bool:
        return self._clock() - self._view.at <= self._max_age


def _read(item: Mapping[str, object], unread: list[str]) -> _Location | None:
    """One location; what of it cannot be told is added to `unread`."""
    name, kind = item.get("displayName"), item.get("@odata.type")
    if not isinstance(name, str) or not name:
        unread.append("one without a name")
        return None
    if kind == _IP:
        return _by_ranges(name, item.get("ipRanges"), unread)
    if kind == _COUNTRY:
        return _by_countries(name, item, unread)
    unread.append(f"`{name}`, of a kind that is not an address's")
    return None


def _by_ranges(name: str, ranges: object, unread: list[str]) -> _Location:
    v4: list[IPv4Network] = []
    v6: list[IPv6Network] = []
    for each in ranges if isinstance(ranges, list) else (None,):
        try:
            network = ip_network(str(each["cidrAddress"] if isinstance(each, Mapping) else ""), strict=False)
        except (KeyError, ValueError):
            unread.append(f"a range of `{name}`")
            continue
        if isinstance(network, IPv4Network):
            v4.append(network)
        else:
            v6.append(network)
    return _Location(name, tuple(v4), tuple(v6))


def _by_countries(name: str, item: Mapping[str, object], unread: list[str]) -> _Location | None:
    codes = item.get("countriesAndRegions")
    if item.get("countryLookupMethod", "clientIpAddress") != "clientIpAddress" or not isinstance(codes, list):
        unread.append(f"`{name}`, which is not told by an address")
        return None
    return _Location(
        name,
        countries=frozenset(str(code).upper() for code in codes),
        unknown=item.get("includeUnknownCountriesAndRegions") is True,
    )
