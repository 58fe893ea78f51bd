"""Replay: an unchanged policy changes nothing, an edit is told in full, and leaving out what it cannot concern is sound."""

import random
import threading
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from remit.model.decision import Circumstances
from remit.model.errors import RemitError, SettingsInvalid
from remit.model.outcome import Outcome
from remit.model.snapshot import Past, write_facts
from remit.policy.book import made
from remit.policy.edits.history import differences
from remit.policy.edits.replay import Replayer, Sets
from remit.policy.judge import decide_by
from remit.policy.source import Folder, read_folder

SEED = 20261122
print(f"REMIT_SEED={SEED}")
USE_NEEDS_MFA = """
@id("use-needs-mfa")
@purpose("an edit")
@refusal("calling models in test needs a second factor")
forbid (principal is Person, action in Action::"use", resource in Environment::"test")
unless { context.authentication.methods.contains("mfa") };
"""
EVERYBODY_LOOKS = """
@id("everybody-looks")
@purpose("an edit")
permit (principal, action in Action::"observe", resource in Project::"contoso-churn-prod")
unless { resource is Bucket || resource is ServiceAccount };
"""


class Office:
    """Contoso with its policies, and a way to decide and to remember."""

    def __init__(self, world):
        self.world = world
        self.folder = read_folder(world.folder)

    def sets(self, before, after):
        return Sets(before, after, self.world.settings, self.world.estate, self.world.actions)

    def book(self, folder):
        return made(folder, self.world.settings, self.world.estate, self.world.actions)

    def edited(self, **texts):
        """The folder with more files; without those whose text is empty."""
        found = {**self.folder.texts, **{f"{name}.cedar": text for name, text in texts.items()}}
        return Folder(texts={name: text for name, text in found.items() if text})

    def decide(self, book, identity, request, around):
        return decide_by(book, self.world.estate, self.world.actions, identity, request, around)

    def remember(self, number, identity, request, around, verdict):
        return Past(
            decision=f"d-{number:026}",
            at=around.now * 1_000_000,
            outcome=verdict.outcome,
            policies=tuple(policy.id for policy in verdict.policies),
            version=verdict.policy_version,
            principal=identity.principal.key,
            name=identity.display,
            action=request.first.action.id,
            resource=request.first.resources[0].name,
            facts=write_facts(identity, request, around),
            groups=identity.groups,
            roles=identity.roles,
        )

    def asked(self, chance):
        """Somebody, something, some circumstances."""
        world = self.world
        who = chance.choice([world.dana, world.ada, world.sam, world.gil, world.pipeline])
        stronger = {"contexts": chance.choice([(), ("c1",)])} if who != world.pipeline else {}
        identity = who(**stronger, **({"methods": ("pwd", "mfa")} if stronger and chance.randrange(2) else {}))
        project = chance.choice([each.id for each in world.estate.projects])
        trainer = f"trainer@{project}.iam.gserviceaccount.com"
        bucket = world.bucket(f"{project}-data", project)
        request = chance.choice(
            [
                world.request("use", world.child("Endpoint", project, "7")),
                world.request("observe", world.child("CustomJob", project, "7")),
                world.request("change", world.child("Endpoint", project, "7")),
                world.request("administer", world.child("Model", project, "7")),
                world.request("storage.objects.get", bucket),
                world.request("launch", world.project("unknown-project")),
                world.training(project, trainer, project),
            ]
        )
        around = Circumstances(world.now, chance.choice(["10.1.2.3", "203.0.113.9"]), "DE", locations_known=True)
        return identity, request, around

    def pasts(self, folder, count, chance):
        book = self.book(folder)
        every = [self.asked(chance) for _ in range(count)]
        return [self.remember(number, *each, self.decide(book, *each)) for number, each in enumerate(every)]


@pytest.fixture(scope="module")
def office(world):
    return Office(world)


@pytest.fixture(scope="module")
def pasts(office):
    return office.pasts(office.folder, 250, random.Random(SEED))


def batches(pasts, size=50):
    return [pasts[start : start + size] for start in range(0, len(pasts), size)]


def nothing_kept(_):
    return None


@pytest.mark.promise("V20")
def test_replay_of_an_unchanged_policy_changes_nothing(office, pasts):
    found = Replayer(office.sets(office.folder, office.folder))(batches(pasts), nothing_kept)
    assert found.changes == ()
    assert (found.replayed, found.unchanged, found.checked, found.unlike) == (250, 250, 250, 0)
    assert len({past.outcome for past in pasts}) > 1  # or it would not say much


