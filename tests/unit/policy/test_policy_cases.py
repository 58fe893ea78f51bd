"""Policy tests as files: what they mean, and that whatever is wrong with one is told with its place."""

import pytest

from remit.catalogue.words import Words
from remit.model.errors import SettingsInvalid
from remit.model.identity import Kind
from remit.model.operation import INSTALLATION
from remit.model.outcome import Outcome
from remit.policy.trials.cases import NOON, World, read
from remit.settings.document import parse

GIVEN = """\
given:
  groups: {ml-engineers: 9a000000-0000-4000-8000-000000000002}
  people:
    dana: {groups: [ml-engineers], roles: [MLEngineer]}
    gil: {guest: true, home: fabrikam, signed_in: unknown, device: {compliant: true, id: laptop}}
  workloads:
    pipeline: {roles: [Pipeline], attributes: {repository: contoso/fraud}}
"""
TEST = "tests:\n  - name: one\n    who: dana\n    does: launch\n    on: contoso-fraud-test\n    expect: permit\n"


@pytest.fixture
def cases(world):
    """The tests of files given as text."""

    def of(*texts, rules=("rule-one",)):
        documents = [parse(f"tests/t{number}.yaml", text.encode()) for number, text in enumerate(texts)]
        return read(documents, World(world.estate, Words(world.estate), rules))

    return of


def test_a_file_says_who_does_what_when(cases):
    (case,) = cases(
        GIVEN
        + """\
tests:
  - name: everything
    who: dana
    does: customJobs.create
    on: [contoso-fraud-prod, gs://contoso-fraud-prod-data]
    with:
      at: 2026-01-02T08:00:00Z
      country: DE
      locations: [Head office]
      locations_known: false
      risk: low
      peer: 10.1.2.3
      job: j-1
      job_name: nightly
      contexts: [c1]
      methods: [pwd, mfa]
      signed_in: 2h
      device: {managed: true}
      acts_as: trainer@contoso-fraud-prod.iam.gserviceaccount.com
      work: {machines: [n1-standard-4], duration: 1h, replicas: 2, labels: [a=b]}
      grant: {approvals: 2, lasting: 4h, age: 1h}
    also:
      - {does: remit.messages.untyped, on: contoso-fraud-prod, within: some.method}
    expect: step-up c1
    because: [rule-one, step_up_required]
"""
    )
    now = NOON + 20 * 3600
    assert (case.name, case.outcome, case.challenge) == ("everything", Outcome.STEP_UP, "c1")
    assert (case.expected, case.because) == ("step-up c1", ("rule-one", "step_up_required"))
    assert str(case.place).startswith("tests/t0.yaml:9:5")
    who = case.identity
    assert who.groups == {"9a000000-0000-4000-8000-000000000002"}
    assert (who.display, who.roles, who.principal.kind) == ("dana", {"MLEngineer"}, Kind.PERSON)
    assert (who.authentication.contexts, who.authentication.methods) == ({"c1"}, {"pwd", "mfa"})
    assert (who.authentication.at, who.device.managed) == (now - 7200, True)
    first, untyped, acting = case.request.operations
    assert first.action.id == "aiplatform.projects.locations.customJobs.create"
    assert [one.type for one in first.resources] == ["Project", "Bucket"]
    assert first.acts_as == "trainer@contoso-fraud-prod.iam.gserviceaccount.com"
    assert (first.work.machines, first.work.duration, first.work.replicas) == ({"n1-standard-4"}, 3600, 2)
    assert (untyped.action.id, untyped.within) == ("remit.messages.untyped", "some.method")
    assert (acting.action.id, acting.resources[0].name.rpartition("/")[2]) == (
        "iam.serviceAccounts.actAs",
        first.acts_as,
    )
    around = case.circumstances
    assert (around.now, around.country, around.locations, around.locations_known) == (now, "DE", {"Head office"}, False)
    assert (around.risk, around.peer, around.job, around.job_name) == ("low", "10.1.2.3", "j-1", "nightly")
    (grant,) = around.grants
    assert (grant.approvals, grant.since, grant.until) == (2, now - 3600, now + 3 * 3600)
    assert grant.wanted.action == first.action.id
    assert grant.wanted.resource == first.resources[0]
    assert grant.holds(who.principal.key, "j-1", now)


