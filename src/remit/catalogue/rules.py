"""What a message asks for besides the resource that it is named by, and how its method may be treated.

One reader for all methods: the message becomes a tree (`mentions.py`), and the tree tells what it names (`touched.py`),
how much it asks for (`work.py`), and whether a part of it cannot be read (`untyped.py`). Here stand the exceptions that
belong to methods: predictions on the caller's own endpoints are not walked, and work that names no account runs as an
agent of the project, which is an account like any other.
Source: cloud.google.com/vertex-ai/docs/general/access-control (service agents).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from remit.catalogue import mentions, touched, work
from remit.catalogue.descriptors import descriptor
from remit.catalogue.mentions import Part, plain
from remit.catalogue.methods import Method
from remit.catalogue.names import Names, Place
from remit.catalogue.untyped import holds_untyped
from remit.model.operation import Group, Resource, Work

_VERTEX = "aiplatform.projects.locations."
_LARGEST = 1 << 20  # bytes: a message whose every field is looked at; Vertex AI's largest jobs are a tenth of it
# Vertex AI takes 1.5 MB (cloud.google.com/sdk/gcloud/reference/ai/endpoints/predict), here in its larger reading.
_LARGEST_PREDICTION = 3 << 19
_LARGEST_SENT = 16 << 20  # the gateway's own limit; prompts carry pictures and sound

# Predictions whose message names the endpoint and nothing else: the rest is data for a model that the caller owns.
_OWN = frozenset(
    f"{_VERTEX}endpoints.{verb}"
    for verb in (
        *("predict", "rawPredict", "streamRawPredict", "directPredict", "directRawPredict"),
        *("serverStreamingPredict", "explain"),
    )
)
# Of these the message may say besides how to explain, with addresses of examples: all but the data is looked at.
_EXPLAIN = f"{_VERTEX}endpoints.explain"
_DATA = ("instances", "parameters")
_RAW = (".rawPredict", ".streamRawPredict")
# Over REST the gateway leases these by their path: it looks whether a body could name another endpoint.
_LEASED_BY_PATH = frozenset(f"{_VERTEX}endpoints.{verb}" for verb in ("predict", "rawPredict", "streamRawPredict"))
# Reads whose gRPC message has a second field that names something; a lease's key holds only the first.
_SECOND_NAMES = frozenset(
    {
        *("aiplatform.datasets.list", "aiplatform.reasoningEngines.list"),
        *("aiplatform.publishers.models.get", "aiplatform.publishers.models.list"),
        f"{_VERTEX}datasets.searchDataItems",
        f"{_VERTEX}featureGroups.features.get",
        f"{_VERTEX}featurestores.entityTypes.features.get",
        f"{_VERTEX}featurestores.searchFeatures",
        f"{_VERTEX}tensorboards.batchRead",
        f"{_VERTEX}tensorboards.experiments.runs.timeSeries.readBlobData",
    }
)
_GENERATIVE = (
    *("enerateContent", "countTokens", "computeTokens", "embedContent", "batchEmbedContents", "predictLongRunning"),
    *("publishers.models.predict", "cachedContents.create", ".completions", ".embeddings", ".responses"),
    *("interactions.create", "interactions.createStream", "interactionsHttp.create"),
)
_QUIET = frozenset({Group.USE, Group.OBSERVE})

# Google's agents of a project, by their place in `Project.agents`.
_CODE, _SERVICE, _COMPUTE = 0, 1, 2
# Kinds of work, and the agent that runs each when it names no account itself.
_RUNS_AS: Mapping[str, int] = {
    "CustomJobSpec": _CODE,
    "TrainingPipeline": _CODE,
    "PersistentResource": _CODE,
    "PipelineJob": _COMPUTE,
    "NotebookExecutionJob": _COMPUTE,
    "NotebookRuntime": _COMPUTE,
    "NotebookRuntimeTemplate": _COMPUTE,
    "BatchPredictionJob": _SERVICE,
    "DeployedModel": _SERVICE,
    "DeploymentResourcePool": _SERVICE,
    "ReasoningEngineSpec": _SERVICE,
    "TuningJob": _SERVICE,
}
# Launches whose message says less than that: by the collection in the method's id.
_LAUNCHED_AS: Mapping[str, int] = {
    **dict.fromkeys(("customJobs", "hyperparameterTuningJobs", "trainingPipelines", "nasJobs"), _CODE),
    "persistentResources": _CODE,
    **dict.fromkeys(("pipelineJobs", "schedules", "notebookExecutionJobs", "notebookRuntimes"), _COMPUTE),
    "notebookRuntimeTemplates": _COMPUTE,
}
# The task of a training pipeline whose inputs hold the job of each trial; what else says an account is nobody's word.
_TUNING_TASK = "gs://google-cloud-aiplatform/schema/trainingjob/definition/hyperparameter_tuning_task_1.0.0.yaml"
# Google writes these, whatever a mask says.
_ECHOED = frozenset({"deployedmodels", "serviceaccountemail"})
# What runs from then on too, though the table counts it as a change.
_RUNS = (
    *(".deploy", ".deployModel", ".deployPublisherModel", ".reasoningEngines.create", ".evaluationRuns.create"),
    ".rebaseTunedModel",
)
# They change what runs already, as whom it runs already.
_KEEPS_ACCOUNT = (
    *(".mutateDeployedModel", ".undeployModel", "persistentResources.patch", "deploymentResourcePools.patch"),
    "notebookRuntimeTemplates.patch",
)


@dataclass(frozen=True, slots=True)
class Extra:
    """What a request touches besides the resource that it is named by.

    `accounts`: e-mails of all service accounts to act as, the default agents among them; `work`: `None` where nothing
    is started or changed and nothing is named; `untyped` and `external`: whether it needs those permissions.
    """

    resources: tuple[Resource, ...] = ()
    accounts: tuple[str, ...] = ()
    work: Work | None = None
    untyped: bool = False
    external: bool = False


def read(method: Method, message: Message, place: Place, names: Names, named_by: str) -> Extra:
    """What a message asks for; raises `Refused` for what it names outside of the estate, or names unclearly.

    `message`: of either version; `named_by`: the dotted field that names `place`, which is not counted again.
    """
    if method.action.id == _EXPLAIN:
        message = _without_data(message)
    elif method.action.id in _OWN or raw(method):
        return Extra()
    root = mentions.of_message(message)
    cleared = method.action.id.endswith(".patch") and _clears_account(message, named_by)
    return _extra(method, root, place, names, named_by, untyped=holds_untyped(root), cleared=cleared)


def read_opaque(method: Method, body: dict[str, Any], place: Place, names: Names) -> Extra:
    """As `read`, for a REST body (strict JSON) whose message Google does not publish: untyped, unless it is empty."""
    root = mentions.of_json(body)
    return _extra(method, root, place, names, "", untyped=bool(body))


def leasable(method: Method) -> tuple[bool, bool]:
    """Whether a permit may be repeated, over REST and over gRPC: own predictions, and reads that name one thing."""
    identifier = method.action.id
    if identifier in _OWN:
        return identifier in _LEASED_BY_PATH, identifier != _EXPLAIN
    reads = method.verb == "GET" and method.action.group is Group.OBSERVE
    return reads, reads and identifier not in _SECOND_NAMES


def own(method: Method) -> bool:
    """Whether it is a prediction on an endpoint, in which all untyped values are data for the caller's own model."""
    return method.action.id in _OWN and method.action.id != _EXPLAIN


