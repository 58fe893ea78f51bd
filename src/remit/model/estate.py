"""The estate: environments, projects, and what belongs to them, as `remit.yaml` names them.

A child that is not listed (a job, a model, an endpoint) is known by its project; a project that is not
listed is unknown, and what is unknown is refused before anything is evaluated (DESIGN section 9).
"""

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Project:
    """One Google Cloud project. `buckets`: names without `gs://`; `accounts`: e-mails of its service accounts."""

    id: str
    number: str
    environment: str
    locations: tuple[str, ...]
    buckets: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()

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
class Estate:
    """All projects and services. Ids, numbers, buckets, accounts and service names are unique (checked by `settings`).

    `stores_terminated`: whether calls of Cloud Storage pass the gateway too, instead of a tunnel that nobody reads.
    """

    projects: tuple[Project, ...]
    services: tuple[Service, ...] = ()
    stores_terminated: bool = False

    def project(self, name: str) -> Project | None:
        """The project with this id or number."""
        return next((project for project in self.projects if name in {project.id, project.number}), None)

    def owner_of_bucket(self, bucket: str) -> Project | None:
        """The project that a bucket belongs to."""
        return next((project for project in self.projects if bucket in project.buckets), None)

    def owner_of_account(self, email: str) -> Project | None:
        """The project that a service account belongs to, one of Google's own agents included."""
        return next((one for one in self.projects if email in one.accounts or email in one.agents), None)

    def service(self, known_as: str) -> Service | None:
        """The service that the gateway names so."""
        return next((service for service in self.services if service.known_as == known_as), None)
