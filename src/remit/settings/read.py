"""From remit.yaml to each room's own frozen settings; every problem is reported at once, with line and column.

Relative paths are relative to the file. Nothing is made, opened or asked: that is `assembly`'s.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from remit.audit.settings import AuditSettings
from remit.credentials.database_login import DatabaseLogin
from remit.credentials.lifetimes import LifetimeSettings
from remit.credentials.settings import AccountMapping, CredentialSettings
from remit.gateway.settings import Endpoint, GatewaySettings
from remit.identity.settings import OidcKind
from remit.model.errors import Problem, SettingsInvalid
from remit.model.estate import Estate, Project
from remit.policy.settings import PolicySettings
from remit.settings import azure, databases, identity, placeholders, services, trust
from remit.settings.document import Document, Path_, load
from remit.settings.identity import IdentitySettings
from remit.settings.placeholders import Standing
from remit.settings.schema import RemitYaml
from remit.sql.settings import DoorSettings
from remit.state.settings import StateSettings
from remit.trust.settings import TrustSettings

_MIB = 1 << 20
_CONTROL = ("logging.googleapis.com", "cloudresourcemanager.googleapis.com")
_STORAGE = ("storage.googleapis.com", "www.googleapis.com")
_PIPELINES = frozenset({OidcKind.GITHUB, OidcKind.GITLAB, OidcKind.AZURE_DEVOPS})
"""Kinds whose tokens are given to one running job, and are worth nothing after it."""

_HINT = "docs/configuration.md explains every key"


@dataclass(frozen=True, slots=True)
class SignInSettings:
    """What clients are told of signing in. `issuer`: URL of the OIDC issuer to do it at, empty for the tenant."""

    client: str
    scope: str
    issuer: str = ""


@dataclass(frozen=True, slots=True)
class Settings:
    """One installation.

    `own_keys`: the folder of the keys that Remit's own issuer signs with; `labels`: whether what is created gets a
    label that names the decision; `lifetimes`: how long hops last that only the estate knows; `sql`: the door for
    databases, `logins`: how each is logged in to, `database_authority`: the folder of the authority that says so;
    `sections`: what each section of the file says, to be held against another time's.
    """

    file: Path
    estate: Estate
    identity: IdentitySettings
    sign_in: SignInSettings
    credentials: CredentialSettings
    policy: PolicySettings
    gateway: GatewaySettings
    state: StateSettings
    audit: AuditSettings
    trust: TrustSettings
    own_keys: Path
    labels: bool
    lifetimes: LifetimeSettings
    sql: DoorSettings | None
    logins: tuple[DatabaseLogin, ...]
    database_authority: Path
    sections: Mapping[str, Any] = field(repr=False)

    def changed(self, before: "Settings") -> tuple[str, ...]:
        """Names of the sections of the file that say something else than they did before."""
        return tuple(name for name, said in self.sections.items() if said != before.sections[name])


def read(file: Path, *, pending: bool = False) -> Settings:
    """The settings in a file; raises `SettingsInvalid` with every problem.

    `pending`: whether an application may be one that Entra has yet to make (`app:NAME`), as while the trust is planned.
    """
    found = placeholders.standing(load(file))
    document = found.document
    try:
        yaml = RemitYaml.model_validate(document.value)
    except ValidationError as error:
        raise SettingsInvalid(tuple(_translated(document, error)), hint=_HINT) from None
    problems = [] if pending else list(placeholders.problems(found))
    hint = placeholders.HINT if problems else _HINT
    problems += _contradictions(document, yaml, found)
    if problems and not identity.has_tenant(yaml):  # nothing that follows can be said without one
        raise SettingsInvalid(tuple(problems), hint=hint)
    try:
        settings = _settings(file.resolve(), yaml, found.names)
    except SettingsInvalid as error:  # what the gateway itself says of its settings
        problems += [document.problem(_key_of(found), found.message) for found in error.problems]
    if problems:
        raise SettingsInvalid(tuple(problems), hint=hint)
    return settings


def _key_of(problem: Problem) -> tuple[str, ...]:
    """The key of remit.yaml that a problem of the gateway's settings comes from."""
    places = (
        ("socket `", ("state", "folder")),
        ("`upstream_", ("gateway", "upstream")),
        ("service", ("services",)),
        ("endpoint", ("gateway", "endpoint")),
        ("", ("gateway", "listen")),
    )
    return next(path for words, path in places if words in problem.message)


def _translated(document: Document, error: ValidationError) -> Iterator[Problem]:
    for item in error.errors():
        path = tuple(part for part in item["loc"] if part != "[key]")
        name = ".".join(map(str, path)) or "the file"
        yield document.problem(path, f"`{name}`: {_said(item)}")


