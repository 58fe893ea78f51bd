"""How long runs take, and which hops end before them."""

import random
from dataclasses import replace

import pytest

from remit.model.job import Run, usually
from remit.model.lifetime import Hop, outlives

RUN = Run("j-" + "1" * 26, "tid/dana", "nightly", "p", 3600, 1_000_000)


@pytest.mark.promise("N2")
@pytest.mark.parametrize(
    ("durations", "expected"),
    [
        ([], 0),
        ([60, 60, 60, 60], 0),
        ([60, 50, 40, 30, 3600], 3600),
        ([60] * 19 + [3600], 60),
        ([60] * 18 + [3600, 3600], 3600),
        (list(range(1, 101)), 95),
    ],
)
def test_95_of_100_past_runs_kept_within(durations, expected):
    random.Random(7).shuffle(durations)
    assert usually(durations) == expected


def test_a_run_is_the_same_whenever_it_is_told():
    assert RUN.same(replace(RUN, started=5, ended=9))
    for change in ({"principal": "tid/ada"}, {"name": "n"}, {"project": "q"}, {"lasting": 1}, {"id": "j-"}):
        assert not RUN.same(replace(RUN, **change))


@pytest.mark.promise("V13")
@pytest.mark.promise("N2")
def test_only_what_ends_for_good_before_the_work_does_is_outlived():
    hops = (
        Hop("long", 7200, renews=False, why=""),
        Hop("short", 60, renews=False, why=""),
        Hop("token", 5, renews=True, why=""),
        Hop("somebody's", None, renews=False, why=""),
        Hop("exact", 3600, renews=False, why=""),
        Hop("over", 0, renews=False, why=""),
    )
    assert [hop.name for hop in outlives(3600, hops)] == ["over", "short"]
    assert [hop.name for hop in outlives(3601, hops)] == ["over", "short", "exact"]
    assert outlives(0, hops) == ()
