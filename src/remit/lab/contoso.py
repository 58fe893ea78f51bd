"""Contoso: the world that the lab is born with, as frozen data.

One Entra tenant with people, groups and managed identities, and two more that its guests come from; three Google
projects with their buckets, accounts and IAM bindings; one workload identity pool between them, with a provider for
Entra and one for Remit's own issuer; containers at Azure (`contoso_azure`). Two of the bindings are wrong on purpose: a
data scientist may create custom jobs, and the auditor cannot read logs.
"""

from dataclasses import replace

from remit.lab import contoso_azure as azure
from remit.lab.contoso_shapes import (
    TENANT,
    App,
    Binding,
    Federation,
    Group,
    ManagedIdentity,
    Project,
    Provider,
    User,
    World,
)
from remit.lab.google_accounts import unique_id

__all__ = ["TENANT", "App", "Binding", "Federation", "Group", "ManagedIdentity", "Project", "Provider", "User", "World"]

DOMAIN = "contoso.example"
FABRIKAM = "6f1c2a34-8b5d-4e6f-9a01-c0de00000002"
ADATUM = "6f1c2a34-8b5d-4e6f-9a01-c0de00000003"
# Every name that a tenant answers to → its id.
TENANTS = {
    name: tenant
    for tenant, domain in ((TENANT, DOMAIN), (FABRIKAM, "fabrikam.example"), (ADATUM, "adatum.example"))
    for name in (tenant, domain)
}
LOCATION = "us-central1"

ISSUER = f"https://login.microsoftonline.com/{TENANT}/v2.0"
EXCHANGE_AUDIENCE = azure.EXCHANGE_AUDIENCE
_CALLBACK = "/sign-in/entra/callback"

