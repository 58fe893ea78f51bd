"""What was granted just in time: which questions a policy sees it on, and when one is proposed."""

import shlex
from dataclasses import replace

import pytest

from remit.catalogue.storage import storage_request
from remit.model.decision import Circumstances
from remit.model.grant import Grant, Wanted
from remit.model.identity import Kind
from remit.model.operation import (
    ACCESS_ACTIONS,
    INSTALLATION,
    OWN_ACTIONS,
    Action,
    Group,
    Operation,
    Request,
    Resource,
    Work,
)
from remit.model.outcome import Outcome
from remit.model.reasons import Reason
from remit.policy.approval import short
from remit.policy.facts import gather

TEST, PROD, CHURN = "contoso-fraud-test", "contoso-fraud-prod", "contoso-churn-prod"
GRANTED = '@id("granted") @otherwise("somebody has to grant this") permit(principal, action, resource) when { context has grant };\n'
CREATE = "aiplatform.projects.locations.customJobs.create"
HINT = f'remit request {CREATE} {TEST} --for 1h --because "…"'


def trainer(project):
    return f"trainer@{project}.iam.gserviceaccount.com"


@pytest.fixture
def grant(world):
    """A grant of Dana's on launching in test, with anything else about it changed."""

    def build(*, who=None, action="launch", resource=None, approvals=1, since=-10, until=3590, **rest):
        asked = {name: rest.pop(name) for name in ("lasting", "break_glass") if name in rest}
        bound = "nightly" if rest.pop("bound", False) else ""
        principal = (who or world.dana()).principal.key
        target = resource or world.project(TEST)
        wanted = Wanted(principal, action, target, **{"lasting": 3600, "because": "x", "job": bound} | asked)
        return Grant(rest.pop("id", "g-1"), wanted, world.now + since, world.now + until, approvals, **rest)

    return build


def ask(world, judge, *grants, who=None, request=None, job=""):
    asked = request or world.request("launch", world.project(TEST))
    return judge.decide(who or world.dana(), asked, Circumstances(world.now, "10.1.2.3", job=job, grants=grants))


# which questions it is told on


@pytest.mark.parametrize(
    ("changes", "permitted"),
    [
        ({}, True),
        ({"action": CREATE}, True),
        ({"action": "change"}, False),
        ({"action": "aiplatform.projects.locations.customJobs.get"}, False),
        ({"resource": "prod"}, False),
        ({"resource": "job"}, False),
        ({"resource": "installation"}, False),
        ({"who": "ada"}, False),
        ({"until": 0}, False),
        ({"until": 1}, True),
        ({"since": 0}, True),
        ({"since": 1}, False),
        ({"bound": True}, False),
        ({"bound": True, "job": "j-2"}, False),
        ({"bound": True, "job": "j-1"}, True),
        ({"approvals": 0, "break_glass": True}, True),
    ],
)
def test_a_grant_holds_for_what_it_says_and_for_nothing_else(world, judge_of, grant, changes, permitted):
    resources = {
        "prod": world.project(PROD),
        "job": world.child("CustomJob", TEST, "7"),
        "installation": INSTALLATION,
    }
    made = {**changes}
    if "resource" in made:
        made["resource"] = resources[made["resource"]]
    if "who" in made:
        made["who"] = world.ada()
    verdict = ask(world, judge_of(GRANTED), grant(**made), job="j-1")
    assert (verdict.outcome is Outcome.PERMIT) is permitted
    assert verdict.grants == (("g-1",) if permitted else ())


def test_a_grant_permits_nothing_that_no_policy_permits(world, judge_of, grant):
    judge = judge_of('@id("p") permit(principal in Role::"Nobody", action, resource);')
    assert ask(world, judge, grant()).outcome is Outcome.DENY
    forbidden = judge_of(
        GRANTED + '@id("no") @refusal("no") forbid(principal, action, resource in Environment::"test");'
    )
    verdict = ask(world, forbidden, grant())
    assert (verdict.outcome, verdict.wanted) == (Outcome.DENY, None)


