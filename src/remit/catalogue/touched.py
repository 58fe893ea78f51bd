"""What a message names: resources, service accounts, images, web addresses.

A string counts by the field that it stands in (an account, an image, the id of something beside the first resource) and
by what it looks like, wherever it stands: a resource name, a `gs://` or `bq://` address, any other scheme, the e-mail
of a service account. What looks like one of these and is not written plainly (`GS://`, a blank, `..`) is refused, since
somebody would read it as what it looks like. Left out: words inside of longer strings (`--data=gs://…` is an argument
of the caller's program), but for accounts in untyped parts, where components hide a job in a string of JSON.
Sources: docs.cloud.google.com/storage/docs/buckets#naming, google.aip.dev/122, BigQuery's `bq://` of Vertex AI.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from remit.catalogue.mentions import Part, plain
from remit.catalogue.names import Names, Place, shown
from remit.model.errors import Refused
from remit.model.operation import Resource
from remit.model.reasons import Reason

_SCHEME = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]{0,31}):(?://|\\\\|/\\|\\/)", re.IGNORECASE)
_ALMOST = re.compile(r"(?:gs|bq|https?):\S*", re.IGNORECASE)
_NAME = re.compile(r"(?:projects|organizations|folders|billingaccounts)/|//|publishers/[^/]*/models/", re.IGNORECASE)
_EMAIL = re.compile(r"[^\s:@/]+@(?:[^\s:@/]+\.)?gserviceaccount\.com", re.IGNORECASE)
_ENDING = re.compile(r"gserviceaccount\.com", re.IGNORECASE)
_LONGEST_EMAIL = 320  # characters (RFC 3696 erratum 1690)
_LOCAL = re.compile(r"[\w.%+-]*")
_DOMAIN = re.compile(r"(?:[\w-]+\.)*gserviceaccount\.com", re.IGNORECASE)
_BUCKET = re.compile(r"gs://(?P<bucket>[a-z0-9][a-z0-9._-]{1,220}[a-z0-9])(?:/(?P<object>[^\x00-\x1f\x7f\\]*))?")
_TABLE = re.compile(r"bq://(?P<project>[a-z0-9-]+)(?:\.(?P<dataset>\w+)(?:\.(?P<table>[\w-]+))?)?", re.ASCII)
_IMAGE = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9._-]*(?::[0-9]+)?(?:/[A-Za-z0-9._-]+)*(?::[\w.-]+)?(?:@sha256:[0-9a-f]{64})?"
)
_HOST = re.compile(r"[a-z0-9_](?:[a-z0-9._-]*[a-z0-9])?|[0-9a-f:.]+")
_SPACE = re.compile(r"[\s\\\x00-\x1f\x7f]")
_API = re.compile(r"https://(?:[a-z0-9-]+-)?aiplatform\.googleapis\.com/(?:v1|v1beta1|ui)/(projects/[^?#]+)")
_COMPUTE = re.compile(r"https://(?:www|compute)\.googleapis\.com/compute/(?:v1|beta)/(projects/[^?#]+)")
_TEMPLATES = re.compile(r"https://([a-z0-9-]+)-kfp\.pkg\.dev/([a-z0-9-]+)/([a-z0-9-]+)/[^?#]+")
_HOLE = "{{$"  # a pipeline fills it in when it runs: whoever may send untyped parts may do that

# Google's own schemas and samples, which everybody may read and nobody may write.
_PUBLIC = frozenset({"google-cloud-aiplatform"})

_ACCOUNTS = ("serviceaccount", "serviceaccountemail", "executionuser", "runtimeuser")
_IMAGES = ("imageuri", "containeruri")
_URIS = ("uri", "uris", "uriprefix", "tablepath", "gcsoutputdirectory")
_NOTED = frozenset({"Artifact", "RuntimeArtifact", "Fact"})  # an address there may be any word
_FULL = frozenset(map(plain, ("kms_key_name", "network", "subnetwork", "network_attachment")))
_PROJECTS = frozenset(map(plain, ("target_project", "project_allowlist")))
_MODELS = frozenset(map(plain, ("base_model", "base_teacher_model", "student_model")))
# Ids of what lies beside the first resource: the kind and the field, the collection that it is of.
_BESIDE: Mapping[tuple[str, str], str] = {
    (kind, plain(name)): collection
    for kind, name, collection in (
        ("CustomJobSpec", "persistent_resource_id", "persistentResources"),
        ("", "persistent_resource_id", "persistentResources"),
        ("InputDataConfig", "dataset_id", "datasets"),
        ("NasJobSpec", "resume_nas_job_id", "nasJobs"),
        ("GenerateContentRequest", "cached_content", "cachedContents"),
        ("DeployedModel", "shared_resources", "deploymentResourcePools"),
        (
            "PipelineJob.RuntimeConfig.PersistentResourceRuntimeDetail",
            "persistent_resource_name",
            "persistentResources",
        ),
    )
}
_HOSTS = {
    (kind, plain(name))
    for kind, name in (
        ("ExternalApi", "endpoint"),
        ("RagVectorDbConfig.Weaviate", "http_endpoint"),
        ("JiraSource.JiraQueries", "server_uri"),
        ("NfsMount", "server"),
        ("LustreMount", "instance_ip"),
        ("Probe.HttpGetAction", "host"),
        ("Probe.TcpSocketAction", "host"),
        *(("", name) for name in ("http_endpoint", "server_uri", "server", "instance_ip")),
    )
}
# Fields that say whose work is meant, or which model is taken: a bare id there would be nobody's to ask about.
_WHOSE = {
    (kind, plain(name))
    for kind, name in (
        *((f"Batch{verb}PipelineJobsRequest", "names") for verb in ("Cancel", "Delete")),
        ("CancelAsyncQueryReasoningEngineRequest", "operation_name"),
        ("SearchDataItemsRequest", "data_labeling_job"),
        *(("TunedModelRef", name) for name in ("tuned_model", "tuning_job", "pipeline_job")),
        *((kind, "model") for kind in ("BatchPredictionJob", "DeployedModel")),
        *(("CopyModelRequest", name) for name in ("source_model", "parent_model")),
        ("UploadModelRequest", "parent_model"),
    )
}
_FOLLOWED = (plain("operation_name"),)  # of a body that no descriptor tells: `fetchPredictOperation`
# A run again takes up the steps of another run, which is told by a number.
_RERUN = plain("original_pipeline_job_id")
# Parts that reach beyond the estate by being there.
_REACHING = frozenset(
    map(
        plain,
        (
            *("exa_ai_search", "parallel_ai_search", "url_context", "weaviate", "pinecone", "nfs_mounts"),
            *("lustre_mounts", "google_drive_source", "slack_source", "jira_source", "share_point_sources"),
            "hugging_face_model_id",
        ),
    )
)


@dataclass(slots=True)
class Touched:
    """What was found, each in the order of the message: dictionaries without values keep it, and keep things once."""

    resources: dict[Resource, None] = field(default_factory=dict)
    accounts: dict[str, None] = field(default_factory=dict)
    images: dict[str, None] = field(default_factory=dict)
    urls: dict[str, None] = field(default_factory=dict)
    external: bool = False


def find(root: Part, place: Place, names: Names, named_by: str = "") -> Touched:
    """Everything that a tree names, but for the field `named_by`; raises `Refused` for what is not the estate's."""
    found = Touched()
    reader = _Reader(found, place, names)
    skipped = tuple(plain(name) for name in named_by.split("."))
    for part, path, above in _leaves(root, (), root):
        if isinstance(part.value, str) and part.value and path != skipped:
            reader.text(part, path, above)
        if part.name == _RERUN and part.value:
            reader.rerun(part)
        if part.name in _REACHING and (part.value or part.value is None):
            found.external = True
    found.resources.pop(place.resource, None)
    return found


