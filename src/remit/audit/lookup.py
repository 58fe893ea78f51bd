"""One decision's entries, by its id: the id holds its millisecond, so that the time's index finds them."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import ColumnElement, Engine, TextClause, select

from remit.audit import tables
from remit.model.names import decided_at

_MILLISECOND = 1_000  # microseconds
_LATER = 16 * 60 * 1_000_000  # microseconds: an answer is heard for a quarter of an hour (`access.answered`), and a bit

Entry = Mapping[str, Any]


def find_decision(engine: Engine, decision: str) -> Entry | None:
    """The `decision/1` entry with this id; `None` when there is none, or when this is no decision id."""
    return next(_entries(engine, decision, _MILLISECOND, tables.entries.c.type == "decision"), None)


def find_whole(engine: Engine, decision: str) -> Entry | None:
    """The same, with what became known of it later.

    `failed`: the hop that gave no credential, with its reason; `started`: names of what came into being; `upstream` and
    `upstream_detail`: the probable cause of the upstream's first refusal. Each is there only where there is one.
    """
    found = find_decision(engine, decision)
    if found is None:
        return None
    whole = dict(found)
    for later in _entries(engine, decision, _LATER, tables.LATER):
        match later["type"]:
            case "outcome":
                whole.setdefault("failed", f"{later['hop']}: {later['reason']}")
            case "started":
                whole["started"] = [*whole.get("started", []), later["resource"]]
            case "answer" if "upstream" not in whole:
                whole |= {"upstream": later["cause"], "upstream_detail": later["detail"]}
    return whole


def _entries(engine: Engine, decision: str, within: int, which: ColumnElement[bool] | TextClause) -> Iterator[Entry]:
    """The entries that name a decision, of a kind, from its millisecond on for so many microseconds."""
    millisecond = decided_at(decision)
    if millisecond is None:
        return
    first = millisecond * _MILLISECOND
    entries = tables.entries.c
    wanted = select(entries.entry).where(entries.at >= first, entries.at < first + within, which)
    with engine.connect() as connection:
        found = (json.loads(row.entry) for row in connection.execute(wanted.order_by(entries.at)))
        yield from (entry for entry in found if entry.get("decision") == decision)
