"""Groups of somebody whose token lacks them, and the ways to them, against the lab's Graph."""

import asyncio
import importlib.util
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from remit.identity.directory import group_paths
from remit.identity.directory.graph import Failing, GraphFailed, Listing
from remit.identity.directory.group_paths import GroupPaths
from remit.identity.directory.groups import FRESH, RETRY, STALE, DirectoryGroups
from remit.lab import contoso
from remit.model.errors import Refused
from remit.model.identity import Kind
from remit.model.reasons import Reason

NAME = "identity_lab_graph"
if NAME not in sys.modules:
    spec = importlib.util.spec_from_file_location(NAME, Path(__file__).with_name("lab_graph.py"))
    sys.modules[NAME] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[NAME])
world_of = sys.modules[NAME]
DANA, OLGA, PIPELINE = world_of.DANA, world_of.OLGA, world_of.PIPELINE
NOW = 1_795_000_000
FRAUD, ENGINEERS, EVERYONE = contoso.ML_ENGINEERS_FRAUD, contoso.ML_ENGINEERS, contoso.ML_ALL


@pytest.fixture
def world():
    return world_of.LabWorld()


def of(source, principal=DANA, now=NOW):
    return asyncio.run(source.of(principal, now))


def incomplete(source, principal=DANA, now=NOW):
    with pytest.raises(Refused) as refused:
        of(source, principal, now)
    assert refused.value.reason is Reason.IDENTITY_INCOMPLETE
    assert "secret" not in str(refused.value)
    return refused.value


def test_overage_is_resolved_at_graph_by_tenant_and_object_id(world):
    groups = DirectoryGroups(world.graph)
    found = of(groups, OLGA)
    assert len(found.groups) == 253
    assert {FRAUD.id, ENGINEERS.id, EVERYONE.id} <= found.groups
    assert found.at == NOW
    assert world.asked == [
        (
            "POST",
            f"https://graph.microsoft.com/v1.0/users/{OLGA.subject}/getMemberObjects",
            {"securityEnabledOnly": True},
        )
    ]


def test_workloads_are_asked_as_graph_takes_it_for_them(world):
    world.directory.join(EVERYONE.id, PIPELINE.subject)
    assert of(DirectoryGroups(world.graph), PIPELINE).groups == {EVERYONE.id}
    _, url, body = world.asked[0]
    assert url.endswith(f"/v1.0/servicePrincipals/{PIPELINE.subject}/getMemberGroups")
    assert body == {"securityEnabledOnly": False}


@pytest.mark.parametrize(
    "change", [{"tenant": contoso.FABRIKAM}, {"tenant": "okta"}, {"subject": "../x"}, {"subject": DANA.subject.upper()}]
)
def test_nobody_of_another_tenant_is_asked_for(world, change):
    incomplete(DirectoryGroups(world.graph), replace(DANA, **change))
    with pytest.raises(Refused):
        of(GroupPaths(world.graph), replace(DANA, **change))
    assert world.asked == []


def test_a_membership_is_kept_while_it_is_fresh_and_no_longer(world):
    groups = DirectoryGroups(world.graph)
    of(groups)
    world.directory.join(contoso.SECURITY.id, DANA.subject)
    assert contoso.SECURITY.id not in of(groups, now=NOW + FRESH - 1).groups
    assert len(world.asked) == 1
    newer = of(groups, now=NOW + FRESH)
    assert contoso.SECURITY.id in newer.groups
    assert newer.at == NOW + FRESH


def test_the_last_membership_serves_with_its_age_while_graph_fails(world, caplog):
    groups = DirectoryGroups(world.graph)
    first = of(groups)
    world.down = True
    assert of(groups, now=NOW + FRESH) is first
    assert of(groups, now=NOW + FRESH + RETRY - 1) is first
    assert len(world.asked) == 2
    assert of(groups, now=NOW + STALE) is first
    assert len(world.asked) == 3
    assert "cannot be reached: ConnectError" in incomplete(groups, now=NOW + STALE + RETRY).message
    assert "secret" not in caplog.text
    world.down = False
    assert of(groups, now=NOW + STALE + RETRY).at == NOW + STALE + RETRY


def test_what_was_never_read_is_incomplete(world):
    world.down = True
    groups = DirectoryGroups(world.graph)
    assert incomplete(groups).hint == "try again soon"
    world.down = False
    world.permissions = []
    assert "refuses" in incomplete(groups).message