def _leaves(part: Part, path: tuple[str, ...], above: Part) -> Iterator[tuple[Part, tuple[str, ...], Part]]:
    """Every part with its path and the one that it stands in, the outer ones first."""
    yield part, path, above
    if part.kind == "map" and part.name == "labels":
        return
    for below in part.parts:
        yield from _leaves(below, (*path, below.name), part)


def unclear(value: str, what: str) -> Refused:
    """The refusal of a string that looks like something and is not written as that."""
    return Refused(Reason.RESOURCE_UNKNOWN, f"{shown(value)} is not a plain {what}")


class _Reader:
    """What each string of one message names."""

    def __init__(self, found: Touched, place: Place, names: Names) -> None:
        self._found, self._place, self._names = found, place, names

    def text(self, part: Part, path: tuple[str, ...], above: Part) -> None:
        """One string that is not empty."""
        value, name = str(part.value), part.name
        loose = not part.within and _HOLE in value
        if not loose and self._by_field(value, name, part.within, above):
            return
        if not self._by_value(value, path):
            self._odd(value, path, part.within)
        if not part.within and name != "members":  # members of a policy are who is let in, nobody to act as
            for email in _inside(value):
                self._account(email)

    def rerun(self, part: Part) -> None:
        """The run that is taken up again: known by its number alone, it counts as nobody's unless that is its name."""
        self._named(f"{self._location()}/pipelineJobs/{part.value}")

    def _by_field(self, value: str, name: str, within: str, above: Part) -> bool:
        """Whether the field alone said what it is."""
        if name.endswith(_ACCOUNTS):
            self._account(value)
        elif _is_image(name, within, above) and not _SCHEME.match(value):
            self._image(value)
        elif within == "ContainerRegistryDestination":
            self._pushed(value)
        elif name in _PROJECTS or (within == "PSCAutomationConfig" and name == "projectid"):
            self._add(self._names.place(f"projects/{value}").resource)
        elif name == "targetnetwork" and "/" not in value:
            project = next((str(one.value) for one in above.all("targetproject")), self._place.project.id)
            self._named(f"projects/{project}/global/networks/{value}")
        elif (within, name) == ("SecretRef", "secret") and "/" not in value:
            self._named(f"projects/{self._place.project.id}/secrets/{value}")
        elif name.endswith("gcsbucket") and not _SCHEME.match(value):
            self._bucket(f"gs://{value}", ())
        elif (within, name) in _HOSTS and not _SCHEME.match(value):
            self._web(f"https://{value}")
        else:
            return self._beside(value, name, within)
        return True

    def _beside(self, value: str, name: str, within: str) -> bool:
        """An id, or a model's own name, of what lies in the same project and location."""
        if "/" in value:
            return False
        collection = _BESIDE.get((within, name))
        if collection is None and name in _MODELS and within:
            collection = "publishers/google/models"
        if collection is None:
            return False
        self._named(f"{self._location()}/{collection}/{value}")
        return True

    def _by_value(self, value: str, path: tuple[str, ...]) -> bool:
        """Whether a string looks like something that counts; it counted, or was refused."""
        bare = value.strip()
        scheme = _SCHEME.match(bare)
        if scheme:
            if bare != value or scheme["scheme"] != scheme["scheme"].lower():
                raise unclear(value, "address")
            kinds: Mapping[str, Callable[[str, tuple[str, ...]], None]] = {"gs": self._bucket, "bq": self._table}
            read = kinds.get(scheme["scheme"])
            if read:
                read(value, path)
            else:
                self._web(value)
        elif _ALMOST.fullmatch(bare):
            raise unclear(value, "address")  # some readers add the slashes that are missing
        elif len(bare) <= _LONGEST_EMAIL and _EMAIL.fullmatch(bare):
            self._account(value)
        elif _NAME.match(bare):
            self._name(value)
        else:
            return False
        return True

    def _odd(self, value: str, path: tuple[str, ...], within: str) -> None:
        """Refuses what had to be an address or a full name, by its field, and is neither."""
        if (not within and path != _FOLLOWED) or within in _NOTED:
            return
        name = path[-1]
        if name.endswith(_URIS):
            raise unclear(value, "address")
        if name in _FULL or path == _FOLLOWED or (within, name) in _WHOSE:
            raise unclear(value, "resource name")

    def _name(self, value: str) -> None:
        if value.startswith("//") and ".googleapis.com/" not in value:
            self._web(f"https:{value}")
            return
        if value.startswith("publishers/"):
            value = f"{self._location()}/{value}"
        self._named(value)

    def _named(self, value: str) -> None:
        if _SPACE.search(value) or value.endswith("/") or {"", ".", ".."} & set(value.removeprefix("//").split("/")):
            raise unclear(value, "resource name")
        resource = self._names.resource(value)
        if resource.type == "ServiceAccount":
            self._found.accounts[value.rpartition("/")[2]] = None
        else:
            self._add(resource)

    def _account(self, value: str) -> None:
        if "/" in value:
            self._named(value)
        else:
            self._names.account(value)
            self._found.accounts[value] = None

    def _bucket(self, value: str, path: tuple[str, ...]) -> None:
        found = _BUCKET.fullmatch(value)
        if not found or {".", ".."} & set((found["object"] or "").split("/")):
            raise unclear(value, "`gs://` address")
        if found["bucket"] in _PUBLIC and not _writes(path):
            return
        self._add(self._names.bucket(found["bucket"]))

    def _table(self, value: str, _path: tuple[str, ...]) -> None:
        found = _TABLE.fullmatch(value)
        if not found:
            raise unclear(value, "`bq://` address")
        if not found["dataset"]:
            self._add(self._names.place(f"projects/{found['project']}").resource)
            return
        table = f"/tables/{found['table']}" if found["table"] else ""
        self._named(f"//bigquery.googleapis.com/projects/{found['project']}/datasets/{found['dataset']}{table}")

    def _web(self, value: str) -> None:
        """A web address: the estate's own at Google, or something outside."""
        for form, service in ((_API, ""), (_COMPUTE, "//compute.googleapis.com/")):
            own = form.fullmatch(value)
            if own:
                self._named(service + own[1])
                return
        host = _host(value)
        self._found.urls[host] = None
        template = _TEMPLATES.fullmatch(value)
        if not template or not self._repository(*template.groups()):
            self._found.external = True

    def _repository(self, location: str, project: str, name: str) -> bool:
        """Whether a repository of pipeline templates is the estate's; then it counts as what it is."""
        try:
            self._names.project(project)
        except Refused:
            return False  # somebody else's: outside, as any other web address
        self._named(f"//artifactregistry.googleapis.com/projects/{project}/locations/{location}/repositories/{name}")
        return True

    def _image(self, value: str) -> None:
        if not _IMAGE.fullmatch(value) or {"", ".", ".."} & set(value.split("/")):
            raise unclear(value, "container image")
        self._found.images[value] = None

    def _pushed(self, value: str) -> None:
        """An image that is written: outside, unless its repository lies in a project of the estate."""
        self._image(value)
        host, *rest = value.split("/")
        try:
            if not (host.endswith(("-docker.pkg.dev", ".gcr.io")) or host == "gcr.io"):
                raise unclear(value, "image of the estate")
            self._names.project(rest[0] if rest else "")
        except Refused:
            self._found.external = True

    def _add(self, resource: Resource) -> None:
        self._found.resources[resource] = None

    def _location(self) -> str:
        return f"projects/{self._place.project.id}/locations/{self._place.location}"


