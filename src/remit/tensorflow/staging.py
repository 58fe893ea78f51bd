"""Files brought to this machine: for good (`stage`), or ahead of a dataset that reads them, and gone when it has.

What a dataset brings has no name on the disk (an unlinked file, which Linux shows under `/proc/self/fd`): nobody else
opens it, and whatever ends the process, the room is free again. Left out: keeping files for the next run, since nothing
would say that they are still those of the cloud.
"""

import itertools
import os
import shutil
import tempfile
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import IO, Any

from remit.tensorflow.errors import ReadFailed
from remit.tensorflow.files import File
from remit.tensorflow.patience import Patience
from remit.tensorflow.reading import Reader

_AT_ONCE = 4  # downloads


def stage(
    patterns: str | Iterable[str], folder: str | os.PathLike[str], *, credential: Any = None, patience: float = 120.0
) -> list[Path]:
    """Brings the patterns' files into `folder` as `ACCOUNT/CONTAINER/PATH`, and returns where they are, in order.

    Files of this machine stay where they are. `credential`, `patience`: as for `tfrecords`. Whoever calls removes them.
    Raises `ReadFailed` and leaves no file that is not whole.
    """
    reader = Reader(credential, Patience(patience))
    files, target = reader.find(patterns), Path(folder)
    places = [_place(file, target) for file in files]
    room(target, sum(file.size for file in files if file.location.scheme != "file"))
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(lambda each: _bring(reader, *each), zip(files, places, strict=True)))
    return places


def room(folder: Path, size: int) -> None:
    """Makes the folder, for its owner alone; raises `ReadFailed` where so many bytes do not fit."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    free = shutil.disk_usage(folder).free
    if size > free:
        raise ReadFailed(f"`{folder}` has {free} bytes left, and {size} are wanted", hint="name another folder")


class Ahead:
    """Files that a dataset is about to read. Its threads call `fetch` and `release`; each iteration is a pass."""

    def __init__(self, files: list[File], folder: Path, reader: Reader) -> None:
        self._files = files
        self._folder = folder
        self._reader = reader
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._open: dict[int, dict[str, IO[bytes]]] = {}

    def passes(self) -> Iterator[int]:
        """The number of one pass. When the iteration is over, or is left, so are the files that it still has."""
        with self._lock:
            number = next(self._numbers)
            self._open[number] = {}
        try:
            yield number
        finally:
            with self._lock:
                left = self._open.pop(number)
            for brought in left.values():
                brought.close()

    def fetch(self, number: int, index: int) -> str:
        """Brings one file for a pass; where it is until `release`."""
        file = self._files[index]
        room(self._folder, file.size)
        brought = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - open for as long as it is read
        try:
            for piece in self._reader.pieces(file):
                brought.write(piece)
            brought.flush()
            return self._kept(number, brought)
        except BaseException:
            brought.close()
            raise

    def _kept(self, number: int, brought: IO[bytes]) -> str:
        place = f"/proc/self/fd/{brought.fileno()}"
        with self._lock:
            if number not in self._open:
                raise ReadFailed("an iteration that was left reads no more files")
            self._open[number][place] = brought
        return place

    def release(self, number: int, place: str) -> None:
        """The file has been read, and is gone."""
        with self._lock:
            brought = self._open.get(number, {}).pop(place, None)
        if brought:
            brought.close()


def _place(file: File, folder: Path) -> Path:
    """Where a file goes. A blob may be named anything: what would leave the folder is refused."""
    if file.location.scheme == "file":
        return Path(file.location.path)
    parts = file.location.path.split("/")
    if any(part in {"", ".", ".."} or "\0" in part for part in parts):
        raise ReadFailed(f"`{file.location}` has no name that a folder could hold")
    return folder / PurePosixPath(file.location.root, *parts)


def _bring(reader: Reader, file: File, place: Path) -> None:
    if file.location.scheme == "file":
        return
    place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.NamedTemporaryFile(dir=place.parent, prefix=".remit-", delete=False) as part:
        try:
            for piece in reader.pieces(file):
                part.write(piece)
            part.flush()
            Path(part.name).replace(place)
        except BaseException:
            Path(part.name).unlink(missing_ok=True)
            raise
