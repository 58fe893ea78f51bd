"""The door: connections come in, each is decided, and each ends when its permit does.

    1 the client says where it wants to go and proves who it is (`startup`)
    2 the arbiter decides and records, and gives what it takes to log in (`ports.Arbiter`)
    3 the database is logged in to as the role (`upstream`)
    4 both ends are joined (`splice`), and what runs is recorded (`statements`)
    5 whichever end goes, the other goes with it, and what still runs is cancelled

Every open connection is asked about all the time: a permit that is over ends it, and so does an arbiter that cannot be
asked. Leaves out who may (`access.database`), and what a role may (PostgreSQL).
"""

import asyncio
import contextlib
import ipaddress
import logging
import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from remit.sql import protocol
from remit.sql.keys import Keys
from remit.sql.link import Link, watched
from remit.sql.ports import Admission, Arbiter, Wish
from remit.sql.protocol import ENDED, NOT_NOW, TOO_MANY, Failure
from remit.sql.recording import Recording
from remit.sql.settings import DoorSettings
from remit.sql.splice import Ending, Splice
from remit.sql.startup import ALPN, Caller, Cancel, Startup
from remit.sql.statements import Tally
from remit.sql.upstream import Upstream, cancel, log_in

_log = logging.getLogger(__name__)
_GOODBYE = 1.0  # seconds to tell somebody why
_DRAIN = 3.0  # seconds for what is under way when the door closes
_WAITING = 128  # connections that the kernel holds until they are looked at
_GONE = (OSError, TimeoutError, asyncio.IncompleteReadError)


@dataclass(eq=False, slots=True)
class _Open:
    """One connection that was let in. `since`: monotonic seconds."""

    admission: Admission
    since: float
    cut: "asyncio.Future[Failure]"
    splice: Splice | None = None

    def end(self, failure: Failure) -> None:
        if not self.cut.done():
            self.cut.set_result(failure)


@dataclass(frozen=True, slots=True)
class Clocks:
    """`monotonic`: seconds that go on while the machine sleeps; `wall`: seconds since the epoch."""

    monotonic: Callable[[], float] = field(default=lambda: time.clock_gettime(time.CLOCK_BOOTTIME))
    wall: Callable[[], float] = time.time