def test_what_is_not_said_is_the_ordinary_case(cases):
    dana, gil, pipeline = cases(
        GIVEN
        + TEST
        + "  - {name: two, who: gil, does: use, on: contoso-fraud-test, expect: deny}\n"
        + "  - {name: three, who: pipeline, does: remit.revocations.list, on: remit, expect: approval}\n"
    )
    assert (dana.circumstances.now, dana.circumstances.locations_known, dana.circumstances.grants) == (NOON, True, ())
    assert (dana.identity.authentication.methods, dana.identity.authentication.at) == ({"pwd"}, NOON)
    assert (gil.identity.guest, gil.identity.home, gil.identity.authentication.at) == (True, "fabrikam", 0)
    assert (gil.identity.device.compliant, gil.identity.device.id) == (True, "laptop")
    assert (pipeline.identity.principal.kind, pipeline.identity.authentication.at) == (Kind.WORKLOAD, 0)
    assert pipeline.identity.attributes == (("repository", "contoso/fraud"),)
    assert pipeline.request.first.resources == (INSTALLATION,)
    assert pipeline.outcome is Outcome.NEEDS_APPROVAL


def test_what_a_file_without_tests_gives_all_files_have(cases):
    first, second = cases(TEST, GIVEN, TEST)
    assert first.identity == second.identity
    assert {case.place.file for case in (first, second)} == {"tests/t0.yaml", "tests/t2.yaml"}


@pytest.mark.parametrize(
    "on",
    [
        "{type: Endpoint, project: contoso-fraud-test, name: locations/us-central1/endpoints/1}",
        "projects/contoso-fraud-test/locations/us-central1/endpoints/1",
        "//aiplatform.googleapis.com/projects/contoso-fraud-test/locations/us-central1/endpoints/1",
    ],
)
def test_a_resource_is_a_word_or_spelt_out(cases, on):
    text = GIVEN + TEST.replace("on: contoso-fraud-test", f"on: {on}")
    (case,) = cases(text)
    (resource,) = case.request.first.resources
    assert (resource.type, resource.project) == ("Endpoint", "contoso-fraud-test")
    assert resource.name.endswith("/locations/us-central1/endpoints/1")


@pytest.mark.parametrize("store", ["gs://contoso-fraud-test-data", "az://contosofraudtest/features"])
def test_a_part_of_a_bucket_or_container_is_a_word_too(cases, store):
    below, within = (
        cases(GIVEN + TEST.replace("on: contoso-fraud-test", f"on: {text}"))[0].request
        for text in (f"{store}/train/", f"{store}\n    with: {{within: train/}}")
    )
    assert below == within
    assert below.first.within == "train/"


def test_further_operations_have_parts_of_their_own(cases):
    also = "    also:\n      - {does: use, on: gs://contoso-fraud-test-data/eval/}\n"
    (case,) = cases(GIVEN + TEST.replace("on: contoso-fraud-test", "on: gs://contoso-fraud-test-data/train/") + also)
    assert [each.within for each in case.request.operations] == ["train/", "eval/"]


def test_being_unknown_can_be_what_is_expected(cases):
    unknown = TEST.replace("contoso-fraud-test", "somewhere-else").replace("launch", "no.such.method")
    (case,) = cases(GIVEN + unknown + "    because: [resource_unknown, method_unknown]\n")
    assert case.request.first.action.id == "no.such.method"
    assert case.request.first.resources[0].project == "somewhere-else"


def test_what_is_asked_of_an_approver_is_said(cases):
    (case,) = cases(
        GIVEN
        + """\
tests:
  - name: approving
    who: dana
    does: remit.grants.approve
    on: contoso-fraud-prod
    asked: {does: launch, by: gil, lasting: 2h, break_glass: true}
    expect: permit
"""
    )
    asked = case.request.first.asked
    assert (asked.action, asked.lasting, asked.break_glass) == ("launch", 7200, True)
    assert asked.by.endswith("/gil")


# what is wrong, and where

