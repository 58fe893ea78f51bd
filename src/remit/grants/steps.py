"""The steps of a grant: what commits with an entry of the ledger, or not at all.

A step is called inside the ledger's transaction, and first raises the one number that all steps raise: they follow one
another, at however many arbiters, so that of two who race one finds what the other did. It is taken from the right
state only, on a row that still is what the policy has judged. Leaves out who may take it (`access.request`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, insert, update

from remit.grants.rows import OPEN, newest, one, read, unfinished
from remit.grants.tables import changes, grants, votes
from remit.model.errors import Refused, RemitError
from remit.model.grant import GrantState, Kept, Step, Wanted
from remit.model.identity import Identity
from remit.model.reasons import Reason
from remit.model.record import Value

PATIENCE = 7 * 86400
"""Seconds that an ask waits for an answer, and a grant for its run: who asked has forgotten why after a week."""

MOST = 20
"""Grants that one principal may have asked for and not yet outlived: each is looked at by people, and by policies."""


class KnownError(RemitError):
    """The same was asked for before, and that still counts."""

    def __init__(self, kept: Kept) -> None:
        super().__init__("this was asked for before")
        self.kept = kept


class Asking:
    """The row of a new grant."""

    def __init__(self, grant: str, asker: Identity, wanted: Wanted, needed: int, now: int) -> None:
        self.id = grant
        self._asker = asker
        self._wanted = wanted
        self._needed = needed
        self._now = now
        self._kept: Kept | None = None

    def __call__(self, connection: Connection) -> Mapping[str, Value]:
        """Raises `KnownError` for what was asked for before, `Refused` for too much."""
        number, wanted = raised(connection), self._wanted
        mine = read(connection, grants.c.principal == wanted.principal, unfinished(self._now))
        for kept in mine:
            if kept.wanted == wanted and not kept.run:
                raise KnownError(kept)
        if len(mine) >= MOST:
            hint = "withdraw what is not needed any more: `remit list`"
            raise Refused(Reason.REQUEST_MALFORMED, f"{MOST} grants are asked for or in force already", hint=hint)
        row = _row(wanted) | {
            "id": self.id,
            "name": plain(self._asker.display),
            "needed": self._needed,
            "state": str(GrantState.ASKED),
            "asked_at": self._now,
            "lapses": self._now + PATIENCE,
            "since": 0,
            "until": 0,
            "run": "",
            "review": int(wanted.break_glass),
            "changed": number,
        }
        granted = {} if self._needed else _granted(wanted, self._now)
        connection.execute(insert(grants).values(row | granted))
        self._kept = one(connection, self.id)
        return _told(self.done())

    def done(self) -> Kept:
        """The grant as it is now."""
        return _there(self._kept)


class Answering:
    """What somebody says to a grant, and what comes of it."""

    def __init__(self, asked: Kept, who: Identity, step: Step, because: str, now: int) -> None:
        self._asked = asked
        self._who = who
        self._step = step
        self._because = because
        self._now = now
        self._kept: Kept | None = None

    def __call__(self, connection: Connection) -> Mapping[str, Value]:
        """Raises `Refused` for a step that is not the next one."""
        number, kept = raised(connection), _same(connection, self._asked)
        key, digest = self._who.principal.key, kept.wanted.digest
        changed = self._changed(kept, key)
        vote = {
            "of": kept.id,
            "principal": key,
            "said": str(self._step),
            "name": plain(self._who.display),
            "at": self._now,
            "because": checked(self._because),
            "digest": digest,
        }
        connection.execute(insert(votes).values(vote))
        _change(connection, kept, {**changed, "changed": number})
        self._kept = one(connection, kept.id)
        return _told(self.done())

    def done(self) -> Kept:
        """The grant as it is now."""
        return _there(self._kept)

    def _changed(self, kept: Kept, key: str) -> Mapping[str, Any]:
        """What changes; raises `Refused` when this is not the next step."""
        standing = kept.standing(self._now)
        if any(vote.principal == key and vote.said is self._step for vote in kept.votes):
            raise Refused(Reason.REQUEST_MALFORMED, "you have said so before, and it counts once")
        if self._step is Step.REVIEW:
            if not kept.review_due or key == kept.wanted.principal:
                raise Refused(Reason.REQUEST_MALFORMED, "there is nothing to review")
            if standing in OPEN:  # whoever has looked at it before has not seen what it was used for
                hint = "withdraw it: `remit withdraw`, then review it"
                raise Refused(Reason.REQUEST_MALFORMED, "it is in force still, and is reviewed afterwards", hint=hint)
            return {"review": 0}
        if self._step is Step.WITHDRAW and standing in OPEN:
            return {"state": str(GrantState.WITHDRAWN), "until": min(kept.until, self._now)}
        if standing is not GrantState.ASKED or self._step not in {Step.APPROVE, Step.DENY}:
            raise Refused(Reason.REQUEST_MALFORMED, _BECAME[standing])
        if self._step is Step.DENY:
            return {"state": str(GrantState.DENIED)}
        if key == kept.wanted.principal:
            raise Refused(Reason.REQUEST_MALFORMED, "nobody approves what they have asked for")
        enough = len(kept.approvers) + 1 >= kept.needed
        return _granted(kept.wanted, self._now) if enough else {}


class Running:
    """A run begins with a grant, or ends and takes it with it."""

    def __init__(self, asked: Kept, step: Step, job: str, now: int) -> None:
        self._asked = asked
        self._step = step
        self._job = job
        self._now = now

    def __call__(self, connection: Connection) -> Mapping[str, Value]:
        """Raises `Refused` when the grant is not this run's, or the run is over."""
        number, kept = raised(connection), _same(connection, self._asked)
        free = self._job if self._step is Step.END else ""
        if kept.standing(self._now) is not GrantState.GRANTED or kept.run != free or not kept.wanted.job:
            raise Refused(Reason.REQUEST_MALFORMED, "the grant is not this run's")
        if self._step is Step.START:
            whose = (grants.c.principal == kept.wanted.principal, grants.c.run == self._job)
            check_begins(read(connection, *whose), self._job)
            values = {"run": self._job, "since": self._now, "until": self._now + kept.wanted.lasting}
        else:
            values = {"state": str(GrantState.ENDED), "until": min(kept.until, self._now)}
        _change(connection, kept, {**values, "changed": number})
        return _told(_there(one(connection, kept.id)))


