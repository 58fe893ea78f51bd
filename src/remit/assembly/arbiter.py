"""The arbiter of one installation: the stories behind its endpoints, and what keeps them fresh."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import Engine
from starlette.applications import Starlette

from remit.access.answered import Learn
from remit.access.decide import Decide, Rooms
from remit.access.exchange import Exchange
from remit.access.revoke import Known, Revoke
from remit.arbiter.account import Account
from remit.arbiter.answered import Answered
from remit.arbiter.application import Document, Endpoints, application, serve
from remit.arbiter.check import Check
from remit.arbiter.database import Database
from remit.arbiter.events import Events
from remit.arbiter.health import Health, Probe
from remit.arbiter.person import Person
from remit.arbiter.revoke import Revocations
from remit.arbiter.sign_in import SignInPages
from remit.arbiter.streams import Streams
from remit.arbiter.token import Token
from remit.assembly import evidence, rooms
from remit.assembly.databases import database
from remit.assembly.guard import AccessLogWatch, GuardedRecorder
from remit.assembly.identity import Who, who
from remit.assembly.offers import offers_of
from remit.assembly.policies import PolicyWatch
from remit.assembly.questions import GrantKeeping, Questions, questions
from remit.assembly.replay import version_of
from remit.audit.lookup import find_decision, find_whole
from remit.audit.memberships import Memberships
from remit.audit.policy_sets import PolicySets
from remit.audit.recorder import LedgerRecorder
from remit.audit.works import Works
from remit.credentials.lifetimes import Lifetimes
from remit.gateway.admin import Admin
from remit.grants.runs import RunView
from remit.grants.view import GrantView
from remit.identity.tokens.keys import http_client
from remit.model.errors import NotRecorded
from remit.policy.judge import CedarJudge
from remit.policy.named import NamedGroups
from remit.settings.read import Settings

_log = logging.getLogger(__name__)
_BROKERED = ["sts.googleapis.com", "iamcredentials.googleapis.com"]


@dataclass(frozen=True, slots=True)
class House:
    """Everything that the arbiter is made of, ready to be served."""

    app: Starlette
    who: Who
    judge: CedarJudge
    policies: PolicySets
    watch: AccessLogWatch
    streams: Streams
    rooms: Rooms


@contextlib.asynccontextmanager
async def house(settings: Settings) -> AsyncIterator[House]:
    """Opens the house and closes it again; raises `SettingsInvalid` when it must not open."""
    judge = rooms.judge(settings)
    named = NamedGroups(lambda: judge.book)
    watch = AccessLogWatch(Admin(settings.gateway.admin_socket))
    async with contextlib.AsyncExitStack() as opened:
        writer = opened.enter_context(evidence.writing(settings))
        reader = opened.enter_context(evidence.reading(settings))
        client = await opened.enter_async_context(http_client())
        hops = await opened.enter_async_context(rooms.open_hops(settings))
        obtainer = rooms.obtainer(settings, hops)
        opened.push_async_callback(obtainer.close)
        recorder = opened.enter_context(LedgerRecorder(evidence.ledger(settings, writer)))
        policies = PolicySets(recorder, version_of, rooms.now)
        with contextlib.suppress(NotRecorded):  # readiness is red, nothing is permitted, and the watch tries again
            await policies.keep(judge.book.version, judge.book.texts)
        grants = opened.enter_context(GrantView(reader))
        runs = opened.enter_context(RunView(reader))
        found = await opened.enter_async_context(who(settings, (reader, writer), recorder, hops, client, named.all))
        fitted = Rooms(
            authenticator=found.authenticator,
            sessions=found.sessions,
            revocations=found.view,
            observer=found.network,
            classifier=rooms.classifier(settings),
            judge=judge,
            recorder=GuardedRecorder(recorder, watch),
            obtainer=obtainer,
            works=Works(reader, recorder),
            grants=grants,
            memberships=Memberships(recorder, rooms.now),
            clock=rooms.now,
            labels=settings.labels,
            runs=runs,
            lifetimes=Lifetimes(settings.lifetimes),
        )
        learn = Learn(fitted, partial(find_decision, reader))
        opened.push_async_callback(learn.close)
        health = Health(_probes(found, watch, recorder), {"people": lambda: found.trouble})
        published = _documents(hops, found)
        keeping = GrantKeeping(grants, runs, recorder, found.revoker)
        asking = questions(settings, fitted, judge, named, reader, keeping)
        doors = database(settings, fitted, reader, found.view)
        app = application(_endpoints(settings, fitted, found, reader, health, published, learn, asking, doors))
        streams = Streams(partial(find_decision, reader), found.view.ended)

        def changed() -> None:
            streams.changed()
            doors.changed()

        found.view.told(changed)
        yield House(app, found, judge, policies, watch, streams, fitted)


def _probes(found: Who, watch: AccessLogWatch, recorder: LedgerRecorder) -> dict[str, Probe]:
    async def ledger() -> str:
        try:
            await asyncio.to_thread(recorder.probe)
        except NotRecorded as error:
            return error.message
        return ""

    async def identities() -> str:
        return found.keys.trouble

    async def revocations() -> str:
        return found.view.trouble

    async def access_events() -> str:
        return watch.trouble

    return {
        "ledger": ledger,
        "identities": identities,
        "revocations": revocations,
        "access events": access_events,
    }


def _endpoints(  # noqa: PLR0917 - one for each part of the house
    settings: Settings,
    fitted: Rooms,
    found: Who,
    reader: Engine,
    health: Health,
    published: Mapping[str, Callable[[], Document]],
    learn: Learn,
    asking: Questions,
    doors: Database,
) -> Endpoints:
    origin = settings.identity.sessions.origin
    known = Known(settings.identity.tenants, evidence.seen(settings, rooms.now))
    return Endpoints(
        check=Check(Decide(fitted), origin=origin, services=settings.estate.services, patience=rooms.again(settings)),
        answered=Answered(learn),
        database=doors,
        token=Token(
            Exchange(fitted, offers_of(settings)),
            rooms.now,
            settings.identity.entra.tenant,
        ),
        person=Person(
            fitted.authenticator.authenticate,
            partial(find_whole, reader),
            rooms.now,
            paths=found.directory.shown if found.directory else None,
            revocations=found.view,
            sessions=found.sessions,
        ),
        revocations=Revocations(Revoke(fitted, found.revoker, known)),
        questions=asking.who,
        why=asking.why,
        grants=asking.grants,
        jobs=asking.jobs,
        events=Events(found.events.receive, rooms.now),
        sign_in=SignInPages(found.sign_in, rooms.now),
        account=Account(found.sessions, origin, rooms.now, revocations=found.view),
        documents=published,
        health=health,
        configuration=configuration(settings),
    )


def _documents(hops: rooms.Hops, found: Who) -> Mapping[str, Callable[[], Document]]:
    """What anybody may read: the keys of Remit's own issuer, and what a SAML provider needs to know of us."""
    documents: dict[str, Callable[[], Document]] = {
        f"/saml/{name}": saml.metadata_xml for name, saml in found.saml.items()
    }
    documents["/.well-known/jwks.json"] = hops.assertions.jwks  # of both: what services are told, and Google
    if hops.own:
        documents["/.well-known/openid-configuration"] = hops.own.issuer.discovery
    return documents


