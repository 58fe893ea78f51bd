"""Contoso's side of Google, as remit.yaml would say it."""

from remit.model.estate import Estate, Project
from remit.trust.settings import Account, Applications, Mapping, Role, TrustSettings

TENANT = "6f1c2a34-8b5d-4e6f-9a01-c0de00000001"
APP = "a0000000-0000-4000-8000-000000000001"
POOL = "projects/100000000002/locations/global/workloadIdentityPools/contoso"
GROUP = "9a000000-0000-4000-8000-000000000002"
PERSON = "0d000000-0000-4000-8000-000000000002"
TEST, PROD = "contoso-fraud-test", "contoso-fraud-prod"
ENGINEER, SCIENTIST, AUDITOR, TRAINER = (
    f"{name}@{TEST}.iam.gserviceaccount.com" for name in ("ml-engineer", "data-scientist", "auditor", "trainer")
)
KEEPER = f"remit-keys@{PROD}.iam.gserviceaccount.com"
SETTINGS = TrustSettings(
    issuer=f"https://login.microsoftonline.com/{TENANT}/v2.0",
    tenant=TENANT,
    application=APP,
    provider=f"//iam.googleapis.com/{POOL}/providers/entra",
    reviewer=AUDITOR,
    mappings=(Mapping("MLEngineer", TEST, ENGINEER), Mapping("DataScientist", TEST, SCIENTIST)),
    estate=Estate(
        (
            Project(TEST, "100000000001", "test", ("us-central1",), (f"{TEST}-data",), (ENGINEER, SCIENTIST, TRAINER)),
            Project(PROD, "100000000002", "prod", ("us-central1",)),
        )
    ),
    own_issuer="https://remit.contoso.example",
    own_provider=f"//iam.googleapis.com/{POOL}/providers/remit",
    applications=Applications(APP, ("api://remit",), "a2", "api://remit-google", "mi"),
    roles=(Role("MLEngineer", groups=(GROUP,)), Role("DataScientist", people=(PERSON,))),
    accounts=(
        Account(
            ENGINEER,
            {
                f"projects/{TEST}": ("roles/aiplatform.user", "roles/logging.viewer"),
                f"buckets/{TEST}-data": ("roles/storage.objectAdmin",),
                f"accounts/{TRAINER}": ("roles/iam.serviceAccountUser",),
            },
        ),
        Account(SCIENTIST, {f"projects/{TEST}": ("policy", "roles/logging.viewer")}),
        Account(AUDITOR, {f"projects/{name}": ("roles/iam.securityReviewer",) for name in (TEST, PROD)}),
        Account(KEEPER, {f"projects/{PROD}": ("roles/iam.workloadIdentityPoolAdmin",)}, ("remit", "group/okta/keys")),
    ),
    administrators=("user:admin@contoso.example",),
    apart=("group:billing@contoso.example",),
)


def permitted(email, project):
    assert (email, project) == (SCIENTIST, TEST)
    return ("aiplatform.models.list", "aiplatform.endpoints.predict", "aiplatform.models.list")
