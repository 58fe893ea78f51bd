"""`remit serve`: the arbiter and Envoy as one process tree, supervised, and the access log sealed.

The supervisor holds no request's fate: it starts both, restarts what dies, gives Envoy the issuer's keys, and seals.
Everything is ended by its process id; when the supervisor dies, the arbiter ends with it, and Envoy's next start ends
what is left of the old one.
"""

import asyncio
import contextlib
import ctypes
import logging
import select
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import BinaryIO

import httpx

from remit.arbiter.application import API_PATHS, API_PREFIXES
from remit.assembly import arbiter, evidence, rooms
from remit.assembly.child import GO, ArbiterProcess
from remit.assembly.keys import KeyRing
from remit.audit.recorder import LedgerRecorder
from remit.catalogue import leasable_fields, leasable_grpc, streaming_grpc
from remit.gateway.envoy import Envoy
from remit.gateway.settings import GatewaySettings
from remit.identity.tokens.keys import http_client
from remit.model.errors import RemitError
from remit.settings.read import Settings

_log = logging.getLogger(__name__)
_READY = 60.0  # seconds until everything must answer; it takes about two, on a loaded machine far more
_PR_SET_PDEATHSIG = 1


def gateway_settings(settings: Settings) -> GatewaySettings:
    """The gateway's settings, with what the catalogue and the arbiter say of themselves."""
    return replace(
        settings.gateway,
        api_paths=API_PATHS,
        api_prefixes=API_PREFIXES,
        leasable_grpc=leasable_grpc(),
        leasable_fields=leasable_fields(),
        streaming_grpc=streaming_grpc(),
    )


class Plane:
    """One running installation."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._envoy = Envoy(gateway_settings(settings))
        self._arbiter = ArbiterProcess(settings)

    async def run(self, stop: asyncio.Event) -> None:
        """Runs until `stop` is set; raises `RemitError` when it cannot start."""
        settings = self._settings
        rooms.judge(settings)  # policies that are not good: refuse to start, with every problem
        evidence.install(settings)
        with evidence.writing(settings) as engine:
            ledger = evidence.ledger(settings, engine)
            async with http_client() as client:
                keys = KeyRing(settings.identity, client)
                with LedgerRecorder(ledger) as recorder, evidence.collector(settings, ledger, recorder, self):
                    try:
                        await self._serve(keys, stop)
                    finally:
                        await self._envoy.stop()
                        await self._arbiter.end()

    def reopen(self) -> None:
        """Makes Envoy open its access log anew; raises `ProcessLookupError` when there is no Envoy."""
        self._envoy.reopen()

    async def _serve(self, keys: KeyRing, stop: asyncio.Event) -> None:
        await self._arbiter.start()
        await self._envoy.start(await keys.refresh())
        async with arbiter.attended(stop, {"arbiter": self._arbiter.keep(), "keys": self._keep_keys(keys)}):
            if await self._ready(stop):
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
                    if answer.is_success:
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
    """Runs the whole plane until SIGTERM or SIGINT."""
    asyncio.run(_until_told(Plane(settings).run))


def serve_arbiter(settings: Settings, *, stand_by: bool = False) -> None:
    """Runs the arbiter alone until SIGTERM, SIGINT, or the end of its parent; on stand-by, not before it is told."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if stand_by and (sys.stdin.buffer.readline() != GO or _hung_up(sys.stdin.buffer)):
        return
    settings.gateway.arbiter_socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    asyncio.run(_until_told(partial(arbiter.run, settings)))


def _hung_up(end: BinaryIO) -> bool:
    """Whether the parent's end of the pipe is closed: it died before this process could ask to be told of it."""
    found = select.poll()
    found.register(end, 0)  # POLLHUP comes unasked
    return bool(found.poll(0))


async def _until_told(work: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await work(stop)
