"""`remit serve`: the arbiter and Envoy as one process tree, supervised, and the access log sealed.

The supervisor holds no request's fate: it starts both, restarts what dies, gives Envoy the issuer's keys, and seals.
Everything is ended by its process id; when the supervisor dies, the arbiter ends with it, and Envoy's next start
relieves what is left of the old one. SIGHUP makes it replace itself by the program and the configuration that are there
now: both of its children go on until their successors serve.
"""

import asyncio
import contextlib
import ctypes
import logging
import os
import select
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import BinaryIO, TypeVar

import httpx

from remit.arbiter.application import API_PATHS, API_PREFIXES
from remit.arbiter.token import ENTRA_PATH
from remit.assembly import arbiter, evidence, rooms, sql
from remit.assembly.child import GO, RETIRE, ArbiterProcess
from remit.assembly.keys import KeyRing
from remit.audit.recorder import LedgerRecorder
from remit.catalogue import leasable_fields, leasable_grpc, streaming_grpc, streams
from remit.catalogue.services import walked
from remit.gateway.envoy import Envoy
from remit.gateway.process import children
from remit.gateway.settings import GatewaySettings
from remit.identity.tokens.keys import http_client
from remit.model.errors import RemitError
from remit.model.estate import ServiceKind
from remit.settings.read import Settings, read

Told = TypeVar("Told")

_log = logging.getLogger(__name__)
_READY = 60.0  # seconds until everything must answer; it takes about two, on a loaded machine far more
_PR_SET_PDEATHSIG = 1


def gateway_settings(settings: Settings) -> GatewaySettings:
    """The gateway's settings, with what the catalogue and the arbiter say of themselves."""
    serving = {one.known_as for one in settings.estate.services if one.kind is ServiceKind.TENSORFLOW_SERVING}
    return replace(
        settings.gateway,
        services=tuple(
            replace(one, walked=walked()) if one.known_as in serving else one for one in settings.gateway.services
        ),
        api_paths=(*API_PATHS, ENTRA_PATH.format(tenant=settings.identity.entra.tenant)),
        api_prefixes=API_PREFIXES,
        leasable_grpc=leasable_grpc(),
        leasable_fields=leasable_fields(),
        streaming_grpc=streaming_grpc(),
        streams=streams(),
    )