def data(method: Method) -> tuple[str, ...]:
    """The fields of a message that are data for the caller's own model, where others beside them are looked at."""
    return _DATA if method.action.id == _EXPLAIN else ()


def raw(method: Method) -> bool:
    """Whether the body belongs to the model alone and is not read.

    Of a publisher's model too, where it is whatever its publisher defined: what such a model opens by itself is decided
    with the model, not with the message.
    """
    return method.action.id.endswith(_RAW)


def largest(method: Method) -> int:
    """Bytes of a body that are taken at all."""
    if raw(method) or method.action.id.endswith(_GENERATIVE):
        return _LARGEST_SENT
    return _LARGEST_PREDICTION if method.action.id in _OWN else _LARGEST


def _extra(
    method: Method, root: Part, place: Place, names: Names, named_by: str, *, untyped: bool, cleared: bool = False
) -> Extra:
    found = touched.find(root, place, names, named_by)
    for agent in _agents(method, root, found, place, cleared=cleared):
        names.account(agent)
        found.accounts[agent] = None
    told: Work | None = work.of_tree(root, place, found)
    quiet = method.action.group in _QUIET or method.verb == "GET"
    if quiet and not (found.resources or found.urls):
        told = None
    return Extra(tuple(found.resources), tuple(found.accounts), told, untyped, found.external)


