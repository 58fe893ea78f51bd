"""What the story shows of its evidence: the timeline, Google's own log, and that tampering is found."""

import json
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from remit.assembly.evidence import asked, public_key, verified
from remit.audit.query import Query, TimelineRow
from remit.settings.read import Settings
from remit.state.database import database_path

_REASON = "decision/"
_A_PERMIT = "position = (select min(position) from ledger_entries where instr(entry, '\"permit\"'))"
_ONE_BYTE = "cast(replace(entry, '\"permit\"', '\"pErmit\"') as blob)"


@dataclass(frozen=True, slots=True)
class GoogleEntry:
    """One line of the lab's Cloud Audit Log."""

    method: str
    account: str
    delegating: str
    decision: str
    request: Mapping[str, Any]


def google_log(folder: Path) -> Iterator[GoogleEntry]:
    """The Cloud Audit Log of the lab in a folder."""
    for line in (folder / "cloud_audit.jsonl").read_text(encoding="utf-8").splitlines():
        payload = json.loads(line)["protoPayload"]
        who = payload.get("authenticationInfo", {})
        chain = who.get("serviceAccountDelegationInfo") or [{}]
        attributes = payload.get("requestMetadata", {}).get("requestAttributes", {})
        yield GoogleEntry(
            method=str(payload.get("methodName", "")).rpartition(".")[2],
            account=str(who.get("principalEmail", "")),
            delegating=str(chain[0].get("principalSubject", "")),
            decision=str(attributes.get("reason", "")).removeprefix(_REASON),
            request=payload.get("request") or {},
        )


def decisions(settings: Settings) -> list[TimelineRow]:
    """Every decision of the story."""
    rows = asked(settings, Query(limit=5000))
    return [row for row in rows if row.kind == "decision"]


def holds(settings: Settings) -> bool:
    """Whether the evidence verifies."""
    return verified(settings, (public_key(settings).read_text(encoding="utf-8").strip(),)).passed


def holds_when_changed(settings: Settings, folder: Path) -> bool:
    """Whether a copy of the evidence still verifies after one byte of a permit's record was changed."""
    return _holds_after(settings, f"update ledger_entries set entry = {_ONE_BYTE} where {_A_PERMIT}", folder)  # noqa: S608 - constants of ours


def holds_when_removed(settings: Settings, folder: Path) -> bool:
    """Whether a copy of the evidence still verifies after a permit's record was removed."""
    return _holds_after(settings, f"delete from ledger_entries where {_A_PERMIT}", folder)  # noqa: S608 - constants of ours


def _holds_after(settings: Settings, statement: str, folder: Path) -> bool:
    shutil.rmtree(folder, ignore_errors=True)
    database = database_path(settings.state.url)
    if database is None:  # the story's own installation is on SQLite
        raise FileNotFoundError(settings.state.url)
    state = database.parent
    folder.mkdir(parents=True)
    shutil.copytree(state / "audit", folder / "audit")
    for file in state.glob("remit.db*"):
        shutil.copy2(file, folder / file.name)
    copy = replace(
        settings,
        state=replace(settings.state, url=f"sqlite:///{folder / 'remit.db'}"),
        audit=replace(settings.audit, folder=folder / "audit"),
    )
    with sqlite3.connect(folder / "remit.db") as copied:
        copied.execute(statement)
    copied.close()
    return holds(copy)
