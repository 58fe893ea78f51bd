"""Envoy's life: started, watched, restarted, relieved by a newer one, told of new keys, drained and ended.

Leaves out: what it is told (`bootstrap.py`), where it is (`binary.py`). Readiness of the whole plane is the arbiter's:
it asks `healthy()`, which is false when Envoy is away, when its keys are too old, or when it could not write its
access log: Envoy itself serves on with a full disk (measured), so this is what turns readiness red (fault F5).
"""

import asyncio
import contextlib
import datetime as dt
import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import httpx

from remit.gateway.accesslog import FAILED
from remit.gateway.admin import Admin
from remit.gateway.binary import envoy_binary, system_roots
from remit.gateway.bootstrap import bootstrap, discovered_listeners, discovered_secrets, endpoint_secrets
from remit.gateway.certificates import DoorFiles, ensure
from remit.gateway.epochs import Epochs
from remit.gateway.keys import public_keys
from remit.gateway.settings import GatewaySettings
from remit.gateway.typed import Json
from remit.model.errors import RemitError

_log = logging.getLogger(__name__)
NO_KEYS: Mapping[str, str] = MappingProxyType({})

_READY_WITHIN = 15.0  # seconds: it takes under one, on a loaded machine a few
_TAKEN_WITHIN = 5.0  # seconds for a new file to be read by a running Envoy
_STOP_WITHIN = 3.0  # seconds from the signal to the end; then it is killed
_DRAIN_WITHIN = 10.0  # seconds that requests under way have to finish when all is to end
_HANDOVER = 15  # seconds longer than any request may take: so long a relieved Envoy lives at the most
_VALIDATED_WITHIN = 30.0  # seconds for Envoy to read a configuration and say what it thinks of it
_ACTIVE = r"http\.(door|endpoint).*\.downstream_rq_active|cluster\.(rest|grpc|socket|http).*\.upstream_rq_active"
_BACKOFF = (0.1, 5.0)  # seconds between restarts: the first at once, so that one crash costs under two seconds
_STEADY = 30.0  # seconds of life after which a death counts as the first again
_RENEWAL = 3600.0  # seconds between looks at the certificate, whose last third is 30 days
_WRITE_ALARM = 10.0  # seconds that one failed write of the access log keeps readiness red
_DRAINING = ("listener_manager.total_filter_chains_draining", "listener_manager.total_listeners_draining")
_UPDATES = f"listener_manager.lds.update_(success|rejected)|{'|'.join(_DRAINING)}"


