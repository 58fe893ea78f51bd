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
    (Project(P, "100000000001", "test", ("us-central1",), (f"{P}-data",), (ACCOUNT,), ("fraud/features",)),),
    tuple(
        Service(name, P, ServiceKind.WEB, f"https://{name}", prefix=f"/apps/{name}/") for name in ("board", "gs", "az")
    ),
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
CONTAINER = f"//blob.core.windows.net/projects/{P}/accounts/fraud/containers/features"
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
        ("az://fraud/features", "Container", CONTAINER),
        ("az://fraud/features/", "Container", CONTAINER),
        (CONTAINER, "Container", None),
        (ACCOUNT, "ServiceAccount", f"//iam.googleapis.com/projects/-/serviceAccounts/{ACCOUNT}"),
        (f"//iam.googleapis.com/projects/-/serviceAccounts/{ACCOUNT}", "ServiceAccount", None),
        ("board", "Service", BOARD),
        (BOARD, "Service", None),
        ("gs", "Service", BOARD.replace("board", "gs")),
        ("az", "Service", BOARD.replace("board", "az")),
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
        "gs:",
        "az://",
        "az://fraud",
        "az://fraud/other",
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


STORES = pytest.mark.parametrize("store", [f"gs://{P}-data", "az://fraud/features"])


@STORES
@pytest.mark.parametrize("prefix", ["train/", "train/day=2026-11-23/", "_/a.b/", "x" * 89 + "/"])
def test_a_part_is_the_whole_and_the_prefix_in_it(store, prefix):
    assert WORDS.part(f"{store}/{prefix}") == (WORDS.resource(store), prefix)


@pytest.mark.parametrize("word", [P, f"gs://{P}-data", f"gs://{P}-data/", "az://fraud/features/", "board", "remit"])
def test_what_names_no_prefix_is_the_whole(word):
    assert WORDS.part(word) == (WORDS.resource(word), "")


@STORES
@pytest.mark.parametrize(
    "prefix",
    [
        "/",
        "/train/",
        "train//",
        "train//deep/",
        "../",
        "train/../",
        "train/./",
        "train/../../other/",
        ".train/",
        "train./",
        "train%2F",
        "train%2Fdeep/",
        "%2e%2e/",
        "tr*in/",
        "train/**",
        "train/?x=/",
        "train/#/",
        "train\\deep/",
        "tr ain/",
        "train\n/",
        "train/\n",
        'train"/',
        "trän/",
        "\uff54rain/",
        "x" * 90 + "/",
        "gs://other/",
    ],
)
def test_a_prefix_that_could_mean_anything_else_means_nothing(store, prefix):
    with pytest.raises(Refused, match="is no prefix in") as refused:
        WORDS.part(f"{store}/{prefix}")
    assert refused.value.reason is Reason.REQUEST_MALFORMED
    assert "folders that end in `/`" in refused.value.hint
    assert (refused.value.message + refused.value.hint).isprintable()


@STORES
@pytest.mark.parametrize("name", ["data/a", "a", "data/a.csv"])
@pytest.mark.parametrize("reading", [WORDS.part, WORDS.resource])
def test_the_beginning_of_a_name_is_no_prefix_and_the_folder_is_named(store, name, reading):
    """`data/a` would be `data/ab/` as well."""
    with pytest.raises(Refused, match=f"`{name}` is no prefix") as refused:
        reading(f"{store}/{name}")
    assert f"`{store}/{name}/`" in refused.value.hint


@pytest.mark.parametrize("word", ["gs://other/train/", "az://fraud/other/train/", "az://fraud//train/", "gs:///train/"])
def test_a_part_of_what_is_in_no_project_is_nothing(word):
    with pytest.raises(Refused, match="belongs to no project"):
        WORDS.part(word)


@STORES
def test_where_only_a_whole_will_do_a_part_is_refused_and_the_whole_is_named(store):
    with pytest.raises(Refused, match="is a part") as refused:
        WORDS.resource(f"{store}/train/")
    assert refused.value.hint == f"name all of it: `{store}`"


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        (f"{P}-data", f"say `gs://{P}-data`, or"),
        (f"{P}-data/train/", f"say `gs://{P}-data`, or"),
        (f"buckets/{P}-data/train/", f"say `gs://{P}-data`, or"),
        ("fraud/features", "say `az://fraud/features`, or"),
        ("fraud/features/train/", "say `az://fraud/features`, or"),
        ("endpoints/7", "name a project, `gs://BUCKET`"),
        ("other-project", "name a project, `gs://BUCKET`"),
        (f"projects/{P}/locations/mars/endpoints/7", ""),
    ],
)
def test_what_is_no_name_is_told_how_names_are_spelt(word, hint):
    with pytest.raises(Refused) as refused:
        WORDS.part(word)
    assert refused.value.hint.startswith(hint)
    assert bool(refused.value.hint) is bool(hint)


def test_of_several_methods_one_is_to_be_said():
    with pytest.raises(Refused, match="can mean several") as refused:
        WORDS.action("predict")
    assert refused.value.hint.startswith("say which: `aiplatform.projects.locations.endpoints.predict`, ")