class Plane:
    """One running installation."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._envoy = Envoy(gateway_settings(settings))
        self._arbiter = ArbiterProcess(settings)
        self._door = sql.DoorProcess(settings)
        self._leaving = False
        self._policies = ""

    async def run(self, stop: asyncio.Event) -> bool:
        """Runs until `stop` is set; whether another program is to go on in its place.

        Raises `RemitError` when it cannot start.
        """
        reaped = [asyncio.create_task(one.ended()) for one in children()]  # the program before this one started them
        try:
            return await self._run(stop)
        finally:
            for task in reaped:
                task.cancel()

    async def _run(self, stop: asyncio.Event) -> bool:
        settings = self._settings
        # policies that are not good: refuse to start, with every problem
        self._policies = rooms.judge(settings).policy_version
        evidence.install(settings)
        sql.install(settings)
        own = settings.gateway.runtime.parent / "serve.pid"
        own.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        own.write_text(f"{os.getpid()}\n", encoding="ascii")
        with evidence.writing(settings) as engine:
            ledger = evidence.ledger(settings, engine)
            async with http_client() as client:
                keys = KeyRing(settings.identity, client)
                with LedgerRecorder(ledger) as recorder, evidence.collector(settings, ledger, recorder, self):
                    try:
                        await self._serve(keys, stop)
                    finally:
                        await self._end()
        return self._leaving

    async def reload(self, stop: asyncio.Event) -> None:
        """Looks at what is configured now, and if it is good, makes room for a program that runs with it.

        What comes of it is said, also when nothing has changed.
        """
        try:
            settings = read(self._settings.file)
            policies = rooms.judge(settings).policy_version
            await Envoy(gateway_settings(settings)).validate()
        except Exception as error:  # noqa: BLE001 - whatever is wrong with what is new, what runs goes on
            why = str(error) or type(error).__name__
            _log.error("SIGHUP: the new configuration is not taken, the old one stays: %s", why)
            return
        if stop.is_set():  # told to end meanwhile
            return
        changed = [f"`{name}`" for name in settings.changed(self._settings)]
        changed += [f"the policies (now {policies})"] if policies != self._policies else []
        said = f"{', '.join(changed)} changed" if changed else "nothing changed in `remit.yaml` and the policies"
        _log.warning("SIGHUP: %s since this program began; the one that is installed now takes over", said)
        self._leaving = True
        stop.set()

    async def _end(self) -> None:
        if self._leaving:
            await self._envoy.leave()
            self._arbiter.leave()
        else:
            await self._envoy.stop()
            await self._door.end()  # what ran on its connections is still to be recorded
            await self._arbiter.end()

    def reopen(self) -> None:
        """As `Envoy.reopen`; raises `ProcessLookupError` when there is no Envoy."""
        self._envoy.reopen()

    async def _serve(self, keys: KeyRing, stop: asyncio.Event) -> None:
        await self._arbiter.start()
        fetched = await keys.refresh()
        await self._arbiter.relieved(stop)
        await self._envoy.start(fetched)
        await self._door.start()
        works = {"arbiter": self._arbiter.keep(), "keys": self._keep_keys(keys), "databases": self._door.keep()}
        async with arbiter.attended(stop, works):
            if await self._ready(stop):
                self._arbiter.retire_predecessor()
                self._door.retire_predecessor()
                _log.warning("remit answers at %s", url(self._settings))
            await stop.wait()

    async def _keep_keys(self, keys: KeyRing) -> None:
        """Gives Envoy what the issuers publish; keys that could not be fetched grow old there, up to their bound."""
        while True:
            await keys.pause()
            for issuer, text in (await keys.refresh()).items():
                with contextlib.suppress(RemitError):  # the last good set stays, and Envoy's log says why
                    await self._envoy.update_keys({issuer: text})

    async def _ready(self, stop: asyncio.Event) -> bool:
        """Waits until everything answers; false when `stop` comes first. Raises `RemitError` when nothing does."""
        said = "nothing answered"
        deadline = time.monotonic() + _READY
        transport = httpx.AsyncHTTPTransport(uds=str(self._settings.gateway.arbiter_socket))
        async with httpx.AsyncClient(transport=transport, base_url="http://arbiter") as client:
            while time.monotonic() < deadline:
                with contextlib.suppress(httpx.HTTPError):
                    answer = await client.get("/readyz")
                    if answer.is_success and self._arbiter.serves and self._door.serves:
                        return True
                    said = answer.text
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), 0.05)
                    return False
        raise RemitError(f"remit did not become ready within {_READY:.0f} s: {said}", hint="see what stands above")


def url(settings: Settings) -> str:
    """The address of the door, which also answers the API."""
    gateway = settings.gateway
    scheme = "https" if gateway.tls_certificate else "http"
    host = f"[{gateway.listen_host}]" if ":" in gateway.listen_host else gateway.listen_host
    return f"{scheme}://{host}:{gateway.listen_port}"


def serve(settings: Settings) -> None:
    """Runs the whole plane until SIGTERM or SIGINT; after SIGHUP, as a new program in the place of this one."""
    plane = Plane(settings)

    async def run(stop: asyncio.Event) -> bool:
        reloading = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reloading.set)
        async with arbiter.attended(stop, {"configuration": _on(reloading, partial(plane.reload, stop))}):
            return await plane.run(stop)

    if asyncio.run(_until_told(run)):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until the new program listens: it would die of another one
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - this very program, anew


async def _on(event: asyncio.Event, work: Callable[[], Awaitable[None]]) -> None:
    """Does the work each time that the event comes."""
    while True:
        await event.wait()
        event.clear()
        await work()


def serve_arbiter(settings: Settings, *, stand_by: bool = False) -> None:
    """Runs the arbiter alone until SIGTERM, SIGINT, or the end of its parent; on stand-by, not before it is told."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if stand_by and (sys.stdin.buffer.readline() != GO or _hung_up(sys.stdin.buffer)):
        return
    settings.gateway.arbiter_socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)

    async def run(stop: asyncio.Event) -> None:
        retire = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(RETIRE, retire.set)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, _nothing_new)
        await arbiter.run(settings, stop, retire)

    asyncio.run(_until_told(run))


def serve_databases(settings: Settings) -> None:
    """Runs the door for databases alone until SIGTERM, SIGINT, or the end of its parent."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if _hung_up(sys.stdin.buffer):
        return

    async def run(stop: asyncio.Event) -> None:
        retire = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(RETIRE, retire.set)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, _nothing_new)
        await sql.run(settings, stop, retire)

    asyncio.run(_until_told(run))


def _nothing_new() -> None:
    """SIGHUP to a part that runs alone: it would end by it, and cannot replace itself."""
    _log.warning("SIGHUP changes nothing here: this part reads remit.yaml when it starts; end it and start it anew")


def _hung_up(end: BinaryIO) -> bool:
    """Whether the parent's end of the pipe is closed: it died before this process could ask to be told of it."""
    found = select.poll()
    found.register(end, 0)  # POLLHUP comes unasked
    return bool(found.poll(0))


async def _until_told(work: Callable[[asyncio.Event], Awaitable[Told]]) -> Told:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return await work(stop)
