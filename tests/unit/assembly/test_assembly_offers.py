"""What tokens Contoso's own files offer to whom, and for what they ask."""

from dataclasses import replace
from pathlib import Path

import pytest

from remit.access.exchange import Audience, Target
from remit.assembly.offers import Offers
from remit.credentials.azure_federation import LONGEST
from remit.model.credential import Cloud
from remit.model.errors import Refused
from remit.model.estate import Database, Estate
from remit.model.identity import Authentication, Identity, Kind, Principal
from remit.model.reasons import Reason
from remit.settings.read import read

SETTINGS = read(Path(__file__).resolve().parents[3] / "examples" / "contoso" / "remit.yaml")
LINES = SETTINGS.credentials.azure
OFFERS = Offers(SETTINGS.estate, LINES)
TENANT, TEST, PROD = "6f1c2a34-8b5d-4e6f-9a01-c0de00000001", "contoso-fraud-test", "contoso-fraud-prod"
WRITER, READER, PROD_READER = (f"a0000000-0000-4000-8000-0000000000{number}" for number in (11, 12, 13))
BLOBS = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"


def somebody(*roles):
    return Identity(
        principal=Principal(f"https://login.microsoftonline.com/{TENANT}/v2.0", TENANT, "somebody", Kind.PERSON),
        display="somebody",
        groups=frozenset(),
        groups_at=0,
        roles=frozenset(roles),
        scopes=frozenset(),
        client="",
        authentication=Authentication(),
        guest=False,
        issued_at=0,
        expires_at=2**40,
        token_id="uti",
    )


def asked(offer):
    """Which actions on which names a token is decided as."""
    request = offer.request(offer.names)
    return {
        operation.action.id.removeprefix(f"{BLOBS}/"): [
            resource.name.rpartition("/")[2] for resource in operation.resources
        ]
        for operation in request.operations
    }


def test_storage_is_offered_for_writing_and_then_for_reading():
    for project in ("contoso-churn-prod", "100000000003"):
        write, read_only = OFFERS.offers(somebody(), Audience(Target.STORAGE, project))
        assert write.names == read_only.names == ("contoso-churn-prod-data",)
        assert write.scopes == ("https://www.googleapis.com/auth/devstorage.read_write",)
        assert read_only.scopes == ("https://www.googleapis.com/auth/devstorage.read_only",)
        assert set(asked(read_only)) == {"storage.objects.get", "storage.objects.list"}
        assert set(asked(read_only)) < set(asked(write))
        assert write.purpose is read_only.purpose is None
        assert write.request(write.names).first.resources[0].project == "contoso-churn-prod"


def test_who_asks_to_read_is_offered_nothing_else():
    [only] = OFFERS.offers(somebody(), Audience(Target.STORAGE, TEST, reading=True))
    assert only.scopes == ("https://www.googleapis.com/auth/devstorage.read_only",)


@pytest.mark.parametrize(
    ("roles", "audience", "client", "actions", "containers"),
    [
        (("MLEngineer",), Audience(Target.BLOB, TEST), WRITER, {"read", "write", "delete"}, ["features", "staging"]),
        (("MLEngineer",), Audience(Target.BLOB, "100000000001"), WRITER, {"read", "write", "delete"}, None),
        (("Pipeline",), Audience(Target.BLOB, TEST), WRITER, {"read", "write", "delete"}, ["features", "staging"]),
        (("DataScientist",), Audience(Target.BLOB, TEST), READER, {"read"}, ["features"]),
        (("MLEngineer",), Audience(Target.BLOB, PROD), PROD_READER, {"read"}, ["features"]),
        (("MLEngineer",), Audience(Target.BLOB, client=PROD_READER), PROD_READER, {"read"}, ["features"]),
        (("DataScientist",), Audience(Target.BLOB, client=READER), READER, {"read"}, ["features"]),
    ],
)
def test_an_application_is_offered_to_its_role_for_all_that_it_opens(roles, audience, client, actions, containers):
    [offer] = OFFERS.offers(somebody(*roles), audience)
    assert (offer.purpose.account, offer.purpose.cloud) == (client, Cloud.AZURE)
    assert offer.purpose.scopes == ("https://storage.azure.com/.default",)
    assert offer.purpose.lifetime == LONGEST
    assert set(asked(offer)) == actions
    for names in asked(offer).values():
        assert names == (containers or ["features", "staging"])


