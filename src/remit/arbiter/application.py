"""The routes of the arbiter, and the server that they run on (granian, one process, a Unix socket)."""

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from granian.constants import Interfaces
from granian.server.embed import Server
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from remit.arbiter.check import PREFIX, Check
from remit.arbiter.health import Health
from remit.arbiter.person import Person
from remit.arbiter.token import Token

API_PATHS = ("/healthz", "/readyz", "/v1/configuration", "/v1/token", "/v1/identity", "/v1/decision")
"""What the gateway's door passes on to the arbiter; never the check."""

_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


@dataclass(frozen=True, slots=True)
class Endpoints:
    """What the application answers with. `configuration` is the document for clients."""

    check: Check
    token: Token
    person: Person
    health: Health
    configuration: dict[str, Any]


def application(endpoints: Endpoints) -> Starlette:
    """The ASGI application."""

    async def configuration(_request: Request) -> JSONResponse:
        return JSONResponse(endpoints.configuration)

    return Starlette(
        routes=[
            Route(PREFIX + "/{path:path}", endpoints.check.__call__, methods=_METHODS),
            Route("/v1/token", endpoints.token.__call__, methods=["POST"]),
            Route("/v1/identity", endpoints.person.identity),
            Route("/v1/decision", endpoints.person.decision),
            Route("/v1/configuration", configuration),
            Route("/healthz", endpoints.health.alive),
            Route("/readyz", endpoints.health.ready),
        ]
    )


async def serve(app: Starlette, socket: Path, stop: asyncio.Event) -> None:
    """Serves on a Unix socket that only this user may open, until `stop` is set."""
    socket.unlink(missing_ok=True)  # noqa: ASYNC240 - before anybody waits for this loop
    old = os.umask(0o177)
    try:
        server = Server(app, uds=socket, interface=Interfaces.ASGI, websockets=False, log_enabled=False)
        task = asyncio.create_task(server.serve())
        while not socket.exists() and not task.done():  # noqa: ASYNC110, ASYNC240 - granian tells nobody that it listens
            await asyncio.sleep(0.01)
    finally:
        os.umask(old)
    waiter = asyncio.create_task(stop.wait())
    await asyncio.wait({task, waiter}, return_when=asyncio.FIRST_COMPLETED)
    server.stop()  # type: ignore[no-untyped-call]  # granian publishes no type for it
    waiter.cancel()
    await task
