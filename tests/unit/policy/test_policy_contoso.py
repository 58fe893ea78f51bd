"""What Contoso's policies say, as a table, and what people read when they say no."""

from dataclasses import replace

import pytest

from remit.catalogue import actions
from remit.catalogue.words import Words
from remit.model.decision import Circumstances
from remit.model.grant import Grant, Wanted
from remit.model.identity import Device
from remit.model.operation import Group, Request
from remit.model.outcome import Outcome
from remit.model.reasons import Reason
from remit.policy.judge import CedarJudge
from remit.policy.trials.cases import World as Named
from remit.policy.trials.cases import read
from remit.policy.trials.coverage import measure
from remit.policy.trials.trial import run
from remit.policy.use.firing import Firings
from remit.settings.document import parse

TEST, PROD, CHURN = "contoso-fraud-test", "contoso-fraud-prod", "contoso-churn-prod"
GROUPS = [str(group) for group in Group]
PERMITTED = {
    ("dana", TEST): {"use", "observe", "launch", "change"},
    ("dana", PROD): {"use", "observe"},
    ("dana with c1", TEST): {"use", "observe", "launch", "change"},
    ("dana with c1", PROD): {"use", "observe", "launch", "change"},
    ("ada", TEST): {"use", "observe"},
    ("sam", TEST): {"observe"},
    ("gil in every group", TEST): {"launch", "use", "observe", "change"},
    ("gil among the engineers", TEST): {"launch", "use", "observe", "change"},
    ("sam", PROD): {"observe"},
    ("sam", CHURN): {"observe"},
    ("pipeline", TEST): {"launch"},
}
WHO = ["dana", "dana with c1", "ada", "sam", "gil", "gil in every group", "gil among the engineers", "pipeline"]
STEPPED_UP = {("dana", PROD): {"launch", "change"}}
APPROVED = {("ada", TEST): {"launch"}}
OF_MODELS = {("dana", PROD), ("dana with c1", PROD)}  # whose changes of a model two others approve


def trainer(project):
    return f"trainer@{project}.iam.gserviceaccount.com"


def who(world, name):
    if name == "dana with c1":
        return world.dana(contexts=("c1",), methods=("pwd", "mfa"))
    if name == "dana at the company's laptop":
        return replace(who(world, "dana with c1"), device=Device(managed=True, compliant=True))
    if name == "gil in every group":
        return world.person(4, 1, 2, 3, 4, 5, guest=True, roles=("Pipeline",), contexts=("c1",))
    if name == "gil among the engineers":
        return world.person(4, 1, 2, 3, guest=True, roles=("MLEngineer",), contexts=("c1",))
    return getattr(world, name)()


@pytest.mark.parametrize("project", [TEST, PROD, CHURN])
@pytest.mark.parametrize("name", WHO)
def test_every_group_of_actions_is_decided_as_intended(judge, world, name, project):
    kind = world.child("Model", project, "7")
    for resource in (world.project(project), kind):
        verdicts = {group: world.decide(judge, who(world, name), world.request(group, resource)) for group in GROUPS}
        permitted = {group for group in GROUPS if verdicts[group].outcome is Outcome.PERMIT}
        stepped = {group for group in GROUPS if verdicts[group].outcome is Outcome.STEP_UP}
        approved = {group for group in GROUPS if verdicts[group].outcome is Outcome.NEEDS_APPROVAL}
        alone = {"change"} if resource is kind and (name, project) in OF_MODELS else set()
        assert permitted == PERMITTED.get((name, project), set()) - alone
        assert stepped == STEPPED_UP.get((name, project), set()) - alone
        assert approved == APPROVED.get((name, project), set()) | alone


def test_a_permit_names_its_reason_its_policies_and_the_version(judge, world):
    verdict = world.decide(judge, world.dana(), world.training(TEST, trainer(TEST), TEST))
    assert verdict.outcome is Outcome.PERMIT
    assert verdict.reasons == (Reason.POLICY_PERMITS,)
    assert [policy.id for policy in verdict.policies] == ["act-as-trainer-fraud-test", "ml-engineers-launch-fraud-test"]
    assert verdict.policy_version == judge.policy_version
    assert (verdict.detail, verdict.hint, verdict.challenge) == ("", "", "")


def test_ada_reads_what_she_lacks_to_launch_and_how_to_ask_for_it(judge, world):
    verdict = world.decide(judge, world.ada(), world.training(TEST, trainer(TEST), TEST))
    assert verdict.outcome is Outcome.NEEDS_APPROVAL
    assert verdict.reasons == (Reason.APPROVAL_REQUIRED, Reason.NO_POLICY_PERMITS)
    assert verdict.detail == (
        "`aiplatform.projects.locations.customJobs.create` on project `contoso-fraud-test`: "
        "training jobs in `contoso-fraud-test` are launched by ml engineers; the group `ml-engineers` is missing"
    )
    action = "aiplatform.projects.locations.customJobs.create"
    assert verdict.hint == f'remit request {action} contoso-fraud-test --for 1h --because "…"'


