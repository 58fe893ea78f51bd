"""Slices answer as the whole set does: the same outcome, the same determining policies, the same failures."""

import json
import secrets
import threading
from collections import Counter
from dataclasses import replace

import cedarpy
import pytest
from hypothesis import HealthCheck, given, seed
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from remit.model.decision import Circumstances
from remit.model.identity import Kind
from remit.model.operation import INSTALLATION, Request, Resource
from remit.model.reasons import Reason
from remit.policy import slices as module
from remit.policy.engine import EvaluationFailed, Ground
from remit.policy.facts import base_entities, gather, resource_uid, uid
from remit.policy.slices import Slices, line, parents

SEED = secrets.randbits(32)
ODD = 'o"dd \\*\n\té☃'  # what has to be escaped in Cedar, and what does not
GROUPS = ("g1", "g2", ODD)
ROLES = ("g1", "R", ODD)  # a role is no group of the same name
RUNS = ("nightly", "a.b")
NAMED = ("aiplatform.projects.locations.endpoints.predict", "storage.objects.get", "remit.revocations.list")
ASKED = (*NAMED, "storage.objects.insert", "aiplatform.projects.locations.customJobs.create", "logging.entries.list")
BROKEN = 'context.now.offset(duration("9223372036854775807ms")) > context.now'
CONDITIONS = (
    "",
    "",
    "when { context.guest }",
    "unless { context.locations_known }",
    'when { context.authentication.contexts.contains("c1") && !(context has acts_as) }',
    'when { context.peer.isInRange(ip("10.0.0.0/8")) }',  # an error where no address is known
    'unless { principal in [Group::"g1", Role::"R"] || resource in Environment::"prod" }',
    'when { principal in Job::"6f1c2a34-8b5d-4e6f-9a01-c0de00000001/0d000000-0000-4000-8000-000000000001/nightly" }',
    f"when {{ {BROKEN} }}",
    f"when {{ context.guest && {BROKEN} }}",
)
EVERY_OPERATOR = r"""
@id("a") @purpose("p \"q\" \\ é") permit(principal, action, resource)
when { if context.guest then 1 + 2 * -3 - 4 < 5 else !(context has "odd name") };
@id("b") forbid(principal is Person in Group::"g\u{2603}\n\"", action in [Action::"use", Action::"launch"], resource is Model)
when { context["odd name"].a.b like "x*\*y\"" && context has a.b.c } unless { [1, -9223372036854775808].contains(2) };
@id("c") permit(principal == Person::"p", action == Action::"use", resource in Project::"q")
when { ip("10.0.0.0/8").isInRange(ip("::1")) || decimal("1.50").lessThan(decimal("-2.0")) }
when { datetime("2026-01-01").offset(duration("-1d")).toDate() >= context.now && duration("1h").toHours() != 0 };
@id("d") permit(principal is Workload, action in Action::"use", resource is Model in Project::"q")
unless { principal.getTag("t") == {a: [true, "s"], "b c": Person::"p"}.a || principal.hasTag("u") || [].isEmpty() };
@id("e") forbid(principal in Role::"r", action, resource == Model::"m")
when { resource is Model in Project::"q" && principal in [Group::"g"] && ["a"].containsAny(["b"]) && true == false }
when { [Person::"p"].containsAll([]) && (1 > 2 || 3 <= 4) && "a" != "b" };
"""


@pytest.fixture(scope="module")
def ground(world):
    scopes = [
        *(f"{scope}, action, resource" for scope in principal_scopes(world)),
        *(f"principal, {scope}, resource" for scope in action_scopes()),
    ]
    texts = [*(f"({scope});" for scope in scopes), *(f"(principal, action, resource) {each};" for each in CONDITIONS)]
    trees = cedarpy.PolicySet.from_str("".join(f"permit{text}" for text in texts)).to_pst().static_policies
    return Ground(world.actions, trees.values(), base_entities(world.estate))


