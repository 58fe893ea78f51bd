"""Where sealed rows are kept: gzip'd JSON lines, one file a segment, each line a row in the form that was hashed.

This is the one boundary for another store (a Delta table): `SegmentStore` is what sealing, query and verification
ask of it. A file is written under another name, made durable, then renamed: it is there whole, or not.
"""

import gzip
import os
import re
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from remit.audit.spool import sync_folder
from remit.model.errors import EvidenceBroken

_KEPT = re.compile(r"(\d{12})\.jsonl\.gz")
_LEVEL = 6
"""gzip's own default: access rows shrink to about a tenth."""


class SegmentStore(Protocol):
    """Keeps the rows of sealed segments."""

    def write(self, number: int, rows: Iterable[bytes]) -> None:
        """Makes the rows durable, not yet visible; what an earlier attempt wrote is replaced."""

    def publish(self, number: int) -> None:
        """Makes what was written visible, at once and for good; does nothing when it is visible already."""

    def has(self, number: int) -> bool:
        """Whether a segment is visible."""

    def numbers(self) -> list[int]:
        """The segments that are visible, in order."""

    def rows(self, number: int) -> Iterator[bytes]:
        """The rows of a segment as they were hashed; raises `EvidenceBroken` when they cannot be read."""

    def path(self, number: int) -> Path:
        """A file with the segment's rows as JSON lines, for DuckDB."""


class FolderStore:
    """Segments in a local folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, number: int, rows: Iterable[bytes]) -> None:
        """As the port says; also raises `OSError`."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._unpublished(number), os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            # no name and no time inside, so that the same rows make the same bytes
            with gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=_LEVEL, mtime=0) as packed:
                for row in rows:
                    packed.write(row + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def publish(self, number: int) -> None:
        """As the port says; also raises `OSError`."""
        self._unpublished(number).replace(self.path(number))
        sync_folder(self._folder)

    def has(self, number: int) -> bool:
        """As the port says."""
        return self.path(number).exists()

    def numbers(self) -> list[int]:
        """As the port says."""
        if not self._folder.is_dir():
            return []
        matches = (_KEPT.fullmatch(path.name) for path in self._folder.iterdir())
        return sorted(int(match[1]) for match in matches if match)

    def rows(self, number: int) -> Iterator[bytes]:
        """As the port says."""
        try:
            with gzip.open(self.path(number), "rb") as file:
                for line in file:
                    yield line.removesuffix(b"\n")
        except (OSError, EOFError, zlib.error) as error:
            raise EvidenceBroken(f"segment {number} cannot be read: {error}") from None

    def path(self, number: int) -> Path:
        """As the port says."""
        return self._folder / f"{number:012}.jsonl.gz"

    def _unpublished(self, number: int) -> Path:
        return self._folder / f"{number:012}.writing"
