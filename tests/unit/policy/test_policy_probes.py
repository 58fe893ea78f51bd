"""Probes: what each part of a policy comes to, and what it saw; and how a tree is read and written."""

from dataclasses import replace

import pytest
from cedarpy import PolicySet

from remit.model.decision import Circumstances
from remit.model.operation import Request, Work
from remit.policy.book import load
from remit.policy.engine import EvaluationFailed
from remit.policy.facts import gather
from remit.policy.settings import PolicySettings
from remit.policy.why.openings import matches
from remit.policy.why.probes import Probes
from remit.policy.why.trees import as_cedar, leaves, named

CONDITIONS = (
    'context has a.b && !(context.risk == Risk::"high") || context.f like "*.ge\\*t\\\\"',
    'context.peer.isInRange(ip("10.0.0.0/8")) || context.now.toTime() < duration("20h")',
    'principal.getTag("x") == "y" || (if context.guest then true else context.b)',
    "-(1) + 2 * (3 - context.x) - (4 - -5) > -9223372036854775808",
    'resource is Bucket in Project::"x" && (resource is Model || !(resource in [Project::"a", Project::"b\\"c"]))',
    '!!context.a && !(context has "a b")',
    '!["a", "\\n\\u{1F600}é\\0\\\\"].contains("b")',
    '{"a b": 1, c: {"d": true}}["a b"] == 1 && context["a b"].c',
    "((context.a == 1) == true) == ((context.b in context.c) != false)",
    'context.d.lessThanOrEqual(decimal("1.0")) || context.d.greaterThan(decimal("0.5"))',
    'context.now.offset(duration("1h")).durationSince(datetime("2026-01-01")).toHours() > -3',
    "context.peer.isIpv4() && !context.peer.isLoopback() && context.work.networks.isEmpty()",
    '["a"].containsAll(context.s) && context.s.containsAny(["b"]) && principal.hasTag("t")',
    "if context.a then context.b else if context.c then true else false",
    "(if context.a then context.b else context.c) && context.d",
)


def conditions(text):
    (tree,) = PolicySet.from_str(text).to_pst().static_policies.values()
    return tuple(clause.expr for clause in tree.clauses)


def condition(text):
    (found,) = conditions(f"permit(principal, action, resource) when {{ {text} }};")
    return found


@pytest.mark.parametrize("text", CONDITIONS)
def test_what_is_written_is_read_as_the_same(text):
    tree = condition(text)
    assert condition(as_cedar(tree)) == tree


def test_only_the_brackets_that_count_are_written():
    written = 'context has risk && !(context.risk == Risk::"high") && (context.a || context.b)'
    assert as_cedar(condition(written)) == written


def test_a_condition_falls_apart_at_and_or_not_and_if():
    tree = condition("context.a && !(context.b || !context.c) || (if context.d then context.e == 1 else true)")
    assert [as_cedar(leaf) for leaf in leaves(tree)] == [
        "context.a",
        "context.b",
        "!context.c",
        "context.d",
        "context.e == 1",
    ]


def test_what_a_condition_names():
    tree = condition('context has work.region && principal.getTag("ref") == "x" && resource in context.acts_as')
    assert [as_cedar(each) for each in named(tree)] == [
        "context.work",
        "context.work.region",
        'principal.getTag("ref")',
        "resource",
        "context.acts_as",
    ]


POLICIES = """
@id("night") @purpose("a night shift")
permit (principal in Group::"9a000000-0000-4000-8000-000000000002", action in Action::"launch", resource is Project)
when { context has country && (context.country == Country::"DE" || context.guest) }
unless { context.authentication.contexts.contains("c1") };

@id("work") @purpose("small work")
forbid (principal, action, resource)
when { context has work && context.work.machines.contains("n1-standard-4") && principal.hasTag("ref") };
"""


