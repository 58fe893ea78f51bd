"""The explainer: the verdict again, every policy that decided or came near with what it saw, and what would change it."""

import json
from dataclasses import replace

import pytest

from remit.access.ports import Explainer as Port
from remit.model.decision import Circumstances
from remit.model.explanation import Explanation
from remit.model.operation import Action, Group, Request
from remit.model.outcome import Outcome
from remit.model.reasons import Reason
from remit.policy.book import load
from remit.policy.judge import CedarJudge
from remit.policy.settings import PolicySettings
from remit.policy.why.explainer import Explainer

PROD, TEST = "contoso-fraud-prod", "contoso-fraud-test"


@pytest.fixture(scope="module")
def book(world):
    return load(world.settings, world.estate, world.actions)


@pytest.fixture(scope="module")
def explain(world, book):
    explainer: Port = Explainer({book.version: book}.get, world.estate, world.actions)

    def told(identity, request, version=book.version) -> Explanation | None:
        circumstances = Circumstances(world.now, "10.1.2.3", locations_known=True)
        return explainer.explain(identity, request, circumstances, version)

    return told


def ids(question):
    return [(told.policy.id, told.decided) for told in question.policies]


def test_a_permit_is_explained_by_the_policies_that_decided(world, explain):
    request = world.training(TEST, f"trainer@{TEST}.iam.gserviceaccount.com", TEST)
    told = explain(world.dana(), request)
    assert (told.verdict.outcome, told.repairs) == (Outcome.PERMIT, ())
    assert [question.allowed for question in told.questions] == [True, True]
    assert [ids(question) for question in told.questions] == [
        [("ml-engineers-launch-fraud-test", True)],
        [("act-as-trainer-fraud-test", True)],
    ]
    head = told.questions[0].policies[0].conditions[0]
    assert head.text == 'principal in Group::"9a000000-0000-4000-8000-000000000002"'
    assert head.holds is True


def test_a_refusal_is_explained_by_what_forbade_and_by_what_came_near(world, explain):
    request = world.training(PROD, f"trainer@{PROD}.iam.gserviceaccount.com", PROD)
    told = explain(world.ada(), request)
    first, second = told.questions
    assert (first.operation, first.resource) == (request.first, request.first.resources[0])
    assert ids(first) == [("production-needs-second-factor", True), ("ml-engineers-launch-fraud-prod", False)]
    assert ids(second)[:2] == [("production-needs-second-factor", True), ("act-as-trainer-fraud-prod", False)]
    assert {policy.id for policy in told.verdict.policies} == {"production-needs-second-factor"}
    failed = [part.text for part in first.policies[1].conditions if part.holds is False and "unless" not in part.text]
    assert failed == ['principal in Group::"9a000000-0000-4000-8000-000000000002"']
    assert [change.means for change in told.repairs[0].changes] == ["step_up", "group"]


def test_what_lacks_the_least_comes_first(world, explain):
    """A guest who observes a bucket in test: the permits of the bucket before those that leave buckets out."""
    request = world.request("storage.objects.list", world.bucket(f"{TEST}-data", TEST))
    (question,) = explain(world.gil(), request).questions
    assert not any(told.decided for told in question.policies)
    assert {told.policy.id for told in question.policies[:2]} == {
        "ml-engineers-data-fraud-test",
        "data-scientists-read-fraud-test-data",
    }


def test_the_verdict_is_the_judges(world, explain):
    judge = CedarJudge(world.settings, world.estate, world.actions)
    for identity in (world.dana(), world.dana(contexts=("c1",)), world.ada(), world.gil(), world.pipeline()):
        for project in (TEST, PROD):
            request = world.training(project, f"trainer@{project}.iam.gserviceaccount.com", project)
            told = explain(identity, request)
            assert told.verdict == judge.decide(
                identity, request, Circumstances(world.now, "10.1.2.3", locations_known=True)
            )
            permitted = told.verdict.outcome is Outcome.PERMIT
            assert permitted is all(question.allowed for question in told.questions)
            assert not (permitted and told.repairs)


def test_a_version_that_is_not_kept_is_not_explained(world, explain):
    assert explain(world.dana(), world.request("use", world.project(TEST)), version="0" * 16) is None


def test_what_never_reached_a_policy_has_none(world, explain):
    unknown = Request((replace(world.operation("use", world.project(TEST)), action=Action("no.such", Group.USE)),))
    told = explain(world.dana(), unknown)
    assert told.verdict.reasons == (Reason.METHOD_UNKNOWN,)
    assert (told.questions, told.repairs) == ((), ())


def test_a_policy_that_fails_is_named(world, tmp_path):
    """Any failure denies; what is told is which policy failed, and on which part."""
    broken = 'context.now.offset(duration("9223372036854775807ms")) > context.now'
    (tmp_path / "p.cedar").write_text(
        f"""
        @id("all") @purpose("p") permit (principal, action, resource);
        @id("broken") @purpose("p") @refusal("no") forbid (principal, action, resource) when {{ {broken} }};
        """
    )
    book = load(PolicySettings(tmp_path), world.estate, world.actions)
    explainer = Explainer(lambda _: book, world.estate, world.actions)
    request = world.request("use", world.project(TEST))
    told = explainer.explain(world.dana(), request, Circumstances(world.now), book.version)
    assert told.verdict.reasons == (Reason.POLICY_ERROR,)
    assert told.repairs == ()
    (question,) = told.questions
    assert not question.allowed
    assert ids(question)[0] == ("broken", True)
    (part,) = question.policies[0].conditions
    assert (part.text, part.holds) == (broken, None)


def test_versions_are_explained_each_by_its_own_policies(world, tmp_path):
    """More versions than are kept at once, and back to the first."""
    books = {}
    for number in range(6):
        folder = tmp_path / str(number)
        folder.mkdir()
        text = f'@id("only-{number}") @purpose("p") permit (principal, action, resource);'
        (folder / "p.cedar").write_text(text)
        book = load(PolicySettings(folder), world.estate, world.actions)
        books[book.version] = book
    explainer = Explainer(books.get, world.estate, world.actions)
    request = world.request("use", world.project(TEST))
    for number, version in [*enumerate(books), *enumerate(books)]:
        told = explainer.explain(world.dana(), request, Circumstances(world.now), version)
        assert [policy.id for policy in told.verdict.policies] == [f"only-{number}"]
        assert ids(told.questions[0]) == [(f"only-{number}", True)]


def test_a_request_for_everything_is_told_in_part(world, explain):
    """A job that names two hundred models is refused by one question: that one is told, and not all the others."""
    fine = (world.child("Model", TEST, f"m{number}") for number in range(200))
    last = world.child("Model", PROD, "m")
    told = explain(world.ada(), world.request("observe", *fine, last))
    assert len(told.questions) == 50
    assert [question.resource for question in told.questions if not question.allowed] == [last]
    assert [change.means for change in told.repairs[0].changes] == ["group"]


def test_nothing_of_it_is_the_engines(world, explain):
    """What is told are plain values, which the console and the command line can write as they are."""
    told = explain(world.ada(), world.training(PROD, f"trainer@{PROD}.iam.gserviceaccount.com", PROD))
    for question in told.questions:
        for policy in question.policies:
            json.dumps([(part.text, part.holds, part.saw) for part in policy.conditions])
    json.dumps([(change.means, change.what, change.value, change.command) for change in told.repairs[0].changes])