def configuration(settings: Settings) -> dict[str, Any]:
    """What clients are told, at `/v1/configuration`."""
    sign_in = settings.sign_in
    own = {"kind": "oidc", "issuer": sign_in.issuer, "client": sign_in.client, "scope": sign_in.scope}
    return {
        "authority": settings.identity.entra.authority,
        "tenant": settings.identity.entra.tenant,
        "client": sign_in.client,
        "scope": sign_in.scope,
        **({"provider": own} if sign_in.issuer else {}),
        "ca_pem": evidence.door(settings).read_text(encoding="utf-8"),
        "terminated": [*settings.gateway.hosts, *(one.host for one in settings.estate.services if one.host)],
        "refused": _BROKERED,
    }


async def run(settings: Settings, stop: asyncio.Event, retire: asyncio.Event) -> None:
    """Serves the arbiter until `stop` is set; when `retire` is, it decides no more and goes with the last open stream.

    Nobody is sent here from then on: another arbiter has taken the sockets' places.
    """
    async with house(settings) as opened:
        await opened.who.network.prepare()
        await opened.who.keys.refresh()
        beside = {
            **opened.who.works(),
            "access log": opened.watch.watch(),
            "policies": PolicyWatch(settings.policy.folder, opened.judge, opened.policies.keep).watch(),
        }
        watched = settings.gateway.streams_socket
        async with attended(stop, beside), contextlib.AsyncExitStack() as listening:
            if watched is not None:
                await listening.enter_async_context(opened.streams.listening(watched))
            await serve(opened.app, settings.gateway.arbiter_socket, stop, retire)
            while len(opened.streams) and not stop.is_set():  # noqa: ASYNC110 - a look a second costs nothing
                await asyncio.sleep(1)


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
