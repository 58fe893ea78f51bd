"""The ledger, the segments and what reads them, for one installation."""

import contextlib
import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType, ModuleType

from sqlalchemy import Engine, inspect, select

from remit.audit import tables
from remit.audit.collector import Collector
from remit.audit.keys import load_key, make_key
from remit.audit.ledger import Ledger
from remit.audit.note import Signer
from remit.audit.ports import Reopener
from remit.audit.query import Query, Timeline, TimelineRow
from remit.audit.recorder import LedgerRecorder
from remit.audit.sealer import Sealer
from remit.audit.segments import SegmentReader
from remit.audit.spool import Spool
from remit.audit.store import FolderStore
from remit.audit.verify import Report, verify
from remit.gateway.certificates import ensure
from remit.grants import tables as grant_tables
from remit.identity import replay
from remit.identity.browser import tables as session_tables
from remit.identity.browser.cipher import make_key_file
from remit.identity.directory import tables as directory_tables
from remit.identity.revocation import tables as revocation_tables
from remit.model.errors import RemitError
from remit.settings.read import Settings
from remit.state.database import database_path, open_database, open_database_to_read
from remit.state.schema import migrate

_SEEN = 30 * 86_400_000_000  # microseconds: for how long a name is remembered
_TABLES: Mapping[str, ModuleType] = {
    "audit": tables,
    "revocations": revocation_tables,
    "sessions": session_tables,
    "directory": directory_tables,
    "replay": replay,
    "grants": grant_tables,
}


@contextlib.contextmanager
def writing(settings: Settings) -> Iterator[Engine]:
    """The state database, to write in; its connections end with the block."""
    engine = open_database(settings.state)
    try:
        yield engine
    finally:
        engine.dispose()


@contextlib.contextmanager
def reading(settings: Settings) -> Iterator[Engine]:
    """The same, to read only."""
    engine = open_database_to_read(settings.state)
    try:
        yield engine
    finally:
        engine.dispose()


def install(settings: Settings) -> None:
    """Makes what an installation needs once: tables, the ledger's key, the door's authority.

    Harmless when they are there. Raises `RemitError` when the key is gone and the ledger is not: a new key could never
    continue it, and would hide the loss.
    """
    with writing(settings) as engine:
        migrate_all(engine)
        begun = _begun(engine)
    made = not settings.audit.key.exists()
    if made and begun:
        raise RemitError(
            f"the ledger's key `{settings.audit.key}` is missing, and its ledger is not empty",
            hint="restore the key from a backup: no other key can continue this ledger",
        )
    if made:
        make_key(settings.audit.key, settings.audit.origin)
    if made or not public_key(settings).exists():
        public_key(settings).write_text(f"{signer(settings).verifier}\n", encoding="utf-8")
    make_key_file(settings.identity.sessions.key_file)
    door(settings)


def migrate_all(engine: Engine) -> None:
    """Brings every room's tables to the present version; raises `SchemaTooNew`."""
    for room, module in _TABLES.items():
        migrate(engine, room, module.metadata, module.STEPS)


def door(settings: Settings) -> Path:
    """The certificate of the door's own authority, which clients trust."""
    return ensure(settings.gateway.authority, settings.gateway.names, dt.datetime.now(dt.UTC)).authority


def begun(settings: Settings) -> bool:
    """Whether there is a ledger with something in it; reads only."""
    file = database_path(settings.state.url)
    if file is not None and not file.is_file():
        return False
    with reading(settings) as engine:
        return _begun(engine)


def _begun(engine: Engine) -> bool:
    with engine.connect() as connection:
        return inspect(connection).has_table(tables.entries.name) and any(
            connection.execute(select(column).limit(1)).first() is not None
            for column in (tables.entries.c.position, tables.checkpoints.c.size)
        )


def public_key(settings: Settings) -> Path:
    """The file with the ledger's public key: give it to whoever is to verify."""
    return settings.audit.folder / "ledger.vkey"


def signer(settings: Settings) -> Signer:
    """The ledger's signing key."""
    return load_key(settings.audit.key, settings.audit.origin)


def ledger(settings: Settings, engine: Engine) -> Ledger:
    """The ledger."""
    return Ledger(
        engine,
        signer(settings),
        folder=settings.audit.folder,
        database=database_path(settings.state.url),
        minimum_free_bytes=settings.audit.minimum_free_bytes,
    )


def collector(settings: Settings, tree: Ledger, writer: LedgerRecorder, reopener: Reopener) -> Collector:
    """What seals the access log every so often, not started yet."""
    sealer = Sealer(
        node=settings.audit.node,
        spool=Spool(settings.audit.access_log),
        store=FolderStore(settings.audit.segments),
        enter=writer.record_now,
        last=lambda: tree.last_segment(settings.audit.node),
        reopener=reopener,
    )
    return Collector(sealer, settings.audit.seal_seconds)


def asked(settings: Settings, query: Query) -> list[TimelineRow]:
    """The answer to a question about what happened; reads only."""
    with reading(settings) as engine:
        spool, store = Spool(settings.audit.access_log), FolderStore(settings.audit.segments)
        return Timeline(engine, spool, store).ask(query)


def verified(
    settings: Settings, vkeys: tuple[str, ...], earlier: str = "", others: Mapping[str, Path] = MappingProxyType({})
) -> Report:
    """Checks all evidence against public keys, and against a checkpoint that was kept elsewhere.

    `others`: the `audit` folders of other gateways on the same ledger, by their node's name.
    """
    places = {settings.audit.node: settings.audit}
    places |= {node: replace(settings.audit, node=node, folder=folder) for node, folder in others.items()}
    readers = {
        node: SegmentReader(FolderStore(place.segments), Spool(place.access_log)) for node, place in places.items()
    }
    with reading(settings) as engine:
        return verify(engine, vkeys, readers, earlier=earlier)


def seen(settings: Settings, clock: Callable[[], int]) -> Callable[[str], frozenset[str]]:
    """Whom a display name stood for in the decisions of the last 30 days, as principals' keys; blocks."""

    def find(name: str) -> frozenset[str]:
        query = Query(who=name, since=clock() - _SEEN, limit=1_000_000, everything=False)
        return frozenset(row.principal for row in asked(settings, query) if row.principal)

    return find
