"""What is in force, in memory: asked on every decision, and never older than `FRESH` (`following`).

A view that could not look for so long knows of no grant: what is not known to be granted is not. A grant ends by the
clock on the wall and by the time that has gone by since the view first saw it, whichever is earlier, so that a clock
that is set back prolongs nothing. Leaves out how a grant comes to be (`store`).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Engine, select

from remit.grants.following import Following, uptime
from remit.grants.rows import newest, read
from remit.grants.tables import grants
from remit.model.grant import Grant, GrantState, Kept


@dataclass(frozen=True, slots=True)
class _Held:
    """A grant, and when it ends by the view's own clock."""

    grant: Grant
    ends: float


class GrantView(Following):
    """The `Grants` of the stories (`remit.access.ports`). `reader` may be an engine that only reads.

    `clock`: monotonic seconds; `wall`: seconds since the epoch.
    """

    def __init__(
        self, reader: Engine, *, clock: Callable[[], float] = uptime, wall: Callable[[], float] = time.time
    ) -> None:
        super().__init__("grants", clock)
        self._reader = reader
        self._wall = wall
        self._number = -1
        self._held: dict[str, tuple[_Held, ...]] = {}

    def in_force(self, principal: str, job: str, now: int) -> tuple[Grant, ...]:
        """Of a principal (`Principal.key`), in this run or in none (empty), at `now` (seconds); none of an old view."""
        clock = self._clock()
        if not self.fresh:
            return ()
        held = self._held.get(principal, ())
        return tuple(one.grant for one in held if clock < one.ends and one.grant.holds(principal, job, now))

    def _look(self, began: float) -> None:
        now = self._wall()
        with self._reader.connect() as connection:
            number = newest(connection)
            if number < self._number:
                raise RuntimeError("the database is older than what it said before")
            if number > self._number:
                first = (grants.c.state == str(GrantState.GRANTED), grants.c.until > int(now))
                which = first if self._number < 0 else (grants.c.changed > self._number,)
                found = read(connection, *which, most=None)
                changed = connection.execute(select(grants.c.id).where(*which)).scalars().all()
                self._keep(found, frozenset(changed), began, now)
                self._number = number

    def _keep(self, found: list[Kept], changed: frozenset[str], began: float, now: float) -> None:
        """Puts what has changed in place of what was there. One assignment: whoever asks meanwhile sees all or none."""
        before = {held.grant.id: held for several in self._held.values() for held in several}
        kept = {name: held for name, held in before.items() if name not in changed and began < held.ends}
        for each in found:
            if each.state is GrantState.GRANTED and each.until > now:
                ends = began + each.until - now
                known = before.get(each.id)
                kept[each.id] = _Held(each.grant, min(ends, known.ends) if known else ends)
        several: dict[str, list[_Held]] = {}
        for held in kept.values():
            several.setdefault(held.grant.wanted.principal, []).append(held)
        self._held = {principal: tuple(one) for principal, one in several.items()}
