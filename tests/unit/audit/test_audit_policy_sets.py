"""The texts of the policies that decided: kept once, under their version, and found out when they were changed."""

import asyncio
import hashlib
import json

import pytest
from sqlalchemy import select

from remit.audit import tables
from remit.audit.policy_sets import PolicySets, read_policies
from remit.audit.recorder import LedgerRecorder
from remit.model.errors import EvidenceBroken

AT = 1_790_000_000_000_000
FILES = {"a.cedar": "permit(principal, action, resource);", "obligations/b.cedar": '// "zwei" ä\n'}


def version_of(files):
    return hashlib.sha256(json.dumps(dict(files), sort_keys=True).encode()).hexdigest()[:16]


VERSION = version_of(FILES)


@pytest.fixture
def arbiters(place):
    opened = []

    def arbiter():
        recorder = LedgerRecorder(place.ledger(engine=place.writing()), patience=10.0)
        recorder.start()
        opened.append(recorder)
        return PolicySets(recorder, version_of, lambda: AT)

    yield arbiter
    for recorder in opened:
        recorder.close()


def entries(place):
    with place.engine.connect() as connection:
        return [json.loads(row.entry) for row in connection.execute(select(tables.entries.c.entry))]


def test_a_set_is_kept_once_with_its_names_and_texts(place, arbiters):
    here, there = arbiters(), arbiters()
    for arbiter in (here, here, there):
        asyncio.run(arbiter.keep(VERSION, FILES))
    [entry] = entries(place)
    assert entry["type"] == "policies"
    assert (entry["schema"], entry["version"], entry["at"]) == ("policies/1", VERSION, AT)
    assert entry["files"] == ["a.cedar", "obligations/b.cedar"]
    assert len(entry["digest"]) == 64
    assert read_policies(place.reading(), VERSION, version_of) == FILES
    assert place.verify().passed


def test_another_version_is_another_set(place, arbiters):
    arbiter = arbiters()
    other = {**FILES, "c.cedar": ""}
    asyncio.run(arbiter.keep(VERSION, FILES))
    asyncio.run(arbiter.keep(version_of(other), other))
    assert read_policies(place.engine, version_of(other), version_of) == other
    assert len({entry["digest"] for entry in entries(place)}) == 2


def test_files_of_another_version_are_not_kept(place, arbiters):
    with pytest.raises(EvidenceBroken, match="are not the files"):
        asyncio.run(arbiters().keep(VERSION, {**FILES, "a.cedar": ""}))
    assert entries(place) == []


def test_what_is_not_kept_is_not_there(place):
    assert read_policies(place.engine, VERSION, version_of) is None


@pytest.mark.parametrize("changed", ['{"a.cedar": ""}', "{}", "[]", '{"a.cedar": 1}', "{", "null", "[" * 9_000])
def test_a_changed_row_is_found_out(place, arbiters, changed):
    asyncio.run(arbiters().keep(VERSION, FILES))
    place.sql("UPDATE ledger_policies SET files = ?", changed)
    with pytest.raises(EvidenceBroken, match="were changed"):
        read_policies(place.engine, VERSION, version_of)
