"""One project for one user at a time: runs of the same user can reach each other's metadata server (DESIGN section 7).

They can wherever they share loopback, so that is where they look for each other. While a run lasts it listens at two
abstract Unix sockets (unix(7)): their names belong to the network namespace, as loopback does (network_namespaces(7)),
and no folder, variable or other file system of a container moves them. A name tells the digest of a project; whose
socket it is the kernel says (SO_PEERCRED). What others leave under such names is passed over, and a random part keeps
them from taking one first. The kernel lets go of both when a run ends in any way. A run in another project is refused.

Two that begin at once: each stands at `begins`, then looks. Who sees an earlier one steps back and tries again; who is
the earliest waits until those that stood there before are gone, or last. So one of two always sees the other.

Leaves out: what keeps other users out of this user's doors (`loopback.py`). Limit: another user who fills the queue of
a run's socket with thousands of connections hides that run while they wait there.
"""

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from remit.model.errors import RemitError
from remit.sdk.peers import uid_of

_LISTED = Path("/proc/net/unix")  # proc(5): every Unix socket of this network namespace
_BEGINS, _LASTS = "begins", "lasts"
_NAME = re.compile(
    r"@(?P<whole>(?P<family>[a-z0-9-]+)/(?P<state>begins|lasts)/(?P<rank>[0-9a-f]{24})/[0-9a-f]{16}/(?P<of>[0-9a-f]{32}))"
)
_QUEUE = 4096  # connections: the kernel's own bound (net.core.somaxconn)
_PATIENCE = 10.0  # seconds for others that begin just now; it takes them milliseconds
_FULL = 2.0  # seconds for a place in a queue
_AGAIN = 0.02  # seconds between two looks
_MOST = 1 << 10  # bytes: a project, and the id of a run
_PLAIN = re.compile(r"[A-Za-z0-9._:-]{1,128}")  # what a person can be shown, and told to put into a command
_SHORT = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})  # what passes


@dataclass(frozen=True, slots=True)
class _Mark:
    """What names of sockets tell of a run: the family that they share, and the digest of its project."""

    family: str
    of: str


@dataclass(frozen=True, slots=True)
class _Run:
    """A run of this user in another project. `rank`: the smaller, the earlier it began."""

    name: str
    state: str
    rank: str


@contextlib.contextmanager
def taken(project: str, job: str, family: str = "remit-run") -> Iterator[None]:
    """This user's place for runs in a project; raises `RemitError` while runs in another project last.

    `family`: how the sockets' names begin; runs of one family see each other.
    """
    said = json.dumps({"project": project, "job": job}).encode()
    with _begun(_Mark(family, hashlib.sha256(project.encode()).hexdigest()[:32]), said):
        yield


def _begun(mark: _Mark, said: bytes) -> contextlib.ExitStack:
    """Both sockets, once no other project has any."""
    rank = f"{time.time_ns():016x}{secrets.token_hex(4)}"
    deadline = time.monotonic() + _PATIENCE
    while True:
        with contextlib.ExitStack() as places:
            places.enter_context(_listening(mark, _BEGINS, rank, said))
            others = _others(mark)
            if all(rank < one.rank for one in others):
                _outwait(others, mark, deadline)
                places.enter_context(_listening(mark, _LASTS, rank, said))
                return places.pop_all()
        _check(deadline)
        time.sleep(_AGAIN)


def _outwait(before: list[_Run], mark: _Mark, deadline: float) -> None:
    """Those that stood here before may not have seen this one. Those that came later have, and step back."""
    left = {one.name for one in before}
    while left:
        _check(deadline)
        time.sleep(_AGAIN)
        left &= {one.name for one in _others(mark)}


def _others(mark: _Mark) -> list[_Run]:
    """The runs of this user in other projects that begin; raises `RemitError` for one that lasts."""
    twice = (*_listed(mark), *_listed(mark))  # a list is no snapshot: what moves meanwhile is in one of them
    listed = {found["whole"]: found for found in twice}
    names = _own(name for name, match in listed.items() if match["of"] != mark.of)
    found = [_Run(name, listed[name]["state"], listed[name]["rank"]) for name in names]
    if lasting := next((one for one in found if one.state == _LASTS), None):
        project, job = _asked(lasting.name)
        message = f"a run of yours in another project, `{project}`, lasts: {job}"
        hint = f"wait for it, end it with `remit revoke {job}`, or be another user or container"
        raise RemitError(message, hint=hint)
    return found


def _listed(mark: _Mark) -> list[re.Match[str]]:
    try:
        text = _LISTED.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        message = f"`{_LISTED}` cannot be read: {error.strerror}"
        raise RemitError(message, hint="without it nobody can tell whether a run in another project lasts") from error
    words = (line.rpartition(" ")[2] for line in text.splitlines())
    return [found for found in map(_NAME.fullmatch, words) if found and found["family"] == mark.family]


def _own(names: Iterable[str]) -> Iterator[str]:
    """Those at which a process of this user listens. One wait for all whose queues are full: they may be anybody's."""
    left, deadline = list(names), time.monotonic() + _FULL
    while left:
        asked = [(name, _mine(name)) for name in left]
        yield from (name for name, mine in asked if mine)
        left = [name for name, mine in asked if mine is None]
        if time.monotonic() > deadline:
            return
        time.sleep(_AGAIN if left else 0)


def _mine(name: str) -> bool | None:
    """Whether a process of this user listens there, `None` when the queue is full; raises `RemitError` otherwise."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(0)
        try:
            probe.connect(f"\0{name}")
            return uid_of(probe) == os.getuid()
        except ConnectionRefusedError:  # it is gone
            return False
        except BlockingIOError:
            return None
        except OSError as error:
            message = f"another run's socket cannot be asked whose it is: {error.strerror}"
            raise RemitError(message, hint="is this process confined (AppArmor, Landlock)?") from error


def _asked(name: str) -> tuple[str, str]:
    """What a run of this user says of itself, project and id; it may be gone, or stopped."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError), socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_FULL)
        connection.connect(f"\0{name}")
        if uid_of(connection) == os.getuid():
            document = json.loads(connection.recv(_MOST))
            project, job = document["project"], document["job"]
            if _PLAIN.fullmatch(project) and _PLAIN.fullmatch(job):
                return project, job
    return "unknown", "unknown"


@contextlib.contextmanager
def _listening(mark: _Mark, state: str, rank: str, said: bytes) -> Iterator[None]:
    """A socket that tells this user's other runs of this one, until the block ends."""
    with socket.socket(socket.AF_UNIX) as listener:
        try:
            listener.bind(f"\0{mark.family}/{state}/{rank}/{secrets.token_hex(8)}/{mark.of}")
        except OSError as error:
            message = f"this system has no abstract Unix sockets: {error.strerror}"
            raise RemitError(message, hint="runs find each other by them, on Linux") from error
        listener.listen(_QUEUE)
        thread = threading.Thread(target=_tell, args=(listener, said), daemon=True)
        thread.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)  # wakes the thread
            thread.join()


def _tell(listener: socket.socket, said: bytes) -> None:
    """Answers this user's processes, and empties the queue of all others, until the socket is shut down."""
    while True:
        try:
            connection, _ = listener.accept()
        except OSError as error:
            if error.errno not in _SHORT:
                return
            time.sleep(_AGAIN)
            continue
        with connection, contextlib.suppress(OSError):
            if uid_of(connection) == os.getuid():
                connection.sendall(said)


def _check(deadline: float) -> None:
    if time.monotonic() > deadline:
        message = "another run of yours begins in another project, and does not get on"
        raise RemitError(message, hint="end it, and try again")
