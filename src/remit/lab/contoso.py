"""Contoso: the world that the lab is born with, as frozen data.

One Entra tenant with people, groups and managed identities; three Google projects with their buckets, accounts and
IAM bindings; one workload identity pool between them. Two of the bindings are wrong on purpose: a data scientist may
create custom jobs, and the auditor cannot read logs.
"""

from dataclasses import dataclass

TENANT = "6f1c2a34-8b5d-4e6f-9a01-c0de00000001"
DOMAIN = "contoso.example"
LOCATION = "us-central1"


@dataclass(frozen=True, slots=True)
class App:
    """An app registration and its service principal.

    `principal`: the service principal's object id; `uri`: identifier URI of an API, empty for a client; `scopes`:
    its delegated permissions; `public`: it holds no credential; `version`: of the access tokens that it takes.
    """

    id: str
    name: str
    principal: str
    uri: str = ""
    scopes: tuple[str, ...] = ()
    public: bool = False
    version: str = "2.0"


@dataclass(frozen=True, slots=True)
class User:
    """A person. `roles`: app roles at Remit."""

    oid: str
    name: str
    upn: str
    roles: tuple[str, ...] = ()
    guest: bool = False


@dataclass(frozen=True, slots=True)
class Group:
    """A security group. `members`: object ids of people and of groups."""

    id: str
    name: str
    members: tuple[str, ...]


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
    """A workload identity pool provider (iam.googleapis.com, providers reference)."""

    pool: str
    name: str
    issuer: str
    audiences: tuple[str, ...]
    mapping: tuple[tuple[str, str], ...]
    condition: str

    @property
    def resource(self) -> str:
        """`POOL/providers/NAME`, project by number."""
        return f"{self.pool}/providers/{self.name}"


ISSUER = f"https://login.microsoftonline.com/{TENANT}/v2.0"
EXCHANGE_AUDIENCE = "api://AzureADTokenExchange"

REMIT = App(
    "a0000000-0000-4000-8000-000000000001", "Remit", "5e000000-0000-4000-8000-000000000001", "api://remit", ("access",)
)
CLI = App(
    "a0000000-0000-4000-8000-000000000002", "Remit command line", "5e000000-0000-4000-8000-000000000002", public=True
)
GOOGLE = App(
    "a0000000-0000-4000-8000-000000000003",
    "Remit at Google",
    "5e000000-0000-4000-8000-000000000003",
    "api://remit-google",
    ("exchange",),
)
FOREIGN = App(
    "a0000000-0000-4000-8000-000000000009", "Somebody's tool", "5e000000-0000-4000-8000-000000000009", public=True
)
# Microsoft's own, in every tenant: Graph takes v1 tokens, and federated credentials have an audience of their own.
GRAPH = App(
    "00000003-0000-0000-c000-000000000000",
    "Microsoft Graph",
    "5e000000-0000-4000-8000-00000000000a",
    "https://graph.microsoft.com",
    ("User.Read",),
    version="1.0",
)
EXCHANGE = App(
    "fb60f99c-7a34-4190-8149-302f77469936",
    "AAD Token Exchange Endpoint",
    "5e000000-0000-4000-8000-00000000000b",
    EXCHANGE_AUDIENCE,
)
# Application permissions that an administrator consented to: client → roles at Graph.
GRAPH_ROLES = {REMIT.id: ("GroupMember.Read.All", "User.Read.All", "AuditLog.Read.All")}
APPS = (REMIT, CLI, GOOGLE, FOREIGN, GRAPH, EXCHANGE)

DANA = User("0d000000-0000-4000-8000-000000000001", "Dana", "dana@contoso.example", ("MLEngineer",))
ADA = User("0d000000-0000-4000-8000-000000000002", "Ada", "ada@contoso.example", ("DataScientist",))
SAM = User("0d000000-0000-4000-8000-000000000003", "Sam", "sam@contoso.example", ("Security",))
GIL = User("0d000000-0000-4000-8000-000000000004", "Gil", "gil@contoso.example", guest=True)
USERS = (DANA, ADA, SAM, GIL)

