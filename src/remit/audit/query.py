"""One question, one timeline: the ledger, the sealed segments and the live log, ordered by time.

DuckDB does the asking, in memory, with explicit columns and without network or extensions: it may read the evidence's
two folders and nothing else. An access row knows its decision, and the decision knows who and what. Leaves out
whether the evidence is genuine (`verify.py`), Entra's and Google's logs.
"""

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, fields

import duckdb
from sqlalchemy import Engine, select

from remit.audit import tables
from remit.audit.canonical import EXACT_INTEGER
from remit.audit.spool import Spool
from remit.audit.store import SegmentStore
from remit.audit.timeline_sql import CREATE, INSERT_ACCESS, INSERT_ENTRIES, TIMELINE

_ASKED = ("decision", "outcome", "started", "answer", "revocation", "grant", "run", "statements")
_BATCH = 20_000
"""Entries handed to DuckDB at once: some 20 MB."""

_LEEWAY = 3_600_000_000
"""Microseconds around the asked time in which an access row's decision is looked for: streams live for an hour."""


@dataclass(frozen=True, slots=True)
class Query:
    """A question; empty fields ask for nothing in particular.

    `who`: a principal's key, or a display name in any case; `resource`: part of a canonical name, of any resource that
    was touched; `action`: a method id or its end (`predict`); `outcome`: `permit`, `deny`, `step_up`,
    `needs_approval`, `failed` for a permit whose credential could not be had, `started` for what came into being by
    one, or `refused` for one that its upstream refused; `since`, `until`: microseconds, the latter not included;
    `limit`: the newest so many; `everything`: also what passed without being decided on (tunnels that opened, health
    and token endpoints), which is noise to most questions.
    """

    who: str = ""
    resource: str = ""
    action: str = ""
    project: str = ""
    outcome: str = ""
    decision: str = ""
    since: int = 0
    until: int = 0
    limit: int = 100
    everything: bool = True


@dataclass(frozen=True, slots=True)
class TimelineRow:
    """One thing that happened. `time`: microseconds since the epoch.

    `kind`: `decision`, `access`, `outcome`; `started`, whose `resource` came into being; `answer`, an upstream's
    refusal, whose reason is its probable cause; or `revocation`, whose `principal` is who asked for it, whose
    `resource` is whom it ended, and whose `outcome` is `revoke` or `lift`; or `grant`, a step just in time, whose
    `principal` took it, whose `resource` is what it is about, and whose `outcome` is the step (`ask`, `approve`, …); or
    `run`, whose `resource` is its id, and whose `outcome` is `start` or `end`; or `statements`, what ran on a
    connection to a database in a few seconds, whose `resource` is the role, and whose `detail` is how many and which.

    Of an access row, everything but `time`, `status` and `detail` is its decision's, and empty when Envoy refused the
    request without asking. `status`: the HTTP status that the caller got, of an answer the upstream's, 0 for the other
    kinds.
    """

    time: int
    kind: str
    principal: str
    name: str
    action: str
    resource: str
    project: str
    outcome: str
    reasons: tuple[str, ...]
    policies: tuple[str, ...]
    decision: str
    status: int
    detail: str
    session: str = ""
    job: str = ""


class Timeline:
    """Answers questions about the evidence of one node.

    `engine`: one that only reads (`remit.state.database.open_database_to_read`).
    """

    def __init__(self, engine: Engine, spool: Spool, store: SegmentStore) -> None:
        self._engine = engine
        self._spool = spool
        self._store = store

    def ask(self, query: Query) -> list[TimelineRow]:
        """The newest rows that match, oldest first."""
        # files first, then the ledger: an access row may lack its decision only if there is none
        with closing(_open(self._folders())) as database:
            with self._spool.locked(shared=True):
                self._load_access(database, query)
            for batch in self._entries(query):
                database.execute(INSERT_ENTRIES, [batch])
            found = database.execute(TIMELINE, _parameters(query)).fetchall()
        return [_row(values) for values in reversed(found)]

    def _folders(self) -> list[str]:
        return [str(self._spool.log.parent), str(self._store.path(0).parent)]

    def _load_access(self, database: duckdb.DuckDBPyConnection, query: Query) -> None:
        kept = self._store.numbers()
        left_out = self._outside(query)
        paths = [self._store.path(number) for number in kept if number not in left_out]
        paths += [path for number, path in self._spool.pending().items() if number not in set(kept)]
        paths += [self._spool.log] if self._spool.log.exists() else []
        if paths:
            names = [str(path) for path in paths]
            window = {"since": query.since, "until": query.until or EXACT_INTEGER}
            database.execute(INSERT_ACCESS, {"paths": names, **window})

    def _outside(self, query: Query) -> set[int]:
        """Segments that hold nothing of the asked time, by their manifests."""
        if not query.since and not query.until:
            return set()
        with self._engine.connect() as connection:
            found = connection.execute(select(tables.entries.c.entry).where(tables.entries.c.type == "segment"))
            manifests = [json.loads(row.entry) for row in found]
        return {
            manifest["segment"]
            for manifest in manifests
            if manifest["time_max"] < query.since or (query.until and manifest["time_min"] >= query.until)
        }

    def _entries(self, query: Query) -> Iterator[list[str]]:
        entry = tables.entries.c
        wanted = select(entry.entry).where(entry.type.in_(_ASKED)).order_by(entry.position)
        if query.since:
            wanted = wanted.where(entry.at >= query.since - _LEEWAY)
        if query.until:
            wanted = wanted.where(entry.at < query.until + _LEEWAY)
        with self._engine.connect() as connection:
            for rows in connection.execute(wanted).partitions(_BATCH):
                yield [row.entry.decode() for row in rows]


def _open(folders: list[str]) -> duckdb.DuckDBPyConnection:
    database = duckdb.connect(
        ":memory:", config={"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
    )
    database.execute("SET temp_directory=''")
    database.execute("SET allowed_directories=?", [folders])
    database.execute("SET enable_external_access=false")
    database.execute("SET lock_configuration=true")
    database.execute(CREATE)
    return database


def _parameters(query: Query) -> dict[str, object]:
    return {field.name: getattr(query, field.name) for field in fields(query)}


def _row(values: tuple[object, ...]) -> TimelineRow:
    return TimelineRow(*(tuple(value) if isinstance(value, list) else value for value in values))  # type: ignore[arg-type]  # the columns of TIMELINE, in this order
