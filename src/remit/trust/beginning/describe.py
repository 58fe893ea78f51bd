"""A remit.yaml that describes an estate: settings as a file again. What a cloud said is quoted where YAML needs it."""

import re
from collections.abc import Iterator, Mapping, Sequence

from remit.model.estate import Project
from remit.trust.beginning.scalar import scalar
from remit.trust.settings import Account, Applications, AzureClient, Role, TrustSettings

_CALLBACK = re.compile(r"(https?://([a-z0-9.-]+)(?::[0-9]{1,5})?)/sign-in/([a-z][a-z0-9_]{1,31})/callback")
_LOOPBACK = ("localhost", "127.0.0.1")


def describe(settings: TrustSettings, origin: str) -> str:
    """The file. `origin`: the ledger's name."""
    applications = settings.applications or Applications(settings.application, (), "", "", "")
    return "\n".join(
        (
            *_people(settings, applications),
            *_estate(settings.estate.projects),
            *_credentials(settings, applications),
            "",
            "audit:",
            f"  origin: {scalar(origin)} # the name of the ledger, for good",
            "",
            *_trust(settings, applications),
            "",
        )
    )


def _list(texts: Sequence[str]) -> str:
    return f"[{', '.join(map(scalar, texts))}]"


def _people(settings: TrustSettings, applications: Applications) -> Iterator[str]:
    scope = applications.uris[0] if applications.uris else f"api://{applications.remit}"
    yield "# What the clouds hold, as a file: `remit trust plan` says where they differ from it."
    yield "# Left to people: names for ids (as comments), owners and expiries under `trust`, and the policies."
    yield "version: 1"
    yield ""
    yield "issuers:"
    yield "  - entra:"
    yield f"      tenant: {settings.tenant}"
    yield f"      audience: {applications.remit}"
    yield f"      uris: {_list(applications.uris)}"
    yield f"      clients: {_list(applications.clients)} # add those of workloads that sign in by themselves"
    yield ""
    yield "sign_in:"
    yield f"  client: {scalar(applications.cli)}"
    yield f"  scope: {scalar(f'{scope}/.default')}"
    yield from _browser(applications)
    yield ""


def _browser(applications: Applications) -> Iterator[str]:
    """Where people sign in with a browser: the first address that Entra sends them back to, one on loopback last."""
    found = [match for url in applications.redirects if (match := _CALLBACK.fullmatch(url))]
    for match in sorted(found, key=lambda one: one[2] in _LOOPBACK)[:1]:
        yield "  browser:"
        yield f"    origin: {scalar(match[1])}"
        yield "    providers:"
        yield f"      - {{name: {scalar(match[3])}, title: Entra, entra: true, client: {applications.remit}}}"


def _estate(projects: Sequence[Project]) -> Iterator[str]:
    yield "environments:"
    for environment in dict.fromkeys(project.environment for project in projects):
        yield f"  {scalar(environment)}:"
        for project in (one for one in projects if one.environment == environment):
            yield f"    {project.id}:"
            yield f'      number: "{project.number}"'
            yield f"      locations: {_list(project.locations)}"
            for name, listed in (("buckets", project.buckets), ("containers", project.containers)):
                yield from (f"      {name}: {_list(listed)}" for _ in listed[:1])
            yield f"      accounts:{'' if project.accounts else ' []'}"
            yield from (f"        - {account}" for account in project.accounts)
    yield ""


def _credentials(settings: TrustSettings, applications: Applications) -> Iterator[str]:
    yield "credentials:"
    yield "  on_behalf_of:"
    yield f"    application: {applications.remit}"
    yield f"    scope: {scalar(f'{applications.second}/.default')}"
    yield f"    managed_identity: {applications.managed_identity}"
    yield "  google:"
    yield f"    provider: {settings.provider}"
    if settings.own_provider:
        yield "  own_issuer: # whoever holds its keys is anybody to Google: be sure that it is Remit's own"
        yield f"    url: {scalar(settings.own_issuer)}"
        yield f"    provider: {settings.own_provider}"
    yield "  accounts: # the first line that fits the caller's role and the project"
    for mapping in settings.mappings:
        yield f"    - {{role: {scalar(mapping.role)}, project: {mapping.project}, account: {mapping.account}}}"
    if settings.azure:
        yield "  azure:"
        yield "    accounts:"
        yield from (line for client in settings.azure for line in _client(client))


def _client(client: AzureClient) -> Iterator[str]:
    """A line for each subject that the application trusts."""
    home = client.name.partition("/")[0]
    for subject in client.subjects or (f"remit/{client.name}",):
        known = re.fullmatch(rf"remit/{re.escape(home)}/(.+)", subject)
        role = known[1] if known else client.name.partition("/")[2]
        yield f"      - role: {scalar(role)}"
        yield f"        project: {home}"
        yield f"        client: {client.client}"
        if not known:
            yield f"        subject: {scalar(subject)}"
        yield f"        access: {'write' if client.write else 'read'}"
        yield f"        containers: {_list(client.containers)}"


def _trust(settings: TrustSettings, applications: Applications) -> Iterator[str]:
    yield "trust:"
    yield f"  reviewer: {settings.reviewer}"
    yield f"  administrators: {_list(settings.administrators)}"
    if settings.apart:
        yield "  apart: # somebody else's business, until you decide otherwise"
        yield from (f"    - {scalar(member)}" for member in settings.apart)
    if applications.redirects:
        yield "  redirects:"
        yield from (f"    - {scalar(url)}" for url in applications.redirects)
    yield "  roles:"
    for role in settings.roles:
        yield f"    {scalar(role.name)}:{'' if _held(role) else ' {}'}"
        yield from (f"      {kind}: {_list(ids)}" for kind, ids in _held(role).items())
    yield "  accounts:"
    for account in settings.accounts:
        yield from _account(account)
    if settings.storage:
        yield "  storage:"
        for place in settings.storage:
            group = scalar(place.group)
            yield f"    {place.name}: {{subscription: {place.subscription}, resource_group: {group}}}"


def _held(role: Role) -> Mapping[str, tuple[str, ...]]:
    lists = {"groups": role.groups, "people": role.people, "workloads": role.workloads}
    return {kind: ids for kind, ids in lists.items() if ids}


def _account(account: Account) -> Iterator[str]:
    yield f"    {account.email}:{'' if account.members or account.grants else ' {}'}"
    if account.members:
        yield "      members:"
        yield from (f"        - {scalar(member)}" for member in account.members)
    if account.grants:
        yield "      grants:"
        yield from (f"        {scalar(resource)}: {_list(roles)}" for resource, roles in account.grants.items())