def test_the_lines_of_a_role_are_offered_in_their_order():
    both = [
        offer.purpose.account
        for offer in OFFERS.offers(somebody("DataScientist", "MLEngineer"), Audience(Target.BLOB, TEST))
    ]
    assert both == [WRITER, READER]


@pytest.mark.parametrize(
    ("roles", "audience", "reason"),
    [
        ((), Audience(Target.BLOB, TEST), Reason.NO_ACCOUNT),
        (("Security",), Audience(Target.BLOB, TEST), Reason.NO_ACCOUNT),
        (("mlengineer",), Audience(Target.BLOB, TEST), Reason.NO_ACCOUNT),
        # a role in another project
        (("Pipeline",), Audience(Target.BLOB, PROD), Reason.NO_ACCOUNT),
        (("DataScientist",), Audience(Target.BLOB, PROD), Reason.NO_ACCOUNT),
        (("MLEngineer",), Audience(Target.BLOB, "contoso-churn-prod"), Reason.NO_ACCOUNT),
        # the application of another line, and none at all
        (("DataScientist",), Audience(Target.BLOB, client=WRITER), Reason.NO_ACCOUNT),
        (("DataScientist",), Audience(Target.BLOB, client=PROD_READER), Reason.NO_ACCOUNT),
        (("MLEngineer",), Audience(Target.BLOB, client="a0000000-0000-4000-8000-000000000001"), Reason.NO_ACCOUNT),
        # a service that the application is not for
        (("MLEngineer",), Audience(Target.POSTGRESQL, TEST), Reason.NO_ACCOUNT),
        (("MLEngineer",), Audience(Target.SQL, client=WRITER), Reason.NO_ACCOUNT),
        (("MLEngineer",), Audience(Target.BLOB, "other"), Reason.RESOURCE_UNKNOWN),
        (("MLEngineer",), Audience(Target.BLOB, ""), Reason.RESOURCE_UNKNOWN),
        (("MLEngineer",), Audience(Target.STORAGE, "other"), Reason.RESOURCE_UNKNOWN),
        (("MLEngineer",), Audience(Target.STORAGE, ""), Reason.RESOURCE_UNKNOWN),
    ],
)
def test_what_is_not_offered(roles, audience, reason):
    with pytest.raises(Refused) as caught:
        OFFERS.offers(somebody(*roles), audience)
    assert caught.value.reason is reason


def test_a_database_is_offered_with_every_role_that_a_login_may_take():
    estate = Estate(
        SETTINGS.estate.projects,
        databases=(Database("features", TEST, ("reader", "writer")), Database("other", TEST, ("reader",))),
    )
    line = replace(LINES[0], services=("storage", "postgresql"), databases=("features",))
    [offer] = Offers(estate, (line,)).offers(somebody("MLEngineer"), Audience(Target.POSTGRESQL, TEST))
    assert offer.names == ("features/reader", "features/writer")
    request = offer.request(offer.names)
    assert {operation.action.id for operation in request.operations} == {"postgresql.databases.connect"}
    names = [resource.name for operation in request.operations for resource in operation.resources]
    assert names == [f"//remit/projects/{TEST}/databases/features/roles/{role}" for role in ("reader", "writer")]
    assert offer.purpose.scopes == ("https://ossrdbms-aad.database.windows.net/.default",)


def test_a_container_that_is_listed_and_not_known_is_never_asked_for():
    [offer] = Offers(SETTINGS.estate, (replace(LINES[0], containers=("contosofraudtest/other",)),)).offers(
        somebody("MLEngineer"), Audience(Target.BLOB, TEST)
    )
    with pytest.raises(Refused, match="belongs to no project"):
        offer.request(offer.names)
    [none] = Offers(SETTINGS.estate, (replace(LINES[0], containers=()),)).offers(
        somebody("MLEngineer"), Audience(Target.BLOB, TEST)
    )
    with pytest.raises(Refused, match="at least one container"):
        none.request(none.names)
