"""Applying: the reviewed plan and no other, killed at any point and resumed or undone."""

import asyncio
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from clouds_in_memory import Killed, World, planned, refused

from remit.model.errors import RemitError, TrustBroken
from remit.trust.applying.apply import Applying, Changed, Interrupted, Seen, apply, resume
from remit.trust.applying.journal import alone, read, unfinished
from remit.trust.applying.reviewed import keep
from remit.trust.applying.rollback import rollback
from remit.trust.clouds.port import Conflict, Denied, Missing
from remit.trust.planning.plan import Plan, Risk, Unsafe
from remit.trust.things import Address, Found, Ref, Text, Thing

APP = Address("entra.application", "remit")
PRINCIPAL = Address("entra.principal", "remit")
FEDERATION = Address("entra.federation", "remit/managed-identity")
ACCOUNT = Address("google.account", "a@p.iam.gserviceaccount.com")
BINDING = Address("google.binding", "accounts/a roles/iam.workloadIdentityUser group/g")
OLD = Address("google.binding", "projects/p roles/owner user:old")
OLD_ACCOUNT = Address("google.account", "old@p.iam.gserviceaccount.com")
AZURE = Address("azure.assignment", "c Reader remit")

WANTED = (
    Thing(APP, {"displayName": "Remit", "roles": ("A", "B")}, says="lets people sign in"),
    Thing(PRINCIPAL, {"application": Ref(APP, "id")}, says="stands for it"),
    Thing(FEDERATION, {"application": "remit", "subject": Ref(PRINCIPAL, "id")}),
    Thing(ACCOUNT, {"disabled": False}, says="an account"),
    Thing(
        BINDING,
        {"resource": "accounts/a", "role": "u", "member": Text(("principal://p/", Ref(PRINCIPAL, "id")))},
        needs=(ACCOUNT,),
    ),
    Thing(AZURE, {"scope": "c", "role": "Reader", "principal": Ref(PRINCIPAL, "id")}),
)
BEFORE = (
    Found(APP, {"displayName": "Remit", "roles": ("A",)}, {"id": "id-0"}),
    Found(OLD_ACCOUNT, {"disabled": False}, {"id": "unique-id-of-old-1"}),
    Found(OLD, {"resource": "projects/p", "role": "roles/owner", "member": "unique-id-of-old-1"}, {"id": "id-00"}),
)


class Stage:
    """A world with something to do, and an applier of it."""

    def __init__(self, folder, lag=0.0):
        self.folder = folder / "trust"
        self.world = World(lag)
        for found in BEFORE:
            self.world.put(found)
        self.world.settle()
        self.wanted = WANTED
        self.told = []
        self.settled = []

    async def look(self):
        found = [one for cloud in self.world.clouds().values() for one in await cloud.read(self.wanted)]
        return Seen(planned(self.wanted, found), tuple(found))

    @property
    def plan(self):
        return asyncio.run(self.look()).plan

    @property
    def work(self):
        return Applying(
            clouds=self.world.clouds(),
            look=self.look,
            folder=self.folder,
            tell=self.told.append,
            settle=lambda ids: self.settled.append(dict(ids)),
            sleep=self.world.sleep,
            sync=self.world.sync,
        )

    def apply(self, checksum="", allowed=()):
        return asyncio.run(apply(self.work, checksum or self.plan.checksum, allowed))

    def resume(self):
        return asyncio.run(resume(self.work))

    def rollback(self):
        return asyncio.run(rollback(self.work))

    def die_at(self, point):
        """Applies, and dies at a point; false when there was no such point."""
        checksum = self.plan.checksum
        self.world.points, self.world.strike = 0, point
        try:
            self.apply(checksum)
        except Killed:
            return True
        self.world.strike = None
        return False


@pytest.fixture
def stage(tmp_path):
    return Stage(tmp_path)


def end_state():
    return {
        str(APP): {"displayName": "Remit", "roles": ("A", "B")},
        str(PRINCIPAL): {"application": "id-0"},
        str(FEDERATION): {"application": "remit", "subject": "id-1"},
        str(ACCOUNT): {"disabled": False},
        str(BINDING): {"resource": "accounts/a", "role": "u", "member": "principal://p/id-1"},
        str(AZURE): {"scope": "c", "role": "Reader", "principal": "id-1"},
    }


def test_a_plan_is_carried_out_in_its_order_and_ids_find_their_places(stage):
    done = stage.apply()
    assert stage.world.holds() == end_state()
    assert (done.steps, done.left.empty) == (8, True)
    assert [verb for verb, _ in stage.world.calls] == ["change", *["make"] * 5, "remove", "remove"]
    assert stage.told[0] == "[1/8] ~ entra.application remit: lets people sign in"
    assert stage.settled[-1][Ref(APP, "id")] == "id-0"
    assert stage.settled[-1][Ref(PRINCIPAL, "id")] == "id-1"


