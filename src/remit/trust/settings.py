"""What the trust is about, out of remit.yaml."""

from collections.abc import Mapping as Mapping_
from dataclasses import dataclass, field

from remit.model.estate import Estate

POLICY = "policy"
"""Instead of a role of Google's: a custom role with just what the policy permits those who work as the account."""


@dataclass(frozen=True, slots=True)
class Mapping:
    """People and workloads with `role` work in `project` as `account`."""

    role: str
    project: str
    account: str


@dataclass(frozen=True, slots=True)
class Role:
    """An app role of Remit's, and who holds it.

    `groups`, `people`, `workloads`: object ids at Entra; `about`: what it is for, a sentence; `owner`: who answers for
    its assignments; `expires`: `YYYY-MM-DD`, after which they are to be renewed or removed, empty for never.
    """

    name: str
    groups: tuple[str, ...] = ()
    people: tuple[str, ...] = ()
    workloads: tuple[str, ...] = ()
    about: str = ""
    owner: str = ""
    expires: str = ""


@dataclass(frozen=True, slots=True)
class Account:
    """A service account of Google's.

    `grants`: resource (`projects/ID`, `buckets/NAME`, `buckets/NAME/PREFIX/`, `accounts/EMAIL`) → roles that it holds
    there, `POLICY` among them on projects; `members`: who of the pool may become it: `group/ID`, `subject/TEXT`,
    `remit` (Remit's own application); none: the groups, people and workloads of every role that works as it. `owner`,
    `expires`: as of `Role`.
    """

    email: str
    grants: Mapping_[str, tuple[str, ...]] = field(default_factory=dict)
    members: tuple[str, ...] = ()
    owner: str = ""
    expires: str = ""


@dataclass(frozen=True, slots=True)
class StorageAccount:
    """Where a storage account lies in Azure. `name`: as in `containers`; `subscription`: its id; `group`: its name."""

    name: str
    subscription: str
    group: str

    @property
    def resource(self) -> str:
        """Its Resource Manager id."""
        return (
            f"/subscriptions/{self.subscription}/resourceGroups/{self.group}"
            f"/providers/Microsoft.Storage/storageAccounts/{self.name}"
        )


@dataclass(frozen=True, slots=True)
class AzureClient:
    """An application whose tokens open containers.

    `name`: `PROJECT/ROLE` of the first line that names it; `client`: its app id; `subjects`: whom it trusts of Remit's
    own issuer; `containers`: `ACCOUNT/CONTAINER` or `ACCOUNT/CONTAINER/PREFIX/`; `write`: whether it may write to them.
    """

    name: str
    client: str
    subjects: tuple[str, ...]
    containers: tuple[str, ...]
    write: bool


@dataclass(frozen=True, slots=True)
class DatabaseRoles:
    """The roles that Remit logs in as to one PostgreSQL database.

    `name`: in remit.yaml; `address`: `HOST:PORT`; `database`: its name at the server; `clients`: `AzureClient.name` of
    the applications whose tokens log in, none where Remit's certificates do; `project`: its id; `administrator`: the
    role that whoever plans and applies logs in as, empty where the trust does not look at it; `grants`: role → object
    (`schemas/S`, `tables/S.T`, …) → privileges; `roots`: PEM, a path relative to remit.yaml, empty for the system's.
    """

    name: str
    address: str
    database: str
    roles: tuple[str, ...]
    clients: tuple[str, ...] = ()
    project: str = ""
    administrator: str = ""
    grants: Mapping_[str, Mapping_[str, tuple[str, ...]]] = field(default_factory=dict)
    roots: str = ""


@dataclass(frozen=True, slots=True)
class Applications:
    """Remit's own three registrations.

    `remit`: app id of the confidential one, whose audience people's tokens have; `uris`: its identifier URIs;
    `cli`: app id of the command line, a public client; `second`: identifier URI of the second audience;
    `managed_identity`: client id of what the confidential one proves itself with; `redirects`: of browsers' sign-in;
    `clients`: app ids that may obtain a token for Remit, itself and others' among them.
    """

    remit: str
    uris: tuple[str, ...]
    cli: str
    second: str
    managed_identity: str
    redirects: tuple[str, ...] = ()
    clients: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TrustSettings:
    """What must agree.

    `issuer`: Entra's issuer URL; `application`: Remit's own app id;
    `reviewer`: e-mail of the account that reads IAM policies;
    `provider`: `//iam.googleapis.com/projects/N/locations/global/workloadIdentityPools/P/providers/X`;
    `own_issuer`, `own_provider`: Remit's own issuer and the provider that trusts it, empty where there is none;
    `administrators`: IAM members (`user:…`, `group:…`) who must keep what lets them repair this;
    `apart`: IAM members whose assignments are somebody else's business; `pending`: app id that stands in for one that
    Entra has not given yet → the application's name in a plan (`remit`, `remit-cli`, `PROJECT/ROLE`); `installation`:
    the name of its ledger, by which one of a tenant's installations is told from another.
    """

    issuer: str
    tenant: str
    application: str
    provider: str
    reviewer: str
    mappings: tuple[Mapping, ...]
    estate: Estate
    own_issuer: str = ""
    own_provider: str = ""
    applications: Applications | None = None
    roles: tuple[Role, ...] = ()
    accounts: tuple[Account, ...] = ()
    azure: tuple[AzureClient, ...] = ()
    storage: tuple[StorageAccount, ...] = ()
    databases: tuple[DatabaseRoles, ...] = ()
    administrators: tuple[str, ...] = ()
    apart: tuple[str, ...] = ()
    pending: Mapping_[str, str] = field(default_factory=dict)
    installation: str = ""

    @property
    def pool(self) -> str:
        """`projects/N/locations/global/workloadIdentityPools/P`."""
        return self.provider.removeprefix("//iam.googleapis.com/").partition("/providers/")[0]
