"""What is in force: known at once here and soon everywhere, and nothing when it cannot be known."""

import time

import pytest

from remit.grants.following import EVERY, FRESH
from remit.grants.view import GrantView
from remit.model.grant import Step

NOW = 1_800_000_000  # as the house begins
KEY = "6f1c2a34-8b5d-4e6f-9a01-c0de00000001/dana"


def granted(house, store, **more):
    return house.say(store, house.ask(store, **more))


def ids(view, now=NOW, job=""):
    return [grant.id for grant in view.in_force(KEY, job, now)]


def test_an_old_view_knows_of_nothing(quick):
    grant = granted(quick, quick.store())
    view = quick.view()
    assert ids(view) == []  # it has never looked
    view.refresh()
    assert ids(view) == [grant.id]
    quick.clock += FRESH
    assert ids(view) == [grant.id]
    quick.clock += 0.001
    assert ids(view) == []
    view.refresh()
    assert ids(view) == [grant.id]
    view.close()
    assert ids(view) == []


def test_a_look_that_fails_leaves_the_view_as_old_as_it_was(house):
    granted(house, house.store())
    view = house.fresh()
    house.clock += 1.5
    house.sql("ALTER TABLE grant_changes RENAME TO gone")
    with pytest.raises(Exception, match="grant_changes"):
        view.refresh()
    assert len(ids(view)) == 1
    house.clock += 0.6
    assert ids(view) == []


def test_a_database_that_is_older_than_it_was_is_not_believed(quick):
    granted(quick, quick.store())
    view = quick.fresh()
    quick.sql("UPDATE grant_changes SET number = 0")
    with pytest.raises(RuntimeError, match="older"):
        view.refresh()


def test_it_ends_when_its_time_is_over(quick):
    grant = granted(quick, quick.store())
    view = quick.fresh()
    assert ids(view, NOW + 3599) == [grant.id]
    assert ids(view, NOW + 3600) == ids(view, NOW - 1) == []


def test_a_clock_that_is_set_back_prolongs_nothing(quick):
    store = quick.store()
    grant = granted(quick, store)
    view = quick.fresh()
    quick.clock += 3599
    view.refresh()
    assert ids(view, NOW) == [grant.id]  # the wall clock stands still
    quick.now -= 3000
    granted(quick, store, because="another")  # makes the view read again
    quick.sql("UPDATE grants SET changed = 99 WHERE id = :id", id=grant.id)
    quick.sql("UPDATE grant_changes SET number = 99")
    quick.clock += 1
    view.refresh()
    assert grant.id not in ids(view, NOW)
    quick.clock += 1
    view.refresh()
    assert grant.id not in ids(view, NOW)


def test_what_is_over_is_not_read_again_at_a_start(quick):
    granted(quick, quick.store())
    quick.now += 3600
    view = quick.fresh()
    assert ids(view, NOW) == ids(view, NOW + 3600) == []


def test_every_arbiter_knows_soon_without_being_told(house):
    store = house.store()
    with GrantView(house.reader, wall=lambda: float(house.now)) as view:
        grant = granted(house, store)
        _until(lambda: ids(view) == [grant.id])
        house.say(store, grant, house.ada, Step.WITHDRAW)
        _until(lambda: ids(view) == [])
    assert ids(view) == []


def test_a_thread_goes_on_after_a_failure_and_says_so_once(house, caplog):
    grant = granted(house, house.store())
    house.sql("ALTER TABLE grant_changes RENAME TO gone")
    with GrantView(house.reader, wall=lambda: float(house.now)) as view:
        assert ids(view) == []
        time.sleep(3 * EVERY)
        house.sql("ALTER TABLE gone RENAME TO grant_changes")
        _until(lambda: ids(view) == [grant.id])
    assert caplog.text.count("grants cannot be followed") == 1


def test_many_grants_are_read_at_once(quick):
    store = quick.store()
    grants = {granted(quick, store, because=str(number)).id for number in range(20)}
    assert set(ids(quick.fresh())) == grants


def _until(true, patience=20.0):
    ends = time.monotonic() + patience
    while not true():
        assert time.monotonic() < ends
        time.sleep(0.01)
