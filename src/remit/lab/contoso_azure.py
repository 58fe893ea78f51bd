"""Contoso's Azure, as data: containers of Blob Storage, and the applications whose tokens open them.

Each application proves itself with nothing but a federated identity credential that trusts Remit's own issuer, and
holds a role on containers, never on an account or a subscription. Leaves out: the containers' contents (`blob`).
Source: learn.microsoft.com/azure/role-based-access-control/built-in-roles/storage.
"""

from remit.lab.contoso_shapes import App, Federation, RoleAssignment

EXCHANGE_AUDIENCE = "api://AzureADTokenExchange"
REMIT_ISSUER = "https://remit.contoso.example"
READER, CONTRIBUTOR = "Storage Blob Data Reader", "Storage Blob Data Contributor"

# Microsoft's own APIs, in every tenant; all three take v1 tokens.
STORAGE = App(
    "e406a681-f3d4-42a8-90b6-c2b029497af1",
    "Azure Storage",
    "5e000000-0000-4000-8000-00000000000c",
    "https://storage.azure.com",
    ("user_impersonation",),
    version="1.0",
)
POSTGRESQL = App(
    "123cd850-d9df-40bd-94d5-c9f07b7fa203",
    "Azure OSSRDBMS Database",
    "5e000000-0000-4000-8000-00000000000d",
    "https://ossrdbms-aad.database.windows.net",
    ("user_impersonation",),
    version="1.0",
)
SQL = App(
    "022907d3-0f1b-48f7-badc-1ba6abab6d66",
    "Azure SQL Database",
    "5e000000-0000-4000-8000-00000000000e",
    "https://database.windows.net",
    ("user_impersonation",),
    version="1.0",
)
APIS = (STORAGE, POSTGRESQL, SQL)

FRAUD_TEST_STORAGE = App(
    "a0000000-0000-4000-8000-000000000011", "Fraud test storage", "5e000000-0000-4000-8000-000000000011"
)
FRAUD_TEST_READER = App(
    "a0000000-0000-4000-8000-000000000012", "Fraud test storage reader", "5e000000-0000-4000-8000-000000000012"
)
FRAUD_PROD_READER = App(
    "a0000000-0000-4000-8000-000000000013", "Fraud prod features reader", "5e000000-0000-4000-8000-000000000013"
)
CLIENTS = (FRAUD_TEST_STORAGE, FRAUD_TEST_READER, FRAUD_PROD_READER)

TEST_FEATURES, TEST_STAGING = "contosofraudtest/features", "contosofraudtest/staging"
PROD_FEATURES = "contosofraudprod/features"
CONTAINERS = (TEST_FEATURES, TEST_STAGING, PROD_FEATURES)
"""Every container, `ACCOUNT/CONTAINER`."""


def _trusts(app: App, project: str, role: str) -> Federation:
    return Federation(app.id, REMIT_ISSUER, f"remit/{project}/{role}", EXCHANGE_AUDIENCE)


FEDERATIONS = (
    _trusts(FRAUD_TEST_STORAGE, "contoso-fraud-test", "MLEngineer"),
    _trusts(FRAUD_TEST_STORAGE, "contoso-fraud-test", "Pipeline"),
    _trusts(FRAUD_TEST_READER, "contoso-fraud-test", "DataScientist"),
    _trusts(FRAUD_PROD_READER, "contoso-fraud-prod", "MLEngineer"),
)
ASSIGNMENTS = (
    RoleAssignment(FRAUD_TEST_STORAGE.principal, TEST_FEATURES, CONTRIBUTOR),
    RoleAssignment(FRAUD_TEST_STORAGE.principal, TEST_STAGING, CONTRIBUTOR),
    RoleAssignment(FRAUD_TEST_READER.principal, TEST_FEATURES, READER),
    RoleAssignment(FRAUD_PROD_READER.principal, PROD_FEATURES, READER),
)
