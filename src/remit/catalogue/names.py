"""Resource names: from what a request says to what policy knows, by way of the estate.

A name is a path of collections and ids (google.aip.dev/122). Here every id is plain ASCII, a project is one of the
estate's (by id or by number, which come to the same), a location of Vertex AI is one of the project's, and nothing is a
wildcard (`-`, `*`). A child has the type of the resource at the top of its name, and a version (`models/7@2`) is the
model's own. Forms: those of the table of methods; cloud.google.com/iam/docs/full-resource-names for other services.
Left out: whether the thing exists, which only Google knows.
"""

import re
from dataclasses import dataclass
from functools import cache

from remit.catalogue.methods import vertex
from remit.catalogue.routes import Routes
from remit.model.errors import Refused
from remit.model.estate import Estate, Project
from remit.model.operation import Resource
from remit.model.reasons import Reason

LONGEST = 1024  # characters: ten times what a Vertex AI name needs
_SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.~@-]*")
_SERVICE = re.compile(r"[a-z][a-z0-9-]*\.googleapis\.com")
# Bucket names: cloud.google.com/storage/docs/buckets#naming; the object's part may hold no step upwards.
_STORAGE_URI = re.compile(r"gs://(?P<bucket>[a-z0-9][a-z0-9._-]{1,220}[a-z0-9])(?:/(?P<object>[^\x00-\x1f\x7f\\]*))?")
_PUBLISHED = re.compile(r"projects/\*(/locations/\*)?/publishers/\*/models/\*")
_KINDS = {
    "batchPredictionJobs": "BatchPredictionJob",
    "cachedContents": "CachedContent",
    "customJobs": "CustomJob",
    "dataLabelingJobs": "DataLabelingJob",
    "datasets": "Dataset",
    "deploymentResourcePools": "DeploymentResourcePool",
    "endpoints": "Endpoint",
    "extensions": "Extension",
    "featureGroups": "FeatureGroup",
    "featureOnlineStores": "FeatureOnlineStore",
    "featurestores": "Featurestore",
    "hyperparameterTuningJobs": "HyperparameterTuningJob",
    "indexEndpoints": "IndexEndpoint",
    "indexes": "Index",
    "metadataStores": "MetadataStore",
    "modelDeploymentMonitoringJobs": "ModelDeploymentMonitoringJob",
    "models": "Model",
    "nasJobs": "NasJob",
    "notebookExecutionJobs": "NotebookExecutionJob",
    "notebookRuntimeTemplates": "NotebookRuntimeTemplate",
    "notebookRuntimes": "NotebookRuntime",
    "persistentResources": "PersistentResource",
    "pipelineJobs": "PipelineJob",
    "ragCorpora": "RagCorpus",
    "reasoningEngines": "ReasoningEngine",
    "schedules": "Schedule",
    "specialistPools": "SpecialistPool",
    "studies": "Study",
    "tensorboards": "Tensorboard",
    "trainingPipelines": "TrainingPipeline",
    "tuningJobs": "TuningJob",
}
# What there is one of: named without an id of its own.
_SINGLE = frozenset({"cacheConfig", "ragEngineConfig", "semanticGovernancePolicyEngine"})
# Parts of an endpoint's or a model's path that are ways of asking it, and no resources.
_WAYS = re.compile(r"/(deployedModels/\*/)?invoke/\*$")
# Endpoints whose ids are Google's own: of `endpoints/openapi/completions` the name is `endpoints/openapi`.
_OWN_ENDPOINT = re.compile(r"projects/\*/locations/\*/endpoints/[a-z]+")
# Other services' resources: what one is called, and what may follow that is the resource's own.
_ELSEWHERE = (
    ("bigquery", "Table", "projects/*/datasets/*", ""),
    ("bigquery", "Table", "projects/*/datasets/*/tables/*", ""),
    ("cloudkms", "KmsKey", "projects/*/locations/*/keyRings/*/cryptoKeys/*", "cryptoKeyVersions/*"),
    ("compute", "Network", "projects/*/global/networks/*", ""),
    ("compute", "Network", "projects/*/regions/*/networkAttachments/*", ""),
    ("compute", "Network", "projects/*/regions/*/subnetworks/*", ""),
    ("logging", "LogView", "projects/*/locations/*/buckets/*/views/*", ""),
    ("secretmanager", "Secret", "projects/*/locations/*/secrets/*", "versions/*"),
    ("secretmanager", "Secret", "projects/*/secrets/*", "versions/*"),
)
_ACCOUNT = re.compile(r"projects/(?P<project>[^/]+)/serviceAccounts/(?P<email>[a-z0-9@.-]+)")
_BUCKET = re.compile(r"(?:projects/_/buckets/)?(?P<bucket>[a-z0-9][a-z0-9._-]*)")


@dataclass(frozen=True, slots=True)
class Place:
    """A name understood: the resource, its project, and its location (empty for a bare project)."""

    resource: Resource
    project: Project
    location: str


@cache
def _forms() -> Routes[str]:
    """Every form of a name that Vertex AI has, by itself: what the paths of its methods are made of."""
    routes: Routes[str] = Routes()
    for method in vertex():
        if method.scoped:
            segments = method.form.partition(":")[0].split("/")
            ends = (index for index, part in enumerate(segments, 1) if part == "*" or part in _SINGLE)
            for form in ("/".join(segments[:end]) for end in ends):
                routes.add(form, form)
                routes.add(f"{form}/operations/*", f"{form}/operations/*")
    return routes