@pytest.fixture(scope="module")
def resources(world):
    served = "//tf.service/projects/contoso-fraud-test/services/tf/models/fraud"
    return (
        world.project("contoso-fraud-test"),
        world.project("contoso-churn-prod"),
        world.child("Endpoint", "contoso-fraud-prod", "1"),
        world.child("Tensorboard", "contoso-fraud-test", "1"),
        world.child("Tensorboard", "contoso-fraud-test", "1/experiments/2"),
        world.bucket("contoso-fraud-prod-data", "contoso-fraud-prod"),
        Resource("ServedModel", served, "contoso-fraud-test"),
        Resource("ServedModel", f"{served}/versions/2", "contoso-fraud-test"),
        world.child("Model", "contoso-fraud-test", ODD),
        INSTALLATION,
    )


def written(kind, name):
    return f"{kind}::{json.dumps(name, ensure_ascii=False)}"


def principal_scopes(world):
    """Of one person and the workload that has the same id, and of a stranger."""
    places = [written("Group", name) for name in GROUPS] + [written("Role", name) for name in ROLES]
    keys = [world.person(number).principal.key for number in (1, 2)]
    places += [written("Job", f"{key}/{name}") for key in keys for name in RUNS]
    people = [written(kind, key) for kind in ("Person", "Workload") for key in keys]
    return [
        *["principal"] * 12,
        *(f"principal == {name}" for name in people),
        *(f"principal in {name}" for name in (*places, *places, people[0])),
        *["principal is Person", "principal is Workload"] * 2,
        *(f"principal is {kind} in {name}" for kind in ("Person", "Workload") for name in (*places, people[0])),
    ]


def action_scopes():
    named = [written("Action", name) for name in (*NAMED, "use", "observe", "launch", "change", "administer")]
    lists = ("", ", ".join(named[:2]), ", ".join(named[2:5]), ", ".join(named[-4:]))
    return [
        *["action"] * 10,
        *(f"action {how} {name}" for how in ("==", "in") for name in named),
        *(f"action in [{names}]" for names in lists),
    ]


def resource_scopes(world, resources):
    targets = [resource_uid(resource, world.estate) for resource in resources]
    names = [written(target["type"], target["id"]) for target in targets]
    names += [written("Service", "//tf.service/projects/contoso-fraud-test/services/tf")]
    names += [written("Environment", "test"), written("Environment", "prod"), written("Project", "contoso-fraud-prod")]
    kinds = sorted({target["type"] for target in targets} | {"Schedule"})
    return [
        *["resource"] * 40,
        *(f"resource == {name}" for name in names),
        *(f"resource in {name}" for name in names * 2),
        *(f"resource is {kind}" for kind in kinds),
        *(f"resource is {kind} in {name}" for kind in kinds for name in names[-4:]),
    ]


def policies(world, resources):
    scopes = st.tuples(
        st.sampled_from(principal_scopes(world)),
        st.sampled_from(action_scopes()),
        st.sampled_from(resource_scopes(world, resources)),
    )
    return st.lists(
        st.tuples(st.sampled_from(("permit", "permit", "forbid")), scopes, st.sampled_from(CONDITIONS)),
        min_size=1,
        max_size=14,
    )


def requests(world, resources):
    """Who, what and around it; one to three operations of one or two resources."""
    operations = st.tuples(st.sampled_from(ASKED), st.lists(st.sampled_from(resources), min_size=1, max_size=2))
    return st.tuples(
        st.builds(
            lambda number, kind, groups, roles, contexts, guest: replace(
                world.person(number, kind=kind, roles=roles, contexts=contexts, guest=guest), groups=groups
            ),
            st.sampled_from((1, 2, 3)),
            st.sampled_from(Kind),
            st.frozensets(st.sampled_from(GROUPS)),
            st.frozensets(st.sampled_from(ROLES)),
            st.frozensets(st.just("c1")),
            st.booleans(),
        ),
        st.lists(operations, min_size=1, max_size=3).map(
            lambda found: Request(tuple(world.operation(name, *touched) for name, touched in found))
        ),
        st.builds(
            lambda peer, known, run: Circumstances(world.now, peer, locations_known=known, job_name=run),
            st.sampled_from(("10.1.2.3", "10.1.2.3", "192.0.2.1", "")),
            st.booleans(),
            st.sampled_from(("", *RUNS, "another")),
        ),
    )