def test_what_no_grant_opens_is_no_matter_of_approval(judge, world):
    verdict = world.decide(judge, world.ada(), world.request("change", world.project(TEST)))
    assert verdict.reasons == (Reason.NO_POLICY_PERMITS,)
    assert verdict.hint == "ask the owner of `ml-engineers` to be added to it"


def test_a_refusal_tells_what_the_second_factor_would_not_cure(judge, world):
    verdict = world.decide(judge, world.ada(), world.request("launch", world.project(PROD)))
    assert verdict.outcome is Outcome.DENY
    assert verdict.reasons == (Reason.NO_POLICY_PERMITS, Reason.POLICY_FORBIDS)
    assert [policy.id for policy in verdict.policies] == ["production-needs-second-factor"]
    assert "the group `ml-engineers` is missing" in verdict.detail
    assert not verdict.challenge


def test_dana_is_asked_for_a_second_factor_in_production(judge, world):
    request = world.training(PROD, trainer(PROD), PROD)
    verdict = world.decide(judge, world.dana(), request)
    assert verdict.outcome is Outcome.STEP_UP
    assert verdict.reasons == (Reason.STEP_UP_REQUIRED, Reason.POLICY_FORBIDS)
    assert verdict.challenge == "c1"
    assert verdict.detail.endswith("launching and changing in production needs a sign-in with a second factor")
    assert verdict.hint == ""
    assert world.decide(judge, world.dana(contexts=("c1",)), request).outcome is Outcome.PERMIT


def test_guests_read_that_they_are_guests(judge, world):
    verdict = world.decide(judge, world.gil(), world.request("launch", world.project(PROD)))
    assert verdict.reasons == (Reason.POLICY_FORBIDS,)
    assert verdict.detail.endswith("guest accounts of this tenant work in test only")


@pytest.mark.parametrize(
    ("home", "account", "sentence"),
    [
        (
            CHURN,
            "churn-trainer@contoso-churn-prod.iam.gserviceaccount.com",
            "work runs as an account of its own project",
        ),
        (PROD, trainer(PROD), "work runs as an account of its own project"),
        (TEST, "ml-engineer@contoso-fraud-test.iam.gserviceaccount.com", "work runs as the trainer of a fraud project"),
    ],
)
def test_a_job_runs_as_nobody_but_its_own_trainer(judge, world, home, account, sentence):
    for contexts in ((), ("c1",)):
        verdict = world.decide(judge, world.dana(contexts=contexts), world.training(TEST, account, home))
        assert verdict.outcome is Outcome.DENY
        assert verdict.reasons[0] is Reason.POLICY_FORBIDS
        assert sentence in verdict.detail


@pytest.mark.parametrize("action", ["models.upload", "endpoints.deployModel"])
@pytest.mark.parametrize(("project", "other"), [(TEST, PROD), (PROD, TEST)])
def test_a_model_runs_as_nobody_but_its_own_trainer(judge, world, action, project, other):
    target = world.child("Endpoint", project, "7") if action.startswith("endpoints") else world.project(project)

    def changed(home):
        name = f"aiplatform.projects.locations.{action}"
        operation = world.operation(name, target, acts_as=trainer(home))
        return Request((operation, world.operation("iam.serviceAccounts.actAs", world.account(trainer(home), home))))

    dana = world.dana(contexts=("c1",), methods=("pwd", "mfa"))
    assert world.decide(judge, dana, changed(project)).outcome is Outcome.PERMIT
    verdict = world.decide(judge, dana, changed(other))
    assert verdict.outcome is Outcome.DENY
    assert [policy.id for policy in verdict.policies] == ["work-runs-as-its-project"]
    assert "work runs as an account of its own project" in verdict.detail


@pytest.mark.parametrize("kind", ["ReasoningEngine", "DeploymentResourcePool", "Schedule", "PersistentResource"])
def test_what_runs_already_is_given_no_account_of_another_project(judge, world, kind):
    dana = world.dana(contexts=("c1",), methods=("pwd", "mfa"))
    act_as = world.operation("iam.serviceAccounts.actAs", world.account(trainer(PROD), PROD))
    changed = world.operation("change", world.child(kind, TEST, "7"), acts_as=trainer(PROD))
    verdict = world.decide(judge, dana, Request((changed, act_as)))
    assert [policy.id for policy in verdict.policies] == ["work-runs-as-its-project"]


