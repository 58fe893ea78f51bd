"""A message as one plain tree, whatever it was written in: protobuf of either version, `Struct`, or bare JSON.

Every string in it is kept, with the name that it stands under and the kind of message that it stands in, so that what a
message names is found by one reader (`touched.py`, `work.py`, `untyped.py`) and REST and gRPC cannot differ. Kept too
are the few numbers that guardrails count. Left out, because nobody follows it: what `_SPEECH` lists (each with a
reason), fields that only Google writes, runs of numbers, and bytes.
Source of the names: the descriptor sets under `remit/googleapis`, v1 and v1beta1.
"""

import json
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from typing import Any, NamedTuple

from google.protobuf import json_format, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from remit.catalogue.descriptors import descriptor
from remit.model.errors import Refused
from remit.model.reasons import Reason

_STRUCT, _VALUE, _LIST = (f"google.protobuf.{name}" for name in ("Struct", "Value", "ListValue"))
_BYTES = frozenset({"google.protobuf.Any", "google.api.HttpBody"})
UNTYPED = _BYTES | {_STRUCT, _VALUE, _LIST}
"""Kinds whose content no descriptor tells."""

CUSTOM_TASK = "gs://google-cloud-aiplatform/schema/trainingjob/definition/custom_task_1.0.0.yaml"
"""The task of a training pipeline whose inputs are a `CustomJobSpec`; all other tasks' inputs are untyped."""

_LONGEST_KEY = 200  # characters of a key that are compared with known names
_LONGEST_INNER = 1 << 20  # characters of JSON in a string: as long as any message that starts work
_DEEPEST = 100  # levels; protobuf's own readers stop there too
_MOST = 50_000  # parts: half a second; the largest jobs have a few hundred, a full page of metrics 40,000
_PACKAGES = ("google.cloud.aiplatform.v1beta1.", "google.cloud.aiplatform.v1.")
_NUMBERS = frozenset(
    {
        *("accelerator_count", "accelerator_type", "multihost_gpu_node_count", "replica_count", "min_replica_count"),
        *("max_replica_count", "starting_replica_count", "required_replica_count", "initial_replica_count"),
        *("min_instances", "max_instances", "parallel_trial_count", "max_parallel_trial_count", "max_trial_count"),
        *("max_concurrent_run_count", "enable_web_access", "enable_dashboard_access", "idle_shutdown_disabled"),
        *("enable_custom_service_account", "original_pipeline_job_id"),
    }
)
_SPEECH: Mapping[str, frozenset[str]] = {
    # words for people, whatever they stand in
    "": frozenset(
        {
            *("display_name", "description", "version_description", "filter", "order_by", "page_token", "etag"),
            *("labels", "system_labels", "user_labels", "revision_labels"),  # `work.py` reads labels by themselves
            "service_attachment",  # an address in a tenant's project, which Google writes and a client only echoes
        }
    ),
    # words for a model: it reads them, and nothing opens what they name
    "Part": frozenset({"text", "thought_signature"}),
    "FunctionCall": frozenset({"args", "partial_args"}),
    "FunctionResponse": frozenset({"response"}),
    "FunctionDeclaration": frozenset({"parameters_json_schema", "response_json_schema"}),
    "GenerationConfig": frozenset({"response_json_schema", "stop_sequences"}),
    "Schema": frozenset(
        {*("title", "default", "example", "enum", "pattern", "additional_properties", "properties", "required", "defs")}
    ),
    "ExecutableCode": frozenset({"code"}),
    "CodeExecutionResult": frozenset({"output"}),
    "ToolUseExample": frozenset({"query", "request_params", "response_params", "response_summary"}),
    "RagQuery": frozenset({"text"}),
    # input of the caller's own engine, as instances are of the caller's own endpoint
    "QueryReasoningEngineRequest": frozenset({"input"}),
    "StreamQueryReasoningEngineRequest": frozenset({"input"}),
    "ModelDeploymentMonitoringJob": frozenset({"sample_predict_instance"}),
    # what an agent says of itself, and the sessions and memories that it keeps
    "ReasoningEngineSpec": frozenset({"class_methods"}),
    "Session": frozenset({"session_state"}),
    "SessionEvent": frozenset({"raw_event", "error_message"}),
    "EventActions": frozenset({"state_delta", "requested_auth_configs"}),
    "EventMetadata": frozenset({"custom_metadata"}),
    "AgentEvent": frozenset({"state_delta"}),
    "Memory": frozenset({"fact", "scope"}),
    "Memory.StructuredContent": frozenset({"data"}),
    "MemoryMetadataValue": frozenset({"string_value"}),
    "GenerateMemoriesRequest.DirectMemoriesSource.DirectMemory": frozenset({"fact"}),
    # the caller's notes: Vertex ML Metadata, experiments, trials, evaluations
    "Artifact": frozenset({"metadata"}),
    "Context": frozenset({"metadata"}),
    "Execution": frozenset({"metadata"}),
    "MetadataSchema": frozenset({"schema"}),
    "Trial.Parameter": frozenset({"value"}),
    "StudySpec.ParameterSpec.CategoricalValueSpec": frozenset({"values", "default_value"}),
    "ModelEvaluation": frozenset({"metadata", "metrics"}),
    "ModelEvaluationSlice": frozenset({"metrics"}),
    "MetricMetadata": frozenset({"other_metadata"}),
    # the caller's data, which is kept and given back
    "FeatureValue": frozenset({"string_value"}),
    "StringArray": frozenset({"values"}),
    "IndexDatapoint": frozenset({"embedding_metadata", "restricts", "crowding_tag", "datapoint_id"}),
    "RagFile": frozenset({"user_metadata"}),
    "MetadataValue": frozenset({"str_value"}),
}
# Google writes these and ignores what a client echoes: tenants' projects and addresses of its own stand in them.
_GOOGLES = frozenset(
    {
        *("PrivateEndpoints", "IndexPrivateEndpoints", "PscAutomatedEndpoints", "ResourceRuntime"),
        "google.rpc.Status",
    }
)
_PLAIN = frozenset({"google.protobuf.FieldMask", "google.protobuf.Timestamp"})
_FIELD = FieldDescriptor