class Door:
    """One door. `tls`: as `server_tls` makes it, `None` only where it listens on loopback."""

    def __init__(
        self, settings: DoorSettings, arbiter: Arbiter, tls: ssl.SSLContext | None, clocks: Clocks | None = None
    ) -> None:
        self._settings = settings
        self._arbiter = arbiter
        self._tls = tls
        self._clocks = clocks or Clocks()
        self._keys = Keys()
        self._tasks: set[asyncio.Task[None]] = set()
        self._open: set[_Open] = set()
        self._heard_at = self._clocks.monotonic()

    def __len__(self) -> int:
        """How many connections are open."""
        return len(self._open)

    async def serve(self, listening: socket.socket, stop: asyncio.Event, retire: asyncio.Event) -> None:
        """Serves until `stop` is set; when `retire` is, nobody more is let in, and it ends with the last connection."""
        works = [asyncio.create_task(self._accept(listening)), asyncio.create_task(self._keep_looking())]
        waits = [asyncio.create_task(event.wait()) for event in (stop, retire)]
        try:
            await asyncio.wait([*works, *waits], return_when=asyncio.FIRST_COMPLETED)
            works[0].cancel()
            await asyncio.gather(works[0], return_exceptions=True)
            listening.close()
            while retire.is_set() and self._tasks and not stop.is_set():  # noqa: ASYNC110 - a look costs nothing
                await asyncio.sleep(self._settings.look_seconds)
            await self._drain()
        finally:
            for task in (*works, *waits):
                task.cancel()
            await asyncio.gather(*works, *waits, return_exceptions=True)

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, address = await loop.sock_accept(listening)
            except OSError as error:  # too many open files, or somebody who left before
                _log.warning("a connection could not be taken: %s", error)
                await asyncio.sleep(0.1)
                continue
            if len(self._tasks) - len(self._open) >= self._settings.greeting:
                sock.close()
                continue
            task = asyncio.create_task(self._serve(sock, address[0]))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _serve(self, sock: socket.socket, peer: str) -> None:
        """One client, from its first byte to its last."""
        within = self._settings.greeting_seconds
        caller = Caller(sock, self._tls, near=_near(peer), within=within)
        try:
            watched(sock)
            await self._told(caller, peer)
        except Failure as failure:
            with contextlib.suppress(*_GONE):
                async with asyncio.timeout(_GOODBYE):
                    await caller.refuse(failure)
        except _GONE:
            pass  # nobody is there any more, or too slowly
        except Exception as error:  # noqa: BLE001 - fail closed: what nobody foresaw lets nobody in
            _log.error("a connection failed: %s", type(error).__name__, exc_info=error)
        finally:
            await caller.close()

    async def _told(self, caller: Caller, peer: str) -> None:
        # 1 who and where
        async with asyncio.timeout(self._settings.greeting_seconds):
            begun = await caller.begin()
            if isinstance(begun, Cancel):
                token = None
            elif len(self._open) >= self._settings.all_:
                raise Failure(TOO_MANY, "remit: too many connections are open here", hint="try again soon")
            else:
                token = await caller.token()
        if isinstance(begun, Cancel):
            found = self._keys.find(begun)
            if found is not None:
                await cancel(found, self._settings.reach_seconds)
            return
        if token is None or caller.link is None:
            return
        # 2 whether
        admission = await self._arbiter.connect(Wish(token, begun.database, begun.role, peer, begun.job))
        with self._held(admission) as held:
            await self._joined(caller.link, begun, held)

    @contextlib.contextmanager
    def _held(self, admission: Admission) -> Iterator[_Open]:
        """A connection that is asked about from now on; raises `Failure` when its principal has too many."""
        counted = Counter(one.admission.principal for one in self._open)
        if counted[admission.principal] >= self._settings.each:
            said = f"remit: {self._settings.each} connections of yours are open (decision {admission.decision})"
            raise Failure(TOO_MANY, said, hint="close some, or share them in a pool")
        held = _Open(admission, self._clocks.monotonic(), asyncio.get_running_loop().create_future())
        self._open.add(held)
        try:
            yield held
        finally:
            self._open.discard(held)
            held.cut.cancel()

    async def _joined(self, client: Link, begun: Startup, held: _Open) -> None:
        settings, admission = self._settings, held.admission
        target = settings.databases.get(begun.database)
        if target is None:
            raise Failure(NOT_NOW, f"remit: `{begun.database}` is being configured", hint="try again soon")
        # 3 as the role
        upstream = await log_in(target, begun.role, begun.settings, admission, settings.reach_seconds)
        key = self._keys.give(upstream, begun.minor)
        tally = Tally(lambda: int(self._clocks.wall() * 1_000_000))
        recording = Recording(self._arbiter, admission.decision, tally, settings.flush_seconds, held.end)
        ending = Ending(None, orderly=False)
        try:
            greeting = upstream.greeting + protocol.key_data(key.process, key.secret)
            await client.send(protocol.AUTHENTICATED + greeting + protocol.message(b"Z", b"I"))
            # 4 joined
            held.splice = Splice(client, upstream.link, recording.hear)
            ending = await held.splice.run(held.cut)
        finally:
            # 5 both ends
            self._keys.take(key)
            await self._parted(client, upstream, held, ending)
            await recording.finish()

    async def _parted(self, client: Link, upstream: Upstream, held: _Open, ending: Ending) -> None:
        """Step 5: the client is told why where it can be, and what still runs is cancelled."""
        if ending.failure is not None and held.splice is not None and held.splice.tellable:
            client.writer.write(protocol.failure(ending.failure))
        if not ending.orderly:
            upstream.link.reset()  # before: else what was sent ahead runs when what runs now is cancelled
            await asyncio.gather(client.close(), cancel(upstream, self._settings.reach_seconds))
        await asyncio.gather(client.close(), upstream.link.close())

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(self._settings.look_seconds)
            began = self._clocks.monotonic()
            looked = tuple(self._open)
            try:
                ended = await self._arbiter.ended({one.admission.decision for one in looked}) if looked else frozenset()
                self._heard_at = began
            except Exception as error:  # noqa: BLE001 - fail closed: whatever it is, nobody has said that they still may
                ended = frozenset()
                _log.warning("the arbiter cannot be asked about open connections: %s", error or type(error).__name__)
            now = self._clocks.monotonic()
            for one in looked:
                failure = self._over(one, one.admission.decision in ended, now)
                if failure is not None:
                    one.end(failure)

    def _over(self, one: _Open, ended: bool, now: float) -> Failure | None:  # noqa: FBT001 - what the arbiter says
        """Why a connection may be open no longer."""
        decision, age = one.admission.decision, now - one.since
        if ended or 0 < one.admission.until <= self._clocks.wall():
            return Failure(ENDED, f"remit: the permit of this connection is over (decision {decision})")
        if now - self._heard_at > self._settings.blind_seconds:
            said = f"remit cannot say whether this connection is still permitted (decision {decision})"
            return Failure(NOT_NOW, said, hint="try again soon")
        idle = one.splice is not None and one.splice.idle
        if age > self._settings.longest or (idle and age > self._settings.lifetime):
            said = f"remit: this connection has lived its {self._settings.lifetime:g} s (decision {decision})"
            return Failure(ENDED, said, hint="connect again: pools do so by themselves")
        return None

    async def _drain(self) -> None:
        """Ends everything: what is idle at once, what is under way in a moment."""
        closing = Failure(ENDED, "remit closes this door", hint="connect again")
        deadline = time.monotonic() + _DRAIN
        while self._tasks and time.monotonic() < deadline:
            for one in tuple(self._open):
                if one.splice is not None and one.splice.idle:
                    one.end(closing)
            await asyncio.wait(tuple(self._tasks), timeout=0.05)
        for one in tuple(self._open):
            one.end(closing)
        if self._tasks:
            await asyncio.wait(tuple(self._tasks), timeout=_DRAIN)
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _near(peer: str) -> bool:
    """Whether somebody comes from this very machine."""
    return ipaddress.ip_address(peer).is_loopback


def listening(settings: DoorSettings) -> socket.socket:
    """The socket of the door; a door that takes this one's place may listen beside it. Raises `OSError`."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    sock = socket.create_server((settings.host, settings.port), family=family, backlog=_WAITING, reuse_port=True)
    sock.settimeout(0)
    return sock


def server_tls(settings: DoorSettings) -> ssl.SSLContext | None:
    """TLS with the door's certificate, `None` where there is none; raises `OSError` for files that are not good."""
    if settings.certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(settings.certificate, settings.key)
    context.set_alpn_protocols([ALPN])
    return context