@pytest.mark.promise("V20")
def test_a_set_that_was_rewritten_without_another_meaning_changes_nothing(office, pasts):
    """Every decision is concerned here, and taken twice: the same texts, all in one file, every id a new one."""
    one = "\n".join(text for name, text in sorted(office.folder.texts.items()) if "/" not in name)
    texts = {name: text for name, text in office.folder.texts.items() if "/" in name}
    renamed = Folder(texts={"all.cedar": one.replace('@id("', '@id("new-'), **texts})
    found = Replayer(office.sets(office.folder, renamed))(batches(pasts), nothing_kept)
    assert found.changes == ()
    assert found.outside < found.replayed == found.unchanged
    assert found.unlike == 0


def test_an_edit_is_told_by_person_and_thing_with_the_policies_before_and_after(office):
    world = office.world
    ada, dana = world.ada(), world.dana(methods=("pwd", "mfa"))
    use, look = (
        world.request("use", world.child("Endpoint", "contoso-fraud-test", "7")),
        world.request("observe", world.child("CustomJob", "contoso-churn-prod", "7")),
    )
    around = Circumstances(world.now, "10.1.2.3", locations_known=True)
    book = office.book(office.folder)
    every = [(ada, use), (ada, use), (dana, use), (ada, look), (dana, look), (ada, use)]
    pasts = [
        office.remember(number, *each, around, office.decide(book, *each, around)) for number, each in enumerate(every)
    ]
    assert [str(past.outcome) for past in pasts] == ["permit"] * 3 + ["deny"] * 2 + ["permit"]
    edit = office.edited(mfa=USE_NEEDS_MFA, look=EVERYBODY_LOOKS)
    found = Replayer(office.sets(office.folder, edit))(batches(pasts, 2), nothing_kept)
    losses = [change for change in found.changes if not change.gains]
    gains = [change for change in found.changes if change.gains]
    [loss] = losses
    assert (loss.name, loss.times, loss.decision) == (ada.display, 3, pasts[5].decision)
    assert (loss.before, loss.after) == (Outcome.PERMIT, Outcome.DENY)
    assert (loss.policies_before, loss.policies_after) == (pasts[0].policies, ("use-needs-mfa",))
    assert (loss.principal, loss.action) == (ada.principal.key, use.first.action.id)
    assert loss.resource == use.first.resources[0].name
    assert {(gain.name, gain.policies_before, gain.policies_after) for gain in gains} == {
        (who.display, (), ("everybody-looks",)) for who in (ada, dana)
    }
    assert (found.replayed, found.unchanged, found.unlike, found.unkept) == (6, 1, 0, 0)
    assert differences(office.folder, edit).added == ("everybody-looks", "use-needs-mfa")


SCOPES = st.tuples(
    st.sampled_from(["permit", "forbid"]),
    st.sampled_from(["principal", "principal is Person", "principal is Workload"])
    | st.integers(1, 5).map(lambda group: f'principal in Group::"9a000000-0000-4000-8000-{group:012d}"'),
    st.sampled_from(["use", "observe", "launch", "change", "administer"]).map(
        lambda name: f'action in Action::"{name}"'
    )
    | st.just('action == Action::"aiplatform.projects.locations.endpoints.predict"')
    | st.just("action"),
    st.sampled_from(
        [
            "resource",
            "resource is Endpoint",
            'resource in Environment::"prod"',
            'resource in Project::"contoso-fraud-test"',
            'resource == Project::"contoso-fraud-prod"',
            'resource == Bucket::"contoso-fraud-test-data"',
        ]
    ),
    st.sampled_from(
        [
            "",
            ' when { context.authentication.contexts.contains("c1") }',
            ' unless { context.authentication.methods.contains("mfa") }',
        ]
    ),
    st.sampled_from(["", '@step_up("c1")\n']),
)


def policy(number, scope):
    effect, principal, action, resource, condition, step_up = scope
    refusal = '@refusal("no")\n' if effect == "forbid" else ""
    return f'@id("edit-{number}")\n@purpose("p")\n{refusal}{step_up}{effect} ({principal}, {action}, {resource}){condition};\n'


