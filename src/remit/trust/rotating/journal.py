"""The journal of one credential's rotation: a file of JSON lines, each on the disk before what it announces is done.

The last whole line counts. It holds ids and names only, never what they open. The file is its owner's alone, and stays
as evidence.
"""

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path

from remit.model.errors import TrustBroken
from remit.state.private_file import read_private

_LIMIT = 4 << 20  # bytes: ten thousand rotations
_FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


class Step(StrEnum):
    """How far a rotation came; each is written before what it names is begun."""

    ADD = "add"
    PROVE = "prove"
    SWITCH = "switch"
    SETTLE = "settle"
    REMOVE = "remove"
    RETURN = "return"
    DONE = "done"
    BACK = "back"

    @property
    def over(self) -> bool:
        """Whether nothing is open."""
        return self in {Step.DONE, Step.BACK}


@dataclass(frozen=True, slots=True)
class Rotation:
    """One that has begun.

    `app`: app id; `kind`: `secret` or `certificate`; `file`: where the running service reads it; `marker`: what the new
    credential is called at Entra; `old`: key ids that end with it; `new`: key id of the new one, empty while there is
    none; `first`: whether the file is not there before.
    """

    app: str
    kind: str
    file: str
    marker: str
    old: tuple[str, ...]
    first: bool
    new: str = ""
    step: Step = Step.ADD


class Journal:
    """One application's. `sync`: makes a descriptor's file durable; `clock`: seconds since the epoch."""

    def __init__(
        self,
        folder: Path,
        app: str,
        *,
        sync: Callable[[int], None] = os.fsync,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.path = folder / f"rotate-{app}.jsonl"
        self._sync = sync
        self._clock = clock

    def open(self) -> Rotation | None:
        """The rotation that was interrupted; raises `TrustBroken` when the journal cannot be understood."""
        if not self.path.exists():
            return None
        content = read_private(self.path, _LIMIT, "the journal of `remit trust rotate`")
        lines = content[: content.rfind(b"\n") + 1].splitlines()
        if not lines:
            return None
        try:
            members = json.loads(lines[-1])
            del members["at"]
            read = {**members, "old": tuple(map(str, members["old"])), "step": Step(members["step"])}
            found = Rotation(**read)
        except (ValueError, KeyError, TypeError) as cause:
            hint = "look at it, and at the application's credentials; move it away when nothing is open"
            raise TrustBroken(f"the journal `{self.path}` cannot be understood", hint=hint) from cause
        return None if found.step.over else found

    def write(self, rotation: Rotation, step: Step) -> Rotation:
        """The rotation as it goes on."""
        now = replace(rotation, step=step)
        text = json.dumps({"at": self._clock(), **asdict(now)}, separators=(",", ":"))
        descriptor = os.open(self.path, _FLAGS, 0o600)
        try:
            # a line that a crash cut is ended, so that the next one stands alone
            size = os.fstat(descriptor).st_size
            ahead = b"\n" if size and os.pread(descriptor, 1, size - 1) != b"\n" else b""
            data = ahead + text.encode() + b"\n"
            while data:
                data = data[os.write(descriptor, data) :]
            self._sync(descriptor)
        finally:
            os.close(descriptor)
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._sync(folder)
        finally:
            os.close(folder)
        return now
