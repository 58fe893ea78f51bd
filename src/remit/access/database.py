"""The door of a database: a connection is decided like any request, and what runs on it is recorded.

    a  who    the password is a token, and becomes an identity that nobody has revoked
    b  what   one operation: connecting to a database as a role
    c0        the circumstances, as for every request
    c  may    one verdict, and how the role is logged in as
    d  write  the record is durable before the database hears of anybody; who cannot be identified is recorded too, up
              to a rate: no access event tells of them
    e  with   a certificate or a token, for the door alone

Leaves out the protocol (`sql`), and what a role may do there (PostgreSQL).
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from remit.access.belonging import check_run
from remit.access.decide import (
    Rooms,
    begun,
    mapped,
    obtain,
    refusal,
    refused_after,
    surroundings,
    unanswered,
    write,
)
from remit.access.ports import Obtainer
from remit.model.credential import Purpose
from remit.model.decision import Answer, Decision
from remit.model.errors import Refused
from remit.model.operation import Request
from remit.model.outcome import Outcome
from remit.model.reasons import Reason
from remit.model.record import Value
from remit.model.secret import UnverifiedToken

METHOD = "CONNECT"
"""What a record of a connection has in place of a verb; its host is the database's name, its path the role."""

_log = logging.getLogger(__name__)
_RATE, _BURST = 2.0, 60.0  # records of nobody, a second and at once
_AT_ONCE = 20  # statements of one entry: 400 characters each, four bytes at the most
_SHOWN = 512  # characters of a statement, a role, a database

Record = Mapping[str, Any]


class Databases(Protocol):
    """catalogue: what connecting to a database means."""

    def request(self, database: str, role: str) -> Request:
        """The operation; raises `Refused` for a database or a role that is not known."""


@dataclass(frozen=True, slots=True)
class Ran:
    """One statement that ran: SHA-256 of its normalised text, that text's beginning, how often, first and last (µs)."""

    fingerprint: str
    text: str
    count: int
    first: int
    last: int


class Connect:
    """Whether somebody may connect. `logins`: how a role is logged in as."""

    def __init__(self, rooms: Rooms, databases: Databases, logins: Obtainer) -> None:
        self._rooms = replace(rooms, obtainer=logins)
        self._databases = databases
        self._room, self._looked, self._nobody = _BURST, rooms.clock(), 0

    async def __call__(self, token: UnverifiedToken, database: str, role: str, peer: str, job: str = "") -> Answer:
        """Decides, records and obtains; never raises, since whatever goes wrong is a refusal with a reason."""
        draft = begun(self._rooms, METHOD, _short(role), host=_short(database), peer=peer, job=job)
        try:
            return await self._tell(token, database, role, draft)
        except Exception as error:  # noqa: BLE001 - fail closed: what no step foresaw is a refusal
            return Answer(unanswered(draft, error))

    async def _tell(self, token: UnverifiedToken, database: str, role: str, draft: Decision) -> Answer:
        rooms, decision = self._rooms, draft
        purpose: Purpose | None = None
        now = draft.circumstances.now
        try:
            identity = await rooms.authenticator.authenticate(token, now)  # a who
            decision = replace(decision, identity=identity)
            rooms.revocations.check(identity, draft.circumstances.job, now)
            request = self._databases.request(database, role)  # b what
            check_run(rooms.runs, identity, draft.circumstances.job, request.first.resources[0].project)
            circumstances = surroundings(rooms, identity, draft.circumstances)  # c0
            decision = replace(decision, request=request, circumstances=circumstances)
            decision = replace(decision, verdict=rooms.judge.decide(identity, request, circumstances))  # c may
            decision, purpose = mapped(rooms, decision, identity, request)
            _check_obligations(decision)
        except Refused as refused:
            decision = refused_after(decision, refused)
        if decision.identity is None and not self._recorded(decision.at):
            self._nobody += 1
            return Answer(decision)
        await self._write(decision)  # d
        if not decision.permitted or purpose is None or decision.identity is None:
            return Answer(decision)
        credential = await obtain(rooms, decision, decision.identity, token, purpose)  # e with
        if isinstance(credential, Refused):
            return Answer(replace(decision, verdict=refusal(credential)))
        return Answer(decision, credential)

    async def _write(self, decision: Decision) -> None:
        """Step d, with how many before it nobody could be told of by name."""
        if decision.identity is None and self._nobody:
            said = f"{decision.verdict.detail} ({self._nobody} more like it before)".strip()
            decision = replace(decision, verdict=replace(decision.verdict, detail=said))
            self._nobody = 0
        await write(self._rooms, decision)

    def _recorded(self, at: int) -> bool:
        """Whether one more refusal of somebody unknown has a record of its own: a bucket that fills with time."""
        self._room = min(_BURST, self._room + max(0, at - self._looked) / 1_000_000 * _RATE)
        self._looked = at
        if self._room < 1:
            return False
        self._room -= 1
        return True


def until(decision: Decision) -> int:
    """When a connection that was permitted is over whatever happens, in seconds since the epoch; 0 for never.

    With a grant that the permit rests on, and with the longest session that an obligation leaves.
    """
    ends = [grant.until for grant in decision.circumstances.grants if grant.id in decision.verdict.grants]
    identity, session = decision.identity, decision.verdict.obligations.session
    if session and identity is not None:
        ends.append((identity.authentication.at or identity.issued_at) + session)
    return min(ends, default=0)


class Statements:
    """What ran."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    async def __call__(self, record: Record, ran: Sequence[Ran]) -> None:
        """Makes it durable as entries `statements/1`, which name the decision's own principal, run, database and role.

        `record`: of a permitted connection. Raises `NotRecorded`.
        """
        for at in range(0, len(ran), _AT_ONCE):
            await self._rooms.recorder.record(self._entry(record, ran[at : at + _AT_ONCE]))

    def _entry(self, record: Record, ran: Sequence[Ran]) -> Mapping[str, Value]:
        *_, database, _, role = record["resource"].split("/")
        return {
            "type": "statements",
            "schema": "statements/1",
            "decision": record["decision"],
            "at": self._rooms.clock(),
            "principal": record["principal"],
            "job": record["job"],
            "project": record["project"],
            "resource": record["resource"],
            "database": database,
            "role": role,
            "first": min(one.first for one in ran),
            "last": max(one.last for one in ran),
            "count": sum(one.count for one in ran),
            "fingerprints": [one.fingerprint for one in ran],
            "counts": [str(one.count) for one in ran],
            "statements": [_short(one.text) for one in ran],
        }


def is_connection(record: Record | None) -> bool:
    """Whether a record is of a connection to a database that was permitted."""
    return bool(record and record.get("outcome") == str(Outcome.PERMIT) and record.get("method") == METHOD)


def _check_obligations(decision: Decision) -> None:
    """Raises `Refused` for an obligation that no connection can meet."""
    if decision.permitted and decision.verdict.obligations.labels:
        raise Refused(Reason.OBLIGATION_UNMET, "a connection has no room for the labels that are demanded")


def _short(text: str) -> str:
    return text[:_SHOWN]