def test_past_the_age_while_the_failure_is_fresh(world):
    groups = DirectoryGroups(world.graph, fresh=1, stale=3)
    of(groups)
    world.down = True
    of(groups, now=NOW + 2)
    assert "did not answer" in incomplete(groups, now=NOW + 4).message


def test_an_account_that_is_gone_ends_what_was_known(world):
    groups = DirectoryGroups(world.graph)
    of(groups)
    world.directory.delete(DANA.subject)
    incomplete(groups, now=NOW + FRESH)
    world.down = True
    incomplete(groups, now=NOW + FRESH + 1)


def test_more_groups_than_are_believed(world):
    incomplete(DirectoryGroups(world.graph, limit=252), OLGA)
    assert len(of(DirectoryGroups(world.graph, limit=253), OLGA).groups) == 253


def test_throttling_is_waited_for(world):
    world.lab.throttle(2, 2)
    assert len(of(DirectoryGroups(world.graph)).groups) == 3
    world.lab.throttle(1, 3600)
    incomplete(DirectoryGroups(world.graph))


class Saying:
    """A Graph that gives these groups."""

    tenant = contoso.TENANT

    def __init__(self, *items):
        self.items = items

    async def collect(self, _path, **_):
        return Listing(self.items)


@pytest.mark.parametrize("item", [7, "x", FRAUD.id.upper(), None, {"id": FRAUD.id}])
def test_groups_are_object_ids_or_nothing_is_believed(item):
    incomplete(DirectoryGroups(Saying(FRAUD.id, item)))


def test_many_who_ask_at_once_cost_one_question_and_may_give_up(world):
    async def story():
        gate = asyncio.Event()
        world.before = gate.wait
        groups = DirectoryGroups(world.graph)
        waiting = [asyncio.create_task(groups.of(DANA, NOW)) for _ in range(50)]
        await asyncio.sleep(0.01)
        for task in waiting[:25]:
            task.cancel()
        gate.set()
        found = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(each, asyncio.CancelledError) for each in found[:25])
        assert len({each.groups for each in found[25:]}) == 1
        assert len(world.asked) == 1
        # nobody is left to hear of the failure
        gate.clear()
        world.down = True
        alone = asyncio.create_task(groups.of(OLGA, NOW))
        await asyncio.sleep(0.01)
        alone.cancel()
        gate.set()
        await asyncio.sleep(0.01)
        assert not groups._asking
        gate.clear()
        task = asyncio.create_task(groups.of(OLGA, NOW))
        await asyncio.sleep(0.01)
        groups._asking[OLGA].cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(story())


def test_no_more_principals_are_kept_than_there_is_room_for(world):
    groups = DirectoryGroups(world.graph, size=1)
    of(groups)
    of(groups, OLGA)
    of(groups)
    assert len(world.asked) == 3


def test_five_thousand_groups():
    nest = [contoso.Group(f"9c000000-0000-4000-8000-{n:012}", f"g{n}", (DANA.subject,)) for n in range(5_000)]
    world = world_of.LabWorld(nest)
    groups = DirectoryGroups(world.graph)
    began = time.perf_counter()
    assert len(of(groups).groups) == 5_000
    took = time.perf_counter() - began
    assert took < 2.0
    print(f"5,000 groups in {took * 1000:.0f} ms, the lab included")


# the ways


def told(paths):
    return [" → ".join([*(name for _, name in path.via), path.name]) for path in paths]


def test_nested_groups_keep_the_way_by_which_they_reached_somebody(world):
    paths = GroupPaths(world.graph)
    assert told(of(paths)) == [
        "ml-engineers-fraud → ml-engineers → ml-all",
        "ml-engineers-fraud → ml-engineers",
        "ml-engineers-fraud",
    ]
    first = of(paths)[0]
    assert (first.group, first.via[0]) == (EVERYONE.id, (FRAUD.id, FRAUD.name))


def test_a_way_is_kept_while_it_is_fresh(world):
    paths = GroupPaths(world.graph, size=1)
    of(paths)
    world.down = True
    assert of(paths, now=NOW + group_paths.FRESH - 1)
    assert "cannot be reached" in incomplete(paths, now=NOW + group_paths.FRESH).message
    world.down = False
    asked = len(world.asked)
    of(paths, OLGA)
    of(paths)
    assert len(world.asked) > asked + 4


