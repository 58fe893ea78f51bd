"""Two ends joined: bytes pass as they came, at the pace of the slower one, until one of them or somebody else ends it.

The messages are followed so that the client's statements are heard, so that a length that lies goes no further, and so
that whoever is cut off can be told why, where nothing else is being said. Nothing that passes is changed.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from remit.sql.link import CHUNK, Link
from remit.sql.protocol import FROM_CLIENT, FROM_SERVER, Failure, Frames
from remit.sql.statements import LOOKED_AT

_READY, _LEAVE = ord("Z"), ord("X")
_LEAVING = 1.0  # seconds for a server to hang up on whoever said goodbye
_IDLE = b"I"


@dataclass(frozen=True, slots=True)
class Ending:
    """How it ended. `failure`: what the client is to be told, `None` where it has gone or was told by the server.

    `orderly`: whether nothing can still be running at the server: it hung up itself.
    """

    failure: Failure | None
    orderly: bool


class Splice:
    """One connection. `hear`: is given the client's messages before they pass, and they wait for it."""

    def __init__(self, client: Link, server: Link, hear: Callable[[list[tuple[int, bytes]]], Awaitable[None]]) -> None:
        self._client = client
        self._server = server
        self._hear = hear
        self._up = Frames(FROM_CLIENT, LOOKED_AT)
        self._down = Frames(FROM_SERVER, {_READY: 1})
        self._quiet = True
        self._left = False

    @property
    def idle(self) -> bool:
        """Whether the client has nothing open at the server: no statement, no transaction."""
        return self._quiet

    @property
    def tellable(self) -> bool:
        """Whether a message of our own may be put in the server's place now."""
        return self._down.whole

    async def run(self, cut: asyncio.Future[Failure]) -> Ending:
        """Runs until one end is gone, or `cut` says why it is over."""
        up, down = asyncio.create_task(self._upward()), asyncio.create_task(self._downward())
        waited: list[asyncio.Future[Any]] = [up, down, cut]
        try:
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            if self._left:  # the server reads a goodbye when it has done all that came before
                await asyncio.wait((down, cut), timeout=_LEAVING, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (up, down):
                task.cancel()
            ended = await asyncio.gather(up, down, return_exceptions=True)
        if cut.done() and not cut.cancelled():
            return Ending(cut.result(), orderly=False)
        failures = [one for one in ended if isinstance(one, Failure)]
        if failures:
            return Ending(failures[0], orderly=False)
        return Ending(None, orderly=ended[1] is None)

    async def _upward(self) -> None:
        while data := await self._client.reader.read(CHUNK):
            heard = self._up.feed(data)
            self._quiet = False
            self._left = self._left or any(kind == _LEAVE for kind, _ in heard)
            if heard:
                await self._hear(heard)
            await self._server.send(data)

    async def _downward(self) -> None:
        while data := await self._server.reader.read(CHUNK):
            said = self._down.feed(data)
            if said:
                self._quiet = said[-1][1] == _IDLE
            await self._client.send(data)