WRONG = {
    "a key that is not known": ("expect: permit", "expects: permit", "14:5", "`expects` is not known here"),
    "nothing expected": ("    expect: permit\n", "", "10:5", "must say what is expected"),
    "an outcome that is none": ("expect: permit", "expect: allow", "14:5", "must say what is expected"),
    "a permit with a challenge": ("expect: permit", "expect: permit c1", "14:5", "must say what is expected"),
    "nobody": ("who: dana", "who: dina", "11:5", "must name somebody under `people` or `workloads`: `dina` is nobody"),
    "not who": ("    who: dana\n", "", "10:5", "does not say who"),
    "not what": ("    does: launch\n", "", "10:5", "does not say what is done: `does`"),
    "not to what": ("    on: contoso-fraud-test\n", "", "10:5", "does not say what it is done to"),
    "an action that is none": ("launch", "endpoints.predikt", "12:5", "`endpoints.predikt`"),
    "a project that is none": ("contoso-fraud-test", "contoso-fraud-tset", "13:5", "contoso-fraud-tset"),
    "no text": ("name: one", "name: 1", "10:5", "`name` must be text"),
    "no name": ("name: one\n    who", "who", "10:5", "has no `name`"),
    "YAML's own no": ("expect: permit", "with: {country: NO}\n    expect: permit", "14:12", "wants quotes"),
    "a country that is none": ("expect: permit", "with: {country: Germany}\n    expect: permit", "14:12", "Country"),
    "a risk that is none": ("expect: permit", "with: {risk: hihg}\n    expect: permit", "14:12", "Risk"),
    "a length that is none": ("expect: permit", "with: {signed_in: 2x}\n    expect: permit", "14:12", "length of time"),
    "a time that is none": ("expect: permit", "with: {at: soon}\n    expect: permit", "14:12", "must be a time"),
    "a length beyond all times": (
        "expect: permit",
        "with: {signed_in: 999999999d}\n    expect: permit",
        "14:12",
        "100 years at most",
    ),
    "a time that cannot be written": (
        "expect: permit",
        "with: {at: 9999-12-31T23:59:59-14:00}\n    expect: permit",
        "14:12",
        "must be a time from 1970",
    ),
    "a number that no machine counts": (
        "expect: permit",
        "with: {work: {replicas: 99999999999999999999}}\n    expect: permit",
        "14:19",
        "1000000000000 at most",
    ),
    "work that is none": ("expect: permit", "with: {work: {machine: [a]}}\n    expect: permit", "14:19", "`machine`"),
    "a grant that is over": (
        "expect: permit",
        "with: {grant: {age: 2h, lasting: 1h}}\n    expect: permit",
        "14:12",
        "is over",
    ),
    "an account of nobody": ("expect: permit", "with: {acts_as: a@b.c}\n    expect: permit", "14:12", "no project"),
    "a cause that is none": ("expect: permit", "expect: permit\n    because: [rule-tow]", "15:15", "`rule-tow`"),
    "a cause that is no list": ("expect: permit", "expect: permit\n    because: rule-one", "15:5", "must be a list"),
    "a group that is none": ("[ml-engineers], roles", "[ml-engineer], roles", "5:21", "`ml-engineer`"),
    "a number below none": (
        "expect: permit",
        "with: {grant: {approvals: -1}}\n    expect: permit",
        "14:20",
        "0 or more",
    ),
    "a number that is yes": ("expect: permit", "with: {work: {replicas: true}}\n    expect: permit", "14:19", "whole"),
    "a run that cannot be": (
        "expect: permit",
        "with: {job_name: a/b}\n    expect: permit",
        "14:12",
        "`job_name` is no name of a run",
    ),
    "a list of numbers": ("expect: permit", "with: {contexts: [1]}\n    expect: permit", "14:23", "must be text"),
    "a mapping that is none": ("expect: permit", "with: [c1]\n    expect: permit", "14:5", "must be a mapping"),
    "an id that is none": ("roles: [MLEngineer]", "id: dana", "5:36", "TENANT/OBJECT-ID"),
    "a resource that is none": ("on: contoso-fraud-test", "on: 7", "13:5", "a resource is a word"),
    "a resource of no type": ("on: contoso-fraud-test", "on: {name: a}", "13:5", "must have `type`"),
    "a hop that never ends": (
        "on: contoso-fraud-test",
        "on: contoso-fraud-test\n    with: {outlived: [grant, signin]}",
        "14:30",
        "`signin` ends before no work",
    ),
    "a prefix that is none": ("on: contoso-fraud-test", "on: gs://contoso-fraud-test-data/train", "13:5", "no prefix"),
    "what is no prefix, expected to be unknown": (
        "on: contoso-fraud-test",
        "on: gs://contoso-fraud-test-data/train\n    because: [resource_unknown]",
        "13:5",
        "no prefix",
    ),
    "a prefix said twice": (
        "on: contoso-fraud-test",
        "on: gs://contoso-fraud-test-data/train/\n    with: {within: train/}",
        "14:12",
        "is said already",
    ),
    "a prefix among others": (
        "on: contoso-fraud-test",
        "on: [gs://contoso-fraud-test-data/train/, contoso-fraud-test]",
        "13:5",
        "a prefix in a list",
    ),
    "a grant of a part": (
        "on: contoso-fraud-test",
        "on: contoso-fraud-test\n    with: {grant: {on: gs://contoso-fraud-test-data/train/}}",
        "14:20",
        "leave out the prefix",
    ),
    "a type that is none": (
        "on: contoso-fraud-test",
        "on: {type: Endpiont, project: contoso-fraud-test, name: a}",
        "13:5",
        "Endpiont",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_mistake_is_told_with_its_place(cases, what):
    old, new, place, said = WRONG[what]
    text = "# a test\n" + (GIVEN + TEST).replace(old, new)
    assert text != "# a test\n" + GIVEN + TEST
    with pytest.raises(SettingsInvalid) as refused:
        cases(text)
    lines = [str(problem) for problem in refused.value.problems]
    assert any(said in line for line in lines), lines
    assert any(line.startswith(f"tests/t0.yaml:{place}:") and said in line for line in lines), lines


def test_every_problem_of_every_file_is_told_at_once(cases):
    with pytest.raises(SettingsInvalid) as refused:
        cases(GIVEN + TEST.replace("permit", "allow"), GIVEN + TEST.replace("launch", "lunch") + "other: 1\n", "")
    files = [problem.file for problem in refused.value.problems]
    assert sorted(set(files)) == ["tests/t0.yaml", "tests/t1.yaml", "tests/t2.yaml"]
    assert len(files) >= 4


@pytest.mark.parametrize("apart", [False, True])
def test_whoever_misspells_what_is_given_reads_of_that_alone(cases, apart):
    text = GIVEN.replace("given:", "givven:")
    tests = TEST + TEST.removeprefix("tests:\n").replace("one", "two")
    with pytest.raises(SettingsInvalid) as refused:
        cases(*([text, tests] if apart else [text + tests]))
    (problem,) = refused.value.problems
    assert str(problem).startswith("tests/t0.yaml:1:1: `givven` is not known here")


@pytest.mark.parametrize("key", ["name", "who", "does", "on", "expect"])
def test_a_misspelt_word_is_not_told_as_a_lacking_one_too(cases, key):
    with pytest.raises(SettingsInvalid) as refused:
        cases(GIVEN + TEST.replace(f"{key}:", f"{key}x:"))
    (problem,) = refused.value.problems
    assert f"`{key}x` is not known here" in str(problem)


@pytest.mark.parametrize("nobody", ["''", "7", "dina"])
def test_a_test_of_nobody_is_never_read(cases, nobody):
    with pytest.raises(SettingsInvalid) as refused:
        cases(GIVEN + TEST.replace("dana", nobody))
    assert len(refused.value.problems) == 1


def test_a_name_stands_for_one_test_and_one_thing(cases):
    for texts in (
        (GIVEN + TEST + TEST.removeprefix("tests:\n"),),
        (GIVEN, GIVEN + TEST),
        (GIVEN, TEST.replace("tests:", "given: {groups: {ml-engineers: other}}\ntests:")),
    ):
        with pytest.raises(SettingsInvalid, match=r"taken|already"):
            cases(*texts)


def test_causes_are_not_looked_at_when_the_policies_cannot_be_read(cases):
    (case,) = cases(GIVEN + TEST + "    because: [whatever]\n", rules=None)
    assert case.because == ("whatever",)
