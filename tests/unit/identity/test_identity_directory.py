"""The directory's poll against the lab's Graph: who is gone, whose sessions ended, and what was told already."""

import asyncio
import importlib.util
import sys
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from remit.identity.directory import tables as directory_tables
from remit.identity.directory.graph import Listing
from remit.identity.directory.poll import HORIZON, SOURCE, DirectoryPoll
from remit.identity.directory.told import Standing, Told
from remit.lab import contoso
from remit.model.errors import Refused
from remit.model.reasons import Reason
from remit.model.revocation import Revocation, Scope
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


def oid(subject):
    return subject.split("/")[1]


class Sink:
    """What was told, in order; `broken`: subjects that cannot be told of."""

    def __init__(self):
        self.told = []
        self.broken = {}

    async def revoke(self, revocation):
        await self._tell(revocation.subject)
        self.told.append(revocation)
        return len(self.told)

    async def lift(self, scope, subject, source):
        await self._tell(subject)
        self.told.append((scope, subject, source))

    async def _tell(self, subject):
        await asyncio.sleep(0)
        if subject in self.broken:
            raise self.broken[subject]

    def take(self):
        told, self.told = self.told, []
        return told


def lock(subject):
    return Revocation(
        Scope.PRINCIPAL, subject, locked=True, source=SOURCE, because="the account is disabled or deleted"
    )


def ended(subject, before):
    because = "the directory ended the account's sessions"
    return Revocation(Scope.PRINCIPAL, subject, before=before, source=SOURCE, because=because)


def lift(subject):
    return (Scope.PRINCIPAL, subject, "directory")


@pytest.fixture
def engine(request, tmp_path):
    postgres = getattr(request, "param", "sqlite") == "postgres"
    url = request.getfixturevalue("postgres_database") if postgres else f"sqlite:///{tmp_path}/state.db"
    engine = open_database(StateSettings(url))
    migrate(engine, "identity_directory", directory_tables.metadata, directory_tables.STEPS)
    yield engine
    engine.dispose()


class Story:
    def __init__(self, engine):
        self.world = world_of.LabWorld()
        self.directory = self.world.directory
        self.sink = Sink()
        self.told = Told(engine, engine)
        self.poll = self.another()

    def another(self, **more):
        """A second arbiter, or this one after a restart."""
        clock = self.world.clock
        return DirectoryPoll(self.world.graph, self.sink, self.told, clock=clock, wall=clock, **more)

    def round(self, poll=None):
        asyncio.run((poll or self.poll).poll())
        return self.sink.take()


@pytest.fixture
def story(engine):
    return Story(engine)


def rows(engine):
    with engine.connect() as connection:
        return connection.execute(select(directory_tables.told)).all()


def test_a_quiet_directory_says_nothing(story):
    assert story.round() == []
    assert len(story.world.asked) == 2
    assert story.round() == []
    assert all("$deltatoken" in url for _, url, _ in story.world.asked[2:])
    assert story.poll.trouble == ""


@pytest.mark.promise("N10")
def test_a_disabled_account_is_locked_until_it_is_back(story):
    story.round()
    story.directory.set_enabled(oid(DANA), False)
    story.directory.set_enabled(oid(PIPELINE), False)
    assert sorted(map(repr, story.round())) == sorted(map(repr, [lock(DANA), lock(PIPELINE)]))
    assert story.round() == []
    story.directory.set_enabled(oid(DANA), True)
    assert story.round() == [lift(DANA)]
    assert story.round() == []


def test_ended_sessions_end_what_was_issued_up_to_that_second(story):
    story.round()
    story.directory.revoke_sessions(oid(DANA))
    before = int(story.world.clock.now) + 1
    assert story.round() == [ended(DANA, before)]
    assert story.round() == []
    story.world.clock.now += 100
    story.directory.revoke_sessions(oid(DANA))
    story.directory.set_enabled(oid(DANA), False)
    assert story.round() == [ended(DANA, before + 100), lock(DANA)]
    story.directory.set_enabled(oid(DANA), True)
    assert story.round() == [lift(DANA)]


@pytest.mark.parametrize("engine", ["sqlite", "postgres"], indirect=True)
def test_what_ended_before_anything_that_still_lives_is_not_told(story, engine):
    story.directory.revoke_sessions(oid(DANA))
    story.world.clock.now += HORIZON + 2
    assert story.round() == []
    story.directory.revoke_sessions(oid(OLGA))
    assert len(story.round()) == 1
    assert len(rows(engine)) == 1
    story.world.clock.now += HORIZON + 2
    story.directory.set_enabled(oid(OLGA), True)
    assert story.round() == []
    assert rows(engine) == []


def test_a_deleted_account_is_locked_and_a_restored_one_is_not(story):
    story.round()
    story.directory.delete(oid(DANA))
    assert story.round() == [lock(DANA)]
    story.directory.restore(oid(DANA))
    assert story.round() == [lift(DANA)]


