"""What remit.yaml would have to say so that the clouds hold just that: settings out of what was found.

Pure, and to be repeated: each reading looks further by what the last one found, until nothing is added. What no file
can say (a condition on a binding, an account that nobody may become though a role works as it) is in `left`.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from remit.model.errors import TrustBroken
from remit.model.estate import Estate
from remit.trust.clouds.google_names import project_of, role_name
from remit.trust.desired.google import IMPERSONATE, OWN_MAPPING
from remit.trust.prefixes import WRITER, below, wider_than
from remit.trust.settings import POLICY, Account, Applications, AzureClient, Role, TrustSettings
from remit.trust.things import Found

_GUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_IAM = "//iam.googleapis.com/"
_ANYBODY = ("allUsers", "allAuthenticatedUsers", "deleted:", "project")
_SCOPE = re.compile(
    r".*/providers/Microsoft\.Storage/storageAccounts/([^/]+)/blobServices/default/containers/([^/]+)", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Described:
    """The settings, and in words what they cannot say, which a plan will want to change."""

    settings: TrustSettings
    left: tuple[str, ...] = ()


def completed(known: TrustSettings, found: Sequence[Found]) -> Described:
    """Settings with everything that was found. `known`: what only people know: tenant, provider, estate, mappings."""
    settings = replace(known, applications=_applications(known, found), roles=_roles(known, found))
    settings = replace(settings, **_own(known, found))
    accounts = tuple(_accounts(settings, found))
    settings = replace(settings, accounts=accounts, azure=_azure(settings, found), estate=_estate(known, accounts))
    settings = replace(settings, apart=tuple(sorted({*known.apart, *_others(settings, found)})))
    return Described(settings, tuple(_left(settings, found)))


def recognised(known: TrustSettings, found: Sequence[Found]) -> TrustSettings:
    """The settings with Remit's own application, which is the one whose tokens Google's provider admits.

    Raises `TrustBroken` when there is no such provider, it is another tenant's, or it names no application.
    """
    name = known.provider.removeprefix(_IAM)
    provider = next((one for one in _of(found, "google.provider") if one.address.name == name), None)
    if provider is None:
        raise TrustBroken(f"there is no provider `{name}`", hint="`--from-clouds` takes its full name, with the number")
    if provider.fields["issuer"] != known.issuer:
        raise TrustBroken(f"`{name}` trusts `{provider.fields['issuer']}`, not the tenant `{known.tenant}`")
    admitted = re.search(rf'assertion\.azp\s*==\s*["\']({_GUID})["\']', str(provider.fields["condition"]))
    if admitted is None:
        raise TrustBroken(
            f"`{name}` does not say whose tokens it admits", hint="write remit.yaml without it, then plan"
        )
    given = known.applications or Applications("", (), "", "", "")
    return replace(known, application=admitted[1], applications=replace(given, remit=admitted[1]))


def second_audience(known: TrustSettings, found: Sequence[Found]) -> str:
    """The app id of the second audience, as Google's provider takes it; empty when there is none."""
    for one in _of(found, "google.provider"):
        audiences = one.fields["audiences"]
        if known.provider == f"{_IAM}{one.address.name}" and isinstance(audiences, tuple) and audiences:
            return str(audiences[0])
    return ""


def _of(found: Sequence[Found], kind: str) -> Iterator[Found]:
    return (one for one in found if one.address.kind == kind)


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, tuple) else ()


def _applications(known: TrustSettings, found: Sequence[Found]) -> Applications | None:
    own = {one.address.name: one.fields for one in _of(found, "entra.application")}
    given, remit, second = known.applications, own.get("remit"), own.get("remit-google")
    if given is None:
        return None
    preauthorized = _texts(remit["preauthorized"]) if remit else ()
    cli = given.cli or next(iter(preauthorized), "")
    return replace(
        given,
        uris=_texts(remit["uris"]) if remit else given.uris,
        redirects=_texts(remit["webRedirects"]) if remit else given.redirects,
        cli=cli,
        second=next(iter(_texts(second["uris"])), given.second) if second else given.second,
        clients=tuple(dict.fromkeys(filter(None, (given.remit, cli, *given.clients)))),
    )


def _own(known: TrustSettings, found: Sequence[Found]) -> Mapping[str, Any]:
    """Remit's own issuer and its provider, known by what it maps."""
    for one in _of(found, "google.provider"):
        if one.fields["mapping"] == OWN_MAPPING and known.provider != f"{_IAM}{one.address.name}":
            return {
                "own_issuer": str(one.fields["issuer"]),
                "own_provider": f"{_IAM}{one.address.name}",
            }
    return {}


def _roles(known: TrustSettings, found: Sequence[Found]) -> tuple[Role, ...]:
    """The app roles of the application and of the file, with all who are assigned to them."""
    roles = {mapping.role: Role(mapping.role) for mapping in known.mappings} | {one.name: one for one in known.roles}
    for one in _of(found, "entra.application"):
        if one.address.name == "remit":
            names = (name.partition(" ")[0] for name in _texts(one.fields["roles"]))  # behind it: who may not hold it
            roles = {name: Role(name) for name in names} | roles
    return tuple(_held(role, found) for role in roles.values())


def _held(role: Role, found: Sequence[Found]) -> Role:
    def holders(kind: str, before: tuple[str, ...]) -> tuple[str, ...]:
        fields = [one.fields for one in _of(found, "entra.assignment") if one.fields["role"] == role.name]
        return tuple(sorted({*before, *(str(each["principal"]) for each in fields if each["principalType"] == kind)}))

    return replace(
        role,
        groups=holders("Group", role.groups),
        people=holders("User", role.people),
        workloads=holders("ServicePrincipal", role.workloads),
    )


