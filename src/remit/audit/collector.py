"""When to seal: every so often, in a thread of its own, whatever happened the last time.

Leaves out how to seal (`sealer.py`).
"""

import logging
import threading
from typing import Self

from remit.audit.sealer import Sealer
from remit.model.errors import RemitError

_log = logging.getLogger(__name__)


class Collector:
    """Seals every `seconds`, and once more when it is closed.

    `trouble`: why the last attempt failed, empty when it did not: readiness shows it.
    """

    def __init__(self, sealer: Sealer, seconds: float) -> None:
        self._sealer = sealer
        self._seconds = seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="collector", daemon=True)
        self.trouble = ""

    def start(self) -> None:
        """Seals once before it returns, then starts the thread.

        Start it before Envoy: a torn last line that an earlier Envoy left must not become the new one's first.
        """
        self._attempt()
        self._thread.start()

    def close(self) -> None:
        """Seals the last segment and stops; close it after the gateway and before the ledger's recorder."""
        self._stop.set()
        self._thread.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        while not self._stop.wait(self._seconds):
            self._attempt()
        self._attempt()

    def _attempt(self) -> None:
        try:
            self._sealer.seal()
        except Exception as error:  # noqa: BLE001 - a collector that dies would seal no more, and nobody would know
            self.trouble = f"the access log could not be sealed: {error}"
            foreseen = isinstance(error, RemitError | OSError)
            _log.error(self.trouble, exc_info=None if foreseen else error)
        else:
            self.trouble = ""