@cache
def _elsewhere() -> Routes[tuple[str, str, int]]:
    """Other services' names, full (by service) and relative: service, type, and the segments that name the resource."""
    routes: Routes[tuple[str, str, int]] = Routes()
    for service, kind, form, own in _ELSEWHERE:
        for written in (form, f"{form}/{own}") if own else (form,):
            for key in ("", service):
                routes.add(written, (service, kind, form.count("/") + 1), key)
    return routes


def form_of(value: str) -> str:
    """The form of a name of Vertex AI (`projects/*/locations/*/models/*`), empty when it has none like it."""
    return (":" not in value and _forms().find(value)) or ""


def named_in(form: str) -> str:
    """Of the path of a method (no version), the part that names its resource, with `*` for each id."""
    form = _WAYS.sub("", form.partition(":")[0])
    own = _OWN_ENDPOINT.match(form)
    if own:
        return own[0]
    segments = form.split("/")
    while segments[-1] != "*" and segments[-1] not in _SINGLE:
        del segments[-1]
    return "/".join(segments)


def kind_of(form: str) -> str:
    """The schema's entity type for a form of names."""
    segments = form.split("/")
    if form in {"projects/*", "projects/*/locations/*"}:
        return "Project"
    if segments[-2] == "operations":
        return "Operation"
    if _PUBLISHED.match(form):
        return "PublisherModel"
    return _KINDS.get(segments[4] if segments[2] == "locations" else "", "VertexResource")


def project_resource(project: Project) -> Resource:
    """The project itself."""
    return Resource("Project", f"//cloudresourcemanager.googleapis.com/projects/{project.id}", project.id)


class Names:
    """Reads names against one estate."""

    def __init__(self, estate: Estate) -> None:
        self._estate = estate

    def place(self, value: str) -> Place:
        """A name of Vertex AI's under a project; raises `Refused` for what is malformed or of no known project."""
        segments = value.split("/")
        form = form_of(value) if len(value) <= LONGEST else ""
        if not form or not all(_SEGMENT.fullmatch(part) for part in segments):
            raise _not_understood(value)
        kind = kind_of(form)
        project = self.project(segments[1])
        segments[1] = project.id
        location = segments[3] if form.startswith("projects/*/locations/*") else ""
        if location and location not in project.locations:
            raise Refused(
                Reason.RESOURCE_UNKNOWN, f"location {shown(location)} of `{project.id}` is not in `remit.yaml`"
            )
        if kind == "Project":
            return Place(project_resource(project), project, location)
        collections = form.split("/")
        if "models" in collections:
            at = collections.index("models") + 1
            segments[at] = segments[at].partition("@")[0]  # a version or an alias is the model's own
        name = f"//aiplatform.googleapis.com/{'/'.join(segments)}"
        return Place(Resource(kind, name, project.id), project, location)

    def resource(self, value: str) -> Resource:
        """Any Google resource of the estate by its name.

        `value`: full (`//compute.googleapis.com/projects/p/global/networks/n`) or relative (`projects/p/…`). Raises
        `Refused` for other projects, for what is malformed, and for a relative name of a form that is not known.
        """
        service, name = _split(value)
        if len(value) > LONGEST or ".." in value:
            raise _not_understood(value)
        if service == "storage" and (bucket := _BUCKET.fullmatch(name)):
            return self.bucket(bucket["bucket"])
        account = _ACCOUNT.fullmatch(name)
        if account and service in {"", "iam"}:
            return self._account_in(account["email"], account["project"])
        segments = name.split("/")
        if not all(_SEGMENT.fullmatch(part) for part in segments):
            raise _not_understood(value)
        found = _elsewhere().find(name, service)
        if found:
            owner, kind, length = found
            return self._in(owner, kind, segments[:length])
        if service in {"", "aiplatform", "cloudresourcemanager"}:
            return self.place(name).resource
        return self._in(service, "CloudResource", segments)

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

    def project(self, name: str) -> Project:
        """A project of the estate by id or number."""
        project = self._estate.project(name)
        if project is None:
            raise Refused(Reason.RESOURCE_UNKNOWN, f"project {shown(name)} is not in `remit.yaml`")
        return project

    def _account_in(self, email: str, project: str) -> Resource:
        account = self.account(email)
        if project != "-" and self.project(project).id != account.project:
            raise Refused(Reason.RESOURCE_UNKNOWN, f"service account {shown(email)} lies in another project")
        return account

    def _in(self, service: str, kind: str, segments: list[str]) -> Resource:
        collection, *rest = segments
        if collection != "projects" or not rest:
            raise _not_understood("/".join(segments))
        project = self.project(rest[0])
        name = "/".join(["projects", project.id, *rest[1:]])
        return Resource(kind, f"//{service}.googleapis.com/{name}", project.id)


def _split(value: str) -> tuple[str, str]:
    """The service of a full name (`compute`) and the rest; no service for a relative one."""
    if not value.startswith("//"):
        return "", value
    host, _, name = value.removeprefix("//").partition("/")
    if not _SERVICE.fullmatch(host):
        raise _not_understood(value)
    return host.removesuffix(".googleapis.com"), name


def _not_understood(value: str) -> Refused:
    return Refused(Reason.RESOURCE_UNKNOWN, f"{shown(value)} is not a name that Remit understands")


def shown(value: str) -> str:
    """A caller's string, fit for a message: printable ASCII, at most 120 characters, in backticks."""
    plain = "".join(sign if " " <= sign <= "~" and sign != "`" else "?" for sign in value[:121])
    return f"`{plain if len(value) <= 120 else plain[:119] + '…'}`"  # noqa: PLR2004 - the bound that the docstring names
