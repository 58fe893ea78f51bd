"""The shapes that the world of Contoso is told in: frozen data, of whose values only the tenant stands here."""

from collections.abc import Mapping
from dataclasses import dataclass

TENANT = "6f1c2a34-8b5d-4e6f-9a01-c0de00000001"
"""Contoso's own tenant."""


@dataclass(frozen=True, slots=True)
class App:
    """An app registration and its service principal.

    `principal`: the service principal's object id; `uri`: identifier URI of an API, empty for a client; `scopes`:
    its delegated permissions; `public`: it holds no credential; `version`: of the access tokens that it takes;
    `optional`: the optional claims that it wants in them; `redirects`: registered redirect URIs; `roles`: app roles
    at Remit that the application itself holds.
    """

    id: str
    name: str
    principal: str
    uri: str = ""
    scopes: tuple[str, ...] = ()
    public: bool = False
    version: str = "2.0"
    optional: frozenset[str] = frozenset()
    redirects: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class User:
    """A person in `tenant` (an id). `roles`: app roles at Remit; `home`: the tenant that a guest comes from."""

    oid: str
    name: str
    upn: str
    roles: tuple[str, ...] = ()
    tenant: str = TENANT
    home: str = ""

    @property
    def guest(self) -> bool:
        """Whether the tenant invited this person from another one."""
        return bool(self.home)


@dataclass(frozen=True, slots=True)
class Group:
    """A security group. `members`: object ids of people and of groups; `owners`: of people."""

    id: str
    name: str
    members: tuple[str, ...]
    owners: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ManagedIdentity:
    """A user-assigned managed identity; its token's `sub` is its `oid`. `roles`: app roles at Remit."""

    oid: str
    client_id: str
    name: str
    roles: tuple[str, ...] = ()

    @property
    def arm_id(self) -> str:
        """The identity's Azure Resource Manager id, as in `xms_mirid`."""
        return (
            "/subscriptions/5b000000-0000-4000-8000-000000000001/resourcegroups/remit"
            f"/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{self.name}"
        )


@dataclass(frozen=True, slots=True)
class Federation:
    """A federated identity credential: `app` accepts tokens of this issuer, subject and audience as its own."""

    app: str
    issuer: str
    subject: str
    audience: str


@dataclass(frozen=True, slots=True)
class RoleAssignment:
    """A role at Azure: `principal` (an object id) holds `role` (its name) on `scope` (a Resource Manager id)."""

    principal: str
    scope: str
    role: str


@dataclass(frozen=True, slots=True)
class Project:
    """A Google Cloud project with its buckets and service accounts (full e-mails)."""

    id: str
    number: str
    environment: str
    buckets: tuple[str, ...]
    accounts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Binding:
    """One IAM role on one resource (`projects/ID`, `projects/_/buckets/B`, `projects/-/serviceAccounts/EMAIL`)."""

    resource: str
    role: str
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Provider:
    """A workload identity pool provider (iam.googleapis.com, providers reference).

    `audiences`: none for the provider's own name; `jwks`: uploaded keys as JSON text, empty where Google fetches the
    issuer's; `title`, `about`: its display name and description; `deleted`: seconds since the epoch, 0 when it is not.
    """

    pool: str
    name: str
    issuer: str
    audiences: tuple[str, ...]
    mapping: tuple[tuple[str, str], ...]
    condition: str
    jwks: str = ""
    disabled: bool = False
    title: str = ""
    about: str = ""
    deleted: float = 0.0

    @property
    def resource(self) -> str:
        """`POOL/providers/NAME`, project by number."""
        return f"{self.pool}/providers/{self.name}"


@dataclass(frozen=True, slots=True)
class World:
    """What the clouds hold when the lab starts; whatever is not named here is in every world.

    `apps`, `federations`: of Entra; `users`, `identities`: with the app roles that they hold; `graph_roles`: client id
    → application permissions at Graph; `assignments`: of Azure, but for the administrator's; `accounts`: e-mails of
    Google's service accounts; `audited`: what every project's audit configuration says.
    """

    apps: tuple[App, ...]
    federations: tuple[Federation, ...]
    users: tuple[User, ...]
    identities: tuple[ManagedIdentity, ...]
    graph_roles: Mapping[str, tuple[str, ...]]
    assignments: tuple[RoleAssignment, ...]
    accounts: tuple[str, ...]
    bindings: tuple[Binding, ...]
    providers: tuple[Provider, ...]
    audited: tuple[tuple[str, tuple[str, ...]], ...]
