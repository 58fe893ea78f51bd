"""Resource names: from what a request says to what policy knows, by way of the estate.

A name is a path of collections and ids (google.aip.dev/122). Here every id is plain ASCII, a project is one of the
estate's (by id or by number, which come to the same), a location is one of the project's, and nothing is a wildcard.
Left out: whether the thing exists, which only Google knows.
"""

import re
from dataclasses import dataclass

from remit.model.errors import Refused
from remit.model.estate import Estate, Project
from remit.model.operation import Resource
from remit.model.reasons import Reason

LONGEST = 1024  # characters: ten times what a Vertex AI name needs
_SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.~@-]*")
# Bucket names: cloud.google.com/storage/docs/buckets#naming; the object's part may hold no step upwards.
_STORAGE_URI = re.compile(r"gs://(?P<bucket>[a-z0-9][a-z0-9._-]{1,220}[a-z0-9])(?:/(?P<object>[^\x00-\x1f\x7f\\]*))?")
_AFTER_LOCATION = 4
_KINDS = {
    "projects/*": "Project",
    "projects/*/locations/*": "Project",
    "projects/*/locations/*/customJobs/*": "CustomJob",
    "projects/*/locations/*/models/*": "Model",
    "projects/*/locations/*/endpoints/*": "Endpoint",
}


@dataclass(frozen=True, slots=True)
class Place:
    """A name understood: the resource, its project, and its location (empty for a bare project)."""

    resource: Resource
    project: Project
    location: str


def pattern_of(value: str) -> str:
    """The form of a name: `projects/p/locations/l` gives `projects/*/locations/*`."""
    return "/".join("*" if index % 2 else part for index, part in enumerate(value.split("/")))


def kind_of(pattern: str) -> str:
    """The schema's entity type for a form of names, empty where there is none yet."""
    if pattern.startswith("projects/*/locations/*/") and pattern.endswith("/operations/*"):
        return "Operation"
    return _KINDS.get(pattern, "")


def project_resource(project: Project) -> Resource:
    """The project itself."""
    return Resource("Project", f"//cloudresourcemanager.googleapis.com/projects/{project.id}", project.id)


class Names:
    """Reads names against one estate."""

    def __init__(self, estate: Estate) -> None:
        self._estate = estate

    def place(self, value: str) -> Place:
        """A name under a project; raises `Refused` for what is malformed or belongs to no project of the estate."""
        segments = value.split("/")
        kind = kind_of(pattern_of(value))
        if not kind or len(value) > LONGEST or not all(_SEGMENT.fullmatch(part) for part in segments):
            raise Refused(Reason.RESOURCE_UNKNOWN, f"{shown(value)} is not a name that Remit understands")
        project = self._project(segments[1])
        location = segments[3] if len(segments) >= _AFTER_LOCATION else ""
        if location and location not in project.locations:
            raise Refused(
                Reason.RESOURCE_UNKNOWN, f"location {shown(location)} of `{project.id}` is not in `remit.yaml`"
            )
        if kind == "Project":
            return Place(project_resource(project), project, location)
        rest = "/".join(segments[_AFTER_LOCATION:])
        if kind == "Model":
            rest = rest.partition("@")[0]  # a version or an alias is the model's own
        name = f"//aiplatform.googleapis.com/projects/{project.id}/locations/{location}/{rest}"
        return Place(Resource(kind, name, project.id), project, location)

    def model(self, value: str, beside: Place) -> Resource:
        """A model that another resource uses: it must lie in the same project and location."""
        place = self.place(value)
        if place.resource.type != "Model":
            raise Refused(Reason.RESOURCE_UNKNOWN, f"{shown(value)} is not the name of a model")
        if (place.project, place.location) != (beside.project, beside.location):
            raise Refused(Reason.RESOURCE_UNKNOWN, f"{shown(value)} lies in another project or location")
        return place.resource

    def bucket(self, name: str) -> Resource:
        """A bucket of the estate by its name."""
        owner = self._estate.owner_of_bucket(name)
        if owner is None:
            raise Refused(Reason.RESOURCE_UNKNOWN, f"bucket {shown(name)} belongs to no project in `remit.yaml`")
        return Resource("Bucket", f"//storage.googleapis.com/projects/_/buckets/{name}", owner.id)

    def storage(self, uri: str, beside: Place) -> Resource:
        """The bucket of a `gs://` address: it must belong to the same project."""
        found = _STORAGE_URI.fullmatch(uri)
        if not found or {".", ".."} & set((found["object"] or "").split("/")):
            raise Refused(Reason.RESOURCE_UNKNOWN, f"{shown(uri)} is not a plain `gs://` address")
        bucket = self.bucket(found["bucket"])
        if bucket.project != beside.project.id:
            raise Refused(
                Reason.RESOURCE_UNKNOWN, f"bucket {shown(found['bucket'])} does not belong to `{beside.project.id}`"
            )
        return bucket

    def account(self, email: str) -> Resource:
        """A service account of the estate by its e-mail address."""
        owner = self._estate.owner_of_account(email)
        if owner is None:
            raise Refused(
                Reason.RESOURCE_UNKNOWN, f"service account {shown(email)} belongs to no project in `remit.yaml`"
            )
        return Resource("ServiceAccount", f"//iam.googleapis.com/projects/-/serviceAccounts/{email}", owner.id)

    def _project(self, name: str) -> Project:
        project = self._estate.project(name)
        if project is None:
            raise Refused(Reason.RESOURCE_UNKNOWN, f"project {shown(name)} is not in `remit.yaml`")
        return project


def shown(value: str) -> str:
    """A caller's string, fit for a message: printable ASCII, at most 120 characters, in backticks."""
    plain = "".join(sign if " " <= sign <= "~" and sign != "`" else "?" for sign in value[:121])
    return f"`{plain if len(value) <= 120 else plain[:119] + '…'}`"  # noqa: PLR2004 - the bound that the docstring names