def test_round_trips_are_few(world):
    paths = of(GroupPaths(world.graph), OLGA)
    assert len(paths) == 253
    assert len(world.asked) == 1 + 13 + 1 + 1  # direct; 251 groups, twenty at once; ml-engineers; ml-all


def test_all_ways_are_told_shortest_first_and_circles_end():
    def group(number, name, *members):
        return contoso.Group(f"9c000000-0000-4000-8000-{number:012}", name, members)

    ids = [f"9c000000-0000-4000-8000-{number:012}" for number in range(4)]
    nest = [
        group(0, "a", DANA.subject, ids[2]),
        group(1, "b", ids[0], DANA.subject),
        group(2, "c", ids[1]),
        group(3, "d", ids[3]),
    ]
    ways = told(of(GroupPaths(world_of.LabWorld(nest).graph)))
    assert ways == ["a", "b → c → a", "b", "a → b", "b → c", "a → b → c"]


def test_a_dense_nest_tells_a_few_ways_and_ends():
    ids = [f"9c000000-0000-4000-8000-{number:012}" for number in range(30)]
    nest = [contoso.Group(each, each[-2:], (DANA.subject, *(other for other in ids if other != each))) for each in ids]
    ways = of(GroupPaths(world_of.LabWorld(nest).graph))
    assert len(ways) == 30 * group_paths.WAYS


def test_more_groups_than_anybody_is_in(world):
    incomplete(GroupPaths(world.graph, limit=252), OLGA)
    incomplete(GroupPaths(world.graph, limit=2))


class Memberships(Saying):
    async def batch(self, paths, **_):
        return tuple(Listing(()) for _ in paths)


def test_roles_and_lists_without_security_are_no_ways():
    group = {"@odata.type": "#microsoft.graph.group", "id": FRAUD.id}
    others = ({**group, "securityEnabled": False}, {**group, "@odata.type": "#microsoft.graph.directoryRole"})
    assert of(GroupPaths(Memberships(*others))) == ()
    assert len(of(GroupPaths(Memberships(*others)), PIPELINE)) == 1
    (path,) = of(GroupPaths(Memberships({**group, "displayName": None})))
    assert path.name == FRAUD.id
    (path,) = of(GroupPaths(Memberships({**group, "displayName": "a\x1b[31m" + "b" * 999})))
    assert path.name.startswith("a\N{REPLACEMENT CHARACTER}[31mb")
    assert len(path.name) == 256
    for wrong in (7, {**group, "id": "x"}, {**group, "id": None}):
        incomplete(GroupPaths(Memberships(wrong)))


def test_failures_are_named():
    failed = GraphFailed(Failing.REFUSED, "refuses", hint="h")
    assert str(failed) == "Microsoft Graph refuses"
    assert DANA.kind is Kind.PERSON


def test_nobody_waits_long_and_the_answer_is_there_for_the_next_attempt():
    class Slow:
        tenant = contoso.TENANT
        asked = 0

        async def collect(self, path, **_):
            self.asked += 1
            await asyncio.sleep(0.2)
            return Listing((FRAUD.id,), "")

    async def story():
        graph = Slow()
        groups = DirectoryGroups(graph, patience=0.02, first=0.04)
        with pytest.raises(Refused) as refused:
            await groups.of(DANA, NOW)
        assert refused.value.reason is Reason.IDENTITY_INCOMPLETE
        assert refused.value.hint == "try again soon"
        await asyncio.sleep(0.3)
        found = await groups.of(DANA, NOW + 1)
        # a slow directory does not keep a membership from serving while it may
        later = await groups.of(DANA, NOW + FRESH)
        await asyncio.sleep(0.3)
        return graph.asked, found, later

    asked, found, later = asyncio.run(story())
    assert (asked, found.groups) == (2, {FRAUD.id})
    assert later is found


def test_who_has_no_membership_that_may_serve_is_waited_for_longer():
    class Slow:
        tenant = contoso.TENANT

        async def collect(self, path, **_):
            await asyncio.sleep(0.1)
            return Listing((FRAUD.id,), "")

    async def story():
        groups = DirectoryGroups(Slow(), patience=0.01, first=20)
        found = await groups.of(DANA, NOW)
        last = await groups.of(DANA, NOW + FRESH)
        await asyncio.sleep(0.3)
        return found, last, await groups.of(DANA, NOW + FRESH + STALE + 1)

    found, last, new = asyncio.run(story())
    assert last is found
    assert (found.at, new.at) == (NOW, NOW + FRESH + STALE + 1)