def test_who_was_deleted_while_nobody_looked(story):
    story.round()
    story.directory.delete(oid(DANA))
    story.world.lab.operations.delta.forget()
    assert story.round() == []
    assert "not followed" in story.poll.trouble
    assert story.round() == [lock(DANA)]
    assert story.poll.trouble == ""


def test_everything_is_read_anew_from_time_to_time(story):
    story.round()
    story.world.clock.now += 3601
    story.directory._journal.clear()
    story.directory.find(oid(DANA)).enabled = False  # a change that no delta carries
    assert story.round() == [lock(DANA)]
    assert "$deltatoken" not in story.world.asked[2][1]


@pytest.mark.parametrize("engine", ["sqlite", "postgres"], indirect=True)
def test_a_restart_and_a_second_arbiter_tell_nothing_twice(story):
    story.directory.set_enabled(oid(DANA), False)
    story.directory.revoke_sessions(oid(OLGA))
    assert len(story.round()) == 2
    second = story.another()
    assert story.round(second) == []
    story.directory.set_enabled(oid(DANA), True)
    assert story.round(second) == [lift(DANA)]
    assert story.round() == []


def test_the_last_view_stays_while_graph_is_away(story, caplog):
    story.directory.set_enabled(oid(DANA), False)
    story.round()
    story.world.down = True
    assert story.round() == []
    assert "users are not followed: Microsoft Graph cannot be reached" in story.poll.trouble
    assert "service principals" in story.poll.trouble
    story.round()
    assert caplog.text.count("not followed") == 2
    assert "secret" not in caplog.text
    story.world.down = False
    assert story.round() == []
    assert story.poll.trouble == ""


def test_people_are_followed_without_the_permission_for_workloads(story):
    story.world.permissions = ["User.Read.All"]
    story.directory.set_enabled(oid(DANA), False)
    assert story.round() == [lock(DANA)]
    assert story.poll.trouble.startswith("the directory's service principals are not followed")


@pytest.mark.parametrize(
    "error", [Refused(Reason.PLANE_UNAVAILABLE), RuntimeError("private"), OperationalError("a", {}, None)]
)
def test_what_could_not_be_told_is_told_next_time_and_keeps_nobody_waiting(story, error):
    story.directory.set_enabled(oid(DANA), False)
    story.directory.set_enabled(oid(OLGA), False)
    story.sink.broken = {DANA: error}
    assert story.round() == [lock(OLGA)]
    assert story.poll.trouble.startswith("1 change of the directory not told: ")
    assert "private" not in story.poll.trouble
    story.sink.broken = {}
    assert story.round() == [lock(DANA)]
    assert story.poll.trouble == ""


def test_a_later_word_replaces_one_that_is_due(story):
    story.round()
    story.sink.broken = {DANA: RuntimeError()}
    story.directory.set_enabled(oid(DANA), False)
    story.round()
    story.directory.set_enabled(oid(DANA), True)
    story.round()
    story.sink.broken = {}
    assert story.round() == [lift(DANA)]  # which may have come through
    assert story.poll.trouble == ""


def test_who_died_while_telling_is_followed_by_one_who_tells_again(story):
    story.directory.revoke_sessions(oid(DANA))
    before = int(story.world.clock.now) + 1
    story.directory.set_enabled(oid(DANA), False)
    story.told.put(DANA, Standing(locked=True, before=before, sure=False))
    assert story.round() == [ended(DANA, before), lock(DANA)]
    story.told.put(DANA, Standing(locked=True, before=before, sure=False))
    story.directory.set_enabled(oid(DANA), True)
    assert story.round(story.another()) == [ended(DANA, before), lift(DANA)]
    assert story.told.of(contoso.TENANT) == {DANA: Standing(before=before)}


class Scripted:
    """A Graph that says this of users, and nothing of workloads."""

    tenant = contoso.TENANT

    def __init__(self, *items, delta="https://graph.microsoft.com/v1.0/d"):
        self.items = items
        self.delta = delta

    async def collect(self, path, **_):
        return Listing(self.items if "users" in path else (), self.delta)


@pytest.mark.parametrize(
    "item",
    [
        7,
        {"id": 7},
        {"id": "x", "accountEnabled": False},
        {"id": oid(DANA).upper(), "accountEnabled": False},
        {"id": oid(DANA), "accountEnabled": "no"},
        {"id": oid(DANA), "accountEnabled": False, "signInSessionsValidFromDateTime": "yesterday"},
        {"id": oid(DANA), "accountEnabled": False, "signInSessionsValidFromDateTime": 7},
    ],
)
def test_an_entry_that_cannot_be_read_is_reported_and_hides_no_other(story, item):
    good = {"id": oid(OLGA), "accountEnabled": False}
    poll = DirectoryPoll(Scripted(item, good), story.sink, story.told)
    assert story.round(poll) == [lock(OLGA)]
    assert poll.trouble == "1 of the directory's users cannot be read"


def test_what_the_directory_does_not_say_changes_nothing(story):
    story.directory.set_enabled(oid(DANA), False)
    story.round()
    for item in ({"id": oid(DANA)}, {"id": oid(DANA), "accountEnabled": None, "signInSessionsValidFromDateTime": None}):
        assert story.round(DirectoryPoll(Scripted(item), story.sink, story.told)) == []