ML_ENGINEERS_FRAUD = Group("9a000000-0000-4000-8000-000000000001", "ml-engineers-fraud", (DANA.oid,))
ML_ENGINEERS = Group("9a000000-0000-4000-8000-000000000002", "ml-engineers", (ML_ENGINEERS_FRAUD.id,))
DATA_SCIENTISTS = Group("9a000000-0000-4000-8000-000000000004", "data-scientists", (ADA.oid,))
ML_ALL = Group("9a000000-0000-4000-8000-000000000003", "ml-all", (ML_ENGINEERS.id, DATA_SCIENTISTS.id))
SECURITY = Group("9a000000-0000-4000-8000-000000000005", "security", (SAM.oid,))
GROUPS = (ML_ENGINEERS_FRAUD, ML_ENGINEERS, ML_ALL, DATA_SCIENTISTS, SECURITY)

MI_ARBITER = ManagedIdentity(
    "3d000000-0000-4000-8000-000000000001", "3c000000-0000-4000-8000-000000000001", "remit-arbiter"
)
FRAUD_PIPELINE = ManagedIdentity(
    "3d000000-0000-4000-8000-000000000002", "3c000000-0000-4000-8000-000000000002", "fraud-pipeline", ("Pipeline",)
)
MANAGED_IDENTITIES = (MI_ARBITER, FRAUD_PIPELINE)
FEDERATIONS = (Federation(REMIT.id, ISSUER, MI_ARBITER.oid, EXCHANGE_AUDIENCE),)


def _project(name: str, number: str, environment: str, buckets: str, accounts: str) -> Project:
    return Project(
        name,
        number,
        environment,
        tuple(f"{name}-{bucket}" for bucket in buckets.split()),
        tuple(f"{account}@{name}.iam.gserviceaccount.com" for account in accounts.split()),
    )


FRAUD_TEST = _project(
    "contoso-fraud-test", "100000000001", "test", "data staging", "ml-engineer data-scientist auditor trainer"
)
FRAUD_PROD = _project("contoso-fraud-prod", "100000000002", "prod", "data staging", "ml-engineer trainer")
CHURN_PROD = _project("contoso-churn-prod", "100000000003", "prod", "data", "churn-trainer")
PROJECTS = (FRAUD_TEST, FRAUD_PROD, CHURN_PROD)

PROVIDER = Provider(
    pool=f"projects/{FRAUD_PROD.number}/locations/global/workloadIdentityPools/contoso",
    name="entra",
    issuer=ISSUER,
    audiences=(GOOGLE.id,),
    mapping=(
        ("google.subject", 'assertion.tid + "/" + assertion.oid'),
        ("google.groups", "has(assertion.groups) ? assertion.groups : []"),
        ("attribute.azp", "assertion.azp"),
    ),
    condition=f'assertion.azp == "{REMIT.id}" && assertion.tid == "{TENANT}"',
)
PROVIDERS = (PROVIDER,)


def account(name: str, project: Project) -> str:
    """The e-mail of a service account."""
    return f"{name}@{project.id}.iam.gserviceaccount.com"


def group_member(group: Group) -> str:
    """The IAM member that stands for everyone of an Entra group."""
    return f"principalSet://iam.googleapis.com/{PROVIDER.pool}/group/{group.id}"


def _on_account(email: str, role: str, member: str) -> Binding:
    return Binding(f"projects/-/serviceAccounts/{email}", role, (member,))


def _engineer(project: Project) -> tuple[Binding, ...]:
    engineer = account("ml-engineer", project)
    me = (f"serviceAccount:{engineer}",)
    return (
        _on_account(engineer, "roles/iam.workloadIdentityUser", group_member(ML_ENGINEERS)),
        _on_account(account("trainer", project), "roles/iam.serviceAccountUser", me[0]),
        Binding(f"projects/{project.id}", "roles/aiplatform.user", me),
        Binding(f"projects/{project.id}", "roles/logging.viewer", me),
        *(Binding(f"projects/_/buckets/{bucket}", "roles/storage.objectAdmin", me) for bucket in project.buckets),
        *(
            Binding(f"projects/_/buckets/{bucket}", "roles/storage.legacyBucketReader", me)
            for bucket in project.buckets
        ),
    )


