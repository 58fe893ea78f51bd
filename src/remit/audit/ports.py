"""What audit needs from the other rooms."""

from typing import Protocol


class Reopener(Protocol):
    """gateway: makes the writer of the access log open the file anew after a rename."""

    def reopen(self) -> None:
        """Asks for it and returns at once; raises `ProcessLookupError` when nothing writes the log any more.

        Once the new file exists, the writer must never write to the old one again (Envoy: notes in
        `spool.py`). Any other `OSError` means that the writer could not be asked: the segment waits.
        """
