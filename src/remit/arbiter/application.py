"""The routes of the arbiter, and the server that they run on (granian, one process, a Unix socket)."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from granian.constants import Interfaces
from granian.server.embed import Server
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from remit.arbiter.account import Account
from remit.arbiter.answered import PATH as ANSWERED
from remit.arbiter.answered import Answered
from remit.arbiter.check import FORWARDED, PREFIX, Check
from remit.arbiter.database import Database
from remit.arbiter.events import Events
from remit.arbiter.explain import Why
from remit.arbiter.grants import Grants
from remit.arbiter.health import Health
from remit.arbiter.jobs import Jobs
from remit.arbiter.person import Person
from remit.arbiter.revoke import Revocations
from remit.arbiter.sign_in import SignInPages
from remit.arbiter.sockets import taking_the_place_of
from remit.arbiter.token import ENTRA_PATH, Token
from remit.arbiter.who import WhoMay

API_PATHS = (
    "/healthz",
    "/readyz",
    "/v1/configuration",
    "/v1/token",
    "/v1/identity",
    "/v1/decision",
    "/v1/revocations",
    "/v1/can",
    "/v1/who",
    "/v1/explain",
    "/v1/grants",
    "/v1/jobs",
    "/v1/lifetime",
    "/v1/events",
    "/sign-in",
    "/sign-out",
    "/account",
)
"""What the gateway passes on to the arbiter; never a check, the report of an answer, or another door's question."""

API_PREFIXES = ("/sign-in/", "/sign-out/", "/.well-known/", "/saml/", "/azure/")
"""Likewise everything below these."""

_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


Document = Mapping[str, object] | str
"""JSON, or XML as text."""


@dataclass(frozen=True, slots=True)
class Endpoints:
    """What the application answers with.

    `configuration` is the document for clients; `documents`: what else anybody may read, by path (keys, metadata).
    """

    check: Check
    answered: Answered
    database: Database
    token: Token
    person: Person
    revocations: Revocations
    questions: WhoMay
    why: Why
    grants: Grants
    jobs: Jobs
    events: Events
    sign_in: SignInPages
    account: Account
    documents: Mapping[str, Callable[[], Document]]
    health: Health
    configuration: dict[str, Any]


def application(endpoints: Endpoints) -> Starlette:
    """The ASGI application."""

    async def configuration(_request: Request) -> JSONResponse:
        return JSONResponse(endpoints.configuration)

    return Starlette(
        routes=[
            Route(PREFIX + "/{path:path}", endpoints.check.__call__, methods=_METHODS),
            Route(FORWARDED, endpoints.check.forwarded, methods=["GET"]),
            Route(ANSWERED, endpoints.answered.__call__, methods=["POST"]),
            *endpoints.database.routes(),
            Route("/v1/token", endpoints.token.__call__, methods=["POST"]),
            *(Route(path, endpoints.token.entra, methods=["POST"]) for path in (ENTRA_PATH, f"/azure{ENTRA_PATH}")),
            Route("/v1/identity", endpoints.person.identity),
            Route("/v1/decision", endpoints.person.decision),
            Route("/v1/revocations", endpoints.revocations.__call__, methods=["GET", "POST"]),
            Route("/v1/can", endpoints.questions.can, methods=["POST"]),
            Route("/v1/who", endpoints.questions.who),
            Route("/v1/explain", endpoints.why.__call__),
            Route("/v1/grants", endpoints.grants.grants, methods=["GET", "POST"]),
            Route("/v1/jobs", endpoints.jobs.jobs, methods=["POST", "DELETE"]),
            Route("/v1/lifetime", endpoints.jobs.lifetime),
            Route("/v1/events", endpoints.events.__call__, methods=["POST"]),
            Route("/v1/configuration", configuration),
            *endpoints.sign_in.routes(),
            *endpoints.account.routes(),
            *(Route(path, _published(document)) for path, document in endpoints.documents.items()),
            Route("/healthz", endpoints.health.alive),
            Route("/readyz", endpoints.health.ready),
        ]
    )


def _published(document: Callable[[], Document]) -> Callable[[Request], Awaitable[Response]]:
    async def answer(_request: Request) -> Response:
        found = await asyncio.to_thread(document)
        return Response(found, media_type="application/xml") if isinstance(found, str) else JSONResponse(dict(found))

    return answer


async def serve(app: Starlette, socket: Path, *stops: asyncio.Event) -> None:
    """Serves on a Unix socket that only this user may open, until one of the events is set."""
    with taking_the_place_of(socket) as own:
        server = Server(app, uds=own, interface=Interfaces.ASGI, websockets=False, log_enabled=False)
        task = asyncio.create_task(server.serve())
        while not own.exists() and not task.done():  # noqa: ASYNC110 - granian tells nobody that it listens
            await asyncio.sleep(0.01)
    waiters = [asyncio.create_task(stop.wait()) for stop in stops]
    await asyncio.wait({task, *waiters}, return_when=asyncio.FIRST_COMPLETED)
    server.stop()  # type: ignore[no-untyped-call]  # granian publishes no type for it
    for waiter in waiters:
        waiter.cancel()
    await task
