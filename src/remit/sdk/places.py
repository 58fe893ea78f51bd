"""One project for one user at a time: runs of the same user can reach each other's metadata server (DESIGN section 7).

Each run holds a shared lock on a file that names their project, in a folder that only this user may enter, while it
lasts; the kernel lets go of it when a run ends in any way (flock(2)). A run in another project is refused; other users,
containers and pods have a folder of their own. Leaves out: what keeps those out of this user's doors (`loopback.py`).
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path

from remit.model.errors import RemitError
from remit.sdk.keeper import own_folder

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_MAXIMUM = 1 << 10  # bytes: a project, and the id of a run


@contextlib.contextmanager
def taken(project: str, job: str, folder: Path | None = None) -> Iterator[None]:
    """This user's place for runs in a project; raises `RemitError` while runs in another project last."""
    folder = folder or own_folder()
    descriptor = _opened(folder / "run.lock")
    try:
        with _alone(folder):
            _take(descriptor, project, job)
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int, project: str, job: str) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:  # somebody runs
        theirs, first = _read(descriptor)
        if theirs != project:
            message = f"a run of yours in another project, `{theirs}`, lasts: {first}"
            hint = f"wait for it, end it with `remit revoke {first}`, or be another user or container"
            raise RemitError(message, hint=hint) from None
    else:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps({"project": project, "job": job}).encode(), 0)
    fcntl.flock(descriptor, fcntl.LOCK_SH)  # nobody comes between: whoever begins is alone here


def _read(descriptor: int) -> tuple[str, str]:
    with contextlib.suppress(ValueError, KeyError, TypeError):
        document = json.loads(os.pread(descriptor, _MAXIMUM, 0))
        return str(document["project"]), str(document["job"])
    return "unknown", "unknown"


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """While one begins no other does; it takes a moment."""
    descriptor = _opened(folder / "run.begins")
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _opened(path: Path) -> int:
    try:
        return os.open(path, _FLAGS, 0o600)
    except OSError as error:
        message = f"`{path}` cannot be opened: {error.strerror}"
        raise RemitError(message, hint="a run keeps its place there; is the folder yours?") from error