def test_what_goes_with_the_work_is_covered_in_the_grants_own_project(world, judge_of, grant):
    judge, home = judge_of(GRANTED), world.training(TEST, trainer(TEST), TEST)
    assert ask(world, judge, grant(action=CREATE), request=home).outcome is Outcome.PERMIT
    abroad = world.training(TEST, trainer(PROD), PROD)
    verdict = ask(world, judge, grant(action=CREATE), request=abroad)
    assert (verdict.outcome, verdict.reasons) == (Outcome.DENY, (Reason.NO_POLICY_PERMITS,))
    assert f"service account `{trainer(PROD)}`" in verdict.detail
    # of two operations the first counts: a grant for what merely goes along covers nothing else
    act_as = grant(action="iam.serviceAccounts.actAs", resource=world.account(trainer(TEST), TEST))
    assert ask(world, judge, act_as, request=home).outcome is not Outcome.PERMIT
    # one operation that touches two projects is no companion of itself
    both = world.request("launch", world.project(TEST), world.bucket(f"{CHURN}-data", CHURN))
    assert ask(world, judge, grant(), request=both).outcome is Outcome.DENY
    inside = world.request("launch", world.project(TEST), world.bucket(f"{TEST}-data", TEST))
    assert ask(world, judge, grant(), request=inside).outcome is Outcome.PERMIT


def test_what_could_be_asked_for_by_itself_goes_along_with_nothing(world, judge_of, grant):
    judge, data = judge_of(GRANTED), world.bucket(f"{TEST}-data", TEST)
    # reading a bucket is not writing to it, though a token for both asks for both
    reading = grant(action="storage.objects.get", resource=data)
    asked = storage_request(world.estate, [f"{TEST}-data"], "write")
    assert ask(world, judge, reading, request=Request(asked.operations[:1])).outcome is Outcome.PERMIT
    assert ask(world, judge, reading, request=asked).outcome is not Outcome.PERMIT
    # one call of two models, and one bucket's copy into another
    predict = Action("aiplatform.projects.locations.endpoints.predict", Group.USE)
    one, other = (world.child("Endpoint", TEST, name) for name in "12")
    both = Request((Operation(predict, (one,)), Operation(predict, (other,))))
    assert ask(world, judge, grant(action=predict.id, resource=one), request=both).outcome is not Outcome.PERMIT
    insert = Action("storage.objects.insert", Group.CHANGE)
    stored = Request((Operation(insert, (data,)), Operation(insert, (world.bucket(f"{TEST}-staging", TEST),))))
    assert ask(world, judge, grant(action=insert.id, resource=data), request=stored).outcome is not Outcome.PERMIT
    # a bucket of the work itself does
    work = Request((*world.training(TEST, trainer(TEST), TEST).operations, world.operation("launch", data)))
    assert ask(world, judge, grant(action=CREATE), request=work).outcome is Outcome.PERMIT


@pytest.mark.parametrize("action", [*OWN_ACTIONS, *ACCESS_ACTIONS], ids=lambda action: action.id)
def test_what_is_remits_own_is_granted_by_its_name_alone(world, grant, action):
    asked = Operation(action, (world.project(TEST),))
    assert grant(action=action.id).covers(asked)
    assert not grant(action=str(action.group)).covers(asked)


def test_a_grant_on_the_installation_is_in_no_project(world, judge_of, grant):
    listed, lifted = (
        Operation(Action(f"remit.revocations.{name}", group), (INSTALLATION,))
        for name, group in (("list", Group.OBSERVE), ("lift", Group.ADMINISTER))
    )
    held = grant(action="remit.revocations.list", resource=INSTALLATION)
    judge = judge_of(GRANTED)
    assert ask(world, judge, held, request=Request((listed,))).outcome is Outcome.PERMIT
    assert ask(world, judge, held, request=Request((listed, lifted))).outcome is not Outcome.PERMIT


def test_the_grant_with_most_approvals_is_told_then_the_longest(world, grant):
    held = (
        grant(id="g-1", until=9000),
        grant(id="g-2", approvals=2, until=100),
        grant(id="g-3", approvals=2, until=200),
        grant(id="g-4", approvals=5, until=0),
        grant(id="g-5", approvals=7, action="use"),
    )
    request = world.request("launch", world.project(TEST))
    for grants in (held, held[::-1]):
        facts = gather(world.dana(), request, Circumstances(world.now, grants=grants), world.estate, world.actions)
        assert [each.id for each in facts.grants(facts.questions[0])] == ["g-3", "g-2", "g-1"]
        supposed = replace(held[0], id="supposed", approvals=3)
        assert facts.grants(facts.questions[0], supposed)[0].id == "supposed"


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ('context.grant.id == "g-1"', True),
        ("context.grant.approvals >= 1", True),
        ("context.grant.approvals >= 2", False),
        ("context.grant.break_glass", False),
        ("context.grant.job", False),
        ("context.grant.lasting <= 3600", True),
        ('context.grant.since == datetime("2026-11-21T23:59:50Z")', True),
        ('context.grant.until == datetime("2026-11-22T00:59:50Z")', True),
    ],
)
def test_a_policy_reads_the_grant(world, judge_of, grant, condition, holds):
    judge = judge_of(f'@id("p") permit(principal, action, resource) when {{ context has grant && {condition} }};')
    assert (ask(world, judge, grant()).outcome is Outcome.PERMIT) is holds