def _trainer(name: str, project: Project) -> tuple[Binding, ...]:
    me = (f"serviceAccount:{account(name, project)}",)
    return (
        Binding(f"projects/{project.id}", "roles/logging.logWriter", me),
        *(Binding(f"projects/_/buckets/{bucket}", "roles/storage.objectAdmin", me) for bucket in project.buckets),
        # TensorFlow's `gs://` looks at the bucket before it writes.
        *(
            Binding(f"projects/_/buckets/{bucket}", "roles/storage.legacyBucketReader", me)
            for bucket in project.buckets
        ),
    )


_REMIT_ITSELF = f"principal://iam.googleapis.com/{PROVIDER.pool}/subject/{TENANT}/{REMIT.principal}"
"""Remit's own application, which reviews the trust as the auditor."""

_SCIENTIST = account("data-scientist", FRAUD_TEST)
_AUDITOR = account("auditor", FRAUD_TEST)

BINDINGS = (
    *_engineer(FRAUD_TEST),
    *_engineer(FRAUD_PROD),
    *_trainer("trainer", FRAUD_TEST),
    *_trainer("trainer", FRAUD_PROD),
    *_trainer("churn-trainer", CHURN_PROD),
    _on_account(_SCIENTIST, "roles/iam.workloadIdentityUser", group_member(DATA_SCIENTISTS)),
    Binding(f"projects/{FRAUD_TEST.id}", "roles/aiplatform.user", (f"serviceAccount:{_SCIENTIST}",)),
    Binding(f"projects/{FRAUD_TEST.id}", "roles/logging.viewer", (f"serviceAccount:{_SCIENTIST}",)),
    Binding(
        f"projects/_/buckets/{FRAUD_TEST.buckets[0]}", "roles/storage.objectViewer", (f"serviceAccount:{_SCIENTIST}",)
    ),
    _on_account(_AUDITOR, "roles/iam.workloadIdentityUser", group_member(SECURITY)),
    _on_account(_AUDITOR, "roles/iam.workloadIdentityUser", _REMIT_ITSELF),
    Binding(f"projects/{FRAUD_TEST.id}", "roles/aiplatform.viewer", (f"serviceAccount:{_AUDITOR}",)),
    *(
        Binding(f"projects/{project.id}", "roles/iam.securityReviewer", (f"serviceAccount:{_AUDITOR}",))
        for project in PROJECTS
    ),
)


def project(name: str) -> Project | None:
    """The project with this id or number."""
    return next((each for each in PROJECTS if name in {each.id, each.number}), None)


def owner(resource: str) -> Project | None:
    """The project that a resource belongs to: of a project, a bucket or a service account, or of a child of these."""
    parts = resource.split("/")
    if resource.startswith("projects/_/buckets/"):
        return next((each for each in PROJECTS if parts[3] in each.buckets), None)
    if len(parts) > 3 and parts[0] == "projects" and parts[2] == "serviceAccounts":  # noqa: PLR2004 - projects/P/serviceAccounts/E
        return next((each for each in PROJECTS if parts[3] in each.accounts), None)
    return project(parts[1]) if len(parts) > 1 and parts[0] == "projects" else None


def groups_of(oid: str) -> tuple[Group, ...]:
    """Every group that someone is in, directly or through another group."""
    found: list[Group] = []
    queue = [oid]
    while queue:
        member = queue.pop()
        parents = [group for group in GROUPS if member in group.members and group not in found]
        found.extend(parents)
        queue.extend(group.id for group in parents)
    return tuple(sorted(found, key=lambda group: group.id))