def answer(hearing, policy_set, *questions):
    """What the engine says, or every error that it names."""
    try:
        return hearing.ask(policy_set, questions)
    except EvaluationFailed as failure:
        return frozenset(str(failure).split("; "))


def part_for(slices, hearing, question):
    action = hearing.ground.action(question.operation.action.id, question.operation.action.group)
    return slices.part(hearing.caller, line(action, hearing.above), line(question.target, hearing.above))


def test_a_slice_answers_as_the_whole_set_does(world, ground, resources):
    print(f"seed {SEED}")
    seen = Counter()

    @seed(SEED)
    @hypothesis_settings(max_examples=300, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(policies(world, resources), st.lists(requests(world, resources), min_size=1, max_size=4))
    def equal(found, asked):
        text = [f"{effect}({', '.join(scopes)}) {condition};" for effect, scopes, condition in found]
        whole = cedarpy.PolicySet.from_str("\n".join(text))
        slices = Slices(whole)
        in_scope = cedarpy.PolicySet.from_str("".join(f"permit({', '.join(scopes)});" for _, scopes, _ in found))
        for identity, request, circumstances in asked:
            hearing = ground.hear(gather(identity, request, circumstances, world.estate, world.actions))
            failed = False
            for question in hearing.facts.questions:
                expected = answer(hearing, whole, question)
                assert answer(hearing, slices, question) == expected
                # and the slice is the smallest: exactly those whose scope matches, as the engine itself says
                (matching,) = hearing.ask(in_scope, (question,))
                part = part_for(slices, hearing, question)
                assert frozenset(part.to_pst().static_policies) == matching.policies
                failed = failed or isinstance(expected, frozenset)
                seen["failed" if isinstance(expected, frozenset) else expected[0].allowed] += 1
                seen["forbidden"] += not isinstance(expected, frozenset) and bool(expected[0].policies)
                seen["smaller"] += len(part) < len(found)
                seen["within a job"] += any(kind == "Job" for kind, _ in hearing.caller)
            together = answer(hearing, slices, *hearing.facts.questions)
            assert (
                isinstance(together, frozenset) if failed else together == hearing.ask(whole, hearing.facts.questions)
            )

    equal()
    print(dict(seen))
    assert all(seen[what] > 20 for what in ("failed", True, False, "forbidden", "smaller", "within a job"))


@pytest.mark.parametrize(
    "scope",
    [
        'principal == Person::"somebody else", action, resource',
        "principal is Workload, action, resource",
        'principal, action in Action::"administer", resource',
        "principal, action in [], resource",
        'principal, action, resource in Environment::"prod"',
        "principal, action, resource is Model",
    ],
)
def test_a_policy_whose_scope_does_not_match_is_not_an_error_in_the_whole_set_either(world, ground, scope):
    text = f"permit(principal, action, resource); forbid({scope}) when {{ {BROKEN} }};"
    whole = cedarpy.PolicySet.from_str(text)
    hearing = heard(world, ground)
    assert hearing.ask(whole, hearing.facts.questions) == hearing.ask(Slices(whole), hearing.facts.questions)
    assert hearing.ask(whole, hearing.facts.questions)[0].allowed
    assert len(part_for(Slices(whole), hearing, hearing.facts.questions[0])) == 1


def heard(world, ground, **changes):
    facts = gather(
        world.dana(),
        world.request("storage.objects.get", world.bucket("contoso-fraud-test-data", "contoso-fraud-test")),
        Circumstances(world.now),
        world.estate,
        world.actions,
    )
    return ground.hear(replace(facts, **changes))


AWAY = "permit(principal, action, resource is Installation);"
ALL = "permit(principal, action, resource);"


def test_every_operator_is_the_same_in_a_slice_and_the_ids_and_annotations_are_too():
    whole = cedarpy.PolicySet.from_str(AWAY + EVERY_OPERATOR)
    trees = whole.to_pst().static_policies
    assert list(trees) == [f"policy{place}" for place in range(6)]
    slices = Slices(whole)
    part = slices._made(0b111110)
    assert part.to_pst().static_policies == {name: trees[name] for name in list(trees)[1:]}
    expected = json.loads(cedarpy.policies_to_json_str(EVERY_OPERATOR))["staticPolicies"]
    found = json.loads(cedarpy.policies_to_json_str(str(part)))["staticPolicies"]
    assert sorted(map(json.dumps, found.values())) == sorted(map(json.dumps, expected.values()))


def test_reasons_of_a_slice_are_ids_of_the_whole_set(world, ground):
    hearing = heard(world, ground)
    (found,) = hearing.ask(Slices(cedarpy.PolicySet.from_str(AWAY * 12 + ALL)), hearing.facts.questions)
    assert found.policies == {"policy12"}


def test_nothing_in_scope_is_no_permit(world, ground):
    hearing = heard(world, ground)
    slices = Slices(cedarpy.PolicySet.from_str(AWAY))
    assert len(part_for(slices, hearing, hearing.facts.questions[0])) == 0
    (found,) = hearing.ask(slices, hearing.facts.questions)
    assert not found.allowed
    assert not found.policies


def test_a_slice_stands_behind_the_same_wrapper(world, ground):
    slices = Slices(cedarpy.PolicySet.from_str(AWAY + ALL))
    hearing = heard(world, ground, peer="no address")
    with pytest.raises(EvaluationFailed):  # trap 2: a context that the schema does not know
        hearing.ask(slices, hearing.facts.questions)
    hearing = heard(world, ground)
    impossible = replace(hearing.facts.questions[0], target=uid("Group", "g"))
    with pytest.raises(EvaluationFailed):  # trap 4: what the schema does not let be asked gets no decision
        hearing.ask(slices, (impossible,))


def test_what_the_engine_was_told_is_not_kept_for_other_facts(world, ground):
    """A hearing is asked again as if something were otherwise: nothing that was said before may stay."""
    slices = Slices(
        cedarpy.PolicySet.from_str(f"{AWAY} {ALL} forbid(principal, action, resource) when {{ context.guest }};")
    )
    hearing = heard(world, ground)
    questions = hearing.facts.questions
    assert hearing.ask(slices, questions)[0].allowed
    guest = replace(hearing, facts=replace(hearing.facts, identity=replace(hearing.facts.identity, guest=True)))
    assert not guest.ask(slices, questions)[0].allowed
    assert hearing.ask(slices, questions)[0].allowed


def test_completed_contexts_and_questions_are_told_apart(world, ground):
    """One hearing, asked in every order."""
    slices = Slices(
        cedarpy.PolicySet.from_str(
            f'{AWAY} permit(principal, action, resource) when {{ context.authentication.contexts.contains("c1") }};'
        )
    )
    hearing = heard(world, ground)
    (question,) = hearing.facts.questions
    within = replace(question, operation=replace(question.operation, within="secret/part"))
    for completed in (frozenset(), frozenset({"c1"}), frozenset(), frozenset({"c2"}), frozenset({"c1", "c2"})):
        for asked in (question, within):
            assert hearing.ask(slices, (asked,), completed)[0].allowed is ("c1" in completed)
    assert {"within" in told["context"] for _, told in hearing.told.values()} == {True, False}


def test_a_judge_refuses_for_an_error_within_a_slice_and_for_a_forbid_on_an_action_group(world, judge_of):
    away = '@id("away") permit(principal, action, resource is Installation);'
    every = '@id("all") permit(principal, action, resource);'
    broken = (
        f'@id("broken") @refusal("no") forbid(principal, action in Action::"launch", resource) when {{ {BROKEN} }};'
    )
    forbids = '@id("no") @refusal("no") forbid(principal, action in Action::"launch", resource);'
    request = world.request("launch", world.project("contoso-fraud-test"))
    assert world.decide(judge_of(away, every, broken), world.dana(), request).reasons == (Reason.POLICY_ERROR,)
    assert world.decide(judge_of(away, every, forbids), world.dana(), request).reasons == (Reason.POLICY_FORBIDS,)


def test_a_part_that_cannot_be_made_is_no_permit(world, ground, monkeypatch):
    def fail(*_):
        raise ValueError("too deep")

    monkeypatch.setattr(Slices, "_made", fail)
    hearing = heard(world, ground)
    with pytest.raises(EvaluationFailed, match="too deep"):
        hearing.ask(Slices(cedarpy.PolicySet.from_str(AWAY + ALL)), hearing.facts.questions)


def lines(number):
    return (("Person", f"p{number}"),), (("Action", "use"),), (("Model", "m"),)


def crowd(size):
    """A policy for each of many people, and one for everybody."""
    return ALL + "".join(f'permit(principal == Person::"p{each}", action, resource);' for each in range(size))


def test_a_slice_is_made_once_and_the_oldest_go_first(monkeypatch):
    monkeypatch.setattr(module, "_MOST", 6)  # three slices of two policies
    slices = Slices(cedarpy.PolicySet.from_str(crowd(5)))
    first, second = slices.part(*lines(0)), slices.part(*lines(1))
    assert slices.part(*lines(0)) is first
    for number in (2, 3):
        slices.part(*lines(number))
    assert slices.part(*lines(0)) is first
    assert slices.part(*lines(1)) is not second
    assert set(slices.part(*lines(1)).to_pst().static_policies) == {"policy0", "policy2"}


def test_a_slice_that_would_be_large_is_the_whole_set(monkeypatch):
    monkeypatch.setattr(module, "_LARGEST", 2)
    slices = Slices(cedarpy.PolicySet.from_str(ALL * 2 + crowd(3)))
    assert slices.part(*lines(0)) is slices.whole
    assert Slices(cedarpy.PolicySet.from_str(ALL)).part(*lines(0)) is not None


def test_slices_are_shared_between_threads(monkeypatch):
    monkeypatch.setattr(module, "_MOST", 8)
    slices = Slices(cedarpy.PolicySet.from_str(crowd(30)))
    wrong = []

    def ask(offset):
        for number in range(300):
            each = (number * 7 + offset) % 30
            found = set(slices.part(*lines(each)).to_pst().static_policies)
            if found != {"policy0", f"policy{each + 1}"}:
                wrong.append((each, found))

    threads = [threading.Thread(target=ask, args=(offset,)) for offset in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert slices._held == sum(key.bit_count() for key in slices._kept) <= 8


def test_a_line_holds_everything_above_once_and_ends():
    above = {("A", "1"): (("A", "2"), ("A", "3")), ("A", "2"): (("A", "4"),), ("A", "3"): (("A", "4"), ("A", "1"))}
    assert line(uid("A", "1"), above) == (("A", "1"), ("A", "2"), ("A", "3"), ("A", "4"))
    assert line(uid("A", "9"), above) == (("A", "9"),)


def test_the_ground_knows_what_the_engines_entities_are_in(ground):
    above = parents(json.loads(str(ground.admit("[]", frozenset(ground._base)))))
    assert above["Project", "contoso-fraud-prod"] == (("Environment", "prod"),)
    assert {name: above["Action", name] for name in ground.declared} == {
        name: (("Action", str(group)),) for name, group in ground.declared.items()
    }
    assert above["Environment", "prod"] == ()