def test_a_permit_names_the_grants_that_it_rests_on_and_no_others(world, judge_of, grant):
    judge = judge_of(GRANTED + '@id("dana") permit(principal in Role::"MLEngineer", action, resource);')
    verdict = ask(world, judge, grant())
    assert (verdict.outcome, verdict.grants) == (Outcome.PERMIT, ())
    ada = ask(world, judge, grant(who=world.ada()), who=world.ada())
    assert (ada.outcome, ada.grants) == (Outcome.PERMIT, ("g-1",))
    assert [policy.id for policy in ada.policies] == ["granted"]


def test_a_permit_rests_on_the_grant_that_lifts_an_obligation(world, judge_of, grant):
    rule = '@id("o") @purpose("x") @step_up("c1") permit(principal, action, resource) unless { context has grant };'
    judge = judge_of('@id("all") permit(principal, action, resource);', obligations=rule)
    assert ask(world, judge).outcome is Outcome.STEP_UP
    assert ask(world, judge, grant()).grants == ("g-1",)


# when one is proposed


def test_a_grant_that_alone_would_permit_is_proposed(world, judge_of):
    verdict = ask(world, judge_of(GRANTED))
    assert verdict.outcome is Outcome.NEEDS_APPROVAL
    assert verdict.reasons == (Reason.APPROVAL_REQUIRED, Reason.NO_POLICY_PERMITS)
    assert verdict.wanted == Wanted(world.dana().principal.key, CREATE, world.project(TEST), 0, "")
    assert verdict.hint == HINT
    assert verdict.detail.endswith("on project `contoso-fraud-test`: somebody has to grant this")
    assert verdict.grants == ()
    assert verdict.reasons[0].http_status == 403


def test_a_grant_is_proposed_for_what_the_request_is_named_by(world, judge_of):
    verdict = ask(world, judge_of(GRANTED), request=world.training(TEST, trainer(TEST), TEST))
    assert (verdict.outcome, verdict.hint) == (Outcome.NEEDS_APPROVAL, HINT)
    verdict = ask(world, judge_of(GRANTED), request=world.training(TEST, trainer(PROD), PROD))
    assert (verdict.outcome, verdict.wanted) == (Outcome.DENY, None)


def test_a_whole_group_is_proposed_for_a_whole_group(world, judge_of, grant):
    whole = Request((Operation(Action("launch", Group.LAUNCH), (world.project(TEST),)),))
    verdict = ask(world, judge_of(GRANTED), request=whole)
    assert (verdict.wanted.action, verdict.outcome) == ("launch", Outcome.NEEDS_APPROVAL)
    assert ask(world, judge_of(GRANTED), grant(), request=whole).outcome is Outcome.PERMIT
    assert ask(world, judge_of(GRANTED), grant(action=CREATE), request=whole).outcome is Outcome.NEEDS_APPROVAL


GUARD = (
    '@id("g") @refusal("no") @step_up("c1") forbid(principal, action, resource)'
    ' unless { context.authentication.contexts.contains("c1") };'
)


def test_a_grant_is_proposed_before_a_challenge_that_would_then_do(world, judge_of, grant):
    judge = judge_of(GRANTED + GUARD)
    verdict = ask(world, judge)
    assert (verdict.outcome, verdict.challenge) == (Outcome.NEEDS_APPROVAL, "")
    assert verdict.detail.endswith("somebody has to grant this")
    assert [policy.id for policy in verdict.policies] == ["g"]
    assert ask(world, judge, grant()).outcome is Outcome.STEP_UP
    okta = replace(world.dana(), principal=replace(world.dana().principal, tenant="okta"))
    robot = replace(world.dana(), principal=replace(world.dana().principal, kind=Kind.WORKLOAD))
    assert ask(world, judge, who=okta).outcome is Outcome.DENY
    assert ask(world, judge, who=robot).outcome is Outcome.DENY
    assert ask(world, judge_of(GRANTED), who=robot).outcome is Outcome.NEEDS_APPROVAL


