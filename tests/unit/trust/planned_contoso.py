"""Contoso's file as the trust sees it, and clouds that hold just that."""

import uuid

from remit.model.estate import Estate, Project
from remit.trust.desired import wanted
from remit.trust.settings import Account, Applications, AzureClient, Mapping, Role, StorageAccount, TrustSettings
from remit.trust.things import Found, ids_of, settled

TENANT = "6f1c2a34-8b5d-4e6f-9a01-c0de00000001"
POOL = "projects/100000000002/locations/global/workloadIdentityPools/contoso"
REMIT, CLI = (f"a0000000-0000-4000-8000-00000000000{number}" for number in (1, 2))
PROJECT = "contoso-fraud-test"
ENGINEER, SCIENTIST, AUDITOR, TRAINER = (
    f"{name}@{PROJECT}.iam.gserviceaccount.com" for name in ("ml-engineer", "data-scientist", "auditor", "trainer")
)
SUBSCRIPTION = "5b000000-0000-4000-8000-000000000001"
ADMINISTRATOR = "user:admin@contoso.example"
PERMITTED = {
    SCIENTIST: (
        *(
            f"aiplatform.{noun}.{verb}"
            for noun in ("datasets", "experiments", "models", "endpoints", "customJobs")
            for verb in ("get", "list")
        ),
        "aiplatform.endpoints.predict",
        "aiplatform.experiments.create",
        "logging.logEntries.list",
    ),
}


def permitted(email, project):
    return PERMITTED.get(email, ())


SETTINGS = TrustSettings(
    issuer=f"https://login.microsoftonline.com/{TENANT}/v2.0",
    tenant=TENANT,
    application=REMIT,
    provider=f"//iam.googleapis.com/{POOL}/providers/entra",
    reviewer=AUDITOR,
    mappings=(
        Mapping("MLEngineer", PROJECT, ENGINEER),
        Mapping("DataScientist", PROJECT, SCIENTIST),
        Mapping("Security", PROJECT, AUDITOR),
    ),
    estate=Estate(
        (
            Project(
                PROJECT,
                "100000000001",
                "test",
                ("us-central1",),
                (f"{PROJECT}-data",),
                (ENGINEER, SCIENTIST, AUDITOR, TRAINER),
                ("contosofraudtest/features",),
            ),
        )
    ),
    own_issuer="https://remit.contoso.example",
    own_provider=f"//iam.googleapis.com/{POOL}/providers/remit",
    applications=Applications(
        REMIT,
        ("api://remit",),
        CLI,
        "api://remit-google",
        "3c000000-0000-4000-8000-000000000001",
        ("https://remit.contoso.example/sign-in/entra/callback",),
    ),
    roles=(
        Role("MLEngineer", groups=("9a000000-0000-4000-8000-000000000002",), about="builds and trains models"),
        Role("DataScientist", groups=("9a000000-0000-4000-8000-000000000004",), about="looks at data and predicts"),
        Role("Security", groups=("9a000000-0000-4000-8000-000000000005",)),
    ),
    accounts=(
        Account(ENGINEER, {f"projects/{PROJECT}": ("roles/aiplatform.user",)}),
        Account(
            SCIENTIST,
            {f"projects/{PROJECT}": ("policy",), f"buckets/{PROJECT}-data": ("roles/storage.objectViewer",)},
        ),
        Account(AUDITOR, {f"projects/{PROJECT}": ("roles/iam.securityReviewer", "roles/logging.viewer")}),
        Account(TRAINER, {f"buckets/{PROJECT}-data": ("roles/storage.objectAdmin",)}),
    ),
    azure=(
        AzureClient(
            f"{PROJECT}/MLEngineer",
            "a0000000-0000-4000-8000-000000000011",
            (f"remit/{PROJECT}/MLEngineer", f"remit/{PROJECT}/Pipeline"),
            ("contosofraudtest/features",),
            write=True,
        ),
    ),
    storage=(StorageAccount("contosofraudtest", SUBSCRIPTION, "contoso-ml"),),
    administrators=(ADMINISTRATOR,),
)
WANTED = wanted(SETTINGS, permitted)
_GIVEN = {
    "entra.application": ("id", "appId"),
    "entra.principal": ("id", "appId"),
    "entra.federation": ("id", "name", "application"),
    "entra.assignment": ("id", "resource"),
    "entra.consent": ("id", "resource"),
    "azure.assignment": ("id",),
}


def as_found(things):
    """What the clouds hold when they hold all of it."""
    names = {thing.address: _GIVEN.get(thing.address.kind, ()) for thing in things}
    empty = [
        Found(address, {}, {name: str(uuid.uuid5(uuid.NAMESPACE_URL, f"{name} {address}")) for name in own})
        for address, own in names.items()
    ]
    ids = ids_of(empty)
    return tuple(
        Found(thing.address, settled(thing.fields, ids), one.ids) for thing, one in zip(things, empty, strict=True)
    )


FOUND = as_found(WANTED)


def without(found, *names):
    """The clouds, but for things of these names."""
    assert {one.address.name for one in found} >= set(names), names
    return tuple(one for one in found if one.address.name not in names)
