"""What Google must hold: the pool and its providers, accounts, custom roles, bindings and audit configurations.

Pure. Leaves out the keys of Remit's own provider, which the arbiter keeps, and whatever administrators hold. Sources:
cloud.google.com/iam/docs/workload-identity-federation, /iam/docs/creating-custom-roles, /logging/docs/audit.
"""

from collections.abc import Callable, Iterator, Mapping

from remit.model.counts import counted
from remit.model.errors import TrustBroken
from remit.trust.clouds.google_names import estate_accounts, local_part, project_of, role_name
from remit.trust.prefixes import google_condition
from remit.trust.settings import POLICY, Account, Role, TrustSettings
from remit.trust.things import Address, Fields, Ref, Text, Thing

Permitted = Callable[[str, str], tuple[str, ...]]
"""E-mail and project → IAM permissions of all that the policy lets those do who work there as the account."""

IMPERSONATE = "roles/iam.workloadIdentityUser"
_MAY: Mapping[str, str] = {
    "roles/storage.objectViewer": "read and list",
    "roles/storage.objectCreator": "make",
    "roles/storage.objectUser": "read, list, write and delete",
    "roles/storage.objectAdmin": "read, list, write and delete",
}
"""Role → what its holder may do with objects, in the words of a plan."""
ENTRA_MAPPING: Mapping[str, str] = {
    "google.subject": 'assertion.tid + "/" + assertion.oid',
    "google.groups": "has(assertion.groups) ? assertion.groups : []",
    "attribute.azp": "assertion.azp",
}
OWN_MAPPING: Mapping[str, str] = {
    "google.subject": "assertion.sub",
    "google.groups": "assertion.groups",
    "attribute.tenant": "assertion.tenant",
    "attribute.kind": "assertion.kind",
}
OWN_CONDITION = 'assertion.kind in ["person", "workload"] && assertion.sub.startsWith(assertion.tenant + "/")'
AUDITED: Mapping[str, tuple[tuple[str, ...], str]] = {
    "iam.googleapis.com": (("ADMIN_READ",), "who became which service account"),
    "sts.googleapis.com": (("ADMIN_READ", "DATA_READ"), "whose tokens were exchanged"),
    "aiplatform.googleapis.com": (("ADMIN_READ", "DATA_READ", "DATA_WRITE"), "who used what in Vertex AI"),
}
"""Service → what its Data Access log must hold, and what that answers."""

_MOST_PERMISSIONS = 3000  # cloud.google.com/iam/quotas: of one custom role
_MOST_BYTES = 64 * 1024  # title, description and permission names together; the same page
_NOT_IN_PROJECTS = frozenset({"resourcemanager.projects.list"})
"""What only an organisation's custom role may hold (cloud.google.com/iam/docs/custom-roles-permissions-support)."""


def google(settings: TrustSettings, permitted: Permitted) -> tuple[Thing, ...]:
    """Every thing that Google must hold; raises `TrustBroken` where a custom role would hold more than one can."""
    roles = _roles(settings, permitted)
    return (
        *_pool(settings),
        *_accounts(settings),
        *(role for role in roles.values() if role),
        *_bindings(settings, roles),
        *_audits(settings),
    )


def _resource(name: str) -> str:
    return name.removeprefix("//iam.googleapis.com/")


def _pool(settings: TrustSettings) -> Iterator[Thing]:
    pools = sorted({_resource(name).partition("/providers/")[0] for name in (settings.provider, settings.own_provider)})
    for pool in filter(None, pools):
        says = "the one door through which people and workloads of this tenant come to Google"
        yield Thing(Address("google.pool", pool), {"disabled": False}, says=says)
    if settings.provider:
        yield _entra_provider(settings)
    if settings.own_provider:
        yield _provider(
            settings.own_provider,
            {
                "issuer": settings.own_issuer,
                "audiences": (),
                "mapping": OWN_MAPPING,
                "condition": OWN_CONDITION,
                "disabled": False,
            },
            "lets Google accept those whom Remit itself vouches for: workloads, and people of other issuers",
        )


def _entra_provider(settings: TrustSettings) -> Thing:
    azp = _application(settings, settings.application)
    condition = Text(('assertion.azp == "', azp, f'" && assertion.tid == "{settings.tenant}"'))
    return _provider(
        settings.provider,
        {
            "issuer": settings.issuer,
            "audiences": (Ref(Address("entra.application", "remit-google"), "appId"),),
            "mapping": ENTRA_MAPPING,
            "condition": condition if isinstance(azp, Ref) else str(condition),
            "disabled": False,
        },
        "lets Google accept Entra's tokens for the second audience, of this tenant, obtained by Remit and nobody else",
        given=settings.applications is None,  # the second audience is somebody else's then
    )