def _agents(
    method: Method, root: Part, found: touched.Touched, place: Place, *, cleared: bool = False
) -> Iterator[str]:
    """The default agents that the work in a message runs as, wherever it names no account itself.

    `cleared`: a mask takes an account away, so that the agent is the account from then on.
    """
    agents = place.project.agents
    keeps = method.action.id.endswith(_KEEPS_ACCOUNT)
    nameless = [] if keeps or method.verb == "GET" else list(_nameless(root))
    yield from (agents[agent] for agent in nameless)
    launches = method.action.group is Group.LAUNCH or method.action.id.endswith(_RUNS)
    if cleared or (launches and not found.accounts and not nameless):
        collections = method.action.id.split(".")
        yield agents[next((_LAUNCHED_AS[one] for one in collections if one in _LAUNCHED_AS), _SERVICE)]


def _nameless(part: Part) -> Iterator[int]:
    """The agent of every piece of work in a tree that names no account."""
    agent = _SERVICE if part.name == "googleserviceaccountconfig" else _RUNS_AS.get(part.kind)
    if agent is not None and not _named(part):
        yield agent
    for below in part.parts:
        yield from _nameless(below)


def _named(part: Part) -> bool:
    """Whether a piece of work says who it runs as, or leaves that to something that does."""
    if any(one.name == "serviceaccount" and one.value for one in part.parts):
        return True
    if part.kind == "TrainingPipeline":  # a job, or the job of each trial, says it; the inputs of other tasks cannot
        return any(one.kind == "CustomJobSpec" for one in part.all("trainingtaskinputs")) or _trials_named(part)
    if part.kind == "PersistentResource":  # the account of its runtime counts when it is switched on, and not before
        specs = (one for spec in part.all("resourceruntimespec") for one in spec.all("serviceaccountspec"))
        return any(_said(one, "serviceaccount") and _said(one, "enablecustomserviceaccount") for one in specs)
    return part.kind == "DeployedModel" and any(one.value for one in part.all("sharedresources"))


def _trials_named(part: Part) -> bool:
    """Whether a training pipeline is a search, and the job of its trials names an account."""
    tasks = {one.value for one in part.all("trainingtaskdefinition")}
    jobs = (job for one in part.all("trainingtaskinputs") for job in one.all("trialjobspec"))
    return tasks == {_TUNING_TASK} and any(_said(job, "serviceaccount") for job in jobs)


def _without_data(message: Message) -> Message:
    """A prediction without what is the model's own."""
    bare = type(message)()
    bare.CopyFrom(message)
    for field in _DATA:
        bare.ClearField(field)
    return bare


def _said(part: Part, name: str) -> bool:
    return any(one.value for one in part.all(name))


def _clears_account(message: Any, named_by: str) -> bool:
    """Whether the mask of a change takes in a field that says who something runs as, which the message leaves empty."""
    fields = descriptor(message).fields_by_name
    changed = fields.get(named_by.partition(".")[0])
    if "update_mask" not in fields or changed is None or changed.message_type is None:
        return False
    return any(_leaves_empty(getattr(message, changed.name), path) for path in message.update_mask.paths)


def _leaves_empty(value: Any, path: str) -> bool:
    """Whether a path of a mask leads to an account, or to what can hold one, and none is there."""
    for step in path.split("."):
        name, kind = plain(step), descriptor(value)
        field = next((field for field in kind.fields if plain(field.name) == name), None)
        if field is None:  # `*`, or what Google refuses
            break
        if name in _ECHOED or field.is_repeated:
            return False
        if field.message_type is None:
            return name == "serviceaccount" and not getattr(value, field.name)
        value = getattr(value, field.name)
    return _holds_account(descriptor(value)) and not _anywhere(mentions.of_message(value))


def _anywhere(part: Part) -> bool:
    return (part.name == "serviceaccount" and bool(part.value)) or any(map(_anywhere, part.parts))


@cache
def _holds_account(kind: Descriptor) -> bool:
    """Whether a kind of message has a field for an account, however deep."""
    seen: set[str] = set()

    def found(one: Descriptor) -> bool:
        if one.full_name in seen:
            return False
        seen.add(one.full_name)
        return any(
            found(field.message_type) if field.message_type else plain(field.name) == "serviceaccount"
            for field in one.fields
            if plain(field.name) not in _ECHOED
        )

    return found(kind)