def test_the_journal_is_its_owners_alone_and_stays(stage):
    path = stage.apply().journal
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    lines = [json.loads(line)["line"] for line in path.read_text().splitlines()]
    assert lines == ["begin", *["will", "done"] * 8, "end"]
    assert read(path).over
    assert unfinished(path.parent) is None


def points():
    """How many points an apply has: each line of the journal, and before and after each effect."""
    return 2 + 8 * 2 + 8 * 2


@pytest.mark.parametrize("point", range(1, points() + 3))
@pytest.mark.parametrize("lag", [0.0, 50.0])
def test_killed_at_any_point_it_is_resumed_to_the_same_end(tmp_path, point, lag):
    stage = Stage(tmp_path, lag)
    if stage.die_at(point) and unfinished(stage.folder):
        with pytest.raises(TrustBroken, match="was interrupted") as told:
            stage.apply()
        assert "--resume" in told.value.hint
        assert stage.resume().left.empty
    elif not stage.plan.empty:
        stage.apply()
    assert stage.world.holds() == end_state()
    assert unfinished(stage.folder) is None
    assert stage.apply("0" * 32).steps == 0  # there is nothing to do


@pytest.mark.parametrize("point", range(1, points() + 3))
@pytest.mark.parametrize("lag", [0.0, 20.0])
def test_killed_at_any_point_it_is_undone(tmp_path, point, lag):
    stage = Stage(tmp_path, lag)
    before = stage.world.holds()
    if stage.die_at(point) and unfinished(stage.folder):
        undone = stage.rollback()
        assert undone.left == ()
        after = stage.world.holds()
        renewed = {found.ids["id"] for found in stage.world.things.values() if found.address == OLD_ACCOUNT}
        for fields in after.values():  # what was removed and made again has another id, and whoever names it the new
            fields.update((name, "unique-id-of-old-1") for name, value in list(fields.items()) if value in renewed)
        assert after == before
        assert stage.apply().left.empty  # and it can be applied again
    assert unfinished(stage.folder) is None


@pytest.mark.parametrize("second", range(1, 40, 3))
def test_a_rollback_that_is_killed_goes_on(tmp_path, second):
    stage = Stage(tmp_path)
    before = set(stage.world.holds())
    assert stage.die_at(points() - 2)
    stage.world.points, stage.world.strike = 0, second
    try:
        stage.rollback()
    except Killed:
        if unfinished(stage.folder):
            stage.rollback()
    stage.world.strike = None
    assert set(stage.world.holds()) == before
    assert unfinished(stage.folder) is None


def test_a_resume_that_is_killed_goes_on(tmp_path):
    for second in range(1, 20):
        stage = Stage(tmp_path / str(second))
        assert stage.die_at(9)
        stage.world.points, stage.world.strike = 0, second
        with pytest.raises(Killed):
            stage.resume()
        stage.resume()
        assert stage.world.holds() == end_state()


def test_a_line_that_was_cut_counts_as_never_written(stage):
    assert stage.die_at(7)
    [path] = stage.folder.glob("apply-*.jsonl")
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"line":"do')
    assert stage.resume().left.empty
    assert b'{"line":"do{' not in path.read_bytes()


def test_a_journal_that_was_cut_before_its_first_line_is_none(stage):
    assert stage.die_at(1)  # the file is there, and empty
    assert unfinished(stage.folder) is None
    assert stage.apply().left.empty


@pytest.mark.parametrize(
    "line",
    ["{}", "[]", "nonsense", '{"line":"will","step":99}', '{"line":"other","step":0}', '{"line":"done","step":0}'],
)
def test_a_journal_that_makes_no_sense_stops_everything(stage, line):
    assert stage.die_at(7)
    [path] = stage.folder.glob("apply-*.jsonl")
    path.write_bytes(path.read_bytes() + line.encode() + b"\n")
    for act in (stage.apply, stage.resume, stage.rollback):
        with pytest.raises(TrustBroken, match="cannot be understood"):
            act()


def test_a_journal_that_others_can_write_is_not_believed(stage):
    assert stage.die_at(7)
    [path] = stage.folder.glob("apply-*.jsonl")
    path.chmod(0o666)
    with pytest.raises(RemitError, match="can be reached by others"):
        stage.rollback()


def test_another_checksum_is_refused_and_what_changed_is_told(stage):
    reviewed = stage.plan
    keep(stage.folder, reviewed)
    stage.world.put(Found(AZURE, {"scope": "c", "role": "Owner", "principal": "id-0"}, {"id": "x"}))
    stage.world.drop(OLD)
    with pytest.raises(Changed) as told:
        stage.apply(reviewed.checksum)
    assert told.value.since == (
        "other than reviewed: ~ azure.assignment c Reader remit: ",
        "no longer to be done: - google.binding projects/p roles/owner user:old",
    )
    assert stage.plan.checksum in told.value.hint
    assert stage.world.calls == []
    assert not list(stage.folder.glob("apply-*.jsonl"))


