"""What a decision saves: asked once and of what matters, a question is answered as by the whole, asked for anew.

The whole: all entities with every group and role, all policies, then all obligations, each supposition asked again.
"""

import json
import secrets
from collections import Counter
from dataclasses import replace

import cedarpy
import pytest
from hypothesis import HealthCheck, given, seed
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from remit.model.decision import Circumstances
from remit.model.errors import SettingsInvalid
from remit.model.grant import Grant, Wanted
from remit.model.identity import Kind
from remit.model.operation import INSTALLATION, Request
from remit.model.reasons import Reason
from remit.policy import engine as engine_module
from remit.policy.engine import Answer, EvaluationFailed, Ground
from remit.policy.facts import base_entities, gather
from remit.policy.lint import Policy
from remit.policy.sight import WHOLE, looked_at
from remit.policy.slices import Slices, names
from remit.policy.source import PolicyFile
from remit.policy.together import Together
from remit.policy.validity import faults

SEED = secrets.randbits(32)
TID = "6f1c2a34-8b5d-4e6f-9a01-c0de00000001"
BROKEN = 'context.now.offset(duration("9223372036854775807ms")) > context.now'
GROUPS, ROLES, RUNS = ("g1", "g2", "g3"), ("R", "g1"), ("nightly", "weekly", "another")
OWNER = f"{TID}/0d000000-0000-4000-8000-000000000001"
ALL = "permit(principal, action, resource);"
SCOPES = (
    *["principal, action, resource"] * 4,
    'principal in Group::"g1", action, resource',
    'principal is Person in Role::"g1", action, resource',
    f'principal in Job::"{OWNER}/nightly", action, resource',
    'principal, action in Action::"use", resource',
    'principal, action == Action::"storage.objects.get", resource is Bucket',
    'principal, action, resource in Environment::"prod"',
    'principal, action, resource in Project::"contoso-fraud-test"',
    'principal, action, resource == Project::"contoso-churn-prod"',
)
CONDITIONS = (
    *[""] * 4,
    'when { principal in [Group::"g2", Role::"R"] }',
    'unless { resource in Environment::"test" || Project::"contoso-fraud-prod" in Environment::"test" }',
    'when { Project::"contoso-fraud-prod" in Environment::"prod" }',
    'when { (principal in Group::"g1") == (Group::"g1" in Group::"g2") }',
    f'unless {{ principal in [Group::"g3", Job::"{OWNER}/weekly"] }}',
    f'when {{ Job::"{OWNER}/nightly" in Job::"{OWNER}/nightly" && principal in Job::"somebody/else/nightly" }}',
    "when { context has grant }",
    "when { context has grant && context.grant.approvals > 1 }",
    "unless { context has grant.break_glass }",
    'when { context.authentication.contexts.contains("c1") }',
    "when { context.authentication has age && !(context has device.id) }",
    "when { if context.guest then context == context else context has country }",
    'when { context.peer.isInRange(ip("10.0.0.0/8")) }',
    f"when {{ {BROKEN} }}",
)


def rules(effects):
    return st.lists(
        st.tuples(st.sampled_from(effects), st.sampled_from(SCOPES), st.sampled_from(CONDITIONS)).map(
            lambda each: f"{each[0]}({each[1]}) {each[2]};"
        ),
        max_size=6,
    )


@st.composite
def requests(draw, world):
    resources = (
        world.project("contoso-fraud-test"),
        world.project("contoso-churn-prod"),
        world.child("Tensorboard", "contoso-fraud-prod", "1/experiments/2"),
        world.bucket("contoso-fraud-prod-data", "contoso-fraud-prod"),
        INSTALLATION,
    )
    names_ = ("use", "launch", "storage.objects.get", "storage.objects.list")
    touched = draw(st.lists(st.tuples(st.sampled_from(names_), st.sampled_from(resources)), min_size=1, max_size=3))
    request = Request(tuple(world.request(name, resource).first for name, resource in touched))
    who = replace(
        world.person(1, kind=draw(st.sampled_from(Kind)), roles=draw(st.frozensets(st.sampled_from((*ROLES, "x"))))),
        groups=draw(st.frozensets(st.sampled_from((*GROUPS, "y", "z")))),
    )
    wanted = Wanted(who.principal.key, request.first.action.id, request.first.resources[0], 3600, "because")
    held = tuple(
        Grant(f"g-{people}", wanted, world.now, world.now + 3600, people)
        for people in draw(st.lists(st.integers(1, 2), max_size=1))
    )
    around = {"peer": draw(st.sampled_from(("10.1.2.3", ""))), "job_name": draw(st.sampled_from(("", *RUNS)))}
    return who, request, Circumstances(world.now, grants=held, **around)


def parsed(rules_):
    return cedarpy.PolicySet.from_str("\n".join(rules_))


