"""The directory's inventory against the lab's Graph: who is in it, by which ways, and that it is whole or not at all."""

import asyncio
import importlib.util
import json
import sys
import threading
import time
import uuid
from pathlib import Path

import httpx
import pytest
from sqlalchemy import inspect, select, update

from remit.identity.directory import tables
from remit.identity.directory.graph import GraphFailed
from remit.identity.directory.inventory import DirectoryInventory, KeptInventory
from remit.lab import contoso
from remit.lab.directory import Directory
from remit.lab.entra_born import role_id
from remit.lab.graph import Graph
from remit.model.errors import Refused
from remit.model.identity import Kind
from remit.model.inventory import Inventory
from remit.model.reasons import Reason
from remit.state.database import open_database
from remit.state.schema import migrate
from remit.state.settings import StateSettings

NAME = "identity_lab_graph"
if NAME not in sys.modules:
    spec = importlib.util.spec_from_file_location(NAME, Path(__file__).with_name("lab_graph.py"))
    sys.modules[NAME] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[NAME])
world_of = sys.modules[NAME]
DANA, OLGA, PIPELINE = (each.key for each in (world_of.DANA, world_of.OLGA, world_of.PIPELINE))
GIL, ADA, SAM = (f"{contoso.TENANT}/{user.oid}" for user in (contoso.GIL, contoso.ADA, contoso.SAM))
FRAUD, ENGINEERS, EVERYONE = contoso.ML_ENGINEERS_FRAUD.id, contoso.ML_ENGINEERS.id, contoso.ML_ALL.id
SCIENTISTS, SECURITY = contoso.DATA_SCIENTISTS.id, contoso.SECURITY.id
AT = 1_795_000_000


class World(world_of.LabWorld):
    """`changed`: what becomes of an answer, by the end of its path; `pages` until `broken` are good."""

    def __init__(self):
        super().__init__()
        self.changed = {}
        self.broken = None

    async def handle_async_request(self, request):
        if self.broken is not None and len(self.asked) >= self.broken:
            self.down = True
        answer = await super().handle_async_request(request)
        for end, change in self.changed.items():
            if request.url.path.endswith(end):
                body = json.loads(b"".join([part async for part in answer.stream]))
                change(body)
                headers = {"content-type": "application/json"}
                return httpx.Response(answer.status_code, headers=headers, stream=httpx.ByteStream(_json(body)))
        return answer


def _json(body):
    return json.dumps(body).encode()


@pytest.fixture
def engine(request, tmp_path):
    postgres = getattr(request, "param", "sqlite") == "postgres"
    url = request.getfixturevalue("postgres_database") if postgres else f"sqlite:///{tmp_path}/state.db"
    engine = open_database(StateSettings(url))
    yield engine
    engine.dispose()


BOTH = pytest.mark.parametrize("engine", ["sqlite", "postgres"], indirect=True)


@pytest.fixture
def made(engine):
    migrate(engine, "directory", tables.metadata, tables.STEPS)
    return engine


@pytest.fixture
def world():
    return World()


def reading(world, kept=None, named=(EVERYONE,)):
    return DirectoryInventory(
        world.graph, kept, app=contoso.REMIT.id, named=lambda: frozenset(named), clock=lambda: int(world.clock())
    )


def read(world, **more):
    return asyncio.run(reading(world, **more).read())


def of(found, key):
    account = found.account(key)
    assert account is not None
    return account


def test_nested_groups_and_the_ways_to_them(world):
    found = read(world)
    dana = of(found, DANA)
    assert (dana.name, dana.enabled, dana.guest, dana.principal.kind) == ("Dana", True, False, Kind.PERSON)
    assert dana.principal == world_of.DANA
    assert dana.direct == {FRAUD}
    assert dana.groups == {FRAUD, ENGINEERS, EVERYONE}
    assert found.ways(dana, EVERYONE) == ((FRAUD, ENGINEERS, EVERYONE),)
    assert [found.name(each) for each in found.ways(dana, EVERYONE)[0]] == [
        "ml-engineers-fraud",
        "ml-engineers",
        "ml-all",
    ]
    assert found.ways(of(found, SAM), EVERYONE) == ()
    assert of(found, ADA).groups == {SCIENTISTS, EVERYONE}
    assert found.groups[EVERYONE].parents == frozenset()
    assert found.groups[FRAUD].parents == {ENGINEERS}
    assert found.at == AT


