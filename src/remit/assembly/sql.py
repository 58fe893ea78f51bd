"""The door for databases as a child process: started, replaced when it dies, and followed by another one.

It decides nothing and keeps nothing: the arbiter does, whom it asks over its socket. After a new configuration another
one listens at the same address (SO_REUSEPORT); the one before lets nobody in any more, and goes with its last
connection. It dies with its supervisor.
"""

import asyncio
import contextlib
import datetime as dt
import os
import sys
from pathlib import Path

from remit.assembly.child import RETIRE, kept
from remit.credentials.database_certificate import ensure
from remit.gateway.process import Running
from remit.model.errors import RemitError
from remit.settings.read import Settings
from remit.sql.asking import arbiter
from remit.sql.door import Door, listening, server_tls

_STOP = 10.0  # seconds for a process to end: what is under way has three, its record what it takes


class DoorProcess:
    """One door in office. Its process id is in `run/sql.pid`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._pid_file = settings.gateway.arbiter_socket.with_name("sql.pid")
        self._office: Running | None = None
        self._pipe: int | None = None
        self._retired: list[Running] = []

    async def start(self) -> None:
        """Puts one in office, where there is a door at all."""
        if self._office is None:
            self._retired = [found for found in (self._predecessor(),) if found]
        if self._settings.sql is None:
            return
        theirs, ours = os.pipe()
        try:
            self._office = Running.beside(self._command(), theirs)
        finally:
            os.close(theirs)
        if self._pipe is not None:
            os.close(self._pipe)
        self._pipe = ours  # the end of its input, closed, would tell it that we are gone
        self._pid_file.write_text(f"{self._office.pid}\n", encoding="ascii")

    @property
    def serves(self) -> bool:
        """Whether the one in office listens, or there is no door; an earlier program's at its address says nothing."""
        if self._office is None:
            return True
        try:
            return _ready(self._settings).read_text("ascii") == f"{self._office.pid}\n"
        except (OSError, ValueError):
            return False

    def retire_predecessor(self) -> None:
        """Tells the one that an earlier program of this supervisor had in office that nobody more is to be let in."""
        for one in self._retired:
            with contextlib.suppress(ProcessLookupError):
                one.send(RETIRE)

    async def keep(self) -> None:
        """Replaces the one in office whenever it ends; for ever, also where there is none to keep."""
        await kept("the door for databases", lambda: self._office, self.start)
        await asyncio.Event().wait()

    async def end(self) -> None:
        """Ends all of them."""
        for process in (*filter(None, (self._office,)), *self._retired):
            await process.end(_STOP)

    def _predecessor(self) -> Running | None:
        try:
            found = Running(int(self._pid_file.read_text("ascii")))
        except (OSError, ValueError):
            return None
        return found if self._command()[1:] == found.command[1:] and found.alive else None

    def _command(self) -> tuple[str, ...]:
        config = str(self._settings.file)
        return (sys.executable, "-P", "-m", "remit.cli", "serve", "--only", "databases", "--config", config)


def install(settings: Settings) -> None:
    """Makes what databases are to trust, before anybody asks for it; raises `RemitError`."""
    if settings.logins:
        ensure(settings.database_authority, dt.datetime.now(dt.UTC))


async def run(settings: Settings, stop: asyncio.Event, retire: asyncio.Event) -> None:
    """Serves the door until `stop` is set; when `retire` is, it goes with its last connection. Raises `RemitError`."""
    found = settings.sql
    if found is None:
        hint = "`gateway.databases` in remit.yaml says where it listens"
        raise RemitError("there is no door for databases", hint=hint)
    try:
        tls, sock = server_tls(found), listening(found)
    except OSError as error:
        message = f"the door for databases cannot be opened at `{found.host}:{found.port}`: {error}"
        raise RemitError(message, hint="look at `gateway.databases` and `gateway.tls`") from None
    ready = _ready(settings)
    ready.with_suffix(".new").write_text(f"{os.getpid()}\n", "ascii")
    ready.with_suffix(".new").replace(ready)
    async with arbiter(found.arbiter) as asked:
        await Door(found, asked, tls).serve(sock, stop, retire)


def _ready(settings: Settings) -> Path:
    """Where a door that listens writes down which one it is."""
    return settings.gateway.arbiter_socket.with_name("sql.ready")
