"""Keeping the tokens of one run fresh: whoever asks in the run, thread or process, asks here, and one asks the broker.

    soft      a tenth or more of the time before that: asked for again behind the caller's back, each run at its own
    due       300 s before the end: asked for again, and waited for a little; google-auth asks on every call when under
              3 min 45 s are left, msal when under 300 s
    the end   nothing is handed out any more

Each time policy decides anew. While a token lives, an installation that does not answer is borne; afterwards it is
asked again at growing, jittered intervals, and a person is told once what is waited for, and once that it is over. A
refusal is told and kept for a moment; access that has been revoked ends every token of the run. Left out: when people's
own sign-in is renewed (sign_in.py).
"""

import asyncio
import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from remit.model.errors import Refused, RemitError
from remit.model.reasons import Reason
from remit.model.secret import AccessToken
from remit.sdk.broker import Exchanged
from remit.sdk.resources import AZURE_SQL, BLOB, OWN, POSTGRESQL, STORAGE

DUE = 300.0  # seconds before the end
_SHORTEST = 30.0  # seconds for which a token is handed out however short it lives: else every call would be a decision
_EARLY = (0.8, 0.95)  # of the time until it is due
_FIRST, _LONGEST = 1.0, 30.0  # seconds between attempts, doubling
_A_LITTLE = 2.0  # seconds that a caller waits for a newer token than one that still lives: google-auth gives up after 3
_PATIENCE = 10.0  # seconds that a caller waits for the first one
_ANSWER = 60.0  # seconds for a whole answer: the time limits of HTTP clients are for parts of it
_REFUSAL = 15.0  # seconds for which a refusal is repeated: a grant may have been given meanwhile
_NOT_NOW = 503  # HTTP: what may be permitted in a moment
_CLOCKS = frozenset({Reason.TOKEN_EXPIRED, Reason.TOKEN_NOT_YET_VALID})
"""A sign-in that is renewed by a clock that was wrong: no answer about what may be done."""
_NAMES = {
    STORAGE: "Storage",
    BLOB: "Azure Blob Storage",
    POSTGRESQL: "Azure's PostgreSQL",
    AZURE_SQL: "Azure SQL",
    OWN: "remit",
}


