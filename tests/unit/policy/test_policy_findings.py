"""What is found in a policy set that loads: idle rules, ids of nothing, nested groups, reach beyond what was used."""

import pytest

from remit.model.decision import Circumstances
from remit.model.identity import Kind, Principal
from remit.model.inventory import Account, GroupKnown, Inventory
from remit.policy.book import load
from remit.policy.lint import Policy
from remit.policy.settings import PolicySettings
from remit.policy.source import read_folder
from remit.policy.use.findings import Kind as Found
from remit.policy.use.findings import Rule, Severity, idle, nested, unknown
from remit.policy.use.firing import Firings
from remit.policy.use.usage import look
from remit.policy.use.width import wider

TEST, PROD, CHURN = "contoso-fraud-test", "contoso-fraud-prod", "contoso-churn-prod"
ENGINEERS, SCIENTISTS, INSIDE, DEEP = (f"9a000000-0000-4000-8000-{number:012d}" for number in (2, 4, 1, 9))
POLICIES = f"""\
@id("engineers")
@purpose("engineers work")
permit (
    principal in Group::"{ENGINEERS}",
    action in [Action::"use", Action::"launch", Action::"logging.entries.list"],
    resource in Environment::"prod"
);

@id("scientists")
@purpose("scientists look")
permit (principal in Group::"{SCIENTISTS}", action in Action::"observe", resource);

@id("no-deploying")
@refusal("nobody deploys")
forbid (principal, action == Action::"aiplatform.projects.locations.endpoints.deployModel", resource);

@id("deployers")
@purpose("in vain")
permit (
    principal in Role::"MLEngineer",
    action == Action::"aiplatform.projects.locations.endpoints.deployModel",
    resource in Project::"{TEST}"
);

@id("buckets")
@purpose("data")
permit (
    principal in Role::"MLEngineer",
    action == Action::"storage.objects.get",
    resource is Bucket in Project::"{TEST}"
);
"""
OBLIGATIONS = """\
@id("labelled")
@purpose("costs")
@labels("team=fraud")
permit (principal, action in Action::"launch", resource);
"""


@pytest.fixture
def firings(world, tmp_path):
    (tmp_path / "p.cedar").write_text(POLICIES)
    (tmp_path / "obligations").mkdir()
    (tmp_path / "obligations" / "o.cedar").write_text(OBLIGATIONS)
    return Firings(load(PolicySettings(tmp_path), world.estate, world.actions), world.estate, world.actions)


@pytest.fixture
def rules(firings, tmp_path):
    folder = read_folder(tmp_path)
    sets = ((folder.policies, firings.book.engine_set, False), (folder.obligations, firings.book.obligations, True))
    return tuple(
        Rule(f"policy{index}", Policy(statement, slices.whole.to_pst().static_policies[f"policy{index}"]), obliges)
        for files, slices, obliges in sets
        for index, statement in enumerate(statement for file in files for statement in file.statements())
    )


@pytest.fixture
def used(world, firings):
    """What rules did about requests: (person, action, resource)."""

    def of(*asked):
        return look(
            firings, ((who, world.request(action, *on), Circumstances(world.now)) for who, action, *on in asked)
        )

    return of


def told(findings):
    return [(finding.severity, finding.kind, finding.policy) for finding in findings]


# rules that do nothing


def test_without_decisions_and_tests_nothing_is_said(rules, used):
    assert list(idle(rules, None, used())) == []
    assert list(idle(rules, None, None)) == []


def test_a_rule_that_matched_nothing_is_named_with_its_place(rules, used, world):
    found = list(idle(rules, None, used((world.dana(), "launch", world.project(PROD)))))
    assert told(found) == [
        (Severity.WARNING, Found.NEVER_FIRED, name) for name in ("scientists", "no-deploying", "deployers", "buckets")
    ]
    assert found[0].problem.file.endswith("p.cedar")
    assert (found[0].problem.line, found[0].problem.column) == (9, 1)
    assert "permit `scientists` never matched anything in 1 test" in found[0].problem.message


def test_a_permit_that_a_forbid_always_overrides_never_decides(rules, used, world):
    deploy = (world.dana(), "change", world.project(TEST))
    found = {one.policy: one.kind for one in idle(rules, used(deploy), used())}
    assert found["deployers"] is Found.NEVER_DECIDED
    assert "no-deploying" not in found


def test_an_obligation_matches_only_what_is_permitted(rules, used, world):
    refused = used((world.ada(), "launch", world.project(TEST)))
    assert "labelled" in {one.policy for one in idle(rules, refused, None)}
    permitted = used((world.dana(), "launch", world.project(PROD)))
    assert "labelled" not in {one.policy for one in idle(rules, permitted, None)}


def test_what_a_test_shows_need_not_be_recorded(rules, used, world):
    tests = used((world.ada(), "observe", world.project(TEST)))
    assert "scientists" not in {one.policy for one in idle(rules, used(), tests)}


def test_a_decision_that_cannot_be_taken_again_is_counted(firings, world):
    gone = world.project("a-project-that-is-gone")
    usage = look(firings, [(world.dana(), world.request("launch", gone), Circumstances(world.now))])
    assert (usage.decisions, usage.failed) == (1, 1)


# reach beyond use


def width(rules, usage, world, inventory=None):
    return list(wider(rules, usage, world.estate, world.actions, inventory))


def test_a_permit_that_nobody_used_is_told(rules, used, world):
    found = width(rules, used((world.dana(), "use", world.project(PROD))), world)
    never = [one.policy for one in found if one.kind is Found.NEVER_USED]
    assert never == ["scientists", "deployers", "buckets"]
    assert "permitted nobody anything since 2026-11-22" in found[-1].problem.message