def _bindings(found: Sequence[Found]) -> Iterator[tuple[str, str, str]]:
    """Resource, role and member of each binding that a file can say: of conditions, a prefix in a bucket."""
    for one in _of(found, "google.binding"):
        if one.fields["condition"] is None or below(one.fields):
            where = "/".join((str(one.fields["resource"]), *below(one.fields)))
            yield where, str(one.fields["role"]), str(one.fields["member"])


def _accounts(settings: TrustSettings, found: Sequence[Found]) -> Iterator[Account]:
    """The estate's accounts and every other of its projects that holds something or that somebody may become."""
    before = {account.email: account for account in settings.accounts}
    emails = dict.fromkeys((*(one for project in settings.estate.projects for one in project.accounts), *before))
    emails |= dict.fromkeys(one.address.name for one in _of(found, "google.account"))
    emails |= dict.fromkeys(_email(member) for *_, member in _bindings(found))
    for email in sorted(filter(None, emails)):
        if settings.estate.project(project_of(email)) is None:
            continue
        grants: dict[str, tuple[str, ...]] = {}
        mine = [(where, role) for where, role, member in _bindings(found) if member == f"serviceAccount:{email}"]
        for resource, role in mine:
            if not wider_than(resource, (where for where, other in mine if other == role)):
                own = role == role_name(email, resource.removeprefix("projects/"))
                grants[resource] = (*grants.get(resource, ()), POLICY if own else role)
        members = tuple(
            _member(settings, found, member)
            for resource, role, member in _bindings(found)
            if resource == f"accounts/{email}" and role == IMPERSONATE and _in_pool(settings, member)
        )
        held = {resource: tuple(sorted(roles)) for resource, roles in sorted(grants.items())}
        yield replace(before.get(email, Account(email)), grants=held, members=tuple(sorted(members)))


def _estate(known: TrustSettings, accounts: Sequence[Account]) -> Estate:
    """The estate with every account that people or jobs work as; those that are Remit's alone are none of these."""
    working = {mapping.account for mapping in known.mappings}
    for_work = [one.email for one in accounts if one.email in working or one.members != ("remit",)]
    projects = (
        replace(
            project,
            accounts=tuple(dict.fromkeys((*project.accounts, *(e for e in for_work if project_of(e) == project.id)))),
        )
        for project in known.estate.projects
    )
    return replace(known.estate, projects=tuple(projects))


def _email(member: str) -> str:
    kind, _, email = member.partition(":")
    return email if kind == "serviceAccount" else ""


def _in_pool(settings: TrustSettings, member: str) -> bool:
    path = member.partition(f"//iam.googleapis.com/{settings.pool}/")[2]
    return path.startswith(("group/", "subject/")) and "*" not in path


def _member(settings: TrustSettings, found: Sequence[Found], member: str) -> str:
    path = member.partition(f"//iam.googleapis.com/{settings.pool}/")[2]
    own = (one.ids.get("id") for one in _of(found, "entra.principal") if one.address.name == "remit")
    return "remit" if path in {f"subject/{settings.tenant}/{oid}" for oid in own} else path


def _others(settings: TrustSettings, found: Sequence[Found]) -> Iterator[str]:
    """Whoever else holds a role at Google. Anybody at all, and whoever is gone, is nobody to set apart."""
    ours = {f"serviceAccount:{account.email}" for account in settings.accounts} | {*settings.administrators}
    for _, _, member in _bindings(found):
        if member not in ours and f"/{settings.pool}/" not in member and not member.startswith(_ANYBODY):
            yield member


def _azure(settings: TrustSettings, found: Sequence[Found]) -> tuple[AzureClient, ...]:
    return tuple(_client(one, found, settings.own_issuer) for one in settings.azure)


def _client(client: AzureClient, found: Sequence[Found], issuer: str) -> AzureClient:
    principals = {one.ids.get("id") for one in _of(found, "entra.principal") if one.address.name == client.name}
    subjects = tuple(
        str(one.fields["subject"])
        for one in _of(found, "entra.federation")
        if one.fields["application"] == client.name and one.fields["issuer"] == issuer
    )
    held = [one.fields for one in _of(found, "azure.assignment") if one.fields["principal"] in principals]
    places = [(match, fields) for fields in held if (match := _SCOPE.fullmatch(str(fields["scope"])))]
    opened = {
        f"{match[1]}/{match[2]}{f'/{prefix}' if prefix else ''}"
        for match, fields in places
        for prefix in below(fields) or ("",)
    }
    return replace(
        client,
        subjects=tuple(sorted(subjects)),
        containers=tuple(sorted(each for each in opened if not wider_than(each, opened))),
        write=any(fields["role"] == WRITER for _, fields in places),
    )


def _left(settings: TrustSettings, found: Sequence[Found]) -> Iterator[str]:
    for one in _of(found, "google.binding"):
        if one.fields["condition"] is not None and not below(one.fields):
            yield f"`{one.address.name}` has a condition"
    for one in _of(found, "azure.assignment"):
        if one.fields.get("condition") and not below(one.fields):
            yield f"`{one.address.name}` has a condition, and would open all of its container without it"
    for resource, role, member in _bindings(found):
        ours = resource.startswith("accounts/") and role == IMPERSONATE and _in_pool(settings, member)
        if f"/{settings.pool}/" in member and not ours:
            yield f"`{member}` of the pool holds `{role}` on `{resource}` itself, without an account"
        if member.startswith(_ANYBODY):
            yield f"`{member}` holds `{role}` on `{resource}`"
    working = {mapping.account for mapping in settings.mappings}
    for account in settings.accounts:
        if account.email in working and not account.members:
            yield f"nobody may become `{account.email}`, though a role works as it"
