"""The steps of a grant: each one commit with its entry, from the right state only, whoever races whom."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from remit.grants.steps import MOST, PATIENCE
from remit.model.errors import NotRecorded, Refused
from remit.model.grant import GrantState, Step
from remit.model.names import decision_id
from remit.model.operation import Resource
from remit.model.reasons import Reason

NOW = 1_800_000_000  # as the house begins
TID = "6f1c2a34-8b5d-4e6f-9a01-c0de00000001"
KEY = f"{TID}/dana"
RUN, RERUN = "j-" + "1" * 26, "j-" + "2" * 26


def refused(call, *arguments, **more):
    with pytest.raises(Refused) as caught:
        call(*arguments, **more)
    return caught.value


def find(store, grant):
    return asyncio.run(store.find(grant))


def own(store, now=NOW, everything=False):
    return [kept.id for kept in asyncio.run(store.own(KEY, now, everything=everything))]


def test_asked_and_approved_it_is_in_force_and_every_step_is_an_entry(house):
    store = house.store()
    asked = house.ask(store)
    assert (asked.state, asked.since, asked.until, asked.name) == (GrantState.ASKED, 0, 0, "Dana")
    assert house.fresh().in_force(KEY, "", NOW) == ()
    house.now += 5
    granted = house.say(store, asked, because="looks right")
    assert (granted.state, granted.since, granted.until) == (GrantState.GRANTED, NOW + 5, NOW + 3605)
    assert granted.approvers == {house.ada.principal.key}
    assert [grant.id for grant in house.fresh().in_force(KEY, "", NOW + 6)] == [asked.id]
    ask, approve = house.entries()
    assert {name: ask[name] for name in ("type", "schema", "step", "grant", "actor", "because", "state", "needed")} == {
        "type": "grant",
        "schema": "grant/1",
        "step": "ask",
        "grant": asked.id,
        "actor": KEY,
        "because": "a fire",
        "state": "asked",
        "needed": 1,
    }
    assert (ask["decision"], ask["digest"], ask["resource"]) == ("d-1", asked.wanted.digest, house.project.name)
    assert (approve["step"], approve["actor"], approve["because"]) == (
        "approve",
        house.ada.principal.key,
        "looks right",
    )
    assert (approve["state"], approve["approvals"], approve["until"]) == ("granted", 1, NOW + 3605)
    assert approve["digest"] == ask["digest"]


def test_two_people_are_two_people(house):
    store = house.store()
    asked = house.ask(store, needed=2)
    once = house.say(store, asked)
    assert (once.state, len(once.approvers)) == (GrantState.ASKED, 1)
    assert "counts once" in refused(house.say, store, asked).message
    assert "counts once" in refused(house.say, store, asked, house.somebody("ada", token="another")).message
    assert "nobody approves" in refused(house.say, store, asked, house.somebody("dana", token="another")).message
    guest = house.somebody("ada", TID.replace("01", "02"))
    assert house.say(store, asked, guest).state is GrantState.GRANTED
    assert [entry["approvals"] for entry in house.entries()] == [0, 1, 2]
    [grant] = house.fresh().in_force(KEY, "", NOW)
    assert grant.approvals == 2


@pytest.mark.parametrize(
    ("before", "step", "said"),
    [
        ([Step.DENY], Step.APPROVE, "denied"),
        ([Step.DENY], Step.WITHDRAW, "denied"),
        ([Step.WITHDRAW], Step.APPROVE, "withdrawn"),
        ([Step.WITHDRAW], Step.WITHDRAW, "withdrawn"),
        ([Step.WITHDRAW], Step.DENY, "withdrawn"),
        ([Step.APPROVE], Step.APPROVE, "granted"),
        ([Step.APPROVE], Step.DENY, "granted"),
        ([Step.APPROVE, Step.WITHDRAW], Step.APPROVE, "withdrawn"),
        ([], Step.REVIEW, "nothing to review"),
        ([], Step.START, "not granted"),
        ([], Step.END, "not granted"),
        ([], Step.ASK, "not granted"),
    ],
)
def test_a_step_is_taken_from_the_right_state_only(quick, before, step, said):
    store = quick.store()
    asked = quick.ask(store)
    for each in before:
        quick.say(store, asked, quick.ada, each)
    entries = len(quick.entries())
    was = find(store, asked.id)
    error = refused(quick.say, store, asked, quick.sam, step)
    assert error.reason is Reason.REQUEST_MALFORMED
    assert said in error.message
    assert len(quick.entries()) == entries
    assert find(store, asked.id) == was


def test_time_ends_what_nobody_answered_and_what_was_granted(quick):
    store = quick.store()
    asked, granted, waiting = quick.ask(store), quick.ask(store, because="b"), quick.ask(store, because="c", job="n")
    quick.say(store, granted)
    quick.now += 10
    quick.say(store, waiting)
    quick.now = NOW + 3600
    assert find(store, granted.id).standing(quick.now) is GrantState.ENDED
    assert set(own(store, now=quick.now)) == {asked.id, waiting.id}
    assert "over" in refused(quick.say, store, granted, step=Step.WITHDRAW).message
    quick.now = NOW + PATIENCE
    assert "over" in refused(quick.say, store, asked).message
    assert own(store, now=quick.now) == [waiting.id]
    quick.now = NOW + 10 + PATIENCE
    assert quick.start(store, name="n") == ()
    assert own(store, now=quick.now) == []
    assert len(own(store, now=quick.now, everything=True)) == 3


def test_a_withdrawal_ends_it_at_once(house):
    store = house.store()
    asked = house.ask(store)
    house.say(store, asked)
    view = house.fresh()
    assert view.in_force(KEY, "", NOW)
    house.now += 60
    assert house.say(store, asked, house.dana, Step.WITHDRAW).until == NOW + 60
    view.refresh()
    assert view.in_force(KEY, "", NOW + 60) == ()


def test_break_glass_is_in_force_at_once_and_is_reviewed_by_somebody_else(house):
    store = house.store()
    taken = house.ask(store, needed=0, break_glass=True)
    assert (taken.state, taken.since, taken.review_due) == (GrantState.GRANTED, NOW, True)
    [grant] = house.fresh().in_force(KEY, "", NOW)
    assert (grant.approvals, grant.wanted.break_glass) == (0, True)
    assert "in force still" in refused(house.say, store, taken, house.ada, Step.REVIEW, "fine").message
    house.now += 7200
    assert own(store, now=house.now) == [taken.id]  # over, and still to be looked at
    assert "nothing to review" in refused(house.say, store, taken, house.dana, Step.REVIEW).message
    assert not house.say(store, taken, house.ada, Step.REVIEW, "fine").review_due
    assert own(store, now=house.now) == []
    assert "nothing to review" in refused(house.say, store, taken, house.sam, Step.REVIEW).message


def test_what_is_asked_twice_is_one_grant(house):
    here, there = house.store(), house.store()
    first = house.ask(here)
    assert house.ask(there).id == first.id
    assert house.ask(there, because="another").id != first.id
    assert house.ask(there, who=house.ada).id != first.id
    assert len(house.entries()) == 3
    house.say(here, first, step=Step.DENY)
    assert house.ask(here).id != first.id


def test_one_principal_asks_for_so_much_and_no_more(house):
    store = house.store()
    asked = [house.ask(store, because=str(number)) for number in range(MOST)]
    assert f"{MOST} grants" in refused(house.ask, store, because="one more").message
    assert house.ask(store, who=house.ada).state is GrantState.ASKED
    house.say(store, asked[0], house.dana, Step.WITHDRAW)
    assert house.ask(store, because="one more").state is GrantState.ASKED


def test_a_grant_for_a_run_begins_and_ends_with_it(house):
    store, key = house.store(), KEY
    waiting = house.ask(store, job="nightly")
    other = house.ask(store, job="weekly", because="w")
    for each in (waiting, other):
        assert house.say(store, each).since == 0
    view = house.fresh()
    assert view.in_force(key, "", NOW) == view.in_force(key, RUN, NOW) == ()
    house.now += 1000
    assert house.start(store) == house.start(store) == (waiting.id,)
    view.refresh()
    [grant] = view.in_force(key, RUN, house.now)
    assert (grant.since, grant.until, grant.job) == (NOW + 1000, NOW + 4600, RUN)
    assert view.in_force(key, "", house.now) == view.in_force(key, RERUN, house.now) == ()
    assert house.start(store, job=RERUN) == ()  # one run only
    house.now += 10
    assert house.end(store) == (waiting.id,)
    view.refresh()
    assert view.in_force(key, RUN, house.now) == ()
    assert house.end(store) == ()
    assert [(entry["step"], entry["job"]) for entry in house.entries()[4:]] == [("start", RUN), ("end", RUN)]


@pytest.mark.promise("N1")
def test_what_waits_for_a_run_of_a_name(house):
    store = house.store()
    for job, needed, lasting in (("nightly", 0, 600), ("nightly", 0, 1200), ("other", 0, 60), ("nightly", 1, 60)):
        house.ask(store, needed=needed, job=job, lasting=lasting)

    def waiting(who, name="nightly", at=0):
        return sorted(kept.wanted.lasting for kept in asyncio.run(store.waiting(who.principal.key, name, at)))

    assert waiting(house.dana, at=house.now) == [600, 1200]
    assert waiting(house.ada, at=house.now) == []
    assert waiting(house.dana, at=house.now + PATIENCE) == []
    house.start(store)
    assert waiting(house.dana, at=house.now) == []


def test_a_word_that_comes_late_wakes_no_dead_run(quick):
    store = quick.store()
    first = quick.ask(store, job="nightly")
    quick.say(store, first)
    quick.start(store)
    quick.end(store)
    following = quick.ask(store, job="nightly")
    assert following.id != first.id
    quick.say(store, following)
    assert "is over" in refused(quick.start, store).message
    assert quick.start(store, job=RERUN) == (following.id,)


def test_the_run_of_somebody_else_is_nobodys_business(quick):
    store = quick.store()
    waiting = quick.ask(store, job="nightly")
    quick.say(store, waiting)
    assert quick.start(store, who=quick.sam) == ()
    assert quick.start(store) == (waiting.id,)
    assert quick.end(store, who=quick.sam) == ()
    view = quick.fresh()
    assert view.in_force(quick.sam.principal.key, RUN, NOW) == ()
    assert view.in_force(KEY, RUN, NOW)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE grants SET resource = '//cloudresourcemanager.googleapis.com/projects/q', project = 'q'",
        "UPDATE grants SET action = 'administer'",
        "UPDATE grants SET lasting = 2592000",
        "UPDATE grants SET principal = 'x/y'",
        "UPDATE grants SET because = 'harmless'",
        "UPDATE grants SET job = ''",
        "UPDATE grants SET break_glass = 1",
        "UPDATE grants SET digest = ''",
        "UPDATE grants SET state = 'anything'",
    ],
)
def test_a_row_that_was_changed_is_nothing(quick, change, caplog):
    store = quick.store()
    asked = quick.ask(store, job="nightly")
    quick.sql(change)
    assert refused(quick.say, store, asked).reason is Reason.PLANE_UNAVAILABLE
    assert refused(find, store, asked.id).reason is Reason.PLANE_UNAVAILABLE
    assert own(store, everything=True) == []
    quick.sql("UPDATE grants SET since = 1, until = 3000000000, run = 'j-1', changed = 9")
    quick.sql("UPDATE grants SET state = 'granted' WHERE state <> 'anything'")
    quick.sql("UPDATE grant_changes SET number = 9")
    view = quick.fresh()
    for key in (KEY, "x/y"):
        assert view.in_force(key, "", NOW) == view.in_force(key, "j-1", NOW) == ()
    assert "its row was changed" in caplog.text
    assert len(quick.entries()) == 1


def test_what_was_judged_is_what_is_approved(quick):
    store = quick.store()
    asked, other = quick.ask(store), quick.ask(store, action="administer", because="more")
    quick.sql("DELETE FROM grants WHERE id = :id", id=asked.id)
    # a good row, and not the one that was read
    quick.sql("UPDATE grants SET id = :id WHERE id = :other", id=asked.id, other=other.id)
    assert refused(quick.say, store, asked).reason is Reason.PLANE_UNAVAILABLE
    assert find(store, asked.id).votes == ()


def test_a_vote_on_something_else_does_not_count(quick):
    store = quick.store()
    asked = quick.ask(store, needed=2)
    quick.say(store, asked)
    quick.sql("UPDATE grant_votes SET digest = 'another'")
    assert quick.say(store, asked, quick.sam).state is GrantState.ASKED
    assert find(store, asked.id).approvers == {quick.sam.principal.key}


@pytest.mark.parametrize(
    "text",
    ["'; DROP TABLE grants; --", "Ünïcode 名前 🔥", '" OR 1=1', "%s %(x)s :x ?", "a\\b"],
)
def test_text_is_text(house, text):
    store = house.store()
    resource = Resource("Bucket", f"//storage.googleapis.com/projects/_/buckets/{text}", "p")
    asked = house.ask(store, because=text, resource=resource)
    granted = house.say(store, asked, because=text)
    assert (granted.wanted.because, granted.wanted.resource, granted.votes[0].because) == (text, resource, text)
    assert house.entries()[1]["because"] == text


@pytest.mark.parametrize("text", ["a\0b", "a\nb", "\u202e", "\x1b[2J"])
def test_what_does_not_print_fails_alone(house, text):
    store = house.store()
    assert refused(house.ask, store, because=text).reason is Reason.REQUEST_MALFORMED
    asked = house.ask(store)
    assert refused(house.say, store, asked, because=text).reason is Reason.REQUEST_MALFORMED
    assert house.say(store, asked).state is GrantState.GRANTED
    with pytest.raises(UnicodeError):  # it has no digest: nothing comes to the ledger
        house.ask(store, because="\ud800")


def race(*calls):
    """All at once; each answer, or the refusal."""
    barrier = threading.Barrier(len(calls))

    def run(call):
        barrier.wait()
        try:
            return call()
        except Refused as error:
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def test_of_two_approvers_who_race_both_count_once_each(house):
    stores = [house.store() for _ in range(3)]
    asked = house.ask(stores[0], needed=3)
    people = [house.somebody(f"p{number}") for number in range(3)]
    calls = [
        (lambda store=store, who=who: house.say(store, asked, who)) for store in stores for who in (*people, people[0])
    ]
    answers = race(*calls)
    said = [answer for answer in answers if not isinstance(answer, Refused)]
    assert len(said) == 3
    kept = find(stores[0], asked.id)
    assert (kept.state, len(kept.approvers), len(kept.votes)) == (GrantState.GRANTED, 3, 3)
    assert [entry["approvals"] for entry in house.entries()] == [0, 1, 2, 3]


def test_of_a_withdrawal_and_an_approval_that_race_none_is_in_force(house):
    stores = [house.store() for _ in range(2)]
    for number in range(8):
        asked = house.ask(stores[0], because=str(number))
        race(
            lambda asked=asked: house.say(stores[0], asked, house.ada),
            lambda asked=asked: house.say(stores[1], asked, house.dana, Step.WITHDRAW),
        )
        assert find(stores[0], asked.id).state is GrantState.WITHDRAWN
    assert house.fresh().in_force(KEY, "", NOW) == ()
    states = [entry["state"] for entry in house.entries()]
    assert states.count("withdrawn") == 8


def test_of_two_withdrawals_and_two_asks_one_is_an_entry(house):
    stores = [house.store() for _ in range(2)]
    asks = race(*[lambda store=store: house.ask(store) for store in stores * 2])
    assert len({kept.id for kept in asks}) == 1
    answers = race(
        lambda: house.say(stores[0], asks[0], house.dana, Step.WITHDRAW),
        lambda: house.say(stores[1], asks[0], house.ada, Step.WITHDRAW),
        lambda: house.say(stores[1], asks[0], house.dana, Step.WITHDRAW),
    )
    assert sum(isinstance(answer, Refused) for answer in answers) == 2
    assert [entry["step"] for entry in house.entries()] == ["ask", "withdraw"]


def test_of_two_runs_that_race_for_a_grant_one_has_it(house):
    stores = [house.store() for _ in range(2)]
    for number in range(4):
        waiting = house.ask(stores[0], job="nightly", because=str(number))
        house.say(stores[0], waiting)
        runs = [f"j-{number}{letter * 25}" for letter in "ab"]
        answers = race(*[lambda s=s, run=run: house.start(s, job=run) for s, run in zip(stores, runs, strict=True)])
        assert sorted(map(len, answers)) == [0, 1]
        assert find(stores[0], waiting.id).run in runs


def test_many_who_ask_at_once_do_not_get_more_than_the_bound(house):
    stores = [house.store() for _ in range(2)]
    calls = [lambda number=number: house.ask(stores[number % 2], because=str(number)) for number in range(MOST + 6)]
    answers = race(*calls)
    assert sum(isinstance(answer, Refused) for answer in answers) == 6
    assert len(own(stores[0])) == MOST


def test_others_are_listed_newest_first_and_without_ones_own(quick):
    store = quick.store()
    mine = quick.ask(store)
    quick.now += 1
    hers = quick.ask(store, who=quick.ada)
    quick.now += 1
    his = quick.ask(store, who=quick.sam)
    listed = asyncio.run(store.others(KEY, quick.now, everything=False))
    assert [kept.id for kept in listed] == [his.id, hers.id]
    assert own(store) == [mine.id]
    assert find(store, "g-nothing") is None
    assert find(store, decision_id(quick.at)) is None


def test_a_database_that_does_not_answer_is_a_refusal(house):
    store = house.store()
    asked = house.ask(store)
    house.sql("DROP TABLE grants")
    assert refused(find, store, asked.id).reason is Reason.PLANE_UNAVAILABLE
    with pytest.raises(NotRecorded):
        house.say(store, asked)
