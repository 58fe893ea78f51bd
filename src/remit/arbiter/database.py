"""`/database/…`: what our own door for databases asks, and what it tells.

- `POST /database/connect` `{"token","database","role","peer","job"}`: may this client connect? 200 has what the door
  logs in with, a refusal its status, `message` and `hint`.
- `POST /database/ended` `{"decisions":[…]}`: which of these permits are in force no longer?
- `POST /database/statements` `{"decision","statements":[[fingerprint, text, count, first, last],…]}`: what ran. 200
  when it is durable.

Only the door reaches these, over the Unix socket: they are no paths of the gateway's. A permit ends with its principal,
its session and its run; a token's own end is none, since a login is checked when it is made. Leaves out: who may
(`access.database`).
"""

import asyncio
import json
import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from remit.access.database import Ran, is_connection, until
from remit.arbiter import refusal
from remit.model.decision import Answer, Decision
from remit.model.errors import NotRecorded
from remit.model.record import decision_record
from remit.model.secret import UnverifiedToken

CONNECT, ENDED, STATEMENTS = "/database/connect", "/database/ended", "/database/statements"

_MAXIMUM_BODY = 4 << 20  # bytes: 200 statements, thousands of decisions, or the longest token with its quotes escaped
_KEPT = 300.0  # seconds that a record nobody asks about is remembered
_JOB = re.compile(r"(j-[0-9a-z]{26})?")
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")
_PRIVATE = {"cache-control": "no-store"}
_log = logging.getLogger(__name__)

Record = Mapping[str, Any]
Find = Callable[[str], Record | None]
"""A decision's record by its id; blocks."""
Revoked = Callable[[Record, int], bool]
"""Whether the record's principal, session or run counts no longer, at a time in seconds; must not block."""


class Connect(Protocol):
    """access: the story of one connection."""

    async def __call__(self, token: UnverifiedToken, database: str, role: str, peer: str, job: str) -> Answer:
        """Decides; never raises."""


class Statements(Protocol):
    """access: what ran."""

    async def __call__(self, record: Record, ran: Sequence[Ran]) -> None:
        """Makes it durable; raises `NotRecorded`."""


class Database:
    """The endpoints. `clock`: seconds since the epoch."""

    def __init__(
        self,
        connect: Connect,
        statements: Statements,
        find: Find,
        revoked: Revoked,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._connect = connect
        self._statements = statements
        self._find = find
        self._revoked = revoked
        self._clock = clock
        self._held: dict[str, tuple[Record, float]] = {}
        self._over: set[str] = set()

    def routes(self) -> tuple[Route, ...]:
        """All of them."""
        return (
            Route(CONNECT, self.connect, methods=["POST"]),
            Route(ENDED, self.ended, methods=["POST"]),
            Route(STATEMENTS, self.statements, methods=["POST"]),
        )

    def changed(self) -> None:
        """Marks every permit that is in force no longer; from any thread.

        A revocation that is lifted a moment later would pass between two questions: whoever acknowledges it calls this
        before.
        """
        now = self._clock()
        for decision, (record, _) in tuple(self._held.items()):
            if self._ended(record, now):
                self._over.add(decision)

    async def connect(self, request: Request) -> JSONResponse:
        """May this client connect?"""
        asked = await _document(request)
        words = [asked.get(name) for name in ("token", "database", "role", "peer", "job")]
        if not all(isinstance(word, str) for word in words) or not _JOB.fullmatch(str(words[4])):
            return _wrong()
        token, database, role, peer, job = map(str, words)
        answer = await self._connect(UnverifiedToken(token), database, role, peer, job)
        decision, credential = answer.decision, answer.credential
        if not decision.permitted or credential is None or decision.identity is None:
            return JSONResponse(_refused(decision), refusal.status(decision), _PRIVATE)
        self._held[decision.id] = (decision_record(decision), self._clock())
        permit = {
            "decision": decision.id,
            "principal": decision.identity.principal.key,
            "secret": credential.token.reveal(),
            "certificate": not credential.scopes,
            "until": until(decision),
        }
        return JSONResponse(permit, headers=_PRIVATE)

    async def ended(self, request: Request) -> JSONResponse:
        """Which permits are in force no longer? One that nobody knows is none."""
        asked = (await _document(request)).get("decisions")
        if not isinstance(asked, list) or not all(isinstance(one, str) for one in asked):
            return _wrong()
        now = self._clock()
        self._forget(now)
        found = [one for one in asked if one in self._over or self._ended(await self._record(one, now), now)]
        return JSONResponse({"ended": found}, headers=_PRIVATE)

    async def statements(self, request: Request) -> JSONResponse:
        """What ran."""
        asked = await _document(request)
        ran = _ran(asked.get("statements"))
        record = await self._record(str(asked.get("decision")), self._clock())
        if ran is None or record is None:
            return _wrong()
        try:
            await self._statements(record, ran)
        except NotRecorded as error:
            _log.error("statements of decision %s could not be recorded: %s", record["decision"], error.message)
            return JSONResponse({"message": error.message}, 503, _PRIVATE)
        return JSONResponse({}, headers=_PRIVATE)

    def _ended(self, record: Record | None, now: float) -> bool:
        """Whether a permit is over; an error is a yes."""
        try:
            return record is None or bool(self._revoked(record, int(now)))
        except Exception:  # noqa: BLE001 - whatever fails, what nobody can judge is over
            _log.warning("a connection's permit cannot be judged: it ends", exc_info=True)
            return True

    async def _record(self, decision: str, now: float) -> Record | None:
        """The record of a permitted connection, `None` when there is none; raises what the database does."""
        found = self._held.get(decision)
        record = found[0] if found else await asyncio.to_thread(self._find, decision)
        if record is None or not is_connection(record):
            return None
        self._held[decision] = (record, now)
        return record

    def _forget(self, now: float) -> None:
        for decision, (_, at) in tuple(self._held.items()):
            if now - at > _KEPT:
                self._held.pop(decision, None)
                self._over.discard(decision)


def _refused(decision: Decision) -> dict[str, str]:
    """What the client reads: why, the decision, and what to do on its own."""
    verdict = decision.verdict
    said = verdict.reasons[0].sentence + (f": {verdict.detail}" if verdict.detail else "")
    return {
        "decision": decision.id,
        "reason": str(verdict.reasons[0]),
        "message": f"remit: {said} (decision {decision.id})",
        "hint": refusal.hint(decision),
    }


def _wrong() -> JSONResponse:
    return JSONResponse({"message": "remit: the door asks what nobody knows"}, 400, _PRIVATE)


def _ran(told: object) -> list[Ran] | None:
    """The statements of a message, `None` when it is not one of the door's."""
    if not isinstance(told, list):
        return None
    found: list[Ran] = []
    for one in told:
        match one:
            case [str(key), str(text), int(count), int(first), int(last)] if _FINGERPRINT.fullmatch(key):
                found.append(Ran(key, text, count, first, last))
            case _:
                return None
    return found


async def _document(request: Request) -> dict[str, Any]:
    """The JSON object that came, an empty one for anything else."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAXIMUM_BODY:
            return {}
    try:
        found = json.loads(bytes(body))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
