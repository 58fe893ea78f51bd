"""Whose sign-in a provider calls risky: told by its security events, forgotten after a day.

A table, since any arbiter may be the one that a provider tells, and all of them decide; a view in memory, read anew
each second. While the database is away the last view serves on, and says so: without it nothing is permitted anyway.
Source: OpenID CAEP and RISC, "risk level change". Leaves out: receiving events.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import NoReturn

from sqlalchemy import Engine, delete, insert, select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from remit.identity.directory.tables import risks

LEVELS = ("none", "low", "medium", "high")
FORGOTTEN = 24 * 3600  # seconds: Entra's own sign-in risk is about one sign-in, and the next one is a day away at most
EVERY = 1.0  # seconds between two readings
SIZE = 10_000  # principals at risk; with more, the ones told longest ago are forgotten first

log = logging.getLogger(__name__)


class Risk:
    """The level of each principal.

    `reader`, `writer`: engines on the same database, which may be one and the same; `wall`: seconds since the epoch.
    """

    def __init__(
        self, reader: Engine, writer: Engine, *, size: int = SIZE, wall: Callable[[], float] = time.time
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._size = size
        self._wall = wall
        self._view: dict[str, tuple[str, int]] = {}
        self._trouble = ""

    @property
    def trouble(self) -> str:
        """Why the view does not follow the table; empty when it does."""
        return self._trouble

    async def set(self, subject: str, level: str, at: int) -> None:
        """Keeps what a provider said of a principal at `at`, epoch seconds; an older word never replaces a newer one.

        `subject`: `Principal.key`; `level`: one of `LEVELS`, else `ValueError`. Raises `SQLAlchemyError` when it cannot
        be made durable.
        """
        await asyncio.to_thread(self.put, subject, level, at)

    def put(self, subject: str, level: str, at: int) -> None:
        """As `set`, and blocks: for a thread, which must not wait for a loop that waits for threads."""
        if level not in LEVELS:
            raise ValueError(f"a risk is one of {', '.join(LEVELS)}")
        self._put(subject, level, at)
        if at >= self._view.get(subject, ("", at))[1]:
            self._view[subject] = level, at

    def of(self, subject: str, now: int) -> str:
        """The level at `now`, epoch seconds; empty when nobody said any within a day."""
        level, at = self._view.get(subject, ("", 0))
        return level if now - at < FORGOTTEN else ""

    async def refresh(self) -> bool:
        """Reads the table now; false when it could not be read, and the last view stays."""
        try:
            self._view = await asyncio.to_thread(self._read)
        except SQLAlchemyError as error:
            self._trouble = f"the risk of sign-ins is not followed: {type(error).__name__}"
            return False
        self._trouble = ""
        return True

    async def keep_fresh(self, every: float = EVERY) -> NoReturn:
        """Reads the table for ever; run it as a task and cancel it."""
        while True:
            await self.refresh()
            await asyncio.sleep(every)

    def _read(self) -> dict[str, tuple[str, int]]:
        newest = (
            select(risks)
            .where(risks.c.at > int(self._wall()) - FORGOTTEN)
            .order_by(risks.c.at.desc(), risks.c.subject)
            .limit(self._size)
        )
        with self._reader.connect() as connection:
            return {row.subject: (row.level, row.at) for row in connection.execute(newest)}

    def _put(self, subject: str, level: str, at: int) -> None:
        newer = update(risks).where(risks.c.subject == subject, risks.c.at <= at).values(level=level, at=at)
        try:
            with self._writer.begin() as connection:
                if not connection.execute(newer).rowcount:
                    connection.execute(insert(risks).values(subject=subject, level=level, at=at))
        except IntegrityError:  # there is a newer word, or another arbiter was faster
            with self._writer.begin() as connection:
                connection.execute(newer)
        with self._writer.begin() as connection:
            connection.execute(delete(risks).where(risks.c.at <= int(self._wall()) - FORGOTTEN))
