"""Revoking: one commit with its entry, held by everybody who may permit, and not undone by any crash."""

import asyncio
import json
import logging
import signal
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import ExitStack, contextmanager

import pytest
from sqlalchemy import insert, select, update
from sqlalchemy.exc import OperationalError

from remit.identity import replay
from remit.identity.revocation import arbiters
from remit.identity.revocation import tables as revocation_tables
from remit.identity.revocation import view as revocation_view
from remit.identity.revocation.arbiters import FENCE, Membership
from remit.identity.revocation.revoker import MARGIN, Acknowledged, Revoker
from remit.identity.revocation.store import Once
from remit.identity.revocation.tables import revocations
from remit.identity.revocation.view import LONGEST, RevocationView, uptime
from remit.model.errors import NotRecorded, Refused, SignInAgain
from remit.model.identity import Authentication, Identity, Kind, Principal
from remit.model.reasons import Reason
from remit.model.revocation import ENDED_RUN, Revocation, Scope
from remit.state.database import open_database, open_database_to_read
from remit.state.schema import migrate
from remit.state.settings import StateSettings

TID = "6f1c2a34-8b5d-4e6f-9a01-c0de00000001"
DANA = f"{TID}/0d000000-0000-4000-8000-000000000001"
ADA = f"{TID}/0d000000-0000-4000-8000-000000000002"


def identity(key=DANA, issued_at=None, session="", now=None):
    tenant, _, subject = key.partition("/")
    now = int(time.time()) if now is None else now
    return Identity(
        principal=Principal("https://login.example", tenant, subject, Kind.PERSON),
        display="Dana",
        groups=frozenset(),
        groups_at=now,
        roles=frozenset(),
        scopes=frozenset(),
        client="cli",
        authentication=Authentication(),
        guest=False,
        issued_at=now if issued_at is None else issued_at,
        expires_at=now + 3600,
        token_id="uti",
        session=session,
    )


class Records:
    """The ledger's part: one transaction for the change and its entry, kept for the test."""

    def __init__(self, engine):
        self.engine = engine
        self.entries = []
        self.broken = False

    async def record(self, entry, also):
        return await asyncio.to_thread(self._record, entry, also)

    def _record(self, entry, also):
        with self.engine.begin() as connection:
            if self.broken:
                raise NotRecorded("the disk is gone")
            self.entries.append({**entry, **also(connection)})


