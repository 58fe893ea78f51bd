"""The groups and roles that decisions were taken on: rows beside the ledger, each kept once, under their digest.

A row commits with its `membership/1` entry, before the first record that names it. The digest holds the lists to what
they were: a row that somebody changed is found when it is read. Leaves out whose they were, which the records say.
"""

import contextlib
import json
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy import Connection, Engine, insert, select

from remit.audit import tables
from remit.audit.ledger import Also
from remit.model.errors import EvidenceBroken, RemitError
from remit.model.identity import Identity
from remit.model.record import Recorded, Value, digest_of, membership_digest, membership_record

SIZE = 50_000  # digests that are known to be kept; at 200 bytes each, 10 MB


@dataclass(frozen=True, slots=True)
class Membership:
    """Groups (object ids) and app roles that somebody had."""

    groups: frozenset[str]
    roles: frozenset[str]


class Recorder(Protocol):
    """The ledger's recorder."""

    async def record(self, entry: Mapping[str, Value], also: Also | None = None) -> Recorded:
        """Makes an entry durable, together with a change of state; raises `NotRecorded`, or what `also` raises."""


class Memberships:
    """Implements `access.ports.Memberships`. `clock`: microseconds since the epoch; `size`: digests known at once."""

    def __init__(self, recorder: Recorder, clock: Callable[[], int], *, size: int = SIZE) -> None:
        self._recorder = recorder
        self._clock = clock
        self._size = size
        self._known: OrderedDict[str, None] = OrderedDict()

    async def keep(self, identity: Identity) -> None:
        """Makes an identity's groups and roles durable, unless they are; raises `NotRecorded`."""
        digest = membership_digest(identity)
        if digest not in self._known:
            entry = membership_record(digest, self._clock(), len(identity.groups), len(identity.roles))
            with contextlib.suppress(_KnownError):  # by another arbiter, or before this one started
                await self._recorder.record(entry, _Row(digest, identity))
        self._known[digest] = None
        self._known.move_to_end(digest)
        while len(self._known) > self._size:
            self._known.popitem(last=False)


def read_membership(engine: Engine, digest: str) -> Membership | None:
    """The groups and roles that a record names by their digest; `None` when they are not kept.

    Raises `EvidenceBroken` when they are not what they were. `engine` may be one that only reads.
    """
    table = tables.memberships
    with engine.connect() as connection:
        row = connection.execute(select(table.c.groups, table.c.roles).where(table.c.digest == digest)).first()
    if row is None:
        return None
    try:
        found = Membership(_members(row.groups), _members(row.roles))
    except (ValueError, RecursionError):
        found = None
    if found is None or digest_of(found.groups, found.roles) != digest:
        raise EvidenceBroken(f"the groups and roles that records name by `{digest}` were changed")
    return found


def _members(text: str) -> frozenset[str]:
    found = json.loads(text)
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        message = "not a list of names"
        raise ValueError(message)
    return frozenset(found)


class _KnownError(RemitError):
    """These groups and roles are kept already."""


class _Row:
    """The row that commits with the entry. The ledger's head is locked meanwhile, so that nobody else writes one."""

    def __init__(self, digest: str, identity: Identity) -> None:
        self._digest = digest
        self._identity = identity

    def __call__(self, connection: Connection) -> Mapping[str, Value]:
        table = tables.memberships
        if connection.execute(select(table.c.digest).where(table.c.digest == self._digest)).first() is not None:
            raise _KnownError("the membership is kept")
        lists = {"groups": json.dumps(sorted(self._identity.groups)), "roles": json.dumps(sorted(self._identity.roles))}
        connection.execute(insert(table).values(digest=self._digest, **lists))
        return {}