class Part(NamedTuple):
    """One value and the name that it stands under.

    `name`: as `plain` gives it, empty for the root; `kind`: the message, without its package (`CustomJobSpec`), or one
    of `UNTYPED`, empty inside of those and for plain values; `within`: the kind that it stands in; `value`: of a plain
    value, with a duration in seconds, else `None`; `parts`: of a message, an object or a list, repeated ones by turns;
    `key`: of an entry of a map or an object, as it was written.
    """

    name: str
    kind: str
    within: str
    value: str | float | bool | None
    parts: tuple["Part", ...] = ()
    key: str = ""

    def all(self, *names: str) -> Iterator["Part"]:
        """The parts directly below that have one of these names."""
        return (part for part in self.parts if part.name in names)


@lru_cache(maxsize=8192)  # names of fields, and keys that callers choose
def plain(name: str) -> str:
    """A name in the one spelling that `serviceAccount`, `service_account` and `Service-Account` share."""
    return name.replace("_", "").replace("-", "").lower()


_SPOKEN = {kind: frozenset(map(plain, names)) for kind, names in _SPEECH.items()}


def of_message(message: Message) -> Part:
    """The tree of a protobuf message; raises `Refused` for one that is too deep or holds too much."""
    return _Reader().message(message, "", "", 0)


def of_json(body: Mapping[str, Any]) -> Part:
    """The tree of a JSON object of which Google publishes no message, every key in it kept; raises `Refused`."""
    return _Reader().json(body, "", "", 0)


