"""The estate: environments, projects, and what belongs to them, as `remit.yaml` names them.

A child that is not listed (a job, a model, an endpoint) is known by its project; a project that is not
listed is unknown, and what is unknown is refused before anything is evaluated (DESIGN section 9).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Project:
    """One Google Cloud project, and what belongs to the same people elsewhere.

    `buckets`: names without `gs://`; `accounts`: e-mails of its service accounts; `containers`: of Azure Blob Storage,
    `ACCOUNT/CONTAINER`.
    """

    id: str
    number: str
    environment: str
    locations: tuple[str, ...]
    buckets: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()
    containers: tuple[str, ...] = ()

    @property
    def agents(self) -> tuple[str, ...]:
        """The accounts that Google runs work as when nobody names one.

        Vertex AI's custom code agent, its service agent, and Compute Engine's default account, in this order
        (cloud.google.com/iam/docs/service-agents).
        """
        return (
            f"service-{self.number}@gcp-sa-aiplatform-cc.iam.gserviceaccount.com",
            f"service-{self.number}@gcp-sa-aiplatform.iam.gserviceaccount.com",
            f"{self.number}-compute@developer.gserviceaccount.com",
        )


class ServiceKind(StrEnum):
    """What a service speaks, and so how much of a request can be understood."""

    WEB = "web"
    GRPC = "grpc"
    TENSORFLOW_SERVING = "tensorflow-serving"


@dataclass(frozen=True, slots=True)
class Service:
    """Something else than Google's that Remit stands in front of.

    `name`: lower-case words joined by `-`, unique; `project`: the id of the project that it belongs to; `prefix`: the
    folder below which it stands at the door (`/apps/board/`), `host`: its own name, one of them or both;
    `audience`: of the assertion that tells it who asks; `websockets`: whether it serves any.
    """

    name: str
    project: str
    kind: ServiceKind
    audience: str
    prefix: str = ""
    host: str = ""
    websockets: bool = False

    @property
    def known_as(self) -> str:
        """The host that the gateway names it by when it asks: no name of DNS, so that no other host can be it."""
        return f"{self.name}.service"


@dataclass(frozen=True, slots=True)
class Database:
    """One PostgreSQL or Azure SQL database. `name`: unique, as a service's; `roles`: those that a login may take."""

    name: str
    project: str
    roles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Estate:
    """All projects, services and databases. Ids, numbers and names are unique (checked by `settings`).

    `stores_terminated`: whether calls of Cloud Storage pass the gateway too, instead of a tunnel that nobody reads.
    """

    projects: tuple[Project, ...]
    services: tuple[Service, ...] = ()
    stores_terminated: bool = False
    databases: tuple[Database, ...] = ()
    _known: "_Known" = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Every request asks several times whose something is: it is looked up, in an estate of any size."""
        object.__setattr__(self, "_known", _Known.of(self))  # the class is frozen

    def project(self, name: str) -> Project | None:
        """The project with this id or number."""
        return self._known.projects.get(name)

    def owner_of_bucket(self, bucket: str) -> Project | None:
        """The project that a bucket belongs to."""
        return self._known.buckets.get(bucket)

    def owner_of_container(self, container: str) -> Project | None:
        """The project that a container (`ACCOUNT/CONTAINER`) belongs to."""
        return self._known.containers.get(container)

    def database(self, name: str) -> Database | None:
        """The database of this name."""
        return self._known.databases.get(name)

    def owner_of_account(self, email: str) -> Project | None:
        """The project that a service account belongs to, one of Google's own agents included."""
        return self._known.accounts.get(email)

    def service(self, known_as: str) -> Service | None:
        """The service that the gateway names so."""
        return self._known.services.get(known_as)


@dataclass(frozen=True, slots=True)
class _Known:
    """What an estate holds, by its names; of two with one name the first."""

    projects: Mapping[str, Project]
    buckets: Mapping[str, Project]
    containers: Mapping[str, Project]
    accounts: Mapping[str, Project]
    services: Mapping[str, Service]
    databases: Mapping[str, Database]

    @classmethod
    def of(cls, estate: Estate) -> "_Known":
        last_first = estate.projects[::-1]
        return cls(
            projects={name: each for each in last_first for name in (each.id, each.number)},
            buckets={name: each for each in last_first for name in each.buckets},
            containers={name: each for each in last_first for name in each.containers},
            accounts={name: each for each in last_first for name in (*each.accounts, *each.agents)},
            services={each.known_as: each for each in estate.services[::-1]},
            databases={each.name: each for each in estate.databases[::-1]},
        )
