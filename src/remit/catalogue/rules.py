"""What a message asks for, per method: its resources, and the account that the work will run as.

A method without a rule here is served only when its message is plain: it names one resource that the schema has a type
for, and holds nothing else but paging, filters and masks (`plain`). All other methods are known by name and refused.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from remit.catalogue import fields
from remit.catalogue.descriptors import Binding, descriptor
from remit.catalogue.methods import Method
from remit.catalogue.names import Names, Place, kind_of, project_resource
from remit.model.errors import Refused
from remit.model.operation import Group, Resource
from remit.model.reasons import Reason

_PLAIN_STRINGS = frozenset({"filter", "page_token", "order_by", "etag"})
_PLAIN_MESSAGES = frozenset({"google.protobuf.FieldMask", "google.protobuf.Duration"})
_LARGEST = 1 << 20  # bytes: a message whose every field is checked; Vertex AI's largest jobs are a tenth of it
# Vertex AI takes 1.5 MB (cloud.google.com/sdk/gcloud/reference/ai/endpoints/predict), here in its larger reading.
_LARGEST_PREDICTION = 3 << 19
_LARGEST_SENT = 16 << 20  # the gateway's own limit: a body that nobody reads here
_ANY_TEXT = frozenset({FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES})


@dataclass(frozen=True, slots=True)
class Extra:
    """What a request touches besides the resource that it is named by."""

    resources: tuple[Resource, ...] = ()
    acts_as: str = ""


# A message's fields are found by name at run time, so it is `Any` to the type checker from here on.
Reader = Callable[[Any, Place, Names], Extra]


@dataclass(frozen=True, slots=True)
class Rule:
    """How one method's message is understood.

    `allowed`: the fields that it may hold, `None` for all that the descriptor knows; `rest_leasable` and
    `grpc_leasable`: whether a permit may be repeated; `raw`: over REST the body is the model's own and names nothing;
    `largest`: bytes of a body that are read at all.
    """

    read: Reader
    allowed: fields.Tree | None = None
    rest_leasable: bool = False
    grpc_leasable: bool = False
    raw: bool = False
    largest: int = _LARGEST


def _nothing_else(_message: Any, _place: Place, _names: Names) -> Extra:
    return Extra()


def _custom_job(message: Any, place: Place, names: Names) -> Extra:
    spec = message.custom_job.job_spec
    if not spec.service_account:
        raise Refused(
            Reason.RESOURCE_UNKNOWN,
            "the job names no service account, and the project's default agent is not in `remit.yaml`",
            hint="name a service account: `job.run(service_account=…)`",
        )
    addresses = [spec.base_output_directory.output_uri_prefix]
    for pool in spec.worker_pool_specs:
        addresses.extend(pool.python_package_spec.package_uris)
    return Extra(_buckets(addresses, place, names), spec.service_account)


def _model(message: Any, place: Place, names: Names) -> Extra:
    parent = (names.model(message.parent_model, place),) if message.parent_model else ()
    return Extra((*parent, *_buckets([message.model.artifact_uri], place, names)), message.service_account)


def _deployment(message: Any, place: Place, names: Names) -> Extra:
    model = names.model(message.deployed_model.model, place)
    return Extra((model,), message.deployed_model.service_account)


def _buckets(addresses: list[str], place: Place, names: Names) -> tuple[Resource, ...]:
    found = (names.storage(address, place) for address in addresses if address)
    return tuple(dict.fromkeys(found))


_VERTEX = "aiplatform.projects.locations."
RULES: Mapping[str, Rule] = MappingProxyType(
    {
        f"{_VERTEX}customJobs.create": Rule(_custom_job, fields.CREATE_CUSTOM_JOB),
        f"{_VERTEX}models.upload": Rule(_model, fields.UPLOAD_MODEL),
        f"{_VERTEX}endpoints.create": Rule(_nothing_else, fields.CREATE_ENDPOINT),
        f"{_VERTEX}endpoints.deployModel": Rule(_deployment, fields.DEPLOY_MODEL),
        f"{_VERTEX}endpoints.undeployModel": Rule(_nothing_else, fields.UNDEPLOY_MODEL),
        # Over REST a later body could name another endpoint, and the gateway does not read JSON: no lease there.
        f"{_VERTEX}endpoints.predict": Rule(_nothing_else, grpc_leasable=True, largest=_LARGEST_PREDICTION),
        f"{_VERTEX}endpoints.rawPredict": Rule(_nothing_else, rest_leasable=True, raw=True, largest=_LARGEST_SENT),
    }
)
_OBSERVED = Rule(_nothing_else, rest_leasable=True, grpc_leasable=True)
_PLAIN = Rule(_nothing_else)


def projects_of(message: Any, names: Names) -> tuple[Resource, ...]:
    """Every project whose log entries are asked for; views, folders and organisations are not served yet."""
    places = [names.place(name) for name in message.resource_names]
    if not places or any(place.location or place.resource.type != "Project" for place in places):
        raise Refused(Reason.RESOURCE_UNKNOWN, "log entries are read by project: `projects/ID`, and no other parent")
    return tuple(dict.fromkeys(project_resource(place.project) for place in places))


def rule_for(method: Method, binding: Binding, request: type[Message]) -> Rule | None:
    """The rule that a method is served by, `None` when it is not."""
    if not kind_of(binding.pattern):
        return None
    known = RULES.get(method.action.id)
    if known or not plain(descriptor(request), binding.field):
        return known
    if method.action.group is Group.OBSERVE:
        return _OBSERVED if binding.verb == "GET" else _PLAIN
    return _PLAIN if method.action.group is Group.CHANGE else None


def plain(message: Descriptor, named_by: str) -> bool:
    """Whether nothing in a message can name anything, but for the one field."""
    return all(field.name == named_by or _harmless(field) for field in message.fields)


def _harmless(field: FieldDescriptor) -> bool:
    if field.message_type is not None:
        return field.message_type.full_name in _PLAIN_MESSAGES
    return field.type not in _ANY_TEXT or field.name in _PLAIN_STRINGS
