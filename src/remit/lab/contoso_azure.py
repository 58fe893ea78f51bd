"""Contoso's Azure, as data: containers of Blob Storage, and the applications whose tokens open them.

Each application proves itself with nothing but a federated identity credential that trusts Remit's own issuer, and
holds a role on containers, never on an account or a subscription. One subscription, whose roles somebody administers
and Remit's own managed identity reads. Leaves out: the containers' contents (`blob`), what the roles permit
(`arm_roles`). Source: learn.microsoft.com/azure/role-based-access-control/built-in-roles.
"""

from remit.lab.contoso_shapes import App, Federation, RoleAssignment

EXCHANGE_AUDIENCE = "api://AzureADTokenExchange"
REMIT_ISSUER = "https://remit.contoso.example"
READER, CONTRIBUTOR = "Storage Blob Data Reader", "Storage Blob Data Contributor"

# Microsoft's own APIs, in every tenant; all of them take v1 tokens.
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
ARM = App(
    "797f4846-ba00-4fd7-ba43-dac1f8f63013",
    "Azure Resource Manager",
    "5e000000-0000-4000-8000-00000000000f",
    "https://management.azure.com",
    ("user_impersonation",),
    version="1.0",
)
APIS = (STORAGE, POSTGRESQL, SQL, ARM)

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

SUBSCRIPTION = "/subscriptions/5b000000-0000-4000-8000-000000000001"
GROUP = f"{SUBSCRIPTION}/resourceGroups/contoso-ml"
"""Where every storage account lies."""


def account_scope(account: str) -> str:
    """The Resource Manager id of a storage account."""
    return f"{GROUP}/providers/Microsoft.Storage/storageAccounts/{account}"


def container_scope(container: str) -> str:
    """The Resource Manager id of a container, `ACCOUNT/CONTAINER`."""
    account, _, name = container.partition("/")
    return f"{account_scope(account)}/blobServices/default/containers/{name}"


def _trusts(app: App, project: str, role: str) -> Federation:
    return Federation(app.id, REMIT_ISSUER, f"remit/{project}/{role}", EXCHANGE_AUDIENCE)


FEDERATIONS = (
    _trusts(FRAUD_TEST_STORAGE, "contoso-fraud-test", "MLEngineer"),
    _trusts(FRAUD_TEST_STORAGE, "contoso-fraud-test", "Pipeline"),
    _trusts(FRAUD_TEST_READER, "contoso-fraud-test", "DataScientist"),
    _trusts(FRAUD_PROD_READER, "contoso-fraud-prod", "MLEngineer"),
)
ARBITER, ADMINISTRATOR = "3d000000-0000-4000-8000-000000000001", "3d000000-0000-4000-8000-000000000009"
"""Object ids of managed identities: Remit's own, and the one that sets up the trust (`contoso`)."""

ASSIGNMENTS = (
    RoleAssignment(FRAUD_TEST_STORAGE.principal, container_scope(TEST_FEATURES), CONTRIBUTOR),
    RoleAssignment(FRAUD_TEST_STORAGE.principal, container_scope(TEST_STAGING), CONTRIBUTOR),
    RoleAssignment(FRAUD_TEST_READER.principal, container_scope(TEST_FEATURES), READER),
    RoleAssignment(FRAUD_PROD_READER.principal, container_scope(PROD_FEATURES), READER),
    RoleAssignment(ARBITER, GROUP, "Reader"),
)
ADMINISTRATION = (
    RoleAssignment(ADMINISTRATOR, GROUP, "Role Based Access Control Administrator"),
    RoleAssignment(ADMINISTRATOR, GROUP, "Reader"),
)
"""The administrator's, in every world."""
IDENTITY = (
    f"{SUBSCRIPTION}/resourceGroups/remit/providers/Microsoft.ManagedIdentity/userAssignedIdentities/remit-arbiter"
)
ITSELF = (
    RoleAssignment(ARBITER, IDENTITY, "Reader"),
    RoleAssignment(ADMINISTRATOR, IDENTITY, "Reader"),
    RoleAssignment(ADMINISTRATOR, IDENTITY, "Managed Identity Contributor"),
)
"""On Remit's managed identity, which was there before the trust: what it may read of itself, and who looks after it."""