def _said(item: Any) -> str:
    match item["type"]:
        case "extra_forbidden":
            return "is not a key that remit knows"
        case "missing":
            return "is missing"
        case "string_pattern_mismatch" if re.search(item["ctx"]["pattern"], f"{item['input']}/"):
            return f"`{item['input']}` has to end in `/`"
        case "string_pattern_mismatch":
            return f"`{item['input']}` does not have the form `{item['ctx']['pattern']}`"
        case _:
            said = str(item["msg"])
            return said[:1].lower() + said[1:]


def _contradictions(document: Document, yaml: RemitYaml, found: Standing) -> Iterator[Problem]:
    """What no single key can say: names used twice, and names that nothing has."""
    problems = [*_twice(document, yaml), *_unmapped(document, yaml)]
    yield from problems
    yield from _unknown(document, yaml)
    yield from trust.contradictions(document, yaml, found.paths, sound=not problems)


def _twice(document: Document, yaml: RemitYaml) -> Iterator[Problem]:
    seen: set[tuple[str, str]] = set()
    for path, kind, name in _names(yaml):
        if (kind, name) in seen:
            yield document.problem(path, f"the {kind} `{name}` stands twice")
        seen.add((kind, name))


def _unknown(document: Document, yaml: RemitYaml) -> Iterator[Problem]:
    yield from identity.contradictions(document, yaml)
    projects = frozenset(name for found in yaml.environments.values() for name in found)
    yield from services.contradictions(document, yaml, projects)
    yield from azure.contradictions(document, yaml)
    yield from databases.contradictions(document, yaml, projects)
    own = yaml.sign_in.browser.origin or door(yaml)
    for index, issuer in enumerate(yaml.issuers):
        if issuer.oidc and issuer.oidc.issuer == own:
            yield document.problem(
                ("issuers", index), f"`{own}` is remit itself, whose word to services is no identity"
            )


def _unmapped(document: Document, yaml: RemitYaml) -> Iterator[Problem]:
    """Projects and accounts of mappings that there are not."""
    accounts: dict[str, set[str]] = {}
    for name, project in (item for found in yaml.environments.values() for item in found.items()):
        accounts.setdefault(name, set()).update(project.accounts)
    for index, line in enumerate(yaml.credentials.accounts):
        path = ("credentials", "accounts", index)
        if line.project not in accounts:
            yield document.problem((*path, "project"), f"`{line.project}` is no project under `environments`")
        elif line.account not in accounts[line.project]:
            yield document.problem(
                (*path, "account"), f"`{line.account}` is not among the accounts of `{line.project}`"
            )


def _names(yaml: RemitYaml) -> Iterator[tuple[Path_, str, str]]:
    """Everything that must be there once: where it stands, what it is, its name."""
    yield from identity.names(yaml)
    yield from services.names(yaml)
    yield from azure.names(yaml)
    yield from databases.names(yaml)
    for environment, found in yaml.environments.items():
        for name, project in found.items():
            path = ("environments", environment, name)
            yield path, "project", name
            yield (*path, "number"), "project number", project.number
            yield from (((*path, "buckets", index), "bucket", one) for index, one in enumerate(project.buckets))
            yield from (((*path, "accounts", index), "account", one) for index, one in enumerate(project.accounts))


def _settings(file: Path, yaml: RemitYaml, pending: Mapping[str, str]) -> Settings:
    folder = file.parent
    state = folder / yaml.state.folder
    who = identity.identity(yaml, folder, state, door(yaml))
    audit = AuditSettings(
        folder=state / "audit",
        origin=yaml.audit.origin,
        node=yaml.audit.node,
        seal_seconds=float(yaml.audit.seal_every),
        minimum_free_bytes=yaml.audit.minimum_free_mib * _MIB,
    )
    estate = Estate(
        tuple(_projects(yaml)),
        services.services(yaml, who.sessions.origin),
        stores_terminated=yaml.gateway.storage == "terminate",
        databases=databases.databases(yaml),
    )
    return Settings(
        file=file,
        estate=estate,
        identity=who,
        sign_in=SignInSettings(
            yaml.sign_in.client,
            yaml.sign_in.scope,
            next((one.issuer for one in who.oidc if one.name == yaml.sign_in.issuer), ""),
        ),
        credentials=_credentials(yaml, who.entra.tenant),
        policy=PolicySettings(folder / yaml.policy.folder),
        gateway=_gateway(yaml, folder, who, audit, estate),
        state=StateSettings(url=yaml.state.database or f"sqlite:///{state / 'remit.db'}"),
        audit=audit,
        trust=trust.trust(yaml, who.entra, estate, who.sessions.origin, pending),
        own_keys=state / "issuer",
        labels=yaml.gateway.labels,
        lifetimes=_lifetimes(yaml, who),
        sql=databases.door(yaml, folder, state / "run" / "arbiter.sock"),
        logins=databases.logins(yaml),
        database_authority=state / "databases",
        sections=yaml.model_dump(),
    )