class Envoy:
    """One supervised Envoy. `clock`: seconds, monotonic; `today`: the time for certificates."""

    def __init__(
        self,
        settings: GatewaySettings,
        *,
        clock: Callable[[], float] = time.monotonic,
        today: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
    ) -> None:
        self._settings = settings if settings.upstream_ca else replace(settings, upstream_ca=system_roots())
        self._binary = envoy_binary()
        self._admin = Admin(settings.admin_socket)
        self._clock = clock
        self._today = today
        self._epochs = Epochs(settings.runtime, self._command(), parent_seconds=settings.stream_seconds + _HANDOVER)
        self._tasks: list[asyncio.Task[None]] = []
        self._keys: Mapping[str, tuple[str, float]] = {}
        self._failures = 0
        self._failed_at = float("-inf")
        self._restarts = 0

    @property
    def pid(self) -> int | None:
        """The process id of the one that serves, `None` while there is none."""
        newest = self._epochs.newest
        return newest.pid if newest else None

    @property
    def settings(self) -> GatewaySettings:
        """What it runs with."""
        return self._settings

    @property
    def restarts(self) -> int:
        """How often Envoy died by itself and was started again."""
        return self._restarts

    @property
    def authority(self) -> Path:
        """The certificate that clients of the door must trust, PEM."""
        return self._door_files().authority

    async def start(self, keys: Mapping[str, str] = NO_KEYS) -> None:
        """Writes the configuration, starts Envoy and waits until it serves; `keys` as for `update_keys`.

        One that an earlier supervisor left in this folder is relieved: it serves until the new one does. Raises
        `RemitError` when Envoy refuses the configuration or does not come up.
        """
        runtime = self._settings.runtime
        runtime.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._settings.access_log.parent.mkdir(parents=True, exist_ok=True)
        self._epochs.adopt()
        self._write("bootstrap.json", bootstrap(self._settings))
        self._write_secrets()
        self._keys = self._given(keys)
        self._write_keys()
        if not await self._relieved():
            await self._epochs.end(_STOP_WITHIN)
            await self._spawn()
            if not await self._came_up():
                await self.stop()
                raise RemitError(f"Envoy did not come up: {self._said()}", hint="is its port in use?")
        self._tasks = [asyncio.create_task(self._restart_when_dead()), asyncio.create_task(self._keep_fresh())]

    async def leave(self) -> None:
        """Watches over Envoy no more, and lets it serve: another supervisor of this folder relieves it."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    async def stop(self) -> None:
        """Takes no new connections, lets requests under way finish, ends Envoy; harmless when it never started."""
        await self.leave()
        if self._epochs.newest:
            await self._drained()
        await self._epochs.end(_STOP_WITHIN)

    async def validate(self) -> None:
        """Has Envoy read the configuration of these settings without serving it; raises `RemitError` if it refuses."""
        trial = self._settings.runtime / "trial.json"
        self._write(trial.name, bootstrap(self._settings))
        command = (str(self._binary), "--mode", "validate", "--config-path", str(trial), "--log-level", "error")
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env={}
        )
        try:
            said, _ = await asyncio.wait_for(process.communicate(), _VALIDATED_WITHIN)
        except TimeoutError:
            process.kill()
            await process.wait()
            raise RemitError("Envoy did not say what it thinks of the configuration") from None
        finally:
            trial.unlink(missing_ok=True)
        if process.returncode:
            raise RemitError(f"Envoy refuses the configuration: {said.decode('utf-8', 'replace')[-600:].strip()}")

    async def update_keys(self, keys: Mapping[str, str]) -> None:
        """Gives Envoy the JWK sets (RFC 7517, as text) of some issuers; the others keep theirs, which grow older.

        Returns when Envoy verifies with them and nothing else. Connections to the old check are drained for a second;
        what is under way on them meanwhile goes by the old keys. Raises `RemitError` when a set holds no good key or
        Envoy refuses it; the last good ones then stay. So that one issuer's bad set holds up no other's keys, give each
        issuer's by itself. Sets of issuers that are not configured count for nothing.
        """
        fresh = self._given(keys)
        before = await self.stats(_UPDATES)
        previous = self._settings.runtime / "listeners.json"
        kept, kept_keys = previous.read_bytes(), self._keys
        self._keys = {**kept_keys, **fresh}
        if kept == self._write_keys():
            return
        deadline = self._clock() + _TAKEN_WITHIN
        while self._clock() < deadline:
            now = await self.stats(_UPDATES)
            if _moved(before, now, "rejected"):
                break
            if _moved(before, now, "success") and not any(now.get(gauge) for gauge in _DRAINING):
                return
            await asyncio.sleep(0.02)
        self._keys = kept_keys
        _replace(previous, kept)
        raise RemitError("Envoy did not take the new keys", hint=f"see `{self._settings.runtime / 'envoy.log'}`")

    def reopen(self) -> None:
        """After a rename of the access log: Envoy follows by itself within milliseconds (`native/log_file.zig`).

        Raises `ProcessLookupError` when no Envoy runs, none that was relieved either: it still writes what it finishes.
        """
        if not self._epochs.alive:
            raise ProcessLookupError

    async def stats(self, pattern: str) -> Mapping[str, int]:
        """Counters and gauges whose name matches; empty while Envoy is away."""
        try:
            return await self._admin.stats(pattern)
        except httpx.HTTPError:
            return {}

    async def healthy(self) -> bool:
        """Whether requests are served, with keys of some issuer young enough, and their access events kept."""
        if self.pid is None or not self._young():
            return False
        counters = await self.stats(FAILED)
        if not counters:
            return False
        failures = sum(counters.values())
        if failures > self._failures:
            self._failed_at = self._clock()
        self._failures = failures
        return self._clock() - self._failed_at >= _WRITE_ALARM and await self._admin.ready()

    def _given(self, keys: Mapping[str, str]) -> Mapping[str, tuple[str, float]]:
        now, configured = self._clock(), dict(self._settings.issuers)
        return {issuer: (public_keys(issuer, text), now) for issuer, text in keys.items() if issuer in configured}

    def _young(self) -> Mapping[str, str]:
        """The sets that still count."""
        least = self._clock() - self._settings.keys_seconds
        return {issuer: text for issuer, (text, at) in self._keys.items() if at > least}

    def _door_files(self) -> DoorFiles:
        return ensure(self._settings.authority, self._settings.names, self._today())

    def _write(self, name: str, document: Json) -> bytes:
        data = json.dumps(document, indent=1, sort_keys=True).encode()
        _replace(self._settings.runtime / name, data)
        return data

    def _write_keys(self) -> bytes:
        return self._write("listeners.json", discovered_listeners(self._settings, self._young()))

    def _write_secrets(self) -> None:
        files = self._door_files()
        self._write("secrets.json", discovered_secrets(files.certificate, files.key))
        endpoint = self._settings.endpoint
        if endpoint and endpoint.certificate and endpoint.key:
            self._write("secrets-endpoint.json", endpoint_secrets(endpoint.certificate, endpoint.key))

    async def _spawn(self) -> None:
        self._failures = 0
        await self._epochs.first()

    async def _relieved(self) -> bool:
        """Whether there was an Envoy that serves, and a newer one has taken over from it."""
        if self._epochs.newest is None or not await self._admin.ready():
            return False
        try:
            await self._epochs.next()
        except OSError:
            return False
        if await self._came_up():
            self._failures = 0
            return True
        _log.error("Envoy did not take over from the one before it: %s", self._said())
        await self._epochs.drop_newest(_STOP_WITHIN)
        return False

    def _command(self) -> tuple[str, ...]:
        return (
            str(self._binary),
            *("--config-path", str(self._settings.runtime / "bootstrap.json")),
            *("--concurrency", str(self._settings.concurrency)),
            *("--drain-time-s", "1"),
            *("--log-level", "warning"),
        )

    async def _came_up(self) -> bool:
        """Waits until the newest one serves; false when it ends instead, or takes too long."""
        deadline = self._clock() + _READY_WITHIN
        while self._clock() < deadline and self.pid is not None:
            if await self._admin.epoch() == self._epochs.number and await self._admin.ready():
                return True
            await asyncio.sleep(0.02)
        return False

    def _said(self) -> str:
        """The end of its log."""
        tail = (self._settings.runtime / "envoy.log").read_text("utf-8", "replace")[-600:].strip()
        return tail or "it said nothing"

    async def _drained(self) -> None:
        """Closes the listeners, and waits for what goes upstream."""
        with contextlib.suppress(httpx.HTTPError, TimeoutError):
            async with asyncio.timeout(_DRAIN_WITHIN):
                await self._admin.drain()
                while sum((await self._admin.stats(_ACTIVE)).values()):  # noqa: ASYNC110 - Envoy tells nobody
                    await asyncio.sleep(0.05)

    async def _restart_when_dead(self) -> None:
        delay, most = _BACKOFF
        while True:
            started = self._clock()
            if newest := self._epochs.newest:
                await newest.ended()
            delay = _BACKOFF[0] if self._clock() - started > _STEADY else delay
            await asyncio.sleep(delay)
            delay = min(delay * 2, most)
            self._restarts += 1
            await self._spawn()

    async def _keep_fresh(self) -> None:
        """Renews the certificate, and takes keys away that are too old."""
        looked = self._clock()
        while True:
            await asyncio.sleep(min(_RENEWAL, self._settings.keys_seconds / 10))
            if len(young := self._young()) < len(self._keys):
                self._keys = {issuer: self._keys[issuer] for issuer in young}
                self._write_keys()
            if self._clock() - looked >= _RENEWAL:
                looked = self._clock()
                self._write_secrets()


def _moved(before: Mapping[str, int], now: Mapping[str, int], what: str) -> bool:
    name = f"listener_manager.lds.update_{what}"
    return now.get(name, 0) > before.get(name, 0)


def _replace(path: Path, data: bytes) -> None:
    """Whole or not at all: Envoy reads on the rename."""
    draft = path.with_name(path.name + ".new")
    draft.write_bytes(data)
    draft.replace(path)