def by_the_whole(ground, world, facts, sets, supposed):
    """Each set by itself, with every entity there is; `None` for an evaluation that failed."""
    delta = json.dumps(facts.entities(facts.identity.groups, facts.identity.roles, frozenset({facts.job})))
    whole = cedarpy.Entities.from_json_str(base_entities(world.estate), ground.schema).with_added_json_str(delta)

    def ask(policy_set):
        answers = []
        for question in facts.questions:
            action = question.operation.action
            told = {
                "principal": facts.principal,
                "action": ground.action(action.id, action.group),
                "resource": question.target,
                "context": facts.context(question, *supposed),
            }
            found = cedarpy.is_authorized(told, policy_set, whole, ground.schema)
            if found.diagnostics.errors:
                return None
            answers.append(Answer(found.allowed, frozenset(found.diagnostics.reasons)))
        return tuple(answers)

    policies, obligations = sets
    answers = ask(policies)
    if answers is None or not all(answer.allowed for answer in answers):
        return answers and (answers, frozenset())
    applied = ask(obligations)
    return applied and (answers, frozenset().union(*(answer.policies for answer in applied)))


@pytest.mark.promise("V23")
def test_what_matters_asked_once_answers_as_the_whole_does(world):
    print(f"seed {SEED}")
    seen = Counter()

    @seed(SEED)
    @hypothesis_settings(max_examples=250, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(rules(("permit", "permit", "permit", "forbid")), rules(("permit",)), requests(world), st.integers(0, 1))
    def equal(policies, obligations, asked, start):
        policies, obligations = parsed([ALL, *policies][start:]), parsed(obligations)
        trees = [tree for each in (policies, obligations) for tree in each.to_pst().static_policies.values()]
        ground = Ground(world.actions, trees, base_entities(world.estate))
        together = Together(Slices(policies), Slices(obligations))
        facts = gather(*asked, world.estate, world.actions)
        hearing = ground.hear(facts)
        now = world.now
        wanted = Wanted(facts.identity.principal.key, asked[1].first.action.id, asked[1].first.resources[0], 60, "")
        told = []
        for supposed in (
            (frozenset(), None),
            (frozenset({"c1"}), None),
            (frozenset(), Grant("supposed", wanted, now, now + 60, 2)),
            (frozenset({"c1"}), Grant("supposed", wanted, now, now + 60, 1)),
            (frozenset(), None),
        ):
            expected = by_the_whole(ground, world, facts, (policies, obligations), supposed)
            try:
                found = together.ask(hearing, *supposed)
            except EvaluationFailed:
                found = None
            assert found == expected, supposed
            told.append(expected)
            seen["failed" if expected is None else expected[0][0].allowed] += 1
            seen["obliged"] += bool(expected and expected[1])
        if told[0] and not all(answer.allowed for answer in told[0][0]) and not together.looked_at(hearing, "grant"):
            assert (told[2], told[3]) == (told[0], told[1]), "no grant is sought where nothing looks at one"
            seen["no grant helps"] += 1
        seen["cut"] += len(hearing.entities) < len(ground.admit("[]", frozenset(ground._base))) + 2

    equal()
    print(dict(seen))
    assert all(seen[what] > 5 for what in ("failed", True, False, "obliged", "cut", "no grant helps"))


def test_obligations_permit_nothing_though_the_engine_says_so(world):
    nothing, rule = parsed(['permit(principal in Group::"none", action, resource);']), parsed([ALL])
    ground = Ground(world.actions, (), base_entities(world.estate))
    together = Together(Slices(nothing), Slices(rule))
    hearing = ground.hear(
        gather(
            world.dana(),
            world.request("use", world.project("contoso-fraud-test")),
            Circumstances(world.now),
            world.estate,
            world.actions,
        )
    )
    assert hearing.ask(together._both, hearing.facts.questions)[0].allowed  # so says the engine
    assert together.ask(hearing) == ((Answer(allowed=False, policies=frozenset()),), frozenset())
    with pytest.raises(ValueError, match="is no permit"):
        Together(Slices(nothing), Slices(parsed(["forbid(principal, action, resource);"])))


def test_an_obligation_that_fails_does_not_hide_why_policies_refuse(world, judge_of):
    rule = f'@id("o") @purpose("x") @step_up("c1") permit(principal, action, resource) when {{ {BROKEN} }};'
    refused = judge_of('@id("n") @refusal("never") forbid(principal, action, resource);', obligations=rule)
    request = world.request("use", world.project("contoso-fraud-test"))
    assert world.decide(refused, world.dana(), request).reasons == (Reason.POLICY_FORBIDS,)
    assert world.decide(judge_of('@id("a") ' + ALL, obligations=rule), world.dana(), request).reasons == (
        Reason.POLICY_ERROR,
    )


def test_groups_that_policies_name_are_told_and_no_others(world):
    policies = parsed(
        [
            'permit(principal in Group::"g1", action, resource in Project::"contoso-fraud-test");',
            'permit(principal, action, resource) when { principal in Role::"R" };',
            f'permit(principal in Job::"{OWNER}/weekly", action, resource);',
        ]
    )
    ground = Ground(world.actions, policies.to_pst().static_policies.values(), base_entities(world.estate))
    who = replace(world.dana(), groups=frozenset({"g1", "R", "other"}), roles=frozenset({"R", "g1"}))
    around = Circumstances(world.now, job="j-1", job_name="nightly")
    request = world.request("use", world.child("Model", "contoso-fraud-prod", "1"))
    hearing = ground.hear(gather(who, request, around, world.estate, world.actions))
    assert hearing.caller[1:] == (("Group", "g1"), ("Role", "R"))
    hearing = ground.hear(gather(who, request, replace(around, job_name="weekly"), world.estate, world.actions))
    assert hearing.caller[1:] == (("Group", "g1"), ("Role", "R"), ("Job", f"{OWNER}/weekly"))
    told = {(each["uid"]["type"], each["uid"]["id"]) for each in json.loads(str(hearing.entities))}
    assert {name for name in told if name[0] in {"Project", "Environment"}} == {
        ("Project", "contoso-fraud-prod"),
        ("Environment", "prod"),
    }
    assert {name for kind, name in told if kind == "Action"} >= set(ground.declared)


def test_kept_parts_of_the_base_stay_few(world, monkeypatch):
    monkeypatch.setattr(engine_module, "_BASES", 2)
    ground = Ground(world.actions, (), base_entities(world.estate))
    for project in world.estate.projects * 2:
        ground.admit("[]", frozenset({("Project", project.id)}))
        assert len(ground._bases) <= 2


@pytest.mark.parametrize(
    ("condition", "attributes"),
    [
        ("context.grant.approvals > 1", {"grant"}),
        ('context has grant.id && context has "odd name"', {"grant", "odd name"}),
        ("[context.authentication].contains(context.authentication)", {"authentication"}),
        ("context == {a: 1}", {WHOLE}),
        ("{a: {b: [context]}}.a has b", {WHOLE}),
        ("(if context.guest then context else context) has grant", {"guest", WHOLE}),
        ('principal.hasTag("grant") && "grant" == "grant"', set()),
    ],
)
def test_what_of_the_context_a_policy_looks_at(condition, attributes):
    for kind in ("when", "unless"):
        text = f"permit(principal, action, resource) {kind} {{ true }} when {{ {condition} }};"
        (tree,) = parsed([text]).to_pst().static_policies.values()
        assert looked_at(tree) == attributes


# validity


BAD = (
    "permit(principal, action, resource) when { context.gest };",
    'permit(principal, action == Action::"aiplatform.nothing", resource);',
    'permit(principal, action, resource) when { action == Action::"storage.objects.get" && context.nothing };',
    'forbid(principal, action == Action::"storage.objects.get", resource) when { context.grant.id == "x" };',
    'permit(principal, action in Action::"use", resource is Nothing);',
    'permit(principal, action, resource) when { resource in Environment::"prod" && resource.owner == principal };',
)
GOOD = (
    ALL,
    'permit(principal, action == Action::"storage.objects.list", resource is Bucket) when { context.guest };',
    'permit(principal, action in [Action::"storage.objects.get", Action::"launch"], resource) unless { context has work };',
)


def policies_of(*texts):
    file = PolicyFile("p.cedar", "\n".join(texts))
    return [
        Policy(each, next(iter(parsed([each.text]).to_pst().static_policies.values()))) for each in file.statements()
    ]


def test_policies_are_found_good_and_bad_as_by_validating_the_whole(world):
    whole = policies_of(*GOOD, *BAD, *GOOD[::-1])
    named = {name for kind, name in names(each.tree for each in whole) if kind == "Action"}
    schema = engine_module.schema_text(world.actions, named)
    text = "\n".join(each.statement.text for each in whole)
    errors = cedarpy.validate_policies(text, schema).errors
    expected = {int(error.policy_id.removeprefix("policy")) for error in errors}
    assert expected == set(range(len(GOOD), len(GOOD) + len(BAD)))
    for _ in range(2):  # what was found good before changes nothing
        found = faults(whole, world.actions)
        assert {whole.index(policy) for policy, _ in found} == expected
        assert [whole.index(policy) for policy, _ in found] == sorted(whole.index(policy) for policy, _ in found)
        assert all(message and "for policy" not in message for _, message in found)


def test_a_policy_is_good_only_with_the_actions_it_was_found_good_with(world):
    policy = policies_of('permit(principal, action == Action::"storage.objects.list", resource);')
    assert faults(policy, world.actions) == []
    fewer = {name: group for name, group in world.actions.items() if name != "storage.objects.list"}
    assert faults(policy, fewer)
    assert faults(policy, world.actions) == []


def test_a_bad_policy_is_bad_again(judge_of):
    for _ in range(2):
        with pytest.raises(SettingsInvalid, match="gest"):
            judge_of('@id("bad") ' + BAD[0])
