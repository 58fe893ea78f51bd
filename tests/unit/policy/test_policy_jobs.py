"""Jobs: runs of one name and one owner, which policies know as a principal's membership."""

from dataclasses import replace

import pytest

from remit.model.decision import Circumstances
from remit.model.errors import SettingsInvalid
from remit.model.identity import Kind
from remit.model.inventory import Account, Inventory
from remit.model.job import job, parted
from remit.model.outcome import Outcome
from remit.model.reasons import Reason
from remit.model.snapshot import Past, read_facts, write_facts
from remit.policy.edits.replay import Replayer, Sets
from remit.policy.facts import gather
from remit.policy.lint import Policy
from remit.policy.named import NamedGroups
from remit.policy.settings import PolicySettings
from remit.policy.source import Folder, read_folder
from remit.policy.use.findings import Kind as Found
from remit.policy.use.findings import Rule, Severity, unknown
from remit.policy.why.explainer import Explainer

TID = "6f1c2a34-8b5d-4e6f-9a01-c0de00000001"
DANA = f"{TID}/0d000000-0000-4000-8000-000000000001"
NIGHTLY = f'@id("nightly") @purpose("reads at night") permit (principal in Job::"{DANA}/nightly", action, resource);'
RUN = "j-" + "1" * 26


def asked(world, judge, who, name=""):
    request = world.request("use", world.child("Model", "contoso-fraud-test", "1"))
    around = Circumstances(world.now, "10.1.2.3", job=RUN, job_name=name)
    return judge.decide(who, request, around)


@pytest.mark.promise("V20")
@pytest.mark.parametrize(
    ("who", "name", "outcome"),
    [
        ((1, Kind.PERSON), "nightly", Outcome.PERMIT),
        ((1, Kind.WORKLOAD), "nightly", Outcome.PERMIT),  # an id is a person's or a workload's, and a job's by that id
        ((1, Kind.PERSON), "", Outcome.DENY),
        ((1, Kind.PERSON), "Nightly", Outcome.DENY),
        ((1, Kind.PERSON), "nightly2", Outcome.DENY),
        ((2, Kind.PERSON), "nightly", Outcome.DENY),
    ],
)
def test_whoever_asks_from_within_a_run_of_theirs_is_in_its_job_and_nobody_else(world, judge_of, who, name, outcome):
    verdict = asked(world, judge_of(NIGHTLY), world.person(who[0], kind=who[1]), name)
    assert verdict.outcome is outcome
    assert [policy.id for policy in verdict.policies] == (["nightly"] if outcome is Outcome.PERMIT else [])


def test_a_group_or_a_role_that_is_called_as_a_job_is_none(world, judge_of):
    who = replace(world.dana(), groups=frozenset({f"{DANA}/nightly"}), roles=frozenset({f"{DANA}/nightly"}))
    assert asked(world, judge_of(NIGHTLY), who).outcome is Outcome.DENY


def test_an_owner_is_told_from_a_name_at_the_last_slash(world, judge_of):
    """Of other issuers a subject holds slashes: `a/b` with a run `c` is not `a` with a run `b/c`, which no run is called."""
    rule = '@id("r") permit (principal in Job::"okta/a/b/c", action, resource);'
    judge = judge_of(rule)
    for subject, name, outcome in (("a/b", "c", Outcome.PERMIT), ("a/b/c", "", Outcome.DENY), ("a", "c", Outcome.DENY)):
        who = replace(world.dana(), principal=replace(world.dana().principal, tenant="okta", subject=subject))
        assert asked(world, judge, who, name).outcome is outcome
    assert parted(job("okta/a/b", "c")) == ("okta/a/b", "c")


def test_jobs_stand_wherever_groups_do(world, judge_of):
    """In conditions, in lists, with a kind, in forbids and obligations."""
    every = '@id("all") permit (principal, action, resource);'
    mine = f'Job::"{DANA}/nightly"'
    for scope, condition, within, outside in (
        (f"principal is Person in {mine}", "", Outcome.DENY, Outcome.PERMIT),
        ("principal", f'unless {{ principal in [Job::"{DANA}/x", {mine}] }}', Outcome.PERMIT, Outcome.DENY),
        ("principal", f'when {{ principal in Group::"g" || principal in {mine} }}', Outcome.DENY, Outcome.PERMIT),
    ):
        judge = judge_of(every, f'@id("f") @refusal("no") forbid ({scope}, action, resource) {condition};')
        assert asked(world, judge, world.dana(), "nightly").outcome is within
        assert asked(world, judge, world.dana()).outcome is outside
    oblige = f'@id("o") @purpose("x") @step_up("c2") permit (principal in Job::"{DANA}/nightly", action, resource);'
    judge = judge_of(every, '@id("more") permit (principal, action, resource);', obligations=oblige)
    assert asked(world, judge, world.dana(), "nightly").challenge == "c2"
    assert asked(world, judge, world.dana()).outcome is Outcome.PERMIT


@pytest.mark.parametrize(
    "name", ["nightly", f"{TID}/nightly", f"{DANA}/", f"{DANA}/-x", f"{DANA}/a b", "/x/nightly", "x//nightly", ""]
)
def test_a_job_that_no_run_can_be_in_is_told(judge_of, name):
    with pytest.raises(SettingsInvalid) as raised:
        judge_of(f'@id("r")\npermit (principal in Job::"{name}", action, resource);')
    [problem] = raised.value.problems
    assert "is no job: it is named by its owner and the name of the run" in problem.message
    assert problem.line in {1, 2}


