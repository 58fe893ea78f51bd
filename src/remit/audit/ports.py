"""What audit needs from the other rooms."""

from typing import Protocol


class Reopener(Protocol):
    """gateway: sees to it that the writer of the access log opens the file anew after a rename."""

    def reopen(self) -> None:
        """Asks for it and returns at once; raises `ProcessLookupError` when nothing writes the log any more.

        Each process that writes to a file holds a shared lock on it (flock(2)) until it has opened the new one. Any
        other `OSError` means that the writer could not be asked: the segment waits.
        """
