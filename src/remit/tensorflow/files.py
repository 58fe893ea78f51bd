"""A file that was found: where it is, how long, and in which version. And what can be asked where files are."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from remit.tensorflow.locations import Location
from remit.tensorflow.patience import Verdict


@dataclass(frozen=True, slots=True)
class File:
    """`size`: bytes; `version`: an entity tag, empty where there is none."""

    location: Location
    size: int
    version: str = ""


class Store(Protocol):
    """A place of files. `chunk`: bytes of one request. What it raises, it judges."""

    chunk: int

    def find(self, pattern: Location) -> Iterator[File]:
        """Every file that a pattern stands for."""
        ...

    def read(self, file: File, start: int, length: int) -> bytes:
        """Bytes from `start` on, at most `length` and at least one."""
        ...

    def renew(self) -> None:
        """Forget the token."""
        ...

    def judge(self, error: BaseException) -> Verdict:
        """Whether to ask again."""
        ...
