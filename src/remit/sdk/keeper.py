"""The keeper: a process of this user that holds the sign-in in memory, as ssh-agent holds keys.

Nothing touches the disk but a Unix socket in a folder that only this user may enter. The kernel says who calls
(SO_PEERCRED, unix(7)); memory is closed to debuggers and core dumps (PR_SET_DUMPABLE, prctl(2)). It ends with
`remit logout`, a day after the last sign-in, or when its socket is gone. It understands nothing of what it holds.

    -> {"op": "get"}                     <- {"entry": "…" | null}
    -> {"op": "put", "entry": "…"}       <- {"entry": null}
    -> {"op": "left"}                    <- {"entry": "SECONDS"}
    -> {"op": "end"}                     <- {"entry": null}
"""

import asyncio
import contextlib
import ctypes
import json
import os
import socket
import stat
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from remit.model.errors import NotSignedIn
from remit.model.secret import Secret
from remit.sdk.peers import uid_of

_LIFETIME = 24 * 3600  # seconds: a sign-in is renewed at least daily
_MAXIMUM = 4 << 20  # bytes: a token cache of thousands of tokens
_LOOK = 10.0  # seconds between looks whether the socket is still there: a keeper that nobody can reach ends
_START = 5.0  # seconds until a started keeper must answer
_PR_SET_DUMPABLE = 4


class Keeper:
    """The client's side, a store (store.py). Every call opens one short connection."""

    name = "keeper"

    def __init__(self, address: Path | None = None) -> None:
        self._address = address or own_folder() / "keeper.sock"

    def place(self) -> str:
        """That it is in memory, and for how long."""
        try:
            seconds = int(self._ask({"op": "left"}) or 0)
        except (FileNotFoundError, ConnectionRefusedError, ValueError):
            return "the memory of a process of yours"
        return f"the memory of a process of yours, for {seconds // 3600} h {seconds // 60 % 60} min more"

    def get(self) -> Secret | None:
        """What is kept, or `None` when there is no keeper or it holds nothing."""
        try:
            entry = self._ask({"op": "get"})
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        return Secret(entry) if entry else None

    def put(self, entry: Secret) -> None:
        """Keeps an entry; starts the keeper if there is none."""
        message = {"op": "put", "entry": entry.reveal()}
        try:
            self._ask(message)
        except (FileNotFoundError, ConnectionRefusedError):
            self._start()
            self._ask(message)

    def end(self) -> None:
        """Forgets everything and ends the keeper."""
        with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
            self._ask({"op": "end"})

    def _ask(self, message: dict[str, str]) -> str | None:
        try:
            return self._exchange(json.dumps(message).encode() + b"\n")
        except (FileNotFoundError, ConnectionRefusedError):
            raise
        except (OSError, ValueError, KeyError, TypeError) as error:
            said = getattr(error, "strerror", None) or type(error).__name__
            raise NotSignedIn(f"the keeper at `{self._address}` does not answer: {said}") from None

    def _exchange(self, line: bytes) -> str | None:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_START)
            connection.connect(str(self._address))
            if uid_of(connection) != os.getuid():
                raise NotSignedIn("the keeper's socket belongs to another user", hint=f"remove `{self._address}`")
            connection.sendall(line)
            with connection.makefile("rb") as answer:
                return _entry(answer.readline(_MAXIMUM))

    def _start(self) -> None:
        # -P: nothing of the folder that somebody happens to stand in is imported
        command = [sys.executable, "-P", "-m", "remit.sdk.keeper", str(self._address)]
        quiet = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in range(3)]
        os.posix_spawn(sys.executable, command, os.environ, file_actions=quiet, setsid=True)  # nobody is to wait for it
        deadline = time.monotonic() + _START
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
                probe.connect(str(self._address))
                return
            time.sleep(0.02)
        raise NotSignedIn("the keeper did not start", hint=f"is `{self._address.parent}` writable?")


def _entry(line: bytes) -> str | None:
    entry = json.loads(line)["entry"]
    return None if entry is None else str(entry)


def own_folder() -> Path:
    """`$XDG_RUNTIME_DIR/remit`, else a folder of this user's under the temporary folder; made 0700, never shared."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    folder = Path(runtime) / "remit" if runtime else Path(tempfile.gettempdir()) / f"remit-{os.getuid()}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise NotSignedIn(f"`{folder}` is not a folder of yours alone", hint=f"chmod 700 {folder}")
    return folder


def _inode(address: Path) -> int | None:
    try:
        return address.lstat().st_ino
    except OSError:
        return None


class _Server:
    def __init__(self) -> None:
        self.entry: str | None = None
        self.ended = asyncio.Event()
        self.leave: Callable[[], None] = lambda: None
        self.until = time.monotonic() + _LIFETIME

    async def serve(self, address: Path) -> None:
        address.unlink(missing_ok=True)  # noqa: ASYNC240 - before anybody waits for this loop
        old = os.umask(0o177)
        try:
            server = await asyncio.start_unix_server(self._answer, address, limit=_MAXIMUM)
        finally:
            os.umask(old)
        own = _inode(address)

        def leave() -> None:
            if _inode(address) == own:
                address.unlink()

        self.leave = leave
        async with server:
            while not self.ended.is_set() and (left := self.until - time.monotonic()) > 0 and _inode(address) == own:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.ended.wait(), min(left, _LOOK))
        leave()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = writer.get_extra_info("socket")
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            if uid_of(connection) == os.getuid():
                entry = self._do(json.loads(await reader.readline()))
                writer.write(json.dumps({"entry": entry}).encode() + b"\n")
                await writer.drain()
        writer.close()

    def _do(self, message: dict[str, str]) -> str | None:
        match message["op"]:
            case "get":
                return self.entry
            case "put":
                self.entry = message["entry"]
                self.until = time.monotonic() + _LIFETIME
            case "left":
                return str(max(0, int(self.until - time.monotonic())))
            case "end":
                self.entry = None
                self.leave()  # before the answer: who asks after it must find no keeper
                self.ended.set()
        return None


async def _main(address: str) -> None:
    await _Server().serve(Path(address))


if __name__ == "__main__":
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    asyncio.run(_main(sys.argv[1]))
