"""From remit.yaml to what the clouds must hold: applications, roles, accounts, and where containers lie."""

from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from remit.identity.settings import EntraIssuer
from remit.model.errors import Problem
from remit.model.estate import Estate
from remit.model.prefixes import LONGEST
from remit.settings import azure, trust_databases
from remit.settings.document import Document, Path_
from remit.settings.placeholders import settle
from remit.settings.schema import ProjectSection, RemitYaml
from remit.trust import settings as trust_settings
from remit.trust.prefixes import wider_than
from remit.trust.settings import (
    POLICY,
    Account,
    Applications,
    AzureClient,
    Role,
    StorageAccount,
    TrustSettings,
)

__all__ = ["contradictions", "settle", "trust"]

_REMIT, _CLI = "remit", "remit-cli"
_BASIC = frozenset({"roles/owner", "roles/editor", "roles/viewer"})


def trust(
    yaml: RemitYaml, issuer: EntraIssuer, estate: Estate, origin: str, pending: Mapping[str, str]
) -> TrustSettings:
    """What must agree. `origin`: where people's browsers reach the pages; `pending`: stand-in → application's name."""
    own, given = yaml.credentials.own_issuer, yaml.trust
    return TrustSettings(
        issuer=issuer.issuer,
        tenant=issuer.tenant,
        application=yaml.credentials.on_behalf_of.application,
        provider=yaml.credentials.google.provider,
        reviewer=given.reviewer,
        mappings=tuple(trust_settings.Mapping(one.role, one.project, one.account) for one in yaml.credentials.accounts),
        estate=estate,
        own_issuer=own.url if own else "",
        own_provider=own.provider if own else "",
        applications=_applications(yaml, issuer, origin),
        roles=tuple(_roles(yaml)),
        accounts=tuple(_accounts(yaml)),
        azure=_clients(yaml),
        storage=tuple(
            StorageAccount(name, one.subscription, one.resource_group) for name, one in given.storage.items()
        ),
        databases=tuple(trust_databases.database_roles(yaml, _clients(yaml))),
        administrators=tuple(given.administrators),
        apart=tuple(given.apart),
        pending=dict(pending),
        installation=yaml.audit.origin,
    )


def _applications(yaml: RemitYaml, issuer: EntraIssuer, origin: str) -> Applications:
    on_behalf_of = yaml.credentials.on_behalf_of
    return Applications(
        remit=on_behalf_of.application,
        uris=tuple(sorted(issuer.uris)),
        cli="" if yaml.sign_in.issuer else yaml.sign_in.client,
        second=on_behalf_of.scope.rpartition("/")[0],
        managed_identity=on_behalf_of.managed_identity,
        redirects=_redirects(yaml, origin),
        clients=tuple(sorted(issuer.clients)),
    )


def _redirects(yaml: RemitYaml, origin: str) -> tuple[str, ...]:
    """Those that are given, and that of each browser's sign-in at the tenant when it is not among them."""
    found = list(yaml.trust.redirects)
    for provider in yaml.sign_in.browser.providers:
        own = f"{origin}/sign-in/{provider.name}/callback"
        if provider.entra and _without_port(own) not in map(_without_port, found):
            found.append(own)
    return tuple(sorted(set(found)))


def _without_port(url: str) -> str:
    """Entra disregards the port on loopback (RFC 8252, 7.3)."""
    parts = urlsplit(url)
    return url.replace(parts.netloc, parts.hostname or "", 1) if parts.scheme == "http" else url


def _roles(yaml: RemitYaml) -> Iterator[Role]:
    for name, one in yaml.trust.roles.items():
        holders = tuple(one.groups), tuple(one.people), tuple(one.workloads)
        yield Role(name, *holders, about=one.about or "", owner=one.owner or "", expires=one.expires or "")


def _accounts(yaml: RemitYaml) -> Iterator[Account]:
    for email, one in yaml.trust.accounts.items():
        grants = {resource: tuple(roles) for resource, roles in one.grants.items()}
        yield Account(email, grants, tuple(one.members), one.owner or "", one.expires or "")


def _clients(yaml: RemitYaml) -> tuple[AzureClient, ...]:
    """Each application once, by the first line that names it; what it opens is the same on all its lines."""
    found: dict[str, AzureClient] = {}
    for line in azure.lines(yaml):
        first = found.get(line.client)
        subjects = (*first.subjects, line.subject) if first else (line.subject,)
        found[line.client] = AzureClient(
            name=first.name if first else f"{line.project}/{line.role}",
            client=line.client,
            subjects=tuple(dict.fromkeys(subjects)),
            containers=line.containers if "storage" in line.services else (),
            write=line.access == "write",
        )
    return tuple(found.values())


def contradictions(
    document: Document, yaml: RemitYaml, paths: Mapping[Path_, str], *, sound: bool
) -> Iterator[Problem]:
    """What no single key of the trust can say.

    `paths`: where placeholders stood; `sound`: whether projects, accounts and mappings are right, without which what
    refers to them would be told twice.
    """
    yield from _misnamed(document, yaml, paths)
    yield from _strangers(document, yaml)
    yield from trust_databases.contradictions(document, yaml)
    if not sound:
        return
    for email, one in yaml.trust.accounts.items():
        path: Path_ = ("trust", "accounts", email)
        if _home(email) not in _projects(yaml):
            yield document.problem(path, f"`{email}` is an account of no project under `environments`")
        for resource, roles in one.grants.items():
            yield from _grant(document, (*path, "grants", resource), yaml, roles)
    if yaml.trust.roles:
        yield from _incomplete(document, yaml)


