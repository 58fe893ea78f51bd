"""What has been revoked, in memory: asked on every decision, and never older than `FENCE`.

A thread of its own looks at the database every tenth of a second. What it finds counts at once; the view counts as
fresh only when the database knows which epoch it holds (`arbiters`). A view that could not look for `FENCE` seconds
refuses everything by itself, and so no clock, network or database has to tell it that it has been left behind; the
stated maximum age of 60 s (a locked person may not get in through an arbiter that is cut off) is met thirty times over.

The view holds what can still refuse somebody: locks, and times before which nothing counts, for as long as a token
can live. Measured: 370 bytes each. Leaves out how a revocation comes to be (`revocations`).
"""

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from sqlalchemy import Engine, Row, func, or_, select
from sqlalchemy.exc import SQLAlchemyError

from remit.identity.revocation.arbiters import FENCE, Membership
from remit.identity.revocation.tables import revocations
from remit.model.errors import Refused, SignInAgain
from remit.model.identity import Identity
from remit.model.reasons import Reason
from remit.model.revocation import ENDED_RUN, Scope

LONGEST = 30 * 3600
"""Seconds that a token can live: 28 h with continuous access evaluation (Microsoft, "Continuous access evaluation",
token lifetime), and a margin. An older one is not believed, since the view has forgotten what concerns it."""

EVERY = 0.1  # seconds between two looks
HEARTBEAT = 1.0  # seconds between two signs of life, when nothing else is written
_STEP = 1.0  # seconds that the wall clock is set back, after which what seemed to be over is read again
_CLEAR = 60.0  # seconds between two looks for what no longer refuses anybody

_log = logging.getLogger(__name__)
_Key = tuple[Scope, str]


@dataclass(frozen=True, slots=True)
class _End:
    """One row, as far as it matters. `locked`: until when, infinity for until it is lifted; 0 when it is not."""

    number: int
    before: int
    locked: float

    def matters(self, now: int) -> bool:
        """Whether it can refuse anybody who comes from now on."""
        return now < self.locked or self.before > now - LONGEST


