"""Coverage of policy tests: which rules decided one, and which conditions were seen to be true and to be false."""

import pytest

from remit.catalogue.words import Words
from remit.policy.book import load
from remit.policy.settings import PolicySettings
from remit.policy.trials.cases import World, read
from remit.policy.trials.coverage import measure
from remit.policy.use.firing import Firings
from remit.settings.document import parse

POLICIES = """\
@id("all-launch")
@purpose("anybody launches")
permit (principal, action in [Action::"launch", Action::"use"], resource in Project::"contoso-fraud-test")
unless { context.guest };

@id("second-factor")
@refusal("no")
forbid (principal, action in Action::"launch", resource)
unless { context.authentication.contexts.contains("c1") && context.device.compliant };

@id("small-work")
@refusal("too much")
forbid (principal, action in Action::"launch", resource)
when { context has work && context.work.replicas > 2 };
"""
OBLIGATIONS = """\
@id("labelled")
@purpose("costs")
@labels("team=fraud")
permit (principal, action in Action::"launch", resource)
when { context has work };
"""
ANN = "{who: ann, does: launch, on: contoso-fraud-test, expect: permit, with: "
GIVEN = "given: {people: {ann: {}, gil: {guest: true}}}\ntests:\n"


@pytest.fixture
def coverage(world, tmp_path):
    """The coverage of tests, by the id of each rule."""
    (tmp_path / "p.cedar").write_text(POLICIES)
    (tmp_path / "obligations").mkdir()
    (tmp_path / "obligations" / "o.cedar").write_text(OBLIGATIONS)
    firings = Firings(load(PolicySettings(tmp_path), world.estate, world.actions), world.estate, world.actions)
    rules = {*firings.policies.values(), *firings.obligations.values()}

    def of(*tests):
        lines = (f"  - {{name: t{number}, {test.removeprefix('{')}\n" for number, test in enumerate(tests))
        if not tests:
            return measure(firings, ())
        document = parse("t.yaml", (GIVEN + "".join(lines)).encode())
        return measure(firings, read([document], World(world.estate, Words(world.estate), rules)))

    return of


def by_id(coverage):
    return {rule.id: rule for rule in coverage.rules}


def sides(rule):
    return {one.text: (one.true, one.false) for one in rule.conditions}


def test_no_test_covers_nothing(coverage):
    found = coverage()
    assert (found.policies, found.conditions) == (0.0, 0.0)
    assert list(by_id(found)) == ["all-launch", "second-factor", "small-work", "labelled"]


def test_a_rule_is_covered_when_an_outcome_rests_on_it(coverage):
    found = by_id(coverage(ANN + "{contexts: [c1]}}"))
    assert [name for name, rule in found.items() if rule.decided] == ["second-factor"]
    found = by_id(coverage(ANN + "{contexts: [c1], device: {compliant: true}, work: {replicas: 1}}}"))
    assert [name for name, rule in found.items() if rule.decided] == ["all-launch", "labelled"]


def test_the_sides_of_a_condition_are_told_apart(coverage):
    found = by_id(coverage(ANN + "{contexts: [c1]}}", ANN + "{device: {compliant: true}}}"))
    contexts, device = sides(found["second-factor"]).items()
    assert contexts == ('unless { context.authentication.contexts.contains("c1") }', (True, True))
    assert device == ("unless { context.device.compliant }", (True, True))
    assert sides(found["all-launch"]) == {"unless { context.guest }": (False, True)}


def test_a_condition_that_looks_at_nothing_is_neither_true_nor_false(coverage):
    found = sides(by_id(coverage(ANN + "{}}"))["small-work"])
    assert found == {"context has work": (False, True), "context.work.replicas > 2": (False, False)}


def test_a_condition_counts_only_where_the_head_matched(coverage):
    used = "{who: gil, does: use, on: contoso-fraud-test, expect: deny}"
    found = by_id(coverage(used))
    assert sides(found["all-launch"]) == {"unless { context.guest }": (True, False)}
    assert not any(
        side for rule in ("second-factor", "small-work") for side in sides(found[rule]).values() if any(side)
    )


def test_obligations_count_only_on_what_is_permitted(coverage):
    refused = ANN + "{work: {replicas: 1}}}"
    assert sides(by_id(coverage(refused))["labelled"]) == {"context has work": (False, False)}


def test_everything_seen_is_all_of_it(coverage):
    compliant = "contexts: [c1], device: {compliant: true}"
    found = coverage(
        ANN + "{" + compliant + "}}",
        ANN + "{" + compliant + ", work: {replicas: 1}}}",
        ANN + "{" + compliant + ", work: {replicas: 3}}}",
        ANN + "{}}",
        "{who: gil, does: launch, on: contoso-fraud-test, expect: deny}",
    )
    assert (found.policies, found.conditions) == (100.0, 100.0)


def test_a_test_that_no_policy_hears_of_covers_nothing(coverage):
    unknown = "{who: ann, does: launch, on: elsewhere, expect: deny, because: [resource_unknown]}"
    assert coverage(unknown).policies == 0.0