def _provider(name: str, fields: Fields, says: str, *, given: bool = False) -> Thing:
    resource = _resource(name)
    needs = (Address("google.pool", resource.partition("/providers/")[0]),)
    return Thing(Address("google.provider", resource), fields, needs, says, given)


def _application(settings: TrustSettings, client: str) -> str | Ref:
    """An app id, or the one that Entra has yet to give."""
    name = settings.pending.get(client)
    return Ref(Address("entra.application", name), "appId") if name else client


def _accounts(settings: TrustSettings) -> Iterator[Thing]:
    for email in estate_accounts(settings):
        workers = sorted({f"{one.role} in {one.project}" for one in settings.mappings if one.account == email})
        others = "what Remit reads IAM policies as" if email == settings.reviewer else "what jobs run as"
        says = f"what {_listed(workers)} works as" if workers else others
        ours = settings.estate.project(project_of(email)) is not None
        yield Thing(Address("google.account", email), {"disabled": False}, says=says, given=not ours)


def _roles(settings: TrustSettings, permitted: Permitted) -> dict[tuple[str, str], Thing | None]:
    """E-mail and project → the custom role of what the policy permits; `None` where it permits nothing."""
    places = {
        (account.email, _place(settings, resource))
        for account in settings.accounts
        for resource, roles in account.grants.items()
        if POLICY in roles
    }
    if wrong := [place for _, place in places if not place.startswith("projects/")]:
        raise TrustBroken(f"`{POLICY}` on `{wrong[0]}`", hint=f"grant `{POLICY}` on projects, other roles elsewhere")
    wanted = {(email, place.removeprefix("projects/")) for email, place in places}
    return {(email, project): _role(email, project, permitted(email, project)) for email, project in sorted(wanted)}


def _role(email: str, project: str, permissions: tuple[str, ...]) -> Thing | None:
    held, not_held = holdable(permissions)
    if not held:
        return None
    title = f"Remit: {local_part(email)}"
    size = sum(len(text.encode()) for text in (title, *held))
    if len(held) > _MOST_PERMISSIONS or size > _MOST_BYTES:
        raise TrustBroken(
            f"what the policy permits `{email}` in `{project}` is more than one custom role can hold: "
            f"{counted(len(held), 'permission')}, {counted(size, 'byte')}",
            hint="divide the work among several accounts, or grant a role of Google's instead of `policy`",
        )
    says = f"just what the policy lets those do who work as {email}: {counted(len(held), 'permission')} in {project}"
    says += f"; no custom role can hold {_listed(not_held)}" if not_held else ""
    fields: Fields = {"title": title, "permissions": held, "stage": "GA"}
    return Thing(Address("google.role", role_name(email, project)), fields, says=says)


