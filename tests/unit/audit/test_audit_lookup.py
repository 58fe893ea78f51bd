import pytest

from remit.audit.ledger import Entry
from remit.audit.lookup import find_decision
from remit.model.names import decision_id

AT = 1_790_000_000_123_456


def test_a_decision_is_found_by_its_id(place, decided):
    names = [decision_id(AT), decision_id(AT), decision_id(AT + 1_000)]
    place.ledger().append([Entry.of(decided(decision=name, at=AT, name=name)) for name in names[:2]])
    place.ledger().append([Entry.of({"type": "outcome", "decision": names[2], "at": AT + 1_000})])
    engine = place.reading()
    assert [(find_decision(engine, name) or {}).get("name") for name in names] == [names[0], names[1], None]


@pytest.mark.parametrize("name", ["", "d-", "x", "d-" + "u" * 26])
def test_what_is_no_decision_id_finds_nothing(place, name):
    assert find_decision(place.reading(), name) is None