def test_every_way_is_told_the_shortest_first_and_a_circle_ends(world):
    world.directory.join(EVERYONE, world_of.DANA.subject)
    world.directory.join(FRAUD, EVERYONE)
    found = read(world)
    dana = of(found, DANA)
    assert found.ways(dana, EVERYONE) == ((EVERYONE,), (FRAUD, ENGINEERS, EVERYONE))
    assert dana.groups == {FRAUD, ENGINEERS, EVERYONE}


def test_only_groups_that_policies_name_are_followed(world):
    found = read(world, named=(SECURITY, "9f000000-0000-4000-8000-00000000dead", "no id"))
    assert of(found, DANA).groups == frozenset()
    assert of(found, SAM).groups == {SECURITY}
    assert len(found.groups) == len(contoso.GROUPS)
    assert found.name(FRAUD) == "ml-engineers-fraud"
    asked = [part["url"] for _, url, body in world.asked if url.endswith("$batch") for part in body["requests"]]
    assert all(SECURITY in url for url in asked)


def test_an_id_that_a_policy_writes_in_capitals_is_the_same_group(world):
    assert of(read(world, named=(EVERYONE.upper(),)), DANA).groups == {FRAUD, ENGINEERS, EVERYONE}


def test_roles_of_people_and_of_workloads(world):
    found = read(world)
    assert of(found, DANA).roles == {"MLEngineer"}
    pipeline = of(found, PIPELINE)
    assert (pipeline.roles, pipeline.principal.kind) == ({"Pipeline"}, Kind.WORKLOAD)
    assert found.roles == {"DataScientist", "MLEngineer", "Pipeline", "Security"}
    assert found.account(f"{contoso.TENANT}/{contoso.MI_ARBITER.oid}") is None, "neither role nor group"


def assigned(group, role):
    def change(body):
        row = {"id": f"{group}-{role}", "appRoleId": role_id(role), "principalId": group.upper()}
        body["value"].append(row)

    return change


def test_a_group_s_role_is_its_direct_members_and_no_policy_has_to_name_the_group(world):
    world.changed["appRoleAssignedTo"] = assigned(ENGINEERS, "Security")
    world.directory.join(ENGINEERS, contoso.ADA.oid)
    found = read(world, named=())
    assert of(found, ADA).roles == {"DataScientist", "Security"}
    assert of(found, DANA).roles == {"MLEngineer"}, "a nested member gets none"
    assert of(found, DANA).groups == {FRAUD, ENGINEERS}


def test_a_role_that_is_switched_off_is_nobody_s(world):
    def change(body):
        for one in body["value"]:
            for role in one.get("appRoles", ()):
                role["isEnabled"] = role["value"] != "MLEngineer"

    world.changed["/servicePrincipals"] = change
    found = read(world)
    assert of(found, DANA).roles == frozenset()
    assert "MLEngineer" not in found.roles


def test_an_application_that_is_not_there_has_no_roles(world):
    found = DirectoryInventory(world.graph, None, app=str(uuid.uuid4()), named=frozenset, clock=lambda: AT)
    assert asyncio.run(found.read()).roles == frozenset()


def test_guests_the_disabled_and_the_deleted(world):
    world.directory.set_enabled(world_of.OLGA.subject, False)
    world.directory.delete(contoso.ADA.oid)
    found = read(world)
    assert of(found, GIL).guest
    assert not of(found, OLGA).enabled
    assert found.account(ADA) is None
    assert all(not account.guest for account in found.accounts if account.principal.key in {DANA, OLGA, SAM})


def test_owners_are_named(world):
    assert read(world).groups[FRAUD].owners == ("Olga",)
    world.directory.delete(world_of.OLGA.subject)
    assert read(world).groups[FRAUD].owners == ()


class Small(World):
    """`$top` is one, whatever is asked for, so that every collection comes one by one."""

    async def handle_async_request(self, request):
        if request.url.path.endswith("$batch"):
            parts = json.loads(await request.aread())
            for part in parts["requests"]:
                part["url"] = part["url"].replace("$top=999", "$top=1")
            request = httpx.Request("POST", request.url, headers=_bare(request), json=parts)
        elif "top=999" in str(request.url):
            request = httpx.Request("GET", str(request.url).replace("top=999", "top=1"), headers=_bare(request))
        return await super().handle_async_request(request)


def _bare(request):
    return {"authorization": request.headers["authorization"]}


