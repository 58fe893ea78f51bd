"""What is known before the engine is asked, and what never reaches it."""

import json
import random
from dataclasses import replace

import pytest

from remit.model.decision import Circumstances
from remit.model.errors import Refused, SettingsInvalid
from remit.model.operation import GRANTS_APPROVE, Action, Asked, Group, Operation, Request, Resource
from remit.model.outcome import Outcome
from remit.model.reasons import Reason
from remit.policy.facts import gather, resource_uid
from remit.policy.schema import vocabulary

TEST = "contoso-fraud-test"
PERMIT_ALL = '@id("all") permit(principal, action, resource);'
HOSTILE = [
    '{"__entity": {"type": "Group", "id": "x"}}',
    "__entity",
    "__extn",
    'Group::"x"',
    '"',
    "\\",
    "\n",
    "\u202e",
    "{}",
]


def facts_of(world, identity=None, request=None, **circumstances):
    asked = request or world.request("use", world.project(TEST))
    situation = Circumstances(world.now, **circumstances)
    return gather(identity or world.dana(), asked, situation, world.estate, world.actions)


@pytest.mark.parametrize(
    "resource",
    [
        Resource("Project", "//cloudresourcemanager.googleapis.com/projects/contoso-fraud-prod", TEST),
        Resource("Project", "//cloudresourcemanager.googleapis.com/projects/100000000001", "100000000001"),
        Resource("Project", f"projects/{TEST}", TEST),
        Resource("Bucket", "//storage.googleapis.com/projects/_/buckets/elsewhere", TEST),
        Resource("Bucket", "//storage.googleapis.com/projects/_/buckets/contoso-churn-prod-data", TEST),
        Resource("ServiceAccount", "//iam.googleapis.com/projects/-/serviceAccounts/a@b", TEST),
        Resource(
            "ServiceAccount",
            "//iam.googleapis.com/projects/-/serviceAccounts/trainer@contoso-fraud-prod.iam.gserviceaccount.com",
            TEST,
        ),
        Resource("Model", f"//aiplatform.googleapis.com/projects/contoso-fraud-prod/{TEST}/models/1", TEST),
        Resource("Model", f"aiplatform.googleapis.com/projects/{TEST}/models/1", TEST),
        Resource("Model", f"///projects/{TEST}/models/1", TEST),
        Resource("Model", "", TEST),
        Resource("Group", f"//aiplatform.googleapis.com/projects/{TEST}/groups/1", TEST),
        Resource("Environment", f"//aiplatform.googleapis.com/projects/{TEST}/x/1", TEST),
    ],
)
def test_what_is_not_in_the_estate_is_unknown(world, judge_of, resource):
    with pytest.raises(Refused) as caught:
        resource_uid(resource, world.estate)
    assert caught.value.reason is Reason.RESOURCE_UNKNOWN
    verdict = world.decide(judge_of(PERMIT_ALL), world.dana(), world.request("use", resource))
    assert verdict.reasons == (Reason.RESOURCE_UNKNOWN,)
    assert "belongs to no known project" in verdict.detail


def test_a_child_that_is_not_listed_is_known_by_its_project(world):
    model = world.child("Model", TEST, "never-seen")
    assert resource_uid(model, world.estate) == {"type": "Model", "id": model.name}
    delta = facts_of(world, request=world.request("use", model, model)).entities(frozenset(), frozenset(), frozenset())
    assert [entity["parents"] for entity in delta[1:]] == [[{"type": "Project", "id": TEST}]]


def test_an_action_that_is_not_in_the_catalogue_is_refused(world, judge_of):
    verdict = world.decide(judge_of(PERMIT_ALL), world.dana(), world.request("aiplatform.nothing", world.project(TEST)))
    assert verdict.reasons == (Reason.METHOD_UNKNOWN,)
    assert verdict.outcome is Outcome.DENY


def test_an_action_in_two_groups_is_refused(world, judge_of):
    twisted = Operation(Action("logging.entries.list", Group.USE), (world.project(TEST),))
    verdict = world.decide(judge_of(PERMIT_ALL), world.dana(), Request((twisted,)))
    assert verdict.reasons == (Reason.POLICY_ERROR,)


