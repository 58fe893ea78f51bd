"""A first remit.yaml from a few answers, and a first policy beside it: small, commented, and to be grown.

Applications stand as `app:NAME` until Entra has made them. Their names are of the tenant's own form
(`api://TENANT/NAME`), which every tenant takes, and hold the project, as the ledger's does: another project's
installation in the same tenant has its own.
Source: learn.microsoft.com/entra/identity-platform/identifier-uri-restrictions.
"""

from collections.abc import Iterator

from remit.trust.beginning.answers import Answers, FirstRole, Level
from remit.trust.beginning.scalar import scalar

_TRAINER, _REVIEWER = "remit-trainer", "remit-reviewer"
_DATA = "[roles/storage.objectUser, roles/storage.legacyBucketReader]"
_READING = "[roles/storage.objectViewer, roles/storage.legacyBucketReader]"


def remit_yaml(given: Answers) -> str:
    """The file."""
    return "\n".join((*_people(given), *_estate(given), *_credentials(given), *_rest(given), *_trust(given), ""))


def policies(given: Answers) -> str:
    """The first policy file: what each role may do."""
    return "\n".join((*_HEAD, *(line for role in given.roles for line in _policy(given, role)), ""))


def _people(given: Answers) -> Iterator[str]:
    uri = f"api://{given.tenant}/remit-{given.project}"
    yield f"# Remit's installation of {given.domain}. `remit trust schema` explains the keys to your editor."
    yield "# Next: `remit trust plan` shows what the clouds lack for this to work, `remit trust apply` makes it."
    yield "version: 1"
    yield ""
    yield "# Whose tokens are believed. `app:…` is an application that is yet to be made; apply writes its id."
    yield "issuers:"
    yield "  - entra:"
    yield f"      tenant: {given.tenant}"
    yield "      audience: app:remit"
    yield f"      uris: [{uri}]"
    yield "      clients: [app:remit, app:remit-cli]"
    yield ""
    yield "# What `remit login` asks for, and where people sign in with a browser."
    yield "sign_in:"
    yield "  client: app:remit-cli"
    yield f"  scope: {uri}/.default"
    yield "  browser:"
    yield "    providers:"
    yield "      - {name: entra, title: Entra, entra: true, client: app:remit}"
    yield ""


def _estate(given: Answers) -> Iterator[str]:
    yield "# What there is. Jobs, models and endpoints need not be listed: they are known by their project."
    yield "environments:"
    yield f"  {scalar(given.environment)}:"
    yield f"    {given.project}:"
    yield f'      number: "{given.number}"'
    yield f"      locations: [{given.location}]"
    if given.buckets:
        yield f"      buckets: [{', '.join(given.buckets)}]"
    yield "      accounts:"
    for local in (*(role.account for role in given.roles), *_trainers(given), _REVIEWER):
        yield f"        - {given.account(local)}"
    yield ""


def _credentials(given: Answers) -> Iterator[str]:
    pool = f"//iam.googleapis.com/projects/{given.number}/locations/global/workloadIdentityPools/remit"
    yield "# How an identity becomes a credential of Google's, with no secret anywhere: the application proves itself"
    yield "# with the machine's managed identity, and Google accepts only tokens that it obtained."
    yield "credentials:"
    yield "  on_behalf_of:"
    yield "    application: app:remit"
    yield f"    scope: api://{given.tenant}/remit-google-{given.project}/.default"
    yield f"    managed_identity: {given.managed_identity}"
    yield "  google:"
    yield f"    provider: {pool}/providers/entra"
    if given.own_issuer:
        yield "  # For pipelines and other providers' people Entra exchanges nothing: there Remit is an issuer itself."
        yield "  own_issuer:"
        yield f"    url: {given.own_issuer}"
        yield f"    provider: {pool}/providers/remit"
    yield "  accounts: # the first line that fits the caller's role and the project"
    for role in given.roles:
        yield f"    - role: {scalar(role.name)}"
        yield f"      project: {given.project}"
        yield f"      account: {given.account(role.account)}"
    yield ""


def _rest(given: Answers) -> Iterator[str]:
    yield "policy:"
    yield "  folder: policies # what each role may do; `remit policy check` and `remit policy test` look after it"
    yield ""
    yield "gateway:"
    yield "  listen: 127.0.0.1:8443 # beyond this machine it needs `tls`"
    yield ""
    yield "audit:"
    yield f"  origin: {given.domain}/remit-{given.project} # the name of the ledger, and of this installation, for good"
    yield ""


