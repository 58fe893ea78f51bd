"""What people mean by a word."""

import pytest

from remit.catalogue.words import Words
from remit.model.errors import Refused
from remit.model.estate import Estate, Project, Service, ServiceKind
from remit.model.operation import INSTALLATION, Group
from remit.model.reasons import Reason

P = "contoso-fraud-test"
ACCOUNT = f"trainer@{P}.iam.gserviceaccount.com"
ESTATE = Estate(
    (Project(P, "100000000001", "test", ("us-central1",), (f"{P}-data",), (ACCOUNT,)),),
    (Service("board", P, ServiceKind.WEB, "https://board", prefix="/apps/board/"),),
)
WORDS = Words(ESTATE)


@pytest.mark.parametrize(
    ("word", "means", "group"),
    [
        ("launch", "launch", Group.LAUNCH),
        ("aiplatform.projects.locations.endpoints.predict", None, Group.USE),
        ("endpoints.predict", "aiplatform.projects.locations.endpoints.predict", Group.USE),
        ("customJobs.create", "aiplatform.projects.locations.customJobs.create", Group.LAUNCH),
        ("remit.grants.approve", None, Group.ADMINISTER),
        ("grants.approve", "remit.grants.approve", Group.ADMINISTER),
    ],
)
def test_an_action_by_its_end(word, means, group):
    found = WORDS.action(word)
    assert (found.id, found.group) == (means or word, group)


def test_an_action_keeps_its_permission():
    assert WORDS.action("customJobs.create").permission == "aiplatform.customJobs.create"


@pytest.mark.parametrize("word", ["create", "", "customjobs.create", "customJobs.craete", "x" * 5000, "predict\n", "*"])
def test_no_action_or_more_than_one(word):
    with pytest.raises(Refused) as refused:
        WORDS.action(word)
    assert refused.value.reason is Reason.METHOD_UNKNOWN
    assert refused.value.hint
    assert "\n" not in refused.value.message


def test_what_comes_near_is_named():
    with pytest.raises(Refused, match="no method") as refused:
        WORDS.action("customJobs.craete")
    assert "`customJobs.create`" in refused.value.hint


ENDPOINT = f"//aiplatform.googleapis.com/projects/{P}/locations/us-central1/endpoints/7"
BOARD = f"//remit/projects/{P}/services/board"


@pytest.mark.parametrize(
    ("word", "kind", "name"),
    [
        (P, "Project", f"//cloudresourcemanager.googleapis.com/projects/{P}"),
        ("100000000001", "Project", f"//cloudresourcemanager.googleapis.com/projects/{P}"),
        (f"//cloudresourcemanager.googleapis.com/projects/{P}", "Project", None),
        (f"projects/{P}/locations/us-central1/endpoints/7", "Endpoint", ENDPOINT),
        ("projects/100000000001/locations/us-central1/endpoints/7", "Endpoint", ENDPOINT),
        (ENDPOINT, "Endpoint", None),
        (f"gs://{P}-data", "Bucket", f"//storage.googleapis.com/projects/_/buckets/{P}-data"),
        (f"gs://{P}-data/", "Bucket", f"//storage.googleapis.com/projects/_/buckets/{P}-data"),
        (ACCOUNT, "ServiceAccount", f"//iam.googleapis.com/projects/-/serviceAccounts/{ACCOUNT}"),
        (f"//iam.googleapis.com/projects/-/serviceAccounts/{ACCOUNT}", "ServiceAccount", None),
        ("board", "Service", BOARD),
        (BOARD, "Service", None),
        (f"{BOARD}/models/digits", "ServedModel", None),
        ("remit", "Installation", INSTALLATION.name),
        (INSTALLATION.name, "Installation", None),
    ],
)
def test_a_resource_by_what_it_is_called(word, kind, name):
    found = WORDS.resource(word)
    assert (found.type, found.name) == (kind, name or word)
    assert found == INSTALLATION or found.project == P


@pytest.mark.parametrize(
    "word",
    [
        "",
        "other-project",
        "gs://other",
        "gs://",
        f"gs://{P}-data/x",
        "projects/-/locations/us-central1/endpoints/7",
        "stranger@other.iam.gserviceaccount.com",
        f"projects/{P}/locations/mars/endpoints/7",
        "//remit/projects/x/services/y",
        f"projects/{P}/locations/us-central1/endpoints/../../x",
        "//evil.example/projects/x",
        "*",
        "board2",
    ],
)
def test_no_resource(word):
    with pytest.raises(Refused) as refused:
        WORDS.resource(word)
    assert refused.value.reason is Reason.RESOURCE_UNKNOWN