@cache
def short(kind: Descriptor) -> str:
    """A message's name without the package that its version differs by."""
    for package in _PACKAGES:
        if kind.full_name.startswith(package):
            return kind.full_name.removeprefix(package)
    return kind.full_name


class _Reader:
    """One bounded pass over one message."""

    def __init__(self) -> None:
        self._left = _MOST

    def message(self, message: Any, name: str, within: str, depth: int) -> Part:
        self._spend(depth)
        kind = short(descriptor(message))
        if kind in UNTYPED:
            return self._untyped(message, kind, name, within, depth)
        parts: list[Part] = []
        for field, value in message.ListFields():
            if _told(field, kind):
                parts.extend(self._field(field, value, kind, depth + 1))
        if kind == "TrainingPipeline" and message.training_task_definition == CUSTOM_TASK:
            parts = [self._task(message, part, depth) if part.name == "trainingtaskinputs" else part for part in parts]
        return Part(name, kind, within, None, tuple(parts))

    def json(self, value: Any, name: str, within: str, depth: int, key: str = "") -> Part:
        """A JSON value; a key that could name something counts as a value besides, and JSON in a string is read."""
        self._spend(depth)
        if isinstance(value, Mapping):
            return Part(name, "", within, None, tuple(self._object(value, depth + 1)), key)
        if isinstance(value, list | tuple):
            return Part(name, "", within, None, tuple(self.json(one, name, "", depth + 1) for one in value), key)
        inner = _inner(value) if isinstance(value, str) else None
        parts = (self.json(inner, name, "", depth + 1),) if inner is not None else ()
        return Part(name, "", within, value, parts, key)

    def _object(self, value: Mapping[str, Any], depth: int) -> Iterator[Part]:
        for key, content in value.items():
            name = plain(key[:_LONGEST_KEY])
            for one in content if isinstance(content, list) and content else (content,):
                yield self.json(one, name, "", depth, key)
            if not key.isidentifier():
                yield self.json(key, "key", "", depth)

    def _field(self, field: FieldDescriptor, value: Any, within: str, depth: int) -> Iterator[Part]:
        name = plain(field.name)
        entry = field.message_type if field.message_type and field.message_type.GetOptions().map_entry else None
        if entry is not None:
            yield self._map(entry, value, name, within, depth)
            return
        for one in value if field.is_repeated else (value,):
            yield self._one(field, one, name, within, depth)

    def _one(self, field: FieldDescriptor, value: Any, name: str, within: str, depth: int) -> Part:
        if field.message_type is not None:
            if field.message_type.full_name == "google.protobuf.Duration":
                return Part(name, "Duration", within, value.seconds + value.nanos / 1e9)
            return self.message(value, name, within, depth)
        self._spend(depth)
        if field.enum_type is not None:
            known = field.enum_type.values_by_number.get(value)
            return Part(name, "", within, known.name if known else str(value))
        return Part(name, "", within, value)

    def _map(self, entry: Descriptor, values: Any, name: str, within: str, depth: int) -> Part:
        field, parts = entry.fields_by_name["value"], []
        for key in values:
            parts.append(self._one(field, values[key], name, within, depth + 1)._replace(key=str(key)))
            parts.append(Part("key", "", "map", str(key)))
        return Part(name, "map", within, None, tuple(parts))

    def _untyped(self, message: Any, kind: str, name: str, within: str, depth: int) -> Part:
        """What stands where no descriptor tells; its bytes, where it has any, are no text to be read."""
        if kind in _BYTES:
            return Part(
                name, kind, within, None, (Part("value", "", kind, value="bytes"),) if message.ByteSize() else ()
            )
        below = self.json(_json_of(message, kind, depth), name, within, depth)
        return below._replace(kind=kind)

    def _task(self, message: Any, part: Part, depth: int) -> Part:
        """The inputs of a custom task as the `CustomJobSpec` that they are, or as they were when they are not one."""
        pipeline = descriptor(message)
        scope = pipeline.full_name.removesuffix("TrainingPipeline")
        spec = message_factory.GetMessageClass(pipeline.file.pool.FindMessageTypeByName(f"{scope}CustomJobSpec"))()
        inputs = _json_of(message.training_task_inputs, _VALUE, depth)
        if not isinstance(inputs, dict) or not _spelled_once(inputs):
            return part
        try:
            json_format.ParseDict(inputs, spec, descriptor_pool=pipeline.file.pool)
        except json_format.ParseError:
            return part
        return self.message(spec, part.name, part.within, depth)

    def _spend(self, depth: int) -> None:
        self._left -= 1
        if self._left < 0 or depth > _DEEPEST:
            raise Refused(
                Reason.REQUEST_MALFORMED, "the message nests too deeply, or holds more than can be decided on"
            )