def _trust(given: Answers) -> Iterator[str]:
    yield "# What the clouds must hold so that all of the above works."
    yield "trust:"
    yield f"  reviewer: {given.account(_REVIEWER)}"
    yield f'  administrators: ["{given.administrator}"] # who can repair this, and is never locked out'
    yield "  roles: # app roles of Remit's; a group's direct members have its role, as have `people` and `workloads`"
    for role in given.roles:
        yield f"    {scalar(role.name)}:"
        yield f"      groups: [{role.group}]"
    yield "  # Service accounts and what each holds. `policy` is a role with just what the policies permit those who"
    yield "  # work as the account; without `members` these are the holders of the roles above."
    yield "  accounts:"
    for role in given.roles:
        yield from _account(given, role.account, "policy", _READING if role.level is Level.USE else _DATA, role)
    for local in _trainers(given):
        yield from _account(given, local, "roles/logging.logWriter", _DATA)
    yield f"    {given.account(_REVIEWER)}:"
    yield "      members: [remit] # Remit's own application"
    yield "      grants:"
    yield f"        projects/{given.project}: [roles/iam.securityReviewer]"


def _account(given: Answers, local: str, roles: str, data: str, role: FirstRole | None = None) -> Iterator[str]:
    yield f"    {given.account(local)}:"
    yield "      grants:"
    yield f"        projects/{given.project}: [{roles}]"
    if role is None or role.level is not Level.OBSERVE:
        yield from (f"        buckets/{bucket}: {data}" for bucket in given.buckets)
    if role and role.level is Level.LAUNCH:
        yield f"        accounts/{given.account(_TRAINER)}: [roles/iam.serviceAccountUser]"


def _trainers(given: Answers) -> tuple[str, ...]:
    """The account that jobs run as, where there are any."""
    return (_TRAINER,) if any(role.level is Level.LAUNCH for role in given.roles) else ()


_HEAD = (
    "// What each role may do. Whatever is not permitted here is refused, with a reason.",
    "// Data is named on its own: who may look at models need not read what they were trained on.",
    "// docs/policy.md tells how to go on; `remit policy init FOLDER` writes a larger set to take from.",
)
_GROUPS = {
    Level.OBSERVE: (("observe",), "looks at jobs, models, endpoints and logs"),
    Level.USE: (("observe", "use"), "looks, and asks models for predictions"),
    Level.LAUNCH: (("observe", "use", "launch"), "looks, asks models for predictions, and launches jobs"),
}
_READS = ("storage.buckets.get", "storage.objects.get", "storage.objects.list")
_WRITES = ("launch", "storage.objects.insert", "storage.objects.delete")
_NOT_DATA = """unless {
    resource is Bucket || resource is Container || resource is DatabaseRole || resource is ServiceAccount
}"""


def _policy(given: Answers, role: FirstRole) -> Iterator[str]:
    groups, purpose = _GROUPS[role.level]
    where = f'Project::"{given.project}"'
    yield from _permit(role, ("works", purpose), groups, f"resource in {where}", _NOT_DATA)
    if given.buckets and role.level is not Level.OBSERVE:
        launches = role.level is Level.LAUNCH
        purpose = f"{'reads and writes' if launches else 'reads'} the data of the project"
        actions = (*_READS, *_WRITES) if launches else _READS
        yield from _permit(role, ("data", purpose), actions, f"resource is Bucket in {where}")
    if role.level is Level.LAUNCH:
        trainer = f'resource == ServiceAccount::"{given.account(_TRAINER)}"'
        yield from _permit(role, ("trains", "runs jobs as the trainer"), ("iam.serviceAccounts.actAs",), trainer)


def _permit(
    role: FirstRole, says: tuple[str, str], actions: tuple[str, ...], resource: str, unless: str = ""
) -> Iterator[str]:
    yield ""
    yield f'@id("{role.account.removeprefix("remit-")}-{says[0]}")'
    yield f'@purpose("{role.name} {says[1]}")'
    yield "permit ("
    yield f'    principal in Role::"{role.name}",'
    yield "    action in ["
    yield ",\n".join(f'        Action::"{action}"' for action in actions)
    yield "    ],"
    yield f"    {resource}"
    yield f")\n{unless};" if unless else ");"