class Clock:
    """Monotonic seconds that the test moves."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class Place:
    """A database of one kind, and everything that works on it."""

    def __init__(self, opened, writer, reader):
        self.opened = opened
        self.writer, self.reader = writer, reader
        migrate(writer, "revocations", revocation_tables.metadata, revocation_tables.STEPS)
        migrate(writer, "replay", replay.metadata, replay.STEPS)
        self.records = Records(writer)
        self.wall = time.time

    def view(self, name="a", clock=None, started=True):
        view = RevocationView(self.reader, self.writer, name, clock=clock or uptime, wall=lambda: float(self.wall()))
        if started:
            self.opened.enter_context(view)
        return view

    def revoker(self, **more):
        return Revoker(self.records, self.reader, self.writer, lambda: time.time_ns() // 1000, **more)

    def revoke(self, revocation, revoker=None, **more) -> Acknowledged:
        return asyncio.run((revoker or self.revoker()).revoke(revocation, **more))

    def lift(self, *words, **more):
        return asyncio.run(self.revoker().lift(*words, **more))

    def rows(self):
        with self.reader.connect() as connection:
            return connection.execute(select(revocations).order_by(revocations.c.number)).all()


@contextmanager
def sqlite_place(folder):
    settings = StateSettings(f"sqlite:///{folder}/remit.db", 500)
    with ExitStack() as opened:
        writer = open_database(settings)
        opened.callback(writer.dispose)
        reader = open_database_to_read(settings)
        opened.callback(reader.dispose)
        yield Place(opened, writer, reader)


@pytest.fixture
def sqlite(tmp_path):
    with sqlite_place(tmp_path) as place:
        yield place


@pytest.fixture(params=["sqlite", "postgres"])
def place(request, tmp_path):
    """One test, both kinds of database."""
    if request.param == "sqlite":
        with sqlite_place(tmp_path) as place:
            yield place
        return
    with ExitStack() as opened:
        settings = StateSettings(request.getfixturevalue("postgres_database"), 500)
        engines = open_database(settings), open_database_to_read(settings)
        for engine in engines:
            opened.callback(engine.dispose)
        yield Place(opened, *engines)


def reason(view, *asked, job="", now=None):
    with pytest.raises(Refused) as refused:
        view.check(*asked, job, int(time.time()) if now is None else now)
    return refused.value.reason


def lock(subject=DANA, **more):
    return Revocation(Scope.PRINCIPAL, subject, locked=True, **more)


@pytest.mark.promise("N10")
def test_a_locked_principal_is_refused_by_every_arbiter_when_it_is_acknowledged(place):
    views = [place.view(name) for name in "abc"]
    for view in views:
        view.check(identity(), "", int(time.time()))
    done = place.revoke(lock(because="gone"), actor="sam", name="Sam\u202e", decision="d-1")
    assert (done.epoch, done.arbiters, done.fenced) == (1, ("a", "b", "c"), ())
    assert done.took_ms < 2000
    for view in views:
        assert reason(view, identity()) is Reason.REVOKED
        assert view.epoch == 1
        view.check(identity(ADA), "", int(time.time()))
    [entry] = place.records.entries
    assert entry.pop("at") == place.rows()[0].at
    assert entry == {
        "type": "revocation",
        "schema": "revocation/1",
        "effect": "revoke",
        "epoch": 1,
        "scope": "principal",
        "subject": DANA,
        "before": 0,
        "locked": 1,
        "until": 0,
        "source": "operator",
        "because": "gone",
        "actor": "sam",
        "name": "Sam",
        "decision": "d-1",
    }


def test_a_lift_raises_the_epoch_and_frees_at_every_arbiter(place):
    views = [place.view(name) for name in "ab"]
    place.revoke(lock())
    done = place.lift(Scope.PRINCIPAL, DANA, because="came back", actor="sam")
    assert (done.epoch, done.arbiters) == (2, ("a", "b"))
    for view in views:
        view.check(identity(), "", int(time.time()))
        assert view.epoch == 2
    assert place.lift(Scope.PRINCIPAL, DANA) is None
    assert [entry["effect"] for entry in place.records.entries] == ["revoke", "lift"]
    assert place.rows()[0].lifted_at > place.rows()[0].at
    assert place.revoker().standing(int(time.time())) == []


def test_the_end_of_a_run_counts_and_ends_nobodys_leases(place):
    view = place.view()
    first = place.revoke(lock())
    ended = place.revoke(Revocation(Scope.JOB, "j-1", locked=True, until=int(time.time()) + 60, source=ENDED_RUN))
    assert (first.epoch, ended.epoch, view.epoch) == (1, 2, 1)
    assert reason(view, identity(ADA), job="j-1") is Reason.REVOKED
    assert place.view("b").epoch == 1
    assert (place.revoke(lock(ADA)).epoch, view.epoch) == (3, 3)


def test_who_locked_lifts(place):
    view = place.view()
    place.revoke(lock(source="directory"))
    place.revoke(lock())
    assert place.lift(Scope.PRINCIPAL, DANA, "https://events.example") is None
    place.lift(Scope.PRINCIPAL, DANA)
    assert reason(view, identity()) is Reason.REVOKED
    place.lift(Scope.PRINCIPAL, DANA, "directory")
    view.check(identity(), "", int(time.time()))


def test_what_was_issued_until_then_no_longer_counts_and_a_newer_token_does(place):
    view, now = place.view(), int(time.time())
    place.revoke(Revocation(Scope.PRINCIPAL, DANA, before=now))
    for issued_at in (now - 100, now):
        with pytest.raises(SignInAgain) as refused:
            view.check(identity(issued_at=issued_at), "", now)
        assert refused.value.not_before == now
        assert refused.value.reason is Reason.SIGN_IN_AGAIN
    view.check(identity(issued_at=now + 1), "", now + 1)
    # a lock and its lift do not bring back what was issued before
    place.revoke(lock(before=now))
    assert reason(view, identity(issued_at=now + 1)) is Reason.REVOKED
    place.lift(Scope.PRINCIPAL, DANA)
    assert reason(view, identity(issued_at=now)) is Reason.SIGN_IN_AGAIN
    view.check(identity(issued_at=now + 1), "", now + 1)


def test_sessions_and_jobs_end_by_themselves(place):
    view, now = place.view(), int(time.time())
    place.revoke(Revocation(Scope.SESSION, "s-1", locked=True))
    place.revoke(Revocation(Scope.JOB, "j-1", locked=True))
    place.revoke(Revocation(Scope.SESSION, "s-2", before=now))
    assert reason(view, identity(session="s-1")) is Reason.REVOKED
    assert reason(view, identity(), job="j-1") is Reason.REVOKED
    assert reason(view, identity(session="s-2", issued_at=now)) is Reason.SIGN_IN_AGAIN
    view.check(identity(session="s-3"), "j-2", now)
    view.check(identity(session=""), "", now)


def test_a_lock_ends_by_itself(sqlite):
    view, now = sqlite.view(), int(time.time())
    sqlite.revoke(lock(until=now + 60))
    assert reason(view, identity(), now=now + 59) is Reason.REVOKED
    view.check(identity(), "", now + 60)


@pytest.mark.promise("N10")
def test_a_view_that_could_not_look_refuses_everything_by_itself(sqlite):
    clock = Clock()
    view = sqlite.view(clock=clock, started=False)
    assert reason(view, identity()) is Reason.PLANE_UNAVAILABLE
    view.refresh()
    view.check(identity(), "", int(time.time()))
    assert view.trouble == ""
    clock.now += FENCE
    view.check(identity(), "", int(time.time()))
    clock.now += 0.001
    assert reason(view, identity()) is Reason.PLANE_UNAVAILABLE
    assert "cannot be asked" in view.trouble
    view.refresh()
    view.check(identity(), "", int(time.time()))


@pytest.mark.promise("N10")
def test_an_arbiter_that_hangs_is_waited_for_and_fenced_and_the_next_one_does_not_wait(place):
    place.view("alive")
    clock = Clock()
    hanging = place.view("hanging", clock=clock, started=False)
    hanging.refresh()
    done = place.revoke(lock())
    assert (done.arbiters, done.fenced) == (("alive",), ("hanging",))
    assert (FENCE + MARGIN) * 1000 <= done.took_ms < 5000
    assert place.revoke(lock(ADA)) == Acknowledged(2, ("alive",), (), pytest.approx(0, abs=1500))
    # it comes back to life: what it held is not enough, it registers, looks, and sees both
    clock.now += 10
    assert reason(hanging, identity()) is Reason.PLANE_UNAVAILABLE
    hanging.refresh()
    assert reason(hanging, identity()) is Reason.REVOKED
    assert reason(hanging, identity(ADA)) is Reason.REVOKED
    assert place.revoke(lock("x/y")).fenced == ("hanging",)


def test_an_arbiter_that_was_given_up_between_its_look_and_its_word_is_not_fresh(sqlite):
    clock = Clock()
    view = sqlite.view("a", clock=clock, started=False)
    view.refresh()
    clock.now += FENCE + 1
    with sqlite.writer.begin() as connection:
        connection.execute(update(revocation_tables.epoch).values(epoch=5))
    original = view._membership.hold

    def hold(held, now):
        with sqlite.writer.begin() as connection:
            arbiters.fence(connection, 5)
        return original(held, now)

    view._membership.hold = hold
    view.refresh()
    assert reason(view, identity()) is Reason.PLANE_UNAVAILABLE
    view._membership.hold = original
    view.refresh()
    view.check(identity(), "", int(time.time()))


def test_a_stopped_view_refuses_and_nobody_waits_for_it(sqlite):
    view = sqlite.view("a", started=False)
    with view:
        view.check(identity(), "", int(time.time()))
    assert reason(view, identity()) is Reason.PLANE_UNAVAILABLE
    done = sqlite.revoke(lock())
    assert (done.arbiters, done.fenced) == ((), ())
    assert done.took_ms < 1500


def test_a_view_that_loses_its_database_runs_out_and_recovers(sqlite, caplog):
    view = sqlite.view("a")
    real = view._membership.look

    def broken():
        raise OperationalError("select", {}, Exception("disk I/O error"))

    with caplog.at_level(logging.CRITICAL):
        view._membership.look = broken
        deadline = time.monotonic() + 10
        while not view.trouble:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert reason(view, identity()) is Reason.PLANE_UNAVAILABLE
        view._membership.look = real
        while view.trouble:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    view.check(identity(), "", int(time.time()))


def test_a_database_from_yesterday_s_backup_is_not_believed(sqlite, caplog):
    view = sqlite.view("a", started=False)
    sqlite.revoke(lock())
    view.refresh()
    with sqlite.writer.begin() as connection:
        connection.execute(update(revocation_tables.epoch).values(epoch=0))
    with pytest.raises(RuntimeError, match="older than"):
        view.refresh()
    assert view.epoch == 1


def test_a_sign_of_life_that_fails_fences_nobody(sqlite):
    clock = Clock()
    view = sqlite.view("a", clock=clock, started=False)
    view.refresh()
    clock.now += 1.5

    def broken(held, now):
        raise OperationalError("update", {}, Exception("database is locked"))

    view._membership.hold = broken
    view.refresh()
    clock.now += 1.5
    assert view.trouble == ""


def test_leaving_without_a_database_is_said_and_no_more(sqlite, caplog):
    view = sqlite.view("a", started=False)
    view.refresh()

    def broken():
        raise OperationalError("update", {}, Exception("gone"))

    view._membership.leave = broken
    view.close()
    assert "gone" in caplog.text


def test_who_was_gone_for_a_day_is_forgotten(sqlite):
    now = int(time.time())
    with sqlite.writer.begin() as connection:
        for name, seen_at, fenced in (("old", now - 90_000, 1), ("hung", now - 90_000, 0), ("recent", now - 60, 1)):
            connection.execute(
                insert(revocation_tables.arbiters).values(id=name, held=0, seen_at=seen_at, fenced=fenced)
            )
    Membership(sqlite.reader, sqlite.writer, "new").register(now)
    with sqlite.reader.connect() as connection:
        found = connection.execute(select(revocation_tables.arbiters.c.id)).scalars().all()
    assert set(found) == {"hung", "recent", "new"}


def test_the_view_holds_what_can_still_refuse_and_nothing_else(sqlite):
    now = int(time.time())
    sqlite.wall = lambda: now
    sqlite.revoke(lock("t/lasting"))
    sqlite.revoke(lock("t/ending", until=now + 1000))
    sqlite.revoke(Revocation(Scope.PRINCIPAL, "t/old", before=now - LONGEST))
    sqlite.revoke(Revocation(Scope.PRINCIPAL, "t/fresh", before=now))
    sqlite.revoke(lock("t/lifted"))
    sqlite.lift(Scope.PRINCIPAL, "t/lifted")
    clock = Clock()
    view = sqlite.view(clock=clock, started=False)
    view.refresh()
    assert {key for _, key in view._ends} == {"t/lasting", "t/ending", "t/fresh"}
    clock.now += 61
    sqlite.wall = lambda: now + LONGEST
    view.refresh()
    assert {key for _, key in view._ends} == {"t/lasting"}
    # lifted while it was in the view
    sqlite.lift(Scope.PRINCIPAL, "t/lasting")
    view.refresh()
    assert view._ends == {}


@pytest.mark.parametrize("lifted", [False, True])
def test_a_wall_clock_that_ran_ahead_and_is_set_back_makes_nobody_forgotten(sqlite, lifted):
    now, ahead = int(time.time()), 2 * LONGEST
    sqlite.revoke(lock("t/locked", until=now + 7200))
    sqlite.revoke(Revocation(Scope.PRINCIPAL, "t/ended", before=now))
    clock = Clock()
    for name in ("told while ahead", "started while ahead"):
        view = sqlite.view(name, clock=clock, started=False)
        sqlite.wall = lambda: now
        if name.startswith("told"):
            view.refresh()
        clock.now += 61
        sqlite.wall = lambda: now + ahead
        view.refresh()
        assert view._ends == {}
        if lifted and name.startswith("started"):
            sqlite.lift(Scope.PRINCIPAL, "t/locked")
        clock.now += 1
        sqlite.wall = lambda: now + 2
        view.refresh()
        assert reason(view, identity("t/ended", issued_at=now - 5), now=now) is Reason.SIGN_IN_AGAIN
        free = lifted and name.startswith("started")
        asked = identity("t/locked", issued_at=now - 5)
        assert view.check(asked, "", now) is None if free else reason(view, asked, now=now) is Reason.REVOKED


def test_a_token_that_is_older_than_the_view_s_memory_is_not_believed(sqlite):
    view, now = sqlite.view(), int(time.time())
    view.check(identity(issued_at=now - LONGEST), "", now)
    assert reason(view, identity(issued_at=now - LONGEST - 1), now=now) is Reason.SIGN_IN_AGAIN


def test_what_stands_already_is_acknowledged_and_not_entered_again(place):
    first = place.revoke(lock(source="directory"))
    assert place.revoke(lock(source="directory")).epoch == first.epoch
    assert place.revoke(Revocation(Scope.PRINCIPAL, DANA, before=100, source="directory")).epoch == 2
    assert place.revoke(Revocation(Scope.PRINCIPAL, DANA, before=90, source="directory")).epoch == 2
    assert place.revoke(lock()).epoch == 3
    assert len(place.records.entries) == 3


def test_an_event_takes_effect_once_even_when_it_stands_no_more(place):
    once = Once("https://events.example 1", int(time.time()) + 1000)
    assert place.revoke(lock(source="x"), once=once).epoch == 1
    lifted = Once("https://events.example 2", int(time.time()) + 1000)
    assert place.lift(Scope.PRINCIPAL, DANA, "x", once=lifted).epoch == 2
    assert place.revoke(lock(source="x"), once=once).epoch == 2
    assert place.lift(Scope.PRINCIPAL, DANA, "x", once=lifted).epoch == 2
    assert len(place.records.entries) == 2
    # one that had nothing to lift cannot be kept for later
    early = Once("https://events.example 3", int(time.time()) + 1000)
    place.lift(Scope.PRINCIPAL, DANA, "x", once=early)
    place.revoke(lock(source="x"))
    place.lift(Scope.PRINCIPAL, DANA, "x", once=early)
    assert place.rows()[-1].lifted_at == 0


def test_an_event_that_was_overtaken_lifts_nothing(sqlite):
    now = int(time.time())
    sqlite.revoke(lock(before=now - 10, source="x"))
    assert sqlite.lift(Scope.PRINCIPAL, DANA, "x", before=now - 20) is None
    assert sqlite.lift(Scope.PRINCIPAL, DANA, "x", before=now - 10) is not None


def test_what_stands_is_told(place):
    now = int(time.time())
    place.revoke(lock(until=now + 100, because="holiday"), actor="sam")
    place.revoke(Revocation(Scope.SESSION, "s-1", before=now))
    place.revoke(Revocation(Scope.SESSION, "s-2", before=now - LONGEST))
    first, second = place.revoker().standing(now)
    assert (first.number, first.actor, first.revocation) == (1, "sam", lock(until=now + 100, because="holiday"))
    assert (second.number, second.actor) == (2, "operator")
    assert [found.number for found in place.revoker().standing(now + 100)] == [2]


@pytest.mark.parametrize(
    "revocation",
    [
        Revocation(Scope.PRINCIPAL, DANA),
        Revocation(Scope.PRINCIPAL, "", locked=True),
        Revocation(Scope.PRINCIPAL, DANA, before=int(time.time()) + 100_000),
        Revocation(Scope.PRINCIPAL, DANA, locked=True, until=1),
    ],
)
def test_what_revokes_nothing_is_refused(sqlite, revocation):
    with pytest.raises(Refused) as refused:
        sqlite.revoke(revocation)
    assert refused.value.reason is Reason.REQUEST_MALFORMED
    assert sqlite.rows() == []


def test_no_record_no_revocation(sqlite):
    sqlite.records.broken = True
    with pytest.raises(NotRecorded):
        sqlite.revoke(lock())
    assert sqlite.rows() == []


def test_a_database_that_cannot_be_asked_is_no_answer(sqlite):
    broken = open_database(StateSettings(f"sqlite:///{sqlite.opened.enter_context(_folder())}/empty.db"))
    sqlite.opened.callback(broken.dispose)
    with pytest.raises(NotRecorded, match="could not be read"):
        asyncio.run(Revoker(sqlite.records, broken, broken, lambda: 1).revoke(lock()))


@contextmanager
def _folder():
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        yield folder


def test_who_cannot_be_asked_is_waited_for_as_long_as_a_view_can_last(sqlite):
    ticks = iter(range(10_000))
    revoker = sqlite.revoker(monotonic=lambda: next(ticks) * 0.1)
    revoker._counting = lambda: None
    done = sqlite.revoke(lock(), revoker)
    assert done.took_ms >= (FENCE + MARGIN) * 1000
    assert (done.arbiters, done.fenced) == ((), ())


def test_asking_again_while_the_database_stumbles(sqlite, monkeypatch):
    sqlite.view("a")
    hanging = sqlite.view("hanging", started=False)
    hanging.refresh()
    seen = arbiters.counting
    calls = []

    def stumbling(connection):
        calls.append(1)
        if len(calls) % 2:
            raise OperationalError("select", {}, Exception("database is locked"))
        return seen(connection)

    def failing(connection, number):
        raise OperationalError("update", {}, Exception("database is locked"))

    monkeypatch.setattr(arbiters, "counting", stumbling)
    monkeypatch.setattr(arbiters, "fence", failing)
    done = sqlite.revoke(lock())
    assert (done.arbiters, done.fenced) == (("a",), ("hanging",))


def test_who_wants_to_hear_of_it_does_before_it_is_acknowledged(sqlite):
    """Nothing that is open is told of in between, when a lift follows at once."""
    view, heard = sqlite.view("a", started=False), []
    record = {"principal": DANA, "session": "", "job": "", "issued": time.time() + 60, "auth_time": 0}

    def hear():
        time.sleep(0.1)
        heard.append(view.ended(record, int(time.time())))

    view.told(hear)
    with view:
        assert heard == [True]  # before the first look, everything that is open is over
        for _ in range(3):
            heard.clear()
            sqlite.revoke(lock())
            assert heard == [True]
            sqlite.lift(Scope.PRINCIPAL, DANA)
            assert heard == [True, False]


def test_who_cannot_hear_of_it_does_not_acknowledge_it(sqlite, caplog):
    view, broken = sqlite.view("a"), [True]

    def hear():
        if broken:
            raise RuntimeError("no loop")

    view.told(hear)
    done = sqlite.revoke(lock())
    assert (done.arbiters, done.fenced) == ((), ("a",))
    assert reason(view, identity()) is Reason.PLANE_UNAVAILABLE
    broken.clear()
    until = time.monotonic() + 10
    while view.trouble and time.monotonic() < until:
        time.sleep(0.01)
    assert reason(view, identity()) is Reason.REVOKED
    assert "no loop" in caplog.text


def test_this_process_s_own_view_looks_at_once(sqlite, monkeypatch):
    monkeypatch.setattr(revocation_view, "EVERY", 30.0)
    view = sqlite.view("a")
    monkeypatch.setattr(revocation_view, "FENCE", 60.0)
    done = sqlite.revoke(lock(), sqlite.revoker(wake=view.wake))
    assert done.took_ms < 1500
    assert reason(view, identity()) is Reason.REVOKED


def test_many_revocations_at_once_are_all_held(sqlite):
    view = sqlite.view("a")
    revoker = sqlite.revoker()

    async def story():
        return await asyncio.gather(*(revoker.revoke(lock(f"t/{number}")) for number in range(20)))

    done = asyncio.run(story())
    assert sorted(one.epoch for one in done) == list(range(1, 21))
    for number in range(20):
        assert reason(view, identity(f"t/{number}")) is Reason.REVOKED


@pytest.mark.promise("N10")
def test_never_permitted_after_the_acknowledgement(sqlite):
    """A history, checked afterwards: no check that began after an acknowledgement let its subject through."""
    views = [sqlite.view(name) for name in "abc"]
    acknowledged: dict[str, float] = {}
    permitted: list[tuple[str, float]] = []
    going = True

    def ask(view):
        number = 0
        while going:
            number = (number + 1) % 10
            began = time.monotonic()
            try:
                view.check(identity(f"t/{number}"), "", int(time.time()))
            except Refused:
                continue
            permitted.append((f"t/{number}", began))

    threads = [threading.Thread(target=ask, args=(view,)) for view in views]
    for thread in threads:
        thread.start()
    try:
        for number in range(10):
            sqlite.revoke(lock(f"t/{number}"))
            acknowledged[f"t/{number}"] = time.monotonic()
    finally:
        going = False
        for thread in threads:
            thread.join()
    assert len(acknowledged) == 10
    assert permitted
    assert [one for one in permitted if one[1] > acknowledged[one[0]]] == []


REVOKER = """
    import asyncio, json, sys, time
    from pathlib import Path
    from remit.audit.keys import load_key
    from remit.audit.ledger import Ledger
    from remit.audit.recorder import LedgerRecorder
    from remit.identity.revocation.revoker import Revoker
    from remit.model.revocation import ENDED_RUN, Revocation, Scope
    from remit.state.database import open_database, open_database_to_read
    from remit.state.settings import StateSettings

    folder = Path(sys.argv[1])
    state = StateSettings(f"sqlite:///{folder}/remit.db")
    writer, reader = open_database(state), open_database_to_read(state)
    ledger = Ledger(writer, load_key(folder / "ledger.key", "contoso.example/remit"), folder=folder,
                    database=folder / "remit.db")
    print("ready", flush=True)
    with LedgerRecorder(ledger) as recorder:
        revoker = Revoker(recorder, reader, writer, lambda: time.time_ns() // 1000)
        for number in range(int(sys.argv[2]), 1_000_000):
            done = asyncio.run(revoker.revoke(Revocation(Scope.PRINCIPAL, f"t/{number}", locked=True)))
            print(json.dumps([number, done.epoch]), flush=True)
"""


@pytest.mark.promise("N10")
def test_a_revocation_survives_kill_9_right_after_its_acknowledgement(sqlite, tmp_path):
    """Killed again and again: what was acknowledged stands, and each row has its entry and each entry its row."""
    from remit.audit import tables
    from remit.audit.keys import make_key

    migrate(sqlite.writer, "audit", tables.metadata, tables.STEPS)
    make_key(tmp_path / "ledger.key", "contoso.example/remit")
    told = []
    for turn in range(4):
        command = [sys.executable, "-c", textwrap.dedent(REVOKER), str(tmp_path), str(turn * 1000)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout.readline() == "ready\n"
            told += [json.loads(process.stdout.readline()) for _ in range(turn + 1)]
            process.send_signal(signal.SIGKILL)
            process.wait()
    with sqlite.reader.connect() as connection:
        found = connection.execute(select(tables.entries.c.entry).where(tables.entries.c.type == "revocation"))
        entries = {entry["epoch"]: entry["subject"] for entry in (json.loads(row.entry) for row in found)}
    rows = {row.number: row.subject for row in sqlite.rows()}
    assert rows == entries
    assert len(told) == 10
    assert all(rows[epoch] == f"t/{number}" for number, epoch in told)
    view = sqlite.view("after")
    for number, _ in told:
        assert reason(view, identity(f"t/{number}")) is Reason.REVOKED
