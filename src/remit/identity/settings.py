"""What identity needs to know of each issuer: plain values, checked by `settings`."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


@dataclass(frozen=True, slots=True)
class RoleRule:
    """Whoever's verified claims hold all of `when` (name, exact value) has `role`; for issuers without app roles."""

    role: str
    when: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class EntraIssuer:
    """One Entra tenant whose access tokens are accepted, v2 and v1.

    `tenant`: the tenant's id, lower case, never `common`; `audience`: the app id of Remit's registration, and `uris`:
    its identifier URIs, which v1 tokens may name instead; `clients`: app ids that may have obtained a token (`azp`,
    `appid`), those of workloads included; `guests`: home tenants whose people may come in as guests; `authority`:
    https URL without a trailing slash.
    """

    tenant: str
    audience: str
    clients: frozenset[str]
    authority: str = "https://login.microsoftonline.com"
    uris: frozenset[str] = frozenset()
    guests: frozenset[str] = frozenset()

    @property
    def issuer(self) -> str:
        """The exact value of `iss` in a v2 token, and the base of the discovery document's URL."""
        return f"{self.authority}/{self.tenant}/v2.0"

    @property
    def issuer_v1(self) -> str:
        """The exact value of `iss` in a v1 token; it is signed with the same keys."""
        return f"https://sts.windows.net/{self.tenant}/"

    @property
    def algorithms(self) -> tuple[str, ...]:
        """What Entra signs with, and nothing else: its discovery document's `id_token_signing_alg_values_supported`."""
        return ("RS256",)


class OidcKind(StrEnum):
    """Whose tokens an OIDC issuer gives out, and so which table of claims they are held against."""

    ACCESS_TOKEN = "access_token"  # RFC 9068
    GOOGLE = "google"  # ID tokens of service accounts and people
    KUBERNETES = "kubernetes"  # projected service account tokens
    GITHUB = "github"  # Actions
    GITLAB = "gitlab"  # CI/CD id_tokens
    AZURE_DEVOPS = "azure_devops"  # workload identity of a service connection


@dataclass(frozen=True, slots=True)
class OidcIssuer:
    """One issuer that is found by OpenID Connect Discovery.

    `name`: the tenant of its principals, never like a `tid`; `issuer`: exact `iss`, https; `audience`: exact `aud`;
    `clients`: `client_id`s (RFC 9068) or `azp`s that may have obtained a token, empty where the kind has none;
    `groups_claim`: of an access token, empty for none; `subjects`: exact `sub`s that are accepted, empty for all whom a
    role rule fits; `algorithms`: JWS names, asymmetric; `jwks_host`: the host that its keys are on when that is not the
    issuer's own (Google's is known), `host[:port]`.
    """

    name: str
    issuer: str
    audience: str
    kind: OidcKind = OidcKind.ACCESS_TOKEN
    clients: frozenset[str] = frozenset()
    groups_claim: str = ""
    subjects: frozenset[str] = frozenset()
    roles: tuple[RoleRule, ...] = ()
    algorithms: tuple[str, ...] = ("RS256",)
    jwks_host: str = ""


@dataclass(frozen=True, slots=True)
class SamlIssuer:
    """One SAML 2.0 identity provider.

    `name`: the tenant of its principals; `entity_id`: the provider's; `metadata`: a file with its metadata, read anew
    when it changes, or `metadata_url` (https), fetched like keys, with `pins`: SHA-256 of certificates, lower-case hex,
    that its metadata may name, empty where the file itself is the pin; `audience`: our entity id; `recipient`: our
    assertion consumer URL, exact; `groups_attribute`: name of the attribute with group ids, empty for none.
    """

    name: str
    entity_id: str
    audience: str
    recipient: str
    metadata: Path | None = None
    metadata_url: str = ""
    pins: frozenset[str] = frozenset()
    groups_attribute: str = ""
    roles: tuple[RoleRule, ...] = ()


@dataclass(frozen=True, slots=True)
class SignInProvider:
    """A provider that browsers sign in at by authorization code (RFC 6749, RFC 7636, OpenID Connect Core).

    `name`: as in its URL, `/sign-in/NAME`; `title`: for the button; `issuer`: for Entra the v2 issuer; `scopes`: with
    `openid` and what gives a refresh token; `client`: our client id; `secret_file`: its client secret where the
    provider takes no better, `None` for an assertion of our managed identity (Entra); `redirect`: our callback, exact;
    `token`: whether the session holds an access token for Remit (Entra), else the ID token's claims are the identity;
    `groups_claim` and `roles` as in `OidcIssuer`; `algorithms`: of ID tokens; `prompt`: OpenID's, empty for none
    (`consent`, which some providers want before they give a refresh token, or `select_account`).
    """

    name: str
    title: str
    issuer: str
    client: str
    redirect: str
    scopes: tuple[str, ...]
    secret_file: Path | None = None
    token: bool = False
    groups_claim: str = ""
    roles: tuple[RoleRule, ...] = ()
    algorithms: tuple[str, ...] = ("RS256",)
    prompt: str = ""


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """Browser sessions: `origin` of our pages (`https://host[:port]`), seconds without use and seconds in all."""

    origin: str
    key_file: Path
    idle: int = 3600
    absolute: int = 12 * 3600


@dataclass(frozen=True, slots=True)
class EventTransmitter:
    """One transmitter of Security Event Tokens (RFC 8417) that is believed, and of whom.

    `issuer`: exact `iss` of its tokens, https; `audience`: what it calls us; `subjects`: by the `iss` of a subject the
    tenant of the principals that it may speak of (for Entra the v2 issuer and the tenant's id: its `sub` must then be
    the `oid`); `opaque`: the tenant of users whom it names by an opaque id alone, empty for none; `algorithms`: JWS
    names, asymmetric.
    """

    issuer: str
    audience: str
    subjects: tuple[tuple[str, str], ...]
    opaque: str = ""
    algorithms: tuple[str, ...] = ("RS256",)