@pytest.mark.promise("V20")
@seed(SEED)
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(
    st.lists(SCOPES, min_size=1, max_size=3),
    st.sets(st.sampled_from(["fraud", "production", "data-scientists", "guests", "security", "pipeline"]), max_size=2),
)
def test_what_an_edit_is_said_not_to_concern_comes_out_alike(office, pasts, statements, removed):
    """Against both sets asked in full."""
    text = "".join(policy(number, each) for number, each in enumerate(statements))
    edit = office.edited(edit=text, **dict.fromkeys(removed, ""))
    few = pasts[:60]
    replayer = Replayer(office.sets(office.folder, edit))
    found = replayer(batches(few), nothing_kept)
    old, new = replayer._bench._before, replayer._bench._after
    changed = {}
    for past in few:
        taken = past.taken_on()
        before, after = (
            office.decide(book, taken.identity, taken.request, taken.circumstances).outcome for book in (old, new)
        )
        if before is not after:
            key = (past.principal, past.action, past.resource, before, after)
            changed[key] = changed.get(key, 0) + 1
    told = {(one.principal, one.action, one.resource, one.before, one.after): one.times for one in found.changes}
    assert told == changed
    assert found.unlike == 0


@pytest.mark.parametrize("threads", [0, 1], ids=["forked", "afresh"])
def test_other_processes_find_the_same(office, pasts, threads):
    gone = threading.Event()
    for _ in range(threads):
        threading.Thread(target=gone.wait, daemon=True).start()
    try:
        finds_the_same(office, pasts)
    finally:
        gone.set()


def finds_the_same(office, pasts):
    edit = office.edited(mfa=USE_NEEDS_MFA, look=EVERYBODY_LOOKS)
    heard = []
    replayer = Replayer(office.sets(office.folder, edit))
    alone = replayer(batches(pasts), nothing_kept, every=1)
    shared = replayer(batches(pasts), nothing_kept, heard.append, workers=2, few=0, every=1)
    assert shared == alone
    assert alone.changes
    assert sum(heard) == len(pasts)


def test_what_comes_out_otherwise_than_recorded_is_said(office, pasts):
    lied = [replace(past, outcome=Outcome.PERMIT) for past in pasts if past.outcome is Outcome.DENY][:5]
    found = Replayer(office.sets(office.folder, office.folder))([lied], nothing_kept)
    assert (found.unlike, found.unlike_decisions) == (5, tuple(past.decision for past in lied))
    assert found.changes == ()


def test_a_decision_is_held_against_the_very_set_that_took_it(office):
    old = office.edited(mfa=USE_NEEDS_MFA)
    kept = {office.book(old).version: old}
    pasts = office.pasts(old, 40, random.Random(SEED))
    found = Replayer(office.sets(office.folder, office.folder))(batches(pasts), kept.get)
    assert (found.checked, found.unlike, found.unkept) == (40, 0, 0)
    lost = Replayer(office.sets(office.folder, office.folder))(batches(pasts), nothing_kept)
    assert (lost.checked, lost.unkept) == (0, 40)


def test_a_kept_set_that_fits_no_more_is_no_word_against_the_record(office, pasts):
    gone = Folder(texts={"a.cedar": '@id("a") @purpose("p") permit (principal, action, resource in Project::"gone");'})
    found = Replayer(office.sets(office.folder, office.folder))(
        [[replace(past, version="gone") for past in pasts[:3]]], {"gone": gone}.get
    )
    assert (found.checked, found.unkept, found.unlike) == (0, 3, 0)


def test_facts_that_cannot_be_read_are_counted_and_not_decided_on(office, pasts):
    torn = [replace(pasts[0], facts=pasts[0].facts[:-1]), pasts[1]]
    found = Replayer(office.sets(office.folder, office.folder))([torn], nothing_kept)
    assert (found.replayed, dict(found.left)) == (1, {"the record cannot be read": 1})


def test_a_set_that_is_not_good_is_not_replayed(office):
    bad = office.edited(bad="permit (principal, action, resource)")
    for pair in ((bad, office.folder), (office.folder, bad)):
        with pytest.raises(SettingsInvalid):
            Replayer(office.sets(*pair))


def test_no_decisions_at_all_are_none(office):
    found = Replayer(office.sets(office.folder, office.folder))([], nothing_kept)
    assert (found.replayed, found.unchanged, found.changes) == (0, 0, ())


def test_a_worker_that_cannot_start_is_an_error_and_no_answer(office, pasts, monkeypatch):
    monkeypatch.setattr(threading, "active_count", lambda: 2)
    replayer = Replayer(office.sets(office.folder, office.folder))
    replayer._sets = office.sets(office.folder, office.edited(bad="permit (principal, action, resource)"))
    with pytest.raises(RemitError, match="has died"):
        replayer(batches(pasts), nothing_kept, workers=1, few=0)