def test_a_directory_that_names_nobody_any_more_locks_nobody_out(story):
    graph, now = Scripted({"id": oid(DANA), "accountEnabled": True}), [0.0]
    poll = DirectoryPoll(graph, story.sink, story.told, clock=lambda: now[0])
    assert story.round(poll) == []
    now[0] += 3601
    graph.items = ()
    assert story.round(poll) == []
    assert "names nobody any more" in poll.trouble
    graph.items = ({"id": oid(OLGA), "accountEnabled": True},)
    assert story.round(poll) == [lock(DANA)]
    assert poll.trouble == ""


def test_no_link_for_the_next_round_is_no_answer(story):
    poll = DirectoryPoll(Scripted(delta=""), story.sink, story.told)
    assert story.round(poll) == []
    assert "did not say where" in poll.trouble


@pytest.mark.parametrize("permissions", [[], ["User.Read.All"]])
def test_a_round_with_trouble_is_followed_by_another_one_soon(story, permissions):
    granted, story.world.permissions = story.world.permissions, permissions
    waited = []

    async def sleep(seconds):
        waited.append(seconds)
        await asyncio.sleep(0)
        if len(waited) == 7:
            story.world.permissions = granted
        if len(waited) == 9:
            story.world.permissions = permissions
        if len(waited) == 11:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(story.another(sleep=sleep).run())
    assert waited == [1, 2, 4, 8, 16, 30, 30, 30, 30, 1, 2]


def test_rounds_go_on(story):
    async def main():
        enough = asyncio.Event()
        story.sink.revoke = lambda revocation: asyncio.sleep(0, enough.set())
        task = asyncio.create_task(story.another(every=0.0).run())
        await asyncio.sleep(0.05)
        story.directory.set_enabled(oid(DANA), False)
        await enough.wait()
        assert len(story.world.asked) >= 4
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(asyncio.wait_for(main(), 10))
    assert story.another(every=600.0)._every == 60.0


@pytest.mark.parametrize("engine", ["sqlite", "postgres"], indirect=True)
def test_two_arbiters_keep_the_same_account_at_once(engine):
    told = Told(engine, engine)
    told.put(DANA, Standing(locked=True))
    told.put(DANA, Standing(before=7))
    assert told.of(contoso.TENANT) == {DANA: Standing(before=7)}
    assert told.of(contoso.FABRIKAM) == {}

    class Late(Told):
        """Another arbiter inserts between the two statements."""

        def put(self, subject, standing):
            real, self._writer = self._writer, self
            self.begins = 0
            self.real = real
            try:
                super().put(subject, standing)
            finally:
                self._writer = real

        def begin(self):
            self.begins += 1
            if self.begins == 2:
                Told(self.real, self.real).put(OLGA, Standing(before=1))
            return self.real.begin()

    Late(engine, engine).put(OLGA, Standing(locked=True))
    assert told.of(contoso.TENANT)[OLGA] == Standing(locked=True)


def test_who_was_deleted_while_no_arbiter_ran_is_locked_by_the_next_one(story):
    story.round()
    story.directory.delete(oid(DANA))
    assert story.round(story.another()) == [lock(DANA)]
    # and once: what was told is not told again by a third
    assert story.round(story.another()) == []


def test_the_next_one_looks_no_further_back_than_what_was_told(story):
    story.round()
    story.directory.delete(oid(DANA))
    story.sink.broken = {DANA: Refused(Reason.PLANE_UNAVAILABLE)}
    assert story.round() == []
    assert "1 change of the directory not told" in story.poll.trouble
    story.sink.broken = {}
    # the one who saw it is gone before it could tell
    assert story.round(story.another()) == [lock(DANA)]


def test_a_link_that_graph_has_forgotten_costs_nothing_but_the_look_back(story):
    story.round()
    story.directory.set_enabled(oid(DANA), False)
    story.world.lab.operations.delta.forget()
    poll = story.another()
    assert story.round(poll) == [lock(DANA)]
    assert poll.trouble == ""


def test_the_look_back_is_tried_again_when_graph_or_the_database_was_away(story, monkeypatch):
    story.round()
    story.directory.delete(oid(DANA))
    poll = story.another()
    story.world.down = True
    assert story.round(poll) == []
    story.world.down = False

    def away(*_):
        raise OperationalError("select", {}, Exception("gone"))

    with monkeypatch.context() as patched:
        patched.setattr(story.told, "link", away)
        assert story.round(poll) == []
        assert "OperationalError" in poll.trouble
    assert story.round(poll) == [lock(DANA)]
    assert poll.trouble == ""


def test_two_arbiters_keep_a_link_at_once(engine):
    one, other = Told(engine, engine), Told(engine, engine)
    assert one.link("t", "users") == ""
    one.keep_link("t", "users", "a")
    other.keep_link("t", "users", "b")
    assert (one.link("t", "users"), one.link("t", "groups"), one.link("u", "users")) == ("b", "", "")