def holdable(permissions: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Those that a project's custom role can hold, and those that none can; sorted, each once."""
    every = sorted(set(permissions))
    return (
        tuple(each for each in every if each not in _NOT_IN_PROJECTS),
        tuple(each for each in every if each in _NOT_IN_PROJECTS),
    )


def _bindings(settings: TrustSettings, roles: Mapping[tuple[str, str], Thing | None]) -> Iterator[Thing]:
    """Each once, though several lines may ask for it."""
    declared = {account.email: account for account in settings.accounts}
    found: dict[Address, Thing] = {}
    for email in estate_accounts(settings):
        account = declared.get(email, Account(email))
        for thing in (*_members(settings, account), *_grants(settings, account, roles)):
            found.setdefault(thing.address, thing)
    yield from found.values()


def _members(settings: TrustSettings, account: Account) -> Iterator[Thing]:
    for name in _who(settings, account):
        member = _member(settings, name)
        needs = (Address("google.account", account.email), Address("google.pool", settings.pool))
        says = f"lets {_called(settings, name)} become {account.email}"
        yield _binding(f"accounts/{account.email}", IMPERSONATE, member, needs, says)


def _who(settings: TrustSettings, account: Account) -> Iterator[str]:
    """Who may become an account: as the file says, else whoever holds a role that works as it."""
    if account.email == settings.reviewer:
        yield "remit"
    if account.members:
        yield from account.members
        return
    working = {one.role for one in settings.mappings if one.account == account.email}
    for role in settings.roles:
        if role.name in working:
            yield from (f"group/{each}" for each in role.groups)
            yield from (f"subject/{settings.tenant}/{each}" for each in (*role.people, *role.workloads))


def _member(settings: TrustSettings, name: str) -> str | Text:
    """The IAM member of `group/ID`, `subject/TEXT` or `remit`; raises `TrustBroken` for anything else."""
    pool = f"iam.googleapis.com/{settings.pool}"
    kind, _, which = name.partition("/")
    if name == "remit":
        itself = Ref(Address("entra.principal", "remit"), "id")
        return Text((f"principal://{pool}/subject/{settings.tenant}/", itself))
    if kind not in {"group", "subject"} or not which:
        raise TrustBroken(f"`{name}` is no member of a pool", hint="write `group/ID`, `subject/TEXT` or `remit`")
    return f"principal{'Set' if kind == 'group' else ''}://{pool}/{name}"


def _called(settings: TrustSettings, name: str) -> str:
    if name == "remit":
        return "Remit's own application"
    kind, _, which = name.partition("/")
    held = sorted({role.name for role in settings.roles if which.rpartition("/")[2] in _holders(role)})
    return f"{kind} {which}{f' ({_listed(held)})' if held else ''}"


def _holders(role: Role) -> tuple[str, ...]:
    return (*role.groups, *role.people, *role.workloads)


def _grants(
    settings: TrustSettings, account: Account, roles: Mapping[tuple[str, str], Thing | None]
) -> Iterator[Thing]:
    member = f"serviceAccount:{account.email}"
    for resource, granted in sorted(account.grants.items()):
        place = _place(settings, resource)
        kind, _, name = place.partition("/")
        name, _, prefix = name.partition("/")
        custom = roles.get((account.email, name))
        needs = tuple(
            Address("google.account", each) for each in (account.email, *([name] if kind == "accounts" else ()))
        )
        for role in granted:
            if prefix:
                yield _below(f"{kind}/{name}", prefix, role, member, needs)
            elif role != POLICY:
                says = f"gives {account.email} {role.removeprefix('roles/')} on {name}"
                yield _binding(place, role, member, needs, says)
            elif custom:
                says = f"lets {account.email} do in {name} what the policy permits those who work as it"
                yield _binding(place, custom.address.name, member, (*needs, custom.address), says)


def _below(bucket: str, prefix: str, role: str, member: str, needs: tuple[Address, ...]) -> Thing:
    """A role on the objects of a bucket below a prefix; raises `TrustBroken` where no condition says just that."""
    email, name = member.removeprefix("serviceAccount:"), bucket.removeprefix("buckets/")
    if not bucket.startswith("buckets/") or role == POLICY:
        raise TrustBroken(f"`{role}` below `{prefix}` of `{bucket}`", hint="prefixes are for Google's roles on buckets")
    may = _MAY.get(role)
    lets = f"lets {email} {may}" if may else f"gives {email} {role.removeprefix('roles/')} on"
    condition = google_condition(name, prefix)
    fields: Fields = {"resource": bucket, "role": role, "member": member, "condition": condition}
    says = f"{lets} objects below {prefix} of {name}, and no others by this line"
    return Thing(Address("google.binding", f"{bucket}/{prefix} {role} {member}"), fields, needs, says)


def _place(settings: TrustSettings, resource: str) -> str:
    """A resource with its project by id."""
    kind, _, name = resource.partition("/")
    project = settings.estate.project(name) if kind == "projects" else None
    return f"projects/{project.id}" if project else resource


def _binding(resource: str, role: str, member: str | Text, needs: tuple[Address, ...], says: str) -> Thing:
    fields: Fields = {"resource": resource, "role": role, "member": member, "condition": None}
    who = member if isinstance(member, str) else "remit"
    return Thing(Address("google.binding", f"{resource} {role} {who}"), fields, needs, says)


def _audits(settings: TrustSettings) -> Iterator[Thing]:
    for project in settings.estate.projects:
        for service, (types, answers) in AUDITED.items():
            fields: Fields = {"project": project.id, "service": service, "logTypes": types}
            says = f"keeps in {project.id}'s log {answers}"
            yield Thing(Address("google.audit", f"{project.id} {service}"), fields, says=says)


def _listed(names: list[str] | tuple[str, ...]) -> str:
    return ", ".join(names[:-1]) + (" and " if names[:-1] else "") + names[-1]
