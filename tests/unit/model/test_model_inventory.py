"""The ways to a group: the shortest few, however groups are nested."""

import itertools

from remit.model.identity import Kind, Principal
from remit.model.inventory import WAYS, Account, GroupKnown, Inventory

DANA = Principal("https://login.example/t", "t", "dana", Kind.PERSON)


def nest(parents, direct):
    """An inventory by the parents of each group, and one account that is directly in some of them."""
    account = Account(DANA, "Dana", True, False, frozenset(direct), frozenset(parents), frozenset())
    return Inventory(1, (account,), {one: GroupKnown(one, one, frozenset(up)) for one, up in parents.items()}), account


def test_the_shortest_ways_are_told_first():
    found, dana = nest({"a": {"b", "top"}, "b": {"top"}, "c": {"a"}, "top": set()}, {"a", "c"})
    assert found.ways(dana, "top") == (("a", "top"), ("a", "b", "top"), ("c", "a", "top"), ("c", "a", "b", "top"))
    assert found.ways(dana, "elsewhere") == ()


def test_groups_in_a_ring_end():
    found, dana = nest({"a": {"b"}, "b": {"a", "top"}, "top": {"a"}}, {"a"})
    assert found.ways(dana, "top") == (("a", "b", "top"),)


def test_groups_that_are_nested_crosswise_cost_no_more_than_their_number():
    """Whoever owns one group below another can make 2 to the 60th ways to it: nobody waits for them."""
    levels = [(f"{level:02}-l", f"{level:02}-r") for level in range(60)]
    parents = {one: set(above) for below, above in itertools.pairwise(levels) for one in below}
    found, dana = nest({**parents, **{one: {"top"} for one in levels[-1]}, "top": set()}, levels[0])
    ways = found.ways(dana, "top")
    assert len(ways) == len(set(ways)) == WAYS
    assert {len(way) for way in ways} == {len(levels) + 1}
    assert found.ways(dana, "elsewhere") == ()