def _projects(yaml: RemitYaml) -> Iterator[Project]:
    for environment, found in yaml.environments.items():
        for name, project in found.items():
            yield Project(
                id=name,
                number=project.number,
                environment=environment,
                locations=tuple(project.locations),
                buckets=tuple(project.buckets),
                accounts=tuple(project.accounts),
                containers=tuple(project.containers),
            )


def _credentials(yaml: RemitYaml, tenant: str) -> CredentialSettings:
    on_behalf_of, own = yaml.credentials.on_behalf_of, yaml.credentials.own_issuer
    return CredentialSettings(
        tenant=tenant,
        application=on_behalf_of.application,
        scope=on_behalf_of.scope,
        managed_identity=on_behalf_of.managed_identity,
        provider=yaml.credentials.google.provider,
        mappings=tuple(AccountMapping(one.role, one.project, one.account) for one in yaml.credentials.accounts),
        lifetime=yaml.credentials.google.lifetime,
        own_issuer=own.url if own else "",
        own_provider=own.provider if own else "",
        own_groups=frozenset(own.groups) if own else frozenset(),
        azure=azure.lines(yaml),
    )


def _lifetimes(yaml: RemitYaml, who: IdentitySettings) -> LifetimeSettings:
    given = yaml.credentials.lifetimes
    return LifetimeSettings(
        sign_in=_seconds(given.sign_in) if given.sign_in else 0,
        workflow=_seconds(given.workflow),
        cloud_job=_seconds(given.cloud_job),
        workflows=frozenset(one.issuer for one in who.oidc if one.kind in _PIPELINES),
        tenant=who.entra.tenant,
        direct=yaml.credentials.google.lifetime,
    )


def _seconds(text: str) -> int:
    return int(text[:-1]) * {"s": 1, "m": 60, "h": 3600, "d": 86_400}[text[-1]]


def terminated_hosts(estate: Estate) -> tuple[str, ...]:
    """The hosts that the gateway speaks for: Vertex AI in every location of the estate, Logging, Resource Manager.

    And Cloud Storage, where it is not tunnelled.
    """
    locations = sorted({location for project in estate.projects for location in project.locations})
    return (*map(vertex_host, locations), *_CONTROL, *(_STORAGE if estate.stores_terminated else ()))


def vertex_host(location: str) -> str:
    """The host of Vertex AI in a location."""
    return "aiplatform.googleapis.com" if location == "global" else f"{location}-aiplatform.googleapis.com"


def door(yaml: RemitYaml) -> str:
    """The URL of the gateway's own door, which also answers the API and people's browsers."""
    return f"{'https' if yaml.gateway.tls else 'http'}://{yaml.gateway.listen}"


def _gateway(
    yaml: RemitYaml, folder: Path, who: IdentitySettings, audit: AuditSettings, estate: Estate
) -> GatewaySettings:
    state = folder / yaml.state.folder
    host, _, port = yaml.gateway.listen.rpartition(":")
    upstream, tls = yaml.gateway.upstream, yaml.gateway.tls
    return GatewaySettings(
        hosts=terminated_hosts(estate),
        issuers=who.accepted,
        arbiter_socket=state / "run" / "arbiter.sock",
        access_log=audit.access_log,
        admin_socket=state / "run" / "envoy.sock",
        streams_socket=state / "run" / "streams.sock",
        runtime=state / "run" / "envoy",
        authority=state / "door",
        listen_host=host.strip("[]"),
        listen_port=int(port),
        upstream_address=upstream.address or "",
        upstream_ca=folder / upstream.ca_file if upstream.ca_file else None,
        tls_certificate=folder / tls.certificate if tls else None,
        tls_key=folder / tls.key if tls else None,
        concurrency=yaml.gateway.workers,
        leases=yaml.gateway.leases,
        services=services.routes(yaml, folder),
        endpoint=_endpoint(yaml, folder),
        objects=_STORAGE if estate.stores_terminated else (),
    )


def _endpoint(yaml: RemitYaml, folder: Path) -> Endpoint | None:
    given = yaml.gateway.endpoint
    if given is None:
        return None
    host, _, port = given.listen.rpartition(":")
    return Endpoint(
        listen_host=host.strip("[]"),
        listen_port=int(port),
        names={name: vertex_host(location) for name, location in given.names.items()},
        certificate=folder / given.tls.certificate if given.tls else None,
        key=folder / given.tls.key if given.tls else None,
    )