def test_a_refused_request_uses_nothing(rules, used, world):
    both = (world.dana(), "use", world.project(PROD), world.project(TEST))
    found = width(rules, used(both), world)
    assert "engineers" in {one.policy for one in found if one.kind is Found.NEVER_USED}


def test_actions_and_projects_that_nobody_needed_are_told_with_what_would_do(rules, used, world):
    usage = used((world.dana(), "launch", world.project(PROD)), (world.dana(), "use", world.child("Model", PROD, "7")))
    found = [one for one in width(rules, usage, world) if one.policy == "engineers"]
    warnings = [one for one in found if one.severity is Severity.WARNING]
    assert [one.kind for one in warnings] == [Found.WIDER_THAN_USED] * 2
    assert "permits `logging.entries.list`, which nobody needed" in warnings[0].problem.message
    assert warnings[0].hint == '`action in [Action::"use", Action::"launch"]` would have done'
    assert warnings[0].problem.line == 5
    assert f"reaches the project `{CHURN}`" in warnings[1].problem.message
    assert warnings[1].hint == f'`resource in Project::"{PROD}"` would have done'


def test_environments_and_types_that_nobody_went_to_are_told(rules, used, world):
    usage = used((world.ada(), "observe", world.child("Model", TEST, "7")))
    found = [one for one in width(rules, usage, world) if one.policy == "scientists"]
    (warning,) = [one for one in found if one.severity is Severity.WARNING]
    assert "reaches the environment `prod`" in warning.problem.message
    assert warning.hint == '`resource in Environment::"test"` would have done'
    assert "`resource is Model` in its head would have done" in [one.hint for one in found]


def test_buckets_that_nobody_read_are_told(rules, used, world):
    usage = used((world.dana(), "storage.objects.get", world.bucket("contoso-fraud-test-data", TEST)))
    (found,) = [one for one in width(rules, usage, world) if one.policy == "buckets"]
    assert "reaches the bucket `contoso-fraud-test-staging`" in found.problem.message
    assert found.hint == '`resource == Bucket::"contoso-fraud-test-data"` would have done'


def test_what_is_used_wholly_is_not_told(rules, used, world):
    dana = world.dana()
    usage = used(
        *((dana, action, world.project(project)) for action in ("use", "launch") for project in (PROD, CHURN)),
        (dana, "logging.entries.list", world.child("LogView", PROD, "7")),
    )
    found = [one for one in width(rules, usage, world) if one.policy == "engineers"]
    assert not [one for one in found if one.severity is not Severity.NOTE]


def test_people_who_never_needed_it_are_counted(rules, used, world):
    usage = used((world.dana(), "use", world.project(PROD)))
    found = width(rules, usage, world, inventory(account(1, ENGINEERS), account(8, ENGINEERS), account(9, ENGINEERS)))
    assert "reaches 3 accounts in `engineers`, and 1 needed it" in " ".join(
        one.problem.message for one in found if one.policy == "engineers"
    )


# the directory


def account(number, *direct, nested=(), guest=False):
    principal = Principal(
        "", "6f1c2a34-8b5d-4e6f-9a01-c0de00000001", f"0d000000-0000-4000-8000-{number:012d}", Kind.PERSON
    )
    groups = frozenset((*direct, *nested))
    return Account(principal, f"person {number}", True, guest, frozenset(direct), groups, frozenset())


def inventory(*accounts, at=1):
    groups = {
        ENGINEERS: GroupKnown(ENGINEERS, "engineers"),
        INSIDE: GroupKnown(INSIDE, "fraud-engineers", frozenset({ENGINEERS}), ("Olga",)),
        DEEP: GroupKnown(DEEP, "contractors", frozenset({INSIDE})),
    }
    return Inventory(at, accounts, groups, frozenset({"MLEngineer"}))


def test_ids_that_the_directory_does_not_hold_are_errors_with_their_place(rules):
    (found,) = unknown(rules, inventory(), frozenset(), others=False)
    assert told([found]) == [(Severity.ERROR, Found.UNKNOWN_ID, "scientists")]
    assert (found.problem.line, SCIENTISTS in found.problem.message) == (11, True)
    (other,) = unknown(rules, inventory(), frozenset(), others=True)
    assert (other.severity, bool(other.hint)) == (Severity.NOTE, True)


def test_roles_that_another_provider_gives_are_known(rules):
    bare = Inventory(1, (), {ENGINEERS: GroupKnown(ENGINEERS, "e"), SCIENTISTS: GroupKnown(SCIENTISTS, "s")})
    assert {one.policy for one in unknown(rules, bare, frozenset(), others=False)} == {"deployers", "buckets"}
    assert not list(unknown(rules, bare, frozenset({"MLEngineer"}), others=False))


def test_whoever_comes_in_by_a_nested_group_is_told_with_the_way(rules):
    known = inventory(
        account(1, ENGINEERS),
        account(2, INSIDE, nested=(ENGINEERS,)),
        account(3, INSIDE, nested=(ENGINEERS,), guest=True),
        account(4, DEEP, nested=(INSIDE, ENGINEERS)),
    )
    found = list(nested(rules, known))
    assert told(found) == [(Severity.NOTE, Found.NESTED_GROUP, "engineers")] * 2
    messages = [one.problem.message for one in found]
    assert "`engineers` lets in 2 accounts by way of `fraud-engineers` in `engineers`, 1 as a guest" in messages
    assert "`engineers` lets in 1 account by way of `contractors` in `fraud-engineers` in `engineers`" in messages
    assert [one.hint for one in found] == [
        "who is in `fraud-engineers` is decided by Olga",
        "nobody owns `contractors`, as far as the directory says",
    ]
    assert found[0].problem.line == 4
