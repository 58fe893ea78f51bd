"""What is known before the engine is asked, and what never reaches it."""

import json
import random
from dataclasses import replace

import pytest

from remit.model.decision import Circumstances
from remit.model.errors import Refused
from remit.model.operation import Action, Group, Operation, Request, Resource
from remit.model.outcome import Outcome
from remit.model.reasons import Reason
from remit.policy.facts import gather, resource_uid

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
    delta = json.loads(facts_of(world, request=world.request("use", model, model)).entities)
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
        found = keys(json.loads(facts.context(facts.questions[0]))) | keys(json.loads(facts.entities))
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