@pytest.mark.parametrize("checksum", ["", "0" * 32, "../../etc/passwd", "0" * 31 + "\n"])
def test_a_checksum_of_no_plan_is_refused(stage, checksum):
    with pytest.raises(Changed, match="was not shown here"):
        asyncio.run(apply(stage.work, checksum))
    assert stage.world.calls == []


def test_the_last_plans_are_kept_and_no_more(stage):
    for number in range(30):
        keep(stage.folder, Plan((replace(stage.plan.changes[0], before={"n": number}),)))
    assert len(list(stage.folder.glob("plan-*.json"))) == 20


def test_a_plan_with_problems_is_not_applied(stage):
    async def look():
        return Seen(Plan((), ("`x` is missing",)), ())

    with pytest.raises(TrustBroken, match="`x` is missing"):
        asyncio.run(apply(replace(stage.work, look=look), Plan((), ("`x` is missing",)).checksum))


def risky(stage):
    """The removal of the old binding is unsafe."""
    look = stage.look

    async def riskier():
        seen = await look()
        unsafe = (Unsafe(Risk.LAST_ADMINISTRATOR, "nobody is left"),)
        marked = [replace(one, unsafe=unsafe) if one.address == OLD else one for one in seen.plan.changes]
        return Seen(Plan(tuple(marked), seen.plan.problems), seen.found)

    stage.look = riskier
    return stage


def test_what_is_unsafe_must_be_named(stage):
    with pytest.raises(TrustBroken, match="nobody is left") as told:
        risky(stage).apply()
    assert f"--allow '{OLD}'" in told.value.hint
    assert stage.world.calls == []
    with pytest.raises(TrustBroken, match="nobody is left"):
        stage.apply(allowed=[str(OLD)[:-1], "google.binding *"])
    assert stage.apply(allowed=[str(OLD)]).left.empty


def test_what_became_unsafe_since_stops_a_resume(stage):
    assert stage.die_at(5)
    risky(stage)
    with pytest.raises(TrustBroken, match="nobody is left"):
        stage.resume()
    assert str(OLD) in stage.world.holds()
    assert asyncio.run(resume(stage.work, [str(OLD)])).left.empty


def test_what_was_named_stays_named_for_a_resume(stage):
    checksum = risky(stage).plan.checksum
    stage.world.strike = 5
    with pytest.raises(Killed):
        stage.apply(checksum, [str(OLD)])
    assert stage.resume().left.empty


@pytest.mark.parametrize(
    "meddle",
    [
        lambda stage: setattr(stage, "wanted", (*WANTED, Thing(Address("google.account", "evil"), {}))),
        lambda stage: setattr(stage, "wanted", (replace(WANTED[0], fields={"roles": ("Z",)}), *WANTED[1:])),
        lambda stage: setattr(stage, "wanted", WANTED[:-1]) or stage.world.put(Found(AZURE, {"role": "Owner"})),
        lambda stage: stage.world.put(Found(APP, {"displayName": "Remit", "roles": ("Z",)}, {"id": "id-0"})),
        lambda stage: stage.world.put(Found(OLD, {"role": "roles/viewer"}, {"id": "id-00"})),
        lambda stage: stage.world.put(Found(Address("google.account", "strange"), {"disabled": False})),
        lambda stage: stage.world.drop(APP),
    ],
)
def test_a_resume_does_only_what_was_reviewed(stage, meddle):
    assert stage.die_at(3)  # the first step is announced, and nothing done
    meddle(stage)
    before = stage.world.holds()
    with pytest.raises(Changed, match="not part of what was reviewed") as told:
        stage.resume()
    assert told.value.since
    assert stage.world.holds() == before


def test_half_a_change_is_made_whole(stage):
    """A cloud that takes two requests for a change may have had one."""
    assert stage.die_at(3)
    stage.world.put(Found(APP, {"displayName": "Remit", "roles": ()}, {"id": "id-0"}))  # neither A nor A, B
    with pytest.raises(Changed):
        stage.resume()
    stage.wanted = (replace(WANTED[0], fields={**WANTED[0].fields, "roles": ("A", "B")}), *WANTED[1:])
    stage.world.put(Found(APP, {"displayName": "Remit", "roles": ("B", "A")}, {"id": "id-0"}))
    assert stage.resume().left.empty


def test_nothing_to_resume_or_undo(stage):
    for act in (stage.resume, stage.rollback):
        with pytest.raises(TrustBroken, match="no apply was interrupted here"):
            act()


