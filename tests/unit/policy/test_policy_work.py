"""Guardrails, permissions of their own, and what lies in what: Contoso's policies on typed facts (V7, N8)."""

import dataclasses

import pytest

from remit.catalogue import actions
from remit.model.operation import EXTERNAL, OTHERS, UNTYPED, Action, Group, Operation, Request, Resource, Work
from remit.model.outcome import Outcome
from remit.policy.facts import gather
from remit.policy.judge import CedarJudge

TEST, PROD = "contoso-fraud-test", "contoso-fraud-prod"
GOOD = Work(
    region="us-central1",
    machines=frozenset({"n1-standard-4"}),
    replicas=1,
    images=frozenset({"us-docker.pkg.dev/vertex-ai/training/tf-cpu.2-17.py310:latest"}),
    registries=frozenset({"us-docker.pkg.dev/vertex-ai/training"}),
    environment=frozenset({"EPOCHS"}),
    labels=frozenset({"team=fraud"}),
    duration=3600,
)


def launch(world, project, work):
    account = f"trainer@{project}.iam.gserviceaccount.com"
    operation = world.operation("launch", world.project(project), acts_as=account)
    act_as = world.operation("iam.serviceAccounts.actAs", world.account(account, project))
    return Request((dataclasses.replace(operation, work=work), act_as))


@pytest.mark.promise("N8")
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, ""),
        ({"machines": frozenset({"n1-standard-4", "a3-megagpu-8g"})}, "machines of the types"),
        ({"accelerators": frozenset({"NVIDIA_H100_80GB"}), "accelerator_count": 1}, "machines of the types"),
        ({"accelerators": frozenset({"NVIDIA_L4"}), "accelerator_count": 8}, ""),
        ({"accelerators": frozenset({"NVIDIA_L4"}), "accelerator_count": 9}, "machines of the types"),
        ({"registries": frozenset({"docker.io/library"})}, "container images come from"),
        ({"registries": frozenset({"us-docker.pkg.dev/vertex-ai-evil/training"})}, "container images come from"),
        ({"networks": frozenset({"//compute.googleapis.com/projects/p/global/networks/n"})}, "not attached"),
        ({"environment": frozenset({"EPOCHS", "GOOGLE_APPLICATION_CREDENTIALS"})}, "no key file"),
        ({"duration": 604_801}, "a week at the most"),
        ({"interactive": True}, ""),
    ],
)
def test_a_launch_is_held_to_the_guardrails(judge, world, changes, said):
    verdict = world.decide(judge, world.dana(), launch(world, TEST, dataclasses.replace(GOOD, **changes)))
    assert (verdict.outcome is Outcome.PERMIT) is not said
    assert said in verdict.detail


def test_in_production_nobody_logs_in_to_work(judge, world):
    dana = world.dana(contexts=("c1",))
    assert world.decide(judge, dana, launch(world, PROD, GOOD)).outcome is Outcome.PERMIT
    verdict = world.decide(judge, dana, launch(world, PROD, dataclasses.replace(GOOD, interactive=True)))
    assert "nobody can log in" in verdict.detail


@pytest.fixture(scope="module")
def known(world):
    return CedarJudge(world.settings, world.estate, actions())


def explicit(world, action, project, method, resource=None):
    first = resource or world.project(project)
    asked = Operation(Action(method, actions()[method]), (first,))
    return Request((asked, Operation(action, (first,), within=method)))


PIPELINE = "aiplatform.projects.locations.pipelineJobs.create"
GET = "aiplatform.projects.locations.customJobs.get"
CANCEL = "aiplatform.projects.locations.customJobs.cancel"


@pytest.mark.parametrize(
    ("who", "asked", "permitted"),
    [
        ("dana", (UNTYPED, PIPELINE, TEST), True),
        ("dana", (UNTYPED, PIPELINE, PROD), False),
        ("dana", (EXTERNAL, PIPELINE, TEST), False),
        ("pipeline", (UNTYPED, PIPELINE, TEST), False),
        ("dana", (OTHERS, GET, TEST), True),
        ("dana", (OTHERS, CANCEL, TEST), False),
        ("dana", (OTHERS, GET, PROD), False),
        ("ada", (OTHERS, GET, TEST), False),
        ("sam", (OTHERS, GET, TEST), True),
        ("sam", (OTHERS, GET, PROD), True),
        ("sam", (OTHERS, CANCEL, PROD), False),
    ],
)
def test_what_is_a_permission_of_its_own_needs_it(known, world, who, asked, permitted):
    action, method, project = asked
    kind = None if method == PIPELINE else world.child("CustomJob", project, "7")
    request = explicit(world, action, project, method, kind)
    identity = getattr(world, who)(**({"contexts": ("c1",)} if who == "dana" else {}))
    assert (world.decide(known, identity, request).outcome is Outcome.PERMIT) is permitted


def test_no_group_but_administer_holds_them():
    assert {actions()[action.id] for action in (UNTYPED, EXTERNAL, OTHERS)} == {Group.ADMINISTER}


def test_what_lies_below_a_resource_is_in_it(judge_of, world):
    board = "//aiplatform.googleapis.com/projects/contoso-fraud-test/locations/us-central1/tensorboards/7"
    judge = judge_of(
        f'@id("one-board") permit (principal, action in Action::"observe", resource in Tensorboard::"{board}");'
    )
    for name, permitted in (
        (board, True),
        (f"{board}/experiments/e/runs/r", True),
        (board[:-1] + "8", False),
        (f"{board}8/experiments/e", False),
    ):
        request = world.request("observe", Resource("Tensorboard", name, TEST))
        assert (world.decide(judge, world.dana(), request).outcome is Outcome.PERMIT) is permitted


def test_a_served_model_is_in_its_service(judge_of, world):
    service = "//remit/projects/contoso-fraud-test/services/digits"
    judge = judge_of(f'@id("digits") permit (principal, action in Action::"use", resource in Service::"{service}");')
    for name, permitted in (
        (f"{service}/models/m/versions/3", True),
        ("//remit/projects/contoso-fraud-test/services/digits-2/models/m", False),
        ("//remit/projects/contoso-fraud-prod/services/digits/models/m", None),
    ):
        request = world.request("use", Resource("ServedModel", name, TEST))
        assert (world.decide(judge, world.dana(), request).outcome is Outcome.PERMIT) is bool(permitted)


def test_what_is_said_of_a_served_model_holds_for_its_versions_and_labels(judge_of, world):
    """A request may name a version: what was forbidden of the model must not be had by one."""
    models = "//remit/projects/contoso-fraud-test/services/digits/models"
    judge = judge_of(
        '@id("all") permit (principal, action in Action::"use", resource is ServedModel);'
        f'@id("not-m") @refusal("no") forbid (principal, action, resource in ServedModel::"{models}/m");'
    )
    for name, permitted in (
        ("m", False),
        ("m/versions/3", False),
        ("m/labels/stable", False),
        ("m2", True),
        ("m2/versions/3", True),
        ("n/labels/m", True),
    ):
        request = world.request("use", Resource("ServedModel", f"{models}/{name}", TEST))
        assert (world.decide(judge, world.dana(), request).outcome is Outcome.PERMIT) is permitted, name


def test_everything_that_is_known_of_work_reaches_the_engine(world):
    facts = gather(world.dana(), launch(world, TEST, GOOD), world_circumstances(), world.estate, world.actions)
    context = facts.context(facts.questions[0])
    for each in dataclasses.fields(Work):
        assert f'"{each.name}"' in context


def world_circumstances():
    from remit.model.decision import Circumstances

    return Circumstances(1_795_305_600)
