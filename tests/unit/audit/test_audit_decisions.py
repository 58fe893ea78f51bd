"""Recorded decisions as they can be decided again: in their order, whole, and what cannot be is counted with why."""

import asyncio
from dataclasses import replace

import pytest

from remit.audit import decisions
from remit.audit.decisions import Decisions, Left
from remit.audit.ledger import Entry
from remit.audit.memberships import Memberships
from remit.audit.recorder import LedgerRecorder
from remit.model.decision import Circumstances, Decision, Verdict
from remit.model.identity import Authentication, Identity, Kind, Principal
from remit.model.names import decision_id
from remit.model.obligation import Obligations
from remit.model.operation import GRANTS_BREAK_GLASS, GRANTS_REQUEST, Action, Group, Operation, Request, Resource
from remit.model.outcome import Outcome
from remit.model.reasons import Reason
from remit.model.record import decision_record, started_record

AT = 1_790_000_000_000_000
DANA = Identity(
    principal=Principal("https://issuer", "tid", "dana", Kind.PERSON),
    display="Dana",
    groups=frozenset({"g1"}),
    groups_at=1,
    roles=frozenset({"MLEngineer"}),
    scopes=frozenset(),
    client="",
    authentication=Authentication(),
    guest=False,
    issued_at=1,
    expires_at=2,
    token_id="t",
)
PROJECT = Resource("Project", "//cloudresourcemanager.googleapis.com/projects/p", "p")
REQUEST = Request((Operation(Action("jobs.create", Group.LAUNCH), (PROJECT,)),))
VERDICT = Verdict(Outcome.PERMIT, (Reason.POLICY_PERMITS,), policy_version="v1")


def decided(number, **changes):
    at = AT + number * 1_000_000
    around = Circumstances(now=at // 1_000_000, peer="10.0.0.1")
    return replace(Decision(decision_id(at), at, VERDICT, around, DANA, REQUEST), **changes)


@pytest.fixture
def write(place):
    """Writes decisions as the stories do, or entries as they are."""

    def write(*found, members=True):
        ledger = place.ledger()
        with LedgerRecorder(ledger, patience=10) as recorder:
            memberships = Memberships(recorder, lambda: AT)
            for each in found:
                if members and isinstance(each, Decision) and each.identity:
                    asyncio.run(memberships.keep(each.identity))
                recorder.record_now(decision_record(each) if isinstance(each, Decision) else each)

    return write


def read(found, size=100):
    return [past for batch in found.batches(size) for past in batch]


def test_a_decision_comes_back_with_all_that_it_was_taken_on(place, write):
    whole = decided(1)
    write(whole)
    found = Decisions(place.reading())
    [past] = read(found)
    taken = past.taken_on()
    assert (taken.identity, taken.request, taken.circumstances) == (DANA, REQUEST, whole.circumstances)
    assert (past.decision, past.at, past.outcome, past.version) == (whole.id, whole.at, Outcome.PERMIT, "v1")
    assert (past.principal, past.name, past.action, past.resource) == ("tid/dana", "Dana", "jobs.create", PROJECT.name)
    assert (found.count(), sum(found.left.values())) == (1, 0)


def test_decisions_come_oldest_first_in_batches_and_no_other_entry_does(place, write, monkeypatch):
    monkeypatch.setattr(decisions, "PAGE", 3)  # several pages, and two decisions of one time across their border
    times = [4, 1, 3, 3, 2, 3, 0, 5, 3]
    write(*map(decided, times), started_record("//x", "tid/dana", "d-1", AT))
    found = Decisions(place.reading())
    batches = list(found.batches(4))
    assert [len(batch) for batch in batches] == [4, 4, 1]
    seen = [past for batch in batches for past in batch]
    assert [(past.at - AT) // 1_000_000 for past in seen] == sorted(times)
    assert len({past.decision for past in seen}) == found.count() == 9


def test_the_time_is_asked_for_and_its_end_is_not_included(place, write):
    write(*map(decided, range(5)))
    second = 1_000_000
    found = Decisions(place.reading(), since=AT + second, until=AT + 3 * second)
    assert [(past.at - AT) // second for past in read(found)] == [1, 2]
    assert found.count() == 2


def old(number):
    """A record as it was written before it held facts."""
    entry = dict(decision_record(decided(number)))
    for name in ("facts", "membership", "grants", "obligations", "hint", "redacted"):
        del entry[name]
    return entry


def about(action, verdict=VERDICT):
    return decided(1, request=Request((Operation(action, (PROJECT,)),)), verdict=verdict)


REDACTED = replace(VERDICT, obligations=Obligations(redact=frozenset({"peer", "name"})))
NAME_ONLY = replace(VERDICT, obligations=Obligations(redact=frozenset({"name"})))
BESIDE = Verdict(Outcome.DENY, (Reason.NO_ACCOUNT,))


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        (decided(1, identity=None, request=None, verdict=BESIDE), Left.UNASKED),
        (decided(1, request=None, verdict=BESIDE), Left.UNASKED),
        (decided(1, verdict=BESIDE), Left.UNASKED),
        (about(GRANTS_REQUEST), Left.SUPPOSED),
        (about(GRANTS_BREAK_GLASS, replace(VERDICT, outcome=Outcome.DENY)), Left.SUPPOSED),
        (old(1), Left.NO_FACTS),
        (decided(1, verdict=REDACTED), Left.REDACTED),
        ({**decision_record(decided(1)), "membership": "0" * 64}, Left.MEMBERSHIP_MISSING),
        ({**decision_record(decided(1)), "outcome": "perhaps"}, Left.UNREADABLE),
        ({k: v for k, v in decision_record(decided(1)).items() if k != "resource"}, Left.UNREADABLE),
    ],
    ids=[
        "nobody",
        "nothing",
        "no account",
        "asked for",
        "not taken",
        "old",
        "redacted",
        "membership",
        "outcome",
        "resource",
    ],
)
def test_what_cannot_be_decided_again_is_counted_with_why(place, write, entry, why):
    write(decided(0), entry, decided(2))
    found = Decisions(place.reading())
    assert len(read(found)) == 2
    assert dict(found.left) == {why: 1}
    assert found.count() == 3
    read(found)
    assert dict(found.left) == {why: 1}  # not twice as many


def test_without_a_name_it_is_decided_again_all_the_same(place, write):
    write(decided(0, verdict=NAME_ONLY))
    [past] = read(Decisions(place.reading()))
    assert past.name == ""
    assert past.taken_on().identity == replace(DANA, display="")


def test_a_changed_membership_is_not_decided_with(place, write):
    write(decided(0))
    place.sql("UPDATE ledger_memberships SET roles = ?", '["Security"]')
    found = Decisions(place.reading())
    assert read(found) == []
    assert dict(found.left) == {Left.MEMBERSHIP_BROKEN: 1}


def test_the_timeline_goes_on_and_the_evidence_holds(place, write):
    write(decided(0), decided(1, verdict=REDACTED))
    rows = place.ask()
    assert [(row.kind, row.principal, row.name) for row in rows] == [
        ("decision", "tid/dana", "Dana"),
        ("decision", "tid/dana", ""),
    ]
    assert place.verify().passed


def test_a_record_with_the_longest_facts_fits_an_entry():
    many = tuple(Resource("Model", f"//aiplatform.googleapis.com/projects/p/models/{n:080}", "p") for n in range(300))
    sizes = set()
    for number in range(1, 300, 7):
        request = Request((Operation(Action("a", Group.USE), many[:number]),))
        entry = decision_record(decided(1, request=request))
        Entry.of(entry)
        sizes.add(bool(entry["facts"]))
    assert sizes == {True, False}
