"""The table of keys of remit.yaml: names, types, defaults, bounds. What is not in it is refused.

Meaning for people stands in docs/configuration.md; the way to each room's settings in `read.py`.
"""

from typing import Annotated, Literal

from pydantic import Field

from remit.settings.azure_schema import Azure, Container
from remit.settings.databases_schema import Database
from remit.settings.google_schema import Account, Bucket, Location, ProjectId, ProjectNumber, Provider
from remit.settings.identity_schema import AppId, Directory, Guid, HttpsUrl, Issuer, SignIn, Transmitter
from remit.settings.section import Section
from remit.settings.services_schema import DnsName, Service
from remit.settings.trust_schema import Trust

HostPort = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.\-\[\]:]+:[0-9]{1,5}$")]


class ProjectSection(Section):
    """One Google Cloud project, and the containers at Azure that belong to it."""

    number: ProjectNumber
    locations: Annotated[list[Location], Field(min_length=1)]
    buckets: list[Bucket] = []
    containers: list[Container] = []
    accounts: list[Account] = []


class OnBehalfOf(Section):
    """Remit's confidential application, and the second audience that only it may obtain tokens for."""

    application: AppId
    scope: Annotated[str, Field(min_length=1)]
    managed_identity: Guid


class Mapping(Section):
    """People and workloads with this role work in this project as this service account."""

    role: Annotated[str, Field(min_length=1)]
    project: ProjectId
    account: Account


class Google(Section):
    """The workload identity provider that accepts the second audience, and how long its tokens live (seconds)."""

    provider: Provider
    lifetime: Annotated[int, Field(ge=360, le=900)] = 900


class OwnIssuer(Section):
    """Remit as an issuer, for those whom Entra cannot exchange on behalf of, and the provider that accepts it."""

    url: HttpsUrl
    provider: Provider
    groups: list[str] = []


Lasting = Annotated[str, Field(pattern=r"^[1-9][0-9]{0,5}[smhd]$")]


class Lifetimes(Section):
    """How long what only the estate knows lasts: `90m`, `12h`, `7d`."""

    sign_in: Lasting | None = None
    workflow: Lasting = "6h"
    cloud_job: Lasting = "7d"


class Credentials(Section):
    """How an identity becomes a credential of Google's or Azure's."""

    on_behalf_of: OnBehalfOf
    google: Google
    own_issuer: OwnIssuer | None = None
    azure: Azure | None = None
    accounts: Annotated[list[Mapping], Field(min_length=1)]
    lifetimes: Lifetimes = Lifetimes()


class Policy(Section):
    """The folder of policies, relative to remit.yaml."""

    folder: str = "policies"


class Upstream(Section):
    """A Private Service Connect endpoint that answers for Google's hosts, and the roots that it is checked against."""

    address: HostPort | None = None
    ca_file: str | None = None


class Tls(Section):
    """The certificate of the door itself; needed wherever it does not listen on loopback."""

    certificate: str
    key: str


class Endpoint(Section):
    """The second door: an address for clients that are given one, and the location that each of its names is for."""

    listen: HostPort
    names: dict[DnsName, Location] = {}
    tls: Tls | None = None


class Gateway(Section):
    """The door."""

    listen: HostPort = "127.0.0.1:8443"
    upstream: Upstream = Upstream()
    tls: Tls | None = None
    endpoint: Endpoint | None = None
    databases: HostPort | None = None
    storage: Literal["tunnel", "terminate"] = "tunnel"
    labels: bool = False
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    leases: bool = True


class State(Section):
    """Where Remit keeps what it must not forget: a folder, relative to remit.yaml, and a database in it or not."""

    folder: str = ".remit"
    database: Annotated[str, Field(pattern=r"^postgresql://")] | None = None


class Audit(Section):
    """The ledger's name, and how often access events are sealed (seconds)."""

    origin: Annotated[str, Field(pattern=r"^[a-z0-9.-]+(/[A-Za-z0-9._-]+)+$")]
    node: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,63}$")] = "node-1"
    seal_every: Annotated[int, Field(ge=1, le=600)] = 10
    minimum_free_mib: Annotated[int, Field(ge=1)] = 64


class RemitYaml(Section):
    """The whole file."""

    version: Annotated[int, Field(ge=1, le=1)]
    issuers: Annotated[list[Issuer], Field(min_length=1)]
    sign_in: SignIn
    directory: Directory = Directory()
    events: list[Transmitter] = []
    environments: Annotated[dict[str, dict[ProjectId, ProjectSection]], Field(min_length=1)]
    services: list[Service] = []
    databases: list[Database] = []
    credentials: Credentials
    policy: Policy = Policy()
    gateway: Gateway = Gateway()
    state: State = State()
    audit: Audit
    trust: Trust
