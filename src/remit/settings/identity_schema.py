"""The keys of remit.yaml that say who is believed, and where people sign in. As strict as the rest (`schema.py`)."""

from typing import Annotated, Literal

from pydantic import Field

from remit.settings.section import Section

Guid = Annotated[str, Field(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
# An application that Entra has yet to make stands as `app:NAME` (`placeholders.py`): for editors, not for what is read.
AppId = Annotated[
    Guid,
    Field(
        json_schema_extra={
            "pattern": r"^([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|app:[A-Za-z0-9][^\s*]{0,180})$",
        }
    ),
]
# a letter and no hyphen first: it can never look like an Entra tenant's id
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{1,31}$")]
HttpsUrl = Annotated[str, Field(pattern=r"^https://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9._~/{}-]*)?$")]
Origin = Annotated[str, Field(pattern=r"^https?://[a-z0-9.\[\]:-]+$")]
Host = Annotated[str, Field(pattern=r"^[a-z0-9.-]+(:[0-9]{1,5})?$")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Text = Annotated[str, Field(min_length=1, max_length=256)]
Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
Kind = Literal["access_token", "google", "kubernetes", "github", "gitlab", "azure_devops"]


class Rule(Section):
    """A role for everybody whose verified claims hold all of `when`."""

    role: Text
    when: Annotated[dict[Text, Text], Field(min_length=1)]


class Entra(Section):
    """An Entra tenant that Remit trusts. `clients`: application ids that may obtain tokens for Remit."""

    tenant: Guid
    audience: AppId
    clients: Annotated[list[AppId], Field(min_length=1)]
    uris: list[Text] = []
    guests: list[Guid] = []


class Oidc(Section):
    """An issuer that is found by OpenID Connect Discovery."""

    name: Name
    issuer: HttpsUrl
    audience: Text
    kind: Kind = "access_token"
    clients: list[Text] = []
    groups_claim: str = ""
    subjects: list[Text] = []
    roles: list[Rule] = []
    algorithms: Annotated[list[Algorithm], Field(min_length=1)] = ["RS256"]
    jwks_host: Host | None = None


class Saml(Section):
    """A SAML 2.0 identity provider, for people's browsers."""

    name: Name
    title: Text
    entity_id: Text
    metadata: str | None = None
    metadata_url: HttpsUrl | None = None
    pins: list[Digest] = []
    groups_attribute: str = ""
    roles: list[Rule] = []


class Issuer(Section):
    """One identity provider: exactly one of the three."""

    entra: Entra | None = None
    oidc: Oidc | None = None
    saml: Saml | None = None


class Provider(Section):
    """Where browsers sign in by authorization code; `entra` for the tenant under `issuers`, else an issuer's URL."""

    name: Name
    title: Text
    client: Text
    issuer: HttpsUrl | None = None
    entra: bool = False
    scopes: list[Text] = []
    secret_file: str | None = None
    prompt: Literal["", "consent", "select_account"] = ""
    groups_claim: str = ""
    roles: list[Rule] = []
    algorithms: Annotated[list[Algorithm], Field(min_length=1)] = ["RS256"]


class Browser(Section):
    """Sign-in for people's browsers."""

    origin: Origin | None = None
    idle: Annotated[int, Field(ge=60, le=86_400)] = 3_600
    absolute: Annotated[int, Field(ge=300, le=86_400)] = 43_200
    providers: list[Provider] = []


class SignIn(Section):
    """What `remit login` uses: a public client of the tenant, or of the `oidc` issuer of this name, and the scope."""

    client: Text
    scope: Text
    issuer: Name | None = None
    browser: Browser = Browser()


class Transmitter(Section):
    """Who may send security events (RFC 8935)."""

    issuer: HttpsUrl
    audience: Text
    about: list[Name] = []
    algorithms: Annotated[list[Algorithm], Field(min_length=1)] = ["RS256"]


class Directory(Section):
    """What is asked of Microsoft Graph, and what is read beside it."""

    graph: bool = True
    countries: str | None = None
