"""The estate: environments, projects, and what belongs to them, as `remit.yaml` names them.

A child that is not listed (a job, a model, an endpoint) is known by its project; a project that is not
listed is unknown, and what is unknown is refused before anything is evaluated (DESIGN section 9).
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Project:
    """One Google Cloud project. `buckets`: names without `gs://`; `accounts`: e-mails of its service accounts."""

    id: str
    number: str
    environment: str
    locations: tuple[str, ...]
    buckets: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Estate:
    """All projects. Ids, numbers, buckets and accounts are unique across it (checked by `settings`)."""

    projects: tuple[Project, ...]

    def project(self, name: str) -> Project | None:
        """The project with this id or number."""
        return next((project for project in self.projects if name in {project.id, project.number}), None)

    def owner_of_bucket(self, bucket: str) -> Project | None:
        """The project that a bucket belongs to."""
        return next((project for project in self.projects if bucket in project.buckets), None)

    def owner_of_account(self, email: str) -> Project | None:
        """The project that a service account belongs to."""
        return next((project for project in self.projects if email in project.accounts), None)