def since_start() -> float:
    """Seconds that do not stand still while a laptop sleeps, and that no clock step moves (clock_gettime(2))."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)  # Linux's alone
    return time.monotonic() if boot is None else time.clock_gettime(boot)


@dataclass(frozen=True, slots=True)
class Clocks:
    """What time it is. `steady` says what lives; `wall` besides it what is due: a suspended machine shows in one."""

    steady: Callable[[], float] = since_start
    wall: Callable[[], float] = time.time
    chance: Callable[[float, float], float] = random.uniform


@dataclass(frozen=True, slots=True)
class Live:
    """A token with the seconds that it has left."""

    token: AccessToken
    left: float


@dataclass(frozen=True, slots=True)
class _Held:
    token: AccessToken
    life: float
    hold: float
    soft: float
    began: tuple[float, float] = field(default=(0.0, 0.0))


class Renewing:
    """The tokens of one audience. `ask` blocks, and is called in a thread; `revoked` ends the run's tokens."""

    def __init__(
        self, name: str, ask: Callable[[], Exchanged], revoked: Callable[[], None], clocks: Clocks | None = None
    ) -> None:
        self._name = name
        self._ask = ask
        self._revoked = revoked
        self._clocks = clocks or Clocks()
        self._held: _Held | None = None
        self._refused: tuple[Refused, float] | None = None
        self._failed: tuple[RemitError, float, int] | None = None  # the error, since when, how often
        self._told = ""
        self._next = 0.0
        self._asking: asyncio.Task[None] | None = None

    async def live(self) -> Live:
        """A token that lives; raises `Refused` for a definite no, and `RemitError` while none can be had."""
        held, left = self._held, self._left()
        if held and left > 0 and self._passed(held) < held.soft:
            return Live(held.token, left)
        if self._refused and self._clocks.steady() < self._refused[1]:
            raise self._refused[0]
        task = self._begin()
        if held and left > 0:
            if self._passed(held) >= held.hold and not self._failed:
                await asyncio.wait({task}, timeout=_A_LITTLE)
        else:
            await asyncio.wait({task}, timeout=_PATIENCE)
        return self._answer()

    def end(self, because: Refused | None = None) -> None:
        """Forgets what is held: access has been revoked."""
        self._held, self._refused = None, (because or Refused(Reason.REVOKED), float("inf"))

    @property
    def over(self) -> Refused | None:
        """The refusal that ended it for good."""
        return self._refused[0] if self._refused and self._refused[1] == float("inf") else None

    def _answer(self) -> Live:
        if self._refused and self._clocks.steady() < self._refused[1]:
            raise self._refused[0]
        if self._held and (left := self._left()) > 0:
            return Live(self._held.token, left)
        raise self._failed[0] if self._failed else RemitError(f"no token for {self._name} came in time")

    def _left(self) -> float:
        return self._held.began[0] + self._held.life - self._clocks.steady() if self._held else 0.0

    def _passed(self, held: _Held) -> float:
        """Seconds since it was asked for, by whichever clock says more."""
        return max(self._clocks.steady() - held.began[0], self._clocks.wall() - held.began[1])

    def _begin(self) -> "asyncio.Task[None]":
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._attempt())
        return self._asking

    async def _attempt(self) -> None:
        await asyncio.sleep(max(0.0, self._next - self._clocks.steady()))
        began = (self._clocks.steady(), self._clocks.wall())
        try:
            async with asyncio.timeout(_ANSWER):
                exchanged = await asyncio.to_thread(self._ask)
        except TimeoutError:
            self._fail(RemitError("remit does not come to an end with its answer"))
        except RemitError as error:
            if passing(error) or not isinstance(error, Refused):
                self._fail(error)
            elif error.reason is Reason.REVOKED:
                self.end(error)
                self._revoked()
            else:
                self._refuse(error)
        except Exception as error:  # noqa: BLE001 - of a broken store or answer: told and borne like an absent broker
            self._fail(RemitError(f"a token cannot be asked for: {type(error).__name__}"))
        else:
            self._take(exchanged, began)

    def _take(self, exchanged: Exchanged, began: tuple[float, float]) -> None:
        life = float(exchanged.expires_in)
        hold = max(life - DUE, min(_SHORTEST, life / 4))
        if self.over:  # revoked while it was asked for
            return
        self._held = _Held(exchanged.token, life, hold, hold * self._clocks.chance(*_EARLY), began)
        self._refused, self._told, self._next = None, "", 0.0
        if self._failed:
            waited = int(self._clocks.steady() - self._failed[1])
            say(f"tokens for {self._name} can be had again, after {waited} s")
            self._failed = None

    def _refuse(self, refused: Refused) -> None:
        self._held, self._failed = None, None
        self._refused = (refused, self._clocks.steady() + _REFUSAL)
        if self._told != refused.reason:  # its decision is another every time
            self._told = refused.reason
            say(f"no direct access to {self._name}: {bare(refused.message)}", refused.hint)

    def _fail(self, error: RemitError) -> None:
        now = self._clocks.steady()
        _, since, times = self._failed or (error, now, 0)
        if not times:
            left = self._left()
            alive = f"; the one at hand lives for {int(left)} s more" if left > 0 else ""
            say(f"waiting for a token for {self._name}{alive}: {bare(error.message)}", error.hint)
        self._failed = (error, since, times + 1)
        self._next = now + min(_LONGEST, _FIRST * 2.0 ** min(times, 10)) * self._clocks.chance(0.5, 1.0)


class Tokens:
    """All tokens of one run. `ask` takes an audience; `revoked`: called once, when access has been revoked."""

    def __init__(
        self, ask: Callable[[str], Exchanged], revoked: Callable[[], None], clocks: Clocks | None = None
    ) -> None:
        self._ask = ask
        self._revoked = revoked
        self._clocks = clocks
        self._over: Refused | None = None
        self._each: dict[str, Renewing] = {}

    async def live(self, audience: str) -> Live:
        """A token for one of the broker's audiences (a closed list: what is kept is bounded); raises as `Renewing`."""
        if self._over:
            raise self._over
        if audience not in self._each:
            self._each[audience] = Renewing(_name(audience), lambda: self._ask(audience), self._end, self._clocks)
        return await self._each[audience].live()

    def _end(self) -> None:
        if self._over is None:
            said = (each.over for each in self._each.values())
            self._over = next(filter(None, said), Refused(Reason.REVOKED))
            for each in self._each.values():
                each.end(self._over)
            self._revoked()


def _name(audience: str) -> str:
    return next((name for start, name in _NAMES.items() if audience.startswith(start)), audience)


def passing(error: RemitError) -> bool:
    """Whether the same question may be answered otherwise in a moment."""
    return not isinstance(error, Refused) or error.reason.http_status == _NOT_NOW or error.reason in _CLOCKS


def bare(message: str) -> str:
    """A message without the name that the installation puts before it."""
    return message.removeprefix("remit: ")


def say(message: str, hint: str = "") -> None:
    """Tells the person at the terminal."""
    sys.stderr.write(f"remit: {message}\n" + (f"hint: {hint}\n" if hint else ""))