@pytest.fixture
def told(world, tmp_path):
    """What the probes tell of a launch in test by Dana."""
    (tmp_path / "p.cedar").write_text(POLICIES.replace("forbid", '@refusal("no")\nforbid'))
    book = load(PolicySettings(tmp_path), world.estate, world.actions)
    probes = Probes(book.engine_set.whole)

    def tell(identity=None, work=None, **around):
        operation = replace(world.operation("launch", world.project("contoso-fraud-test")), work=work)
        circumstances = Circumstances(world.now, **around)
        facts = gather(identity or world.dana(), Request((operation,)), circumstances, world.estate, world.actions)
        hearing = book.ground.hear(facts)
        found = probes.tell(hearing, hearing.facts.questions[0])
        return {book.policies[name].id: parts for name, parts in found.items()}

    return tell


def test_each_part_with_what_it_saw(told, world):
    parts = told(country="FR", work=Work(machines=frozenset({"a2", "b3"})))
    dana = f'principal is Person::"{world.dana().principal.key}"'
    launch = 'action is "aiplatform.projects.locations.customJobs.create", of the group "launch"'
    seen = [(part.text, part.holds, part.saw) for part in parts["night"]]
    assert seen == [
        ('principal in Group::"9a000000-0000-4000-8000-000000000002"', True, dana),
        ('action in Action::"launch"', True, launch),
        ("resource is Project", True, 'resource is Project::"contoso-fraud-test"'),
        ("context has country", True, 'context.country is Country::"FR"'),
        ('context.country == Country::"DE"', False, 'context.country is Country::"FR"'),
        ("context.guest", False, "context.guest is false"),
        (
            'unless { context.authentication.contexts.contains("c1") }',
            False,
            "context.authentication.contexts is []",
        ),
    ]
    machines = parts["work"][1]
    assert (machines.holds, machines.saw) == (False, 'context.work.machines is ["a2", "b3"]')


def test_what_is_not_there_is_neither_true_nor_false(told):
    parts = {part.text: part for each in told().values() for part in each}
    assert parts["context has country"].holds is False
    assert parts['context.country == Country::"DE"'].holds is None
    assert parts['context.country == Country::"DE"'].saw == "context.country is not there"
    assert parts['principal.hasTag("ref")'].saw == 'principal.getTag("ref") is not there'


def test_a_tag_is_seen(told, world):
    tagged = replace(world.dana(), attributes=(("ref", 'refs/"x"'),))
    part = told(tagged)["work"][-1]
    assert (part.holds, part.saw) == (True, 'principal.getTag("ref") is "refs/\\"x\\""')


def test_long_values_are_cut(told):
    machines = told(work=Work(machines=frozenset(f"machine-{number}" for number in range(1000))))["work"][1]
    assert len(machines.saw) < 300
    assert machines.saw.endswith("…")


def test_probes_say_what_the_engine_says(world):
    """For every question of a real set: the head and the clauses together come to what the engine answered."""
    book = load(world.settings, world.estate, world.actions)
    probes = Probes(book.engine_set.whole)
    assert list(probes.parts) == list(book.policies)
    for identity in (
        world.dana(),
        world.ada(),
        world.sam(),
        world.gil(),
        world.pipeline(),
        world.dana(contexts=("c1",)),
    ):
        for action in ("use", "observe", "launch", "change", "administer"):
            request = world.request(action, world.project("contoso-fraud-prod"), world.project("contoso-fraud-test"))
            facts = gather(identity, request, Circumstances(world.now, "10.1.2.3"), world.estate, world.actions)
            hearing = book.ground.hear(facts)
            for question, answer in zip(facts.questions, hearing.ask(book.engine_set, facts.questions), strict=True):
                probed = probes.probe(hearing, question)
                matching = {name for name, tree in probes.trees.items() if matches(tree, probed)}
                forbids = {name for name in matching if probes.trees[name].effect == "forbid"}
                assert (forbids or matching) == answer.policies


def test_a_question_that_does_not_fit_the_schema_fails(told):
    with pytest.raises(EvaluationFailed):
        told(locations=frozenset({7}))