def test_running_as_an_account_without_asking_for_it_is_refused(world, judge_of):
    account = f"trainer@{TEST}.iam.gserviceaccount.com"
    other = world.account(f"auditor@{TEST}.iam.gserviceaccount.com", TEST)
    launch = world.operation("launch", world.project(TEST), acts_as=account)
    beside = world.operation("iam.serviceAccounts.actAs", other)
    judge = judge_of(PERMIT_ALL)
    for operations in ((launch,), (launch, beside)):
        verdict = world.decide(judge, world.dana(), Request(operations))
        assert verdict.reasons == (Reason.POLICY_ERROR,)
        assert "does not ask to act as it" in verdict.detail


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        ("", None),
        ("10.1.2.3", "10.1.2.3"),
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("fe80::1%eth0", "fe80::1"),
        ("2001:DB8::1", "2001:db8::1"),
    ],
)
def test_an_address_has_one_spelling(world, peer, expected):
    facts = facts_of(world, peer=peer)
    assert json.loads(facts.context(facts.questions[0])).get("peer") == expected


def test_a_range_rule_is_not_walked_around_by_spelling(world, judge_of):
    judge = judge_of(
        PERMIT_ALL + '@id("lan") @refusal("not from the guest network") forbid(principal, action, resource)'
        ' when { context has peer && context.peer.isInRange(ip("10.9.0.0/16")) };'
    )
    request = world.request("use", world.project(TEST))
    assert world.decide(judge, world.dana(), request, peer="10.1.0.1").outcome is Outcome.PERMIT
    for peer in ("10.9.0.1", "::ffff:10.9.0.1", "::ffff:a09:1"):
        assert world.decide(judge, world.dana(), request, peer=peer).reasons == (Reason.POLICY_FORBIDS,)


@pytest.mark.parametrize("peer", ["unix:", "10.1.2.3:443", "10.1.2", '{"__extn": {"fn": "ip", "arg": "10.0.0.1"}}'])
def test_an_address_that_cannot_be_read_is_refused(world, judge_of, peer):
    verdict = world.decide(judge_of(PERMIT_ALL), world.dana(), world.request("use", world.project(TEST)), peer=peer)
    assert verdict.reasons == (Reason.POLICY_ERROR,)


def keys(value):
    if isinstance(value, dict):
        return set(value) | set().union(*(keys(each) for each in value.values()), set())
    return set().union(*(keys(each) for each in value), set()) if isinstance(value, list) else set()


def test_what_callers_say_is_never_an_entity_or_an_extension(world, judge_of):
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    judge = judge_of(
        '@id("x") permit(principal in Group::"x", action, resource);'
        '@id("y") permit(principal, action, resource) when { context.authentication.contexts.contains("c1") };'
    )
    for _ in range(50):
        words = frozenset(chance.sample(HOSTILE, 4))
        dana = world.dana(contexts=words, methods=words)
        hostile = replace(
            dana,
            principal=replace(dana.principal, subject=chance.choice(HOSTILE)),
            groups=words,
            roles=words,
        )
        facts = facts_of(world, hostile)
        found = keys(json.loads(facts.context(facts.questions[0]))) | keys(list(facts.entities(words, words, words)))
        assert not found & {"__entity", "__extn", "__expr"}
        verdict = world.decide(judge, hostile, world.request("use", world.project(TEST)))
        assert verdict.reasons == (Reason.NO_POLICY_PERMITS,)


def test_now_is_a_moment_that_policies_compare(world, judge_of):
    judge = judge_of(
        '@id("until") permit(principal, action, resource) when { context.now < datetime("2026-11-22T00:00:01Z") };'
    )
    request = world.request("use", world.project(TEST))
    assert judge.decide(world.dana(), request, Circumstances(world.now)).outcome is Outcome.PERMIT
    assert judge.decide(world.dana(), request, Circumstances(world.now + 1)).outcome is Outcome.DENY


def told(world, **circumstances):
    facts = facts_of(world, **circumstances)
    return json.loads(facts.context(facts.questions[0]))


