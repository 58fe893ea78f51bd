"""Files read to their end, whatever is cut on the way: what has come stays, and the rest is asked for from there on."""

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from remit.model.causes import Cause
from remit.model.errors import RemitError
from remit.sdk import failures
from remit.tensorflow.errors import DataCorrupt, ReadFailed, ReadRefused
from remit.tensorflow.files import File, Store
from remit.tensorflow.frames import Frames, unpacked
from remit.tensorflow.local import Local
from remit.tensorflow.locations import Location, parse
from remit.tensorflow.patience import Patience, Verdict

_REFUSED = frozenset(
    {Cause.IAM, Cause.TOKEN, Cause.REFUSED, Cause.EXPIRED, Cause.AUDIENCE, Cause.WRONG_PROJECT, Cause.FIREWALL}
)


class Reader:
    """Reads from every place that is asked for. `credential`: azure-core's, an account's key, `None` for the job's."""

    def __init__(self, credential: Any = None, patience: Patience | None = None) -> None:
        self._credential = credential
        self._patience = patience or Patience()
        self._lock = threading.Lock()
        self._stores: dict[tuple[str, str], Store] = {}

    def find(self, patterns: str | Iterable[str]) -> list[File]:
        """Every file of the patterns, by name and once; raises `ReadFailed`, also for a pattern that finds none."""
        found: dict[str, File] = {}
        for text in [patterns] if isinstance(patterns, str) else patterns:
            pattern = parse(str(text))
            store = self._store(pattern)
            files = self._insist(store, pattern, lambda p=pattern, s=store: list(s.find(p)))  # type: ignore[misc]  # mypy infers no lambda with defaults
            if not files:
                raise ReadFailed(f"`{pattern}` stands for no file", hint="`*` does not cross `/`; `**` does")
            found |= {str(file.location): file for file in files}
        if not found:
            raise ReadFailed("no pattern was given")
        return [found[name] for name in sorted(found)]

    def pieces(self, file: File) -> Iterator[bytes]:
        """All bytes of a file in order; raises `ReadFailed`."""
        store, at = self._store(file.location), 0
        while at < file.size:
            length = min(store.chunk, file.size - at)
            data = self._insist(store, file.location, lambda: store.read(file, at, length))  # noqa: B023 - called at once
            if not data:
                raise DataCorrupt(f"`{file.location}` ended at byte {at} of {file.size}", hint="was it replaced?")
            at += len(data)
            yield data

    def records(self, file: File, compression: str = "") -> Iterator[list[bytes]]:
        """The records of a TFRecord file, as many at a time as came; raises `ReadFailed`."""
        frames = Frames(str(file.location))
        for piece in unpacked(self.pieces(file), compression, str(file.location)):
            if found := frames.feed(piece):
                yield found
        frames.finish()

    def _store(self, location: Location) -> Store:
        key = (location.scheme, location.root if location.scheme == "az" else "")
        with self._lock:
            if key not in self._stores:
                self._stores[key] = self._made(location)
            return self._stores[key]

    def _made(self, location: Location) -> Store:
        if location.scheme == "file":
            return Local()
        if location.scheme == "gs":
            from remit.tensorflow.cloud_storage import CloudStorage  # noqa: PLC0415 - brings TensorFlow

            return CloudStorage()
        from remit.tensorflow.blob import Container, ambient  # noqa: PLC0415 - brings Azure's client

        given = self._credential
        return Container(location.root, ambient if given is None else lambda: given)

    def _insist(self, store: Store, location: Location, ask: Callable[[], Any]) -> Any:
        try:
            return self._patience.insist(ask, store.judge, store.renew)
        except RemitError:
            raise
        except Exception as error:
            raise _told(error, location, store.judge(error)) from error


def _told(error: Exception, location: Location, verdict: Verdict) -> ReadFailed:
    """The error with the file's address, and what is known about its cause."""
    failure = failures.diagnose(error)
    kind = ReadRefused if verdict is Verdict.RENEW or failure.cause in _REFUSED else ReadFailed
    told = kind(f"`{location}` cannot be read: {failure.message}", hint=failure.hint)
    told.add_note(str(failure))  # TensorFlow shows a Python error's text and notes, and nothing else of it
    return told
