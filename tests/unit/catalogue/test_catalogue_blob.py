"""What a token for containers amounts to, and what containers and databases go by."""

import pytest

from remit.catalogue import actions, blob_request
from remit.catalogue.listing import search
from remit.catalogue.words import Words
from remit.model.errors import Refused
from remit.model.estate import Database, Estate, Project
from remit.model.operation import Group
from remit.model.reasons import Reason

BLOBS = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"
ESTATE = Estate(
    (
        Project("fraud-test", "100000000001", "test", ("us-central1",), containers=("acct/features", "acct/staging")),
        Project("fraud-prod", "100000000002", "prod", ("us-central1",), containers=("prod/features",)),
    ),
    databases=(Database("ledger", "fraud-test", ("reader", "writer")),),
)
FEATURES = "//blob.core.windows.net/projects/fraud-test/accounts/acct/containers/features"
LEDGER = "//remit/projects/fraud-test/databases/ledger"
WORDS = Words(ESTATE)


@pytest.mark.parametrize(
    ("access", "groups"),
    [
        ("read", {f"{BLOBS}/read": Group.USE}),
        ("write", {f"{BLOBS}/read": Group.USE, f"{BLOBS}/write": Group.CHANGE, f"{BLOBS}/delete": Group.CHANGE}),
    ],
)
def test_a_token_is_everything_that_its_holder_can_do_with_it(access, groups):
    request = blob_request(ESTATE, ["acct/features", "acct/staging", "acct/features"], access)
    assert {operation.action.id: operation.action.group for operation in request.operations} == groups
    assert all(operation.action.permission == operation.action.id for operation in request.operations)
    for operation in request.operations:
        assert [resource.name.rpartition("/")[2] for resource in operation.resources] == ["features", "staging"]
        assert {(each.type, each.project) for each in operation.resources} == {("Container", "fraud-test")}
    assert not request.leasable


def test_what_lies_below_prefixes_is_asked_about_by_itself():
    request = blob_request(ESTATE, ["acct/features/a/", "acct/staging", "acct/features/b/c/"], "write")
    asked = [
        (each.action.id.rpartition("/")[2], each.resources[0].name.rpartition("/")[2], each.within)
        for each in request.operations
    ]
    verbs = ("read", "write", "delete")
    assert asked == [
        *((verb, "staging", "") for verb in verbs),
        *((verb, "features", "a/") for verb in verbs),
        *((verb, "features", "b/c/") for verb in verbs),
    ]


@pytest.mark.parametrize(
    "names",
    [
        *([], ["acct/other"], ["acct/features", "acct/other"], [""], ["features"], ["acct/"]),
        *(["acct/features/"], ["acct/features//"], ["acct/features/a"], ["acct/other/a/"]),
    ],
)
def test_what_is_no_container_of_the_estate(names):
    with pytest.raises(Refused) as caught:
        blob_request(ESTATE, names, "read")
    assert caught.value.reason is Reason.RESOURCE_UNKNOWN


def test_the_actions_are_known_to_policy_and_to_people():
    known = {name: group for name, group in actions().items() if name.startswith("Microsoft.Storage/")}
    assert known == {f"{BLOBS}/read": Group.USE, f"{BLOBS}/write": Group.CHANGE, f"{BLOBS}/delete": Group.CHANGE}
    assert [(row.id, row.group, row.permission, row.served) for row in search("blobs/write")] == [
        (f"{BLOBS}/write", "change", f"{BLOBS}/write", True)
    ]
    assert WORDS.action("blobs/read") == WORDS.action(f"{BLOBS}/read")
    assert WORDS.action("blobs/delete").permission == f"{BLOBS}/delete"


@pytest.mark.parametrize(
    ("word", "kind", "name"),
    [
        ("az://acct/features", "Container", FEATURES),
        ("az://acct/features/", "Container", FEATURES),
        (FEATURES, "Container", FEATURES),
        ("postgresql://ledger", "Database", LEDGER),
        ("postgresql://ledger/", "Database", LEDGER),
        (LEDGER, "Database", LEDGER),
        ("postgresql://ledger/reader", "DatabaseRole", f"{LEDGER}/roles/reader"),
        (f"{LEDGER}/roles/reader", "DatabaseRole", f"{LEDGER}/roles/reader"),
    ],
)
def test_a_container_and_a_database_by_what_they_go_by(word, kind, name):
    found = WORDS.resource(word)
    assert (found.type, found.name, found.project) == (kind, name, "fraud-test")


@pytest.mark.parametrize(
    "word",
    [
        "az://",
        "az://acct",
        "az://acct/other",
        "az://acct/features?a=b",
        "AZ://acct/features",
        "https://acct.blob.core.windows.net/features",
        FEATURES.replace("fraud-test", "fraud-prod"),
        FEATURES.replace("acct", "prod"),
        f"{FEATURES}/blobs/one",
        f"{FEATURES}/",
        "postgresql://",
        "postgresql:///reader",
        "postgresql://other",
        "postgresql://ledger/admin",
        "postgresql://ledger/reader/",
        "postgresql://me@ledger/reader",
        LEDGER.replace("fraud-test", "fraud-prod"),
        f"{LEDGER}/roles/admin",
        f"{LEDGER}/roles/",
        f"{LEDGER}/tables/t",
    ],
)
def test_what_goes_by_no_such_name(word):
    with pytest.raises(Refused) as caught:
        WORDS.resource(word)
    assert caught.value.reason is Reason.RESOURCE_UNKNOWN