def _misnamed(document: Document, yaml: RemitYaml, paths: Mapping[Path_, str]) -> Iterator[Problem]:
    """Placeholders that stand for another application than the one that belongs there."""
    azure_names = {one.client: one.name for one in _clients(yaml)}
    lines = yaml.credentials.azure.accounts if yaml.credentials.azure else []
    for path, name in paths.items():
        match path:
            case ("sign_in", "client"):
                right = {_CLI}
            case ("credentials", "azure", "accounts", int(index), _):
                right = {azure_names[lines[index].client]}
            case (*_, "clients", _):
                right = {_REMIT, _CLI, *azure_names.values()}
            case _:
                right = {_REMIT}
        if name not in right:
            wanted = " or ".join(f"`app:{one}`" for one in sorted(right))
            yield document.problem(path, f"`app:{name}` is no application that belongs here: write {wanted}")


def _strangers(document: Document, yaml: RemitYaml) -> Iterator[Problem]:
    """Members who are nobody else's business, although what they hold beside this file would not be told."""
    given = (yaml.credentials.google.provider, yaml.credentials.own_issuer and yaml.credentials.own_issuer.provider)
    pools = [f"{provider.partition('/providers/')[0]}/" for provider in given if provider]
    own = {f"serviceAccount:{email}" for email in (*_emails(yaml), yaml.trust.reviewer)}
    for key, said in (("apart", "kept apart"), ("administrators", "an administrator")):
        for index, member in enumerate(getattr(yaml.trust, key)):
            if member in own or any(pool in member for pool in pools):
                message = f"`{member}` cannot be {said}: who it is, and what it may do, is what this file says"
                yield document.problem(("trust", key, index), message)


def _grant(document: Document, path: Path_, yaml: RemitYaml, roles: list[str]) -> Iterator[Problem]:
    """A grant on what the estate does not name, and a role by the policy where the policy says nothing."""
    email, resource = str(path[2]), str(path[4])
    kind, _, rest = resource.partition("/")
    name, _, prefix = rest.partition("/")
    known = {
        "projects": _projects(yaml),
        "buckets": frozenset(one for each in _sections(yaml) for one in each.buckets),
        "accounts": _emails(yaml),
    }
    if name not in known[kind]:
        where = "an account of this file" if kind == "accounts" else f"among the {kind} under `environments`"
        yield document.problem(path, f"`{name}` is not {where}")
        return
    if prefix:
        yield from _prefix(document, path, yaml.trust.accounts[email].grants, roles)
    works = any(line.account == email and line.project == name for line in yaml.credentials.accounts)
    for index, role in enumerate(roles):
        if role == POLICY and not works:
            message = f"nobody works as `{email}` in `{name}`, so that no policy says what it may do there"
            yield document.problem((*path, index), message if kind == "projects" else "`policy` is for projects only")
        if role in roles[:index]:
            yield document.problem((*path, index), f"`{role}` stands twice")


def _prefix(document: Document, path: Path_, grants: Mapping[str, list[str]], roles: list[str]) -> Iterator[Problem]:
    """What cannot be below a prefix, or is on more of the bucket besides, so that the prefix would bind nobody."""
    resource = str(path[4])
    if len(resource.split("/", 2)[2]) > LONGEST:
        yield document.problem(path, f"a prefix has {LONGEST} characters at most")
    for index, role in enumerate(roles):
        if role in _BASIC:
            message = f"`{role}` holds on all of a bucket: Google takes no condition on it"
            yield document.problem((*path, index), message)
        if wider := wider_than(resource, (each for each, others in grants.items() if role in others)):
            yield document.problem((*path, index), f"`{role}` stands on `{wider}` too, in which `{resource}` lies")


def _incomplete(document: Document, yaml: RemitYaml) -> Iterator[Problem]:
    """What is missing where the trust is told as a whole: roles, and where containers lie."""
    for index, mapping in enumerate(yaml.credentials.accounts):
        if mapping.role not in yaml.trust.roles:
            path: Path_ = ("credentials", "accounts", index, "role")
            yield document.problem(path, f"`{mapping.role}` is not among the roles under `trust.roles`")
    for index, line in enumerate(yaml.credentials.azure.accounts if yaml.credentials.azure else ()):
        path = ("credentials", "azure", "accounts", index)
        if line.role not in yaml.trust.roles:
            yield document.problem((*path, "role"), f"`{line.role}` is not among the roles under `trust.roles`")
    opened = {one.partition("/")[0] for client in _clients(yaml) for one in client.containers}
    for name in sorted(opened - yaml.trust.storage.keys()):
        message = f"the storage account `{name}` of containers that are opened is not under `trust.storage`"
        yield document.problem(("trust", "storage"), message)
    yield from _two_applications(document, yaml)


def _two_applications(document: Document, yaml: RemitYaml) -> Iterator[Problem]:
    """Remit's own registration is one: people's tokens are for it, and it exchanges them."""
    own = yaml.credentials.on_behalf_of.application
    for index, issuer in enumerate(yaml.issuers):
        if issuer.entra and issuer.entra.audience != own:
            message = f"people's tokens are for `{issuer.entra.audience}`, and `{own}` is to exchange them: it is one"
            yield document.problem(("issuers", index, "entra", "audience"), message)


def _home(email: str) -> str:
    return email.partition("@")[2].partition(".")[0]


def _projects(yaml: RemitYaml) -> frozenset[str]:
    return frozenset(name for found in yaml.environments.values() for name in found)


def _sections(yaml: RemitYaml) -> Iterator[ProjectSection]:
    return (one for found in yaml.environments.values() for one in found.values())


def _emails(yaml: RemitYaml) -> frozenset[str]:
    return frozenset((*yaml.trust.accounts, *(one for each in _sections(yaml) for one in each.accounts)))