def _spelled_once(value: Any) -> bool:
    """Whether no object in a JSON value has two spellings of one key: readers differ in which one counts."""
    if isinstance(value, list):
        return all(map(_spelled_once, value))
    if not isinstance(value, dict):
        return True
    return len({plain(key) for key in value}) == len(value) and all(map(_spelled_once, value.values()))


def _inner(text: str) -> Any:
    """The JSON object, list or string that a string holds, as pipelines hand jobs to components; `None` for none."""
    if len(text) > _LONGEST_INNER or text.lstrip()[:1] not in {"{", "[", '"'}:
        return None
    try:
        value = json.loads(text, object_pairs_hook=_every)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict | list | str) else None


def _every(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object with all values of a key that it names twice: readers differ in which one counts."""
    value: dict[str, Any] = {}
    for key, content in pairs:
        value[key] = [*_listed(value[key]), *_listed(content)] if key in value else content
    return value


def _listed(content: Any) -> list[Any]:
    return content if isinstance(content, list) else [content]


def _json_of(message: Any, kind: str, depth: int) -> Any:
    """A `Struct`, `Value` or `ListValue` as Python's own values."""
    if depth > _DEEPEST:
        raise Refused(Reason.REQUEST_MALFORMED, "the message nests too deeply")
    if kind == _STRUCT:
        return {key: _json_of(value, _VALUE, depth + 1) for key, value in message.fields.items()}
    if kind == _LIST:
        return [_json_of(value, _VALUE, depth + 1) for value in message.values]
    which = message.WhichOneof("kind")
    if which == "struct_value":
        return _json_of(message.struct_value, _STRUCT, depth + 1)
    if which == "list_value":
        return _json_of(message.list_value, _LIST, depth + 1)
    return None if which in {None, "null_value"} else getattr(message, which)


@cache
def _told(field: FieldDescriptor, kind: str) -> bool:
    """Whether a field of a kind is kept: it could name something, or is counted, and nobody only says it."""
    name = plain(field.name)
    labels = name == "labels" and field.message_type is not None
    if not labels and (name in _SPOKEN[""] or name in _SPOKEN.get(kind, ())):
        return False
    if field.message_type is None:
        judged = kind.endswith(("Instance", "InstanceData"))  # texts that a model is asked to judge
        return (field.type == _FIELD.TYPE_STRING and not judged) or field.name in _NUMBERS
    return short(field.message_type) not in _PLAIN | _GOOGLES and _matters(field.message_type)


@cache
def _matters(kind: Descriptor) -> bool:
    """Whether anything in a kind of message is kept, however deep."""
    seen: set[str] = set()

    def found(one: Descriptor) -> bool:
        if one.full_name in seen:
            return False
        seen.add(one.full_name)
        if short(one) in UNTYPED or one.full_name == "google.protobuf.Duration" or not one.fields:
            return True  # a message without fields says something by being there: a tool that is switched on
        return any(
            found(field.message_type)
            if field.message_type
            else field.type == _FIELD.TYPE_STRING or field.name in _NUMBERS
            for field in one.fields
        )

    return found(kind)
