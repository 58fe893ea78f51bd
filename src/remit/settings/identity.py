"""From remit.yaml to identity's settings: who is believed, and where browsers sign in."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from remit.identity.settings import (
    EntraIssuer,
    EventTransmitter,
    OidcIssuer,
    OidcKind,
    RoleRule,
    SamlIssuer,
    SessionSettings,
    SignInProvider,
)
from remit.model.errors import Problem
from remit.settings import identity_schema as schema
from remit.settings.document import Document, Path_
from remit.settings.schema import RemitYaml

_SCOPES = ("openid", "profile", "offline_access")


@dataclass(frozen=True, slots=True)
class IdentitySettings:
    """Everybody who is believed. `countries`: a MaxMind database; `graph`: whether Microsoft Graph is asked."""

    entra: EntraIssuer
    oidc: tuple[OidcIssuer, ...]
    saml: tuple[SamlIssuer, ...]
    titles: tuple[tuple[str, str], ...]
    providers: tuple[SignInProvider, ...]
    sessions: SessionSettings
    transmitters: tuple[EventTransmitter, ...]
    graph: bool
    countries: Path | None

    @property
    def tenants(self) -> frozenset[str]:
        """The tenants of all principals, as in `Principal.tenant`, those who come with a browser included."""
        signed_in = {one.name for one in self.providers if not one.token}
        others = {one.name for one in self.oidc} | {one.name for one in self.saml}
        return frozenset({self.entra.tenant}) | signed_in | others

    @property
    def sign_in_issuers(self) -> dict[str, str]:
        """Whose sessions count: by the name of each browser's sign-in, the issuer of its principals."""
        return {one.name: one.issuer for one in self.providers} | {one.name: one.entity_id for one in self.saml}

    @property
    def accepted(self) -> tuple[tuple[str, str], ...]:
        """`(iss, aud)` of every token that may be presented, for the gateway's own check."""
        entra = self.entra
        v1 = tuple((entra.issuer_v1, audience) for audience in (entra.audience, *sorted(entra.uris)))
        return ((entra.issuer, entra.audience), *v1, *((one.issuer, one.audience) for one in self.oidc))


def identity(yaml: RemitYaml, folder: Path, state: Path, door: str) -> IdentitySettings:
    """The settings; `door`: the URL of the gateway's own door, where pages are unless `origin` says otherwise."""
    entra = _entra(yaml)
    browser = yaml.sign_in.browser
    origin = browser.origin or door
    saml = [issuer.saml for issuer in yaml.issuers if issuer.saml]
    return IdentitySettings(
        entra=entra,
        oidc=tuple(_oidc(issuer.oidc) for issuer in yaml.issuers if issuer.oidc),
        saml=tuple(_saml(one, folder, origin) for one in saml),
        titles=tuple((one.name, one.title) for one in saml),
        providers=tuple(_provider(one, yaml, folder, origin) for one in browser.providers),
        sessions=SessionSettings(origin, state / "sessions.key", browser.idle, browser.absolute),
        transmitters=tuple(_transmitter(one, yaml) for one in yaml.events),
        graph=yaml.directory.graph,
        countries=folder / yaml.directory.countries if yaml.directory.countries else None,
    )


def has_tenant(yaml: RemitYaml) -> bool:
    """Whether there is an Entra tenant at all."""
    return any(issuer.entra for issuer in yaml.issuers)


def contradictions(document: Document, yaml: RemitYaml) -> Iterator[Problem]:
    """What no single key of this part can say."""
    for index, issuer in enumerate(yaml.issuers):
        if sum(one is not None for one in (issuer.entra, issuer.oidc, issuer.saml)) != 1:
            yield document.problem(("issuers", index), "an issuer is one of `entra`, `oidc` and `saml`")
        if issuer.saml and (issuer.saml.metadata is None) == (issuer.saml.metadata_url is None):
            yield document.problem(("issuers", index, "saml"), "name one of `metadata` and `metadata_url`")
        if issuer.oidc and issuer.oidc.kind != "access_token" and not (issuer.oidc.subjects or issuer.oidc.roles):
            message = "anybody can get a token of this kind: say whose counts, by `roles` or `subjects`"
            yield document.problem(("issuers", index, "oidc"), message)
    tenants = [issuer for issuer in yaml.issuers if issuer.entra]
    if len(tenants) != 1:
        yield document.problem(("issuers",), f"exactly one issuer is `entra`, here are {len(tenants)}")
    elif yaml.sign_in.client not in _clients(yaml):
        yield document.problem(("sign_in", "client"), "`sign_in.client` is not among the issuer's `clients`")
    known = {issuer.oidc.name: issuer.oidc.issuer for issuer in yaml.issuers if issuer.oidc}
    for index, provider in enumerate(yaml.sign_in.browser.providers):
        path: Path_ = ("sign_in", "browser", "providers", index)
        if known.get(provider.name, provider.issuer) != provider.issuer:
            yield document.problem(
                (*path, "name"), f"`{provider.name}` is the name of another issuer: its people would be one"
            )
        if provider.entra == (provider.issuer is not None):
            yield document.problem(path, "a provider has an `issuer`, or `entra: true` for the tenant under `issuers`")