def test_a_challenge_that_does_alone_comes_first(world, judge_of):
    other = (
        '@id("c") @step_up("c1") permit(principal, action, resource)'
        ' when { context.authentication.contexts.contains("c1") };'
    )
    judge = judge_of(GRANTED + other)
    verdict = ask(world, judge)
    assert (verdict.outcome, verdict.challenge, verdict.wanted) == (Outcome.STEP_UP, "c1", None)


@pytest.mark.parametrize(
    ("demands", "outcome"),
    [
        (['@ceilings("replicas=2")'], Outcome.NEEDS_APPROVAL),
        (['@ceilings("replicas=1")'], Outcome.DENY),
        (['@step_up("c1") @labels("a=b")'], Outcome.NEEDS_APPROVAL),
        (['@step_up("c1")', '@step_up("c2")'], Outcome.DENY),
        (['@approvals("3")', '@redact("peer")'], Outcome.NEEDS_APPROVAL),
        (['@session("1h")'], Outcome.NEEDS_APPROVAL),
        (['@labels("a=b")', '@labels("a=c")'], Outcome.DENY),
    ],
)
def test_a_grant_is_proposed_only_where_the_obligations_would_then_be_met(world, judge_of, demands, outcome):
    rules = [
        f'@id("o{place}") @purpose("x") {demand} permit(principal, action, resource);'
        for place, demand in enumerate(demands)
    ]
    judge = judge_of(GRANTED, obligations="".join(rules))
    working = replace(world.operation("launch", world.project(TEST)), work=Work(replicas=2))
    verdict = ask(world, judge, request=Request((working,)))
    assert verdict.outcome is outcome
    assert (verdict.wanted is not None) is (outcome is Outcome.NEEDS_APPROVAL)
    if verdict.wanted:
        assert verdict.obligations.rules == tuple(f"o{place}" for place in range(len(demands)))


def test_a_grant_is_tried_with_the_approvals_that_would_be_demanded(world, judge_of, grant):
    policy = GRANTED.replace("context has grant", "context has grant && context.grant.approvals >= 2")
    assert ask(world, judge_of(policy)).outcome is Outcome.DENY  # one person would approve, and that would not do
    text = '@id("o") @purpose("x") @approvals("2") permit(principal, action, resource) when { context has grant };'
    judge = judge_of(GRANTED + GUARD, obligations=text)
    verdict = ask(world, judge)
    assert (verdict.outcome, verdict.obligations.approvals) == (Outcome.NEEDS_APPROVAL, 2)
    held = ask(world, judge, grant(), who=world.dana(contexts=("c1",)))
    assert held.outcome is Outcome.NEEDS_APPROVAL
    assert ask(world, judge, grant(approvals=2), who=world.dana(contexts=("c1",))).outcome is Outcome.PERMIT


def test_a_resource_is_written_as_people_would(world):
    assert short(world.project(TEST)) == TEST
    assert short(world.bucket(f"{TEST}-data", TEST)) == f"gs://{TEST}-data"
    assert short(world.account(trainer(TEST), TEST)) == trainer(TEST)
    assert short(world.child("Endpoint", TEST, "7")) == f"projects/{TEST}/locations/us-central1/endpoints/7"
    assert short(Resource("Service", f"//remit/projects/{TEST}/services/board", TEST)) == "board"
    assert short(INSTALLATION) == INSTALLATION.name
    log = f"//logging.googleapis.com/projects/{TEST}/logs/x"
    assert short(Resource("LogView", log, TEST)) == log


@pytest.mark.parametrize("name", ["7; rm -rf ~", "$(id)", "`id`", "a b", "'", '"', "x\n", "--because"])
def test_a_command_that_is_pasted_says_nothing_else(world, judge_of, name):
    model = world.child("Model", TEST, name)
    verdict = ask(world, judge_of(GRANTED), request=world.request("use", model))
    assert verdict.outcome is Outcome.NEEDS_APPROVAL
    words = shlex.split(verdict.hint)
    predict = "aiplatform.projects.locations.endpoints.predict"
    assert words == ["remit", "request", predict, short(model), "--for", "1h", "--because", "…"]