def test_the_pipeline_launches_as_the_trainer_in_test_and_nowhere_else(judge, world):
    assert world.decide(judge, world.pipeline(), world.training(TEST, trainer(TEST), TEST)).outcome is Outcome.PERMIT
    assert world.decide(judge, world.pipeline(), world.training(PROD, trainer(PROD), PROD)).outcome is Outcome.DENY
    person = world.person(6, roles=("Pipeline",))
    assert world.decide(judge, person, world.training(TEST, trainer(TEST), TEST)).outcome is Outcome.DENY


@pytest.mark.parametrize(
    ("name", "bucket", "may"),
    [
        ("dana", "contoso-fraud-test-data", {"read", "write"}),
        ("dana", "contoso-fraud-test-staging", {"read", "write"}),
        ("dana", "contoso-fraud-prod-data", set()),
        ("dana", "contoso-fraud-prod-staging", {"read"}),
        ("dana with c1", "contoso-fraud-prod-data", set()),
        ("dana with c1", "contoso-fraud-prod-staging", {"read", "write"}),
        ("dana at the company's laptop", "contoso-fraud-prod-data", {"read", "write"}),
        ("dana at the company's laptop", "contoso-churn-prod-data", set()),
        ("dana with c1", "contoso-churn-prod-data", set()),
        ("ada", "contoso-fraud-test-data", {"read"}),
        ("ada", "contoso-fraud-test-staging", set()),
        ("sam", "contoso-fraud-test-data", set()),
        ("pipeline", "contoso-fraud-test-data", set()),
        ("gil in every group", "contoso-fraud-test-data", {"read", "write"}),
        ("gil in every group", "contoso-fraud-prod-data", set()),
    ],
)
def test_who_reads_and_writes_data(judge, world, name, bucket, may):
    target = world.bucket(bucket, world.estate.owner_of_bucket(bucket).id)
    for mode, names in (("read", ("get", "list")), ("write", ("insert", "delete"))):
        for one in names:
            verdict = world.decide(judge, who(world, name), world.request(f"storage.objects.{one}", target))
            assert (verdict.outcome is Outcome.PERMIT) is (mode in may), one


@pytest.mark.parametrize(("name", "permitted"), [("dana", True), ("pipeline", True), ("ada", False)])
def test_a_job_that_names_a_bucket_is_decided_on_it_as_well(judge, world, name, permitted):
    bucket = world.bucket("contoso-fraud-test-staging", TEST)
    verdict = world.decide(judge, who(world, name), world.request("launch", world.project(TEST), bucket))
    assert (verdict.outcome is Outcome.PERMIT) is permitted


def test_one_refused_operation_refuses_the_request(judge, world):
    request = Request(
        (
            world.operation("use", world.project(TEST)),
            world.operation("observe", world.project(TEST), world.project(PROD)),
        )
    )
    verdict = world.decide(judge, world.ada(), request)
    assert verdict.outcome is Outcome.DENY
    assert "project `contoso-fraud-prod`" in verdict.detail
    assert verdict.policies == ()


def test_the_policies_name_only_actions_that_the_catalogue_knows(world):
    judge = CedarJudge(world.settings, world.estate, actions())
    assert world.decide(judge, world.dana(), world.request("use", world.project(TEST))).outcome is Outcome.PERMIT


def test_contosos_own_policy_tests_pass_and_try_every_rule(world):
    judge = CedarJudge(world.settings, world.estate, actions())
    firings = Firings(judge.book, world.estate, actions())
    rules = {*firings.policies.values(), *firings.obligations.values()}
    files = sorted((world.folder / "tests").glob("*.yaml"))
    documents = [parse(file.name, file.read_bytes()) for file in files]
    cases = read(documents, Named(world.estate, Words(world.estate), rules))
    assert len(cases) >= 150
    assert [found.case.name for found in run(judge.book, world.estate, actions(), cases) if not found.passed] == []
    coverage = measure(firings, cases)
    assert coverage.policies == 100.0
    assert coverage.conditions >= 95.0


def test_no_group_may_be_granted_what_decides_over_access(judge, world):
    """With a grant of everything, approved by everybody, nobody of any group administers."""
    everybody = [world.dana(contexts=("c1",)), world.ada(), world.sam(), world.gil(), world.person(9, 1, 2, 3, 4, 5)]
    for project in (TEST, PROD, CHURN):
        for identity in everybody:
            wanted = Wanted(identity.principal.key, "administer", world.project(project), 3600, "why not")
            grant = Grant("g-1", wanted, world.now, world.now + 3600, approvals=9)
            around = Circumstances(world.now, locations_known=True, grants=(grant,))
            verdict = judge.decide(identity, world.request("administer", world.project(project)), around)
            assert verdict.outcome is Outcome.DENY