def names(yaml: RemitYaml) -> Iterator[tuple[Path_, str, str]]:
    """What must stand once: where, what it is, its name. A browser's provider may be an issuer's other door."""
    for index, issuer in enumerate(yaml.issuers):
        if issuer.oidc:
            yield ("issuers", index, "oidc", "name"), "issuer", issuer.oidc.name
            yield ("issuers", index, "oidc", "issuer"), "issuer's URL", issuer.oidc.issuer
        if issuer.saml:
            yield ("issuers", index, "saml", "name"), "issuer", issuer.saml.name
            yield ("issuers", index, "saml", "name"), "sign-in", issuer.saml.name
    for index, provider in enumerate(yaml.sign_in.browser.providers):
        yield ("sign_in", "browser", "providers", index, "name"), "sign-in", provider.name


def _entra(yaml: RemitYaml) -> EntraIssuer:
    found = next(issuer.entra for issuer in yaml.issuers if issuer.entra)
    return EntraIssuer(
        tenant=found.tenant,
        audience=found.audience,
        clients=frozenset(found.clients),
        uris=frozenset(found.uris),
        guests=frozenset(found.guests),
    )


def _clients(yaml: RemitYaml) -> frozenset[str]:
    """Who may obtain tokens at the issuer that the command line signs in at."""
    if yaml.sign_in.issuer is None:
        return _entra(yaml).clients
    own = (one.oidc for one in yaml.issuers if one.oidc and one.oidc.name == yaml.sign_in.issuer)
    return frozenset(client for one in own for client in one.clients)


def _oidc(found: schema.Oidc) -> OidcIssuer:
    return OidcIssuer(
        name=found.name,
        issuer=found.issuer,
        audience=found.audience,
        kind=OidcKind(found.kind),
        clients=frozenset(found.clients),
        groups_claim=found.groups_claim,
        subjects=frozenset(found.subjects),
        roles=_rules(found.roles),
        algorithms=tuple(found.algorithms),
        jwks_host=found.jwks_host or "",
    )


def _saml(found: schema.Saml, folder: Path, origin: str) -> SamlIssuer:
    return SamlIssuer(
        name=found.name,
        entity_id=found.entity_id,
        audience=f"{origin}/saml/{found.name}",
        recipient=f"{origin}/sign-in/{found.name}/saml",
        metadata=folder / found.metadata if found.metadata else None,
        metadata_url=found.metadata_url or "",
        pins=frozenset(found.pins),
        groups_attribute=found.groups_attribute,
        roles=_rules(found.roles),
    )


def _provider(found: schema.Provider, yaml: RemitYaml, folder: Path, origin: str) -> SignInProvider:
    entra = _entra(yaml)
    return SignInProvider(
        name=found.name,
        title=found.title,
        issuer=entra.issuer if found.entra else found.issuer or "",
        client=found.client,
        redirect=f"{origin}/sign-in/{found.name}/callback",
        # Entra knows an application that asks for a token for itself by its id only (AADSTS90009)
        scopes=tuple(found.scopes) or ((*_SCOPES, f"{entra.audience}/.default") if found.entra else _SCOPES),
        secret_file=folder / found.secret_file if found.secret_file else None,
        token=found.entra,
        prompt=found.prompt,
        groups_claim=found.groups_claim,
        roles=_rules(found.roles),
        algorithms=tuple(found.algorithms),
    )


def _transmitter(found: schema.Transmitter, yaml: RemitYaml) -> EventTransmitter:
    """A transmitter speaks of the tenant's people, and of those of the issuers that it is listed for."""
    entra = _entra(yaml)
    others = {one.oidc.issuer: one.oidc.name for one in yaml.issuers if one.oidc and one.oidc.name in found.about}
    return EventTransmitter(
        issuer=found.issuer,
        audience=found.audience,
        subjects=tuple(sorted({entra.issuer: entra.tenant, **others}.items())),
        algorithms=tuple(found.algorithms),
    )


def _rules(rules: Sequence[schema.Rule]) -> tuple[RoleRule, ...]:
    return tuple(RoleRule(rule.role, tuple(sorted(rule.when.items()))) for rule in rules)
