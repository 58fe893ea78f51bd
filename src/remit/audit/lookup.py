"""One decision's entry, by its id: the id holds its millisecond, so that the time's index finds it."""

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Engine, select

from remit.audit import tables
from remit.model.names import decided_at

_MILLISECOND = 1_000  # microseconds


def find_decision(engine: Engine, decision: str) -> Mapping[str, Any] | None:
    """The `decision/1` entry with this id; `None` when there is none, or when this is no decision id."""
    millisecond = decided_at(decision)
    if millisecond is None:
        return None
    first = millisecond * _MILLISECOND
    entries = tables.entries.c
    wanted = select(entries.entry).where(
        entries.at >= first, entries.at < first + _MILLISECOND, entries.type == "decision"
    )
    with engine.connect() as connection:
        found = (json.loads(row.entry) for row in connection.execute(wanted))
        return next((entry for entry in found if entry["decision"] == decision), None)
