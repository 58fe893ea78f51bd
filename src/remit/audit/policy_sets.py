"""The texts of every set of policies that decided: rows beside the ledger, by the version that records name.

A row commits with its `policies/1` entry, before the set decides anything. The version is a digest of the files (the
policy room's, handed in), so that a row that somebody changed is found when it is read; the entry holds a longer one.
"""

import contextlib
import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Protocol

from sqlalchemy import Connection, Engine, insert, select

from remit.audit import tables
from remit.audit.ledger import Also
from remit.model.errors import EvidenceBroken, RemitError
from remit.model.record import Recorded, Value, policies_record

Files = Mapping[str, str]
"""Texts by the names of their files, relative to the policy folder, with `/`."""

VersionOf = Callable[[Files], str]
"""The version of a set of these files, as the records name it."""


class Recorder(Protocol):
    """The ledger's recorder."""

    async def record(self, entry: Mapping[str, Value], also: Also | None = None) -> Recorded:
        """Makes an entry durable, together with a change of state; raises `NotRecorded`, or what `also` raises."""


class PolicySets:
    """Keeps sets of policies. `clock`: microseconds since the epoch."""

    def __init__(self, recorder: Recorder, version_of: VersionOf, clock: Callable[[], int]) -> None:
        self._recorder = recorder
        self._version_of = version_of
        self._clock = clock
        self._known: set[str] = set()

    async def keep(self, version: str, files: Files) -> None:
        """Makes a set durable, unless it is; raises `NotRecorded`, and `EvidenceBroken` for files of another version.

        To be called before the set decides.
        """
        if version in self._known:
            return
        if self._version_of(files) != version:
            raise EvidenceBroken(f"these are not the files of the policies `{version}`")
        text = _text(files)
        digest = hashlib.sha256(text.encode()).hexdigest()
        entry = policies_record(version, self._clock(), digest, files)
        with contextlib.suppress(_KnownError):  # by another arbiter, or before this one started
            await self._recorder.record(entry, _Row(version, text))
        self._known.add(version)


def read_policies(engine: Engine, version: str, version_of: VersionOf) -> Files | None:
    """The files of a version; `None` when they are not kept, `EvidenceBroken` when they are not what they were.

    `engine` may be one that only reads.
    """
    table = tables.policies
    with engine.connect() as connection:
        text = connection.execute(select(table.c.files).where(table.c.version == version)).scalar()
    if text is None:
        return None
    try:
        files = json.loads(text)
    except (ValueError, RecursionError):
        files = None
    if not _plain(files) or version_of(files) != version:
        raise EvidenceBroken(f"the texts of the policies `{version}` were changed")
    return dict(files)


def _plain(files: object) -> bool:
    return isinstance(files, dict) and all(isinstance(text, str) for text in files.values())


def _text(files: Files) -> str:
    return json.dumps(dict(files), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


class _KnownError(RemitError):
    """This version is kept already."""


class _Row:
    """The row that commits with the entry. The ledger's head is locked meanwhile, so that nobody else writes one."""

    def __init__(self, version: str, text: str) -> None:
        self._version = version
        self._text = text

    def __call__(self, connection: Connection) -> Mapping[str, Value]:
        table = tables.policies
        if connection.execute(select(table.c.version).where(table.c.version == self._version)).first() is not None:
            raise _KnownError("the policies are kept")
        connection.execute(insert(table).values(version=self._version, files=self._text))
        return {}
