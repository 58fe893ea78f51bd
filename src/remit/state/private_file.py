"""A file that holds a private key: read only when nobody but its owner could have read or changed it, written whole."""

import os
import stat
from pathlib import Path

from remit.model.errors import Problem, SettingsInvalid


def read_private(path: Path, limit: int, name: str) -> bytes:
    """At most `limit` bytes of a plain file of this user's own, mode 0600 or less, and no link to one.

    Raises `SettingsInvalid` for anything else; `name`: what it is, for people ("the ledger's key").
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError as error:
        raise _invalid(path, f"{name} cannot be opened: {error.strerror}") from None
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_mode & 0o077 or status.st_uid != os.geteuid():
            raise _invalid(path, f"{name} can be reached by others", hint=f"chmod 600 {path}")
        return file.read(limit)


def write_whole(path: Path, data: bytes, mode: int) -> None:
    """Whole or not at all, on the disk, and never readable by others than `mode` says in between; raises `OSError`."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def _invalid(path: Path, message: str, *, hint: str = "") -> SettingsInvalid:
    return SettingsInvalid((Problem(str(path), 0, 0, message),), hint=hint)