@pytest.mark.parametrize("scope", [f'principal == Job::"{DANA}/nightly"', "principal is Job"])
def test_a_job_asks_for_nothing_by_itself(judge_of, scope):
    with pytest.raises(SettingsInvalid):
        judge_of(f'@id("r") permit ({scope}, action, resource);')


def test_a_rule_on_somebody_whom_the_directory_does_not_know_is_found(world, judge_of, tmp_path):
    others = ("Tid/nobody", "okta/x", f"{TID}/0d000000-0000-4000-8000-00000000dead")
    texts = [NIGHTLY, *(f'@id("r{at}") permit (principal in Job::"{each}/n", action, resource);'
                        for at, each in enumerate(others))]  # fmt: skip
    book = judge_of(*texts).book
    statements = [statement for file in read_folder(tmp_path).policies for statement in file.statements()]
    trees = book.engine_set.whole.to_pst().static_policies
    rules = tuple(Rule(f"policy{at}", Policy(each, trees[f"policy{at}"]), obliges=False)
                  for at, each in enumerate(statements))  # fmt: skip
    dana = Account(world.dana().principal, "Dana", True, False, frozenset(), frozenset(), frozenset())
    found = list(unknown(rules, Inventory(world.now, (dana,)), frozenset(), others=False))
    assert [(each.policy, each.severity, each.kind) for each in found] == [
        ("r0", Severity.NOTE, Found.UNKNOWN_ID),
        ("r1", Severity.NOTE, Found.UNKNOWN_ID),
        ("r2", Severity.WARNING, Found.UNKNOWN_ID),
    ]
    assert found[2].problem.message == (
        f"the directory has no account `{others[2]}`, whose run `n` permit `r2` is about"
    )


def test_which_jobs_policies_name(judge_of):
    judge = judge_of(NIGHTLY, f'@id("two") permit (principal in Group::"g", action, resource) '
                              f'when {{ principal in Job::"{DANA}/weekly" }};')  # fmt: skip
    named = NamedGroups(lambda: judge.book)
    assert named.jobs() == {f"{DANA}/nightly", f"{DANA}/weekly"}
    assert named.jobs(frozenset({"nightly"})) == {f"{DANA}/nightly"}
    assert named.jobs(frozenset({"unknown"})) == frozenset()
    assert (named.all(), named.groups(frozenset({"two"}))) == ({"g"}, {"g"})


# what is recorded


def recorded(world, name):
    """What a decision was taken on, as read from its record again."""
    request = world.request("use", world.child("Model", "contoso-fraud-test", "1"))
    dana = world.dana()
    text = write_facts(dana, request, Circumstances(world.now, job=RUN, job_name=name))
    return text, read_facts(text, dana.groups, dana.roles)


def test_the_job_is_in_the_facts_of_a_record(world, judge_of):
    judge = judge_of(NIGHTLY)
    for name, outcome in (("nightly", Outcome.PERMIT), ("", Outcome.DENY)):
        text, taken = recorded(world, name)
        assert ("job_name" in text) is bool(name)  # as the records from before there was one, which are read as ever
        verdict = judge.decide(taken.identity, taken.request, taken.circumstances)
        assert verdict.outcome is outcome


def test_replay_tells_who_would_gain_by_a_job(world, judge_of):
    every = '@id("all") permit (principal in Group::"none", action, resource);'
    sets = Sets(
        Folder({"p.cedar": every}), Folder({"p.cedar": f"{every}\n{NIGHTLY}"}), PolicySettings(world.folder),
        world.estate, world.actions,
    )  # fmt: skip
    dana = world.dana()
    past = [
        Past(f"d-{name}", world.now, Outcome.DENY, (), "v", dana.principal.key, "Dana", "a", "r",
             recorded(world, name)[0], dana.groups, dana.roles)
        for name in ("", "nightly", "weekly")
    ]  # fmt: skip
    found = Replayer(sets)([past], lambda _: None)
    [change] = found.changes
    assert (change.decision, change.before, change.after) == ("d-nightly", Outcome.DENY, Outcome.PERMIT)
    assert (change.policies_after, found.unchanged) == (("nightly",), 2)


def test_explaining_shows_the_job_that_led_there(world, judge_of):
    judge = judge_of(NIGHTLY)
    explain = Explainer(lambda _: judge.book, world.estate, world.actions).explain
    _, taken = recorded(world, "nightly")
    found = explain(taken.identity, taken.request, taken.circumstances, "v")
    [[policy]] = [question.policies for question in found.questions]
    [condition] = policy.conditions
    assert (condition.text, condition.holds) == (f'principal in Job::"{DANA}/nightly"', True)
    assert condition.saw == f'principal is Person::"{DANA}", within Job::"{DANA}/nightly"'
    _, taken = recorded(world, "weekly")
    found = explain(taken.identity, taken.request, taken.circumstances, "v")
    [[change]] = [repair.changes for repair in found.repairs]
    assert change.command == "remit run --name nightly -- …"
    assert found.verdict.reasons == (Reason.NO_POLICY_PERMITS,)


def test_jobs_that_no_policy_names_are_not_told_to_the_engine(world, judge_of):
    ground = judge_of(NIGHTLY).book.ground
    request = world.request("use", world.child("Model", "contoso-fraud-test", "1"))
    for name, told in (("nightly", True), ("weekly", False)):
        facts = gather(world.dana(), request, Circumstances(world.now, job_name=name), world.estate, world.actions)
        assert (("Job", f"{DANA}/{name}") in ground.hear(facts).caller) is told
        assert ("/weekly" in str(ground.hear(facts).entities)) is False
