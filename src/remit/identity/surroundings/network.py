"""What is true around the caller: the country and the named locations of its address, and the risk of its sign-in.

An address of IPv4 that comes as IPv6 (`::ffff:203.0.113.7`, RFC 4291 section 2.5.5.2) is the one of IPv4. What is
unknown stays empty. Each part is kept fresh by itself; nothing here waits.
"""

import asyncio
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NoReturn

from remit.identity.surroundings.country import Countries
from remit.identity.surroundings.locations import NamedLocations
from remit.identity.surroundings.risk import Risk
from remit.model.decision import Circumstances
from remit.model.identity import Identity

EVERY = 60.0  # seconds between two looks at the country database's file


class Network:
    """Implements `access.ports.Observer`. `None` for a part that this installation does not have."""

    def __init__(self, countries: Countries, locations: NamedLocations | None = None, risk: Risk | None = None) -> None:
        self._countries = countries
        self._locations = locations
        self._risk = risk

    @property
    def trouble(self) -> str:
        """What is not known that should be, in words; empty when all is."""
        locations, risk = self._locations, self._risk
        lacking = locations and locations.by_country and not self._countries.known
        return "; ".join(
            filter(
                None,
                (
                    self._countries.trouble,
                    locations.trouble if locations else "",
                    "there are named locations by country, and no country database" if lacking else "",
                    risk.trouble if risk else "",
                ),
            )
        )

    def observe(self, identity: Identity, circumstances: Circumstances) -> Circumstances:
        """As `Observer.observe`."""
        risk = self._risk.of(identity.principal.key, circumstances.now) if self._risk else ""
        address = _address(circumstances.peer)
        if address is None:
            return replace(circumstances, risk=risk)
        country = self._countries.of(address)
        if self._locations is None:
            return replace(circumstances, country=country, risk=risk)
        known = self._countries.known
        return replace(
            circumstances,
            country=country,
            locations=self._locations.holding(address, country if known else None),
            locations_known=self._locations.complete(address, countries=known),
            risk=risk,
        )

    async def prepare(self) -> None:
        """Reads what lies on this machine and in the database, so that it is there before the first caller."""
        await asyncio.to_thread(self._countries.refresh)
        if self._risk:
            await self._risk.refresh()

    async def keep_fresh(self, every: float = EVERY) -> NoReturn:
        """Looks at the country database's file for ever; run it as a task, beside those of the other parts."""
        while True:
            await asyncio.to_thread(self._countries.refresh)
            await asyncio.sleep(every)


def _address(peer: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(peer.partition("%")[0])
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address