def _inside(text: str) -> Iterator[str]:
    """Every account that stands somewhere in a text, in one pass from each ending backwards."""
    for ending in _ENDING.finditer(text):
        window = text[max(0, ending.end() - _LONGEST_EMAIL) : ending.end()]
        before, at, domain = window.rpartition("@")
        local = _LOCAL.match(before[::-1])
        if at and local and local[0] and _DOMAIN.fullmatch(domain):
            yield f"{local[0][::-1]}@{domain}"


def _is_image(name: str, within: str, above: Part) -> bool:
    return (
        name.endswith(_IMAGES)
        or name == "resourcepoolimages"
        or (not within and name == "image" and above.name == "container")
    )


def _writes(path: tuple[str, ...]) -> bool:
    """Whether what stands at a path is written to."""
    return any(step.endswith(("destination", "sink")) for step in path) or any(
        word in step for step in path[-1:] for word in ("output", "staging", "root")
    )


def _host(value: str) -> str:
    """The host of a web address, lower case; raises `Refused` for one that readers take differently."""
    try:
        parts = urlsplit(value)
        host, _ = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:
        raise unclear(value, "web address") from None
    if _SPACE.search(value) or "@" in parts.netloc or not _HOST.fullmatch(host):
        raise unclear(value, "web address")
    return host
