"""Recorded decisions, oldest first, as they can be decided again: with their facts, and the groups of whoever asked.

What cannot be decided again is counted, with why. Leaves out what they are decided with (`policy.replay`), and whether
the records are genuine (`verify.py`).
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Engine, func, select, tuple_

from remit.audit import tables
from remit.audit.memberships import Membership, read_membership
from remit.model.errors import EvidenceBroken
from remit.model.operation import GRANTS_BREAK_GLASS, GRANTS_REQUEST
from remit.model.outcome import Outcome
from remit.model.snapshot import Past

PAGE = 1_000
"""Records read at once, some 5 MB: no transaction stays open while they are worked on."""

_HARMLESS = frozenset({"name"})
"""What may be redacted of a decision that is decided again all the same: no policy can ask for it."""


class Left(StrEnum):
    """Why a recorded decision cannot be decided again."""

    UNASKED = "refused before the policies were asked"
    SUPPOSED = "the policies were asked about a grant that was not there yet"
    NO_FACTS = "recorded without its facts"
    REDACTED = "a redacted field could decide"
    MEMBERSHIP_MISSING = "the groups and roles are not kept"
    MEMBERSHIP_BROKEN = "the groups and roles were changed"
    UNREADABLE = "the record cannot be read"


class Decisions:
    """The recorded decisions of a time. `engine` may be one that only reads.

    `since`, `until`: microseconds since the epoch, the latter not included, 0 for none.
    """

    def __init__(self, engine: Engine, *, since: int = 0, until: int = 0) -> None:
        self._engine = engine
        entry = tables.entries.c
        self._which: list[ColumnElement[bool]] = [entry.type == "decision", entry.at >= since]
        self._which += [entry.at < until] if until else []
        self._members: dict[str, Membership | Left] = {}
        self.left: Counter[Left] = Counter()

    def count(self) -> int:
        """How many there are, those included that cannot be decided again."""
        with self._engine.connect() as connection:
            found = connection.execute(select(func.count()).select_from(tables.entries).where(*self._which))
            return int(found.scalar_one())

    def batches(self, size: int = 100) -> Iterator[list[Past]]:
        """All that can be decided again, so many at once; `left` counts the others from then on."""
        self.left.clear()
        batch: list[Past] = []
        for entry in self._entries():
            found = self.past(entry)
            if isinstance(found, Left):
                self.left[found] += 1
                continue
            batch.append(found)
            if len(batch) == size:
                yield batch
                batch = []
        if batch:
            yield batch

    def past(self, entry: Mapping[str, Any]) -> Past | Left:
        """One `decision/1` entry as it can be decided again, or why it cannot."""
        if not entry.get("policy_version") or not entry.get("principal") or not entry.get("action"):
            return Left.UNASKED
        if _supposed(entry):
            return Left.SUPPOSED
        if not entry.get("facts"):
            return Left.NO_FACTS
        if not _HARMLESS.issuperset(entry.get("redacted", ())):
            return Left.REDACTED
        members = self._membership(entry.get("membership", ""))
        if isinstance(members, Left):
            return members
        return _past(entry, members)

    def _membership(self, digest: str) -> Membership | Left:
        if digest not in self._members:
            try:
                self._members[digest] = read_membership(self._engine, digest) or Left.MEMBERSHIP_MISSING
            except EvidenceBroken:
                self._members[digest] = Left.MEMBERSHIP_BROKEN
        return self._members[digest]

    def _entries(self) -> Iterator[Mapping[str, Any]]:
        entry = tables.entries.c
        page = select(entry.at, entry.position, entry.entry).where(*self._which)
        page = page.order_by(entry.at, entry.position).limit(PAGE)
        last: tuple[int, int] | None = None
        while True:
            asked = page if last is None else page.where(tuple_(entry.at, entry.position) > last, entry.at >= last[0])
            with self._engine.connect() as connection:
                rows = connection.execute(asked).all()
            if not rows:
                return
            yield from (json.loads(row.entry) for row in rows)
            last = rows[-1].at, rows[-1].position


def _supposed(entry: Mapping[str, Any]) -> bool:
    """Whether the verdict is on what somebody would do with a grant, and not on the action that the record names."""
    refused = entry["action"] == GRANTS_BREAK_GLASS.id and entry.get("outcome") != Outcome.PERMIT
    return refused or entry["action"] == GRANTS_REQUEST.id


def _past(entry: Mapping[str, Any], members: Membership) -> Past | Left:
    try:
        return Past(
            decision=entry["decision"],
            at=entry["at"],
            outcome=Outcome(entry["outcome"]),
            policies=tuple(entry["policies"]),
            version=entry["policy_version"],
            principal=entry["principal"],
            name=entry["name"],
            action=entry["action"],
            resource=entry["resource"],
            facts=entry["facts"],
            groups=members.groups,
            roles=members.roles,
        )
    except (KeyError, ValueError, TypeError):
        return Left.UNREADABLE
