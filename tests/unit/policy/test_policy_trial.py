"""Policy tests are decided by the judge's own rules: each passes for its outcome and its causes, or says what it got."""

import pytest

from remit.catalogue import actions
from remit.catalogue.words import Words
from remit.model.outcome import Outcome
from remit.policy.book import load
from remit.policy.settings import PolicySettings
from remit.policy.trials.cases import World, read
from remit.policy.trials.trial import run
from remit.settings.document import parse

POLICIES = """\
@id("engineers-work")
@purpose("engineers work")
@otherwise("this is for engineers")
permit (
    principal in Group::"9a000000-0000-4000-8000-000000000002",
    action in [Action::"use", Action::"launch", Action::"change"],
    resource
);

@id("production-needs-second-factor")
@refusal("production needs a second factor")
@step_up("c1")
forbid (principal, action in Action::"launch", resource in Environment::"prod")
unless { context.authentication.contexts.contains("c1") };

@id("grants-change-production")
@purpose("a grant opens production")
permit (principal is Person, action in Action::"administer", resource in Environment::"prod")
when { context has grant };
"""
OBLIGATIONS = """\
@id("changes-are-approved")
@purpose("four eyes")
@approvals("1")
permit (principal, action in Action::"change", resource in Environment::"prod");
"""
GIVEN = """\
given:
  groups: {engineers: 9a000000-0000-4000-8000-000000000002}
  people:
    dana: {groups: [engineers]}
    ada: {}
tests:
"""
CASES = {
    "{who: dana, does: launch, on: contoso-fraud-test, expect: permit, because: [engineers-work]}": True,
    "{who: dana, does: launch, on: contoso-fraud-test, expect: deny}": False,
    "{who: ada, does: launch, on: contoso-fraud-test, expect: deny, because: [no_policy_permits]}": True,
    "{who: ada, does: launch, on: contoso-fraud-test, expect: deny, because: [policy_forbids]}": False,
    "{who: dana, does: launch, on: contoso-fraud-prod, expect: step-up c1}": True,
    "{who: dana, does: launch, on: contoso-fraud-prod, expect: step-up}": True,
    "{who: dana, does: launch, on: contoso-fraud-prod, expect: step-up c2}": False,
    "{who: dana, does: launch, on: contoso-fraud-prod, with: {contexts: [c1]}, expect: permit}": True,
    "{who: dana, does: change, on: contoso-fraud-prod, expect: approval}": True,
    "{who: dana, does: change, on: contoso-fraud-prod, with: {grant: {approvals: 1}}, expect: permit, because: "
    "[engineers-work, changes-are-approved]}": True,
    "{who: dana, does: change, on: contoso-fraud-test, expect: permit, because: [changes-are-approved]}": False,
    "{who: ada, does: models.delete, on: contoso-fraud-prod, expect: deny}": True,
    "{who: ada, does: administer, on: contoso-fraud-prod, with: {grant: {approvals: 1}}, expect: permit}": True,
    "{who: ada, does: administer, on: contoso-fraud-prod, with: {grant: {does: use, on: contoso-fraud-prod}}, "
    "expect: permit}": False,
}


@pytest.fixture
def tried(world, tmp_path):
    """The result of one test, or of several, of the set above."""
    (tmp_path / "p.cedar").write_text(POLICIES)
    (tmp_path / "obligations").mkdir()
    (tmp_path / "obligations" / "o.cedar").write_text(OBLIGATIONS)
    words = Words(world.estate)
    book = load(PolicySettings(tmp_path), world.estate, actions())
    rules = {policy.id for policy in book.policies.values()} | {one.rules[0] for one in book.obliging.values()}

    def of(*tests):
        lines = (f"  - {{name: t{number}, {test.removeprefix('{')}\n" for number, test in enumerate(tests))
        document = parse("t.yaml", (GIVEN + "".join(lines)).encode())
        return run(book, world.estate, actions(), read([document], World(world.estate, words, rules)))

    return of


def test_each_passes_or_fails_as_it_should(tried, subtests):
    for test, result in zip(CASES, tried(*CASES), strict=True):
        with subtests.test(test):
            assert result.passed is CASES[test], (result.got, result.decided, result.verdict.detail)


def test_a_failure_says_what_came_out_and_why(tried):
    (result,) = tried("{who: ada, does: launch, on: contoso-fraud-test, expect: permit, because: [engineers-work]}")
    assert (result.got, result.case.expected, result.missing) == ("deny", "permit", ("engineers-work",))
    assert result.decided == ("no_policy_permits",)
    assert result.verdict.detail.endswith("this is for engineers")


def test_what_decided_names_policies_obligations_and_reasons(tried):
    (result,) = tried(
        "{who: dana, does: change, on: contoso-fraud-prod, with: {grant: {approvals: 1}}, expect: permit}"
    )
    assert result.verdict.outcome is Outcome.PERMIT
    assert result.decided == ("engineers-work", "changes-are-approved", "policy_permits")


def test_another_context_than_the_expected_one_fails(tried):
    (result,) = tried("{who: dana, does: launch, on: contoso-fraud-prod, expect: step-up c2}")
    assert (result.got, result.passed) == ("step-up c1", False)
