"""Contoso, as the policy room sees it: an estate, identities and requests as plain values."""

from pathlib import Path

import pytest

from remit.model.decision import Circumstances
from remit.model.estate import Database, Estate, Project
from remit.model.identity import Authentication, Identity, Kind, Principal
from remit.model.operation import (
    ACCESS_ACTIONS,
    EXPLICIT_ACTIONS,
    OWN_ACTIONS,
    Action,
    Group,
    Operation,
    Request,
    Resource,
)
from remit.policy.judge import CedarJudge
from remit.policy.settings import PolicySettings

TID = "6f1c2a34-8b5d-4e6f-9a01-c0de00000001"
CONTOSO = Path(__file__).parents[3] / "examples" / "contoso" / "policies"
NOW = 1_795_305_600  # 2026-11-22T00:00:00Z

ACTIONS = {
    "aiplatform.projects.locations.customJobs.create": Group.LAUNCH,
    "aiplatform.projects.locations.customJobs.get": Group.OBSERVE,
    "aiplatform.projects.locations.endpoints.predict": Group.USE,
    "aiplatform.projects.locations.endpoints.deployModel": Group.CHANGE,
    "aiplatform.projects.locations.models.setIamPolicy": Group.ADMINISTER,
    "aiplatform.projects.locations.models.upload": Group.CHANGE,
    "logging.entries.list": Group.OBSERVE,
    "iam.serviceAccounts.actAs": Group.LAUNCH,
    "storage.buckets.get": Group.OBSERVE,
    "storage.objects.get": Group.USE,
    "storage.objects.list": Group.OBSERVE,
    "storage.objects.insert": Group.CHANGE,
    "storage.objects.delete": Group.CHANGE,
    "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read": Group.USE,
    "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write": Group.CHANGE,
    "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/delete": Group.CHANGE,
    "postgresql.databases.connect": Group.USE,
    "aiplatform.projects.locations.datasets.create": Group.CHANGE,
    "aiplatform.projects.locations.datasets.import": Group.CHANGE,
    "aiplatform.projects.locations.datasets.export": Group.CHANGE,
    **{
        f"aiplatform.projects.locations.{name}": group
        for group, names in (
            (Group.LAUNCH, ("hyperparameterTuningJobs.create", "batchPredictionJobs.create")),
            (
                Group.CHANGE,
                (
                    *(f"{kind}s.delete" for kind in ("dataset", "endpoint", "featureOnlineStore", "featurestore")),
                    "tensorboards.delete",
                    "endpoints.undeployModel",
                    *(f"{kind}Jobs.cancel" for kind in ("custom", "hyperparameterTuning", "batchPrediction")),
                    "trainingPipelines.cancel",
                ),
            ),
        )
        for name in names
    },
    **{action.id: action.group for action in (*OWN_ACTIONS, *ACCESS_ACTIONS, *EXPLICIT_ACTIONS)},
}
NAMES = {
    "launch": "aiplatform.projects.locations.customJobs.create",
    "observe": "aiplatform.projects.locations.customJobs.get",
    "use": "aiplatform.projects.locations.endpoints.predict",
    "change": "aiplatform.projects.locations.endpoints.deployModel",
    "administer": "aiplatform.projects.locations.models.setIamPolicy",
}


