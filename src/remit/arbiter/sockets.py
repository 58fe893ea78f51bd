"""A Unix socket that takes the place of another one while it is in use: nobody finds the place empty meanwhile.

Whoever listens does so under a name of its own first. The rename puts it where callers look, and connections to the
one before it stay as they are (rename(2)). Only this user may open either.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def taking_the_place_of(socket: Path) -> Iterator[Path]:
    """Where to listen; when the block ends well, whoever comes to `socket` comes there."""
    own = socket.with_suffix(f".{os.getpid()}")
    own.unlink(missing_ok=True)
    old = os.umask(0o177)
    try:
        yield own
    finally:
        os.umask(old)
    own.replace(socket)
