"""The arbiter of one installation: the stories behind its endpoints, and what keeps them fresh."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine
from starlette.applications import Starlette

from remit.access.decide import Decide, Rooms
from remit.access.exchange import Exchange
from remit.arbiter.application import Endpoints, application, serve
from remit.arbiter.check import Check
from remit.arbiter.health import Health, Probe
from remit.arbiter.person import Person
from remit.arbiter.token import Token
from remit.assembly import evidence, rooms
from remit.assembly.guard import AccessLogWatch, GuardedRecorder
from remit.assembly.policies import PolicyWatch
from remit.audit.lookup import find_decision
from remit.audit.recorder import LedgerRecorder
from remit.gateway.admin import Admin
from remit.identity.keys import ProviderKeys, http_client
from remit.model.errors import NotRecorded
from remit.policy.judge import CedarJudge
from remit.settings.read import Settings

_log = logging.getLogger(__name__)
_BROKERED = ["sts.googleapis.com", "iamcredentials.googleapis.com"]


@dataclass(frozen=True, slots=True)
class House:
    """Everything that the arbiter is made of, ready to be served."""

    app: Starlette
    keys: ProviderKeys
    judge: CedarJudge
    watch: AccessLogWatch
    rooms: Rooms


@contextlib.asynccontextmanager
async def house(settings: Settings) -> AsyncIterator[House]:
    """Opens the house and closes it again; raises `SettingsInvalid` when it must not open."""
    judge = rooms.judge(settings)
    watch = AccessLogWatch(Admin(settings.gateway.admin_socket))
    async with contextlib.AsyncExitStack() as open_ones:
        engine = open_ones.enter_context(evidence.writing(settings))
        reader = open_ones.enter_context(evidence.reading(settings))
        keys = ProviderKeys(settings.issuer, await open_ones.enter_async_context(http_client()))
        obtainer = rooms.obtainer(settings, await open_ones.enter_async_context(rooms.open_hops(settings)))
        open_ones.push_async_callback(obtainer.close)
        recorder = open_ones.enter_context(LedgerRecorder(evidence.ledger(settings, engine)))
        fitted = Rooms(
            authenticator=rooms.authenticator(settings, keys),
            classifier=rooms.classifier(settings),
            judge=judge,
            recorder=GuardedRecorder(recorder, watch),
            obtainer=obtainer,
            clock=rooms.now,
        )
        health = Health(_probes(keys, watch, recorder))
        yield House(_application(settings, fitted, health, reader), keys, judge, watch, fitted)


def _probes(keys: ProviderKeys, watch: AccessLogWatch, recorder: LedgerRecorder) -> dict[str, Probe]:
    async def ledger() -> str:
        try:
            await asyncio.to_thread(recorder.probe)
        except NotRecorded as error:
            return error.message
        return ""

    async def identities() -> str:
        return "" if keys.jwks()["keys"] else "the identity provider's keys are not known"

    async def access_events() -> str:
        return watch.trouble

    return {"ledger": ledger, "identities": identities, "access events": access_events}


def _application(settings: Settings, fitted: Rooms, health: Health, reader: Engine) -> Starlette:
    person = Person(fitted.authenticator.authenticate, lambda name: find_decision(reader, name), rooms.now)
    return application(
        Endpoints(
            check=Check(Decide(fitted)),
            token=Token(Exchange(fitted, rooms.Buckets(settings.estate)), rooms.now),
            person=person,
            health=health,
            configuration=configuration(settings),
        )
    )


def configuration(settings: Settings) -> dict[str, Any]:
    """What clients are told, at `/v1/configuration`."""
    return {
        "authority": settings.issuer.authority,
        "tenant": settings.issuer.tenant,
        "client": settings.sign_in.client,
        "scope": settings.sign_in.scope,
        "ca_pem": evidence.door(settings).read_text(encoding="utf-8"),
        "terminated": list(settings.gateway.hosts),
        "refused": _BROKERED,
    }


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """Serves the arbiter until `stop` is set."""
    async with house(settings) as opened:
        await opened.keys.refresh()
        beside = {
            "keys": opened.keys.keep_fresh(),
            "access log": opened.watch.watch(),
            "policies": PolicyWatch(settings.policy.folder, opened.judge).watch(),
        }
        async with attended(stop, beside):
            await serve(opened.app, settings.gateway.arbiter_socket, stop)


@contextlib.asynccontextmanager
async def attended(stop: asyncio.Event, works: Mapping[str, Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    """Runs works that never end beside the block; one that ends all the same sets `stop`: its watch is not kept."""

    def ended(task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            message = "nobody watches the %s any more, and so the process ends"
            _log.error(message, task.get_name(), exc_info=task.exception())
            stop.set()

    tasks = [asyncio.create_task(work, name=name) for name, work in works.items()]
    for task in tasks:
        task.add_done_callback(ended)
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