def test_one_at_a_time(stage):
    with alone(stage.folder):
        for act in (stage.apply, stage.resume, stage.rollback):
            with pytest.raises(RemitError, match="another `remit trust` changes something here, process"):
                act()
    assert stage.apply().left.empty


def test_two_appliers_of_two_folders_do_not_apply_one_plan_twice(tmp_path):
    one = Stage(tmp_path / "one")
    two = Stage(tmp_path / "two")
    two.world = one.world
    checksum = one.plan.checksum
    one.apply(checksum)
    assert two.apply(checksum).steps == 0
    assert one.world.holds() == end_state()


def test_what_is_not_seen_yet_is_waited_for_and_told(tmp_path):
    stage = Stage(tmp_path, lag=25.0)
    assert stage.apply().left.empty
    assert "waiting for Entra to see it (1 s)" in stage.told
    assert "waiting for Entra to see it (31 s)" in stage.told
    assert stage.world.holds() == end_state()


def test_patience_ends_after_seven_minutes_in_all(tmp_path):
    stage = Stage(tmp_path, lag=3600.0)
    start = stage.world.now
    with pytest.raises(
        Interrupted, match=r"step 3, `entra\.federation remit/managed-identity`: `id-1` is not seen yet"
    ):
        stage.apply()
    assert stage.world.now - start == 420.0
    stage.world.lag = 0.0
    assert stage.resume().left.empty


@pytest.mark.parametrize(
    ("error", "waits"),
    [
        (Missing("gone", status=404), True),
        (Conflict("there", status=409), True),
        (Denied("denied on resource (or it may not exist)", status=403), True),
        (Denied("denied", status=403), False),
        (refused(APP)[APP], False),
    ],
)
def test_only_what_may_pass_is_waited_for(stage, error, waits):
    stage.world.refusing = {AZURE: error}
    start = stage.world.now
    with pytest.raises(Interrupted) as told:
        stage.apply()
    assert told.value.step == 6
    assert stage.world.now - start == (420.0 if waits else 0.0)
    stage.world.refusing = {}
    assert stage.resume().left.empty


def test_nothing_is_waited_for_before_anything_was_done(stage):
    stage.world.refusing = {APP: Missing("gone", status=404)}
    start = stage.world.now
    with pytest.raises(Interrupted):
        stage.apply()
    assert stage.world.now == start


def test_an_id_that_nobody_gives_fails_its_step(stage):
    stage.wanted = (Thing(AZURE, {"principal": Ref(FEDERATION, "id")}),)
    with pytest.raises(Interrupted, match=r"waits for the id of `entra\.federation"):
        stage.apply()
    assert ("make", str(AZURE)) not in stage.world.calls


def test_what_is_still_not_seen_after_a_minute_is_told(tmp_path):
    stage = Stage(tmp_path)
    stage.wanted = (WANTED[3],)
    stage.world.history.clear()
    stage.world.things = {}
    stage.world.history.append((0.0, {}))
    stage.world.lag = 1000.0
    start = stage.world.now
    left = stage.apply().left
    assert [str(change.address) for change in left.changes] == [str(ACCOUNT)]
    assert stage.world.now - start == 60.0


def test_a_rollback_leaves_what_somebody_else_changed(stage):
    assert stage.die_at(points() - 2)
    stage.world.put(Found(APP, {"displayName": "Remit", "roles": ("theirs",)}, {"id": "id-0"}))
    stage.world.put(Found(ACCOUNT, {"disabled": True}, stage.world.things[ACCOUNT].ids))
    undone = stage.rollback()
    assert undone.left == (
        f"`+ {ACCOUNT}` stays: somebody else changed it since",
        f"`~ {APP}` stays: somebody else changed it since",
    )
    assert not undone.same
    assert stage.world.holds()[str(APP)]["roles"] == ("theirs",)
    assert unfinished(stage.folder) is None


def test_a_rollback_tells_what_cannot_be_made_again(stage):
    assert stage.die_at(points() - 2)
    stage.world.refusing = refused(OLD_ACCOUNT, "the name is taken for 30 days")
    [left] = [one for one in stage.rollback().left if str(OLD_ACCOUNT) in one]
    assert left == f"`- {OLD_ACCOUNT}` stays: the name is taken for 30 days"


def test_a_rollback_that_may_not_stays_open(stage):
    assert stage.die_at(points() - 2)
    stage.world.refusing = {PRINCIPAL: Denied("no", status=403)}
    with pytest.raises(Interrupted):
        stage.rollback()
    stage.world.refusing = {}
    assert stage.rollback().left == ()


def test_the_same_plan_can_be_applied_again_after_it_was_undone(stage):
    assert stage.die_at(9)
    stage.rollback()
    assert stage.apply().left.empty
    assert stage.world.holds().keys() == end_state().keys()