def uptime() -> float:
    """Monotonic seconds that go on while the machine sleeps: a view must not wake up believing that it is fresh."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class RevocationView:
    """The `Revocations` of the stories (`remit.access.ports`), for one arbiter; `arbiter` is unique to this process.

    `reader` and `writer`: engines on the same database, which may be one and the same; `clock`: monotonic seconds;
    `wall`: seconds since the epoch.
    """

    def __init__(
        self,
        reader: Engine,
        writer: Engine,
        arbiter: str,
        *,
        clock: Callable[[], float] = uptime,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._reader = reader
        self._membership = Membership(reader, writer, arbiter)
        self._clock = clock
        self._wall = wall
        self._epoch = -1
        self._weighty = 0
        self._apart = -math.inf  # the wall clock, less the other: how far ahead it has ever been since it was set back
        self._ends: dict[_Key, tuple[_End, ...]] = {}
        self._fresh_at = self._beat_at = self._cleared_at = -math.inf
        self._closing = threading.Event()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._failing = False
        self._hear: Callable[[], None] = lambda: None

    def told(self, hear: Callable[[], None]) -> None:
        """`hear`: called, in the view's thread, when something new is in the view, before that is acknowledged."""
        self._hear = hear

    # what the stories ask

    @property
    def epoch(self) -> int:
        """The number of the newest revocation in the view that a lease must not outlive, 0 before there is any.

        It only grows. The end of a run is none of these: it is its owner's own doing, whenever they like, and half a
        second is soon enough; else anybody could end everybody's leases.
        """
        return self._weighty

    @property
    def trouble(self) -> str:
        """Why nothing can be permitted, for readiness; empty while the view is fresh."""
        if self._clock() - self._fresh_at <= FENCE:
            return ""
        return "the database cannot be asked what has been revoked"

    def check(self, identity: Identity, job: str, now: int) -> None:
        """Raises `Refused` when the identity no longer counts; `now`: seconds since the epoch.

        `PLANE_UNAVAILABLE`: the view is too old to say. `REVOKED`: the principal, the session or the job is locked.
        `SignInAgain`: the token was issued at or before a time before which nothing counts. That is the token's own
        time, not the sign-in's: a token that was obtained later without anybody signing in counts, because the
        provider, told by the claims challenge (`nbf`) or by its own event, refuses to renew what it has ended. Entra
        dates its tokens back by some minutes, so whoever has proved who they are after that time counts as well.
        """
        if self.trouble:
            raise Refused(Reason.PLANE_UNAVAILABLE, self.trouble, hint="try again soon")
        # one `get` each: the thread may take an entry out between two looks at it
        found = [(key[0], end) for key in _keys(identity, job) for end in self._ends.get(key, ())]
        for scope, end in found:
            if now < end.locked:
                raise Refused(Reason.REVOKED, hint=_HINTS[scope])
        before = max((end.before for _, end in found), default=0)
        if max(identity.issued_at, identity.authentication.at) <= before:
            raise SignInAgain(before)
        if identity.issued_at < now - LONGEST:
            raise SignInAgain(now - LONGEST)

    def ended(self, record: Mapping[str, Any], now: int) -> bool:
        """Whether what a decision's record permitted has ended since: for streams that are still open.

        `record`: with `principal`, `session`, `job`, `issued` and `auth_time`, as `decision/1` has them. A view that is
        too old ends everything.
        """
        if self.trouble:
            return True
        keys = [(Scope.PRINCIPAL, record["principal"]), (Scope.SESSION, record["session"]), (Scope.JOB, record["job"])]
        found = [end for key in keys if key[1] for end in self._ends.get(key, ())]
        newest = max(int(record["issued"]), int(record["auth_time"]))
        return any(now < end.locked or newest <= end.before for end in found)

    # its own life

    def start(self) -> None:
        """Looks for the first time, then for ever, in a thread of its own."""
        self._look()
        self._thread = threading.Thread(target=self._run, name="revocations", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stops; what is asked afterwards is refused, and nobody waits for this arbiter."""
        self._closing.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
        self._fresh_at = -math.inf
        try:
            self._membership.leave()
        except SQLAlchemyError as error:
            _log.warning("the database was not told that this arbiter stops: %s", _words(error))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def wake(self) -> None:
        """Looks now: whoever revokes in this process need not wait for the next tenth of a second."""
        self._wake.set()

    def _run(self) -> None:
        while not self._closing.is_set():
            self._wake.wait(EVERY)
            self._wake.clear()
            if not self._closing.is_set():
                self._look()

    def _look(self) -> None:
        """One look that never raises: a view that is not refreshed runs out, which is the answer to every error."""
        try:
            self.refresh()
        except Exception as error:  # noqa: BLE001 - a thread that dies could not recover when the cause is gone
            if not self._failing:
                _log.warning("what has been revoked cannot be followed: %s", _words(error))
            self._failing = True
        else:
            self._failing = False

    def refresh(self) -> None:
        """One look at the database; raises what goes wrong, and the view is as old as it was."""
        began, wall = self._clock(), self._wall()
        now, back = int(wall), wall - began < self._apart - _STEP
        newest, held = self._membership.look()
        if held is None:
            self._membership.register(now)
            newest, held = self._membership.look()
        if newest < self._epoch:
            raise RuntimeError("the database is older than what it said before")
        if newest > self._epoch or back:
            self._load(now, again=back)
            self._hear()
            self._epoch = newest
        self._apart = wall - began if back else max(self._apart, wall - began)
        if held != newest:
            if not self._membership.hold(newest, now):
                return  # somebody has given this arbiter up meanwhile: it registers at the next look
            self._beat_at = began
        self._fresh_at = began
        self._beat(began, newest, now)
        if began - self._cleared_at >= _CLEAR:
            self._cleared_at = began
            self._clear(now)

    def _beat(self, began: float, newest: int, now: int) -> None:
        if began - self._beat_at < HEARTBEAT:
            return
        self._beat_at = began
        try:
            self._membership.hold(newest, now)
        except SQLAlchemyError as error:  # a sign of life is for people's eyes: without it nothing is less safe
            _log.info("no sign of life: %s", _words(error))

    def _load(self, now: int, *, again: bool) -> None:
        """What has changed; at the first time, or `again`, also what matters of the rest."""
        newest, first, changed = self._weighty, self._epoch < 0, revocations.c.changed > self._epoch
        locked = (revocations.c.locked == 1) & (revocations.c.lifted_at == 0)
        lasting = or_(revocations.c.until == 0, revocations.c.until > now)
        mattering = or_(locked & lasting, revocations.c.before > now - LONGEST)
        wanted = mattering if first else or_(changed, mattering) if again else changed
        with self._reader.connect() as connection:
            if first:  # of all of them: what no longer matters was told to the gateways all the same
                weighty = select(func.max(revocations.c.changed)).where(revocations.c.source != ENDED_RUN)
                newest = connection.execute(weighty).scalar() or 0
            for row in connection.execute(select(revocations).where(wanted)):
                newest = max(newest, row.changed if row.source != ENDED_RUN else 0)
                key = (Scope(row.scope), row.subject)
                kept = [end for end in self._ends.get(key, ()) if end.number != row.number]
                self._keep(key, [*kept, _End(row.number, row.before, _locked_until(row))], now)
        self._weighty = newest  # the last of all: whoever tells it has seen everything up to it

    def _clear(self, now: int) -> None:
        for key, ends in tuple(self._ends.items()):
            self._keep(key, ends, now)

    def _keep(self, key: _Key, ends: Sequence[_End], now: int) -> None:
        """Keeps what can still refuse somebody. One assignment: whoever asks meanwhile sees all of it or none."""
        mattering = tuple(end for end in ends if end.matters(now))
        if mattering:
            self._ends[key] = mattering
        else:
            self._ends.pop(key, None)


_HINTS = {
    Scope.PRINCIPAL: "ask whoever administers remit here",
    Scope.SESSION: "sign in again: `remit login`",
    Scope.JOB: "ask whoever ended the job",
}


def _keys(identity: Identity, job: str) -> list[_Key]:
    keys = ((Scope.PRINCIPAL, identity.principal.key), (Scope.SESSION, identity.session), (Scope.JOB, job))
    return [key for key in keys if key[1]]


def _locked_until(row: Row[Any]) -> float:
    if not row.locked or row.lifted_at:
        return 0.0
    return float(row.until) or math.inf


def _words(error: Exception) -> str:
    """The driver's own words, without the statement and its parameters, which are nobody's business."""
    return str(getattr(error, "orig", None) or error)
