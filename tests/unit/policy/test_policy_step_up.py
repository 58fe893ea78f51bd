"""A challenge is offered when completing it alone would permit the request, and only then."""

from dataclasses import replace

from remit.model.identity import Kind
from remit.model.operation import Request
from remit.model.outcome import Outcome
from remit.model.reasons import Reason

TEST, PROD = "contoso-fraud-test", "contoso-fraud-prod"
ALL = '@id("all") permit(principal, action, resource);'


def guard(name, context, scope="principal, action, resource"):
    return (
        f'@id("{name}") @refusal("{name} says no") @step_up("{context}") forbid({scope})'
        f' unless {{ context.authentication.contexts.contains("{context}") }};'
    )


def ask(world, judge, who=None, action="use", project=TEST):
    return world.decide(judge, who or world.dana(), world.request(action, world.project(project)))


def test_a_guard_that_one_challenge_lifts(world, judge_of):
    verdict = ask(world, judge_of(ALL + guard("g", "c1")))
    assert (verdict.outcome, verdict.challenge, verdict.hint) == (Outcome.STEP_UP, "c1", "")
    assert [policy.id for policy in verdict.policies] == ["g"]


def test_a_permit_that_one_challenge_opens(world, judge_of):
    judge = judge_of(
        '@id("p") @otherwise("a second factor is needed") @step_up("c7") permit(principal, action, resource)'
        ' when { context.authentication.contexts.contains("c7") };'
    )
    verdict = ask(world, judge)
    assert (verdict.outcome, verdict.challenge) == (Outcome.STEP_UP, "c7")
    assert verdict.reasons == (Reason.STEP_UP_REQUIRED, Reason.NO_POLICY_PERMITS)
    assert verdict.detail.endswith("a second factor is needed")
    assert ask(world, judge, world.dana(contexts=("c7",))).outcome is Outcome.PERMIT


def test_no_challenge_where_nothing_would_permit_after_it(world, judge_of):
    verdict = ask(world, judge_of(guard("g", "c1") + '@id("p") permit(principal in Role::"Other", action, resource);'))
    assert (verdict.outcome, verdict.challenge) == (Outcome.DENY, "")
    assert verdict.reasons == (Reason.NO_POLICY_PERMITS, Reason.POLICY_FORBIDS)
    assert verdict.detail.endswith("nothing here permits it to this identity")


def test_no_challenge_where_two_would_be_needed(world, judge_of):
    verdict = ask(world, judge_of(ALL + guard("g", "c1") + guard("h", "c2")))
    assert (verdict.outcome, verdict.challenge) == (Outcome.DENY, "")
    assert verdict.detail.endswith("g says no; h says no")


def test_no_challenge_where_another_operation_stays_refused(world, judge_of):
    judge = judge_of(
        ALL
        + guard("g", "c1")
        + '@id("prod") @refusal("never in production") @advice("use test") forbid(principal, action, resource in Environment::"prod");'
    )
    request = Request((world.operation("use", world.project(TEST)), world.operation("use", world.project(PROD))))
    verdict = world.decide(judge, world.dana(), request)
    assert verdict.outcome is Outcome.DENY
    assert verdict.detail.endswith("on project `contoso-fraud-prod`: never in production")
    assert verdict.hint == "use test"
    assert [policy.id for policy in verdict.policies] == ["g", "prod"]


def test_the_challenge_that_helps_is_the_one_that_is_offered(world, judge_of):
    judge = judge_of(
        '@id("p") @step_up("c1") permit(principal in Role::"Other", action, resource);'
        '@id("q") @step_up("c2") permit(principal, action, resource)'
        ' when { context.authentication.contexts.contains("c2") };'
    )
    assert ask(world, judge).challenge == "c2"


def test_no_challenge_that_is_completed_already(world, judge_of):
    lying = '@id("g") @refusal("no") @step_up("c1") forbid(principal, action, resource);'
    verdict = ask(world, judge_of(ALL + lying), world.dana(contexts=("c1",)))
    assert (verdict.outcome, verdict.reasons) == (Outcome.DENY, (Reason.POLICY_FORBIDS,))
    verdict = ask(world, judge_of(ALL + lying))
    assert (verdict.outcome, verdict.reasons) == (Outcome.DENY, (Reason.POLICY_FORBIDS,))


def test_no_challenge_for_a_workload(world, judge_of):
    judge = judge_of(ALL + guard("g", "c1"))
    verdict = ask(world, judge, world.person(9, kind=Kind.WORKLOAD))
    assert (verdict.outcome, verdict.detail.endswith("g says no")) == (Outcome.DENY, True)


def test_no_challenge_for_people_of_other_providers(world, judge_of):
    judge, dana = judge_of(ALL + guard("g", "c1")), world.dana()
    other = replace(dana, principal=replace(dana.principal, tenant="okta"))
    assert ask(world, judge, dana).outcome is Outcome.STEP_UP
    assert ask(world, judge, other).outcome is Outcome.DENY


def test_a_refusal_says_only_what_policies_within_reach_say(world, judge_of):
    judge = judge_of(
        '@id("a") @otherwise("said") permit(principal in Group::"g", action in Action::"use", resource in Environment::"test")'
        " when { context.guest };"
        '@id("b") @otherwise("other action") permit(principal, action in Action::"launch", resource) when { context.guest };'
        '@id("c") @otherwise("other place") permit(principal in Group::"g", action, resource in Environment::"prod");'
        '@id("d") @otherwise("other kind") permit(principal is Workload in Role::"R", action, resource);'
        '@id("e") @otherwise("other kind") permit(principal is Workload, action, resource);'
    )
    verdict = ask(world, judge)
    assert verdict.detail == "`aiplatform.projects.locations.endpoints.predict` on project `contoso-fraud-test`: said"
    assert "Group" not in verdict.detail


def test_at_most_three_sentences_are_said(world, judge_of):
    judge = judge_of("".join(f'@id("f{n}") @refusal("no {n}") forbid(principal, action, resource);' for n in range(5)))
    verdict = ask(world, judge)
    assert verdict.detail.endswith(": no 0; no 1; no 2")
    assert len(verdict.policies) == 5


def test_a_policy_set_without_permits_refuses(world, judge_of):
    judge = judge_of('@id("f") @refusal("no") forbid(principal, action, resource in Environment::"prod");')
    verdict = ask(world, judge)
    assert verdict.reasons == (Reason.NO_POLICY_PERMITS,)
    assert verdict.policies == ()


def test_a_custom_job_is_described_by_its_kind_and_last_part(world, judge):
    verdict = world.decide(judge, world.gil(), world.request("observe", world.child("CustomJob", TEST, "42")))
    assert "on custom job `42`" in verdict.detail
