"""Revoking, and knowing that it is so everywhere.

  1 the entry and the row, which raises the epoch, are one commit of the ledger: durable before anything else
  2 every arbiter that may be permitting something holds the epoch, or its view has run out (`arbiters`)
Only then is a revocation acknowledged. A process that dies between the two has revoked: views follow the database, not
the process. A lift goes the same way and raises the epoch too. Leaves out who may (`access/revoke`).
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from remit.identity.revocation import arbiters
from remit.identity.revocation import store as revocation_store
from remit.identity.revocation.store import Done, Effect, Lifting, Once, Standing, reading
from remit.model.errors import NotRecorded, Refused
from remit.model.reasons import Reason
from remit.model.record import Value
from remit.model.revocation import Revocation, Scope

OPERATOR = "operator"
MARGIN = 0.25
"""Seconds waited beyond `FENCE`: two machines' seconds are not equally long."""

_EVERY = 0.01  # seconds between two looks at who holds the epoch
_AHEAD = 60  # seconds: what a clock may be ahead, as for tokens
_MICROSECONDS = 1_000_000

Also = Callable[[Connection], Mapping[str, Value]]


class Records(Protocol):
    """audit: an entry and the change of state that it describes."""

    async def record(self, entry: Mapping[str, Value], also: Also) -> object:
        """Makes both durable or neither, with what `also` returns in the entry; raises `NotRecorded`."""


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A revocation that holds everywhere.

    `arbiters`: who holds the epoch; `fenced`: who did not in time, so that their views have run out, and they permit
    nothing until they hold it; `took_ms`: from being asked to this.
    """

    epoch: int
    arbiters: tuple[str, ...]
    fenced: tuple[str, ...]
    took_ms: int


class Revoker:
    """Revokes, lifts, and says what stands.

    `reader`: an engine on the database that the ledger writes to; `writer`: one that may write, for marking the fenced;
    `clock`: microseconds since the epoch; `monotonic`: seconds; `wake`: makes this process's own view look at once.
    """

    def __init__(
        self,
        records: Records,
        reader: Engine,
        writer: Engine,
        clock: Callable[[], int],
        *,
        wake: Callable[[], None] = lambda: None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._records = records
        self._reader = reader
        self._writer = writer
        self._clock = clock
        self._wake = wake
        self._monotonic = monotonic

    async def revoke(
        self,
        revocation: Revocation,
        *,
        actor: str = "",
        name: str = "",
        decision: str = "",
        once: Once | None = None,
    ) -> Acknowledged:
        """Ends what the revocation names; returns when it is so everywhere, at most `FENCE` and a little later.

        What stands already is not entered again, only acknowledged. `actor`: who asks, `name`: what people call them,
        `decision`: by which decision, all for the record; `once`: a second attempt with the same name has no effect.
        Raises `Refused` for a revocation that revokes nothing, `NotRecorded` when it could not be made durable within
        the ledger's patience: it may have been all the same, so ask again.
        """
        began = self._monotonic()
        now = self._clock()
        _check(revocation, now // _MICROSECONDS)
        # an event that may take effect once has to be taken note of, whatever stands
        number = None if once else await asyncio.to_thread(self._standing_as, revocation)
        if number is None:
            by = {"actor": actor or revocation.source, "name": "".join(filter(str.isprintable, name))}
            entry = _entry("revoke", revocation, now, decision) | by
            effect = Effect(revocation, now, actor or revocation.source, once)
            number = await self._commit(entry, effect)
        return await self._acknowledged(number, began)

    async def lift(
        self,
        scope: Scope,
        subject: str,
        source: str = OPERATOR,
        *,
        before: int = 0,
        because: str = "",
        actor: str = "",
        decision: str = "",
        once: Once | None = None,
    ) -> Acknowledged | None:
        """Ends the locks that this source put on a subject; `None` when there is none, and nothing is entered.

        A lock of the directory is not the operator's to lift, nor the reverse. `before`: when not 0, only locks whose
        own `before` is not later, since events may overtake each other. What was issued before a revocation stays
        ended: a newer sign-in cures that. Raises as `revoke` does.
        """
        began = self._monotonic()
        now = self._clock()
        asked = Revocation(scope, subject, before, source=source, because=because)
        if once is None and not await asyncio.to_thread(self._locked, asked):
            return None
        entry = _entry("lift", asked, now, decision) | {"actor": actor or source}
        number = await self._commit(entry, Lifting(asked, now, once))
        return await self._acknowledged(number, began)

    def standing(self, now: int) -> Sequence[Standing]:
        """Locks that hold, and times before which nothing counts, of the last 30 hours; newest last; blocks."""
        with reading(self._reader) as connection:
            return revocation_store.standing(connection, now)

    async def _commit(self, entry: Mapping[str, Value], effect: Effect | Lifting) -> int:
        try:
            await self._records.record(entry, effect)
        except Done:
            return await asyncio.to_thread(self._newest)
        return effect.number

    async def _acknowledged(self, number: int, began: float) -> Acknowledged:
        """Step 2. Everybody who counts after the commit is waited for; who comes later sees it when coming."""
        committed = self._monotonic()
        self._wake()
        waited_for: set[str] | None = None
        holding: frozenset[str] = frozenset()
        pending: frozenset[str] = frozenset()
        while waited_for is None or pending:
            held = await asyncio.to_thread(self._counting)
            if held is not None:
                waited_for = waited_for if waited_for is not None else set(held)
                pending = frozenset(name for name in waited_for if held.get(name, number) < number)
                holding = frozenset(name for name in waited_for if held.get(name, -1) >= number)
            if pending or held is None:
                if self._monotonic() - committed >= arbiters.FENCE + MARGIN:
                    break
                await asyncio.sleep(_EVERY)
        if pending:
            await asyncio.to_thread(self._fence, number)
        fenced = frozenset(waited_for or ()) - holding
        took = round((self._monotonic() - began) * 1000)
        return Acknowledged(number, tuple(sorted(holding)), tuple(sorted(fenced)), took)

    def _counting(self) -> Mapping[str, int] | None:
        try:
            with reading(self._reader) as connection:
                return arbiters.counting(connection)
        except NotRecorded:  # who cannot be asked is waited for, as long as a view can last
            return None

    def _fence(self, number: int) -> None:
        try:
            with self._writer.begin() as connection:
                arbiters.fence(connection, number)
        except SQLAlchemyError:
            return  # they are fenced by their own clocks; the mark only saves the next one the wait

    def _newest(self) -> int:
        with reading(self._reader) as connection:
            return arbiters.newest(connection)

    def _standing_as(self, asked: Revocation) -> int | None:
        with reading(self._reader) as connection:
            return revocation_store.standing_as(connection, asked)

    def _locked(self, asked: Revocation) -> bool:
        with reading(self._reader) as connection:
            return revocation_store.locked(connection, asked)


def _check(asked: Revocation, now: int) -> None:
    if not asked.subject or not (asked.locked or asked.before):
        raise Refused(Reason.REQUEST_MALFORMED, "the revocation revokes nothing")
    if asked.before > now + _AHEAD or (asked.until and asked.until <= now):
        raise Refused(Reason.REQUEST_MALFORMED, "the revocation's times lie on the wrong side of now")


def _entry(effect: str, asked: Revocation, now: int, decision: str) -> dict[str, Value]:
    """The `revocation/1` entry without who asks; its `epoch` is known when it is committed."""
    return {
        "type": "revocation",
        "schema": "revocation/1",
        "at": now,
        "effect": effect,
        "scope": str(asked.scope),
        "subject": asked.subject,
        "before": asked.before,
        "locked": int(asked.locked),
        "until": asked.until,
        "source": asked.source,
        "because": asked.because,
        "decision": decision,
    }