REMIT = App(
    "a0000000-0000-4000-8000-000000000001",
    "Remit",
    "5e000000-0000-4000-8000-000000000001",
    "api://remit",
    ("access",),
    optional=frozenset(
        {"acct", "acrs", "auth_time", "deviceid", "groups", "idtyp", "ipaddr", "sid", "signin_state", "xms_cc"}
    ),
    redirects=(
        f"https://remit.contoso.example{_CALLBACK}",
        *(f"{scheme}://{host}{_CALLBACK}" for scheme in ("http", "https") for host in ("127.0.0.1", "localhost")),
    ),
)
CLI = App(
    "a0000000-0000-4000-8000-000000000002",
    "Remit command line",
    "5e000000-0000-4000-8000-000000000002",
    public=True,
    redirects=("http://localhost",),
)
GOOGLE = App(
    "a0000000-0000-4000-8000-000000000003",
    "Remit at Google",
    "5e000000-0000-4000-8000-000000000003",
    "api://remit-google",
    ("exchange",),
    optional=frozenset({"acct", "acrs", "groups", "sid"}),
)
# A nightly job outside of Azure: it proves itself with a certificate, or with another party's token.
NIGHTLY = App(
    "a0000000-0000-4000-8000-000000000004",
    "Nightly training",
    "5e000000-0000-4000-8000-000000000004",
    roles=("Pipeline",),
)
FOREIGN = App(
    "a0000000-0000-4000-8000-000000000009",
    "Somebody's tool",
    "5e000000-0000-4000-8000-000000000009",
    public=True,
    redirects=("http://localhost",),
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
GRAPH_ROLES = {
    REMIT.id: (
        "Application.Read.All",
        "AuditLog.Read.All",
        "DelegatedPermissionGrant.Read.All",
        "GroupMember.Read.All",
        "Policy.Read.All",
        "User.Read.All",
    )
}
MICROSOFTS = (GRAPH, EXCHANGE, *azure.APIS)
APPS = (REMIT, CLI, GOOGLE, NIGHTLY, FOREIGN, *azure.CLIENTS, *MICROSOFTS)

DANA = User("0d000000-0000-4000-8000-000000000001", "Dana", "dana@contoso.example", ("MLEngineer",))
ADA = User("0d000000-0000-4000-8000-000000000002", "Ada", "ada@contoso.example", ("DataScientist",))
SAM = User("0d000000-0000-4000-8000-000000000003", "Sam", "sam@contoso.example", ("Security",))
OLGA = User("0d000000-0000-4000-8000-000000000007", "Olga", "olga@contoso.example", ("MLEngineer",))
# Guests of the same role and group; Remit is told to let in people of Fabrikam, and not of Adatum.
GIL = User("0d000000-0000-4000-8000-000000000004", "Gil", "gil@fabrikam.example", ("MLEngineer",), home=FABRIKAM)
ZOE = User("0d000000-0000-4000-8000-000000000005", "Zoe", "zoe@adatum.example", ("MLEngineer",), home=ADATUM)
USERS = (DANA, ADA, SAM, GIL, ZOE, OLGA)
# Fabrikam's administrator may give her any role of an application there, which proves nothing here.
UNA = User("0d000000-0000-4000-8000-000000000006", "Una", "una@fabrikam.example", ("MLEngineer",), tenant=FABRIKAM)
EVERYBODY = (*USERS, UNA)

ML_ENGINEERS_FRAUD = Group(
    "9a000000-0000-4000-8000-000000000001",
    "ml-engineers-fraud",
    (DANA.oid, GIL.oid, ZOE.oid, OLGA.oid),
    (OLGA.oid,),
)
ML_ENGINEERS = Group("9a000000-0000-4000-8000-000000000002", "ml-engineers", (ML_ENGINEERS_FRAUD.id,))
DATA_SCIENTISTS = Group("9a000000-0000-4000-8000-000000000004", "data-scientists", (ADA.oid,))
ML_ALL = Group("9a000000-0000-4000-8000-000000000003", "ml-all", (ML_ENGINEERS.id, DATA_SCIENTISTS.id))
SECURITY = Group("9a000000-0000-4000-8000-000000000005", "security", (SAM.oid,))
# More groups than a token holds.
LEAGUES = tuple(
    Group(f"9b000000-0000-4000-8000-{number:012}", f"league-{number}", (OLGA.oid,)) for number in range(1, 251)
)
GROUPS = (ML_ENGINEERS_FRAUD, ML_ENGINEERS, ML_ALL, DATA_SCIENTISTS, SECURITY, *LEAGUES)

MI_ARBITER = ManagedIdentity(
    "3d000000-0000-4000-8000-000000000001", "3c000000-0000-4000-8000-000000000001", "remit-arbiter"
)
FRAUD_PIPELINE = ManagedIdentity(
    "3d000000-0000-4000-8000-000000000002", "3c000000-0000-4000-8000-000000000002", "fraud-pipeline", ("Pipeline",)
)
# Who sets up the trust at Microsoft's clouds; at Google the same job is done by a person, `ADMIN`.
ADMINISTRATOR = ManagedIdentity(
    "3d000000-0000-4000-8000-000000000009", "3c000000-0000-4000-8000-000000000009", "trust-administrator"
)
ADMIN = "admin@contoso.example"
ADMINISTRATOR_ROLES = (
    "Application.ReadWrite.All",
    "AppRoleAssignment.ReadWrite.All",
    "AuditLog.Read.All",
    "DelegatedPermissionGrant.ReadWrite.All",
    "Directory.Read.All",
    "Policy.Read.All",
)
"""Of the administrator at Graph."""

MANAGED_IDENTITIES = (MI_ARBITER, FRAUD_PIPELINE, ADMINISTRATOR)
FEDERATIONS = (
    Federation(REMIT.id, ISSUER, MI_ARBITER.oid, EXCHANGE_AUDIENCE),
    Federation(NIGHTLY.id, ISSUER, FRAUD_PIPELINE.oid, EXCHANGE_AUDIENCE),
    *azure.FEDERATIONS,
)


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
FRAUD_PROD = _project("contoso-fraud-prod", "100000000002", "prod", "data staging", "ml-engineer trainer remit-keys")
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
# Remit's own issuer, for whoever has no token that Entra would exchange on behalf. Its keys are uploaded.
REMIT_ISSUER = azure.REMIT_ISSUER
REMIT_PROVIDER = Provider(
    pool=PROVIDER.pool,
    name="remit",
    issuer=REMIT_ISSUER,
    audiences=(),
    mapping=(
        ("google.subject", "assertion.sub"),
        ("google.groups", "assertion.groups"),
        ("attribute.tenant", "assertion.tenant"),
        ("attribute.kind", "assertion.kind"),
    ),
    condition='assertion.kind in ["person", "workload"] && assertion.sub.startsWith(assertion.tenant + "/")',
    jwks='{"keys": []}',
)
PROVIDERS = (PROVIDER, REMIT_PROVIDER)


def issuer(tenant: str, version: str = "2.0") -> str:
    """The `iss` of a tenant's tokens of a version."""
    if version == "1.0":
        return f"https://sts.windows.net/{tenant}/"
    return f"https://login.microsoftonline.com/{tenant}/v2.0"


def person(account: str, tenant: str = "") -> User | None:
    """Whoever has this user name or object id; of one tenant only when it is given."""
    wanted = account.strip().lower()
    return next((each for each in EVERYBODY if wanted in {each.upn, each.oid} and tenant in {"", each.tenant}), None)


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
        Binding(f"projects/{project.id}", "roles/logging.logWriter", me),
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
"""Remit's own application, which reviews the trust as the auditor and renews its issuer's keys."""

_KEEPER = account("remit-keys", FRAUD_PROD)
"""The account that renews the keys of Remit's own issuer at the pool."""


def subject_member(subject: str) -> str:
    """The IAM member that stands for one `google.subject` of the pool, whichever provider vouched for it."""
    return f"principal://iam.googleapis.com/{PROVIDER.pool}/subject/{subject}"


_PIPELINES = (
    subject_member(f"{TENANT}/{FRAUD_PIPELINE.oid}"),
    subject_member(f"{TENANT}/{NIGHTLY.principal}"),
    subject_member("github/repo:contoso/fraud:ref:refs/heads/main"),
    subject_member("okta/pipeline"),
    # a job in Vertex AI, which is the account that it runs as
    subject_member(f"google/{unique_id(account('trainer', FRAUD_TEST))}"),
)
"""Workloads that launch training in test: an engineer's account submits the job, which runs as the trainer."""


def _others(group: str) -> tuple[str, ...]:
    """The members for a group of the other identity providers, one by OIDC and one by SAML, as Remit vouches for it."""
    return tuple(f"principalSet://iam.googleapis.com/{PROVIDER.pool}/group/{name}/{group}" for name in ("okta", "adfs"))


OWNERS = tuple(Binding(f"projects/{project.id}", "roles/owner", (f"user:{ADMIN}",)) for project in PROJECTS)
"""The administrator's, in either world."""

_SCIENTIST = account("data-scientist", FRAUD_TEST)
_AUDITOR = account("auditor", FRAUD_TEST)

BINDINGS = (
    *OWNERS,
    *_engineer(FRAUD_TEST),
    *_engineer(FRAUD_PROD),
    *_trainer("trainer", FRAUD_TEST),
    *_trainer("trainer", FRAUD_PROD),
    *_trainer("churn-trainer", CHURN_PROD),
    *(
        _on_account(account(name, FRAUD_TEST), "roles/iam.workloadIdentityUser", member)
        for name in ("ml-engineer", "trainer")
        for member in _PIPELINES
    ),
    *(
        _on_account(account("ml-engineer", project), "roles/iam.workloadIdentityUser", member)
        for project in (FRAUD_TEST, FRAUD_PROD)
        for member in _others("ml-engineers")
    ),
    _on_account(_KEEPER, "roles/iam.workloadIdentityUser", _REMIT_ITSELF),
    Binding(f"projects/{FRAUD_PROD.id}", "roles/iam.workloadIdentityPoolAdmin", (f"serviceAccount:{_KEEPER}",)),
    *(
        _on_account(_SCIENTIST, "roles/iam.workloadIdentityUser", member)
        for member in (group_member(DATA_SCIENTISTS), *_others("data-scientists"))
    ),
    Binding(f"projects/{FRAUD_TEST.id}", "roles/aiplatform.user", (f"serviceAccount:{_SCIENTIST}",)),
    _on_account(account("trainer", FRAUD_TEST), "roles/iam.serviceAccountUser", f"serviceAccount:{_SCIENTIST}"),
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


AUDITED = (
    ("iam.googleapis.com", ("ADMIN_READ",)),
    ("sts.googleapis.com", ("ADMIN_READ", "DATA_READ")),
    ("aiplatform.googleapis.com", ("ADMIN_READ", "DATA_READ", "DATA_WRITE")),
)
"""Service → the Data Access logs that every project keeps of it."""

CONTOSO = World(
    apps=APPS,
    federations=FEDERATIONS,
    users=EVERYBODY,
    identities=MANAGED_IDENTITIES,
    graph_roles={**GRAPH_ROLES, ADMINISTRATOR.client_id: ADMINISTRATOR_ROLES},
    assignments=azure.ASSIGNMENTS,
    accounts=tuple(email for project in PROJECTS for email in project.accounts),
    bindings=BINDINGS,
    providers=PROVIDERS,
    audited=AUDITED,
)
# The same company before anybody set up the trust.
EMPTY = World(
    apps=(FOREIGN, replace(NIGHTLY, roles=()), *MICROSOFTS),  # the nightly job was there before Remit
    federations=tuple(one for one in FEDERATIONS if one.app == NIGHTLY.id),
    users=tuple(replace(user, roles=()) for user in EVERYBODY),
    identities=tuple(replace(identity, roles=()) for identity in MANAGED_IDENTITIES),
    graph_roles={ADMINISTRATOR.client_id: ADMINISTRATOR_ROLES},
    assignments=(),
    accounts=(),
    bindings=OWNERS,
    providers=(),
    audited=(),
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
        return next((each for each in PROJECTS if parts[3].endswith(f"@{each.id}.iam.gserviceaccount.com")), None)
    return project(parts[1]) if len(parts) > 1 and parts[0] == "projects" else None