def check_begins(had: Sequence[Kept], job: str) -> None:
    """Raises `Refused` when a run, by what it had, is over: a word that comes late wakes no dead run."""
    if any(kept.state is GrantState.ENDED for kept in had):
        raise Refused(Reason.REQUEST_MALFORMED, f"the run `{job}` is over")


def plain(display: str) -> str:
    """A name for people's eyes, without what no database and no terminal should get."""
    return "".join(filter(str.isprintable, display))


def checked(text: str) -> str:
    """A text that every database can keep: one that cannot would fail the commit of everybody who waits for it."""
    if not text.isprintable():
        raise Refused(Reason.REQUEST_MALFORMED, "a name or a reason holds what does not print")
    return text


def _row(wanted: Wanted) -> dict[str, Any]:
    return {
        "principal": checked(wanted.principal),
        "action": checked(wanted.action),
        "resource_type": checked(wanted.resource.type),
        "resource": checked(wanted.resource.name),
        "project": checked(wanted.resource.project),
        "lasting": wanted.lasting,
        "because": checked(wanted.because),
        "job": checked(wanted.job),
        "break_glass": int(wanted.break_glass),
        "digest": wanted.digest,
    }


def _granted(wanted: Wanted, now: int) -> dict[str, Any]:
    """What changes when the last one has said yes: it is in force, or waits for its run."""
    state = {"state": str(GrantState.GRANTED)}
    return state | ({"lapses": now + PATIENCE} if wanted.job else {"since": now, "until": now + wanted.lasting})


def raised(connection: Connection) -> int:
    """The number of the next step. Its row stays locked until the commit."""
    connection.execute(update(changes).values(number=changes.c.number + 1))
    return newest(connection)


def _same(connection: Connection, asked: Kept) -> Kept:
    """The grant as it is now, if it still is what the policy has judged."""
    kept = one(connection, asked.id)
    if kept is None or kept.wanted != asked.wanted:
        raise Refused(Reason.PLANE_UNAVAILABLE, "the grant is not what was asked for: its row was changed")
    return kept


def _change(connection: Connection, kept: Kept, values: Mapping[str, Any]) -> None:
    same = (grants.c.id == kept.id, grants.c.state == str(kept.state), grants.c.run == kept.run)
    if connection.execute(update(grants).where(*same).values(**values)).rowcount != 1:
        raise Refused(Reason.REQUEST_MALFORMED, "somebody else was first", hint="look again: `remit list --all`")


def _told(kept: Kept) -> Mapping[str, Value]:
    """What an entry can say only when it commits."""
    return {
        "state": str(kept.state),
        "needed": kept.needed,
        "approvals": len(kept.approvers),
        "since": kept.since,
        "until": kept.until,
        "job": kept.run,
    }


def _there(kept: Kept | None) -> Kept:
    if kept is None:
        raise Refused(Reason.PLANE_UNAVAILABLE, "the grant is not there any more")
    return kept


_BECAME = {
    GrantState.ASKED: "it was not granted yet",
    GrantState.GRANTED: "it has been granted",
    GrantState.DENIED: "it has been denied",
    GrantState.WITHDRAWN: "it has been withdrawn",
    GrantState.ENDED: "it is over",
}
