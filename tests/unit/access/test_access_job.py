"""From within which run somebody asks: by the arbiter's own view of runs, in every story that has one."""

import asyncio
from dataclasses import replace

import pytest
from tests.unit.access.nothing import Runs
from tests.unit.access.test_access_database import Databases
from tests.unit.access.test_access_decide import DANA, WIRE, House, exchange

from remit.access.database import Connect
from remit.model.errors import Refused
from remit.model.job import Run
from remit.model.reasons import Reason
from remit.model.secret import UnverifiedToken

KEY = DANA.principal.key
MINE, NAMELESS, OTHERS = (f"j-{number:026}" for number in range(3))
GOING = {MINE: Run(MINE, KEY, "nightly"), NAMELESS: Run(NAMELESS, KEY), OTHERS: Run(OTHERS, "t/somebody", "nightly")}


def connect(house, job):
    story = Connect(house.rooms(), Databases(house), house)
    return asyncio.run(story(UnverifiedToken("t"), "fraud", "reader", "10.0.0.1", job))


STORIES = {
    "decide": lambda house, job: house.run(replace(WIRE, job=job)),
    "exchange": lambda house, job: exchange(house, job=job),
    "database": connect,
}


@pytest.mark.parametrize("story", STORIES)
@pytest.mark.parametrize(("job", "name"), [(MINE, "nightly"), (NAMELESS, ""), ("j-unregistered", ""), ("", "")])
def test_the_name_of_a_run_is_what_it_was_registered_with(story, job, name):
    house = House(runs=Runs(GOING))
    decision = STORIES[story](house, job).decision
    assert decision.permitted
    assert (decision.circumstances.job, decision.circumstances.job_name) == (job, name)
    assert house.circumstances.job_name == name, "it is what the policies saw"
    assert ('"job_name":"nightly"' in house.entries[0]["facts"]) is bool(name)


@pytest.mark.parametrize("story", STORIES)
def test_nobody_is_in_the_run_of_somebody_else(story):
    house = House(runs=Runs(GOING))
    answer = STORIES[story](house, OTHERS)
    assert (answer.credential, answer.decision.verdict.reasons) == (None, (Reason.REQUEST_MALFORMED,))
    assert (answer.decision.circumstances.job_name, "may" in house.told) == ("", False)


@pytest.mark.parametrize("story", STORIES)
@pytest.mark.parametrize("error", [Refused(Reason.PLANE_UNAVAILABLE), OSError("secret")])
def test_where_it_cannot_be_told_which_run_it_is_nothing_is_decided(story, error):
    house = House(runs=Runs(failing=error))
    answer = STORIES[story](house, MINE)
    assert (answer.credential, answer.decision.verdict.reasons) == (None, (Reason.PLANE_UNAVAILABLE,))
    assert "may" not in house.told