class World:
    """Everything that the tests say about Contoso, in few words."""

    now = NOW
    tid = TID
    folder = CONTOSO
    actions = ACTIONS
    estate = Estate(
        (
            Project(
                "contoso-fraud-test",
                "100000000001",
                "test",
                ("us-central1",),
                ("contoso-fraud-test-data", "contoso-fraud-test-staging"),
                tuple(
                    f"{name}@contoso-fraud-test.iam.gserviceaccount.com"
                    for name in ("ml-engineer", "data-scientist", "auditor", "trainer")
                ),
                ("contosofraudtest/features", "contosofraudtest/staging"),
            ),
            Project(
                "contoso-fraud-prod",
                "100000000002",
                "prod",
                ("us-central1",),
                ("contoso-fraud-prod-data", "contoso-fraud-prod-staging"),
                tuple(f"{name}@contoso-fraud-prod.iam.gserviceaccount.com" for name in ("ml-engineer", "trainer")),
                ("contosofraudprod/features",),
            ),
            Project(
                "contoso-churn-prod",
                "100000000003",
                "prod",
                ("us-central1",),
                ("contoso-churn-prod-data",),
                ("churn-trainer@contoso-churn-prod.iam.gserviceaccount.com",),
            ),
        ),
        databases=(
            Database("features", "contoso-fraud-test", ("features_reader", "features_writer")),
            Database("features-prod", "contoso-fraud-prod", ("features_reader",)),
        ),
    )

    @property
    def settings(self):
        return PolicySettings(self.folder)

    def person(self, number, *groups, guest=False, roles=(), contexts=(), methods=("pwd",), kind=Kind.PERSON):
        subject = f"0d000000-0000-4000-8000-{number:012d}"
        return Identity(
            principal=Principal(f"https://login.microsoftonline.com/{TID}/v2.0", TID, subject, kind),
            display=f"person {number}",
            groups=frozenset(f"9a000000-0000-4000-8000-{group:012d}" for group in groups),
            groups_at=NOW,
            roles=frozenset(roles),
            scopes=frozenset(),
            client="a0000000-0000-4000-8000-000000000002",
            authentication=Authentication(frozenset(methods), frozenset(contexts), frozenset({"cp1"}), at=NOW),
            guest=guest,
            issued_at=NOW,
            expires_at=NOW + 3600,
            token_id="uti",
        )

    def dana(self, **changes):
        return self.person(1, 1, 2, 3, roles=("MLEngineer",), **changes)

    def ada(self, **changes):
        return self.person(2, 4, 3, roles=("DataScientist",), **changes)

    def sam(self, **changes):
        return self.person(3, 5, roles=("Security",), **changes)

    def gil(self, **changes):
        return self.person(4, guest=True, **changes)

    def pipeline(self, **changes):
        return self.person(5, roles=("Pipeline",), kind=Kind.WORKLOAD, methods=(), **changes)

    def project(self, name):
        return Resource("Project", f"//cloudresourcemanager.googleapis.com/projects/{name}", name)

    def child(self, kind, project, name):
        collection = kind[0].lower() + kind[1:] + "s"
        path = f"//aiplatform.googleapis.com/projects/{project}/locations/us-central1/{collection}/{name}"
        return Resource(kind, path, project)

    def bucket(self, name, project):
        return Resource("Bucket", f"//storage.googleapis.com/projects/_/buckets/{name}", project)

    def account(self, email, project):
        return Resource("ServiceAccount", f"//iam.googleapis.com/projects/-/serviceAccounts/{email}", project)

    def operation(self, action, *resources, acts_as=""):
        name = NAMES.get(action, action)
        return Operation(Action(name, ACTIONS.get(name, Group.ADMINISTER)), resources, acts_as)

    def request(self, action, *resources):
        return Request((self.operation(action, *resources),))

    def training(self, project, account, home):
        """A custom job in `project` that runs as `account`, which lives in `home`."""
        return Request(
            (
                self.operation("launch", self.project(project), acts_as=account),
                self.operation("iam.serviceAccounts.actAs", self.account(account, home)),
            )
        )

    def decide(self, judge, identity, request, peer="10.1.2.3"):
        return judge.decide(identity, request, Circumstances(NOW, peer, locations_known=True))


@pytest.fixture(scope="session")
def world():
    return World()


@pytest.fixture(scope="session")
def judge(world):
    return CedarJudge(world.settings, world.estate, world.actions)


@pytest.fixture
def judge_of(world, tmp_path):
    """A judge over the policies given as text, each its own file, with any other fact about the world changed.

    `obligations`: the text of their one file.
    """

    def build(*texts, obligations="", **settings):
        for number, text in enumerate(texts):
            (tmp_path / f"p{number}.cedar").write_text(text)
        if obligations:
            (tmp_path / "obligations").mkdir(exist_ok=True)
            (tmp_path / "obligations" / "o.cedar").write_text(obligations)
        return CedarJudge(PolicySettings(tmp_path, **settings), world.estate, world.actions)

    return build
