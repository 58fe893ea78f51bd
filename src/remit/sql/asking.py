"""How the door asks the arbiter: HTTP over its Unix socket, with JSON both ways (`remit.arbiter.database`).

An arbiter that is being replaced is asked again for a moment. What does not come as expected is a refusal.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from remit.model.secret import Secret
from remit.sql.ports import Admission, Ran, Wish
from remit.sql.protocol import NO_IDENTITY, NO_PERMIT, NOT_NOW, Failure

CONNECT, ENDED, RAN = "/database/connect", "/database/ended", "/database/statements"

_DECIDING = 25.0  # seconds: several hops at a cloud, each with five
_SOON = 2.0  # seconds for what the arbiter holds in memory
_WRITING = 10.0  # seconds for a commit
_PATIENCE = 3.0  # seconds to ask an arbiter again that hangs up
_PAUSE = 0.1  # seconds in between
_CODES = {401: NO_IDENTITY, 400: NO_PERMIT, 403: NO_PERMIT, 503: NOT_NOW}
_AWAY = "remit cannot decide right now: the arbiter does not answer"


class Arbiter:
    """Implements `ports.Arbiter`."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def connect(self, wish: Wish) -> Admission:
        """Whether somebody may connect, and with what; raises `Failure`."""
        question = {
            "token": wish.token.reveal(),
            "database": wish.database,
            "role": wish.role,
            "peer": wish.peer,
            "job": wish.job,
        }
        status, told = await self._ask(CONNECT, question, _DECIDING, _PATIENCE)
        if status != httpx.codes.OK:
            said = str(told.get("message") or _AWAY)
            raise Failure(_CODES.get(status, NOT_NOW), said, hint=str(told.get("hint", "")))
        try:
            return Admission(
                decision=_exactly(str, told["decision"]),
                principal=_exactly(str, told["principal"]),
                secret=Secret(_exactly(str, told["secret"])),
                certificate=_exactly(bool, told["certificate"]),
                until=_exactly(int, told["until"]),
            )
        except (KeyError, TypeError):
            raise Failure(NOT_NOW, _AWAY) from None

    async def ended(self, decisions: Collection[str]) -> frozenset[str]:
        """Those that are in force no longer; raises `Failure`."""
        status, told = await self._ask(ENDED, {"decisions": sorted(decisions)}, _SOON, 0)
        found = told.get("ended")
        if status != httpx.codes.OK or not isinstance(found, list):
            raise Failure(NOT_NOW, _AWAY)
        return frozenset(map(str, found))

    async def ran(self, decision: str, statements: Sequence[Ran]) -> None:
        """Records them; raises `Failure`."""
        told = [[one.fingerprint, one.text, one.count, one.first, one.last] for one in statements]
        status, _ = await self._ask(RAN, {"decision": decision, "statements": told}, _WRITING, _PATIENCE)
        if status != httpx.codes.OK:
            raise Failure(NOT_NOW, f"remit: what ran could not be recorded, so nothing more may (decision {decision})")

    async def _ask(
        self, path: str, question: Mapping[str, Any], within: float, patience: float
    ) -> tuple[int, dict[str, Any]]:
        deadline = time.monotonic() + patience
        while True:
            try:
                answer = await self._client.post(path, json=question, timeout=within)
                told = answer.json()
            except (httpx.TimeoutException, ValueError):
                raise Failure(NOT_NOW, _AWAY, hint="try again soon") from None
            except httpx.HTTPError:
                if time.monotonic() >= deadline:
                    raise Failure(NOT_NOW, _AWAY, hint="try again soon") from None
                await asyncio.sleep(_PAUSE)
            else:
                return answer.status_code, told if isinstance(told, dict) else {}


@contextlib.asynccontextmanager
async def arbiter(socket: Path) -> AsyncIterator[Arbiter]:
    """The arbiter behind a Unix socket."""
    # unbounded: the door bounds who may ask, and who waits for a decision must not keep the question of ends waiting
    transport = httpx.AsyncHTTPTransport(uds=str(socket), limits=httpx.Limits(max_connections=None))
    async with httpx.AsyncClient(transport=transport, base_url="http://arbiter", trust_env=False) as client:
        yield Arbiter(client)


def _exactly(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise TypeError(kind)
    return value