def test_pages_of_one_say_the_same():
    small, world = Small(), World()
    for each in (small, world):
        each.directory = Directory(each.clock, contoso.GROUPS[:5])
        log = type("Log", (), {"entries": []})()
        each.lab = Graph(each, log, time.time, each.directory)
    assert read(small) == read(world)
    assert sum("skiptoken" in url for _, url, _ in small.asked) > len(contoso.USERS)
    assert not any("skiptoken" in url for _, url, _ in world.asked)


def test_an_item_that_stands_on_two_pages_is_one_account(world):
    world.changed["/users"] = lambda body: body["value"].append(body["value"][0])
    keys = [account.principal.key for account in read(world).accounts]
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize(
    ("end", "change"),
    [
        ("/users", lambda body: body["value"].append("dana")),
        ("/users", lambda body: body["value"].append({"displayName": "no id"})),
        ("/users", lambda body: body["value"].append({"id": "../../x"})),
        ("/groups", lambda body: body["value"].append({"id": None, "securityEnabled": True})),
        ("/servicePrincipals", lambda body: [one.update(appRoles={"a": 1}) for one in body["value"]]),
        ("/servicePrincipals", lambda body: [one.update(appRoles=[5]) for one in body["value"]]),
        ("/servicePrincipals", lambda body: [one.update(appRoles=5) for one in body["value"]]),
        ("appRoleAssignedTo", lambda body: body.update(value={})),
        ("$batch", lambda body: body["responses"].pop()),
        ("$batch", lambda body: body["responses"][0].update(status=404)),
        ("$batch", lambda body: body["responses"][0]["body"].update(value=[{"id": "x"}])),
    ],
)
def test_what_cannot_be_read_is_no_reading(world, end, change):
    world.changed[end] = change
    with pytest.raises(GraphFailed):
        read(world)


def test_a_role_assignment_that_names_nothing_known_gives_nothing(world):
    def change(body):
        body["value"] += [
            {"id": "1", "appRoleId": role_id("Security"), "principalId": "../x"},
            {"id": "2", "appRoleId": "00000000-0000-0000-0000-000000000000", "principalId": contoso.DANA.oid},
            {"id": "3"},
        ]

    world.changed["appRoleAssignedTo"] = change
    assert of(read(world), DANA).roles == {"MLEngineer"}


def test_names_hold_nothing_that_a_terminal_obeys(world):
    def change(body):
        body["value"][0]["displayName"] = "D\x1b[2Jana\n" + "x" * 400
        body["value"][1]["displayName"] = None

    world.changed["/users"] = change
    found = read(world)
    assert of(found, DANA).name.startswith("D\N{REPLACEMENT CHARACTER}[2Jana\N{REPLACEMENT CHARACTER}x")
    assert len(of(found, DANA).name) == 256
    assert of(found, ADA).name == contoso.ADA.oid


@pytest.mark.parametrize("missing", ["GroupMember.Read.All", "User.Read.All", "Application.Read.All"])
def test_without_a_permission_there_is_no_reading(world, missing):
    world.permissions.remove(missing)
    with pytest.raises(GraphFailed, match="refuses"):
        read(world)


def kept(engine, tenant=contoso.TENANT):
    return KeptInventory(tenant, engine, engine)


@BOTH
def test_what_was_read_is_kept_as_it_was(world, made):
    found = asyncio.run(reading(world, kept(made)).refresh())
    assert kept(made).inventory() == found
    world.clock.now += 300
    world.directory.delete(contoso.ADA.oid)
    asyncio.run(reading(world, kept(made)).refresh())
    assert kept(made).inventory().account(ADA) is None
    assert kept(made).inventory().at == AT + 300


def test_a_reading_is_parsed_once_and_a_newer_one_takes_its_place(made):
    found = kept(made)
    found.keep(contoso.TENANT, Inventory(AT, (), roles=frozenset({"r"})))
    first = found.inventory()
    assert found.inventory() is first
    kept(made).keep(contoso.TENANT, Inventory(AT + 1, ()))  # by another arbiter
    assert found.inventory() == Inventory(AT + 1, ())


@BOTH
def test_before_the_first_reading_nothing_is_known(made):
    with pytest.raises(Refused, match="has not been read yet") as refused:
        kept(made).inventory()
    assert refused.value.reason is Reason.PLANE_UNAVAILABLE
    assert refused.value.hint