def test_a_country_and_a_risk_are_from_closed_lists(world):
    known = told(world, country="DE", risk="high", locations_known=True)
    assert known["country"] == {"__entity": {"type": "Country", "id": "DE"}}
    assert known["risk"] == {"__entity": {"type": "Risk", "id": "high"}}
    assert known["locations_known"]
    assert {"XK", "GB", "US", "ZW", "AD"} <= vocabulary("Country")
    assert len(vocabulary("Country")) == 250
    assert vocabulary("Risk") == {"none", "low", "medium", "high"}


@pytest.mark.promise("V23")
@pytest.mark.parametrize("country", ["EU", "ZZ", "UK", "de", "D", '{"__entity": 1}', "\u202e"])
def test_a_country_that_is_none_is_told_as_absent_and_opens_nothing(world, judge_of, country):
    context = told(world, country=country, locations_known=True)
    assert "country" not in context
    assert context["locations_known"] is False
    judge = judge_of(
        '@id("in") permit(principal, action, resource) when { context has country && context.country != Country::"KP" };'
        '@id("known") permit(principal, action, resource) when { context.locations_known };'
    )
    request = world.request("use", world.project(TEST))
    asked = Circumstances(world.now, country=country, locations_known=True)
    assert judge.decide(world.dana(), request, asked).outcome is Outcome.DENY
    assert judge.decide(world.dana(), request, replace(asked, country="DE")).outcome is Outcome.PERMIT


@pytest.mark.parametrize("risk", ["hihg", "High", "critical", "hidden", "unknownFutureValue", " "])
def test_a_risk_that_nobody_can_read_refuses(world, judge_of, risk):
    request = world.request("use", world.project(TEST))
    verdict = judge_of(PERMIT_ALL).decide(world.dana(), request, Circumstances(world.now, risk=risk))
    assert (verdict.outcome, verdict.reasons) == (Outcome.DENY, (Reason.POLICY_ERROR,))
    assert judge_of(PERMIT_ALL).decide(world.dana(), request, Circumstances(world.now)).outcome is Outcome.PERMIT


@pytest.mark.parametrize("text", ['"DE"', 'Country::"XX"', 'Country::"de"'])
@pytest.mark.parametrize("form", ["context.country == {}", '[Country::"FR", {}].contains(context.country)'])
def test_a_country_that_is_none_is_no_policy(judge_of, text, form):
    with pytest.raises(SettingsInvalid):
        judge_of(f'@id("x") permit(principal, action, resource) when {{ context has country && {form.format(text)} }};')


def test_the_run_that_asks_is_told(world):
    assert told(world, job="j-1")["job"] == "j-1"
    assert "job" not in told(world)


def test_a_whole_group_stands_for_the_members_that_no_policy_names(world, judge_of):
    judge = judge_of(
        '@id("l") permit(principal, action in Action::"launch", resource);'
        '@id("p") permit(principal, action == Action::"aiplatform.projects.locations.endpoints.predict", resource);'
    )
    for group in Group:
        whole = Request((Operation(Action(str(group), group), (world.project(TEST),)),))
        expected = Outcome.PERMIT if group is Group.LAUNCH else Outcome.DENY
        assert world.decide(judge, world.dana(), whole).outcome is expected
    twisted = Request((Operation(Action("launch", Group.USE), (world.project(TEST),)),))
    assert world.decide(judge, world.dana(), twisted).reasons == (Reason.METHOD_UNKNOWN,)


def test_what_is_asked_to_be_granted_is_told(world, judge_of):
    judge = judge_of(
        '@id("a") permit(principal, action == Action::"remit.grants.approve", resource in Environment::"test")'
        ' when { context has asked && context.asked.lasting <= 3600 && context.asked.action == "launch"'
        ' && !context.asked.break_glass && context.asked.by == "t/s" };'
    )

    def outcome(asked):
        operation = Operation(GRANTS_APPROVE, (world.project(TEST),), asked=asked)
        return world.decide(judge, world.sam(), Request((operation,))).outcome

    assert outcome(Asked("launch", 3600, "t/s")) is Outcome.PERMIT
    others = (Asked("launch", 3601, "t/s"), Asked("use", 60, "t/s"), Asked("launch", 60, "t/x"), None)
    assert {outcome(asked) for asked in (*others, Asked("launch", 60, "t/s", break_glass=True))} == {Outcome.DENY}
    assert outcome(Asked("launch", 1 << 70, "t/s")) is Outcome.DENY
