"""Tokens kept for as long as they are good: never crossed, renewed early, fetched once.

Keys are digests of length-prefixed parts, so that no two purposes share one however their parts are spelt
(compare CVE-2026-48096 and CVE-2026-35030). A flight is a task of its own: all who ask for the same key await it, a
caller who gives up takes nobody along, and a failure is told to those who awaited it and then forgotten. Leaves
out: what is fetched, and any copy on disk.
"""

import asyncio
import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from remit.credentials.hop import Token
from remit.model.errors import HopFailed
from remit.model.reasons import Reason
from remit.model.secret import AccessToken

SIZE = 10_000  # tokens; at 4 KiB each, 40 MiB
EARLY = 2 / 3  # of the time until the floor: after it a token is renewed while it still serves
PAUSE = 5.0  # seconds between two attempts to renew a token that still serves

log = logging.getLogger(__name__)

Part = str | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Kept:
    """A token and the `clock` seconds at which it ends, and from when on it is renewed."""

    value: AccessToken
    ends: float
    renew_at: float


class TokenCache:
    """The tokens of one hop. `floor`: none with fewer seconds left is handed out; `clock`: monotonic seconds."""

    def __init__(
        self, hop: str, *, floor: float, size: int = SIZE, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.hop = hop
        self._floor = floor
        self._size = size
        self._clock = clock
        self._kept: OrderedDict[bytes, Kept] = OrderedDict()
        self._flights: dict[bytes, asyncio.Task[Kept]] = {}

    async def get(self, key: bytes, fetch: Callable[[], Awaitable[Token]]) -> Token:
        """The token of this key with the life it has left; fetched when there is none.

        Raises what `fetch` raises, and `HopFailed` when what it brings has not `floor` seconds to live.
        """
        now = self._clock()
        kept = self._kept.get(key)
        if kept is None or kept.ends - now < self._floor:
            flight = self._flights.get(key) or self._start(key, fetch)
            kept = await asyncio.shield(flight)
            if kept.ends - self._clock() < self._floor:
                message = f"`{self.hop}` gave a token with less than {self._floor:.0f} s to live"
                raise HopFailed(self.hop, Reason.EXCHANGE_UNAVAILABLE, message, hint="compare the clocks")
        else:
            self._kept.move_to_end(key)
            if now >= kept.renew_at and key not in self._flights:
                self._start(key, fetch)
        return Token(kept.value, kept.ends - self._clock())

    def drop(self, key: bytes, value: AccessToken) -> None:
        """Forgets this very token, which its reader no longer takes; a newer one stays."""
        kept = self._kept.get(key)
        if kept is not None and kept.value == value:
            del self._kept[key]

    def fetching(self, key: bytes) -> bool:
        """Whether a token of this key is being fetched."""
        return key in self._flights

    async def close(self) -> None:
        """Ends all flights; for a process that stops."""
        flights = tuple(self._flights.values())
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)

    def _start(self, key: bytes, fetch: Callable[[], Awaitable[Token]]) -> asyncio.Task[Kept]:
        flight = asyncio.create_task(self._fly(key, fetch))
        self._flights[key] = flight
        flight.add_done_callback(lambda done: self._land(key, done))
        return flight

    async def _fly(self, key: bytes, fetch: Callable[[], Awaitable[Token]]) -> Kept:
        started = self._clock()  # before the call, so that a slow answer shortens the life rather than stretching it
        token = await fetch()
        ends = started + token.life
        kept = Kept(token.value, ends, started + max(0.0, token.life - self._floor) * EARLY)
        if ends - self._clock() >= self._floor:
            self._kept[key] = kept
            self._kept.move_to_end(key)
            while len(self._kept) > self._size:
                self._kept.popitem(last=False)
        return kept

    def _land(self, key: bytes, flight: asyncio.Task[Kept]) -> None:
        del self._flights[key]
        error = None if flight.cancelled() else flight.exception()
        kept = self._kept.get(key)
        if error is None or kept is None:
            return
        self._kept[key] = Kept(kept.value, kept.ends, self._clock() + PAUSE)
        hop = error.hop if isinstance(error, HopFailed) else type(error).__name__
        log.warning("a token was not renewed and serves on for %.0f s: %s", kept.ends - self._clock(), hop)


def cache_key(*parts: Part) -> bytes:
    """A digest in which every part, and every element of a tuple, is prefixed with its kind and length."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            _add(digest.update, b"s", part)
        else:
            digest.update(b"t" + len(part).to_bytes(8))
            for element in part:
                _add(digest.update, b"e", element)
    return digest.digest()


def _add(update: Callable[[bytes], None], kind: bytes, text: str) -> None:
    data = text.encode("utf-8", "surrogatepass")
    update(kind + len(data).to_bytes(8) + data)