def test_where_there_is_no_table_nothing_is_known(engine):
    with pytest.raises(Refused, match="cannot be read right now"):
        kept(engine).inventory()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"at": 1, "groups": [[1]], "accounts": []}', "null"])
def test_a_row_that_is_no_inventory_is_no_yes(made, text):
    kept(made).keep(contoso.TENANT, Inventory(AT, ()))
    with made.begin() as connection:
        connection.execute(update(tables.inventories).values(document=text))
    with pytest.raises(Refused) as refused:
        kept(made).inventory()
    assert refused.value.reason is Reason.PLANE_UNAVAILABLE


@pytest.mark.parametrize("after", [0, 1, 2, 3, 4, 5, 6, 7])
def test_a_reading_that_fails_anywhere_keeps_the_last_one(world, made, after):
    first = asyncio.run(reading(world, kept(made)).refresh())
    world.clock.now += 300
    world.directory.delete(contoso.ADA.oid)
    world.broken = len(world.asked) + after
    with pytest.raises(GraphFailed) as failed:
        asyncio.run(reading(world, kept(made)).refresh())
    assert "secret" not in str(failed.value)
    assert kept(made).inventory() == first


def test_each_tenant_has_its_own(made):
    kept(made).keep(contoso.TENANT, Inventory(AT, ()))
    with pytest.raises(Refused):
        kept(made, contoso.FABRIKAM).inventory()
    kept(made).keep(contoso.FABRIKAM, Inventory(AT + 7, ()))
    assert kept(made).inventory().at == AT
    assert kept(made, contoso.FABRIKAM).inventory().at == AT + 7


def test_an_older_reading_never_replaces_a_newer_one(made):
    kept(made).keep(contoso.TENANT, Inventory(AT + 50, ()))
    kept(made).keep(contoso.TENANT, Inventory(AT, ()))
    assert kept(made).inventory().at == AT + 50
    kept(made).keep(contoso.TENANT, Inventory(AT + 50, (), roles=frozenset({"r"})))
    assert kept(made).inventory().roles == {"r"}


@BOTH
def test_writers_that_race_leave_the_newest(made):
    times = [AT + number for number in range(12)]
    start = threading.Barrier(len(times))
    failed = []

    def write(at):
        start.wait()
        try:
            kept(made).keep(contoso.TENANT, Inventory(at, ()))
        except Exception as error:  # noqa: BLE001 - any is a failure of the test, told below
            failed.append(error)

    threads = [threading.Thread(target=write, args=(at,)) for at in times]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    with made.connect() as connection:
        assert connection.execute(select(tables.inventories.c.at)).scalars().all() == [times[-1]]


def test_it_goes_on_after_a_failure(world, made, monkeypatch, caplog):
    monkeypatch.setattr("remit.identity.directory.inventory.SOONEST", 0.001)
    asked = []

    async def main():
        arrived, keep = asyncio.Event(), kept(made)
        loop = asyncio.get_running_loop()

        class Telling(KeptInventory):
            def keep(self, tenant, found):
                keep.keep(tenant, found)
                if found.at > AT:
                    loop.call_soon_threadsafe(arrived.set)

        async def before():
            asked.append(None)
            world.down = len(asked) < 4
            world.clock.now += 1

        world.before = before
        task = asyncio.create_task(reading(world, Telling(contoso.TENANT, made, made)).keep_fresh(every=0.002))
        await asyncio.wait_for(arrived.wait(), 60)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return keep.inventory()

    assert asyncio.run(main()).account(DANA)
    assert caplog.text.count("the directory's inventory is not read: Microsoft Graph cannot be reached") == 3
    assert "secret" not in caplog.text


@BOTH
def test_an_old_room_gets_the_table(engine):
    old = [table for table in tables.metadata.sorted_tables if table is not tables.inventories]
    with engine.begin() as connection:
        tables.metadata.create_all(connection, tables=old)
    migrate(engine, "directory", type(tables.metadata)())  # version 1, as it was before there was an inventory
    assert not inspect(engine).has_table("directory_inventories")
    assert migrate(engine, "directory", tables.metadata, tables.STEPS) == 2
    columns = inspect(engine).get_columns("directory_inventories")
    assert {each["name"]: each["nullable"] for each in columns} == {"tenant": False, "at": False, "document": False}
    kept(engine).keep(contoso.TENANT, Inventory(AT, ()))
    assert kept(engine).inventory() == Inventory(AT, ())
