"""What a permitted request needs a credential for: an account, scopes, buckets; or the audience of an assertion.

The token goes with the wire request, so it is the first operation that says which API it is for; the others
(acting as an account, the buckets of a job) are decided, not called. What goes to a service of the estate goes to that
one alone. Leaves out: whether any of it is permitted. Scopes: developers.google.com/identity/protocols/oauth2/scopes.
"""

from collections.abc import Sequence

from remit.credentials.settings import AccountMapping
from remit.model.credential import Purpose
from remit.model.errors import Refused
from remit.model.estate import Service
from remit.model.identity import Identity
from remit.model.operation import Group, Request, Resource
from remit.model.reasons import Reason

CLOUD_PLATFORM = "https://www.googleapis.com/auth/cloud-platform"
STORAGE_READ = "https://www.googleapis.com/auth/devstorage.read_only"
STORAGE = "https://www.googleapis.com/auth/devstorage.read_write"
LOGGING_READ = "https://www.googleapis.com/auth/logging.read"
LOGGING_WRITE = "https://www.googleapis.com/auth/logging.write"

_PLATFORM = frozenset({"aiplatform", "cloudresourcemanager", "logging"})
_READING = frozenset({Group.USE, Group.OBSERVE})
_WRITE_LOGS = "logging.entries.write"
_SERVED = frozenset({"Service", "ServedModel"})
_SERVICES = "//remit/projects/{}/services/{}"
_BUCKETS = "//storage.googleapis.com/projects/_/buckets/"


def purpose_of(
    identity: Identity,
    request: Request,
    mappings: tuple[AccountMapping, ...],
    lifetime: int,
    services: Sequence[Service] = (),
) -> Purpose:
    """The purpose of a request; raises `Refused` when no account is mapped or the API or service is not known."""
    resources = [resource for operation in request.operations for resource in operation.resources]
    if any(resource.type in _SERVED for resource in resources):
        return Purpose("", (), audience=_service(resources, services).audience)
    scopes = _scopes(request)
    account = _account(identity, request.first.resources[0].project, mappings)
    buckets = _buckets(resources) if _api(request) == "storage" else ()
    return Purpose(account, scopes, buckets, lifetime)


def _service(resources: Sequence[Resource], services: Sequence[Service]) -> Service:
    """The one service that all resources belong to: a credential for it must not cover what another party holds."""
    found = {_served_by(resource, services) for resource in resources}
    service = found.pop() if len(found) == 1 else None
    if service is None or not service.audience:
        raise Refused(Reason.REQUEST_AMBIGUOUS, "the request names a service, and what does not belong to it")
    return service


def _served_by(resource: Resource, services: Sequence[Service]) -> Service | None:
    for service in services:
        name = _SERVICES.format(service.project, service.name)
        whole = resource.name == name and resource.type == "Service"
        part = resource.name.startswith(f"{name}/models/") and resource.type == "ServedModel"
        if (whole or part) and resource.project == service.project:
            return service
    return None


def _api(request: Request) -> str:
    return request.first.action.id.partition(".")[0]


def _scopes(request: Request) -> tuple[str, ...]:
    """The narrowest that the API takes for it."""
    api, action = _api(request), request.first.action
    if api == "storage":
        called = [operation.action for operation in request.operations if operation.action.id.startswith("storage.")]
        return (STORAGE_READ if all(one.group in _READING for one in called) else STORAGE,)
    if api == "logging" and action.group is Group.OBSERVE:
        return (LOGGING_READ,)
    if action.id == _WRITE_LOGS:
        return (LOGGING_WRITE,)
    if api not in _PLATFORM:
        raise Refused(Reason.METHOD_UNKNOWN, f"no scope is known for the service `{api}`")
    return (CLOUD_PLATFORM,)


def _account(identity: Identity, project: str, mappings: tuple[AccountMapping, ...]) -> str:
    for mapping in mappings:
        if mapping.project == project and mapping.role in identity.roles:
            return mapping.account
    raise Refused(
        Reason.NO_ACCOUNT,
        f"no service account is mapped for the roles of this identity in `{project}`",
        hint="ask for an app role that is mapped there",
    )


def _buckets(resources: Sequence[Resource]) -> tuple[str, ...]:
    """Every bucket that a storage request touches: its token is good for these and for nothing else."""
    buckets = {bucket for resource in resources if (bucket := _bucket(resource))}
    if not buckets:
        raise Refused(Reason.RESOURCE_UNKNOWN, "the request names no bucket that a token could be narrowed to")
    return tuple(sorted(buckets))


def _bucket(resource: Resource) -> str:
    return resource.name.removeprefix(_BUCKETS).partition("/")[0] if resource.name.startswith(_BUCKETS) else ""
